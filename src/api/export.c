/* api/export.c - GET /api/v1/export: a tenant's entries, whole, a piece at a time; POST
 * /api/v1/import: entries as they were exported, for administrators. */
#include <inttypes.h>

#include "api/draft.h"
#include "api/handlers.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/listing.h"
#include "cache/transfer.h"
#include "proto/entry_json.h"

#define BODY_BYTES_MAX ((size_t)16 << 20) /* from which the rest waits for the next call */
#define CURSOR_BYTES 96u
#define IMPORT_MAX 100u

/* ---- export ---- */

/* In the request's arena. */
struct export
{
    struct dj_request *request;
    struct dj_listing_options options;
    struct dj_listing_at at;
    uint64_t skip; /* of that piece, told before */
};

static void put_cursor(struct export *export, const struct dj_listing_at *at, uint64_t skip)
{
    char text[DJ_LISTING_TEXT_BYTES];
    dj_listing_text(at, text);
    dj_request_header(export->request, "X-Deja-Cursor",
                      dj_request_text(export->request, "%s-%" PRIu64, text, skip));
}

static void on_listed(void *ctx, enum deja_status status, const struct dj_listing_piece *piece)
{
    struct export *export = ctx;
    struct dj_request *request = export->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    uint64_t told = 0;
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    for (uint32_t i = 0; i < piece->count; i++) {
        const struct dj_entry *entry = dj_value_entry(piece->values[i]);
        bool is_due = i >= export->skip && body.len < BODY_BYTES_MAX && body.status == DEJA_OK;
        if (is_due) {
            struct dj_json_writer w = dj_json_writer(&body);
            float vector[DJ_ENTRY_JSON_DIM_MAX];
            size_t dim = entry->vector.len / sizeof *vector;
            dim = dim <= DJ_ENTRY_JSON_DIM_MAX ? dim : 0;
            if (dim)
                memcpy(vector, entry->vector.data, dim * sizeof *vector);
            dj_entry_json_write(&w, entry, dim ? vector : NULL, (uint32_t)dim, now_ms);
            dj_buf_append_byte(&body, '\n');
        }
        if (is_due || i < export->skip)
            told = i + 1;
        dj_value_unref(piece->values[i]);
    }
    if (told < piece->count)
        put_cursor(export, &export->at, told);
    else if (!piece->is_last)
        put_cursor(export, &piece->next, 0);
    dj_request_answer(request, 200, "application/x-ndjson", &body);
    dj_buf_fini(&body);
}

static bool read_cursor(struct export *export, struct deja_slice text)
{
    size_t at = DJ_LISTING_TEXT_BYTES - 1;
    return text.len > at + 1 && text.len < CURSOR_BYTES && text.data[at] == '-' &&
           dj_listing_read(deja_slice(text.data, at), &export->at) == DEJA_OK &&
           dj_num_parse_u64(deja_slice(text.data + at + 1, text.len - at - 1), &export->skip) ==
               DEJA_OK;
}

