/* daemon/watch.c - what the daemon does by the clock besides serving: the watchdog's answer, and a
 * line of figures.
 *
 * The watchdog is told that we live only when every loop has done something since the last time: a
 * loop that hangs must not be covered by one that runs.
 *
 *   timer on loop 0 -> a task to each loop -> all done? the next turn of the timer says WATCHDOG=1
 */
#include "cache/upkeep.h"
#include "daemon/daemon_internal.h"
#include "daemon/notify.h"

static void on_alive(void *ctx)
{
    struct dj_node *node = ctx;
    atomic_fetch_sub(&node->daemon->watch_left, 1);
}

static void on_watchdog(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    if (atomic_load(&daemon->watch_left) > 0)
        return; /* somebody has not answered yet */
    dj_notify("WATCHDOG=1");
    atomic_store(&daemon->watch_left, daemon->loop_count);
    for (uint32_t i = 0; i < daemon->loop_count; i++) {
        struct dj_node *node = &daemon->nodes[i];
        node->watch = (struct dj_task){.run = on_alive, .ctx = node};
        dj_loop_post(node->loop, &node->watch);
    }
}

static double rate_of(uint64_t part, uint64_t rest)
{
    return part + rest ? (double)part / (double)(part + rest) : 0;
}

static void on_snapshot(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    struct dj_telemetry_totals totals;
    struct dj_engine_stats stats;
    if (!dj_log_is_on(daemon->log, DJ_LOG_DEBUG))
        return;
    dj_telemetry_totals(daemon->telemetry, NULL, &totals);
    dj_engine_stats(daemon->engine, NULL, &stats);
    uint64_t hits = totals.results[DJ_RESULT_HIT_EXACT] + totals.results[DJ_RESULT_HIT_SEMANTIC];
    const struct dj_log_field fields[] = {
        DJ_LOG_I64("requests", (int64_t)totals.requests),
        DJ_LOG_I64("hits_exact", (int64_t)totals.results[DJ_RESULT_HIT_EXACT]),
        DJ_LOG_I64("hits_semantic", (int64_t)totals.results[DJ_RESULT_HIT_SEMANTIC]),
        DJ_LOG_I64("misses", (int64_t)totals.results[DJ_RESULT_MISS]),
        DJ_LOG_I64("collapsed", (int64_t)totals.results[DJ_RESULT_COLLAPSED]),
        DJ_LOG_I64("errors", (int64_t)totals.results[DJ_RESULT_ERROR]),
        DJ_LOG_DOUBLE("hit_rate", rate_of(hits, totals.results[DJ_RESULT_MISS])),
        DJ_LOG_I64("memory_entries", (int64_t)stats.memory.entries),
        DJ_LOG_I64("memory_bytes", (int64_t)stats.memory.bytes),
        DJ_LOG_I64("lmdb_entries", (int64_t)stats.lmdb.entries),
        DJ_LOG_I64("lmdb_bytes", (int64_t)stats.lmdb.bytes),
        DJ_LOG_I64("lmdb_queued", (int64_t)stats.lmdb.queued),
        DJ_LOG_I64("vectors", (int64_t)stats.vectors),
        DJ_LOG_I64("workers_queued", dj_pool_queued(daemon->work)),
        DJ_LOG_I64("flights", atomic_load(&daemon->proxy.calls)),
        DJ_LOG_I64("lines_dropped", (int64_t)dj_log_dropped(daemon->log)),
        {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_DEBUG, "figures", fields);
}

static void on_flush(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    dj_engine_flush(daemon->engine, daemon->loops[0]);
}

void dj_daemon_set_snapshot(struct dj_daemon *daemon, uint64_t every_ms)
{
    dj_timer_start(daemon->snapshot, every_ms, every_ms);
}

enum deja_status dj_daemon_watch(struct dj_daemon *daemon)
{
    uint64_t watchdog_ms = dj_notify_watchdog_us() / 1000;
    enum deja_status status =
        dj_timer_create(daemon->loops[0], daemon, on_snapshot, &daemon->snapshot);
    if (status == DEJA_OK)
        status = dj_timer_create(daemon->loops[0], daemon, on_flush, &daemon->flush);
    if (status != DEJA_OK)
        return status;
    uint64_t flush_ms = daemon->settings->performance.tracker_flush_ms;
    dj_timer_start(daemon->flush, flush_ms, flush_ms);
    dj_daemon_set_snapshot(daemon, daemon->settings->snapshot_ms);
    status = dj_encryption_start(daemon->encryption);
    if (status != DEJA_OK)
        return status;
    if (!watchdog_ms)
        return DEJA_OK;
    status = dj_timer_create(daemon->loops[0], daemon, on_watchdog, &daemon->watchdog);
    /* Three turns in the time that is given, so that one may come late. */
    if (status == DEJA_OK)
        dj_timer_start(daemon->watchdog, 1, watchdog_ms / 3 ? watchdog_ms / 3 : 1);
    return status;
}

void dj_daemon_unwatch(struct dj_daemon *daemon)
{
    dj_encryption_stop(daemon->encryption);
    dj_timer_destroy(daemon->watchdog);
    dj_timer_destroy(daemon->snapshot);
    dj_timer_destroy(daemon->flush);
    daemon->watchdog = NULL;
    daemon->snapshot = NULL;
    daemon->flush = NULL;
}
