#include "proto/http_reply.h"

#include "base/buf.h"
#include "check.h"

static const struct dj_http_reply_limits limits = {.head_bytes_max = 512, .body_bytes_max = 1000};

static bool on_body(void *ctx, struct deja_slice bytes)
{
    assert_true(bytes.len > 0);
    dj_buf_append_slice(ctx, bytes);
    return true;
}

static struct dj_http_reply *create(void)
{
    struct dj_http_reply *reply = NULL;
    assert_int_equal(dj_http_reply_create(&limits, &reply), DEJA_OK);
    return reply;
}

static enum dj_http_step feed(struct dj_http_reply *reply, const char *text, size_t piece,
                              struct dj_buf *body, size_t *out_at)
{
    enum dj_http_step step = DJ_HTTP_STEP_MORE;
    size_t len = strlen(text);
    *out_at = 0;
    while (step == DJ_HTTP_STEP_MORE && *out_at < len) {
        size_t taken = 0;
        size_t left = len - *out_at;
        step = dj_http_reply_feed(reply, deja_slice(text + *out_at, left < piece ? left : piece),
                                  &taken, body, on_body);
        *out_at += taken;
    }
    return step;
}

/* The body of a good answer, its status and header "X-A", in one piece and byte by byte. */
static void check_good(const char *text, int status, const char *value, const char *content)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        struct dj_http_reply *reply = create();
        struct dj_buf body = {0};
        size_t at = 0;
        assert_int_equal(feed(reply, text, pieces[i], &body, &at), DJ_HTTP_STEP_DONE);
        assert_int_equal(at, strlen(text));
        assert_int_equal(dj_http_reply_status(reply), status);
        assert_true(deja_slice_is_equal(dj_http_reply_find(reply, "x-a"), deja_slice_text(value)));
        assert_null(dj_http_reply_find(reply, "X-B").data);
        assert_true(deja_slice_is_equal(dj_buf_slice(&body), deja_slice_text(content)));
        dj_buf_fini(&body);
        dj_http_reply_destroy(reply);
    }
}

static void answers_are_read_however_they_are_cut(void **state)
{
    (void)state;
    check_good("HTTP/1.1 200 OK\r\nX-A:  yes \r\nContent-Length: 5\r\n\r\nhello", 200, "yes",
               "hello");
    check_good("HTTP/1.1 404 \r\ncontent-length: 0\r\nx-A: b:c\r\nX-A: d\r\n\r\n", 404, "b:c", "");
    check_good("HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-B: trailer\r\n\r\n",
               200, "1", "abcde");
    check_good("HTTP/1.1 204 No Content\r\nX-A: n\r\n\r\n", 204, "n", "");
}

static void answers_follow_each_other_on_a_connection(void **state)
{
    (void)state;
    static const char two[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 201 OK\r\n"
                              "Connection: close\r\nContent-Length: 1\r\n\r\nc";
    struct dj_http_reply *reply = create();
    struct dj_buf body = {0};
    size_t at = 0;
    assert_int_equal(feed(reply, two, SIZE_MAX, &body, &at), DJ_HTTP_STEP_DONE);
    assert_true(dj_http_reply_is_keep_alive(reply));
    size_t second = 0;
    dj_http_reply_next(reply);
    assert_int_equal(feed(reply, two + at, SIZE_MAX, &body, &second), DJ_HTTP_STEP_DONE);
    assert_int_equal(at + second, sizeof two - 1);
    assert_int_equal(dj_http_reply_status(reply), 201);
    assert_false(dj_http_reply_is_keep_alive(reply));
    assert_true(deja_slice_is_equal(dj_buf_slice(&body), deja_slice_text("abc")));
    dj_buf_fini(&body);
    dj_http_reply_destroy(reply);
}

static void what_is_unclear_or_too_long_is_refused(void **state)
{
    (void)state;
    char long_head[700] = "HTTP/1.1 200 OK\r\nX-A: ";
    char long_body[64] = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
    memset(long_head + strlen(long_head), 'a', sizeof long_head - 1 - strlen(long_head));
    static char body_bytes[1002];
    memset(body_bytes, 'b', sizeof body_bytes - 1);
    const char *const texts[] = {
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "garbage",
        long_head,
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_http_reply *reply = create();
        struct dj_buf body = {0};
        size_t at = 0;
        assert_int_equal(feed(reply, texts[i], 5, &body, &at), DJ_HTTP_STEP_FAILED);
        assert_true(*dj_http_reply_detail(reply) != '\0');
        dj_buf_fini(&body);
        dj_http_reply_destroy(reply);
    }
    struct dj_http_reply *reply = create();
    struct dj_buf body = {0};
    size_t at = 0;
    assert_int_equal(feed(reply, long_body, SIZE_MAX, &body, &at), DJ_HTTP_STEP_MORE);
    assert_int_equal(feed(reply, body_bytes, SIZE_MAX, &body, &at), DJ_HTTP_STEP_FAILED);
    dj_buf_fini(&body);
    dj_http_reply_destroy(reply);
}

static void reply_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 0\r\n\r\n";
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_http_reply *reply = NULL;
        enum dj_http_step step = DJ_HTTP_STEP_FAILED;
        size_t at = 0;
        failing_malloc_arm(n);
        enum deja_status status = dj_http_reply_create(&limits, &reply);
        if (status == DEJA_OK)
            step = feed(reply, text, SIZE_MAX, NULL, &at);
        has_failed = failing_malloc_disarm();
        assert_int_equal(step, has_failed ? DJ_HTTP_STEP_FAILED : DJ_HTTP_STEP_DONE);
        dj_http_reply_destroy(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read_however_they_are_cut),
        cmocka_unit_test(answers_follow_each_other_on_a_connection),
        cmocka_unit_test(what_is_unclear_or_too_long_is_refused),
        cmocka_unit_test(reply_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
