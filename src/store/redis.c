/* store/redis.c - the table of the Valkey/Redis tier: open, get, put, remove, probe, figures.
 *
 * (1) A record is served only if it verifies, names the very key that was asked (I1) and has the
 *     version it is kept under; else it is a miss, counted, and removed.
 * (2) The stay is the shorter of the tier's own and the entry's (I10): what is read later than its
 *     end is a miss whatever the server's clock says.
 */
#include "store/redis.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "store/key_internal.h"
#include "store/redis_internal.h"

/* Ten years: what has no end still has one for the server, which evicts only what has one. */
#define STAY_MS_MAX (UINT64_C(3650) * 86400000)

/* One operation with one reply. */
struct operation {
    struct dj_redis_call call;
    struct dj_redis_link *link;
    struct dj_store_key key;
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done;
    struct dj_task told;
};

static enum deja_status begin(struct dj_store *store, struct dj_loop *loop,
                              const struct dj_store_key *key, dj_redis_replied_fn *replied,
                              struct operation **out_operation)
{
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of((struct dj_redis *)store, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct operation *operation = dj_alloc_zeroed(1, sizeof *operation);
    if (!operation)
        return DEJA_ERR_NOMEM;
    operation->link = link;
    operation->key = *key;
    dj_redis_call_init(&operation->call, operation, replied);
    *out_operation = operation;
    return DEJA_OK;
}

static enum deja_status go(struct operation *operation)
{
    enum deja_status status = dj_redis_send(operation->link, &operation->call);
    if (status != DEJA_OK)
        dj_free(operation);
    return status;
}

/* ---- get ---- */

static void on_nothing(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    (void)status;
    (void)reply;
    dj_free(ctx);
}

/* Nobody waits for it; when it cannot be sent, the next reader tries. */
static void drop_corrupt(struct dj_redis_link *link, const struct dj_store_key *key)
{
    struct dj_redis_call *call = dj_alloc(sizeof *call);
    if (!call)
        return;
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(link->redis->options.prefix, key, 'q', name);
    dj_redis_call_init(call, call, on_nothing);
    dj_redis_call_key(call, deja_slice(name, len));
    dj_redis_command(&call->bytes, 2);
    dj_redis_argument_text(&call->bytes, "UNLINK");
    dj_redis_argument(&call->bytes, deja_slice(name, len));
    if (dj_redis_send(link, call) != DEJA_OK)
        dj_free(call);
}

/* DEJA_ERR_CORRUPT: it is not what was kept under that key. */
static enum deja_status decode(struct dj_redis_link *link, const struct dj_store_key *key,
                               struct deja_slice bytes, struct dj_value **out_value)
{
    if (bytes.len < DJ_REDIS_VERSION_BYTES)
        return DEJA_ERR_CORRUPT;
    if (bytes.len == DJ_REDIS_VERSION_BYTES) { /* a tombstone */
        *out_value = NULL;
        return DEJA_OK;
    }
    struct dj_value *value = NULL;
    if (!link->unpacker)
        link->unpacker = dj_unpacker_create();
    enum deja_status status = dj_value_from_record_with(
        link->unpacker,
        deja_slice(bytes.data + DJ_REDIS_VERSION_BYTES, bytes.len - DJ_REDIS_VERSION_BYTES),
        &value);
    if (status == DEJA_ERR_UNSUPPORTED) { /* a newer program's, and good for that one */
        *out_value = NULL;
        return DEJA_OK;
    }
    if (status != DEJA_OK)
        return status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key named = dj_store_key_of(entry);
    if (!dj_store_key_is_equal(&named, key) ||
        entry->version != dj_redis_version_read(bytes.data)) {
        dj_value_unref(value);
        return DEJA_ERR_CORRUPT;
    }
    *out_value = value;
    return DEJA_OK;
}

enum deja_status dj_redis_value(struct dj_redis_link *link, const struct dj_store_key *key,
                                const struct dj_redis_reply *reply, struct dj_value **out_value)
{
    struct deja_slice bytes;
    struct dj_value *value = NULL;
    enum deja_status status = dj_redis_status_of(reply);
    if (status == DEJA_OK && reply->type == DJ_REDIS_NIL) {
        *out_value = NULL;
        return DEJA_OK;
    }
    if (status == DEJA_OK)
        status = dj_redis_text(reply, &bytes) ? decode(link, key, bytes, &value) : DEJA_ERR_CORRUPT;
    if (status == DEJA_ERR_CORRUPT) {
        atomic_fetch_add_explicit(&link->redis->corrupt, 1, memory_order_relaxed);
        drop_corrupt(link, key);
        status = DEJA_OK;
    }
    if (value &&
        dj_store_is_gone(dj_store_gone_ms(dj_value_entry(value)), dj_loop_now_ms(link->loop))) {
        dj_value_unref(value);
        value = NULL;
    }
    if (status == DEJA_OK)
        *out_value = value;
    return status;
}

static void on_got(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct operation *operation = ctx;
    struct dj_value *value = NULL;
    if (status == DEJA_OK)
        status = dj_redis_value(operation->link, &operation->key, reply, &value);
    operation->got(operation->ctx, status, value);
    dj_free(operation);
}

static void ask(struct operation *operation, const char *word, struct deja_slice key)
{
    dj_redis_call_key(&operation->call, key);
    dj_redis_command(&operation->call.bytes, 2);
    dj_redis_argument_text(&operation->call.bytes, word);
    dj_redis_argument(&operation->call.bytes, key);
}

static enum deja_status get(struct dj_store *store, struct dj_loop *loop,
                            const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct operation *operation = NULL;
    enum deja_status status = begin(store, loop, key, on_got, &operation);
    if (status != DEJA_OK)
        return status;
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(operation->link->redis->options.prefix, key, 'q', name);
    operation->ctx = ctx;
    operation->got = got;
    ask(operation, "GET", deja_slice(name, len));
    return go(operation);
}

static void on_probed(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct operation *operation = ctx;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    operation->got(operation->ctx, status, NULL);
    dj_free(operation);
}

/* A read of a key that nobody has, of another shard each time, so that a cluster's masters have
 * their turns. */
static enum deja_status probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                              dj_store_got_fn *got)
{
    struct operation *operation = NULL;
    struct dj_store_key key = {{0}, {0}};
    uint64_t now_us = dj_loop_monotonic_us(loop);
    memcpy(key.id, &now_us, sizeof now_us);
    enum deja_status status = begin(store, loop, &key, on_probed, &operation);
    if (status != DEJA_OK)
        return status;
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(operation->link->redis->options.prefix, &key, 'q', name);
    operation->ctx = ctx;
    operation->got = got;
    ask(operation, "GET", deja_slice(name, len));
    return go(operation);
}

