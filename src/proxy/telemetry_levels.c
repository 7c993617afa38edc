/* proxy/telemetry_levels.c - what each level did and has, for whoever shows it.
 *
 * Look-ups walk down: those that came to a level are all that were counted as a hit or a miss, less
 * the hits above it. Evictions of tiers that tell of each are counted by tenant
 * (dj_telemetry_evicted); the others tell a sum.
 */
#include "cache/engine.h"
#include "proxy/telemetry_internal.h"

static_assert(LEVEL_COUNT == DJ_LEVEL_COUNT + 1, "the same levels, after \"none\"");

static void fill(struct dj_level_figures *figures, const char *name,
                 const struct dj_store_stats *stats, const struct dj_level_totals *level,
                 uint64_t *asked)
{
    uint64_t evictions = level->evictions > stats->evictions ? level->evictions : stats->evictions;
    uint64_t expired = level->expired > stats->expired ? level->expired : stats->expired;
    uint64_t misses = *asked > level->hits ? *asked - level->hits : 0;
    *figures = (struct dj_level_figures){
        .level = name,
        .entries = stats->entries,
        .bytes = stats->bytes,
        .bytes_max = stats->bytes_max,
        .evictions = evictions,
        .expired = expired,
        .hits = level->hits,
        .misses = misses,
        .hit_rate = *asked ? (double)level->hits / (double)*asked : 0,
        .latency_s = level->hits ? (double)level->us / 1e6 / (double)level->hits : 0,
    };
    *asked = misses;
}

uint32_t dj_telemetry_levels(struct dj_telemetry *telemetry, struct dj_engine *engine,
                             const uint8_t *tenant,
                             struct dj_level_figures out_levels[DJ_TELEMETRY_LEVELS])
{
    struct dj_telemetry_totals totals;
    struct dj_engine_stats stats;
    uint32_t count = 0;
    dj_telemetry_totals(telemetry, tenant, &totals);
    dj_engine_stats(engine, tenant, &stats);
    uint64_t asked = totals.results[DJ_RESULT_HIT_EXACT] + totals.results[DJ_RESULT_HIT_SEMANTIC] +
                     totals.results[DJ_RESULT_MISS];
    fill(&out_levels[count++], "memory", &stats.memory, &totals.levels[LEVEL_MEMORY], &asked);
    for (uint32_t i = 0; i < stats.tier_count && count < DJ_TELEMETRY_LEVELS; i++)
        fill(&out_levels[count++], stats.tiers[i].level, &stats.tiers[i].store,
             &totals.levels[stats.tiers[i].place + 1], &asked);
    return count;
}
