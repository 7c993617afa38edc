/* proxy/warm_list.c - what a run has to do: items out of its sources, each key once. */
#include "proxy/asked_internal.h"
#include "proxy/warm_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"

#define HOUR_MS INT64_C(3600000)
#define FILE_BYTES_MAX (64u << 20)
#define FILE_PIECE_BYTES (64u << 10)

bool warm_add(struct warm_run *run, const struct warm_item *item, struct deja_slice packed)
{
    if (run->item_count == DJ_WARM_ITEMS_MAX)
        return true; /* the first of them are enough for a run */
    if (run->item_count == run->item_cap) {
        size_t cap = run->item_cap ? 2 * run->item_cap : 64;
        struct warm_item *items = dj_realloc(run->items, cap * sizeof *items);
        if (!items)
            return false;
        run->items = items;
        run->item_cap = cap;
    }
    for (size_t i = 0; item->has_id && i < run->item_count; i++)
        if (run->items[i].has_id && memcmp(run->items[i].id, item->id, DJ_ID_BYTES) == 0)
            return true;
    struct warm_item *added = &run->items[run->item_count];
    *added = *item;
    added->packed = NULL;
    added->packed_len = packed.len;
    if (packed.len) {
        added->packed = dj_alloc(packed.len);
        if (!added->packed)
            return false;
        memcpy(added->packed, packed.data, packed.len);
    }
    run->item_count++;
    return true;
}

bool warm_put_back(struct warm_run *run, size_t index)
{
    if (run->item_count == run->item_cap) {
        struct warm_item *items = dj_realloc(run->items, 2 * run->item_cap * sizeof *items);
        if (!items)
            return false;
        run->items = items;
        run->item_cap *= 2;
    }
    struct warm_item *again = &run->items[run->item_count++];
    *again = run->items[index];
    again->tries++;
    run->items[index].packed = NULL;
    run->items[index].packed_len = 0;
    return true;
}

/* With the request, if it is kept. */
static bool add_asked(struct warm_run *run, const struct dj_asked_item *from, unsigned source,
                      int64_t good_until_ms)
{
    struct warm_item item = {.source = source,
                             .has_id = true,
                             .good_until_ms = good_until_ms,
                             .day = from->day,
                             .prediction = from->prediction};
    struct dj_buf packed = {0};
    struct dj_asked_request request;
    memcpy(item.id, from->id, sizeof item.id);
    struct dj_buf plain = {0};
    bool has_request =
        dj_asked_request(run->warm->asked, run->order.tenant, from->id, &packed, &request) &&
        warm_repack(&request, &plain) == DEJA_OK;
    bool is_added = warm_add(run, &item, has_request ? dj_buf_slice(&plain) : deja_slice(NULL, 0));
    dj_buf_fini(&plain);
    dj_buf_fini(&packed);
    return is_added;
}

/* Both look at the same list: what ends before the next run, and what is not there any more. */
static bool list_asked(struct warm_run *run, int64_t now_ms)
{
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    bool is_good = true;
    int64_t next_ms = dj_cron_next(&run->warm->options.cron, now_ms);
    if (dj_asked_top(run->warm->asked, run->order.tenant, now_ms, run->order.limit, &items,
                     &count) != DEJA_OK)
        return false;
    for (size_t i = 0; i < count && is_good; i++) {
        bool is_popular = items[i].day >= 2;
        if ((run->order.sources & DJ_WARM_EXPIRING) && is_popular)
            is_good = add_asked(run, &items[i], DJ_WARM_EXPIRING, next_ms);
        else if (run->order.sources & DJ_WARM_TOP)
            is_good = add_asked(run, &items[i], DJ_WARM_TOP, 0);
    }
    dj_free(items);
    return is_good;
}

static bool list_likely(struct warm_run *run, int64_t now_ms)
{
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    bool is_good = true;
    int64_t now_hour = dj_predict_hour_of(now_ms);
    int64_t hour = run->order.at_ms    ? dj_predict_hour_of(run->order.at_ms)
                   : run->is_scheduled ? dj_predict_hour_of(run->due_ms)
                                       : now_hour + 1;
    if (hour < now_hour)
        now_hour = hour;
    if (dj_asked_likely(run->warm->asked, run->order.tenant, now_hour, hour, run->order.threshold,
                        DJ_WARM_ITEMS_MAX, &items, &count, &run->clusters) != DEJA_OK)
        return false;
    for (size_t i = 0; i < count && is_good; i++)
        is_good = add_asked(run, &items[i], DJ_WARM_PREDICT,
                            (hour + 1) * HOUR_MS < now_ms ? 0 : (hour + 1) * HOUR_MS);
    dj_free(items);
    return is_good;
}

static bool add_line(struct warm_run *run, struct deja_slice line)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf packed = {0};
    struct deja_error error;
    const struct warm_item item = {.source = DJ_WARM_FILE};
    bool is_good = true;
    if (dj_json_parse(line, &doc, NULL) == DEJA_OK &&
        dj_warm_line(dj_json_root(doc), run->warm->options.model, &packed, &error) == DEJA_OK)
        is_good = warm_add(run, &item, dj_buf_slice(&packed));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&packed);
    return is_good;
}

