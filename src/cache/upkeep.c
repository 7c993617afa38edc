/* cache/upkeep.c - rounds over memory, and indexes made anew. See upkeep.h.
 *
 *   a round of a loop:  sweep a piece ──> … ──> trim a batch ──> …      a message to itself between
 *
 * (1) A loop has one round at a time; a second is not begun before the first has ended.
 * (2) progress is under its lock; whoever set is_running runs alone.
 */
#include "cache/upkeep.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cache/engine_internal.h"
#include "store/memory.h"

#define CHECK_MS_DEFAULT 300000u

/* Loop-bound. */
struct tender {
    struct dj_upkeep *upkeep;
    struct dj_loop *loop;
    struct dj_task task;
    bool is_running;
    uint32_t sweeps_left;
    int64_t checked_ms; /* when trimming was last begun; 0: never */
    bool is_trimming;
};

struct dj_upkeep {
    struct dj_engine *engine;
    struct tender *tenders; /* one per loop */
    int64_t kept_ms;        /* loop 0's: when access statistics were handed on */
    pthread_mutex_t lock;   /* a leaf */
    struct dj_optimise_progress progress;
    struct dj_job job;
    struct dj_flat **flats; /* of the run; owned */
    size_t flat_count;
};

enum deja_status dj_upkeep_create(struct dj_engine *engine, struct dj_upkeep **out_upkeep)
{
    uint32_t count = engine->options.loop_count;
    struct dj_upkeep *upkeep = dj_alloc_zeroed(1, sizeof *upkeep);
    struct tender *tenders = dj_alloc_zeroed(count, sizeof *tenders);
    if (!upkeep || !tenders) {
        dj_free(upkeep);
        dj_free(tenders);
        return DEJA_ERR_NOMEM;
    }
    pthread_mutex_init(&upkeep->lock, NULL);
    upkeep->engine = engine;
    upkeep->tenders = tenders;
    for (uint32_t i = 0; i < count; i++)
        tenders[i] = (struct tender){.upkeep = upkeep, .loop = engine->options.loops[i]};
    *out_upkeep = upkeep;
    return DEJA_OK;
}

void dj_upkeep_destroy(struct dj_upkeep *upkeep)
{
    if (!upkeep)
        return;
    pthread_mutex_destroy(&upkeep->lock);
    dj_free(upkeep->flats);
    dj_free(upkeep->tenders);
    dj_free(upkeep);
}

/* ---- rounds ---- */

static void tend(void *ctx)
{
    struct tender *tender = ctx;
    struct dj_engine *engine = tender->upkeep->engine;
    struct dj_store *memory = engine->options.memory;
    uint32_t index = dj_loop_index(tender->loop);
    int64_t now_ms = dj_loop_now_ms(tender->loop);
    if (tender->sweeps_left > 0) {
        tender->sweeps_left--;
        dj_memory_sweep(memory, index, now_ms);
    } else if (tender->is_trimming) {
        tender->is_trimming = dj_memory_trim(memory, index, now_ms);
    }
    if (tender->sweeps_left > 0 || tender->is_trimming) {
        tender->task = (struct dj_task){.run = tend, .ctx = tender};
        dj_loop_post(tender->loop, &tender->task);
        return;
    }
    tender->is_running = false;
    dj_engine_leave(engine);
}

void dj_upkeep_tend(struct dj_upkeep *upkeep, struct dj_loop *loop)
{
    struct tender *tender = &upkeep->tenders[dj_loop_index(loop)];
    const struct dj_engine_options *options = &upkeep->engine->options;
    int64_t now_ms = dj_loop_now_ms(loop);
    uint64_t check_ms = options->evict_check_ms ? options->evict_check_ms : CHECK_MS_DEFAULT;
    if (tender->is_running)
        return; /* (1) */
    tender->is_running = true;
    tender->sweeps_left = dj_memory_sweep_turns(options->memory);
    if (!tender->checked_ms)
        tender->checked_ms = now_ms;
    tender->is_trimming =
        now_ms - tender->checked_ms >= 0 && (uint64_t)(now_ms - tender->checked_ms) >= check_ms;
    if (tender->is_trimming)
        tender->checked_ms = now_ms;
    dj_engine_enter(upkeep->engine);
    tend(tender);
}

void dj_engine_flush(struct dj_engine *engine, struct dj_loop *loop)
{
    struct dj_upkeep *upkeep = engine->upkeep;
    int64_t now_ms = dj_loop_now_ms(loop);
    dj_access_flush(engine->access);
    if (now_ms - upkeep->kept_ms < DJ_KEEP_MS && now_ms >= upkeep->kept_ms)
        return;
    upkeep->kept_ms = now_ms;
    dj_engine_keep_access(engine, loop);
}

/* ---- indexes ---- */

enum deja_status dj_engine_index_stats(struct dj_engine *engine, const uint8_t *tenant,
                                       struct dj_index_stats *out_stats)
{
    struct dj_flat **flats = NULL;
    size_t count = 0;
    struct dj_index_stats stats = {0};
    enum deja_status status =
        dj_indexes_list(dj_semantic_indexes(engine->semantic), tenant, &flats, &count);
    if (status != DEJA_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        stats.indexes++;
        stats.vectors += dj_flat_count(flats[i]);
        stats.free_slots += dj_flat_free_slots(flats[i]);
        stats.bytes += dj_flat_bytes(flats[i]);
        stats.evictions += dj_flat_evictions(flats[i]);
    }
    dj_free(flats);
    *out_stats = stats;
    return DEJA_OK;
}

