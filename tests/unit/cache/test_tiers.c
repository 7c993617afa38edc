/* The engine over both tiers: what is put stays through a restart, what is removed stays away. */
#include "check.h"

#include "disk_fixture.h"

enum { MANY = 150 }; /* more than memory holds, more than two pieces of a listing */

static void entry_survives_a_restart_and_its_removal_does_too(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry kept = entry_of(&disk.fixture, tenant_a, 1, STORED);
    struct dj_entry gone = entry_of(&disk.fixture, tenant_a, 2, "");
    assert_true(put(&disk.fixture, &kept));
    assert_true(put(&disk.fixture, &gone));
    assert_int_equal(change(&disk.fixture, &gone, NULL, start_remove), 1);
    disk_restart(&disk);
    assert_false(is_found(&disk.fixture, key_of(&kept), 0)); /* memory is empty */
    assert_true(is_there(&disk.fixture, key_of(&kept)));
    assert_false(is_there(&disk.fixture, key_of(&gone)));
    struct dj_fingerprint asked = question(tenant_a, 3, REWORDED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_SEMANTIC, "served");
    asked = question(tenant_a, 1, STORED);
    expect_lookup(&disk.fixture, &asked, DJ_HIT_EXACT, NULL);
    disk_close(&disk);
}

static void clear_empties_both_tiers_for_good(void **state)
{
    (void)state;
    struct disk disk;
    disk_open(&disk);
    struct dj_entry theirs = entry_of(&disk.fixture, tenant_b, 1, STORED);
    assert_true(put(&disk.fixture, &theirs));
    struct dj_entry last;
    for (uint32_t i = 0; i < MANY; i++) {
        last = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &last));
    }
    assert_int_equal(change(&disk.fixture, &last, NULL, start_clear), MANY);
    assert_false(is_there(&disk.fixture, key_of(&last)));
    disk_restart(&disk);
    static const struct dj_selector all;
    assert_int_equal(count_of(&disk.fixture, &all), 0);
    assert_false(is_there(&disk.fixture, key_of(&last)));
    assert_true(is_there(&disk.fixture, key_of(&theirs)));
    struct dj_engine_stats stats;
    dj_engine_stats(disk.fixture.engine, tenant_a, &stats);
    assert_int_equal(stats.lmdb.entries, 0);
    disk_close(&disk);
}

static void each_entry_is_counted_once_over_the_tiers(void **state)
{
    (void)state;
    static const struct dj_selector all;
    struct disk disk;
    disk_open(&disk);
    for (uint32_t i = 0; i < MANY; i++) {
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entry));
    }
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    disk_restart(&disk);
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    for (uint32_t i = 0; i < 20; i++) { /* newer versions, in memory too */
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entry));
    }
    assert_int_equal(count_of(&disk.fixture, &all), MANY);
    disk_close(&disk);
}

static void selectors_take_what_they_name_and_nothing_else(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    disk_open(&disk);
    for (uint32_t i = 0; i < 60; i++) {
        struct dj_entry entry = numbered(&disk.fixture, i, "");
        entry.name_space = deja_slice_text(i % 2 ? "odd" : "even");
        if (i % 3 == 0)
            entry.tags[entry.tag_count++].name = deja_slice_text("three");
        entry.created_ms -= i % 5 == 0 ? 100000 : 0;
        entry.metadata = deja_slice_text(i % 4 == 0 ? "{\"metadata\":{\"four\":true}}" : "");
        put_all(&disk.fixture, &entry);
    }
    const struct dj_selector odd = {.has_name_space = true, .name_space = deja_slice_text("odd")};
    const struct dj_selector three = {.tag = deja_slice_text("three")};
    const struct dj_selector odd_three = {
        .has_name_space = true, .name_space = odd.name_space, .tag = three.tag};
    const struct dj_selector old = {.created_before_ms = dj_clock_now_ms() - 50000};
    const struct dj_selector four = {.filter = filter_of(&arena, "{\"four\":true}")};
    const struct dj_selector unnamed = {.has_name_space = true};
    static const struct dj_selector all;
    assert_int_equal(count_of(&disk.fixture, &odd), 30);
    assert_int_equal(count_of(&disk.fixture, &three), 20);
    assert_int_equal(count_of(&disk.fixture, &odd_three), 10);
    assert_int_equal(count_of(&disk.fixture, &old), 12);
    assert_int_equal(count_of(&disk.fixture, &four), 15);
    assert_int_equal(count_of(&disk.fixture, &unnamed), 0);
    assert_int_equal(select_entries(&disk.fixture, &four, true), 15);
    assert_int_equal(count_of(&disk.fixture, &all), 45);
    assert_int_equal(select_entries(&disk.fixture, &odd, true), 30);
    assert_int_equal(select_entries(&disk.fixture, &odd, true), 0);
    disk_restart(&disk);
    assert_int_equal(count_of(&disk.fixture, &odd), 0);
    assert_int_equal(count_of(&disk.fixture, &all), 15);
    assert_int_equal(select_entries(&disk.fixture, &three, true), 5);
    assert_int_equal(select_entries(&disk.fixture, &old, true), 2);
    assert_int_equal(count_of(&disk.fixture, &all), 8);
    disk_close(&disk);
    dj_arena_fini(&arena);
}

