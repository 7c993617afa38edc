/* A server on a loop of its own thread with a handler that answers by path; clients are blocking
 * sockets of the test's thread.
 *
 *   /echo   "METHOD target body" at once         /later  the same, by a task
 *   /stream 3 pieces, no length                  /sized  the same with a length
 *   /abort  one piece, then breaks off           /big    BIG_BYTES with back-pressure, no length
 *   /hold   is answered when the test says so    /watch  like /hold, and watches its client
 *   /empty  204                                  /evil   headers that must not get out
 */
#ifndef HTTP_FIXTURE_H
#define HTTP_FIXTURE_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "net/http_server.h"

enum { BIG_BYTES = 8 * 1024 * 1024, PIECE_BYTES = 60000, REPLY_BYTES = 256 * 1024 };

struct fixture {
    struct dj_loop *loop;
    struct dj_http_server *server;
    pthread_t thread;
    uint16_t port;
    struct dj_http_limits limits;
    bool has_error_body;
    bool has_own_loop; /* the test runs it itself */
    uint32_t drain_timeout_ms;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int held; /* exchanges in /hold or /watch, ever */
    int gone;
    int drained;
    int requests;
    struct dj_http_exchange *exchange; /* the held one; the loop's */
    struct dj_task task;
    char reply[REPLY_BYTES];
};

static inline void count_up(struct fixture *fixture, int *counter)
{
    pthread_mutex_lock(&fixture->mutex);
    ++*counter;
    pthread_cond_broadcast(&fixture->changed);
    pthread_mutex_unlock(&fixture->mutex);
}

static inline void wait_for(struct fixture *fixture, const int *counter, int value)
{
    pthread_mutex_lock(&fixture->mutex);
    while (*counter < value)
        pthread_cond_wait(&fixture->changed, &fixture->mutex);
    pthread_mutex_unlock(&fixture->mutex);
}

struct later {
    struct dj_task task;
    struct dj_http_exchange *exchange;
    size_t bytes_left;
};

static inline void answer_echo(struct dj_http_exchange *exchange)
{
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    size_t len = request->method.len + request->target.len + request->body.len + 3;
    char *text = dj_arena_alloc(request->arena, len + 1);
    if (!text) {
        dj_http_respond(exchange, 503, NULL, 0, deja_slice(NULL, 0));
        return;
    }
    int printed = snprintf(text, len + 1, "%.*s %.*s %.*s\n", (int)request->method.len,
                           request->method.data, (int)request->target.len, request->target.data,
                           (int)request->body.len, request->body.len ? request->body.data : "");
    const struct dj_http_header type = {{"Content-Type", 12}, {"text/plain", 10}};
    dj_http_respond(exchange, 200, &type, 1, deja_slice(text, (size_t)printed));
}

static inline void on_later_echo(void *ctx)
{
    struct later *later = ctx;
    answer_echo(later->exchange);
}

static inline void write_big(struct later *later)
{
    static const char zeros[PIECE_BYTES];
    while (later->bytes_left > 0) {
        size_t len = later->bytes_left < PIECE_BYTES ? later->bytes_left : PIECE_BYTES;
        later->bytes_left -= len;
        if (!dj_http_respond_write(later->exchange, deja_slice(zeros, len)) &&
            later->bytes_left > 0)
            return; /* goes on when drained */
    }
    dj_http_respond_end(later->exchange);
}

static inline void on_big_event(void *ctx, struct dj_http_exchange *exchange,
                                enum dj_http_event event)
{
    struct later *later = ctx;
    if (event == DJ_HTTP_DRAINED && later->exchange == exchange)
        write_big(later);
}

static inline void on_watch_event(void *ctx, struct dj_http_exchange *exchange,
                                  enum dj_http_event event)
{
    struct fixture *fixture = ctx;
    if (event == DJ_HTTP_GONE && fixture->exchange == exchange) {
        fixture->exchange = NULL;
        count_up(fixture, &fixture->gone);
    }
}

