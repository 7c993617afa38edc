/* tests/unit/proxy/test_family.c - which family a request is of, and which upstream it is for. */
#include "stream_kit.h"

#include "proxy/context.h"
#include "proxy/target.h"

static void a_family_has_its_name(void **state)
{
    (void)state;
    static const char *const names[] = {"chat", "completions", "messages", "responses"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_string_equal(dj_family_find(deja_slice_text(names[i]))->name, names[i]);
    assert_null(dj_family_find(deja_slice_text("embeddings")));
    assert_null(dj_family_find(deja_slice_text("")));
}

static void a_body_looks_like_its_family(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const struct dj_family *family;
    } rows[] = {{"{\"messages\":[]}", &dj_family_chat},
                {"{\"messages\":[],\"system\":\"a\"}", &dj_family_messages},
                {"{\"messages\":[],\"max_tokens\":1}", &dj_family_chat},
                {"{\"messages\":[],\"thinking\":{}}", &dj_family_messages},
                {"{\"input\":\"a\"}", &dj_family_responses},
                {"{\"prompt\":\"a\"}", &dj_family_completions},
                {"{}", &dj_family_chat}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_json_doc *doc = kit_parse(deja_slice_text(rows[i].body));
        assert_ptr_equal(dj_family_guess(dj_json_root(doc)), rows[i].family);
        dj_json_doc_destroy(doc);
    }
}

static void a_request_goes_where_its_path_belongs(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool has_version;
        enum dj_target target;
    } rows[] = {
        {"/v1/messages", false, DJ_TARGET_ANTHROPIC},
        {"/v1/messages/count_tokens", false, DJ_TARGET_ANTHROPIC},
        {"/v1/messages/batches/b/results", true, DJ_TARGET_ANTHROPIC},
        {"/v1/messagesque", false, DJ_TARGET_OPENAI},
        {"/v1/chat/completions", true, DJ_TARGET_OPENAI},
        {"/v1/completions", true, DJ_TARGET_OPENAI},
        {"/v1/responses", true, DJ_TARGET_OPENAI},
        {"/v1/embeddings", true, DJ_TARGET_OPENAI},
        {"/v1/models", false, DJ_TARGET_OPENAI},
        {"/v1/models", true, DJ_TARGET_ANTHROPIC},
        {"/v1/complete", true, DJ_TARGET_ANTHROPIC},
    };
    const struct dj_http_header version = {deja_slice_text("Anthropic-Version"),
                                           deja_slice_text("2023-06-01")};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dj_http_request request = {.path = deja_slice_text(rows[i].path),
                                                .headers = &version,
                                                .header_count = rows[i].has_version ? 1 : 0};
        if (dj_target_of(&request) != rows[i].target)
            fail_msg("%s, %d", rows[i].path, rows[i].has_version);
    }
}

static void what_speaks_against_caching_has_a_name(void **state)
{
    (void)state;
    static const struct {
        const struct dj_family *family;
        const char *body;
        const char *reason;
    } rows[] = {
        {&dj_family_messages, "{\"messages\":[]}", NULL},
        {&dj_family_messages, "{}", "no-messages"},
        {&dj_family_messages, "{\"messages\":[],\"container\":null}", NULL},
        {&dj_family_messages,
         "{\"messages\":[],\"tools\":[{\"name\":\"a\"},{\"type\":\"bash_1\"}]}", NULL},
        {&dj_family_messages, "{\"messages\":[],\"tools\":[{\"type\":\"web_search_2\"}]}",
         "hosted-tools"},
        {&dj_family_responses, "{\"input\":\"a\",\"store\":false}", NULL},
        {&dj_family_responses, "{\"input\":\"a\"}", "stored-upstream"},
        {&dj_family_responses, "{\"store\":false}", "no-input"},
        {&dj_family_responses, "{\"input\":\"a\",\"store\":false,\"previous_response_id\":null}",
         NULL},
        {&dj_family_responses, "{\"input\":\"a\",\"store\":false,\"tools\":[{\"type\":\"shiny\"}]}",
         "hosted-tools"},
        {&dj_family_completions, "{\"prompt\":[]}", "no-prompt"},
        {&dj_family_completions, "{\"prompt\":\"\"}", NULL},
    };
    const struct dj_proxy_policy policy = {.is_semantic = true};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_json_doc *doc = kit_parse(deja_slice_text(rows[i].body));
        const char *reason = rows[i].family->objection(dj_json_root(doc), &policy);
        if ((reason == NULL) != (rows[i].reason == NULL) ||
            (reason && strcmp(reason, rows[i].reason) != 0))
            fail_msg("%s: %s", rows[i].body, reason ? reason : "none");
        dj_json_doc_destroy(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_has_its_name),
        cmocka_unit_test(a_body_looks_like_its_family),
        cmocka_unit_test(a_request_goes_where_its_path_belongs),
        cmocka_unit_test(what_speaks_against_caching_has_a_name),
    };
    return RUN_TESTS(tests);
}
