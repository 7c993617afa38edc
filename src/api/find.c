/* api/find.c - POST /api/v1/lookup: one question or a batch, answered in order.
 *
 * What is in memory is answered without leaving the loop; the rest of a batch is looked up
 * together. A miss is an answer (200), never an error; so is a sick tier (I4).
 */
#include <math.h>
#include <stdio.h>

#include "api/entry.h"
#include "api/handlers.h"
#include "base/num.h"

static const char *const members[] = {"query",     "embedding", "threshold", "limit",
                                      "namespace", "max_age",   NULL};

/* One question and what was found; in the request's arena but for value. */
struct find_item {
    struct find *find;
    struct deja_slice query; /* empty: by the vector alone */
    struct deja_slice name_space;
    const struct dj_query_vector *vector;
    double threshold; /* NAN: the cache API's default */
    uint32_t limit;   /* 0: not asked for candidates */
    uint64_t max_age_ms;

    enum dj_hit_kind kind;
    struct dj_value *value; /* owned; NULL: a miss */
    const char *level;
    const char *reason;
    double similarity; /* NAN: no candidate was met */
    double threshold_used;
    uint32_t candidate_count;
    struct {
        uint8_t id[DJ_ID_BYTES];
        float similarity;
    } candidates[DJ_CANDIDATES_MAX];
    uint32_t embed_us;
    uint32_t search_us;
    uint32_t fetch_us;
    uint32_t verify_us;
};

struct find {
    struct dj_request *request;
    bool is_batch;
    size_t count;
    size_t left;
    struct find_item *items;
};

/* ---- reading ---- */

static bool read_item(struct dj_request *request, const struct dj_json *object, const char *where,
                      struct find_item *item)
{
    static const double unit[2] = {0, 1};
    static const double limits[2] = {1, DJ_CANDIDATES_MAX};
    double limit = 0;
    item->threshold = NAN;
    if (!dj_json_is(object, DJ_JSON_OBJECT)) {
        dj_request_complain(request, "invalid_request", dj_request_text(request, "%squery", where),
                            "type", "each query is an object");
        return false;
    }
    if (!dj_query_check_members(request, object, where, members) ||
        !dj_query_vector(request, object, where, &item->vector) ||
        !dj_query_label(request, object, "namespace", where, DJ_NAMESPACE_BYTES_MAX,
                        &item->name_space) ||
        !dj_query_number(request, object, "threshold", where, unit, &item->threshold) ||
        !dj_query_number(request, object, "limit", where, limits, &limit) ||
        !dj_query_duration(request, object, "max_age", where, &item->max_age_ms))
        return false;
    item->limit = (uint32_t)limit;
    const struct dj_json *query = dj_json_get(object, "query");
    if (!query && item->vector)
        return true;
    if (!dj_json_is(query, DJ_JSON_STRING)) {
        dj_request_complain(request, query ? "invalid_request" : "query_empty",
                            dj_request_text(request, "%squery", where), query ? "type" : "required",
                            "must be a string (or give an embedding)");
        return false;
    }
    item->query = dj_json_string(query);
    return dj_query_check_text(request, item->query, where);
}

/* ---- writing ---- */

static void put_similarity(struct dj_json_writer *w, double similarity)
{
    dj_json_key(w, "similarity");
    if (isnan(similarity))
        dj_json_put_null(w);
    else
        dj_json_put_double(w, round(similarity * 1e6) / 1e6);
}

static void write_item(struct dj_json_writer *w, const struct find_item *item, int64_t now_ms)
{
    dj_json_begin_object(w);
    dj_json_key(w, "hit");
    dj_json_put_bool(w, item->value != NULL);
    dj_json_key(w, "kind");
    if (item->value) {
        dj_json_put_text(w, dj_hit_kind_text(item->kind));
        dj_json_key(w, "tier");
        dj_json_put_text(w, item->level);
    } else {
        dj_json_put_null(w);
        dj_json_key(w, "reason");
        dj_json_put_text(w, item->reason);
    }
    put_similarity(w, item->similarity);
    dj_json_key(w, "threshold");
    dj_json_put_double(w, item->threshold_used);
    if (item->value)
        dj_entry_write(w, dj_value_entry(item->value), now_ms);
    if (item->limit > 0) {
        dj_json_key(w, "candidates");
        dj_json_begin_array(w);
        for (uint32_t i = 0; i < item->candidate_count; i++) {
            dj_json_begin_object(w);
            dj_request_put_id(w, "id", item->candidates[i].id);
            put_similarity(w, (double)item->candidates[i].similarity);
            dj_json_end_object(w);
        }
        dj_json_end_array(w);
    }
    dj_json_end_object(w);
}

