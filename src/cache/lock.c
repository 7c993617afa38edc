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

static struct dj_store *lock_store(const struct dj_engine *engine)
{
    for (uint32_t i = 0; i < engine->tier_count; i++)
        if (engine->tiers[i].tier.store->ops->lock && !engine->tiers[i].tier.is_read_only)
            return engine->tiers[i].tier.store;
    return NULL;
}

bool dj_engine_has_lock(const struct dj_engine *engine)
{
    return lock_store(engine) != NULL;
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
