#include "base/buf.h"
#include "check.h"
#include "proto/json.h"

static void assert_canonical(const char *text, const char *expected)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf buf = {0};
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    dj_json_canonical(&buf, dj_json_root(doc), NULL, NULL, NULL, NULL);
    dj_buf_append_byte(&buf, '\0');
    assert_int_equal(buf.status, DEJA_OK);
    assert_string_equal(buf.data, expected);
    dj_buf_fini(&buf);
    dj_json_doc_destroy(doc);
}

static void numbers_have_one_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"0", "0"},
        {"-0", "0"},
        {"0.000", "0"},
        {"-0e7", "0"},
        {"0e-99999999999999999999", "0"},
        {"1", "1"},
        {"1.0", "1"},
        {"1e0", "1"},
        {"10e-1", "1"},
        {"0.1e1", "1"},
        {"100", "100"},
        {"1e2", "100"},
        {"1E+2", "100"},
        {"1e0002", "100"},
        {"100.0", "100"},
        {"0.7", "7e-1"},
        {"0.70", "7e-1"},
        {"7e-1", "7e-1"},
        {"-1.5", "-15e-1"},
        {"1024.25", "102425e-2"},
        {"100.5", "1005e-1"},
        {"9007199254740993", "9007199254740993"},
        {"9007199254740993.0", "9007199254740993"},
        {"12345678901234567890123456789012345678901234567890",
         "1234567890123456789012345678901234567890123456789e1"},
        {"12345678901234567890123456789012345678901234567891",
         "12345678901234567890123456789012345678901234567891"},
        {"1e31", "10000000000000000000000000000000"},
        {"1e32", "1e32"},
        {"100000000000000000000000000000000", "1e32"},
        {"1e999999999999999999", "1e999999999999999999"},
        {"1e9999999999999999999", "1e9999999999999999999+0"},
        {"1.5e-9999999999999999999", "15e-9999999999999999999-1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_canonical(pairs[i][0], pairs[i][1]);
}

static void keys_are_sorted_by_bytes_at_every_level(void **state)
{
    (void)state;
    assert_canonical(
        " { \"b\" : [ 1 , true ] , \"a\" : { \"z\" : null , \"\" : \"x\" , \"aa\":1 } } ",
        "{\"a\":{\"\":\"x\",\"aa\":1,\"z\":null},\"b\":[1,true]}");
    assert_canonical("{\"\xc3\xa9\":1,\"z\":2,\"Z\":3,\"zz\":4}",
                     "{\"Z\":3,\"z\":2,\"zz\":4,\"\xc3\xa9\":1}");
    struct dj_buf forward = {0};
    struct dj_buf backward = {0};
    for (unsigned i = 0; i < 1000; i++) {
        dj_buf_append_format(&forward, "%s\"k%04u\":%u", i ? "," : "{", i, i);
        dj_buf_append_format(&backward, "%s\"k%04u\":%u", i ? "," : "{", 999 - i, 999 - i);
    }
    dj_buf_append(&forward, "}", 2);
    dj_buf_append(&backward, "}", 2);
    assert_canonical(backward.data, forward.data);
    dj_buf_fini(&forward);
    dj_buf_fini(&backward);
}

static void strings_are_untouched_but_for_their_escapes(void **state)
{
    (void)state;
    assert_canonical("\"\\u0041\\/ \\u00e9\\ud83d\\ude00 \\u0000\\u001f\\n\\\"\\\\ \x7f  A \"",
                     "\"A/ \xc3\xa9\xf0\x9f\x98\x80 \\u0000\\u001f\\n\\\"\\\\ \x7f  A \"");
    /* Composed and decomposed are not the same text. */
    assert_canonical("\"\xc3\xa9 e\xcc\x81\"", "\"\xc3\xa9 e\xcc\x81\"");
}

static void skipped_members_are_left_out_of_the_root_only(void **state)
{
    (void)state;
    static const char *const skip[] = {"stream", "user", NULL};
    struct dj_json_doc *doc = NULL;
    struct dj_buf buf = {0};
    const char *text = "{\"user\":\"u\",\"a\":[{\"user\":1}],\"stream\":true,\"o\":{\"user\":2}}";
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    dj_json_canonical(&buf, dj_json_root(doc), skip, NULL, NULL, NULL);
    dj_buf_append_byte(&buf, '\0');
    assert_string_equal(buf.data, "{\"a\":[{\"user\":1}],\"o\":{\"user\":2}}");
    dj_buf_fini(&buf);
    dj_json_doc_destroy(doc);
}

static void marked_string_is_found_again(void **state)
{
    (void)state;
    static const char *const skip[] = {"c", NULL};
    struct dj_json_doc *doc = NULL;
    struct dj_buf buf = {0};
    dj_buf_append_text(&buf, "before");
    const char *text = "{\"b\":[\"x\",\"say \\\"x\\\"\"],\"a\":1,\"c\":\"y\"}";
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    const struct dj_json *root = dj_json_root(doc);
    size_t offset = 0;
    size_t len = 0;
    dj_json_canonical(&buf, root, skip, dj_json_at(dj_json_get(root, "b"), 1), &offset, &len);
    const char *expected = "\"say \\\"x\\\"\"";
    assert_true(deja_slice_is_equal(deja_slice(buf.data + offset, len), deja_slice_text(expected)));
    dj_json_canonical(&buf, root, skip, dj_json_get(root, "c"), &offset, &len);
    assert_true(offset == SIZE_MAX);
    dj_buf_fini(&buf);
    dj_json_doc_destroy(doc);
}

static void canonical_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_buf text = {0};
    for (unsigned i = 0; i < 100; i++)
        dj_buf_append_format(&text, "%s\"k%u\":{\"a\":%u}", i ? "," : "{", i, i);
    dj_buf_append_byte(&text, '}');
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(dj_buf_slice(&text), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_buf buf = {0};
        failing_malloc_arm(n);
        dj_json_canonical(&buf, dj_json_root(doc), NULL, NULL, NULL, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(buf.status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&buf);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_one_form),
        cmocka_unit_test(keys_are_sorted_by_bytes_at_every_level),
        cmocka_unit_test(strings_are_untouched_but_for_their_escapes),
        cmocka_unit_test(skipped_members_are_left_out_of_the_root_only),
        cmocka_unit_test(marked_string_is_found_again),
        cmocka_unit_test(canonical_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
