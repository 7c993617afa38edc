/* api/invalidate.c - POST /api/v1/invalidate and DELETE /api/v1/entries: what is no longer true.
 *
 * Read by invalidate_read.c, run by cache/invalidation.h, or kept for later by schedule.c.
 */
#include "api/handlers.h"
#include "api/invalidate_internal.h"
#include "api/query.h"
#include "api/user.h"
#include "security/tenant.h"

#define TREE_MAX 1000u /* entries of a cascade that an answer shows */

/* ---- answering ---- */

/* Who removed what for which reason is for the operator to see, too. */
static void log_removed(const struct dj_invalidate *invalidate, uint64_t removed)
{
    struct dj_request *request = invalidate->request;
    struct dj_log *log = request->api->proxy->log;
    char tenant[DJ_TENANT_TEXT_BYTES];
    if (!dj_log_is_on(log, DJ_LOG_INFO))
        return;
    dj_tenant_text(request->tenant, tenant);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant),
        DJ_LOG_SLICE("req_id", request->request_id),
        DJ_LOG_TEXT("kind", invalidate->order.kind),
        DJ_LOG_I64("removed", (int64_t)removed),
        DJ_LOG_SLICE("reason", invalidate->order.reason),
        {.name = NULL},
    };
    dj_log_write(log, DJ_LOG_INFO, "entries invalidated", fields);
}

static void put_tree(struct dj_json_writer *w, const struct dj_cascade_result *cascade)
{
    dj_json_member_u64(w, "depth", cascade->depth);
    dj_json_member_bool(w, "tree_truncated", cascade->count > TREE_MAX);
    dj_json_key(w, "tree");
    dj_json_begin_array(w);
    for (size_t i = 0; i < cascade->count && i < TREE_MAX; i++) {
        const struct dj_cascade_node *node = &cascade->nodes[i];
        dj_json_begin_object(w);
        dj_request_put_id(w, "id", node->id);
        dj_json_member_u64(w, "depth", node->depth);
        dj_json_key(w, "parent"); /* its place in this array */
        if (node->parent == UINT32_MAX)
            dj_json_put_null(w);
        else
            dj_json_put_u64(w, node->parent);
        if (node->because.len)
            dj_notice_put_text(w, "because_of", node->because);
        dj_notice_put_text(w, node->kind == DJ_ENTRY_PLAIN ? "key" : "query", node->label);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

static void on_run(void *ctx, enum deja_status status, uint64_t count,
                   const struct dj_cascade_result *cascade)
{
    const struct dj_invalidate *invalidate = ctx;
    const struct dj_invalidation *order = &invalidate->order;
    struct dj_request *request = invalidate->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status == DEJA_ERR_LIMIT && cascade && cascade->trouble) {
        dj_request_problem(request, 422, "cascade_too_large",
                           dj_request_text(request, "%s; nothing was removed", cascade->trouble));
        return;
    }
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (!invalidate->is_dry_run) {
        dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, order->kind);
        log_removed(invalidate, count);
    }
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, invalidate->is_dry_run ? "would_remove" : "removed", count);
    dj_json_member_text(&w, "kind", order->kind);
    dj_json_member_bool(&w, "dry_run", invalidate->is_dry_run);
    if (order->reason.len) {
        dj_json_key(&w, "reason");
        dj_json_put_string(&w, order->reason);
    }
    if (cascade)
        put_tree(&w, cascade);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- one entry of one user ---- */

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    on_run(ctx, status, removed ? 1 : 0, NULL); /* however many tiers had it */
}

/* ---- running ---- */

static void start(struct dj_invalidate *invalidate)
{
    struct dj_request *request = invalidate->request;
    struct dj_invalidation *order = &invalidate->order;
    enum deja_status status = DEJA_OK;
    request->reason = order->reason;
    if (invalidate->query.data)
        status = dj_invalidate_find_key(invalidate);
    if (status == DEJA_OK && invalidate->when.at_ms) {
        dj_invalidate_later(invalidate);
        return;
    }
    if (status == DEJA_OK && !dj_user_select(request, &order->selector))
        status = DEJA_ERR_NOMEM;
    if (status == DEJA_OK && order->has_key && request->who.has_user && !order->is_cascade &&
        !invalidate->is_dry_run)
        status = dj_user_remove(request, &order->key, invalidate, on_removed);
    else if (status == DEJA_OK)
        status = dj_invalidation_run(request->api->proxy->engine, request->loop, request->tenant,
                                     order, invalidate->is_dry_run, invalidate, on_run);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static struct dj_invalidate *create(struct dj_request *request)
{
    struct dj_invalidate *invalidate = dj_arena_alloc(request->arena, sizeof *invalidate);
    if (invalidate)
        *invalidate = (struct dj_invalidate){.request = request};
    else
        dj_request_refuse(request, DEJA_ERR_NOMEM);
    return invalidate;
}

static void on_body(struct dj_request *request)
{
    struct dj_invalidate *invalidate = create(request);
    if (!invalidate)
        return;
    dj_invalidate_read(request, invalidate);
    if (!dj_request_has_complaints(request))
        start(invalidate);
}

void dj_invalidate(struct dj_request *request)
{
    dj_request_read_once(request, on_body);
}

void dj_invalidate_query(struct dj_request *request)
{
    struct dj_invalidate *invalidate = create(request);
    if (!invalidate)
        return;
    invalidate->order.kind = "query";
    if (dj_query_url_member(request, "query", &invalidate->query) &&
        dj_query_url_namespace(request, &invalidate->name_space) && dj_query_url_reason(request)) {
        invalidate->order.reason = request->reason;
        if (!invalidate->query.data)
            dj_request_complain(request, "query_empty", "query", "required",
                                "say which one: ?query=…; POST /api/v1/invalidate removes more");
        else
            dj_query_check_text(request, invalidate->query, "");
    }
    if (!dj_request_has_complaints(request))
        start(invalidate);
}
