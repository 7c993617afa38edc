/* cache/evict.c - room made on demand, in every tier that can. See upkeep.h. */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "cache/upkeep.h"

#define PART_DEFAULT 10u /* without a figure: so much of what there is, as a divisor */

struct asked {
    struct evicting *evicting;
    uint32_t index;
};

struct evicting {
    struct dj_engine *engine;
    struct dj_eviction evictions[DJ_TIERS_MAX + 1];
    struct asked asked[DJ_TIERS_MAX + 1];
    uint32_t count;
    uint32_t left; /* tiers that have not answered, and one for the start */
    struct dj_task task;
    void *ctx;
    dj_evicted_fn *done;
};

static void finish_if_over(struct evicting *evicting)
{
    enum deja_status status = DEJA_OK;
    if (--evicting->left > 0)
        return;
    for (uint32_t i = 0; i < evicting->count && status == DEJA_OK; i++)
        status = evicting->evictions[i].status;
    evicting->done(evicting->ctx, status, evicting->evictions, evicting->count);
    dj_engine_leave(evicting->engine);
    dj_free(evicting);
}

static void on_evicted(void *ctx, enum deja_status status, uint64_t removed)
{
    struct asked *asked = ctx;
    struct evicting *evicting = asked->evicting;
    evicting->evictions[asked->index].status = status;
    evicting->evictions[asked->index].removed = removed;
    finish_if_over(evicting);
}

static void ask(struct evicting *evicting, struct dj_loop *loop, struct dj_store *store,
                const uint8_t *tenant, uint64_t bytes)
{
    uint32_t index = evicting->count;
    struct dj_store_stats stats = {0};
    if (!store->ops->evict)
        return;
    store->ops->stats(store, tenant, &stats);
    evicting->evictions[index] = (struct dj_eviction){
        .level = store->ops->level,
        .bytes = bytes ? bytes : stats.bytes / PART_DEFAULT + (stats.bytes ? 1 : 0)};
    evicting->asked[index] = (struct asked){.evicting = evicting, .index = index};
    evicting->count++;
    evicting->left++;
    enum deja_status status = store->ops->evict(
        store, loop, tenant, evicting->evictions[index].bytes, &evicting->asked[index], on_evicted);
    if (status != DEJA_OK) {
        evicting->evictions[index].status = status;
        evicting->left--;
    }
}

static void on_all_asked(void *ctx)
{
    finish_if_over(ctx);
}

enum deja_status dj_engine_evict(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t *tenant, uint64_t bytes, void *ctx,
                                 dj_evicted_fn *done)
{
    struct evicting *evicting = dj_alloc_zeroed(1, sizeof *evicting);
    if (!evicting)
        return DEJA_ERR_NOMEM;
    *evicting = (struct evicting){.engine = engine, .left = 1, .ctx = ctx, .done = done};
    dj_engine_enter(engine);
    ask(evicting, loop, engine->options.memory, tenant, bytes);
    for (uint32_t i = 0; i < engine->tier_count; i++)
        if (!engine->tiers[i].tier.is_read_only)
            ask(evicting, loop, engine->tiers[i].tier.store, tenant, bytes);
    evicting->task = (struct dj_task){.run = on_all_asked, .ctx = evicting};
    dj_loop_post(loop, &evicting->task);
    return DEJA_OK;
}