static inline void stream_pieces(struct dj_http_exchange *exchange, int64_t length)
{
    dj_http_respond_begin(exchange, 200, NULL, 0, length);
    dj_http_respond_write(exchange, deja_slice("one", 3));
    dj_http_respond_write(exchange, deja_slice("", 0));
    dj_http_respond_write(exchange, deja_slice("two", 3));
    dj_http_respond_write(exchange, deja_slice("three", 5));
    dj_http_respond_end(exchange);
}

static inline void answer_evil(struct dj_http_exchange *exchange)
{
    const struct dj_http_header headers[] = {{{"X-Split", 7}, {"a\r\nX-Injected: 1", 16}},
                                             {{"X Bad", 5}, {"1", 1}},
                                             {{"Content-Length", 14}, {"1", 1}},
                                             {{"Transfer-Encoding", 17}, {"chunked", 7}},
                                             {{"X-Good", 6}, {"1", 1}}};
    dj_http_respond(exchange, 299, headers, 5, deja_slice("ok", 2));
}

static inline bool path_is(const struct dj_http_request *request, const char *path)
{
    return deja_slice_is_equal(request->path, deja_slice_text(path));
}

static inline void on_request(void *ctx, struct dj_http_exchange *exchange)
{
    struct fixture *fixture = ctx;
    const struct dj_http_request *request = dj_http_exchange_request(exchange);
    count_up(fixture, &fixture->requests);
    if (path_is(request, "/later") || path_is(request, "/big")) {
        struct later *later = dj_arena_alloc(request->arena, sizeof(*later));
        if (!later) {
            dj_http_respond(exchange, 503, NULL, 0, deja_slice(NULL, 0));
            return;
        }
        *later = (struct later){{NULL, on_later_echo, later}, exchange, BIG_BYTES};
        if (path_is(request, "/later")) {
            dj_loop_post(dj_http_exchange_loop(exchange), &later->task);
            return;
        }
        dj_http_exchange_watch(exchange, later, on_big_event);
        dj_http_respond_begin(exchange, 200, NULL, 0, -1);
        write_big(later);
    } else if (path_is(request, "/stream")) {
        stream_pieces(exchange, -1);
    } else if (path_is(request, "/sized")) {
        stream_pieces(exchange, 11);
    } else if (path_is(request, "/short")) {
        stream_pieces(exchange, 12);
    } else if (path_is(request, "/abort")) {
        dj_http_respond_begin(exchange, 200, NULL, 0, -1);
        dj_http_respond_write(exchange, deja_slice("one", 3));
        dj_http_respond_abort(exchange);
    } else if (path_is(request, "/hold") || path_is(request, "/watch")) {
        fixture->exchange = exchange;
        if (path_is(request, "/watch"))
            dj_http_exchange_watch(exchange, fixture, on_watch_event);
        count_up(fixture, &fixture->held);
    } else if (path_is(request, "/empty")) {
        dj_http_respond(exchange, 204, NULL, 0, deja_slice(NULL, 0));
    } else if (path_is(request, "/evil")) {
        answer_evil(exchange);
    } else {
        answer_echo(exchange);
    }
}

static inline void on_fault(void *ctx, int status, const char *detail, struct deja_slice path,
                            struct dj_http_exchange *exchange)
{
    (void)ctx;
    char text[256];
    int len = snprintf(text, sizeof(text), "fault %d path=%.*s %s", status, (int)path.len,
                       path.len ? path.data : "", detail);
    dj_http_respond(exchange, status, NULL, 0, deja_slice(text, (size_t)len));
}

static inline void on_drained(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_http_server_destroy(fixture->server);
    dj_loop_stop(fixture->loop);
    count_up(fixture, &fixture->drained);
}

static inline void on_stop(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_http_server_drain(fixture->server, fixture->drain_timeout_ms, fixture, on_drained);
}

static inline void on_release(void *ctx)
{
    struct fixture *fixture = ctx;
    struct dj_http_exchange *exchange = fixture->exchange;
    fixture->exchange = NULL;
    answer_echo(exchange);
}

/* Runs on the loop; the test waits with wait_for. One at a time. */
static inline void tell_loop(struct fixture *fixture, dj_task_fn *run)
{
    fixture->task = (struct dj_task){.run = run, .ctx = fixture};
    dj_loop_post(fixture->loop, &fixture->task);
}

