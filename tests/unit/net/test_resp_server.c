#include "net/resp_server.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "proto/resp.h"

enum { BIG_BYTES = 1 << 20 };

/* A server on a loop of its own thread, whose commands are
 *
 *   ECHO x   x at once                 LATER x   x, by a task
 *   BEHIND x x, by a task, and the next ones are run meanwhile
 *   HOLD n   +HELD or +NO ROOM, by a task, meanwhile n bytes are held
 *   BIG      BIG_BYTES                 BYE       +BYE, and the end       TRUST   +OK
 */
struct fixture {
    struct dj_loop *loop;
    struct dj_resp_server *server;
    struct dj_resp_server_limits limits;
    struct dj_resp_counters counters;
    struct dj_task task;
    pthread_t thread;
    uint16_t port;
    int opened; /* the loop's, as is the next; read when it has ended */
    int closed;
    int drained;
    uint64_t held; /* bytes in flight while the last HOLD held */
    _Atomic uint64_t bytes_in_flight;
};

struct client {
    struct fixture *fixture;
    struct dj_resp_session *session;
};

/* One reply that comes later. */
struct later {
    struct dj_task task;
    struct client *client;
    bool is_behind;
    size_t len;
    char text[32];
};

static void put_big(struct dj_buf *out)
{
    char *big = calloc(1, BIG_BYTES);
    if (big)
        dj_resp_put_bulk(out, deja_slice(big, BIG_BYTES));
    free(big);
}

static void on_later(void *ctx)
{
    struct later *later = ctx;
    struct dj_resp_session *session = later->client->session;
    if (later->is_behind) {
        struct dj_buf reply = {0};
        dj_resp_put_bulk(&reply, deja_slice(later->text, later->len));
        dj_resp_session_replied(session, dj_buf_slice(&reply), 1);
        dj_buf_fini(&reply);
    } else {
        dj_resp_put_bulk(dj_resp_session_out(session), deja_slice(later->text, later->len));
        dj_resp_session_answered(session, DJ_RESP_ANSWERED);
    }
    free(later);
}

static void on_held(void *ctx)
{
    struct later *later = ctx;
    struct dj_resp_session *session = later->client->session;
    bool is_held = dj_resp_session_hold(session, strtoull(later->text, NULL, 10));
    dj_resp_put_status(dj_resp_session_out(session), is_held ? "HELD" : "NO ROOM");
    if (is_held)
        later->client->fixture->held = atomic_load(later->client->fixture->limits.bytes_in_flight);
    dj_resp_session_let_go(session);
    dj_resp_session_answered(session, DJ_RESP_ANSWERED);
    free(later);
}

static enum dj_resp_flow reply_later(struct client *client, struct deja_slice text, bool is_behind,
                                     dj_task_fn *run)
{
    struct later *later = calloc(1, sizeof *later);
    if (!later)
        return DJ_RESP_CLOSE;
    later->client = client;
    later->is_behind = is_behind;
    later->len = text.len < sizeof later->text ? text.len : sizeof later->text;
    memcpy(later->text, text.data, later->len);
    later->task = (struct dj_task){.run = run, .ctx = later};
    dj_loop_post(client->fixture->loop, &later->task);
    return is_behind ? DJ_RESP_BEHIND : DJ_RESP_WAITING;
}

static bool is(struct deja_slice word, const char *text)
{
    return deja_slice_is_equal(word, deja_slice_text(text));
}

