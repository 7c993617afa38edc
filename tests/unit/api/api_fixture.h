/* The whole surface in this process: a server on one loop, an engine over two, memory only, a toy
 * embedder; the client is a blocking socket of the test's thread.
 */
#ifndef API_FIXTURE_H
#define API_FIXTURE_H

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

#include "api/router.h"
#include "base/alloc.h"
#include "base/num.h"
#include "cache/plain.h"
#include "loop/pool.h"
#include "net/http_server.h"
#include "store/memory.h"

/* A test may put a tier below memory by defining this before it includes this file. */
#ifndef FIXTURE_LMDB
#define FIXTURE_LMDB NULL
#endif

enum { LOOPS = 2, TOY_DIM = 64, REPLY_BYTES = 1024 * 1024 };

struct fixture {
    struct dj_loop *loops[LOOPS];
    pthread_t threads[LOOPS];
    struct dj_pool *pool;
    struct dj_metrics *metrics;
    struct dj_http_server *server;
    struct dj_proxy_policy policy;
    struct dj_tenant_root root;
    struct dj_proxy_context context;
    struct dj_api api;
    struct dj_task stop;
    uint16_t port;
    int reloads;
    char reply[REPLY_BYTES]; /* of the last request, terminated */
};

/* ---- the toy embedder: words counted into buckets ---- */

static inline enum deja_status toy_embed(struct dj_embedder *embedder,
                                         const struct deja_slice *texts, size_t count, float *out)
{
    (void)embedder;
    for (size_t i = 0; i < count; i++) {
        float *vector = out + i * TOY_DIM;
        float norm = 0;
        uint32_t hash = 17;
        memset(vector, 0, sizeof(float) * TOY_DIM);
        for (size_t at = 0; at <= texts[i].len; at++) {
            if (at < texts[i].len && texts[i].data[at] != ' ' && texts[i].data[at] != '?') {
                hash = hash * 31 + (uint8_t)texts[i].data[at];
                continue;
            }
            vector[hash % TOY_DIM] += 1;
            hash = 17;
        }
        for (size_t d = 0; d < TOY_DIM; d++)
            norm += vector[d] * vector[d];
        for (size_t d = 0; d < TOY_DIM; d++)
            vector[d] /= sqrtf(norm);
    }
    return DEJA_OK;
}

static inline void toy_destroy(struct dj_embedder *embedder)
{
    dj_free(embedder);
}

static inline struct dj_embedder *toy_create(void)
{
    static const struct dj_embedder_ops ops = {.embed = toy_embed, .destroy = toy_destroy};
    struct dj_embedder *embedder = dj_alloc_zeroed(1, sizeof *embedder);
    assert_non_null(embedder);
    *embedder = (struct dj_embedder){
        .ops = &ops, .kind = "lexical", .id = "toy:64", .dim = TOY_DIM, .batch_max = 8};
    return embedder;
}

/* ---- who asks ---- */

static inline void identity_init(struct fixture *fixture)
{
    uint8_t secret[DJ_SHA256_BYTES];
    memset(secret, 7, sizeof secret);
    dj_tenant_root_init(&fixture->root, secret);
    fixture->context.root = &fixture->root;
    static const struct dj_rules_values rules = {.features = DJ_FEATURES_ALL};
    assert_int_equal(dj_rules_create(&rules, &fixture->context.rules), DEJA_OK);
    assert_int_equal(dj_registry_create(100, NULL, &fixture->context.registry), DEJA_OK);
}

static inline void identity_fini(struct fixture *fixture)
{
    dj_registry_destroy(fixture->context.registry);
    dj_rules_unref(fixture->context.rules);
    dj_tenant_root_fini(&fixture->root);
}

/* ---- life ---- */

static inline void *run_loop(void *loop)
{
    dj_loop_run(loop);
    return NULL;
}

static inline void on_reload(void *ctx)
{
    ((struct fixture *)ctx)->reloads++;
}

static inline void on_drained(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_http_server_destroy(fixture->server);
    for (size_t i = 0; i < LOOPS; i++)
        dj_loop_stop(fixture->loops[i]);
}

static inline void on_stop(void *ctx)
{
    struct fixture *fixture = ctx;
    dj_http_server_drain(fixture->server, 1000, fixture, on_drained);
}

static inline struct dj_engine *engine_create(struct fixture *fixture)
{
    const struct dj_memory_options memory = {.bytes_max = 64u << 20,
                                             .entries_max = 10000,
                                             .tenant_entries_max = 1000,
                                             .loop_count = LOOPS};
    struct dj_engine_options options = {.loops = fixture->loops,
                                        .loop_count = LOOPS,
                                        .pool = fixture->pool,
                                        .embedder = toy_create(),
                                        .metrics = fixture->metrics,
                                        .threshold = 0.9,
                                        .api_threshold = 0.8};
    struct dj_engine *engine = NULL;
    options.lmdb = FIXTURE_LMDB;
    assert_int_equal(dj_memory_open(&memory, fixture->loops, &options.memory), DEJA_OK);
    assert_int_equal(dj_engine_create(&options, &engine), DEJA_OK);
    return engine;
}

