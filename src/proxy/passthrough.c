/* proxy/passthrough.c - every other path under /v1/: untouched in both directions.
 *
 * One exchange, one call, no flight, nothing stored. Back-pressure both ways; a client that leaves
 * cancels the call.
 */
#include "base/alloc.h"
#include "net/http_headers.h"
#include "proto/http_text.h"
#include "proxy/proxy.h"
#include "proxy/ride_internal.h"

struct passthrough {
    struct ride *ride;
    struct dj_call *call; /* owned; only its request part is used */
    struct dj_outbound_call *outbound;
    struct dj_upstream_leave leave;
    int status;
    bool is_gone;
};

static const struct ride_ops passthrough_ops = {.api = "passthrough"};

static void end(struct passthrough *p, enum dj_result result)
{
    struct ride *ride = p->ride;
    dj_call_destroy(p->call);
    dj_free(p);
    ride_end(ride, result, "none");
}

static int64_t content_length(const struct dj_http_header *headers, size_t count)
{
    struct deja_slice value = dj_http_find(headers, count, "content-length");
    int64_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || len > INT64_MAX / 16)
            return -1;
        len = len * 10 + (value.data[i] - '0');
    }
    return value.len ? len : -1;
}

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct passthrough *p = ctx;
    struct ride *ride = p->ride;
    p->status = status;
    ride->code = status;
    /* Now, not at its end: from here on the client sets the pace. */
    dj_upstream_tell(ride->context->upstream, &p->leave, ride->tenant, status, DEJA_OK);
    if (ride->who.has_proof)
        dj_registry_on_upstream_status(ride->context->registry, ride->who.proof, status,
                                       dj_loop_now_ms(ride->loop));
    dj_telemetry_upstream(ride->context->telemetry, ride->context->upstream_id, status);
    if (p->is_gone)
        return;
    struct dj_answer_headers out = {.arena = dj_http_exchange_request(ride->exchange)->arena};
    struct dj_outcome outcome = ride_outcome(ride);
    struct deja_slice upstream_id = dj_http_find(headers, count, "x-request-id");
    outcome.upstream_status = status;
    if (upstream_id.len)
        outcome.request_id = upstream_id;
    for (size_t i = 0; i < count && out.count < DJ_ANSWER_HEADERS_MAX - 16; i++) {
        struct deja_slice name = headers[i].name;
        if (!dj_http_is_hop_by_hop(headers, count, name) &&
            !dj_http_is_same(name, "content-length") && !dj_http_is_same(name, "date") &&
            !dj_http_is_same(name, "x-request-id"))
            out.items[out.count++] = headers[i];
    }
    dj_answer_add_outcome(&out, &outcome);
    ride->is_begun = true;
    dj_http_respond_begin(ride->exchange, status, out.items, out.count,
                          content_length(headers, count));
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct passthrough *p = ctx;
    if (!p->is_gone && !dj_http_respond_write(p->ride->exchange, bytes) && p->outbound)
        dj_outbound_pause(p->outbound);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    (void)detail;
    struct passthrough *p = ctx;
    struct ride *ride = p->ride;
    dj_upstream_tell(ride->context->upstream, &p->leave, ride->tenant, 0, status);
    if (p->is_gone) {
        end(p, DJ_RESULT_ERROR);
        return;
    }
    const struct dj_outcome outcome = {.is_bypass = true, .request_id = ride->request_id};
    dj_http_exchange_watch(ride->exchange, NULL, NULL);
    if (ride->is_begun && status == DEJA_OK)
        dj_http_respond_end(ride->exchange);
    else if (ride->is_begun)
        dj_http_respond_abort(ride->exchange);
    else if (status == DEJA_ERR_TIMEOUT)
        dj_proxy_error(ride->exchange, 504, "The upstream did not answer in time.", NULL,
                       "upstream_timeout", &outcome);
    else
        dj_proxy_error(ride->exchange, 502, "The upstream could not be reached.", NULL,
                       "upstream_error", &outcome);
    end(p, status == DEJA_OK && p->status < 400 ? DJ_RESULT_BYPASS : DJ_RESULT_ERROR);
}

static void on_event(void *ctx, struct dj_http_exchange *exchange, enum dj_http_event event)
{
    struct passthrough *p = ctx;
    (void)exchange;
    if (event == DJ_HTTP_DRAINED) {
        if (p->outbound)
            dj_outbound_resume(p->outbound);
        return;
    }
    p->is_gone = true;
    if (p->outbound)
        dj_outbound_cancel(p->outbound);
}

/* False: the upstream is not asked, and the client was told. */
static bool is_let_through(struct ride *ride, struct dj_upstream_leave *leave)
{
    enum dj_upstream_verdict verdict =
        dj_upstream_admit(ride->context->upstream, DJ_UPSTREAM_OTHER, ride->tenant, true, leave,
                          &ride->retry_after_ms);
    if (verdict == DJ_UPSTREAM_ASK)
        ride->retry_after_ms = 0;
    else if (verdict == DJ_UPSTREAM_OPEN)
        ride_fail(ride, 503, "The circuit breaker of the upstream is open: it failed too often.",
                  NULL, "circuit_open");
    else
        ride_fail(ride, 429, "The upstream turns most of your calls away; some are held back here.",
                  NULL, "rate_limited");
    return verdict == DJ_UPSTREAM_ASK;
}

void dj_proxy_passthrough(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id)
{
    static const struct dj_outbound_events events = {
        .on_head = on_head, .on_data = on_data, .on_done = on_done};
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    struct ride *ride = ride_create(&passthrough_ops, context, exchange, request_id);
    if (!ride)
        return;
    ride->detail = "pass-through";
    struct dj_upstream_leave leave;
    if (!ride_identify(ride, "passthrough") || !is_let_through(ride, &leave))
        return;
    struct passthrough *p = dj_alloc_zeroed(1, sizeof *p);
    struct dj_call *call = p ? dj_call_create(context) : NULL;
    if (!call || dj_call_take_request(call, request, &ride->who, &ride->trace, false) != DEJA_OK) {
        dj_call_destroy(call);
        dj_free(p);
        dj_upstream_tell(context->upstream, &leave, ride->tenant, 0, DEJA_ERR_NOMEM);
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    *p = (struct passthrough){.ride = ride, .call = call, .leave = leave};
    /* The body lies in the exchange, which goes with its client, perhaps before the call does: the
     * call gets a copy. */
    struct dj_outbound_request out = {
        .method = call->method,
        .url = call->url,
        .headers = call->headers,
        .header_count = call->header_count,
        .body = dj_arena_copy(&call->arena, request->body),
        .first_byte_timeout_ms = ride->policy->first_byte_timeout_ms,
        .idle_timeout_ms = ride->policy->idle_timeout_ms,
        .total_timeout_ms = ride->policy->total_timeout_ms,
    };
    dj_http_exchange_watch(exchange, p, on_event);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (out.body.data)
        status = dj_outbound_start(context->outbounds[dj_loop_index(ride->loop)], &out, &events, p,
                                   &p->outbound);
    if (status == DEJA_OK)
        return;
    dj_upstream_tell(context->upstream, &p->leave, ride->tenant, 0, DEJA_ERR_CANCELLED);
    dj_call_destroy(call);
    dj_free(p);
    if (status == DEJA_ERR_INVALID) /* the client's, not the upstream's: its path and query */
        ride_fail(ride, 400, "The path and query are longer than 16 KiB or not of a URL's form.",
                  NULL, "invalid_path");
    else
        ride_fail(ride, 503, "No upstream connection can be made now.", NULL, "upstream_error");
}
