/* engine_fixture.h - an engine with memory, the lexical embedder, workers and running loops, and
 * with an embedded tier if it has a directory; calls are made on loop 1 and waited for. */
#ifndef DJ_TEST_CACHE_ENGINE_FIXTURE_H
#define DJ_TEST_CACHE_ENGINE_FIXTURE_H

#include <stdatomic.h>

#include "check.h"

#include <stdio.h>
#include <unistd.h>

#include "cache/engine.h"
#include "embed/lexical.h"
#include "loops.h"
#include "store/lmdb.h"
#include "store/memory.h"

#define STORED "How do I reset my password on the website?"
#define REWORDED "how do I reset my password on the website"

static const uint8_t tenant_a[DJ_ID_BYTES] = "tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "tenant b";

struct fixture {
    struct loops loops;
    struct dj_pool *pool;
    struct dj_engine *engine;
    const char *directory;                  /* NULL: no embedded tier */
    struct dj_tier tiers[DJ_TIERS_MAX - 1]; /* below it; opened by the test */
    uint32_t tier_count;
    uint64_t lease_ms;                       /* of memory; 0: none */
    _Atomic uint32_t contained;              /* steps in the background that failed */
    const char *_Atomic contained_operation; /* of the last one */
};

static inline void fixture_contained(void *ctx, const char *operation, enum deja_status status)
{
    struct fixture *fixture = ctx;
    assert_int_not_equal(status, DEJA_OK);
    atomic_store(&fixture->contained_operation, operation);
    atomic_fetch_add(&fixture->contained, 1);
}

static inline enum deja_status try_create(struct fixture *fixture)
{
    struct dj_memory_options memory = {.bytes_max = 1 << 20,
                                       .entries_max = 100,
                                       .tenant_entries_max = 100,
                                       .loop_count = LOOPS,
                                       .lease_ms = fixture->lease_ms};
    struct dj_engine_options options = {.contained = fixture_contained,
                                        .contained_ctx = fixture,
                                        .loops = fixture->loops.loop,
                                        .loop_count = LOOPS,
                                        .pool = fixture->pool,
                                        .vectors_max = 100,
                                        .threshold = 0.85};
    enum deja_status status = dj_memory_open(&memory, fixture->loops.loop, &options.memory);
    const struct dj_lmdb_options lmdb = {
        .directory = fixture->directory, .bytes_max = 64 << 20, .pool = fixture->pool};
    if (status == DEJA_OK && fixture->directory)
        status = dj_lmdb_open(&lmdb, &options.lmdb, NULL, NULL);
    if (options.lmdb)
        options.meta = dj_lmdb_meta_of(options.lmdb);
    if (status == DEJA_OK)
        status = dj_lexical_create(&options.embedder);
    options.tier_count = fixture->tier_count;
    memcpy(options.tiers, fixture->tiers, sizeof options.tiers);
    if (status == DEJA_OK)
        status = dj_engine_create(&options, &fixture->engine);
    if (status != DEJA_OK) {
        dj_embedder_destroy(options.embedder);
        if (options.lmdb)
            options.lmdb->ops->close(options.lmdb);
        if (options.memory)
            options.memory->ops->close(options.memory);
    }
    return status;
}

static inline void fixture_start(struct fixture *fixture)
{
    loops_start(&fixture->loops);
    assert_int_equal(dj_pool_create("test", 2, 1000, &fixture->pool), DEJA_OK);
    assert_int_equal(try_create(fixture), DEJA_OK);
    assert_int_equal(dj_engine_load_generations(fixture->engine), DEJA_OK);
    dj_engine_load_vectors(fixture->engine);
}

static inline void fixture_open(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    fixture_start(fixture);
}

static inline void fixture_close(struct fixture *fixture)
{
    while (dj_engine_pending(fixture->engine) > 0)
        usleep(1000); /* what is under way holds the engine: see dj_engine_pending */
    loops_stop(&fixture->loops);
    dj_pool_destroy(fixture->pool);
    dj_engine_destroy(fixture->engine);
    loops_destroy(&fixture->loops);
}

/* One call, its arguments and what came of it. */
struct call {
    struct fixture *fixture;
    struct event ended;
    struct dj_entry *entry;
    bool is_semantic;
    const struct dj_query_vector *vector;
    struct dj_store_key key;
    struct deja_slice tag;
    uint64_t max_age_ms;
    uint64_t as_of;
    uint32_t skip;
    const struct dj_fingerprint *fingerprint;
    struct dj_lookup_options options;
    /* results */
    enum deja_status status;
    bool is_stored;
    uint32_t missed;
    uint64_t removed;
    struct dj_value *value;
    enum dj_hit_kind kind;
    char reason[64];
    char level[16];
    uint32_t candidate_count;
    struct dj_candidate candidates[DJ_CANDIDATES_MAX]; /* values: not ours */
};

static inline struct dj_loop *caller(const struct call *call)
{
    return call->fixture->loops.loop[1];
}

static inline void run_call(struct call *call, dj_task_fn *start)
{
    event_init(&call->ended);
    on_loop(caller(call), start, call);
    event_wait(&call->ended);
}

static inline void on_put(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct call *call = ctx;
    assert_true(dj_loop_is_current(caller(call)));
    call->status = status;
    call->is_stored = outcome->is_stored;
    call->missed = outcome->missed;
    event_set(&call->ended);
}

static inline void start_put(void *ctx)
{
    struct call *call = ctx;
    const struct dj_put_options options = {.is_semantic = call->is_semantic,
                                           .vector = call->vector,
                                           .skip = call->skip,
                                           .as_of = call->as_of};
    assert_int_equal(
        dj_engine_put(call->fixture->engine, caller(call), call->entry, &options, call, on_put),
        DEJA_OK);
}

