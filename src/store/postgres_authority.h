/* store/postgres_authority.h - documents of security/authority.h in PostgreSQL, for all programs of
 * a deployment.
 *
 * One connection of its own that blocks, made when it is needed; one call at a time. A server that
 * does not answer costs its timeout once, then DEJA_ERR_IO at once for RETRY_MS: a pool of workers
 * must not stand still before it. Trust: the server is ours; sizes are bounded by what put takes.
 * Threads: any.
 */
#ifndef DJ_STORE_POSTGRES_AUTHORITY_H
#define DJ_STORE_POSTGRES_AUTHORITY_H

#include "security/authority.h"
#include "store/postgres.h"

struct dj_postgres_authority;

/* options is copied, its texts are borrowed until destroy. Succeeds whether or not the server is
 * there. timeout_ms and connect_timeout_ms: of each call, at most 5 s. DEJA_ERR_CONFIG: the url
 * cannot be read. */
enum deja_status dj_postgres_authority_create(const struct dj_postgres_options *options,
                                              struct dj_postgres_authority **out_authority,
                                              struct deja_error *error) DEJA_NODISCARD;
/* No call may be under way. Accepts NULL. */
void dj_postgres_authority_destroy(struct dj_postgres_authority *authority);
/* Calls that wait end soon, with DEJA_ERR_CANCELLED; no further one begins. Any thread. */
void dj_postgres_authority_stop(struct dj_postgres_authority *authority);
/* Valid until destroy. */
const struct dj_authority *dj_postgres_authority_table(
    const struct dj_postgres_authority *authority);

#endif
