#include "proxy/warm.h"
#include "check.h"

#include <string.h>

/* Packed as the tests' eye can read it: path, number of headers and body. */
static enum deja_status read_line(const char *json, const char *model, char out[512])
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf packed = {0};
    struct deja_error error = {{0}};
    assert_int_equal(dj_json_parse(deja_slice_text(json), &doc, NULL), DEJA_OK);
    enum deja_status status = dj_warm_line(dj_json_root(doc), model, &packed, &error);
    out[0] = '\0';
    if (status == DEJA_OK) {
        assert_true(packed.len < 512);
        for (size_t i = 0; i < packed.len; i++)
            out[i] = packed.data[i] >= ' ' && packed.data[i] <= '~' ? packed.data[i] : '|';
        out[packed.len] = '\0';
    } else {
        assert_true(status != DEJA_ERR_INVALID || error.message[0]);
        assert_int_equal(packed.len, 0);
    }
    dj_buf_fini(&packed);
    dj_json_doc_destroy(doc);
    return status;
}

static void prompts_become_questions_of_a_user(void **state)
{
    (void)state;
    static const char expected[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    static const char *const lines[] = {"\"hi\"", "{\"prompt\":\"hi\"}",
                                        "{\"prompt\":\"hi\",\"model\":\"m\"}"};
    char out[512];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(read_line(lines[i], "m", out), DEJA_OK);
        assert_non_null(strstr(out, expected));
        assert_non_null(strstr(out, "/v1/chat/completions"));
    }
    assert_int_equal(read_line("{\"prompt\":\"hi\",\"model\":\"m\"}", NULL, out), DEJA_OK);
}

static void requests_find_their_path_and_lose_what_asks_for_a_stream(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *path;
        const char *body;
    } rows[] = {
        {"{\"model\":\"m\",\"messages\":[],\"stream\":true,\"n\":1.50}", "/v1/chat/completions",
         "{\"model\":\"m\",\"messages\":[],\"n\":1.50}"},
        {"{\"model\":\"m\",\"input\":\"x\",\"stream_options\":{}}", "/v1/responses",
         "{\"model\":\"m\",\"input\":\"x\"}"},
        {"{\"model\":\"m\",\"prompt\":\"x\",\"max_tokens\":5}", "/v1/completions",
         "{\"model\":\"m\",\"prompt\":\"x\",\"max_tokens\":5}"},
        {"{\"path\":\"/v1/messages\",\"body\":{\"a\":1},\"headers\":{\"anthropic-beta\":\"b\"}}",
         "/v1/messages", "{\"a\":1}"},
    };
    char out[512];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(read_line(rows[i].line, NULL, out), DEJA_OK);
        assert_non_null(strstr(out, rows[i].path));
        assert_non_null(strstr(out, rows[i].body));
    }
    assert_non_null(strstr(out, "anthropic-beta"));
}

static void what_is_no_request_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\"\"",
        "\"no model\"",
        "7",
        "null",
        "[]",
        "{}",
        "{\"model\":\"m\"}",
        "{\"path\":\"/v1/messages\"}",
        "{\"path\":\"/v1/fine_tuning/jobs\",\"body\":{}}",
        "{\"path\":\"/v1/messages/batches\",\"body\":{}}",
        "{\"path\":\"/admin/reload\",\"body\":{}}",
        "{\"path\":\"/v1/../admin\",\"body\":{}}",
        "{\"path\":\"/v1/messages?a b\",\"body\":{}}",
        "{\"path\":\"/v1/messages\",\"body\":[]}",
        "{\"path\":\"/v1/messages\",\"body\":{},\"headers\":{\"authorization\":\"Bearer x\"}}",
        "{\"path\":\"/v1/messages\",\"body\":{},\"headers\":{\"x-deja-user\":\"anna\"}}",
        "{\"path\":\"/v1/messages\",\"body\":{},\"headers\":{\"openai-project\":7}}",
        "{\"path\":\"/v1/messages\",\"body\":{},\"headers\":{\"openai-project\":\"a\\r\\nb: c\"}}",
        "{\"path\":\"/v1/messages\",\"body\":{},\"headers\":[]}",
    };
    char out[512];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_int_equal(read_line(lines[i], NULL, out), DEJA_ERR_INVALID);
}

static void line_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text("{\"prompt\":\"hi\"}"), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_buf packed = {0};
        struct deja_error error;
        failing_malloc_arm(n);
        enum deja_status status = dj_warm_line(dj_json_root(doc), "m", &packed, &error);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&packed);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_become_questions_of_a_user),
        cmocka_unit_test(requests_find_their_path_and_lose_what_asks_for_a_stream),
        cmocka_unit_test(what_is_no_request_is_refused_with_a_reason),
        cmocka_unit_test(line_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
