#include "check.h"

#include "proto/entry_json.h"

#define NOW_MS INT64_C(1700000000000)

static struct dj_entry sample(void)
{
    struct dj_entry entry = {.kind = DJ_ENTRY_API,
                             .version = UINT64_C(1700000000000123),
                             .created_ms = NOW_MS - 5,
                             .expires_ms = NOW_MS + 1000,
                             .stale_until_ms = NOW_MS + 2000,
                             .input_tokens = 7,
                             .cost_usd = 0.25,
                             .tag_count = 3};
    entry.tenant[0] = 1;
    entry.id[0] = 2;
    entry.exact[31] = 3;
    entry.scope[15] = 4;
    entry.query = deja_slice_text("Gr\xc3\xbc\xc3\x9f \xe2\x98\x83 \"quoted\"\n");
    entry.name_space = deja_slice_text("ns");
    entry.model = deja_slice_text("m");
    entry.embedder_id = deja_slice_text("@mine");
    entry.metadata = deja_slice_text("{\"a\":1}");
    entry.body = deja_slice("\x00\xff\xc0 bytes", 9);
    entry.tags[0].name = deja_slice_text("geo");
    entry.tags[1].name = deja_slice_text("\x01user:00");
    entry.tags[2].name = deja_slice("\xfe", 1);
    return entry;
}

static void write(const struct dj_entry *entry, const float *vector, uint32_t dim,
                  struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_entry_json_write(&w, entry, vector, dim, NOW_MS);
}

static void assert_slices(struct deja_slice a, struct deja_slice b)
{
    assert_true(deja_slice_is_equal(a, b));
}

static void entry_comes_back_byte_for_byte(void **state)
{
    (void)state;
    static const float vector[3] = {0.1f, -2.5f, 3e-30f};
    struct dj_entry entry = sample();
    struct dj_buf text = {0};
    struct dj_entry_line line;
    struct deja_error error;
    write(&entry, vector, 3, &text);
    assert_int_equal(text.status, DEJA_OK);
    assert_null(memchr(text.data, '\n', text.len));
    assert_int_equal(dj_entry_json_read(dj_buf_slice(&text), NOW_MS, &line, &error), DEJA_OK);
    assert_true(line.has_tenant && line.has_id);
    assert_memory_equal(line.entry.tenant, entry.tenant, DJ_ID_BYTES);
    assert_memory_equal(line.entry.id, entry.id, DJ_ID_BYTES);
    assert_memory_equal(line.entry.exact, entry.exact, DJ_DIGEST_BYTES);
    assert_memory_equal(line.entry.scope, entry.scope, DJ_ID_BYTES);
    assert_true(line.entry.version == entry.version && line.entry.kind == entry.kind);
    assert_true(line.entry.expires_ms == entry.expires_ms);
    assert_true(line.entry.stale_until_ms == entry.stale_until_ms);
    assert_true(line.entry.created_ms == entry.created_ms);
    assert_int_equal(line.entry.input_tokens, 7);
    assert_slices(line.entry.query, entry.query);
    assert_slices(line.entry.body, entry.body);
    assert_slices(line.entry.metadata, entry.metadata);
    assert_slices(line.entry.embedder_id, entry.embedder_id);
    assert_int_equal(line.entry.tag_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_slices(line.entry.tags[i].name, entry.tags[i].name);
    assert_int_equal(line.dim, 3);
    assert_memory_equal(line.vector, vector, sizeof vector);
    dj_entry_line_fini(&line);
    dj_buf_fini(&text);
}

static void every_string_that_is_no_utf8_travels_as_base64(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\xc0\x80",         "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x98", "\x80",
        "\xf5\x80\x80\x80", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "a\xff"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_entry entry = {.kind = DJ_ENTRY_BYTES, .query = deja_slice_text(texts[i])};
        struct dj_buf text = {0};
        struct dj_entry_line line;
        struct deja_error error;
        write(&entry, NULL, 0, &text);
        dj_buf_append_byte(&text, '\0');
        assert_non_null(strstr(text.data, "query_base64"));
        text.len--;
        assert_int_equal(dj_entry_json_read(dj_buf_slice(&text), NOW_MS, &line, &error), DEJA_OK);
        assert_slices(line.entry.query, entry.query);
        dj_entry_line_fini(&line);
        dj_buf_fini(&text);
    }
}

