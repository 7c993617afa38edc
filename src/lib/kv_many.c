/* lib/kv_many.c - the calls of deja/kv.h for many keys. Trust as calls.c.
 *
 * What a blocked caller gave room for is written on the loop and only while it waits: a timeout is
 * told on the same loop, and from then on is_answered is set.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lib/kv_internal.h"

#define READ_TIMEOUT_MS 1000u
#define CLEAR_TIMEOUT_MS 10000u

/* ---- mget ---- */

static void release_all(struct deja_answer **answers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        deja_answer_release(answers[i]);
}

static void on_got_many(void *ctx, struct dj_value **values, const char **levels, size_t count)
{
    struct dj_operation *operation = ctx;
    struct dj_kv_call *kv = operation->kv;
    enum deja_status status = DEJA_OK;
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        dj_event_got(operation, kv->keys[i], values[i], levels[i]);
        if (!operation->is_answered && status == DEJA_OK) {
            kv->out_answers[i] =
                dj_answer_create(values[i] ? DEJA_HIT_EXACT : DEJA_MISS, values[i],
                                 values[i] ? 1 : 0, values[i] ? levels[i] : "not-stored");
            status = kv->out_answers[i] ? DEJA_OK : DEJA_ERR_NOMEM;
            made += status == DEJA_OK;
        }
        dj_value_unref(values[i]);
    }
    if (status != DEJA_OK)
        release_all(kv->out_answers, made);
    dj_kv_done(operation, status, count);
}

static void start_mget(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    enum deja_status status = dj_plain_get_many(deja->plain, deja->loop, &kv->space, kv->keys,
                                                kv->count, 0, operation, on_got_many);
    if (status != DEJA_OK)
        dj_kv_done(operation, status, 0);
}

static enum deja_status read_keys(struct dj_operation *operation, const struct deja_slice *keys,
                                  size_t count)
{
    struct deja_slice *kept = dj_arena_alloc(&operation->arena, count * sizeof *kept);
    enum deja_status status = kept ? DEJA_OK : DEJA_ERR_NOMEM;
    for (size_t i = 0; i < count && status == DEJA_OK; i++)
        status =
            keys[i].len == 0 || keys[i].len > DEJA_KEY_BYTES_MAX || dj_plain_is_previous(keys[i])
                ? DEJA_ERR_INVALID
                : dj_operation_copy(operation, keys[i], DEJA_KEY_BYTES_MAX, &kept[i]);
    operation->kv->keys = kept;
    operation->kv->count = count;
    return status;
}

enum deja_status deja_kv_mget(struct deja *deja, const struct deja_kv *kv,
                              const struct deja_slice *keys, size_t count,
                              struct deja_answer **out_answers)
{
    struct dj_waiter waiter;
    struct dj_operation *operation = NULL;
    if (count == 0 || count > DEJA_KEYS_MAX)
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = dj_kv_begin(deja, kv, READ_TIMEOUT_MS, start_mget, false, &operation);
    if (status == DEJA_OK) {
        operation->kv->out_answers = out_answers;
        operation->ctx = &waiter;
        operation->on_done = dj_waiter_on_done;
        status = dj_operation_finish(operation, read_keys(operation, keys, count));
    }
    return dj_waiter_wait(&waiter, status);
}

/* ---- mset ---- */

struct group {
    pthread_mutex_t mutex;
    pthread_cond_t is_over;
    size_t left;
    uint64_t count;
    enum deja_status status; /* the first failure */
};

static void end_one(struct group *group, enum deja_status status, uint64_t count)
{
    pthread_mutex_lock(&group->mutex);
    group->count += status == DEJA_OK ? count : 0;
    if (group->status == DEJA_OK)
        group->status = status;
    if (--group->left == 0)
        pthread_cond_signal(&group->is_over);
    pthread_mutex_unlock(&group->mutex);
}

static void on_set(void *ctx, enum deja_status status, uint64_t count)
{
    end_one(ctx, status, count);
}

enum deja_status deja_kv_mset(struct deja *deja, const struct deja_kv *items, size_t count,
                              uint64_t *out_count)
{
    struct group group = {.left = count};
    if (count == 0 || count > DEJA_KEYS_MAX || pthread_equal(pthread_self(), deja->thread))
        return DEJA_ERR_INVALID;
    int code = pthread_mutex_init(&group.mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&group.is_over, NULL);
    assert(code == 0);
    for (size_t i = 0; i < count; i++) {
        enum deja_status status = deja_kv_set_async(deja, &items[i], &group, on_set);
        if (status != DEJA_OK)
            end_one(&group, status, 0);
    }
    pthread_mutex_lock(&group.mutex);
    while (group.left > 0)
        pthread_cond_wait(&group.is_over, &group.mutex);
    pthread_mutex_unlock(&group.mutex);
    pthread_cond_destroy(&group.is_over);
    pthread_mutex_destroy(&group.mutex);
    if (group.status == DEJA_OK && out_count)
        *out_count = group.count;
    return group.status;
}

