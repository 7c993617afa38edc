/* api/invalidate.c - POST /api/v1/invalidate and DELETE /api/v1/entries: what is no longer true.
 *
 *   one entry     key, or query with its namespace
 *   a selection   tag, namespace, older_than, filter: all that are said must hold
 *   all           everything of the tenant
 *
 * What later versions will know (pattern, event, cascade, at, after) is refused by name rather than
 * ignored: an invalidation that silently does less, or more, is a lie.
 */
#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "security/tenant.h"

#define REASON_BYTES_MAX 256u

/* In the request's arena. */
struct invalidation {
    struct dj_request *request;
    struct dj_selector selector;
    struct deja_slice query; /* data NULL: none */
    struct deja_slice name_space;
    struct deja_slice reason;
    struct dj_store_key key; /* when has_key */
    bool has_key;
    bool is_all;
    bool is_dry_run;
    const char *kind; /* constant */
};

/* ---- answering ---- */

/* Who removed what for which reason is for the operator to see, too. */
static void log_removed(const struct invalidation *invalidation, uint64_t removed)
{
    struct dj_request *request = invalidation->request;
    struct dj_log *log = request->api->proxy->log;
    char tenant[DJ_TENANT_TEXT_BYTES];
    if (!dj_log_is_on(log, DJ_LOG_INFO))
        return;
    dj_tenant_text(request->tenant, tenant);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant),
        DJ_LOG_SLICE("req_id", request->request_id),
        DJ_LOG_TEXT("kind", invalidation->kind),
        DJ_LOG_I64("removed", (int64_t)removed),
        DJ_LOG_SLICE("reason", invalidation->reason),
        {.name = NULL},
    };
    dj_log_write(log, DJ_LOG_INFO, "entries invalidated", fields);
}

static void answer(const struct invalidation *invalidation, enum deja_status status, uint64_t count)
{
    struct dj_request *request = invalidation->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (!invalidation->is_dry_run) {
        dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant,
                                  invalidation->kind);
        log_removed(invalidation, count);
    }
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, invalidation->is_dry_run ? "would_remove" : "removed", count);
    dj_json_member_text(&w, "kind", invalidation->kind);
    dj_json_member_bool(&w, "dry_run", invalidation->is_dry_run);
    if (invalidation->reason.len) {
        dj_json_key(&w, "reason");
        dj_json_put_string(&w, invalidation->reason);
    }
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_selected(void *ctx, enum deja_status status, uint64_t count)
{
    answer(ctx, status, count);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    answer(ctx, status, removed ? 1 : 0); /* however many tiers had it */
}

static void on_found(void *ctx, struct dj_value *value, const char *level)
{
    bool is_there = value != NULL;
    (void)level;
    dj_value_unref(value);
    answer(ctx, DEJA_OK, is_there ? 1 : 0);
}

/* ---- removing ---- */

static enum deja_status start_one(struct invalidation *invalidation)
{
    struct dj_request *request = invalidation->request;
    struct dj_engine *engine = request->api->proxy->engine;
    if (!invalidation->has_key) {
        struct dj_fingerprint fingerprint;
        enum deja_status status = dj_query_fingerprint(request, invalidation->name_space,
                                                       invalidation->query, &fingerprint);
        if (status != DEJA_OK)
            return status;
        invalidation->key = fingerprint.key;
    }
    if (invalidation->is_dry_run)
        return dj_engine_get(engine, request->loop, &invalidation->key, 0, invalidation, on_found);
    return dj_user_remove(request, &invalidation->key, invalidation, on_removed);
}

static void start(struct invalidation *invalidation)
{
    struct dj_request *request = invalidation->request;
    struct dj_engine *engine = request->api->proxy->engine;
    enum deja_status status;
    if (invalidation->has_key || invalidation->query.data)
        status = start_one(invalidation);
    else if (!dj_user_select(request, &invalidation->selector))
        status = DEJA_ERR_NOMEM;
    else if (invalidation->is_dry_run)
        status = dj_engine_count(engine, request->loop, request->tenant, &invalidation->selector,
                                 invalidation, on_selected);
    else
        status = dj_engine_remove_selected(engine, request->loop, request->tenant,
                                           &invalidation->selector, invalidation, on_selected);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- reading ---- */

static bool refuse_later(struct dj_request *request)
{
    static const char *const later[] = {"pattern", "event", "cascade", "at", "after"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (!dj_json_get(request->body, later[i]))
            continue;
        dj_request_complain(request, "unsupported_field", later[i], "unsupported",
                            "is not offered yet; tag, namespace, older_than and filter are");
        return true;
    }
    return false;
}

/* Elsewhere null is as good as nothing; here it would turn one entry into all of a namespace. */
static bool refuse_null(struct dj_request *request)
{
    static const char *const selectors[] = {"key",        "query",  "tag", "namespace",
                                            "older_than", "filter", "all"};
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        if (!dj_json_is(dj_json_get(request->body, selectors[i]), DJ_JSON_NULL))
            continue;
        dj_request_complain(request, "invalid_request", selectors[i], "type",
                            "is null: leave it out if nothing is selected by it");
        return true;
    }
    return false;
}

