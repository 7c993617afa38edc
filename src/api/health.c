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

#define COMPONENTS 10u

/* A tier that is asked behind a breaker, by what the breaker says; disabled if there is none. */
static struct component tier_component(const struct dj_probe *probe,
                                       const struct dj_sentry_board *board, enum dj_level level)
{
    struct dj_sentry_sight sight;
    const char *name = dj_level_text(level);
    struct component found =
        component(name, probe->levels[level].health, probe->levels[level].ms, "does not answer");
    if (!dj_probe_find_tier(board, name, &sight))
        return found;
    if (strcmp(sight.state, "up") != 0) {
        found = component(name, dj_probe_rate_state(sight.state), -1,
                          "not asked for now: it failed too often");
        if (found.health == DJ_HEALTH_DEGRADED)
            found.message = "recovering";
    }
    return found;
}

/* Sealing of what is kept. Trouble there makes misses, no more. */
static struct component encryption_component(const struct dj_api_encryption *encryption)
{
    const char *trouble = encryption->ctx ? encryption->trouble(encryption->ctx) : NULL;
    bool is_on = encryption->ctx && encryption->is_on(encryption->ctx);
    struct component found =
        component("encryption", is_on ? DJ_HEALTH_HEALTHY : DJ_HEALTH_DISABLED, -1, NULL);
    if (trouble) {
        found.health = DJ_HEALTH_DEGRADED;
        found.message = trouble;
    }
    return found;
}

static void fill(const struct dj_probe *probe, const struct dj_api *api,
                 struct component out[COMPONENTS])
{
    const struct dj_sentry_board *board = api->proxy->dependencies;
    size_t count = 0;
    out[count++] = component("l1", DJ_HEALTH_HEALTHY, probe->memory_ms, NULL);
    out[count++] = component("lmdb", probe->levels[DJ_LEVEL_LMDB].health,
                             probe->levels[DJ_LEVEL_LMDB].ms, "does not answer");
    for (enum dj_level level = DJ_LEVEL_REDIS; level < DJ_LEVEL_COUNT; level++)
        out[count++] = tier_component(probe, board, level);
    out[count++] = component("embedder", probe->embedder, probe->embedder_ms, "cannot embed");
    out[count] = component("vector_store", probe->index, -1, NULL);
    if (probe->index == DJ_HEALTH_DEGRADED)
        out[count].message = "still loading";
    count++;
    out[count++] = component("lru_manager", DJ_HEALTH_HEALTHY, -1, NULL);
    out[count] = component("circuit_breaker", probe->dependencies, -1, "open: see details");
    if (probe->dependencies == DJ_HEALTH_DEGRADED)
        out[count].message = "recovering: see details";
    count++;
    out[count++] = encryption_component(&api->encryption);
}

static void write_store(struct dj_json_writer *w, const struct dj_store_stats *stats)
{
    dj_json_member_u64(w, "entries", stats->entries);
    dj_json_member_u64(w, "bytes", stats->bytes);
    dj_json_member_u64(w, "bytes_max", stats->bytes_max);
}

/* What this program knows of what others made void. */
static void write_generations(struct dj_json_writer *w, const struct dj_authority_stats *authority)
{
    dj_json_key(w, "generations");
    dj_json_begin_object(w);
    dj_json_key(w, "age_ms");
    if (authority->age_ms >= 0)
        dj_json_put_i64(w, authority->age_ms);
    else
        dj_json_put_null(w); /* nothing of any tier below memory is read yet */
    dj_json_member_bool(w, "failing", authority->is_failing);
    dj_json_member_u64(w, "unconfirmed", authority->held);
    dj_json_member_u64(w, "losses", authority->losses);
    dj_json_end_object(w);
}

static void write_shared(struct dj_json_writer *w, const char *name,
                         const struct dj_engine_stats *stats)
{
    if (stats->authority.level && strcmp(stats->authority.level, name) == 0)
        write_generations(w, &stats->authority);
    for (uint32_t i = 0; i < stats->tier_count; i++) {
        const struct dj_tier_stats *tier = &stats->tiers[i];
        if (strcmp(tier->level, name) != 0)
            continue;
        write_store(w, &tier->store);
        dj_json_member_bool(w, "read_only", tier->is_read_only);
        dj_json_member_u64(w, "writes_behind", tier->behind);
        dj_json_member_u64(w, "writes_dropped", tier->dropped);
        dj_json_member_u64(w, "late_reads", tier->late);
    }
}