static void line_without_end_lives_as_long_as_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t expires_ms;
    } cases[] = {
        {"{\"deja\":1,\"kind\":\"plain\"}", 0},
        {"{\"deja\":1,\"kind\":\"plain\",\"ttl_ms\":null}", 0},
        {"{\"deja\":1,\"kind\":\"plain\",\"ttl_ms\":50}", NOW_MS + 50},
        {"{\"deja\":1,\"kind\":\"plain\",\"ttl_ms\":50,\"expires_ms\":7}", 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_entry_line line;
        struct deja_error error;
        assert_int_equal(dj_entry_json_read(deja_slice_text(cases[i].text), NOW_MS, &line, &error),
                         DEJA_OK);
        assert_true(line.entry.expires_ms == cases[i].expires_ms);
        assert_false(line.has_id);
        dj_entry_line_fini(&line);
    }
}

static void what_is_wrong_with_a_line_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *word;
    } cases[] = {
        {"[]", "not an object"},
        {"{}", "not a line of deja export"},
        {"{\"deja\":2}", "newer"},
        {"{\"deja\":1,\"kind\":\"odd\"}", "\"kind\""},
        {"{\"deja\":1,\"kind\":\"api\",\"id\":\"zz\"}", "32 hex"},
        {"{\"deja\":1,\"kind\":\"api\",\"tenant\":\"x\"}", "\"tenant\""},
        {"{\"deja\":1,\"kind\":\"api\",\"expires_ms\":-1}", "expires_ms"},
        {"{\"deja\":1,\"kind\":\"api\",\"body_base64\":\"?\"}", "not base64"},
        {"{\"deja\":1,\"kind\":\"api\",\"body\":\"x\",\"body_base64\":\"eA==\"}", "twice"},
        {"{\"deja\":1,\"kind\":\"api\",\"body\":5}", "string"},
        {"{\"deja\":1,\"kind\":\"api\",\"tags\":{}}", "array"},
        {"{\"deja\":1,\"kind\":\"api\",\"tags\":[5]}", "strings"},
        {"{\"deja\":1,\"kind\":\"api\",\"vector\":\"eA==\"}", "floats"},
        {"{\"deja\":1,\"kind\":\"api\",\"vector\":\"AADAfw==\"}", "finite"},
        {"{\"deja\":1,\"kind\":\"api\",\"cost_usd\":-1}", "cost_usd"},
        {"{\"deja\":1,", "byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_entry_line line;
        struct deja_error error = {.message = ""};
        assert_int_not_equal(
            dj_entry_json_read(deja_slice_text(cases[i].text), NOW_MS, &line, &error), DEJA_OK);
        if (!strstr(error.message, cases[i].word))
            fail_msg("%s: %s", cases[i].text, error.message);
        dj_entry_line_fini(&line);
    }
}

static void line_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const float vector[3] = {1, 2, 3};
    struct dj_entry entry = sample();
    struct dj_buf text = {0};
    write(&entry, vector, 3, &text);
    for (size_t n = 1;; n++) {
        struct dj_entry_line line;
        struct deja_error error;
        struct dj_buf again = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_entry_json_read(dj_buf_slice(&text), NOW_MS, &line, &error);
        if (status == DEJA_OK)
            write(&line.entry, line.vector, line.dim, &again);
        bool has_failed = failing_malloc_disarm();
        assert_true(has_failed || (status == DEJA_OK && again.status == DEJA_OK));
        dj_entry_line_fini(&line);
        dj_buf_fini(&again);
        if (!has_failed)
            break;
    }
    dj_buf_fini(&text);
}

/* The value stays the caller's, whatever failed. */
static void line_of_a_parsed_value_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const float vector[3] = {1, 2, 3};
    struct dj_entry entry = sample();
    struct dj_buf text = {0};
    struct dj_json_doc *doc = NULL;
    struct deja_error error;
    write(&entry, vector, 3, &text);
    assert_int_equal(dj_json_parse(dj_buf_slice(&text), &doc, &error), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_entry_line line;
        failing_malloc_arm(n);
        enum deja_status status = dj_entry_json_take(dj_json_root(doc), NOW_MS, &line, &error);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed) {
            assert_slices(line.entry.body, entry.body);
            assert_memory_equal(line.vector, vector, sizeof vector);
        }
        dj_entry_line_fini(&line);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_comes_back_byte_for_byte),
        cmocka_unit_test(every_string_that_is_no_utf8_travels_as_base64),
        cmocka_unit_test(line_without_end_lives_as_long_as_it_says),
        cmocka_unit_test(what_is_wrong_with_a_line_is_told),
        cmocka_unit_test(line_survives_each_failed_allocation),
        cmocka_unit_test(line_of_a_parsed_value_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
