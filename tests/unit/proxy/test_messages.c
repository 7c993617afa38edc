/* tests/unit/proxy/test_messages.c - a message of Anthropic's API from stream to object and back.
 */
#include "stream_kit.h"

#include "proxy/messages.h"

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define START(more)                                                                             \
    "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":"  \
    "\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null," \
    "\"usage\":{\"input_tokens\":25,\"output_tokens\":1}" more "}}"
#define BLOCK(index, block) \
    "{\"type\":\"content_block_start\",\"index\":" #index ",\"content_block\":" block "}"
#define DELTA(index, delta) \
    "{\"type\":\"content_block_delta\",\"index\":" #index ",\"delta\":" delta "}"
#define STOP(index) "{\"type\":\"content_block_stop\",\"index\":" #index "}"
#define END(reason)                                                    \
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" reason \
    "\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}"
#define LAST "{\"type\":\"message_stop\"}"
#define PING "{\"type\":\"ping\"}"
#define TEXT(text) "{\"type\":\"text_delta\",\"text\":\"" text "\"}"
#define OBJECT(content, reason)                                                                \
    "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","           \
    "\"content\":" content ",\"stop_reason\":\"" reason "\",\"stop_sequence\":null,\"usage\":" \
    "{\"input_tokens\":25,\"output_tokens\":15}}"

static const char *const hello[] = {
    START(""),
    BLOCK(0, "{\"type\":\"text\",\"text\":\"\"}"),
    PING,
    DELTA(0, TEXT("Hel")),
    DELTA(0, TEXT("lo ✓")),
    STOP(0),
    END("end_turn"),
    LAST,
    NULL,
};

