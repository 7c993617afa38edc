/* api/ops.c - /metrics, /livez, /readyz, /healthz, /openapi.json and POST /admin/reload. */
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
            .volatile_met = context->volatiles ? dj_volatile_count(context->volatiles) : 0,
            .started_ms = request->api->started_ms,
            .is_lmdb_up = probe->lmdb != DJ_HEALTH_UNHEALTHY,
            .is_degraded = dj_probe_verdict(probe) != DJ_HEALTH_HEALTHY,
        });
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
    dj_buf_append(&body, document.data, document.len);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}
