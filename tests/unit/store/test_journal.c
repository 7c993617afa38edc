#include "store/journal.h"
#include "check.h"
#include "entries.h"

static struct dj_journal *journal_of(uint32_t records_max, uint64_t bytes_max)
{
    struct dj_journal *journal = NULL;
    const struct dj_journal_options options = {.records_max = records_max, .bytes_max = bytes_max};
    assert_int_equal(dj_journal_create(&options, &journal), DEJA_OK);
    return journal;
}

static void keep_put(struct dj_journal *journal, uint32_t tenant, uint32_t id, uint64_t version)
{
    struct dj_value *value = value_of(tenant, id, version, "body");
    dj_journal_put(journal, value, NULL, 0);
    dj_value_unref(value);
}

static void keep_remove(struct dj_journal *journal, uint32_t tenant, uint32_t id,
                        uint64_t version_max)
{
    struct dj_store_key key = key_of(tenant, id);
    dj_journal_remove(journal, &key, version_max);
}

static void keep_clear(struct dj_journal *journal, uint32_t tenant)
{
    struct dj_store_key key = key_of(tenant, 0);
    dj_journal_clear(journal, key.tenant);
}

static void keep_raise(struct dj_journal *journal, uint32_t tenant, const char *tag)
{
    struct dj_store_key key = key_of(tenant, 0);
    dj_journal_raise(journal, key.tenant, deja_slice_text(tag));
}

static struct dj_journal_figures figures_of(const struct dj_journal *journal)
{
    struct dj_journal_figures figures;
    dj_journal_look(journal, &figures);
    return figures;
}

/* One line of the records in order: "r1.1<=5 p1.2@7 c2! t3:tag", taken one batch after another. */
static void assert_replay(struct dj_journal *journal, const char *wanted)
{
    char text[1024] = "";
    size_t len = 0;
    struct dj_journal_record *records[8];
    size_t count;
    while ((count = dj_journal_take(journal, records, 8)) > 0) {
        for (size_t i = 0; i < count; i++) {
            const struct dj_journal_record *record = records[i];
            uint32_t tenant;
            uint32_t id;
            memcpy(&tenant, record->key.tenant, sizeof tenant);
            memcpy(&id, record->key.id, sizeof id);
            if (record->kind == DJ_JOURNAL_CLEAR)
                len += (size_t)snprintf(text + len, sizeof text - len, "c%u%s ", tenant,
                                        record->is_raised ? "!" : "");
            else if (record->kind == DJ_JOURNAL_RAISE)
                len += (size_t)snprintf(text + len, sizeof text - len, "t%u:%.*s ", tenant,
                                        (int)record->tag_len, record->tag ? record->tag : "");
            if (record->has_remove)
                len += (size_t)snprintf(text + len, sizeof text - len, "r%u.%u<=%llu ", tenant, id,
                                        (unsigned long long)record->version_max);
            if (record->value)
                len += (size_t)snprintf(text + len, sizeof text - len, "p%u.%u@%llu ", tenant, id,
                                        (unsigned long long)dj_value_entry(record->value)->version);
        }
        for (size_t i = 0; i < count; i++)
            dj_journal_give_back(journal, records[i], true);
    }
    if (len)
        text[len - 1] = '\0';
    assert_string_equal(text, wanted);
    struct dj_journal_figures figures = figures_of(journal);
    assert_true(figures.records == 0 && figures.puts == 0 && figures.removes == 0 &&
                figures.bytes == 0);
}

static void records_come_back_in_order_and_the_newest_put_wins(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(100, 1 << 20);
    keep_put(journal, 1, 1, 5);
    keep_remove(journal, 1, 2, 9);
    keep_put(journal, 1, 1, 4);
    keep_put(journal, 1, 3, 1);
    keep_put(journal, 1, 1, 7);
    assert_int_equal(figures_of(journal).records, 3);
    assert_int_equal(figures_of(journal).puts, 2);
    assert_int_equal(figures_of(journal).removes, 1);
    assert_false(dj_journal_is_empty(journal));
    assert_replay(journal, "r1.2<=9 p1.3@1 p1.1@7");
    assert_true(dj_journal_is_empty(journal));
    dj_journal_destroy(journal);
}

