/* proxy/ride.c - see ride_internal.h.
 *
 *   join -> boarded -> [wake: pump] -> answered -> end        client gone at any time -> end
 *
 * pump() is the only place that looks at a flight's phase: it answers whole when the flight landed
 * with something this client can have whole, and reads along when the answer comes in the client's
 * own mode.
 */
#include "proxy/ride_internal.h"

#include "base/alloc.h"
#include "base/slice.h"
#include "net/http_headers.h"
#include "proto/compress.h"
#include "proto/http_text.h"
#include "proxy/asked.h"
#include "proxy/gate.h"
#include "proxy/identity.h"
#include "proxy/tenant_rules.h"
#include "text/question.h"

#define BODY_DECODED_MAX (32u << 20)

static void on_event(void *ctx, struct dj_http_exchange *exchange, enum dj_http_event event);

struct ride *ride_create(const struct ride_ops *ops, struct dj_proxy_context *context,
                         struct dj_http_exchange *exchange, struct deja_slice request_id)
{
    struct ride *ride = dj_alloc_zeroed(1, sizeof *ride);
    if (!ride) {
        const struct dj_http_request *asked = dj_http_exchange_request(exchange);
        const struct dj_outcome outcome = {.is_bypass = true,
                                           .request_id = request_id,
                                           .is_messages =
                                               dj_target_of(asked) == DJ_TARGET_ANTHROPIC};
        dj_proxy_error(exchange, 503, "Deja is out of memory.", NULL, "cache_unavailable",
                       &outcome);
        return NULL;
    }
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    ride->ops = ops;
    ride->context = context;
    ride->policy = atomic_load(&context->policy);
    ride->exchange = exchange;
    ride->loop = dj_http_exchange_loop(exchange);
    ride->request_id = request_id;
    if (request_id.len < sizeof ride->request_id_text)
        memcpy(ride->request_id_text, request_id.data, request_id.len);
    ride->is_inner = request->inner_tenant != NULL;
    dj_trace_read(request, &ride->trace);
    ride->started_us = request->started_us;
    ride->is_messages = dj_target_of(request) == DJ_TARGET_ANTHROPIC;
    ride->handled_us = dj_loop_monotonic_us(ride->loop);
    dj_telemetry_inflight(context->telemetry, 1);
    return ride;
}

static enum dj_content_log content_log(const struct ride *ride)
{
    return ride->who.rules ? dj_rules_of(ride->who.rules)->content_log : DJ_CONTENT_OFF;
}

void ride_fail(struct ride *ride, int status, const char *message, const char *param,
               const char *code)
{
    dj_http_exchange_watch(ride->exchange, NULL, NULL);
    const struct dj_outcome outcome = ride_outcome(ride);
    dj_proxy_error(ride->exchange, status, message, param, code, &outcome);
    ride->code = status;
    ride_end(ride, DJ_RESULT_ERROR, "none");
}

/* ---- who asks ---- */

bool ride_decode(struct ride *ride)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct deja_slice coding = dj_http_find_header(request, "content-encoding");
    ride->body = request->body;
    if (!coding.len || dj_http_is_same(coding, "identity"))
        return true;
    enum deja_status status =
        dj_decompress(coding, request->body, BODY_DECODED_MAX, &ride->decoded);
    ride->body = dj_buf_slice(&ride->decoded);
    if (status == DEJA_OK)
        return true;
    if (status == DEJA_ERR_LIMIT)
        ride_fail(ride, 413, "The request body is too large once it is decompressed.", NULL,
                  "request_too_large");
    else
        ride_fail(ride, 400, "The request body could not be decompressed.", NULL, "invalid_body");
    return false;
}

