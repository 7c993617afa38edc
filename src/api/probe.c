/* api/probe.c - see probe.h. */
#include "api/probe.h"

#include "loop/pool.h"

struct asking;

struct asking_tier {
    struct asking *asking;
    enum dj_level level;
};

struct asking {
    struct dj_probe probe;
    struct asking_tier tiers[DJ_TIERS_MAX];
    uint32_t left; /* tiers under way, and one for the start */
    struct dj_request *request;
    bool is_detailed;
    void *ctx;
    dj_probe_done_fn *done;
    struct dj_job job;
    uint64_t started_us;
    enum deja_status embedder_status;
    float *vector; /* scratch of the embedder; in the arena */
};

const char *dj_health_text(enum dj_health health)
{
    static const char *const texts[] = {"disabled", "healthy", "degraded", "unhealthy"};
    return texts[health];
}

static enum dj_health rate(enum deja_status status, double latency_ms)
{
    if (status != DEJA_OK)
        return DJ_HEALTH_UNHEALTHY;
    return latency_ms > DJ_PROBE_SLOW_MS ? DJ_HEALTH_DEGRADED : DJ_HEALTH_HEALTHY;
}

enum dj_health dj_probe_verdict(const struct dj_probe *probe)
{
    bool is_well = probe->embedder <= DJ_HEALTH_HEALTHY && probe->index <= DJ_HEALTH_HEALTHY &&
                   probe->dependencies <= DJ_HEALTH_HEALTHY;
    for (size_t i = 0; i < DJ_LEVEL_COUNT; i++)
        is_well = is_well && probe->levels[i].health <= DJ_HEALTH_HEALTHY;
    return is_well ? DJ_HEALTH_HEALTHY : DJ_HEALTH_DEGRADED;
}

enum dj_health dj_probe_rate_state(const char *state)
{
    if (strcmp(state, "up") == 0)
        return DJ_HEALTH_HEALTHY;
    bool is_coming = strcmp(state, "half_open") == 0 || strcmp(state, "behind") == 0;
    return is_coming ? DJ_HEALTH_DEGRADED : DJ_HEALTH_UNHEALTHY;
}

static enum dj_health worst_of(const struct dj_sentry_board *board)
{
    enum dj_health worst = DJ_HEALTH_DISABLED;
    for (uint32_t i = 0; board && i < board->count; i++) {
        struct dj_sentry_sight sight;
        board->rows[i].look(board->rows[i].ctx, &sight);
        enum dj_health health = dj_probe_rate_state(sight.state);
        worst = health > worst ? health : worst;
    }
    return worst;
}

static bool find_sight(const struct dj_sentry_board *board, const char *name, bool is_tier,
                       struct dj_sentry_sight *out_sight)
{
    struct dj_sentry_sight sight;
    for (uint32_t i = 0; board && i < board->count; i++) {
        board->rows[i].look(board->rows[i].ctx, &sight);
        if (sight.is_tier != is_tier || strcmp(sight.sentry.name, name) != 0)
            continue;
        *out_sight = sight;
        return true;
    }
    return false;
}

static void finish(struct asking *asking)
{
    struct dj_engine *engine = asking->request->api->proxy->engine;
    bool has_embedder = dj_engine_embedder(engine) != NULL;
    dj_engine_stats(engine, NULL, &asking->probe.stats);
    asking->probe.index = !has_embedder                         ? DJ_HEALTH_DISABLED
                          : !asking->probe.stats.is_index_ready ? DJ_HEALTH_DEGRADED
                                                                : DJ_HEALTH_HEALTHY;
    asking->probe.dependencies = worst_of(asking->request->api->proxy->dependencies);
    asking->done(asking->ctx, &asking->probe);
}

static void embed_word(void *ctx)
{
    struct asking *asking = ctx;
    const struct dj_embedder *embedder = dj_engine_embedder(asking->request->api->proxy->engine);
    struct deja_slice word = deja_slice_text("health");
    uint64_t started_us = dj_clock_monotonic_us();
    /* The table's embed() is safe from several workers; const is the engine's promise not to end
     * it, and embed() keeps no visible state. */
    asking->embedder_status =
        embedder->ops->embed((struct dj_embedder *)(uintptr_t)embedder, &word, 1, asking->vector);
    asking->probe.embedder_ms = (double)(dj_clock_monotonic_us() - started_us) / 1e3;
}

static void on_embedded(void *ctx)
{
    struct asking *asking = ctx;
    asking->probe.embedder = rate(asking->embedder_status, asking->probe.embedder_ms);
    atomic_store_explicit(&asking->request->api->embedder_health, (int)asking->probe.embedder,
                          memory_order_relaxed);
    finish(asking);
}

/* An embedder behind a breaker is another's, and every call of it may be paid for: it is asked once
 * in DJ_PROBE_EMBEDDER_MS, whoever asks how it is, and otherwise rated by its breaker and by what
 * it said last. One of this program is asked each time. */
