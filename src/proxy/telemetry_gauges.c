/* proxy/telemetry_gauges.c - what is looked up when somebody reads the metrics: sizes, tiers, the
 * process.
 *
 * Tenants without labels of their own are what is left of the sum: "other".
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/num.h"
#include "cache/engine.h"
#include "proxy/telemetry_internal.h"

#ifndef DJ_BUILD_COMMIT
#define DJ_BUILD_COMMIT "unknown"
#endif

static void set(struct dj_telemetry *telemetry, enum family family, const char *const *values,
                double value)
{
    dj_series_set(dj_telemetry_series(telemetry, family, values), value);
}

static void set_level(struct dj_telemetry *telemetry, const char *tenant, const char *level,
                      const struct dj_store_stats *stats)
{
    const char *const values[] = {tenant, level};
    set(telemetry, FAMILY_ENTRIES, values, (double)stats->entries);
    set(telemetry, FAMILY_LEVEL_BYTES, values, (double)stats->bytes);
}

static void set_tenant(struct dj_telemetry *telemetry, struct labels *labels,
                       const struct dj_engine_stats *stats)
{
    const char *const values[] = {labels->tenant};
    uint64_t bytes = stats->memory.bytes;
    set_level(telemetry, labels->tenant, "memory", &stats->memory);
    for (uint32_t i = 0; i < stats->tier_count; i++) {
        bytes += stats->tiers[i].store.bytes;
        set_level(telemetry, labels->tenant, stats->tiers[i].level, &stats->tiers[i].store);
    }
    set(telemetry, FAMILY_SIZE, values, (double)bytes);
    /* A counter that only appears with its first event has no rate for it. */
    static const char *const reasons[] = {"size", "tenant_limit", "ttl"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        const char *const evicted[] = {labels->tenant, reasons[i]};
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_EVICTIONS, evicted), 0);
    }
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0; /* the sum and its parts are read one after another */
}

static void subtract(struct dj_store_stats *rest, const struct dj_store_stats *part)
{
    rest->entries = less(rest->entries, part->entries);
    rest->bytes = less(rest->bytes, part->bytes);
}

static void set_tenants(struct dj_telemetry *telemetry, struct dj_engine *engine)
{
    struct dj_engine_stats rest;
    dj_engine_stats(engine, NULL, &rest);
    for (size_t i = 0; i < TENANT_SLOTS; i++) {
        struct tenant *tenant = atomic_load_explicit(&telemetry->tenants[i], memory_order_acquire);
        if (!tenant || tenant->labels == &telemetry->other_labels)
            continue;
        struct dj_engine_stats stats;
        dj_engine_stats(engine, tenant->id, &stats);
        set_tenant(telemetry, tenant->labels, &stats);
        subtract(&rest.memory, &stats.memory);
        for (uint32_t k = 0; k < rest.tier_count; k++)
            subtract(&rest.tiers[k].store, &stats.tiers[k].store);
    }
    set_tenant(telemetry, &telemetry->other_labels, &rest);
}

static void set_one(struct dj_telemetry *telemetry, enum family family, const char *label,
                    double value)
{
    const char *const values[] = {label};
    set(telemetry, family, values, value);
}

/* A counter that somebody else keeps: what came on top of *seen. */
static double more_than(uint64_t *seen, uint64_t sum)
{
    double more = sum > *seen ? (double)(sum - *seen) : 0;
    *seen = sum > *seen ? sum : *seen;
    return more;
}

static void set_tiers(struct dj_telemetry *telemetry, struct dj_engine *engine, bool is_lmdb_up)
{
    struct dj_engine_stats stats;
    dj_engine_stats(engine, NULL, &stats);
    set_one(telemetry, FAMILY_LEVEL_UP, "memory", 1);
    set_one(telemetry, FAMILY_MEMORY, "response", (double)stats.memory.bytes);
    set_one(telemetry, FAMILY_MEMORY, "semantic", (double)stats.vector_bytes);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "engine", dj_engine_pending(engine));
    if (!stats.has_lmdb)
        return;
    set_one(telemetry, FAMILY_LEVEL_UP, "lmdb", is_lmdb_up ? 1 : 0);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "lmdb_writes", (double)stats.lmdb.queued);
    if (stats.lmdb.record_bytes)
        set_one(telemetry, FAMILY_COMPRESSION, "lmdb",
                (double)stats.lmdb.plain_bytes / (double)stats.lmdb.record_bytes);
    dj_telemetry_recovered(telemetry, "lmdb_corrupt_record",
                           more_than(&telemetry->recovered_seen[0], stats.lmdb.corrupt));
    dj_telemetry_recovered(telemetry, "lmdb_dropped_write",
                           more_than(&telemetry->recovered_seen[1], stats.lmdb.dropped));
}