static void add_timing(struct dj_request *request, const struct find *find)
{
    uint64_t embed_us = 0;
    uint64_t search_us = 0;
    uint64_t fetch_us = 0;
    for (size_t i = 0; i < find->count; i++) {
        embed_us += find->items[i].embed_us;
        search_us += find->items[i].search_us;
        fetch_us += find->items[i].fetch_us;
    }
    uint64_t total_us = dj_loop_monotonic_us(request->loop) - request->http->started_us;
    dj_request_header(
        request, "Server-Timing",
        dj_request_text(request, "embed;dur=%.3f, search;dur=%.3f, fetch;dur=%.3f, total;dur=%.3f",
                        (double)embed_us / 1e3, (double)search_us / 1e3, (double)fetch_us / 1e3,
                        (double)total_us / 1e3));
}

/* What the proxy says about one answer is said here too (WIRE §5.3). */
static void add_headers(struct dj_request *request, const struct find_item *item, int64_t now_ms)
{
    char id[2 * DJ_ID_BYTES + 1];
    dj_request_header(request, "X-Cache-Hit", item->value ? "true" : "false");
    dj_request_header(request, "X-Cache-Status", item->value ? "HIT" : "MISS");
    if (!item->value) {
        dj_request_header(request, "Cache-Status",
                          dj_request_text(request, "deja; fwd=miss; detail=\"%s\"", item->reason));
        return;
    }
    const struct dj_entry *entry = dj_value_entry(item->value);
    int64_t ttl_s = entry->expires_ms > now_ms ? (entry->expires_ms - now_ms) / 1000 : 0;
    int64_t age_s = now_ms > entry->created_ms ? (now_ms - entry->created_ms) / 1000 : 0;
    dj_hex_encode(entry->id, sizeof entry->id, id);
    dj_request_header(request, "Cache-Status",
                      dj_request_text(request, "deja; hit; ttl=%lld; detail=%s", (long long)ttl_s,
                                      dj_hit_kind_text(item->kind)));
    dj_request_header(request, "Age", dj_request_text(request, "%lld", (long long)age_s));
    dj_request_header(request, "X-Cache-Tier", item->level);
    dj_request_header(request, "X-Cache-Id", dj_request_text(request, "%s", id));
    dj_request_header(request, "X-Cache-Similarity",
                      dj_request_text(request, "%.4f", item->similarity));
}

static void answer(struct find *find)
{
    struct dj_request *request = find->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (find->is_batch) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "results");
        dj_json_begin_array(&w);
    } else {
        add_headers(request, &find->items[0], now_ms);
    }
    add_timing(request, find);
    for (size_t i = 0; i < find->count; i++)
        write_item(&w, &find->items[i], now_ms);
    if (find->is_batch) {
        dj_json_end_array(&w);
        dj_json_end_object(&w);
    }
    for (size_t i = 0; i < find->count; i++)
        dj_value_unref(find->items[i].value);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

/* ---- looking ---- */

/* An item has its answer; the last one answers the request. */
static void finish_item(struct find_item *item)
{
    struct find *find = item->find;
    struct dj_request *request = find->request;
    struct dj_telemetry *telemetry = request->api->proxy->telemetry;
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    enum dj_result result = DJ_RESULT_MISS;
    if (item->value)
        result = item->kind == DJ_HIT_SEMANTIC ? DJ_RESULT_HIT_SEMANTIC : DJ_RESULT_HIT_EXACT;
    const char *level = item->value ? item->level : "none";
    dj_telemetry_request(telemetry, request->tenant, "api", result, level, seconds);
    dj_telemetry_lookup(telemetry, &(struct dj_telemetry_lookup){
                                       .is_hit = item->value != NULL,
                                       .level = level,
                                       .embed_us = item->embed_us,
                                       .search_us = item->search_us,
                                       .fetch_us = item->fetch_us,
                                       .verify_us = item->verify_us,
                                       .similarity = item->similarity,
                                       .threshold = item->threshold_used,
                                       .seconds = seconds,
                                   });
    if (item->value)
        dj_telemetry_saved(telemetry, dj_value_entry(item->value));
    if (--find->left == 0)
        answer(find);
}