/* ---- names ---- */

static struct dj_plain_selector selector_of(const struct dj_kv_call *kv)
{
    struct dj_plain_selector selector = {.pattern = kv->key};
    if (kv->key.len == 0)
        selector.pattern = deja_slice(NULL, 0);
    return selector;
}

static enum deja_status list_status(enum deja_status status)
{
    /* A store of the caller's own cannot be listed. */
    return status == DEJA_ERR_UNSUPPORTED ? DEJA_ERR_FEATURE_DISABLED : dj_tier_status(status);
}

static void on_keys_end(void *ctx, enum deja_status status, uint64_t count)
{
    struct dj_operation *operation = ctx;
    struct dj_kv_call *kv = operation->kv;
    if (status != DEJA_OK)
        kv->told(kv->told_ctx, status, 0, NULL, 0);
    if (kv->done)
        kv->done(kv->done_ctx, status, count);
}

static void on_scanned(void *ctx, enum deja_status status, uint64_t cursor,
                       struct dj_value *const *values, size_t count)
{
    struct dj_operation *operation = ctx;
    struct dj_kv_call *kv = operation->kv;
    struct deja_slice *keys = dj_arena_alloc(&operation->arena, (count + 1) * sizeof *keys);
    if (!keys && status == DEJA_OK)
        status = DEJA_ERR_NOMEM;
    for (size_t i = 0; i < count && keys; i++)
        keys[i] = dj_value_entry(values[i])->query;
    if (status == DEJA_OK && !operation->is_answered)
        kv->told(kv->told_ctx, DEJA_OK, cursor, keys, count);
    dj_kv_done(operation, list_status(status), count);
}

static void start_keys(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    struct dj_kv_call *kv = operation->kv;
    const struct dj_plain_selector selector = selector_of(kv);
    enum deja_status status = dj_plain_scan(deja->plain, deja->loop, &kv->space, &selector,
                                            kv->cursor, kv->limit, operation, on_scanned);
    if (status != DEJA_OK)
        dj_kv_done(operation, status == DEJA_ERR_BUSY ? DEJA_ERR_RATE_LIMITED : status, 0);
}

struct piece {
    uint64_t cursor;
    uint32_t limit;
    deja_keys_fn *told;
    void *told_ctx;
};

static enum deja_status list(struct deja *deja, const struct deja_kv *kv, const struct piece *piece,
                             void *ctx, deja_done_fn *done)
{
    struct dj_operation *operation = NULL;
    if (piece->limit == 0 || piece->limit > DEJA_KEYS_MAX || kv->key.len > DEJA_PATTERN_BYTES_MAX)
        return DEJA_ERR_INVALID;
    enum deja_status status =
        dj_kv_begin(deja, kv, CLEAR_TIMEOUT_MS, start_keys, false, &operation);
    if (status != DEJA_OK)
        return status;
    operation->kv->cursor = piece->cursor;
    operation->kv->limit = piece->limit;
    operation->kv->told = piece->told;
    operation->kv->told_ctx = piece->told_ctx;
    operation->kv->done = done;
    operation->kv->done_ctx = ctx;
    operation->ctx = operation;
    operation->on_done = on_keys_end;
    return dj_operation_finish(operation, DEJA_OK);
}

enum deja_status deja_kv_keys_async(struct deja *deja, const struct deja_kv *kv, uint64_t cursor,
                                    uint32_t limit, void *ctx, deja_keys_fn *told)
{
    const struct piece piece = {.cursor = cursor, .limit = limit, .told = told, .told_ctx = ctx};
    return list(deja, kv, &piece, NULL, NULL);
}

enum deja_status deja_kv_keys(struct deja *deja, const struct deja_kv *kv, uint64_t cursor,
                              uint32_t limit, void *ctx, deja_keys_fn *told)
{
    const struct piece piece = {.cursor = cursor, .limit = limit, .told = told, .told_ctx = ctx};
    struct dj_waiter waiter;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    return dj_waiter_wait(&waiter, list(deja, kv, &piece, &waiter, dj_waiter_on_done));
}

/* ---- clear, count ---- */