bool ride_identify(struct ride *ride, const char *family)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct dj_proxy_context *context = ride->context;
    struct dj_identity_refusal refusal;
    bool is_known =
        dj_identity_take(context, request, dj_loop_now_ms(ride->loop), &ride->who, &refusal);
    dj_telemetry_stage(context->telemetry, DJ_STAGE_AUTH,
                       (double)(dj_loop_monotonic_us(ride->loop) - ride->handled_us) / 1e6);
    if (!is_known) {
        ride->retry_after_ms = (uint64_t)refusal.retry_after_s * 1000;
        ride_fail(ride, refusal.status, refusal.detail, NULL, refusal.type);
        return false;
    }
    if (!dj_identity_may(&ride->who, DJ_ROLE_WRITE)) {
        ride_fail(ride, 403, "This key may not ask the upstream: it has not the role write.", NULL,
                  "forbidden");
        return false;
    }
    memcpy(ride->tenant, ride->who.tenant, sizeof ride->tenant);
    ride->is_unknown = ride->who.is_unknown;
    bool is_embeddings = strcmp(family, "embeddings") == 0;
    if (!dj_tenant_has(&ride->who, DJ_FEATURE_PROXY) ||
        (is_embeddings && !dj_tenant_has(&ride->who, DJ_FEATURE_EMBEDDINGS))) {
        ride_fail(ride, 403,
                  dj_tenant_lacks_text(dj_tenant_has(&ride->who, DJ_FEATURE_PROXY)
                                           ? DJ_FEATURE_EMBEDDINGS
                                           : DJ_FEATURE_PROXY),
                  NULL, "feature_disabled");
        return false;
    }
    struct dj_limit_verdict verdict;
    if (!dj_gate_enter(context, ride->exchange, &ride->who, &ride->pass, &verdict)) {
        ride->is_limited = true;
        ride->retry_after_ms = verdict.wait_ms;
        ride_fail(ride, 429, dj_limit_detail(verdict.limit), NULL, "rate_limited");
        return false;
    }
    dj_identity_prefix(context, request, &ride->who, family, &ride->prefix);
    return true;
}

/* What a request may only where the operator says so, taken back and told. */
static void take_permissions(struct ride *ride)
{
    const struct dj_proxy_policy *policy = ride->policy;
    struct dj_knobs *knobs = &ride->knobs;
    if (policy->is_asked_for && !knobs->is_wanted && !knobs->is_bypass) {
        knobs->is_bypass = true;
        knobs->rule = "proxy.mode";
    }
    for (struct dj_json_walk m = dj_json_walk(knobs->ignored.len ? dj_json_root(ride->doc) : NULL);
         dj_json_walk_next(&m);)
        if (dj_knobs_ignores(knobs, m.key) && !ride_may_ignore(ride, m.key))
            knobs->detail = "ignore-keys-not-allowed";
}

bool ride_may_ignore(const struct ride *ride, struct deja_slice member)
{
    for (size_t i = 0; i < ride->policy->ignorable_count; i++)
        if (dj_slice_is(member, ride->policy->ignorable[i]))
            return true;
    return false;
}

void ride_set_rules(struct ride *ride)
{
    take_permissions(ride);
    struct deja_slice trace = ride->knobs.trace_id;
    if (trace.len && dj_question_is_name(trace)) /* visible, and UTF-8 */
        memcpy(ride->trace_text, trace.data, trace.len);
    struct dj_fresh_wish wish = ride->knobs.wish;
    wish.max_age_ms = ride->knobs.max_age_ms;
    dj_fresh_narrow(ride->policy->stale_revalidate_ms, ride->policy->stale_error_ms, &wish,
                    &ride->fresh);
}

/* For warming. Requests of a tenant's users are theirs alone, and those with knobs of their own
 * would not be asked again as they were. */
static void note_asked(struct ride *ride)
{
    static const enum dj_predict_user users[] = {
        [DJ_ORIGIN_LOCAL] = DJ_PREDICT_USER_LOCAL,
        [DJ_ORIGIN_CREDENTIAL] = DJ_PREDICT_USER_CREDENTIAL,
        [DJ_ORIGIN_KEY] = DJ_PREDICT_USER_KEY,
        [DJ_ORIGIN_CERTIFICATE] = DJ_PREDICT_USER_KEY,
        [DJ_ORIGIN_OPERATOR] = DJ_PREDICT_USER_LOCAL,
    };
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct dj_asked_request asked;
    if (request->inner_id && ride->is_cacheable)
        memcpy(request->inner_id, ride->fingerprint.key.id, DJ_ID_BYTES);
    if (!dj_asked_is_learning(ride->context->asked) || ride->is_inner || !ride->is_cacheable ||
        ride->who.has_user || ride->knobs.is_bypass || ride->knobs.is_no_store ||
        ride->knobs.variants > 1)
        return;
    dj_asked_take(request, ride->body, &asked);
    dj_asked_note(ride->context->asked,
                  &(struct dj_asked_access){.tenant = ride->tenant,
                                            .id = ride->fingerprint.key.id,
                                            .at_ms = dj_loop_now_ms(ride->loop),
                                            .user = users[ride->who.origin],
                                            .kind = dj_asked_kind(&asked),
                                            .request = &asked});
}

