/* lib/store_plugin.c - see store_plugin.h. What the caller's store keeps under a key is a frame
 * (proto/frame.h); its record names tenant, id and scope itself, so a store that mixes up its keys
 * is found out (I1).
 */
#include "lib/store_plugin.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "proto/frame.h"

#define WRITES_MAX 65536u

struct store_plugin {
    struct dj_store base;
    struct deja_store_ops ops;
    void *ctx;
    struct dj_pool *reads;
    struct dj_pool *writes; /* one thread: order is the order of the calls */
    bool is_adopted;
    _Atomic uint64_t corrupt;
    _Atomic uint64_t dropped;
};

/* ---- what is given ---- */

struct deja_store_sink {
    struct store_plugin *plugin;
    const uint8_t *key; /* get: the one asked for; NULL: walk */
    struct dj_value *value;
    void *ctx;
    dj_store_vector_fn *each;
    float *floats; /* DJ_FRAME_DIM_MAX of them */
    bool is_stopped;
};

static bool is_of_key(const struct dj_entry *entry, const uint8_t *key)
{
    return memcmp(entry->tenant, key, DJ_ID_BYTES) == 0 &&
           memcmp(entry->id, key + DJ_ID_BYTES, DJ_ID_BYTES) == 0;
}

static enum deja_status take_vector(struct deja_store_sink *sink, const struct dj_entry *entry,
                                    const struct dj_frame *frame)
{
    struct dj_store_vector vector = {.scope = entry->scope,
                                     .embedder_id = entry->embedder_id,
                                     .floats = sink->floats,
                                     .dim = frame->dim,
                                     .expires_ms = entry->expires_ms};
    memcpy(vector.key.tenant, entry->tenant, sizeof vector.key.tenant);
    memcpy(vector.key.id, entry->id, sizeof vector.key.id);
    if (!dj_frame_vector(frame, sink->floats))
        return DEJA_ERR_CORRUPT;
    sink->is_stopped = !sink->each(sink->ctx, &vector);
    return sink->is_stopped ? DEJA_ERR_CANCELLED : DEJA_OK;
}

enum deja_status deja_store_give(struct deja_store_sink *sink, const uint8_t *key,
                                 struct deja_slice record)
{
    struct dj_frame frame;
    struct dj_value *value = NULL;
    bool is_other = sink->key && memcmp(key, sink->key, DEJA_STORE_KEY_BYTES) != 0;
    if (sink->is_stopped || sink->value || is_other)
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_frame_decode(record, &frame);
    if (status == DEJA_OK)
        status = dj_value_from_record(frame.record, &value);
    if (status == DEJA_OK && !is_of_key(dj_value_entry(value), key))
        status = DEJA_ERR_CORRUPT;
    if (status == DEJA_OK && sink->key) {
        sink->value = value;
        return DEJA_OK;
    }
    if (status == DEJA_OK && frame.dim)
        status = take_vector(sink, dj_value_entry(value), &frame);
    if (status != DEJA_OK && status != DEJA_ERR_NOMEM && status != DEJA_ERR_CANCELLED)
        atomic_fetch_add(&sink->plugin->corrupt, 1);
    dj_value_unref(value);
    return status;
}

/* ---- the table ---- */

enum request_kind { GET, PUT, REMOVE, CLEAR };

struct request {
    struct store_plugin *plugin;
    struct dj_job job;
    enum request_kind kind;
    uint8_t key[DEJA_STORE_KEY_BYTES]; /* clear: the tenant */
    struct dj_buf record;
    int64_t expires_ms;
    uint64_t version_max; /* remove */
    struct dj_loop *loop;
    struct dj_value *value;
    uint64_t count;
    enum deja_status status;
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
};

static void request_destroy(struct request *request)
{
    dj_buf_fini(&request->record);
    dj_free(request);
}

/* A newer one than meant stays. Nothing is written between the two: writes have one thread. */
static enum deja_status remove_older(struct request *request, struct deja_store_sink *sink)
{
    struct store_plugin *plugin = request->plugin;
    if (request->version_max != UINT64_MAX) {
        enum deja_status status = plugin->ops.get(plugin->ctx, request->key, sink);
        bool is_newer = sink->value && dj_value_entry(sink->value)->version > request->version_max;
        dj_value_unref(sink->value);
        if (status != DEJA_OK || is_newer)
            return status;
    }
    return plugin->ops.remove(plugin->ctx, request->key, &request->count);
}

