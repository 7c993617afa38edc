/* api/find.c - POST /api/v1/lookup: one question or a batch, answered in order.
 *
 *   key      memory at once; of a batch the tiers too, all items side by side
 *   embed    of a batch: the texts of all items that still need a vector, as one batch
 *   meaning  what the key did not answer (a single question does all three in one look-up)
 *   near     if candidates were asked for: whatever reaches the threshold, never served
 *
 * A miss is an answer (200), never an error; so is a sick tier (I4). An item of a batch that cannot
 * be asked has its error in its place (207).
 */
#include <math.h>

#include "api/entry_kind.h"
#include "api/as_of.h"
#include "api/found.h"
#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "policy/valid.h"
#include "proxy/identity.h"

static const char *const members[] = {"query",     "embedding", "embedder", "threshold",
                                      "limit",     "namespace", "max_age",  "filter",
                                      "responses", "valid",     "kind",     NULL};
static const char *const valid_members[] = {"model",   "provider",   "type", "version",
                                            "max_age", "parameters", NULL};

#define ANSWER_BYTES_MAX (64u * 1024u * 1024u)

/* One question and what was found; in the request's arena. */
struct find_item {
    struct find *find;
    struct deja_slice query; /* empty: by the vector alone */
    struct deja_slice name_space;
    const struct dj_kind *kind;           /* among its entries only; NULL: not said */
    const struct dj_query_vector *vector; /* the caller's; NULL: none */
    const struct dj_filter *filter;
    double threshold; /* NAN: the cache API's default */
    uint32_t limit;   /* 0: not asked for candidates */
    uint64_t max_age_ms;
    struct dj_valid_facts wish; /* what an entry must be of to be served */
    struct dj_fingerprint fingerprint;
    struct dj_found found;
};

struct find {
    struct dj_request *request;
    bool is_batch;
    size_t count;
    size_t left; /* items of this step that have no answer yet */
    struct find_item *items;
    uint32_t embed_us;                           /* of the batch */
    struct deja_slice texts[DJ_EMBED_BATCH_MAX]; /* what is embedded together */
    size_t text_count;
};

/* ---- reading ---- */

/* "valid"; false after complaining. */
static bool read_wish(struct dj_request *request, const struct dj_json *object, const char *where,
                      struct dj_valid_facts *wish)
{
    const struct dj_json *valid = dj_json_get(object, "valid");
    const struct dj_json *parameters = dj_json_get(valid, "parameters");
    const char *inside = dj_request_text(request, "%svalid.", where);
    struct dj_buf text = {0};
    size_t offset = 0;
    size_t len = 0;
    if (!valid || dj_json_is(valid, DJ_JSON_NULL))
        return true;
    if (!dj_json_is(valid, DJ_JSON_OBJECT)) {
        dj_request_complain(request, "invalid_request", dj_request_text(request, "%svalid", where),
                            "type", "must be an object");
        return false;
    }
    if (!dj_query_check_members(request, valid, inside, valid_members) ||
        !dj_query_label(request, valid, "model", inside, DJ_LABEL_BYTES_MAX, &wish->model) ||
        !dj_query_label(request, valid, "provider", inside, DJ_LABEL_BYTES_MAX, &wish->provider) ||
        !dj_query_label(request, valid, "type", inside, DJ_LABEL_BYTES_MAX, &wish->type) ||
        !dj_query_label(request, valid, "version", inside, DJ_LABEL_BYTES_MAX, &wish->version) ||
        !dj_query_duration(request, valid, "max_age", inside, &wish->age_ms))
        return false;
    if (!parameters)
        return true;
    dj_json_canonical(&text, parameters, NULL, NULL, &offset, &len);
    wish->parameters = dj_arena_copy(request->arena, dj_buf_slice(&text));
    dj_buf_fini(&text);
    return wish->parameters.data != NULL;
}

