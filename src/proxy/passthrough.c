/* proxy/passthrough.c - every other path under /v1/: untouched in both directions.
 *
 * One exchange, one call, no flight, nothing stored. Back-pressure both ways; a client that leaves
 * cancels the call.
 *
 * What is touched is OpenAI's list of models, where the daemon has one of its own: an answer to
 * that is held until it is whole, up to a bound, and the own model put in if it is such a list.
 * Where the upstream does not answer, the own model is all there is.
 */
#include "base/alloc.h"
#include "net/http_headers.h"
#include "proto/http_text.h"
#include "proxy/gate.h"
#include "proxy/models_internal.h"
#include "proxy/proxy.h"
#include "proxy/tenant_rules.h"
#include "proxy/usage.h"

#define MODEL_BODY_MAX (64u << 10) /* larger ones are not parsed on a loop (I3) */

struct passthrough {
    struct ride *ride;
    struct dj_call *call; /* owned; only its request part is used */
    struct dj_outbound_call *outbound;
    struct dj_usage_tail *tail; /* in the call's arena; NULL: nobody asks what it cost */
    struct dj_admission_place place;
    struct dj_upstream_leave leave;
    struct models_own own; /* to be put into the list of models */
    struct dj_buf held;    /* of such a list; what is longer than its bound is let go */
    struct dj_buf list;    /* with the own model */
    int status;
    bool is_list; /* of models is asked for */
    bool is_held;
    bool is_gone;
};

static const struct ride_ops passthrough_ops = {.api = "passthrough"};

static void end(struct passthrough *p, enum dj_result result)
{
    struct ride *ride = p->ride;
    dj_admission_leave(ride->context->admission, &p->place);
    dj_call_destroy(p->call);
    dj_buf_fini(&p->held);
    dj_buf_fini(&p->list);
    dj_free(p);
    ride_end(ride, result, "none");
}

/* The own model, or a list of it alone. */
static void answer_own(struct ride *ride, const struct models_own *own, bool is_list)
{
    struct dj_buf body = {0};
    if (!is_list)
        models_put(own, &body);
    else if (!models_merge(own, deja_slice(NULL, 0), &body))
        body.status = DEJA_ERR_NOMEM;
    if (body.status == DEJA_OK) {
        ride->detail = "local-model";
        const struct dj_outcome outcome = ride_outcome(ride);
        ride_answer(ride, &outcome, dj_buf_slice(&body), false);
        ride_end(ride, DJ_RESULT_BYPASS, "none");
    } else {
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
    }
    dj_buf_fini(&body);
}

static struct dj_upstream *upstream_of(const struct passthrough *p)
{
    return p->call->guard ? NULL : p->call->target->upstream;
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
    dj_upstream_tell(upstream_of(p), &p->leave, ride->tenant, status, DEJA_OK);
    if (ride->who.has_proof)
        dj_registry_on_upstream_status(ride->context->registry, ride->who.proof, status,
                                       dj_loop_now_ms(ride->loop));
    dj_telemetry_upstream(ride->context->telemetry, p->call->target->id, status);
    if (p->is_gone)
        return;
    p->is_held =
        p->is_list && status == 200 && !dj_http_find(headers, count, "content-encoding").len;
    struct dj_answer_headers out = {.arena = dj_http_exchange_request(ride->exchange)->arena};
    struct dj_outcome outcome = ride_outcome(ride);
    struct deja_slice upstream_id = dj_http_find(headers, count, ride_id_header(ride));
    outcome.upstream_status = status;
    if (upstream_id.len)
        outcome.request_id = upstream_id;
    for (size_t i = 0; i < count && out.count < DJ_ANSWER_HEADERS_MAX - 16; i++) {
        struct deja_slice name = headers[i].name;
        if (!dj_http_is_hop_by_hop(headers, count, name) &&
            !dj_http_is_same(name, "content-length") && !dj_http_is_same(name, "date") &&
            !ride_is_id_header(name) && !(p->is_held && dj_http_is_same(name, "etag")))
            out.items[out.count++] = headers[i];
    }
    dj_answer_add_outcome(&out, &outcome);
    ride->is_begun = true;
    dj_http_respond_begin(ride->exchange, status, out.items, out.count,
                          p->is_held ? -1 : content_length(headers, count));
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct passthrough *p = ctx;
    p->ride->answer_bytes += bytes.len;
    if (p->tail)
        dj_usage_feed(p->tail, bytes);
    if (p->is_held) {
        dj_buf_append_slice(&p->held, bytes);
        if (p->held.status == DEJA_OK)
            return;
        p->is_held = false; /* longer than a list of models is */
        if (!p->is_gone)
            dj_http_respond_write(p->ride->exchange, dj_buf_slice(&p->held));
    }
    if (!p->is_gone && !dj_http_respond_write(p->ride->exchange, bytes) && p->outbound)
        dj_outbound_pause(p->outbound);
}

