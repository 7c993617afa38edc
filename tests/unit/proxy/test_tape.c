/* tests/unit/proxy/test_tape.c - what is recorded is played again, and nothing else is played. */
#include "stream_kit.h"

#include "proxy/messages.h"

static const char object[] =
    "{\"type\":\"message\",\"id\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"Hello world\"}],"
    "\"stop_reason\":\"end_turn\",\"usage\":{\"output_tokens\":5}}";

static enum deja_status record(const char *sse, struct dj_buf *out)
{
    struct dj_json_doc *doc = kit_parse(deja_slice_text(object));
    enum deja_status status =
        dj_tape_record(deja_slice_text(sse), dj_json_root(doc), dj_messages_resolve, out);
    dj_json_doc_destroy(doc);
    return status;
}

static enum deja_status play(struct deja_slice tape, struct dj_buf *out)
{
    struct dj_json_doc *doc = kit_parse(deja_slice_text(object));
    enum deja_status status = dj_tape_play(dj_json_root(doc), tape, dj_messages_resolve, out);
    dj_json_doc_destroy(doc);
    return status;
}

static void assert_played(const char *sse, const char *wanted)
{
    struct dj_buf tape = {0};
    struct dj_buf told = {0};
    assert_int_equal(record(sse, &tape), DEJA_OK);
    assert_int_equal(play(dj_buf_slice(&tape), &told), DEJA_OK);
    dj_buf_append_byte(&told, '\0');
    assert_string_equal(told.data, wanted);
    dj_buf_fini(&tape);
    dj_buf_fini(&told);
}

#define DELTA(text)                                                                              \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":" \
    "{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"

static void any_stream_is_played_as_it_came(void **state)
{
    (void)state;
    static const char *const streams[] = {
        "",
        "data: [DONE]\n\n",
        "event: odd\ndata: some words\n\n",
        "data: {\"no\":\"name\"}\n\n",
        "event: other\ndata: {\"type\":\"this\"}\n\n",
        "event: x\ndata: {}\n\n",
        "event: x\ndata: {\"type\":{\"a\":[]},\"index\":-1,\"delta\":null}\n\n",
        DELTA("Hello") DELTA(" ") DELTA("world"),
        DELTA("Hello") DELTA("") DELTA(" world") DELTA("!") DELTA("more"),
        DELTA("ello") DELTA("Hello"),
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":0}\n\n"
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":1}\n\n"
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":5}\n\n"
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":2}\n\n"
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":2.0}\n\n"
        "event: a\ndata: {\"type\":\"a\",\"sequence_number\":\"3\"}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":"
        "{\"type\":\"text_delta\",\"text\":\"nowhere\"},\"usage\":{\"output_tokens\":5}}\n\n",
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        assert_played(streams[i], streams[i]);
}

static void padding_and_comments_are_not_told(void **state)
{
    (void)state;
    assert_played(
        ": hi\r\nevent: a\r\nid: 7\r\ndata: { \"type\": \"a\",\r\ndata: \"obfuscation\": \"xy\", "
        "\"in\": {\"obfuscation\": 1} }\r\n\r\n",
        "event: a\ndata: {\"type\":\"a\",\"in\":{\"obfuscation\":1}}\n\n");
}

static void a_piece_costs_a_few_bytes(void **state)
{
    (void)state;
    struct dj_buf few = {0};
    struct dj_buf many = {0};
    assert_int_equal(record(DELTA("H") DELTA("e"), &few), DEJA_OK);
    assert_int_equal(record(DELTA("H") DELTA("e") DELTA("l") DELTA("l") DELTA("o"), &many),
                     DEJA_OK);
    assert_int_equal(many.len - few.len, 6); /* ",1" three times */
    dj_buf_fini(&few);
    dj_buf_fini(&many);
}

static void what_cannot_be_told_again_has_no_tape(void **state)
{
    (void)state;
    static const char *const streams[] = {"data: two\ndata: lines\n\n", "data: \xff\n\n",
                                          "event: \xff\ndata: {}\n\n"};
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct dj_buf tape = {0};
        assert_int_equal(record(streams[i], &tape), DEJA_ERR_INVALID);
        dj_buf_fini(&tape);
    }
}

