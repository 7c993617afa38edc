/* cache/tiers.c - the walk down through the tiers, and the way back up.
 *
 *   walk ── tier 0 ──miss, error, busy──> tier 1 ── … ── valid: given, promoted into those above
 *             │  └──soft timeout──> tier 1 …
 *             └──late, valid──> given if nobody was told yet; promoted
 *
 * (1) The caller is told once: of the first valid answer, or of none when every tier has answered
 *     or was left behind.
 * (2) A tier is not read while what others made void is not known well enough (raise.c, I10).
 * (3) A tier that may still hold what was removed (it is never written, or a removal failed) is
 *     believed only after the key's home loop has been asked for a tombstone.
 * (4) What is put behind the answer is counted; beyond BEHIND_MAX under way it is dropped.
 * (5) Beside a tier that programs share, memory answers by itself for the time of a lease only.
 * Then the tiers are asked, and what memory has is dropped if a shared tier that should have it,
 * too, says that it has not or has a newer one: another program removed it. If none of them
 * answers, it is given all the same.
 */
#include "cache/tiers.h"

#include "base/alloc.h"
#include "base/slice.h"
#include "cache/engine_internal.h"
#include "store/memory.h"

/* A value of the time to come would make every later write of this node look old to it. */
#define VERSION_AHEAD_MAX_US (UINT64_C(60) * 1000 * 1000)
#define BEHIND_MAX 4096u

static const struct {
    const char *name;
    const char *other;
} levels[DJ_LEVEL_COUNT] = {
    [DJ_LEVEL_MEMORY] = {"memory", "l1"}, [DJ_LEVEL_LMDB] = {"lmdb", "disk"},
    [DJ_LEVEL_REDIS] = {"redis", "l2"},   [DJ_LEVEL_POSTGRES] = {"postgres", "postgresql"},
    [DJ_LEVEL_S3] = {"s3", "l3"},
};

uint32_t dj_level_bit(struct deja_slice name)
{
    for (uint32_t i = 0; i < DJ_LEVEL_COUNT; i++)
        if (dj_slice_is(name, levels[i].name) || dj_slice_is(name, levels[i].other))
            return DJ_LEVEL_BIT(i);
    return 0;
}

const char *dj_level_text(enum dj_level level)
{
    return levels[level].name;
}

void dj_engine_add_tier(struct dj_engine *engine, const struct dj_tier *tier)
{
    struct dj_tier_slot *slot = &engine->tiers[engine->tier_count++];
    uint32_t bit = dj_level_bit(deja_slice_text(tier->store->ops->level));
    slot->tier = *tier;
    slot->bit = bit ? bit : DJ_LEVEL_BIT(DJ_LEVEL_LMDB); /* a store that stands in its place */
    if (!slot->tier.kinds)
        slot->tier.kinds = DJ_TIER_KINDS_ALL;
}

enum dj_level dj_engine_level(const struct dj_engine *engine, uint32_t index)
{
    uint32_t level = 0;
    while (index < engine->tier_count && engine->tiers[index].bit != DJ_LEVEL_BIT(level))
        level++;
    return index < engine->tier_count ? (enum dj_level)level : DJ_LEVEL_COUNT;
}

uint32_t dj_engine_levels(const struct dj_engine *engine, enum dj_entry_kind kind)
{
    const struct dj_entry entry = {.kind = (uint8_t)kind};
    uint32_t bits = 0;
    for (uint32_t i = 0; i < engine->tier_count; i++)
        if (dj_tier_is_written(&engine->tiers[i], &entry, 0))
            bits |= engine->tiers[i].bit;
    return bits;
}

bool dj_tier_is_written(const struct dj_tier_slot *slot, const struct dj_entry *entry,
                        uint32_t skip)
{
    return !slot->tier.is_read_only && !(skip & slot->bit) &&
           (slot->tier.kinds & DJ_TIER_KIND(entry->kind));
}

