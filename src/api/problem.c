/* api/problem.c - see problem.h. */
#include "api/problem.h"

#include <stdio.h>

#include "base/num.h"
#include "loop/loop.h"
#include "proxy/respond.h"
#include "text/utf8.h"

#define BODY_BYTES_MAX (64u * 1024u)

static bool has_prefix(struct deja_slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* path is folder or lies in it. */
static bool is_within(struct deja_slice path, const char *folder)
{
    size_t len = strlen(folder);
    return has_prefix(path, folder) && (path.len == len || path.data[len] == '/');
}

enum dj_surface dj_problem_surface(struct deja_slice path)
{
    if (is_within(path, "/v1/messages"))
        return DJ_SURFACE_ANTHROPIC;
    if (is_within(path, "/v1/caches"))
        return DJ_SURFACE_LANGCACHE;
    if (is_within(path, "/gptcache"))
        return DJ_SURFACE_GPTCACHE;
    return has_prefix(path, "/v1/") ? DJ_SURFACE_OPENAI : DJ_SURFACE_NATIVE;
}

/* "speakeasy-sdk/typescript 0.11.1 …": the SDKs' generator, the language, the SDK's version. */
enum dj_surface dj_problem_langcache(struct deja_slice user_agent)
{
    static const char version[] = " 0.";
    if (!has_prefix(user_agent, "speakeasy-sdk/"))
        return DJ_SURFACE_LANGCACHE;
    const char *space = memchr(user_agent.data, ' ', user_agent.len);
    size_t at = space ? (size_t)(space - user_agent.data) : user_agent.len;
    struct deja_slice rest = deja_slice(user_agent.data + at, user_agent.len - at);
    if (!has_prefix(rest, version))
        return DJ_SURFACE_LANGCACHE;
    size_t len = 0;
    uint64_t minor = 0;
    rest = deja_slice(rest.data + sizeof version - 1, rest.len - (sizeof version - 1));
    while (len < rest.len && rest.data[len] >= '0' && rest.data[len] <= '9')
        len++;
    bool is_old = dj_num_parse_u64(deja_slice(rest.data, len), &minor) == DEJA_OK && minor < 12;
    return is_old ? DJ_SURFACE_LANGCACHE_0_11 : DJ_SURFACE_LANGCACHE;
}

static bool is_langcache(enum dj_surface surface)
{
    return surface == DJ_SURFACE_LANGCACHE || surface == DJ_SURFACE_LANGCACHE_0_11;
}

int dj_problem_status(enum dj_surface surface, const struct dj_problem *problem)
{
    bool is_overload = strcmp(problem->type, "overloaded") == 0;
    if (surface == DJ_SURFACE_GPTCACHE)
        return problem->status == 400 ? 422 : problem->status;
    if (is_langcache(surface) && problem->status == 503)
        return is_overload ? 429 : 424;
    return problem->status;
}

const char *dj_problem_media_type(enum dj_surface surface)
{
    return surface == DJ_SURFACE_NATIVE ? "application/problem+json" : "application/json";
}

const char *dj_problem_title(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 424:
        return "Failed Dependency";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return status >= 500 ? "Server Error" : "Request Failed";
    }
}

struct dj_problem dj_problem_of(enum deja_status status)
{
    static const char down[] = "cache_unavailable";
    switch (status) {
    case DEJA_ERR_BUSY:
        return (struct dj_problem){
            .status = 503, .type = down, .detail = "a queue is full; try again"};
    case DEJA_ERR_LIMIT:
        return (struct dj_problem){
            .status = 413, .type = "payload_too_large", .detail = "larger than what is kept"};
    case DEJA_ERR_INVALID:
        return (struct dj_problem){.status = 400, .type = "invalid_request"};
    case DEJA_ERR_MISMATCH:
        return (struct dj_problem){.status = 400,
                                   .type = "embedding_mismatch",
                                   .detail =
                                       "no vector of that embedder and dimension is kept here"};
    case DEJA_ERR_CIRCUIT_OPEN:
        return (struct dj_problem){.status = 503,
                                   .type = "circuit_open",
                                   .detail = "circuit breaker is open: a tier that must keep this "
                                             "is not asked for now"};
    case DEJA_ERR_DENIED:
        return (struct dj_problem){.status = 403, .type = "forbidden"};
    default:
        return (struct dj_problem){.status = 503, .type = down, .detail = deja_status_text(status)};
    }
}