/* Its threshold and limit hold where the question says none. */
static bool read_kind(struct dj_request *request, const struct dj_json *object, const char *where,
                      struct find_item *item)
{
    struct deja_slice name = {.data = NULL};
    if (!dj_query_label(request, object, "kind", where, DJ_KIND_NAME_MAX, &name))
        return false;
    item->kind = dj_entry_kind(request, name);
    if (!name.len || (item->kind && item->kind->is_semantic)) {
        if (item->kind && isnan(item->threshold))
            item->threshold = item->kind->threshold;
        if (item->kind && !item->limit)
            item->limit = item->kind->limit;
        if (item->kind)
            item->found.asked_kind =
                dj_request_text(request, "%.*s", (int)item->kind->name.len, item->kind->name.data);
        return true;
    }
    dj_request_complain(request, "invalid_request", dj_request_text(request, "%skind", where),
                        "value",
                        item->kind ? "is not found by meaning; GET /api/v1/kv/{key} finds it"
                                   : "no kind has that name; GET /api/v1/kinds lists them");
    return false;
}

static bool read_members(struct dj_request *request, const struct dj_json *object,
                         const char *where, struct find_item *item)
{
    static const double unit[2] = {0, 1};
    static const double limits[2] = {1, DJ_CANDIDATES_MAX};
    double limit = 0;
    if (!dj_query_check_members(request, object, where, members) ||
        !dj_query_vector(request, object, where, &item->vector) ||
        !dj_query_label(request, object, "namespace", where, DJ_NAMESPACE_BYTES_MAX,
                        &item->name_space) ||
        !dj_query_number(request, object, "threshold", where, unit, &item->threshold) ||
        !dj_query_number(request, object, "limit", where, limits, &limit) ||
        !dj_query_flag(request, object, "responses", where, &item->found.has_responses) ||
        !dj_query_filter(request, object, where, &item->filter) ||
        !dj_query_duration(request, object, "max_age", where, &item->max_age_ms) ||
        !read_wish(request, object, where, &item->wish))
        return false;
    item->limit = (uint32_t)limit;
    if (!read_kind(request, object, where, item))
        return false;
    item->found.has_candidates = item->limit > 0;
    return true;
}

static bool read_question(struct dj_request *request, const struct dj_json *object,
                          const char *where, struct find_item *item)
{
    item->threshold = NAN;
    if (!dj_json_is(object, DJ_JSON_OBJECT)) {
        dj_request_complain(request, "invalid_request", dj_request_text(request, "%squery", where),
                            "type", "each query is an object");
        return false;
    }
    if (!read_members(request, object, where, item))
        return false;
    const struct dj_json *query = dj_json_get(object, "query");
    bool has_query = query && !dj_json_is(query, DJ_JSON_NULL);
    if (!has_query && item->vector)
        return true;
    if (!dj_json_is(query, DJ_JSON_STRING)) {
        dj_request_complain(request, has_query ? "invalid_request" : "query_empty",
                            dj_request_text(request, "%squery", where),
                            has_query ? "type" : "required",
                            "must be a string (or give an embedding)");
        return false;
    }
    item->query = dj_json_string(query);
    return dj_query_check_text(request, item->query, where);
}

static void read_item(struct find_item *item, const struct dj_json *object, const char *where)
{
    struct dj_request *request = item->find->request;
    struct dj_found *found = &item->found;
    bool is_good = read_question(request, object, where, item);
    found->similarity = NAN;
    found->level = "none";
    found->reason = "cache-unavailable";
    found->threshold = dj_request_threshold(request, item->threshold);
    if (!is_good) {
        if (item->find->is_batch) /* otherwise it is the whole request's */
            dj_request_take_fault(request, &found->fault);
        return;
    }
    enum deja_status status =
        dj_query_fingerprint(request, dj_entry_kind_space(request, item->kind, item->name_space),
                             item->query, &item->fingerprint);
    if (status != DEJA_OK)
        found->fault.problem = dj_problem_of(status);
}

/* ---- answering ---- */

