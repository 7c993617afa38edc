/* api/health.c - /health and /health/detailed: the probe's findings, component by component.
 *
 * A component that is not configured is "disabled" and does not count. Slower than 100 ms is
 * degraded. Memory always serves, so no more than degraded (207) comes of a sick tier; draining is
 * unhealthy (503).
 */
#include "api/handlers.h"
#include "api/probe.h"

/* In the request's arena. */
struct health {
    struct dj_request *request;
    bool is_detailed;
};

struct component {
    const char *name;
    enum dj_health health;
    const char *message;
    double latency_ms; /* < 0: not measured */
};

static struct component component(const char *name, enum dj_health health, double latency_ms,
                                  const char *sick)
{
    const char *message = health == DJ_HEALTH_DISABLED   ? "not configured"
                          : health == DJ_HEALTH_HEALTHY  ? "ok"
                          : health == DJ_HEALTH_DEGRADED ? "slow"
                                                         : sick;
    return (struct component){name, health, message, latency_ms};
}

#define COMPONENTS 9u

static void fill(const struct dj_probe *probe, struct component out[COMPONENTS])
{
    size_t count = 0;
    out[count++] = component("l1", DJ_HEALTH_HEALTHY, probe->memory_ms, NULL);
    for (enum dj_level level = DJ_LEVEL_LMDB; level < DJ_LEVEL_COUNT; level++)
        out[count++] = component(dj_level_text(level), probe->levels[level].health,
                                 probe->levels[level].ms, "does not answer");
    out[count++] = component("embedder", probe->embedder, probe->embedder_ms, "cannot embed");
    out[count] = component("vector_store", probe->index, -1, NULL);
    if (probe->index == DJ_HEALTH_DEGRADED)
        out[count].message = "still loading";
    count++;
    out[count++] = component("lru_manager", DJ_HEALTH_HEALTHY, -1, NULL);
    out[count++] = component("circuit_breaker", DJ_HEALTH_DISABLED, -1, NULL);
}

static void write_store(struct dj_json_writer *w, const struct dj_store_stats *stats)
{
    dj_json_member_u64(w, "entries", stats->entries);
    dj_json_member_u64(w, "bytes", stats->bytes);
    dj_json_member_u64(w, "bytes_max", stats->bytes_max);
}

static void write_shared(struct dj_json_writer *w, const char *name,
                         const struct dj_engine_stats *stats)
{
    for (uint32_t i = 0; i < stats->tier_count; i++) {
        const struct dj_tier_stats *tier = &stats->tiers[i];
        if (strcmp(tier->level, name) != 0)
            continue;
        write_store(w, &tier->store);
        dj_json_key(w, "read_only");
        dj_json_put_bool(w, tier->is_read_only);
        dj_json_member_u64(w, "writes_behind", tier->behind);
        dj_json_member_u64(w, "writes_dropped", tier->dropped);
        dj_json_member_u64(w, "late_reads", tier->late);
    }
}

static void write_figures(struct dj_json_writer *w, const struct health *health, const char *name,
                          const struct dj_engine_stats *stats)
{
    struct dj_proxy_context *context = health->request->api->proxy;
    const struct dj_embedder *embedder = dj_engine_embedder(context->engine);
    if (strcmp(name, "l1") == 0) {
        write_store(w, &stats->memory);
    } else if (strcmp(name, "lmdb") == 0) {
        write_store(w, &stats->lmdb);
        dj_json_member_u64(w, "queued_writes", stats->lmdb.queued);
    } else if (dj_level_bit(deja_slice_text(name)) & DJ_LEVELS_SHARED) {
        write_shared(w, name, stats);
    } else if (strcmp(name, "vector_store") == 0) {
        dj_json_member_u64(w, "vectors", stats->vectors);
        dj_json_member_u64(w, "bytes", stats->vector_bytes);
    } else if (strcmp(name, "embedder") == 0) {
        dj_json_key(w, "id");
        dj_json_put_text(w, embedder->id);
        dj_json_member_u64(w, "dimension", embedder->dim);
    } else if (strcmp(name, "lru_manager") == 0) {
        dj_json_key(w, "tracking_enabled");
        dj_json_put_bool(w, true);
        dj_json_member_u64(w, "tenants_tracked", dj_telemetry_tenant_count(context->telemetry));
        dj_json_member_u64(w, "evictions", stats->memory.evictions);
    }
}

static void write_component(struct dj_json_writer *w, const struct health *health,
                            const struct component *component, const struct dj_engine_stats *stats)
{
    dj_json_key(w, component->name);
    dj_json_begin_object(w);
    dj_json_key(w, "status");
    dj_json_put_text(w, dj_health_text(component->health));
    dj_json_key(w, "message");
    dj_json_put_text(w, component->message);
    dj_json_key(w, "details");
    dj_json_begin_object(w);
    if (component->latency_ms >= 0) {
        dj_json_key(w, "latency_ms");
        dj_json_put_double(w, component->latency_ms);
    }
    if (health->is_detailed && component->health != DJ_HEALTH_DISABLED)
        write_figures(w, health, component->name, stats);
    dj_json_end_object(w);
    dj_json_end_object(w);
}

static void on_probed(void *ctx, const struct dj_probe *probe)
{
    struct health *health = ctx;
    struct dj_request *request = health->request;
    struct component components[COMPONENTS];
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    enum dj_health verdict =
        atomic_load(&request->api->is_draining) ? DJ_HEALTH_UNHEALTHY : dj_probe_verdict(probe);
    fill(probe, components);
    dj_json_begin_object(&w);
    dj_json_key(&w, "status");
    dj_json_put_text(&w, dj_health_text(verdict));
    dj_request_put_time(&w, "timestamp", dj_loop_now_ms(request->loop));
    dj_json_key(&w, "version");
    dj_json_put_text(&w, DEJA_VERSION);
    dj_json_key(&w, "components");
    dj_json_begin_object(&w);
    for (size_t i = 0; i < COMPONENTS; i++)
        write_component(&w, health, &components[i], &probe->stats);
    dj_json_end_object(&w);
    dj_json_end_object(&w);
    dj_request_answer(request,
                      verdict == DJ_HEALTH_UNHEALTHY  ? 503
                      : verdict == DJ_HEALTH_DEGRADED ? 207
                                                      : 200,
                      NULL, &body);
    dj_buf_fini(&body);
}

static void start(struct dj_request *request, bool is_detailed)
{
    struct health *health = dj_arena_alloc(request->arena, sizeof *health);
    if (!health) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *health = (struct health){.request = request, .is_detailed = is_detailed};
    dj_probe_start(request, is_detailed, health, on_probed);
}

void dj_ops_health(struct dj_request *request)
{
    start(request, false);
}

void dj_ops_health_detailed(struct dj_request *request)
{
    start(request, true);
}
