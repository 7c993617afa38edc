#include "check.h"

#include <stdatomic.h>

#include "entries.h"
#include "loops.h"
#include "store/memory.h"

enum { NOW = 10000 };

struct fixture {
    struct loops loops;
    struct dj_store *store;
};

static void open_with(struct fixture *fixture, uint32_t loop_count,
                      struct dj_memory_options options)
{
    loops_create(&fixture->loops, loop_count);
    options.loop_count = loop_count;
    assert_int_equal(dj_memory_open(&options, fixture->loops.loop, &fixture->store), DEJA_OK);
}

static void open_entries(struct fixture *fixture, uint32_t loop_count, uint64_t entries_max)
{
    open_with(fixture, loop_count,
              (struct dj_memory_options){.bytes_max = 100 << 20,
                                         .entries_max = entries_max,
                                         .tenant_entries_max = entries_max});
}

static void close_all(struct fixture *fixture)
{
    fixture->store->ops->close(fixture->store);
    loops_destroy(&fixture->loops);
}

/* Takes value. */
static bool put(struct fixture *fixture, struct dj_value *value)
{
    bool is_stored = dj_memory_put(fixture->store, value, NOW);
    dj_value_unref(value);
    return is_stored;
}

static bool has(struct fixture *fixture, uint32_t tenant, uint32_t id, int64_t now_ms)
{
    struct dj_store_key key = key_of(tenant, id);
    struct dj_value *value = dj_memory_find(fixture->store, 0, &key, now_ms);
    dj_value_unref(value);
    return value != NULL;
}

static uint64_t entries_of(struct fixture *fixture, uint32_t tenant)
{
    struct dj_store_key key = key_of(tenant, 0);
    struct dj_store_stats stats;
    fixture->store->ops->stats(fixture->store, tenant ? key.tenant : NULL, &stats);
    assert_true(stats.bytes <= stats.bytes_max);
    assert_true(stats.entries > 0 || stats.bytes == 0);
    return stats.entries;
}

static void tenant_never_sees_another_tenants_entry_of_the_same_id(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 100);
    assert_true(put(&fixture, value_of(1, 7, 1, "of one")));
    assert_false(has(&fixture, 2, 7, NOW));
    assert_true(put(&fixture, value_of(2, 7, 1, "of two")));
    struct dj_store_key key = key_of(1, 7);
    struct dj_value *value = dj_memory_find(fixture.store, 0, &key, NOW);
    assert_true(deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text("of one")));
    dj_value_unref(value);
    assert_true(dj_memory_remove(fixture.store, &key, UINT64_MAX));
    assert_true(has(&fixture, 2, 7, NOW));
    close_all(&fixture);
}

static void only_a_newer_version_overwrites(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 100);
    assert_true(put(&fixture, value_of(1, 1, 5, "five")));
    assert_false(put(&fixture, value_of(1, 1, 5, "again")));
    assert_false(put(&fixture, value_of(1, 1, 4, "four")));
    assert_true(put(&fixture, value_of(1, 1, 6, "six")));
    struct dj_store_key key = key_of(1, 1);
    struct dj_value *value = dj_memory_find(fixture.store, 0, &key, NOW);
    assert_true(deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text("six")));
    dj_value_unref(value);
    assert_int_equal(entries_of(&fixture, 0), 1);
    assert_int_equal(entries_of(&fixture, 1), 1);
    close_all(&fixture);
}

static void expired_entry_is_a_miss_and_stale_one_is_not(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 100);
    assert_false(put(&fixture, value_until(1, 1, NOW, 0)));
    assert_true(put(&fixture, value_until(1, 2, NOW + 10, 0)));
    assert_true(put(&fixture, value_until(1, 3, NOW + 10, NOW + 20)));
    assert_true(has(&fixture, 1, 2, NOW + 9));
    assert_false(has(&fixture, 1, 2, NOW + 10));
    assert_true(has(&fixture, 1, 3, NOW + 19));
    assert_false(has(&fixture, 1, 3, NOW + 20));
    /* And it stands in nobody's way. */
    struct dj_value *fresh = value_of(1, 2, 1, "of the same version");
    assert_true(dj_memory_put(fixture.store, fresh, NOW + 10));
    dj_value_unref(fresh);
    assert_true(has(&fixture, 1, 2, NOW + 10));
    close_all(&fixture);
}