static void add_timing(const struct find *find)
{
    struct dj_request *request = find->request;
    uint64_t embed_us = find->embed_us;
    uint64_t search_us = 0;
    uint64_t fetch_us = 0;
    for (size_t i = 0; i < find->count; i++) {
        embed_us += find->items[i].found.embed_us;
        search_us += find->items[i].found.search_us;
        fetch_us += find->items[i].found.fetch_us;
    }
    uint64_t total_us = dj_loop_monotonic_us(request->loop) - request->http->started_us;
    dj_request_header(
        request, "Server-Timing",
        dj_request_text(request, "embed;dur=%.3f, search;dur=%.3f, fetch;dur=%.3f, total;dur=%.3f",
                        (double)embed_us / 1e3, (double)search_us / 1e3, (double)fetch_us / 1e3,
                        (double)total_us / 1e3));
}

static void on_dropped(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)ctx;
    (void)status; /* it is a miss either way, and is met again */
    (void)removed;
}

/* What was found and is not of what the asker wants is a miss, and goes: by who may take it away.
 */
static void drop_invalid(struct find_item *item, int64_t now_ms)
{
    struct dj_request *request = item->find->request;
    struct dj_found *found = &item->found;
    if (!found->value)
        return;
    const struct dj_entry *entry = dj_value_entry(found->value);
    struct dj_json_doc *doc = NULL;
    struct dj_buf parameters = {0};
    size_t offset = 0;
    size_t len = 0;
    if (entry->metadata.len && dj_json_parse(entry->metadata, &doc, NULL) != DEJA_OK)
        doc = NULL;
    const struct dj_json *root = doc ? dj_json_root(doc) : NULL;
    const struct dj_json *said = dj_json_get(dj_json_get(root, "metadata"), "parameters");
    if (said)
        dj_json_canonical(&parameters, said, NULL, NULL, &offset, &len);
    const struct dj_valid_facts facts = {
        .model = entry->model,
        .provider = entry->provider,
        .type = dj_json_string(dj_json_get(root, "type")),
        .version = dj_json_string(dj_json_get(root, "version")),
        .parameters = dj_buf_slice(&parameters),
        .age_ms = now_ms > entry->created_ms ? (uint64_t)(now_ms - entry->created_ms) : 0,
    };
    const char *objection = dj_valid_objection(&item->wish, &facts);
    dj_buf_fini(&parameters);
    dj_json_doc_destroy(doc);
    if (!objection)
        return;
    struct dj_store_key key;
    memcpy(key.tenant, request->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    bool may_drop = dj_identity_may(&request->who, DJ_ROLE_WRITE) && dj_user_owns(request, entry);
    if (may_drop && dj_engine_remove(request->api->proxy->engine, request->loop, &key, NULL,
                                     on_dropped) == DEJA_OK)
        dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "invalid");
    dj_value_unref(found->value);
    found->value = NULL;
    found->kind = DJ_HIT_NONE;
    found->level = "none";
    found->reason = objection;
}

static void answer(struct find *find)
{
    struct dj_request *request = find->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    const struct dj_problem problem = find->items[0].found.fault.problem;
    bool is_partial = false;
    struct dj_buf body;
    dj_buf_init(&body, ANSWER_BYTES_MAX);
    struct dj_json_writer w = dj_json_writer(&body);
    for (size_t i = 0; i < find->count; i++) {
        drop_invalid(&find->items[i], now_ms);
        find->items[i].found.as_of = dj_as_of_now(request);
    }
    if (find->is_batch) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "results");
        dj_json_begin_array(&w);
    } else {
        dj_found_headers(request, &find->items[0].found, now_ms);
    }
    add_timing(find);
    for (size_t i = 0; i < find->count; i++) {
        struct dj_found *found = &find->items[i].found;
        is_partial = is_partial || found->fault.problem.status;
        dj_found_write(&w, found, now_ms);
        dj_found_count(request, found);
        if (!found->value && !found->fault.problem.status)
            dj_engine_note_miss(request->api->proxy->engine, request->loop, request->tenant,
                                find->items[i].query.len ? find->items[i].fingerprint.key.id : NULL,
                                DJ_ENTRY_API);
        dj_found_fini(found);
    }
    if (find->is_batch) {
        dj_json_end_array(&w);
        dj_json_end_object(&w);
    }
    if (is_partial && !find->is_batch)
        dj_request_problem(request, problem.status, problem.type, problem.detail);
    else if (body.status == DEJA_ERR_LIMIT)
        dj_request_problem(request, 413, "payload_too_large",
                           "the answer would be too large: ask for less at a time");
    else
        dj_request_answer(request, is_partial ? 207 : 200, NULL, &body);
    dj_buf_fini(&body);
}

