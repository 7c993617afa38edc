/* api/router.c - see router.h.
 *
 * Order of the checks, each of which may end the request: local guard, dot segments,
 * route, method, who asks, what they may, media type. Nothing of a request is looked at before the
 * guard has passed it.
 */
#include "api/router.h"

#include <stdatomic.h>
#include <stdio.h>

#include "api/cors.h"
#include "api/handlers.h"
#include "api/langcache.h"
#include "base/num.h"
#include "base/slice.h"
#include "proxy/identity.h"
#include "proxy/proxy.h"
#include "security/local_guard.h"

#define REQUEST_ID_BYTES_MAX 128u

/* Who may ask: the table of roles and endpoints. An administrator may what read and write may. */
enum access {
    ACCESS_OPEN,     /* everybody: tells nothing */
    ACCESS_OPERATOR, /* loopback peers; others with the role admin */
    ACCESS_READ,     /* of the credential's tenant, as is the next */
    ACCESS_WRITE,
    ACCESS_ADMIN, /* of the deployment, as is the next */
    ACCESS_AUDIT,
};
static const struct {
    const char *name;
    unsigned role;
} accesses[] = {
    [ACCESS_OPEN] = {"open", 0},
    [ACCESS_OPERATOR] = {"operator", DJ_ROLE_ADMIN},
    [ACCESS_READ] = {"read", DJ_ROLE_READ},
    [ACCESS_WRITE] = {"write", DJ_ROLE_WRITE},
    [ACCESS_ADMIN] = {"admin", DJ_ROLE_ADMIN},
    [ACCESS_AUDIT] = {"audit", DJ_ROLE_AUDIT},
};

struct route {
    const char *method;
    const char *path; /* '*' stands for one segment that is not empty */
    enum access access;
    bool is_json; /* a write: application/json is wanted */
    dj_request_fn *handle;
};

