/* api/entries.c - PUT, GET and DELETE of entries.
 *
 * A put checks every entry before it stores the first, then answers when the last one was
 * acknowledged as durably as the tiers promise. Entries are told apart by their query and
 * namespace: the same again is a new version.
 */
#include "api/entry.h"
#include "api/handlers.h"
#include "base/num.h"

/* ---- put ---- */

struct put_item {
    struct put *put;
    uint8_t id[DJ_ID_BYTES];
    uint64_t version;
    int64_t expires_ms;
    enum deja_status status;
    bool is_stored;
};

/* In the request's arena. */
struct put {
    struct dj_request *request;
    bool is_batch;
    size_t count;
    size_t left; /* acknowledgements that have not come */
    struct put_item *items;
};

static void write_item(struct dj_json_writer *w, const struct put_item *item)
{
    dj_json_begin_object(w);
    dj_request_put_id(w, "id", item->id);
    if (item->status == DEJA_OK) {
        dj_json_key(w, "version");
        dj_json_put_u64(w, item->version);
        dj_request_put_time(w, "expires_at", item->expires_ms);
        if (!item->is_stored) { /* overtaken by a newer put or a delete before it was kept */
            dj_json_key(w, "stored");
            dj_json_put_bool(w, false);
        }
    } else {
        dj_json_key(w, "error");
        dj_json_put_text(w, "cache_unavailable");
    }
    dj_json_end_object(w);
}

static void answer_put(struct put *put)
{
    struct dj_request *request = put->request;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    size_t failed = 0;
    enum deja_status failure = DEJA_OK;
    for (size_t i = 0; i < put->count; i++) {
        if (put->items[i].status != DEJA_OK) {
            failed++;
            failure = put->items[i].status;
        }
    }
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    dj_telemetry_operation(request->api->proxy->telemetry, "set", "none", failed ? "error" : "ok",
                           seconds);
    if (failed == put->count) {
        dj_request_refuse(request, failure);
        return;
    }
    /* On the local surface no upstream proves a tenant; having stored something does. */
    if (request->http->is_loopback_peer)
        dj_registry_confirm(request->api->proxy->registry, request->tenant,
                            dj_loop_now_ms(request->loop));
    if (put->is_batch) {
        dj_json_begin_object(&w);
        dj_json_key(&w, "results");
        dj_json_begin_array(&w);
    }
    for (size_t i = 0; i < put->count; i++)
        write_item(&w, &put->items[i]);
    if (put->is_batch) {
        dj_json_end_array(&w);
        dj_json_end_object(&w);
    }
    dj_request_answer(request, failed ? 207 : 201, NULL, &body);
    dj_buf_fini(&body);
}

static void on_put(void *ctx, enum deja_status status, bool stored)
{
    struct put_item *item = ctx;
    struct put *put = item->put;
    item->status = status;
    item->is_stored = stored;
    if (--put->left == 0)
        answer_put(put);
}

/* Hands one entry to the engine. */
static enum deja_status store(struct put_item *item, const struct dj_entry_input *input)
{
    struct dj_request *request = item->put->request;
    struct dj_proxy_context *context = request->api->proxy;
    struct dj_engine *engine = context->engine;
    struct dj_fingerprint fingerprint;
    struct dj_fill fill;
    struct dj_buf body = {0};
    struct dj_buf metadata = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    enum deja_status status =
        dj_query_fingerprint(request, input->name_space, input->query, &fingerprint);
    if (status != DEJA_OK)
        return status;
    dj_json_put_value(&w, input->response);
    dj_entry_write_metadata(input, fingerprint.text, &metadata);
    struct dj_entry entry = {
        .kind = DJ_ENTRY_API,
        .created_ms = dj_loop_now_ms(request->loop),
        .expires_ms = dj_engine_expiry(engine, request->loop, input->ttl_ms,
                                       atomic_load(&context->policy)->response_ttl_ms),
        .input_tokens = input->input_tokens,
        .output_tokens = input->output_tokens,
        .cost_usd = input->cost_usd,
        .query = fingerprint.text,
        .name_space = input->name_space,
        .model = input->model,
        .provider = input->provider,
        .metadata = dj_buf_slice(&metadata),
        .body = dj_buf_slice(&body),
        .tag_count = input->tag_count,
    };
    memcpy(entry.tenant, fingerprint.key.tenant, sizeof entry.tenant);
    memcpy(entry.id, fingerprint.key.id, sizeof entry.id);
    memcpy(entry.exact, fingerprint.exact, sizeof entry.exact);
    memcpy(entry.scope, fingerprint.scope, sizeof entry.scope);
    for (size_t i = 0; i < input->tag_count; i++)
        entry.tags[i].name = input->tags[i];
    dj_engine_begin_fill(engine, &entry, &fill);
    memcpy(item->id, entry.id, sizeof item->id);
    item->version = entry.version;
    item->expires_ms = entry.expires_ms;
    status = body.status != DEJA_OK ? body.status : metadata.status;
    if (status == DEJA_OK)
        status = dj_engine_put(engine, request->loop, &entry, fingerprint.is_semantic,
                               input->vector, item, on_put);
    dj_buf_fini(&body);
    dj_buf_fini(&metadata);
    return status;
}

