/* tests/unit/proxy/test_completion.c - a chat answer from stream to object and back. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/sse.h"
#include "proxy/completion.h"
#include "proxy/family.h"

/* Events are JSON texts, NULL-terminated; "[DONE]" is written by who wants it. */
static struct dj_buf stream_of(const char *const *events)
{
    struct dj_buf sse = {0};
    for (; *events; events++)
        dj_sse_append(&sse, deja_slice_text(*events));
    return sse;
}

static enum deja_status assemble(const char *const *events, struct dj_buf *out, bool *out_is_done)
{
    struct dj_buf sse = stream_of(events);
    enum deja_status status = dj_completion_assemble(dj_buf_slice(&sse), out, out_is_done);
    dj_buf_fini(&sse);
    return status;
}

static struct dj_json_doc *parse(struct deja_slice text)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {""};
    if (dj_json_parse(text, &doc, &error) != DEJA_OK)
        fail_msg("%s: %.*s", error.message, (int)text.len, text.data);
    return doc;
}

static void canonical(struct deja_slice text, struct dj_buf *out)
{
    static const char *const none[] = {NULL};
    size_t offset = 0;
    size_t len = 0;
    struct dj_json_doc *doc = parse(text);
    dj_json_canonical(out, dj_json_root(doc), none, NULL, &offset, &len);
    dj_buf_append_byte(out, '\0');
    dj_json_doc_destroy(doc);
}

static void assert_same_json(struct deja_slice got, const char *wanted)
{
    struct dj_buf a = {0};
    struct dj_buf b = {0};
    canonical(got, &a);
    canonical(deja_slice_text(wanted), &b);
    assert_string_equal(a.data, b.data);
    dj_buf_fini(&a);
    dj_buf_fini(&b);
}

static void assert_assembled(const char *const *events, const char *wanted)
{
    struct dj_buf object = {0};
    bool is_done = false;
    assert_int_equal(assemble(events, &object, &is_done), DEJA_OK);
    assert_same_json(dj_buf_slice(&object), wanted);
    dj_buf_fini(&object);
}

#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CHUNK(delta)                                                  \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":" \
    "[{\"index\":0,\"delta\":" delta "}]}"
#define OBJECT(message)                                         \
    "{\"id\":\"c\",\"object\":\"chat.completion\",\"choices\":" \
    "[{\"index\":0,\"message\":" message "}]}"

static void joins_content_and_keeps_the_last_finish_reason(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS("{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\","
               "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
               "\"logprobs\":null,\"finish_reason\":null}]}",
               "{\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,"
               "\"delta\":{\"content\":\"Hel\"},\"finish_reason\":null}]}",
               "{\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,"
               "\"delta\":{\"content\":\"lo \\u00e9\\n\"},\"finish_reason\":null}]}",
               "{\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,"
               "\"delta\":{},\"finish_reason\":\"stop\"}]}",
               "{\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[],"
               "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}",
               "[DONE]"),
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":5,\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"Hello \\u00e9\\n\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}");
}

static void joins_reasoning_and_refusal_apart(void **state)
{
    (void)state;
    assert_assembled(EVENTS(CHUNK("{\"role\":\"assistant\",\"reasoning_content\":\"Let \"}"),
                            CHUNK("{\"reasoning_content\":\"me see\"}"),
                            CHUNK("{\"content\":\"4\"}"), CHUNK("{\"content\":\"2\"}")),
                     OBJECT("{\"role\":\"assistant\",\"reasoning_content\":\"Let me see\","
                            "\"content\":\"42\"}"));
    assert_assembled(EVENTS(CHUNK("{\"role\":\"assistant\",\"refusal\":\"I can\"}"),
                            CHUNK("{\"refusal\":\"not.\"}")),
                     OBJECT("{\"role\":\"assistant\",\"refusal\":\"I cannot.\",\"content\":null}"));
}

static void merges_tool_calls_by_index(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS(
            CHUNK("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,"
                  "\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                  "\"arguments\":\"\"}}]}"),
            CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\"\"}}]}"),
            CHUNK("{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"type\":\"function\","
                  "\"function\":{\"name\":\"g\",\"arguments\":\"{\"}}]}"),
            CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}},"
                  "{\"index\":1,\"function\":{\"arguments\":\"}\"}}]}")),
        OBJECT("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
               "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
               "\"arguments\":\"{\\\"x\\\":1}\"}},"
               "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\","
               "\"arguments\":\"{}\"}}]}"));
}

