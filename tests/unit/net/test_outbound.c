#include "net/outbound.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

enum { BIG_BYTES = 10 * 1024 * 1024 };

/* A server that is a thread with plain sockets: for each connection it reads requests (head, and a
 * body of Content-Length) and answers each with `answer`. */
struct server {
    pthread_t thread;
    int fd;
    uint16_t port;
    const char *answer; /* NULL: never */
    size_t big_bytes;   /* sent after answer */
    bool must_close;    /* after each answer */
    int reset_at;       /* the n-th request is read, and its connection reset */
    int requests;
    int connections; /* valid after server_close */
    char seen[8192]; /* all requests, one after the other */
    size_t seen_len;
};

/* False: the client has ended. */
static bool read_request(struct server *server, int fd)
{
    size_t start = server->seen_len;
    for (;;) {
        size_t room = sizeof(server->seen) - 1 - server->seen_len;
        ssize_t count = recv(fd, server->seen + server->seen_len, room, 0);
        if (count <= 0)
            return false;
        server->seen_len += (size_t)count;
        server->seen[server->seen_len] = '\0';
        const char *head = server->seen + start;
        const char *end = strstr(head, "\r\n\r\n");
        if (!end)
            continue;
        const char *length = strstr(head, "Content-Length: ");
        size_t body_len = length ? strtoul(length + 16, NULL, 10) : 0;
        if (server->seen_len - start >= (size_t)(end - head) + 4 + body_len)
            return true;
    }
}

static bool send_all(int fd, const char *bytes, size_t len)
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

static void serve_connection(struct server *server, int fd)
{
    static const char zeros[65536];
    while (read_request(server, fd)) {
        if (++server->requests == server->reset_at) {
            const struct linger at_once = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
            return;
        }
        if (!server->answer) {
            char byte;
            while (recv(fd, &byte, 1, 0) > 0)
                continue;
            return;
        }
        if (!send_all(fd, server->answer, strlen(server->answer)))
            return;
        for (size_t left = server->big_bytes; left > 0;) {
            size_t len = left < sizeof(zeros) ? left : sizeof(zeros);
            if (!send_all(fd, zeros, len))
                return;
            left -= len;
        }
        if (server->must_close)
            return;
    }
}

static void *serve(void *ctx)
{
    struct server *server = ctx;
    for (;;) {
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        server->connections++;
        serve_connection(server, fd);
        close(fd);
    }
}

static void server_open(struct server *server)
{
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->fd, 16), 0);
    socklen_t len = sizeof(address);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_close(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

enum moment { NEVER, AT_START, AT_HEAD, AT_DATA, BY_TASK };

struct call {
    struct dj_loop *loop;
    struct dj_outbound *outbound;
    struct dj_outbound_call *call;
    struct dj_outbound_request request;
    const char *url_format;               /* of printf, with the port; NULL: an ordinary one */
    const struct dj_address_guard *guard; /* of the calls after the first */
    char url[128];
    int left; /* calls to go, one after the other */
    enum moment cancel_at;
    bool must_pause; /* at every piece of data; a task resumes */
    bool is_inside_start;
    size_t fail_at; /* the n-th allocation while the loop runs; 0: none */
    bool has_failed;
    struct dj_task task;
    struct dj_task end;
    int heads;
    int head_status;
    size_t header_count;
    char first_value[64];
    size_t data_bytes;
    bool is_paused;
    int dones;
    enum deja_status status;
    char detail[256];
};

static void start_call(struct call *call);

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct call *call = ctx;
    assert_int_equal(call->heads++, 0);
    call->head_status = status;
    call->header_count = count;
    if (count > 0)
        snprintf(call->first_value, sizeof(call->first_value), "%.*s", (int)headers[0].value.len,
                 headers[0].value.data);
    if (call->cancel_at == AT_HEAD)
        dj_outbound_cancel(call->call);
    assert_true(call->left > 0);
}

