#include "proto/resp.h"

#include "check.h"

static const struct dj_resp_limits limits = {
    .args_max = 8, .inline_bytes_max = 64, .bulk_bytes_max = 100, .command_bytes_max = 300};

/* Commands as "[a|b][c]" one after another, then what ended it. */
static void parse_all(const char *text, size_t len, size_t piece, struct dj_buf *log)
{
    struct dj_resp_parser parser = {.cap = 0};
    struct dj_buf input = {0};
    enum dj_resp_step step = DJ_RESP_MORE;
    for (size_t at = 0; at < len && step != DJ_RESP_BAD;) {
        size_t taken = len - at < piece ? len - at : piece;
        size_t used = 0;
        dj_buf_append(&input, text + at, taken);
        at += taken;
        while ((step = dj_resp_parse(&parser, &limits, dj_buf_slice(&input), &used)) ==
                   DJ_RESP_COMMAND ||
               step == DJ_RESP_HTTP) {
            dj_buf_append_text(log, step == DJ_RESP_HTTP ? "http[" : "[");
            for (size_t i = 0; i < parser.count; i++) {
                dj_buf_append_text(log, i ? "|" : "");
                dj_buf_append_slice(log, parser.args[i]);
            }
            dj_buf_append_byte(log, ']');
            dj_buf_consume(&input, used);
        }
        if (step == DJ_RESP_BAD)
            dj_buf_append_text(log, parser.error);
    }
    if (step == DJ_RESP_MORE && input.len > 0)
        dj_buf_append_text(log, "...");
    dj_buf_append_byte(log, '\0');
    dj_resp_parser_fini(&parser);
    dj_buf_fini(&input);
}

static void assert_parsed(const char *text, const char *expected)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 7};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct dj_buf log = {0};
        parse_all(text, strlen(text), pieces[i], &log);
        assert_string_equal(log.data, expected);
        dj_buf_fini(&log);
    }
}

