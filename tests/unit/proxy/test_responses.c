/* tests/unit/proxy/test_responses.c - a response of OpenAI's API from stream to object and back. */
#include "stream_kit.h"

#include "proxy/responses.h"

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define RESPONSE(status, output, usage)                                                \
    "{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":5,\"status\":\"" status \
    "\",\"error\":null,\"incomplete_details\":null,\"model\":\"m\",\"output\":" output \
    ",\"usage\":" usage "}"
#define EARLY RESPONSE("in_progress", "[]", "null")
#define USAGE "{\"input_tokens\":9,\"output_tokens\":11}"
#define EVENT(number, type, more) \
    "{\"type\":\"response." type "\",\"sequence_number\":" #number more "}"
#define PART(number, type, more) \
    EVENT(number, type, ",\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0" more)
#define OUTPUT_TEXT(text) \
    "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"" text "\"}"
#define MESSAGE(status, content)                                  \
    "{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"" status \
    "\",\"role\":\"assistant\",\"content\":" content "}"
#define HELLO \
    RESPONSE("completed", "[" MESSAGE("completed", "[" OUTPUT_TEXT("Hello") "]") "]", USAGE)

static const char *const hello[] = {
    EVENT(0, "created", ",\"response\":" EARLY),
    EVENT(1, "in_progress", ",\"response\":" EARLY),
    EVENT(2, "output_item.added", ",\"output_index\":0,\"item\":" MESSAGE("in_progress", "[]")),
    PART(3, "content_part.added", ",\"part\":" OUTPUT_TEXT("")),
    PART(4, "output_text.delta", ",\"delta\":\"Hel\",\"logprobs\":[]"),
    PART(5, "output_text.delta", ",\"delta\":\"lo\",\"logprobs\":[]"),
    PART(6, "output_text.done", ",\"text\":\"Hello\",\"logprobs\":[]"),
    PART(7, "content_part.done", ",\"part\":" OUTPUT_TEXT("Hello")),
    EVENT(8, "output_item.done",
          ",\"output_index\":0,\"item\":" MESSAGE("completed", "[" OUTPUT_TEXT("Hello") "]")),
    EVENT(9, "completed", ",\"response\":" HELLO),
    NULL,
};

static void a_stream_is_its_last_response_and_told_again(void **state)
{
    (void)state;
    kit_assert_recorded(&dj_family_responses, hello, HELLO);
}

static void what_is_unknown_is_told_again(void **state)
{
    (void)state;
    kit_assert_recorded(&dj_family_responses,
                        EVENTS(EVENT(0, "created", ",\"response\":" EARLY),
                               EVENT(7, "weather.report", ",\"sky\":{\"blue\":0.750}"),
                               "{\"type\":\"response.quiet\"}",
                               EVENT(8, "output_text.delta", ",\"delta\":\"to nobody\""),
                               EVENT(9, "completed", ",\"response\":" HELLO)),
                        HELLO);
}

static void an_object_comes_back_from_its_stream(void **state)
{
    (void)state;
    kit_assert_comes_back(&dj_family_responses, HELLO);
    kit_assert_comes_back(
        &dj_family_responses,
        RESPONSE(
            "completed",
            "[{\"type\":\"reasoning\",\"id\":\"rs\",\"encrypted_content\":\"gAAA\",\"summary\":"
            "[{\"type\":\"summary_text\",\"text\":\"a\"}],\"content\":[{\"type\":"
            "\"reasoning_text\",\"text\":\"b\"}]},{\"type\":\"function_call\",\"id\":\"fc\","
            "\"name\":\"f\",\"arguments\":\"{}\",\"status\":\"completed\"},{\"type\":"
            "\"new_thing\",\"value\":7},7]",
            USAGE));
}

/* The events without a tape are those the API would send, one piece for a text. */
static void a_whole_answer_is_told_as_the_api_would(void **state)
{
    (void)state;
    struct dj_buf told = {0};
    struct dj_buf wanted = {0};
    const char *const events[] = {
        hello[0],
        hello[1],
        hello[2],
        hello[3],
        PART(4, "output_text.delta", ",\"delta\":\"Hello\",\"logprobs\":[]"),
        PART(5, "output_text.done", ",\"text\":\"Hello\",\"logprobs\":[]"),
        PART(6, "content_part.done", ",\"part\":" OUTPUT_TEXT("Hello")),
        EVENT(7, "output_item.done",
              ",\"output_index\":0,\"item\":" MESSAGE("completed", "[" OUTPUT_TEXT("Hello") "]")),
        EVENT(8, "completed", ",\"response\":" HELLO),
        NULL};
    const struct dj_replay_options options = {.has_usage = false};
    struct dj_json_doc *doc = kit_parse(deja_slice_text(HELLO));
    assert_int_equal(dj_responses_replay(dj_json_root(doc), &options, &told), DEJA_OK);
    kit_stream(events, kit_count(events), SIZE_MAX, NULL, &wanted);
    dj_buf_append_byte(&told, '\0');
    dj_buf_append_byte(&wanted, '\0');
    assert_string_equal(told.data, wanted.data);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&told);
    dj_buf_fini(&wanted);
}

