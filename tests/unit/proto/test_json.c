#include "base/buf.h"
#include "check.h"
#include "proto/json.h"

static enum deja_status parse(const char *text, size_t len, struct deja_error *error)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(deja_slice(text, len), &doc, error);
    assert_true((status == DEJA_OK) == (doc != NULL));
    dj_json_doc_destroy(doc);
    return status;
}

static struct dj_json_doc *must_parse(const char *text)
{
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    return doc;
}

static void what_is_not_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "nul",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "-",
        "NaN",
        "Infinity",
        "-Infinity",
        "1 2",
        "{} x",
        "{}{}",
        "'a'",
        "\"a",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\t\"",
        "\"\n\"",
        "[1 2]",
        "{\"a\" 1}",
        "{a:1}",
        "/* */1",
        "1//",
        "\"\\u12g4\"",
        "{\"a\":}",
        "]",
        "}",
        "\xef\xbb\xbf{}",
        "0x10",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct deja_error error = {""};
        assert_int_equal(parse(bad[i], strlen(bad[i]), &error), DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, " at byte "));
        assert_null(strchr(error.message, '\n'));
    }
    assert_int_equal(parse("{}\0", 3, NULL), DEJA_ERR_INVALID);
    assert_int_equal(parse("\"a\0b\"", 5, NULL), DEJA_ERR_INVALID);
}

static void invalid_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"\xff\"",
        "\"\x80\"",
        "\"\xc0\x80\"",
        "\"\xc1\xbf\"",
        "\"\xe0\x80\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xed\xbf\xbf\"",
        "\"\xf0\x80\x80\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xe2\x82\"",
        "\"\xf0\x9f\x98\"",
        "{\"\xff\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(bad[i], strlen(bad[i]), NULL), DEJA_ERR_INVALID);
    assert_int_equal(parse("\"\xf4\x8f\xbf\xbf\xe2\x82\xac\xc3\xa9\"", 11, NULL), DEJA_OK);
}

static void duplicate_names_are_refused_in_small_and_large_objects(void **state)
{
    (void)state;
    struct deja_error error;
    const char *small = "{\"a\":1,\"b\":{\"c\":1,\"c\":2}}";
    assert_int_equal(parse(small, strlen(small), &error), DEJA_ERR_INVALID);
    assert_string_equal(error.message, "duplicate name at byte 19");
    const char *escaped = "{\"\\u0061\":1,\"a\":2}";
    assert_int_equal(parse(escaped, strlen(escaped), NULL), DEJA_ERR_INVALID);

    struct dj_buf buf = {0};
    dj_buf_append_byte(&buf, '{');
    for (unsigned i = 0; i < 100000; i++)
        dj_buf_append_format(&buf, "\"k%u\":0,", i);
    size_t len = buf.len;
    dj_buf_append_text(&buf, "\"z\":0}");
    assert_int_equal(parse(buf.data, buf.len, NULL), DEJA_OK);
    buf.len = len;
    dj_buf_append_text(&buf, "\"k77777\":0}");
    assert_int_equal(parse(buf.data, buf.len, NULL), DEJA_ERR_INVALID);
    dj_buf_fini(&buf);
}

static void depth_is_bounded_before_parsing(void **state)
{
    (void)state;
    char text[2 * DJ_JSON_DEPTH_MAX + 2];
    memset(text, '[', DJ_JSON_DEPTH_MAX);
    memset(text + DJ_JSON_DEPTH_MAX, ']', DJ_JSON_DEPTH_MAX);
    assert_int_equal(parse(text, sizeof text - 2, NULL), DEJA_OK);
    memset(text, '[', DJ_JSON_DEPTH_MAX + 1);
    memset(text + DJ_JSON_DEPTH_MAX + 1, ']', DJ_JSON_DEPTH_MAX + 1);
    struct deja_error error;
    assert_int_equal(parse(text, sizeof text, &error), DEJA_ERR_LIMIT);
    assert_string_equal(error.message, "nested deeper than 64 at byte 64");

    struct dj_buf buf = {0};
    for (unsigned i = 0; i < 10000; i++)
        dj_buf_append_text(&buf, "{\"a\":");
    assert_int_equal(parse(buf.data, buf.len, NULL), DEJA_ERR_LIMIT);
    dj_buf_clear(&buf);
    dj_buf_append_text(&buf, "[\"\\\\\",\"\\\"");
    for (unsigned i = 0; i < 1000; i++)
        dj_buf_append_byte(&buf, '[');
    dj_buf_append_text(&buf, "\"]");
    assert_int_equal(parse(buf.data, buf.len, NULL), DEJA_OK); /* brackets in a string */
    dj_buf_fini(&buf);
}