bool dj_tier_is_shared(const struct dj_tier_slot *slot, const struct dj_entry *entry, uint32_t skip)
{
    return slot->tier.store->ops->raise && dj_tier_is_written(slot, entry, skip);
}

struct dj_tier_slot *dj_engine_searcher(struct dj_engine *engine, uint32_t skip, int64_t now_ms)
{
    for (uint32_t i = 0; i < engine->tier_count; i++) {
        struct dj_tier_slot *slot = &engine->tiers[i];
        if (slot->tier.store->ops->search && !(skip & slot->bit) &&
            dj_engine_may_read(engine, slot, now_ms))
            return slot;
    }
    return NULL;
}

void dj_engine_leave_loop(struct dj_engine *engine, struct dj_loop *loop)
{
    for (uint32_t i = 0; i < engine->tier_count; i++) {
        struct dj_store *store = engine->tiers[i].tier.store;
        if (store->ops->leave)
            store->ops->leave(store, loop);
    }
}

/* ---- behind the answer ---- */

struct behind {
    struct dj_engine *engine;
    struct dj_tier_slot *slot;
    bool is_fill;
    struct dj_store_key key;
    uint64_t version;
};

static void on_behind(void *ctx, enum deja_status status, uint64_t is_outrun)
{
    struct behind *behind = ctx;
    if (status == DEJA_OK && is_outrun && behind->is_fill)
        dj_memory_remove(behind->engine->options.memory, &behind->key, behind->version);
    if (status != DEJA_OK)
        atomic_fetch_add(&behind->slot->dropped, 1);
    dj_engine_contained(behind->engine, "put_behind", status);
    atomic_fetch_sub(&behind->slot->behind, 1);
    dj_engine_leave(behind->engine);
    dj_free(behind);
}

bool dj_tier_put_behind(struct dj_engine *engine, struct dj_loop *loop, struct dj_tier_slot *slot,
                        struct dj_value *value, const struct dj_tier_vector *vector, bool is_fill)
{
    struct dj_store *store = slot->tier.store;
    const struct dj_entry *entry = dj_value_entry(value);
    struct behind *behind = NULL;
    enum deja_status status = DEJA_ERR_BUSY;
    if (atomic_fetch_add(&slot->behind, 1) < BEHIND_MAX)
        behind = dj_alloc(sizeof *behind);
    if (behind) {
        *behind = (struct behind){.engine = engine,
                                  .slot = slot,
                                  .is_fill = is_fill,
                                  .key = dj_engine_key_of(entry),
                                  .version = entry->version};
        dj_engine_enter(engine);
        status = store->ops->put(store, loop, value, vector ? vector->floats : NULL,
                                 vector ? vector->dim : 0, behind, on_behind);
        if (status == DEJA_OK)
            return true;
        dj_engine_leave(engine);
        dj_free(behind);
    }
    atomic_fetch_sub(&slot->behind, 1);
    atomic_fetch_add(&slot->dropped, 1);
    dj_engine_contained(engine, "put_behind", status);
    return false;
}

/* ---- promotion ---- */

struct promotion {
    struct dj_engine *engine;
    struct dj_value *value;
    struct dj_loop *home;
    uint32_t below; /* how many tiers are above the one it came from */
    uint32_t skip;
    struct dj_task task;
};