static void on_cleared(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct dj_operation *operation = ctx;
    if (status == DEJA_OK) {
        atomic_fetch_add(&operation->deja->counters.removes, sum->keys);
        dj_event_removed(operation, operation->kv->key, sum->keys);
    }
    dj_kv_done(operation, list_status(status), sum->keys);
}

static void start_clear(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const struct dj_plain_selector selector = selector_of(operation->kv);
    dj_computation_detach_tenant(deja, operation->fingerprint.key.tenant);
    enum deja_status status = dj_plain_clear(deja->plain, deja->loop, &operation->kv->space,
                                             &selector, operation, on_cleared);
    if (status != DEJA_OK)
        dj_kv_done(operation, status, 0);
}

static enum deja_status clear(struct deja *deja, const struct deja_kv *kv, bool is_all, void *ctx,
                              deja_done_fn *done)
{
    struct dj_operation *operation = NULL;
    enum deja_status status =
        dj_kv_begin(deja, kv, CLEAR_TIMEOUT_MS, start_clear, false, &operation);
    if (status != DEJA_OK)
        return status;
    if (is_all)
        operation->kv->key = deja_slice(NULL, 0);
    operation->ctx = ctx;
    operation->on_done = done;
    return dj_operation_finish(operation, DEJA_OK);
}

enum deja_status deja_kv_clear_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                     deja_done_fn *done)
{
    return clear(deja, kv, true, ctx, done);
}

enum deja_status deja_kv_invalidate_async(struct deja *deja, const struct deja_kv *kv, void *ctx,
                                          deja_done_fn *done)
{
    if (kv->key.len == 0 || kv->key.len > DEJA_PATTERN_BYTES_MAX)
        return DEJA_ERR_INVALID;
    return clear(deja, kv, false, ctx, done);
}

enum deja_status deja_kv_clear(struct deja *deja, const struct deja_kv *kv, uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_clear_async, out_count);
}

enum deja_status deja_kv_invalidate(struct deja *deja, const struct deja_kv *kv,
                                    uint64_t *out_count)
{
    return dj_kv_wait(deja, kv, deja_kv_invalidate_async, out_count);
}

static void on_counted(void *ctx, enum deja_status status, const struct dj_plain_sum *sum)
{
    struct dj_operation *operation = ctx;
    struct dj_kv_call *kv = operation->kv;
    if (status == DEJA_OK && !operation->is_answered) {
        kv->out_stats->keys = sum->keys;
        kv->out_stats->bytes = sum->bytes;
    }
    dj_kv_done(operation, list_status(status), sum->keys);
}

static void start_count(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const struct dj_plain_selector selector = {.is_every_user = false};
    enum deja_status status = dj_plain_count(deja->plain, deja->loop, &operation->kv->space,
                                             &selector, operation, on_counted);
    if (status != DEJA_OK)
        dj_kv_done(operation, status, 0);
}

enum deja_status deja_kv_stats(struct deja *deja, const struct deja_kv *kv,
                               struct deja_kv_stats *out_stats)
{
    struct dj_waiter waiter;
    struct dj_operation *operation = NULL;
    struct deja_kv_stats stats = {.keys = 0};
    struct dj_plain_stats plain;
    size_t bytes = out_stats->struct_bytes;
    if (bytes < offsetof(struct deja_kv_stats, events_failed))
        return DEJA_ERR_INVALID;
    enum deja_status status = dj_waiter_init(&waiter, deja);
    if (status != DEJA_OK)
        return status;
    status = dj_kv_begin(deja, kv, CLEAR_TIMEOUT_MS, start_count, false, &operation);
    if (status == DEJA_OK) {
        operation->kv->out_stats = &stats;
        operation->ctx = &waiter;
        operation->on_done = dj_waiter_on_done;
        status = dj_operation_finish(operation, DEJA_OK);
    }
    status = dj_waiter_wait(&waiter, status);
    if (status != DEJA_OK)
        return status;
    dj_plain_stats(deja->plain, dj_tenant_of(deja, kv->tenant), &plain);
    stats.struct_bytes = bytes;
    stats.hits_memory = plain.hits[DJ_LEVEL_MEMORY];
    for (uint32_t i = DJ_LEVEL_MEMORY + 1; i < DJ_LEVEL_COUNT; i++)
        stats.hits_below += plain.hits[i];
    stats.misses = plain.misses;
    stats.sets = plain.puts;
    stats.removes = plain.removals;
    stats.events_failed = dj_events_failed(deja->events);
    memcpy(out_stats, &stats, bytes < sizeof stats ? bytes : sizeof stats);
    return DEJA_OK;
}