static inline int set_up(void **state)
{
    struct fixture *fixture = dj_alloc_zeroed(1, sizeof *fixture);
    struct deja_error error = {{0}};
    assert_non_null(fixture);
    for (uint32_t i = 0; i < LOOPS; i++)
        assert_int_equal(dj_loop_create(i, &fixture->loops[i]), DEJA_OK);
    assert_int_equal(dj_pool_create("test", 2, 1024, &fixture->pool), DEJA_OK);
    assert_int_equal(dj_metrics_create(&fixture->metrics), DEJA_OK);
    fixture->policy = (struct dj_proxy_policy){.response_ttl_ms = 3600000,
                                               .api_ttl_ms = 3600000,
                                               .plain_ttl_ms = 3600000,
                                               .query_chars_max = 1000};
    identity_init(fixture);
    fixture->context.engine = engine_create(fixture);
    const struct dj_plain_options plain = {
        .engine = fixture->context.engine, .loops = fixture->loops, .loop_count = LOOPS};
    assert_int_equal(dj_plain_create(&plain, &fixture->context.plain), DEJA_OK);
    fixture->context.metrics = fixture->metrics;
    fixture->context.pool = fixture->pool;
    for (size_t i = 0; i < DJ_TARGET_COUNT; i++)
        fixture->context.targets[i] =
            (struct dj_proxy_target){.url = "http://127.0.0.1:1", .id = "test"};
    fixture->context.operator_token = "0123456789abcdef";
    atomic_store(&fixture->context.policy, &fixture->policy);
    assert_int_equal(dj_telemetry_create(fixture->metrics, &fixture->context.telemetry), DEJA_OK);
    fixture->api =
        (struct dj_api){.proxy = &fixture->context, .reload = on_reload, .reload_ctx = fixture};
    assert_int_equal(dj_http_server_open(fixture->loops[0], "127.0.0.1", 0, &dj_http_limits_default,
                                         &fixture->api, dj_api_handle, dj_api_handle_error,
                                         &fixture->server, &error),
                     DEJA_OK);
    fixture->port = dj_http_server_port(fixture->server);
    for (size_t i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&fixture->threads[i], NULL, run_loop, fixture->loops[i]),
                         0);
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    fixture->stop = (struct dj_task){.run = on_stop, .ctx = fixture};
    dj_loop_post(fixture->loops[0], &fixture->stop);
    for (size_t i = 0; i < LOOPS; i++)
        pthread_join(fixture->threads[i], NULL);
    dj_pool_destroy(fixture->pool);
    dj_plain_destroy(fixture->context.plain);
    dj_engine_destroy(fixture->context.engine);
    identity_fini(fixture);
    dj_telemetry_destroy(fixture->context.telemetry);
    dj_metrics_destroy(fixture->metrics);
    for (size_t i = 0; i < LOOPS; i++)
        dj_loop_destroy(fixture->loops[i]);
    dj_free(fixture);
    return 0;
}

/* ---- the client ---- */

/* Sends text as it is and reads to the end; the status, or 0. */
static inline int send_raw(struct fixture *fixture, const char *text, size_t len)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(fixture->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec = 20};
    size_t read_len = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const void *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (size_t sent = 0; sent < len;) {
        ssize_t count = send(fd, text + sent, len - sent, MSG_NOSIGNAL);
        assert_true(count > 0);
        sent += (size_t)count;
    }
    for (;;) {
        ssize_t count =
            recv(fd, fixture->reply + read_len, sizeof fixture->reply - 1 - read_len, 0);
        /* With a timeout set, newer libuv's work for this thread interrupts it without any signal.
         */
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        read_len += (size_t)count;
    }
    fixture->reply[read_len] = '\0';
    close(fd);
    uint64_t status = 0;
    if (read_len <= 12 || dj_num_parse_u64(deja_slice(fixture->reply + 9, 3), &status) != DEJA_OK)
        return 0;
    return (int)status;
}

/* headers: lines with their ends, or "". */
static inline int ask(struct fixture *fixture, const char *method, const char *target,
                      const char *headers, const char *body)
{
    size_t cap = strlen(target) + strlen(headers) + strlen(body) + 512;
    char *text = dj_alloc(cap);
    assert_non_null(text);
    int len = snprintf(text, cap,
                       "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n%s"
                       "Content-Length: %zu\r\n\r\n%s",
                       method, target, fixture->port, headers, strlen(body), body);
    int status = send_raw(fixture, text, (size_t)len);
    dj_free(text);
    return status;
}

#define JSON "Content-Type: application/json\r\n"

static inline bool has(const struct fixture *fixture, const char *text)
{
    return strstr(fixture->reply, text) != NULL;
}

#define assert_reply(fixture, text)                              \
    do {                                                         \
        if (!has(fixture, text))                                 \
            fail_msg("no <%s> in:\n%s", text, (fixture)->reply); \
    } while (0)

/* The value of a text member that occurs first, copied. */
static inline void take(const struct fixture *fixture, const char *name, char *out, size_t cap)
{
    char start[64];
    snprintf(start, sizeof start, "\"%s\":\"", name);
    const char *at = strstr(fixture->reply, start);
    assert_non_null(at);
    at += strlen(start);
    size_t len = strcspn(at, "\"");
    assert_true(len < cap);
    memcpy(out, at, len);
    out[len] = '\0';
}

#endif
