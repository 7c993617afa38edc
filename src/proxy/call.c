/* proxy/call.c - see call.h.
 *
 * (1) After dj_flight_land or dj_flight_fail the call may be gone: both come last in a function.
 * (2) An outbound call runs exactly as long as `outbound` is set; its on_done comes once.
 * (3) A stream is published event by event, so that a rider never holds half of one.
 */
#include "proxy/call_internal.h"

#include "base/alloc.h"
#include "base/slice.h"
#include "net/http_headers.h"
#include "proto/http_text.h"
#include "proxy/completion.h"
#include "proxy/identity.h"
#include "security/vault.h"

#define CALL_ARENA_BYTES_MAX (80u << 20)
#define PENDING_BYTES_MAX (16u << 20)
#define HELD_BYTES_MAX (64u << 10)
#define HEADERS_MAX 100u

struct dj_call *dj_call_create(struct dj_proxy_context *context)
{
    struct dj_call *call = dj_alloc_zeroed(1, sizeof *call);
    if (!call)
        return NULL;
    call->context = context;
    atomic_fetch_add(&context->calls, 1);
    dj_arena_init(&call->arena, CALL_ARENA_BYTES_MAX);
    dj_buf_init(&call->pending, PENDING_BYTES_MAX);
    call->why = "not-stored";
    return call;
}

void dj_call_destroy(struct dj_call *call)
{
    if (!call)
        return;
    atomic_fetch_sub(&call->context->calls, 1);
    atomic_fetch_sub(&call->context->call_bytes, call->charged_bytes);
    dj_admission_leave(call->context->admission, &call->place);
    dj_value_unref(call->stale);
    dj_rules_unref(call->rules);
    dj_sensitive_fini(&call->sensitive);
    dj_buf_fini(&call->pending);
    dj_buf_fini(&call->whole);
    dj_buf_fini(&call->made);
    if (call->secret.len)
        dj_wipe((void *)(uintptr_t)call->secret.data, call->secret.len);
    dj_arena_fini(&call->arena);
    dj_free(call);
}

static void end_refresh(struct dj_call *call, const char *outcome)
{
    struct dj_proxy_context *context = call->context;
    bool is_failed = strcmp(outcome, "failed") == 0;
    int64_t rest_ms = call->is_left ? DJ_REFRESH_LEFT_MS : is_failed ? DJ_REFRESH_REST_MS : 0;
    dj_refreshes_end(&context->refreshes, call->refresh_place, rest_ms, dj_loop_now_ms(call->home));
    dj_telemetry_refreshed(context->telemetry, call->is_early ? "early" : "stale",
                           call->is_left ? "left" : outcome);
    call->is_refresh = false;
}

/* Before the flight ends, and with it perhaps the call. outcome: of a refresh. */
static void settle(struct dj_call *call, const char *outcome)
{
    dj_admission_leave(call->context->admission, &call->place);
    if (call->is_refresh)
        end_refresh(call, outcome);
    dj_turn_end(call->turn);
    call->turn = NULL;
    if (call->stale && !dj_engine_may_serve(call->context->engine, call->home, call->stale)) {
        dj_value_unref(call->stale);
        call->stale = NULL;
    }
}

void dj_call_land(struct dj_call *call, const struct dj_flight_end *end)
{
    settle(call, end->is_stored ? "stored" : end->hit != DJ_HIT_NONE ? "found" : "failed");
    dj_flight_land(call->flight, end);
}

void dj_call_fail(struct dj_call *call, enum deja_status status, const char *detail)
{
    settle(call, "failed");
    dj_flight_fail(call->flight, status, detail);
}

static void free_call(void *call)
{
    dj_call_destroy(call);
}

/* ---- what goes upstream ---- */

static bool is_left_out(const struct dj_http_request *request, struct deja_slice name,
                        bool is_cached_surface)
{
    if (dj_http_is_hop_by_hop(request->headers, request->header_count, name) ||
        dj_http_is_same(name, "host") || dj_http_is_same(name, "content-length") ||
        dj_http_is_same(name, "expect") || dj_knobs_is_cache_header(name))
        return true;
    /* A stored answer is re-encoded per client: never ask for a coding that has to be undone. */
    return is_cached_surface &&
           (dj_http_is_same(name, "accept-encoding") || dj_http_is_same(name, "content-encoding"));
}