static void set_levels(struct dj_telemetry *telemetry, struct dj_engine *engine)
{
    struct dj_level_figures levels[DJ_TELEMETRY_LEVELS];
    uint32_t count = dj_telemetry_levels(telemetry, engine, NULL, levels);
    for (uint32_t i = 0; i < count; i++) {
        const struct dj_level_figures *figures = &levels[i];
        const char *const values[] = {figures->level};
        struct level_seen *seen = &telemetry->level_seen[i];
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_LEVEL_MISSES, values),
                      more_than(&seen->misses, figures->misses));
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_LEVEL_EVICTIONS, values),
                      more_than(&seen->evictions, figures->evictions));
        dj_series_add(dj_telemetry_series(telemetry, FAMILY_LEVEL_EXPIRED, values),
                      more_than(&seen->expired, figures->expired));
        set(telemetry, FAMILY_LEVEL_HIT_RATE, values, figures->hit_rate);
        set(telemetry, FAMILY_LEVEL_LATENCY, values, figures->latency_s);
    }
}

static void add_one(struct dj_telemetry *telemetry, enum family family, const char *label,
                    uint64_t *seen, uint64_t sum)
{
    const char *const values[] = {label};
    dj_series_add(dj_telemetry_series(telemetry, family, values), more_than(seen, sum));
}

static void set_missed(struct dj_telemetry *telemetry, const char *level, const char *kind,
                       uint64_t count)
{
    const char *const values[] = {level, kind};
    set(telemetry, FAMILY_MISSED, values, (double)count);
}

static void set_dependencies(struct dj_telemetry *telemetry, const struct dj_sentry_board *board)
{
    for (uint32_t i = 0; board && i < board->count; i++) {
        struct dj_sentry_sight sight;
        board->rows[i].look(board->rows[i].ctx, &sight);
        const struct dj_sentry_report *sentry = &sight.sentry;
        set_one(telemetry, FAMILY_CIRCUIT, sentry->name, sentry->state);
        add_one(telemetry, FAMILY_CALLS_REFUSED, sentry->name, &telemetry->sentries_seen[i].refused,
                sentry->refused + sentry->overflowed + sentry->expired);
        add_one(telemetry, FAMILY_RETRIES, sentry->name, &telemetry->sentries_seen[i].retries,
                sentry->retries);
        if (!sight.is_tier)
            continue;
        set_one(telemetry, FAMILY_LEVEL_UP, sentry->name, strcmp(sight.state, "up") == 0 ? 1 : 0);
        add_one(telemetry, FAMILY_CALLS_LATE, sentry->name, &telemetry->sentries_seen[i].late,
                sentry->late);
        set_missed(telemetry, sentry->name, "put", sight.missed_puts);
        set_missed(telemetry, sentry->name, "remove", sight.missed_removes);
        add_one(telemetry, FAMILY_REPLAYED, sentry->name, &telemetry->sentries_seen[i].replayed,
                sight.replayed);
        add_one(telemetry, FAMILY_MISSED_DROPPED, sentry->name,
                &telemetry->sentries_seen[i].dropped, sight.dropped);
    }
}

static double sum_of(series_slot *slots, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += dj_series_value(atomic_load_explicit(&slots[i], memory_order_acquire));
    return sum;
}