static inline bool put(struct fixture *fixture, struct dj_entry *entry)
{
    struct call call = {.fixture = fixture, .entry = entry, .is_semantic = entry->query.len > 0};
    run_call(&call, start_put);
    assert_int_equal(call.status, DEJA_OK);
    return call.is_stored;
}

/* What was computed as of its version. */
static inline bool put_fill(struct fixture *fixture, struct dj_entry *entry)
{
    struct call call = {.fixture = fixture,
                        .entry = entry,
                        .is_semantic = entry->query.len > 0,
                        .as_of = entry->version};
    run_call(&call, start_put);
    assert_int_equal(call.status, DEJA_OK);
    return call.is_stored;
}

static inline void on_removed(void *ctx, enum deja_status status, uint64_t removed)
{
    struct call *call = ctx;
    assert_true(dj_loop_is_current(caller(call)));
    call->status = status;
    call->removed = removed;
    event_set(&call->ended);
}

static inline void start_remove(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(
        dj_engine_remove(call->fixture->engine, caller(call), &call->key, call, on_removed),
        DEJA_OK);
}

static inline void start_clear(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(
        dj_engine_clear(call->fixture->engine, caller(call), call->key.tenant, call, on_removed),
        DEJA_OK);
}

static inline void start_invalidate(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(dj_engine_invalidate_tag(call->fixture->engine, caller(call), call->key.tenant,
                                              call->tag, call, on_removed),
                     DEJA_OK);
}

static inline struct dj_store_key key_of(const struct dj_entry *entry)
{
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    return key;
}

static inline uint64_t change(struct fixture *fixture, const struct dj_entry *entry,
                              const char *tag, dj_task_fn *start)
{
    struct call call = {.fixture = fixture, .key = key_of(entry), .tag = deja_slice_text(tag)};
    run_call(&call, start);
    assert_int_equal(call.status, DEJA_OK);
    return call.removed;
}

static inline void find_step(void *ctx)
{
    struct call *call = ctx;
    call->value = dj_engine_find(call->fixture->engine, caller(call), &call->key, call->max_age_ms);
}

static inline bool is_found(struct fixture *fixture, struct dj_store_key key, uint64_t max_age_ms)
{
    struct call call = {.fixture = fixture, .key = key, .max_age_ms = max_age_ms};
    on_loop(caller(&call), find_step, &call);
    dj_value_unref(call.value);
    return call.value != NULL;
}

static inline void on_lookup(void *ctx, const struct dj_lookup_result *result)
{
    struct call *call = ctx;
    assert_true(dj_loop_is_current(caller(call)));
    call->status = result->status;
    call->kind = result->kind;
    call->value = result->value ? dj_value_ref(result->value) : NULL;
    snprintf(call->reason, sizeof call->reason, "%s", result->reason ? result->reason : "");
    snprintf(call->level, sizeof call->level, "%s", result->level ? result->level : "");
    call->candidate_count = result->candidate_count;
    if (result->candidate_count > 0)
        memcpy(call->candidates, result->candidates,
               result->candidate_count * sizeof *call->candidates);
    event_set(&call->ended);
}

static inline void start_lookup(void *ctx)
{
    struct call *call = ctx;
    assert_int_equal(dj_engine_lookup(call->fixture->engine, caller(call), call->fingerprint,
                                      &call->options, call->vector, call, on_lookup),
                     DEJA_OK);
}

static inline void expect_lookup(struct fixture *fixture, const struct dj_fingerprint *fingerprint,
                                 enum dj_hit_kind kind, const char *reason)
{
    struct call call = {.fixture = fixture,
                        .fingerprint = fingerprint,
                        .options = {.is_exact = true, .is_semantic = true}};
    run_call(&call, start_lookup);
    assert_int_equal(call.status, DEJA_OK);
    if (reason)
        assert_string_equal(call.reason, reason);
    assert_int_equal(call.kind, kind);
    assert_int_equal(call.value != NULL, kind != DJ_HIT_NONE);
    dj_value_unref(call.value);
}

/* An entry of that tenant, made now; the number is its id, the text its query. */
static inline struct dj_entry entry_of(struct fixture *fixture, const uint8_t *tenant,
                                       uint8_t number, const char *text)
{
    struct dj_fill fill;
    struct dj_entry entry = {.kind = DJ_ENTRY_API,
                             .created_ms = dj_clock_now_ms(),
                             .query = deja_slice_text(text),
                             .body = deja_slice_text("\"an answer\"")};
    memcpy(entry.tenant, tenant, sizeof entry.tenant);
    memset(entry.id, number, sizeof entry.id);
    memset(entry.exact, number, sizeof entry.exact);
    memset(entry.scope, 7, sizeof entry.scope);
    dj_engine_begin_fill(fixture->engine, &entry, &fill);
    return entry;
}

static inline struct dj_fingerprint question(const uint8_t *tenant, uint8_t number,
                                             const char *text)
{
    struct dj_fingerprint fingerprint = {.text = deja_slice_text(text), .is_semantic = true};
    memcpy(fingerprint.key.tenant, tenant, sizeof fingerprint.key.tenant);
    memset(fingerprint.key.id, number, sizeof fingerprint.key.id);
    memset(fingerprint.exact, number, sizeof fingerprint.exact);
    memset(fingerprint.scope, 7, sizeof fingerprint.scope);
    return fingerprint;
}

#endif