static void add_trace(struct dj_call *call, const struct dj_trace *trace)
{
    char text[DJ_TRACEPARENT_BYTES];
    if (!trace->id[0] || call->header_count == HEADERS_MAX)
        return;
    dj_trace_write(trace, text);
    struct deja_slice copy = dj_arena_copy(&call->arena, deja_slice_text(text));
    if (copy.data) /* without memory the trace ends here, not the request */
        call->headers[call->header_count++] =
            (struct dj_http_header){deja_slice_text("traceparent"), copy};
}

static bool is_credential(struct deja_slice name)
{
    return dj_http_is_same(name, "authorization") || dj_http_is_same(name, "x-api-key") ||
           dj_http_is_same(name, "api-key") || dj_http_is_same(name, "x-goog-api-key");
}

/* A credential is for one of the two: Anthropic's is named x-api-key, and no other's is. */
static bool is_for_target(const struct dj_call *call, struct deja_slice name)
{
    bool is_anthropic = call->target == &call->context->targets[DJ_TARGET_ANTHROPIC];
    return call->guard || !call->context->has_two_targets ||
           dj_http_is_same(name, "x-api-key") == is_anthropic;
}

/* What Deja holds for the tenant, unless the client has shown a credential of its own. */
static enum deja_status add_held(struct dj_call *call, const struct dj_principal *who)
{
    struct deja_slice name;
    for (size_t i = 0; i < call->header_count; i++)
        if (is_credential(call->headers[i].name))
            return DEJA_OK;
    if (!call->context->vault || call->header_count == HEADERS_MAX)
        return DEJA_OK;
    enum deja_status status =
        dj_vault_look(call->context->vault, who->tenant, &call->arena, &name, &call->secret);
    if (status == DEJA_OK && is_for_target(call, name))
        call->headers[call->header_count++] = (struct dj_http_header){name, call->secret};
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

const char *dj_call_own_upstream(const struct dj_principal *who)
{
    return who->rules ? dj_rules_of(who->rules)->upstream_url : NULL;
}

/* Breaker and throttle are for the upstream that all tenants share: what one tenant's own does must
 * not be held against the others. */
struct dj_upstream *dj_call_upstream(const struct dj_call *call)
{
    return call->guard ? NULL : call->target->upstream;
}

/* Clients send /v1/…, so a base ends before it, however it was written. */
static size_t length_without_version(const char *base)
{
    size_t len = strlen(base);
    while (len && base[len - 1] == '/')
        len--;
    if (len > 3 && memcmp(base + len - 3, "/v1", 3) == 0)
        len -= 3;
    while (len && base[len - 1] == '/')
        len--;
    return len;
}

enum deja_status dj_call_take_request(struct dj_call *call, const struct dj_http_request *request,
                                      const struct dj_principal *who, const struct dj_trace *trace,
                                      bool is_cached_surface)
{
    const char *own = dj_call_own_upstream(who);
    call->target = &call->context->targets[dj_target_of(request)];
    const char *base = own ? own : call->target->url;
    if (!call->rules && who->rules)
        call->rules = dj_rules_ref(who->rules);
    call->guard = own ? call->context->upstream_guard : NULL;
    size_t base_len = length_without_version(base);
    size_t url_len = base_len + request->target.len;
    char *url = dj_arena_alloc(&call->arena, url_len + 1);
    struct deja_slice method = dj_arena_copy(&call->arena, request->method);
    call->headers = dj_arena_alloc(&call->arena, sizeof *call->headers * HEADERS_MAX);
    if (!url || !method.data || !call->headers)
        return DEJA_ERR_NOMEM;
    memcpy(url, base, base_len);
    memcpy(url + base_len, request->target.data, request->target.len);
    url[url_len] = '\0';
    call->url = url;
    call->method = method.data;
    for (size_t i = 0; i < request->header_count && call->header_count < HEADERS_MAX; i++) {
        const struct dj_http_header *header = &request->headers[i];
        if (is_left_out(request, header->name, is_cached_surface) ||
            dj_identity_is_own(call->context, header) ||
            dj_http_is_same(header->name, "traceparent") ||
            (trace->is_restarted && dj_http_is_same(header->name, "tracestate")))
            continue;
        struct dj_http_header copy = {dj_arena_copy(&call->arena, header->name),
                                      dj_arena_copy(&call->arena, header->value)};
        if (!copy.name.data || !copy.value.data)
            return DEJA_ERR_NOMEM;
        call->headers[call->header_count++] = copy;
    }
    add_trace(call, trace);
    call->is_background = request->inner_tenant != NULL;
    call->has_proof = who->has_proof;
    memcpy(call->proof, who->proof, sizeof call->proof);
    return add_held(call, who);
}

int64_t dj_call_stale_until(const struct dj_proxy_policy *policy, int64_t expires_ms)
{
    uint64_t window_ms = policy->stale_revalidate_ms > policy->stale_error_ms
                             ? policy->stale_revalidate_ms
                             : policy->stale_error_ms;
    if (!window_ms || expires_ms == 0 || (uint64_t)(INT64_MAX - expires_ms) < window_ms)
        return 0;
    return expires_ms + (int64_t)window_ms;
}

/* ---- joining ---- */

static void reply_joined(void *ctx)
{
    struct dj_join *join = ctx;
    join->joined(join->ctx, join->status, join->flight, join->start, join->is_leader);
}

static void reply(struct dj_join *join, enum deja_status status, struct dj_flight *flight,
                  struct dj_chunk *start, bool is_leader)
{
    join->status = status;
    join->flight = flight;
    join->start = start;
    join->is_leader = is_leader;
    join->task = (struct dj_task){.run = reply_joined, .ctx = join};
    dj_loop_post(join->origin, &join->task);
}

/* What was made void since it began is not given to who asks now. */
static bool is_joinable(const struct dj_call *running)
{
    return !dj_engine_is_outrun(running->context->engine, running->home, &running->fingerprint.key,
                                &running->entry, running->entry.version);
}

static bool join_running(struct dj_join *join, struct dj_flights *flights)
{
    struct dj_proxy_context *context = join->call->context;
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    struct dj_flight *flight =
        dj_flights_find(flights, join->call->flight_key, policy->followers_max);
    struct dj_chunk *start = NULL;
    if (flight && is_joinable(dj_flight_owner(flight)))
        start = dj_flight_expect(flight, join->origin);
    if (!start) {
        dj_flight_unref(flight);
        return false;
    }
    dj_call_destroy(join->call);
    reply(join, DEJA_OK, flight, start, false);
    return true;
}

/* False: what other calls keep leaves no room for this one. */
static bool charge(struct dj_call *call)
{
    struct dj_proxy_context *context = call->context;
    uint64_t bytes = call->arena.used_bytes;
    uint64_t others = atomic_fetch_add(&context->call_bytes, bytes);
    call->charged_bytes = bytes;
    return others == 0 || others + bytes <= context->call_bytes_max;
}

/* On home. */
static void join_home(void *ctx)
{
    struct dj_join *join = ctx;
    struct dj_call *call = join->call;
    struct dj_proxy_context *context = call->context;
    struct dj_flights *flights = context->flights[dj_loop_index(call->home)];
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    if (join->is_alone)
        dj_random_bytes(call->flight_key, sizeof call->flight_key);
    else if (join_running(join, flights))
        return;
    struct dj_flight *flight = NULL;
    enum deja_status status = DEJA_ERR_LIMIT;
    if (charge(call))
        status = dj_flights_open(flights, call->flight_key, policy->record_bytes_max, call,
                                 free_call, &flight);
    if (status != DEJA_OK) {
        dj_call_destroy(call);
        reply(join, status, NULL, NULL, true);
        return;
    }
    call->flight = flight;
    dj_flight_ref(flight); /* the rider's */
    struct dj_chunk *start = dj_flight_expect(flight, join->origin);
    reply(join, DEJA_OK, flight, start, true);
    dj_call_look_up(call);
}

void dj_call_join(struct dj_join *join)
{
    struct dj_call *call = join->call;
    struct dj_engine *engine = call->context->engine;
    call->home = dj_engine_loop(engine, dj_engine_home(engine, &call->fingerprint.key));
    join->task = (struct dj_task){.run = join_home, .ctx = join};
    dj_loop_post(call->home, &join->task);
}

/* On home. */
static void refresh_home(void *ctx)
{
    struct dj_call *call = ctx;
    struct dj_proxy_context *context = call->context;
    struct dj_flights *flights = context->flights[dj_loop_index(call->home)];
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    struct dj_flight *running = dj_flights_find(flights, call->flight_key, UINT32_MAX);
    if (running || !charge(call) ||
        dj_flights_open(flights, call->flight_key, policy->record_bytes_max, call, free_call,
                        &call->flight) != DEJA_OK) {
        settle(call, running ? "found" : "failed");
        dj_flight_unref(running);
        dj_call_destroy(call);
        return;
    }
    dj_call_look_up(call);
}

void dj_call_refresh(struct dj_call *call)
{
    struct dj_engine *engine = call->context->engine;
    call->home = dj_engine_loop(engine, dj_engine_home(engine, &call->fingerprint.key));
    call->task = (struct dj_task){.run = refresh_home, .ctx = call};
    dj_loop_post(call->home, &call->task);
}

/* ---- the upstream's answer ---- */

static void copy_headers(struct dj_call *call, const struct dj_http_header *headers, size_t count)
{
    struct dj_http_header *copies = dj_arena_alloc(&call->arena, sizeof *copies * (count + 1));
    size_t kept = 0;
    for (size_t i = 0; copies && i < count; i++) {
        struct deja_slice name = headers[i].name;
        if (dj_http_is_hop_by_hop(headers, count, name) ||
            dj_http_is_same(name, "content-length") || dj_http_is_same(name, "set-cookie") ||
            dj_http_is_same(name, "date"))
            continue;
        struct dj_http_header copy = {dj_arena_copy(&call->arena, name),
                                      dj_arena_copy(&call->arena, headers[i].value)};
        if (copy.name.data && copy.value.data)
            copies[kept++] = copy;
    }
    call->head.headers = copies;
    call->head.header_count = kept;
}

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct dj_call *call = ctx;
    struct dj_proxy_context *context = call->context;
    struct deja_slice type = dj_http_find(headers, count, "content-type");
    struct deja_slice coding = dj_http_find(headers, count, "content-encoding");
    static const char event_stream[] = "text/event-stream";
    call->upstream_us = (uint32_t)(dj_loop_monotonic_us(call->home) - call->upstream_started_us);
    call->is_encoded = coding.len && !dj_http_is_same(coding, "identity");
    call->head.status = status;
    call->head.is_stream =
        type.len >= sizeof event_stream - 1 &&
        dj_http_is_same(deja_slice(type.data, sizeof event_stream - 1), event_stream);
    copy_headers(call, headers, count);
    if (status >= 500 || call->head.is_stream) /* of others the breaker hears when they are whole */
        dj_upstream_tell(dj_call_upstream(call), &call->leave, call->fingerprint.key.tenant, status,
                         DEJA_OK);
    if (call->has_proof)
        dj_registry_on_upstream_status(context->registry, call->proof, status,
                                       dj_loop_now_ms(call->home));
    dj_telemetry_upstream(context->telemetry, call->target->id, status);
    dj_telemetry_stage(context->telemetry, DJ_STAGE_UPSTREAM, (double)call->upstream_us / 1e6);
    call->is_held = status == 400 && call->is_usage_added;
    if (!call->is_held)
        dj_flight_run(call->flight, &call->head);
}

