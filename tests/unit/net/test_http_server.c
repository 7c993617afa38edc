#include "http_fixture.h"
#include "net/http_addresses.h"

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

static void who_sends_more_behind_a_last_request_is_not_reset(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    int fd = connect_client(fixture);
    assert_true(send_text(fd, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    assert_true(read_to_end(fixture, fd) > 0);
    assert_non_null(strstr(fixture->reply, "GET /a \n"));
    /* A reset would answer the first and fail the second. */
    for (int i = 0; i < 3; i++)
        assert_true(send_text(fd, GET("/behind")));
    assert_int_equal(read_to_end(fixture, fd), 0);
    close(fd);
    assert_int_equal(count_of(fixture->reply, "behind"), 0);
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

static void bytes_of_unfinished_heads_are_in_flight_too(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = 1000;
    fixture_open(fixture);
    static char half[700];
    memset(half, 'x', sizeof(half) - 1);
    memcpy(half, "GET /a HTTP/1.1\r\nX: ", 20);
    int slow = connect_client(fixture);
    assert_true(send_text(slow, half));
    assert_true(talk(fixture, GET("/a")) > 0); /* the half head was read before */
    int refused = connect_client(fixture);
    assert_true(send_text(refused, half));
    assert_true(read_to_end(fixture, refused) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 503 "));
    close(refused);
    assert_true(send_text(slow, "\r\nHost: h\r\n\r\n") && read_until(fixture, slow, "GET /a \n"));
    close(slow);
    fixture_close(fixture);
}

static void answer_that_finds_no_room_is_a_503(void **state)
{
    (void)state;
    enum { BODY_BYTES = 20000 };
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = BODY_BYTES * 3 / 2;
    fixture->has_error_body = true;
    fixture_open(fixture);
    static char text[BODY_BYTES + 100];
    int len = snprintf(text, sizeof(text),
                       "POST /later HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BODY_BYTES);
    memset(text + len, 'x', BODY_BYTES);
    int fd = connect_client(fixture);
    assert_true(send_text(fd, text));
    assert_true(read_until(fixture, fd, "wait for their clients"));
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 503 "));
    /* The connection is as good as before. */
    assert_true(send_text(fd, GET("/a")) && read_until(fixture, fd, "GET /a \n"));
    close(fd);
    fixture_close(fixture);
}

/* A POST of many bytes that is answered with 204; the number of the answer's bytes. */
static ssize_t post_many(struct fixture *fixture, size_t bytes)
{
    char *text = calloc(1, bytes + 100);
    assert_non_null(text);
    int len = snprintf(text, 100, "POST /empty HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                       bytes);
    memset(text + len, 'x', bytes);
    ssize_t total = talk(fixture, text);
    free(text);
    return total;
}

static void who_does_not_read_gives_room_to_others(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = 600000;
    fixture->limits.spared_ms = 0;
    fixture_open(fixture);
    int reader = connect_client(fixture);
    assert_true(send_text(reader, GET("/big")));
    wait_for(fixture, &fixture->requests, 1);
    assert_true(post_many(fixture, 500000) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 204 "));
    assert_true(read_to_end(fixture, reader) < BIG_BYTES);
    close(reader);
    fixture_close(fixture);
}

static void body_that_takes_long_gives_room_to_others(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = 600000;
    fixture->limits.spared_ms = 0;
    fixture_open(fixture);
    static char piece[300000];
    memset(piece, 'x', sizeof(piece));
    int writer = connect_client(fixture);
    assert_true(send_text(writer, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 300001\r\n\r\n"));
    assert_true(send_bytes(writer, piece, sizeof(piece)));
    assert_true(talk(fixture, GET("/a")) > 0);
    assert_true(post_many(fixture, 500000) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 204 "));
    assert_true(read_to_end(fixture, writer) <= 0);
    close(writer);
    fixture_close(fixture);
}

static void who_waits_longest_makes_room_for_a_newcomer(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.connections_max = 3;
    fixture->limits.spared_ms = 0;
    fixture_open(fixture);
    int slow = connect_client(fixture);
    int idle = connect_client(fixture);
    int held = connect_client(fixture);
    assert_true(send_text(idle, GET("/a")) && read_until(fixture, idle, "GET /a \n"));
    assert_true(send_text(slow, GET("/a")) && read_until(fixture, slow, "GET /a \n"));
    assert_true(send_text(held, GET("/hold")));
    wait_for(fixture, &fixture->held, 1);
    assert_true(send_text(slow, "GET /a HTTP/1.1\r\n")); /* a byte gives no better place */
    int fourth = connect_client(fixture);
    assert_true(send_text(fourth, GET("/b")) && read_until(fixture, fourth, "GET /b \n"));
    assert_int_equal(read_to_end(fixture, idle), 0);
    int fifth = connect_client(fixture);
    assert_true(send_text(fifth, GET("/c")) && read_until(fixture, fifth, "GET /c \n"));
    assert_int_equal(read_to_end(fixture, slow), 0);
    /* A request that is being answered is never given up for a newcomer. */
    tell_loop(fixture, on_release);
    assert_true(read_until(fixture, held, "GET /hold \n"));
    close(slow);
    close(idle);
    close(held);
    close(fourth);
    close(fifth);
    fixture_close(fixture);
}

static void address_with_too_many_connections_gets_no_more(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    assert_int_equal(dj_http_addresses_create(2, 2, 10, &fixture->limits.addresses), DEJA_OK);
    fixture_open(fixture);
    int first = connect_client(fixture);
    int second = connect_client(fixture);
    assert_true(send_text(first, GET("/a")) && read_until(fixture, first, "GET /a \n"));
    assert_true(send_text(second, GET("/a")) && read_until(fixture, second, "GET /a \n"));
    int third = connect_client(fixture);
    assert_true(read_to_end(fixture, third) > 0);
    assert_non_null(strstr(fixture->reply, "HTTP/1.1 503 "));
    close(third);
    assert_true(send_text(first, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    assert_true(read_to_end(fixture, first) > 0);
    close(first);
    bool is_served = false;
    while (!is_served) { /* the place is free once the server has closed, too */
        int again = connect_client(fixture);
        is_served = send_text(again, GET("/a")) && read_until(fixture, again, "GET /a \n");
        close(again);
    }
    close(second);
    struct dj_http_addresses *addresses = fixture->limits.addresses;
    fixture_close(fixture);
    static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
    assert_int_equal(dj_http_addresses_count(addresses, loopback), 0);
    dj_http_addresses_destroy(addresses);
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
        struct dj_http_server *inherited = NULL;
        const struct sockaddr_in address = {.sin_family = AF_INET,
                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        failing_malloc_arm(n);
        enum deja_status status =
            dj_http_server_open(loop, "127.0.0.1", 0, NULL, NULL, on_request, NULL, &server, NULL);
        if (status == DEJA_OK)
            status =
                dj_http_server_open_fd(loop, fd, NULL, NULL, on_request, NULL, &inherited, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_http_server_destroy(server);
        dj_http_server_destroy(inherited);
        assert_int_equal(close(fd), 0); /* never taken */
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
        cmocka_unit_test(who_sends_more_behind_a_last_request_is_not_reset),
        cmocka_unit_test(bytes_in_flight_and_connections_are_bounded),
        cmocka_unit_test(bytes_of_unfinished_heads_are_in_flight_too),
        cmocka_unit_test(answer_that_finds_no_room_is_a_503),
        cmocka_unit_test(who_does_not_read_gives_room_to_others),
        cmocka_unit_test(body_that_takes_long_gives_room_to_others),
        cmocka_unit_test(who_waits_longest_makes_room_for_a_newcomer),
        cmocka_unit_test(address_with_too_many_connections_gets_no_more),
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