static enum dj_resp_flow on_command(void *ctx, const struct deja_slice *args, size_t count,
                                    struct dj_buf *out)
{
    struct client *client = ctx;
    if (is(args[0], "ECHO") && count == 2) {
        dj_resp_put_bulk(out, args[1]);
    } else if (is(args[0], "LATER") || is(args[0], "BEHIND")) {
        return reply_later(client, args[1], is(args[0], "BEHIND"), on_later);
    } else if (is(args[0], "HOLD") && count == 2) {
        return reply_later(client, args[1], false, on_held);
    } else if (is(args[0], "BIG")) {
        put_big(out);
    } else if (is(args[0], "TRUST")) {
        dj_resp_session_trust(client->session);
        dj_resp_put_status(out, "OK");
    } else if (is(args[0], "PUSH")) {
        dj_resp_session_push(client->session, deja_slice_text("+PUSHED\r\n"));
        dj_resp_put_status(out, "OK");
    } else if (is(args[0], "BYE")) {
        dj_resp_put_status(out, "BYE");
        return DJ_RESP_CLOSE;
    } else {
        dj_resp_put_error(out, "ERR what?");
    }
    return DJ_RESP_ANSWERED;
}

static void *on_opened(void *ctx, struct dj_resp_session *session)
{
    struct fixture *fixture = ctx;
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->fixture = fixture;
    client->session = session;
    fixture->opened++;
    return client;
}

static bool is_welcome(void *client)
{
    (void)client;
    return false;
}

static void on_closed(void *ctx)
{
    struct client *client = ctx;
    client->fixture->closed++;
    free(client);
}

static const struct dj_resp_handler handler = {
    .opened = on_opened, .command = on_command, .is_welcome = is_welcome, .closed = on_closed};

static void on_drained(void *ctx)
{
    struct fixture *fixture = ctx;
    fixture->drained++;
    dj_resp_server_destroy(fixture->server);
    dj_loop_stop(fixture->loop);
}

static void on_stop(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_resp_server_drain(fixture->server, 20000, fixture, on_drained);
}

static void *run_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_loop_run(fixture->loop);
    return NULL;
}

static struct fixture *fixture_create(void)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->limits = dj_resp_server_limits_default;
    fixture->limits.counters = &fixture->counters;
    return fixture;
}

static void fixture_open(struct fixture *fixture)
{
    const struct dj_crowd_place place = {.host = "127.0.0.1", .fd = -1};
    assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
    assert_int_equal(dj_resp_server_open(fixture->loop, &place, &fixture->limits, &handler, fixture,
                                         &fixture->server, NULL),
                     DEJA_OK);
    fixture->port = dj_resp_server_port(fixture->server);
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture), 0);
}

static void fixture_close(struct fixture *fixture)
{
    fixture->task = (struct dj_task){.run = on_stop, .ctx = fixture};
    dj_loop_post(fixture->loop, &fixture->task);
    pthread_join(fixture->thread, NULL);
    assert_int_equal(fixture->drained, 1);
    assert_int_equal(fixture->opened, fixture->closed);
    assert_int_equal(fixture->counters.open, 0);
    dj_loop_destroy(fixture->loop);
    free(fixture);
}

static int connect_client(const struct fixture *fixture)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fixture->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec =
                                         30}; /* a fault ends the test, and does not hang it */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* To the end of the stream; how many bytes, the first of them in out_text. */