void dj_export(struct dj_request *request)
{
    struct deja_slice cursor = {0};
    struct deja_slice vectors = {0};
    if (dj_user_is_refused(request))
        return;
    struct export *export = dj_arena_alloc(request->arena, sizeof *export);
    if (!export) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *export = (struct export){.request = request};
    memcpy(export->options.tenant, request->tenant, sizeof export->options.tenant);
    if (dj_query_url_member(request, "cursor", &cursor) && cursor.data &&
        !read_cursor(export, cursor))
        dj_request_complain(request, "invalid_request", "cursor", "format",
                            "must be an X-Deja-Cursor of an answer before");
    if (dj_query_url_member(request, "vectors", &vectors) && vectors.data) {
        export->options.has_vectors = dj_slice_is(vectors, "true");
        if (!export->options.has_vectors && !dj_slice_is(vectors, "false"))
            dj_request_complain(request, "invalid_request", "vectors", "value",
                                "must be true or false");
    }
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status = dj_engine_list(request->api->proxy->engine, request->loop,
                                             &export->options, &export->at, export, on_listed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- import ---- */

struct import;

struct import_item {
    struct import *import;
    struct dj_entry_line line;
    struct dj_rules *rules; /* a reference; NULL: nothing is looked for */
    struct dj_sensitive_verdict verdict;
    const char *outcome; /* constant; NULL: not known yet */
    const char *reason;  /* of a refusal: constant, or NULL */
    const char *error;   /* in the arena; NULL: none */
};

/* In the request's arena. */
struct import {
    struct dj_request *request;
    size_t left; /* puts under way, and one for the start */
    struct dj_job job;
    size_t count;
    struct import_item items[IMPORT_MAX];
};

static void fini_item(struct import_item *item)
{
    dj_rules_unref(item->rules);
    dj_sensitive_fini(&item->verdict);
    dj_entry_line_fini(&item->line);
}

static void end_one(struct import *import)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    uint64_t stored = 0;
    bool is_whole = true;
    if (--import->left > 0)
        return;
    dj_json_begin_object(&w);
    dj_json_key(&w, "results");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < import->count; i++) {
        struct import_item *item = &import->items[i];
        dj_json_begin_object(&w);
        dj_json_member_text(&w, "outcome", item->outcome);
        if (item->reason)
            dj_json_member_text(&w, "reason", item->reason);
        if (item->error)
            dj_json_member_text(&w, "error", item->error);
        dj_json_end_object(&w);
        stored += strcmp(item->outcome, "stored") == 0;
        is_whole = is_whole && strcmp(item->outcome, "invalid") != 0 &&
                   strcmp(item->outcome, "failed") != 0;
        fini_item(item);
    }
    dj_json_end_array(&w);
    dj_json_member_u64(&w, "stored", stored);
    dj_json_end_object(&w);
    dj_request_answer(import->request, is_whole ? 200 : 207, NULL, &body);
    dj_buf_fini(&body);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct import_item *item = ctx;
    item->outcome = status != DEJA_OK || outcome->missed ? "failed"
                    : outcome->is_stored                 ? "stored"
                                                         : "refused";
    if (status != DEJA_OK)
        item->error = deja_status_text(status);
    end_one(item->import);
}

static void refuse_item(struct import_item *item, const char *outcome, const char *error)
{
    item->outcome = outcome;
    item->error = error && *error ? dj_request_text(item->import->request, "%s", error) : NULL;
}

/* ---- its tenant's rules for sensitive data ---- */

static void find_rules(struct import_item *item)
{
    struct dj_proxy_context *context = item->import->request->api->proxy;
    struct dj_rules *rules =
        context->directory ? dj_directory_find(context->directory, item->line.entry.tenant) : NULL;
    if (!rules && context->rules)
        rules = dj_rules_ref(context->rules);
    if (context->detector && rules && dj_sensitive_classes(dj_rules_of(rules)))
        item->rules = rules;
    else
        dj_rules_unref(rules);
}

/* A worker. */
static void judge(void *ctx)
{
    struct import *import = ctx;
    const struct dj_detector *detector = import->request->api->proxy->detector;
    for (size_t i = 0; i < import->count; i++) {
        struct import_item *item = &import->items[i];
        if (item->rules)
            dj_sensitive_judge(detector, dj_rules_of(item->rules), &item->line.entry, NULL,
                               &item->verdict);
    }
}

/* The entry as it may be kept, and where. False: it may not. */
static bool apply(struct import_item *item, uint32_t *out_levels)
{
    struct dj_request *request = item->import->request;
    struct dj_sensitive_verdict *verdict = &item->verdict;
    struct dj_entry *entry = &item->line.entry;
    struct dj_put_options options = {.skip = 0};
    /* What a vector was made from cannot be taken out of it. */
    verdict->is_refused |= verdict->is_redacted && entry->kind == DJ_ENTRY_EMBEDDING;
    dj_telemetry_sensitive(request->api->proxy->telemetry, verdict);
    if (verdict->is_refused) {
        item->reason = verdict->reason;
        refuse_item(item, "refused", NULL);
        return false;
    }
    bool is_twice = verdict->is_redacted && dj_sensitive_is_redacted(entry);
    dj_sensitive_apply(verdict, request->api->proxy->sealed_levels, entry, &options);
    if (is_twice) { /* once is enough: {"redacted":true,"redacted":true,…} */
        size_t mark = sizeof DJ_SENSITIVE_REDACTED; /* where its comma is */
        verdict->metadata.data[mark] = '{';
        entry->metadata = deja_slice(entry->metadata.data + mark, entry->metadata.len - mark);
    }
    if (verdict->is_query_redacted)
        item->line.vector = NULL;
    if (verdict->is_sealed_only)
        *out_levels = DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) | request->api->proxy->sealed_levels;
    enum deja_status status = DEJA_OK;
    if (entry->kind == DJ_ENTRY_PLAIN)
        status =
            dj_sensitive_mark(request->arena, false, verdict->is_sealed_only, &entry->metadata);
    if (status != DEJA_OK)
        refuse_item(item, "failed", deja_status_text(status));
    return status == DEJA_OK;
}