static const char *const rich[] = {
    START(""),
    BLOCK(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"),
    DELTA(0, "{\"type\":\"thinking_delta\",\"thinking\":\"1 + 1\"}"),
    DELTA(0, "{\"type\":\"thinking_delta\",\"thinking\":\" = 2\"}"),
    DELTA(0, "{\"type\":\"signature_delta\",\"signature\":\"EqQB+/==\"}"),
    STOP(0),
    BLOCK(1, "{\"type\":\"redacted_thinking\",\"data\":\"Emw\"}"),
    STOP(1),
    BLOCK(2, "{\"type\":\"text\",\"text\":\"\",\"citations\":[]}"),
    DELTA(2, "{\"type\":\"citations_delta\",\"citation\":{\"cited_text\":\"a\",\"n\":1.50}}"),
    DELTA(2, TEXT("Two.")),
    DELTA(2, "{\"type\":\"citations_delta\",\"citation\":{\"cited_text\":\"b\"}}"),
    STOP(2),
    BLOCK(3, "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{}}"),
    DELTA(3, "{\"type\":\"input_json_delta\",\"partial_json\":\"\"}"),
    DELTA(3, "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\": \\\"K\"}"),
    DELTA(3, "{\"type\":\"input_json_delta\",\"partial_json\":\"öln\\\", \\\"n\\\": 2.50}\"}"),
    STOP(3),
    END("tool_use"),
    LAST,
    NULL,
};
static const char rich_object[] =
    OBJECT("[{\"type\":\"thinking\",\"thinking\":\"1 + 1 = 2\",\"signature\":\"EqQB+/==\"},"
           "{\"type\":\"redacted_thinking\",\"data\":\"Emw\"},"
           "{\"type\":\"text\",\"text\":\"Two.\",\"citations\":[{\"cited_text\":\"a\",\"n\":1.50},"
           "{\"cited_text\":\"b\"}]},{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\","
           "\"input\":{\"city\":\"Köln\",\"n\":2.50}}]",
           "tool_use");

static void a_text_is_joined_and_told_again(void **state)
{
    (void)state;
    kit_assert_recorded(&dj_family_messages, hello,
                        OBJECT("[{\"type\":\"text\",\"text\":\"Hello ✓\"}]", "end_turn"));
}

static void thinking_citations_and_tools_are_whole_and_told_again(void **state)
{
    (void)state;
    kit_assert_recorded(&dj_family_messages, rich, rich_object);
}

static void what_is_unknown_is_told_again(void **state)
{
    (void)state;
    kit_assert_recorded(
        &dj_family_messages,
        EVENTS(
            START(",\"x_vendor\":{\"a\":[1e-7]}"), "{\"type\":\"weather\",\"sky\":0.750}",
            BLOCK(0, "{\"type\":\"hologram\",\"frames\":[],\"note\":\"a\"}"),
            DELTA(0, "{\"type\":\"frames_delta\",\"frames\":[1,2],\"note\":\"b\",\"new\":\"c\"}"),
            DELTA(0, "{\"type\":\"frames_delta\",\"new\":\"d\"}"), STOP(0),
            BLOCK(1, "{\"type\":\"text\",\"text\":\"pre\"}"), DELTA(1, TEXT("fix")), STOP(1),
            "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
            "\"stop_sequence\":null,\"container\":{\"id\":\"c\"}},\"usage\":"
            "{\"output_tokens\":15,\"new_tokens\":3,\"input_tokens\":null}}",
            LAST),
        "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":"
        "[{\"type\":\"hologram\",\"frames\":[1,2],\"note\":\"ab\",\"new\":\"cd\"},"
        "{\"type\":\"text\",\"text\":\"prefix\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":"
        "null,\"usage\":{\"input_tokens\":25,\"output_tokens\":15,\"new_tokens\":3},"
        "\"x_vendor\":{\"a\":[1e-7]},\"container\":{\"id\":\"c\"}}");
}

static void an_object_comes_back_from_its_stream(void **state)
{
    (void)state;
    kit_assert_comes_back(&dj_family_messages, rich_object);
    kit_assert_comes_back(&dj_family_messages, OBJECT("[]", "end_turn"));
    kit_assert_comes_back(
        &dj_family_messages,
        OBJECT("[{\"type\":\"server_tool_use\",\"id\":\"s\",\"name\":\"web_search\",\"input\":"
               "{\"query\":\"w\"}},{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s\","
               "\"content\":[{\"url\":\"u\",\"encrypted_content\":\"e\"}]},"
               "{\"type\":\"text\",\"text\":\"\"}]",
               "end_turn"));
}

static void no_part_of_a_stream_is_whole(void **state)
{
    (void)state;
    kit_assert_no_part_is_whole(&dj_family_messages, hello);
    kit_assert_no_part_is_whole(&dj_family_messages, rich);
}

static void an_error_in_any_place_is_refused(void **state)
{
    (void)state;
    static const char error[] =
        "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}";
    kit_assert_none_may(&dj_family_messages, hello, error, NULL);
    kit_assert_none_may(&dj_family_messages, rich, error, NULL);
}

static void an_event_that_is_cut_is_refused(void **state)
{
    (void)state;
    kit_assert_none_may(&dj_family_messages, rich, "{\"type\":\"content_block_delta\",\"ind", NULL);
    kit_assert_none_may(&dj_family_messages, rich, "[1]", NULL);
    kit_assert_none_may(&dj_family_messages, rich, "{\"type\":7}", NULL);
}

static void only_what_says_nothing_of_its_own_may_be_missing(void **state)
{
    (void)state;
    /* Nobody can tell that a piece of a text is missing. */
    static const char *const may[] = {"ping",       "thinking_delta",  "signature_delta",
                                      "text_delta", "citations_delta", "\"partial_json\":\"\"",
                                      NULL};
    kit_assert_none_may(&dj_family_messages, hello, NULL, may);
    kit_assert_none_may(&dj_family_messages, rich, NULL, may);
}

static void what_is_out_of_order_is_refused(void **state)
{
    (void)state;
    static const char *const text = BLOCK(0, "{\"type\":\"text\",\"text\":\"\"}");
    const char *const *const rows[] = {
        EVENTS(PING),
        EVENTS(START(""), START(""), END("end_turn"), LAST),
        EVENTS(START(""), text, text, STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), BLOCK(1, "{\"type\":\"text\"}"), STOP(1), END("end_turn"), LAST),
        EVENTS(START(""), text, STOP(0), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), text, STOP(0), DELTA(0, TEXT("late")), END("end_turn"), LAST),
        EVENTS(START(""), text, DELTA(1, TEXT("x")), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), text, DELTA(-1, TEXT("x")), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), text, DELTA(0, "{\"text\":\"x\"}"), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), text, DELTA(0, "7"), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), text, END("end_turn"), STOP(0), LAST),
        EVENTS(START(""), END("end_turn"), text, STOP(0), LAST),
        EVENTS(START(""), LAST),
        EVENTS(START(""), END("end_turn"), LAST, PING),
        EVENTS(START(""), END("end_turn"), LAST, LAST),
        EVENTS(START(""), BLOCK(0, "[]"), STOP(0), END("end_turn"), LAST),
        EVENTS(START(""), "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null}}", LAST),
        EVENTS(START(""), "{\"type\":\"message_delta\",\"delta\":null}", LAST),
        EVENTS("{\"type\":\"message_start\",\"message\":[]}", END("end_turn"), LAST),
        EVENTS(START(""), BLOCK(0, "{\"type\":\"tool_use\",\"input\":{}}"),
               DELTA(0, "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\"}"), STOP(0),
               END("tool_use"), LAST),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf sse = kit_whole(rows[i]);
        if (kit_is_whole(&dj_family_messages, dj_buf_slice(&sse)))
            fail_msg("row %zu is taken for whole", i);
        dj_buf_fini(&sse);
    }
}

