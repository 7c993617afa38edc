#include "text/normalise.h"
#include "check.h"

#include "base/alloc.h"

static void expect(const char *text, const char *wanted)
{
    struct dj_buf out = {0};
    assert_int_equal(dj_text_normalise(deja_slice_text(text), &out), DEJA_OK);
    assert_int_equal(out.len, strlen(wanted));
    if (out.len)
        assert_memory_equal(out.data, wanted, out.len);
    dj_buf_fini(&out);
}

static void prose_gets_single_spaces_and_keeps_its_case(void **state)
{
    (void)state;
    expect("", "");
    expect("   ", "");
    expect("What is AI?", "What is AI?");
    expect("  What   is AI? ", "What is AI?");
    expect("What   is\nAI? ", "What is AI?");
    expect("What is\r\n\r\nAI?", "What is AI?");
    expect("a\xc2\xa0\xe3\x80\x80z", "a z"); /* no-break and ideographic space */
    expect("Us or us", "Us or us");
}

static void accents_are_composed(void **state)
{
    (void)state;
    expect("cafe\xcc\x81", "caf\xc3\xa9");
    expect("caf\xc3\xa9", "caf\xc3\xa9");
}

static void code_and_layout_keep_their_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "Fix:\n    return  1", "a\tb",
        "```\nx  =  1\n```",   "~~~\nx  =  1\n~~~",
        "  first\n second",    "e\xcc\x81:\n  cafe\xcc\x81",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_true(dj_text_is_preformatted(deja_slice_text(texts[i])));
        expect(texts[i], texts[i]);
    }
    assert_false(dj_text_is_preformatted(deja_slice_text("  one line only")));
    assert_false(dj_text_is_preformatted(deja_slice_text("two\nlines")));
}

static void what_is_not_utf8_is_refused_and_leaves_the_output_alone(void **state)
{
    (void)state;
    struct dj_buf out = {0};
    dj_buf_append_text(&out, "before");
    assert_int_equal(dj_text_normalise(deja_slice("a\xff", 2), &out), DEJA_ERR_INVALID);
    assert_int_equal(out.len, 6);
    dj_buf_fini(&out);
}

static void normalise_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_text_normalise(deja_slice_text("cafe\xcc\x81  au  lait"), &out);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_true(!has_failed || out.len == 0);
        dj_buf_fini(&out);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prose_gets_single_spaces_and_keeps_its_case),
        cmocka_unit_test(accents_are_composed),
        cmocka_unit_test(code_and_layout_keep_their_bytes),
        cmocka_unit_test(what_is_not_utf8_is_refused_and_leaves_the_output_alone),
        cmocka_unit_test(normalise_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