static void on_later(void *ctx)
{
    struct call *call = ctx;
    if (call->left == 0)
        return; /* paused at the last byte: the call has ended already */
    if (call->cancel_at == BY_TASK) {
        dj_outbound_cancel(call->call);
        dj_outbound_cancel(call->call);
        assert_int_equal(call->dones, 0);
        return;
    }
    call->is_paused = false;
    dj_outbound_resume(call->call);
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct call *call = ctx;
    assert_int_equal(call->heads, 1);
    assert_false(call->is_paused);
    call->data_bytes += bytes.len;
    if (call->cancel_at == AT_DATA)
        dj_outbound_cancel(call->call);
    if (call->must_pause) {
        dj_outbound_pause(call->call);
        call->is_paused = true;
        dj_loop_post(call->loop, &call->task);
    }
    assert_true(call->left > 0);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct call *call = ctx;
    assert_false(call->is_inside_start);
    call->dones++;
    call->status = status;
    snprintf(call->detail, sizeof(call->detail), "%s", detail);
    if (--call->left > 0) {
        call->heads = 0;
        call->request.guard = call->guard;
        start_call(call);
        return;
    }
    dj_loop_post(call->loop, &call->end);
}

static void on_end(void *ctx)
{
    struct call *call = ctx;
    dj_outbound_destroy(call->outbound);
    dj_loop_stop(call->loop);
}

static const struct dj_outbound_events events = {on_head, on_data, on_done};

static void start_call(struct call *call)
{
    call->is_inside_start = true;
    enum deja_status status =
        dj_outbound_start(call->outbound, &call->request, &events, call, &call->call);
    if (call->fail_at > 0 && status == DEJA_ERR_NOMEM) {
        call->left = 0;
        call->dones = 1;
        call->status = status;
        dj_loop_post(call->loop, &call->end);
        return;
    }
    assert_int_equal(status, DEJA_OK);
    if (call->cancel_at == AT_START)
        dj_outbound_cancel(call->call);
    call->is_inside_start = false;
    if (call->cancel_at == BY_TASK)
        dj_loop_post(call->loop, &call->task);
}

static void on_begin(void *ctx)
{
    start_call(ctx);
}

static void set_url(struct call *call, uint16_t port)
{
    const char *format = call->url_format ? call->url_format : "http://127.0.0.1:%u/v1/x?y=../z";
    const char *number = strstr(format, "%u");
    snprintf(call->url, sizeof(call->url), "%.*s%u%s", (int)(number - format), format, port,
             number + 2);
}

static void run_call(struct call *call, struct server *server)
{
    server_open(server);
    assert_int_equal(dj_loop_create(0, &call->loop), DEJA_OK);
    assert_int_equal(dj_outbound_create(call->loop, NULL, &call->outbound), DEJA_OK);
    set_url(call, server->port);
    call->request.url = call->url;
    if (!call->request.method)
        call->request.method = "GET";
    if (call->left == 0)
        call->left = 1;
    call->task = (struct dj_task){.run = on_later, .ctx = call};
    call->end = (struct dj_task){.run = on_end, .ctx = call};
    struct dj_task begin = {.run = on_begin, .ctx = call};
    dj_loop_post(call->loop, &begin);
    failing_malloc_arm(call->fail_at);
    dj_loop_run(call->loop);
    call->has_failed = failing_malloc_disarm();
    dj_loop_destroy(call->loop);
    server_close(server);
    assert_true(call->dones >= 1);
}

static void answer_arrives_whole_and_the_connection_is_used_again(void **state)
{
    (void)state;
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nX-First:  one \r\nContent-Length: 5\r\n"
                                      "\r\nhello"};
    struct call call = {.left = 3};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.dones, 3);
    assert_int_equal(call.head_status, 200);
    assert_int_equal(call.header_count, 2);
    assert_string_equal(call.first_value, "one");
    assert_int_equal(call.data_bytes, 15);
    assert_int_equal(server.connections, 1);
}

static void kept_connection_that_is_reset_is_replaced(void **state)
{
    (void)state;
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                            .reset_at = 2};
    struct call call = {.left = 3, .request = {.method = "POST", .body = {"{}", 2}}};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.data_bytes, 15);
    assert_int_equal(server.connections, 2);
    assert_int_equal(server.requests, 4);
}

/* One guarded call there, or a trusted one and then a guarded one. */
static struct call call_guarded(struct server *server, const char *url_format,
                                const struct dj_address_guard *guard, bool is_trusted_first)
{
    struct call call = {.left = is_trusted_first ? 2 : 1,
                        .request.guard = is_trusted_first ? NULL : guard,
                        .url_format = url_format,
                        .guard = guard};
    run_call(&call, server);
    return call;
}