/* ---- put, remove ---- */

/* An integer, or an error. */
static void on_done(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct operation *operation = ctx;
    int64_t count = 0;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    if (status == DEJA_OK && !dj_redis_integer(reply, &count))
        status = DEJA_ERR_CORRUPT;
    operation->done(operation->ctx, status, count > 0 ? (uint64_t)count : 0);
    dj_free(operation);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct operation *operation = ctx;
    int64_t count = 1;
    if (status == DEJA_OK)
        status = dj_redis_status_of(reply);
    bool is_outrun = status == DEJA_OK && dj_redis_integer(reply, &count) && count == 0;
    operation->done(operation->ctx, status, is_outrun);
    dj_free(operation);
}

static void on_told(void *ctx)
{
    struct operation *operation = ctx;
    operation->done(operation->ctx, DEJA_OK, 0);
    dj_free(operation);
}

/* The stay in this tier; 0: it is over already. */
static uint64_t stay_ms(const struct dj_redis *redis, const struct dj_entry *entry, int64_t now_ms)
{
    int64_t until_ms = dj_store_stay_until(entry, redis->options.ttl_ms, now_ms);
    if (until_ms == 0)
        return STAY_MS_MAX;
    if (until_ms <= now_ms)
        return 0;
    uint64_t left_ms = (uint64_t)(until_ms - now_ms);
    return left_ms < STAY_MS_MAX ? left_ms : STAY_MS_MAX;
}

