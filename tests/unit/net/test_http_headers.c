#include "net/http_headers.h"

#include "check.h"

static struct deja_slice text(const char *value)
{
    return deja_slice_text(value);
}

static void names_and_values_with_control_characters_are_invalid(void **state)
{
    (void)state;
    assert_true(dj_http_is_name_valid(text("X-Request-Id")));
    assert_false(dj_http_is_name_valid(text("")));
    assert_false(dj_http_is_name_valid(text("a b")));
    assert_false(dj_http_is_name_valid(text("a:")));
    assert_false(dj_http_is_name_valid(deja_slice("a\0b", 3)));
    assert_true(dj_http_is_value_valid(text("a\tb \xc3\xa9")));
    assert_true(dj_http_is_value_valid(text("")));
    assert_false(dj_http_is_value_valid(text("a\r\nb: c")));
    assert_false(dj_http_is_value_valid(deja_slice("a\0b", 3)));
    assert_false(dj_http_is_value_valid(text("a\x7f")));
}

static void list_members_are_found_without_case(void **state)
{
    (void)state;
    assert_true(dj_http_list_has(text(" close , X-A"), text("x-a")));
    assert_true(dj_http_list_has(text("close"), text("CLOSE")));
    assert_false(dj_http_list_has(text("closed, x"), text("close")));
    assert_false(dj_http_list_has(text(""), text("close")));
    assert_false(dj_http_list_has(text(",,"), text("")));
}

static void connection_names_more_hop_by_hop_headers(void **state)
{
    (void)state;
    const struct dj_http_header headers[] = {
        {text("Connection"), text("keep-alive, X-Mine")},
        {text("X-Mine"), text("1")},
        {text("connection"), text("Other")},
    };
    assert_true(dj_http_is_hop_by_hop(NULL, 0, text("Transfer-Encoding")));
    assert_true(dj_http_is_hop_by_hop(headers, 3, text("x-mine")));
    assert_true(dj_http_is_hop_by_hop(headers, 3, text("other")));
    assert_false(dj_http_is_hop_by_hop(headers, 3, text("content-type")));
    assert_false(dj_http_is_hop_by_hop(NULL, 0, text("x-mine")));
    assert_true(deja_slice_is_equal(dj_http_find(headers, 3, "x-mine"), text("1")));
    assert_null(dj_http_find(headers, 3, "absent").data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_values_with_control_characters_are_invalid),
        cmocka_unit_test(list_members_are_found_without_case),
        cmocka_unit_test(connection_names_more_hop_by_hop_headers),
    };
    return RUN_TESTS(tests);
}