static bool is_embedder_told(struct asking *asking)
{
    struct dj_api *api = asking->request->api;
    struct dj_sentry_sight sight;
    if (!find_sight(api->proxy->dependencies, "embedder", false, &sight))
        return false;
    uint64_t now_ms = dj_loop_monotonic_us(asking->request->loop) / 1000;
    uint64_t due_ms = atomic_load_explicit(&api->embedder_due_ms, memory_order_relaxed);
    if (now_ms >= due_ms && atomic_compare_exchange_strong(&api->embedder_due_ms, &due_ms,
                                                           now_ms + DJ_PROBE_EMBEDDER_MS))
        return false;
    int last = atomic_load_explicit(&api->embedder_health, memory_order_relaxed);
    enum dj_health state = dj_probe_rate_state(sight.state);
    asking->probe.embedder = (int)state > last ? state : (enum dj_health)last;
    return true;
}

static void ask_embedder(struct asking *asking)
{
    struct dj_request *request = asking->request;
    const struct dj_embedder *embedder = dj_engine_embedder(request->api->proxy->engine);
    asking->probe.embedder = embedder ? DJ_HEALTH_HEALTHY : DJ_HEALTH_DISABLED;
    if (!asking->is_detailed || !embedder || is_embedder_told(asking)) {
        finish(asking);
        return;
    }
    asking->vector = dj_arena_alloc(request->arena, sizeof(float) * embedder->dim);
    asking->job = (struct dj_job){
        .work = embed_word, .done = on_embedded, .ctx = asking, .loop = request->loop};
    if (!asking->vector) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
    } else if (dj_pool_submit(request->api->proxy->pool, &asking->job) != DEJA_OK) {
        asking->probe.embedder = DJ_HEALTH_UNHEALTHY; /* its queue is full */
        finish(asking);
    }
}

static void leave_tiers(struct asking *asking)
{
    if (--asking->left == 0)
        ask_embedder(asking);
}

static void take_tier(struct asking_tier *tier, enum deja_status status)
{
    struct asking *asking = tier->asking;
    double ms = (double)(dj_loop_monotonic_us(asking->request->loop) - asking->started_us) / 1e3;
    asking->probe.levels[tier->level].ms = ms;
    asking->probe.levels[tier->level].health = rate(status, ms);
}

static void on_probed(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct asking_tier *tier = ctx;
    dj_value_unref(value);
    take_tier(tier, status);
    leave_tiers(tier->asking);
}

bool dj_probe_find_tier(const struct dj_sentry_board *board, const char *name,
                        struct dj_sentry_sight *out_sight)
{
    return find_sight(board, name, true, out_sight);
}

/* What its breaker says is enough, or all there is to be had: nobody waits for a tier that is down,
 * and a scrape for none. */
static bool is_told(struct asking *asking, enum dj_level level)
{
    struct dj_sentry_sight sight;
    if (!dj_probe_find_tier(asking->request->api->proxy->dependencies, dj_level_text(level),
                            &sight))
        return false;
    asking->probe.levels[level].health = dj_probe_rate_state(sight.state);
    return !asking->is_detailed || asking->probe.levels[level].health != DJ_HEALTH_HEALTHY;
}

static void ask_tiers(struct asking *asking)
{
    struct dj_engine *engine = asking->request->api->proxy->engine;
    enum deja_status status = DEJA_OK;
    asking->left = 1;
    for (uint32_t i = 0; i < DJ_TIERS_MAX && status != DEJA_ERR_NOT_FOUND; i++) {
        struct asking_tier *tier = &asking->tiers[i];
        *tier = (struct asking_tier){.asking = asking, .level = dj_engine_level(engine, i)};
        if (tier->level != DJ_LEVEL_COUNT && is_told(asking, tier->level))
            continue;
        status = dj_engine_probe(engine, asking->request->loop, i, tier, on_probed);
        if (status == DEJA_OK)
            asking->left++;
        else if (status != DEJA_ERR_NOT_FOUND)
            take_tier(tier, status);
    }
    leave_tiers(asking);
}

void dj_probe_start(struct dj_request *request, bool is_detailed, void *ctx, dj_probe_done_fn *done)
{
    static const struct dj_store_key nobody = {{0}, {0}}; /* no tenant has this id */
    struct dj_engine *engine = request->api->proxy->engine;
    struct asking *asking = dj_arena_alloc(request->arena, sizeof *asking);
    if (!asking) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *asking = (struct asking){.probe = {.embedder_ms = -1},
                              .request = request,
                              .is_detailed = is_detailed,
                              .ctx = ctx,
                              .done = done,
                              .started_us = dj_loop_monotonic_us(request->loop)};
    dj_value_unref(dj_engine_find(engine, request->loop, &nobody, 0));
    asking->probe.memory_ms =
        (double)(dj_loop_monotonic_us(request->loop) - asking->started_us) / 1e3;
    for (size_t i = 0; i < DJ_LEVEL_COUNT; i++)
        asking->probe.levels[i].ms = -1;
    ask_tiers(asking);
}