/* Version and record. */
static enum deja_status encode(struct dj_redis *redis, const struct dj_entry *entry,
                               struct dj_buf *out)
{
    char version[DJ_REDIS_VERSION_BYTES];
    dj_buf_init(out, (size_t)redis->options.record_bytes_max);
    dj_redis_version_write(entry->version, version);
    dj_buf_append(out, version, sizeof version);
    if (out->status != DEJA_OK)
        return out->status;
    enum deja_status status = dj_record_encode_with(&redis->options.packing, entry, out);
    if (status != DEJA_OK)
        return status;
    struct deja_slice record = deja_slice(out->data + sizeof version, out->len - sizeof version);
    atomic_fetch_add_explicit(&redis->record_bytes, record.len, memory_order_relaxed);
    atomic_fetch_add_explicit(&redis->plain_bytes, dj_record_plain_bytes(record),
                              memory_order_relaxed);
    return DEJA_OK;
}

static enum deja_status put(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    (void)vector; /* made anew from the text where the entry is promoted to */
    (void)dim;
    struct dj_redis *redis = (struct dj_redis *)store;
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key = dj_store_key_of(entry);
    struct operation *operation = NULL;
    struct dj_buf record = {0};
    enum deja_status status = begin(store, loop, &key, on_put, &operation);
    if (status != DEJA_OK)
        return status;
    operation->ctx = ctx;
    operation->done = done;
    uint64_t ttl_ms = stay_ms(redis, entry, dj_loop_now_ms(loop));
    if (ttl_ms == 0) { /* gone before it would be there */
        operation->told = (struct dj_task){.run = on_told, .ctx = operation};
        dj_loop_post(loop, &operation->told);
        return DEJA_OK;
    }
    status = encode(redis, entry, &record);
    if (status != DEJA_OK) {
        dj_buf_fini(&record);
        dj_free(operation);
        return status;
    }
    char name[DJ_REDIS_KEY_BYTES];
    size_t len = dj_redis_key(redis->options.prefix, &key, 'q', name);
    dj_redis_call_key(&operation->call, deja_slice(name, len));
    operation->call.script = DJ_REDIS_PUT;
    dj_redis_command_script(&operation->call.bytes, DJ_REDIS_PUT, 1, 3);
    dj_redis_argument(&operation->call.bytes, deja_slice(name, len));
    dj_redis_argument(&operation->call.bytes, dj_buf_slice(&record));
    dj_redis_argument_u64(&operation->call.bytes, ttl_ms);
    dj_buf_fini(&record);
    return go(operation);
}

static enum deja_status drop(struct dj_store *store, struct dj_loop *loop,
                             const struct dj_store_key *key, uint64_t version_max, void *ctx,
                             dj_store_done_fn *done)
{
    struct operation *operation = NULL;
    enum deja_status status = begin(store, loop, key, on_done, &operation);
    if (status != DEJA_OK)
        return status;
    char name[DJ_REDIS_KEY_BYTES];
    char version[DJ_REDIS_VERSION_BYTES];
    const struct dj_redis_options *options = &operation->link->redis->options;
    size_t len = dj_redis_key(options->prefix, key, 'q', name);
    operation->ctx = ctx;
    operation->done = done;
    dj_redis_call_key(&operation->call, deja_slice(name, len));
    dj_redis_version_write(version_max, version);
    operation->call.script = DJ_REDIS_REMOVE;
    dj_redis_command_script(&operation->call.bytes, DJ_REDIS_REMOVE, 1, 3);
    dj_redis_argument(&operation->call.bytes, deja_slice(name, len));
    dj_redis_argument(&operation->call.bytes, deja_slice(version, sizeof version));
    dj_redis_argument_u64(&operation->call.bytes, options->tombstone_ms);
    return go(operation);
}

/* ---- the rest of the table ---- */

