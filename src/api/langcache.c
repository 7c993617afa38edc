/* api/langcache.c - the LangCache REST API but for its searches; see langcache.h.
 *
 * Removing by id reads the entry first: an id of another cache is as unknown here as one that never
 * was.
 */
#include "api/langcache.h"

#include "api/langcache_entry.h"
#include "api/user.h"
#include "base/num.h"
#include "cache/filter.h"
#include "proto/form.h"
#include "proxy/identity.h"
#include "text/question.h"

static const char root[] = "/v1/caches/";

/* ---- who asks, and of which cache ---- */

static bool is_label(struct deja_slice text)
{
    return text.len > 0 && text.len <= DJ_NAMESPACE_BYTES_MAX && dj_question_is_name(text);
}

bool dj_langcache_is_named(struct dj_request *request)
{
    if (request->api->proxy->forced_tenant || request->who.origin != DJ_ORIGIN_LOCAL)
        return true;
    dj_request_problem(request, 401, "unauthorized",
                       "say Authorization: Bearer KEY; the key names the tenant");
    return false;
}

/* The path has matched a route, so it begins with root and a segment. */
bool dj_langcache_cache_id(struct dj_request *request, struct deja_slice *out_cache_id)
{
    struct deja_slice path = request->http->path;
    const char *start = path.data + sizeof root - 1;
    size_t left = path.len - (sizeof root - 1);
    const char *end = memchr(start, '/', left);
    struct deja_slice cache_id = {0};
    struct dj_buf decoded;
    dj_buf_init(&decoded, DJ_NAMESPACE_BYTES_MAX);
    enum deja_status status =
        dj_form_segment(deja_slice(start, end ? (size_t)(end - start) : left), &decoded);
    if (status == DEJA_OK && is_label(dj_buf_slice(&decoded)))
        cache_id = dj_arena_copy(request->arena, dj_buf_slice(&decoded));
    dj_buf_fini(&decoded);
    if (!cache_id.data) {
        dj_request_complain(request, "invalid_request", "cacheId", "name",
                            dj_request_text(request, "1 to %u bytes without control characters",
                                            DJ_NAMESPACE_BYTES_MAX));
        return false;
    }
    *out_cache_id = cache_id;
    return true;
}

static void answer_nothing(struct dj_request *request)
{
    dj_request_answer(request, 204, NULL, NULL);
}

/* ---- set ---- */

struct set {
    struct dj_request *request;
    uint8_t id[DJ_ID_BYTES];
};

static void on_set(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct set *set = ctx;
    struct dj_request *request = set->request;
    /* Overtaken by a newer one, which is what is found then: nothing went wrong; and what one tier
     * missed is found in another. */
    status = outcome->is_stored ? DEJA_OK : status;
    dj_prompt_count(request, "set", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_prompt_refuse(request, status);
        return;
    }
    dj_prompt_finish_put(request);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_request_put_id(&w, "entryId", set->id);
    dj_json_end_object(&w);
    dj_request_answer(request, 201, NULL, &body);
    dj_buf_fini(&body);
}

/* Whole milliseconds above 0. */
static bool read_ttl(struct dj_request *request, uint64_t *out_ms)
{
    const struct dj_json *value = dj_json_get(request->body, "ttlMillis");
    if (!value || dj_json_is(value, DJ_JSON_NULL))
        return true;
    int64_t ms = dj_json_i64(value, 0);
    if (ms <= 0) {
        dj_request_complain(request, "invalid_request", "ttlMillis", "range",
                            "must be whole milliseconds above 0");
        return false;
    }
    *out_ms = (uint64_t)ms;
    return true;
}

static void set_body(struct dj_request *request)
{
    struct dj_prompt prompt = {0};
    uint64_t ttl_ms = 0;
    const struct dj_json *response = dj_json_get(request->body, "response");
    dj_langcache_cache_id(request, &prompt.name_space);
    dj_prompt_read_text(request, "prompt", &prompt.text);
    if (!dj_json_is(response, DJ_JSON_STRING))
        dj_request_complain(request, "invalid_request", "response", response ? "type" : "required",
                            "must be a string");
    dj_prompt_read_attributes(request, &prompt.attributes);
    read_ttl(request, &ttl_ms);
    if (dj_request_has_complaints(request))
        return;
    struct set *set = dj_arena_alloc(request->arena, sizeof *set);
    if (!set) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *set = (struct set){.request = request};
    enum deja_status status =
        dj_prompt_put(request, &prompt, dj_json_string(response), ttl_ms, set->id, set, on_set);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}

