/* api/health.c - /health and /health/detailed: every component asked, then one verdict.
 *
 *   embedded tier   a look-up of a key that nobody has, timed
 *   embedder        (detailed only) a word embedded on a worker, timed
 *
 * A component that is not configured is "disabled" and does not count. Slower than 100 ms is
 * degraded. Memory always serves, so no more than degraded (207) comes of a sick tier; draining is
 * unhealthy (503).
 */
#include "api/handlers.h"

#include "loop/pool.h"

#define SLOW_MS 100.0

enum health_status { HEALTH_DISABLED, HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_UNHEALTHY };
static const char *const status_texts[] = {"disabled", "healthy", "degraded", "unhealthy"};

/* In the request's arena. */
struct health {
    struct dj_request *request;
    bool is_detailed;
    struct dj_job job;
    uint64_t started_us;
    enum deja_status lmdb_status;
    double lmdb_ms;
    enum deja_status embedder_status;
    double embedder_ms;
    bool is_embedder_asked;
    float *vector; /* scratch of the embedder; in the arena */
};

struct component {
    const char *name;
    enum health_status status;
    const char *message;
    double latency_ms; /* < 0: not measured */
};

static enum health_status rate(enum deja_status status, double latency_ms)
{
    if (status != DEJA_OK)
        return HEALTH_UNHEALTHY;
    return latency_ms > SLOW_MS ? HEALTH_DEGRADED : HEALTH_HEALTHY;
}

static const char *message_of(enum health_status status, const char *sick)
{
    switch (status) {
    case HEALTH_DISABLED:
        return "not configured";
    case HEALTH_HEALTHY:
        return "ok";
    case HEALTH_DEGRADED:
        return "slow";
    default:
        return sick;
    }
}

#define COMPONENTS 9u

static void fill(const struct health *health, const struct dj_engine_stats *stats,
                 struct component out[COMPONENTS])
{
    bool has_embedder = dj_engine_embedder(health->request->api->proxy->engine) != NULL;
    size_t count = 0;
    out[count++] = (struct component){"l1", HEALTH_HEALTHY, "ok", 0};
    enum health_status lmdb =
        stats->has_lmdb ? rate(health->lmdb_status, health->lmdb_ms) : HEALTH_DISABLED;
    out[count++] = (struct component){"lmdb", lmdb, message_of(lmdb, "does not answer"),
                                      stats->has_lmdb ? health->lmdb_ms : -1};
    enum health_status embedder = has_embedder ? HEALTH_HEALTHY : HEALTH_DISABLED;
    if (has_embedder && health->is_embedder_asked)
        embedder = rate(health->embedder_status, health->embedder_ms);
    out[count++] =
        (struct component){"embedder", embedder, message_of(embedder, "cannot embed"),
                           has_embedder && health->is_embedder_asked ? health->embedder_ms : -1};
    out[count++] = (struct component){"vector_store",
                                      !has_embedder            ? HEALTH_DISABLED
                                      : !stats->is_index_ready ? HEALTH_DEGRADED
                                                               : HEALTH_HEALTHY,
                                      !has_embedder            ? "not configured"
                                      : !stats->is_index_ready ? "still loading"
                                                               : "ok",
                                      -1};
    out[count++] = (struct component){"lru_manager", HEALTH_HEALTHY, "ok", -1};
    static const char *const absent[] = {"circuit_breaker", "redis", "postgres", "s3"};
    for (size_t i = 0; i < 4; i++)
        out[count++] = (struct component){absent[i], HEALTH_DISABLED, "not configured", -1};
}

static void put_count(struct dj_json_writer *w, const char *name, uint64_t value)
{
    dj_json_key(w, name);
    dj_json_put_u64(w, value);
}

static void write_store(struct dj_json_writer *w, const struct dj_store_stats *stats)
{
    put_count(w, "entries", stats->entries);
    put_count(w, "bytes", stats->bytes);
    put_count(w, "bytes_max", stats->bytes_max);
}

static void write_details(struct dj_json_writer *w, const struct health *health,
                          const struct component *component, const struct dj_engine_stats *stats)
{
    const struct dj_embedder *embedder = dj_engine_embedder(health->request->api->proxy->engine);
    dj_json_key(w, "details");
    dj_json_begin_object(w);
    if (component->latency_ms >= 0) {
        dj_json_key(w, "latency_ms");
        dj_json_put_double(w, component->latency_ms);
    }
    if (health->is_detailed && component->status != HEALTH_DISABLED) {
        if (strcmp(component->name, "l1") == 0)
            write_store(w, &stats->memory);
        else if (strcmp(component->name, "lmdb") == 0)
            write_store(w, &stats->lmdb);
        else if (strcmp(component->name, "vector_store") == 0) {
            put_count(w, "vectors", stats->vectors);
            put_count(w, "bytes", stats->vector_bytes);
        } else if (strcmp(component->name, "embedder") == 0) {
            dj_json_key(w, "id");
            dj_json_put_text(w, embedder->id);
            put_count(w, "dimension", embedder->dim);
        } else if (strcmp(component->name, "lru_manager") == 0) {
            dj_json_key(w, "tracking_enabled");
            dj_json_put_bool(w, true);
            put_count(w, "evictions", stats->memory.evictions);
        }
    }
    dj_json_end_object(w);
}

