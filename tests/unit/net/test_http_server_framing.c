#include "http_fixture.h"

#define HOST "Host: h\r\n"

static void each_request_has_one_answer_and_one_boundary(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t answers;   /* with 200 */
        const char *last; /* somewhere in the reply */
    } cases[] = {
        {"GET /a?b=c HTTP/1.1\r\n" HOST "\r\n", 1, "GET /a?b=c \n"},
        {"GET /a HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n", 2, "GET /b \n"},
        {"\r\n\r\nGET /a HTTP/1.1\r\n" HOST "\r\n", 1, "GET /a \n"},
        {"POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n" HOST
         "\r\n",
         2, "POST /a hello\n"},
        {"POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n"
         "0\r\nX-Trailer: 1\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\n",
         2, "POST /a hello\n"},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 1, "OPTIONS * \n"},
        {"GET /a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\n", 1,
         "Connection: close\r\n"},
        {"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n", 1, "Connection: close\r\n"},
        {"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n", 2,
         "Connection: keep-alive\r\n"},
        /* refused, and nothing behind it is taken for a request */
        {"POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\n",
         0, "HTTP/1.1 400 "},
        {"POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 0,
         "HTTP/1.1 400 "},
        {"POST /a HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\nhello", 0, "HTTP/1.1 400 "},
        {"POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0,
         "HTTP/1.1 "},
        {"POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
         0, "HTTP/1.1 400 "},
        {"POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", 0,
         "HTTP/1.1 400 "},
        {"GET /a HTTP/1.1\r\n" HOST "X: 1\r\n folded\r\n\r\n", 0, "HTTP/1.1 400 "},
        {"GET /a HTTP/1.1\r\n" HOST "X : 1\r\n\r\n", 0, "HTTP/1.1 400 "},
        {"GET /a HTTP/1.1\n" HOST "\n", 0, "HTTP/1.1 400 "},
        {"GET /a HTTP/1.1\r\n\r\n", 0, "HTTP/1.1 400 "},
        {"GET /a HTTP/1.1\r\n" HOST HOST "\r\n", 0, "HTTP/1.1 400 "},
        {"GET /a HTTP/2.0\r\n" HOST "\r\n", 0, "HTTP/1.1 "},
        {"GET /a HTTP/1.1\r\n" HOST "\r\n@@@\r\n\r\n", 1, "HTTP/1.1 "},
        {"POST /a HTTP/1.1\r\n" HOST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 0,
         "HTTP/1.1 417 "},
        /* half requests have no answer */
        {"", 0, ""},
        {"GET /a HT", 0, ""},
        {"POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhell", 0, ""},
    };
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ssize_t total = talk(fixture, cases[i].bytes);
        if (total < 0 || count_of(fixture->reply, "HTTP/1.1 200 OK") != cases[i].answers ||
            !strstr(fixture->reply, cases[i].last))
            fail_msg("request <%s> got <%s>", cases[i].bytes, fixture->reply);
        if (cases[i].last[0] == '\0')
            assert_int_equal(total, 0);
    }
    fixture_close(fixture);
}

