/* cache/lock.c - locks of the first tier that offers them, for who makes an answer that programs of
 * a shared tier would otherwise make at the same time. */
#include "base/alloc.h"
#include "cache/engine_internal.h"

/* One question to the tier. */
struct question {
    struct dj_engine *engine;
    void *ctx;
    dj_store_locked_fn *locked; /* NULL: an unlock, of which nobody hears */
};

/* engine->tier_count: none has locks. */
static uint32_t lock_tier(const struct dj_engine *engine)
{
    uint32_t index = 0;
    while (index < engine->tier_count &&
           (!engine->tiers[index].tier.store->ops->lock || engine->tiers[index].tier.is_read_only))
        index++;
    return index;
}

static struct dj_store *lock_store(const struct dj_engine *engine)
{
    uint32_t index = lock_tier(engine);
    return index < engine->tier_count ? engine->tiers[index].tier.store : NULL;
}

bool dj_engine_has_lock(const struct dj_engine *engine)
{
    return lock_store(engine) != NULL;
}

uint32_t dj_engine_lock_patience_ms(const struct dj_engine *engine)
{
    uint32_t index = lock_tier(engine);
    return index < engine->tier_count ? engine->tiers[index].tier.soft_timeout_ms : 0;
}

uint32_t dj_engine_lock_skip(const struct dj_engine *engine, enum dj_entry_kind kind, uint32_t skip)
{
    const struct dj_entry entry = {.kind = (uint8_t)kind};
    uint32_t index = lock_tier(engine);
    if (index == engine->tier_count || !dj_tier_is_written(&engine->tiers[index], &entry, skip))
        return skip;
    while (++index < engine->tier_count)
        skip |= engine->tiers[index].bit;
    return skip;
}

static struct question *ask(struct dj_engine *engine, void *ctx, dj_store_locked_fn *locked)
{
    struct question *question = dj_alloc(sizeof *question);
    if (!question)
        return NULL;
    *question = (struct question){.engine = engine, .ctx = ctx, .locked = locked};
    dj_engine_enter(engine);
    return question;
}

static void end(struct question *question)
{
    dj_engine_leave(question->engine);
    dj_free(question);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct question *question = ctx;
    question->locked(question->ctx, status, is_held);
    end(question);
}

static void on_unlocked(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)status; /* whatever became of it: the lock ends by itself */
    (void)removed;
    end(ctx);
}

enum deja_status dj_engine_lock(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, const uint8_t token[16],
                                uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked)
{
    struct dj_store *store = lock_store(engine);
    if (!store)
        return DEJA_ERR_UNSUPPORTED;
    struct question *question = ask(engine, ctx, locked);
    if (!question)
        return DEJA_ERR_NOMEM;
    enum deja_status status =
        store->ops->lock(store, loop, key, token, lease_ms, question, on_locked);
    if (status != DEJA_OK)
        end(question);
    return status;
}

void dj_engine_unlock(struct dj_engine *engine, struct dj_loop *loop,
                      const struct dj_store_key *key, const uint8_t token[16])
{
    struct dj_store *store = lock_store(engine);
    struct question *question = store ? ask(engine, NULL, NULL) : NULL;
    if (question && store->ops->unlock(store, loop, key, token, question, on_unlocked) != DEJA_OK)
        end(question);
}