static void a_long_stream_has_no_tape(void **state)
{
    (void)state;
    struct dj_buf sse = {0};
    struct dj_buf tape = {0};
    for (int i = 0; i < 9000; i++)
        dj_buf_append_format(&sse, "data: {\"type\":\"filler\",\"number\":%d}\n\n", i);
    dj_buf_append_byte(&sse, '\0');
    assert_int_equal(record(sse.data, &tape), DEJA_ERR_LIMIT);
    dj_buf_fini(&sse);
    dj_buf_fini(&tape);
}

static void what_is_no_tape_of_this_object_is_corrupt(void **state)
{
    (void)state;
#define TAPE(items) "{\"tape\":[" items "]}"
#define PIECE(count)                                                                       \
    "[\"\",[[\"type\",\"content_block_delta\"],[\"index\",0],[\"delta\",[[\"text\"," count \
    ",\"p\"]],\"o\"]]]"
    static const char *const tapes[] = {
        "oops",
        TAPE("7"),
        TAPE("{}"),
        TAPE("[]"),
        TAPE("[\"a\",7]"),
        TAPE("[\"a\",[7]]"),
        TAPE("[\"a\",[[7]]]"),
        TAPE("[\"a\",[[\"nothing\"]]]"),
        TAPE("[\"a\",[[\"k\",1,2,3]]]"),
        TAPE("[\"a\",[[\"k\",1,\"q\"]]]"),
        TAPE("[\"a\",[[\"delta\",7,\"o\"]]]"),
        TAPE("[\"a\",[[\"text\",1,\"p\"]]]"),
        TAPE(PIECE("12")),
        TAPE(PIECE("-1")),
        TAPE(PIECE("5") ",7"),
        TAPE(PIECE("5") ",-1"),
        TAPE("[\"a\\nb\",[[\"k\",1]]]"),
        TAPE("[\"a\",\"b\\nc\"]"),
    };
    static const char *const none[] = {"{}", "7", "{\"tape\":7}", "{\"redacted\":true}", ""};
    for (size_t i = 0; i < sizeof tapes / sizeof *tapes; i++) {
        struct dj_buf told = {0};
        if (play(deja_slice_text(tapes[i]), &told) != DEJA_ERR_CORRUPT)
            fail_msg("played: %s", tapes[i]);
        dj_buf_fini(&told);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct dj_buf told = {0};
        assert_int_equal(play(deja_slice_text(none[i]), &told), DEJA_ERR_NOT_FOUND);
        dj_buf_fini(&told);
    }
    struct dj_buf told = {0};
    assert_int_equal(play(deja_slice_text(TAPE(PIECE("5") ",6")), &told), DEJA_OK);
    dj_buf_fini(&told);
}

static void a_damaged_tape_is_told_from_the_object(void **state)
{
    (void)state;
    struct dj_buf told = {0};
    struct dj_buf plain = {0};
    struct dj_json_doc *doc = kit_parse(deja_slice_text(object));
    const struct dj_replay_options damaged = {
        .tape = deja_slice_text(TAPE("[\"\",[[\"type\",\"a\"]]],9"))};
    const struct dj_replay_options without = {.has_usage = false};
    assert_int_equal(dj_messages_replay(dj_json_root(doc), &damaged, &told), DEJA_OK);
    assert_int_equal(dj_messages_replay(dj_json_root(doc), &without, &plain), DEJA_OK);
    assert_true(deja_slice_is_equal(dj_buf_slice(&told), dj_buf_slice(&plain)));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&told);
    dj_buf_fini(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_stream_is_played_as_it_came),
        cmocka_unit_test(padding_and_comments_are_not_told),
        cmocka_unit_test(a_piece_costs_a_few_bytes),
        cmocka_unit_test(what_cannot_be_told_again_has_no_tape),
        cmocka_unit_test(a_long_stream_has_no_tape),
        cmocka_unit_test(what_is_no_tape_of_this_object_is_corrupt),
        cmocka_unit_test(a_damaged_tape_is_told_from_the_object),
    };
    return RUN_TESTS(tests);
}