static void removed_namespace_refuses_fills_that_began_before(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_fill fill;
    disk_open(&disk);
    const struct dj_selector news = {.has_name_space = true, .name_space = deja_slice_text("news")};
    struct dj_entry running = numbered(&disk.fixture, 1, "");
    struct dj_entry other = numbered(&disk.fixture, 2, "");
    running.name_space = news.name_space;
    dj_engine_begin_fill(disk.fixture.engine, &running, &fill);
    assert_int_equal(select_entries(&disk.fixture, &news, true), 0);
    assert_false(put(&disk.fixture, &running));
    assert_true(put(&disk.fixture, &other)); /* of another namespace */
    put_all(&disk.fixture, &running);
    disk_restart(&disk);
    assert_true(is_there(&disk.fixture, key_of(&running)));
    assert_true(is_there(&disk.fixture, key_of(&other)));
    disk_close(&disk);
}

static void removal_by_filter_leaves_a_tombstone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_arena arena;
    dj_arena_init(&arena, 0);
    fixture_open(&fixture);
    struct dj_entry entry = entry_of(&fixture, tenant_a, 1, "");
    entry.model = deja_slice_text("m");
    struct dj_entry running = entry;
    put_all(&fixture, &entry);
    running.version = entry.version + 1; /* began before the removal, ends after it */
    const struct dj_selector selector = {.filter = filter_of(&arena, "{\"$model\":\"m\"}")};
    assert_int_equal(select_entries(&fixture, &selector, true), 1);
    assert_false(put(&fixture, &running));
    put_all(&fixture, &running);
    assert_true(is_found(&fixture, key_of(&running), 0));
    fixture_close(&fixture);
    dj_arena_fini(&arena);
}

enum { RENEWED = 100 };

/* A removal under way, and puts of the same entries that begin after it. */
struct renewal {
    struct selecting removal;
    struct fixture *fixture;
    struct dj_entry *entries;
    struct event ended; /* of all puts */
    uint32_t left;
};

static void on_renewed(void *ctx, enum deja_status status, const struct dj_put_outcome *outcome)
{
    struct renewal *renewal = ctx;
    assert_int_equal(status, DEJA_OK);
    assert_true(outcome->is_stored);
    if (--renewal->left == 0)
        event_set(&renewal->ended);
}

static void start_renewal(void *ctx)
{
    struct renewal *renewal = ctx;
    struct dj_fill fill;
    start_select(&renewal->removal);
    for (uint32_t i = 0; i < RENEWED; i++) {
        dj_engine_begin_fill(renewal->fixture->engine, &renewal->entries[i], &fill);
        assert_int_equal(dj_engine_put(renewal->fixture->engine, caller(&renewal->removal.call),
                                       &renewal->entries[i], NULL, renewal, on_renewed),
                         DEJA_OK);
    }
}

static void what_is_put_while_a_removal_runs_stays(void **state)
{
    (void)state;
    static struct dj_entry entries[RENEWED];
    const struct dj_selector selector = {.created_before_ms = INT64_MAX};
    struct disk disk;
    disk_open(&disk);
    for (uint32_t i = 0; i < RENEWED; i++) {
        entries[i] = numbered(&disk.fixture, i, "");
        assert_true(put(&disk.fixture, &entries[i]));
    }
    struct renewal renewal = {
        .removal = {.call = {.fixture = &disk.fixture}, .selector = &selector, .is_removing = true},
        .fixture = &disk.fixture,
        .entries = entries,
        .left = RENEWED};
    event_init(&renewal.removal.call.ended);
    event_init(&renewal.ended);
    on_loop(caller(&renewal.removal.call), start_renewal, &renewal);
    event_wait(&renewal.removal.call.ended);
    event_wait(&renewal.ended);
    assert_int_equal(renewal.removal.call.status, DEJA_OK);
    assert_int_equal(count_of(&disk.fixture, &selector), RENEWED);
    disk_restart(&disk);
    assert_int_equal(count_of(&disk.fixture, &selector), RENEWED);
    disk_close(&disk);
}

static void selection_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const struct dj_selector all;
    struct disk disk;
    disk_open(&disk);
    struct selecting s = {.call = {.fixture = &disk.fixture}};
    event_init(&s.call.ended);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_engine_remove_selected(disk.fixture.engine, caller(&s.call),
                                                            tenant_a, &all, &s, on_selected);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
    event_wait(&s.call.ended);
    disk_close(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_survives_a_restart_and_its_removal_does_too),
        cmocka_unit_test(clear_empties_both_tiers_for_good),
        cmocka_unit_test(each_entry_is_counted_once_over_the_tiers),
        cmocka_unit_test(selectors_take_what_they_name_and_nothing_else),
        cmocka_unit_test(removed_namespace_refuses_fills_that_began_before),
        cmocka_unit_test(removal_by_filter_leaves_a_tombstone),
        cmocka_unit_test(what_is_put_while_a_removal_runs_stays),
        cmocka_unit_test(selection_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