/* By kind of cache, over all tenants; a kind that was never asked has no rate. */
static void set_hit_rates(struct dj_telemetry *telemetry)
{
    double hits[API_COUNT] = {0};
    double misses[API_COUNT] = {0};
    for (size_t i = 0; i <= TENANT_SLOTS; i++) {
        struct tenant *tenant =
            i < TENANT_SLOTS ? atomic_load_explicit(&telemetry->tenants[i], memory_order_acquire)
                             : &telemetry->other;
        if (!tenant || (i < TENANT_SLOTS && tenant->labels == &telemetry->other_labels))
            continue;
        for (size_t api = 0; api < API_COUNT; api++) {
            hits[api] += sum_of(tenant->labels->hits[api], LEVEL_COUNT);
            misses[api] += sum_of(&tenant->labels->misses[api], 1);
        }
    }
    /* APIs of one type lie side by side. */
    for (size_t api = 0; api < API_COUNT; api++) {
        const char *type = dj_telemetry_cache_types[api];
        const char *next = api + 1 < API_COUNT ? dj_telemetry_cache_types[api + 1] : NULL;
        if (type && next && strcmp(type, next) == 0) {
            hits[api + 1] += hits[api];
            misses[api + 1] += misses[api];
        } else if (type && hits[api] + misses[api] > 0) {
            set_one(telemetry, FAMILY_HIT_RATE, type, hits[api] / (hits[api] + misses[api]));
        }
    }
}

/* The index-th number (from 0) of /proc/self/statm, in pages; 0 if it cannot be read. */
static uint64_t statm_pages(unsigned index)
{
    char text[128];
    uint64_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof text);
    close(fd);
    size_t at = 0;
    for (unsigned field = 0; len > 0 && at < (size_t)len; field++) {
        size_t end = at;
        while (end < (size_t)len && text[end] != ' ' && text[end] != '\n')
            end++;
        if (field == index && dj_num_parse_u64(deja_slice(text + at, end - at), &pages) != DEJA_OK)
            return 0;
        if (field == index)
            return pages;
        at = end + 1;
    }
    return 0;
}

static double open_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;
    if (!directory)
        return 0;
    while (readdir(directory))
        count++;
    closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

static void set_process(struct dj_telemetry *telemetry, int64_t started_ms)
{
    struct rusage usage = {0};
    struct rlimit fds = {0};
    double page = (double)sysconf(_SC_PAGESIZE);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        struct dj_series *cpu = dj_telemetry_series(telemetry, FAMILY_CPU, NULL);
        double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
        if (cpu && seconds > dj_series_value(cpu))
            dj_series_add(cpu, seconds - dj_series_value(cpu));
    }
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
        set(telemetry, FAMILY_MAX_FDS, NULL, (double)fds.rlim_cur);
    set(telemetry, FAMILY_OPEN_FDS, NULL, open_fds());
    set(telemetry, FAMILY_VIRTUAL, NULL, (double)statm_pages(0) * page);
    set(telemetry, FAMILY_RESIDENT, NULL, (double)statm_pages(1) * page);
    set(telemetry, FAMILY_START_TIME, NULL, (double)started_ms / 1000.0);
}

void dj_telemetry_gauges(struct dj_telemetry *telemetry, struct dj_engine *engine,
                         const struct dj_telemetry_now *now)
{
    const char *const build[] = {DEJA_VERSION, DJ_BUILD_COMMIT};
    pthread_mutex_lock(&telemetry->gauges_lock);
    set_tenants(telemetry, engine);
    set_tiers(telemetry, engine, now->is_lmdb_up);
    set_levels(telemetry, engine);
    set_dependencies(telemetry, now->dependencies);
    dj_telemetry_kinds(telemetry, now->kinds);
    set_hit_rates(telemetry);
    set_process(telemetry, now->started_ms);
    set(telemetry, FAMILY_BUILD_INFO, build, 1);
    set(telemetry, FAMILY_DEGRADED, NULL, now->is_degraded ? 1 : 0);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "workers", now->workers_queued);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "reads", now->reads_queued);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "flights", now->flights);
    set_one(telemetry, FAMILY_QUEUE_DEPTH, "upstream", now->upstream_queued);
    dj_series_add(dj_telemetry_series(telemetry, FAMILY_VOLATILE, NULL),
                  more_than(&telemetry->volatile_seen, now->volatile_met));
    pthread_mutex_unlock(&telemetry->gauges_lock);
}
