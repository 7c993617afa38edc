/* cache/transfer_into.c - see transfer.h: into the cache, and one entry out of it.
 *
 *   put: copied ──> at most PUTS_MAX under way ──> loop: adopted (cache/listing.h), put through
 *
 * (1) An entry keeps its version, so that what is newer there stays, and a put that is done again
 *     changes nothing.
 * (2) Its vector is put with it where the index it belongs to exists here; one of an embedder of
 *     another configuration is left behind, and the text is embedded anew.
 */
#include "base/alloc.h"
#include "base/slice.h"
#include "cache/engine_internal.h"
#include "cache/listing.h"
#include "cache/transfer.h"
#include "cache/transfer_internal.h"

struct into {
    struct dj_transfer_into options;
    pthread_mutex_t mutex;
    pthread_cond_t has_room;
    uint32_t under_way;
};

struct put {
    struct into *into;
    struct dj_task task;
    struct dj_value *value;
    uint32_t dim;
    float vector[];
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void end_put(struct put *put)
{
    struct into *into = put->into;
    dj_value_unref(put->value);
    dj_free(put);
    pthread_mutex_lock(&into->mutex);
    into->under_way--;
    pthread_cond_signal(&into->has_room);
    pthread_mutex_unlock(&into->mutex);
}

static void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct put *put = ctx;
    struct dj_transfer_counts *counts = put->into->options.counts;
    count(status != DEJA_OK || outcome->missed ? &counts->failed
          : outcome->is_stored                 ? &counts->stored
                                               : &counts->refused);
    end_put(put);
}

/* Whose vectors they are, as dj_query_vector names them. False: nobody's here. */
static bool find_index(const struct dj_engine *engine, const struct dj_entry *entry, uint32_t dim,
                       struct deja_slice *out_embedder)
{
    const struct dj_embedder *own = engine->options.embedder;
    struct deja_slice id = entry->embedder_id;
    if (id.len && id.data[0] == DJ_INDEX_LABEL_MARK) {
        *out_embedder = deja_slice(id.data + 1, id.len - 1);
        return true;
    }
    *out_embedder = id;
    return own && own->dim == dim && dj_slice_is(id, own->id);
}

/* What is brought in is not what is asked for most: memory fills with what is, but for what no tier
 * keeps. */
static uint32_t levels_to_skip(const struct dj_engine *engine, const struct dj_entry *entry,
                               uint32_t levels)
{
    bool is_kept = false;
    for (uint32_t i = 0; i < engine->tier_count && !is_kept; i++)
        is_kept = dj_tier_is_written(&engine->tiers[i], entry, 0);
    return levels ? ~levels : is_kept ? DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) : 0;
}

enum deja_status dj_transfer_put(struct dj_engine *engine, struct dj_loop *loop,
                                 const struct dj_entry *entry, const float *vector, uint32_t dim,
                                 uint32_t levels, void *ctx, dj_put_done_fn *done)
{
    static const uint8_t nowhere[DJ_ID_BYTES];
    struct deja_slice embedder = {NULL, 0};
    bool has_scope = memcmp(entry->scope, nowhere, sizeof nowhere) != 0;
    bool has_vector = vector && dim && find_index(engine, entry, dim, &embedder);
    const struct dj_query_vector own = {vector, dim, embedder};
    const struct dj_put_options options = {.is_semantic = has_scope && entry->embedder_id.len &&
                                                          (has_vector || entry->query.len),
                                           .vector = has_vector ? &own : NULL,
                                           .skip = levels_to_skip(engine, entry, levels),
                                           .is_through = true};
    return dj_engine_put(engine, loop, entry, &options, ctx, done);
}

/* On the loop. */
static void run_put(void *ctx)
{
    struct put *put = ctx;
    const struct into *into = put->into;
    const struct dj_transfer_into *options = &into->options;
    struct dj_entry entry = *dj_value_entry(put->value);
    int64_t now_ms = dj_loop_now_ms(options->lane.loop);
    if (entry.expires_ms && now_ms >= entry.expires_ms) {
        count(&options->counts->expired);
        end_put(put);
        return;
    }
    if ((options->is_wanted && !options->is_wanted(options->wanted_ctx, &entry)) ||
        dj_engine_adopt(options->lane.engine, &entry) != DEJA_OK) {
        count(&options->counts->voided);
        end_put(put);
        return;
    }
    if (dj_transfer_put(options->lane.engine, options->lane.loop, &entry,
                        put->dim ? put->vector : NULL, put->dim, options->levels, put,
                        on_put) == DEJA_OK)
        return;
    count(&options->counts->failed);
    end_put(put);
}