static void request_split_at_every_byte_is_the_same_request(void **state)
{
    (void)state;
    static const char text[] = "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                               "3\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n"
                               "POST /later HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nbody"
                               "GET /stream HTTP/1.1\r\n" HOST "\r\n";
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    for (size_t i = 1; i < sizeof(text) - 1; i++) {
        assert_true(talk_split(fixture, text, i) > 0);
        assert_int_equal(count_of(fixture->reply, "HTTP/1.1 200 OK"), 3);
        const char *first = strstr(fixture->reply, "POST /a hello\n");
        assert_non_null(first);
        const char *second = strstr(first, "POST /later body\n");
        assert_non_null(second);
        assert_non_null(strstr(second, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"));
    }
    fixture_close(fixture);
}

static void pipelined_requests_are_answered_in_their_order(void **state)
{
    (void)state;
    enum { REQUESTS = 3000 }; /* more than is read ahead while an answer is awaited */
    static char text[REQUESTS * 64 + 1];
    size_t len = 0;
    for (int i = 0; i < REQUESTS; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "GET /later?%04d HTTP/1.1\r\n" HOST "\r\n", i);
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_bytes(fd, text, len);
    shutdown(fd, SHUT_WR);
    ssize_t total = read_to_end(fixture, fd);
    close(fd);
    assert_true(total > 0);
    assert_int_equal(fixture->requests, REQUESTS);
    const char *at = fixture->reply;
    for (int i = 0; i < 500; i++) { /* as many as surely are in the kept part of the reply */
        char wanted[32];
        snprintf(wanted, sizeof(wanted), "/later?%04d", i);
        at = strstr(at, "/later?");
        assert_non_null(at);
        assert_memory_equal(at, wanted, strlen(wanted));
        at++;
    }
    fixture_close(fixture);
}

static void thousand_requests_share_a_connection(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    for (int i = 0; i < 1000; i++) {
        assert_true(send_text(fd, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi"));
        assert_true(read_until(fixture, fd, "POST /a hi\n"));
    }
    close(fd);
    assert_int_equal(fixture->requests, 1000);
    fixture_close(fixture);
}

static void answers_without_a_body_say_so(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    assert_true(talk(fixture, "HEAD /a HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_non_null(strstr(fixture->reply, "Content-Length: 9\r\n\r\n"));
    assert_null(strstr(fixture->reply, "HEAD /a"));
    assert_non_null(strstr(fixture->reply, " GMT\r\n"));
    assert_true(talk(fixture, "HEAD /stream HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_null(strstr(fixture->reply, "one"));
    assert_true(talk(fixture, "GET /empty HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 204 No Content\r\n"));
    assert_null(strstr(fixture->reply, "Content-Length"));
    fixture_close(fixture);
}

static void streams_are_framed_as_the_client_understands(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    assert_true(talk(fixture, "GET /stream HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_non_null(strstr(fixture->reply, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n"));
    assert_true(talk(fixture, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") > 0);
    assert_null(strstr(fixture->reply, "chunked"));
    assert_non_null(strstr(fixture->reply, "Connection: close\r\n\r\nonetwothree"));
    assert_true(talk(fixture, "GET /sized HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_non_null(strstr(fixture->reply, "Content-Length: 11\r\n\r\nonetwothree"));
    fixture_close(fixture);
}

static void unfinished_answer_cannot_be_taken_for_whole(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    talk(fixture, "GET /abort HTTP/1.1\r\n" HOST "\r\n");
    assert_null(strstr(fixture->reply, "0\r\n\r\n"));
    talk(fixture, "GET /short HTTP/1.1\r\n" HOST "\r\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(fixture->reply, "HTTP/1.1 200"), 1);
    assert_int_equal(talk(fixture, "GET /abort HTTP/1.0\r\n\r\n"), -1); /* a reset */
    fixture_close(fixture);
}

static void headers_that_would_break_the_framing_are_left_out(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    assert_true(talk(fixture, "GET /evil HTTP/1.1\r\n" HOST "\r\n") > 0);
    assert_null(strstr(fixture->reply, "X-Injected"));
    assert_null(strstr(fixture->reply, "X Bad"));
    assert_null(strstr(fixture->reply, "chunked"));
    assert_non_null(strstr(fixture->reply, "X-Good: 1\r\nContent-Length: 2\r\n\r\nok"));
    fixture_close(fixture);
}

static void client_that_waits_for_100_gets_it(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, "POST /a HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_true(read_until(fixture, fd, "\r\n\r\n"));
    assert_string_equal(fixture->reply, "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(fd, "hello");
    assert_true(read_until(fixture, fd, "POST /a hello\n"));
    close(fd);
    fixture_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_one_answer_and_one_boundary),
        cmocka_unit_test(request_split_at_every_byte_is_the_same_request),
        cmocka_unit_test(pipelined_requests_are_answered_in_their_order),
        cmocka_unit_test(thousand_requests_share_a_connection),
        cmocka_unit_test(answers_without_a_body_say_so),
        cmocka_unit_test(streams_are_framed_as_the_client_understands),
        cmocka_unit_test(unfinished_answer_cannot_be_taken_for_whole),
        cmocka_unit_test(headers_that_would_break_the_framing_are_left_out),
        cmocka_unit_test(client_that_waits_for_100_gets_it),
    };
    return RUN_TESTS(tests);
}