static void answer(struct health *health)
{
    struct dj_request *request = health->request;
    struct dj_engine_stats stats;
    struct component components[COMPONENTS];
    bool is_draining = atomic_load(&request->api->is_draining);
    bool is_degraded = false;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_engine_stats(request->api->proxy->engine, NULL, &stats);
    fill(health, &stats, components);
    for (size_t i = 0; i < COMPONENTS; i++)
        is_degraded = is_degraded || components[i].status > HEALTH_HEALTHY;
    enum health_status verdict = is_draining   ? HEALTH_UNHEALTHY
                                 : is_degraded ? HEALTH_DEGRADED
                                               : HEALTH_HEALTHY;
    dj_json_begin_object(&w);
    dj_json_key(&w, "status");
    dj_json_put_text(&w, status_texts[verdict]);
    dj_request_put_time(&w, "timestamp", dj_loop_now_ms(request->loop));
    dj_json_key(&w, "version");
    dj_json_put_text(&w, DEJA_VERSION);
    dj_json_key(&w, "components");
    dj_json_begin_object(&w);
    for (size_t i = 0; i < COMPONENTS; i++) {
        dj_json_key(&w, components[i].name);
        dj_json_begin_object(&w);
        dj_json_key(&w, "status");
        dj_json_put_text(&w, status_texts[components[i].status]);
        dj_json_key(&w, "message");
        dj_json_put_text(&w, components[i].message);
        write_details(&w, health, &components[i], &stats);
        dj_json_end_object(&w);
    }
    dj_json_end_object(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, is_draining ? 503 : is_degraded ? 207 : 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- asking ---- */

static void embed_word(void *ctx)
{
    struct health *health = ctx;
    const struct dj_embedder *embedder = dj_engine_embedder(health->request->api->proxy->engine);
    struct deja_slice word = deja_slice_text("health");
    uint64_t started_us = dj_clock_monotonic_us();
    /* The table's embed() is safe from several workers; const is the engine's promise not to end
     * it, and embed() keeps no visible state. */
    health->embedder_status =
        embedder->ops->embed((struct dj_embedder *)(uintptr_t)embedder, &word, 1, health->vector);
    health->embedder_ms = (double)(dj_clock_monotonic_us() - started_us) / 1e3;
}

static void on_embedded(void *ctx)
{
    answer(ctx);
}

static void ask_embedder(struct health *health)
{
    struct dj_request *request = health->request;
    const struct dj_embedder *embedder = dj_engine_embedder(request->api->proxy->engine);
    if (!health->is_detailed || !embedder) {
        answer(health);
        return;
    }
    health->vector = dj_arena_alloc(request->arena, sizeof(float) * embedder->dim);
    if (!health->vector) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    health->is_embedder_asked = true;
    health->job = (struct dj_job){
        .work = embed_word, .done = on_embedded, .ctx = health, .loop = request->loop};
    if (dj_pool_submit(request->api->proxy->pool, &health->job) != DEJA_OK) {
        health->embedder_status = DEJA_ERR_BUSY;
        answer(health);
    }
}

static void on_probed(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct health *health = ctx;
    dj_value_unref(value);
    health->lmdb_status = status;
    health->lmdb_ms =
        (double)(dj_loop_monotonic_us(health->request->loop) - health->started_us) / 1e3;
    ask_embedder(health);
}

static void start(struct dj_request *request, bool is_detailed)
{
    static const struct dj_store_key nobody = {{0}, {0}}; /* no tenant has this id */
    struct health *health = dj_arena_alloc(request->arena, sizeof *health);
    if (!health) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *health = (struct health){.request = request,
                              .is_detailed = is_detailed,
                              .started_us = dj_loop_monotonic_us(request->loop)};
    enum deja_status status =
        dj_engine_get(request->api->proxy->engine, request->loop, &nobody, health, on_probed);
    if (status != DEJA_OK) {
        health->lmdb_status = status;
        ask_embedder(health);
    }
}

void dj_ops_health(struct dj_request *request)
{
    start(request, false);
}

void dj_ops_health_detailed(struct dj_request *request)
{
    start(request, true);
}