static size_t read_to_end(int fd, char *out_text, size_t cap)
{
    static char sink[65536];
    size_t total = 0;
    ssize_t count = 0;
    while ((count = recv(fd, sink, sizeof sink, 0)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            if (total + (size_t)i + 1 < cap)
                out_text[total + (size_t)i] = sink[i];
        total += (size_t)count;
    }
    out_text[total + 1 < cap ? total : cap - 1] = '\0';
    close(fd);
    return total;
}

static void assert_talk(struct fixture *fixture, const char *sent, const char *expected)
{
    char text[1024];
    int fd = connect_client(fixture);
    send_text(fd, sent);
    shutdown(fd, SHUT_WR);
    read_to_end(fd, text, sizeof text);
    assert_string_equal(text, expected);
}

static void replies_come_in_the_order_of_commands(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    assert_talk(fixture, "ECHO a\r\nLATER b\r\nECHO c\r\nLATER d\r\n",
                "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    assert_talk(fixture, "BEHIND a\r\nBEHIND b\r\nBEHIND c\r\n",
                "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    assert_talk(fixture, "LATER a\r\nBYE\r\nECHO never\r\n", "$1\r\na\r\n+BYE\r\n");
    assert_talk(fixture, "PUSH\r\nECHO a\r\n", "+PUSHED\r\n+OK\r\n$1\r\na\r\n");
    assert_talk(fixture, "\r\n\r\nNO\r\n", "-ERR what?\r\n");
    fixture_close(fixture);
}

static void faults_end_the_connection_with_a_word(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    assert_talk(fixture, "ECHO a\r\n*x\r\nECHO b\r\n",
                "$1\r\na\r\n-ERR Protocol error: invalid multibulk length\r\n");
    assert_talk(fixture, "*2\r\n$4\r\nECHO\r\n$100000\r\n",
                "-ERR Protocol error: invalid bulk length\r\n"); /* a stranger */
    char text[1024];
    int fd = connect_client(fixture);
    send_text(fd, "POST / HTTP/1.1\r\nHost: a\r\n\r\nECHO a\r\n");
    read_to_end(fd, text, sizeof text);
    assert_int_equal(strncmp(text, "HTTP/1.1 400 ", 13), 0);
    assert_null(strstr(text, "$1"));
    assert_int_equal(fixture->counters.faults, 2);
    assert_int_equal(fixture->counters.http, 1);
    fixture_close(fixture);
}

static void large_replies_are_bounded_and_wait_for_their_reader(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.reply_bytes_max = BIG_BYTES + 100;
    fixture_open(fixture);
    char text[64];
    char wish[20 * 5 + 1] = "";
    int fd = connect_client(fixture);
    for (size_t i = 0; i < 20; i++)
        memcpy(wish + 5 * i, "BIG\r\n", 6);
    send_text(fd, wish);
    shutdown(fd, SHUT_WR);
    assert_int_equal(read_to_end(fd, text, sizeof text), 20 * (BIG_BYTES + 12));
    fixture_close(fixture);

    fixture = fixture_create();
    fixture->limits.reply_bytes_max = BIG_BYTES / 2;
    fixture_open(fixture);
    assert_talk(fixture, "ECHO a\r\nBIG\r\nECHO b\r\n",
                "$1\r\na\r\n-ERR the reply is larger than resp.max_reply_bytes (524288)\r\n"
                "$1\r\nb\r\n");
    fixture_close(fixture);
}

static void connections_and_bytes_in_flight_are_bounded(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.connections_max = 1;
    fixture->limits.bytes_in_flight_max = 20000;
    fixture_open(fixture);
    char text[256];
    int first = connect_client(fixture);
    send_text(first, "TRUST\r\n");
    assert_int_equal(recv(first, text, 5, MSG_WAITALL), 5);
    read_to_end(connect_client(fixture), text, sizeof text);
    assert_string_equal(text, "-ERR max number of clients reached\r\n");
    send_text(first, "*2\r\n$4\r\nECHO\r\n$50000\r\n");
    static char half[30000];
    memset(half, 'x', sizeof half);
    assert_int_equal(send(first, half, sizeof half, MSG_NOSIGNAL), (ssize_t)sizeof half);
    read_to_end(first, text, sizeof text);
    assert_string_equal(text, "-ERR too many bytes in flight; try again\r\n");
    fixture_close(fixture);
}

static void what_a_command_gathers_counts_as_bytes_in_flight(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.bytes_in_flight_max = 20000;
    fixture->limits.bytes_in_flight = &fixture->bytes_in_flight;
    fixture_open(fixture);
    assert_talk(fixture, "HOLD 20001\r\nHOLD 15000\r\nECHO a\r\n",
                "+NO ROOM\r\n+HELD\r\n$1\r\na\r\n");
    assert_in_range(fixture->held, 15000, 20000);
    assert_int_equal(atomic_load(&fixture->bytes_in_flight), 0);
    fixture_close(fixture);
}

static void who_says_nothing_or_half_a_command_is_cut(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture->limits.login_timeout_ms = 50;
    fixture->limits.send_bytes_per_s_min = 1 << 20;
    fixture_open(fixture);
    char text[256];
    int silent = connect_client(fixture);
    int half = connect_client(fixture);
    send_text(half, "TRUST\r\n*2\r\n$4\r\nECHO\r\n$5\r\na");
    assert_int_equal(read_to_end(silent, text, sizeof text), 0);
    read_to_end(half, text, sizeof text);
    assert_string_equal(text, "+OK\r\n");
    assert_int_equal(fixture->counters.slow, 2);
    fixture_close(fixture);
}

static void drain_answers_what_waits(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    char text[256];
    int idle = connect_client(fixture);
    int fd = connect_client(fixture);
    send_text(fd, "LATER a\r\n");
    assert_int_equal(recv(fd, text, 7, MSG_WAITALL), 7);
    send_text(fd, "BEHIND b\r\nBYE\r\n");
    read_to_end(fd, text, sizeof text);
    assert_non_null(strstr(text, "$1\r\nb\r\n"));
    fixture_close(fixture);
    assert_int_equal(read_to_end(idle, text, sizeof text), 0);
}

static void server_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop;
    const struct dj_crowd_place place = {.host = "127.0.0.1", .fd = -1};
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_resp_server *server = NULL;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_resp_server_open(loop, &place, NULL, &handler, NULL, &server, NULL);
        if (status == DEJA_OK)
            status = dj_resp_server_set_tls(server, NULL);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_resp_server_destroy(server);
    }
    dj_loop_destroy(loop);
}

