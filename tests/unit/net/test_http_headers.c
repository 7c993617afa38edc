#include "net/http_headers.h"

#include "check.h"

static struct deja_slice text(const char *value)
{
    return deja_slice_text(value);
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
        cmocka_unit_test(connection_names_more_hop_by_hop_headers),
    };
    return RUN_TESTS(tests);
}
