/* tests/unit/store/test_memory_room.c - who goes when room is needed: strategies, limits, marks. */
#include "check.h"

#include "entries.h"
#include "loops.h"
#include "store/memory.h"

enum { NOW = 10000 };

struct fixture {
    struct loops loops;
    struct dj_store *store;
    int64_t now_ms;
};

static void open_with(struct fixture *fixture, uint32_t loop_count,
                      struct dj_memory_options options)
{
    loops_create(&fixture->loops, loop_count);
    options.loop_count = loop_count;
    if (!options.bytes_max)
        options.bytes_max = 100 << 20;
    fixture->now_ms = NOW;
    assert_int_equal(dj_memory_open(&options, fixture->loops.loop, &fixture->store), DEJA_OK);
}

static void close_all(struct fixture *fixture)
{
    fixture->store->ops->close(fixture->store);
    loops_destroy(&fixture->loops);
}

/* Each is a millisecond later than the one before. */
static bool put_until(struct fixture *fixture, uint32_t tenant, uint32_t id, int64_t expires_ms)
{
    struct dj_value *value = value_until(tenant, id, expires_ms, 0);
    bool is_stored = dj_memory_put(fixture->store, value, fixture->now_ms++);
    dj_value_unref(value);
    return is_stored;
}

static bool put(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    return put_until(fixture, tenant, id, 0);
}

static bool ask(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_store_key key = key_of(tenant, id);
    struct dj_value *value = dj_memory_find(fixture->store, 0, &key, fixture->now_ms++);
    dj_value_unref(value);
    return value != NULL;
}

static struct dj_store_stats stats_of(struct fixture *fixture, uint32_t tenant)
{
    struct dj_store_key key = key_of(tenant, 0);
    struct dj_store_stats stats;
    fixture->store->ops->stats(fixture->store, tenant ? key.tenant : NULL, &stats);
    return stats;
}

static void open_strategy(struct fixture *fixture, enum dj_evict_strategy strategy)
{
    open_with(fixture, 1,
              (struct dj_memory_options){
                  .entries_max = 10, .tenant_entries_max = 10, .strategy = strategy});
}

static void lru_drops_what_was_not_asked_for_longest(void **state)
{
    (void)state;
    struct fixture fixture;
    open_strategy(&fixture, DJ_EVICT_LRU);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(put(&fixture, 1, i));
    assert_true(ask(&fixture, 1, 0));
    assert_true(put(&fixture, 1, 10));
    assert_true(put(&fixture, 1, 11));
    assert_false(ask(&fixture, 1, 1));
    assert_false(ask(&fixture, 1, 2));
    for (uint32_t i = 3; i < 12; i++)
        assert_true(ask(&fixture, 1, i));
    assert_true(ask(&fixture, 1, 0));
    close_all(&fixture);
}

static void lfu_drops_what_was_asked_for_least(void **state)
{
    (void)state;
    struct fixture fixture;
    open_strategy(&fixture, DJ_EVICT_LFU);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(put(&fixture, 1, i));
    for (uint32_t i = 0; i < 10; i++)
        for (uint32_t n = 0; n < (i == 7 ? 1 : 3); n++)
            assert_true(ask(&fixture, 1, i));
    assert_true(put(&fixture, 1, 10));
    assert_false(ask(&fixture, 1, 7));
    close_all(&fixture);
}

static void ttl_drops_what_ends_first(void **state)
{
    (void)state;
    struct fixture fixture;
    open_strategy(&fixture, DJ_EVICT_TTL);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(put_until(&fixture, 1, i, i == 4 ? NOW + 500 : i == 5 ? 0 : NOW + 5000));
    assert_true(put_until(&fixture, 1, 10, NOW + 9000));
    assert_false(ask(&fixture, 1, 4));
    for (uint32_t i = 11; i < 20; i++)
        assert_true(put_until(&fixture, 1, i, NOW + 9000));
    assert_true(ask(&fixture, 1, 5));
    close_all(&fixture);
}

static void every_strategy_keeps_the_fair_share(void **state)
{
    (void)state;
    for (int strategy = DJ_EVICT_S3FIFO; strategy <= DJ_EVICT_TTL; strategy++) {
        struct fixture fixture;
        open_with(&fixture, 1,
                  (struct dj_memory_options){.entries_max = 100,
                                             .tenant_entries_max = 20,
                                             .strategy = (enum dj_evict_strategy)strategy});
        for (uint32_t i = 0; i < 20; i++)
            assert_true(put(&fixture, 1, i));
        for (uint32_t i = 0; i < 1000; i++)
            assert_true(put(&fixture, 2, i));
        assert_int_equal(stats_of(&fixture, 1).entries, 20);
        assert_int_equal(stats_of(&fixture, 2).entries, 80);
        close_all(&fixture);
    }
}