static const struct route routes[] = {
    {"PUT", "/api/v1/entries", ACCESS_WRITE, true, dj_entries_put},
    {"DELETE", "/api/v1/entries", ACCESS_WRITE, false, dj_invalidate_query},
    {"GET", "/api/v1/entries/*", ACCESS_READ, false, dj_entries_get},
    {"DELETE", "/api/v1/entries/*", ACCESS_WRITE, false, dj_entries_remove},
    {"POST", "/api/v1/lookup", ACCESS_READ, true, dj_find},
    {"POST", "/api/v1/invalidate", ACCESS_WRITE, true, dj_invalidate},
    {"GET", "/api/v1/schedules", ACCESS_READ, false, dj_schedules_list},
    {"GET", "/api/v1/schedules/*", ACCESS_READ, false, dj_schedules_get},
    {"DELETE", "/api/v1/schedules/*", ACCESS_WRITE, false, dj_schedules_remove},
    {"GET", "/api/v1/invalidations", ACCESS_READ, false, dj_follow_invalidations},
    {"GET", "/api/v1/kv", ACCESS_READ, false, dj_kv_list},
    {"DELETE", "/api/v1/kv", ACCESS_WRITE, false, dj_kv_clear},
    {"GET", "/api/v1/kv/*", ACCESS_READ, false, dj_kv_get},
    {"PUT", "/api/v1/kv/*", ACCESS_WRITE, false, dj_kv_put},
    {"PATCH", "/api/v1/kv/*", ACCESS_WRITE, false, dj_kv_patch},
    {"DELETE", "/api/v1/kv/*", ACCESS_WRITE, false, dj_kv_remove},
    {"POST", "/api/v1/kv:batch", ACCESS_READ, true, dj_kv_batch},
    {"GET", "/api/v1/kv:stats", ACCESS_READ, false, dj_kv_stats},
    {"POST", "/api/v1/kv:lock", ACCESS_WRITE, true, dj_kv_lock},
    {"POST", "/api/v1/kv:unlock", ACCESS_WRITE, true, dj_kv_unlock},
    {"GET", "/api/v1/explain", ACCESS_READ, false, dj_explain},
    {"POST", "/api/v1/explain", ACCESS_READ, true, dj_explain},
    {"GET", "/api/v1/stats", ACCESS_READ, false, dj_stats},
    {"GET", "/api/v1/kinds", ACCESS_READ, false, dj_kinds_list},
    {"POST", "/api/v1/kv:key", ACCESS_READ, true, dj_kinds_make_key},
    {"GET", "/api/v1/patterns", ACCESS_READ, false, dj_patterns},
    {"GET", "/api/v1/limits", ACCESS_READ, false, dj_limits},
    {"GET", "/api/v1/top", ACCESS_READ, false, dj_top},
    {"POST", "/api/v1/evict", ACCESS_WRITE, true, dj_evict},
    {"GET", "/api/v1/index", ACCESS_READ, false, dj_index_get},
    {"POST", "/api/v1/index", ACCESS_WRITE, true, dj_index_post},
    {"GET", "/api/v1/tail", ACCESS_READ, false, dj_tail},
    {"GET", "/api/v1/warm", ACCESS_READ, false, dj_warm_get},
    {"POST", "/api/v1/warm", ACCESS_WRITE, true, dj_warm_post},
    {"DELETE", "/api/v1/warm", ACCESS_WRITE, false, dj_warm_delete},
    {"POST", "/api/v1/warm/history", ACCESS_WRITE, true, dj_warm_history},
    {"POST", "/api/v1/feedback", ACCESS_WRITE, true, dj_feedback},
    {"POST", "/api/v1/erase", ACCESS_ADMIN, true, dj_erase},
    {"GET", "/api/v1/erase/*", ACCESS_ADMIN, false, dj_erase_get},
    {"GET", "/api/v1/audit", ACCESS_AUDIT, false, dj_audit_get},
    {"GET", "/api/v1/tenants", ACCESS_ADMIN, false, dj_tenants_list},
    {"POST", "/api/v1/tenants", ACCESS_ADMIN, true, dj_tenants_create_one},
    {"POST", "/api/v1/tenants/reload", ACCESS_ADMIN, true, dj_tenants_reload},
    {"GET", "/api/v1/tenants/*", ACCESS_ADMIN, false, dj_tenants_get},
    {"PUT", "/api/v1/tenants/*", ACCESS_ADMIN, true, dj_tenants_replace},
    {"PATCH", "/api/v1/tenants/*", ACCESS_ADMIN, true, dj_tenants_patch},
    {"DELETE", "/api/v1/tenants/*", ACCESS_ADMIN, false, dj_tenants_remove},
    {"POST", "/api/v1/tenants/*/suspend", ACCESS_ADMIN, false, dj_tenants_suspend},
    {"POST", "/api/v1/tenants/*/resume", ACCESS_ADMIN, false, dj_tenants_resume},
    {"POST", "/api/v1/tenants/*/links", ACCESS_ADMIN, true, dj_tenants_link},
    {"DELETE", "/api/v1/tenants/*/links/*", ACCESS_ADMIN, false, dj_tenants_unlink},
    {"GET", "/api/v1/export", ACCESS_READ, false, dj_export},
    {"POST", "/api/v1/import", ACCESS_ADMIN, true, dj_import},
    {"POST", "/api/v1/backup", ACCESS_ADMIN, true, dj_transfers_backup},
    {"POST", "/api/v1/restore", ACCESS_ADMIN, true, dj_transfers_restore},
    {"POST", "/api/v1/verify", ACCESS_ADMIN, true, dj_transfers_verify},
    {"POST", "/api/v1/migrate", ACCESS_ADMIN, true, dj_transfers_migrate},
    {"GET", "/api/v1/transfers", ACCESS_ADMIN, false, dj_transfers_list},
    {"GET", "/api/v1/transfers/*", ACCESS_ADMIN, false, dj_transfers_get},
    {"DELETE", "/api/v1/transfers/*", ACCESS_ADMIN, false, dj_transfers_cancel},
    {"GET", "/api/v1/encryption", ACCESS_ADMIN, false, dj_encryption_get},
    {"POST", "/api/v1/encryption/rotate", ACCESS_ADMIN, true, dj_encryption_rotate_now},
    {"GET", "/api/v1/keys", ACCESS_ADMIN, false, dj_keys_api_list},
    {"POST", "/api/v1/keys", ACCESS_ADMIN, true, dj_keys_api_make},
    {"GET", "/api/v1/keys/*", ACCESS_ADMIN, false, dj_keys_api_get},
    {"DELETE", "/api/v1/keys/*", ACCESS_ADMIN, false, dj_keys_api_revoke},
    {"POST", "/api/v1/keys/*/rotate", ACCESS_ADMIN, true, dj_keys_api_rotate},
    {"GET", "/api/v1/upstream-credentials/*", ACCESS_ADMIN, false, dj_keys_api_held},
    {"PUT", "/api/v1/upstream-credentials/*", ACCESS_ADMIN, true, dj_keys_api_hold},
    {"DELETE", "/api/v1/upstream-credentials/*", ACCESS_ADMIN, false, dj_keys_api_drop},
    {"POST", "/v1/caches/*/entries", ACCESS_WRITE, true, dj_langcache_set},
    {"DELETE", "/v1/caches/*/entries", ACCESS_WRITE, true, dj_langcache_remove_matching},
    {"POST", "/v1/caches/*/entries/search", ACCESS_READ, true, dj_langcache_search},
    {"DELETE", "/v1/caches/*/entries/*", ACCESS_WRITE, false, dj_langcache_remove},
    {"POST", "/v1/caches/*/conversations/search", ACCESS_READ, true,
     dj_langcache_search_conversation},
    {"POST", "/v1/caches/*/flush", ACCESS_WRITE, false, dj_langcache_flush},
    {"GET", "/gptcache", ACCESS_OPEN, false, dj_gptcache_hello},
    {"GET", "/gptcache/", ACCESS_OPEN, false, dj_gptcache_hello},
    {"POST", "/gptcache/put", ACCESS_WRITE, true, dj_gptcache_put},
    {"POST", "/gptcache/get", ACCESS_READ, true, dj_gptcache_get},
    {"POST", "/gptcache/flush", ACCESS_WRITE, false, dj_gptcache_flush},
    {"DELETE", "/api/cache/clear/*", ACCESS_WRITE, false, dj_bifrost_clear},
    {"DELETE", "/api/cache/clear-by-key/*", ACCESS_WRITE, false, dj_bifrost_clear_key},
    {"GET", "/cache/ping", ACCESS_READ, false, dj_litellm_ping},
    {"POST", "/cache/delete", ACCESS_WRITE, true, dj_litellm_delete},
    {"POST", "/cache/flushall", ACCESS_WRITE, false, dj_litellm_flush},
    {"GET", "/cache/redis/info", ACCESS_READ, false, dj_litellm_redis_info},
    {"GET", "/metrics", ACCESS_OPERATOR, false, dj_ops_metrics},
    {"GET", "/livez", ACCESS_OPEN, false, dj_ops_livez},
    {"GET", "/healthz", ACCESS_OPEN, false, dj_ops_healthz},
    {"GET", "/startupz", ACCESS_OPEN, false, dj_ops_startupz},
    {"GET", "/readyz", ACCESS_OPEN, false, dj_ops_readyz},
    {"GET", "/health", ACCESS_OPERATOR, false, dj_ops_health},
    {"GET", "/health/detailed", ACCESS_OPERATOR, false, dj_ops_health_detailed},
    {"GET", "/openapi.json", ACCESS_OPEN, false, dj_ops_openapi},
    {"POST", "/admin/reload", ACCESS_ADMIN, true, dj_ops_reload},
};
#define ROUTES (sizeof routes / sizeof *routes)

