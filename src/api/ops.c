/* api/ops.c - /metrics, /livez, /readyz, /healthz, /startupz and POST /admin/reload. */
#include "api/handlers.h"
#include "api/openapi.h"
#include "api/probe.h"
#include "base/slice.h"
#include "loop/pool.h"

#define METRICS_BYTES_MAX (32u * 1024u * 1024u)

static void write_metrics(void *ctx, const struct dj_probe *probe)
{
    struct dj_request *request = ctx;
    struct dj_proxy_context *context = request->api->proxy;
    bool is_openmetrics = dj_slice_contains(dj_http_find_header(request->http, "accept"),
                                            "application/openmetrics-text");
    struct dj_buf body;
    dj_buf_init(&body, METRICS_BYTES_MAX);
    dj_telemetry_gauges(
        context->telemetry, context->engine,
        &(struct dj_telemetry_now){
            .workers_queued = context->pool ? dj_pool_queued(context->pool) : 0,
            .reads_queued = context->reads ? dj_pool_queued(context->reads) : 0,
            .flights = atomic_load(&context->calls),
            .upstream_queued = dj_admission_waiting(context->admission),
            .volatile_met = context->volatiles ? dj_volatile_count(context->volatiles) : 0,
            .started_ms = context->started_ms,
            .is_lmdb_up = probe->levels[DJ_LEVEL_LMDB].health != DJ_HEALTH_UNHEALTHY,
            .dependencies = context->dependencies,
            .kinds = context->kinds,
            .is_degraded = dj_probe_verdict(probe) != DJ_HEALTH_HEALTHY,
        });
    if (request->api->resp)
        dj_resp_metrics_refresh(request->api->resp->metrics, request->api->resp->counters);
    dj_metrics_write(context->metrics, is_openmetrics, &body);
    dj_request_answer(request, 200,
                      is_openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                     : "text/plain; version=0.0.4; charset=utf-8",
                      &body);
    dj_buf_fini(&body);
}

void dj_ops_metrics(struct dj_request *request)
{
    dj_probe_start(request, false, request, write_metrics);
}

static void answer_text(struct dj_request *request, int status, const char *text)
{
    struct dj_buf body = {0};
    dj_buf_append_text(&body, text);
    dj_request_answer(request, status, "text/plain; charset=utf-8", &body);
    dj_buf_fini(&body);
}

void dj_ops_livez(struct dj_request *request)
{
    answer_text(request, 200, "ok\n");
}

void dj_ops_readyz(struct dj_request *request)
{
    /* Requests are answered while the index is still filling (as misses), so only a drain makes
     * this daemon unready: a listener that answers has its embedder and its configuration. */
    if (atomic_load(&request->api->is_draining))
        answer_text(request, 503, "draining\n");
    else
        answer_text(request, 200, "ok\n");
}

/* ---- /healthz ---- */

#define EXCLUDED_MAX 8u

/* `?exclude=NAME`, which may come several times, and `?verbose`, as Kubernetes' own servers have
 * them. In the request's arena. */
struct healthz {
    struct dj_request *request;
    bool is_verbose;
    struct deja_slice excluded[EXCLUDED_MAX];
    size_t excluded_count;
};

static void read_parameters(struct healthz *healthz)
{
    static const char exclude[] = "exclude=";
    struct deja_slice left = healthz->request->http->query;
    while (left.len) {
        const char *end = memchr(left.data, '&', left.len);
        size_t len = end ? (size_t)(end - left.data) : left.len;
        struct deja_slice one = deja_slice(left.data, len);
        size_t used = end ? len + 1 : len;
        left = deja_slice(left.data + used, left.len - used);
        bool is_exclude =
            len >= sizeof exclude - 1 && memcmp(one.data, exclude, sizeof exclude - 1) == 0;
        if (is_exclude && healthz->excluded_count < EXCLUDED_MAX)
            healthz->excluded[healthz->excluded_count++] =
                deja_slice(one.data + sizeof exclude - 1, len - (sizeof exclude - 1));
        else if (dj_slice_is(one, "verbose") || (len > 8 && memcmp(one.data, "verbose=", 8) == 0))
            healthz->is_verbose = true;
    }
}