static void stay_is_bounded_and_never_lengthens_a_life(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(
        &fixture, 1,
        (struct dj_memory_options){
            .bytes_max = 1 << 20, .entries_max = 100, .tenant_entries_max = 100, .ttl_ms = 50});
    assert_true(put(&fixture, value_of(1, 1, 1, "without an end")));
    assert_true(put(&fixture, value_until(1, 2, NOW + 10, 0)));
    assert_true(put(&fixture, value_until(1, 3, NOW + 1000, 0)));
    assert_true(has(&fixture, 1, 1, NOW + 49));
    assert_false(has(&fixture, 1, 1, NOW + 50));
    assert_false(has(&fixture, 1, 2, NOW + 10));
    assert_false(has(&fixture, 1, 3, NOW + 50));
    struct dj_value *again = value_of(1, 1, 1, "from a tier below");
    assert_true(dj_memory_put(fixture.store, again, NOW + 50));
    dj_value_unref(again);
    assert_true(has(&fixture, 1, 1, NOW + 99));
    close_all(&fixture);
}

static bool has_lapsed(struct fixture *fixture, int64_t now_ms)
{
    struct dj_store_key key = key_of(1, 1);
    struct dj_value *value = dj_memory_find_lapsed(fixture->store, 0, &key, now_ms);
    dj_value_unref(value);
    return value != NULL;
}

static void lease_ends_and_begins_again_with_the_same_version(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1,
              (struct dj_memory_options){.bytes_max = 100 << 20,
                                         .entries_max = 10,
                                         .tenant_entries_max = 10,
                                         .ttl_ms = 1000,
                                         .lease_ms = 100});
    struct dj_value *value = value_of(1, 1, 5, "kept");
    struct dj_value *older = value_of(1, 1, 4, "older");
    assert_true(dj_memory_put(fixture.store, value, NOW));
    assert_true(has(&fixture, 1, 1, NOW + 99) && !has_lapsed(&fixture, NOW + 99));
    assert_true(!has(&fixture, 1, 1, NOW + 100) && has_lapsed(&fixture, NOW + 100));
    assert_false(dj_memory_put(fixture.store, older, NOW + 100));
    assert_true(has_lapsed(&fixture, NOW + 100));
    assert_false(dj_memory_put(fixture.store, value, NOW + 150));
    assert_true(has(&fixture, 1, 1, NOW + 249) && !has_lapsed(&fixture, NOW + 249));
    assert_false(dj_memory_put(fixture.store, value, NOW + 950));
    assert_true(has(&fixture, 1, 1, NOW + 999)); /* but never longer than it may stay */
    assert_true(!has(&fixture, 1, 1, NOW + 1000) && !has_lapsed(&fixture, NOW + 1000));
    struct dj_value *alone = value_of(1, 1, 6, "of nobody else");
    assert_true(dj_memory_put_alone(fixture.store, alone, NOW));
    assert_true(has(&fixture, 1, 1, NOW + 999) && !has_lapsed(&fixture, NOW + 999));
    assert_false(has(&fixture, 1, 1, NOW + 1000)); /* it stays no longer for it */
    dj_value_unref(alone);
    dj_value_unref(value);
    dj_value_unref(older);
    close_all(&fixture);
}

static void sweep_drops_what_expired_and_nothing_else(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 5000);
    for (uint32_t i = 0; i < 2000; i++)
        assert_true(put(&fixture, value_until(1, i, i % 2 ? NOW + 10 : 0, 0)));
    uint64_t removed = 0;
    for (int call = 0; call < 8; call++)
        removed += dj_memory_sweep(fixture.store, 0, NOW + 10);
    assert_int_equal(removed, 1000);
    assert_int_equal(entries_of(&fixture, 0), 1000);
    struct dj_store_stats stats;
    fixture.store->ops->stats(fixture.store, NULL, &stats);
    assert_int_equal(stats.expired, 1000);
    assert_true(has(&fixture, 1, 1998, NOW + 10));
    close_all(&fixture);
}

