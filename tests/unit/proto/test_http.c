#include "base/buf.h"
#include "check.h"
#include "proto/http.h"

#define HOST "Host: h\r\n"

static const struct dj_http_parser_limits limits = {
    .head_bytes_max = 1024, .fields_max = 8, .body_bytes_max = 1000};

static bool on_body(void *ctx, struct deja_slice bytes)
{
    struct dj_buf *body = ctx;
    assert_true(bytes.len > 0);
    dj_buf_append_slice(body, bytes);
    return body->status == DEJA_OK;
}

/* Feeds text in pieces of at most `piece` bytes until the request ends; returns its end. */
static enum dj_http_step feed_all(struct dj_http_parser *parser, struct deja_slice text,
                                  size_t piece, struct dj_buf *body, size_t *out_taken)
{
    size_t at = 0;
    enum dj_http_step step = DJ_HTTP_STEP_MORE;
    bool is_stuck = false;
    while (!is_stuck && (step == DJ_HTTP_STEP_MORE || step == DJ_HTTP_STEP_HEAD)) {
        size_t taken = 0;
        size_t len = text.len - at < piece ? text.len - at : piece;
        step = dj_http_parser_feed(parser, deja_slice(text.data + at, len), &taken, body, on_body);
        assert_true(taken <= len);
        if (step == DJ_HTTP_STEP_MORE)
            assert_int_equal(taken, len);
        at += taken;
        is_stuck = step == DJ_HTTP_STEP_MORE && at == text.len;
    }
    *out_taken = at;
    return step;
}

static struct dj_http_parser *create(void)
{
    struct dj_http_parser *parser = NULL;
    assert_int_equal(dj_http_parser_create(&limits, &parser), DEJA_OK);
    return parser;
}

/* The status a request gets, 200 for a good one, 100 for an unfinished one; the same in one piece
 * and byte by byte. */
static int status_of(struct deja_slice text)
{
    int statuses[3];
    static const size_t pieces[] = {SIZE_MAX, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        struct dj_buf body = {0};
        struct dj_http_parser *parser = create();
        size_t taken = 0;
        enum dj_http_step step = feed_all(parser, text, pieces[i], &body, &taken);
        statuses[i] = step == DJ_HTTP_STEP_DONE     ? 200
                      : step == DJ_HTTP_STEP_FAILED ? dj_http_parser_status(parser)
                                                    : 100;
        if (step == DJ_HTTP_STEP_FAILED) {
            assert_true(strlen(dj_http_parser_detail(parser)) > 0);
            assert_int_equal(
                dj_http_parser_feed(parser, deja_slice_text("x"), &taken, &body, on_body),
                DJ_HTTP_STEP_FAILED);
            assert_int_equal(taken, 0);
        }
        dj_http_parser_destroy(parser);
        dj_buf_fini(&body);
    }
    if (statuses[0] != statuses[1] || statuses[0] != statuses[2])
        print_error("%d %d %d for %.60s\n", statuses[0], statuses[1], statuses[2], text.data);
    assert_int_equal(statuses[0], statuses[1]);
    assert_int_equal(statuses[0], statuses[2]);
    return statuses[0];
}

struct row {
    int status;
    const char *text;
};

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int status = status_of(deja_slice_text(rows[i].text));
        if (status != rows[i].status)
            print_error("row %zu gives %d, not %d: %.70s\n", i, status, rows[i].status,
                        rows[i].text);
        assert_int_equal(status, rows[i].status);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