static void work(void *ctx)
{
    struct request *request = ctx;
    struct store_plugin *plugin = request->plugin;
    const struct deja_store_ops *ops = &plugin->ops;
    struct deja_store_sink sink = {.plugin = plugin, .key = request->key};
    switch (request->kind) {
    case GET:
        request->status = ops->get(plugin->ctx, request->key, &sink);
        request->value = sink.value;
        break;
    case PUT:
        request->status = ops->put(plugin->ctx, request->key, dj_buf_slice(&request->record),
                                   request->expires_ms);
        break;
    case REMOVE:
        request->status = remove_older(request, &sink);
        break;
    case CLEAR:
        request->status = ops->clear(plugin->ctx, request->key, &request->count);
        break;
    }
    if (request->status > DEJA_OK)
        request->status = DEJA_ERR_INVALID;
    if (request->status != DEJA_OK && request->kind == PUT)
        atomic_fetch_add(&plugin->dropped, 1);
}

static void on_worked(void *ctx)
{
    struct request *request = ctx;
    if (request->kind == GET) {
        const struct dj_entry *entry = request->value ? dj_value_entry(request->value) : NULL;
        int64_t until_ms = 0;
        if (entry)
            until_ms = entry->stale_until_ms ? entry->stale_until_ms : entry->expires_ms;
        if (until_ms && until_ms <= dj_loop_now_ms(request->loop)) {
            dj_value_unref(request->value);
            request->value = NULL;
        }
        request->got(request->ctx, request->status, request->value);
    } else if (request->done) {
        request->done(request->ctx, request->status, request->count);
    }
    request_destroy(request);
}

static struct request *request_create(struct dj_store *store, enum request_kind kind,
                                      struct dj_loop *loop, void *ctx)
{
    struct request *request = dj_alloc_zeroed(1, sizeof *request);
    if (!request)
        return NULL;
    request->plugin = (struct store_plugin *)store;
    request->kind = kind;
    request->loop = loop;
    request->ctx = ctx;
    request->job = (struct dj_job){.work = work, .done = on_worked, .ctx = request, .loop = loop};
    return request;
}

static enum deja_status submit(struct request *request)
{
    struct store_plugin *plugin = request->plugin;
    struct dj_pool *pool = request->kind == GET ? plugin->reads : plugin->writes;
    enum deja_status status = dj_pool_submit(pool, &request->job);
    if (status != DEJA_OK)
        request_destroy(request);
    return status;
}

static void set_key(struct request *request, const uint8_t tenant[DJ_ID_BYTES],
                    const uint8_t id[DJ_ID_BYTES])
{
    memcpy(request->key, tenant, DJ_ID_BYTES);
    memcpy(request->key + DJ_ID_BYTES, id, DJ_ID_BYTES);
}

static enum deja_status store_get(struct dj_store *store, struct dj_loop *loop,
                                  const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct request *request = request_create(store, GET, loop, ctx);
    if (!request)
        return DEJA_ERR_NOMEM;
    set_key(request, key->tenant, key->id);
    request->got = got;
    return submit(request);
}

static enum deja_status store_put(struct dj_store *store, struct dj_loop *loop,
                                  struct dj_value *value, const float *vector, uint32_t dim,
                                  void *ctx, dj_store_done_fn *done)
{
    const struct dj_entry *entry = dj_value_entry(value);
    struct request *request = request_create(store, PUT, loop, ctx);
    if (!request)
        return DEJA_ERR_NOMEM;
    set_key(request, entry->tenant, entry->id);
    request->expires_ms = entry->stale_until_ms ? entry->stale_until_ms : entry->expires_ms;
    request->done = done;
    enum deja_status status = dj_frame_encode(entry, vector, dim, &request->record);
    if (status != DEJA_OK) {
        request_destroy(request);
        return status;
    }
    return submit(request);
}

