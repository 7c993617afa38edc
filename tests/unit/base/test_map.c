#include "base/map.h"

#include <stdio.h>

#include "base/alloc.h"
#include "check.h"

static uint64_t hash_to_one_bucket(void *ctx, struct deja_slice key)
{
    (void)ctx;
    return key.len ? (uint64_t)(unsigned char)key.data[key.len - 1] % 3 : 0;
}

static struct deja_slice key_of(char *text, size_t cap, int i)
{
    return deja_slice(text, (size_t)snprintf(text, cap, "key-%d", i));
}

static void what_was_put_is_found_until_removed(void **state)
{
    (void)state;
    struct dj_map *map = NULL;
    static char values[1000];
    char text[32];
    assert_int_equal(dj_map_create(1000, hash_to_one_bucket, NULL, &map), DEJA_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(dj_map_put(map, key_of(text, sizeof text, i), &values[i], NULL), DEJA_OK);
    for (int i = 0; i < 1000; i += 2)
        assert_ptr_equal(dj_map_remove(map, key_of(text, sizeof text, i)), &values[i]);
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(dj_map_find(map, key_of(text, sizeof text, i)), i % 2 ? &values[i] : NULL);
    assert_int_equal(dj_map_count(map), 500);
    size_t cursor = 0;
    size_t seen = 0;
    struct deja_slice key;
    void *value = NULL;
    while (dj_map_next(map, &cursor, &key, &value))
        seen++;
    assert_int_equal(seen, 500);
    dj_map_destroy(map);
}

static void put_replaces_and_hands_back_the_old_value(void **state)
{
    (void)state;
    struct dj_map *map = NULL;
    int a = 0;
    int b = 0;
    void *old = &b;
    assert_int_equal(dj_map_create(1, NULL, NULL, &map), DEJA_OK);
    assert_int_equal(dj_map_put(map, deja_slice_text("k"), &a, &old), DEJA_OK);
    assert_null(old);
    assert_int_equal(dj_map_put(map, deja_slice_text("k"), &b, &old), DEJA_OK);
    assert_ptr_equal(old, &a);
    assert_int_equal(dj_map_put(map, deja_slice_text("other"), &b, &old), DEJA_ERR_LIMIT);
    dj_map_destroy(map);
}

static void what_is_not_there_is_made_once_and_within_the_bound(void **state)
{
    (void)state;
    struct dj_map *map = NULL;
    assert_int_equal(dj_map_create(1, NULL, NULL, &map), DEJA_OK);
    uint64_t *made = dj_map_find_or_make(map, deja_slice_text("k"), sizeof *made);
    assert_non_null(made);
    assert_int_equal(*made, 0);
    *made = 7;
    assert_ptr_equal(dj_map_find_or_make(map, deja_slice_text("k"), sizeof *made), made);
    assert_int_equal(*made, 7);
    assert_null(dj_map_find_or_make(map, deja_slice_text("other"), sizeof *made));
    assert_int_equal(dj_map_count(map), 1);
    dj_free(made);
    dj_map_destroy(map);
}

static void map_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_map *map = NULL;
        char text[32];
        int value = 0;
        failing_malloc_arm(n);
        bool is_ok = dj_map_create(100, NULL, NULL, &map) == DEJA_OK;
        for (int i = 0; is_ok && i < 20; i++)
            is_ok = dj_map_put(map, key_of(text, sizeof text, i), &value, NULL) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_ok, !has_failed);
        dj_map_destroy(map);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_until_removed),
        cmocka_unit_test(put_replaces_and_hands_back_the_old_value),
        cmocka_unit_test(what_is_not_there_is_made_once_and_within_the_bound),
        cmocka_unit_test(map_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