static void remove_and_put_of_one_key_are_one_record(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(100, 1 << 20);
    keep_put(journal, 1, 1, 5);
    keep_remove(journal, 1, 1, UINT64_MAX); /* the put is gone too */
    keep_put(journal, 1, 2, 5);
    keep_remove(journal, 1, 2, 4); /* this one is newer */
    keep_remove(journal, 1, 3, 6);
    keep_put(journal, 1, 3, 8);
    keep_remove(journal, 1, 3, 2);
    assert_replay(journal, "r1.1<=18446744073709551615 r1.2<=4 p1.2@5 r1.3<=6 p1.3@8");
    dj_journal_destroy(journal);
}

static void clear_voids_what_was_before_it_and_comes_alone(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(100, 1 << 20);
    struct dj_journal_record *records[8];
    keep_put(journal, 1, 1, 5);
    keep_put(journal, 2, 1, 5);
    keep_raise(journal, 1, "blue");
    keep_clear(journal, 1);
    keep_put(journal, 1, 2, 6);
    assert_int_equal(dj_journal_take(journal, records, 8), 2);     /* tenant 2's put, the raise */
    assert_int_equal(dj_journal_take(journal, records + 2, 6), 0); /* not beside them */
    dj_journal_give_back(journal, records[0], true);
    dj_journal_give_back(journal, records[1], false);
    assert_replay(journal, "t1:blue c1 p1.2@6");
    keep_clear(journal, 3);
    keep_put(journal, 3, 1, 1);
    keep_clear(journal, 3);
    assert_replay(journal, "c3");
    dj_journal_destroy(journal);
}

static void what_comes_while_a_record_is_taken_is_behind_it(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(100, 1 << 20);
    struct dj_journal_record *records[8];
    keep_put(journal, 1, 1, 5);
    assert_int_equal(dj_journal_take(journal, records, 8), 1);
    keep_put(journal, 1, 1, 6);
    keep_remove(journal, 1, 1, 6);
    assert_int_equal(dj_value_entry(records[0]->value)->version, 5); /* as it was */
    dj_journal_give_back(journal, records[0], false);
    assert_replay(journal, "p1.1@5 r1.1<=6");
    keep_clear(journal, 2);
    assert_int_equal(dj_journal_take(journal, records, 8), 1);
    keep_put(journal, 2, 1, 1);
    keep_clear(journal, 2);
    keep_put(journal, 2, 2, 1);
    assert_int_equal(dj_journal_take(journal, records + 1, 7), 0);
    dj_journal_give_back(journal, records[0], true);
    assert_replay(journal, "c2 p2.2@1");
    dj_journal_destroy(journal);
}

static void puts_give_way_to_the_removal_of_what_is_older(void **state)
{
    (void)state;
    struct dj_value *value = value_of(1, 1, 5, "body");
    size_t bytes = dj_value_bytes(value);
    dj_value_unref(value);
    struct dj_journal *journal = journal_of(100, 2 * bytes);
    keep_remove(journal, 1, 9, 3);
    keep_put(journal, 1, 1, 5);
    keep_put(journal, 1, 2, 6);
    keep_put(journal, 1, 3, 7);
    assert_int_equal(figures_of(journal).puts_dropped, 1);
    assert_true(figures_of(journal).bytes <= 2 * bytes);
    assert_replay(journal, "r1.9<=3 r1.1<=4 p1.2@6 p1.3@7");
    dj_journal_destroy(journal);
}

static void the_largest_tenant_gives_way_to_a_clear_that_raises_what_it_raised(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(8, 1 << 20);
    keep_remove(journal, 1, 1, 3);
    keep_remove(journal, 3, 1, 3);
    for (uint32_t id = 1; id <= 5; id++)
        keep_remove(journal, 2, id, id);
    keep_raise(journal, 2, "blue");
    assert_int_equal(figures_of(journal).records, 8);
    keep_put(journal, 3, 2, 1);
    assert_int_equal(figures_of(journal).tenants_voided, 1);
    assert_false(figures_of(journal).is_lost);
    assert_replay(journal, "r1.1<=3 r3.1<=3 p3.2@1 c2!");
    dj_journal_destroy(journal);
}