static void tier_stays_within_its_entries_and_bytes(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 100);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "body")));
    assert_int_equal(entries_of(&fixture, 0), 100);
    close_all(&fixture);

    char body[4001];
    memset(body, 'b', 4000);
    body[4000] = 0;
    open_with(&fixture, 1, (struct dj_memory_options){.bytes_max = 64 << 10, .entries_max = 1000});
    for (uint32_t i = 0; i < 200; i++) {
        assert_true(put(&fixture, value_of(1, i, 1, body)));
        assert_true(entries_of(&fixture, 0) <= 16);
    }
    assert_true(entries_of(&fixture, 0) > 10);
    char huge[70000];
    memset(huge, 'h', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    assert_false(put(&fixture, value_of(1, 500, 1, huge)));
    assert_true(entries_of(&fixture, 0) > 10);
    close_all(&fixture);
}

static void entries_asked_again_outlive_a_scan(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 200);
    for (uint32_t i = 0; i < 50; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "hot")));
    for (uint32_t scan = 0; scan < 20000; scan++) {
        if (scan % 100 == 0)
            for (uint32_t i = 0; i < 50; i++)
                assert_true(has(&fixture, 1, i, NOW));
        assert_true(put(&fixture, value_of(1, 1000 + scan, 1, "cold")));
    }
    for (uint32_t i = 0; i < 50; i++)
        assert_true(has(&fixture, 1, i, NOW));
    close_all(&fixture);
}

static void entry_that_comes_back_soon_enters_main(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 100);
    for (uint32_t i = 0; i < 150; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "body")));
    uint32_t back = 149; /* what fell out last */
    while (has(&fixture, 1, back, NOW))
        back--;
    assert_true(put(&fixture, value_of(1, back, 1, "body"))); /* its fingerprint is remembered */
    for (uint32_t i = 200; i < 1000; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "body")));
    assert_true(has(&fixture, 1, back, NOW));
    close_all(&fixture);
}

static void flood_of_one_tenant_evicts_only_its_own_when_full(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1,
              (struct dj_memory_options){
                  .bytes_max = 10 << 20, .entries_max = 100, .tenant_entries_max = 30});
    for (uint32_t i = 0; i < 20; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "quiet")));
    for (uint32_t i = 0; i < 5000; i++)
        assert_true(put(&fixture, value_of(2, i, 1, "flood")));
    for (uint32_t i = 0; i < 20; i++)
        assert_true(has(&fixture, 1, i, NOW));
    assert_int_equal(entries_of(&fixture, 1), 20);
    assert_int_equal(entries_of(&fixture, 2), 80);
    /* And the quiet one may grow into its share at the other's cost. */
    for (uint32_t i = 100; i < 110; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "quiet")));
    assert_int_equal(entries_of(&fixture, 1), 30);
    assert_int_equal(entries_of(&fixture, 2), 70);
    close_all(&fixture);
}

/* Two tenants are told apart by their keys' first byte. */
struct gone {
    struct dj_store_key one;
    uint32_t counts[2][DJ_GONE_REASON_COUNT]; /* of tenant 1, of others */
};

static void on_gone(void *ctx, const uint8_t tenant[DJ_ID_BYTES], enum dj_gone_reason reason)
{
    struct gone *gone = ctx;
    gone->counts[memcmp(tenant, gone->one.tenant, DJ_ID_BYTES) != 0][reason]++;
}