/* Some servers repeat what names a thing in every chunk, or send it empty first. */
static void names_are_taken_once(void **state)
{
    (void)state;
    assert_assembled(EVENTS(CHUNK("{\"role\":\"assistant\",\"content\":\"a\"}"),
                            CHUNK("{\"role\":\"assistant\",\"content\":\"b\"}"),
                            CHUNK("{\"role\":\"assistant\",\"content\":\"c\"}")),
                     OBJECT("{\"role\":\"assistant\",\"content\":\"abc\"}"));
    assert_assembled(EVENTS(CHUNK("{\"role\":\"\",\"content\":\"a\"}"),
                            CHUNK("{\"role\":\"assistant\"}"), CHUNK("{\"role\":\"assistant\"}"),
                            CHUNK("{\"role\":\"\"}")),
                     OBJECT("{\"role\":\"assistant\",\"content\":\"a\"}"));
    assert_assembled(
        EVENTS(CHUNK("{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":"
                     "\"function\",\"function\":{\"name\":\"\",\"arguments\":\"1\"}}]}"),
               CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\","
                     "\"function\":{\"name\":\"f\",\"arguments\":\"2\"}}]}"),
               CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\","
                     "\"function\":{\"name\":\"f\",\"arguments\":\"3\"}}]}")),
        OBJECT("{\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
               "\"function\":{\"name\":\"f\",\"arguments\":\"123\"}}]}"));
}

static void appends_log_probabilities(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":"
               "{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"top_logprobs\":[]}],"
               "\"refusal\":null}}]}",
               "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},\"logprobs\":"
               "{\"content\":[{\"token\":\"b\",\"logprob\":-1.25e-7,\"top_logprobs\":[]}],"
               "\"refusal\":null}}]}",
               "{\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
               "\"finish_reason\":\"stop\"}]}"),
        "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"ab\"}"
        ",\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.5,\"top_logprobs\":[]},"
        "{\"token\":\"b\",\"logprob\":-1.25e-7,\"top_logprobs\":[]}],\"refusal\":null},"
        "\"finish_reason\":\"stop\"}]}");
}

static void several_choices_are_put_in_order(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS("{\"choices\":[{\"index\":2,\"delta\":{\"content\":\"z\"}}]}",
               "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}},"
               "{\"index\":1,\"delta\":{\"content\":\"y\"}}]}",
               "{\"choices\":[{\"index\":2,\"delta\":{\"content\":\"Z\"},"
               "\"finish_reason\":\"length\"}]}",
               "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"),
        "{\"object\":\"chat.completion\",\"choices\":["
        "{\"index\":0,\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"},"
        "{\"index\":1,\"message\":{\"content\":\"y\"}},"
        "{\"index\":2,\"message\":{\"content\":\"zZ\"},\"finish_reason\":\"length\"}]}");
}

static void unknown_fields_survive_at_every_level(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS("{\"id\":\"c\",\"x_root\":{\"a\":[1]},\"obfuscation\":\"qq\",\"choices\":[{\"index\""
               ":0,\"x_choice\":{\"n\":1},\"stop_reason\":null,\"delta\":{\"x_delta\":\"p\","
               "\"content\":null,\"tool_calls\":[{\"index\":0,\"x_call\":true,\"function\":"
               "{\"x_function\":[1],\"arguments\":\"\"}}]}}]}",
               "{\"id\":\"c\",\"x_root\":{\"a\":[2]},\"obfuscation\":\"q\",\"choices\":[{\"index\""
               ":0,\"x_choice\":{\"m\":2},\"stop_reason\":\"end\",\"delta\":{\"x_delta\":\"q\","
               "\"tool_calls\":[{\"index\":0,\"function\":{\"x_function\":[2]}}]}}]}",
               "{\"id\":\"c\",\"choices\":[{\"index\":0,\"stop_reason\":\"end\",\"delta\":{}}]}"),
        "{\"id\":\"c\",\"object\":\"chat.completion\",\"x_root\":{\"a\":[2]},\"choices\":["
        "{\"index\":0,\"x_choice\":{\"n\":1,\"m\":2},\"stop_reason\":\"end\",\"message\":"
        "{\"x_delta\":\"pq\",\"content\":null,\"tool_calls\":[{\"x_call\":true,\"function\":"
        "{\"x_function\":[1,2],\"arguments\":\"\"}}]}}]}");
}

