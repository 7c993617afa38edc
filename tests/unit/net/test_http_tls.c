/* The server behind TLS, with OpenSSL's client on a socket: what TLS could change about requests,
 * answers, ends and memory. */
#include "http_fixture.h"

#include <errno.h>
#include <signal.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "crypto/tls_server.h"
#include "failing_malloc.h"

static struct certificate certificate;
static struct dj_tls_server *tls;
static SSL_CTX *context;

static int make_world(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets without a flag against it */
    certificate = certificate_make("localhost", "DNS:localhost", NULL);
    const char *cert = certificate.cert_file;
    const char *key = certificate.key_file;
    const struct dj_tls_server_options options = {&cert, &key, 1, NULL, DJ_TLS_CLIENT_NONE, false};
    context = SSL_CTX_new(TLS_client_method());
    return dj_tls_server_create(&options, &tls, NULL) == DEJA_OK && context ? 0 : -1;
}

static int end_world(void **state)
{
    (void)state;
    dj_tls_server_destroy(tls);
    SSL_CTX_free(context);
    certificate_end(&certificate);
    return 0;
}

static void on_set_tls(void *ctx)
{
    struct fixture *fixture = ctx;
    assert_int_equal(dj_http_server_set_tls(fixture->server, tls), DEJA_OK);
    dj_http_server_mark(fixture->server, 7);
    count_up(fixture, &fixture->held);
}

static struct fixture *open_fixture(void)
{
    struct fixture *fixture = fixture_create();
    fixture_open(fixture);
    tell_loop(fixture, on_set_tls);
    wait_for(fixture, &fixture->held, 1);
    fixture->held = 0;
    return fixture;
}

/* A read with a time limit may be interrupted without a signal: by work of the io_uring that libuv
 * 1.45 and later made in this thread. */
static bool is_interrupted(SSL *client, int result)
{
    return errno == EINTR && SSL_get_error(client, result) == SSL_ERROR_WANT_READ;
}

static bool shake_hands(SSL *client)
{
    int result;
    do {
        errno = 0;
        result = SSL_connect(client);
    } while (result != 1 && is_interrupted(client, result));
    return result == 1;
}

static int read_some(SSL *client, char *out, size_t cap)
{
    int count;
    do {
        errno = 0;
        count = SSL_read(client, out, (int)cap);
    } while (count <= 0 && is_interrupted(client, count));
    return count;
}

static SSL *connect_tls(const struct fixture *fixture)
{
    SSL *client = SSL_new(context);
    SSL_set_fd(client, connect_client(fixture));
    assert_true(shake_hands(client));
    return client;
}

static void end_tls(SSL *client)
{
    int fd = SSL_get_fd(client);
    SSL_free(client);
    close(fd);
}

static void say(SSL *client, const char *text)
{
    assert_int_equal(SSL_write(client, text, (int)strlen(text)), strlen(text));
}

/* Until the end; *out_is_clean: it was a close_notify. What fits is in fixture->reply. */
static size_t hear(struct fixture *fixture, SSL *client, bool *out_is_clean)
{
    static char sink[65536];
    size_t total = 0;
    int count;
    ERR_clear_error();
    while ((count = read_some(client, sink, sizeof sink)) > 0) {
        size_t room = total < REPLY_BYTES - 1 ? REPLY_BYTES - 1 - total : 0;
        size_t len = (size_t)count < room ? (size_t)count : room;
        memcpy(fixture->reply + (room ? total : 0), sink, len);
        total += (size_t)count;
        fixture->reply[total < REPLY_BYTES ? total : REPLY_BYTES - 1] = '\0';
    }
    *out_is_clean = SSL_get_error(client, count) == SSL_ERROR_ZERO_RETURN;
    return total;
}

static void requests_are_answered_and_the_end_is_clean(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/later", "/stream", "/sized", "/empty"};
    struct fixture *fixture = open_fixture();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        SSL *client = connect_tls(fixture);
        char request[128];
        bool is_clean = false;
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                 paths[i]);
        say(client, request);
        assert_true(hear(fixture, client, &is_clean) > 0);
        assert_memory_equal(fixture->reply, "HTTP/1.1 20", 11);
        assert_true(is_clean);
        end_tls(client);
    }
    fixture_close(fixture);
}