static void on_found(void *ctx, const struct dj_lookup_result *result)
{
    struct find_item *item = ctx;
    item->kind = result->kind;
    item->value = result->value ? dj_value_ref(result->value) : NULL;
    item->level = result->level ? result->level : "none";
    item->reason = result->reason ? result->reason : "not-stored";
    item->threshold_used = result->threshold;
    item->embed_us = result->embed_us;
    item->search_us = result->search_us;
    item->fetch_us = result->fetch_us;
    item->verify_us = result->verify_us;
    if (result->value || result->search_us || result->candidate_count)
        item->similarity = (double)result->similarity;
    for (uint32_t i = 0; i < result->candidate_count; i++) {
        memcpy(item->candidates[i].id, result->candidates[i].id, DJ_ID_BYTES);
        item->candidates[i].similarity = result->candidates[i].similarity;
    }
    item->candidate_count = result->candidate_count;
    finish_item(item);
}

static void start_item(struct find_item *item)
{
    struct dj_request *request = item->find->request;
    struct dj_engine *engine = request->api->proxy->engine;
    struct dj_fingerprint fingerprint;
    item->similarity = NAN;
    item->level = "none";
    item->reason = "cache-unavailable";
    item->threshold_used =
        isnan(item->threshold) ? dj_engine_threshold(engine, true) : item->threshold;
    enum deja_status status =
        dj_query_fingerprint(request, item->name_space, item->query, &fingerprint);
    if (status != DEJA_OK) {
        finish_item(item);
        return;
    }
    if (item->query.len)
        item->value = dj_engine_find(engine, request->loop, &fingerprint.key, item->max_age_ms);
    if (item->value) {
        item->kind = dj_engine_hit_kind(item->value, fingerprint.exact);
        item->level = "memory";
        item->similarity = 1;
        finish_item(item);
        return;
    }
    const struct dj_lookup_options options = {
        .is_exact = item->query.len > 0,
        .is_semantic = true,
        .threshold = item->threshold_used,
        .is_threshold_free = true,
        .limit = item->limit,
        .max_age_ms = item->max_age_ms,
    };
    if (dj_engine_lookup(engine, request->loop, &fingerprint, &options, item->vector, item,
                         on_found) != DEJA_OK)
        finish_item(item); /* out of memory: a miss (I4) */
}

static void find_all(struct dj_request *request, const struct dj_json *list, size_t count)
{
    struct find *find = dj_arena_alloc(request->arena, sizeof *find);
    struct find_item *items = dj_arena_alloc(request->arena, count * sizeof *items);
    size_t index = 0;
    if (!find || !items) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    /* One more than there are items, so that nobody answers while items are still being started. */
    *find = (struct find){.request = request,
                          .is_batch = list != NULL,
                          .count = count,
                          .left = count + 1,
                          .items = items};
    for (size_t i = 0; i < count; i++)
        items[i] = (struct find_item){.find = find};
    if (!list)
        read_item(request, request->body, "", &items[0]);
    for (struct dj_json_walk w = dj_json_walk(list); list && dj_json_walk_next(&w); index++) {
        const char *where = dj_request_text(request, "queries[%zu].", index);
        if (!read_item(request, w.value, where, &items[index]) &&
            request->field_count == DJ_REQUEST_FIELDS_MAX)
            break; /* told enough */
    }
    if (dj_request_has_complaints(request))
        return;
    for (size_t i = 0; i < count; i++)
        start_item(&items[i]);
    if (--find->left == 0)
        answer(find);
}

static void on_body(struct dj_request *request)
{
    static const char *const batch_members[] = {"queries", NULL};
    const struct dj_json *list = dj_json_get(request->body, "queries");
    if (!list) {
        find_all(request, NULL, 1);
        return;
    }
    size_t count = dj_json_count(list);
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count == 0 || count > DJ_BATCH_MAX)
        dj_request_complain(
            request, "invalid_request", "queries", "type",
            dj_request_text(request, "must be an array of 1 to %u queries", DJ_BATCH_MAX));
    else
        dj_query_check_members(request, request->body, "", batch_members);
    if (!dj_request_has_complaints(request))
        find_all(request, list, count);
}

void dj_find(struct dj_request *request)
{
    dj_request_read(request, on_body);
}
