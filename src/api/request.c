/* api/request.c - see request.h. */
#include "api/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/idempotency.h"
#include "base/date.h"
#include "base/num.h"
#include "loop/pool.h"
#include "proto/compress.h"
#include "proto/http_text.h"
#include "proxy/content.h"
#include "proxy/gate.h"
#include "proxy/identity.h"
#include "proxy/tenant_rules.h"

/* Larger bodies are parsed on a worker (I3). */
#define INLINE_BYTES_MAX (64u * 1024u)
#define LOG_FIELDS 8u /* of each request */
#define BODY_BYTES_MAX (32u * 1024u * 1024u)

struct dj_request_reading {
    struct dj_job job;
    struct dj_request *request;
    dj_request_fn *next;
    struct deja_slice encoding;
    bool is_once;
    uint8_t digest[DJ_SHA256_BYTES]; /* of the body as sent, when is_once */
    enum deja_status decoded;
    enum deja_status parsed;
    struct dj_json_doc *doc;
    struct deja_error error;
};

/* ---- who asks ---- */

/* Tells how to ask instead, or when. */
static void refuse_caller(struct dj_request *request, const struct dj_identity_refusal *refusal)
{
    struct dj_http_header *header = dj_arena_alloc(request->arena, sizeof *header);
    if (header && refusal->status == 401)
        *header =
            (struct dj_http_header){deja_slice_text("WWW-Authenticate"), deja_slice_text("Bearer")};
    else if (header && refusal->retry_after_s)
        *header = (struct dj_http_header){
            deja_slice_text("Retry-After"),
            deja_slice_text(dj_request_text(request, "%u", refusal->retry_after_s))};
    else
        header = NULL;
    request->refusal_header = header;
    dj_request_problem(request, refusal->status, refusal->type, refusal->detail);
}

bool dj_request_take_roles(struct dj_request *request, unsigned roles)
{
    struct dj_identity_refusal refusal;
    if (dj_identity_take_roles(request->api->proxy, request->http, dj_loop_now_ms(request->loop),
                               &request->who, &refusal)) {
        if (dj_identity_may(&request->who, roles))
            return true;
        bool is_known =
            request->who.origin == DJ_ORIGIN_KEY || request->who.origin == DJ_ORIGIN_CERTIFICATE;
        refusal = (struct dj_identity_refusal){
            .status = is_known ? 403 : 401,
            .type = is_known ? "forbidden" : "unauthorized",
            .detail = is_known ? "this key has not the role for that"
                      : roles == DJ_ROLE_AUDIT
                          ? "a key with the role audit or the admin token is wanted"
                          : "wants the admin token printed at start or a key with the role admin",
        };
    }
    refuse_caller(request, &refusal);
    return false;
}

bool dj_request_take_tenant(struct dj_request *request, unsigned roles)
{
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_identity_refusal refusal;
    if (!dj_identity_take(context, request->http, dj_loop_now_ms(request->loop), &request->who,
                          &refusal)) {
        refuse_caller(request, &refusal);
        return false;
    }
    if (!dj_identity_may(&request->who, roles)) {
        dj_request_problem(request, 403, "forbidden",
                           roles == DJ_ROLE_READ ? "this key has not the role read"
                                                 : "this key has not the role write");
        return false;
    }
    memcpy(request->tenant, request->who.tenant, sizeof request->tenant);
    request->has_tenant = true;
    if (!dj_tenant_has(&request->who, DJ_FEATURE_API)) {
        dj_request_problem(request, 403, "feature_disabled", dj_tenant_lacks_text(DJ_FEATURE_API));
        return false;
    }
    struct dj_limit_verdict verdict;
    if (!dj_gate_enter(context, request->exchange, &request->who, &request->pass, &verdict)) {
        dj_request_problem(request, 429, "rate_limited", dj_limit_detail(verdict.limit));
        return false;
    }
    if (request->who.is_unknown) {
        dj_request_problem(request, 503, "cache_unavailable", "too many tenants are in use");
        return false;
    }
    if (!request->who.may_hit) { /* a revoked key does not go on reading the cache */
        dj_request_problem(request, 403, "credential_suspended",
                           "the upstream refused this credential");
        return false;
    }
    dj_identity_fingerprint_key(context, &request->who, &request->fingerprint_key);
    return true;
}

