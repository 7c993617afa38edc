/* api/upkeep.c - POST /api/v1/evict, GET and POST /api/v1/index, GET /api/v1/top by other orders.
 *
 * A tenant looks after its own; everybody's, or another tenant's, is for who has the admin token.
 */
#include "cache/upkeep.h"

#include "api/entry.h"
#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "security/tenant.h"

#define DJ_EVICT_BYTES_MAX ((int64_t)1 << 53) /* what every JSON reader can hold */

/* False: the request was answered. */
static bool may_have_all(struct dj_request *request)
{
    if (request->who.roles & DJ_ROLE_ADMIN)
        return true;
    if (request->who.origin == DJ_ORIGIN_KEY || request->who.origin == DJ_ORIGIN_CERTIFICATE)
        dj_request_problem(request, 403, "forbidden", "this key has not the role admin");
    else
        dj_request_problem(request, 401, "unauthorized",
                           "that is for the admin token printed at start, as X-Deja-Token, or a "
                           "key with the role admin");
    return false;
}

/* ---- eviction ---- */

/* In the request's arena. */
struct evict {
    bool is_all;
    bool has_tenant;
    uint8_t tenant[DJ_ID_BYTES];
    uint64_t bytes; /* 0: not said */
};

static void on_evicted(void *ctx, enum deja_status status, const struct dj_eviction *evictions,
                       uint32_t count)
{
    struct dj_request *request = ctx;
    uint64_t removed = 0;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    (void)status; /* told with the level it is of */
    dj_json_begin_object(&w);
    dj_json_key(&w, "levels");
    dj_json_begin_object(&w);
    for (uint32_t i = 0; i < count; i++) {
        const struct dj_eviction *eviction = &evictions[i];
        dj_json_key(&w, eviction->level);
        dj_json_begin_object(&w);
        dj_json_member_u64(&w, "bytes", eviction->bytes);
        dj_json_member_u64(&w, "removed", eviction->removed);
        dj_json_member_text(
            &w, "error", eviction->status == DEJA_OK ? NULL : deja_status_text(eviction->status));
        dj_json_end_object(&w);
        removed += eviction->removed;
    }
    dj_json_end_object(&w);
    dj_json_member_u64(&w, "removed", removed);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void read_evict(struct dj_request *request, struct evict *out_evict)
{
    static const char *const members[] = {"bytes", "tenant", "all", NULL};
    const struct dj_json *bytes = dj_json_get(request->body, "bytes");
    struct deja_slice tenant = {0};
    int64_t wanted = dj_json_i64(bytes, 0);
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_flag(request, request->body, "all", "", &out_evict->is_all) ||
        !dj_query_label(request, request->body, "tenant", "", DJ_LABEL_BYTES_MAX, &tenant))
        return;
    if (bytes && (wanted < 1 || wanted > DJ_EVICT_BYTES_MAX))
        dj_request_complain(request, "invalid_request", "bytes", "range",
                            "must be a whole number of bytes, at least 1");
    if (tenant.data && dj_tenant_parse(tenant, out_evict->tenant) != DEJA_OK)
        dj_request_complain(request, "invalid_request", "tenant", "format",
                            "must be a tenant's id, as /api/v1/stats tells it");
    if (tenant.data && out_evict->is_all)
        dj_request_complain(request, "invalid_request", "all", "exclusive",
                            "goes without tenant: say one of the two");
    out_evict->has_tenant = tenant.data != NULL;
    out_evict->bytes = (uint64_t)wanted;
}