static void null_never_overwrites(void **state)
{
    (void)state;
    assert_assembled(
        EVENTS("{\"id\":\"c\",\"system_fingerprint\":\"fp\",\"usage\":{\"prompt_tokens\":1},"
               "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"role\":\"assistant\"},"
               "\"finish_reason\":\"stop\"}]}",
               "{\"id\":null,\"system_fingerprint\":null,\"usage\":null,\"choices\":[{\"index\":0,"
               "\"delta\":{\"content\":null,\"role\":null},\"finish_reason\":null}]}"),
        "{\"id\":\"c\",\"object\":\"chat.completion\",\"system_fingerprint\":\"fp\",\"choices\":["
        "{\"index\":0,\"message\":{\"content\":\"a\",\"role\":\"assistant\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}");
}

/* Whatever order kinds come in, what is written is JSON. */
static void a_value_of_another_kind_starts_anew(void **state)
{
    (void)state;
    static const char *const values[] = {"null",      "1",
                                         "true",      "\"t\"",
                                         "[1]",       "[{\"index\":0}]",
                                         "{\"k\":1}", "{\"\":1,\"index\":3}"};
    const size_t count = sizeof values / sizeof *values;
    for (size_t i = 0; i < count * count * count; i++) {
        struct dj_buf sse = {0};
        struct dj_buf object = {0};
        bool is_done = false;
        const size_t picks[] = {i % count, i / count % count, i / count / count};
        for (size_t k = 0; k < 3; k++)
            dj_buf_append_format(&sse, "data: {\"choices\":[{\"delta\":{\"v\":%s},\"w\":%s}]}\n\n",
                                 values[picks[k]], values[picks[k]]);
        assert_int_equal(dj_completion_assemble(dj_buf_slice(&sse), &object, &is_done), DEJA_OK);
        dj_json_doc_destroy(parse(dj_buf_slice(&object)));
        dj_buf_fini(&sse);
        dj_buf_fini(&object);
    }
    assert_assembled(EVENTS(CHUNK("{\"v\":[1],\"content\":null}"), CHUNK("{\"v\":{\"a\":2}}")),
                     OBJECT("{\"v\":{\"a\":2},\"content\":null}"));
    assert_assembled(EVENTS(CHUNK("{\"v\":{\"a\":2},\"content\":null}"), CHUNK("{\"v\":[1]}")),
                     OBJECT("{\"v\":[1],\"content\":null}"));
}

