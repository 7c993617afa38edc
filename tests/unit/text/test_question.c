#include "check.h"

#include "text/question.h"

static void what_may_be_asked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum deja_status status;
    } rows[] = {
        {"a question", DEJA_OK},
        {"two\nlines\tand a tab\r\n", DEJA_OK},
        {"\xc3\xa4\xc3\xb6\xc3\xbc", DEJA_OK},
        {"?", DEJA_OK},
        {"", DEJA_ERR_QUERY_EMPTY},
        {" \t\n", DEJA_ERR_QUERY_EMPTY},
        {"\xc2\xa0", DEJA_ERR_QUERY_EMPTY}, /* a space that does not break */
        {"a\x1b[0m", DEJA_ERR_QUERY_INVALID_CHARACTERS},
        {"\x7f", DEJA_ERR_QUERY_INVALID_CHARACTERS},
        {"\xc2\x85", DEJA_ERR_QUERY_INVALID_CHARACTERS}, /* U+0085 */
        {"\xff", DEJA_ERR_QUERY_INVALID_CHARACTERS},
        {"1234567890123456789012", DEJA_ERR_QUERY_TOO_LONG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(dj_question_check(deja_slice_text(rows[i].text), 21, NULL),
                         rows[i].status);
}

static void names_have_no_control_characters_and_any_script(void **state)
{
    (void)state;
    static const char *const good[] = {
        "team a",
        "caf\xc3\xa9",
        "\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87?",
        "{tag}*[x]\\:%",
        "",
        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb" /* joined emoji */};
    static const char *const bad[] = {"a\nb",     "a\tb",         "\x1f", "\x7f",
                                      "\xc2\x85", "\xed\xa0\x80", "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dj_question_is_name(deja_slice_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dj_question_is_name(deja_slice_text(bad[i])));
    assert_false(dj_question_is_name(deja_slice("a\0b", 3)));
}

static void length_is_in_code_points(void **state)
{
    (void)state;
    size_t chars = 0;
    struct deja_slice text = deja_slice_text("\xc3\xa4\xc3\xb6\xc3\xbc");
    assert_int_equal(dj_question_check(text, 3, &chars), DEJA_OK);
    assert_int_equal(chars, 3);
    assert_int_equal(dj_question_check(text, 2, &chars), DEJA_ERR_QUERY_TOO_LONG);
    assert_int_equal(chars, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_asked),
        cmocka_unit_test(names_have_no_control_characters_and_any_script),
        cmocka_unit_test(length_is_in_code_points),
    };
    return RUN_TESTS(tests);
}
