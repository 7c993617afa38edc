/* tests/unit/cache/test_key_families.c - what is in the keys of messages, responses and legacy
 * completions, and which text may be asked in other words. */
#include "check.h"

#include <stdio.h>

#include "cache/key.h"

typedef enum deja_status key_fn(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                struct dj_arena *arena, struct dj_fingerprint *out_fingerprint);

struct fixture {
    struct dj_arena arena;
    struct dj_key_prefix prefix;
};

static enum deja_status try_key(struct fixture *fixture, key_fn *make, const char *body,
                                struct dj_fingerprint *out_fingerprint)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {""};
    *fixture = (struct fixture){
        .prefix = {
            .tenant = "tenant", .fingerprint_key = "secret", .family = "f", .policy_epoch = 1}};
    dj_arena_init(&fixture->arena, 0);
    if (dj_json_parse(deja_slice_text(body), &doc, &error) != DEJA_OK)
        fail_msg("%s: %s", error.message, body);
    enum deja_status status =
        make(&fixture->prefix, dj_json_root(doc), &fixture->arena, out_fingerprint);
    dj_json_doc_destroy(doc);
    if (status == DEJA_OK)
        dj_key_scope(&fixture->prefix, out_fingerprint);
    return status;
}

enum sameness { EQUAL, OTHER, SAME_SCOPE };

struct row {
    enum sameness wanted;
    const char *left;
    const char *right;
};

static void assert_rows(key_fn *make, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct fixture a;
        struct fixture b;
        struct dj_fingerprint left;
        struct dj_fingerprint right;
        assert_int_equal(try_key(&a, make, rows[i].left, &left), DEJA_OK);
        assert_int_equal(try_key(&b, make, rows[i].right, &right), DEJA_OK);
        bool is_equal = memcmp(left.exact, right.exact, sizeof left.exact) == 0;
        bool is_scope = left.mark_len && right.mark_len &&
                        memcmp(left.scope, right.scope, sizeof left.scope) == 0;
        if (is_equal != (rows[i].wanted == EQUAL) || is_scope != (rows[i].wanted != OTHER))
            fail_msg("row %zu: %s | %s", i, rows[i].left, rows[i].right);
        dj_arena_fini(&a.arena);
        dj_arena_fini(&b.arena);
    }
}
#define ROWS(rows) rows, sizeof(rows) / sizeof *(rows)

/* text NULL: exact only. */
static void assert_text(key_fn *make, const char *body, const char *text, bool is_semantic)
{
    struct fixture fixture;
    struct dj_fingerprint fingerprint;
    assert_int_equal(try_key(&fixture, make, body, &fingerprint), DEJA_OK);
    if ((fingerprint.text.data != NULL) != (text != NULL) ||
        (text && !deja_slice_is_equal(fingerprint.text, deja_slice_text(text))) ||
        fingerprint.is_semantic != is_semantic)
        fail_msg("%s: %.*s, %d", body, (int)fingerprint.text.len,
                 fingerprint.text.data ? fingerprint.text.data : "", fingerprint.is_semantic);
    dj_arena_fini(&fixture.arena);
}

#define TURN(role, content) "{\"role\":\"" role "\",\"content\":" content "}"
#define MARK ",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"
#define BODY(more, turns) "{\"model\":\"m\",\"max_tokens\":9" more ",\"messages\":[" turns "]}"