static void how_it_stopped_says_what_may_be_kept(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *reason;
        bool is_stopped, has_length, has_tools, has_hosted, has_refusal, has_content;
    } rows[] = {
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "end_turn", true, false, false, false, false,
         true},
        {"[{\"type\":\"text\",\"text\":\"\"}]", "end_turn", true, false, false, false, false,
         false},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "stop_sequence", true, .has_content = true},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "max_tokens", false, true, .has_content = true},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "model_context_window_exceeded", false, true,
         .has_content = true},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "pause_turn", false, .has_content = true},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "new_reason", false, .has_content = true},
        {"[{\"type\":\"text\",\"text\":\"a\"}]", "refusal", true, .has_refusal = true,
         .has_content = true},
        {"[{\"type\":\"tool_use\"}]", "tool_use", true, .has_tools = true, .has_content = true},
        {"[{\"type\":\"server_tool_use\"}]", "end_turn", true, .has_hosted = true},
        {"[{\"type\":\"mcp_tool_result\"}]", "end_turn", true, .has_hosted = true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf text = {0};
        struct dj_answer_facts facts;
        dj_buf_append_format(&text,
                             "{\"type\":\"message\",\"model\":\"m\",\"content\":%s,\"stop_reason\":"
                             "\"%s\",\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,"
                             "\"output_tokens\":3}}",
                             rows[i].content, rows[i].reason);
        struct dj_json_doc *doc = kit_parse(dj_buf_slice(&text));
        dj_messages_inspect(dj_json_root(doc), &facts);
        assert_int_equal(facts.choice_count, 1);
        assert_int_equal(facts.is_every_choice_stopped, rows[i].is_stopped);
        assert_int_equal(facts.has_length, rows[i].has_length);
        assert_int_equal(facts.has_tool_calls, rows[i].has_tools);
        assert_int_equal(facts.has_hosted_tools, rows[i].has_hosted);
        assert_int_equal(facts.has_refusal, rows[i].has_refusal);
        assert_int_equal(facts.has_content, rows[i].has_content);
        assert_int_equal(facts.input_tokens, 7);
        assert_int_equal(facts.output_tokens, 3);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&text);
    }
}

static void an_error_object_is_no_answer(void **state)
{
    (void)state;
    struct dj_answer_facts facts;
    struct dj_json_doc *doc =
        kit_parse(deja_slice_text("{\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}"));
    dj_messages_inspect(dj_json_root(doc), &facts);
    assert_int_equal(facts.choice_count, 0);
    assert_false(facts.is_every_choice_stopped);
    dj_json_doc_destroy(doc);
}

static void assemble_survives_each_failed_allocation(void **state)
{
    (void)state;
    kit_assemble_survives_each_failed_allocation(&dj_family_messages, rich);
}

static void replay_survives_each_failed_allocation(void **state)
{
    (void)state;
    kit_replay_survives_each_failed_allocation(&dj_family_messages, rich);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_joined_and_told_again),
        cmocka_unit_test(thinking_citations_and_tools_are_whole_and_told_again),
        cmocka_unit_test(what_is_unknown_is_told_again),
        cmocka_unit_test(an_object_comes_back_from_its_stream),
        cmocka_unit_test(no_part_of_a_stream_is_whole),
        cmocka_unit_test(an_error_in_any_place_is_refused),
        cmocka_unit_test(an_event_that_is_cut_is_refused),
        cmocka_unit_test(only_what_says_nothing_of_its_own_may_be_missing),
        cmocka_unit_test(what_is_out_of_order_is_refused),
        cmocka_unit_test(how_it_stopped_says_what_may_be_kept),
        cmocka_unit_test(an_error_object_is_no_answer),
        cmocka_unit_test(assemble_survives_each_failed_allocation),
        cmocka_unit_test(replay_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