typedef void proxy_fn(struct dj_proxy_context *proxy, struct dj_http_exchange *exchange,
                      struct deja_slice id);

/* Below /v1/; the last one takes every method and what no other takes. */
static const struct {
    const char *method;
    const char *path;
    proxy_fn *handle;
} proxied[] = {
    {"POST", "/v1/chat/completions", dj_proxy_chat},
    {"POST", "/v1/completions", dj_proxy_completions},
    {"POST", "/v1/responses", dj_proxy_responses},
    {"POST", "/v1/messages", dj_proxy_messages},
    {"POST", "/v1/embeddings", dj_proxy_embeddings},
    {"*", "/v1/*", dj_proxy_passthrough},
};
#define PROXIED (sizeof proxied / sizeof *proxied)

bool dj_api_route(size_t index, struct dj_api_route *out_route)
{
    if (index >= ROUTES + PROXIED)
        return false;
    if (index < ROUTES)
        *out_route = (struct dj_api_route){routes[index].method, routes[index].path,
                                           accesses[routes[index].access].name};
    else
        *out_route = (struct dj_api_route){proxied[index - ROUTES].method,
                                           proxied[index - ROUTES].path, "write"};
    return true;
}

/* ---- request ids ---- */

static bool is_sane_id(struct deja_slice id)
{
    if (id.len == 0 || id.len > REQUEST_ID_BYTES_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (id.data[i] <= ' ' || id.data[i] > '~')
            return false;
    return true;
}

/* The client's if it is sane, or a new one: a random number of this daemon and a counter, without
 * asking the kernel for random bytes on every request. */
static struct deja_slice request_id(struct dj_api *api, const struct dj_http_request *http)
{
    struct deja_slice sent = dj_http_find_header(http, "x-request-id");
    if (is_sane_id(sent))
        return sent;
    uint64_t seed = atomic_load_explicit(&api->request_seed, memory_order_relaxed);
    if (seed == 0) {
        uint64_t drawn = 0;
        dj_random_bytes(&drawn, sizeof drawn);
        drawn |= 1;
        if (atomic_compare_exchange_strong(&api->request_seed, &seed, drawn))
            seed = drawn;
    }
    uint64_t count = atomic_fetch_add_explicit(&api->request_count, 1, memory_order_relaxed);
    uint8_t bytes[16];
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(seed >> (56 - 8 * i));
        bytes[8 + i] = (uint8_t)(count >> (56 - 8 * i));
    }
    char *text = dj_arena_alloc(http->arena, 2 * sizeof bytes + 1);
    if (!text)
        return deja_slice(NULL, 0);
    dj_hex_encode(bytes, sizeof bytes, text);
    return deja_slice(text, 2 * sizeof bytes);
}