void dj_engine_optimise_progress(struct dj_engine *engine,
                                 struct dj_optimise_progress *out_progress)
{
    struct dj_upkeep *upkeep = engine->upkeep;
    pthread_mutex_lock(&upkeep->lock);
    *out_progress = upkeep->progress;
    pthread_mutex_unlock(&upkeep->lock);
}

static void note_one(struct dj_upkeep *upkeep, enum deja_status status,
                     const struct dj_flat_compacted *compacted)
{
    pthread_mutex_lock(&upkeep->lock);
    struct dj_optimise_progress *progress = &upkeep->progress;
    progress->done++;
    progress->expired += compacted->expired;
    progress->bytes += compacted->bytes;
    if (progress->status == DEJA_OK)
        progress->status = status;
    pthread_mutex_unlock(&upkeep->lock);
}

static void note_status(struct dj_upkeep *upkeep, enum deja_status status)
{
    pthread_mutex_lock(&upkeep->lock);
    if (upkeep->progress.status == DEJA_OK)
        upkeep->progress.status = status;
    pthread_mutex_unlock(&upkeep->lock);
}

static bool on_step(void *ctx, uint32_t step, uint32_t step_count, const char *what)
{
    struct dj_upkeep *upkeep = ctx;
    pthread_mutex_lock(&upkeep->lock);
    upkeep->progress.done = upkeep->flat_count + step - 1;
    upkeep->progress.total = upkeep->flat_count + step_count;
    snprintf(upkeep->progress.what, sizeof upkeep->progress.what, "%s", what);
    pthread_mutex_unlock(&upkeep->lock);
    return !atomic_load(&upkeep->engine->is_stopping);
}

static void optimise_tier(struct dj_upkeep *upkeep)
{
    const struct dj_engine_options *options = &upkeep->engine->options;
    enum deja_status status = options->optimise_tier(options->optimise_ctx, upkeep, on_step);
    note_status(upkeep, status);
    pthread_mutex_lock(&upkeep->lock);
    upkeep->progress.what[0] = '\0';
    if (status == DEJA_OK)
        upkeep->progress.done = upkeep->progress.total;
    pthread_mutex_unlock(&upkeep->lock);
}

/* Worker. */
static void optimise(void *ctx)
{
    struct dj_upkeep *upkeep = ctx;
    bool is_all = !upkeep->progress.has_tenant; /* written before this ran */
    for (size_t i = 0; i < upkeep->flat_count && !atomic_load(&upkeep->engine->is_stopping); i++) {
        struct dj_flat_compacted compacted = {0};
        enum deja_status status = dj_flat_compact(upkeep->flats[i], dj_clock_now_ms(), &compacted);
        note_one(upkeep, status, &compacted);
    }
    if (is_all && upkeep->engine->options.optimise_tier &&
        !atomic_load(&upkeep->engine->is_stopping))
        optimise_tier(upkeep);
    if (atomic_load(&upkeep->engine->is_stopping))
        note_status(upkeep, DEJA_ERR_CANCELLED);
}

static void end_run(struct dj_upkeep *upkeep, int64_t now_ms)
{
    dj_free(upkeep->flats);
    upkeep->flats = NULL;
    pthread_mutex_lock(&upkeep->lock);
    upkeep->progress.is_running = false;
    upkeep->progress.ended_ms = now_ms;
    pthread_mutex_unlock(&upkeep->lock);
    dj_engine_leave(upkeep->engine);
}

static void on_optimised(void *ctx)
{
    end_run(ctx, dj_clock_now_ms());
}

/* False: somebody else's runs. */
static bool begin_run(struct dj_upkeep *upkeep, const uint8_t *tenant, int64_t now_ms)
{
    pthread_mutex_lock(&upkeep->lock);
    bool is_free = !upkeep->progress.is_running;
    if (is_free) {
        upkeep->progress = (struct dj_optimise_progress){
            .is_running = true, .has_tenant = tenant != NULL, .started_ms = now_ms};
        if (tenant)
            memcpy(upkeep->progress.tenant, tenant, DJ_ID_BYTES);
    }
    pthread_mutex_unlock(&upkeep->lock);
    if (is_free)
        dj_engine_enter(upkeep->engine);
    return is_free;
}

enum deja_status dj_engine_optimise(struct dj_engine *engine, struct dj_loop *loop,
                                    const uint8_t *tenant)
{
    struct dj_upkeep *upkeep = engine->upkeep;
    int64_t now_ms = dj_loop_now_ms(loop);
    if (!begin_run(upkeep, tenant, now_ms))
        return DEJA_ERR_BUSY;
    enum deja_status status = dj_indexes_list(dj_semantic_indexes(engine->semantic), tenant,
                                              &upkeep->flats, &upkeep->flat_count);
    if (status == DEJA_OK) {
        pthread_mutex_lock(&upkeep->lock);
        upkeep->progress.total = upkeep->flat_count;
        pthread_mutex_unlock(&upkeep->lock);
        upkeep->job =
            (struct dj_job){.work = optimise, .done = on_optimised, .ctx = upkeep, .loop = loop};
        status = dj_pool_submit(engine->options.pool, &upkeep->job);
    }
    if (status != DEJA_OK)
        end_run(upkeep, now_ms);
    return status;
}
