/* api/warm.c - POST, GET and DELETE /api/v1/warm, POST /api/v1/warm/history.
 *
 * A credential of the upstream that comes with the order is the run's until it ends: that is how a
 * tenant whose key Deja does not hold is warmed. Keys of Deja's, and the admin token, are none.
 */
#include "proxy/warm.h"

#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/alloc.h"
#include "base/slice.h"
#include "net/http_headers.h"
#include "policy/glob.h"
#include "proto/http_text.h"
#include "proxy/identity.h"

#define REQUESTS_MAX DJ_WARM_ITEMS_MAX
#define TIMES_MAX 10000u
#define USD_MAX 1e6
#define AT_MAX 9007199254740992.0
#define LEARN_AT_ONCE 8u

/* ---- what is ordered ---- */

/* Among the headers a client shows itself with, one that the upstream would know. */
static void take_credential(struct dj_request *request, struct dj_warm_order *order)
{
    static const char *const names[] = {"authorization", "x-api-key", "api-key", "x-goog-api-key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct dj_http_header header = {deja_slice_text(names[i]),
                                              dj_http_find_header(request->http, names[i])};
        if (header.value.len && !dj_identity_is_own(request->api->proxy, &header)) {
            order->credential = header;
            return;
        }
    }
}

static void read_sources(struct dj_request *request, struct dj_warm_order *order)
{
    const struct dj_json *list = dj_json_get(request->body, "sources");
    if (list && !dj_json_is(list, DJ_JSON_ARRAY))
        dj_request_complain(request, "invalid_request", "sources", "type", "must be a list");
    for (struct dj_json_walk walk = dj_json_walk(list); dj_json_walk_next(&walk);) {
        struct deja_slice name = dj_json_string(walk.value);
        unsigned bit = 0;
        for (size_t i = 0; dj_warm_source_names[i]; i++)
            if (dj_slice_is(name, dj_warm_source_names[i]))
                bit = 1u << i;
        if (!bit || bit == DJ_WARM_GIVEN)
            dj_request_complain(request, "invalid_request", "sources", "value",
                                "must be of top, expiring, keys, file, predict");
        order->sources |= bit;
    }
}

static void read_patterns(struct dj_request *request, struct dj_warm_order *order)
{
    const struct dj_json *list = dj_json_get(request->body, "keys");
    size_t count = dj_json_count(list);
    if (!list)
        return;
    if (!dj_json_is(list, DJ_JSON_ARRAY) || !count || count > DJ_WARM_PATTERNS_MAX) {
        dj_request_complain(request, "invalid_request", "keys", "type",
                            "must be a list of 1 to 32 patterns");
        return;
    }
    struct deja_slice *patterns = dj_arena_alloc(request->arena, count * sizeof *patterns);
    if (!patterns)
        return;
    for (struct dj_json_walk walk = dj_json_walk(list); dj_json_walk_next(&walk);) {
        struct deja_slice pattern = dj_json_string(walk.value);
        if (!pattern.len || pattern.len > DJ_GLOB_PATTERN_BYTES_MAX)
            dj_request_complain(request, "invalid_request", "keys", "type",
                                "patterns are texts of 1 to 1024 bytes");
        else
            patterns[order->pattern_count++] = pattern;
    }
    order->patterns = patterns;
    order->sources |= DJ_WARM_KEYS;
}

/* Each packed, one behind the other in *packed. */
static void read_given(struct dj_request *request, struct dj_buf *packed,
                       struct dj_warm_order *order)
{
    const struct dj_json *list = dj_json_get(request->body, "requests");
    struct deja_slice model = {0};
    size_t count = dj_json_count(list);
    size_t index = 0;
    if (!dj_query_label(request, request->body, "model", "", DJ_LABEL_BYTES_MAX, &model) || !list)
        return;
    if (!dj_json_is(list, DJ_JSON_ARRAY) || !count || count > REQUESTS_MAX) {
        dj_request_complain(request, "invalid_request", "requests", "type",
                            "must be a list of 1 to 10000 prompts or requests");
        return;
    }
    struct deja_slice *given = dj_arena_alloc(request->arena, count * sizeof *given);
    size_t *ends = dj_arena_alloc(request->arena, count * sizeof *ends);
    const char *fallback = model.len ? dj_request_text(request, "%.*s", (int)model.len, model.data)
                                     : dj_warm_model(request->api->warm);
    for (struct dj_json_walk walk = dj_json_walk(list); given && ends && dj_json_walk_next(&walk);
         index++) {
        struct deja_error error = {{0}};
        if (dj_warm_line(walk.value, fallback, packed, &error) != DEJA_OK)
            dj_request_complain(request, "invalid_request",
                                dj_request_text(request, "requests[%zu]", index), "format",
                                dj_request_text(request, "%s", error.message));
        ends[index] = packed->len;
    }
    for (size_t i = 0; given && ends && packed->data && i < index; i++) {
        size_t begin = i ? ends[i - 1] : 0;
        given[i] = deja_slice(packed->data + begin, ends[i] - begin);
    }
    order->given = given;
    order->given_count = given && ends ? index : 0;
    order->sources |= DJ_WARM_GIVEN;
}

