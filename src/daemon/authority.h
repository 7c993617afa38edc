/* daemon/authority.h - the documents of this deployment (security/authority.h), and who is told of
 * a change.
 *
 *   put, remove ──> where they are kept ──> every watcher        (on the caller's worker)
 *   once a second: what other programs changed ──> every watcher (on a worker)
 *
 * Kept in the meta environment of this machine, or in PostgreSQL where that is configured. Of what
 * is in PostgreSQL the meta environment has a copy, so that a program can start without it: tenants
 * and links, keys (which are believed for their lease only), upstream credentials (sealed), heads
 * of audit logs. Not
 * copied: data keys, whose destruction must be seen, and what is written only. Without PostgreSQL
 * nothing is written: put and remove answer DEJA_ERR_IO.
 *
 * Threads: any; watchers are named before other threads know of it. docs/adr/0013.
 */
#ifndef DJ_DAEMON_AUTHORITY_H
#define DJ_DAEMON_AUTHORITY_H

#include <deja/base.h>

#include "security/authority.h"
#include "store/lmdb.h"
#include "store/postgres.h"

struct dj_authorities;

#define DJ_AUTHORITY_WATCHERS_MAX 8u

struct dj_authority_watcher {
    void *ctx;
    /* One change after the other, in the order in which they were made; on a worker, under a lock:
     * do not call the authority, and come to an end soon. Every table: look at the name. A change
     * may be told again. */
    dj_authority_change_fn *changed;
    /* All that there is has been told anew: what was not is gone. NULL: does not matter. Likewise.
     */
    void (*anew)(void *ctx);
};

/* meta is borrowed until destroy. postgres NULL: kept in meta; otherwise its options, copied, with
 * texts borrowed. is_down: it was asked just now and did not answer. */
enum deja_status dj_authorities_create(struct dj_lmdb_meta *meta,
                                       const struct dj_postgres_options *postgres, bool is_down,
                                       struct dj_authorities **out_authorities,
                                       struct deja_error *error) DEJA_NODISCARD;
void dj_authorities_destroy(struct dj_authorities *authorities); /* accepts NULL */
/* Valid until destroy. */
const struct dj_authority *dj_authorities_table(struct dj_authorities *authorities);
void dj_authorities_watch(struct dj_authorities *authorities,
                          const struct dj_authority_watcher *watcher);

/* One document from outside, whether a daemon runs on the directory or not: what this machine has
 * of it. */
enum deja_status dj_authority_peek(const char *directory, const char *table, struct deja_slice key,
                                   void *found_ctx, dj_authority_found_fn *found) DEJA_NODISCARD;
/* Every document of a table likewise: first those that are kept here, then the copies. */
enum deja_status dj_authority_peek_all(const char *directory, const char *table, void *ctx,
                                       bool (*each)(void *ctx, struct deja_slice key,
                                                    struct deja_slice value)) DEJA_NODISCARD;
/* What other programs changed goes to copy and watchers. Blocking; one at a time. DEJA_OK where
 * nobody else writes. */
enum deja_status dj_authorities_pull(struct dj_authorities *authorities) DEJA_NODISCARD;
/* Does it not answer? Any thread. */
bool dj_authorities_is_down(const struct dj_authorities *authorities);
/* Calls end soon, further ones fail: before the workers are waited for. Accepts NULL. */
void dj_authorities_stop(struct dj_authorities *authorities);

#endif
