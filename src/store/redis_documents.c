/* store/redis_documents.c - see redis_documents.h.
 *
 * A change is written first and noted by its time second, so a pull that meets the note meets the
 * change. Clocks of programs may differ: a pull looks OVERLAP_US further back than where it was.
 */
#include "store/redis_documents.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/redis_visit.h"

#define TABLE "data_keys"
#define OVERLAP_US (UINT64_C(120) * 1000 * 1000)
#define NAMES_MAX "60000" /* in one reply (DJ_REDIS_ELEMENTS_MAX) */

struct dj_redis_documents {
    struct dj_redis_options options;
    uint32_t timeout_ms;
    uint64_t (*now_us)(void);
};

/* One question and its answer. */
struct request {
    struct dj_redis_documents *documents;
    struct deja_slice key;
    struct deja_slice value;
    bool is_new;
    struct dj_buf found;
    bool is_found;
};

static struct deja_slice name_of(const struct dj_redis_visit *visit, struct deja_slice key,
                                 char out[DJ_REDIS_KEY_BYTES])
{
    char name[sizeof TABLE + 1 + DJ_AUTHORITY_KEY_BYTES_MAX];
    int len = key.len ? snprintf(name, sizeof name, TABLE ":%.*s", (int)key.len, key.data)
                      : snprintf(name, sizeof name, TABLE);
    if (len < 0 || (size_t)len >= sizeof name)
        name[sizeof name - 1] = '\0';
    return deja_slice(out, dj_redis_shared_key(dj_redis_visit_prefix(visit), name, out));
}

static void begin_command(struct dj_redis_visit *visit, struct dj_redis_call *call,
                          const char *word, struct deja_slice key, uint32_t count)
{
    char text[DJ_REDIS_KEY_BYTES];
    struct deja_slice name = name_of(visit, key, text);
    dj_redis_call_key(call, name);
    dj_redis_command(&call->bytes, count);
    dj_redis_argument_text(&call->bytes, word);
    dj_redis_argument(&call->bytes, name);
}

static enum deja_status run(struct dj_redis_documents *documents, dj_redis_visit_ask_fn *ask,
                            dj_redis_visit_take_fn *take, void *ctx)
{
    struct dj_redis_visit visit = {.ask = ask, .take = take, .ctx = ctx};
    struct deja_error error; /* the tier's own breaker and doctor tell why */
    return dj_redis_visit_run(&documents->options, documents->timeout_ms, &visit, &error);
}

static bool is_ours(const char *table, struct deja_slice key)
{
    return strcmp(table, TABLE) == 0 && key.len && key.len <= DJ_AUTHORITY_KEY_BYTES_MAX;
}

/* ---- get ---- */

static bool ask_get(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    const struct request *request = visit->ctx;
    if (visit->step > 0)
        return false;
    begin_command(visit, call, "GET", request->key, 2);
    return true;
}

static enum deja_status take_get(struct dj_redis_visit *visit, const struct dj_redis_reply *reply)
{
    struct request *request = visit->ctx;
    struct deja_slice text;
    enum deja_status status = dj_redis_status_of(reply);
    if (status == DEJA_OK && dj_redis_text(reply, &text)) {
        if (text.len > DJ_AUTHORITY_VALUE_BYTES_MAX)
            return DEJA_ERR_CORRUPT;
        dj_buf_append_slice(&request->found, text);
        request->is_found = true;
        status = request->found.status;
    }
    return status;
}

static enum deja_status get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                            dj_authority_found_fn *found)
{
    struct request request = {.documents = ctx, .key = key};
    if (!is_ours(table, key))
        return DEJA_ERR_UNSUPPORTED;
    enum deja_status status = run(ctx, ask_get, take_get, &request);
    if (status == DEJA_OK && !request.is_found)
        status = DEJA_ERR_NOT_FOUND;
    if (status == DEJA_OK)
        found(found_ctx, dj_buf_slice(&request.found));
    dj_buf_fini(&request.found);
    return status;
}

