/* cache/idle.c - the entries of a tenant that would go first. See upkeep.h.
 *
 *   memory: piece by piece ──> each tier below that lists ──> the k first, sorted
 *
 * (1) An entry that several tiers have is offered by each; the first to offer it, the uppermost,
 *     has the say, and the others are passed over while it is among the k.
 */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "cache/upkeep.h"
#include "policy/evict.h"

struct idle {
    struct dj_engine *engine;
    struct dj_loop *loop;
    uint8_t tenant[DJ_ID_BYTES];
    enum dj_idle_order order;
    uint32_t k;
    uint32_t count;
    struct dj_idle_entry entries[DJ_IDLE_MAX]; /* the last of them goes last; values owned */
    struct dj_store_page page;
    uint32_t tier; /* being listed: 0 memory, then those below */
    struct dj_task task;
    void *ctx;
    dj_idle_fn *done;
};

static void list_next(struct idle *idle);

static struct dj_store *store_of(const struct idle *idle)
{
    const struct dj_engine *engine = idle->engine;
    return idle->tier ? engine->tiers[idle->tier - 1].tier.store : engine->options.memory;
}

static int64_t last_of(const struct dj_idle_entry *entry)
{
    int64_t created_ms = dj_value_entry(entry->value)->created_ms;
    return entry->access.last_access_ms > created_ms ? entry->access.last_access_ms : created_ms;
}

double dj_engine_score(const struct dj_access_stats *access, int64_t created_ms, int64_t now_ms)
{
    const struct dj_evict_facts facts = {
        .hits = access->hits,
        .last_ms = access->last_access_ms > created_ms ? access->last_access_ms : created_ms};
    return dj_evict_score(&facts, now_ms);
}

static bool goes_before(const struct idle *idle, const struct dj_idle_entry *a,
                        const struct dj_idle_entry *b)
{
    if (idle->order == DJ_IDLE_SCORE && (a->score < b->score || a->score > b->score))
        return a->score < b->score;
    if (last_of(a) != last_of(b))
        return last_of(a) < last_of(b);
    return dj_value_entry(a->value)->version < dj_value_entry(b->value)->version;
}

static bool is_known(const struct idle *idle, const struct dj_entry *entry)
{
    for (uint32_t i = 0; i < idle->count; i++)
        if (memcmp(dj_value_entry(idle->entries[i].value)->id, entry->id, DJ_ID_BYTES) == 0)
            return true;
    return false;
}

/* Takes value. */
static void offer(struct idle *idle, struct dj_value *value)
{
    const struct dj_entry *entry = dj_value_entry(value);
    int64_t now_ms = dj_loop_now_ms(idle->loop);
    struct dj_store_key key = dj_engine_key_of(entry);
    struct dj_idle_entry made = {.value = value, .level = store_of(idle)->ops->level};
    if (!dj_engine_is_valid(idle->engine, idle->tenant, entry, now_ms, 0) ||
        is_known(idle, entry)) {
        dj_value_unref(value);
        return;
    }
    dj_engine_access(idle->engine, &key, &made.access);
    made.score = dj_engine_score(&made.access, entry->created_ms, now_ms);
    if (idle->count == idle->k && !goes_before(idle, &made, &idle->entries[idle->k - 1])) {
        dj_value_unref(value);
        return;
    }
    if (idle->count == idle->k)
        dj_value_unref(idle->entries[--idle->count].value);
    uint32_t at = idle->count++;
    for (; at > 0 && goes_before(idle, &made, &idle->entries[at - 1]); at--)
        idle->entries[at] = idle->entries[at - 1];
    idle->entries[at] = made;
}

static void finish(struct idle *idle, enum deja_status status)
{
    idle->done(idle->ctx, status, status == DEJA_OK ? idle->entries : NULL,
               status == DEJA_OK ? idle->count : 0);
    for (uint32_t i = 0; i < idle->count; i++)
        dj_value_unref(idle->entries[i].value);
    dj_engine_leave(idle->engine);
    dj_free(idle);
}

static void on_page(void *ctx, enum deja_status status, uint64_t count)
{
    struct idle *idle = ctx;
    struct dj_store_page *page = &idle->page;
    (void)count;
    for (uint32_t i = 0; i < page->count; i++)
        offer(idle, page->values[i]);
    page->count = 0;
    if (status != DEJA_OK || page->is_last) { /* a sick tier is left out (I4) */
        idle->tier++;
        *page = (struct dj_store_page){0};
    }
    list_next(idle);
}

static void list_next(struct idle *idle)
{
    for (; idle->tier <= idle->engine->tier_count; idle->tier++) {
        struct dj_store *store = store_of(idle);
        if (store->ops->list && store->ops->list(store, idle->loop, idle->tenant, &idle->page, idle,
                                                 on_page) == DEJA_OK)
            return;
        idle->page = (struct dj_store_page){0};
    }
    finish(idle, DEJA_OK);
}

static void start(void *ctx)
{
    list_next(ctx);
}

enum deja_status dj_engine_idle(struct dj_engine *engine, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], enum dj_idle_order order,
                                uint32_t k, void *ctx, dj_idle_fn *done)
{
    if (k == 0 || k > DJ_IDLE_MAX)
        return DEJA_ERR_INVALID;
    struct idle *idle = dj_alloc_zeroed(1, sizeof *idle);
    if (!idle)
        return DEJA_ERR_NOMEM;
    *idle = (struct idle){
        .engine = engine, .loop = loop, .order = order, .k = k, .ctx = ctx, .done = done};
    memcpy(idle->tenant, tenant, sizeof idle->tenant);
    idle->task = (struct dj_task){.run = start, .ctx = idle};
    dj_engine_enter(engine);
    dj_loop_post(loop, &idle->task);
    return DEJA_OK;
}