static const char *langcache_type(int status, bool is_old)
{
    switch (status) {
    case 401:
        return "/errors/authentication-failed";
    case 403:
        return "/errors/insufficient-permissions";
    case 404:
        return is_old ? "/errors/resource/not-found" : "/errors/resource-not-found";
    case 413:
        return "/errors/payload-too-large";
    case 424:
        return is_old ? "/errors/database/resource-database-unavailable"
                      : "/errors/resource-unavailable";
    case 429:
        return "/errors/too-many-requests";
    default:
        return status >= 500 ? "/errors/unexpected-error" : "/errors/invalid-data";
    }
}

/* Parts of a problem may echo the request, and a path may hold any bytes. */
static void put_text(struct dj_json_writer *w, struct deja_slice text)
{
    if (dj_utf8_is_valid(text)) {
        dj_json_put_string(w, text);
        return;
    }
    struct dj_buf plain;
    dj_buf_init(&plain, BODY_BYTES_MAX);
    for (size_t i = 0; i < text.len; i++)
        dj_buf_append_byte(&plain, (uint8_t)text.data[i] < 0x80 ? text.data[i] : '?');
    dj_json_put_string(w, dj_buf_slice(&plain));
    dj_buf_fini(&plain);
}

static void put_member(struct dj_json_writer *w, const char *name, const char *text)
{
    dj_json_key(w, name);
    put_text(w, deja_slice_text(text));
}

static void write_anthropic(struct dj_json_writer *w, const struct dj_problem *problem,
                            const char *detail, struct deja_slice request_id)
{
    dj_json_begin_object(w);
    put_member(w, "type", "error");
    dj_json_key(w, "error");
    dj_json_begin_object(w);
    put_member(w, "type", dj_proxy_messages_type(problem->status));
    put_member(w, "message", detail);
    dj_json_end_object(w);
    dj_json_key(w, "request_id");
    put_text(w, request_id);
    dj_json_end_object(w);
}

