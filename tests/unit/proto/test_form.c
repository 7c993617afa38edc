/* tests/unit/proto/test_form.c - values out of a query string. */
#include "check.h"

#include "proto/form.h"

static void members_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        const char *name;
        const char *value; /* NULL: not there */
    } cases[] = {
        {"query=a%20b+c", "query", "a b c"},
        {"x=1&query=%C3%A9", "query", "\xc3\xa9"},
        {"query=&x=1", "query", ""},
        {"query", "query", ""},
        {"query=a=b", "query", "a=b"},
        {"query=1&query=2", "query", "1"},
        {"queryx=1&xquery=2", "query", NULL},
        {"", "query", NULL},
        {"&&&", "query", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_buf out = {0};
        enum deja_status status = dj_form_get(deja_slice_text(cases[i].query), cases[i].name, &out);
        assert_int_equal(status, cases[i].value ? DEJA_OK : DEJA_ERR_NOT_FOUND);
        if (cases[i].value)
            assert_true(deja_slice_is_equal(dj_buf_slice(&out), deja_slice_text(cases[i].value)));
        dj_buf_fini(&out);
    }
}

static void broken_escapes_are_refused(void **state)
{
    (void)state;
    static const char *const queries[] = {"q=%", "q=%4", "q=%zz", "q=ab%2", "q=a%g1"};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        struct dj_buf out = {0};
        dj_buf_append_text(&out, "kept");
        assert_int_equal(dj_form_get(deja_slice_text(queries[i]), "q", &out), DEJA_ERR_INVALID);
        assert_int_equal(out.len, 4);
        dj_buf_fini(&out);
    }
}

static void a_value_beyond_the_bound_is_refused(void **state)
{
    (void)state;
    struct dj_buf out;
    dj_buf_init(&out, 3);
    assert_int_equal(dj_form_get(deja_slice_text("q=abcdefghijklmnopq"), "q", &out),
                     DEJA_ERR_LIMIT);
    assert_int_equal(out.len, 0);
    dj_buf_fini(&out);
}

static void a_segment_keeps_its_plus_signs(void **state)
{
    (void)state;
    static const struct {
        const char *segment;
        const char *text; /* NULL: broken */
    } cases[] = {{"a+b%20c%2Fd", "a+b c/d"}, {"", ""}, {"%", NULL}, {"%zz", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_buf out = {0};
        enum deja_status status = dj_form_segment(deja_slice_text(cases[i].segment), &out);
        assert_int_equal(status, cases[i].text ? DEJA_OK : DEJA_ERR_INVALID);
        if (cases[i].text)
            assert_true(deja_slice_is_equal(dj_buf_slice(&out), deja_slice_text(cases[i].text)));
        dj_buf_fini(&out);
    }
}

static void get_survives_each_failed_allocation(void **state)
{
    (void)state;
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_form_get(deja_slice_text("a=1&q=%41b+c"), "q", &out);
        if (status == DEJA_OK) {
            assert_int_equal(out.len, 4);
            status = dj_form_segment(deja_slice_text("a%20b and all that follows"), &out);
        }
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_keeps_its_plus_signs),
        cmocka_unit_test(members_are_decoded),
        cmocka_unit_test(broken_escapes_are_refused),
        cmocka_unit_test(a_value_beyond_the_bound_is_refused),
        cmocka_unit_test(get_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