/* A whole number that was read as one with a fraction. */
static void check_whole(struct dj_request *request, const char *name, double value)
{
    if (value > (double)(uint32_t)value)
        dj_request_complain(request, "invalid_request", name, "type", "must be a whole number");
}

static void read_budget(struct dj_request *request, struct dj_warm_order *order)
{
    static const char *const members[] = {"requests", "usd", NULL};
    static const double requests_range[] = {1, DJ_WARM_ITEMS_MAX};
    static const double usd_range[] = {0.000001, USD_MAX};
    const struct dj_json *budget = dj_json_get(request->body, "budget");
    double requests = 0;
    if (!budget)
        return;
    if (!dj_json_is(budget, DJ_JSON_OBJECT)) {
        dj_request_complain(request, "invalid_request", "budget", "type", "must be an object");
        return;
    }
    if (dj_query_check_members(request, budget, "budget.", members) &&
        dj_query_number(request, budget, "requests", "budget.", requests_range, &requests) &&
        dj_query_number(request, budget, "usd", "budget.", usd_range, &order->usd_max))
        order->requests_max = (uint32_t)requests;
    check_whole(request, "budget.requests", requests);
}

static void read_order(struct dj_request *request, struct dj_buf *packed,
                       struct dj_warm_order *order)
{
    static const char *const members[] = {"sources", "keys",  "requests", "model",     "budget",
                                          "dry_run", "limit", "at",       "threshold", NULL};
    static const double limit_range[] = {1, DJ_WARM_ITEMS_MAX};
    static const double chance_range[] = {0.05, 1};
    static const double at_range[] = {1, AT_MAX};
    double at = 0;
    double limit = 0;
    if (!dj_query_check_members(request, request->body, "", members) ||
        !dj_query_flag(request, request->body, "dry_run", "", &order->is_dry_run) ||
        !dj_query_number(request, request->body, "limit", "", limit_range, &limit) ||
        !dj_query_number(request, request->body, "at", "", at_range, &at) ||
        !dj_query_number(request, request->body, "threshold", "", chance_range, &order->threshold))
        return;
    order->at_ms = (int64_t)at;
    if (at > (double)order->at_ms)
        dj_request_complain(request, "invalid_request", "at", "type",
                            "must be whole milliseconds since 1970");
    order->limit = (uint32_t)limit;
    check_whole(request, "limit", limit);
    read_sources(request, order);
    read_patterns(request, order);
    read_given(request, packed, order);
    read_budget(request, order);
}

static void on_listed(void *ctx, enum deja_status status, struct deja_slice json)
{
    struct dj_request *request = ctx;
    struct dj_buf body = {0};
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_buf_append_slice(&body, json);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void answer_status(struct dj_request *request, int code)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_warm_put_status(request->api->warm, request->tenant, dj_loop_now_ms(request->loop), &w);
    dj_json_end_object(&w);
    dj_request_answer(request, code, NULL, &body);
    dj_buf_fini(&body);
}

static void on_body(struct dj_request *request)
{
    struct dj_warm_order order = {.sources = 0};
    struct dj_warm_refusal refusal = {.status = 503};
    struct dj_buf packed = {0};
    uint64_t id = 0;
    memcpy(order.tenant, request->tenant, sizeof order.tenant);
    read_order(request, &packed, &order);
    if (dj_request_has_complaints(request)) {
        dj_buf_fini(&packed);
        return;
    }
    take_credential(request, &order);
    enum deja_status status = packed.status;
    if (status == DEJA_OK)
        status = dj_warm_start(request->api->warm, request->loop, &order, request, on_listed, &id,
                               &refusal);
    dj_buf_fini(&packed);
    if (status == DEJA_ERR_NOMEM)
        dj_request_refuse(request, status);
    else if (status != DEJA_OK)
        dj_request_problem(request, refusal.status, refusal.type, refusal.detail);
    else if (!order.is_dry_run)
        answer_status(request, 202);
}

