#include "base/arena.h"
#include "check.h"

static void allocations_stay_where_they_are(void **state)
{
    (void)state;
    struct dj_arena arena = {0};
    char *first = dj_arena_copy(&arena, deja_slice_text("first")).data == NULL
                      ? NULL
                      : dj_arena_alloc(&arena, 8);
    assert_non_null(first);
    memcpy(first, "abcdefg", 8);
    for (int i = 0; i < 1000; i++)
        assert_non_null(dj_arena_alloc(&arena, 100));
    assert_string_equal(first, "abcdefg");
    dj_arena_fini(&arena);
}

static void bound_refuses_without_breaking_what_is_there(void **state)
{
    (void)state;
    struct dj_arena arena;
    dj_arena_init(&arena, 128);
    assert_non_null(dj_arena_alloc(&arena, 100));
    assert_null(dj_arena_alloc(&arena, 100));
    assert_null(dj_arena_alloc(&arena, SIZE_MAX));
    assert_non_null(dj_arena_alloc(&arena, 8));
    dj_arena_fini(&arena);
}

static void failed_block_is_reported_and_survived(void **state)
{
    (void)state;
    struct dj_arena arena = {0};
    failing_malloc_arm(1);
    assert_null(dj_arena_alloc(&arena, 8));
    assert_true(failing_malloc_disarm());
    assert_non_null(dj_arena_alloc(&arena, 8));
    dj_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_stay_where_they_are),
        cmocka_unit_test(bound_refuses_without_breaking_what_is_there),
        cmocka_unit_test(failed_block_is_reported_and_survived),
    };
    return RUN_TESTS(tests);
}