static void put_fields(struct dj_json_writer *w, const struct dj_problem *problem)
{
    if (problem->field_count == 0)
        return;
    dj_json_key(w, "fields");
    dj_json_begin_array(w);
    for (size_t i = 0; i < problem->field_count; i++) {
        dj_json_begin_object(w);
        put_member(w, "field", problem->fields[i].field);
        put_member(w, "rule", problem->fields[i].rule);
        put_member(w, "message", problem->fields[i].message);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

/* What a problem says whether it is a whole answer or an item's. */
static void put_head(struct dj_json_writer *w, const struct dj_problem *problem)
{
    put_member(w, "type", problem->type);
    put_member(w, "title", dj_problem_title(problem->status));
    dj_json_key(w, "status");
    dj_json_put_i64(w, problem->status);
    put_member(w, "detail", problem->detail ? problem->detail : dj_problem_title(problem->status));
}

void dj_problem_put(struct dj_json_writer *w, const struct dj_problem *problem)
{
    dj_json_begin_object(w);
    put_head(w, problem);
    put_fields(w, problem);
    dj_json_end_object(w);
}

static void write_native(struct dj_json_writer *w, const struct dj_problem *problem,
                         struct deja_slice path, struct deja_slice request_id)
{
    dj_json_begin_object(w);
    put_head(w, problem);
    dj_json_key(w, "instance");
    put_text(w, path);
    dj_json_key(w, "request_id");
    put_text(w, request_id);
    put_fields(w, problem);
    dj_json_end_object(w);
}

static void write_langcache(struct dj_json_writer *w, const struct dj_problem *problem,
                            const char *detail, struct deja_slice path, bool is_old)
{
    int status = dj_problem_status(DJ_SURFACE_LANGCACHE, problem);
    dj_json_begin_object(w);
    put_member(w, "title", dj_problem_title(status));
    put_member(w, "type", langcache_type(status, is_old));
    dj_json_key(w, "status");
    dj_json_put_i64(w, status);
    put_member(w, "detail", detail);
    dj_json_key(w, "instance");
    put_text(w, path);
    put_fields(w, problem);
    dj_json_end_object(w);
}

static void write_gptcache(struct dj_json_writer *w, const struct dj_problem *problem,
                           const char *detail)
{
    dj_json_begin_object(w);
    if (problem->field_count == 0) {
        put_member(w, "detail", detail);
        dj_json_end_object(w);
        return;
    }
    dj_json_key(w, "detail");
    dj_json_begin_array(w);
    for (size_t i = 0; i < problem->field_count; i++) {
        dj_json_begin_object(w);
        put_member(w, "type", problem->fields[i].rule);
        dj_json_key(w, "loc");
        dj_json_begin_array(w);
        dj_json_put_text(w, "body");
        put_text(w, deja_slice_text(problem->fields[i].field));
        dj_json_end_array(w);
        put_member(w, "msg", problem->fields[i].message);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
    dj_json_end_object(w);
}

void dj_problem_write(enum dj_surface surface, const struct dj_problem *problem,
                      struct deja_slice path, struct deja_slice request_id, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    const char *detail = problem->detail ? problem->detail : dj_problem_title(problem->status);
    if (surface == DJ_SURFACE_OPENAI)
        dj_proxy_error_body(out, problem->status, detail,
                            problem->field_count ? problem->fields[0].field : NULL, problem->type);
    else if (surface == DJ_SURFACE_ANTHROPIC)
        write_anthropic(&w, problem, detail, request_id);
    else if (is_langcache(surface))
        write_langcache(&w, problem, detail, path, surface == DJ_SURFACE_LANGCACHE_0_11);
    else if (surface == DJ_SURFACE_GPTCACHE)
        write_gptcache(&w, problem, detail);
    else
        write_native(&w, problem, path, request_id);
}

struct dj_http_header dj_problem_timing(const struct dj_http_request *request,
                                        char text[DJ_PROBLEM_TIMING_BYTES])
{
    /* What broke off before its request line was whole never began. */
    uint64_t us = request->started_us ? dj_clock_monotonic_us() - request->started_us : 0;
    int len = snprintf(text, DJ_PROBLEM_TIMING_BYTES, "total;dur=%.3f", (double)us / 1e3);
    return (struct dj_http_header){deja_slice_text("Server-Timing"),
                                   deja_slice(text, len > 0 ? (size_t)len : 0)};
}

size_t dj_problem_strict(struct dj_http_header *headers)
{
    static const struct dj_http_header strict[DJ_PROBLEM_STRICT_HEADERS] = {
        {{"Cache-Control", 13}, {"no-store", 8}},
        {{"X-Content-Type-Options", 22}, {"nosniff", 7}},
        {{"Referrer-Policy", 15}, {"no-referrer", 11}},
        {{"Content-Security-Policy", 23}, {"default-src 'none'; frame-ancestors 'none'", 42}},
    };
    memcpy(headers, strict, sizeof strict);
    return DJ_PROBLEM_STRICT_HEADERS;
}

void dj_problem_respond(struct dj_http_exchange *exchange, struct deja_slice path,
                        const struct dj_problem *problem, struct deja_slice request_id,
                        const struct dj_http_header *extra, size_t extra_count)
{
    enum dj_surface surface = dj_problem_surface(path);
    struct dj_http_header headers[5 + DJ_PROBLEM_EXTRA_MAX + DJ_PROBLEM_STRICT_HEADERS];
    char timing[DJ_PROBLEM_TIMING_BYTES];
    if (surface == DJ_SURFACE_LANGCACHE && (problem->status == 404 || problem->status == 503))
        surface = dj_problem_langcache(
            dj_http_find_header(dj_http_exchange_request(exchange), "user-agent"));
    size_t count = 0;
    struct dj_buf body;
    dj_buf_init(&body, BODY_BYTES_MAX);
    dj_problem_write(surface, problem, path, request_id, &body);

    headers[count++] = (struct dj_http_header){deja_slice_text("Content-Type"),
                                               deja_slice_text(dj_problem_media_type(surface))};
    count += dj_problem_strict(headers + count);
    if (request_id.len > 0)
        headers[count++] = (struct dj_http_header){deja_slice_text("X-Request-Id"), request_id};
    if (surface == DJ_SURFACE_ANTHROPIC && request_id.len > 0)
        headers[count++] = (struct dj_http_header){deja_slice_text("request-id"), request_id};
    for (size_t i = 0; i < extra_count && i < DJ_PROBLEM_EXTRA_MAX; i++)
        headers[count++] = extra[i];
    headers[count++] = dj_problem_timing(dj_http_exchange_request(exchange), timing);
    /* Out of memory: the status alone still tells what is wrong. */
    dj_http_respond(exchange, dj_problem_status(surface, problem), headers, count,
                    body.status == DEJA_OK ? dj_buf_slice(&body) : deja_slice(NULL, 0));
    dj_buf_fini(&body);
}
