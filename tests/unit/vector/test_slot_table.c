#include "vector/slot_table.h"

#include "check.h"

enum { KEYS = 600 };

static uint8_t keys_bytes[KEYS][16];
static const struct dj_slot_keys keys = {keys_bytes[0], 16};

static void number_keys(void)
{
    for (uint32_t i = 0; i < KEYS; i++)
        memcpy(keys_bytes[i], &i, sizeof i);
}

/* Random inserts and removals against an array of flags. */
static void table_agrees_with_a_plain_set_through_churn(void **state)
{
    (void)state;
    struct dj_slot_table table = {0};
    bool is_in[KEYS] = {false};
    size_t count = 0;
    uint32_t seed = 5;
    number_keys();
    assert_int_equal(dj_slot_table_reserve(&table, keys, KEYS), DEJA_OK);
    for (int step = 0; step < 50000; step++) {
        seed = seed * 1664525U + 1013904223U;
        uint32_t i = (seed >> 8) % KEYS;
        if (is_in[i])
            dj_slot_table_remove(&table, keys, i);
        else
            dj_slot_table_insert(&table, keys, i);
        is_in[i] = !is_in[i];
        count += is_in[i] ? 1U : (size_t)-1;
        uint32_t probe = (seed >> 3) % KEYS;
        assert_int_equal(dj_slot_table_find(&table, keys, keys_bytes[probe]),
                         is_in[probe] ? probe : DJ_SLOT_NONE);
        assert_int_equal(table.count, count);
    }
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(dj_slot_table_find(&table, keys, keys_bytes[i]),
                         is_in[i] ? i : DJ_SLOT_NONE);
    dj_slot_table_fini(&table);
}

static void an_empty_table_finds_nothing(void **state)
{
    (void)state;
    struct dj_slot_table table = {0};
    number_keys();
    assert_int_equal(dj_slot_table_find(&table, keys, keys_bytes[0]), DJ_SLOT_NONE);
    dj_slot_table_fini(&table);
}

static void growing_keeps_entries_and_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_slot_table table = {0};
    number_keys();
    for (uint32_t i = 0; i < KEYS; i++) {
        failing_malloc_arm(1);
        enum deja_status status = dj_slot_table_reserve(&table, keys, i + 1);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(dj_slot_table_reserve(&table, keys, i + 1), DEJA_OK);
        dj_slot_table_insert(&table, keys, i);
        assert_int_equal(dj_slot_table_find(&table, keys, keys_bytes[i / 2]), i / 2);
    }
    assert_int_equal(table.count, KEYS);
    dj_slot_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_agrees_with_a_plain_set_through_churn),
        cmocka_unit_test(an_empty_table_finds_nothing),
        cmocka_unit_test(growing_keeps_entries_and_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