/* False: the request was answered. */
static bool is_possible(struct dj_request *request)
{
    if (dj_user_is_refused(request))
        return false;
    if (!request->api->warm) {
        dj_request_problem(request, 501, "not_implemented", "there is no warming here");
        return false;
    }
    return true;
}

void dj_warm_post(struct dj_request *request)
{
    if (is_possible(request))
        dj_request_read(request, on_body);
}

void dj_warm_get(struct dj_request *request)
{
    if (is_possible(request))
        answer_status(request, 200);
}

void dj_warm_delete(struct dj_request *request)
{
    if (!is_possible(request))
        return;
    if (!dj_warm_cancel(request->api->warm, request->tenant))
        dj_request_problem(request, 404, "not_found", "no run of this tenant goes on");
    else
        answer_status(request, 200);
}

/* ---- history ---- */

/* In the request's arena. */
struct history {
    struct dj_request *request;
    struct dj_json_walk walk;
    size_t index;
    uint64_t learned;
    uint64_t unknown;
    uint32_t in_flight;
    bool is_over;
};

static void learn_on(struct history *history);

static void answer_history(struct history *history)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "learned", history->learned);
    dj_json_member_u64(&w, "unknown", history->unknown);
    dj_json_end_object(&w);
    dj_request_answer(history->request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static void on_learned(void *ctx, bool is_known)
{
    struct history *history = ctx;
    history->in_flight--;
    history->learned += is_known;
    history->unknown += !is_known;
    learn_on(history);
}

/* One request and its times; false: it cannot be read. */
static bool learn_one(struct history *history, const struct dj_json *access)
{
    struct dj_request *request = history->request;
    const struct dj_json *list = dj_json_get(access, "at");
    size_t count = dj_json_count(list);
    struct dj_buf packed = {0};
    struct deja_error error;
    int64_t *times = dj_json_is(list, DJ_JSON_ARRAY) && count && count <= TIMES_MAX
                         ? dj_alloc(count * sizeof *times)
                         : NULL;
    size_t used = 0;
    bool is_good =
        times && dj_warm_line(dj_json_get(access, "request"), dj_warm_model(request->api->warm),
                              &packed, &error) == DEJA_OK;
    for (struct dj_json_walk walk = dj_json_walk(list); is_good && dj_json_walk_next(&walk);) {
        times[used] = dj_json_i64(walk.value, -1);
        is_good = times[used++] > 0;
    }
    if (is_good &&
        dj_warm_learn(request->api->warm, request->loop, request->tenant, dj_buf_slice(&packed),
                      times, used, history, on_learned) == DEJA_OK)
        history->in_flight++;
    else
        history->unknown++;
    dj_free(times);
    dj_buf_fini(&packed);
    return is_good;
}

static void learn_on(struct history *history)
{
    while (!history->is_over && history->in_flight < LEARN_AT_ONCE) {
        history->is_over = !dj_json_walk_next(&history->walk);
        if (!history->is_over && !learn_one(history, history->walk.value)) {
            /* counted as unknown; the others are not concerned */
        }
    }
    if (history->is_over && !history->in_flight)
        answer_history(history);
}

static void on_history(struct dj_request *request)
{
    static const char *const members[] = {"accesses", NULL};
    const struct dj_json *accesses = dj_json_get(request->body, "accesses");
    if (dj_query_check_members(request, request->body, "", members) &&
        (!dj_json_is(accesses, DJ_JSON_ARRAY) || dj_json_count(accesses) > REQUESTS_MAX))
        dj_request_complain(request, "invalid_request", "accesses", "type",
                            "must be a list of up to 10000 {\"request\", \"at\": [ms, …]}");
    if (dj_request_has_complaints(request))
        return;
    struct history *history = dj_arena_alloc(request->arena, sizeof *history);
    if (!history) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *history = (struct history){.request = request, .walk = dj_json_walk(accesses)};
    learn_on(history);
}

void dj_warm_history(struct dj_request *request)
{
    if (!is_possible(request))
        return;
    if (!dj_asked_is_learning(request->api->proxy->asked))
        dj_request_problem(request, 409, "habits_unknown",
                           "habits are not kept here: set warmup.predict.enabled, or "
                           "warmup.sources with top or expiring, and start again");
    else
        dj_request_read(request, on_history);
}