static void a_big_answer_waits_for_a_slow_reader(void **state)
{
    (void)state;
    struct fixture *fixture = open_fixture();
    SSL *client = connect_tls(fixture);
    SSL *other = connect_tls(fixture);
    bool is_clean = false;
    say(client, "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wait_for(fixture, &fixture->requests, 1);
    say(other, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(hear(fixture, other, &is_clean) > 0);
    assert_true(hear(fixture, client, &is_clean) > BIG_BYTES);
    assert_true(is_clean);
    end_tls(client);
    end_tls(other);
    fixture_close(fixture);
}

static void an_answer_that_breaks_off_is_no_whole_one(void **state)
{
    (void)state;
    struct fixture *fixture = open_fixture();
    SSL *client = connect_tls(fixture);
    bool is_clean = false;
    say(client, "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n");
    hear(fixture, client, &is_clean);
    assert_null(strstr(fixture->reply, "\r\n0\r\n\r\n"));
    end_tls(client);
    client = connect_tls(fixture);
    say(client, "GET /abort HTTP/1.0\r\nHost: a\r\n\r\n"); /* its close would be its end */
    hear(fixture, client, &is_clean);
    assert_false(is_clean);
    end_tls(client);
    fixture_close(fixture);
}

static void a_client_that_ended_its_side_is_answered(void **state)
{
    (void)state;
    struct fixture *fixture = open_fixture();
    SSL *client = connect_tls(fixture);
    bool is_clean = false;
    say(client, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(SSL_shutdown(client), 0);
    wait_for(fixture, &fixture->held, 1);
    tell_loop(fixture, on_release);
    assert_true(hear(fixture, client, &is_clean) > 0);
    assert_memory_equal(fixture->reply, "HTTP/1.1 200", 12);
    assert_true(is_clean);
    end_tls(client);
    fixture_close(fixture);
}

static void a_watcher_hears_of_a_client_that_left(void **state)
{
    (void)state;
    struct fixture *fixture = open_fixture();
    SSL *client = connect_tls(fixture);
    say(client, "GET /watch HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for(fixture, &fixture->held, 1);
    end_tls(client);
    wait_for(fixture, &fixture->gone, 1);
    fixture_close(fixture);
}

static void a_server_that_ends_leaves_no_handshake_open(void **state)
{
    (void)state;
    struct fixture *fixture = open_fixture();
    int silent = connect_client(fixture);
    int half = connect_client(fixture);
    assert_true(send_bytes(half, "\x16\x03\x01\x02\x00\x01", 6));
    SSL *idle = connect_tls(fixture);
    fixture->drain_timeout_ms = 5000;
    fixture_close(fixture);
    end_tls(idle);
    close(silent);
    close(half);
}

static void on_arm(void *ctx)
{
    struct fixture *fixture = ctx;
    failing_malloc_arm((size_t)fixture->gone);
    count_up(fixture, &fixture->held);
}

static void on_disarm(void *ctx)
{
    struct fixture *fixture = ctx;
    fixture->drained = failing_malloc_disarm() ? 2 : 1;
    count_up(fixture, &fixture->held);
}

/* One connection during which the n-th allocation fails, and one after it. */
static void a_connection_survives_each_failed_allocation(void **state)
{
    static const char asked[] = "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    (void)state;
    struct fixture *fixture = open_fixture();
    bool has_failed = true;
    for (int n = 1; has_failed; n++) {
        fixture->held = 0;
        fixture->gone = n;
        tell_loop(fixture, on_arm);
        wait_for(fixture, &fixture->held, 1);
        SSL *client = SSL_new(context);
        SSL_set_fd(client, connect_client(fixture));
        if (shake_hands(client) && SSL_write(client, asked, sizeof asked - 1) > 0) {
            bool is_clean = false;
            hear(fixture, client, &is_clean);
        }
        ERR_clear_error();
        end_tls(client);
        tell_loop(fixture, on_disarm);
        wait_for(fixture, &fixture->held, 2);
        has_failed = fixture->drained == 2;
        fixture->drained = 0;
        SSL *next = connect_tls(fixture);
        bool is_clean = false;
        say(next, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_true(hear(fixture, next, &is_clean) > 0);
        end_tls(next);
    }
    fixture_close(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered_and_the_end_is_clean),
        cmocka_unit_test(a_big_answer_waits_for_a_slow_reader),
        cmocka_unit_test(an_answer_that_breaks_off_is_no_whole_one),
        cmocka_unit_test(a_client_that_ended_its_side_is_answered),
        cmocka_unit_test(a_watcher_hears_of_a_client_that_left),
        cmocka_unit_test(a_server_that_ends_leaves_no_handshake_open),
        cmocka_unit_test(a_connection_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