static void on_drained(void *ctx)
{
    struct dj_call *call = ctx;
    if (call->outbound)
        dj_outbound_resume(call->outbound);
}

/* Beyond the recorder's bound the riders set the pace. */
static void keep_pace(struct dj_call *call)
{
    if (dj_flight_is_recorded(call->flight) || !call->outbound)
        return;
    /* The breaker does not wait for slow readers. */
    dj_upstream_tell(dj_call_upstream(call), &call->leave, call->fingerprint.key.tenant,
                     call->head.status, DEJA_OK);
    if (!dj_flight_is_wanted(call->flight))
        dj_outbound_cancel(call->outbound);
    else if (dj_flight_must_pause(call->flight, call, on_drained))
        dj_outbound_pause(call->outbound);
}

static void publish(struct dj_call *call, struct deja_slice bytes, bool is_usage_only)
{
    if (call->is_store_lost || !bytes.len)
        return;
    if (dj_flight_append(call->flight, bytes, is_usage_only) != DEJA_OK) {
        call->is_store_lost = true; /* riders must not get an answer with a hole */
        dj_outbound_cancel(call->outbound);
    }
}

/* Length of the first whole event in bytes, its blank line included; 0: none yet. */
static size_t event_len(struct deja_slice bytes)
{
    for (size_t i = 0; i + 1 < bytes.len; i++) {
        if (bytes.data[i] != '\n')
            continue;
        if (bytes.data[i + 1] == '\n')
            return i + 2;
        if (bytes.data[i + 1] == '\r' && i + 2 < bytes.len && bytes.data[i + 2] == '\n')
            return i + 3;
    }
    return 0;
}