static void guarded_calls_do_not_reach_this_machine(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "http://127.0.0.1:%u/",       "http://localhost:%u/",   "https://localhost:%u/",
        "https://127.0.0.1:%u/",      "http://2130706433:%u/",  "https://0x7f.1:%u/",
        "http://0177.0.0.1:%u/",      "http://127.1:%u/",       "https://[::ffff:127.0.0.1]:%u/",
        "http://[::ffff:7f00:1]:%u/", "http://0.0.0.0:%u/",     "http://0:%u/",
        "https://[::1]:%u/",          "https://LOCALHOST.:%u/", "http://127.0.0.1.:%u/",
    };
    const struct dj_address_guard guard = {.count = 0};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
        struct call call = call_guarded(&server, urls[i], &guard, false);
        assert_true(call.status == DEJA_ERR_DENIED || call.status == DEJA_ERR_IO);
        assert_int_equal(server.requests, 0);
        assert_int_equal(server.connections, 0);
        if (i < 4)
            assert_int_equal(call.status, DEJA_ERR_DENIED);
    }
}

static void guarded_calls_reach_what_the_operator_named(void **state)
{
    (void)state;
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"};
    struct dj_address_guard guard = {.count = 0};
    assert_int_equal(dj_address_guard_add(&guard, deja_slice_text("127.0.0.1")), DEJA_OK);
    struct call call = call_guarded(&server, "http://localhost:%u/", &guard, false);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.data_bytes, 5);
}

static void a_kept_connection_is_looked_at_too(void **state)
{
    (void)state;
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"};
    const struct dj_address_guard guard = {.count = 0};
    struct call call = call_guarded(&server, "http://localhost:%u/", &guard, true);
    assert_int_equal(call.dones, 2);
    assert_int_equal(call.status, DEJA_ERR_DENIED);
    assert_int_equal(server.requests, 1);
}

static void request_is_sent_as_given_and_nothing_is_added(void **state)
{
    (void)state;
    const struct dj_http_header headers[] = {{{"X-A", 3}, {"1; b", 4}},
                                             {{"X-Empty", 7}, {"", 0}},
                                             {{"Connection", 10}, {"x-gone", 6}},
                                             {{"X-Gone", 6}, {"1", 1}},
                                             {{"Host", 4}, {"evil", 4}},
                                             {{"Content-Length", 14}, {"999", 3}},
                                             {{"Expect", 6}, {"100-continue", 12}}};
    struct server server = {.answer = "HTTP/1.1 204 No Content\r\n\r\n"};
    struct call call = {
        .request = {.method = "POST", .headers = headers, .header_count = 7, .body = {"{}", 2}}};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    char expected[512];
    snprintf(expected, sizeof(expected),
             "POST /v1/x?y=../z HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nX-A: 1; b\r\nX-Empty:\r\n"
             "Content-Length: 2\r\n\r\n{}",
             server.port);
    assert_string_equal(server.seen, expected);
}

static void methods_have_the_right_framing(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *answer;
        const char *expected; /* in what the server saw */
    } cases[] = {
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "HEAD /v1"},
        {"DELETE", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "DELETE /v1"},
        {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0\r\n"},
        {"PURGE", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "PURGE /v1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server server = {.answer = cases[i].answer};
        struct call call = {.request = {.method = cases[i].method}};
        run_call(&call, &server);
        assert_int_equal(call.status, DEJA_OK);
        assert_int_equal(call.data_bytes, 0);
        assert_non_null(strstr(server.seen, cases[i].expected));
    }
}

static void interim_heads_and_trailers_are_not_told(void **state)
{
    (void)state;
    struct server server = {
        .answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                  "HTTP/1.1 200 OK\r\nX-First: final\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"};
    struct call call = {0};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.heads, 1);
    assert_int_equal(call.head_status, 200);
    assert_string_equal(call.first_value, "final");
    assert_int_equal(call.data_bytes, 3);
}

static void broken_answers_are_io_errors(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "no http at all\r\n\r\n",
        "",
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct server server = {.answer = answers[i], .must_close = true};
        struct call call = {0};
        run_call(&call, &server);
        assert_int_equal(call.status, DEJA_ERR_IO);
        assert_true(strlen(call.detail) > 0);
    }
}

