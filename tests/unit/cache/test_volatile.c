#include "check.h"

#include "cache/volatile.h"

struct id {
    uint8_t bytes[DJ_ID_BYTES];
};

static struct id id_of(uint32_t number)
{
    struct id id = {{0}};
    memcpy(id.bytes, &number, sizeof number);
    memcpy(id.bytes + sizeof number, &number, sizeof number);
    return id;
}

static bool note(struct dj_volatile *table, uint32_t folded, uint32_t scope)
{
    return dj_volatile_note(table, id_of(folded).bytes, id_of(scope).bytes);
}

static void another_scope_under_the_same_folded_one_is_volatile(void **state)
{
    (void)state;
    struct dj_volatile *table = NULL;
    assert_int_equal(dj_volatile_create(&table), DEJA_OK);
    assert_false(note(table, 1, 100));
    assert_true(note(table, 1, 101));
    assert_true(note(table, 1, 102));
    assert_int_equal(dj_volatile_count(table), 2);
    dj_volatile_destroy(table);
}

static void same_scope_again_is_not_volatile(void **state)
{
    (void)state;
    struct dj_volatile *table = NULL;
    assert_int_equal(dj_volatile_create(&table), DEJA_OK);
    assert_false(note(table, 1, 100));
    assert_false(note(table, 1, 100));
    assert_int_equal(dj_volatile_count(table), 0);
    dj_volatile_destroy(table);
}

static void folded_scopes_that_share_a_slot_forget_and_invent_nothing(void **state)
{
    (void)state;
    struct dj_volatile *table = NULL;
    assert_int_equal(dj_volatile_create(&table), DEJA_OK);
    for (uint32_t i = 0; i < 20000; i++)
        assert_false(note(table, i, i + 1)); /* more than there are slots */
    assert_int_equal(dj_volatile_count(table), 0);
    dj_volatile_destroy(table);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_volatile *table = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_volatile_create(&table);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_volatile_destroy(table);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(table);
    }
    dj_volatile_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_scope_under_the_same_folded_one_is_volatile),
        cmocka_unit_test(same_scope_again_is_not_volatile),
        cmocka_unit_test(folded_scopes_that_share_a_slot_forget_and_invent_nothing),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