static bool on_usage_event(void *ctx, const struct dj_sse_event *event)
{
    bool *is_usage_only = ctx;
    *is_usage_only = dj_completion_is_usage_only(event->data);
    return true;
}

static bool is_usage_event(const struct dj_call *call, struct deja_slice event)
{
    bool is_usage_only = false;
    struct dj_sse_parser parser;
    /* Most events are not looked into: the usage chunk has an empty "choices". */
    if (!call->is_usage_added || !dj_slice_contains(event, "\"usage\"") ||
        !dj_slice_contains(event, "[]"))
        return false;
    dj_sse_init(&parser, PENDING_BYTES_MAX);
    if (dj_sse_feed(&parser, event, &is_usage_only, on_usage_event) != DEJA_OK)
        is_usage_only = false;
    dj_sse_fini(&parser);
    return is_usage_only;
}

static void publish_events(struct dj_call *call)
{
    size_t done = 0;
    for (;;) {
        struct deja_slice rest = deja_slice(call->pending.data + done, call->pending.len - done);
        size_t len = rest.len ? event_len(rest) : 0;
        if (!len)
            break;
        struct deja_slice event = deja_slice(rest.data, len);
        publish(call, event, is_usage_event(call, event));
        done += len;
    }
    dj_buf_consume(&call->pending, done);
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct dj_call *call = ctx;
    if (call->is_held && call->pending.len + bytes.len > HELD_BYTES_MAX) {
        call->is_held = false; /* too long to be about one option */
        dj_flight_run(call->flight, &call->head);
        publish(call, dj_buf_slice(&call->pending), false);
        dj_buf_clear(&call->pending);
    }
    if (call->is_held || (call->head.is_stream && !call->is_encoded)) {
        dj_buf_append_slice(&call->pending, bytes);
        if (call->pending.status != DEJA_OK) {
            dj_outbound_cancel(call->outbound);
            return;
        }
        if (!call->is_held)
            publish_events(call);
    } else {
        publish(call, bytes, false);
    }
    keep_pace(call);
}

