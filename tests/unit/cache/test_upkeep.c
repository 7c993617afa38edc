/* Eviction on demand, the list of who would go, indexes made anew. */
#include "check.h"

#include "cache/upkeep.h"
#include "disk_fixture.h"

struct evicting {
    struct call call;
    const uint8_t *tenant;
    uint64_t bytes;
    uint32_t count;
    struct dj_eviction evictions[DJ_TIERS_MAX + 1];
};

static void on_evicted(void *ctx, enum deja_status status, const struct dj_eviction *evictions,
                       uint32_t count)
{
    struct evicting *evicting = ctx;
    assert_true(dj_loop_is_current(caller(&evicting->call)));
    evicting->call.status = status;
    evicting->count = count;
    memcpy(evicting->evictions, evictions, count * sizeof *evictions);
    event_set(&evicting->call.ended);
}

static void start_evict(void *ctx)
{
    struct evicting *evicting = ctx;
    assert_int_equal(dj_engine_evict(evicting->call.fixture->engine, caller(&evicting->call),
                                     evicting->tenant, evicting->bytes, evicting, on_evicted),
                     DEJA_OK);
}

static uint64_t evict(struct fixture *fixture, const uint8_t *tenant, uint64_t bytes)
{
    struct evicting evicting = {.call = {.fixture = fixture}, .tenant = tenant, .bytes = bytes};
    event_init(&evicting.call.ended);
    on_loop(caller(&evicting.call), start_evict, &evicting);
    event_wait(&evicting.call.ended);
    assert_int_equal(evicting.call.status, DEJA_OK);
    assert_int_equal(evicting.count, 1);
    assert_string_equal(evicting.evictions[0].level, "memory");
    return evicting.evictions[0].removed;
}

static void fill(struct fixture *fixture, const uint8_t *tenant, uint8_t count)
{
    for (uint8_t i = 1; i <= count; i++) {
        struct dj_entry entry = entry_of(fixture, tenant, i, "a question");
        entry.created_ms = i; /* long ago, in their order */
        assert_true(put(fixture, &entry));
    }
}

static uint64_t entries_of(struct fixture *fixture, const uint8_t *tenant)
{
    struct dj_engine_stats stats;
    dj_engine_stats(fixture->engine, tenant, &stats);
    return stats.memory.entries;
}

static void evict_takes_of_the_tenant_or_of_all(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    fill(&fixture, tenant_a, 20);
    fill(&fixture, tenant_b, 20);
    assert_int_equal(evict(&fixture, tenant_a, 1), 1);
    assert_int_equal(entries_of(&fixture, tenant_a), 19);
    uint64_t tenth = evict(&fixture, tenant_a, 0);
    assert_in_range(tenth, 2, 3);
    assert_int_equal(entries_of(&fixture, tenant_a), 19 - tenth);
    assert_int_equal(entries_of(&fixture, tenant_b), 20);
    assert_int_equal(evict(&fixture, NULL, UINT64_MAX), 39 - tenth);
    assert_int_equal(entries_of(&fixture, NULL), 0);
    assert_int_equal(evict(&fixture, NULL, 0), 0);
    fixture_close(&fixture);
}

struct listing {
    struct call call;
    enum dj_idle_order order;
    uint32_t k;
    uint32_t count;
    uint8_t first[DJ_IDLE_MAX]; /* of each entry's id */
    double scores[DJ_IDLE_MAX];
};

static void on_idle(void *ctx, enum deja_status status, const struct dj_idle_entry *entries,
                    uint32_t count)
{
    struct listing *listing = ctx;
    listing->call.status = status;
    listing->count = count;
    for (uint32_t i = 0; i < count; i++) {
        listing->first[i] = dj_value_entry(entries[i].value)->id[0];
        listing->scores[i] = entries[i].score;
    }
    event_set(&listing->call.ended);
}

static void start_idle(void *ctx)
{
    struct listing *listing = ctx;
    assert_int_equal(dj_engine_idle(listing->call.fixture->engine, caller(&listing->call), tenant_a,
                                    listing->order, listing->k, listing, on_idle),
                     DEJA_OK);
}

static void list_idle(struct listing *listing)
{
    event_init(&listing->call.ended);
    on_loop(caller(&listing->call), start_idle, listing);
    event_wait(&listing->call.ended);
    assert_int_equal(listing->call.status, DEJA_OK);
}

static void note_hit(void *ctx)
{
    struct call *call = ctx;
    dj_engine_note_hit(call->fixture->engine, caller(call), call->entry, "memory");
}

static void hit(struct fixture *fixture, uint8_t number)
{
    struct dj_entry entry = entry_of(fixture, tenant_a, number, "a question");
    struct call call = {.fixture = fixture, .entry = &entry};
    on_loop(caller(&call), note_hit, &call);
}

