/* cache/usage.c - what the engine says about use: hits, top entries, verdicts. */
#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "proto/entry_json.h"

void dj_engine_note_hit(struct dj_engine *engine, struct dj_loop *loop,
                        const struct dj_entry *entry, const char *level)
{
    struct dj_happening happening = dj_happening_of(DJ_HAPPENED_GET, entry, dj_loop_now_ms(loop));
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    dj_access_note(engine->access, dj_loop_index(loop), &key, dj_loop_now_ms(loop));
    happening.tier = level;
    dj_happenings_note(engine->options.happenings, &happening);
}

void dj_engine_note_miss(struct dj_engine *engine, struct dj_loop *loop,
                         const uint8_t tenant[DJ_ID_BYTES], const uint8_t *id,
                         enum dj_entry_kind entry_kind)
{
    struct dj_happening happening = {.kind = DJ_HAPPENED_MISS,
                                     .time_ms = dj_loop_now_ms(loop),
                                     .has_id = id != NULL,
                                     .entry_kind = dj_entry_kind_text((uint8_t)entry_kind)};
    memcpy(happening.tenant, tenant, sizeof happening.tenant);
    if (id)
        memcpy(happening.id, id, sizeof happening.id);
    dj_happenings_note(engine->options.happenings, &happening);
}

void dj_engine_access(struct dj_engine *engine, const struct dj_store_key *key,
                      struct dj_access_stats *out_stats)
{
    dj_access_get(engine->access, key, out_stats);
}

/* ---- top ---- */

struct top {
    struct dj_engine *engine;
    uint8_t tenant[DJ_ID_BYTES];
    uint32_t k;
    uint32_t count;
    struct dj_top_entry entries[DJ_TOP_MAX];
    struct dj_job job;
    void *ctx;
    dj_top_done_fn *done;
};

static void find_top(void *ctx)
{
    struct top *top = ctx;
    top->count = dj_access_top(top->engine->access, top->tenant, top->k, top->entries);
}

static void on_top(void *ctx)
{
    struct top *top = ctx;
    top->done(top->ctx, DEJA_OK, top->entries, top->count);
    dj_engine_leave(top->engine);
    dj_free(top);
}

enum deja_status dj_engine_top(struct dj_engine *engine, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], uint32_t k, void *ctx,
                               dj_top_done_fn *done)
{
    if (k == 0 || k > DJ_TOP_MAX)
        return DEJA_ERR_INVALID;
    struct top *top = dj_alloc_zeroed(1, sizeof *top);
    if (!top)
        return DEJA_ERR_NOMEM;
    *top = (struct top){.engine = engine, .k = k, .ctx = ctx, .done = done};
    memcpy(top->tenant, tenant, sizeof top->tenant);
    top->job = (struct dj_job){.work = find_top, .done = on_top, .ctx = top, .loop = loop};
    dj_engine_enter(engine);
    enum deja_status status = dj_pool_submit(engine->options.pool, &top->job);
    if (status != DEJA_OK) {
        dj_engine_leave(engine);
        dj_free(top);
    }
    return status;
}

/* ---- feedback ---- */

struct verdict {
    struct dj_engine *engine;
    struct dj_task task;
    void *ctx;
    dj_remove_done_fn *done;
};

static void on_right(void *ctx)
{
    struct verdict *verdict = ctx;
    if (verdict->done)
        verdict->done(verdict->ctx, DEJA_OK, 0);
    dj_engine_leave(verdict->engine);
    dj_free(verdict);
}

enum deja_status dj_engine_feedback(struct dj_engine *engine, struct dj_loop *loop,
                                    const struct dj_store_key *key, bool is_wrong, void *ctx,
                                    dj_remove_done_fn *done)
{
    struct verdict *verdict = NULL;
    enum deja_status status = DEJA_OK;
    if (is_wrong) {
        status = dj_engine_remove(engine, loop, key, ctx, done);
    } else {
        verdict = dj_alloc_zeroed(1, sizeof *verdict);
        status = verdict ? DEJA_OK : DEJA_ERR_NOMEM;
    }
    if (status != DEJA_OK)
        return status;
    dj_access_verdict(engine->access, key->tenant, is_wrong);
    if (is_wrong)
        return DEJA_OK;
    *verdict = (struct verdict){.engine = engine, .ctx = ctx, .done = done};
    verdict->task = (struct dj_task){.run = on_right, .ctx = verdict};
    dj_engine_enter(engine);
    dj_loop_post(loop, &verdict->task);
    return DEJA_OK;
}

/* ---- keeping ---- */

static void keep(void *ctx)
{
    struct dj_engine *engine = ctx;
    dj_access_keep(engine->access);
}

static void on_kept(void *ctx)
{
    struct dj_engine *engine = ctx;
    engine->is_keeping = false;
    dj_engine_leave(engine);
}

void dj_engine_keep_access(struct dj_engine *engine, struct dj_loop *loop)
{
    /* Before the end of the load a row would overwrite what it has yet to be added to. */
    if (dj_loop_index(loop) != 0 || engine->is_keeping || !dj_engine_is_index_ready(engine))
        return;
    engine->keep_job = (struct dj_job){.work = keep, .done = on_kept, .ctx = engine, .loop = loop};
    dj_engine_enter(engine);
    engine->is_keeping = dj_pool_submit(engine->options.pool, &engine->keep_job) == DEJA_OK;
    if (!engine->is_keeping)
        dj_engine_leave(engine);
}
