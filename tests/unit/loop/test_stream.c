#include "loop/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { BIG_BYTES = 32 * 1024 * 1024 /* more than any socket buffer takes */ };

/* One listener, one stream at a time; what the client does runs in a thread with plain sockets. */
struct echo {
    struct dj_loop *loop;
    struct dj_listener *listener;
    struct dj_stream *stream;
    struct dj_task quit;
    size_t received;
    uint32_t queued;
    uint32_t written;
    uint32_t cancelled;
    uint32_t closed;
    bool has_ended;
    bool is_loopback;
    bool must_close_with_pending;
    bool must_reset;
    int gate[2]; /* pipe: the client reads only after this loop said so */
    char *big;
};

struct client {
    uint16_t port;
    int gate_fd;
    char answer[16];
};

static int connect_to(const char *host, uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void on_closed(void *ctx)
{
    struct echo *echo = ctx;
    echo->closed++;
    assert_int_equal(write(echo->gate[1], "g", 1), 1);
    dj_listener_close(echo->listener);
    dj_loop_stop(echo->loop);
}

static void on_written(void *ctx, enum deja_status status)
{
    struct echo *echo = ctx;
    if (status == DEJA_OK)
        echo->written++;
    else if (status == DEJA_ERR_CANCELLED)
        echo->cancelled++;
    assert_int_equal(echo->closed, 0);
}

static void echo_bytes(struct echo *echo, struct deja_slice bytes)
{
    const struct deja_slice parts[] = {{"<", 1}, {NULL, 0}, bytes, {">", 1}};
    bool is_queued = true;
    assert_int_equal(dj_stream_write(echo->stream, parts, 4, echo, on_written, &is_queued),
                     DEJA_OK);
    if (is_queued)
        echo->queued++;
}

static void on_read(void *ctx, enum deja_status status, struct deja_slice bytes)
{
    struct echo *echo = ctx;
    echo->received += bytes.len;
    if (bytes.len == 0) {
        echo->has_ended = status == DEJA_OK;
        dj_stream_close(echo->stream, echo, on_closed);
    } else if (echo->must_reset) {
        dj_stream_abort(echo->stream, echo, on_closed);
    } else if (echo->must_close_with_pending) {
        echo_bytes(echo, deja_slice(echo->big, BIG_BYTES));
        assert_true(dj_stream_queued_bytes(echo->stream) > 0);
        echo_bytes(echo, deja_slice("x", 1));
        dj_stream_close(echo->stream, echo, on_closed);
    } else {
        echo_bytes(echo, bytes);
    }
}

static void on_accept(void *ctx, struct dj_stream *stream)
{
    struct echo *echo = ctx;
    echo->stream = stream;
    echo->is_loopback = dj_stream_is_loopback(stream);
    dj_stream_read_start(stream, echo, on_read);
}

static void *say_hello(void *ctx)
{
    struct client *client = ctx;
    char *answer = client->answer;
    int fd = connect_to("127.0.0.1", client->port);
    size_t len = 0;
    if (fd >= 0 && send(fd, "hello", 5, MSG_NOSIGNAL) == 5)
        while (len < 7) {
            ssize_t count = recv(fd, answer + len, 7 - len, 0);
            if (count <= 0)
                break;
            len += (size_t)count;
        }
    answer[len] = '\0';
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* fd: an inherited socket, or -1. */
static void open_echo_on(struct echo *echo, int fd)
{
    assert_int_equal(dj_loop_create(0, &echo->loop), DEJA_OK);
    struct deja_error error;
    enum deja_status status =
        fd < 0
            ? dj_listener_open(echo->loop, "127.0.0.1", 0, echo, on_accept, &echo->listener, &error)
            : dj_listener_open_fd(echo->loop, fd, echo, on_accept, &echo->listener, &error);
    assert_int_equal(status, DEJA_OK);
    assert_true(dj_listener_port(echo->listener) > 0);
    echo->big = calloc(1, BIG_BYTES);
    assert_non_null(echo->big);
    assert_int_equal(pipe(echo->gate), 0);
}

static void open_echo(struct echo *echo)
{
    open_echo_on(echo, -1);
}

static void run_with_client(struct echo *echo, void *(*run)(void *), struct client *client)
{
    client->port = dj_listener_port(echo->listener);
    client->gate_fd = echo->gate[0];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, client), 0);
    dj_loop_run(echo->loop);
    pthread_join(thread, NULL);
    dj_loop_destroy(echo->loop);
    close(echo->gate[0]);
    close(echo->gate[1]);
    free(echo->big);
}