static void commands_are_the_same_however_they_are_split(void **state)
{
    (void)state;
    assert_parsed("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "[GET|k]");
    assert_parsed("*1\r\n$4\r\nPING\r\n*1\r\n$0\r\n\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
                  "[PING][][a|\r\n]");
    assert_parsed("*0\r\n*-1\r\n\r\n", "[][][]");
    assert_parsed("*2\r\n$3\r\nGET\r\n$5\r\nab", "...");
    assert_parsed("*9", "...");
}

static void inline_commands_are_quoted_as_in_a_shell(void **state)
{
    (void)state;
    assert_parsed("PING\r\n  set  a\tb \n", "[PING][set|a|b]");
    assert_parsed("SET \"a b\" 'c\\'d'\r\n", "[SET|a b|c'd]");
    assert_parsed("SET \"\\x41\\n\\t\\\\\\\"\\q\\x4\" a\\b\r\n", "[SET|A\n\t\\\"qx4|a\\b]");
    assert_parsed("\"\" ''\r\n", "[|]");
    assert_parsed("SET \"a\r\n", "Protocol error: unbalanced quotes in request");
    assert_parsed("SET 'a'b\r\n", "Protocol error: unbalanced quotes in request");
}

static void what_is_not_the_protocol_is_told_as_redis_does(void **state)
{
    (void)state;
    assert_parsed("*x\r\n", "Protocol error: invalid multibulk length");
    assert_parsed("*01\r\n", "Protocol error: invalid multibulk length");
    assert_parsed("*1\r\n:1\r\n", "Protocol error: expected '$', got ':'");
    assert_parsed("*1\r\n\x01", "Protocol error: expected '$', got '?'");
    assert_parsed("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$x\r\n", "Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$1\r\nabc", "Protocol error: a bulk string does not end where it said");
    assert_parsed("*1\rx", "Protocol error: invalid multibulk length");
    assert_parsed("*11111111111111111111111111111111111",
                  "Protocol error: too big mbulk count string");
    assert_parsed("*1\r\n$11111111111111111111111111111111111",
                  "Protocol error: too big bulk count string");
}

static void what_is_announced_beyond_a_limit_is_refused_at_once(void **state)
{
    (void)state;
    assert_parsed("*9\r\n", "Protocol error: invalid multibulk length");
    assert_parsed("*9223372036854775807\r\n", "Protocol error: invalid multibulk length");
    assert_parsed("*1\r\n$101\r\n", "Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$2147483648\r\n", "Protocol error: invalid bulk length");
    assert_parsed("*1\r\n$18446744073709551617\r\n", "Protocol error: invalid bulk length");
    assert_parsed("1234567890123456789012345678901234567890123456789012345678901234567890",
                  "Protocol error: too big inline request");
    assert_parsed("a a a a a a a a a\r\n", "Protocol error: too big inline request");
    struct dj_buf text = {0};
    static const char zeros[90] = {0};
    dj_resp_put_array(&text, 4);
    for (int i = 0; i < 3; i++)
        dj_resp_put_bulk(&text, deja_slice(zeros, sizeof zeros));
    dj_buf_append_text(&text, "$10\r\n");
    struct dj_buf log = {0};
    parse_all(text.data, text.len, SIZE_MAX, &log);
    assert_string_equal(log.data, "Protocol error: invalid bulk length");
    dj_buf_fini(&log);
    dj_buf_fini(&text);
}

static void http_is_told_from_commands(void **state)
{
    (void)state;
    assert_parsed("POST / HTTP/1.1\r\n", "http[POST|/|HTTP/1.1]");
    assert_parsed("GET /k HTTP/1.0\r\n", "http[GET|/k|HTTP/1.0]");
    assert_parsed("host: a\r\n", "http[host:|a]");
    assert_parsed("GET HTTP/1.1\r\n", "[GET|HTTP/1.1]");
    assert_parsed("*3\r\n$3\r\nGET\r\n$1\r\n/\r\n$8\r\nHTTP/1.1\r\n", "[GET|/|HTTP/1.1]");
}

static void memory_of_a_large_command_is_given_back(void **state)
{
    (void)state;
    struct dj_resp_limits wide = limits;
    struct dj_resp_parser parser = {.cap = 0};
    struct dj_buf text = {0};
    size_t used = 0;
    wide.args_max = 1000;
    wide.command_bytes_max = 100000;
    dj_resp_put_array(&text, 1000);
    for (int i = 0; i < 1000; i++)
        dj_resp_put_text(&text, "a");
    assert_int_equal(dj_resp_parse(&parser, &wide, deja_slice(text.data, text.len - 1), &used),
                     DJ_RESP_MORE);
    assert_true(dj_resp_parser_has_begun(&parser));
    dj_resp_parser_trim(&parser); /* nothing is lost in the middle of one */
    assert_int_equal(dj_resp_parse(&parser, &wide, dj_buf_slice(&text), &used), DJ_RESP_COMMAND);
    assert_int_equal(parser.count, 1000);
    assert_int_equal(used, text.len);
    assert_false(dj_resp_parser_has_begun(&parser));
    dj_resp_parser_trim(&parser);
    assert_int_equal(parser.cap, 0);
    dj_resp_parser_fini(&parser);
    dj_buf_fini(&text);
}

static void parser_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char *const texts[] = {"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "GET 'k'\r\n"};
    for (size_t t = 0; t < 2; t++) {
        bool has_failed = true;
        for (size_t n = 1; has_failed; n++) {
            struct dj_resp_parser parser = {.cap = 0};
            size_t used = 0;
            failing_malloc_arm(n);
            enum dj_resp_step step =
                dj_resp_parse(&parser, &limits, deja_slice_text(texts[t]), &used);
            has_failed = failing_malloc_disarm();
            assert_int_equal(step, has_failed ? DJ_RESP_NOMEM : DJ_RESP_COMMAND);
            dj_resp_parser_fini(&parser);
        }
    }
}

static void assert_text(struct dj_buf *buf, const char *expected)
{
    dj_buf_append_byte(buf, '\0');
    assert_string_equal(buf->data, expected);
    dj_buf_fini(buf);
}

static void replies_have_the_form_of_their_version(void **state)
{
    (void)state;
    struct dj_buf out = {0};
    dj_resp_put_status(&out, "OK");
    dj_resp_put_error(&out, "ERR a\r\n-b '%s'", "c");
    dj_resp_put_integer(&out, INT64_MIN);
    dj_resp_put_integer(&out, 7);
    dj_resp_put_text(&out, "abc");
    dj_resp_put_bulk(&out, deja_slice(NULL, 0));
    dj_resp_put_array(&out, 2);
    assert_text(&out, "+OK\r\n-ERR a  -b 'c'\r\n:-9223372036854775808\r\n:7\r\n$3\r\nabc\r\n"
                      "$0\r\n\r\n*2\r\n");
    for (int version = 2; version <= 3; version++) {
        dj_resp_put_null(&out, version);
        dj_resp_put_null_array(&out, version);
        dj_resp_put_map(&out, version, 3);
        dj_resp_put_set(&out, version, 3);
        dj_resp_put_push(&out, version, 3);
        dj_resp_put_verbatim(&out, version, "txt", deja_slice_text("abc"));
        assert_text(&out, version == 2 ? "$-1\r\n*-1\r\n*6\r\n*3\r\n*3\r\n$3\r\nabc\r\n"
                                       : "_\r\n_\r\n%3\r\n~3\r\n>3\r\n=7\r\ntxt:abc\r\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_the_same_however_they_are_split),
        cmocka_unit_test(inline_commands_are_quoted_as_in_a_shell),
        cmocka_unit_test(what_is_not_the_protocol_is_told_as_redis_does),
        cmocka_unit_test(what_is_announced_beyond_a_limit_is_refused_at_once),
        cmocka_unit_test(http_is_told_from_commands),
        cmocka_unit_test(memory_of_a_large_command_is_given_back),
        cmocka_unit_test(parser_survives_each_failed_allocation),
        cmocka_unit_test(replies_have_the_form_of_their_version),
    };
    return RUN_TESTS(tests);
}