static void refuses_what_is_no_chat_stream(void **state)
{
    (void)state;
    static const struct {
        const char *event;
        enum deja_status status;
    } rows[] = {
        {"{\"error\":{\"message\":\"overloaded\"}}", DEJA_ERR_INVALID},
        {"{\"choices\":[],\"error\":\"x\"}", DEJA_ERR_INVALID},
        {"not json", DEJA_ERR_INVALID},
        {"{\"choices\":[", DEJA_ERR_INVALID},
        {"[]", DEJA_ERR_INVALID},
        {"\"text\"", DEJA_ERR_INVALID},
        {"17", DEJA_ERR_INVALID},
        {"[DONE]", DEJA_ERR_INVALID},
        {"", DEJA_ERR_INVALID},
        {"{\"choices\":[{\"index\":257,\"delta\":{}}]}", DEJA_ERR_LIMIT},
        {"{\"choices\":[{\"index\":-1,\"delta\":{}}]}", DEJA_ERR_LIMIT},
        {"{\"choices\":[{\"index\":9000000000000000000,\"delta\":{}}]}", DEJA_ERR_LIMIT},
        {CHUNK("{\"tool_calls\":[{\"index\":1000000}]}"), DEJA_ERR_LIMIT},
        {CHUNK("{\"tool_calls\":[{\"index\":-1}]}"), DEJA_ERR_LIMIT},
        {CHUNK("{\"tool_calls\":[{},{\"index\":0.5}]}"), DEJA_ERR_LIMIT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf object = {0};
        bool is_done = true;
        assert_int_equal(assemble(EVENTS(rows[i].event), &object, &is_done), rows[i].status);
        assert_int_equal(object.len, 0);
        assert_true(is_done);
        dj_buf_fini(&object);
    }
}

static void an_error_of_null_is_none(void **state)
{
    (void)state;
    assert_assembled(EVENTS("{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}"),
                     "{\"object\":\"chat.completion\",\"error\":null,\"choices\":[{\"index\":0,"
                     "\"message\":{\"content\":\"a\"}}]}");
}

static void an_error_after_chunks_is_refused(void **state)
{
    (void)state;
    struct dj_buf object = {0};
    bool is_done = false;
    assert_int_equal(
        assemble(EVENTS(CHUNK("{\"content\":\"a\"}"), "{\"error\":{\"code\":500}}", "[DONE]"),
                 &object, &is_done),
        DEJA_ERR_INVALID);
    assert_int_equal(object.len, 0);
    dj_buf_fini(&object);
}

static void too_many_members_are_refused(void **state)
{
    (void)state;
    struct dj_buf sse = {0};
    struct dj_buf object = {0};
    bool is_done = false;
    dj_buf_append_text(&sse, "data: {\"choices\":[{\"delta\":{\"a\":1");
    for (int i = 0; i < 2000; i++)
        dj_buf_append_format(&sse, ",\"m%d\":1", i);
    dj_buf_append_text(&sse, "}}]}\n\n");
    assert_int_equal(dj_completion_assemble(dj_buf_slice(&sse), &object, &is_done), DEJA_ERR_LIMIT);
    dj_buf_fini(&sse);
    dj_buf_fini(&object);
}

static void the_end_must_have_been_seen(void **state)
{
    (void)state;
    struct dj_buf object = {0};
    bool is_done = true;
    assert_int_equal(assemble(EVENTS(CHUNK("{\"content\":\"a\"}")), &object, &is_done), DEJA_OK);
    assert_false(is_done);
    dj_buf_clear(&object);
    assert_int_equal(assemble(EVENTS(CHUNK("{\"content\":\"a\"}"), "[DONE]"), &object, &is_done),
                     DEJA_OK);
    assert_true(is_done);
    dj_buf_clear(&object);
    /* Cut inside the terminal event. */
    const char cut[] = "data: {\"choices\":[]}\n\ndata: [DONE]";
    assert_int_equal(dj_completion_assemble(deja_slice_text(cut), &object, &is_done), DEJA_OK);
    assert_false(is_done);
    dj_buf_clear(&object);
    /* What follows the end is not looked at. */
    assert_int_equal(
        assemble(EVENTS(CHUNK("{\"content\":\"a\"}"), "[DONE]", "junk"), &object, &is_done),
        DEJA_OK);
    assert_true(is_done);
    assert_same_json(dj_buf_slice(&object), OBJECT("{\"content\":\"a\"}"));
    dj_buf_fini(&object);
}

/* ---- object to stream ---- */

static const char *const objects[] = {
    OBJECT("{\"role\":\"assistant\",\"content\":\"hello\"}"),
    OBJECT("{\"role\":\"assistant\",\"content\":\"\"}"),
    OBJECT("{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\"}"),
    OBJECT("{\"role\":\"assistant\",\"content\":\"x\",\"refusal\":null,\"annotations\":[]}"),
    OBJECT("{\"role\":\"assistant\",\"reasoning_content\":\"r\",\"content\":\"x\"}"),
    OBJECT("{\"role\":\"assistant\",\"content\":null,\"audio\":{\"id\":\"au\",\"data\":\"Zm9v\","
           "\"expires_at\":9,\"transcript\":\"hi\"}}"),
    OBJECT("{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
           "{\"type\":\"text\",\"text\":\"b\"}]}"),
    "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"service_tier\":"
    "\"default\",\"system_fingerprint\":null,\"choices\":[{\"index\":0,\"message\":{\"role\":"
    "\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
    "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"type\":\"custom\","
    "\"custom\":{\"name\":\"g\",\"input\":\"i\"}}]},\"logprobs\":null,\"finish_reason\":"
    "\"tool_calls\"}],\"usage\":{\"prompt_tokens\":1,\"prompt_tokens_details\":"
    "{\"cached_tokens\":0}}}",
    "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
    "\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-0.1}]},"
    "\"finish_reason\":\"stop\",\"x_choice\":{\"k\":[1,\"2\"]}},{\"index\":1,\"message\":{\"role\":"
    "\"assistant\",\"content\":\"b\"},\"logprobs\":null,\"finish_reason\":\"length\"}],"
    "\"x_root\":[{\"index\":4}]}",
    "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
    "\"content\":\"\\u0000\\\"\\\\ \\ud83d\\ude00\"},\"finish_reason\":\"stop\"}]}",
};

static void an_object_comes_back_from_its_stream(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        struct dj_buf sse = {0};
        struct dj_buf object = {0};
        struct dj_json_doc *doc = parse(deja_slice_text(objects[i]));
        bool is_done = false;
        bool has_no_reason =
            !dj_json_get(dj_json_at(dj_json_get(dj_json_root(doc), "choices"), 0), "finish_reason");
        assert_int_equal(dj_completion_replay(dj_json_root(doc), true, &sse), DEJA_OK);
        assert_int_equal(dj_completion_assemble(dj_buf_slice(&sse), &object, &is_done), DEJA_OK);
        assert_true(is_done);
        if (has_no_reason) { /* a stream always has one: null where the object had none */
            struct dj_buf wanted = {0};
            dj_buf_append(&wanted, objects[i], strlen(objects[i]) - 3);
            dj_buf_append(&wanted, ",\"finish_reason\":null}]}", 25);
            assert_same_json(dj_buf_slice(&object), wanted.data);
            dj_buf_fini(&wanted);
        } else {
            assert_same_json(dj_buf_slice(&object), objects[i]);
        }
        dj_buf_fini(&sse);
        dj_buf_fini(&object);
        dj_json_doc_destroy(doc);
    }
}