static void bytes_come_back_and_end_of_stream_is_told(void **state)
{
    (void)state;
    struct echo echo = {0};
    struct client client = {0};
    open_echo(&echo);
    run_with_client(&echo, say_hello, &client);
    assert_string_equal(client.answer, "<hello>");
    assert_true(echo.has_ended && echo.is_loopback);
    assert_int_equal(echo.closed, 1);
}

/* Sends one byte, waits for the other side to end, tells how: bytes read and errno. */
static void *wait_for_end(void *ctx)
{
    struct client *client = ctx;
    char *answer = client->answer;
    int fd = connect_to("127.0.0.1", client->port);
    ssize_t count = send(fd, "!", 1, MSG_NOSIGNAL);
    char open_sign;
    if (read(client->gate_fd, &open_sign, 1) != 1)
        count = -1;
    static char sink[65536];
    errno = 0;
    while (count > 0)
        count = recv(fd, sink, sizeof(sink), 0);
    answer[0] = count == 0 ? 'e' : errno == ECONNRESET ? 'r' : '?';
    close(fd);
    return NULL;
}

static void close_cancels_pending_writes_first(void **state)
{
    (void)state;
    struct echo echo = {.must_close_with_pending = true};
    struct client client = {0};
    open_echo(&echo);
    run_with_client(&echo, wait_for_end, &client);
    assert_int_equal(echo.queued, 2);
    assert_int_equal(echo.cancelled + echo.written, 2);
    assert_int_equal(echo.cancelled, 2);
    assert_int_equal(echo.closed, 1);
}

static void abort_is_a_reset_for_the_peer(void **state)
{
    (void)state;
    struct echo echo = {.must_reset = true};
    struct client client = {0};
    open_echo(&echo);
    run_with_client(&echo, wait_for_end, &client);
    assert_int_equal(client.answer[0], 'r');
}

static void wrong_address_is_an_error_with_text(void **state)
{
    (void)state;
    struct dj_loop *loop;
    struct dj_listener *listener = NULL;
    struct deja_error error = {0};
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_listener_open(loop, "localhost", 0, loop, on_accept, &listener, &error),
                     DEJA_ERR_INVALID);
    assert_true(strlen(error.message) > 0);
    assert_int_not_equal(dj_listener_open(loop, "192.0.2.1", 0, loop, on_accept, &listener, &error),
                         DEJA_OK);
    assert_null(listener);
    dj_listener_close(NULL);
    dj_loop_destroy(loop);
}

static void two_listeners_share_a_port(void **state)
{
    (void)state;
    struct dj_loop *loop;
    struct dj_listener *first;
    struct dj_listener *second;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_listener_open(loop, "127.0.0.1", 0, loop, on_accept, &first, NULL),
                     DEJA_OK);
    assert_int_equal(dj_listener_open(loop, "127.0.0.1", dj_listener_port(first), loop, on_accept,
                                      &second, NULL),
                     DEJA_OK);
    assert_int_equal(dj_listener_port(first), dj_listener_port(second));
    dj_listener_close(first);
    dj_listener_close(second);
    dj_loop_destroy(loop);
}

static void a_port_that_is_listened_on_is_not_free(void **state)
{
    (void)state;
    struct dj_loop *loop;
    struct dj_listener *listener;
    struct deja_error error = {0};
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_listener_open(loop, "127.0.0.1", 0, loop, on_accept, &listener, NULL),
                     DEJA_OK);
    uint16_t port = dj_listener_port(listener);
    assert_int_equal(dj_listener_check_free("127.0.0.1", port, &error), DEJA_ERR_BUSY);
    assert_non_null(strstr(error.message, "listens"));
    dj_listener_close(listener);
    dj_loop_destroy(loop);
    assert_int_equal(dj_listener_check_free("127.0.0.1", port, NULL), DEJA_OK);
    assert_int_equal(dj_listener_check_free("somewhere", port, NULL), DEJA_ERR_INVALID);
}