/* On home: a delete comes before it or after it, never in between. */
static void promote(void *ctx)
{
    struct promotion *promotion = ctx;
    struct dj_engine *engine = promotion->engine;
    const struct dj_entry *entry = dj_value_entry(promotion->value);
    struct dj_store_key key = dj_engine_key_of(entry);
    const struct dj_tombstones *tombstones = engine->tombstones[dj_loop_index(promotion->home)];
    bool is_wanted = !dj_tombstones_refuse(tombstones, &key, entry->version) &&
                     dj_engine_is_current(engine, entry);
    bool is_for_memory = is_wanted && !(promotion->skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY));
    if (is_for_memory &&
        !dj_memory_put(engine->options.memory, promotion->value, dj_loop_now_ms(promotion->home))) {
        /* Too large for memory, or older than what it has: tiers below decide for themselves. */
    }
    for (uint32_t i = 0; is_wanted && i < promotion->below; i++) {
        struct dj_tier_slot *slot = &engine->tiers[i];
        if (dj_tier_is_written(slot, entry, promotion->skip) &&
            !dj_tier_put_behind(engine, promotion->home, slot, promotion->value, NULL, false))
            continue; /* counted as dropped: the next read of the lower tier tries again */
    }
    dj_value_unref(promotion->value);
    dj_free(promotion);
    dj_engine_leave(engine);
}

void dj_engine_promote(struct dj_engine *engine, struct dj_value *value, uint32_t below,
                       uint32_t skip)
{
    struct dj_store_key key = dj_engine_key_of(dj_value_entry(value));
    struct promotion *promotion = dj_alloc_zeroed(1, sizeof *promotion);
    if (!promotion) { /* it stays where it is */
        dj_engine_contained(engine, "promote", DEJA_ERR_NOMEM);
        return;
    }
    dj_engine_enter(engine);
    promotion->engine = engine;
    promotion->value = dj_value_ref(value);
    promotion->below = below;
    promotion->skip = skip;
    promotion->home = engine->options.loops[dj_engine_home(engine, &key)];
    promotion->task = (struct dj_task){.run = promote, .ctx = promotion};
    dj_loop_post(promotion->home, &promotion->task);
}

/* ---- the walk ---- */

struct walk;

struct visit {
    struct walk *walk;
    uint32_t index;
};

struct walk {
    struct dj_engine *engine;
    struct dj_loop *loop;
    struct dj_walk_options options;
    struct visit visits[DJ_TIERS_MAX];
    uint32_t next;            /* to be asked */
    uint32_t current;         /* the one that is waited for */
    uint32_t asked;           /* visits and questions to home that are under way */
    bool is_over;             /* the caller has been told (1) */
    struct dj_timer *timer;   /* NULL: no tier so far had a soft timeout */
    struct dj_value *doubted; /* (3); owned */
    struct dj_value *lapsed;  /* (5); owned; NULL: memory has none */
    bool is_disowned;         /* (5) */
    bool is_refused;
    struct dj_task task;
    void *ctx;
    dj_walk_usable_fn *is_usable;
    dj_engine_got_fn *got;
};

static void on_visited(void *ctx, enum deja_status status, struct dj_value *value);
static void on_late(void *ctx);

static void release(struct walk *walk)
{
    if (!walk->is_over || walk->asked > 0)
        return;
    dj_engine_leave(walk->engine);
    dj_timer_destroy(walk->timer);
    dj_value_unref(walk->lapsed);
    dj_free(walk);
}

static bool is_for_caller(const struct walk *walk, struct dj_value *value, const char *level)
{
    const struct dj_entry *entry = dj_value_entry(value);
    if (walk->is_usable)
        return dj_engine_is_current(walk->engine, entry) &&
               walk->is_usable(walk->ctx, value, level);
    return dj_engine_is_valid(walk->engine, walk->options.key.tenant, entry,
                              dj_loop_now_ms(walk->loop), 0);
}

static void finish(struct walk *walk, struct dj_value *value, const char *level)
{
    walk->is_over = true;
    if (walk->timer)
        dj_timer_stop(walk->timer);
    walk->got(walk->ctx, value, level);
}

static const char *level_of(const struct walk *walk, uint32_t index)
{
    return walk->engine->tiers[index].tier.store->ops->level;
}

static void drop_from_memory(const struct walk *walk, const struct dj_value *value)
{
    struct dj_store *memory = walk->engine->options.memory;
    enum deja_status status = memory->ops->remove(memory, walk->loop, &walk->options.key,
                                                  dj_value_entry(value)->version, NULL, NULL);
    (void)status; /* DEJA_ERR_NOMEM: the next walk tries again */
}