static void messages_are_told_apart_by_all_that_matters(void **state)
{
    (void)state;
    static const char plain[] = BODY("", TURN("user", "\"Hi\""));
    const struct row rows[] = {
        {EQUAL, plain, plain},
        {EQUAL, plain, BODY(",\"stream\":true", TURN("user", "\"Hi\""))},
        {EQUAL, plain, BODY(",\"metadata\":{\"user_id\":\"u\"}", TURN("user", "\"Hi\""))},
        {EQUAL, plain, BODY(",\"service_tier\":\"auto\"", TURN("user", "\"Hi\""))},
        {EQUAL, plain, BODY(MARK, TURN("user", "\"Hi\""))},
        {SAME_SCOPE, plain, BODY("", TURN("user", "\"Hello\""))},
        {OTHER, plain, BODY(",\"system\":\"s\"", TURN("user", "\"Hi\""))},
        {OTHER, plain, BODY(",\"thinking\":{\"type\":\"enabled\"}", TURN("user", "\"Hi\""))},
        {OTHER, plain, BODY(",\"never_seen\":1", TURN("user", "\"Hi\""))},
        {OTHER, plain, BODY("", TURN("user", "[{\"type\":\"text\",\"text\":\"Hi\"}]"))},
        {EQUAL, BODY("", TURN("user", "[{\"type\":\"text\",\"text\":\"Hi\"}]")),
         BODY("", TURN("user", "[{\"type\":\"text\",\"text\":\"Hi\"" MARK "}]"))},
        {EQUAL, BODY(",\"system\":[{\"type\":\"text\",\"text\":\"s\"}]", TURN("user", "\"Hi\"")),
         BODY(",\"system\":[{\"type\":\"text\",\"text\":\"s\"" MARK "}]", TURN("user", "\"Hi\""))},
    };
    assert_rows(dj_key_messages, ROWS(rows));
}

static void marks_are_cut_where_the_api_has_them_and_nowhere_else(void **state)
{
    (void)state;
#define TOOLS(more, schema) \
    ",\"tools\":[{\"name\":\"t\",\"input_schema\":{\"properties\":{" schema "}}" more "}]"
#define RESULT(inner, outer)                                                                \
    TURN("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"i\",\"content\":[{\"type\":" \
                 "\"text\",\"text\":\"42\"" inner "}]" outer "}]")
#define INPUT(mark) \
    TURN("assistant", "[{\"type\":\"tool_use\",\"id\":\"i\",\"input\":{\"a\":1" mark "}}]")
    const struct row rows[] = {
        {EQUAL, BODY(TOOLS("", ""), RESULT("", "")), BODY(TOOLS(MARK, ""), RESULT(MARK, MARK))},
        {OTHER, BODY(TOOLS("", "\"cache_control\":{\"type\":\"string\"}"), RESULT("", "")),
         BODY(TOOLS("", ""), RESULT("", ""))},
        {OTHER, BODY("", INPUT("")), BODY("", INPUT(MARK))},
        {OTHER, BODY(",\"x\":{\"y\":1" MARK "}", RESULT("", "")),
         BODY(",\"x\":{\"y\":1}", RESULT("", ""))},
    };
    /* None of these has a text: equal or other. */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture a;
        struct fixture b;
        struct dj_fingerprint left;
        struct dj_fingerprint right;
        assert_int_equal(try_key(&a, dj_key_messages, rows[i].left, &left), DEJA_OK);
        assert_int_equal(try_key(&b, dj_key_messages, rows[i].right, &right), DEJA_OK);
        assert_int_equal(memcmp(left.exact, right.exact, sizeof left.exact) == 0,
                         rows[i].wanted == EQUAL);
        assert_null(left.text.data);
        dj_arena_fini(&a.arena);
        dj_arena_fini(&b.arena);
    }
}

static void more_marks_than_are_looked_for_are_in_the_key(void **state)
{
    (void)state;
    struct dj_buf body = {0};
    struct fixture fixture;
    struct dj_fingerprint fingerprint;
    dj_buf_append_text(&body, "{\"messages\":[{\"role\":\"user\",\"content\":[");
    for (int i = 0; i < 200; i++)
        dj_buf_append_format(&body, "%s{\"type\":\"text\",\"text\":\"%d\"" MARK "}", i ? "," : "",
                             i);
    dj_buf_append_text(&body, "]}]}");
    dj_buf_append_byte(&body, '\0');
    assert_int_equal(try_key(&fixture, dj_key_messages, body.data, &fingerprint), DEJA_OK);
    dj_arena_fini(&fixture.arena);
    dj_buf_fini(&body);
}