static void spend(struct passthrough *p)
{
    struct ride *ride = p->ride;
    struct dj_json_doc *doc = NULL;
    struct dj_gate_usage usage = {.kind = "passthrough"};
    if (!p->tail)
        return;
    dj_usage_read(p->tail, &usage.input_tokens, &usage.output_tokens);
    struct deja_slice body = p->call->body;
    if (body.len && body.len <= MODEL_BODY_MAX && dj_json_parse(body, &doc, NULL) == DEJA_OK)
        usage.model = dj_json_string(dj_json_get(dj_json_root(doc), "model"));
    dj_gate_spend(ride->context, ride->tenant, ride->who.rules, &usage);
    dj_json_doc_destroy(doc);
}

/* The upstream does not answer. */
static void answer_without(struct passthrough *p)
{
    struct ride *ride = p->ride;
    const struct models_own own = p->own;
    ride->retry_after_ms = 0;
    dj_admission_leave(ride->context->admission, &p->place);
    dj_call_destroy(p->call);
    dj_free(p);
    answer_own(ride, &own, true);
}

/* On a worker. */
static void merge(void *ctx)
{
    struct passthrough *p = ctx;
    p->is_held = models_merge(&p->own, dj_buf_slice(&p->held), &p->list);
}

static void on_merged(void *ctx)
{
    struct passthrough *p = ctx;
    struct ride *ride = p->ride;
    if (!p->is_gone) {
        dj_http_exchange_watch(ride->exchange, NULL, NULL);
        dj_http_respond_write(ride->exchange, dj_buf_slice(p->is_held ? &p->list : &p->held));
        dj_http_respond_end(ride->exchange);
    }
    end(p, p->is_gone ? DJ_RESULT_ERROR : DJ_RESULT_BYPASS);
}

