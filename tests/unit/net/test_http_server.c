#include "http_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static void request_beyond_a_limit_is_refused_and_the_answer_is_read(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->has_error_body = true;
    fixture->limits.header_bytes_max = 1000;
    fixture->limits.headers_max = 5;
    fixture->limits.body_bytes_max = 100000;
    fixture_open(fixture);
    static char text[600000];
    int len = snprintf(text, sizeof(text), "GET /a HTTP/1.1\r\nHost: h\r\nX: ");
    memset(text + len, 'x', 2000);
    snprintf(text + len + 2000, 8, "\r\n\r\n");
    assert_true(talk(fixture, text) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 431 "));
    assert_non_null(strstr(fixture->reply, "fault 431 path=/a"));
    assert_non_null(strstr(fixture->reply, "Connection: close\r\n"));
    assert_true(
        talk(fixture, "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n") >
        0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 431 "));

    /* The client sends all of it although it is refused at the head. */
    len = snprintf(text, sizeof(text),
                   "POST /a?q HTTP/1.1\r\nHost: h\r\nContent-Length: 500000"
                   "\r\n\r\n");
    memset(text + len, 'x', 500000);
    text[len + 500000] = '\0';
    assert_true(talk(fixture, text) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 413 "));
    assert_non_null(strstr(fixture->reply, "path=/a "));
    assert_int_equal(count_of(fixture->reply, "HTTP/1.1"), 1);

    len = snprintf(text, sizeof(text),
                   "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked"
                   "\r\n\r\n40000\r\n");
    memset(text + len, 'x', 0x40000);
    text[len + 0x40000] = '\0';
    assert_true(talk(fixture, text) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 413 "));
    assert_int_equal(fixture->requests, 0);
    fixture_close(fixture);
}

static void bytes_in_flight_and_connections_are_bounded(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = 1000;
    fixture->limits.connections_max = 2;
    fixture_open(fixture);
    static char text[4096];
    int len = snprintf(text, sizeof(text),
                       "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2000"
                       "\r\n\r\n");
    memset(text + len, 'x', 2000);
    assert_true(talk(fixture, text) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 503 "));
    /* What was charged has been given back. */
    len = snprintf(text, sizeof(text),
                   "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 900"
                   "\r\n\r\n");
    memset(text + len, 'x', 900);
    text[len + 900] = '\0';
    for (int i = 0; i < 3; i++) {
        assert_true(talk(fixture, text) > 0);
        assert_non_null(strstr(fixture->reply, "HTTP/1.1 200 "));
    }
    int first = connect_client(fixture);
    int second = connect_client(fixture);
    assert_true(send_text(first, GET("/a")) && read_until(fixture, first, "GET /a \n"));
    assert_true(send_text(second, GET("/a")) && read_until(fixture, second, "GET /a \n"));
    int third = connect_client(fixture);
    assert_true(read_to_end(fixture, third) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 503 "));
    close(third);
    close(first);
    close(second);
    fixture_close(fixture);
}

static void slow_clients_are_ended(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.header_timeout_ms = 50;
    fixture->limits.idle_timeout_ms = 60;
    fixture->limits.body_bytes_per_s_min = 1000000;
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, "GET /a HTTP/1.1\r\nHo");
    assert_true(read_to_end(fixture, fd) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 408 "));
    close(fd);
    fd = connect_client(fixture);
    send_text(fd, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx");
    assert_true(read_to_end(fixture, fd) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 408 "));
    close(fd);
    fd = connect_client(fixture);
    assert_int_equal(read_to_end(fixture, fd), 0); /* idle from the start: no words */
    close(fd);
    fixture_close(fixture);
}

static void reader_that_stalls_is_cut(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.write_stall_ms = 50;
    fixture_open(fixture);
    int fd = connect_client(fixture);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    send_text(fd, GET("/big"));
    /* Nothing is read; the drain below ends only when the server has given up. */
    wait_for(fixture, &fixture->requests, 1);
    fixture_close(fixture);
    close(fd);
}

static void big_stream_arrives_whole_through_back_pressure(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    static const char *const texts[] = {
        "GET /big HTTP/1.0\r\n\r\n",
        GET("/big") "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        int fd = connect_client(fixture);
        send_text(fd, texts[i]);
        assert_true(read_to_end(fixture, fd) > BIG_BYTES);
        close(fd);
    }
    fixture_close(fixture);
}

static void watcher_hears_once_that_the_client_left(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, GET("/watch") GET("/a"));
    wait_for(fixture, &fixture->held, 1);
    close(fd);
    wait_for(fixture, &fixture->gone, 1);
    assert_int_equal(fixture->requests, 1);
    fixture_close(fixture);
}

static void answer_for_a_client_that_left_goes_nowhere(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, GET("/hold"));
    wait_for(fixture, &fixture->held, 1);
    const struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    tell_loop(fixture, on_release);
    assert_true(talk(fixture, GET("/a")) > 0); /* the server lives */
    fixture_close(fixture);
}

static void client_that_ended_its_side_still_gets_its_answer(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, GET("/hold"));
    shutdown(fd, SHUT_WR);
    wait_for(fixture, &fixture->held, 1);
    tell_loop(fixture, on_release);
    assert_true(read_to_end(fixture, fd) > 0);
    assert_non_null(strstr(fixture->reply, "GET /hold \n"));
    close(fd);
    fixture_close(fixture);
}

static void drain_closes_idle_clients_and_answers_running_ones(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int idle = connect_client(fixture);
    assert_true(send_text(idle, GET("/a")) && read_until(fixture, idle, "GET /a \n"));
    int busy = connect_client(fixture);
    send_text(busy, GET("/hold"));
    wait_for(fixture, &fixture->held, 1);
    tell_loop(fixture, on_stop);
    assert_int_equal(read_to_end(fixture, idle), 0);
    close(idle);
    assert_int_equal(fixture->drained, 0);
    struct dj_task release = {.run = on_release, .ctx = fixture};
    dj_loop_post(fixture->loop, &release);
    assert_true(read_to_end(fixture, busy) > 0);
    assert_non_null(strstr(fixture->reply, "Connection: close\r\n"));
    close(busy);
    pthread_join(fixture->thread, NULL);
    assert_int_equal(fixture->drained, 1);
    dj_loop_destroy(fixture->loop);
    free(fixture);
}

static void drain_cuts_what_takes_too_long(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->drain_timeout_ms = 20;
    fixture_open(fixture);
    int fd = connect_client(fixture);
    send_text(fd, GET("/hold"));
    wait_for(fixture, &fixture->held, 1);
    tell_loop(fixture, on_stop);
    pthread_join(fixture->thread, NULL);
    assert_int_equal(fixture->drained, 1);
    on_release(fixture); /* the server is gone; the exchange is valid until answered */
    close(fd);
    dj_loop_destroy(fixture->loop);
    free(fixture);
}

static void server_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_http_server *server = NULL;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_http_server_open(loop, "127.0.0.1", 0, NULL, NULL, on_request, NULL, &server, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_http_server_destroy(server);
        if (!has_failed)
            break;
    }
    dj_loop_destroy(loop);
}

static void *talk_and_stop(void *ctx)
{
    struct fixture *fixture = ctx;
    talk(fixture, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "2\r\nhi\r\n0\r\n\r\n" GET("/stream") GET("/later") GET("/a"));
    tell_loop(fixture, on_stop);
    return NULL;
}

static void requests_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct fixture *fixture = fixture_create();
        fixture->has_own_loop = true;
        fixture->drain_timeout_ms = 1;
        fixture_open(fixture);
        pthread_t client;
        assert_int_equal(pthread_create(&client, NULL, talk_and_stop, fixture), 0);
        failing_malloc_arm(n);
        dj_loop_run(fixture->loop);
        bool has_failed = failing_malloc_disarm();
        pthread_join(client, NULL);
        if (!has_failed)
            assert_int_equal(count_of(fixture->reply, "HTTP/1.1 200 OK"), 4);
        dj_loop_destroy(fixture->loop);
        free(fixture);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_beyond_a_limit_is_refused_and_the_answer_is_read),
        cmocka_unit_test(bytes_in_flight_and_connections_are_bounded),
        cmocka_unit_test(slow_clients_are_ended),
        cmocka_unit_test(reader_that_stalls_is_cut),
        cmocka_unit_test(big_stream_arrives_whole_through_back_pressure),
        cmocka_unit_test(watcher_hears_once_that_the_client_left),
        cmocka_unit_test(answer_for_a_client_that_left_goes_nowhere),
        cmocka_unit_test(client_that_ended_its_side_still_gets_its_answer),
        cmocka_unit_test(drain_closes_idle_clients_and_answers_running_ones),
        cmocka_unit_test(drain_cuts_what_takes_too_long),
        cmocka_unit_test(server_survives_each_failed_allocation),
        cmocka_unit_test(requests_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
