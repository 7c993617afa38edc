#include "base/slice.h"
#include "check.h"

static void slice_is_a_text_only_to_the_last_byte(void **state)
{
    (void)state;
    assert_true(dj_slice_is(deja_slice("text", 4), "text"));
    assert_false(dj_slice_is(deja_slice("text", 3), "text"));
    assert_false(dj_slice_is(deja_slice("texts", 5), "text"));
    assert_false(dj_slice_is(deja_slice("tex\0", 4), "tex"));
    assert_false(dj_slice_is(deja_slice("Text", 4), "text"));
}

static void empty_slice_is_the_empty_text_and_nothing_is_no_text(void **state)
{
    (void)state;
    assert_true(dj_slice_is(deja_slice(NULL, 0), ""));
    assert_false(dj_slice_is(deja_slice(NULL, 0), "text"));
    assert_false(dj_slice_is(deja_slice(NULL, 0), NULL));
    assert_false(dj_slice_is(deja_slice("text", 4), NULL));
}

static void what_a_slice_contains_is_found_anywhere_in_it(void **state)
{
    (void)state;
    assert_true(dj_slice_contains(deja_slice("a text", 6), "a t"));
    assert_true(dj_slice_contains(deja_slice("ttext", 5), "text"));
    assert_false(dj_slice_contains(deja_slice("a text", 5), "text")); /* the end is beyond it */
    assert_false(dj_slice_contains(deja_slice(NULL, 0), "text"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_is_a_text_only_to_the_last_byte),
        cmocka_unit_test(empty_slice_is_the_empty_text_and_nothing_is_no_text),
        cmocka_unit_test(what_a_slice_contains_is_found_anywhere_in_it),
    };
    return RUN_TESTS(tests);
}