/* Bound to 127.0.0.1 and a free port, listening or not. */
static int bind_somewhere(bool is_listening, uint16_t *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    if (is_listening)
        assert_int_equal(listen(fd, 4), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

static void an_inherited_socket_is_listened_on_by_copies(void **state)
{
    (void)state;
    for (int is_listening = 0; is_listening < 2; is_listening++) {
        struct echo echo = {0};
        struct client client = {0};
        uint16_t port = 0;
        struct dj_listener *second = NULL;
        int fd = bind_somewhere(is_listening, &port);
        open_echo_on(&echo, fd);
        assert_int_equal(dj_listener_port(echo.listener), port);
        assert_int_equal(dj_listener_open_fd(echo.loop, fd, &echo, on_accept, &second, NULL),
                         DEJA_OK);
        dj_listener_close(second);
        run_with_client(&echo, say_hello, &client);
        assert_string_equal(client.answer, "<hello>");
        assert_true(fcntl(fd, F_GETFD) >= 0); /* was borrowed */
        close(fd);
    }
}

static void a_bound_socket_is_known_by_its_address(void **state)
{
    (void)state;
    uint16_t port = 0;
    struct dj_loop *loop = NULL;
    struct dj_listener *listener = NULL;
    struct deja_error error = {0};
    int fd = bind_somewhere(true, &port);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(dj_listener_is_bound_to(fd, "127.0.0.1", port));
    assert_false(dj_listener_is_bound_to(fd, "127.0.0.2", port));
    assert_false(dj_listener_is_bound_to(fd, "0.0.0.0", port));
    assert_false(dj_listener_is_bound_to(fd, "::1", port));
    assert_false(dj_listener_is_bound_to(fd, "127.0.0.1", (uint16_t)(port ^ 1)));
    assert_false(dj_listener_is_bound_to(fd, "localhost", port));
    assert_false(dj_listener_is_bound_to(udp, "0.0.0.0", 0));
    assert_false(dj_listener_is_bound_to(-1, "127.0.0.1", port));
    close(udp);
    close(fd);
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_not_equal(dj_listener_open_fd(loop, -1, loop, on_accept, &listener, &error),
                         DEJA_OK);
    assert_non_null(strstr(error.message, "descriptor"));
    assert_null(listener);
    dj_loop_destroy(loop);
}

struct readiness {
    struct dj_loop *loop;
    struct dj_poll *poll;
    int fds[2];
    int events;
};

static void on_ready(void *ctx, int events)
{
    struct readiness *readiness = ctx;
    readiness->events = events;
    dj_poll_set(readiness->poll, 0);
    dj_poll_close(readiness->poll);
    dj_loop_stop(readiness->loop);
}

static void poll_tells_when_a_descriptor_is_readable(void **state)
{
    (void)state;
    struct readiness readiness = {0};
    assert_int_equal(dj_loop_create(0, &readiness.loop), DEJA_OK);
    assert_int_equal(pipe(readiness.fds), 0);
    assert_int_equal(
        dj_poll_open(readiness.loop, readiness.fds[0], &readiness, on_ready, &readiness.poll),
        DEJA_OK);
    dj_poll_set(readiness.poll, DJ_POLL_READ);
    assert_int_equal(write(readiness.fds[1], "x", 1), 1);
    dj_loop_run(readiness.loop);
    assert_int_equal(readiness.events, DJ_POLL_READ);
    dj_loop_destroy(readiness.loop);
    dj_poll_close(NULL);
    close(readiness.fds[0]);
    close(readiness.fds[1]);
}

static void listener_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_listener *listener = NULL;
        struct dj_listener *inherited = NULL;
        struct dj_poll *poll = NULL;
        uint16_t port = 0;
        int fd = bind_somewhere(true, &port);
        failing_malloc_arm(n);
        enum deja_status status =
            dj_listener_open(loop, "127.0.0.1", 0, loop, on_accept, &listener, NULL);
        if (!status)
            status = dj_listener_open_fd(loop, fd, loop, on_accept, &inherited, NULL);
        if (!status)
            status = dj_poll_open(loop, STDERR_FILENO, loop, on_ready, &poll);
        bool has_failed = failing_malloc_disarm();
        if (has_failed)
            assert_int_equal(status, DEJA_ERR_NOMEM);
        dj_listener_close(listener);
        dj_listener_close(inherited);
        dj_poll_close(poll);
        assert_int_equal(close(fd), 0); /* never taken */
        if (!has_failed)
            break;
    }
    dj_loop_destroy(loop);
}