static void longest_not_served_comes_first(struct fixture *fixture)
{
    fill(fixture, tenant_a, 10);
    fill(fixture, tenant_b, 10);
    hit(fixture, 1);
    hit(fixture, 3);
    struct listing few = {.call = {.fixture = fixture}, .k = 3};
    list_idle(&few);
    assert_int_equal(few.count, 3);
    assert_memory_equal(few.first, "\2\4\5", 3);
    struct listing all = {.call = {.fixture = fixture}, .k = 100};
    list_idle(&all);
    assert_int_equal(all.count, 10); /* each once, however many tiers have it */
    assert_memory_equal(all.first, "\2\4\5\6\7\x8\x9\xa", 8);
    hit(fixture, 1);
    struct listing scored = {.call = {.fixture = fixture}, .k = 10, .order = DJ_IDLE_SCORE};
    list_idle(&scored);
    assert_int_equal(scored.count, 10);
    assert_int_equal(scored.first[9], 1);
    assert_int_equal(scored.first[8], 3);
    for (uint32_t i = 1; i < scored.count; i++)
        assert_true(scored.scores[i - 1] <= scored.scores[i]);
    assert_int_equal(dj_engine_idle(fixture->engine, fixture->loops.loop[1], tenant_a, DJ_IDLE_LAST,
                                    DJ_IDLE_MAX + 1, NULL, on_idle),
                     DEJA_ERR_INVALID);
}

static void longest_not_served_comes_first_in_memory(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    longest_not_served_comes_first(&fixture);
    fixture_close(&fixture);
}

static void longest_not_served_comes_first_over_two_tiers(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    longest_not_served_comes_first(&disk.fixture);
    disk_close(&disk);
}

static void start_optimise(void *ctx)
{
    struct call *call = ctx;
    call->status = dj_engine_optimise(call->fixture->engine, caller(call), NULL);
}

static void optimised_index_has_no_free_slots_and_finds_the_same(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_index_stats stats;
    struct dj_optimise_progress progress;
    fixture_open(&fixture);
    dj_engine_optimise_progress(fixture.engine, &progress);
    assert_false(progress.is_running);
    assert_int_equal(progress.started_ms, 0);
    for (uint8_t i = 1; i <= 40; i++) {
        struct dj_entry entry = entry_of(&fixture, tenant_a, i, "a question about cats");
        assert_true(put(&fixture, &entry));
        if (i % 2)
            assert_int_equal(change(&fixture, &entry, "", start_remove), 1);
    }
    assert_int_equal(dj_engine_index_stats(fixture.engine, tenant_b, &stats), DEJA_OK);
    assert_int_equal(stats.indexes, 0);
    assert_int_equal(dj_engine_index_stats(fixture.engine, tenant_a, &stats), DEJA_OK);
    assert_int_equal(stats.indexes, 1);
    assert_int_equal(stats.vectors, 20);
    assert_true(stats.free_slots > 0);
    struct call call = {.fixture = &fixture};
    on_loop(caller(&call), start_optimise, &call);
    assert_int_equal(call.status, DEJA_OK);
    do {
        drain_loop(caller(&call));
        dj_engine_optimise_progress(fixture.engine, &progress);
    } while (progress.is_running);
    assert_int_equal(progress.status, DEJA_OK);
    assert_int_equal(progress.done, 1);
    assert_int_equal(progress.total, 1);
    assert_true(progress.bytes > 0 && progress.ended_ms >= progress.started_ms);
    assert_int_equal(dj_engine_index_stats(fixture.engine, NULL, &stats), DEJA_OK);
    assert_int_equal(stats.vectors, 20);
    assert_int_equal(stats.free_slots, 0);
    assert_int_equal(dj_engine_pending(fixture.engine), 0);
    fixture_close(&fixture);
}

struct sweeping {
    struct dj_engine *engine;
    struct dj_loop *loop;
};

static void sweep(void *ctx)
{
    struct sweeping *sweeping = ctx;
    dj_engine_sweep(sweeping->engine, sweeping->loop);
}

static void round_goes_over_everything_that_expired(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    for (uint8_t i = 1; i <= 60; i++) {
        struct dj_entry entry = entry_of(&fixture, tenant_a, i, "a question");
        entry.expires_ms = dj_clock_now_ms() + 1;
        put(&fixture, &entry);
    }
    while (entries_of(&fixture, NULL) > 0) {
        for (uint32_t i = 0; i < LOOPS; i++) {
            struct sweeping sweeping = {fixture.engine, fixture.loops.loop[i]};
            on_loop(sweeping.loop, sweep, &sweeping);
        }
    }
    fixture_close(&fixture);
}

static void calls_survive_their_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    struct dj_loop *loop = fixture.loops.loop[1];
    struct evicting evicting = {.call = {.fixture = &fixture}};
    struct listing listing = {.call = {.fixture = &fixture}, .k = 1};
    event_init(&evicting.call.ended);
    event_init(&listing.call.ended);
    failing_malloc_arm(1);
    assert_int_equal(
        dj_engine_idle(fixture.engine, loop, tenant_a, DJ_IDLE_LAST, 1, &listing, on_idle),
        DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    failing_malloc_arm(1);
    assert_int_equal(dj_engine_evict(fixture.engine, loop, tenant_a, 1, &evicting, on_evicted),
                     DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    struct dj_index_stats stats;
    failing_malloc_arm(1);
    assert_int_equal(dj_engine_index_stats(fixture.engine, NULL, &stats), DEJA_ERR_NOMEM);
    assert_true(failing_malloc_disarm());
    assert_int_equal(dj_engine_pending(fixture.engine), 0);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evict_takes_of_the_tenant_or_of_all),
        cmocka_unit_test(longest_not_served_comes_first_in_memory),
        cmocka_unit_test(longest_not_served_comes_first_over_two_tiers),
        cmocka_unit_test(optimised_index_has_no_free_slots_and_finds_the_same),
        cmocka_unit_test(round_goes_over_everything_that_expired),
        cmocka_unit_test(calls_survive_their_failed_allocation),
    };
    return RUN_TESTS(tests);
}
