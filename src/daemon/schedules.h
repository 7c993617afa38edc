/* daemon/schedules.h - invalidations kept for later: at a time, after a while, or again and again.
 *
 *   add ── worker: document put with the authority, durably ──> told            (table "schedules")
 *   tick (loop 0, once a second) ── due? ── worker: claimed with the authority ──> loop: run ──>
 *        worker: once: document removed; again: the next time put ── audited
 *
 * They survive a restart and a kill: what was due meanwhile is run at the start, once. Where
 * programs share an authority (PostgreSQL) each of them knows all schedules, and one of them runs
 * each: whoever puts the claim of that time first. A claim whose program died is taken over after
 * CLAIM_MS, so a schedule runs at least once, and what it does may be done twice without harm.
 *
 * DJ_SCHEDULES_TENANT_MAX and DJ_SCHEDULES_MAX hold in each program; where several share an
 * authority, each counts what it knows, which is what the others had a second ago.
 *
 * Threads: service on any loop, tick on loop 0. Time: the loops' clock.
 */
#ifndef DJ_DAEMON_SCHEDULES_H
#define DJ_DAEMON_SCHEDULES_H

#include <deja/base.h>

#include "api/schedules.h"
#include "cache/engine.h"
#include "loop/pool.h"
#include "proxy/telemetry.h"
#include "security/audit.h"
#include "security/authority.h"

struct dj_schedules;

/* Everything is borrowed until destroy. */
struct dj_schedules_options {
    struct dj_engine *engine;
    struct dj_loop *loop; /* 0: what is due runs there */
    struct dj_pool *pool;
    const struct dj_authority *authority;
    struct dj_audit *audit;         /* NULL: none is kept */
    struct dj_telemetry *telemetry; /* NULL: nothing is counted */
    struct dj_log *log;             /* NULL: nothing is logged */
};

/* Reads what is kept; start-up, blocking. */
enum deja_status dj_schedules_create(const struct dj_schedules_options *options,
                                     struct dj_schedules **out_schedules) DEJA_NODISCARD;
void dj_schedules_destroy(struct dj_schedules *schedules); /* after loops and pool; accepts NULL */
const struct dj_schedule_service *dj_schedules_service(struct dj_schedules *schedules);
void dj_schedules_tick(struct dj_schedules *schedules); /* accepts NULL */
/* Nothing is begun from now on: the daemon stops. Accepts NULL. */
void dj_schedules_stop(struct dj_schedules *schedules);
/* How many are at work on a loop or a worker now. Accepts NULL. */
uint32_t dj_schedules_running(struct dj_schedules *schedules);
/* All of a tenant's, for good; worker, blocking. What has failed may be done again. */
enum deja_status dj_schedules_erase(struct dj_schedules *schedules,
                                    const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* A dj_authority_change_fn: what other programs keep and remove. */
void dj_schedules_on_change(void *schedules, const char *table, struct deja_slice key,
                            struct deja_slice value);

#endif