static void *talk_and_stop(void *ctx)
{
    struct fixture *fixture = ctx;
    char text[1024];
    int fd = connect_client(fixture);
    send_text(fd, "ECHO a\r\nTRUST\r\nLATER b\r\nBEHIND c\r\n*2\r\n$4\r\nECHO\r\n$3\r\nab");
    send(fd, "c\r\n", 3, MSG_NOSIGNAL); /* it may be cut by now */
    shutdown(fd, SHUT_WR);
    read_to_end(fd, text, sizeof text);
    fixture->task = (struct dj_task){.run = on_stop, .ctx = fixture};
    dj_loop_post(fixture->loop, &fixture->task);
    return NULL;
}

static void commands_survive_each_failed_allocation(void **state)
{
    (void)state;
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct fixture *fixture = fixture_create();
        const struct dj_crowd_place place = {.host = "127.0.0.1", .fd = -1};
        pthread_t client;
        assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
        assert_int_equal(dj_resp_server_open(fixture->loop, &place, &fixture->limits, &handler,
                                             fixture, &fixture->server, NULL),
                         DEJA_OK);
        fixture->port = dj_resp_server_port(fixture->server);
        assert_int_equal(pthread_create(&client, NULL, talk_and_stop, fixture), 0);
        failing_malloc_arm(n);
        dj_loop_run(fixture->loop);
        has_failed = failing_malloc_disarm();
        pthread_join(client, NULL);
        assert_int_equal(fixture->opened, fixture->closed);
        assert_int_equal(fixture->drained, 1);
        dj_loop_destroy(fixture->loop);
        free(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_come_in_the_order_of_commands),
        cmocka_unit_test(faults_end_the_connection_with_a_word),
        cmocka_unit_test(large_replies_are_bounded_and_wait_for_their_reader),
        cmocka_unit_test(connections_and_bytes_in_flight_are_bounded),
        cmocka_unit_test(what_a_command_gathers_counts_as_bytes_in_flight),
        cmocka_unit_test(who_says_nothing_or_half_a_command_is_cut),
        cmocka_unit_test(drain_answers_what_waits),
        cmocka_unit_test(server_survives_each_failed_allocation),
        cmocka_unit_test(commands_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