/* ---- put, remove ---- */

static void ask_note(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    const struct request *request = visit->ctx;
    begin_command(visit, call, "ZADD", deja_slice(NULL, 0), 4);
    dj_redis_argument_u64(&call->bytes, request->documents->now_us());
    dj_redis_argument(&call->bytes, request->key);
}

static bool ask_put(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    const struct request *request = visit->ctx;
    if (visit->step == 0) {
        begin_command(visit, call, "SET", request->key, request->is_new ? 4 : 3);
        dj_redis_argument(&call->bytes, request->value);
        if (request->is_new)
            dj_redis_argument_text(&call->bytes, "NX");
        return true;
    }
    if (visit->step == 1)
        ask_note(visit, call);
    return visit->step == 1;
}

static enum deja_status take_put(struct dj_redis_visit *visit, const struct dj_redis_reply *reply)
{
    enum deja_status status = dj_redis_status_of(reply);
    if (status == DEJA_OK && visit->step == 0 && reply->type == DJ_REDIS_NIL)
        status = DEJA_ERR_BUSY; /* NX: one is there */
    return status;
}

static enum deja_status put(void *ctx, const char *table, struct deja_slice key,
                            struct deja_slice value, bool is_new)
{
    struct request request = {.documents = ctx, .key = key, .value = value, .is_new = is_new};
    if (!is_ours(table, key))
        return DEJA_ERR_UNSUPPORTED;
    return run(ctx, ask_put, take_put, &request);
}

static bool ask_remove(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    const struct request *request = visit->ctx;
    if (visit->step == 0)
        begin_command(visit, call, "DEL", request->key, 2);
    else if (visit->step == 1)
        ask_note(visit, call);
    return visit->step < 2;
}

static enum deja_status take_remove(struct dj_redis_visit *visit,
                                    const struct dj_redis_reply *reply)
{
    struct request *request = visit->ctx;
    int64_t removed = 0;
    if (visit->step == 0 && dj_redis_integer(reply, &removed))
        request->is_found = removed > 0;
    return dj_redis_status_of(reply);
}

static enum deja_status remove_document(void *ctx, const char *table, struct deja_slice key)
{
    struct request request = {.documents = ctx, .key = key};
    if (!is_ours(table, key))
        return DEJA_ERR_UNSUPPORTED;
    enum deja_status status = run(ctx, ask_remove, take_remove, &request);
    return status == DEJA_OK && !request.is_found ? DEJA_ERR_NOT_FOUND : status;
}

/* ---- walk, pull: the names, then each ---- */

struct tour {
    uint64_t since_us;
    uint64_t last_us;
    struct dj_buf names; /* one behind the other, each after its length as one byte */
    size_t at;
    struct deja_slice name; /* asked for now */
    void *ctx;
    dj_authority_each_fn *each;
    dj_authority_change_fn *change;
};

static bool ask_tour(struct dj_redis_visit *visit, struct dj_redis_call *call)
{
    struct tour *tour = visit->ctx;
    if (visit->step == 0) {
        begin_command(visit, call, "ZRANGEBYSCORE", deja_slice(NULL, 0), 8);
        dj_redis_argument_u64(&call->bytes, tour->since_us);
        dj_redis_argument_text(&call->bytes, "+inf");
        dj_redis_argument_text(&call->bytes, "WITHSCORES");
        dj_redis_argument_text(&call->bytes, "LIMIT");
        dj_redis_argument_text(&call->bytes, "0");
        dj_redis_argument_text(&call->bytes, NAMES_MAX);
        return true;
    }
    if (tour->at == tour->names.len)
        return false;
    size_t len = (uint8_t)tour->names.data[tour->at];
    tour->name = deja_slice(tour->names.data + tour->at + 1, len);
    tour->at += 1 + len;
    begin_command(visit, call, "GET", tour->name, 2);
    return true;
}