static inline void *run_loop(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_loop_run(fixture->loop);
    return NULL;
}

static inline void fixture_open(struct fixture *fixture)
{
    assert_int_equal(dj_loop_create(0, &fixture->loop), DEJA_OK);
    pthread_mutex_init(&fixture->mutex, NULL);
    pthread_cond_init(&fixture->changed, NULL);
    if (fixture->drain_timeout_ms == 0)
        fixture->drain_timeout_ms = 20000;
    assert_int_equal(dj_http_server_open(fixture->loop, "127.0.0.1", 0, &fixture->limits, fixture,
                                         on_request, fixture->has_error_body ? on_fault : NULL,
                                         &fixture->server, NULL),
                     DEJA_OK);
    fixture->port = dj_http_server_port(fixture->server);
    if (!fixture->has_own_loop)
        assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture), 0);
}

static inline struct fixture *fixture_create(void)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->limits = dj_http_limits_default;
    return fixture;
}

static inline void fixture_close(struct fixture *fixture)
{
    tell_loop(fixture, on_stop);
    pthread_join(fixture->thread, NULL);
    assert_int_equal(fixture->drained, 1);
    dj_loop_destroy(fixture->loop);
    pthread_mutex_destroy(&fixture->mutex);
    pthread_cond_destroy(&fixture->changed);
    free(fixture);
}

static inline int connect_client(const struct fixture *fixture)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(fixture->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    /* So that a fault ends the test instead of hanging it. */
    const struct timeval patience = {.tv_sec = 30};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static inline bool send_bytes(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t count = send(fd, bytes, len, MSG_NOSIGNAL);
        if (count <= 0)
            return false;
        bytes += count;
        len -= (size_t)count;
    }
    return true;
}

static inline bool send_text(int fd, const char *text)
{
    return send_bytes(fd, text, strlen(text));
}

/* With a receive timeout a call that was interrupted is not taken up again by the system. */
static inline ssize_t receive(int fd, char *bytes, size_t len)
{
    ssize_t count;
    do
        count = recv(fd, bytes, len, 0);
    while (count < 0 && errno == EINTR);
    return count;
}

/* Until the end of the stream, into fixture->reply (what does not fit is dropped); the number of
 * all bytes, -1 when the connection was reset. */
static inline ssize_t read_to_end(struct fixture *fixture, int fd)
{
    static char sink[65536];
    size_t total = 0;
    size_t kept = 0;
    for (;;) {
        ssize_t count = receive(fd, sink, sizeof(sink));
        if (count < 0)
            break;
        size_t room = REPLY_BYTES - 1 - kept;
        size_t len = (size_t)count < room ? (size_t)count : room;
        memcpy(fixture->reply + kept, sink, len);
        kept += len;
        fixture->reply[kept] = '\0';
        total += (size_t)count;
        if (count == 0)
            return (ssize_t)total;
    }
    return -1;
}

/* Reads until the reply ends with `end`. */
static inline bool read_until(struct fixture *fixture, int fd, const char *end)
{
    size_t len = 0;
    size_t end_len = strlen(end);
    while (len < REPLY_BYTES - 1) {
        ssize_t count = receive(fd, fixture->reply + len, REPLY_BYTES - 1 - len);
        if (count <= 0)
            return false;
        len += (size_t)count;
        fixture->reply[len] = '\0';
        if (len >= end_len && memcmp(fixture->reply + len - end_len, end, end_len) == 0)
            return true;
    }
    return false;
}

/* Sends text in two pieces (split_at 0: in one), ends the sending side, reads all answers. */
static inline ssize_t talk_split(struct fixture *fixture, const char *text, size_t split_at)
{
    int fd = connect_client(fixture);
    fixture->reply[0] = '\0';
    send_bytes(fd, text, split_at);
    send_text(fd, text + split_at);
    shutdown(fd, SHUT_WR);
    ssize_t total = read_to_end(fixture, fd);
    close(fd);
    return total;
}

static inline ssize_t talk(struct fixture *fixture, const char *text)
{
    return talk_split(fixture, text, 0);
}

static inline size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (text = strstr(text, part); text; text = strstr(text + 1, part))
        count++;
    return count;
}

#endif