static void nobody_listening_is_an_io_error(void **state)
{
    (void)state;
    struct server server = {.answer = ""};
    struct call call = {0};
    server_open(&server);
    uint16_t port = server.port;
    server_close(&server);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
    assert_int_equal(dj_loop_create(0, &call.loop), DEJA_OK);
    assert_int_equal(dj_outbound_create(call.loop, NULL, &call.outbound), DEJA_OK);
    call.request = (struct dj_outbound_request){.method = "GET", .url = url};
    call.left = 1;
    call.end = (struct dj_task){.run = on_end, .ctx = &call};
    struct dj_task begin = {.run = on_begin, .ctx = &call};
    dj_loop_post(call.loop, &begin);
    dj_loop_run(call.loop);
    dj_loop_destroy(call.loop);
    assert_int_equal(call.status, DEJA_ERR_IO);
}

static void silence_ends_with_a_timeout(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        struct dj_outbound_request request;
    } cases[] = {
        {NULL, {.first_byte_timeout_ms = 30}},
        {NULL, {.total_timeout_ms = 30}},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", {.idle_timeout_ms = 30}},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
         {.idle_timeout_ms = 60000, .first_byte_timeout_ms = 60000, .total_timeout_ms = 30}},
        {"HTTP/1.1 103 Early Hints\r\n\r\n", {.first_byte_timeout_ms = 30}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server server = {.answer = cases[i].answer};
        struct call call = {.request = cases[i].request};
        run_call(&call, &server);
        assert_int_equal(call.status, DEJA_ERR_TIMEOUT);
    }
}

static void cancel_at_each_moment_ends_the_call_once(void **state)
{
    (void)state;
    for (enum moment moment = AT_START; moment <= BY_TASK; moment++) {
        struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n",
                                .big_bytes = moment == BY_TASK ? 0 : BIG_BYTES};
        struct call call = {.cancel_at = moment};
        run_call(&call, &server);
        assert_int_equal(call.dones, 1);
        assert_int_equal(call.status, DEJA_ERR_CANCELLED);
        assert_true(call.data_bytes < BIG_BYTES);
    }
}

static void paused_call_gets_no_data_until_resumed(void **state)
{
    (void)state;
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n",
                            .big_bytes = BIG_BYTES};
    struct call call = {.must_pause = true, .request = {.idle_timeout_ms = 20000}};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(call.data_bytes, BIG_BYTES);
}

static void big_body_is_sent_whole(void **state)
{
    (void)state;
    static char body[7000];
    memset(body, 'b', sizeof(body));
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct call call = {.request = {.method = "PUT", .body = {body, sizeof(body)}}};
    run_call(&call, &server);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(server.seen[server.seen_len - 1], 'b');
}