static void a_unix_socket_is_its_users_and_replaces_what_was_left(void **state)
{
    (void)state;
    char path[64];
    char longer[128];
    struct deja_error error;
    struct dj_loop *loop = NULL;
    struct dj_listener *listener = NULL;
    struct stat found;
    int fd = -1;
    int other = -1;
    snprintf(path, sizeof(path), "/tmp/deja-stream-%d.sock", (int)getpid());
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(dj_listener_bind_unix(longer, &fd, &error), DEJA_ERR_INVALID);
    assert_int_equal(dj_listener_bind_unix("/nonexistent/x", &fd, &error), DEJA_ERR_IO);
    assert_int_equal(fd, -1);
    for (int turn = 0; turn < 2; turn++) { /* the second finds what the first has left */
        assert_int_equal(dj_listener_bind_unix(path, &fd, &error), DEJA_OK);
        assert_int_equal(stat(path, &found), 0);
        assert_int_equal(found.st_mode & 0777, 0600);
        assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
        assert_int_equal(dj_listener_open_fd(loop, fd, loop, on_accept, &listener, &error),
                         DEJA_OK);
        assert_int_equal(dj_listener_port(listener), 0);
        assert_int_equal(dj_listener_bind_unix(path, &other, &error), DEJA_ERR_BUSY);
        assert_non_null(strstr(error.message, path));
        dj_listener_close(listener);
        dj_loop_destroy(loop);
        close(fd);
        fd = -1;
    }
    unlink(path);
}

static void a_bound_port_is_nobody_elses(void **state)
{
    (void)state;
    struct deja_error error;
    uint16_t port = 0;
    int fd = -1;
    int other = -1;
    close(bind_somewhere(true, &port));
    assert_int_equal(dj_listener_bind("127.0.0.1", port, &fd, &error), DEJA_OK);
    assert_true(dj_listener_is_bound_to(fd, "127.0.0.1", port));
    struct dj_loop *loop = NULL;
    struct dj_listener *listener = NULL;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_listener_open_fd(loop, fd, loop, on_accept, &listener, &error), DEJA_OK);
    assert_int_equal(dj_listener_bind("127.0.0.1", port, &other, &error), DEJA_ERR_BUSY);
    assert_int_equal(dj_listener_bind("here", port, &other, &error), DEJA_ERR_INVALID);
    assert_int_equal(other, -1);
    dj_listener_close(listener);
    dj_loop_destroy(loop);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_back_and_end_of_stream_is_told),
        cmocka_unit_test(close_cancels_pending_writes_first),
        cmocka_unit_test(abort_is_a_reset_for_the_peer),
        cmocka_unit_test(wrong_address_is_an_error_with_text),
        cmocka_unit_test(two_listeners_share_a_port),
        cmocka_unit_test(an_inherited_socket_is_listened_on_by_copies),
        cmocka_unit_test(a_bound_socket_is_known_by_its_address),
        cmocka_unit_test(a_port_that_is_listened_on_is_not_free),
        cmocka_unit_test(a_unix_socket_is_its_users_and_replaces_what_was_left),
        cmocka_unit_test(a_bound_port_is_nobody_elses),
        cmocka_unit_test(poll_tells_when_a_descriptor_is_readable),
        cmocka_unit_test(listener_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