static void readers_give_what_was_sent(void **state)
{
    (void)state;
    struct dj_json_doc *doc = must_parse(
        " {\"s\":\"a\\u0000b\\n\",\"n\":1.50,\"big\":12345678901234567890123,\"i\":-42,"
        "\"t\":true,\"f\":false,\"z\":null,\"a\":[1,[2],{}],\"o\":{\"x\":1},\"u\":1e999} ");
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice text = dj_json_string(dj_json_get(root, "s"));
    assert_int_equal(text.len, 4);
    assert_memory_equal(text.data, "a\0b\n", 4);
    assert_true(dj_json_double(dj_json_get(root, "n"), 0) == 1.5);
    assert_true(
        deja_slice_is_equal(dj_json_number_text(dj_json_get(root, "n")), deja_slice_text("1.50")));
    assert_true(deja_slice_is_equal(dj_json_number_text(dj_json_get(root, "big")),
                                    deja_slice_text("12345678901234567890123")));
    assert_int_equal(dj_json_i64(dj_json_get(root, "i"), 0), -42);
    assert_int_equal(dj_json_i64(dj_json_get(root, "n"), 7), 7);
    assert_int_equal(dj_json_i64(dj_json_get(root, "big"), 7), 7);
    assert_true(dj_json_double(dj_json_get(root, "u"), 2) == 2);
    assert_true(dj_json_bool(dj_json_get(root, "t"), false));
    assert_false(dj_json_bool(dj_json_get(root, "f"), true));
    assert_true(dj_json_is(dj_json_get(root, "z"), DJ_JSON_NULL));
    assert_int_equal(dj_json_count(dj_json_get(root, "a")), 3);
    assert_int_equal(dj_json_i64(dj_json_at(dj_json_at(dj_json_get(root, "a"), 1), 0), 0), 2);
    assert_null(dj_json_at(dj_json_get(root, "a"), 3));
    assert_null(dj_json_get(root, "nothing"));
    dj_json_doc_destroy(doc);
}

static void readers_accept_null_and_wrong_types(void **state)
{
    (void)state;
    struct dj_json_doc *doc = must_parse("[1]");
    const struct dj_json *const values[] = {NULL, dj_json_root(doc)};
    for (size_t i = 0; i < 2; i++) {
        assert_null(dj_json_get(values[i], "a"));
        assert_null(dj_json_string(values[i]).data);
        assert_null(dj_json_number_text(values[i]).data);
        assert_int_equal(dj_json_i64(values[i], 5), 5);
        assert_true(dj_json_bool(values[i], true));
        assert_true(dj_json_double(values[i], 0.5) == 0.5);
    }
    assert_null(dj_json_at(NULL, 0));
    assert_int_equal(dj_json_count(NULL), 0);
    assert_int_equal(dj_json_count(dj_json_at(dj_json_root(doc), 0)), 0);
    assert_int_equal(dj_json_type(NULL), DJ_JSON_NULL);
    assert_false(dj_json_is(NULL, DJ_JSON_NULL));
    assert_null(dj_json_root(NULL));
    struct dj_json_walk walk = dj_json_walk(NULL);
    assert_false(dj_json_walk_next(&walk));
    walk = dj_json_walk(dj_json_at(dj_json_root(doc), 0));
    assert_false(dj_json_walk_next(&walk));
    dj_json_doc_destroy(doc);
    dj_json_doc_destroy(NULL);
}

static void walk_meets_every_item_in_order(void **state)
{
    (void)state;
    struct dj_json_doc *doc = must_parse("{\"a\":[10,[\"x\"],{\"y\":1},13],\"b\":2}");
    struct dj_json_walk members = dj_json_walk(dj_json_root(doc));
    assert_true(dj_json_walk_next(&members));
    assert_true(deja_slice_is_equal(members.key, deja_slice_text("a")));
    size_t met = 0;
    for (struct dj_json_walk w = dj_json_walk(members.value); dj_json_walk_next(&w); met++) {
        assert_int_equal(w.index, met);
        assert_ptr_equal(w.value, dj_json_at(members.value, met));
    }
    assert_int_equal(met, 4);
    assert_true(dj_json_walk_next(&members));
    assert_true(deja_slice_is_equal(members.key, deja_slice_text("b")));
    assert_int_equal(dj_json_i64(members.value, 0), 2);
    assert_false(dj_json_walk_next(&members));
    dj_json_doc_destroy(doc);
}

static void parse_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *text = "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,"
                       "\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"q\":1}";
    size_t n = 1;
    for (;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = parse(text, strlen(text), NULL);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
    }
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_json_is_refused_with_its_place),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(duplicate_names_are_refused_in_small_and_large_objects),
        cmocka_unit_test(depth_is_bounded_before_parsing),
        cmocka_unit_test(readers_give_what_was_sent),
        cmocka_unit_test(readers_accept_null_and_wrong_types),
        cmocka_unit_test(walk_meets_every_item_in_order),
        cmocka_unit_test(parse_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