static void the_text_of_messages_is_the_last_turn_of_the_user(void **state)
{
    (void)state;
    static const char image[] =
        "[{\"type\":\"image\",\"source\":{}},{\"type\":\"text\",\"text\":\"a\"}]";
    char body[512];
    assert_text(dj_key_messages, BODY("", TURN("user", "\"  Hi  there \"")), "Hi there", true);
    assert_text(dj_key_messages, BODY("", TURN("user", "[{\"type\":\"text\",\"text\":\"Hi\"}]")),
                "Hi", true);
    assert_text(
        dj_key_messages,
        BODY("", TURN("user", "\"a\"") "," TURN("assistant", "\"b\"") "," TURN("user", "\"c\"")),
        "c", true);
    assert_text(dj_key_messages, BODY("", TURN("user", "\"a\"") "," TURN("assistant", "\"{\"")),
                NULL, false);
    assert_text(dj_key_messages, BODY(",\"tools\":[{}]", TURN("user", "\"a\"")), "a", false);
    assert_text(dj_key_messages, BODY(",\"mcp_servers\":[{}]", TURN("user", "\"a\"")), "a", false);
    assert_text(dj_key_messages,
                BODY("", TURN("user", "[{\"type\":\"tool_result\",\"content\":\"a\"}]")), NULL,
                false);
    snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":%s}]}", image);
    assert_text(dj_key_messages, body, NULL, false);
    assert_text(dj_key_messages, "{\"messages\":[]}", NULL, false);
    assert_text(dj_key_messages, "{\"messages\":[7,{\"role\":\"user\"}]}", NULL, false);
}

#define ASK(more, input) "{\"model\":\"m\",\"store\":false" more ",\"input\":" input "}"

static void responses_are_told_apart_by_all_that_matters(void **state)
{
    (void)state;
    static const char plain[] = ASK("", "\"Hi\"");
    const struct row rows[] = {
        {EQUAL, plain, "{\"input\":\"Hi\",\"model\":\"m\"}"},
        {EQUAL, plain, ASK(",\"stream\":true,\"stream_options\":{}", "\"Hi\"")},
        {EQUAL, plain, ASK(",\"prompt_cache_key\":\"k\",\"safety_identifier\":\"s\"", "\"Hi\"")},
        {SAME_SCOPE, plain, ASK("", "\"Hello\"")},
        {OTHER, plain, ASK(",\"instructions\":\"i\"", "\"Hi\"")},
        {OTHER, plain, ASK(",\"include\":[\"reasoning.encrypted_content\"]", "\"Hi\"")},
        {OTHER, plain, ASK("", "[" TURN("user", "\"Hi\"") "]")},
    };
    assert_rows(dj_key_responses, ROWS(rows));
}

static void the_text_of_a_response_is_the_last_turn_of_the_user(void **state)
{
    (void)state;
#define ITEM(type, more) "{\"type\":\"" type "\"" more "}"
    assert_text(dj_key_responses, ASK("", "\"Hi\""), "Hi", true);
    assert_text(dj_key_responses, ASK("", "[" TURN("user", "\"Hi\"") "]"), "Hi", true);
    assert_text(
        dj_key_responses,
        ASK("", "[" TURN("assistant", "[{\"type\":\"output_text\",\"text\":\"a\"}]") "," TURN(
                    "user", "[{\"type\":\"input_text\",\"text\":\"Hi\"}]") "]"),
        "Hi", true);
    assert_text(dj_key_responses, ASK("", "[" TURN("user", "[{\"type\":\"input_image\"}]") "]"),
                NULL, false);
    assert_text(dj_key_responses,
                ASK("", "[" ITEM("function_call_output",
                                 ",\"output\":\"a\"") "," TURN("user", "\"Hi\"") "]"),
                NULL, false);
    assert_text(dj_key_responses, ASK("", "[" TURN("user", "\"Hi\"") "," ITEM("reasoning", "") "]"),
                NULL, false);
    assert_text(dj_key_responses, ASK(",\"tools\":[{}]", "\"Hi\""), "Hi", false);
    assert_text(dj_key_responses, ASK("", "[]"), NULL, false);
}