/* An item has its answer; the last one answers the request. */
static void finish_item(struct find_item *item)
{
    struct find *find = item->find;
    if (--find->left == 0)
        answer(find);
}

/* ---- near ---- */

static struct dj_lookup_options options_of(const struct find_item *item)
{
    return (struct dj_lookup_options){
        .is_semantic = dj_request_may_search(item->find->request),
        .threshold = item->found.threshold,
        .is_threshold_free = true,
        .guards_off = dj_request_guards_off(item->find->request),
        .max_age_ms = item->max_age_ms,
        .filter = item->filter,
        .skip = item->find->request->skip,
    };
}

static void on_near(void *ctx, const struct dj_lookup_result *result)
{
    struct find_item *item = ctx;
    dj_found_add(&item->found, result, item->find->request->arena);
    finish_item(item);
}

/* vector NULL: the engine embeds the text. */
static void look_near(struct find_item *item, const struct dj_query_vector *vector)
{
    struct dj_request *request = item->find->request;
    struct dj_lookup_options options = options_of(item);
    options.is_find = true;
    options.limit = item->limit;
    if (item->limit == 0 || item->found.fault.problem.status ||
        dj_engine_lookup(request->api->proxy->engine, request->loop, &item->fingerprint, &options,
                         vector, item, on_near) != DEJA_OK)
        finish_item(item);
}

/* ---- meaning ---- */

static void on_meaning(void *ctx, const struct dj_lookup_result *result)
{
    struct find_item *item = ctx;
    const struct dj_query_vector made = {.floats = result->vector, .dim = result->dim};
    dj_found_set(&item->found, result);
    /* The vector is the caller's or has been made just now: nothing is embedded twice. */
    look_near(item, item->vector ? item->vector : result->has_vector ? &made : NULL);
}

static void look_by_meaning(struct find_item *item, const struct dj_query_vector *vector,
                            bool is_exact)
{
    struct dj_request *request = item->find->request;
    struct dj_lookup_options options = options_of(item);
    options.is_exact = is_exact;
    enum deja_status status =
        dj_engine_lookup(request->api->proxy->engine, request->loop, &item->fingerprint, &options,
                         vector, item, on_meaning);
    if (status == DEJA_OK)
        return;
    if (status == DEJA_ERR_INVALID || status == DEJA_ERR_MISMATCH)
        item->found.fault.problem = dj_problem_of(status);
    finish_item(item); /* out of memory: a miss (I4) */
}

/* ---- embed ---- */

static bool is_asked_by_meaning(const struct find_item *item)
{
    return !item->found.fault.problem.status && (!item->found.value || item->limit > 0);
}

static bool is_embedded_together(const struct find_item *item)
{
    return is_asked_by_meaning(item) && !item->vector && item->fingerprint.is_semantic;
}

/* vectors: of those that are embedded together, in their order; NULL: there are none. */
static void look_all_by_meaning(struct find *find, const float *vectors, uint32_t dim)
{
    find->left = find->count + 1; /* nobody answers while items are still being started */
    for (size_t i = 0; i < find->count; i++) {
        struct find_item *item = &find->items[i];
        struct dj_query_vector made = {.floats = vectors, .dim = dim};
        const struct dj_query_vector *vector = item->vector;
        if (vectors && is_embedded_together(item)) {
            vector = &made;
            vectors += dim;
        }
        if (!is_asked_by_meaning(item))
            finish_item(item);
        else if (item->found.value)
            look_near(item, vector);
        else
            look_by_meaning(item, vector, false);
    }
    if (--find->left == 0)
        answer(find);
}