/* ---- its rules ---- */

static const struct dj_rules_values *rules_of(const struct dj_request *request)
{
    return request->who.rules ? dj_rules_of(request->who.rules) : NULL;
}

double dj_request_threshold(const struct dj_request *request, double asked)
{
    const struct dj_rules_values *rules = rules_of(request);
    double own = rules ? rules->api_threshold : 0;
    if (!(own > 0))
        return isnan(asked) ? dj_engine_threshold(request->api->proxy->engine, true) : asked;
    return asked > own ? asked : own; /* NaN is not */
}

bool dj_request_may_search(const struct dj_request *request)
{
    return dj_tenant_has(&request->who, DJ_FEATURE_SEMANTIC);
}

uint32_t dj_request_guards_off(const struct dj_request *request)
{
    const struct dj_rules_values *rules = rules_of(request);
    return rules ? rules->guards_off : 0;
}

uint64_t dj_request_ttl(const struct dj_request *request, struct deja_slice text, uint64_t base_ms)
{
    const struct dj_rules_values *rules = rules_of(request);
    return dj_tenant_ttl(request->who.rules, &atomic_load(&request->api->proxy->policy)->ttl_sizes,
                         text, rules ? rules->api_ttl_ms : 0, base_ms);
}

int64_t dj_request_expiry(const struct dj_request *request, struct deja_slice text, uint64_t ttl_ms)
{
    const struct dj_proxy_context *context = request->api->proxy;
    return dj_engine_expiry(
        context->engine, request->loop, dj_tenant_cut_ttl(request->who.rules, ttl_ms),
        dj_request_ttl(request, text, atomic_load(&context->policy)->api_ttl_ms));
}

bool dj_request_keeps(const struct dj_request *request, uint64_t bytes)
{
    return dj_tenant_keeps(request->who.rules, bytes);
}

/* ---- reading ---- */

static void read_body(void *ctx)
{
    struct dj_request_reading *reading = ctx;
    struct deja_slice bytes = reading->request->http->body;
    struct dj_buf plain;
    if (reading->is_once)
        dj_hmac(reading->request->fingerprint_key.bytes, &bytes, 1, reading->digest);
    dj_buf_init(&plain, BODY_BYTES_MAX);
    if (reading->encoding.len > 0) {
        reading->decoded = dj_decompress(reading->encoding, bytes, BODY_BYTES_MAX, &plain);
        bytes = dj_buf_slice(&plain);
    }
    if (reading->decoded == DEJA_OK)
        reading->parsed = dj_json_parse(bytes, &reading->doc, &reading->error);
    dj_buf_fini(&plain);
}

/* ---- once ---- */

/* Visible characters, as of a request id. */
static bool is_sane_key(struct deja_slice key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~')
            return false;
    return key.len > 0 && key.len <= DJ_IDEMPOTENCY_KEY_BYTES_MAX;
}

/* What the key was answered before; true: the request goes on. */
static bool begin_once(struct dj_request *request, const uint8_t digest[DJ_SHA256_BYTES])
{
    struct dj_idempotency *table = request->api->idempotency;
    struct dj_buf answer = {0};
    int status = 0;
    const struct deja_slice parts[] = {
        deja_slice_text("idempotency\n"),
        request->http->method,
        deja_slice_text(request->route),
        deja_slice_text("\n"),
        dj_http_find_header(request->http, "idempotency-key"),
    };
    dj_hmac(request->fingerprint_key.bytes, parts, sizeof parts / sizeof *parts,
            request->once_name);
    switch (dj_idempotency_begin(table, request->once_name, digest, dj_loop_now_ms(request->loop),
                                 &status, &answer)) {
    case DJ_IDEMPOTENT_NEW:
        request->is_once = true;
        return true;
    case DJ_IDEMPOTENT_REPLAY:
        dj_request_header(request, "Idempotency-Replayed", "true");
        dj_request_answer(request, status, NULL, &answer);
        break;
    case DJ_IDEMPOTENT_IN_FLIGHT:
        dj_request_problem(request, 409, "idempotency_in_flight",
                           "the first request with this Idempotency-Key has no answer yet");
        break;
    case DJ_IDEMPOTENT_OTHER_BODY:
        dj_request_problem(request, 422, "idempotency_mismatch",
                           "this Idempotency-Key was used with another body");
        break;
    case DJ_IDEMPOTENT_FULL:
        dj_request_problem(request, 503, "cache_unavailable",
                           "too many writes with an Idempotency-Key are under way; try again");
        break;
    }
    dj_buf_fini(&answer);
    return false;
}

