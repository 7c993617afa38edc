/* store/memory_room.c - room in the memory tier: reserved by a put, made by trimming and on demand.
 *
 * (1) Sums of the tier and of a tenant are added to before a node is linked, so neither passes its
 *     bound at any moment.
 * (2) Only a shard's home loop takes from it. Who needs room that others have asks them by message,
 *     and the next put finds it.
 */
#include "store/memory_internal.h"

#include "base/alloc.h"

enum { LOW_WATER_PERCENT = 90, BATCH = 100 };

uint32_t dj_memory_batch(const struct dj_memory *memory)
{
    return memory->options.batch ? memory->options.batch : BATCH;
}

/* ---- of a put ---- */

static void add(struct dj_memory *memory, struct dj_memory_tenant *tenant, size_t bytes)
{
    atomic_fetch_add_explicit(&memory->entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&memory->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&tenant->entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&tenant->bytes, bytes, memory_order_relaxed);
}

void dj_memory_unreserve(struct dj_memory_shard *shard, struct dj_memory_tenant *tenant,
                         size_t bytes)
{
    struct dj_memory *memory = shard->memory;
    atomic_fetch_sub_explicit(&memory->entries, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&memory->bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&tenant->entries, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&tenant->bytes, bytes, memory_order_relaxed);
}

/* The shard with most entries but this one; NULL: none has any. */
static struct dj_memory_shard *fullest_other(struct dj_memory_shard *shard)
{
    struct dj_memory *memory = shard->memory;
    struct dj_memory_shard *fullest = NULL;
    uint64_t most = 0;
    for (uint32_t i = 0; i < memory->options.loop_count; i++) {
        uint64_t count = atomic_load_explicit(&memory->shards[i].entries, memory_order_relaxed);
        if (&memory->shards[i] != shard && count > most) {
            most = count;
            fullest = &memory->shards[i];
        }
    }
    return fullest;
}

static void on_trim(void *ctx)
{
    struct dj_memory_shard *shard = ctx;
    struct dj_memory *memory = shard->memory;
    dj_memory_begin_write(shard);
    atomic_store(&shard->is_trim_posted, false);
    /* A tenth of what it has, so that the other shard does not have to ask for each entry. */
    uint64_t count = atomic_load_explicit(&shard->entries, memory_order_relaxed) / 10 + 1;
    while (count-- > 0 && dj_memory_evict_one(shard, dj_loop_now_ms(shard->loop)))
        continue;
    dj_memory_end_write(shard);
    dj_memory_unref(memory);
}

/* The tier is full and this shard has nothing to give: the next put shall find room. */
static void ask_for_room(struct dj_memory_shard *shard)
{
    struct dj_memory_shard *fullest = fullest_other(shard);
    if (!fullest || atomic_exchange(&fullest->is_trim_posted, true))
        return;
    fullest->trim_task = (struct dj_task){.run = on_trim, .ctx = fullest};
    dj_memory_ref(shard->memory);
    dj_loop_post(fullest->loop, &fullest->trim_task);
}

static void on_asked(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_memory_shard *shard = ctx;
    (void)status;
    (void)removed;
    shard->is_asking = false;
}

/* The tenant is at its limit and has nothing here. */
static void ask_for_room_of(struct dj_memory_shard *shard, const struct dj_memory_row *row,
                            size_t bytes)
{
    if (shard->is_asking || shard->memory->options.loop_count == 1)
        return;
    shard->is_asking = dj_memory_evict(&shard->memory->store, shard->loop, row->tenant_id, bytes,
                                       shard, on_asked) == DEJA_OK;
}

static bool is_over(const struct dj_memory_limit *limit, const struct dj_memory_tenant *tenant)
{
    uint64_t entries = atomic_load_explicit(&tenant->entries, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&tenant->bytes, memory_order_relaxed);
    return (limit->entries_max && entries > limit->entries_max) ||
           (limit->bytes_max && bytes > limit->bytes_max);
}

