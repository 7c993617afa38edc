/* api/invalidate.c - POST /api/v1/invalidate: by query, by tag, or everything of the tenant.
 *
 * The other selectors of the design (key, pattern, event, namespace, older_than, cascade; at,
 * after) are refused by name rather than ignored: an invalidation that silently does less is a lie.
 */
#include "api/handlers.h"
#include "api/query.h"

static const char *const members[] = {"query", "tag", "all", "namespace", "dry_run", NULL};

static void answer(struct dj_request *request, const char *kind, uint64_t removed, bool is_dry_run)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (!is_dry_run)
        dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, kind);
    dj_json_begin_object(&w);
    dj_json_key(&w, is_dry_run ? "would_remove" : "removed");
    dj_json_put_u64(&w, removed);
    dj_json_key(&w, "kind");
    dj_json_put_text(&w, kind);
    dj_json_key(&w, "dry_run");
    dj_json_put_bool(&w, is_dry_run);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void answer_removed(struct dj_request *request, const char *kind, enum deja_status status,
                           uint64_t removed)
{
    if (status == DEJA_OK)
        answer(request, kind, removed, false);
    else
        dj_request_refuse(request, status);
}

static void on_query_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    answer_removed(ctx, "query", status, removed ? 1 : 0); /* however many tiers had it */
}

static void on_tag_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    answer_removed(ctx, "tag", status, removed);
}

static void on_all_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    answer_removed(ctx, "all", status, removed);
}

static void on_dry_query(void *ctx, enum deja_status status, struct dj_value *value)
{
    bool is_there = value != NULL;
    dj_value_unref(value);
    if (status == DEJA_OK)
        answer(ctx, "query", is_there ? 1 : 0, true);
    else
        dj_request_refuse(ctx, status);
}

static void remove_query(struct dj_request *request, struct deja_slice name_space,
                         struct deja_slice query, bool is_dry_run)
{
    struct dj_engine *engine = request->api->proxy->engine;
    struct dj_fingerprint fingerprint;
    enum deja_status status = dj_query_fingerprint(request, name_space, query, &fingerprint);
    if (status == DEJA_OK)
        status = is_dry_run
                     ? dj_engine_get(engine, request->loop, &fingerprint.key, request, on_dry_query)
                     : dj_engine_remove(engine, request->loop, &fingerprint.key, request,
                                        on_query_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static void remove_all(struct dj_request *request, bool is_dry_run)
{
    struct dj_engine *engine = request->api->proxy->engine;
    if (is_dry_run) {
        struct dj_engine_stats stats;
        dj_engine_stats(engine, request->tenant, &stats);
        /* Memory holds a part of what the embedded tier holds. */
        uint64_t entries =
            stats.lmdb.entries > stats.memory.entries ? stats.lmdb.entries : stats.memory.entries;
        answer(request, "all", entries, true);
        return;
    }
    enum deja_status status =
        dj_engine_clear(engine, request->loop, request->tenant, request, on_all_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static void remove_tag(struct dj_request *request, struct deja_slice tag)
{
    enum deja_status status = dj_engine_invalidate_tag(
        request->api->proxy->engine, request->loop, request->tenant, tag, request, on_tag_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static void on_body(struct dj_request *request)
{
    const struct dj_json *body = request->body;
    struct deja_slice query = {0};
    struct deja_slice tag = {0};
    struct deja_slice name_space = {0};
    bool is_all = dj_json_bool(dj_json_get(body, "all"), false);
    bool is_dry_run = dj_json_bool(dj_json_get(body, "dry_run"), false);
    bool is_read =
        dj_query_check_members(request, body, "", members) &&
        dj_query_label(request, body, "query", "", SIZE_MAX, &query) &&
        dj_query_label(request, body, "tag", "", DJ_LABEL_BYTES_MAX, &tag) &&
        dj_query_label(request, body, "namespace", "", DJ_NAMESPACE_BYTES_MAX, &name_space);
    int selectors = (query.data != NULL) + (tag.len > 0) + is_all;
    if (is_read && selectors != 1)
        dj_request_complain(request, "invalid_request", "query", "required",
                            "say exactly one of query, tag, all (true)");
    else if (is_read && query.data)
        dj_query_check_text(request, query, "");
    else if (is_read && name_space.len)
        dj_request_complain(request, "unsupported_field", "namespace", "unsupported",
                            "goes with query; tag and all are of the whole tenant");
    else if (is_read && tag.len && is_dry_run)
        dj_request_complain(request, "unsupported_field", "dry_run", "unsupported",
                            "goes with query and all");
    if (dj_request_has_complaints(request))
        return;
    if (query.data)
        remove_query(request, name_space, query, is_dry_run);
    else if (is_all)
        remove_all(request, is_dry_run);
    else
        remove_tag(request, tag);
}

void dj_invalidate(struct dj_request *request)
{
    dj_request_read(request, on_body);
}