/* Successes are kept. What failed may be sent again, repaired or not. */
static void end_once(struct dj_request *request, int status, const struct dj_buf *body)
{
    if (!request->is_once)
        return;
    request->is_once = false;
    if (status < 300)
        dj_idempotency_finish(request->api->idempotency, request->once_name, status,
                              body ? dj_buf_slice(body) : deja_slice(NULL, 0));
    else
        dj_idempotency_forget(request->api->idempotency, request->once_name);
}

static void on_read(void *ctx)
{
    struct dj_request_reading *reading = ctx;
    struct dj_request *request = reading->request;
    request->reading = NULL;
    if (reading->decoded == DEJA_ERR_UNSUPPORTED) {
        dj_request_problem(request, 415, "unsupported_encoding",
                           "Content-Encoding may be gzip, deflate or zstd");
    } else if (reading->decoded == DEJA_ERR_LIMIT) {
        dj_request_problem(request, 413, "payload_too_large", "the decoded body is too large");
    } else if (reading->decoded == DEJA_ERR_INVALID) {
        dj_request_problem(request, 400, "invalid_encoding",
                           "the body is not what Content-Encoding says");
    } else if (reading->decoded == DEJA_ERR_NOMEM || reading->parsed == DEJA_ERR_NOMEM) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
    } else if (reading->decoded != DEJA_OK || reading->parsed != DEJA_OK) {
        dj_request_problem(request, 400, "invalid_json", reading->error.message);
    } else {
        request->doc = reading->doc;
        request->body = dj_json_root(request->doc);
        if (!dj_json_is(request->body, DJ_JSON_OBJECT))
            dj_request_problem(request, 400, "invalid_request", "the body must be a JSON object");
        else if (!reading->is_once || begin_once(request, reading->digest))
            reading->next(request);
    }
}

static void read_request(struct dj_request *request, bool is_once, dj_request_fn *next)
{
    struct deja_slice encoding = dj_http_find_header(request->http, "content-encoding");
    struct dj_request_reading *reading = dj_arena_alloc(request->arena, sizeof *reading);
    if (!reading) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *reading = (struct dj_request_reading){
        .request = request, .next = next, .encoding = encoding, .is_once = is_once};
    request->reading = reading;
    if (dj_http_is_same(encoding, "identity"))
        encoding = deja_slice(NULL, 0);
    if (encoding.len == 0 && request->http->body.len <= INLINE_BYTES_MAX) {
        read_body(reading);
        on_read(reading);
        return;
    }
    reading->job =
        (struct dj_job){.work = read_body, .done = on_read, .ctx = reading, .loop = request->loop};
    enum deja_status status = dj_pool_submit(request->api->proxy->pool, &reading->job);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_request_read(struct dj_request *request, dj_request_fn *next)
{
    read_request(request, false, next);
}

void dj_request_read_once(struct dj_request *request, dj_request_fn *next)
{
    struct deja_slice key = dj_http_find_header(request->http, "idempotency-key");
    if (key.data && !is_sane_key(key))
        dj_request_problem(request, 400, "invalid_request",
                           "Idempotency-Key must have 1 to 255 visible ASCII characters");
    else
        read_request(request, key.data && request->api->idempotency, next);
}

/* ---- answering ---- */

const char *dj_request_text(struct dj_request *request, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0)
        return "";
    size_t kept = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    char *copy = dj_arena_alloc(request->arena, kept + 1);
    if (!copy)
        return "";
    memcpy(copy, text, kept);
    copy[kept] = '\0';
    return copy;
}

void dj_request_header(struct dj_request *request, const char *name, const char *value)
{
    if (request->header_count < DJ_REQUEST_HEADERS_MAX && *value)
        request->headers[request->header_count++] =
            (struct dj_http_header){deja_slice_text(name), deja_slice_text(value)};
}

