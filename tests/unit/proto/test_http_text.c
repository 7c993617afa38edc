#include "check.h"
#include "proto/http_text.h"

static void names_compare_without_case(void **state)
{
    (void)state;
    assert_true(dj_http_is_same(deja_slice_text("Content-TYPE"), "content-type"));
    assert_false(dj_http_is_same(deja_slice_text("Content-Typ"), "content-type"));
    assert_false(dj_http_is_same(deja_slice_text("{"), "["));
    assert_true(dj_http_is_same_slice(deja_slice_text("A"), deja_slice_text("a")));
}

static void tokens_and_values_know_their_characters(void **state)
{
    (void)state;
    assert_true(dj_http_is_token(deja_slice_text("x-Deja_1.0~")));
    assert_false(dj_http_is_token(deja_slice_text("")));
    assert_false(dj_http_is_token(deja_slice_text("a b")));
    assert_false(dj_http_is_token(deja_slice_text("a:")));
    assert_false(dj_http_is_token(deja_slice("a\0", 2)));
    assert_false(dj_http_is_token(deja_slice_text("\xc3\xa9")));
    static const char of_tokens[] = "!#$%&'*+-.^_`|~0123456789"
                                    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool is_known = memchr(of_tokens, byte, sizeof of_tokens - 1) != NULL;
        assert_int_equal(dj_http_is_token(deja_slice(&byte, 1)), is_known);
    }
    assert_true(dj_http_is_value(deja_slice_text("a\tb \xc3\xa9")));
    assert_true(dj_http_is_value(deja_slice_text("")));
    assert_false(dj_http_is_value(deja_slice_text("a\r\nb")));
    assert_false(dj_http_is_value(deja_slice_text("a\x7f")));
    assert_false(dj_http_is_value(deja_slice("\0", 1)));
}

static void hosts_are_told_from_what_only_looks_like_one(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost", "a.b-c:80",           "127.0.0.1:7070",
                                       "[::1]",     "[::ffff:1.2.3.4]:1", "h:"};
    static const char *const bad[] = {"",       ":80",  "a b",     "u@h", "h:80:80", "h:x",
                                      "[::1",   "[]",   "::1",     "h/p", "h,i",     "h:123456",
                                      "[::1]x", "h\\i", "[g::]:1", "h\"", "h:-1",    "\xc3\xa9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dj_http_is_host(deja_slice_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dj_http_is_host(deja_slice_text(bad[i])));
}

static void lists_are_walked_item_by_item(void **state)
{
    (void)state;
    struct deja_slice list = deja_slice_text(" , a ,,b;q=1,\tc d\t,");
    struct deja_slice item;
    static const char *const expected[] = {"a", "b;q=1", "c d"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(dj_http_list_next(&list, &item));
        assert_true(deja_slice_is_equal(item, deja_slice_text(expected[i])));
    }
    assert_false(dj_http_list_next(&list, &item));
    assert_true(dj_http_list_has(deja_slice_text("gzip, Keep-Alive"), "keep-alive"));
    assert_true(dj_http_list_has(deja_slice_text("a;q=0.5"), "a"));
    assert_false(dj_http_list_has(deja_slice_text("keep-alive-not"), "keep-alive"));
    assert_false(dj_http_list_has(deja_slice(NULL, 0), "a"));
}

static void dates_and_reasons_are_those_of_the_standard(void **state)
{
    (void)state;
    char text[DJ_HTTP_DATE_BYTES];
    dj_http_date(784111777000, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    dj_http_date(1798675199000, text);
    assert_string_equal(text, "Wed, 30 Dec 2026 23:59:59 GMT");
    assert_string_equal(dj_http_reason(200), "OK");
    assert_string_equal(dj_http_reason(431), "Request Header Fields Too Large");
    assert_string_equal(dj_http_reason(299), "Unknown");
}

static void a_control_character_is_seen_wherever_it_stands(void **state)
{
    (void)state;
    char text[40];
    for (size_t at = 0; at < sizeof text; at++)
        for (int c = 0; c < 256; c++) {
            memset(text, at % 2 ? 0xff : ' ', sizeof text);
            text[at] = (char)c;
            bool is_control = (c < 0x20 && c != '\t') || c == 0x7f;
            assert_int_equal(dj_http_is_value(deja_slice(text, sizeof text)), !is_control);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_control_character_is_seen_wherever_it_stands),
        cmocka_unit_test(names_compare_without_case),
        cmocka_unit_test(tokens_and_values_know_their_characters),
        cmocka_unit_test(hosts_are_told_from_what_only_looks_like_one),
        cmocka_unit_test(lists_are_walked_item_by_item),
        cmocka_unit_test(dates_and_reasons_are_those_of_the_standard),
    };
    return RUN_TESTS(tests);
}
