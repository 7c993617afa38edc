/* daemon/spends.h - budgets of a day outlive the process, and hold for all programs together.
 *
 *   limiter ── each 10 s, and at the end: table "spends", TENANT:PROGRAM ──> the authority
 *      ^─────── at the start: our own; each 10 s: the sum of the others' ────────┘
 *
 * So a budget may be overrun by what all programs spend in about ten seconds, and by what was under
 * way. A program is its host and data directory. What is of another day is removed by who meets it.
 *
 * Threads: tick on loop 0; keep when no tick can come any more.
 */
#ifndef DJ_DAEMON_SPENDS_H
#define DJ_DAEMON_SPENDS_H

#include <deja/base.h>

#include "loop/pool.h"
#include "proxy/limiter.h"
#include "security/authority.h"

#define DJ_SPENDS_TABLE "spends"

struct dj_spends;

/* Borrowed until destroy, but for place: what names this program, alike after a restart. */
struct dj_spends_options {
    struct dj_limiter *limiter;
    const struct dj_authority *authority;
    struct dj_pool *pool;
    const char *place;
};
/* Takes over what was spent before; blocking. What cannot be read is nothing. */
enum deja_status dj_spends_create(const struct dj_spends_options *options,
                                  struct dj_spends **out_spends) DEJA_NODISCARD;
void dj_spends_destroy(struct dj_spends *spends); /* after the pool; accepts NULL */
void dj_spends_tick(struct dj_spends *spends);    /* once a second */
/* Blocking. What cannot be written is tried again the next time. */
void dj_spends_keep(struct dj_spends *spends);

#endif
