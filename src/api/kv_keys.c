/* api/kv_keys.c - many plain keys by their names: GET and DELETE of /api/v1/kv, and their figures.
 */
#include "api/handlers.h"
#include "api/kv.h"
#include "api/query.h"
#include "api/user.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/plain.h"
#include "policy/glob.h"
#include "proxy/telemetry.h"

#define LIMIT_DEFAULT 100u

/* In the request's arena. */
struct keys {
    struct dj_request *request;
    struct dj_kv_names names;
    struct dj_plain_selector selector;
    bool is_dry_run;
};

static void read_pattern(struct dj_request *request, struct keys *keys)
{
    struct deja_slice pattern = {0};
    if (!dj_query_url_member(request, "pattern", &pattern))
        return;
    if (pattern.len > DJ_GLOB_PATTERN_BYTES_MAX)
        dj_request_complain(
            request, "invalid_request", "pattern", "length",
            dj_request_text(request, "at most %u bytes", DJ_GLOB_PATTERN_BYTES_MAX));
    keys->selector.pattern = pattern;
}

static struct keys *begin(struct dj_request *request)
{
    struct keys *keys = dj_arena_alloc(request->arena, sizeof *keys);
    if (!keys) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return NULL;
    }
    *keys = (struct keys){.request = request};
    if (dj_kv_read_names(request, &keys->names))
        read_pattern(request, keys);
    return keys;
}

/* ---- list ---- */

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct keys *keys = ctx;
    struct dj_request *request = keys->request;
    int64_t now_ms = dj_loop_now_ms(request->loop);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_json_begin_object(&w);
    dj_json_key(&w, "keys");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < count; i++) {
        const struct dj_entry *entry = dj_value_entry(values[i]);
        dj_json_begin_object(&w);
        dj_kv_write_key(&w, entry->query);
        dj_kv_write_ttl(&w, entry, now_ms);
        dj_json_member_u64(&w, "size", entry->body.len);
        dj_json_member_u64(&w, "version", entry->version);
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_json_key(&w, "cursor");
    if (cursor) {
        char text[DJ_NUM_U64_DIGITS_MAX];
        dj_json_put_string(&w, deja_slice(text, dj_num_write_u64(cursor, text)));
    } else {
        dj_json_put_null(&w);
    }
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static uint64_t read_number(struct dj_request *request, const char *name, uint64_t fallback,
                            uint64_t low, uint64_t high)
{
    struct deja_slice text = {0};
    uint64_t number = fallback;
    if (dj_query_url_member(request, name, &text) && text.data &&
        (dj_num_parse_u64(text, &number) != DEJA_OK || number < low || number > high))
        dj_request_complain(request, "invalid_request", name, "range",
                            dj_request_text(request, "must be from %llu to %llu",
                                            (unsigned long long)low, (unsigned long long)high));
    return number;
}

void dj_kv_list(struct dj_request *request)
{
    struct dj_plain_space space;
    struct keys *keys = begin(request);
    if (!keys)
        return;
    uint64_t cursor = read_number(request, "cursor", 0, 0, UINT64_MAX);
    uint64_t limit = read_number(request, "limit", LIMIT_DEFAULT, 1, DJ_PLAIN_PAGE_MAX);
    if (dj_request_has_complaints(request))
        return;
    dj_kv_space(request, &keys->names, &space);
    enum deja_status status =
        dj_plain_scan(request->api->proxy->plain, request->loop, &space, &keys->selector, cursor,
                      (uint32_t)limit, keys, on_scanned);
    dj_plain_space_fini(&space);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- clear ---- */

static void on_cleared(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct keys *keys = ctx;
    struct dj_request *request = keys->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (!keys->is_dry_run)
        dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "pattern");
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, keys->is_dry_run ? "would_remove" : "removed", sum->keys);
    dj_json_member_u64(&w, "bytes", sum->bytes);
    dj_json_member_bool(&w, "dry_run", keys->is_dry_run);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

static enum deja_status start_clear(struct keys *keys)
{
    struct dj_request *request = keys->request;
    struct dj_plain *plain = request->api->proxy->plain;
    struct dj_plain_space space;
    dj_kv_space(request, &keys->names, &space);
    enum deja_status status =
        keys->is_dry_run
            ? dj_plain_count(plain, request->loop, &space, &keys->selector, keys, on_cleared)
            : dj_plain_clear(plain, request->loop, &space, &keys->selector, keys, on_cleared);
    dj_plain_space_fini(&space);
    return status;
}

static bool read_flag(struct dj_request *request, const char *name)
{
    struct deja_slice text = {0};
    if (!dj_query_url_member(request, name, &text) || !text.data)
        return false;
    if (dj_slice_is(text, "true"))
        return true;
    if (!dj_slice_is(text, "false"))
        dj_request_complain(request, "invalid_request", name, "type", "must be true or false");
    return false;
}

void dj_kv_clear(struct dj_request *request)
{
    struct keys *keys = begin(request);
    if (!keys)
        return;
    keys->is_dry_run = read_flag(request, "dry_run");
    bool is_all = read_flag(request, "all");
    if (dj_query_url_reason(request))
        keys->selector.reason = request->reason;
    if (!request->complaint && !keys->selector.pattern.len && !is_all)
        dj_request_complain(request, "invalid_request", "pattern", "required",
                            "say which keys, as pattern=user:*, or all=true");
    if (is_all)
        keys->selector.pattern = deja_slice(NULL, 0);
    if (dj_request_has_complaints(request))
        return;
    enum deja_status status = start_clear(keys);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

/* ---- figures ---- */

static void write_hits(struct dj_json_writer *w, const struct dj_plain_stats *stats)
{
    uint64_t hits = 0;
    dj_json_key(w, "hits");
    dj_json_begin_object(w);
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++) {
        dj_json_member_u64(w, dj_level_text((enum dj_level)i), stats->hits[i]);
        hits += stats->hits[i];
    }
    dj_json_end_object(w);
    dj_json_member_u64(w, "misses", stats->misses);
    dj_json_key(w, "hit_rate");
    if (hits + stats->misses)
        dj_json_put_double(w, (double)hits / (double)(hits + stats->misses));
    else
        dj_json_put_null(w);
    dj_json_member_u64(w, "puts", stats->puts);
    dj_json_member_u64(w, "removals", stats->removals);
}

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct keys *keys = ctx;
    struct dj_request *request = keys->request;
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_plain_stats stats;
    struct dj_engine_stats engine;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    dj_plain_stats(context->plain, request->tenant, &stats);
    dj_engine_stats(context->engine, request->tenant, &engine);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "keys", sum->keys);
    dj_json_member_u64(&w, "bytes", sum->bytes);
    write_hits(&w, &stats);
    dj_json_key(&w, "memory");
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "entries", engine.memory.entries);
    dj_json_member_u64(&w, "bytes", engine.memory.bytes);
    dj_json_end_object(&w);
    dj_json_end_object(&w);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_kv_stats(struct dj_request *request)
{
    struct dj_plain_space space;
    if (dj_user_is_refused(request)) /* hits and memory are the whole tenant's */
        return;
    struct keys *keys = begin(request);
    if (!keys || dj_request_has_complaints(request))
        return;
    dj_kv_space(request, &keys->names, &space);
    enum deja_status status = dj_plain_count(request->api->proxy->plain, request->loop, &space,
                                             &keys->selector, keys, on_counted);
    dj_plain_space_fini(&space);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
