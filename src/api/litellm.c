/* api/litellm.c - what operators of LiteLLM ask its cache for (WIRE §9), below /cache.
 *
 *   GET  /cache/ping         is it there
 *   POST /cache/delete       {"keys": […]}: ids as in X-Cache-Id
 *   POST /cache/flushall     every entry of the tenant
 *   GET  /cache/redis/info   figures of the Redis tier, for who operates it; 404 without one
 *
 * Keys of other tenants are as unknown as keys that never were: nothing is removed and nothing
 * told.
 */
#include "api/handlers.h"
#include "api/langcache_entry.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"

static void answer_status(struct dj_request *request, const char *json)
{
    struct dj_buf body = {0};
    dj_buf_append_text(&body, json);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_litellm_ping(struct dj_request *request)
{
    answer_status(request, "{\"status\":\"healthy\",\"cache_type\":\"deja\",\"ping_response\":true,"
                           "\"set_cache_response\":null,\"litellm_cache_params\":\"{}\","
                           "\"health_check_cache_params\":{}}");
}

void dj_litellm_redis_info(struct dj_request *request)
{
    const struct dj_api *api = request->api;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    if (api->describe)
        api->describe(api->describe_ctx, "redis/info", &w);
    dj_json_end_object(&w);
    if (dj_slice_is(dj_buf_slice(&body), "{}"))
        dj_request_problem(request, 404, "not_found",
                           "there is no Redis behind this cache (l2.redis.addresses); see "
                           "/health/detailed and /metrics");
    else if (!dj_request_is_operators(request))
        dj_request_problem(request, 403, "forbidden",
                           "the server's figures are of all tenants: a key with the role admin");
    else
        dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- removing ---- */

/* In the request's arena. */
struct removals {
    struct dj_request *request;
    size_t left;
    enum deja_status failure;
};

static void finish(struct removals *removals)
{
    struct dj_request *request = removals->request;
    if (--removals->left > 0)
        return;
    dj_prompt_count(request, "delete", "none", removals->failure == DEJA_OK ? "ok" : "error");
    if (removals->failure != DEJA_OK) {
        dj_request_refuse(request, removals->failure);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "entry");
    answer_status(request, "{\"status\":\"success\"}");
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct removals *removals = ctx;
    (void)removed; /* what is not there is removed */
    if (status != DEJA_OK)
        removals->failure = status;
    finish(removals);
}

static void remove_keys(struct removals *removals, const struct dj_json *keys)
{
    struct dj_request *request = removals->request;
    struct dj_store_key key;
    memcpy(key.tenant, request->tenant, sizeof key.tenant);
    for (struct dj_json_walk w = dj_json_walk(keys); dj_json_walk_next(&w);) {
        if (dj_hex_decode(dj_json_string(w.value), key.id, sizeof key.id) != DEJA_OK)
            continue; /* no key of this cache, so it is not there */
        enum deja_status status = dj_user_remove(request, &key, removals, on_removed);
        if (status == DEJA_OK)
            removals->left++;
        else
            removals->failure = status;
    }
}

static void delete_body(struct dj_request *request)
{
    const struct dj_json *keys = dj_json_get(request->body, "keys");
    if (!dj_json_is(keys, DJ_JSON_ARRAY) || dj_json_count(keys) > DJ_BATCH_MAX)
        dj_request_complain(
            request, "invalid_request", "keys", "type",
            dj_request_text(request, "must be an array of at most %u keys", DJ_BATCH_MAX));
    if (dj_request_has_complaints(request))
        return;
    struct removals *removals = dj_arena_alloc(request->arena, sizeof *removals);
    if (!removals) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *removals = (struct removals){.request = request, .left = 1};
    remove_keys(removals, keys);
    finish(removals);
}

void dj_litellm_delete(struct dj_request *request)
{
    dj_request_read(request, delete_body);
}

static void on_flushed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    (void)removed;
    dj_prompt_count(request, "delete", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "all");
    answer_status(request, "{\"status\":\"success\"}");
}

void dj_litellm_flush(struct dj_request *request)
{
    struct dj_engine *engine = request->api->proxy->engine;
    struct dj_selector *selector = dj_arena_alloc(request->arena, sizeof *selector);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (selector)
        *selector = (struct dj_selector){.has_name_space = false};
    if (!request->who.has_user)
        status = dj_engine_clear(engine, request->loop, request->tenant, request, on_flushed);
    else if (selector && dj_user_select(request, selector))
        status = dj_engine_remove_selected(engine, request->loop, request->tenant, selector,
                                           request, on_flushed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
