/* Everything of a tenant out of every tier, and what is told of those where it is not. */
#include "check.h"

#include "cache/erase.h"
#include "failing_malloc.h"
#include "shared_fixture.h"

struct erasure {
    struct fixture *fixture;
    const char *tag;
    size_t failing; /* allocation that fails; 0: none */
    bool had_failure;
    enum deja_status status; /* of the call */
    struct dj_erase_result result;
    struct event ended;
};

static void on_erased(void *ctx, const struct dj_erase_result *result)
{
    struct erasure *erasure = ctx;
    erasure->result = *result;
    event_set(&erasure->ended);
}

static void start_erasure(void *ctx)
{
    struct erasure *erasure = ctx;
    if (erasure->failing)
        failing_malloc_arm(erasure->failing);
    erasure->status = dj_engine_erase(erasure->fixture->engine, erasure->fixture->loops.loop[1],
                                      tenant_a, deja_slice_text(erasure->tag), erasure, on_erased);
    if (erasure->failing)
        erasure->had_failure = failing_malloc_disarm();
    if (erasure->status != DEJA_OK)
        event_set(&erasure->ended);
}

static struct erasure erase_failing(struct fixture *fixture, const char *tag, size_t failing)
{
    struct erasure erasure = {.fixture = fixture, .tag = tag, .failing = failing};
    event_init(&erasure.ended);
    on_loop(fixture->loops.loop[1], start_erasure, &erasure);
    event_wait(&erasure.ended);
    return erasure;
}

static struct erasure erase(struct fixture *fixture, const char *tag)
{
    return erase_failing(fixture, tag, 0);
}

static const struct dj_erase_level *level_of(const struct erasure *erasure, const char *name)
{
    for (uint32_t i = 0; i < erasure->result.count; i++)
        if (strcmp(erasure->result.levels[i].level, name) == 0)
            return &erasure->result.levels[i];
    fail_msg("no level %s", name);
    return NULL;
}

/* memory and "redis" */
struct two {
    struct scripted redis;
    struct fixture fixture;
    struct dj_entry mine;
    struct dj_entry others;
};

static void two_open(struct two *two, bool is_read_only)
{
    *two = (struct two){.fixture = {.tier_count = 0}};
    scripted_init(&two->redis);
    add_tier(&two->fixture, &two->redis, "redis", false);
    two->fixture.tiers[0].is_read_only = is_read_only;
    fixture_start(&two->fixture);
    two->mine = entry_of(&two->fixture, tenant_a, 1, STORED);
    two->others = entry_of(&two->fixture, tenant_b, 2, STORED);
    put_skipping(&two->fixture, &two->mine, 0);
    put_skipping(&two->fixture, &two->others, 0);
    settle(&two->fixture);
}

static void two_close(struct two *two)
{
    settle(&two->fixture);
    fixture_close(&two->fixture);
    scripted_fini(&two->redis);
}

static void tenant_is_gone_from_every_level_and_others_stay(void **state)
{
    (void)state;
    struct two two;
    two_open(&two, false);
    struct erasure erasure = erase(&two.fixture, "");
    assert_int_equal(erasure.status, DEJA_OK);
    assert_true(erasure.result.is_complete);
    assert_int_equal(erasure.result.removed, 1); /* once, however many tiers had it */
    assert_int_equal(erasure.result.count, 2);
    assert_string_equal(erasure.result.levels[0].level, "memory");
    assert_int_equal(level_of(&erasure, "redis")->left, 0);
    struct dj_store_key key = key_of(&two.mine);
    assert_false(scripted_has(&two.redis, &key));
    assert_string_equal(get(&two.fixture, &two.mine).level, "");
    assert_string_equal(get(&two.fixture, &two.others).level, "memory");
    two_close(&two);
}

static void level_that_fails_keeps_it_open_until_it_is_back(void **state)
{
    (void)state;
    struct two two;
    two_open(&two, false);
    two.redis.failure = DEJA_ERR_IO;
    struct erasure erasure = erase(&two.fixture, "");
    assert_false(erasure.result.is_complete);
    assert_int_equal(level_of(&erasure, "redis")->status, DEJA_ERR_IO);
    assert_int_equal(level_of(&erasure, "memory")->status, DEJA_OK);
    two.redis.failure = DEJA_OK;
    erasure = erase(&two.fixture, "");
    assert_true(erasure.result.is_complete);
    two_close(&two);
}

/* Written by somebody else. */
static void put_foreign(struct two *two)
{
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&two->mine, &value), DEJA_OK);
    two->redis.entries[two->redis.entry_count++] = (struct scripted_entry){
        .key = key_of(&two->mine), .value = value, .version = two->mine.version};
}

static void level_that_is_only_read_is_done_when_its_writers_have_erased(void **state)
{
    (void)state;
    struct two two;
    two_open(&two, true);
    put_foreign(&two);
    struct dj_store_key key = key_of(&two.mine);
    struct erasure erasure = erase(&two.fixture, "");
    assert_false(erasure.result.is_complete);
    assert_true(level_of(&erasure, "redis")->is_read_only);
    assert_int_equal(level_of(&erasure, "redis")->left, 1);
    assert_true(scripted_has(&two.redis, &key));                 /* not ours to remove */
    assert_string_equal(get(&two.fixture, &two.mine).level, ""); /* and not served any more */
    dj_value_unref(two.redis.entries[0].value);
    two.redis.entries[0].value = NULL;
    erasure = erase(&two.fixture, "");
    assert_true(erasure.result.is_complete);
    two_close(&two);
}

static void tag_takes_its_entries_alone(void **state)
{
    (void)state;
    struct two two;
    two_open(&two, false);
    struct dj_entry tagged = {.version = 0};
    struct dj_fill fill;
    tagged = entry_of(&two.fixture, tenant_a, 3, "");
    tagged.tag_count = 1;
    tagged.tags[0].name = deja_slice_text("user:1");
    dj_engine_begin_fill(two.fixture.engine, &tagged, &fill);
    put_skipping(&two.fixture, &tagged, 0);
    struct erasure erasure = erase(&two.fixture, "user:1");
    assert_true(erasure.result.is_complete);
    assert_int_equal(erasure.result.removed, 1);
    assert_string_equal(get(&two.fixture, &tagged).level, "");
    assert_string_equal(get(&two.fixture, &two.mine).level, "memory");
    two_close(&two);
}

static void erase_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct two two;
    two_open(&two, false);
    for (size_t n = 1;; n++) {
        struct erasure erasure = erase_failing(&two.fixture, "", n);
        if (!erasure.had_failure) {
            assert_int_equal(erasure.status, DEJA_OK);
            assert_true(erasure.result.is_complete);
            break;
        }
        assert_int_equal(erasure.status, DEJA_ERR_NOMEM);
        assert_string_equal(get(&two.fixture, &two.others).level, "memory");
    }
    two_close(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenant_is_gone_from_every_level_and_others_stay),
        cmocka_unit_test(level_that_fails_keeps_it_open_until_it_is_back),
        cmocka_unit_test(level_that_is_only_read_is_done_when_its_writers_have_erased),
        cmocka_unit_test(tag_takes_its_entries_alone),
        cmocka_unit_test(erase_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