struct seen {
    size_t events;
    size_t usages;
    size_t dones;
};

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct seen *seen = ctx;
    if (deja_slice_is_equal(event->data, deja_slice_text("[DONE]"))) {
        seen->dones++;
        return true;
    }
    struct dj_json_doc *doc = parse(event->data);
    const struct dj_json *root = dj_json_root(doc);
    assert_int_equal(seen->dones, 0);
    assert_true(deja_slice_is_equal(dj_json_string(dj_json_get(root, "object")),
                                    deja_slice_text("chat.completion.chunk")));
    assert_int_equal(dj_json_i64(dj_json_get(root, "created"), 0), 1);
    seen->usages += dj_completion_is_usage_only(event->data);
    seen->events++;
    dj_json_doc_destroy(doc);
    return true;
}

static void a_replay_has_usage_only_when_asked_for(void **state)
{
    (void)state;
    struct dj_json_doc *doc = parse(deja_slice_text(objects[7]));
    for (int has_usage = 0; has_usage < 2; has_usage++) {
        struct seen seen = {0};
        struct dj_buf sse = {0};
        struct dj_sse_parser parser;
        dj_sse_init(&parser, 1 << 20);
        assert_int_equal(dj_completion_replay(dj_json_root(doc), has_usage, &sse), DEJA_OK);
        assert_int_equal(dj_sse_feed(&parser, dj_buf_slice(&sse), &seen, on_event), DEJA_OK);
        assert_int_equal(seen.usages, has_usage);
        assert_int_equal(seen.dones, 1);
        assert_int_equal(seen.events, 4 + has_usage); /* role, content, tool calls, end */
        dj_sse_fini(&parser);
        dj_buf_fini(&sse);
    }
    dj_json_doc_destroy(doc);
}