/* ---- one entry ---- */

static void read_item(struct import_item *item, const struct dj_json *value)
{
    struct dj_entry_line *line = &item->line;
    struct deja_error error = {.message = ""};
    int64_t now_ms = dj_loop_now_ms(item->import->request->loop);
    if (dj_entry_json_take(value, now_ms, line, &error) != DEJA_OK)
        refuse_item(item, "invalid", error.message);
    else if (!line->has_tenant || !line->has_id)
        refuse_item(item, "invalid",
                    line->has_tenant ? "\"id\" is missing" : "\"tenant\" is missing");
    else if (line->entry.expires_ms && now_ms >= line->entry.expires_ms)
        refuse_item(item, "expired", NULL);
    else
        find_rules(item);
}

static void put_item(struct import_item *item)
{
    struct dj_request *request = item->import->request;
    struct dj_engine *engine = request->api->proxy->engine;
    struct dj_entry_line *line = &item->line;
    struct dj_fill fill;
    uint32_t levels = 0;
    if (item->verdict.classes && !apply(item, &levels))
        return;
    uint64_t version = line->entry.version;
    dj_engine_begin_fill(engine, &line->entry, &fill);
    line->entry.version = version ? version : fill.version;
    item->import->left++;
    enum deja_status status = dj_transfer_put(engine, request->loop, &line->entry, line->vector,
                                              line->vector ? line->dim : 0, levels, item, on_put);
    if (status == DEJA_OK)
        return;
    item->import->left--;
    refuse_item(item, "failed", deja_status_text(status));
}

static void on_judged(void *ctx)
{
    struct import *import = ctx;
    for (size_t i = 0; i < import->count; i++)
        if (!import->items[i].outcome)
            put_item(&import->items[i]);
    end_one(import);
}

static void on_import(struct dj_request *request)
{
    static const char *const members[] = {"entries", NULL};
    const struct dj_json *entries = dj_json_get(request->body, "entries");
    size_t count = dj_json_is(entries, DJ_JSON_ARRAY) ? dj_json_count(entries) : 0;
    if (dj_query_check_members(request, request->body, "", members) &&
        (count == 0 || count > IMPORT_MAX))
        dj_request_complain(request, "invalid_request", "entries", "range",
                            "must be an array of 1 to 100 entries, as GET /api/v1/export tells "
                            "them");
    if (dj_request_has_complaints(request))
        return;
    struct import *import = dj_arena_alloc(request->arena, sizeof *import);
    if (!import) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    *import = (struct import){.request = request, .left = 1, .count = count};
    import->job =
        (struct dj_job){.work = judge, .done = on_judged, .ctx = import, .loop = request->loop};
    size_t index = 0;
    bool is_judged = false;
    for (struct dj_json_walk walk = dj_json_walk(entries); dj_json_walk_next(&walk);) {
        struct import_item *item = &import->items[index++];
        item->import = import;
        read_item(item, walk.value);
        is_judged |= item->rules != NULL;
    }
    if (!is_judged) {
        on_judged(import);
        return;
    }
    enum deja_status status = dj_pool_submit(request->api->proxy->pool, &import->job);
    if (status == DEJA_OK)
        return;
    for (size_t i = 0; i < count; i++)
        fini_item(&import->items[i]);
    dj_request_refuse(request, status);
}

void dj_import(struct dj_request *request)
{
    dj_request_read(request, on_import);
}
