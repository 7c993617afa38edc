#include "base/buf.h"
#include "check.h"
#include "proto/json.h"

#include <math.h>

static void assert_buf(struct dj_buf *buf, const char *expected)
{
    dj_buf_append_byte(buf, '\0');
    assert_int_equal(buf->status, DEJA_OK);
    assert_string_equal(buf->data, expected);
    dj_buf_clear(buf);
}

static void commas_are_the_writers(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    struct dj_json_writer w = dj_json_writer(&buf);
    dj_json_begin_object(&w);
    dj_json_key(&w, "a");
    dj_json_begin_array(&w);
    dj_json_put_i64(&w, INT64_MIN);
    dj_json_put_u64(&w, UINT64_MAX);
    dj_json_begin_object(&w);
    dj_json_end_object(&w);
    dj_json_put_null(&w);
    dj_json_end_array(&w);
    dj_json_key_slice(&w, deja_slice_text("b\""));
    dj_json_put_bool(&w, true);
    dj_json_key(&w, "c");
    dj_json_put_raw(&w, deja_slice_text("[1]"));
    dj_json_end_object(&w);
    assert_buf(&buf, "{\"a\":[-9223372036854775808,18446744073709551615,{},null],\"b\\\"\":true,"
                     "\"c\":[1]}");
    dj_buf_fini(&buf);
}

static void doubles_are_the_shortest_that_read_back(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    struct dj_json_writer w = dj_json_writer(&buf);
    dj_json_begin_array(&w);
    dj_json_put_double(&w, 0.1);
    dj_json_put_double(&w, 1);
    dj_json_put_double(&w, 1.0 / 3);
    dj_json_put_double(&w, 1e300);
    dj_json_put_double(&w, INFINITY);
    dj_json_put_double(&w, NAN);
    dj_json_end_array(&w);
    assert_buf(&buf, "[0.1,1,0.3333333333333333,1e+300,null,null]");
    dj_buf_fini(&buf);
}

static void every_byte_that_needs_an_escape_gets_one(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    char all[0x80];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    for (size_t shift = 0; shift < 9; shift++) {
        dj_buf_clear(&buf);
        struct dj_json_writer w = dj_json_writer(&buf);
        dj_json_put_string(&w, deja_slice(all + shift, sizeof all - shift));
        struct dj_json_doc *doc = NULL;
        assert_int_equal(dj_json_parse(dj_buf_slice(&buf), &doc, NULL), DEJA_OK);
        assert_true(deja_slice_is_equal(dj_json_string(dj_json_root(doc)),
                                        deja_slice(all + shift, sizeof all - shift)));
        dj_json_doc_destroy(doc);
    }
    dj_buf_fini(&buf);
}

static void values_are_written_as_they_were_sent(void **state)
{
    (void)state;
    const char *text = "{\"b\":1.50,\"a\":[1e2,-0,{\"x\":\"\\u00e9\\n\"},null,true,[]],\"n\":"
                       "12345678901234567890123}";
    const char *expected = "[7,{\"b\":1.50,\"a\":[1e2,-0,{\"x\":\"\xc3\xa9\\n\"},null,true,[]],"
                           "\"n\":12345678901234567890123},null]";
    struct dj_json_doc *doc = NULL;
    struct dj_buf buf = {0};
    struct dj_json_writer w = dj_json_writer(&buf);
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    dj_json_begin_array(&w);
    dj_json_put_i64(&w, 7);
    dj_json_put_value(&w, dj_json_root(doc));
    dj_json_put_value(&w, NULL);
    dj_json_end_array(&w);
    assert_buf(&buf, expected);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_are_the_writers),
        cmocka_unit_test(doubles_are_the_shortest_that_read_back),
        cmocka_unit_test(every_byte_that_needs_an_escape_gets_one),
        cmocka_unit_test(values_are_written_as_they_were_sent),
    };
    return RUN_TESTS(tests);
}