static void finish_held(struct passthrough *p)
{
    p->outbound = NULL;
    p->ride->job =
        (struct dj_job){.work = merge, .done = on_merged, .ctx = p, .loop = p->ride->loop};
    if (dj_pool_submit(p->ride->context->pool, &p->ride->job) == DEJA_OK)
        return;
    p->is_held = false; /* without ours, then */
    on_merged(p);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    (void)detail;
    struct passthrough *p = ctx;
    spend(p);
    struct ride *ride = p->ride;
    dj_upstream_tell(upstream_of(p), &p->leave, ride->tenant, 0, status);
    if (p->is_gone) {
        end(p, DJ_RESULT_ERROR);
        return;
    }
    if (p->is_held && p->held.len && status == DEJA_OK) {
        finish_held(p);
        return;
    }
    if (p->is_list && !ride->is_begun) {
        answer_without(p);
        return;
    }
    const struct dj_outcome outcome = {
        .is_bypass = true, .request_id = ride->request_id, .is_messages = ride->is_messages};
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

/* ---- asking ---- */

/* Before it has begun: nothing came of it. */
static void refuse(struct passthrough *p, int status, const char *message, const char *code)
{
    struct ride *ride = p->ride;
    dj_admission_leave(ride->context->admission, &p->place);
    dj_call_destroy(p->call);
    dj_free(p);
    ride_fail(ride, status, message, NULL, code);
}

/* False: the upstream is not asked, and the client was told. */
static bool is_let_through(struct passthrough *p)
{
    struct ride *ride = p->ride;
    enum dj_upstream_verdict verdict = dj_upstream_admit(
        upstream_of(p), DJ_UPSTREAM_OTHER, ride->tenant, true, &p->leave, &ride->retry_after_ms);
    if (verdict == DJ_UPSTREAM_ASK)
        ride->retry_after_ms = 0;
    else if (verdict == DJ_UPSTREAM_OPEN && p->is_list)
        answer_without(p);
    else if (verdict == DJ_UPSTREAM_OPEN)
        refuse(p, 503, "The circuit breaker of the upstream is open: it failed too often.",
               "circuit_open");
    else
        refuse(p, 429, "The upstream turns most of your calls away; some are held back here.",
               "rate_limited");
    return verdict == DJ_UPSTREAM_ASK;
}

static void ask(struct passthrough *p)
{
    static const struct dj_outbound_events events = {
        .on_head = on_head, .on_data = on_data, .on_done = on_done};
    struct ride *ride = p->ride;
    struct dj_proxy_context *context = ride->context;
    const struct dj_call *call = p->call;
    if (!is_let_through(p))
        return;
    const struct dj_outbound_request out = {
        .method = call->method,
        .url = call->url,
        .headers = call->headers,
        .header_count = call->header_count,
        .body = call->body,
        .first_byte_timeout_ms = ride->policy->first_byte_timeout_ms,
        .idle_timeout_ms = ride->policy->idle_timeout_ms,
        .total_timeout_ms = ride->policy->total_timeout_ms,
        .guard = call->guard,
    };
    enum deja_status status = dj_outbound_start(context->outbounds[dj_loop_index(ride->loop)], &out,
                                                &events, p, &p->outbound);
    if (status == DEJA_OK)
        return;
    dj_upstream_tell(upstream_of(p), &p->leave, ride->tenant, 0, DEJA_ERR_CANCELLED);
    if (status == DEJA_ERR_INVALID) /* the client's, not the upstream's: its path and query */
        refuse(p, 400, "The path and query are longer than 16 KiB or not of a URL's form.",
               "invalid_path");
    else
        refuse(p, 503, "No upstream connection can be made now.", "upstream_error");
}

static void refuse_overloaded(struct passthrough *p)
{
    dj_telemetry_overloaded(p->ride->context->telemetry);
    p->ride->retry_after_ms = 1000;
    refuse(p, 503, "Too many calls to the upstream wait here. Try again after the time given.",
           "overloaded");
}

static void on_told(void *ctx, bool is_let)
{
    struct passthrough *p = ctx;
    if (p->is_gone)
        end(p, DJ_RESULT_ERROR);
    else if (is_let && !atomic_load(&p->ride->context->is_stopping))
        ask(p);
    else
        refuse_overloaded(p);
}

static void wait_turn(struct passthrough *p)
{
    struct ride *ride = p->ride;
    const struct dj_admission_question question = {
        .tenant = ride->tenant,
        .weight = dj_rules_of(ride->who.rules)->limits.weight,
        .is_patient = true,
        .loop = ride->loop,
        .ctx = p,
        .told = on_told,
    };
    switch (dj_admission_enter(ride->context->admission, &p->place, &question)) {
    case DJ_ADMISSION_LET:
        ask(p);
        break;
    case DJ_ADMISSION_WAITS:
        break;
    case DJ_ADMISSION_REFUSED:
        refuse_overloaded(p);
        break;
    }
}

/* False: the client was told. */
static bool has_budget(struct ride *ride)
{
    struct dj_limit_verdict limit;
    enum dj_target target = dj_target_of(dj_http_exchange_request(ride->exchange));
    bool is_free = !dj_call_own_upstream(&ride->who) &&
                   dj_upstream_is_open(ride->context->targets[target].upstream, DJ_UPSTREAM_OTHER);
    if (is_free || dj_gate_take_miss(ride->context, ride->tenant, ride->who.rules, &limit))
        return true;
    ride->retry_after_ms = limit.wait_ms;
    ride_fail(ride, 429, dj_limit_detail(limit.limit), NULL, "rate_limited");
    return false;
}

/* own: to be put into the list of models; NULL: nothing is. */
static void pass(struct ride *ride, const struct models_own *own)
{
    struct dj_http_exchange *exchange = ride->exchange;
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    if (!has_budget(ride))
        return;
    struct passthrough *p = dj_alloc_zeroed(1, sizeof *p);
    struct dj_call *call = p ? dj_call_create(ride->context) : NULL;
    enum deja_status status =
        call ? dj_call_take_request(call, request, &ride->who, &ride->trace, own != NULL)
             : DEJA_ERR_NOMEM;
    /* The body lies in the exchange, which goes with its client, perhaps before the call does: the
     * call gets a copy. */
    if (status == DEJA_OK)
        call->body = dj_arena_copy(&call->arena, request->body);
    if (status != DEJA_OK || !call->body.data) {
        dj_call_destroy(call);
        dj_free(p);
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    *p = (struct passthrough){.ride = ride, .call = call, .is_list = own != NULL};
    if (own)
        p->own = *own;
    dj_buf_init(&p->held, MODELS_LIST_BYTES_MAX);
    if (dj_rules_of(ride->who.rules)->limits.spend_usd_per_day > 0)
        p->tail = dj_arena_alloc(&call->arena, sizeof *p->tail);
    if (p->tail)
        p->tail->len = 0;
    dj_http_exchange_watch(exchange, p, on_event);
    wait_turn(p);
}

/* ---- a tenant that may not use every model ---- */

/* On a worker. What cannot be read names no model that is allowed. */
static void read_model(void *ctx)
{
    struct ride *ride = ctx;
    if (dj_json_parse(ride->body, &ride->doc, NULL) != DEJA_OK ||
        !dj_tenant_allows(ride->who.rules, dj_json_root(ride->doc)))
        ride->prepare_status = DEJA_ERR_DENIED;
}

static void on_model(void *ctx)
{
    struct ride *ride = ctx;
    if (ride->prepare_status == DEJA_OK)
        pass(ride, NULL);
    else
        ride_fail(ride, 403, DJ_MODEL_REFUSED, "model", "model_not_allowed");
}

static void check_model(struct ride *ride)
{
    if (!ride_decode(ride))
        return;
    ride->job =
        (struct dj_job){.work = read_model, .done = on_model, .ctx = ride, .loop = ride->loop};
    if (dj_pool_submit(ride->context->pool, &ride->job) != DEJA_OK)
        ride_fail(ride, 503, "Too many requests wait to be read.", NULL, "cache_unavailable");
}

void dj_proxy_passthrough(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id)
{
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    struct ride *ride = ride_create(&passthrough_ops, context, exchange, request_id);
    if (!ride)
        return;
    ride->detail = "pass-through";
    if (!ride_identify(ride, "passthrough"))
        return;
    struct models_own own;
    enum models_asked asked = models_ask(ride, &own);
    if (asked == MODELS_OWN)
        answer_own(ride, &own, false);
    else if (request->body.len && dj_rules_of(ride->who.rules)->model_count)
        check_model(ride);
    else
        pass(ride, asked == MODELS_LIST ? &own : NULL);
}
