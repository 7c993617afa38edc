/* tests/unit/proxy/test_completion_facts.c - what the write gate is told about an answer. */
#include "check.h"

#include "proxy/completion.h"

static struct dj_json_doc *parse(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {""};
    if (dj_json_parse(text, &doc, &error) != DEJA_OK)
        fail_msg("%s: %.*s", error.message, (int)text.len, text.data);
    return doc;
}

#define CHOICE(message, reason) \
    "{\"choices\":[{\"message\":" message ",\"finish_reason\":" reason "}]}"
#define STOPPED 1u
#define LENGTH 2u
#define FILTERED 4u
#define CALLS 8u
#define REFUSED 16u
#define CONTENT 32u
#define MODERATED 64u

static void facts_of_answers(void **state)
{
    (void)state;
    static const struct {
        const char *object;
        size_t choices;
        unsigned facts;
    } rows[] = {
        {CHOICE("{\"content\":\"a\"}", "\"stop\""), 1, STOPPED | CONTENT},
        {CHOICE("{\"content\":\"\"}", "\"stop\""), 1, STOPPED},
        {CHOICE("{\"content\":null}", "\"stop\""), 1, STOPPED},
        {CHOICE("{\"content\":[{\"type\":\"text\"}]}", "\"stop\""), 1, STOPPED | CONTENT},
        {CHOICE("{\"content\":\"a\"}", "\"length\""), 1, LENGTH | CONTENT},
        {CHOICE("{\"content\":\"a\"}", "\"content_filter\""), 1, FILTERED | CONTENT},
        {CHOICE("{\"content\":\"a\"}", "null"), 1, CONTENT},
        {CHOICE("{\"content\":\"a\"}", "\"error\""), 1, CONTENT},
        {CHOICE("{\"content\":null,\"tool_calls\":[{}]}", "\"tool_calls\""), 1,
         STOPPED | CALLS | CONTENT},
        {CHOICE("{\"content\":\"a\",\"tool_calls\":[]}", "\"stop\""), 1, STOPPED | CONTENT},
        {CHOICE("{\"function_call\":{\"name\":\"f\"}}", "\"function_call\""), 1,
         STOPPED | CALLS | CONTENT},
        {CHOICE("{\"content\":null,\"refusal\":\"no\"}", "\"stop\""), 1, STOPPED | REFUSED},
        {CHOICE("{\"content\":\"a\",\"refusal\":\"\"}", "\"stop\""), 1, STOPPED | CONTENT},
        {CHOICE("{\"content\":null,\"audio\":{}}", "\"stop\""), 1, STOPPED | CONTENT},
        {"{\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"},"
         "{\"message\":{\"content\":\"b\"},\"finish_reason\":\"length\"}]}",
         2, LENGTH | CONTENT},
        {"{\"moderation\":{},\"choices\":[]}", 0, STOPPED | MODERATED},
        {"{}", 0, STOPPED},
        {"[]", 0, STOPPED},
        {"{\"choices\":\"x\"}", 0, STOPPED},
        {"{\"choices\":[7]}", 1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_answer_facts facts;
        struct dj_json_doc *doc = parse(deja_slice_text(rows[i].object));
        dj_completion_inspect(dj_json_root(doc), &facts);
        unsigned got = (facts.is_every_choice_stopped ? STOPPED : 0) |
                       (facts.has_length ? LENGTH : 0) | (facts.has_content_filter ? FILTERED : 0) |
                       (facts.has_tool_calls ? CALLS : 0) | (facts.has_refusal ? REFUSED : 0) |
                       (facts.has_content ? CONTENT : 0) | (facts.is_moderated ? MODERATED : 0);
        if (got != rows[i].facts || facts.choice_count != rows[i].choices)
            fail_msg("%s: %#x, %zu", rows[i].object, got, facts.choice_count);
        dj_json_doc_destroy(doc);
    }
}

static void facts_count_tokens_within_bounds(void **state)
{
    (void)state;
    struct dj_answer_facts facts;
    struct dj_json_doc *doc =
        parse(deja_slice_text("{\"model\":\"m-1\",\"usage\":{\"prompt_tokens\":12,"
                              "\"completion_tokens\":99999999999}}"));
    dj_completion_inspect(dj_json_root(doc), &facts);
    assert_int_equal(facts.input_tokens, 12);
    assert_int_equal(facts.output_tokens, UINT32_MAX);
    assert_true(deja_slice_is_equal(facts.model, deja_slice_text("m-1")));
    dj_json_doc_destroy(doc);
    doc = parse(deja_slice_text("{\"model\":1,\"usage\":{\"prompt_tokens\":-3,"
                                "\"completion_tokens\":\"x\"}}"));
    dj_completion_inspect(dj_json_root(doc), &facts);
    assert_int_equal(facts.input_tokens, 0);
    assert_int_equal(facts.output_tokens, 0);
    assert_int_equal(facts.model.len, 0);
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_answers),
        cmocka_unit_test(facts_count_tokens_within_bounds),
    };
    return RUN_TESTS(tests);
}