static enum deja_status store_remove(struct dj_store *store, struct dj_loop *loop,
                                     const struct dj_store_key *key, uint64_t version_max,
                                     void *ctx, dj_store_done_fn *done)
{
    struct request *request = request_create(store, REMOVE, loop, ctx);
    if (!request)
        return DEJA_ERR_NOMEM;
    request->version_max = version_max;
    set_key(request, key->tenant, key->id);
    request->done = done;
    return submit(request);
}

static enum deja_status store_clear(struct dj_store *store, struct dj_loop *loop,
                                    const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                    dj_store_done_fn *done)
{
    struct request *request = request_create(store, CLEAR, loop, ctx);
    if (!request)
        return DEJA_ERR_NOMEM;
    memcpy(request->key, tenant, DJ_ID_BYTES);
    request->done = done;
    return submit(request);
}

/* The table has no way to go through one tenant's entries piece by piece, and no call of the
 * library asks for it. */
static enum deja_status store_list(struct dj_store *store, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                                   void *ctx, dj_store_done_fn *done)
{
    (void)store, (void)loop, (void)tenant, (void)page, (void)ctx, (void)done;
    return DEJA_ERR_UNSUPPORTED;
}

/* What the caller's store holds is the caller's to count. */
static void store_stats(struct dj_store *store, const uint8_t *tenant,
                        struct dj_store_stats *out_stats)
{
    (void)tenant;
    struct store_plugin *plugin = (struct store_plugin *)store;
    *out_stats = (struct dj_store_stats){.corrupt = atomic_load(&plugin->corrupt),
                                         .dropped = atomic_load(&plugin->dropped)};
}

static enum deja_status store_scan(struct dj_store *store, void *ctx, dj_store_vector_fn *each)
{
    struct store_plugin *plugin = (struct store_plugin *)store;
    struct deja_store_sink sink = {.plugin = plugin, .ctx = ctx, .each = each};
    if (!plugin->ops.walk)
        return DEJA_OK;
    sink.floats = dj_alloc_aligned(64, DJ_FRAME_DIM_MAX * sizeof *sink.floats);
    if (!sink.floats)
        return DEJA_ERR_NOMEM;
    enum deja_status status = plugin->ops.walk(plugin->ctx, &sink);
    dj_free(sink.floats);
    return sink.is_stopped ? DEJA_OK : status > DEJA_OK ? DEJA_ERR_INVALID : status;
}

static void store_close(struct dj_store *store)
{
    struct store_plugin *plugin = (struct store_plugin *)store;
    dj_pool_destroy(plugin->writes);
    if (plugin->is_adopted && plugin->ops.close)
        plugin->ops.close(plugin->ctx);
    dj_free(plugin);
}

void dj_store_plugin_adopt(struct dj_store *store)
{
    ((struct store_plugin *)store)->is_adopted = true;
}

enum deja_status dj_store_plugin_open(const struct deja_store_ops *ops, void *ctx,
                                      struct dj_pool *reads, struct dj_store **out_store,
                                      struct deja_error *error)
{
    static const struct dj_store_ops table = {
        .level = "store",
        .get = store_get,
        .put = store_put,
        .remove = store_remove,
        .clear = store_clear,
        .list = store_list,
        .stats = store_stats,
        .scan_vectors = store_scan,
        .close = store_close,
    };
    if (ops->struct_bytes < sizeof *ops || !ops->get || !ops->put || !ops->remove || !ops->clear)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "store: struct_bytes, get, put, remove and clear must be set");
    struct store_plugin *plugin = dj_alloc_zeroed(1, sizeof *plugin);
    if (!plugin)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    plugin->base.ops = &table;
    memcpy(&plugin->ops, ops, sizeof plugin->ops);
    plugin->ctx = ctx;
    plugin->reads = reads;
    enum deja_status status = dj_pool_create("store", 1, WRITES_MAX, &plugin->writes);
    if (status != DEJA_OK) {
        dj_free(plugin);
        return deja_error_set(error, status, "the store's thread: %s", deja_status_text(status));
    }
    *out_store = &plugin->base;
    return DEJA_OK;
}