/* None of them had it. (5) */
static void finish_empty(struct walk *walk)
{
    static const char level[] = "memory";
    struct dj_value *lapsed = walk->lapsed;
    walk->lapsed = NULL;
    if (lapsed && walk->is_disowned)
        drop_from_memory(walk, lapsed);
    if (!lapsed || walk->is_disowned || !is_for_caller(walk, lapsed, level)) {
        dj_value_unref(lapsed);
        lapsed = NULL;
    }
    finish(walk, lapsed, lapsed ? level : NULL);
}

static void watch(struct walk *walk, uint32_t timeout_ms)
{
    if (timeout_ms && !walk->timer &&
        dj_timer_create(walk->loop, walk, on_late, &walk->timer) != DEJA_OK)
        return; /* the store's own deadline holds */
    if (timeout_ms)
        dj_timer_start(walk->timer, timeout_ms, 0);
    else if (walk->timer)
        dj_timer_stop(walk->timer);
}

/* Asks the next tier that takes the question; false: there is none. */
static bool step(struct walk *walk)
{
    struct dj_engine *engine = walk->engine;
    int64_t now_ms = dj_loop_now_ms(walk->loop);
    while (walk->next < engine->tier_count) {
        uint32_t index = walk->next++;
        struct dj_tier_slot *slot = &engine->tiers[index];
        struct dj_store *store = slot->tier.store;
        walk->visits[index] = (struct visit){.walk = walk, .index = index};
        if ((walk->options.skip & slot->bit) || !dj_engine_may_read(engine, slot, now_ms) ||
            store->ops->get(store, walk->loop, &walk->options.key, &walk->visits[index],
                            on_visited) != DEJA_OK)
            continue;
        walk->asked++;
        walk->current = index;
        watch(walk, walk->options.is_patient ? 0 : slot->tier.soft_timeout_ms);
        return true;
    }
    walk->current = DJ_TIERS_MAX;
    return false;
}

static void on_late(void *ctx)
{
    struct walk *walk = ctx;
    atomic_fetch_add(&walk->engine->tiers[walk->current].late, 1);
    if (!step(walk))
        finish_empty(walk); /* what is under way keeps the walk until it has come */
}

/* Back on the walk's loop, with the home loop's word. */
static void on_asked_home(void *ctx)
{
    struct walk *walk = ctx;
    struct dj_value *value = walk->doubted;
    walk->doubted = NULL;
    walk->asked--;
    if (walk->is_refused || walk->is_over)
        dj_value_unref(value);
    if (!walk->is_over && !walk->is_refused)
        finish(walk, value, level_of(walk, walk->current));
    else if (!walk->is_over && !step(walk))
        finish_empty(walk);
    release(walk);
}

static void ask_home(void *ctx)
{
    struct walk *walk = ctx;
    struct dj_engine *engine = walk->engine;
    uint32_t home = dj_engine_home(engine, &walk->options.key);
    walk->is_refused = dj_tombstones_refuse(engine->tombstones[home], &walk->options.key,
                                            dj_value_entry(walk->doubted)->version);
    walk->task = (struct dj_task){.run = on_asked_home, .ctx = walk};
    dj_loop_post(walk->loop, &walk->task);
}

/* Later writes of this node are newer than what it has seen, whosever clock is ahead. */
static void observe(struct dj_engine *engine, uint64_t version, int64_t now_ms)
{
    uint64_t last = atomic_load(&engine->version);
    if (version > (uint64_t)now_ms * 1000 + VERSION_AHEAD_MAX_US)
        return;
    while (version > last && !atomic_compare_exchange_weak(&engine->version, &last, version)) {
        /* last was read anew */
    }
}

/* What the caller can use, or, after he was told, what is worth promoting. A tier that gives the
 * record of another key is not believed: within a tenant the key alone tells users apart (I1). */
