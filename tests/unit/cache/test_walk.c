/* Reads down the tiers and back up, writes to all of them. */
#include "check.h"

#include "shared_fixture.h"

/* memory, "redis", "postgres", "s3" */
struct three {
    struct scripted redis;
    struct scripted postgres;
    struct scripted s3;
    struct fixture fixture;
};

static void three_prepare(struct three *three)
{
    *three = (struct three){.fixture = {.tier_count = 0}};
    scripted_init(&three->redis);
    scripted_init(&three->postgres);
    scripted_init(&three->s3);
    add_tier(&three->fixture, &three->redis, "redis", false);
    add_tier(&three->fixture, &three->postgres, "postgres", false);
    add_tier(&three->fixture, &three->s3, "s3", false);
}

static void three_open(struct three *three)
{
    three_prepare(three);
    fixture_start(&three->fixture);
}

static void three_close(struct three *three)
{
    settle(&three->fixture);
    fixture_close(&three->fixture);
    scripted_fini(&three->redis);
    scripted_fini(&three->postgres);
    scripted_fini(&three->s3);
}

static void answer_from_below_is_promoted_into_every_tier_above(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    put_skipping(&three.fixture, &entry, MEMORY | REDIS | POSTGRES);
    assert_false(scripted_has(&three.redis, &key));
    assert_string_equal(get(&three.fixture, &entry).level, "s3");
    settle(&three.fixture);
    assert_true(scripted_has(&three.redis, &key));
    assert_true(scripted_has(&three.postgres, &key));
    assert_string_equal(get(&three.fixture, &entry).level, "memory");
    assert_string_equal(get_skipping(&three.fixture, key, MEMORY | REDIS).level, "postgres");
    three_close(&three);
}

static void levels_to_skip_are_neither_read_nor_written(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    struct call call = put_skipping(&three.fixture, &entry, MEMORY | REDIS | S3);
    assert_true(call.is_stored);
    assert_int_equal(call.missed, 0); /* as it was told */
    assert_string_equal(get_skipping(&three.fixture, key, POSTGRES).level, "");
    assert_string_equal(get_skipping(&three.fixture, key, MEMORY | REDIS).level, "postgres");
    settle(&three.fixture);
    assert_false(scripted_has(&three.redis, &key));
    assert_false(is_found(&three.fixture, key, 0));
    three_close(&three);
}

static void sick_tier_is_passed_over(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    put_skipping(&three.fixture, &entry, MEMORY | REDIS | S3);
    three.redis.failure = DEJA_ERR_IO;
    assert_string_equal(get_skipping(&three.fixture, key_of(&entry), MEMORY).level, "postgres");
    settle(&three.fixture); /* what was found has been promoted, or was not */
    three.redis.failure = DEJA_OK;
    three.redis.is_refusing = true;
    assert_string_equal(get_skipping(&three.fixture, key_of(&entry), MEMORY).level, "postgres");
    three.postgres.is_refusing = true;
    three.s3.is_refusing = true;
    assert_string_equal(get_skipping(&three.fixture, key_of(&entry), MEMORY).level, "");
    three_close(&three);
}

static void put_tells_which_levels_missed_it(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    three.redis.failure = DEJA_ERR_IO;
    three.s3.is_refusing = true;
    struct call call = put_skipping(&three.fixture, &entry, 0);
    assert_true(call.is_stored);
    assert_int_equal(call.missed, REDIS | S3);
    assert_int_not_equal(call.status, DEJA_OK);
    assert_string_equal(get(&three.fixture, &entry).level, "memory");
    three_close(&three);
}

static void tier_behind_is_not_waited_for(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.tiers[1].is_behind = true;
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    three.postgres.failure = DEJA_ERR_IO;
    struct call call = put_skipping(&three.fixture, &entry, 0);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.missed, 0);
    settle(&three.fixture);
    struct dj_engine_stats stats;
    dj_engine_stats(three.fixture.engine, NULL, &stats);
    assert_int_equal(stats.tiers[1].dropped, 1);
    three.postgres.failure = DEJA_OK;
    put_all(&three.fixture, &entry);
    settle(&three.fixture);
    assert_true(scripted_has(&three.postgres, &key));
    assert_int_equal(change(&three.fixture, &entry, NULL, start_remove), 1);
    assert_false(scripted_has(&three.postgres, &key)); /* removals are waited for */
    three_close(&three);
}