static void what_leaves_by_itself_is_told_with_its_tenant_and_reason(void **state)
{
    (void)state;
    struct fixture fixture;
    struct gone gone = {.one = key_of(1, 0)};
    open_with(&fixture, 1,
              (struct dj_memory_options){.bytes_max = 10 << 20,
                                         .entries_max = 100,
                                         .tenant_entries_max = 30,
                                         .gone = on_gone,
                                         .gone_ctx = &gone});
    for (uint32_t i = 0; i < 20; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "quiet")));
    for (uint32_t i = 0; i < 100; i++)
        assert_true(put(&fixture, value_of(2, i, 1, "flood")));
    assert_int_equal(gone.counts[1][DJ_GONE_TENANT_LIMIT], 20);
    assert_true(put(&fixture, value_of(1, 0, 2, "a newer one is no loss")));
    struct dj_store_key key = key_of(1, 1);
    assert_true(dj_memory_remove(fixture.store, &key, UINT64_MAX)); /* nor is what was asked for */
    for (unsigned reason = 0; reason < DJ_GONE_REASON_COUNT; reason++)
        assert_int_equal(gone.counts[0][reason], 0);
    struct dj_store_stats stats;
    fixture.store->ops->stats(fixture.store, NULL, &stats);
    assert_int_equal(stats.evictions, gone.counts[1][DJ_GONE_TENANT_LIMIT]);
    close_all(&fixture);

    gone = (struct gone){.one = key_of(1, 0)};
    open_with(&fixture, 1,
              (struct dj_memory_options){.bytes_max = 10 << 20,
                                         .entries_max = 10,
                                         .tenant_entries_max = 10,
                                         .gone = on_gone,
                                         .gone_ctx = &gone});
    for (uint32_t i = 0; i < 25; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "alone")));
    assert_int_equal(gone.counts[0][DJ_GONE_SIZE], 15);
    assert_int_equal(gone.counts[0][DJ_GONE_TENANT_LIMIT], 0);
    close_all(&fixture);
}

/* Bounds are those a daemon has by default. */
static void million_keys_of_one_tenant_leave_the_others_theirs(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const uint32_t flood_count = 50000;
#else
    const uint32_t flood_count = 1000000;
#endif
    struct fixture fixture;
    open_with(&fixture, 2,
              (struct dj_memory_options){
                  .bytes_max = 100 << 20, .entries_max = 10000, .tenant_entries_max = 1000});
    for (uint32_t tenant = 10; tenant < 15; tenant++)
        for (uint32_t i = 0; i < 400; i++)
            assert_true(put(&fixture, value_of(tenant, i, 1, "quiet")));
    for (uint32_t i = 0; i < flood_count; i++)
        assert_true(put(&fixture, value_of(2, i, 1, "flood")));
    for (uint32_t tenant = 10; tenant < 15; tenant++)
        assert_int_equal(entries_of(&fixture, tenant), 400);
    assert_true(entries_of(&fixture, 0) <= 10000); /* and the bytes: see entries_of */
    close_all(&fixture);
}

static void flood_spares_many_tenants_that_were_there_before_it(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1,
              (struct dj_memory_options){
                  .bytes_max = 10 << 20, .entries_max = 200, .tenant_entries_max = 30});
    for (uint32_t tenant = 10; tenant < 160; tenant++)
        assert_true(put(&fixture, value_of(tenant, 1, 1, "quiet")));
    for (uint32_t i = 0; i < 500; i++)
        assert_true(put(&fixture, value_of(2, i, 1, "flood")));
    for (uint32_t tenant = 10; tenant < 160; tenant++)
        assert_true(has(&fixture, tenant, 1, NOW));
    assert_int_equal(entries_of(&fixture, 2), 50);
    close_all(&fixture);
}

static void lone_tenant_may_use_the_whole_tier(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1,
              (struct dj_memory_options){
                  .bytes_max = 10 << 20, .entries_max = 100, .tenant_entries_max = 10});
    for (uint32_t i = 0; i < 300; i++)
        assert_true(put(&fixture, value_of(1, i, 1, "body")));
    assert_int_equal(entries_of(&fixture, 1), 100);
    close_all(&fixture);
}

static void hit_stays_readable_after_its_eviction(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 10);
    assert_true(put(&fixture, value_of(1, 1, 1, "kept")));
    struct dj_store_key key = key_of(1, 1);
    struct dj_value *value = dj_memory_find(fixture.store, 0, &key, NOW);
    assert_true(dj_memory_remove(fixture.store, &key, UINT64_MAX));
    assert_false(dj_memory_remove(fixture.store, &key, UINT64_MAX));
    close_all(&fixture);
    assert_true(deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text("kept")));
    dj_value_unref(value);
}