static enum deja_status put_into(void *ctx, const struct dj_archive_item *item,
                                 struct deja_error *error)
{
    struct into *into = ctx;
    if (item->is_document)
        return DEJA_OK;
    size_t vector_bytes = item->vector ? item->dim * sizeof *item->vector : 0;
    struct put *put = dj_alloc(sizeof *put + vector_bytes);
    if (!put)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    *put = (struct put){.into = into, .dim = item->vector ? item->dim : 0};
    if (vector_bytes)
        memcpy(put->vector, item->vector, vector_bytes);
    enum deja_status status = dj_value_create(item->entry, &put->value);
    if (status != DEJA_OK) {
        dj_free(put);
        return deja_error_set(error, status, "an entry cannot be kept: %s",
                              deja_status_text(status));
    }
    pthread_mutex_lock(&into->mutex);
    while (into->under_way >= DJ_TRANSFER_PUTS_MAX)
        pthread_cond_wait(&into->has_room, &into->mutex);
    into->under_way++;
    pthread_mutex_unlock(&into->mutex);
    put->task = (struct dj_task){.run = run_put, .ctx = put};
    dj_loop_post(into->options.lane.loop, &put->task);
    return DEJA_OK;
}

static void settle(struct into *into)
{
    pthread_mutex_lock(&into->mutex);
    while (into->under_way)
        pthread_cond_wait(&into->has_room, &into->mutex);
    pthread_mutex_unlock(&into->mutex);
}

static enum deja_status finish_into(void *ctx, struct deja_error *error)
{
    struct into *into = ctx;
    settle(into);
    uint64_t failed = atomic_load(&into->options.counts->failed);
    return failed ? deja_error_set(error, DEJA_ERR_CACHE_UNAVAILABLE,
                                   "%llu entries could not be written: look at deja doctor, then "
                                   "do it again: what was written stays as it is",
                                   (unsigned long long)failed)
                  : DEJA_OK;
}

static void close_into(void *ctx)
{
    struct into *into = ctx;
    settle(into);
    pthread_cond_destroy(&into->has_room);
    pthread_mutex_destroy(&into->mutex);
    dj_free(into);
}

enum deja_status dj_transfer_into_cache(const struct dj_transfer_into *options,
                                        struct dj_transfer_sink *out_sink)
{
    struct into *into = dj_alloc_zeroed(1, sizeof *into);
    if (!into)
        return DEJA_ERR_NOMEM;
    into->options = *options;
    pthread_mutex_init(&into->mutex, NULL);
    pthread_cond_init(&into->has_room, NULL);
    *out_sink = (struct dj_transfer_sink){
        .ctx = into, .put = put_into, .finish = finish_into, .close = close_into};
    return DEJA_OK;
}

/* ---- one entry ---- */

struct one {
    const struct dj_transfer_lane *lane;
    struct dj_store_key key;
    uint32_t levels;
    uint64_t version_max;
    struct transfer_wait wait;
    struct dj_task task;
    struct dj_value *value;
    enum deja_status status;
};

static void on_got(void *ctx, struct dj_value *value, const char *level)
{
    struct one *one = ctx;
    (void)level;
    one->value = value;
    transfer_wait_tell(&one->wait);
}

static void get(void *ctx)
{
    struct one *one = ctx;
    one->status = dj_engine_get(one->lane->engine, one->lane->loop, &one->key,
                                one->levels ? ~one->levels : 0, one, on_got);
    if (one->status != DEJA_OK)
        transfer_wait_tell(&one->wait);
}

static void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct one *one = ctx;
    (void)removed;
    one->status = status;
    transfer_wait_tell(&one->wait);
}

static void remove_one(void *ctx)
{
    struct one *one = ctx;
    const struct dj_removal_options options = {.version_max = one->version_max,
                                               .skip = ~one->levels};
    one->status = dj_engine_remove_version(one->lane->engine, one->lane->loop, &one->key, &options,
                                           one, on_removed);
    if (one->status != DEJA_OK)
        transfer_wait_tell(&one->wait);
}

static void run_one(struct one *one, dj_task_fn *run)
{
    one->task = (struct dj_task){.run = run, .ctx = one};
    transfer_wait_init(&one->wait);
    dj_loop_post(one->lane->loop, &one->task);
    transfer_wait_for(&one->wait);
}

enum deja_status dj_transfer_get(const struct dj_transfer_lane *lane,
                                 const struct dj_store_key *key, uint32_t levels,
                                 struct dj_value **out_value)
{
    struct one one = {.lane = lane, .key = *key, .levels = levels};
    run_one(&one, get);
    if (one.status == DEJA_OK)
        *out_value = one.value;
    return one.status;
}

enum deja_status dj_transfer_remove(const struct dj_transfer_lane *lane,
                                    const struct dj_store_key *key, uint32_t levels,
                                    uint64_t version_max)
{
    struct one one = {.lane = lane, .key = *key, .levels = levels, .version_max = version_max};
    run_one(&one, remove_one);
    return one.status;
}
