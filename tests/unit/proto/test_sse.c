#include "base/buf.h"
#include "check.h"
#include "proto/sse.h"

/* Events as "name|data;" one after another. */
static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct dj_buf *log = ctx;
    dj_buf_append_slice(log, event->name);
    dj_buf_append_byte(log, '|');
    dj_buf_append_slice(log, event->data);
    dj_buf_append_byte(log, ';');
    return true;
}

static void assert_events(const char *stream, const char *expected, bool is_at_boundary)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 2, 3, 5};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct dj_sse_parser parser;
        struct dj_buf log = {0};
        dj_sse_init(&parser, 1000);
        assert_true(dj_sse_is_at_boundary(&parser));
        size_t len = strlen(stream);
        for (size_t at = 0; at < len;) {
            size_t piece = len - at < pieces[p] ? len - at : pieces[p];
            assert_int_equal(dj_sse_feed(&parser, deja_slice(stream + at, piece), &log, on_event),
                             DEJA_OK);
            at += piece;
        }
        dj_buf_append_byte(&log, '\0');
        assert_string_equal(log.data, expected);
        assert_true(dj_sse_is_at_boundary(&parser) == is_at_boundary);
        dj_sse_fini(&parser);
        dj_buf_fini(&log);
    }
}

static void events_are_the_same_however_they_are_split(void **state)
{
    (void)state;
    assert_events("data: a\n\n", "|a;", true);
    assert_events("data: a\r\n\r\ndata: b\r\n\r\n", "|a;|b;", true);
    assert_events("data: a\r\rdata: b\r\r", "|a;|b;", true);
    assert_events("data: a\n\r\n", "|a;", true);
    assert_events("\xef\xbb\xbf"
                  "data: a\n\n",
                  "|a;", true);
    assert_events("data: \xef\xbb\xbf\n\n", "|\xef\xbb\xbf;", true);
    assert_events("event: x\ndata: 1\ndata:2\ndata:  3\n\ndata: 4\n\n", "x|1\n2\n 3;|4;", true);
    assert_events(": comment\n:\nid: 7\nretry: 1\nunknown\ndata: a\n\n", "|a;", true);
    assert_events("data\n\ndata:\ndata:\n\n", "|;|\n;", true);
    assert_events("event: x\n\ndata: a\n\n", "|a;", true);
    assert_events("\n\n\r\n\r", "", true);
    assert_events("datax: a\n data: b\n\n", "", true);
    assert_events("data: {\"a\":\"b: c\"}\n\ndata: [DONE]\n\n", "|{\"a\":\"b: c\"};|[DONE];", true);
    assert_events("event: a\nevent: b\ndata: c\n\n", "b|c;", true);
}

static void unfinished_event_is_not_given_out(void **state)
{
    (void)state;
    assert_events("data: a\n\ndata: b\n", "|a;", false);
    assert_events("data: a\n\ndata: b", "|a;", false);
    assert_events("data: a\n\nevent: b\n", "|a;", false);
}

static void size_of_an_event_is_bounded(void **state)
{
    (void)state;
    static const size_t pieces[] = {1000, 1, 10};
    for (size_t p = 0; p < 3; p++) {
        for (size_t len = 90; len <= 110; len += 20) {
            struct dj_sse_parser parser;
            struct dj_buf log = {0};
            struct dj_buf stream = {0};
            dj_sse_init(&parser, 100);
            dj_buf_append_text(&stream, "data:");
            for (size_t i = 0; i < len; i++)
                dj_buf_append_byte(&stream, 'a');
            dj_buf_append_text(&stream, "\n\n");
            enum deja_status status = DEJA_OK;
            for (size_t at = 0; at < stream.len && status == DEJA_OK; at += pieces[p]) {
                size_t piece = stream.len - at < pieces[p] ? stream.len - at : pieces[p];
                status = dj_sse_feed(&parser, deja_slice(stream.data + at, piece), &log, on_event);
            }
            assert_int_equal(status, len < 100 ? DEJA_OK : DEJA_ERR_LIMIT);
            dj_sse_fini(&parser);
            dj_buf_fini(&stream);
            dj_buf_fini(&log);
        }
    }
    struct dj_sse_parser parser;
    struct dj_buf log = {0};
    enum deja_status status = DEJA_OK;
    dj_sse_init(&parser, 100);
    for (size_t i = 0; i < 1000 && status == DEJA_OK; i++)
        status = dj_sse_feed(&parser, deja_slice_text("data:\n"), &log, on_event);
    assert_int_equal(status, DEJA_ERR_LIMIT);
    dj_sse_fini(&parser);
}

static bool stop(void *ctx, const struct dj_sse_event *event)
{
    (void)event;
    ++*(unsigned *)ctx;
    return false;
}

static void callback_can_stop_the_feed(void **state)
{
    (void)state;
    struct dj_sse_parser parser;
    unsigned count = 0;
    dj_sse_init(&parser, 100);
    assert_int_equal(dj_sse_feed(&parser, deja_slice_text("data: a\n\ndata: b\n\n"), &count, stop),
                     DEJA_ERR_CANCELLED);
    assert_int_equal(count, 1);
    dj_sse_fini(&parser);
}

static void feed_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_buf log = {0};
    assert_non_null(dj_buf_reserve(&log, 1000));
    for (size_t n = 1;; n++) {
        struct dj_sse_parser parser;
        dj_sse_init(&parser, 1000);
        failing_malloc_arm(n);
        enum deja_status status =
            dj_sse_feed(&parser, deja_slice_text("event: a\ndata: b\n\ndata: c"), &log, on_event);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_sse_fini(&parser);
        if (!has_failed)
            break;
    }
    dj_buf_fini(&log);
}

static void appended_event_reads_back(void **state)
{
    (void)state;
    struct dj_buf stream = {0};
    dj_sse_append(&stream, deja_slice_text("{\"a\":1}"));
    dj_sse_append(&stream, deja_slice_text("[DONE]"));
    dj_sse_begin(&stream, deja_slice_text("ping"));
    dj_buf_append_text(&stream, "{}");
    dj_sse_end(&stream);
    dj_buf_append_byte(&stream, '\0');
    assert_string_equal(stream.data,
                        "data: {\"a\":1}\n\ndata: [DONE]\n\nevent: ping\ndata: {}\n\n");
    dj_buf_fini(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_they_are_split),
        cmocka_unit_test(unfinished_event_is_not_given_out),
        cmocka_unit_test(size_of_an_event_is_bounded),
        cmocka_unit_test(callback_can_stop_the_feed),
        cmocka_unit_test(feed_survives_each_failed_allocation),
        cmocka_unit_test(appended_event_reads_back),
    };
    return RUN_TESTS(tests);
}
