/* Generations that several programs keep in one shared tier. */
#include "check.h"

#include "shared_fixture.h"

/* Two programs; tier "redis" is the authority, "postgres" only keeps. */
struct two {
    struct scripted redis;
    struct scripted postgres;
    struct fixture node[2];
};

static void node_start(struct two *two, uint32_t i)
{
    two->node[i] = (struct fixture){.tier_count = 0};
    add_tier(&two->node[i], &two->redis, "redis", true);
    add_tier(&two->node[i], &two->postgres, "postgres", false);
    fixture_start(&two->node[i]);
}

/* sequence: of counters raised before; a server nobody has raised one on tells 0. */
static void two_open_at(struct two *two, uint64_t sequence)
{
    *two = (struct two){.node = {{.tier_count = 0}}};
    scripted_init(&two->redis);
    scripted_init(&two->postgres);
    two->redis.sequence = sequence;
    for (uint32_t i = 0; i < 2; i++) {
        node_start(two, i);
        pull_now(&two->node[i]);
    }
}

static void two_open(struct two *two)
{
    two_open_at(two, 1);
}

static void two_close(struct two *two)
{
    for (uint32_t i = 0; i < 2; i++) {
        settle(&two->node[i]);
        fixture_close(&two->node[i]);
    }
    scripted_fini(&two->redis);
    scripted_fini(&two->postgres);
}

static struct dj_entry tagged(struct fixture *fixture, uint8_t number, const char *tag,
                              const char *name_space)
{
    struct dj_fill fill;
    struct dj_entry entry = entry_of(fixture, tenant_a, number, "");
    entry.name_space = deja_slice_text(name_space);
    entry.tag_count = tag ? 1 : 0;
    entry.tags[0].name = deja_slice_text(tag);
    dj_engine_begin_fill(fixture->engine, &entry, &fill);
    return entry;
}

static bool is_served(struct fixture *fixture, const struct dj_entry *entry)
{
    return get(fixture, entry).level[0] != '\0';
}

static const struct dj_selector news_tag = {.tag = {.data = "news", .len = 4}};
static const struct dj_selector sports = {.has_name_space = true,
                                          .name_space = {.data = "sports", .len = 6}};
static const struct dj_selector all;

static void entry_of_one_program_is_served_by_the_other(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "sports");
    assert_true(put(&two.node[0], &entry));
    assert_string_equal(get(&two.node[1], &entry).level, "redis");
    assert_int_equal(change(&two.node[0], &entry, NULL, start_remove), 1);
    struct dj_store_key key = key_of(&entry);
    assert_string_equal(get_skipping(&two.node[1], key, MEMORY).level, "");
    two_close(&two);
}

static void invalidation_is_seen_by_the_other_with_its_next_pull(void **state)
{
    (void)state;
    static const struct dj_selector *const selectors[] = {&news_tag, &sports, &all};
    struct two two;
    two_open(&two);
    for (uint8_t i = 0; i < 3; i++) {
        struct dj_entry entry = tagged(&two.node[0], i, "news", "sports");
        assert_true(put(&two.node[0], &entry));
        assert_true(is_served(&two.node[1], &entry)); /* in its memory by now */
        assert_int_equal(select_entries(&two.node[0], selectors[i], true), 1);
        assert_false(is_served(&two.node[0], &entry));
        pull_now(&two.node[1]);
        assert_false(is_served(&two.node[1], &entry));
    }
    two_close(&two);
}

static void entry_that_notes_a_raise_unseen_here_is_a_miss(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    assert_int_equal(select_entries(&two.node[0], &news_tag, true), 0);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    assert_true(put(&two.node[0], &entry));
    assert_false(is_served(&two.node[1], &entry));
    pull_now(&two.node[1]);
    assert_true(is_served(&two.node[1], &entry));
    two_close(&two);
}

static void raises_of_two_programs_do_not_cancel_out(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    /* One has raised the tenant, the other the namespace: the sums are the same, but the entry was
     * made before the latter. */
    assert_int_equal(select_entries(&two.node[0], &all, true), 0);
    struct dj_entry entry = tagged(&two.node[0], 1, NULL, "sports");
    put_skipping(&two.node[0], &entry, REDIS);
    two.postgres.failure = DEJA_ERR_IO; /* it cannot be swept */
    assert_int_equal(select_entries(&two.node[1], &sports, true), 0);
    two.postgres.failure = DEJA_OK;
    assert_false(is_served(&two.node[1], &entry));
    pull_now(&two.node[0]);
    assert_false(is_served(&two.node[0], &entry));
    two_close(&two);
}