static void more_tenants_than_records_is_lost_and_said(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(8, 1 << 20);
    for (uint32_t tenant = 1; tenant <= 9; tenant++)
        keep_remove(journal, tenant, 1, 3);
    assert_true(figures_of(journal).is_lost);
    assert_false(dj_journal_is_empty(journal));
    assert_true(figures_of(journal).records <= 8);
    struct dj_journal_record *records[16];
    size_t count = dj_journal_take(journal, records, 16);
    for (size_t i = 0; i < count; i++)
        dj_journal_give_back(journal, records[i], true);
    assert_false(dj_journal_is_empty(journal)); /* for good */
    dj_journal_destroy(journal);
}

static void journal_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_journal *journal = NULL;
    const struct dj_journal_options options = {.records_max = 16, .bytes_max = 1 << 20};
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_journal_create(&options, &journal);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(journal);
    }
    dj_journal_destroy(journal);
}

/* Whatever allocation fails while something is kept: the key, or its tenant, is taken away. */
static void what_cannot_be_kept_for_want_of_memory_is_cleared_instead(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        for (size_t n = 1;; n++) {
            struct dj_journal *journal = journal_of(16, 1 << 20);
            struct dj_value *value = value_of(1, 1, 5, "body");
            float vector[4] = {1, 2, 3, 4};
            failing_malloc_arm(n);
            if (kind == 0)
                dj_journal_put(journal, value, vector, 4);
            else if (kind == 1)
                keep_remove(journal, 1, 1, 5);
            else
                keep_raise(journal, 1, "blue");
            bool has_failed = failing_malloc_disarm();
            dj_value_unref(value);
            assert_false(dj_journal_is_empty(journal));
            struct dj_journal_record *record;
            assert_int_equal(dj_journal_take(journal, &record, 1), 1);
            bool is_kept =
                record->kind == DJ_JOURNAL_RAISE ||
                (record->kind == DJ_JOURNAL_KEY && (record->value || record->has_remove));
            bool is_cleared = record->kind == DJ_JOURNAL_CLEAR;
            assert_true(is_kept || is_cleared);
            assert_true(kind != 2 || is_kept || record->is_raised);
            dj_journal_give_back(journal, record, true);
            dj_journal_destroy(journal);
            if (!has_failed)
                break;
        }
    }
}

/* Deletes of ids that all had one home when it was tenant ^ id * a constant. */
static void ids_made_to_collide_are_spread(void **state)
{
    (void)state;
    struct dj_journal *journal = journal_of(8192, 1 << 20);
    for (uint32_t i = 0; i < 8192; i++) {
        struct dj_store_key key = key_of(1, 0);
        memset(key.id, 0x55, sizeof key.id / 2);
        memcpy(key.id + sizeof key.id / 2, &i, sizeof i);
        dj_journal_remove(journal, &key, i + 1);
    }
    assert_true(dj_journal_probes_max(journal) < 200);
    dj_journal_destroy(journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_in_order_and_the_newest_put_wins),
        cmocka_unit_test(remove_and_put_of_one_key_are_one_record),
        cmocka_unit_test(clear_voids_what_was_before_it_and_comes_alone),
        cmocka_unit_test(what_comes_while_a_record_is_taken_is_behind_it),
        cmocka_unit_test(puts_give_way_to_the_removal_of_what_is_older),
        cmocka_unit_test(the_largest_tenant_gives_way_to_a_clear_that_raises_what_it_raised),
        cmocka_unit_test(more_tenants_than_records_is_lost_and_said),
        cmocka_unit_test(ids_made_to_collide_are_spread),
        cmocka_unit_test(journal_survives_each_failed_allocation),
        cmocka_unit_test(what_cannot_be_kept_for_want_of_memory_is_cleared_instead),
    };
    return RUN_TESTS(tests);
}