/* Of its own only: a limit takes from nobody else. */
static bool fit_tenant(struct dj_memory_shard *shard, struct dj_memory_row *row, size_t bytes,
                       int64_t now_ms)
{
    const struct dj_memory_options *options = &shard->memory->options;
    struct dj_memory_limit limit = {0};
    if (options->limit)
        options->limit(options->limit_ctx, row->tenant_id, &limit);
    if (limit.bytes_max && bytes > limit.bytes_max)
        return false;
    while (is_over(&limit, row->tenant)) {
        struct dj_memory_node *node = dj_memory_choose_of(shard, row, now_ms);
        if (!node) {
            ask_for_room_of(shard, row, bytes);
            return false;
        }
        dj_memory_evict_node(shard, node, true, now_ms);
    }
    return true;
}

static bool is_full(const struct dj_memory *memory)
{
    return atomic_load_explicit(&memory->entries, memory_order_relaxed) >
               memory->options.entries_max ||
           atomic_load_explicit(&memory->bytes, memory_order_relaxed) > memory->options.bytes_max;
}

bool dj_memory_reserve(struct dj_memory_shard *shard, struct dj_memory_row *row, size_t bytes,
                       int64_t now_ms)
{
    struct dj_memory *memory = shard->memory;
    add(memory, row->tenant, bytes);
    if (!fit_tenant(shard, row, bytes, now_ms)) {
        dj_memory_unreserve(shard, row->tenant, bytes);
        return false;
    }
    if (is_full(memory))
        atomic_fetch_add_explicit(&memory->pressure, 1, memory_order_relaxed);
    while (is_full(memory)) {
        if (dj_memory_evict_one(shard, now_ms))
            continue;
        dj_memory_unreserve(shard, row->tenant, bytes);
        ask_for_room(shard);
        return false;
    }
    return true;
}

/* ---- down to the low-water mark ---- */

static bool is_above(uint64_t have, uint64_t bound, uint32_t percent)
{
    return have > bound / 100 * percent + bound % 100 * percent / 100;
}

static bool is_above_low_water(const struct dj_memory *memory)
{
    uint32_t percent =
        memory->options.low_water_percent ? memory->options.low_water_percent : LOW_WATER_PERCENT;
    return is_above(atomic_load_explicit(&memory->entries, memory_order_relaxed),
                    memory->options.entries_max, percent) ||
           is_above(atomic_load_explicit(&memory->bytes, memory_order_relaxed),
                    memory->options.bytes_max, percent);
}

bool dj_memory_shard_trim(struct dj_memory_shard *shard, int64_t now_ms)
{
    struct dj_memory *memory = shard->memory;
    uint64_t pressure = atomic_load_explicit(&memory->pressure, memory_order_relaxed);
    if (!shard->is_trimming && pressure == shard->pressure_seen)
        return false; /* what fits without evictions need not go */
    shard->is_trimming = true;
    uint32_t left = dj_memory_batch(memory);
    dj_memory_begin_write(shard);
    while (left > 0 && is_above_low_water(memory) && dj_memory_evict_one(shard, now_ms))
        left--;
    dj_memory_end_write(shard);
    if (left == 0)
        return true;
    shard->is_trimming = false;
    shard->pressure_seen = pressure;
    return false;
}

/* ---- on demand ---- */

/* Goes from shard to shard, each giving its part of what is wanted, until it was given or a whole
 * round gave nothing. */
struct eviction {
    struct dj_task task;
    struct dj_memory *memory; /* one reference */
    struct dj_loop *caller;
    uint8_t tenant[DJ_ID_BYTES];
    bool has_tenant;
    uint32_t shard;
    uint64_t left;       /* bytes wanted */
    uint64_t shard_left; /* bytes wanted of this shard */
    uint64_t removed;
    uint64_t removed_before; /* when this round began */
    void *ctx;
    dj_store_done_fn *done;
};