static void table_answers_on_the_calling_loop_later(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 3, 1000);
    loops_start(&fixture.loops);
    for (uint32_t i = 0; i < 30; i++) {
        struct dj_loop *loop = fixture.loops.loop[i % 3];
        assert_int_equal(wait_put(fixture.store, loop, value_of(1, i, 1, "body")), DEJA_OK);
        assert_int_equal(wait_put(fixture.store, loop, value_of(2, i, 1, "body")), DEJA_OK);
    }
    for (uint32_t i = 0; i < 30; i++) {
        struct dj_value *value =
            wait_get(fixture.store, fixture.loops.loop[(i + 1) % 3], key_of(1, i));
        assert_non_null(value);
        dj_value_unref(value);
    }
    assert_null(wait_get(fixture.store, fixture.loops.loop[0], key_of(1, 99)));
    assert_int_equal(wait_remove(fixture.store, fixture.loops.loop[2], key_of(1, 0)), 1);
    assert_int_equal(wait_remove(fixture.store, fixture.loops.loop[2], key_of(1, 0)), 0);
    assert_null(wait_get(fixture.store, fixture.loops.loop[1], key_of(1, 0)));
    loops_stop(&fixture.loops);
    close_all(&fixture);
}

static void clear_removes_a_tenant_from_every_shard_and_no_other(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 3, 10000);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_true(put(&fixture, value_of(1, i, 1, "body")));
        assert_true(put(&fixture, value_of(2, i, 1, "body")));
    }
    loops_start(&fixture.loops);
    assert_int_equal(wait_clear(fixture.store, fixture.loops.loop[1], key_of(1, 0)), 2000);
    assert_int_equal(wait_clear(fixture.store, fixture.loops.loop[1], key_of(1, 0)), 0);
    assert_int_equal(entries_of(&fixture, 1), 0);
    assert_int_equal(entries_of(&fixture, 2), 2000);
    loops_stop(&fixture.loops);
    close_all(&fixture);
}

static void full_tier_makes_room_for_a_shard_that_has_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 2, 4);
    uint32_t home[2][8];
    uint32_t count[2] = {0, 0};
    for (uint32_t id = 0; count[0] < 8 || count[1] < 8; id++) {
        struct dj_store_key key = key_of(1, id);
        uint32_t shard = dj_memory_home(fixture.store, &key);
        if (count[shard] < 8)
            home[shard][count[shard]++] = id;
    }
    for (int i = 0; i < 4; i++)
        assert_true(put(&fixture, value_of(1, home[0][i], 1, "body")));
    assert_false(put(&fixture, value_of(1, home[1][0], 1, "body")));
    loops_start(&fixture.loops);
    /* The trim was posted before this, so it has run when this is answered. */
    dj_value_unref(wait_get(fixture.store, fixture.loops.loop[0], key_of(1, home[0][0])));
    assert_int_equal(
        wait_put(fixture.store, fixture.loops.loop[1], value_of(1, home[1][0], 1, "body")),
        DEJA_OK);
    struct dj_value *value = wait_get(fixture.store, fixture.loops.loop[1], key_of(1, home[1][0]));
    assert_non_null(value);
    dj_value_unref(value);
    assert_true(entries_of(&fixture, 0) <= 4);
    loops_stop(&fixture.loops);
    close_all(&fixture);
}

static void operations_left_over_at_close_are_still_answered(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 10);
    struct call call = {.store = fixture.store,
                        .loop = fixture.loops.loop[0],
                        .kind = CALL_PUT,
                        .value = value_of(1, 1, 1, "late")};
    pthread_mutex_init(&call.mutex, NULL);
    pthread_cond_init(&call.cond, NULL);
    on_call(&call);
    assert_false(call.is_done);
    close_all(&fixture);
    assert_true(call.is_done);
    dj_value_unref(call.value);
}

/* ---- readers on three loops while each writes its own shard ---- */

enum { KEYS = 64, ROUNDS = 4000 };

struct hammer {
    struct dj_store *store;
    uint32_t loop_index;
    uint32_t hits;
    uint32_t wrong;
};

static void check_value(struct hammer *hammer, uint32_t id, struct dj_value *value)
{
    if (!value)
        return;
    const struct dj_entry *entry = dj_value_entry(value);
    char expected[32];
    snprintf(expected, sizeof expected, "%u-%llu", id, (unsigned long long)entry->version);
    hammer->hits++;
    if (!deja_slice_is_equal(entry->body, deja_slice_text(expected)))
        hammer->wrong++;
    dj_value_unref(value);
}