static bool read_file(const char *path, struct dj_buf *out)
{
    FILE *file = fopen(path, "re");
    char *room = NULL;
    size_t got = 1;
    while (file && got && (room = dj_buf_reserve(out, FILE_PIECE_BYTES))) {
        got = fread(room, 1, FILE_PIECE_BYTES, file);
        out->len += got;
    }
    bool is_read = file && out->status == DEJA_OK && !ferror(file);
    if (file && fclose(file) != 0)
        is_read = false;
    return is_read;
}

/* Lines that cannot be read are left out: `deja warm FILE --dry-run` tells them. */
static bool list_file(struct warm_run *run)
{
    struct dj_buf text = {.bytes_max = FILE_BYTES_MAX};
    bool is_good = read_file(run->warm->options.file, &text);
    struct deja_slice rest = dj_buf_slice(&text);
    while (is_good && rest.len) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        is_good = !len || add_line(run, deja_slice(rest.data, len));
        size_t taken = end ? len + 1 : len;
        rest = deja_slice(rest.data + taken, rest.len - taken);
    }
    dj_buf_fini(&text);
    return is_good;
}

void warm_list(void *ctx)
{
    struct warm_run *run = ctx;
    unsigned sources = run->order.sources;
    int64_t now_ms = run->progress.started_ms;
    bool is_good = true;
    if (sources & DJ_WARM_PREDICT)
        is_good = list_likely(run, now_ms);
    if (is_good && (sources & (DJ_WARM_TOP | DJ_WARM_EXPIRING)))
        is_good = list_asked(run, now_ms);
    if (is_good && (sources & DJ_WARM_FILE))
        is_good = list_file(run);
    run->is_list_failed = !is_good;
}

/* ---- a dry run ---- */

static bool is_there(const struct warm_run *run, const struct warm_item *item)
{
    struct dj_store_key key;
    if (!item->has_id)
        return false;
    memcpy(key.tenant, run->order.tenant, sizeof key.tenant);
    memcpy(key.id, item->id, sizeof key.id);
    struct dj_value *value = dj_engine_find(run->warm->options.context->engine, run->loop, &key, 0);
    bool is_good = value && (dj_value_entry(value)->expires_ms == 0 ||
                             dj_value_entry(value)->expires_ms >= item->good_until_ms);
    dj_value_unref(value);
    return is_good;
}

/* The beginning of what is asked, for who reads the list: it is his own tenant's. */
static void put_question(struct dj_json_writer *w, const struct warm_item *item)
{
    struct dj_asked_request request;
    struct dj_json_doc *doc = NULL;
    struct deja_slice text = {0};
    if (!item->packed || !asked_unpack(deja_slice(item->packed, item->packed_len), &request))
        return;
    dj_json_key(w, "path");
    dj_json_put_string(w, request.target);
    if (dj_json_parse(request.body, &doc, NULL) != DEJA_OK)
        return;
    const struct dj_json *messages = dj_json_get(dj_json_root(doc), "messages");
    for (struct dj_json_walk m = dj_json_walk(messages); dj_json_walk_next(&m);)
        if (dj_json_string(dj_json_get(m.value, "content")).data)
            text = dj_json_string(dj_json_get(m.value, "content"));
    if (!text.data)
        text = dj_json_string(dj_json_get(dj_json_root(doc), "input"));
    if (text.data) {
        dj_json_key(w, "query");
        dj_json_put_string(w, text);
    }
    dj_json_doc_destroy(doc);
}

static void put_why(struct dj_json_writer *w, const struct warm_item *item)
{
    if (item->source == DJ_WARM_PREDICT) {
        dj_json_member_double(w, "probability", item->prediction.probability);
        dj_json_member_u64(w, "seen", item->prediction.seen);
        dj_json_member_u64(w, "weeks", item->prediction.weeks);
        dj_json_member_double(w, "hour_rate", item->prediction.hour_rate);
        dj_json_member_double(w, "cluster_rate", item->prediction.cluster_rate);
        dj_json_member_u64(w, "cluster", item->prediction.cluster);
    }
    if (item->source & (DJ_WARM_TOP | DJ_WARM_EXPIRING | DJ_WARM_PREDICT))
        dj_json_member_u64(w, "requests_24h", item->day);
}

enum deja_status warm_write_list(struct warm_run *run, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    uint64_t present = 0;
    uint64_t requests = 0;
    const char *objection = warm_objection(run->warm, &run->order);
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "dry_run", true);
    dj_json_key(&w, "items");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < run->item_count; i++) {
        const struct warm_item *item = &run->items[i];
        char id[2 * DJ_ID_BYTES + 1];
        if (is_there(run, item)) {
            present++;
            continue;
        }
        requests += item->packed ? 1u : 0u;
        dj_hex_encode(item->id, sizeof item->id, id);
        dj_json_begin_object(&w);
        dj_json_member_text(&w, "source", dj_warm_source_text(item->source));
        dj_json_member_text(&w, "id", item->has_id ? id : NULL);
        dj_json_member_bool(&w, "asks_upstream", item->packed != NULL);
        put_question(&w, item);
        put_why(&w, item);
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "present", present);
    dj_json_member_u64(&w, "requests", requests);
    dj_json_member_u64(&w, "budget_requests", run->order.requests_max);
    if (run->order.sources & DJ_WARM_PREDICT) {
        dj_json_member_double(&w, "threshold", run->order.threshold);
        dj_json_member_u64(&w, "clusters", run->clusters);
    }
    dj_json_member_text(&w, "objection", objection);
    dj_json_end_object(&w);
    return out->status;
}
