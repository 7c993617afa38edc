/* tests/unit/proxy/test_embedder_http.c - against a thread with a plain socket that says one thing.
 */
#include "proxy/embedder_http.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* Each connection gets one answer and is closed; status 0: it is closed without one. */
struct server {
    pthread_t thread;
    int fd;
    uint16_t port;
    int status;
    const char *body;
    int requests;
    char seen[4096]; /* the last request */
};

static void serve_one(struct server *server, int fd)
{
    char head[256];
    size_t len = 0;
    for (;;) {
        ssize_t got = recv(fd, server->seen + len, sizeof server->seen - 1 - len, 0);
        if (got <= 0)
            return;
        len += (size_t)got;
        server->seen[len] = '\0';
        const char *end = strstr(server->seen, "\r\n\r\n");
        const char *length = strstr(server->seen, "Content-Length: ");
        if (end && length &&
            len >= (size_t)(end - server->seen) + 4 + strtoul(length + 16, NULL, 10))
            break;
    }
    server->requests++;
    if (!server->status)
        return;
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                            server->status, strlen(server->body));
    if (send(fd, head, (size_t)head_len, MSG_NOSIGNAL) < 0 ||
        send(fd, server->body, strlen(server->body), MSG_NOSIGNAL) < 0)
        return;
}

static void *serve(void *ctx)
{
    struct server *server = ctx;
    for (;;) {
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        serve_one(server, fd);
        close(fd);
    }
}

static void server_open(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    server->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->fd, 16), 0);
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

static enum deja_status open_at(const char *url, uint32_t dim, struct dj_embedder **out_embedder)
{
    struct deja_error error = {.message = ""};
    const struct dj_embedder_http_options options = {
        .url = url, .model = "tiny", .key = "sk-1", .dim = dim, .timeout_ms = 5000};
    return dj_embedder_http_open(&options, out_embedder, &error);
}

/* Opens with dimension 2 against a server that says that; what embedding two texts came to. */
static enum deja_status embed_two(int http_status, const char *body, float out[4])
{
    struct server server = {.status = http_status, .body = body};
    const struct deja_slice texts[] = {deja_slice_text("a"), deja_slice_text("b")};
    struct dj_embedder *embedder = NULL;
    char url[64];
    server_open(&server);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/", server.port);
    assert_int_equal(open_at(url, 2, &embedder), DEJA_OK);
    enum deja_status status = dj_embedder_embed(embedder, texts, 2, out);
    dj_embedder_destroy(embedder);
    server_close(&server);
    if (server.requests) {
        assert_non_null(strstr(server.seen, "POST /v1/embeddings HTTP/1.1"));
        assert_non_null(strstr(server.seen, "Authorization: Bearer sk-1"));
        assert_non_null(
            strstr(server.seen,
                   "{\"model\":\"tiny\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"float\"}"));
    }
    return status;
}

static void vectors_are_placed_by_index_and_have_length_one(void **state)
{
    (void)state;
    float out[4] = {0};
    assert_int_equal(embed_two(200,
                               "{\"data\":[{\"index\":1,\"embedding\":[0,2]},"
                               "{\"index\":0,\"embedding\":[3,4]}]}",
                               out),
                     DEJA_OK);
    assert_float_equal(out[0], 0.6, 1e-6);
    assert_float_equal(out[1], 0.8, 1e-6);
    assert_float_equal(out[2], 0, 1e-6);
    assert_float_equal(out[3], 1, 1e-6);
}

static void what_is_no_such_answer_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        int http_status;
        const char *body;
        enum deja_status status;
    } cases[] = {
        {200, "", DEJA_ERR_CORRUPT},
        {200, "<html>", DEJA_ERR_CORRUPT},
        {200, "{}", DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"embedding\":[1,2]}]}", DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"embedding\":[1,2]},{\"embedding\":[0,0]}]}", DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"embedding\":[1,2]},{\"embedding\":[1,\"2\"]}]}", DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"embedding\":[1,2]},{\"embedding\":[1,1e999]}]}", DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"index\":0,\"embedding\":[1,2]},{\"index\":0,\"embedding\":[1,2]}]}",
         DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"index\":0,\"embedding\":[1,2]},{\"index\":7,\"embedding\":[1,2]}]}",
         DEJA_ERR_CORRUPT},
        {200, "{\"data\":[{\"embedding\":[1,2,3]},{\"embedding\":[1,2,3]}]}", DEJA_ERR_CORRUPT},
        {400, "{}", DEJA_ERR_INVALID},
        {401, "{}", DEJA_ERR_DENIED},
        {404, "{}", DEJA_ERR_CORRUPT},
        {429, "{}", DEJA_ERR_BUSY},
        {500, "{}", DEJA_ERR_BUSY},
        {0, "", DEJA_ERR_IO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float out[6] = {0};
        enum deja_status status = embed_two(cases[i].http_status, cases[i].body, out);
        if (status != cases[i].status)
            fail_msg("%d %s: %s", cases[i].http_status, cases[i].body, deja_status_name(status));
    }
}

