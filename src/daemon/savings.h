/* daemon/savings.h - what was spared and spent over the last hours and days outlives the process.
 *
 *   ledger ── once a minute where it changed, and at the end ──> DATA/savings
 *      ^────────────────────── at the start ─────────────────────────┘
 *
 * A crash loses what came since the last writing. Names of kinds that are no plain labels are
 * written as "other": what callers write there is theirs.
 *
 * Threads: tick on loop 0; keep when no tick can come any more.
 */
#ifndef DJ_DAEMON_SAVINGS_H
#define DJ_DAEMON_SAVINGS_H

#include <deja/base.h>

#include "loop/pool.h"
#include "obs/log.h"
#include "proxy/ledger.h"

struct dj_savings;

/* Borrowed until destroy, but for data_dir. log may be NULL. */
struct dj_savings_options {
    struct dj_ledger *ledger;
    struct dj_pool *pool;
    struct dj_log *log;
    const char *data_dir;
};
/* Takes over what was kept before; blocking. What cannot be read is left out, and the log says so.
 */
enum deja_status dj_savings_create(const struct dj_savings_options *options,
                                   struct dj_savings **out_savings) DEJA_NODISCARD;
void dj_savings_destroy(struct dj_savings *savings); /* after the pool; accepts NULL */
void dj_savings_tick(struct dj_savings *savings);    /* once a second */
void dj_savings_keep(struct dj_savings *savings);    /* blocking; a failure goes to the log */

#endif