static void make_entry(void *ctx)
{
    struct dj_call *call = ctx;
    call->make(call, dj_buf_slice(&call->whole));
}

static void on_made(void *ctx)
{
    struct dj_call *call = ctx;
    struct dj_flight_end end = {.reason = call->refused};
    call->store(call, &end);
    dj_call_land(call, &end);
}

/* The answer arrived whole. */
static void finish_whole(struct dj_call *call)
{
    dj_admission_leave(call->context->admission, &call->place);
    publish(call, dj_buf_slice(&call->pending), false);
    dj_buf_clear(&call->pending);
    bool is_kept = call->head.status == 200 && call->make && !call->is_encoded &&
                   !call->is_store_lost && dj_flight_is_recorded(call->flight);
    if (is_kept) {
        dj_flight_copy(call->flight, &call->whole);
        call->job =
            (struct dj_job){.work = make_entry, .done = on_made, .ctx = call, .loop = call->home};
        if (call->whole.status == DEJA_OK &&
            dj_pool_submit(call->context->pool, &call->job) == DEJA_OK)
            return;
    }
    struct dj_flight_end end = {.reason = "not-recorded"};
    dj_call_keep_negative(call, &end);
    dj_call_land(call, &end);
}

static void on_paused(void *ctx)
{
    struct dj_call *call = ctx;
    dj_timer_destroy(call->pause);
    call->pause = NULL;
    dj_call_ask_upstream(call);
}

