#include "base/alloc.h"
#include "base/buf.h"
#include "check.h"

static void appends_come_back_in_order(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    dj_buf_append_text(&buf, "a");
    dj_buf_append_u64(&buf, UINT64_MAX);
    dj_buf_append_format(&buf, "-%s-%d", "x", 7);
    dj_buf_append_byte(&buf, '\0');
    assert_int_equal(buf.status, DEJA_OK);
    assert_string_equal(buf.data, "a18446744073709551615-x-7");
    dj_buf_consume(&buf, 1);
    assert_int_equal(buf.data[0], '1');
    dj_buf_consume(&buf, 1000);
    assert_int_equal(buf.len, 0);
    dj_buf_fini(&buf);
}

static void bound_is_sticky_and_keeps_what_fitted(void **state)
{
    (void)state;
    struct dj_buf buf;
    dj_buf_init(&buf, 4);
    dj_buf_append_text(&buf, "abc");
    dj_buf_append_text(&buf, "de");
    dj_buf_append_text(&buf, "f");
    assert_int_equal(buf.status, DEJA_ERR_LIMIT);
    assert_int_equal(buf.len, 3);
    dj_buf_fini(&buf);
}

static void failed_growth_is_sticky(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    failing_malloc_arm(1);
    dj_buf_append_text(&buf, "abc");
    assert_true(failing_malloc_disarm());
    assert_int_equal(buf.status, DEJA_ERR_NOMEM);
    dj_buf_fini(&buf);
}

static void taken_text_is_terminated_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    dj_buf_append_text(&buf, "abc");
    char *text = dj_buf_take_text(&buf);
    assert_string_equal(text, "abc");
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
    dj_free(text);
    text = dj_buf_take_text(&buf);
    assert_string_equal(text, "");
    dj_free(text);
}

static void text_that_did_not_fit_is_not_taken(void **state)
{
    (void)state;
    struct dj_buf buf;
    dj_buf_init(&buf, 3);
    dj_buf_append_text(&buf, "abc"); /* and no room for the end */
    assert_null(dj_buf_take_text(&buf));
    assert_null(buf.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_come_back_in_order),
        cmocka_unit_test(bound_is_sticky_and_keeps_what_fitted),
        cmocka_unit_test(failed_growth_is_sticky),
        cmocka_unit_test(taken_text_is_terminated_and_leaves_nothing_behind),
        cmocka_unit_test(text_that_did_not_fit_is_not_taken),
    };
    return RUN_TESTS(tests);
}