static void usage_only_events_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *event;
        bool is_usage_only;
    } rows[] = {
        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", true},
        {"{\"choices\":[],\"usage\":{}}", true},
        {"{\"choices\":[],\"usage\":null}", false},
        {"{\"choices\":[]}", false},
        {"{\"choices\":[{}],\"usage\":{}}", false},
        {"{\"choices\":{},\"usage\":{}}", false},
        {"{\"usage\":{}}", false},
        {"[DONE]", false},
        {"", false},
        {"{", false},
        {"[[],{}]", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(dj_completion_is_usage_only(deja_slice_text(rows[i].event)),
                         rows[i].is_usage_only);
}

/* ---- rewrite ---- */

static void assert_rewritten(const char *object, bool is_usage_zero, const char *id,
                             const char *wanted)
{
    struct dj_buf out = {0};
    struct dj_json_doc *doc = parse(deja_slice_text(object));
    const struct dj_rewrite changes = {.is_usage_zero = is_usage_zero, .id = id, .created_s = 77};
    dj_family_rewrite(&dj_family_chat, dj_json_root(doc), &changes, &out);
    assert_int_equal(out.status, DEJA_OK);
    assert_same_json(dj_buf_slice(&out), wanted);
    dj_buf_fini(&out);
    dj_json_doc_destroy(doc);
}

static void rewrite_changes_only_what_it_says(void **state)
{
    (void)state;
    static const char object[] =
        "{\"id\":\"old\",\"created\":5,\"x\":{\"id\":\"in\",\"created\":6,\"usage\":{\"a\":1}},"
        "\"choices\":[{\"index\":1,\"id\":\"q\"}],\"usage\":{\"prompt_tokens\":3,\"details\":"
        "{\"cached\":2.5,\"kind\":\"k\",\"none\":null}}}";
    assert_rewritten(object, false, NULL, object);
    assert_rewritten(object, false, "new",
                     "{\"id\":\"new\",\"created\":77,\"x\":{\"id\":\"in\",\"created\":6,\"usage\":"
                     "{\"a\":1}},\"choices\":[{\"index\":1,\"id\":\"q\"}],\"usage\":"
                     "{\"prompt_tokens\":3,\"details\":{\"cached\":2.5,\"kind\":\"k\","
                     "\"none\":null}}}");
    assert_rewritten(object, true, NULL,
                     "{\"id\":\"old\",\"created\":5,\"x\":{\"id\":\"in\",\"created\":6,\"usage\":"
                     "{\"a\":1}},\"choices\":[{\"index\":1,\"id\":\"q\"}],\"usage\":"
                     "{\"prompt_tokens\":0,\"details\":{\"cached\":0,\"kind\":\"k\","
                     "\"none\":null}}}");
    assert_rewritten("{\"choices\":[],\"usage\":null}", true, "new",
                     "{\"choices\":[],\"usage\":null}");
}

/* ---- failing allocations ---- */

static void assemble_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_buf sse = {0};
    struct dj_buf whole = {0};
    bool is_done = false;
    for (int i = 0; i < 60; i++)
        dj_buf_append_format(
            &sse,
            "data: {\"id\":\"c\",\"choices\":[{\"index\":%d,\"delta\":{\"content\":"
            "\"word \",\"field_%d\":[%d,{\"index\":0,\"a\":\"b\"}]}}]}\n\n",
            i % 3, i, i);
    dj_buf_append_text(&sse, "data: [DONE]\n\n");
    assert_int_equal(dj_completion_assemble(dj_buf_slice(&sse), &whole, &is_done), DEJA_OK);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf object = {0};
        is_done = false;
        failing_malloc_arm(n);
        enum deja_status status = dj_completion_assemble(dj_buf_slice(&sse), &object, &is_done);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(is_done, !has_failed);
        if (!has_failed)
            assert_true(deja_slice_is_equal(dj_buf_slice(&object), dj_buf_slice(&whole)));
        dj_buf_fini(&object);
    }
    dj_buf_fini(&sse);
    dj_buf_fini(&whole);
}

static void replay_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char long_usage[] =
        "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"}}],"
        "\"usage\":{\"note\":\"0123456789012345678901234567890123456789012345678901234567890123456"
        "78901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"
        "67890123456789012345678901234567890123456789012345678901234567890123456789012345678901234"
        "567890123456789012345678901234567890123456789012345678901234567890123456789\"}}";
    struct dj_json_doc *doc = parse(deja_slice_text(long_usage));
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf sse = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_completion_replay(dj_json_root(doc), true, &sse);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&sse);
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_content_and_keeps_the_last_finish_reason),
        cmocka_unit_test(joins_reasoning_and_refusal_apart),
        cmocka_unit_test(merges_tool_calls_by_index),
        cmocka_unit_test(names_are_taken_once),
        cmocka_unit_test(appends_log_probabilities),
        cmocka_unit_test(several_choices_are_put_in_order),
        cmocka_unit_test(unknown_fields_survive_at_every_level),
        cmocka_unit_test(null_never_overwrites),
        cmocka_unit_test(a_value_of_another_kind_starts_anew),
        cmocka_unit_test(refuses_what_is_no_chat_stream),
        cmocka_unit_test(an_error_of_null_is_none),
        cmocka_unit_test(an_error_after_chunks_is_refused),
        cmocka_unit_test(too_many_members_are_refused),
        cmocka_unit_test(the_end_must_have_been_seen),
        cmocka_unit_test(an_object_comes_back_from_its_stream),
        cmocka_unit_test(a_replay_has_usage_only_when_asked_for),
        cmocka_unit_test(usage_only_events_are_told_apart),
        cmocka_unit_test(rewrite_changes_only_what_it_says),
        cmocka_unit_test(assemble_survives_each_failed_allocation),
        cmocka_unit_test(replay_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
