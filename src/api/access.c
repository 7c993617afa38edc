/* api/access.c - GET /api/v1/top and POST /api/v1/feedback: which answers are used, and which were
 * wrong.
 */
#include "api/entry.h"
#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"

#define TOP_DEFAULT 10u

enum { ORDER_HITS, ORDER_IDLE, ORDER_SCORE };
static const char *const orders[] = {
    [ORDER_HITS] = "hits", [ORDER_IDLE] = "idle", [ORDER_SCORE] = "score"};

/* ---- top ---- */

struct top_item {
    struct top *top;
    struct dj_store_key key;
    struct dj_access_stats access;
    struct dj_value *value; /* owned; NULL: gone since it was counted */
};

/* In the request's arena. */
struct top {
    struct dj_request *request;
    uint32_t count;
    size_t left; /* entries that are still being read */
    struct top_item *items;
};

static void answer_top(struct top *top)
{
    struct dj_request *request = top->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_key(&w, "entries");
    dj_json_begin_array(&w);
    for (uint32_t i = 0; i < top->count; i++) {
        struct top_item *item = &top->items[i];
        if (!item->value)
            continue;
        dj_json_begin_object(&w);
        dj_entry_write_facts(&w, dj_value_entry(item->value), now_ms);
        dj_entry_write_access(&w, &item->access);
        dj_json_end_object(&w);
        dj_value_unref(item->value);
    }
    dj_json_end_array(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_top_entry(void *ctx, struct dj_value *value, const char *level)
{
    (void)level;
    struct top_item *item = ctx;
    struct top *top = item->top;
    if (value && !dj_user_owns(top->request, dj_value_entry(value))) {
        dj_value_unref(value);
        value = NULL;
    }
    item->value = value;
    if (--top->left == 0)
        answer_top(top);
}

static void on_top(void *ctx, enum deja_status status, const struct dj_top_entry *entries,
                   uint32_t count)
{
    struct top *top = ctx;
    struct dj_request *request = top->request;
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    top->left = count + 1;
    top->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct top_item *item = &top->items[i];
        *item = (struct top_item){
            .top = top,
            .access = {.hits = entries[i].hits, .last_access_ms = entries[i].last_access_ms},
        };
        memcpy(item->key.tenant, request->tenant, sizeof item->key.tenant);
        memcpy(item->key.id, entries[i].id, sizeof item->key.id);
        if (dj_engine_get(request->api->proxy->engine, request->loop, &item->key, 0, item,
                          on_top_entry) != DEJA_OK)
            top->left--;
    }
    if (--top->left == 0)
        answer_top(top);
}

/* *out_index: into orders. */
static void read_order(struct dj_request *request, size_t *out_index)
{
    struct deja_slice text = {0};
    if (!dj_query_url_member(request, "order", &text) || !text.data)
        return;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        if (!dj_slice_is(text, orders[i]))
            continue;
        *out_index = i;
        return;
    }
    dj_request_complain(request, "invalid_request", "order", "value",
                        "must be hits, idle or score");
}

void dj_top(struct dj_request *request)
{
    struct deja_slice text = {0};
    uint64_t k = TOP_DEFAULT;
    size_t order = ORDER_HITS;
    read_order(request, &order);
    if (dj_query_url_member(request, "k", &text) && text.data &&
        (dj_num_parse_u64(text, &k) != DEJA_OK || k < 1 || k > DJ_TOP_MAX))
        dj_request_complain(request, "invalid_request", "k", "range",
                            dj_request_text(request, "must be from 1 to %u", DJ_TOP_MAX));
    if (dj_request_has_complaints(request))
        return;
    if (order != ORDER_HITS) {
        dj_idle(request, order == ORDER_SCORE, (uint32_t)k);
        return;
    }
    struct top *top = dj_arena_alloc(request->arena, sizeof *top);
    struct top_item *items = dj_arena_alloc(request->arena, (size_t)k * sizeof *items);
    enum deja_status status = DEJA_ERR_NOMEM;
    if (top && items) {
        *top = (struct top){.request = request, .items = items};
        status = dj_engine_top(request->api->proxy->engine, request->loop, request->tenant,
                               (uint32_t)k, top, on_top);
    }
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- feedback ---- */

/* In the request's arena. */
struct feedback {
    struct dj_request *request;
    struct dj_store_key key;
    bool is_wrong;
};

static void on_judged(void *ctx, enum deja_status status, uint64_t removed)
{
    struct feedback *feedback = ctx;
    struct dj_request *request = feedback->request;
    struct dj_telemetry *telemetry = request->api->proxy->telemetry;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (feedback->is_wrong) {
        dj_telemetry_false_hit(telemetry, request->tenant, "user");
        dj_telemetry_invalidation(telemetry, request->tenant, "feedback");
    }
    dj_json_begin_object(&w);
    dj_request_put_id(&w, "entry", feedback->key.id);
    dj_json_member_text(&w, "verdict", feedback->is_wrong ? "wrong" : "right");
    dj_json_member_u64(&w, "removed", feedback->is_wrong && removed ? 1 : 0);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* A verdict about what was never there is a mistake, not a statistic. */
static void on_entry(void *ctx, struct dj_value *value, const char *level)
{
    struct feedback *feedback = ctx;
    struct dj_request *request = feedback->request;
    bool is_there = value && dj_user_owns(request, dj_value_entry(value));
    (void)level;
    dj_value_unref(value);
    if (!is_there) {
        dj_request_problem(request, 404, "not_found", "there is no such entry (any more)");
        return;
    }
    enum deja_status status =
        dj_engine_feedback(request->api->proxy->engine, request->loop, &feedback->key,
                           feedback->is_wrong, feedback, on_judged);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static bool read_feedback(struct dj_request *request, struct feedback *feedback)
{
    static const char *const members[] = {"entry", "verdict", NULL};
    struct deja_slice entry = {0};
    struct deja_slice verdict = {0};
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_label(request, request->body, "entry", "", DJ_LABEL_BYTES_MAX, &entry) ||
        !dj_query_label(request, request->body, "verdict", "", DJ_LABEL_BYTES_MAX, &verdict))
        return false;
    feedback->is_wrong = dj_slice_is(verdict, "wrong");
    if (!feedback->is_wrong && !dj_slice_is(verdict, "right"))
        dj_request_complain(request, "invalid_request", "verdict", "value",
                            "must be \"wrong\" or \"right\"");
    else if (!dj_query_id(request, entry, &feedback->key))
        dj_request_complain(request, "invalid_request", "entry", "format",
                            "must be an entry's id: 32 hex digits, as X-Cache-Id tells it");
    else
        return true;
    return false;
}

static void on_body(struct dj_request *request)
{
    struct feedback *feedback = dj_arena_alloc(request->arena, sizeof *feedback);
    if (!feedback) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *feedback = (struct feedback){.request = request};
    if (!read_feedback(request, feedback)) {
        dj_request_has_complaints(request);
        return;
    }
    enum deja_status status = dj_engine_get(request->api->proxy->engine, request->loop,
                                            &feedback->key, 0, feedback, on_entry);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

void dj_feedback(struct dj_request *request)
{
    dj_request_read_once(request, on_body);
}