static void visit(void *ctx);

static void finish(void *ctx)
{
    struct eviction *eviction = ctx;
    if (eviction->done)
        eviction->done(eviction->ctx, DEJA_OK, eviction->removed);
    dj_memory_unref(eviction->memory);
    dj_free(eviction);
}

static void post(struct eviction *eviction, struct dj_loop *loop, dj_task_fn *run)
{
    eviction->task = (struct dj_task){.run = run, .ctx = eviction};
    dj_loop_post(loop, &eviction->task);
}

static void enter_shard(struct eviction *eviction, uint32_t shard)
{
    uint32_t to_come = eviction->memory->options.loop_count - shard;
    eviction->shard = shard;
    eviction->shard_left = eviction->left / to_come + (eviction->left % to_come ? 1 : 0);
    post(eviction, eviction->memory->shards[shard].loop, visit);
}

/* What one entry gave; 0: there is none. */
static uint64_t take_one(struct eviction *eviction, struct dj_memory_shard *shard, int64_t now_ms)
{
    uint64_t before = atomic_load_explicit(&shard->bytes, memory_order_relaxed);
    if (eviction->has_tenant) {
        struct dj_memory_row *row =
            dj_map_find(shard->rows, deja_slice(eviction->tenant, DJ_ID_BYTES));
        struct dj_memory_node *node = row ? dj_memory_choose_of(shard, row, now_ms) : NULL;
        if (!node)
            return 0;
        dj_memory_evict_node(shard, node, false, now_ms);
    } else if (!dj_memory_evict_one(shard, now_ms)) {
        return 0;
    }
    return before - atomic_load_explicit(&shard->bytes, memory_order_relaxed);
}

static void visit(void *ctx)
{
    struct eviction *eviction = ctx;
    struct dj_memory *memory = eviction->memory;
    struct dj_memory_shard *shard = &memory->shards[eviction->shard];
    uint32_t turn_left = dj_memory_batch(memory);
    uint64_t got = 1;
    if (atomic_load(&memory->is_closed)) { /* run when its loop was destroyed; others may be too */
        finish(eviction);
        return;
    }
    dj_memory_begin_write(shard);
    while (eviction->shard_left > 0 && turn_left-- > 0 &&
           (got = take_one(eviction, shard, dj_loop_now_ms(shard->loop))) > 0) {
        eviction->removed++;
        eviction->left -= got < eviction->left ? got : eviction->left;
        eviction->shard_left -= got < eviction->shard_left ? got : eviction->shard_left;
    }
    dj_memory_end_write(shard);
    if (eviction->shard_left > 0 && got > 0) {
        post(eviction, shard->loop, visit); /* the batch was used up */
        return;
    }
    uint32_t next = eviction->shard + 1;
    bool is_round_over = next == memory->options.loop_count;
    if (eviction->left == 0 || (is_round_over && eviction->removed == eviction->removed_before)) {
        post(eviction, eviction->caller, finish);
        return;
    }
    if (is_round_over)
        eviction->removed_before = eviction->removed;
    enter_shard(eviction, is_round_over ? 0 : next);
}

enum deja_status dj_memory_evict(struct dj_store *store, struct dj_loop *caller,
                                 const uint8_t *tenant, uint64_t bytes, void *ctx,
                                 dj_store_done_fn *done)
{
    struct dj_memory *memory = (struct dj_memory *)store;
    struct eviction *eviction = dj_alloc_zeroed(1, sizeof *eviction);
    if (!eviction)
        return DEJA_ERR_NOMEM;
    *eviction = (struct eviction){.memory = dj_memory_ref(memory),
                                  .caller = caller,
                                  .left = bytes,
                                  .has_tenant = tenant != NULL,
                                  .ctx = ctx,
                                  .done = done};
    if (tenant)
        memcpy(eviction->tenant, tenant, sizeof eviction->tenant);
    enter_shard(eviction, 0);
    return DEJA_OK;
}