/* ---- paths ---- */

static bool has_prefix(struct deja_slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* "." or "..", also written with %2e. */
static bool is_dots(struct deja_slice segment)
{
    size_t dots = 0;
    for (size_t at = 0; at < segment.len; dots++) {
        if (segment.data[at] == '.')
            at++;
        else if (segment.len - at >= 3 && segment.data[at] == '%' && segment.data[at + 1] == '2' &&
                 (segment.data[at + 2] | 0x20) == 'e')
            at += 3;
        else
            return false;
    }
    return dots == 1 || dots == 2;
}

/* Such a path names one thing here and another after the upstream has resolved it. */
static bool has_dot_segment(struct deja_slice path)
{
    size_t start = 0;
    for (size_t at = 0; at <= path.len; at++) {
        if (at < path.len && path.data[at] != '/')
            continue;
        if (is_dots(deja_slice(path.data + start, at - start)))
            return true;
        start = at + 1;
    }
    return false;
}

/* out_rest: what stands for the last '*'. */
static bool is_match(const struct route *route, struct deja_slice path, struct deja_slice *out_rest)
{
    const char *wanted = route->path;
    struct deja_slice rest = {0};
    size_t at = 0;
    for (; *wanted; wanted++) {
        if (*wanted != '*') {
            if (at == path.len || path.data[at] != *wanted)
                return false;
            at++;
            continue;
        }
        size_t start = at;
        while (at < path.len && path.data[at] != '/')
            at++;
        rest = deja_slice(path.data + start, at - start);
        if (rest.len == 0)
            return false;
    }
    if (at < path.len)
        return false;
    *out_rest = rest;
    return true;
}

/* Is it for operators and administrators alone? */
static bool is_operation(const struct route *route)
{
    return route->access == ACCESS_OPERATOR || route->access == ACCESS_ADMIN ||
           route->access == ACCESS_AUDIT;
}

static bool is_served(const struct route *route, const struct dj_http_request *http)
{
    return http->listener != DJ_LISTENER_TRAFFIC || !is_operation(route);
}

/* The path of the routes that this request is for; a name wins over a '*'. NULL: none. */
static const char *find_path(const struct dj_http_request *http)
{
    const char *found = NULL;
    for (size_t i = 0; i < ROUTES; i++) {
        struct deja_slice rest;
        if (!is_match(&routes[i], http->path, &rest) || !is_served(&routes[i], http))
            continue;
        if (routes[i].path[strlen(routes[i].path) - 1] != '*')
            return routes[i].path;
        if (!found)
            found = routes[i].path;
    }
    return found;
}

/* ---- refusals ---- */

static void refuse(struct dj_http_exchange *exchange, struct deja_slice id, int status,
                   const char *type, const char *detail, const struct dj_http_header *extra)
{
    const struct dj_problem problem = {.status = status, .type = type, .detail = detail};
    dj_problem_respond(exchange, dj_http_exchange_request(exchange)->path, &problem, id, extra);
}

/* The methods that this path has, in the exchange's arena. */
static void refuse_method(struct dj_http_exchange *exchange, struct deja_slice id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    const char *path = find_path(http);
    char allow[64] = "";
    size_t len = 0;
    for (size_t i = 0; path && i < ROUTES; i++) {
        if (strcmp(routes[i].path, path) != 0 || !is_served(&routes[i], http))
            continue;
        int more =
            snprintf(allow + len, sizeof allow - len, "%s%s", len ? ", " : "", routes[i].method);
        if (more > 0 && (size_t)more < sizeof allow - len)
            len += (size_t)more;
    }
    const struct dj_http_header header = {deja_slice_text("Allow"), deja_slice(allow, len)};
    refuse(exchange, id, 405, "method_not_allowed", NULL, &header);
}

/* ---- who may ---- */

static size_t count_of(const char *const *texts)
{
    size_t count = 0;
    while (texts && texts[count])
        count++;
    return count;
}

static enum dj_local_verdict guard(const struct dj_api *api, const struct dj_http_request *http,
                                   bool needs_json)
{
    const struct dj_local_config config = {.hosts = api->allowed_hosts,
                                           .host_count = count_of(api->allowed_hosts),
                                           .origins = api->allowed_origins,
                                           .origin_count = count_of(api->allowed_origins)};
    const struct dj_local_request asked = {.method = http->method,
                                           .host = dj_http_find_header(http, "host"),
                                           .origin = dj_http_find_header(http, "origin"),
                                           .content_type =
                                               dj_http_find_header(http, "content-type"),
                                           .has_body = http->body.len > 0,
                                           .needs_json = needs_json};
    return dj_local_check(&config, &asked);
}

/* A public listener tells nothing about its operations: to strangers they are not there. */
static bool is_operator(struct dj_request *request)
{
    struct dj_identity_refusal refusal;
    if (request->http->is_loopback_peer)
        return true;
    if (dj_identity_take_roles(request->api->proxy, request->http, dj_loop_now_ms(request->loop),
                               &request->who, &refusal) &&
        dj_identity_may(&request->who, DJ_ROLE_ADMIN))
        return true;
    dj_request_problem(request, 404, "not_found", NULL);
    return false;
}

/* False: the request was answered. */
static bool has_access(struct dj_request *request, const struct route *route)
{
    bool may = true;
    if (route->access == ACCESS_OPERATOR)
        may = is_operator(request);
    else if (route->access == ACCESS_READ || route->access == ACCESS_WRITE)
        may = dj_request_take_tenant(request, accesses[route->access].role);
    else if (route->access != ACCESS_OPEN)
        may = dj_request_take_roles(request, accesses[route->access].role);
    if (may && route->is_json && guard(request->api, request->http, true) != DJ_LOCAL_OK) {
        dj_request_problem(request, 415, "unsupported_media_type",
                           "Content-Type must be application/json");
        may = false;
    }
    return may;
}

/* ---- handling ---- */

static void serve(struct dj_api *api, const struct route *route, struct dj_http_exchange *exchange,
                  struct deja_slice rest, struct deja_slice id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    struct dj_request *request = dj_arena_alloc(http->arena, sizeof *request);
    if (!request) {
        refuse(exchange, id, 503, "cache_unavailable", "out of memory", NULL);
        return;
    }
    *request = (struct dj_request){.api = api,
                                   .exchange = exchange,
                                   .http = http,
                                   .loop = dj_http_exchange_loop(exchange),
                                   .arena = http->arena,
                                   .request_id = id,
                                   .route = route->path,
                                   .handled_us = dj_clock_monotonic_us(),
                                   .rest = rest};
    dj_trace_read(http, &request->trace);
    dj_telemetry_inflight(api->proxy->telemetry, 1);
    if (!has_access(request, route))
        return;
    /* Who reads the log is no event; an erasure writes down more itself. */
    bool is_read = dj_slice_is(http->method, "GET");
    if (route->access == ACCESS_ADMIN && !is_read && route->handle != dj_erase)
        dj_request_audit(request, route->handle);
    else
        route->handle(request);
}

static void handle_own(struct dj_api *api, struct dj_http_exchange *exchange, struct deja_slice id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    const char *path = find_path(http);
    /* HEAD is GET whose body the server leaves out. */
    bool is_head = dj_slice_is(http->method, "HEAD");
    struct deja_slice method = is_head ? deja_slice_text("GET") : http->method;
    for (size_t i = 0; path && i < ROUTES; i++) {
        struct deja_slice rest = {0};
        if (strcmp(routes[i].path, path) != 0 || !is_served(&routes[i], http) ||
            !is_match(&routes[i], http->path, &rest) || !dj_slice_is(method, routes[i].method))
            continue;
        serve(api, &routes[i], exchange, rest, id);
        return;
    }
    if (path)
        refuse_method(exchange, id);
    else
        refuse(exchange, id, 404, "not_found", "there is nothing here; clients use /v1/", NULL);
}

static void handle_proxy(struct dj_api *api, struct dj_http_exchange *exchange,
                         struct deja_slice id)
{
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    size_t at = 0;
    while (at < PROXIED - 1 && (!dj_slice_is(http->method, proxied[at].method) ||
                                !dj_slice_is(http->path, proxied[at].path)))
        at++;
    proxied[at].handle(api->proxy, exchange, id);
}

void dj_api_handle(void *ctx, struct dj_http_exchange *exchange)
{
    struct dj_api *api = ctx;
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    struct deja_slice id = request_id(api, http);
    enum dj_local_verdict verdict = guard(api, http, false);
    if (verdict == DJ_LOCAL_BAD_HOST)
        refuse(exchange, id, 421, "wrong_host", dj_local_text(verdict), NULL);
    else if (verdict != DJ_LOCAL_OK)
        refuse(exchange, id, 403, "foreign_origin", dj_local_text(verdict), NULL);
    else if (dj_cors_answer(exchange, id))
        return;
    else if (has_dot_segment(http->path))
        refuse(exchange, id, 400, "invalid_path", "the path has dot segments", NULL);
    else if (has_prefix(http->path, "/v1/") && http->listener != DJ_LISTENER_ADMIN &&
             dj_problem_surface(http->path) != DJ_SURFACE_LANGCACHE)
        handle_proxy(api, exchange, id);
    else
        handle_own(api, exchange, id);
}

void dj_api_handle_inner(void *ctx, struct dj_http_exchange *exchange)
{
    struct dj_api *api = ctx;
    const struct dj_http_request *http = dj_http_exchange_request(exchange);
    handle_proxy(api, exchange, request_id(api, http));
}

/* Names for what the server itself has to refuse. */
static const char *error_type(int status)
{
    switch (status) {
    case 408:
        return "request_timeout";
    case 413:
        return "payload_too_large";
    case 417:
        return "expectation_failed";
    case 431:
        return "headers_too_large";
    case 503:
        return "overloaded";
    default:
        return "bad_request";
    }
}

void dj_api_handle_error(void *ctx, int status, const char *detail, struct deja_slice path,
                         struct dj_http_exchange *exchange)
{
    const struct dj_problem problem = {
        .status = status, .type = error_type(status), .detail = detail};
    /* What has been read of the request may be half a line: only the path is used, which is empty
     * then, and the id is a new one. */
    const struct dj_http_request nothing = {.arena = dj_http_exchange_request(exchange)->arena};
    dj_problem_respond(exchange, path, &problem, request_id(ctx, &nothing), NULL);
}
