/* cache/collect.c - see collect.h: the tiers below memory, one after the other, piece by piece.
 *
 * (1) Where memory is the only tier there is nothing to collect, and that is told by a task: nobody
 *     is called back inside his call.
 */
#include "cache/collect.h"

#include "base/alloc.h"
#include "base/map.h"
#include "cache/engine_internal.h"

struct collection {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    uint32_t place; /* of the tier that is listed */
    struct dj_store_page page;
    struct dj_map *seen;
    uint8_t (*ids)[DJ_ID_BYTES]; /* owned */
    size_t count;
    size_t count_max;
    struct dj_task task;
    void *ctx;
    dj_collect_fn *is_wanted;
    dj_collected_fn *collected;
};

static void destroy(struct collection *collection)
{
    if (!collection)
        return;
    dj_map_destroy(collection->seen);
    dj_free(collection->ids);
    dj_free(collection);
}

static void list_next(struct collection *collection);

static void on_over(void *ctx)
{
    struct collection *collection = ctx;
    struct dj_engine *engine = collection->engine;
    collection->collected(collection->ctx, (const uint8_t(*)[DJ_ID_BYTES])collection->ids,
                          collection->count);
    destroy(collection);
    dj_engine_leave(engine);
}

static void take(struct collection *collection, const struct dj_entry *entry)
{
    struct deja_slice id = deja_slice(entry->id, DJ_ID_BYTES);
    int64_t now_ms = dj_loop_now_ms(collection->loop);
    if (collection->count == collection->count_max || dj_map_find(collection->seen, id) ||
        !dj_engine_is_valid(collection->engine, collection->tenant, entry, now_ms, 0) ||
        !collection->is_wanted(collection->ctx, entry) ||
        dj_map_put(collection->seen, id, collection, NULL) != DEJA_OK)
        return;
    memcpy(collection->ids[collection->count++], entry->id, DJ_ID_BYTES);
}

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    struct collection *collection = ctx;
    struct dj_store_page *page = &collection->page;
    (void)count;
    for (uint32_t i = 0; i < page->count; i++) {
        if (status == DEJA_OK)
            take(collection, dj_value_entry(page->values[i]));
        dj_value_unref(page->values[i]);
    }
    page->count = 0;
    if (status != DEJA_OK || page->is_last) {
        collection->place++;
        *page = (struct dj_store_page){.count = 0};
    }
    list_next(collection);
}

static void list_next(struct collection *collection)
{
    struct dj_engine *engine = collection->engine;
    for (; collection->place < engine->tier_count && collection->count < collection->count_max;
         collection->place++) {
        struct dj_tier_slot *slot = &engine->tiers[collection->place];
        struct dj_store *store = slot->tier.store;
        if (store->ops->list &&
            dj_engine_may_read(engine, slot, dj_loop_now_ms(collection->loop)) &&
            store->ops->list(store, collection->loop, collection->tenant, &collection->page,
                             collection, on_page) == DEJA_OK)
            return;
        collection->page = (struct dj_store_page){.count = 0}; /* its place is no other tier's */
    }
    collection->task = (struct dj_task){.run = on_over, .ctx = collection};
    dj_loop_post(collection->loop, &collection->task);
}

enum deja_status dj_engine_collect(struct dj_engine *engine, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES], size_t count_max, void *ctx,
                                   dj_collect_fn *is_wanted, dj_collected_fn *collected)
{
    struct collection *collection = dj_alloc_zeroed(1, sizeof *collection);
    size_t max = count_max < DJ_COLLECT_MAX ? count_max : DJ_COLLECT_MAX;
    if (!collection)
        return DEJA_ERR_NOMEM;
    collection->engine = engine;
    collection->loop = loop;
    collection->count_max = max;
    collection->ctx = ctx;
    collection->is_wanted = is_wanted;
    collection->collected = collected;
    memcpy(collection->tenant, tenant, sizeof collection->tenant);
    collection->ids = dj_alloc((max + 1) * sizeof *collection->ids);
    if (!collection->ids || dj_map_create(max + 1, NULL, NULL, &collection->seen) != DEJA_OK) {
        destroy(collection);
        return DEJA_ERR_NOMEM;
    }
    dj_engine_enter(engine);
    list_next(collection);
    return DEJA_OK;
}