/* The text that was asked about, of a body that has one, and what was answered. */
static void note_content(const struct dj_request *request, struct deja_slice answer,
                         struct dj_content *content)
{
    enum dj_content_log how =
        request->who.rules ? dj_rules_of(request->who.rules)->content_log : DJ_CONTENT_OFF;
    struct deja_slice text = dj_json_string(dj_json_get(request->body, "query"));
    if (how == DJ_CONTENT_OFF)
        return;
    if (!text.len)
        text = dj_json_string(dj_json_get(request->body, "prompt"));
    dj_content_note_prompt(content, how, request->fingerprint_key.bytes, text);
    dj_content_note_answer(content, how, request->fingerprint_key.bytes, answer);
}

/* Faults as warnings, all else at debug: what these routes do is in the metrics. */
static void log_end(const struct dj_request *request, int status, double seconds,
                    struct deja_slice answer)
{
    struct dj_log *log = request->api->proxy->log;
    enum dj_log_level severity = status >= 500 ? DJ_LOG_WARN : DJ_LOG_DEBUG;
    char tenant[DJ_TENANT_TEXT_BYTES] = "";
    if (!dj_log_is_on(log, severity))
        return;
    if (request->has_tenant)
        dj_tenant_text(request->tenant, tenant);
    struct dj_log_field fields[] = {DJ_LOG_TEXT("tenant", request->has_tenant ? tenant : NULL),
                                    DJ_LOG_SLICE("req_id", request->request_id),
                                    DJ_LOG_TEXT("trace_id", dj_trace_id(&request->trace)),
                                    DJ_LOG_TEXT("api", "api"),
                                    DJ_LOG_TEXT("route", request->route),
                                    DJ_LOG_I64("body_bytes", (int64_t)request->http->body.len),
                                    DJ_LOG_I64("code", status),
                                    DJ_LOG_DOUBLE("dur_ms", seconds * 1000),
                                    [LOG_FIELDS + DJ_CONTENT_FIELDS] = {.name = NULL}};
    struct dj_content content = {.has_prompt = false};
    note_content(request, answer, &content);
    dj_content_fields(&content, fields + LOG_FIELDS);
    dj_log_write(log, severity, status >= 500 ? "request failed" : "request answered", fields);
    dj_content_fini(&content);
}

/* What the request holds besides the arena; what it took is told. */
static void release(struct dj_request *request, int status, struct deja_slice answer)
{
    dj_request_note(request, status, request->problem);
    double seconds = (double)(dj_clock_monotonic_us() - request->handled_us) / 1e6;
    dj_telemetry_slow(request->api->proxy->telemetry,
                      &(struct dj_slow){
                          .operation = request->route,
                          .tenant = request->has_tenant ? request->tenant : NULL,
                          .request_id = request->request_id,
                          .trace_id = dj_trace_id(&request->trace),
                          .seconds = seconds,
                      });
    log_end(request, status, seconds, answer);
    dj_json_doc_destroy(request->doc);
    request->doc = NULL;
    request->body = NULL;
    dj_secret_fini(&request->fingerprint_key);
    dj_gate_leave(&request->pass, request->answer_bytes);
    dj_principal_fini(&request->who);
    dj_telemetry_inflight(request->api->proxy->telemetry, -1);
}

void dj_request_answer(struct dj_request *request, int status, const char *media,
                       const struct dj_buf *body)
{
    if (body && body->status != DEJA_OK) {
        dj_request_refuse(request, body->status);
        return;
    }
    struct dj_http_header headers[DJ_REQUEST_HEADERS_MAX + DJ_PROBLEM_STRICT_HEADERS + 4];
    char timing[DJ_PROBLEM_TIMING_BYTES];
    bool is_timed = false;
    size_t count = 0;
    headers[count++] = (struct dj_http_header){deja_slice_text("Content-Type"),
                                               deja_slice_text(media ? media : "application/json")};
    count += dj_problem_strict(headers + count);
    headers[count++] =
        (struct dj_http_header){deja_slice_text("X-Request-Id"), request->request_id};
    for (size_t i = 0; i < request->header_count; i++) {
        headers[count++] = request->headers[i];
        is_timed = is_timed || dj_http_is_same(request->headers[i].name, "Server-Timing");
    }
    if (!is_timed)
        headers[count++] = dj_problem_timing(request->http, timing);
    end_once(request, status, body);
    struct deja_slice answer = body ? dj_buf_slice(body) : deja_slice(NULL, 0);
    request->answer_bytes = answer.len;
    release(request, status, answer);
    dj_http_respond(request->exchange, status, headers, count, answer);
}