void dj_langcache_set(struct dj_request *request)
{
    if (dj_langcache_is_named(request))
        dj_request_read(request, set_body);
}

/* ---- removing ---- */

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    dj_prompt_count(request, "delete", "none",
                    status != DEJA_OK ? "error"
                    : removed         ? "ok"
                                      : "miss");
    if (status != DEJA_OK) {
        dj_prompt_refuse(request, status);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "entry");
    answer_nothing(request);
}

struct removal {
    struct dj_request *request;
    struct dj_store_key key;
    struct deja_slice cache_id;
};

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct removal *removal = ctx;
    struct dj_request *request = removal->request;
    bool is_there = value &&
                    deja_slice_is_equal(dj_value_entry(value)->name_space, removal->cache_id) &&
                    dj_user_owns(request, dj_value_entry(value));
    (void)level;
    dj_value_unref(value);
    if (!is_there) {
        dj_prompt_count(request, "delete", "none", "miss");
        dj_request_problem(request, 404, "not_found", "this cache has no such entry");
        return;
    }
    enum deja_status status = dj_engine_remove(request->api->proxy->engine, request->loop,
                                               &removal->key, request, on_removed);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}

void dj_langcache_remove(struct dj_request *request)
{
    struct removal *removal = dj_arena_alloc(request->arena, sizeof *removal);
    struct deja_slice cache_id = {0};
    if (!dj_langcache_is_named(request))
        return;
    dj_langcache_cache_id(request, &cache_id);
    if (dj_request_has_complaints(request))
        return;
    if (!removal) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *removal = (struct removal){.request = request, .cache_id = cache_id};
    memcpy(removal->key.tenant, request->tenant, sizeof removal->key.tenant);
    if (dj_hex_decode(request->rest, removal->key.id, sizeof removal->key.id) != DEJA_OK) {
        dj_request_problem(request, 404, "not_found", "an entry's id is 32 hex digits");
        return;
    }
    enum deja_status status = dj_engine_get(request->api->proxy->engine, request->loop,
                                            &removal->key, 0, removal, on_got);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}

static void on_matching_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    dj_prompt_count(request, "delete", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_prompt_refuse(request, status);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "query");
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "deletedEntriesCount", removed);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* In the arena, because the engine borrows it; NULL: the request was answered. */
static struct dj_selector *select_cache(struct dj_request *request)
{
    struct dj_selector *selector = dj_arena_alloc(request->arena, sizeof *selector);
    if (!selector) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *selector = (struct dj_selector){.has_name_space = true};
    if (!dj_user_select(request, selector)) {
        dj_prompt_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    dj_langcache_cache_id(request, &selector->name_space);
    return selector;
}

static void remove_matching_body(struct dj_request *request)
{
    struct dj_selector *selector = select_cache(request);
    const struct dj_json *attributes = NULL;
    if (!selector)
        return;
    if (dj_prompt_read_attributes(request, &attributes) && !attributes)
        dj_request_complain(request, "invalid_request", "attributes", "required",
                            "must name at least one attribute; flush removes every entry");
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status = dj_filter_read(attributes, request->arena, &selector->filter, NULL);
    if (status == DEJA_OK)
        status = dj_engine_remove_selected(request->api->proxy->engine, request->loop,
                                           request->tenant, selector, request, on_matching_removed);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}

void dj_langcache_remove_matching(struct dj_request *request)
{
    if (dj_langcache_is_named(request))
        dj_request_read(request, remove_matching_body);
}

static void on_flushed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    (void)removed; /* the answer has no place for it */
    dj_prompt_count(request, "delete", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_prompt_refuse(request, status);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "namespace");
    answer_nothing(request);
}

void dj_langcache_flush(struct dj_request *request)
{
    if (!dj_langcache_is_named(request))
        return;
    struct dj_selector *selector = select_cache(request);
    if (!selector || dj_request_has_complaints(request))
        return;
    enum deja_status status = dj_engine_remove_selected(
        request->api->proxy->engine, request->loop, request->tenant, selector, request, on_flushed);
    if (status != DEJA_OK)
        dj_prompt_refuse(request, status);
}