void ride_count_prepared(struct ride *ride)
{
    struct dj_telemetry *telemetry = ride->context->telemetry;
    dj_telemetry_stage(telemetry, DJ_STAGE_CANON, (double)ride->canon_us / 1e6);
    if (ride->is_cacheable)
        dj_telemetry_key(telemetry, (double)ride->key_us / 1e6);
    dj_content_note_prompt(&ride->content, content_log(ride), ride->prefix.fingerprint_key,
                           ride->fingerprint.text);
    note_asked(ride);
}

/* ---- answering ---- */

struct dj_outcome ride_outcome(const struct ride *ride)
{
    struct dj_outcome outcome = {
        .is_bypass = ride->knobs.is_bypass || !ride->is_cacheable,
        .is_refresh = ride->knobs.is_no_read,
        .is_collapsed = ride->is_boarded && !ride->is_leader,
        .detail = ride_reason(ride),
        .rule = ride->knobs.rule,
        .cut = ride->knobs.detail,
        .verify_us = ride->canon_us,
        .now_ms = dj_loop_now_ms(ride->loop),
        .total_us = dj_loop_monotonic_us(ride->loop) - ride->started_us,
        .compat = ride->knobs.compat | ride->policy->compat,
        .variant = ride->variant,
        .is_partial = ride->is_partial,
        .trace_id = ride->knobs.trace_id,
        .retry_after_ms = ride->retry_after_ms,
        .request_id = ride->request_id,
        .is_messages = ride->is_messages,
    };
    if (ride->is_boarded) {
        const struct dj_call *call = dj_flight_owner(ride->rider.flight);
        outcome.embed_us = call->embed_us;
        outcome.search_us = call->search_us;
        outcome.upstream_us = call->upstream_us;
        outcome.attempts = call->attempts;
        outcome.is_stale_met = call->had_stale;
        outcome.retry_after_ms = call->wait_ms;
    }
    return outcome;
}

void ride_answer(struct ride *ride, const struct dj_outcome *outcome, struct deja_slice body,
                 bool is_stream)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    struct dj_answer_headers headers;
    dj_answer_init(&headers, request->arena);
    dj_answer_add(
        &headers, "Content-Type",
        deja_slice_text(is_stream ? "text/event-stream; charset=utf-8" : "application/json"));
    if (is_stream)
        dj_answer_add(&headers, "Cache-Control", deja_slice_text("no-cache"));
    dj_answer_add_outcome(&headers, outcome);
    dj_http_exchange_watch(ride->exchange, NULL, NULL);
    ride->code = 200;
    ride->similarity = outcome->similarity;
    ride->answer_bytes += body.len;
    if (outcome->entry)
        memcpy(ride->entry_id, outcome->entry->id, sizeof ride->entry_id);
    dj_content_note_answer(&ride->content, content_log(ride), ride->prefix.fingerprint_key, body);
    dj_http_respond(ride->exchange, 200, headers.items, headers.count, body);
}

static enum dj_result result_of(const struct ride *ride, int status)
{
    if (status >= 400 || status == 0)
        return DJ_RESULT_ERROR;
    if (ride->knobs.is_bypass || !ride->is_cacheable)
        return DJ_RESULT_BYPASS;
    if (ride->knobs.is_no_read)
        return DJ_RESULT_REFRESH;
    return ride->is_leader ? DJ_RESULT_MISS : DJ_RESULT_COLLAPSED;
}

static void add_upstream_headers(struct dj_answer_headers *headers,
                                 const struct dj_flight_head *head)
{
    const struct dj_http_header *items = head->headers;
    for (size_t i = 0; i < head->header_count && headers->count < DJ_ANSWER_HEADERS_MAX; i++)
        if (!ride_is_id_header(items[i].name))
            headers->items[headers->count++] = items[i];
}

/* end: NULL while the answer is still coming. */
static void fill_miss_headers(struct ride *ride, struct dj_answer_headers *headers,
                              const struct dj_flight_end *end)
{
    struct dj_outcome outcome = ride_outcome(ride);
    const struct dj_flight_head *head = dj_flight_head(ride->rider.flight);
    const struct dj_http_header *items = head->headers;
    struct deja_slice upstream_id = dj_http_find(items, head->header_count, ride_id_header(ride));
    outcome.upstream_status = head->status;
    outcome.is_stored = end && end->is_stored;
    if (end && !end->is_stored && !outcome.is_bypass)
        outcome.refused = end->reason;
    ride->code = head->status;
    if (upstream_id.len)
        outcome.request_id = upstream_id; /* SDKs show it; support of the upstream asks for it */
    add_upstream_headers(headers, head);
    dj_answer_add_outcome(headers, &outcome);
}