static void on_embedded(void *ctx, enum deja_status status, const float *vectors, uint32_t dim,
                        uint32_t embed_us)
{
    struct find *find = ctx;
    find->embed_us = embed_us;
    if (embed_us)
        dj_telemetry_stage(find->request->api->proxy->telemetry, DJ_STAGE_EMBED, embed_us / 1e6);
    look_all_by_meaning(find, status == DEJA_OK ? vectors : NULL, dim);
}

static void embed_all(struct find *find)
{
    struct dj_request *request = find->request;
    for (size_t i = 0; i < find->count; i++)
        if (is_embedded_together(&find->items[i]))
            find->texts[find->text_count++] = find->items[i].fingerprint.text;
    if (find->text_count < 2 ||
        dj_engine_embed(request->api->proxy->engine, request->loop, request->tenant, find->texts,
                        find->text_count, find, on_embedded) != DEJA_OK)
        look_all_by_meaning(find, NULL, 0);
}

/* ---- key ---- */

/* What is in memory is answered without leaving the loop; false: it is not there. */
static bool look_in_memory(struct find_item *item)
{
    struct dj_request *request = item->find->request;
    struct dj_found *found = &item->found;
    struct dj_value *value = NULL;
    if (item->query.len)
        value = dj_request_find(request, &item->fingerprint.key, item->max_age_ms);
    if (!value)
        return false;
    if (!dj_filter_is_match(item->filter, dj_value_entry(value))) {
        dj_value_unref(value);
        return false;
    }
    found->value = value;
    found->kind = dj_engine_hit_kind(value, item->fingerprint.exact);
    found->level = "memory";
    found->similarity = 1;
    return true;
}

static void on_key(void *ctx, const struct dj_lookup_result *result)
{
    struct find_item *item = ctx;
    struct find *find = item->find;
    dj_found_set(&item->found, result);
    if (--find->left == 0)
        embed_all(find);
}

static void look_all_by_key(struct find *find)
{
    struct dj_request *request = find->request;
    find->left = find->count + 1;
    for (size_t i = 0; i < find->count; i++) {
        struct find_item *item = &find->items[i];
        struct dj_lookup_options options = options_of(item);
        options.is_semantic = false;
        options.is_exact = true;
        bool is_done = item->found.fault.problem.status || !item->query.len || look_in_memory(item);
        if (is_done ||
            dj_engine_lookup(request->api->proxy->engine, request->loop, &item->fingerprint,
                             &options, NULL, item, on_key) != DEJA_OK)
            find->left--;
    }
    if (--find->left == 0)
        embed_all(find);
}

/* ---- the request ---- */

static void find_all(struct dj_request *request, const struct dj_json *list, size_t count)
{
    struct find *find = dj_arena_alloc(request->arena, sizeof *find);
    struct find_item *items = dj_arena_alloc(request->arena, count * sizeof *items);
    if (!find || !items) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *find = (struct find){
        .request = request, .is_batch = list != NULL, .count = count, .left = 1, .items = items};
    for (size_t i = 0; i < count; i++)
        items[i] = (struct find_item){.find = find};
    if (!list)
        read_item(&items[0], request->body, "");
    for (struct dj_json_walk w = dj_json_walk(list); list && dj_json_walk_next(&w);)
        read_item(&items[w.index], w.value, dj_request_text(request, "queries[%zu].", w.index));
    if (dj_request_has_complaints(request))
        return;
    if (find->is_batch)
        look_all_by_key(find);
    else if (items[0].found.fault.problem.status)
        finish_item(&items[0]);
    else if (look_in_memory(&items[0]))
        look_near(&items[0], items[0].vector);
    else
        look_by_meaning(&items[0], items[0].vector, items[0].query.len > 0);
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