static void tier_takes_only_the_kinds_it_is_for(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.tiers[2].kinds = DJ_TIER_KIND(DJ_ENTRY_CHAT);
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    assert_true(put(&three.fixture, &entry));
    assert_true(scripted_has(&three.postgres, &key));
    assert_false(scripted_has(&three.s3, &key));
    entry.kind = DJ_ENTRY_CHAT;
    put_all(&three.fixture, &entry);
    assert_true(scripted_has(&three.s3, &key));
    three_close(&three);
}

static void slow_tier_is_left_behind_and_its_late_answer_promoted(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.tiers[0].soft_timeout_ms = 1;
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    uint64_t older = entry.version;
    put_skipping(&three.fixture, &entry, MEMORY | REDIS | S3);
    struct dj_fill fill;
    dj_engine_begin_fill(three.fixture.engine, &entry, &fill);
    put_skipping(&three.fixture, &entry, MEMORY | POSTGRES | S3);
    three.redis.is_holding = true;
    struct answer answer = get(&three.fixture, &entry);
    assert_string_equal(answer.level, "postgres");
    assert_int_equal(answer.version, older);
    scripted_release(&three.redis);
    settle(&three.fixture);
    answer = get(&three.fixture, &entry);
    assert_string_equal(answer.level, "memory");
    assert_int_equal(answer.version, entry.version); /* the late one is newer */
    struct dj_engine_stats stats;
    dj_engine_stats(three.fixture.engine, NULL, &stats);
    assert_int_equal(stats.tiers[0].late, 1);
    three_close(&three);
}

static void last_tier_that_is_slow_is_a_miss(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.tiers[2].soft_timeout_ms = 1;
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    put_skipping(&three.fixture, &entry, MEMORY | REDIS | POSTGRES);
    three.s3.is_holding = true;
    assert_string_equal(get(&three.fixture, &entry).level, "");
    scripted_release(&three.s3);
    settle(&three.fixture);
    assert_string_equal(get(&three.fixture, &entry).level, "memory");
    three_close(&three);
}

/* The lease is over, the first tier does not answer, the last one has a soft timeout that is not
 * needed: it must not come when the caller has been told and the first is still waited for. */
static void memory_answers_past_its_lease_where_no_tier_does(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.lease_ms = 1;
    three.fixture.tiers[0].soft_timeout_ms = 1;
    three.fixture.tiers[2].soft_timeout_ms = 1;
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_entry other = entry_of(&three.fixture, tenant_a, 2, "");
    put_skipping(&three.fixture, &entry, MEMORY | POSTGRES | S3);
    get(&three.fixture, &entry); /* in memory from now on, under a lease */
    settle(&three.fixture);
    three.redis.is_holding = true;
    for (int i = 0; i < 3; i++) { /* the second time a soft timeout has passed, and so the lease */
        assert_string_equal(get(&three.fixture, &entry).level, "memory");
        assert_string_equal(get(&three.fixture, &other).level, "");
    }
    scripted_release(&three.redis);
    settle(&three.fixture);
    assert_string_not_equal(get(&three.fixture, &entry).level, "");
    three_close(&three);
}

static void delete_wins_over_a_promotion_that_is_under_way(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    put_skipping(&three.fixture, &entry, MEMORY | REDIS | POSTGRES);
    three.s3.is_holding = true;
    struct call reading = {.fixture = &three.fixture, .key = key};
    event_init(&reading.ended);
    on_loop(caller(&reading), start_get, &reading);
    for (uint32_t i = 0; i < 4; i++) /* the question has come to the last tier */
        for (uint32_t k = 0; k < LOOPS; k++)
            drain_loop(three.fixture.loops.loop[k]);
    assert_int_equal(change(&three.fixture, &entry, NULL, start_remove), 1);
    scripted_release(&three.s3);
    event_wait(&reading.ended);
    dj_value_unref(reading.value); /* it was asked before the delete */
    settle(&three.fixture);
    assert_string_equal(get(&three.fixture, &entry).level, "");
    assert_false(scripted_has(&three.redis, &key));
    assert_false(scripted_has(&three.postgres, &key));
    three_close(&three);
}

static void read_only_tier_is_read_and_never_written(void **state)
{
    (void)state;
    struct three three;
    three_prepare(&three);
    three.fixture.tiers[1].is_read_only = true;
    fixture_start(&three.fixture);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    struct dj_store_key key = key_of(&entry);
    assert_true(put(&three.fixture, &entry));
    assert_int_equal(three.postgres.puts, 0);
    /* Somebody else put it there. */
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    pthread_mutex_lock(&three.postgres.lock);
    *scripted_place(&three.postgres, &key) =
        (struct scripted_entry){.key = key, .value = value, .version = entry.version};
    pthread_mutex_unlock(&three.postgres.lock);
    uint32_t others = MEMORY | REDIS | S3;
    assert_string_equal(get_skipping(&three.fixture, key, others).level, "postgres");
    assert_int_equal(change(&three.fixture, &entry, NULL, start_remove), 1);
    assert_true(scripted_has(&three.postgres, &key));
    assert_string_equal(get_skipping(&three.fixture, key, others).level, "");
    assert_string_equal(get(&three.fixture, &entry).level, "");
    three_close(&three);
}