/* Whole answer from the chunks: small ones get a Content-Length this way. */
void ride_answer_whole(struct ride *ride)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    const struct dj_flight_head *head = dj_flight_head(ride->rider.flight);
    struct dj_answer_headers headers;
    struct dj_buf body = {0};
    const struct dj_chunk *chunk = NULL;
    dj_answer_init(&headers, request->arena);
    while ((chunk = dj_rider_next(&ride->rider)))
        dj_buf_append(&body, chunk->bytes, chunk->len);
    fill_miss_headers(ride, &headers, dj_flight_end(ride->rider.flight));
    int status = head->status;
    if (body.status != DEJA_OK) {
        dj_buf_fini(&body);
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    dj_http_exchange_watch(ride->exchange, NULL, NULL);
    dj_content_note_answer(&ride->content, content_log(ride), ride->prefix.fingerprint_key,
                           dj_buf_slice(&body));
    ride->answer_bytes += body.len;
    dj_http_respond(ride->exchange, status, headers.items, headers.count, dj_buf_slice(&body));
    dj_buf_fini(&body);
    ride_end(ride, result_of(ride, status), "none");
}

static void begin_stream(struct ride *ride)
{
    const struct dj_http_request *request = dj_http_exchange_request(ride->exchange);
    const struct dj_flight_head *head = dj_flight_head(ride->rider.flight);
    struct dj_answer_headers headers;
    dj_answer_init(&headers, request->arena);
    fill_miss_headers(ride, &headers, NULL);
    ride->is_begun = true;
    dj_http_respond_begin(ride->exchange, head->status, headers.items, headers.count, -1);
}

/* Writes what is there; true when the client may get more at once. */
static bool write_chunks(struct ride *ride)
{
    const struct dj_chunk *chunk = NULL;
    while (!ride->is_paused && (chunk = dj_rider_next(&ride->rider))) {
        if (chunk->is_usage_only && !ride->has_usage)
            continue;
        ride->answer_bytes += chunk->len;
        if (!dj_http_respond_write(ride->exchange, deja_slice(chunk->bytes, chunk->len)))
            ride->is_paused = true;
    }
    return !ride->is_paused;
}

/* Instead of the upstream's failure, what it would have replaced; false: there is nothing. */
static bool answer_stale(struct ride *ride)
{
    const struct dj_call *call = dj_flight_owner(ride->rider.flight);
    if (ride->is_begun || !call->stale)
        return false;
    const struct dj_flight_end end = {
        .value = call->stale,
        .hit = dj_engine_hit_kind(call->stale, ride->fingerprint.exact),
        .is_stale = true,
        .is_if_error = true,
        .level = call->stale_level,
        .similarity = 1.0f,
    };
    ride->ops->answer_hit(ride, &end);
    return true;
}

/* What says that the upstream is unwell, rather than the request. */
static bool is_upstream_failure(int status)
{
    return status >= 500 && status != 501;
}

static void fail_flight(struct ride *ride)
{
    const struct dj_flight_end *end = dj_flight_end(ride->rider.flight);
    if (end->failure != DEJA_ERR_NOT_FOUND && answer_stale(ride))
        return;
    if (ride->is_begun) {
        dj_http_exchange_watch(ride->exchange, NULL, NULL);
        dj_http_respond_abort(ride->exchange);
        ride_end(ride, DJ_RESULT_ERROR, "none");
    } else if (end->failure == DEJA_ERR_NOT_FOUND) {
        ride->detail = "only-if-cached";
        ride_fail(ride, 504, "Not in the cache, and the request asked for nothing else.", NULL,
                  "not_cached");
    } else if (end->failure == DEJA_ERR_TIMEOUT) {
        ride_fail(ride, 504, end->detail, NULL, "upstream_timeout");
    } else if (end->failure == DEJA_ERR_CIRCUIT_OPEN) {
        ride_fail(ride, 503, end->detail, NULL, "circuit_open");
    } else if (end->failure == DEJA_ERR_LIMIT) {
        ride_fail(ride, 503, end->detail, NULL, "overloaded");
    } else if (end->failure == DEJA_ERR_RATE_LIMITED) {
        ride_fail(ride, 429, end->detail, NULL, "rate_limited");
    } else {
        ride_fail(ride, 502, end->detail, NULL, "upstream_error");
    }
}