static void limit_of(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                     struct dj_memory_limit *out_limit)
{
    const struct dj_memory_limit *limit = ctx;
    struct dj_store_key one = key_of(1, 0);
    if (memcmp(tenant, one.tenant, DJ_ID_BYTES) == 0)
        *out_limit = *limit;
}

static void tenants_own_limit_is_hard_and_costs_nobody_else(void **state)
{
    (void)state;
    for (int strategy = DJ_EVICT_S3FIFO; strategy <= DJ_EVICT_TTL; strategy++) {
        struct fixture fixture;
        struct dj_memory_limit limit = {.entries_max = 7};
        open_with(&fixture, 1,
                  (struct dj_memory_options){.entries_max = 1000,
                                             .strategy = (enum dj_evict_strategy)strategy,
                                             .limit = limit_of,
                                             .limit_ctx = &limit});
        for (uint32_t i = 0; i < 100; i++) {
            assert_true(put(&fixture, 2, i));
            assert_true(put(&fixture, 1, i));
            assert_true(stats_of(&fixture, 1).entries <= 7);
        }
        assert_int_equal(stats_of(&fixture, 1).entries, 7);
        assert_int_equal(stats_of(&fixture, 2).entries, 100);
        limit = (struct dj_memory_limit){.bytes_max = stats_of(&fixture, 1).bytes / 7 * 3};
        for (uint32_t i = 200; i < 300; i++) {
            assert_true(put(&fixture, 1, i));
            assert_true(stats_of(&fixture, 1).bytes <= limit.bytes_max);
        }
        assert_int_equal(stats_of(&fixture, 1).entries, 3);
        limit.bytes_max = 10; /* nothing fits */
        assert_false(put(&fixture, 1, 400));
        close_all(&fixture);
    }
}

static void limit_holds_over_all_shards_and_the_last_put_finds_room(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_memory_limit limit = {.entries_max = 2};
    open_with(
        &fixture, 4,
        (struct dj_memory_options){.entries_max = 1000, .limit = limit_of, .limit_ctx = &limit});
    loops_start(&fixture.loops);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(wait_put(fixture.store, fixture.loops.loop[0], value_of(1, i, 1, "body")),
                         DEJA_OK);
        assert_true(stats_of(&fixture, 1).entries <= 2);
    }
    /* Asked for again until others have made room: each time they are asked to. */
    struct dj_value *found = NULL;
    for (uint64_t version = 2; !found; version++) {
        assert_int_equal(
            wait_put(fixture.store, fixture.loops.loop[0], value_of(1, 7, version, "body")),
            DEJA_OK);
        assert_true(stats_of(&fixture, 1).entries <= 2);
        found = wait_get(fixture.store, fixture.loops.loop[0], key_of(1, 7));
    }
    dj_value_unref(found);
    loops_stop(&fixture.loops);
    close_all(&fixture);
}

static void trimming_goes_to_the_low_water_mark_in_batches(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(
        &fixture, 1,
        (struct dj_memory_options){.entries_max = 1000, .tenant_entries_max = 1000, .batch = 30});
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(put(&fixture, 1, i));
    assert_false(
        dj_memory_trim(fixture.store, 0, fixture.now_ms)); /* full, and nobody was sent away */
    assert_int_equal(stats_of(&fixture, 0).entries, 1000);
    assert_true(put(&fixture, 1, 1000));
    uint64_t before = 1000;
    int turns = 1;
    for (; dj_memory_trim(fixture.store, 0, fixture.now_ms); turns++) {
        assert_int_equal(stats_of(&fixture, 0).entries, before - 30);
        before -= 30;
    }
    assert_int_equal(stats_of(&fixture, 0).entries, 900);
    assert_int_equal(turns, 4);
    assert_false(dj_memory_trim(fixture.store, 0, fixture.now_ms));
    assert_int_equal(stats_of(&fixture, 0).entries, 900);
    close_all(&fixture);
}

