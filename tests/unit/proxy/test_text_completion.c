/* tests/unit/proxy/test_text_completion.c - a legacy completion from stream to object and back. */
#include "stream_kit.h"

#include "proxy/completion.h"

#define HEAD "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":5,\"model\":\"m\","
#define CHOICE(text, logprobs, reason)                                            \
    HEAD "\"choices\":[{\"text\":\"" text "\",\"index\":0,\"logprobs\":" logprobs \
         ",\"finish_reason\":" reason "}]}"
#define USAGE "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}"

static const char *const hello[] = {
    CHOICE("Hel", "{\"tokens\":[\"Hel\"],\"token_logprobs\":[-0.5]}", "null"),
    CHOICE("lo", "{\"tokens\":[\"lo\"],\"token_logprobs\":[-0.25]}", "null"),
    CHOICE("", "null", "\"stop\""),
    HEAD "\"choices\":[]," USAGE,
    "[DONE]",
    NULL,
};
static const char hello_object[] =
    HEAD "\"choices\":[{\"text\":\"Hello\",\"index\":0,\"logprobs\":{\"tokens\":[\"Hel\",\"lo\"],"
         "\"token_logprobs\":[-0.5,-0.25]},\"finish_reason\":\"stop\"}]," USAGE;

static void texts_are_joined(void **state)
{
    (void)state;
    struct dj_buf sse = kit_whole(hello);
    struct dj_assembly made = {.is_done = false};
    assert_int_equal(dj_family_completions.assemble(dj_buf_slice(&sse), &made), DEJA_OK);
    assert_true(made.is_done);
    kit_assert_same_json(dj_buf_slice(&made.object), deja_slice_text(hello_object));
    dj_assembly_fini(&made);
    dj_buf_fini(&sse);
}

static void an_object_comes_back_from_its_stream(void **state)
{
    (void)state;
    kit_assert_comes_back(&dj_family_completions, hello_object);
    kit_assert_comes_back(&dj_family_completions, HEAD
                          "\"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":null,"
                          "\"finish_reason\":\"stop\"},{\"text\":\"\",\"index\":1,\"logprobs\":"
                          "null,\"finish_reason\":\"length\"}]," USAGE);
}

static void no_part_of_a_stream_is_whole(void **state)
{
    (void)state;
    kit_assert_no_part_is_whole(&dj_family_completions, hello);
}

static void an_error_in_any_place_is_refused(void **state)
{
    (void)state;
    kit_assert_none_may(&dj_family_completions, hello, "{\"error\":{\"message\":\"broke\"}}", NULL);
    kit_assert_none_may(&dj_family_completions, hello, "{\"choices\":[{\"te", NULL);
}

static void how_it_stopped_says_what_may_be_kept(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        bool is_stopped, has_length, has_filter;
    } rows[] = {{"\"stop\"", true, false, false},
                {"\"length\"", false, true, false},
                {"\"content_filter\"", false, false, true},
                {"null", false, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf text = {0};
        struct dj_answer_facts facts;
        dj_buf_append_format(&text, "{\"choices\":[{\"text\":\"a\",\"finish_reason\":%s}]," USAGE,
                             rows[i].reason);
        struct dj_json_doc *doc = kit_parse(dj_buf_slice(&text));
        dj_text_completion_inspect(dj_json_root(doc), &facts);
        assert_int_equal(facts.is_every_choice_stopped, rows[i].is_stopped);
        assert_int_equal(facts.has_length, rows[i].has_length);
        assert_int_equal(facts.has_content_filter, rows[i].has_filter);
        assert_int_equal(facts.input_tokens, 5);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&text);
    }
}

static void every_prompt_has_one_answer_by_right(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint32_t count;
    } rows[] = {{"{\"prompt\":\"a\"}", 1},
                {"{\"prompt\":[\"a\",\"b\"]}", 2},
                {"{\"prompt\":[1,2,3]}", 1},
                {"{\"prompt\":[[1,2],[3]]}", 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_json_doc *doc = kit_parse(deja_slice_text(rows[i].body));
        assert_int_equal(dj_family_completions.count_answers(dj_json_root(doc)), rows[i].count);
        dj_json_doc_destroy(doc);
    }
}

static void replay_survives_each_failed_allocation(void **state)
{
    (void)state;
    kit_assemble_survives_each_failed_allocation(&dj_family_completions, hello);
    kit_replay_survives_each_failed_allocation(&dj_family_completions, hello);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_joined),
        cmocka_unit_test(an_object_comes_back_from_its_stream),
        cmocka_unit_test(no_part_of_a_stream_is_whole),
        cmocka_unit_test(an_error_in_any_place_is_refused),
        cmocka_unit_test(how_it_stopped_says_what_may_be_kept),
        cmocka_unit_test(every_prompt_has_one_answer_by_right),
        cmocka_unit_test(replay_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
