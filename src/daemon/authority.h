/* daemon/authority.h - the documents of this deployment (security/authority.h), and who is told of
 * a change.
 *
 *   put, remove ──> where they are kept ──> every watcher        (on the caller's worker)
 *   once a second: what other programs changed ──> every watcher (on a worker)
 *
 * Kept in the meta environment of this machine. There it is also when no tier is embedded.
 * Threads: any; watchers are named before other threads know of it.
 */
#ifndef DJ_DAEMON_AUTHORITY_H
#define DJ_DAEMON_AUTHORITY_H

#include <deja/base.h>

#include "security/authority.h"
#include "store/lmdb.h"

struct dj_authorities;

#define DJ_AUTHORITY_WATCHERS_MAX 8u

/* One change after the other, in the order in which they were made; on a worker, under a lock: do
 * not call the authority, and come to an end soon. */
struct dj_authority_watcher {
    void *ctx;
    dj_authority_change_fn *changed; /* every table: look at the name */
};

/* meta is borrowed until destroy. */
enum deja_status dj_authorities_create(struct dj_lmdb_meta *meta,
                                       struct dj_authorities **out_authorities) DEJA_NODISCARD;
void dj_authorities_destroy(struct dj_authorities *authorities); /* accepts NULL */
/* Valid until destroy. */
const struct dj_authority *dj_authorities_table(struct dj_authorities *authorities);
void dj_authorities_watch(struct dj_authorities *authorities,
                          const struct dj_authority_watcher *watcher);

/* One document from outside, whether a daemon runs on the directory or not. */
enum deja_status dj_authority_peek(const char *directory, const char *table, struct deja_slice key,
                                   void *found_ctx, dj_authority_found_fn *found) DEJA_NODISCARD;

#endif