void dj_request_abandon(struct dj_request *request)
{
    end_once(request, 0, NULL);
    release(request, 0, deja_slice(NULL, 0));
}

static void end_with(struct dj_request *request, int status, const char *type, const char *detail)
{
    struct dj_problem problem = {.status = status,
                                 .type = type,
                                 .detail = detail,
                                 .fields = request->fields,
                                 .field_count = request->field_count};
    request->problem = type;
    end_once(request, status, NULL);
    release(request, status, deja_slice(NULL, 0));
    dj_problem_respond(request->exchange, request->http->path, &problem, request->request_id,
                       request->refusal_header);
}

void dj_request_problem(struct dj_request *request, int status, const char *type,
                        const char *detail)
{
    request->header_count = 0; /* nothing a handler prepared belongs to an error */
    request->field_count = 0;
    end_with(request, status, type, detail);
}

void dj_request_refuse(struct dj_request *request, enum deja_status status)
{
    struct dj_problem problem = dj_problem_of(status);
    dj_request_problem(request, problem.status, problem.type, problem.detail);
}

void dj_request_complain(struct dj_request *request, const char *type, const char *field,
                         const char *rule, const char *message)
{
    if (!request->complaint)
        request->complaint = type;
    if (request->field_count < DJ_REQUEST_FIELDS_MAX)
        request->fields[request->field_count++] =
            (struct dj_problem_field){.field = field, .rule = rule, .message = message};
}

static int complaint_status(const struct dj_request *request)
{
    return strcmp(request->complaint, "forbidden") == 0 ? 403 : 400;
}

bool dj_request_has_complaints(struct dj_request *request)
{
    if (!request->complaint)
        return false;
    request->header_count = 0;
    end_with(
        request, complaint_status(request), request->complaint,
        dj_request_text(request, "%s: %s", request->fields[0].field, request->fields[0].message));
    return true;
}

bool dj_request_take_fault(struct dj_request *request, struct dj_fault *out_fault)
{
    if (!request->complaint)
        return false;
    out_fault->field = request->fields[0];
    out_fault->problem =
        (struct dj_problem){.status = complaint_status(request),
                            .type = request->complaint,
                            .detail = dj_request_text(request, "%s: %s", request->fields[0].field,
                                                      request->fields[0].message),
                            .field_count = 1};
    request->complaint = NULL;
    request->field_count = 0;
    return true;
}

/* ---- writing ---- */

void dj_request_put_fault(struct dj_json_writer *w, const struct dj_fault *fault)
{
    struct dj_problem problem = fault->problem;
    problem.fields = &fault->field;
    dj_json_key(w, "error");
    dj_problem_put(w, &problem);
}

void dj_request_put_id(struct dj_json_writer *w, const char *name, const uint8_t *id)
{
    char text[2 * DJ_ID_BYTES + 1];
    dj_hex_encode(id, DJ_ID_BYTES, text);
    dj_json_member_text(w, name, text);
}

void dj_request_put_levels(struct dj_json_writer *w, const char *name, uint32_t levels)
{
    if (!levels)
        return;
    dj_json_key(w, name);
    dj_json_begin_array(w);
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        if (levels & DJ_LEVEL_BIT(i))
            dj_json_put_text(w, dj_level_text(i));
    dj_json_end_array(w);
}

void dj_request_put_time(struct dj_json_writer *w, const char *name, int64_t ms)
{
    char text[DJ_DATE_RFC3339_BYTES];
    dj_json_key(w, name);
    if (ms == 0) {
        dj_json_put_null(w);
        return;
    }
    dj_date_rfc3339(ms, text);
    dj_json_put_text(w, text);
}
