/* tests/unit/proxy/test_cache_debug.c - where the member goes. */
#include "check.h"

#include "proto/json.h"
#include "proxy/cache_debug.h"

static void put(struct dj_buf *out, const char *body, bool is_stream, enum dj_hit_kind kind)
{
    static struct dj_entry entry;
    entry = (struct dj_entry){
        .provider = deja_slice_text("p\"1"), .model = deja_slice_text("m"), .input_tokens = 7};
    const struct dj_outcome outcome = {
        .is_hit = true, .kind = kind, .similarity = 0.5f, .entry = &entry};
    *out = (struct dj_buf){0};
    dj_cache_debug_put(deja_slice_text(body), is_stream, &outcome, 0.25, out);
    assert_int_equal(out->status, DEJA_OK);
}

static void object_has_the_member_beside_its_own(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{\"a\":{\"b\":1}}", "{ \"a\" : {\"b\":1} }\n",
                                         "{\"a\":{\"b\":1} \n}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct dj_buf out;
        struct dj_json_doc *doc = NULL;
        put(&out, bodies[i], false, DJ_HIT_SEMANTIC);
        assert_int_equal(dj_json_parse(dj_buf_slice(&out), &doc, NULL), DEJA_OK);
        const struct dj_json *root = dj_json_root(doc);
        const struct dj_json *debug = dj_json_get(dj_json_get(root, "extra_fields"), "cache_debug");
        assert_int_equal(dj_json_i64(dj_json_get(dj_json_get(root, "a"), "b"), 0), 1);
        assert_true(dj_json_bool(dj_json_get(debug, "cache_hit"), false));
        assert_true(dj_json_double(dj_json_get(debug, "threshold"), 0) > 0.24);
        assert_int_equal(dj_json_i64(dj_json_get(debug, "input_tokens"), 0), 7);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&out);
    }
}

static void stream_has_it_in_its_last_object(void **state)
{
    (void)state;
    struct dj_buf out;
    put(&out, "data: {\"x\":1}\n\ndata: {\"x\":2}\n\ndata: [DONE]\n\n", true, DJ_HIT_EXACT);
    dj_buf_append_byte(&out, '\0');
    static const char begin[] = "data: {\"x\":1}\n\ndata: {\"x\":2,\"extra_fields\":{";
    assert_memory_equal(out.data, begin, sizeof begin - 1);
    assert_non_null(strstr(out.data, "\"hit_type\":\"direct\""));
    assert_null(strstr(out.data, "similarity"));
    assert_non_null(strstr(out.data, "}}}\n\ndata: [DONE]\n\n"));
    dj_buf_fini(&out);
}

static void what_has_no_object_stays_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool is_stream;
    } cases[] = {{"", false}, {"[]", false}, {"}", false}, {"data: [DONE]\n\n", true}, {"", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_buf out;
        put(&out, cases[i].body, cases[i].is_stream, DJ_HIT_EXACT);
        assert_int_equal(out.len, strlen(cases[i].body));
        if (out.len)
            assert_memory_equal(out.data, cases[i].body, out.len);
        dj_buf_fini(&out);
    }
    struct dj_buf empty;
    put(&empty, "{}", false, DJ_HIT_EXACT);
    assert_memory_equal(empty.data, "{\"extra_fields\":{", 17);
    dj_buf_fini(&empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(object_has_the_member_beside_its_own),
        cmocka_unit_test(stream_has_it_in_its_last_object),
        cmocka_unit_test(what_has_no_object_stays_as_it_is),
    };
    return RUN_TESTS(tests);
}