/* Pairs in a row, or, of RESP3, each in an array of its own. */
static enum deja_status take_names(struct tour *tour, const struct dj_redis_reply *reply)
{
    bool is_nested = reply->count && reply->elements[0].type == DJ_REDIS_ARRAY;
    for (size_t i = 0; i < reply->count; i += is_nested ? 1 : 2) {
        const struct dj_redis_reply *pair = is_nested ? dj_redis_at(reply, i) : reply;
        size_t at = is_nested ? 0 : i;
        struct deja_slice name;
        struct deja_slice score;
        uint64_t at_us = 0;
        if (!dj_redis_text(dj_redis_at(pair, at), &name) || !name.len ||
            name.len > DJ_AUTHORITY_KEY_BYTES_MAX)
            continue;
        if (dj_redis_text(dj_redis_at(pair, at + 1), &score) &&
            dj_num_parse_u64(score, &at_us) == DEJA_OK && at_us > tour->last_us)
            tour->last_us = at_us;
        dj_buf_append_byte(&tour->names, (char)name.len);
        dj_buf_append_slice(&tour->names, name);
    }
    return tour->names.status;
}

static enum deja_status take_tour(struct dj_redis_visit *visit, const struct dj_redis_reply *reply)
{
    struct tour *tour = visit->ctx;
    struct deja_slice value;
    enum deja_status status = dj_redis_status_of(reply);
    if (status != DEJA_OK)
        return status;
    if (visit->step == 0)
        return take_names(tour, reply);
    bool is_there = dj_redis_text(reply, &value);
    if (tour->change)
        tour->change(tour->ctx, TABLE, tour->name, is_there ? value : deja_slice(NULL, 0));
    else if (is_there && !tour->each(tour->ctx, tour->name, value))
        tour->at = tour->names.len;
    return DEJA_OK;
}

static enum deja_status go_round(struct dj_redis_documents *documents, struct tour *tour)
{
    enum deja_status status = run(documents, ask_tour, take_tour, tour);
    dj_buf_fini(&tour->names);
    return status;
}

static enum deja_status walk(void *ctx, const char *table, void *each_ctx,
                             dj_authority_each_fn *each)
{
    struct tour tour = {.ctx = each_ctx, .each = each};
    return strcmp(table, TABLE) == 0 ? go_round(ctx, &tour) : DEJA_ERR_UNSUPPORTED;
}

static enum deja_status pull(void *ctx, uint64_t since, void *change_ctx,
                             dj_authority_change_fn *change, uint64_t *out_sequence)
{
    struct tour tour = {.since_us = since > OVERLAP_US ? since - OVERLAP_US : 0,
                        .last_us = since,
                        .ctx = change_ctx,
                        .change = change};
    enum deja_status status = go_round(ctx, &tour);
    if (status == DEJA_OK)
        *out_sequence = tour.last_us;
    return status;
}

/* ---- life ---- */

enum deja_status dj_redis_documents_create(const struct dj_redis_options *options,
                                           uint32_t timeout_ms, uint64_t (*now_us)(void),
                                           struct dj_redis_documents **out_documents)
{
    struct dj_redis_documents *documents = dj_alloc_zeroed(1, sizeof *documents);
    if (!documents)
        return DEJA_ERR_NOMEM;
    documents->options = *options;
    documents->timeout_ms = timeout_ms;
    documents->now_us = now_us;
    *out_documents = documents;
    return DEJA_OK;
}

void dj_redis_documents_destroy(struct dj_redis_documents *documents)
{
    dj_free(documents);
}

struct dj_authority dj_redis_documents_table(struct dj_redis_documents *documents)
{
    return (struct dj_authority){.ctx = documents,
                                 .name = "redis",
                                 .get = get,
                                 .put = put,
                                 .remove = remove_document,
                                 .walk = walk,
                                 .pull = pull};
}