/* list: the array of a batch, or NULL for the body itself. */
static void put_all(struct dj_request *request, const struct dj_json *list, size_t count)
{
    struct dj_entry_input *inputs = dj_arena_alloc(request->arena, count * sizeof *inputs);
    struct put *put = dj_arena_alloc(request->arena, sizeof *put);
    struct put_item *items = dj_arena_alloc(request->arena, count * sizeof *items);
    size_t index = 0;
    if (!inputs || !put || !items) {
        dj_request_refuse(request, DEJA_ERR_NOMEM);
        return;
    }
    if (!list)
        dj_entry_read(request, request->body, "", &inputs[0]);
    for (struct dj_json_walk w = dj_json_walk(list); list && dj_json_walk_next(&w); index++) {
        const char *where = dj_request_text(request, "entries[%zu].", index);
        if (!dj_entry_read(request, w.value, where, &inputs[index]) &&
            request->field_count == DJ_REQUEST_FIELDS_MAX)
            break; /* told enough */
    }
    if (dj_request_has_complaints(request))
        return;
    *put = (struct put){
        .request = request, .is_batch = list != NULL, .count = count, .left = 1, .items = items};
    for (size_t i = 0; i < count; i++) {
        items[i] = (struct put_item){.put = put};
        put->left++;
        items[i].status = store(&items[i], &inputs[i]);
        if (items[i].status != DEJA_OK)
            put->left--;
    }
    if (--put->left == 0) /* none was taken: nothing else will answer */
        answer_put(put);
}

static void on_body(struct dj_request *request)
{
    static const char *const members[] = {"entries", NULL};
    const struct dj_json *list = dj_json_get(request->body, "entries");
    if (!list) {
        put_all(request, NULL, 1);
        return;
    }
    size_t count = dj_json_count(list);
    if (!dj_json_is(list, DJ_JSON_ARRAY) || count == 0 || count > DJ_BATCH_MAX)
        dj_request_complain(
            request, "invalid_request", "entries", "type",
            dj_request_text(request, "must be an array of 1 to %u entries", DJ_BATCH_MAX));
    else
        dj_query_check_members(request, request->body, "", members);
    if (!dj_request_has_complaints(request))
        put_all(request, list, count);
}

void dj_entries_put(struct dj_request *request)
{
    dj_request_read(request, on_body);
}

/* ---- get and delete by id ---- */

static bool read_id(struct dj_request *request, struct dj_store_key *out_key)
{
    struct dj_store_key key;
    memcpy(key.tenant, request->tenant, sizeof key.tenant);
    if (dj_hex_decode(request->rest, key.id, sizeof key.id) != DEJA_OK) {
        dj_request_problem(request, 404, "not_found", "an entry's id is 32 hex digits");
        return false;
    }
    *out_key = key;
    return true;
}

static void finish_operation(struct dj_request *request, const char *operation, const char *status)
{
    double seconds =
        (double)(dj_loop_monotonic_us(request->loop) - request->http->started_us) / 1e6;
    dj_telemetry_operation(request->api->proxy->telemetry, operation, "none", status, seconds);
}

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct dj_request *request = ctx;
    finish_operation(request, "get", status != DEJA_OK ? "error" : value ? "ok" : "miss");
    if (status != DEJA_OK) {
        dj_value_unref(value);
        dj_request_refuse(request, status);
        return;
    }
    if (!value) {
        dj_request_problem(request, 404, "not_found", "there is no such entry");
        return;
    }
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_entry_write(&w, dj_value_entry(value), dj_loop_now_ms(request->loop));
    dj_json_end_object(&w);
    dj_value_unref(value);
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_entries_get(struct dj_request *request)
{
    struct dj_store_key key;
    if (!read_id(request, &key))
        return;
    enum deja_status status =
        dj_engine_get(request->api->proxy->engine, request->loop, &key, request, on_got);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_request *request = ctx;
    finish_operation(request, "delete", status != DEJA_OK ? "error" : removed ? "ok" : "miss");
    if (status != DEJA_OK) {
        dj_request_refuse(request, status);
        return;
    }
    if (removed == 0) {
        dj_request_problem(request, 404, "not_found", "there is no such entry");
        return;
    }
    dj_telemetry_invalidation(request->api->proxy->telemetry, request->tenant, "entry");
    struct dj_buf body = {0};
    dj_buf_append_text(&body, "{\"removed\":1}");
    dj_request_answer(request, 200, NULL, &body);
    dj_buf_fini(&body);
}

void dj_entries_remove(struct dj_request *request)
{
    struct dj_store_key key;
    if (!read_id(request, &key))
        return;
    enum deja_status status =
        dj_engine_remove(request->api->proxy->engine, request->loop, &key, request, on_removed);
    if (status != DEJA_OK)
        dj_request_refuse(request, status);
}