static void nothing_is_believed_before_the_first_pull(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    assert_true(put(&two.node[0], &entry));
    assert_int_equal(select_entries(&two.node[0], &news_tag, true), 1);
    /* What a sweep that failed would have left. */
    struct dj_store_key key = key_of(&entry);
    struct dj_value *value = NULL;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    *scripted_place(&two.postgres, &key) =
        (struct scripted_entry){.key = key, .value = value, .version = entry.version};
    settle(&two.node[1]);
    fixture_close(&two.node[1]);
    node_start(&two, 1);
    assert_false(is_served(&two.node[1], &entry));
    two.redis.is_losing_pulls = true;
    pull_now(&two.node[1]);
    assert_false(is_served(&two.node[1], &entry));
    two.redis.is_losing_pulls = false;
    pull_now(&two.node[1]);
    assert_false(is_served(&two.node[1], &entry));
    struct dj_entry other = tagged(&two.node[0], 2, "news", "");
    assert_true(put(&two.node[0], &other));
    assert_true(is_served(&two.node[1], &other));
    two_close(&two);
}

static void raise_that_reached_nobody_counts_here_and_is_passed_on(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    assert_true(put(&two.node[0], &entry));
    two.redis.failure = DEJA_ERR_IO;
    struct selecting s = {
        .call = {.fixture = &two.node[0]}, .selector = &news_tag, .is_removing = true};
    event_init(&s.call.ended);
    on_loop(caller(&s.call), start_select, &s);
    event_wait(&s.call.ended);
    assert_int_equal(s.call.status, DEJA_ERR_IO);
    settle(&two.node[0]);
    assert_false(is_served(&two.node[0], &entry));
    struct dj_engine_stats stats;
    dj_engine_stats(two.node[0].engine, NULL, &stats);
    assert_string_equal(stats.authority.level, "redis");
    assert_true(stats.authority.is_failing);
    assert_int_equal(stats.authority.held, 1);
    pull_now(&two.node[0]);
    assert_true(two.node[0].contained > 0);
    assert_string_equal(two.node[0].contained_operation, "pull_generations");
    two.redis.failure = DEJA_OK;
    pull_now(&two.node[0]);
    pull_now(&two.node[1]);
    assert_false(is_served(&two.node[1], &entry));
    dj_engine_stats(two.node[0].engine, NULL, &stats);
    assert_int_equal(stats.authority.held, 0);
    assert_false(stats.authority.is_failing);
    two_close(&two);
}

static void fill_that_began_before_a_raise_is_stored_nowhere(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    assert_int_equal(select_entries(&two.node[0], &news_tag, true), 0);
    assert_false(put(&two.node[0], &entry));
    struct dj_store_key key = key_of(&entry);
    assert_false(scripted_has(&two.redis, &key));
    two_close(&two);
}

static const struct dj_selector news_pattern = {.pattern = {.data = "new*", .len = 4}};

/* A pattern names what is there; what is being computed has no name yet. */
static void fill_that_began_before_a_selection_is_kept_by_nobody(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry here = tagged(&two.node[0], 1, "news", "");
    struct dj_entry there = tagged(&two.node[1], 2, "news", "");
    struct dj_entry early = tagged(&two.node[1], 3, "news", "");
    assert_int_equal(select_entries(&two.node[0], &news_pattern, true), 0);
    assert_false(put_fill(&two.node[0], &here));
    assert_true(put_fill(&two.node[1], &there)); /* it cannot know yet */
    pull_now(&two.node[1]);
    assert_false(is_served(&two.node[1], &there));
    assert_false(is_served(&two.node[0], &there));
    assert_false(put_fill(&two.node[1], &early)); /* by now it does */
    struct dj_entry later = tagged(&two.node[1], 4, "news", "");
    assert_true(put_fill(&two.node[1], &later));
    pull_now(&two.node[1]);
    assert_true(is_served(&two.node[1], &later));
    two_close(&two);
}

/* A pull that brings nothing is no news, also as long as nobody has ever raised anything. */
static void fill_that_began_before_pulls_of_nothing_is_kept(void **state)
{
    (void)state;
    struct two two;
    two_open_at(&two, 0);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    pull_now(&two.node[0]);
    pull_now(&two.node[0]);
    assert_true(put_fill(&two.node[0], &entry));
    assert_true(is_served(&two.node[1], &entry));
    two_close(&two);
}

static void fill_that_began_before_the_first_raise_of_all_is_not_kept(void **state)
{
    (void)state;
    struct two two;
    two_open_at(&two, 0);
    struct dj_entry entry = tagged(&two.node[1], 1, "news", "");
    struct dj_entry other = tagged(&two.node[1], 2, "sports", "");
    pull_now(&two.node[1]);
    assert_int_equal(select_entries(&two.node[0], &news_tag, true), 0);
    pull_now(&two.node[1]);
    assert_false(put_fill(&two.node[1], &entry));
    assert_true(put_fill(&two.node[1], &other));
    two_close(&two);
}

