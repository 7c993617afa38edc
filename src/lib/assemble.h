/* lib/assemble.h - the engine out of its parts: the tiers, an embedder, what was kept on disk.
 *
 * One place for the daemon and the library. Blocking; before the loops run.
 */
#ifndef DJ_LIB_ASSEMBLE_H
#define DJ_LIB_ASSEMBLE_H

#include <deja/base.h>

#include "cache/engine.h"
#include "store/lmdb.h"
#include "store/memory.h"

/* Puts a store around the embedded tier; store: taken on DEJA_OK. */
typedef enum deja_status dj_assemble_wrap_fn(void *ctx, struct dj_store *store,
                                             struct dj_store **out_store);

struct dj_assembly {
    struct dj_memory_options memory;
    struct dj_lmdb_options lmdb; /* directory NULL: no such tier */
    dj_assemble_wrap_fn *wrap;   /* of what lmdb says, or what stands in its place; NULL: none */
    void *wrap_ctx;
    /* loops, pool, metrics and the policy's numbers. memory: NULL. lmdb: NULL, or another store in
     * its place. lmdb, the tiers' stores and embedder are taken, also on failure. */
    struct dj_engine_options engine;
};

/* Generations are read; vectors are the caller's next step (dj_engine_load_vectors). *out_lmdb: the
 * engine's store below memory, or NULL. */
enum deja_status dj_assemble(const struct dj_assembly *assembly, struct dj_engine **out_engine,
                             struct dj_store **out_lmdb, bool *out_discarded,
                             struct deja_error *error) DEJA_NODISCARD;

#endif