static void good_requests_are_taken(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {200, "GET / HTTP/1.1\r\n" HOST "\r\n"},
        {200, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"},
        {200, "GET / HTTP/1.0\r\n\r\n"},
        {200, "GET /a?b=%20&c HTTP/1.1\r\n" HOST "X-Empty:\r\nX: \t a b \t \r\n\r\n"},
        {200, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"},
        {200, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"},
        {200, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
        {200, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
              "3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n"},
        {200,
         "GET  / HTTP/1.1\r\n" HOST "\r\n"}, /* llhttp takes blanks here; nothing hangs on it */
        {200, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"},
        {200, "GET http://h/p HTTP/1.1\r\n" HOST "\r\n"},
        {200, "GET HTTP://H HTTP/1.1\r\n" HOST "\r\n"},
        {200, "GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \xc3\xa9\r\n\r\n"},
        {100, "GET / HTTP/1.1\r\n" HOST},
        {100, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nab"},
        {100, ""},
    };
    CHECK_ROWS(rows);
}

static void framing_that_could_be_read_twice_is_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3 3\r\n\r\nabc"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"},
        {400,
         "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n-1\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
              "ffffffffffffffffff\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\n"},
        {400, "POST / HTTP/1.1\r\n" HOST
              "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n"},
    };
    CHECK_ROWS(rows);
}

static void malformed_heads_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {400, "GET / HTTP/1.1\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n " HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X\xc3\xa9: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h, i\r\n\r\n"},
        {400, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"},
        {400, "GET http://other/ HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET http://h@other/ HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET ftp://h/ HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /a#b HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /a?b=\\ HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET * HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1 \r\n" HOST "\r\n"},
        {400, "\x16\x03\x01\x02"},
        {501, "BREW / HTTP/1.1\r\n" HOST "\r\n"},
        {501, "CONNECT h:80 HTTP/1.1\r\n" HOST "\r\n"},
        {501, "TRACE / HTTP/1.1\r\n" HOST "\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
        {505, "GET / HTTP/1.2\r\n" HOST "\r\n"},
        {505, "GET / HTTP/0.9\r\n" HOST "\r\n"},
        {505, "POST / RTSP/1.0\r\n" HOST "\r\n"},
        {505, "OPTIONS /a  RTSP/1.0\r\n" HOST "\r\n"},
        {505, "SOURCE /a ICE/1.0\r\n" HOST "\r\n"},
        {417, "POST / HTTP/1.1\r\n" HOST "Expect: tea\r\nContent-Length: 1\r\n\r\n"},
    };
    CHECK_ROWS(rows);
    assert_int_equal(status_of(deja_slice("GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", 28)), 400);
    assert_int_equal(status_of(deja_slice("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 28)), 400);
}

static int status_of_parts(const char *before, char repeated, size_t count, const char *after)
{
    struct dj_buf text = {0};
    dj_buf_append_text(&text, before);
    for (size_t i = 0; i < count; i++)
        dj_buf_append_byte(&text, repeated);
    dj_buf_append_text(&text, after);
    int status = status_of(dj_buf_slice(&text));
    dj_buf_fini(&text);
    return status;
}

static void every_part_has_a_bound(void **state)
{
    (void)state;
    const char *post = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    assert_int_equal(status_of_parts("GET /", 'a', 900, " HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_int_equal(status_of_parts("GET /", 'a', 1100, " HTTP/1.1\r\n" HOST "\r\n"), 414);
    assert_int_equal(status_of_parts("GET / HTTP/1.1\r\n" HOST "X: ", 'a', 1100, "\r\n\r\n"), 431);
    assert_int_equal(status_of_parts("GET / HTTP/1.1\r\n" HOST, 'a', 1100, ": b\r\n\r\n"), 431);
    assert_int_equal(status_of_parts("GET / HTTP/1.1\r\n" HOST "X:", ' ', 1100, "b\r\n\r\n"), 431);
    assert_int_equal(status_of_parts("", '\r', 0, "\r\n"), 100);
    struct dj_buf text = {0};
    for (size_t i = 0; i < 1000; i++)
        dj_buf_append_text(&text, "\r\n");
    assert_int_equal(status_of(dj_buf_slice(&text)), 431);
    dj_buf_clear(&text);
    dj_buf_append_text(&text, "GET / HTTP/1.1\r\n" HOST);
    for (size_t i = 0; i < 8; i++)
        dj_buf_append_text(&text, "A: b\r\n");
    dj_buf_append_text(&text, "\r\n");
    assert_int_equal(status_of(dj_buf_slice(&text)), 431);
    dj_buf_fini(&text);
    assert_int_equal(
        status_of_parts("POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", 'a', 1001, ""),
        413);
    text = (struct dj_buf){0};
    dj_buf_append_text(&text, post);
    for (size_t i = 0; i < 101; i++)
        dj_buf_append_text(&text, "a\r\n0123456789\r\n");
    assert_int_equal(status_of(dj_buf_slice(&text)), 413);
    dj_buf_clear(&text);
    dj_buf_append_text(&text, post);
    dj_buf_append_text(&text, "1;");
    for (size_t i = 0; i < 20000; i++)
        dj_buf_append_byte(&text, 'e');
    assert_int_equal(status_of(dj_buf_slice(&text)), 400);
    dj_buf_clear(&text);
    dj_buf_append_text(&text, post);
    dj_buf_append_text(&text, "0\r\n");
    for (size_t i = 0; i < 4000; i++)
        dj_buf_append_text(&text, "T: abc\r\n");
    assert_int_equal(status_of(dj_buf_slice(&text)), 400);
    dj_buf_fini(&text);
}

static void head_is_what_was_sent(void **state)
{
    (void)state;
    struct dj_buf body = {0};
    struct dj_http_parser *parser = create();
    struct deja_slice text = deja_slice_text(
        "POST /v1/x?y=1 HTTP/1.1\r\nHost: LocalHost:80\r\nX-A: \t v w \r\nx-a: second\r\nX-E:\r\n"
        "Expect: 100-Continue\r\nContent-Length: 3\r\nConnection: x, close\r\n\r\nabc");
    size_t taken = 0;
    assert_false(dj_http_parser_has_begun(parser));
    assert_int_equal(dj_http_parser_feed(parser, text, &taken, &body, on_body), DJ_HTTP_STEP_HEAD);
    assert_int_equal(taken, text.len - 3);
    assert_true(dj_http_parser_has_begun(parser));
    const struct dj_http_head *head = dj_http_parser_head(parser);
    assert_true(deja_slice_is_equal(head->method, deja_slice_text("POST")));
    assert_true(deja_slice_is_equal(head->target, deja_slice_text("/v1/x?y=1")));
    assert_true(deja_slice_is_equal(head->host, deja_slice_text("LocalHost:80")));
    assert_int_equal(head->field_count, 7);
    assert_true(deja_slice_is_equal(head->fields[1].name, deja_slice_text("X-A")));
    assert_true(deja_slice_is_equal(dj_http_head_find(head, "x-A"), deja_slice_text("v w")));
    assert_non_null(dj_http_head_find(head, "x-e").data);
    assert_int_equal(dj_http_head_find(head, "x-e").len, 0);
    assert_null(dj_http_head_find(head, "x-b").data);
    assert_true(head->expects_continue);
    assert_false(head->is_keep_alive);
    assert_false(head->is_chunked);
    assert_int_equal(head->content_length, 3);
    assert_int_equal(head->minor_version, 1);
    size_t rest = 0;
    assert_int_equal(
        dj_http_parser_feed(parser, deja_slice(text.data + taken, 3), &rest, &body, on_body),
        DJ_HTTP_STEP_DONE);
    assert_int_equal(rest, 3);
    assert_true(deja_slice_is_equal(dj_buf_slice(&body), deja_slice_text("abc")));
    assert_int_equal(dj_http_parser_body_bytes(parser), 3);
    dj_http_parser_destroy(parser);
    dj_buf_fini(&body);
}

static void pipelined_requests_are_taken_one_by_one(void **state)
{
    (void)state;
    static const char *const bodies[] = {"", "hello", "abcdef", "", ""};
    static const char text[] =
        "GET /0 HTTP/1.1\r\n" HOST "\r\n"
        "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
        "POST /2 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n3\r\ndef\r\n0\r\nHost: x\r\nConnection: y\r\n\r\n"
        "\r\nGET /3 HTTP/1.1\r\nConnection: close, upgrade\r\nUpgrade: x\r\n" HOST "\r\n"
        "GET /4 HTTP/1.0\r\n\r\n";
    static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 5, 17};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct dj_http_parser *parser = create();
        struct dj_buf body = {0};
        struct deja_slice left = deja_slice_text(text);
        for (size_t i = 0; i < 5; i++) {
            size_t taken = 0;
            dj_buf_clear(&body);
            assert_int_equal(feed_all(parser, left, pieces[p], &body, &taken), DJ_HTTP_STEP_DONE);
            assert_true(deja_slice_is_equal(dj_buf_slice(&body), deja_slice_text(bodies[i])));
            assert_int_equal(dj_http_parser_head(parser)->target.data[1], '0' + (int)i);
            assert_true(dj_http_parser_head(parser)->is_keep_alive == (i < 3));
            left = deja_slice(left.data + taken, left.len - taken);
            dj_http_parser_next(parser);
        }
        assert_int_equal(left.len, 0);
        dj_http_parser_destroy(parser);
        dj_buf_fini(&body);
    }
}

static bool refuse_body(void *ctx, struct deja_slice bytes)
{
    (void)ctx;
    (void)bytes;
    return false;
}

static void body_that_cannot_be_kept_fails_with_503(void **state)
{
    (void)state;
    struct dj_http_parser *parser = create();
    struct deja_slice text =
        deja_slice_text("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    size_t taken = 0;
    assert_int_equal(dj_http_parser_feed(parser, text, &taken, NULL, refuse_body),
                     DJ_HTTP_STEP_HEAD);
    text = deja_slice(text.data + taken, text.len - taken);
    assert_int_equal(dj_http_parser_feed(parser, text, &taken, NULL, refuse_body),
                     DJ_HTTP_STEP_FAILED);
    assert_int_equal(dj_http_parser_status(parser), 503);
    dj_http_parser_destroy(parser);
}

static void parser_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct deja_slice text = deja_slice_text("GET / HTTP/1.1\r\n" HOST "A: b\r\n\r\n");
    for (size_t n = 1;; n++) {
        struct dj_http_parser *parser = NULL;
        size_t taken = 0;
        failing_malloc_arm(n);
        enum deja_status status = dj_http_parser_create(&limits, &parser);
        enum dj_http_step step = DJ_HTTP_STEP_MORE;
        if (status == DEJA_OK)
            step = dj_http_parser_feed(parser, text, &taken, NULL, refuse_body);
        bool has_failed = failing_malloc_disarm();
        if (has_failed && status == DEJA_OK) {
            assert_int_equal(step, DJ_HTTP_STEP_FAILED);
            assert_int_equal(dj_http_parser_status(parser), 503);
        }
        dj_http_parser_destroy(parser);
        if (has_failed)
            continue;
        assert_int_equal(step, DJ_HTTP_STEP_DONE);
        break;
    }
    dj_http_parser_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests_are_taken),
        cmocka_unit_test(framing_that_could_be_read_twice_is_refused),
        cmocka_unit_test(malformed_heads_are_refused),
        cmocka_unit_test(every_part_has_a_bound),
        cmocka_unit_test(head_is_what_was_sent),
        cmocka_unit_test(pipelined_requests_are_taken_one_by_one),
        cmocka_unit_test(body_that_cannot_be_kept_fails_with_503),
        cmocka_unit_test(parser_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