static void no_part_of_a_stream_is_whole(void **state)
{
    (void)state;
    kit_assert_no_part_is_whole(&dj_family_responses, hello);
}

static void an_error_in_any_place_is_refused(void **state)
{
    (void)state;
    kit_assert_none_may(&dj_family_responses, hello,
                        "{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"broke\"}",
                        NULL);
    kit_assert_none_may(&dj_family_responses, hello, "{\"type\":\"response.output_te", NULL);
    kit_assert_none_may(&dj_family_responses, hello, "{\"sequence_number\":3}", NULL);
}

static void only_a_completed_response_is_whole(void **state)
{
    (void)state;
    const char *const ends[] = {
        EVENT(1, "failed", ",\"response\":" RESPONSE("failed", "[]", "null")),
        EVENT(1, "incomplete", ",\"response\":" RESPONSE("incomplete", "[]", USAGE)),
        EVENT(1, "completed", ",\"response\":" RESPONSE("in_progress", "[]", USAGE)),
        EVENT(1, "completed", ",\"response\":" RESPONSE("completed", "7", USAGE)),
        EVENT(1, "completed", ",\"response\":null"),
        EVENT(1, "completed",
              ",\"response\":" RESPONSE("completed", "[" MESSAGE("incomplete", "[]") "]", USAGE)),
        "[DONE]",
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct dj_buf sse = kit_whole(EVENTS(EVENT(0, "created", ",\"response\":" EARLY), ends[i]));
        if (kit_is_whole(&dj_family_responses, dj_buf_slice(&sse)))
            fail_msg("whole with %s", ends[i]);
        dj_buf_fini(&sse);
    }
}

static void nothing_may_follow_the_end_but_the_mark_of_chat_streams(void **state)
{
    (void)state;
    const char *const tails[] = {"[DONE]", hello[1], hello[9], "[DONE"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct dj_buf sse = kit_whole(EVENTS(hello[0], hello[9], tails[i]));
        assert_int_equal(kit_is_whole(&dj_family_responses, dj_buf_slice(&sse)), i == 0);
        dj_buf_fini(&sse);
    }
}

static void what_came_says_what_may_be_kept(void **state)
{
    (void)state;
    static const struct {
        const char *output;
        bool has_tools, has_hosted, has_refusal, has_content;
    } rows[] = {
        {"[" MESSAGE("completed", "[" OUTPUT_TEXT("a") "]") "]", false, false, false, true},
        {"[" MESSAGE("completed", "[" OUTPUT_TEXT("") "]") "]", false, false, false, false},
        {"[" MESSAGE("completed", "[{\"type\":\"refusal\",\"refusal\":\"no\"}]") "]", false, false,
         true, true},
        {"[{\"type\":\"function_call\",\"status\":\"completed\"}]", true, false, false, true},
        {"[{\"type\":\"reasoning\",\"encrypted_content\":\"e\"}]", false, false, false, false},
        {"[{\"type\":\"web_search_call\",\"status\":\"completed\"}]", false, true, false, false},
        {"[{\"type\":\"new_thing\"}]", false, true, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf text = {0};
        struct dj_answer_facts facts;
        dj_buf_append_format(&text,
                             "{\"status\":\"completed\",\"model\":\"m\",\"output\":%s,"
                             "\"usage\":" USAGE "}",
                             rows[i].output);
        struct dj_json_doc *doc = kit_parse(dj_buf_slice(&text));
        dj_responses_inspect(dj_json_root(doc), &facts);
        assert_int_equal(facts.choice_count, 1);
        assert_true(facts.is_every_choice_stopped);
        assert_int_equal(facts.has_tool_calls, rows[i].has_tools);
        assert_int_equal(facts.has_hosted_tools, rows[i].has_hosted);
        assert_int_equal(facts.has_refusal, rows[i].has_refusal);
        assert_int_equal(facts.has_content, rows[i].has_content);
        assert_int_equal(facts.input_tokens, 9);
        assert_int_equal(facts.output_tokens, 11);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&text);
    }
}

static void assemble_survives_each_failed_allocation(void **state)
{
    (void)state;
    kit_assemble_survives_each_failed_allocation(&dj_family_responses, hello);
}

static void replay_survives_each_failed_allocation(void **state)
{
    (void)state;
    kit_replay_survives_each_failed_allocation(&dj_family_responses, hello);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_its_last_response_and_told_again),
        cmocka_unit_test(what_is_unknown_is_told_again),
        cmocka_unit_test(an_object_comes_back_from_its_stream),
        cmocka_unit_test(a_whole_answer_is_told_as_the_api_would),
        cmocka_unit_test(no_part_of_a_stream_is_whole),
        cmocka_unit_test(an_error_in_any_place_is_refused),
        cmocka_unit_test(only_a_completed_response_is_whole),
        cmocka_unit_test(nothing_may_follow_the_end_but_the_mark_of_chat_streams),
        cmocka_unit_test(what_came_says_what_may_be_kept),
        cmocka_unit_test(assemble_survives_each_failed_allocation),
        cmocka_unit_test(replay_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