static void the_text_of_a_completion_is_its_one_prompt(void **state)
{
    (void)state;
#define WRITE(more, prompt) "{\"model\":\"m\",\"prompt\":" prompt more "}"
    const struct row rows[] = {
        {EQUAL, WRITE("", "\"Hi\""), WRITE(",\"stream\":true", "\"Hi\"")},
        {SAME_SCOPE, WRITE("", "\"Hi\""), WRITE("", "\"Hello\"")},
        {OTHER, WRITE("", "\"Hi\""), WRITE(",\"suffix\":\".\"", "\"Hi\"")},
        {OTHER, WRITE("", "\"Hi\""), WRITE("", "[\"Hi\"]")},
    };
    assert_rows(dj_key_completions, ROWS(rows));
    assert_text(dj_key_completions, WRITE("", "\"Hi\""), "Hi", true);
    assert_text(dj_key_completions, WRITE(",\"n\":1,\"echo\":false,\"logprobs\":null", "\"Hi\""),
                "Hi", true);
    assert_text(dj_key_completions, WRITE(",\"n\":2", "\"Hi\""), "Hi", false);
    assert_text(dj_key_completions, WRITE(",\"best_of\":2", "\"Hi\""), "Hi", false);
    assert_text(dj_key_completions, WRITE(",\"echo\":true", "\"Hi\""), "Hi", false);
    assert_text(dj_key_completions, WRITE(",\"logprobs\":0", "\"Hi\""), "Hi", false);
    assert_text(dj_key_completions, WRITE("", "[\"Hi\"]"), NULL, false);
    assert_text(dj_key_completions, WRITE("", "[1,2]"), NULL, false);
}

static void what_is_no_question_has_no_key(void **state)
{
    (void)state;
    static const struct {
        key_fn *make;
        const char *body;
    } rows[] = {
        {dj_key_messages, "{}"},    {dj_key_messages, "{\"messages\":\"a\"}"},
        {dj_key_responses, "{}"},   {dj_key_responses, "{\"input\":7}"},
        {dj_key_completions, "{}"}, {dj_key_completions, "{\"prompt\":null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture fixture;
        struct dj_fingerprint fingerprint;
        assert_int_equal(try_key(&fixture, rows[i].make, rows[i].body, &fingerprint),
                         DEJA_ERR_INVALID);
        dj_arena_fini(&fixture.arena);
    }
}

static void a_key_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    const struct dj_key_prefix prefix = {.family = "messages"};
    assert_int_equal(
        dj_json_parse(deja_slice_text(BODY(MARK, TURN("user", "\"  some   words \""))), &doc, NULL),
        DEJA_OK);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_arena arena;
        struct dj_fingerprint fingerprint;
        dj_arena_init(&arena, 0);
        failing_malloc_arm(n);
        enum deja_status status = dj_key_messages(&prefix, dj_json_root(doc), &arena, &fingerprint);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_arena_fini(&arena);
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_told_apart_by_all_that_matters),
        cmocka_unit_test(marks_are_cut_where_the_api_has_them_and_nowhere_else),
        cmocka_unit_test(more_marks_than_are_looked_for_are_in_the_key),
        cmocka_unit_test(the_text_of_messages_is_the_last_turn_of_the_user),
        cmocka_unit_test(responses_are_told_apart_by_all_that_matters),
        cmocka_unit_test(the_text_of_a_response_is_the_last_turn_of_the_user),
        cmocka_unit_test(the_text_of_a_completion_is_its_one_prompt),
        cmocka_unit_test(what_is_no_question_has_no_key),
        cmocka_unit_test(a_key_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
