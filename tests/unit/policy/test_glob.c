/* tests/unit/policy/test_glob.c - what fits which pattern, and what it costs at most. */
#include "policy/glob.h"
#include "check.h"

static struct deja_slice text_of(const char *text)
{
    return deja_slice_text(text);
}

struct row {
    const char *pattern;
    const char *text;
    bool fits;
};

static void a_pattern_fits_what_its_row_says(void **state)
{
    static const struct row rows[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything at all", true},
        {"**", "x", true},
        {"user:*", "user:", true},
        {"user:*", "user:123", true},
        {"user:*", "users:123", false},
        {"user:?", "user:1", true},
        {"user:?", "user:12", false},
        {"*:end", "a:b:end", true},
        {"*:end", "a:b:end:", false},
        {"a*b*c", "a--b--b--c", true},
        {"a*b*c", "a--c--b", false},
        {"*aab", "aaaaab", true}, /* the star has to go back */
        {"[abc]x", "bx", true},
        {"[abc]x", "dx", false},
        {"[a-c0-9]", "7", true},
        {"[c-a]", "b", true}, /* either end first */
        {"[^a-c]", "d", true},
        {"[^a-c]", "b", false},
        {"[]", "]", false},
        {"[]", "", false},
        {"[^]", "x", true},
        {"[a\\]b]", "]", true},
        {"[a\\-z]", "-", true},
        {"[a\\-z]", "m", false},
        {"[ab", "b", true}, /* closes with the pattern */
        {"[ab", "bx", false},
        {"[", "[", false},
        {"[^", "x", true},
        {"[a-", "-", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"\\?\\[\\]\\\\", "?[]\\", true},
        {"\\", "\\", true}, /* a last one is itself */
        {"a\\", "a\\", true},
        {"\\a", "a", true},
        {"caf?", "caf\xc3\xa9", false}, /* bytes */
        {"caf??", "caf\xc3\xa9", true},
        {"[\x80-\xff][\x80-\xff]", "\xc3\xa9", true},
        {"A*", "abc", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (dj_glob_is_match(text_of(rows[i].pattern), text_of(rows[i].text)) != rows[i].fits)
            fail_msg("\"%s\" and \"%s\"", rows[i].pattern, rows[i].text);
    }
}

static void a_name_may_hold_a_nul(void **state)
{
    (void)state;
    assert_true(dj_glob_is_match(deja_slice("a?b*", 4), deja_slice("a\0bc\0", 5)));
    assert_true(dj_glob_is_match(deja_slice("a\0*", 3), deja_slice("a\0z", 3)));
    assert_false(dj_glob_is_match(deja_slice("a\0*", 3), deja_slice("a", 1)));
}

static void an_escaped_name_fits_itself_alone(void **state)
{
    static const char name[] = "a*b?c[d]e\\f";
    char pattern[2 * sizeof name];
    (void)state;
    size_t len = dj_glob_escape(text_of(name), pattern);
    struct deja_slice escaped = deja_slice(pattern, len);
    assert_true(dj_glob_is_literal(escaped));
    assert_true(dj_glob_is_match(escaped, text_of(name)));
    assert_false(dj_glob_is_match(escaped, text_of("aXb?c[d]e\\f")));
    char literal[2 * sizeof name];
    assert_int_equal(dj_glob_literal(escaped, literal), sizeof name - 1);
    assert_memory_equal(literal, name, sizeof name - 1);
}

static void the_beginning_of_a_pattern_is_known(void **state)
{
    char out[64];
    (void)state;
    assert_int_equal(dj_glob_literal(text_of("user:\\*:*"), out), 7);
    assert_memory_equal(out, "user:*:", 7);
    assert_false(dj_glob_is_literal(text_of("user:\\*:*")));
    assert_int_equal(dj_glob_literal(text_of("*"), out), 0);
    assert_true(dj_glob_is_literal(text_of("user:1")));
}

/* What takes others exponential time; with the limit of a test this one ends. */
static void many_stars_cost_no_more_than_the_product(void **state)
{
    char pattern[DJ_GLOB_PATTERN_BYTES_MAX];
    static char text[4096];
    (void)state;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    pattern[sizeof pattern - 1] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(
        dj_glob_is_match(deja_slice(pattern, sizeof pattern), deja_slice(text, sizeof text)));
    text[sizeof text - 1] = 'b';
    assert_true(
        dj_glob_is_match(deja_slice(pattern, sizeof pattern), deja_slice(text, sizeof text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_fits_what_its_row_says),
        cmocka_unit_test(a_name_may_hold_a_nul),
        cmocka_unit_test(an_escaped_name_fits_itself_alone),
        cmocka_unit_test(the_beginning_of_a_pattern_is_known),
        cmocka_unit_test(many_stars_cost_no_more_than_the_product),
    };
    return RUN_TESTS(tests);
}