static void tier_that_missed_a_delete_does_not_bring_the_entry_back(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    assert_true(put(&three.fixture, &entry));
    three.redis.failure = DEJA_ERR_IO;
    struct call call = {.fixture = &three.fixture, .key = key_of(&entry)};
    run_call(&call, start_remove);
    assert_int_equal(call.status, DEJA_ERR_IO);
    three.redis.failure = DEJA_OK;
    assert_string_equal(get(&three.fixture, &entry).level, "");
    put_all(&three.fixture, &entry);
    assert_string_equal(get_skipping(&three.fixture, key_of(&entry), MEMORY).level, "redis");
    three_close(&three);
}

static void entry_in_several_tiers_is_counted_and_removed_once(void **state)
{
    (void)state;
    static const struct dj_selector all;
    struct three three;
    three_open(&three);
    for (uint32_t i = 0; i < 20; i++) {
        struct dj_entry entry = numbered(&three.fixture, i, "");
        assert_true(put_skipping(&three.fixture, &entry, i % 3 ? 0 : MEMORY | S3).is_stored);
    }
    assert_int_equal(count_of(&three.fixture, &all), 20);
    assert_int_equal(select_entries(&three.fixture, &all, true), 20);
    assert_int_equal(count_of(&three.fixture, &all), 0);
    struct dj_entry first = numbered(&three.fixture, 0, "");
    struct dj_store_key key = key_of(&first);
    assert_false(scripted_has(&three.redis, &key));
    three_close(&three);
}

/* One call whose nth allocation fails, made on its loop. */
struct trial {
    struct call call;
    size_t n;
    bool is_writing;
    bool has_failed;
    enum deja_status status;
};

static void try_step(void *ctx)
{
    struct trial *trial = ctx;
    struct call *call = &trial->call;
    struct dj_engine *engine = call->fixture->engine;
    failing_malloc_arm(trial->n);
    trial->status = trial->is_writing
                        ? dj_engine_put(engine, caller(call), call->entry, NULL, call, on_put)
                        : dj_engine_get(engine, caller(call), &call->key, 0, call, on_got);
    trial->has_failed = failing_malloc_disarm();
}

static void try_all(struct fixture *fixture, struct dj_entry *entry, bool is_writing)
{
    struct trial trial = {.has_failed = true, .is_writing = is_writing};
    while (trial.has_failed) {
        trial.call = (struct call){.fixture = fixture, .entry = entry, .key = key_of(entry)};
        trial.n++;
        event_init(&trial.call.ended);
        on_loop(caller(&trial.call), try_step, &trial);
        assert_true(trial.status == DEJA_OK ||
                    (trial.has_failed && trial.status == DEJA_ERR_NOMEM));
        if (trial.status == DEJA_OK) /* a get without memory for its walk is a miss */
            event_wait(&trial.call.ended);
        dj_value_unref(trial.call.value);
    }
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    struct three three;
    three_open(&three);
    struct dj_entry entry = entry_of(&three.fixture, tenant_a, 1, "");
    try_all(&three.fixture, &entry, true);
    settle(&three.fixture);
    struct dj_entry other = entry_of(&three.fixture, tenant_a, 2, "");
    try_all(&three.fixture, &other, false);
    three_close(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_from_below_is_promoted_into_every_tier_above),
        cmocka_unit_test(levels_to_skip_are_neither_read_nor_written),
        cmocka_unit_test(sick_tier_is_passed_over),
        cmocka_unit_test(put_tells_which_levels_missed_it),
        cmocka_unit_test(tier_behind_is_not_waited_for),
        cmocka_unit_test(tier_takes_only_the_kinds_it_is_for),
        cmocka_unit_test(slow_tier_is_left_behind_and_its_late_answer_promoted),
        cmocka_unit_test(last_tier_that_is_slow_is_a_miss),
        cmocka_unit_test(memory_answers_past_its_lease_where_no_tier_does),
        cmocka_unit_test(delete_wins_over_a_promotion_that_is_under_way),
        cmocka_unit_test(read_only_tier_is_read_and_never_written),
        cmocka_unit_test(tier_that_missed_a_delete_does_not_bring_the_entry_back),
        cmocka_unit_test(entry_in_several_tiers_is_counted_and_removed_once),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
