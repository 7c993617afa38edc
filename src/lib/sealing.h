/* lib/sealing.h - what a library's instance keeps on disk is sealed as a daemon's is: data keys in
 * the meta environment, wrapped by DIRECTORY/master.key, which is made at the first opening.
 *
 * What a program's own store keeps is that program's to protect: it is not sealed. Threads: create
 * and destroy where the instance is; the keyring any.
 */
#ifndef DJ_LIB_SEALING_H
#define DJ_LIB_SEALING_H

#include "loop/pool.h"
#include "store/lmdb.h"
#include "store/sealed.h"

struct dj_sealing;

/* meta and pool are borrowed until destroy. */
enum deja_status dj_sealing_create(const char *directory, struct dj_lmdb_meta *meta,
                                   struct dj_pool *pool, struct dj_sealing **out_sealing,
                                   struct deja_error *error) DEJA_NODISCARD;
void dj_sealing_destroy(struct dj_sealing *sealing); /* after the store it wrapped; accepts NULL */
/* How long what is wrapped from now on keeps entries (store/store.h). */
void dj_sealing_set_stay(struct dj_sealing *sealing, struct dj_stay stay);
/* A dj_assemble_wrap_fn; sealing: a struct dj_sealing. */
enum deja_status dj_sealing_wrap(void *sealing, struct dj_store *store,
                                 struct dj_store **out_store) DEJA_NODISCARD;

#endif