struct evicting {
    struct fixture *fixture;
    const uint8_t *tenant;
    uint64_t bytes;
    uint64_t removed;
    bool is_done;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void on_evicted(void *ctx, enum deja_status status, uint64_t removed)
{
    struct evicting *evicting = ctx;
    assert_int_equal(status, DEJA_OK);
    pthread_mutex_lock(&evicting->mutex);
    evicting->removed = removed;
    evicting->is_done = true;
    pthread_cond_signal(&evicting->cond);
    pthread_mutex_unlock(&evicting->mutex);
}

static void on_evict(void *ctx)
{
    struct evicting *evicting = ctx;
    struct dj_store *store = evicting->fixture->store;
    enum deja_status status =
        store->ops->evict(store, evicting->fixture->loops.loop[0], evicting->tenant,
                          evicting->bytes, evicting, on_evicted);
    assert_int_equal(status, DEJA_OK);
}

static uint64_t evict(struct fixture *fixture, const uint8_t *tenant, uint64_t bytes)
{
    struct evicting evicting = {.fixture = fixture, .tenant = tenant, .bytes = bytes};
    pthread_mutex_init(&evicting.mutex, NULL);
    pthread_cond_init(&evicting.cond, NULL);
    evicting.task = (struct dj_task){.run = on_evict, .ctx = &evicting};
    dj_loop_post(fixture->loops.loop[0], &evicting.task);
    pthread_mutex_lock(&evicting.mutex);
    while (!evicting.is_done)
        pthread_cond_wait(&evicting.cond, &evicting.mutex);
    pthread_mutex_unlock(&evicting.mutex);
    pthread_mutex_destroy(&evicting.mutex);
    pthread_cond_destroy(&evicting.cond);
    return evicting.removed;
}

static void evict_frees_the_bytes_that_are_asked_for_and_little_more(void **state)
{
    (void)state;
    for (int strategy = DJ_EVICT_S3FIFO; strategy <= DJ_EVICT_TTL; strategy++) {
        struct fixture fixture;
        open_with(&fixture, 3,
                  (struct dj_memory_options){.entries_max = 10000,
                                             .batch = 10,
                                             .strategy = (enum dj_evict_strategy)strategy});
        loops_start(&fixture.loops);
        for (uint32_t i = 0; i < 300; i++)
            for (uint32_t tenant = 1; tenant <= 2; tenant++)
                assert_int_equal(
                    wait_put(fixture.store, fixture.loops.loop[0], value_of(tenant, i, 1, "body")),
                    DEJA_OK);
        struct dj_store_key two = key_of(2, 0);
        uint64_t each = stats_of(&fixture, 1).bytes / 300;
        uint64_t removed = evict(&fixture, two.tenant, 100 * each);
        assert_in_range(removed, 100, 103);
        assert_int_equal(stats_of(&fixture, 1).entries, 300);
        assert_int_equal(stats_of(&fixture, 2).entries, 300 - removed);
        removed += evict(&fixture, NULL, 60 * each);
        assert_int_equal(stats_of(&fixture, 0).entries, 600 - removed);
        assert_in_range(removed, 160, 166);
        assert_int_equal(evict(&fixture, NULL, UINT64_MAX), 600 - removed);
        assert_int_equal(stats_of(&fixture, 0).bytes, 0);
        assert_int_equal(evict(&fixture, two.tenant, UINT64_MAX), 0);
        loops_stop(&fixture.loops);
        close_all(&fixture);
    }
}

static void sweeping_all_turns_leaves_nothing_expired(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1, (struct dj_memory_options){.entries_max = 20000});
    for (uint32_t i = 0; i < 9000; i++)
        assert_true(put_until(&fixture, 1, i, NOW + 100000));
    uint32_t turns = dj_memory_sweep_turns(fixture.store);
    for (uint32_t i = 0; i < turns; i++)
        dj_memory_sweep(fixture.store, 0, NOW + 200000);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    close_all(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_drops_what_was_not_asked_for_longest),
        cmocka_unit_test(lfu_drops_what_was_asked_for_least),
        cmocka_unit_test(ttl_drops_what_ends_first),
        cmocka_unit_test(every_strategy_keeps_the_fair_share),
        cmocka_unit_test(tenants_own_limit_is_hard_and_costs_nobody_else),
        cmocka_unit_test(limit_holds_over_all_shards_and_the_last_put_finds_room),
        cmocka_unit_test(trimming_goes_to_the_low_water_mark_in_batches),
        cmocka_unit_test(evict_frees_the_bytes_that_are_asked_for_and_little_more),
        cmocka_unit_test(sweeping_all_turns_leaves_nothing_expired),
    };
    return RUN_TESTS(tests);
}
