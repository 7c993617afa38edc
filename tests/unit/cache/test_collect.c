/* Ids of a tenant's entries, collected from the tiers below memory. */
#include "cache/collect.h"

#include "check.h"

#include "shared_fixture.h"

/* memory, "redis", "s3" */
struct two {
    struct scripted redis;
    struct scripted s3;
    struct fixture fixture;
};

static void two_open(struct two *two)
{
    *two = (struct two){.fixture = {.tier_count = 0}};
    scripted_init(&two->redis);
    scripted_init(&two->s3);
    add_tier(&two->fixture, &two->redis, "redis", false);
    add_tier(&two->fixture, &two->s3, "s3", false);
    fixture_start(&two->fixture);
}

static void two_close(struct two *two)
{
    settle(&two->fixture);
    fixture_close(&two->fixture);
    scripted_fini(&two->redis);
    scripted_fini(&two->s3);
}

struct collecting {
    struct call call;
    size_t count_max;
    struct scripted *refuses_later; /* from the first entry that is shown on; NULL: none */
    bool wants_even;                /* only those */
    size_t n;                       /* the allocation that fails; 0: none */
    bool has_failed;
    unsigned times;
    size_t count;
    uint8_t ids[SCRIPTED_ENTRIES][DJ_ID_BYTES];
};

static bool is_wanted(void *ctx, const struct dj_entry *entry)
{
    struct collecting *collecting = ctx;
    assert_true(dj_loop_is_current(caller(&collecting->call)));
    if (collecting->refuses_later)
        collecting->refuses_later->is_refusing = true;
    return !collecting->wants_even || entry->id[0] % 2 == 0;
}

static void on_collected(void *ctx, const uint8_t (*ids)[DJ_ID_BYTES], size_t count)
{
    struct collecting *collecting = ctx;
    assert_true(dj_loop_is_current(caller(&collecting->call)));
    assert_true(count <= collecting->count_max && count <= SCRIPTED_ENTRIES);
    collecting->times++;
    collecting->count = count;
    if (count)
        memcpy(collecting->ids, ids, count * sizeof *ids);
    event_set(&collecting->call.ended);
}

static void start_collect(void *ctx)
{
    struct collecting *collecting = ctx;
    struct call *call = &collecting->call;
    failing_malloc_arm(collecting->n);
    call->status = dj_engine_collect(call->fixture->engine, caller(call), tenant_a,
                                     collecting->count_max, collecting, is_wanted, on_collected);
    collecting->has_failed = failing_malloc_disarm();
    assert_int_equal(collecting->times, 0); /* not inside the call */
}

static void collect(struct fixture *fixture, struct collecting *collecting)
{
    collecting->call.fixture = fixture;
    event_init(&collecting->call.ended);
    on_loop(caller(&collecting->call), start_collect, collecting);
    if (collecting->call.status == DEJA_OK)
        event_wait(&collecting->call.ended);
}

static void put_range(struct fixture *fixture, uint32_t from, uint32_t to, uint32_t skip)
{
    for (uint32_t i = from; i < to; i++) {
        struct dj_entry entry = numbered(fixture, i, "");
        assert_true(put_skipping(fixture, &entry, skip).is_stored);
    }
}

static void entry_in_two_tiers_is_collected_once(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    put_range(&two.fixture, 0, 70, S3);
    put_range(&two.fixture, 70, 80, 0);
    put_range(&two.fixture, 80, 90, REDIS);
    put_range(&two.fixture, 90, 95, REDIS | S3); /* memory alone */
    struct collecting all = {.count_max = 200};
    collect(&two.fixture, &all);
    assert_int_equal(all.count, 90);
    bool is_seen[SCRIPTED_ENTRIES] = {false};
    for (size_t i = 0; i < all.count; i++) {
        assert_false(is_seen[all.ids[i][0]]);
        is_seen[all.ids[i][0]] = true;
    }
    two_close(&two);
}

static void only_what_is_wanted_and_valid_counts(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    put_range(&two.fixture, 0, 20, S3);
    struct collecting even = {.count_max = 200, .wants_even = true};
    collect(&two.fixture, &even);
    assert_int_equal(even.count, 10);
    struct collecting few = {.count_max = 3, .wants_even = true};
    collect(&two.fixture, &few);
    assert_int_equal(few.count, 3);
    struct collecting none = {.count_max = 0};
    collect(&two.fixture, &none);
    assert_int_equal(none.count, 0);
    assert_int_equal(none.times, 1);
    struct call clearing = {.fixture = &two.fixture};
    memcpy(clearing.key.tenant, tenant_a, sizeof tenant_a);
    run_call(&clearing, start_clear);
    struct collecting cleared = {.count_max = 200};
    collect(&two.fixture, &cleared);
    assert_int_equal(cleared.count, 0);
    two_close(&two);
}

static void tier_that_refuses_is_left_out_and_the_next_is_read_from_its_start(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    put_range(&two.fixture, 0, 100, S3);
    put_range(&two.fixture, 100, 120, REDIS);
    struct collecting midway = {.count_max = 200, .refuses_later = &two.redis};
    collect(&two.fixture, &midway);
    assert_int_equal(midway.count, DJ_STORE_PAGE_MAX + 20);
    struct collecting later = {.count_max = 200};
    collect(&two.fixture, &later);
    assert_int_equal(later.count, 20);
    two.redis.is_refusing = false;
    two.redis.failure = DEJA_ERR_IO;
    two.s3.failure = DEJA_ERR_IO;
    struct collecting sick = {.count_max = 200};
    collect(&two.fixture, &sick);
    assert_int_equal(sick.count, 0);
    assert_int_equal(sick.times, 1);
    two_close(&two);
}

static void memory_alone_has_nothing_to_collect(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    put_range(&fixture, 0, 5, 0);
    struct collecting all = {.count_max = 200};
    collect(&fixture, &all);
    assert_int_equal(all.count, 0);
    assert_int_equal(all.times, 1);
    fixture_close(&fixture);
}

static void collection_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    put_range(&two.fixture, 0, 20, S3);
    for (size_t n = 1;; n++) {
        struct collecting trial = {.count_max = 200, .n = n};
        collect(&two.fixture, &trial);
        if (trial.call.status == DEJA_OK) /* a tier without memory for its page is left out */
            assert_int_equal(trial.count, trial.has_failed ? 0 : 20);
        else
            assert_true(trial.has_failed && trial.call.status == DEJA_ERR_NOMEM);
        if (!trial.has_failed)
            break;
    }
    two_close(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_in_two_tiers_is_collected_once),
        cmocka_unit_test(only_what_is_wanted_and_valid_counts),
        cmocka_unit_test(tier_that_refuses_is_left_out_and_the_next_is_read_from_its_start),
        cmocka_unit_test(memory_alone_has_nothing_to_collect),
        cmocka_unit_test(collection_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