static void *run_hammer(void *ctx)
{
    struct hammer *hammer = ctx;
    uint32_t seed = hammer->loop_index + 1;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t id = (seed >> 16) % KEYS;
        struct dj_store_key key = key_of(1, id);
        if (dj_memory_home(hammer->store, &key) == hammer->loop_index) {
            char body[32];
            snprintf(body, sizeof body, "%u-%llu", id, (unsigned long long)round);
            struct dj_value *value = value_of(1, id, round, body);
            dj_memory_put(hammer->store, value, NOW);
            dj_value_unref(value);
            if (round % 7 == 0)
                dj_memory_remove(hammer->store, &key, UINT64_MAX);
        }
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t other = (id + i * 17) % KEYS;
            struct dj_store_key wanted = key_of(1, other);
            check_value(hammer, other,
                        dj_memory_find(hammer->store, hammer->loop_index, &wanted, NOW));
        }
    }
    return NULL;
}

static void readers_on_every_loop_see_whole_values_while_writers_write(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 3, 40); /* fewer than KEYS: evictions all the time */
    struct hammer hammers[3];
    pthread_t threads[3];
    for (uint32_t i = 0; i < 3; i++) {
        hammers[i] = (struct hammer){.store = fixture.store, .loop_index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_hammer, &hammers[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(hammers[i].wrong, 0);
        assert_true(hammers[i].hits > 0);
    }
    assert_true(entries_of(&fixture, 0) <= 40);
    close_all(&fixture);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct loops loops;
    loops_create(&loops, 2);
    struct dj_memory_options options = {.bytes_max = 1 << 20, .entries_max = 10, .loop_count = 2};
    for (size_t n = 1;; n++) {
        struct dj_store *store = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_memory_open(&options, loops.loop, &store);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            store->ops->close(store);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(store);
    }
    loops_destroy(&loops);
}

static void put_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    open_entries(&fixture, 1, 10);
    struct dj_value *value = value_of(1, 1, 1, "body");
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        bool is_stored = dj_memory_put(fixture.store, value, NOW);
        if (!failing_malloc_disarm()) {
            assert_true(is_stored);
            break;
        }
        assert_false(is_stored);
        assert_int_equal(entries_of(&fixture, 0), 0);
        assert_int_equal(entries_of(&fixture, 1), 0);
    }
    dj_value_unref(value);
    close_all(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenant_never_sees_another_tenants_entry_of_the_same_id),
        cmocka_unit_test(only_a_newer_version_overwrites),
        cmocka_unit_test(expired_entry_is_a_miss_and_stale_one_is_not),
        cmocka_unit_test(stay_is_bounded_and_never_lengthens_a_life),
        cmocka_unit_test(lease_ends_and_begins_again_with_the_same_version),
        cmocka_unit_test(sweep_drops_what_expired_and_nothing_else),
        cmocka_unit_test(tier_stays_within_its_entries_and_bytes),
        cmocka_unit_test(entries_asked_again_outlive_a_scan),
        cmocka_unit_test(entry_that_comes_back_soon_enters_main),
        cmocka_unit_test(flood_of_one_tenant_evicts_only_its_own_when_full),
        cmocka_unit_test(what_leaves_by_itself_is_told_with_its_tenant_and_reason),
        cmocka_unit_test(million_keys_of_one_tenant_leave_the_others_theirs),
        cmocka_unit_test(flood_spares_many_tenants_that_were_there_before_it),
        cmocka_unit_test(lone_tenant_may_use_the_whole_tier),
        cmocka_unit_test(hit_stays_readable_after_its_eviction),
        cmocka_unit_test(table_answers_on_the_calling_loop_later),
        cmocka_unit_test(clear_removes_a_tenant_from_every_shard_and_no_other),
        cmocka_unit_test(full_tier_makes_room_for_a_shard_that_has_nothing),
        cmocka_unit_test(operations_left_over_at_close_are_still_answered),
        cmocka_unit_test(readers_on_every_loop_see_whole_values_while_writers_write),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(put_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
