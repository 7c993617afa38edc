/* stage.h - an engine with everybody's answers in it, and loops it runs on. */
#ifndef DJ_TEST_ISOLATION_STAGE_H
#define DJ_TEST_ISOLATION_STAGE_H

#include "cache/engine.h"
#include "confused_store.h"
#include "directory.h"
#include "embed/lexical.h"
#include "loops.h"
#include "simd/simd.h"
#include "store/lmdb.h"
#include "store/memory.h"

struct stage {
    struct world *world;
    struct loops loops;
    struct dj_pool *pool;
    struct dj_engine *engine;
    struct directory directory;
    struct dj_store *confused; /* the engine's; NULL: an embedded tier in its place */
};

static inline struct dj_loop *stage_loop(const struct stage *stage)
{
    return stage->loops.loop[1];
}

static inline void stage_open(struct stage *stage, struct world *world, bool is_confused)
{
    const struct dj_memory_options memory = {.bytes_max = 64u << 20,
                                             .entries_max = 100000,
                                             .tenant_entries_max = 100000,
                                             .loop_count = LOOPS};
    struct dj_engine_options options = {
        .loop_count = LOOPS, .vectors_max = 10000, .threshold = 0.85, .api_threshold = 0.85};
    *stage = (struct stage){.world = world};
    loops_start(&stage->loops);
    directory_create(&stage->directory);
    enum deja_status status = dj_pool_create("isolation", 2, 10000, &stage->pool);
    assert(status == DEJA_OK);
    options.loops = stage->loops.loop;
    options.pool = stage->pool;
    status = dj_memory_open(&memory, stage->loops.loop, &options.memory);
    assert(status == DEJA_OK);
    if (is_confused) {
        stage->confused = confused_open(world);
        options.tiers[options.tier_count++] = (struct dj_tier){.store = stage->confused};
    } else {
        const struct dj_lmdb_options lmdb = {
            .directory = stage->directory.path, .bytes_max = 256u << 20, .pool = stage->pool};
        status = dj_lmdb_open(&lmdb, &options.lmdb, NULL, NULL);
        assert(status == DEJA_OK);
    }
    status = dj_lexical_create(&options.embedder);
    assert(status == DEJA_OK);
    status = dj_engine_create(&options, &stage->engine);
    assert(status == DEJA_OK);
    status = dj_engine_load_generations(stage->engine);
    assert(status == DEJA_OK);
    dj_engine_load_vectors(stage->engine);
}

static inline void stage_close(struct stage *stage)
{
    while (dj_engine_pending(stage->engine) > 0)
        drain_loop(stage_loop(stage));
    loops_stop(&stage->loops);
    dj_pool_destroy(stage->pool);
    dj_engine_destroy(stage->engine);
    loops_destroy(&stage->loops);
    directory_remove(&stage->directory);
}

/* One call of the test's thread, made on the loop and waited for. */
struct stage_call {
    struct stage *stage;
    struct event ended;
    const struct owner *owner;
    uint32_t question;
    struct dj_selector selector;
    enum deja_status status;
    uint64_t number;
    struct dj_top_entry top[DJ_TOP_MAX];
    struct dj_value *value;
};

static inline void stage_run(struct stage *stage, struct stage_call *call, dj_task_fn *start)
{
    call->stage = stage;
    event_init(&call->ended);
    on_loop(stage_loop(stage), start, call);
    event_wait(&call->ended);
    assert(call->status == DEJA_OK);
}

static inline void stage_on_put(void *ctx, enum deja_status status,
                                const struct dj_put_outcome *outcome)
{
    struct stage_call *call = ctx;
    call->status = status;
    call->number = outcome->is_stored;
    event_set(&call->ended);
}

static inline void stage_start_put(void *ctx)
{
    struct stage_call *call = ctx;
    struct stage *stage = call->stage;
    char text[TEXT_BYTES];
    struct dj_fill fill;
    struct dj_entry entry = entry_of(call->owner, call->question, text);
    /* Where the tier below searches, nothing is known here: so it is asked. */
    const struct dj_put_options options = {.is_semantic = !stage->confused, .is_through = true};
    dj_engine_begin_fill(stage->engine, &entry, &fill);
    enum deja_status status =
        dj_engine_put(stage->engine, stage_loop(stage), &entry, &options, call, stage_on_put);
    assert(status == DEJA_OK);
}

static inline void stage_fill(struct stage *stage)
{
    for (uint32_t i = 0; i < EVERYBODY; i++)
        for (uint32_t question = 0; question < STORED; question++) {
            struct stage_call call = {.owner = &stage->world->owners[i], .question = question};
            stage_run(stage, &call, stage_start_put);
            assert(call.number == 1);
        }
}

#endif