static void answer_without_end_is_cut(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    float out[4] = {0};
    char *body = test_malloc(LONG);
    memset(body, ' ', LONG - 1);
    body[LONG - 1] = '\0';
    assert_int_equal(embed_two(200, body, out), DEJA_ERR_CORRUPT);
    test_free(body);
}

static void dimension_is_learned_at_start(void **state)
{
    (void)state;
    struct server server = {.status = 200,
                            .body = "{\"data\":[{\"embedding\":[1,2,3]}],\"usage\":{}}"};
    struct dj_embedder *embedder = NULL;
    char url[64];
    server_open(&server);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server.port);
    assert_int_equal(open_at(url, 0, &embedder), DEJA_OK);
    assert_int_equal(embedder->dim, 3);
    assert_int_equal(strncmp(embedder->id, "tiny@", 5), 0);
    dj_embedder_destroy(embedder);
    server_close(&server);
}

static void failed_endpoint_is_left_alone_by_its_breaker(void **state)
{
    (void)state;
    const struct deja_slice text = deja_slice_text("a");
    struct server server = {.status = 500, .body = "{}"};
    struct dj_embedder *embedder = NULL;
    struct dj_sentry *sentry = NULL;
    struct deja_error error = {.message = ""};
    struct dj_sentry_options guard = dj_sentry_options_of(false);
    guard.breaker.failures_max = 3;
    float out[2];
    char url[64];
    server_open(&server);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server.port);
    assert_int_equal(dj_sentry_create("embedder", &guard, NULL, NULL, &sentry), DEJA_OK);
    const struct dj_embedder_http_options options = {
        .url = url, .model = "tiny", .dim = 2, .timeout_ms = 600000, .sentry = sentry};
    assert_int_equal(dj_embedder_http_open(&options, &embedder, &error), DEJA_OK);
    for (int asked = 0; asked < 10; asked++)
        assert_int_equal(dj_embedder_embed(embedder, &text, 1, out),
                         asked < 3 ? DEJA_ERR_BUSY : DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(server.requests, 3);
    dj_embedder_destroy(embedder);
    dj_sentry_destroy(sentry);
    server_close(&server);
}

static void two_endpoints_have_two_ids(void **state)
{
    (void)state;
    struct dj_embedder *here = NULL;
    struct dj_embedder *there = NULL;
    struct dj_embedder *same = NULL;
    assert_int_equal(open_at("http://127.0.0.1:9", 8, &here), DEJA_OK);
    assert_int_equal(open_at("http://127.0.0.1:10", 8, &there), DEJA_OK);
    assert_int_equal(open_at("http://127.0.0.1:9/v1/embeddings/", 8, &same), DEJA_OK);
    assert_string_not_equal(here->id, there->id);
    assert_string_equal(here->id, same->id);
    dj_embedder_destroy(here);
    dj_embedder_destroy(there);
    dj_embedder_destroy(same);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    struct dj_embedder *embedder = NULL;
    struct deja_error error = {.message = ""};
    const struct dj_embedder_http_options cases[] = {
        {.url = "http://127.0.0.1:9", .dim = 8},
        {.model = "tiny", .dim = 8},
        {.url = "ftp://127.0.0.1", .model = "tiny", .dim = 8},
        {.url = "http://127.0.0.1:9", .model = "tiny", .dim = 100000},
        {.url = "http://127.0.0.1:9", .model = "tiny", .dim = 8, .batch_max = 33},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dj_embedder_http_open(&cases[i], &embedder, &error), DEJA_ERR_CONFIG);
        assert_true(error.message[0]);
        assert_null(embedder);
    }
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_embedder *embedder = NULL;
        failing_malloc_arm(n);
        enum deja_status status = open_at("http://127.0.0.1:9", 8, &embedder);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status == DEJA_OK, !has_failed);
        dj_embedder_destroy(embedder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_placed_by_index_and_have_length_one),
        cmocka_unit_test(what_is_no_such_answer_is_told_apart),
        cmocka_unit_test(answer_without_end_is_cut),
        cmocka_unit_test(dimension_is_learned_at_start),
        cmocka_unit_test(failed_endpoint_is_left_alone_by_its_breaker),
        cmocka_unit_test(two_endpoints_have_two_ids),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(open_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
