/* api/probe.h - asks the parts that a daemon serves with, and says how they are.
 *
 *   memory          a look-up of a key that nobody has, timed
 *   embedded tier   the same, past its filter
 *   shared tiers    what their breakers say; and (only if asked for) the same look-up, at once
 *   embedder        (only if asked for) a word embedded on a worker, timed; one behind a breaker at
 *                   most once a minute, in between what it and its breaker said
 *   index           still loading: semantic hits are not whole yet
 *
 * What is not configured does not count. Memory always serves, so no more than degraded comes of a
 * sick part. Threads: the request's loop.
 */
#ifndef DJ_API_PROBE_H
#define DJ_API_PROBE_H

#include <deja/base.h>

#include "api/request.h"

#define DJ_PROBE_SLOW_MS 100.0 /* what takes longer is degraded (H2) */
#define DJ_PROBE_EMBEDDER_MS 60000u

enum dj_health { DJ_HEALTH_DISABLED, DJ_HEALTH_HEALTHY, DJ_HEALTH_DEGRADED, DJ_HEALTH_UNHEALTHY };
const char *dj_health_text(enum dj_health health); /* "disabled", "healthy", … */

/* Plain data, in the request's arena. */
struct dj_probe {
    double memory_ms; /* of a look-up there; it cannot fail */
    struct {
        enum dj_health health; /* a shared tier that does not answer is degraded: the rest serves */
        double ms;             /* < 0: not asked */
    } levels[DJ_LEVEL_COUNT];  /* below memory */
    enum dj_health embedder;
    double embedder_ms; /* < 0: not asked */
    enum dj_health index;
    enum dj_health dependencies;  /* the worst of what is asked behind a breaker */
    struct dj_engine_stats stats; /* all tenants */
};

/* probe: borrowed until done returns. */
typedef void dj_probe_done_fn(void *ctx, const struct dj_probe *probe);
/* done runs exactly once, or the request was refused (out of memory). */
void dj_probe_start(struct dj_request *request, bool is_detailed, void *ctx,
                    dj_probe_done_fn *done);

/* The tier of that name, as it is behind its breaker; false: it is not behind one. */
bool dj_probe_find_tier(const struct dj_sentry_board *board, const char *name,
                        struct dj_sentry_sight *out_sight);
/* Of a dependency in that state: "up", "half_open", … (guarded/board.h). */
enum dj_health dj_probe_rate_state(const char *state);

/* The worst of the parts: never unhealthy. */
enum dj_health dj_probe_verdict(const struct dj_probe *probe);

#endif