static void stats(struct dj_store *store, const uint8_t *tenant, struct dj_store_stats *out_stats)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    struct dj_redis_figures figures;
    *out_stats = (struct dj_store_stats){.entries = 0};
    if (tenant) /* the server does not count by tenant */
        return;
    dj_redis_figures(store, &figures);
    out_stats->entries = figures.keys;
    out_stats->bytes = figures.memory_bytes;
    out_stats->bytes_max = figures.memory_bytes_max;
    out_stats->evictions = figures.evictions;
    out_stats->expired = figures.expired;
    out_stats->corrupt = atomic_load_explicit(&redis->corrupt, memory_order_relaxed);
    out_stats->queued = atomic_load_explicit(&redis->queued, memory_order_relaxed);
    out_stats->record_bytes = atomic_load_explicit(&redis->record_bytes, memory_order_relaxed);
    out_stats->plain_bytes = atomic_load_explicit(&redis->plain_bytes, memory_order_relaxed);
}

static void leave(struct dj_store *store, struct dj_loop *loop)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    uint32_t index = dj_loop_index(loop);
    assert(index < redis->options.loop_count && dj_loop_is_current(loop));
    redis->has_left[index] = true;
    if (redis->links[index])
        dj_redis_link_leave(redis->links[index]);
}

static void close_store(struct dj_store *store)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    for (size_t i = 0; i < DJ_REDIS_LOOPS_MAX; i++)
        dj_redis_link_destroy(redis->links[i]);
    dj_pool_destroy(redis->names);
    dj_tls_client_destroy(redis->tls);
    dj_redis_options_free(redis);
    if (redis->is_mutex_made)
        pthread_mutex_destroy(&redis->mutex);
    dj_free(redis);
}

static const struct dj_store_ops ops = {.level = "redis",
                                        .get = get,
                                        .put = put,
                                        .remove = drop,
                                        .clear = dj_redis_clear,
                                        .list = dj_redis_list,
                                        .stats = stats,
                                        .probe = probe,
                                        .raise = dj_redis_raise,
                                        .pull = dj_redis_pull,
                                        .lock = dj_redis_lock,
                                        .unlock = dj_redis_unlock,
                                        .leave = leave,
                                        .close = close_store};

enum deja_status dj_redis_open(const struct dj_redis_options *options, struct dj_store **out_store,
                               struct deja_error *error)
{
    struct dj_redis *redis = dj_alloc_zeroed(1, sizeof *redis);
    if (!redis)
        return DEJA_ERR_NOMEM;
    redis->base.ops = &ops;
    enum deja_status status = dj_redis_options_copy(redis, options, error);
    if (status != DEJA_OK)
        goto failed;
    status = DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&redis->mutex, NULL) != 0)
        goto failed;
    redis->is_mutex_made = true;
    if (options->is_tls) {
        const struct dj_tls_client_options tls = {.ca_file = options->ca_file,
                                                  .cert_file = options->cert_file,
                                                  .key_file = options->key_file,
                                                  .server_name = options->server_name};
        status = dj_tls_client_create(&tls, &redis->tls, error);
        if (status != DEJA_OK)
            goto failed;
    }
    status = dj_pool_create("redis-names", 1, 256, &redis->names);
    if (status != DEJA_OK)
        goto failed;
    atomic_store(&redis->is_scriptless, options->is_scriptless);
    *out_store = &redis->base;
    return DEJA_OK;
failed:
    close_store(&redis->base);
    return status;
}

void dj_redis_trouble(struct dj_store *store, struct deja_error *out_trouble)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    assert(store->ops == &ops);
    pthread_mutex_lock(&redis->mutex);
    *out_trouble = redis->trouble;
    pthread_mutex_unlock(&redis->mutex);
}

void dj_redis_figures(struct dj_store *store, struct dj_redis_figures *out_figures)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    assert(store->ops == &ops);
    pthread_mutex_lock(&redis->mutex);
    *out_figures = redis->figures;
    pthread_mutex_unlock(&redis->mutex);
}