static void on_destroy_early(void *ctx)
{
    struct call *call = ctx;
    start_call(call);
    dj_outbound_cancel(call->call); /* its task comes after the client is gone */
    dj_outbound_destroy(call->outbound);
    assert_int_equal(call->dones, 1);
    assert_int_equal(call->status, DEJA_ERR_CANCELLED);
    dj_loop_stop(call->loop);
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static void destroy_ends_running_calls_first(void **state)
{
    (void)state;
    struct call call = {.left = 1, .end = {.run = on_nothing}};
    assert_int_equal(dj_loop_create(0, &call.loop), DEJA_OK);
    assert_int_equal(dj_outbound_create(call.loop, NULL, &call.outbound), DEJA_OK);
    call.request = (struct dj_outbound_request){.method = "GET", .url = "http://127.0.0.1:9/"};
    struct dj_task begin = {.run = on_destroy_early, .ctx = &call};
    dj_loop_post(call.loop, &begin);
    dj_loop_run(call.loop);
    dj_loop_destroy(call.loop);
    dj_outbound_destroy(NULL);
}

static void bad_requests_are_refused_at_start(void **state)
{
    (void)state;
    const struct dj_http_header bad_name = {{"a b", 3}, {"1", 1}};
    const struct dj_http_header bad_value = {{"a", 1}, {"1\r\nb: c", 7}};
    const struct dj_outbound_request requests[] = {
        {.method = "GET", .url = "ftp://127.0.0.1/"},
        {.method = "G T", .url = "http://127.0.0.1/"},
        {.method = "", .url = "http://127.0.0.1/"},
        {.method = "GET", .url = "http://127.0.0.1/", .headers = &bad_name, .header_count = 1},
        {.method = "GET", .url = "http://127.0.0.1/", .headers = &bad_value, .header_count = 1},
    };
    struct call call = {0};
    assert_int_equal(dj_loop_create(0, &call.loop), DEJA_OK);
    assert_int_equal(dj_outbound_create(call.loop, NULL, &call.outbound), DEJA_OK);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        assert_int_equal(dj_outbound_start(call.outbound, &requests[i], &events, &call, &call.call),
                         DEJA_ERR_INVALID);
    assert_null(call.call);
    dj_outbound_destroy(call.outbound);
    dj_loop_destroy(call.loop);
}

static void url_check_takes_http_with_a_host_only(void **state)
{
    (void)state;
    static const char *const good[] = {"http://127.0.0.1:8080/v1", "https://api.example.com",
                                       "HTTPS://[::1]:1/x?y=z", "http://host/%20"};
    static const char *const bad[] = {"",
                                      "example.com",
                                      "ftp://h/",
                                      "file:///etc/passwd",
                                      "http://",
                                      "http:///p",
                                      "http://u@h/",
                                      "http://u:p@h/",
                                      "http://h/a b",
                                      "http://h/\n",
                                      "http://h\\@x/",
                                      "https://:443/",
                                      "http://h:99999/",
                                      "http:/h",
                                      "gopher://h/"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(dj_outbound_check_url(good[i], NULL), DEJA_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct deja_error error = {0};
        assert_int_equal(dj_outbound_check_url(bad[i], &error), DEJA_ERR_INVALID);
        assert_true(strlen(error.message) > 0);
    }
}

static void outbound_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_http_header header = {{"a", 1}, {"1", 1}};
    const struct dj_outbound_options options = {
        .connections_max = 4, .connect_timeout_ms = 100, .ca_file = "/nonexistent"};
    struct dj_loop *loop;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct call call = {.loop = loop, .left = 1, .end = {.run = on_nothing}};
        call.request = (struct dj_outbound_request){
            .method = "GET", .url = "http://127.0.0.1:9/", .headers = &header, .header_count = 1};
        failing_malloc_arm(n);
        enum deja_status status = dj_outbound_create(loop, &options, &call.outbound);
        if (!status)
            status = dj_outbound_start(call.outbound, &call.request, &events, &call, &call.call);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_outbound_destroy(call.outbound);
        assert_int_equal(call.dones, has_failed ? 0 : 1);
        dj_loop_stop(loop);
        dj_loop_run(loop);
        if (!has_failed)
            break;
    }
    dj_loop_destroy(loop);
}

static void call_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"};
        struct call call = {.fail_at = n};
        run_call(&call, &server);
        assert_int_equal(call.status, call.has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!call.has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_arrives_whole_and_the_connection_is_used_again),
        cmocka_unit_test(kept_connection_that_is_reset_is_replaced),
        cmocka_unit_test(guarded_calls_do_not_reach_this_machine),
        cmocka_unit_test(guarded_calls_reach_what_the_operator_named),
        cmocka_unit_test(a_kept_connection_is_looked_at_too),
        cmocka_unit_test(request_is_sent_as_given_and_nothing_is_added),
        cmocka_unit_test(methods_have_the_right_framing),
        cmocka_unit_test(interim_heads_and_trailers_are_not_told),
        cmocka_unit_test(broken_answers_are_io_errors),
        cmocka_unit_test(nobody_listening_is_an_io_error),
        cmocka_unit_test(silence_ends_with_a_timeout),
        cmocka_unit_test(cancel_at_each_moment_ends_the_call_once),
        cmocka_unit_test(paused_call_gets_no_data_until_resumed),
        cmocka_unit_test(big_body_is_sent_whole),
        cmocka_unit_test(destroy_ends_running_calls_first),
        cmocka_unit_test(bad_requests_are_refused_at_start),
        cmocka_unit_test(url_check_takes_http_with_a_host_only),
        cmocka_unit_test(outbound_survives_each_failed_allocation),
        cmocka_unit_test(call_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