static bool is_taken(const struct walk *walk, struct dj_value *value, uint32_t index)
{
    const struct dj_entry *entry = dj_value_entry(value);
    if (memcmp(entry->tenant, walk->options.key.tenant, DJ_ID_BYTES) != 0 ||
        memcmp(entry->id, walk->options.key.id, DJ_ID_BYTES) != 0)
        return false;
    if (!walk->is_over)
        return is_for_caller(walk, value, level_of(walk, index));
    return dj_engine_is_valid(walk->engine, walk->options.key.tenant, entry,
                              dj_loop_now_ms(walk->loop), 0);
}

static void take(struct walk *walk, struct dj_value *value, uint32_t index)
{
    struct dj_tier_slot *slot = &walk->engine->tiers[index];
    observe(walk->engine, dj_value_entry(value)->version, dj_loop_now_ms(walk->loop));
    if (!walk->options.is_no_promotion)
        dj_engine_promote(walk->engine, value, index, walk->options.skip);
    if (walk->is_over || walk->doubted) {
        dj_value_unref(value);
        return;
    }
    if (!slot->tier.is_read_only && !atomic_load(&slot->is_doubtful)) {
        finish(walk, value, level_of(walk, index));
        return;
    }
    watch(walk, 0);
    uint32_t home = dj_engine_home(walk->engine, &walk->options.key);
    walk->doubted = value;
    walk->current = index;
    walk->asked++;
    walk->task = (struct dj_task){.run = ask_home, .ctx = walk};
    dj_loop_post(walk->engine->options.loops[home], &walk->task);
}

/* (5) */
static void compare(struct walk *walk, const struct dj_value *value, uint32_t index)
{
    const struct dj_tier_slot *slot = &walk->engine->tiers[index];
    const struct dj_entry *lapsed = walk->lapsed ? dj_value_entry(walk->lapsed) : NULL;
    if (lapsed && dj_tier_is_shared(slot, lapsed, 0))
        walk->is_disowned |= !value || dj_value_entry(value)->version > lapsed->version;
}

static void on_unasked(void *ctx)
{
    struct walk *walk = ctx;
    walk->asked--;
    finish_empty(walk);
    release(walk);
}

static void on_visited(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct visit *visit = ctx;
    struct walk *walk = visit->walk;
    uint32_t index = visit->index;
    walk->asked--;
    if (status == DEJA_OK && value && is_taken(walk, value, index)) {
        take(walk, value, index);
    } else {
        if (status == DEJA_OK)
            compare(walk, value, index);
        dj_value_unref(value);
        if (!walk->is_over && !walk->doubted && walk->current == index && !step(walk))
            finish_empty(walk);
    }
    release(walk);
}

enum deja_status dj_engine_walk(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_walk_options *options, void *ctx,
                                dj_walk_usable_fn *is_usable, dj_engine_got_fn *got)
{
    if (engine->tier_count == 0)
        return DEJA_ERR_NOT_FOUND;
    struct walk *walk = dj_alloc_zeroed(1, sizeof *walk);
    if (!walk)
        return DEJA_ERR_NOMEM;
    *walk = (struct walk){.engine = engine,
                          .loop = loop,
                          .options = *options,
                          .ctx = ctx,
                          .is_usable = is_usable,
                          .got = got};
    if (!(options->skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY)))
        walk->lapsed = dj_memory_find_lapsed(engine->options.memory, dj_loop_index(loop),
                                             &options->key, dj_loop_now_ms(loop));
    dj_engine_enter(engine);
    if (step(walk))
        return DEJA_OK;
    if (walk->lapsed) {
        walk->asked++;
        walk->task = (struct dj_task){.run = on_unasked, .ctx = walk};
        dj_loop_post(loop, &walk->task);
        return DEJA_OK;
    }
    walk->is_over = true;
    release(walk);
    return DEJA_ERR_NOT_FOUND;
}