static bool read_key(struct dj_request *request, struct invalidation *invalidation)
{
    struct deja_slice key = {0};
    if (!dj_query_label(request, request->body, "key", "", DJ_LABEL_BYTES_MAX, &key))
        return false;
    invalidation->has_key = key.data != NULL;
    if (!key.data || dj_query_id(request, key, &invalidation->key))
        return true;
    dj_request_complain(request, "invalid_request", "key", "format",
                        "must be an entry's id: 32 hex digits");
    return false;
}

static bool read_selector(struct dj_request *request, struct invalidation *invalidation)
{
    struct dj_selector *selector = &invalidation->selector;
    const struct dj_json *body = request->body;
    uint64_t age_ms = 0;
    if (!dj_query_label(request, body, "tag", "", DJ_LABEL_BYTES_MAX, &selector->tag) ||
        !dj_query_label(request, body, "namespace", "", DJ_NAMESPACE_BYTES_MAX,
                        &invalidation->name_space) ||
        !dj_query_duration(request, body, "older_than", "", &age_ms) ||
        !dj_query_filter(request, body, "", &selector->filter))
        return false;
    if (selector->tag.data && !selector->tag.len) {
        dj_request_complain(request, "invalid_request", "tag", "length", "is empty");
        return false;
    }
    selector->has_name_space = invalidation->name_space.data != NULL;
    selector->name_space = invalidation->name_space;
    if (age_ms) {
        int64_t now_ms = dj_loop_now_ms(request->loop);
        /* Older than time itself: nothing was made before 1 ms. */
        selector->created_before_ms = age_ms < (uint64_t)now_ms ? now_ms - (int64_t)age_ms : 1;
    }
    return true;
}

/* Which way of saying it; complains when it is none or more than one. */
static void choose_kind(struct dj_request *request, struct invalidation *invalidation)
{
    const struct dj_selector *selector = &invalidation->selector;
    bool is_selection = selector->tag.len || selector->created_before_ms || selector->filter;
    bool is_narrowed = is_selection || (selector->has_name_space && !invalidation->query.data &&
                                        !invalidation->is_all);
    int ways = invalidation->has_key + (invalidation->query.data != NULL) + invalidation->is_all +
               is_narrowed;
    int parts = (selector->tag.len > 0) + (selector->created_before_ms != 0) +
                (selector->filter != NULL) + selector->has_name_space;
    if (ways != 1)
        dj_request_complain(request, "invalid_request", "query", "required",
                            "say one of key, query, all (true), or a selection by tag, namespace, "
                            "older_than, filter");
    else if (invalidation->has_key)
        invalidation->kind = "entry";
    else if (invalidation->query.data)
        invalidation->kind = "query";
    else if (parts > 1)
        invalidation->kind = "selection";
    else if (selector->tag.len)
        invalidation->kind = "tag";
    else if (selector->filter)
        invalidation->kind = "filter";
    else if (selector->created_before_ms)
        invalidation->kind = "age";
    else
        invalidation->kind = selector->has_name_space ? "namespace" : "all";
}

static struct invalidation *create(struct dj_request *request)
{
    struct invalidation *invalidation = dj_arena_alloc(request->arena, sizeof *invalidation);
    if (invalidation)
        *invalidation = (struct invalidation){.request = request};
    else
        dj_request_refuse(request, DEJA_ERR_NOMEM);
    return invalidation;
}

static void on_body(struct dj_request *request)
{
    static const char *const members[] = {"key",    "query", "tag",     "namespace", "older_than",
                                          "filter", "all",   "dry_run", "reason",    NULL};
    struct invalidation *invalidation = create(request);
    const struct dj_json *body = request->body;
    if (!invalidation)
        return;
    if (!refuse_later(request) && !refuse_null(request) &&
        dj_query_check_members(request, body, "", members) && read_key(request, invalidation) &&
        read_selector(request, invalidation) &&
        dj_query_label(request, body, "query", "", SIZE_MAX, &invalidation->query) &&
        dj_query_label(request, body, "reason", "", REASON_BYTES_MAX, &invalidation->reason) &&
        dj_query_flag(request, body, "all", "", &invalidation->is_all) &&
        dj_query_flag(request, body, "dry_run", "", &invalidation->is_dry_run)) {
        choose_kind(request, invalidation);
        if (invalidation->query.data)
            dj_query_check_text(request, invalidation->query, "");
    }
    if (!dj_request_has_complaints(request))
        start(invalidation);
}

void dj_invalidate(struct dj_request *request)
{
    dj_request_read_once(request, on_body);
}

void dj_invalidate_query(struct dj_request *request)
{
    struct invalidation *invalidation = create(request);
    if (!invalidation)
        return;
    invalidation->kind = "query";
    if (dj_query_url_member(request, "query", &invalidation->query) &&
        dj_query_url_namespace(request, &invalidation->name_space)) {
        if (!invalidation->query.data)
            dj_request_complain(request, "query_empty", "query", "required",
                                "say which one: ?query=…; POST /api/v1/invalidate removes more");
        else
            dj_query_check_text(request, invalidation->query, "");
    }
    if (!dj_request_has_complaints(request))
        start(invalidation);
}