/* Nothing came of it, so nobody has seen any of it: it may be tried again. False: it is over. */
static bool pause_upstream(struct dj_call *call, enum deja_status status)
{
    struct dj_proxy_context *context = call->context;
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    uint64_t elapsed_ms = (dj_loop_monotonic_us(call->home) - call->first_started_us) / 1000;
    const struct dj_sentry_again again = {
        .status = status,
        .attempts = call->attempts,
        .elapsed_ms = elapsed_ms,
        .remaining_ms =
            policy->total_timeout_ms > elapsed_ms ? policy->total_timeout_ms - elapsed_ms : 0,
    };
    uint64_t pause_ms = 0;
    bool has_stale = call->stale != NULL; /* nobody has to wait for another try */
    if (has_stale || call->head.status || call->is_store_lost ||
        atomic_load(&context->is_stopping) ||
        !dj_upstream_may_retry(dj_call_upstream(call), call->family, &again, &pause_ms) ||
        dj_timer_create(call->home, call, on_paused, &call->pause) != DEJA_OK)
        return false;
    dj_timer_start(call->pause, pause_ms, 0);
    return true;
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    (void)detail; /* may name hosts; riders get constant text */
    struct dj_call *call = ctx;
    call->outbound = NULL;
    dj_upstream_tell(dj_call_upstream(call), &call->leave, call->fingerprint.key.tenant,
                     status == DEJA_OK ? call->head.status : 0, status);
    if (status != DEJA_OK && pause_upstream(call, status))
        return;
    if (status == DEJA_OK && call->is_held) {
        call->is_held = false;
        if (dj_slice_contains(dj_buf_slice(&call->pending), "stream_options")) {
            atomic_store(&call->context->is_usage_refused, true);
            call->is_usage_added = false;
            call->body = call->body_plain;
            dj_buf_clear(&call->pending);
            dj_call_ask_upstream(call);
            return;
        }
        dj_flight_run(call->flight, &call->head);
    }
    if (call->is_store_lost)
        dj_call_fail(call, DEJA_ERR_NOMEM, "out of memory");
    else if (status == DEJA_OK)
        finish_whole(call);
    else
        dj_call_fail(call, status,
                     status == DEJA_ERR_TIMEOUT ? "the upstream did not answer in time"
                     : status == DEJA_ERR_DENIED
                         ? call->guard
                               ? "the tenant's upstream is at an address that is not allowed, "
                                 "or its certificate could not be verified"
                               : "the upstream's certificate could not be verified"
                         : "the upstream could not be reached or broke off");
}

/* False: the upstream is not asked, and the flight has failed. */
static bool is_let_through(struct dj_call *call)
{
    const uint8_t *tenant = call->fingerprint.key.tenant;
    switch (dj_upstream_admit(dj_call_upstream(call), call->family, tenant, call->attempts == 0,
                              &call->leave, &call->wait_ms)) {
    case DJ_UPSTREAM_ASK:
        break;
    case DJ_UPSTREAM_OPEN:
        dj_call_fail(call, DEJA_ERR_CIRCUIT_OPEN,
                     "The circuit breaker of the upstream is open: it failed too often. Try "
                     "again after the time given.");
        return false;
    case DJ_UPSTREAM_THROTTLED:
        dj_call_fail(call, DEJA_ERR_RATE_LIMITED,
                     "The upstream turns most of your calls away, so some are held back here. "
                     "Try again after the time given, or ask for less.");
        return false;
    }
    call->wait_ms = 0;
    return true;
}

void dj_call_ask_now(struct dj_call *call)
{
    static const struct dj_outbound_events events = {
        .on_head = on_head, .on_data = on_data, .on_done = on_done};
    struct dj_proxy_context *context = call->context;
    const struct dj_proxy_policy *policy = atomic_load(&context->policy);
    const struct dj_outbound_request request = {
        .method = call->method,
        .url = call->url,
        .headers = call->headers,
        .header_count = call->header_count,
        .body = call->body,
        .first_byte_timeout_ms = policy->first_byte_timeout_ms,
        .idle_timeout_ms = policy->idle_timeout_ms,
        .total_timeout_ms = policy->total_timeout_ms,
        .guard = call->guard,
    };
    bool is_stopping = atomic_load(&context->is_stopping);
    if (!is_stopping && !is_let_through(call))
        return;
    call->upstream_started_us = dj_loop_monotonic_us(call->home);
    if (call->attempts++ == 0)
        call->first_started_us = call->upstream_started_us;
    if (!is_stopping && dj_outbound_start(context->outbounds[dj_loop_index(call->home)], &request,
                                          &events, call, &call->outbound) == DEJA_OK)
        return;
    dj_upstream_tell(dj_call_upstream(call), &call->leave, call->fingerprint.key.tenant, 0,
                     DEJA_ERR_CANCELLED);
    dj_call_fail(call, DEJA_ERR_BUSY, "no upstream connection can be made now");
}
