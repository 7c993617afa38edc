/* net/http_server.c - a crowd (crowd.h) of connections that speak HTTP. */
#include "net/http_server.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/http_internal.h"

const struct dj_http_limits dj_http_limits_default = {
    .header_bytes_max = 64 * 1024,
    .headers_max = 100,
    .body_bytes_max = (uint64_t)32 << 20,
    .bytes_in_flight_max = (uint64_t)256 << 20,
    .connections_max = 10000,
    .spared_ms = 1000,
    .header_timeout_ms = 10000,
    .idle_timeout_ms = 75000,
    .body_bytes_per_s_min = 1024,
    .write_stall_ms = 30000,
};

const char *dj_http_server_date(struct dj_http_server *server)
{
    int64_t now_s = dj_loop_now_ms(server->loop) / 1000;
    if (now_s == server->date_s)
        return server->date;
    dj_http_date(now_s * 1000, server->date);
    server->date_s = now_s;
    return server->date;
}

static void on_refused_written(void *ctx, enum deja_status status)
{
    (void)ctx;
    (void)status;
}

static struct dj_http_server *server_of(struct dj_crowd *crowd)
{
    return DJ_CONTAINER(crowd, struct dj_http_server, crowd);
}

/* Without a word where TLS would have to come first: that is what is short. */
static void refuse(struct dj_crowd *crowd, struct dj_stream *stream)
{
    const struct dj_http_server *server = server_of(crowd);
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                               "Connection: close\r\nContent-Length: 0\r\n\r\n";
    const struct deja_slice slice = {text, sizeof(text) - 1};
    bool is_queued;
    /* The buffer of a new socket takes it whole; where not, the client sees only the close. */
    if (!server->tls &&
        dj_stream_write(stream, &slice, 1, NULL, on_refused_written, &is_queued) == DEJA_OK &&
        !is_queued)
        dj_stream_finish(stream);
    dj_stream_close(stream, NULL, NULL);
}

static struct dj_http_connection *connection_of(struct dj_list *member)
{
    return DJ_CONTAINER(member, struct dj_http_connection, node);
}

static bool accept_one(struct dj_crowd *crowd, struct dj_stream *stream)
{
    return dj_http_connection_accept(server_of(crowd), stream);
}

static bool make_room(struct dj_crowd *crowd)
{
    return dj_http_connection_evict(server_of(crowd));
}

static void sweep(struct dj_list *member, uint64_t now_us)
{
    dj_http_connection_sweep(connection_of(member), now_us);
}

static void drain(struct dj_list *member, uint64_t now_us)
{
    (void)now_us;
    dj_http_connection_drain(connection_of(member));
}

static void cut(struct dj_list *member, uint64_t now_us)
{
    (void)now_us;
    dj_http_connection_cut(connection_of(member));
}

static const struct dj_crowd_ops crowd_ops = {.accept = accept_one,
                                              .refuse = refuse,
                                              .make_room = make_room,
                                              .sweep = sweep,
                                              .drain = drain,
                                              .cut = cut};

static uint32_t shortest_ms(const struct dj_http_limits *limits)
{
    uint32_t shortest_ms = limits->header_timeout_ms;
    if (limits->idle_timeout_ms < shortest_ms)
        shortest_ms = limits->idle_timeout_ms;
    if (limits->write_stall_ms < shortest_ms)
        shortest_ms = limits->write_stall_ms;
    return shortest_ms;
}

/* All but the listener. */
static enum deja_status create_server(struct dj_loop *loop, const struct dj_http_limits *limits,
                                      void *ctx, dj_http_handler_fn *handler,
                                      dj_http_error_fn *on_error,
                                      struct dj_http_server **out_server)
{
    assert(dj_loop_is_current(loop) && handler);
    struct dj_http_server *server = dj_alloc_zeroed(1, sizeof(*server));
    if (!server)
        return DEJA_ERR_NOMEM;
    server->loop = loop;
    server->limits = limits ? *limits : dj_http_limits_default;
    server->ctx = ctx;
    server->handler = handler;
    server->on_error = on_error;
    server->date_s = -1;
    server->crowd = (struct dj_crowd){.ops = &crowd_ops,
                                      .loop = loop,
                                      .addresses = server->limits.addresses,
                                      .connections_max = server->limits.connections_max};
    dj_list_init(&server->waiting);
    enum deja_status status = dj_crowd_init(&server->crowd);
    if (status != DEJA_OK) {
        dj_http_server_destroy(server);
        return status;
    }
    *out_server = server;
    return DEJA_OK;
}

static enum deja_status open_at(struct dj_loop *loop, const struct dj_crowd_place *place,
                                const struct dj_http_limits *limits, void *ctx,
                                dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                struct dj_http_server **out_server, struct deja_error *error)
{
    struct dj_http_server *server = NULL;
    enum deja_status status = create_server(loop, limits, ctx, handler, on_error, &server);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for a server");
    status = dj_crowd_listen(&server->crowd, place, shortest_ms(&server->limits), error);
    if (status != DEJA_OK) {
        dj_http_server_destroy(server);
        return status;
    }
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_http_server_open(struct dj_loop *loop, const char *host, uint16_t port,
                                     const struct dj_http_limits *limits, void *ctx,
                                     dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                     struct dj_http_server **out_server, struct deja_error *error)
{
    const struct dj_crowd_place place = {.fd = -1, .host = host, .port = port};
    return open_at(loop, &place, limits, ctx, handler, on_error, out_server, error);
}

enum deja_status dj_http_server_open_fd(struct dj_loop *loop, int fd,
                                        const struct dj_http_limits *limits, void *ctx,
                                        dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                        struct dj_http_server **out_server,
                                        struct deja_error *error)
{
    const struct dj_crowd_place place = {.fd = fd};
    return open_at(loop, &place, limits, ctx, handler, on_error, out_server, error);
}

enum deja_status dj_http_server_set_tls(struct dj_http_server *server, struct dj_tls_server *tls)
{
    assert(dj_loop_is_current(server->loop));
    if (!server->tls_plain)
        server->tls_plain = dj_alloc((size_t)2 * DJ_TLS_RECORD_BYTES_MAX);
    if (!server->tls_plain)
        return DEJA_ERR_NOMEM;
    server->tls_joined = server->tls_plain + DJ_TLS_RECORD_BYTES_MAX;
    server->tls = tls;
    return DEJA_OK;
}

void dj_http_server_mark(struct dj_http_server *server, uint32_t listener)
{
    server->mark = listener;
}

uint16_t dj_http_server_port(const struct dj_http_server *server)
{
    return server->crowd.port;
}

void dj_http_server_drain(struct dj_http_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained)
{
    dj_crowd_drain(&server->crowd, timeout_ms, ctx, drained);
}

static void forget_server(struct dj_list *member, uint64_t now_us)
{
    struct dj_http_connection *connection = connection_of(member);
    (void)now_us;
    connection->server = NULL;
    dj_list_remove(&connection->node);
}

void dj_http_server_destroy(struct dj_http_server *server)
{
    if (!server)
        return;
    dj_crowd_each(&server->crowd, 0, forget_server); /* answers that come later go nowhere */
    dj_crowd_fini(&server->crowd);
    dj_buf_fini(&server->tls_records);
    dj_free(server->tls_plain);
    dj_free(server);
}

uint32_t dj_http_server_connections(const struct dj_http_server *server)
{
    return server->crowd.open_count;
}
