/* store/memory.c - the memory tier behind the store table: life cycle, messages to home loops.
 *
 *   calling loop ──post──> home loop (put, remove, clear: the shard's writer) ──post──> calling
 * loop calling loop: find at once, the callback in its next turn (get)
 *
 * (1) An operation counts a reference of the tier, so one that a loop runs after close() (what was
 *     posted late runs when the loop is destroyed) still finds its shard.
 */
#include "store/memory_internal.h"

#include <assert.h>

#include "base/alloc.h"

/* Entries of a tenant dropped per turn of a loop, so that a big clear does not hold it up (I3). */
#define CLEAR_ENTRIES_PER_TURN 256u

static struct dj_memory *memory_of(struct dj_store *store)
{
    return (struct dj_memory *)store;
}

struct dj_memory *dj_memory_ref(struct dj_memory *memory)
{
    atomic_fetch_add_explicit(&memory->ref_count, 1, memory_order_relaxed);
    return memory;
}

void dj_memory_unref(struct dj_memory *memory)
{
    if (atomic_fetch_sub_explicit(&memory->ref_count, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < memory->options.loop_count; i++)
        dj_memory_shard_fini(&memory->shards[i]);
    dj_map_destroy(memory->tenants);
    pthread_mutex_destroy(&memory->tenants_mutex);
    dj_free(memory);
}

uint32_t dj_memory_home(const struct dj_store *store, const struct dj_store_key *key)
{
    /* The upper half: buckets use the lower. */
    const struct dj_memory *memory = (const struct dj_memory *)store;
    return (uint32_t)(((dj_store_key_hash(key) >> 32) * memory->options.loop_count) >> 32);
}

static struct dj_memory_shard *shard_of(struct dj_store *store, const struct dj_store_key *key)
{
    return &memory_of(store)->shards[dj_memory_home(store, key)];
}

struct dj_value *dj_memory_find(struct dj_store *store, uint32_t loop_index,
                                const struct dj_store_key *key, int64_t now_ms)
{
    assert(loop_index < memory_of(store)->options.loop_count);
    return dj_memory_shard_find(shard_of(store, key), loop_index, key, false, now_ms);
}

struct dj_value *dj_memory_find_lapsed(struct dj_store *store, uint32_t loop_index,
                                       const struct dj_store_key *key, int64_t now_ms)
{
    assert(loop_index < memory_of(store)->options.loop_count);
    return dj_memory_shard_find(shard_of(store, key), loop_index, key, true, now_ms);
}

static int64_t lease_end(const struct dj_memory *memory, int64_t now_ms)
{
    return now_ms + (int64_t)memory->options.lease_ms;
}

bool dj_memory_put(struct dj_store *store, struct dj_value *value, int64_t now_ms)
{
    struct dj_store_key key = dj_store_key_of(dj_value_entry(value));
    return dj_memory_shard_put(shard_of(store, &key), value, lease_end(memory_of(store), now_ms),
                               now_ms);
}

bool dj_memory_put_alone(struct dj_store *store, struct dj_value *value, int64_t now_ms)
{
    struct dj_store_key key = dj_store_key_of(dj_value_entry(value));
    return dj_memory_shard_put(shard_of(store, &key), value, INT64_MAX, now_ms);
}

bool dj_memory_remove(struct dj_store *store, const struct dj_store_key *key, uint64_t version_max)
{
    return dj_memory_shard_remove(shard_of(store, key), key, version_max);
}

uint64_t dj_memory_sweep(struct dj_store *store, uint32_t loop_index, int64_t now_ms)
{
    assert(loop_index < memory_of(store)->options.loop_count);
    return dj_memory_shard_sweep(&memory_of(store)->shards[loop_index], now_ms);
}

uint32_t dj_memory_sweep_turns(const struct dj_store *store)
{
    return dj_memory_shard_turns(&((const struct dj_memory *)store)->shards[0]);
}

bool dj_memory_trim(struct dj_store *store, uint32_t loop_index, int64_t now_ms)
{
    assert(loop_index < memory_of(store)->options.loop_count);
    return dj_memory_shard_trim(&memory_of(store)->shards[loop_index], now_ms);
}

/* ---- the table ---- */

/* One operation under way. */
struct op {
    struct dj_task task;
    struct dj_memory *memory; /* one reference */
    struct dj_loop *caller;
    struct dj_memory_shard *shard;
    struct dj_store_key key; /* clear: only the tenant */
    struct dj_value *value;  /* one reference: what is put, or what was got */
    void *ctx;
    dj_store_got_fn *got;
    dj_store_done_fn *done; /* may be NULL */
    uint64_t removed;
    uint64_t version_max;       /* remove */
    struct dj_store_page *page; /* list; the caller's */
};

static struct op *op_create(struct dj_store *store, struct dj_loop *caller, void *ctx)
{
    struct op *op = dj_alloc_zeroed(1, sizeof *op);
    if (!op)
        return NULL;
    op->memory = dj_memory_ref(memory_of(store));
    op->caller = caller;
    op->ctx = ctx;
    return op;
}

static void op_post(struct op *op, struct dj_loop *loop, dj_task_fn *run)
{
    op->task = (struct dj_task){.run = run, .ctx = op};
    dj_loop_post(loop, &op->task);
}

static void op_destroy(struct op *op)
{
    dj_value_unref(op->value);
    dj_memory_unref(op->memory);
    dj_free(op);
}

static void on_got(void *ctx)
{
    struct op *op = ctx;
    struct dj_value *value = op->value; /* the callee's from here */
    op->value = NULL;
    op->got(op->ctx, DEJA_OK, value);
    op_destroy(op);
}

static void on_done(void *ctx)
{
    struct op *op = ctx;
    if (op->done)
        op->done(op->ctx, DEJA_OK, op->removed);
    op_destroy(op);
}

/* Back to the caller; at once when this is the caller's loop and a posted task already. */
static void op_finish(struct op *op)
{
    if (op->caller == op->shard->loop)
        on_done(op);
    else
        op_post(op, op->caller, on_done);
}

static void on_put(void *ctx)
{
    struct op *op = ctx;
    /* Not stored (older, too big) is an outcome: the tier keeps what it promised, which is nothing.
     */
    int64_t now_ms = dj_loop_now_ms(op->shard->loop);
    dj_memory_shard_put(op->shard, op->value, lease_end(op->memory, now_ms), now_ms);
    op_finish(op);
}

static void on_remove(void *ctx)
{
    struct op *op = ctx;
    op->removed = dj_memory_shard_remove(op->shard, &op->key, op->version_max);
    op_finish(op);
}

/* A piece of this shard, then the next shard; the last one answers. */
static void on_clear(void *ctx)
{
    struct op *op = ctx;
    struct dj_memory *memory = op->memory;
    uint64_t removed = dj_memory_shard_clear(op->shard, op->key.tenant, CLEAR_ENTRIES_PER_TURN);
    op->removed += removed;
    if (removed < CLEAR_ENTRIES_PER_TURN) {
        if (op->shard == &memory->shards[memory->options.loop_count - 1]) {
            op_finish(op);
            return;
        }
        op->shard++;
    }
    op_post(op, op->shard->loop, on_clear);
}

/* A turn's worth of this shard, then the next shard; answers when the page is full or all shards
 * were gone through. position: the shard above, its cursor below. */
static void on_list(void *ctx)
{
    struct op *op = ctx;
    struct dj_memory *memory = op->memory;
    struct dj_store_page *page = op->page;
    uint64_t cursor = page->position & 0xffffffffffff;
    uint64_t shard = page->position >> 48;
    if (!dj_memory_shard_list(op->shard, op->key.tenant, dj_loop_now_ms(op->shard->loop), &cursor,
                              page)) {
        cursor = 0;
        shard++;
    }
    page->position = shard << 48 | cursor;
    page->is_last = shard == memory->options.loop_count;
    op->removed = page->count;
    if (page->is_last || page->count > 0) {
        op_finish(op);
        return;
    }
    op->shard = &memory->shards[shard];
    op_post(op, op->shard->loop, on_list);
}

static enum deja_status memory_get(struct dj_store *store, struct dj_loop *loop,
                                   const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    struct op *op = op_create(store, loop, ctx);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->got = got;
    op->value = dj_memory_find(store, dj_loop_index(loop), key, dj_loop_now_ms(loop));
    op_post(op, loop, on_got);
    return DEJA_OK;
}

static enum deja_status memory_put(struct dj_store *store, struct dj_loop *loop,
                                   struct dj_value *value, const float *vector, uint32_t dim,
                                   void *ctx, dj_store_done_fn *done)
{
    (void)vector; /* the index has it; this tier is not where it is rebuilt from */
    (void)dim;
    struct op *op = op_create(store, loop, ctx);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->done = done;
    op->value = dj_value_ref(value);
    op->key = dj_store_key_of(dj_value_entry(value));
    op->shard = shard_of(store, &op->key);
    op_post(op, op->shard->loop, on_put);
    return DEJA_OK;
}

static enum deja_status memory_remove(struct dj_store *store, struct dj_loop *loop,
                                      const struct dj_store_key *key, uint64_t version_max,
                                      void *ctx, dj_store_done_fn *done)
{
    struct op *op = op_create(store, loop, ctx);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->done = done;
    op->key = *key;
    op->version_max = version_max;
    op->shard = shard_of(store, key);
    op_post(op, op->shard->loop, on_remove);
    return DEJA_OK;
}

static enum deja_status memory_clear(struct dj_store *store, struct dj_loop *loop,
                                     const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                     dj_store_done_fn *done)
{
    struct op *op = op_create(store, loop, ctx);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->done = done;
    memcpy(op->key.tenant, tenant, sizeof op->key.tenant);
    op->shard = &op->memory->shards[0];
    op_post(op, op->shard->loop, on_clear);
    return DEJA_OK;
}

static enum deja_status memory_list(struct dj_store *store, struct dj_loop *loop,
                                    const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                                    void *ctx, dj_store_done_fn *done)
{
    uint64_t shard = page->position >> 48;
    if (shard >= memory_of(store)->options.loop_count) /* a stranger may have brought it */
        return DEJA_ERR_INVALID;
    struct op *op = op_create(store, loop, ctx);
    if (!op)
        return DEJA_ERR_NOMEM;
    op->done = done;
    op->page = page;
    memcpy(op->key.tenant, tenant, sizeof op->key.tenant);
    page->count = 0;
    op->shard = &op->memory->shards[shard];
    op_post(op, op->shard->loop, on_list);
    return DEJA_OK;
}

static uint64_t load(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void memory_stats(struct dj_store *store, const uint8_t *tenant,
                         struct dj_store_stats *out_stats)
{
    struct dj_memory *memory = memory_of(store);
    *out_stats = (struct dj_store_stats){.bytes_max = memory->options.bytes_max};
    if (!tenant) {
        out_stats->entries = load(&memory->entries);
        out_stats->bytes = load(&memory->bytes);
        out_stats->evictions = load(&memory->evictions);
        out_stats->expired = load(&memory->expired);
        return;
    }
    pthread_mutex_lock(&memory->tenants_mutex);
    struct dj_memory_tenant *sums = dj_map_find(memory->tenants, deja_slice(tenant, DJ_ID_BYTES));
    if (sums) {
        out_stats->entries = load(&sums->entries);
        out_stats->bytes = load(&sums->bytes);
    }
    pthread_mutex_unlock(&memory->tenants_mutex);
}

static void memory_tenants(struct dj_store *store, void *ctx, dj_store_tenant_fn *each)
{
    struct dj_memory *memory = memory_of(store);
    size_t cursor = 0;
    struct deja_slice key;
    void *sums;
    pthread_mutex_lock(&memory->tenants_mutex);
    while (dj_map_next(memory->tenants, &cursor, &key, &sums))
        if (load(&((struct dj_memory_tenant *)sums)->entries) > 0)
            each(ctx, (const uint8_t *)key.data);
    pthread_mutex_unlock(&memory->tenants_mutex);
}

static void memory_close(struct dj_store *store)
{
    atomic_store(&memory_of(store)->is_closed, true);
    dj_memory_unref(memory_of(store));
}

static const struct dj_store_ops memory_ops = {
    .level = "memory",
    .get = memory_get,
    .put = memory_put,
    .remove = memory_remove,
    .clear = memory_clear,
    .list = memory_list,
    .stats = memory_stats,
    .evict = dj_memory_evict,
    .tenants = memory_tenants,
    .close = memory_close,
};

enum deja_status dj_memory_open(const struct dj_memory_options *options,
                                struct dj_loop *const *loops, struct dj_store **out_store)
{
    if (options->loop_count == 0 || options->entries_max == 0 || options->bytes_max == 0)
        return DEJA_ERR_INVALID;
    size_t size = sizeof(struct dj_memory) + options->loop_count * sizeof(struct dj_memory_shard);
    struct dj_memory *memory = dj_alloc_zeroed(1, size);
    if (!memory)
        return DEJA_ERR_NOMEM;
    memory->store.ops = &memory_ops;
    memory->options = *options;
    uint64_t share =
        options->tenant_entries_max ? options->tenant_entries_max : options->entries_max;
    memory->row_entries_max = (share + options->loop_count - 1) / options->loop_count;
    atomic_init(&memory->ref_count, 1);
    pthread_mutex_init(&memory->tenants_mutex, NULL);
    enum deja_status status =
        dj_map_create(options->entries_max + options->loop_count, NULL, NULL, &memory->tenants);
    for (uint32_t i = 0; status == DEJA_OK && i < options->loop_count; i++)
        status = dj_memory_shard_init(&memory->shards[i], memory, loops[i]);
    if (status != DEJA_OK) {
        dj_memory_unref(memory);
        return status;
    }
    *out_store = &memory->store;
    return DEJA_OK;
}
