/* api/bifrost.c - what operators of Bifrost ask its cache for (WIRE §9), below /api/cache.
 *
 *   DELETE /api/cache/clear/{cacheId}       one entry, by its X-Cache-Id
 *   DELETE /api/cache/clear-by-key/{key}    every entry that was asked for with that x-bf-cache-key
 *
 * As there, what is not there is cleared. Only entries of the tenant are met, and with X-Deja-User
 * those of the user.
 */
#include "api/handlers.h"
#include "api/langcache_entry.h"
#include "api/query.h"
#include "api/user.h"
#include "proto/form.h"
#include "text/question.h"

static void answer_cleared(struct dj_request *request)
{
    struct dj_buf body = {0};
    dj_buf_append_text(&body, "{\"message\":\"Cache cleared successfully\"}");
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void finish(struct dj_request *request, enum deja_status status, const char *kind)
{
    dj_prompt_count(request, "delete", "none", status == DEJA_OK ? "ok" : "error");
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, kind);
    answer_cleared(request);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed; /* what is not there is cleared */
    finish(ctx, status, "entry");
}

static void on_selected(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    finish(ctx, status, "namespace");
}

void dj_bifrost_clear(struct dj_request *request)
{
    struct dj_store_key key;

    if (!dj_query_id(request, request->rest, &key)) {
        answer_cleared(request); /* no id of this cache, so it is not there */
        return;
    }
    enum deja_status status = dj_user_remove(request, &key, request, on_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_bifrost_clear_key(struct dj_request *request)
{
    struct dj_buf text;
    dj_buf_init(&text, DJ_NAMESPACE_BYTES_MAX);
    enum deja_status status = dj_form_segment(request->rest, &text);
    struct deja_slice key = dj_buf_slice(&text);
    if (status == DEJA_ERR_INVALID || status == DEJA_ERR_LIMIT ||
        (status == DEJA_OK && !dj_question_is_name(key))) {
        dj_buf_fini(&text);
        dj_request_complain(request, "invalid_request", "key", "format",
                            "must be percent-encoded text of up to 256 bytes without control "
                            "characters, as in x-bf-cache-key");
        dj_request_has_complaints(request);
        return;
    }
    struct dj_selector *selector = dj_arena_alloc(request->arena, sizeof *selector);
    if (status == DEJA_OK && !selector)
        status = DEJA_ERR_NOMEM;
    if (status == DEJA_OK) {
        *selector = (struct dj_selector){.has_name_space = true,
                                         .name_space = dj_arena_copy(request->arena, key)};
        status = selector->name_space.data && dj_user_select(request, selector) ? DEJA_OK
                                                                                : DEJA_ERR_NOMEM;
    }
    dj_buf_fini(&text);
    if (status == DEJA_OK)
        status = dj_engine_remove_selected(request->api->proxy->engine, request->loop,
                                           request->tenant, selector, request, on_selected);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