static void on_evict_body(struct dj_request *request)
{
    struct evict evict = {.is_all = false};
    read_evict(request, &evict);
    if (dj_request_has_complaints(request))
        return;
    if ((evict.is_all || evict.has_tenant) && !may_have_all(request))
        return;
    const uint8_t *tenant = evict.is_all ? NULL : evict.has_tenant ? evict.tenant : request->tenant;
    enum deja_status status = dj_engine_evict(request->api->proxy->engine, request->loop, tenant,
                                              evict.bytes, request, on_evicted);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_evict(struct dj_request *request)
{
    if (!dj_user_is_refused(request))
        dj_request_read(request, on_evict_body);
}

/* ---- indexes ---- */

static void write_progress(struct dj_json_writer *w, const struct dj_request *request, bool is_all)
{
    struct dj_optimise_progress progress;
    dj_engine_optimise_progress(request->api->proxy->engine, &progress);
    bool is_own = progress.has_tenant && memcmp(progress.tenant, request->tenant, DJ_ID_BYTES) == 0;
    dj_json_key(w, "optimise");
    if (!progress.started_ms || !(is_all || is_own)) { /* others' is not told */
        dj_json_put_null(w);
        return;
    }
    dj_json_begin_object(w);
    dj_json_member_text(w, "status", progress.is_running ? "running" : "done");
    dj_json_member_u64(w, "indexes_done", progress.done);
    dj_json_member_u64(w, "indexes_total", progress.total);
    dj_json_member_text(w, "running", progress.what[0] ? progress.what : NULL);
    dj_json_member_u64(w, "expired", progress.expired);
    dj_json_member_u64(w, "freed_bytes", progress.bytes);
    dj_request_put_time(w, "started_at", progress.started_ms);
    dj_request_put_time(w, "ended_at", progress.ended_ms);
    dj_json_member_text(w, "error",
                        progress.status == DEJA_OK ? NULL : deja_status_text(progress.status));
    dj_json_end_object(w);
}

void dj_index_get(struct dj_request *request)
{
    struct dj_engine *engine = request->api->proxy->engine;
    struct deja_slice text = {0};
    struct dj_index_stats stats = {0};
    bool is_all = false;
    if (dj_query_url_member(request, "all", &text) && text.data) {
        is_all = dj_slice_is(text, "true");
        if (!is_all && !dj_slice_is(text, "false"))
            dj_request_complain(request, "invalid_request", "all", "value",
                                "must be true or false");
    }
    if (dj_request_has_complaints(request) || (is_all && !may_have_all(request)))
        return;
    enum deja_status status =
        dj_engine_index_stats(engine, is_all ? NULL : request->tenant, &stats);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "indexes", stats.indexes);
    dj_json_member_u64(&w, "vectors", stats.vectors);
    dj_json_member_u64(&w, "free_slots", stats.free_slots);
    dj_json_member_u64(&w, "bytes", stats.bytes);
    dj_json_member_u64(&w, "evictions", stats.evictions);
    dj_json_member_bool(&w, "ready", dj_engine_is_index_ready(engine));
    write_progress(&w, request, is_all);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_index_body(struct dj_request *request)
{
    static const char *const members[] = {"action", "all", NULL};
    struct deja_slice action = {0};
    bool is_all = false;
    struct dj_buf body = {0};
    if (dj_query_check_members(request, request->body, "", members) &&
        dj_query_flag(request, request->body, "all", "", &is_all) &&
        dj_query_label(request, request->body, "action", "", DJ_LABEL_BYTES_MAX, &action) &&
        !dj_slice_is(action, "optimise"))
        dj_request_complain(request, "invalid_request", "action", "value", "must be \"optimise\"");
    if (dj_request_has_complaints(request) || (is_all && !may_have_all(request)))
        return;
    enum deja_status status = dj_engine_optimise(request->api->proxy->engine, request->loop,
                                                 is_all ? NULL : request->tenant);
    if (status == DEJA_ERR_BUSY) {
        dj_request_problem(request, 409, "optimise_in_progress",
                           "an optimisation runs already: look again when it has ended");
        return;
    }
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_buf_append_text(&body, "{\"status\":\"started\"}");
    dj_request_answer(request, 202, NULL, &body);
    dj_buf_fini(&body);
}

void dj_index_post(struct dj_request *request)
{
    dj_request_read(request, on_index_body);
}

/* ---- who would go ---- */

static void on_idle(void *ctx, enum deja_status status, const struct dj_idle_entry *entries,
                    uint32_t count)
{
    struct dj_request *request = ctx;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_key(&w, "entries");
    dj_json_begin_array(&w);
    for (uint32_t i = 0; i < count; i++) {
        const struct dj_idle_entry *entry = &entries[i];
        if (!dj_user_owns(request, dj_value_entry(entry->value)))
            continue;
        dj_json_begin_object(&w);
        dj_entry_write_facts(&w, dj_value_entry(entry->value), now_ms);
        dj_entry_write_access(&w, &entry->access);
        dj_json_member_double(&w, "score", entry->score);
        dj_json_member_text(&w, "level", entry->level);
        dj_json_member_u64(&w, "bytes", dj_value_bytes(entry->value));
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_idle(struct dj_request *request, bool is_by_score, uint32_t k)
{
    enum deja_status status =
        dj_engine_idle(request->api->proxy->engine, request->loop, request->tenant,
                       is_by_score ? DJ_IDLE_SCORE : DJ_IDLE_LAST, k, request, on_idle);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