static void write_sight(struct dj_json_writer *w, const struct dj_sentry_sight *sight)
{
    const struct dj_sentry_report *sentry = &sight->sentry;
    dj_json_key(w, sentry->name);
    dj_json_begin_object(w);
    dj_json_member_text(w, "state", dj_breaker_state_text(sentry->state));
    dj_json_member_u64(w, "since_ms", sentry->since_ms);
    dj_json_member_u64(w, "calls", sentry->calls);
    dj_json_member_u64(w, "failures", sentry->failures);
    dj_json_member_u64(w, "refused", sentry->refused);
    dj_json_member_u64(w, "retries", sentry->retries);
    dj_json_member_u64(w, "opened", sentry->opened);
    if (sentry->last_error[0])
        dj_json_member_text(w, "last_error", sentry->last_error);
    if (sight->is_tier) {
        dj_json_member_text(w, "tier", sight->state);
        dj_json_member_u64(w, "missed_puts", sight->missed_puts);
        dj_json_member_u64(w, "missed_removes", sight->missed_removes);
        dj_json_member_u64(w, "missed_reads", sight->missed_reads);
        dj_json_member_u64(w, "replayed", sight->replayed);
        dj_json_member_u64(w, "dropped", sight->dropped);
    }
    dj_json_end_object(w);
}

/* Of every dependency, or of the one that is named. */
static void write_sights(struct dj_json_writer *w, const struct dj_sentry_board *board,
                         const char *name)
{
    for (uint32_t i = 0; board && i < board->count; i++) {
        struct dj_sentry_sight sight;
        board->rows[i].look(board->rows[i].ctx, &sight);
        if (!name || strcmp(sight.sentry.name, name) == 0)
            write_sight(w, &sight);
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
    } else if (strcmp(name, "vector_store") == 0) {
        dj_json_member_u64(w, "vectors", stats->vectors);
        dj_json_member_u64(w, "bytes", stats->vector_bytes);
    } else if (strcmp(name, "embedder") == 0) {
        dj_json_member_text(w, "id", embedder->id);
        dj_json_member_u64(w, "dimension", embedder->dim);
    } else if (strcmp(name, "lru_manager") == 0) {
        dj_json_member_bool(w, "tracking_enabled", true);
        dj_json_member_u64(w, "tenants_tracked", dj_telemetry_tenant_count(context->telemetry));
        dj_json_member_u64(w, "evictions", stats->memory.evictions);
    } else if (strcmp(name, "circuit_breaker") == 0) {
        write_sights(w, context->dependencies, NULL);
    } else if (strcmp(name, "encryption") == 0) {
        const struct dj_api_encryption *encryption = &health->request->api->encryption;
        encryption->write(encryption->ctx, w);
    } else {
        write_shared(w, name, stats);
        write_sights(w, context->dependencies, name);
    }
}

static void describe(struct dj_json_writer *w, const struct health *health, const char *name,
                     const struct dj_engine_stats *stats)
{
    const struct dj_api *api = health->request->api;
    write_figures(w, health, name, stats);
    if (api->describe)
        api->describe(api->describe_ctx, name, w);
}

static void write_component(struct dj_json_writer *w, const struct health *health,
                            const struct component *component, const struct dj_engine_stats *stats)
{
    dj_json_key(w, component->name);
    dj_json_begin_object(w);
    dj_json_member_text(w, "status", dj_health_text(component->health));
    dj_json_member_text(w, "message", component->message);
    dj_json_key(w, "details");
    dj_json_begin_object(w);
    if (component->latency_ms >= 0)
        dj_json_member_double(w, "latency_ms", component->latency_ms);
    if (health->is_detailed && component->health != DJ_HEALTH_DISABLED)
        describe(w, health, component->name, stats);
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
    fill(probe, request->api, components);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "status", dj_health_text(verdict));
    dj_request_put_time(&w, "timestamp", dj_loop_now_ms(request->loop));
    dj_json_member_text(&w, "version", DEJA_VERSION);
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