static bool is_excluded(const struct healthz *healthz, const char *name)
{
    for (size_t i = 0; i < healthz->excluded_count; i++)
        if (dj_slice_is(healthz->excluded[i], name))
            return true;
    return false;
}

/* The others serve while a shared tier is down: it must not take this daemon out of a balancer. */
static enum dj_health shared(const struct dj_probe *probe, enum dj_level level)
{
    enum dj_health health = probe->levels[level].health;
    return health == DJ_HEALTH_UNHEALTHY ? DJ_HEALTH_DEGRADED : health;
}

static void write_healthz(void *ctx, const struct dj_probe *probe)
{
    const struct healthz *healthz = ctx;
    bool is_draining = atomic_load(&healthz->request->api->is_draining);
    const struct {
        const char *name;
        enum dj_health health;
    } checks[] = {{"serving", is_draining ? DJ_HEALTH_UNHEALTHY : DJ_HEALTH_HEALTHY},
                  {"memory", DJ_HEALTH_HEALTHY},
                  {"lmdb", probe->levels[DJ_LEVEL_LMDB].health},
                  {"redis", shared(probe, DJ_LEVEL_REDIS)},
                  {"postgres", shared(probe, DJ_LEVEL_POSTGRES)},
                  {"s3", shared(probe, DJ_LEVEL_S3)},
                  {"embedder", probe->embedder},
                  {"vector_store", probe->index}};
    struct dj_buf body = {0};
    bool is_sick = false;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (checks[i].health == DJ_HEALTH_DISABLED)
            continue;
        bool is_left_out = is_excluded(healthz, checks[i].name);
        bool is_failed = checks[i].health == DJ_HEALTH_UNHEALTHY && !is_left_out;
        is_sick = is_sick || is_failed;
        dj_buf_append_format(&body, "[%c]%s %s\n", is_failed ? '-' : '+', checks[i].name,
                             is_left_out                              ? "excluded: ok"
                             : is_failed                              ? "failed"
                             : checks[i].health == DJ_HEALTH_DEGRADED ? "ok (degraded)"
                                                                      : "ok");
    }
    dj_buf_append_text(&body, is_sick ? "healthz check failed\n" : "healthz check passed\n");
    /* Strangers learn the verdict only. */
    if (!healthz->request->http->is_loopback_peer || (!healthz->is_verbose && !is_sick)) {
        dj_buf_clear(&body);
        dj_buf_append_text(&body, is_sick ? "healthz check failed\n" : "ok\n");
    }
    dj_request_answer(healthz->request, is_sick ? 503 : 200, "text/plain; charset=utf-8", &body);
    dj_buf_fini(&body);
}

void dj_ops_healthz(struct dj_request *request)
{
    struct healthz *healthz = dj_arena_alloc(request->arena, sizeof *healthz);
    if (!healthz) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *healthz = (struct healthz){.request = request};
    read_parameters(healthz);
    dj_probe_start(request, false, healthz, write_healthz);
}

void dj_ops_startupz(struct dj_request *request)
{
    /* Listeners open last: who can ask this has been started. */
    answer_text(request, 200, "ok\n");
}

void dj_ops_reload(struct dj_request *request)
{
    struct dj_buf body = {0};
    if (!request->api->reload) {
        dj_request_problem(request, 501, "feature_disabled", "this daemon cannot reload");
        return;
    }
    request->api->reload(request->api->reload_ctx);
    dj_buf_append_text(&body, "{\"status\":\"reloading\"}");
    dj_request_answer(request, 202, NULL, &body);
    dj_buf_fini(&body);
}

void dj_ops_openapi(struct dj_request *request)
{
    struct dj_buf body = {0};
    struct deja_slice document = dj_openapi_document();
    dj_buf_append_slice(&body, document);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}