/* The answer is in the other mode than the client asked for, or it waits for the whole one. */
static bool must_wait_for_whole(const struct ride *ride, const struct dj_flight_head *head)
{
    if (head->status != 200)
        return true;
    if (head->is_stream != ride->is_stream)
        return true;
    return !head->is_stream && dj_flight_bytes(ride->rider.flight) < (1u << 20);
}

static void land(struct ride *ride)
{
    struct dj_flight *flight = ride->rider.flight;
    const struct dj_flight_end *end = dj_flight_end(flight);
    const struct dj_flight_head *head = dj_flight_head(flight);
    if (ride->is_begun) {
        if (!write_chunks(ride))
            return; /* DJ_HTTP_DRAINED comes back here */
        int status = head->status;
        dj_http_exchange_watch(ride->exchange, NULL, NULL);
        dj_http_respond_end(ride->exchange);
        dj_content_note_answer_bytes(&ride->content, content_log(ride),
                                     dj_flight_bytes(ride->rider.flight));
        ride_end(ride, result_of(ride, status), "none");
        return;
    }
    if (is_upstream_failure(head->status) && answer_stale(ride))
        return;
    bool is_other_mode = head->status == 200 && head->is_stream != ride->is_stream;
    if (end->hit != DJ_HIT_NONE || end->items || (is_other_mode && end->value)) {
        ride->ops->answer_hit(ride, end);
        return;
    }
    if (head->status == 200 && ride->is_partial) {
        ride_fail(ride, 502, "The upstream's answer could not be understood.", NULL,
                  "upstream_error");
        return;
    }
    if (head->status == 200 && head->is_stream && ride->is_stream) {
        begin_stream(ride);
        land(ride);
        return;
    }
    ride_answer_whole(ride);
}

static void pump(struct ride *ride)
{
    struct dj_flight *flight = ride->rider.flight;
    if (ride->is_begun && dj_rider_is_cut(&ride->rider)) {
        dj_http_exchange_watch(ride->exchange, NULL, NULL);
        dj_http_respond_abort(ride->exchange);
        ride_end(ride, DJ_RESULT_ERROR, "none");
        return;
    }
    switch (dj_flight_phase(flight)) {
    case DJ_FLIGHT_PENDING:
        break;
    case DJ_FLIGHT_RUNNING:
        if (!ride->is_begun && must_wait_for_whole(ride, dj_flight_head(flight)))
            break;
        if (!ride->is_begun)
            begin_stream(ride);
        if (!write_chunks(ride)) {
            /* DJ_HTTP_DRAINED goes on. */
        }
        break;
    case DJ_FLIGHT_LANDED:
        land(ride);
        break;
    case DJ_FLIGHT_FAILED:
        fail_flight(ride);
        break;
    }
}

static void on_wake(void *ctx)
{
    pump(ctx);
}

static void on_event(void *ctx, struct dj_http_exchange *exchange, enum dj_http_event event)
{
    struct ride *ride = ctx;
    (void)exchange;
    if (event == DJ_HTTP_DRAINED) {
        ride->is_paused = false;
        if (ride->is_boarded)
            pump(ride);
        return;
    }
    ride->is_gone = true;
    if (ride->is_boarded)
        ride_end(ride, DJ_RESULT_ERROR, "none"); /* the flight goes on without it */
}

static void on_joined(void *ctx, enum deja_status status, struct dj_flight *flight,
                      struct dj_chunk *start, bool is_leader)
{
    struct ride *ride = ctx;
    ride->is_leader = is_leader;
    if (flight) {
        ride->is_boarded = true;
        dj_flight_board(flight, start, &ride->rider, ride->loop, ride, on_wake);
    }
    if (ride->is_gone)
        ride_end(ride, DJ_RESULT_ERROR, "none");
    else if (!flight)
        ride_fail(ride, 503,
                  status == DEJA_ERR_LIMIT ? "Too many different requests are running."
                                           : "Deja is out of memory.",
                  NULL, "cache_unavailable");
}

void ride_join(struct ride *ride, struct dj_call *call)
{
    dj_http_exchange_watch(ride->exchange, ride, on_event);
    ride->join.origin = ride->loop;
    ride->join.call = call;
    ride->join.ctx = ride;
    ride->join.joined = on_joined;
    dj_call_join(&ride->join);
}
