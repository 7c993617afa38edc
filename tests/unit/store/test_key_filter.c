#include "check.h"

#include "store/key_filter.h"

static uint64_t hash_of(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 31)) * 0xbf58476d1ce4e5b9u;
    return i ^ (i >> 29);
}

static void never_denies_what_was_added(void **state)
{
    (void)state;
    struct dj_key_filter *filter;
    assert_int_equal(dj_key_filter_create(0, &filter), DEJA_OK);
    for (uint64_t i = 0; i < 20000; i++)
        dj_key_filter_add(filter, hash_of(i));
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(dj_key_filter_has(filter, hash_of(i)));
    for (uint64_t i = 20000; i < 40000; i++)
        assert_false(dj_key_filter_has(filter, hash_of(i)));
    dj_key_filter_destroy(filter);
}

static void remove_takes_only_its_own_key(void **state)
{
    (void)state;
    struct dj_key_filter *filter;
    assert_int_equal(dj_key_filter_create(1000, &filter), DEJA_OK);
    for (uint64_t i = 0; i < 5000; i++)
        dj_key_filter_add(filter, hash_of(i));
    for (uint64_t i = 0; i < 5000; i += 2)
        dj_key_filter_remove(filter, hash_of(i));
    dj_key_filter_remove(filter, hash_of(99999));
    for (uint64_t i = 0; i < 5000; i++)
        assert_int_equal(dj_key_filter_has(filter, hash_of(i)), i % 2 == 1);
    dj_key_filter_destroy(filter);
}

static void hash_zero_is_a_key_like_any_other(void **state)
{
    (void)state;
    struct dj_key_filter *filter;
    assert_int_equal(dj_key_filter_create(0, &filter), DEJA_OK);
    assert_false(dj_key_filter_has(filter, 0));
    dj_key_filter_add(filter, 0);
    assert_true(dj_key_filter_has(filter, 0));
    dj_key_filter_remove(filter, 0);
    assert_false(dj_key_filter_has(filter, 0));
    dj_key_filter_destroy(filter);
}

static void filter_that_cannot_grow_says_maybe(void **state)
{
    (void)state;
    struct dj_key_filter *filter;
    assert_int_equal(dj_key_filter_create(0, &filter), DEJA_OK);
    failing_malloc_arm(1);
    uint64_t i = 1;
    while (i < 64 && dj_key_filter_has(filter, i) == false)
        dj_key_filter_add(filter, i++); /* one segment: the upper bits are 0 */
    assert_true(failing_malloc_disarm());
    for (uint64_t k = 0; k < 100; k++)
        assert_true(dj_key_filter_has(filter, k));
    dj_key_filter_destroy(filter);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_key_filter *filter = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_key_filter_create(100, &filter);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_key_filter_destroy(filter);
            return;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(filter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_denies_what_was_added),
        cmocka_unit_test(remove_takes_only_its_own_key),
        cmocka_unit_test(hash_zero_is_a_key_like_any_other),
        cmocka_unit_test(filter_that_cannot_grow_says_maybe),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