static void fill_of_before_a_pull_that_failed_goes_with_the_next(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry there = tagged(&two.node[1], 2, "news", "");
    assert_int_equal(select_entries(&two.node[0], &news_pattern, true), 0);
    assert_true(put_fill(&two.node[1], &there));
    two.redis.failure = DEJA_ERR_IO;
    pull_now(&two.node[1]);
    two.redis.failure = DEJA_OK;
    pull_now(&two.node[1]);
    assert_false(is_served(&two.node[1], &there));
    two_close(&two);
}

static void authority_is_not_believed_after_a_pull_that_failed(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    assert_true(put(&two.node[0], &entry));
    two.redis.is_losing_pulls = true;
    pull_now(&two.node[1]);
    assert_string_equal(get_skipping(&two.node[1], key_of(&entry), 0).level, "postgres");
    two.redis.is_losing_pulls = false;
    pull_now(&two.node[1]);
    assert_string_equal(get_skipping(&two.node[1], key_of(&entry), MEMORY).level, "redis");
    two_close(&two);
}

static void authority_that_forgot_is_told_again(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = tagged(&two.node[0], 1, "news", "");
    put_skipping(&two.node[0], &entry, REDIS);
    assert_true(is_served(&two.node[1], &entry)); /* so its version is seen */
    for (int i = 0; i < 3; i++)
        assert_int_equal(select_entries(&two.node[1], &news_tag, true), i == 0);
    scripted_forget_counters(&two.redis);
    for (int i = 0; i < 6; i++)
        pull_now(&two.node[1]);
    assert_int_equal(two.redis.counter_count, 1);
    pull_now(&two.node[0]);
    assert_false(is_served(&two.node[0], &entry));
    assert_false(is_served(&two.node[1], &entry));
    struct dj_engine_stats stats;
    dj_engine_stats(two.node[1].engine, NULL, &stats);
    assert_true(stats.authority.losses > 0);
    assert_int_equal(stats.authority.held, 0);
    two_close(&two);
}

static void rewording_is_found_by_a_tier_that_searches(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = entry_of(&two.node[0], tenant_a, 1, STORED);
    assert_true(put(&two.node[0], &entry));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    memcpy(two.postgres.match.id, entry.id, sizeof entry.id);
    memcpy(two.postgres.match.scope, entry.scope, sizeof entry.scope);
    two.postgres.match.similarity = 0.97f;
    expect_lookup(&two.node[1], &asked, DJ_HIT_SEMANTIC, "served");
    assert_int_equal(two.postgres.searches, 1);
    expect_lookup(&two.node[0], &asked, DJ_HIT_SEMANTIC, "served"); /* its own index knows */
    assert_int_equal(two.postgres.searches, 1);
    two.postgres.match.similarity = 0.5f;
    expect_lookup(&two.node[1], &asked, DJ_HIT_NONE, "scope-empty");
    two.postgres.failure = DEJA_ERR_IO;
    expect_lookup(&two.node[1], &asked, DJ_HIT_NONE, "scope-empty");
    two_close(&two);
}

static void neighbour_that_others_deleted_is_not_served(void **state)
{
    (void)state;
    struct two two;
    two_open(&two);
    struct dj_entry entry = entry_of(&two.node[0], tenant_a, 1, STORED);
    assert_true(put(&two.node[0], &entry));
    struct dj_fingerprint asked = question(tenant_a, 2, REWORDED);
    memcpy(two.postgres.match.id, entry.id, sizeof entry.id);
    two.postgres.match.similarity = 0.97f;
    assert_int_equal(change(&two.node[0], &entry, NULL, start_remove), 1);
    expect_lookup(&two.node[1], &asked, DJ_HIT_NONE, NULL);
    two_close(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_of_one_program_is_served_by_the_other),
        cmocka_unit_test(invalidation_is_seen_by_the_other_with_its_next_pull),
        cmocka_unit_test(entry_that_notes_a_raise_unseen_here_is_a_miss),
        cmocka_unit_test(raises_of_two_programs_do_not_cancel_out),
        cmocka_unit_test(nothing_is_believed_before_the_first_pull),
        cmocka_unit_test(raise_that_reached_nobody_counts_here_and_is_passed_on),
        cmocka_unit_test(fill_that_began_before_a_raise_is_stored_nowhere),
        cmocka_unit_test(fill_that_began_before_a_selection_is_kept_by_nobody),
        cmocka_unit_test(fill_that_began_before_pulls_of_nothing_is_kept),
        cmocka_unit_test(fill_that_began_before_the_first_raise_of_all_is_not_kept),
        cmocka_unit_test(fill_of_before_a_pull_that_failed_goes_with_the_next),
        cmocka_unit_test(authority_is_not_believed_after_a_pull_that_failed),
        cmocka_unit_test(authority_that_forgot_is_told_again),
        cmocka_unit_test(rewording_is_found_by_a_tier_that_searches),
        cmocka_unit_test(neighbour_that_others_deleted_is_not_served),
    };
    return RUN_TESTS(tests);
}
