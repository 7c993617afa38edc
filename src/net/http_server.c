/* net/http_server.c - accepts, sweeps timeouts, drains.
 *
 * One coarse timer looks at every connection instead of a timer for each: re-arming one on every
 * request would cost more than the look does, and nobody needs a timeout to the millisecond.
 */
#include "net/http_server.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/http_addresses.h"
#include "net/http_internal.h"

enum { SWEEP_MS_MIN = 5, SWEEP_MS_MAX = 1000, SWEEPS_PER_TIMEOUT = 8 };

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

/* Without a word where TLS would have to come first: that is what is short. */
static void refuse(const struct dj_http_server *server, struct dj_stream *stream)
{
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

static void on_accept(void *ctx, struct dj_stream *stream)
{
    struct dj_http_server *server = ctx;
    struct dj_http_addresses *addresses = server->limits.addresses;
    uint8_t peer[16];
    dj_stream_peer(stream, peer);
    if (addresses && !dj_http_addresses_enter(addresses, peer)) {
        refuse(server, stream);
        return;
    }
    if (server->open_count >= server->limits.connections_max && !dj_http_connection_evict(server))
        refuse(server, stream);
    else if (dj_http_connection_accept(server, stream))
        return; /* leaves the table when it is closed */
    if (addresses)
        dj_http_addresses_leave(addresses, peer);
}

static void for_each_connection(struct dj_http_server *server, uint64_t now_us,
                                void (*visit)(struct dj_http_connection *, uint64_t now_us))
{
    server->is_visiting = true;
    struct dj_list *node = server->connections.next;
    while (node != &server->connections) {
        struct dj_list *next = node->next; /* visit may take node itself off the list */
        visit(DJ_CONTAINER(node, struct dj_http_connection, node), now_us);
        node = next;
    }
    server->is_visiting = false;
}

static void on_sweep(void *ctx)
{
    struct dj_http_server *server = ctx;
    for_each_connection(server, dj_loop_monotonic_us(server->loop), dj_http_connection_sweep);
}

static uint64_t sweep_ms(const struct dj_http_limits *limits)
{
    uint64_t shortest_ms = limits->header_timeout_ms;
    if (limits->idle_timeout_ms < shortest_ms)
        shortest_ms = limits->idle_timeout_ms;
    if (limits->write_stall_ms < shortest_ms)
        shortest_ms = limits->write_stall_ms;
    uint64_t each_ms = shortest_ms / SWEEPS_PER_TIMEOUT;
    return each_ms < SWEEP_MS_MIN ? SWEEP_MS_MIN : each_ms > SWEEP_MS_MAX ? SWEEP_MS_MAX : each_ms;
}

static void tell_drained(void *ctx)
{
    struct dj_http_server *server = ctx;
    dj_task_fn *drained = server->drained;
    server->drained = NULL;
    drained(server->drained_ctx); /* may destroy the server */
}

static void tell_if_drained(struct dj_http_server *server)
{
    if (!server->is_draining || server->open_count > 0 || !server->drained ||
        server->drained_task.run)
        return;
    server->drained_task = (struct dj_task){.run = tell_drained, .ctx = server};
    dj_loop_post(server->loop, &server->drained_task);
}

void dj_http_server_closed_one(struct dj_http_server *server)
{
    server->open_count--;
    tell_if_drained(server);
}

static void cut(struct dj_http_connection *connection, uint64_t now_us)
{
    (void)now_us;
    dj_http_connection_cut(connection);
}

static void on_drain_timeout(void *ctx)
{
    struct dj_http_server *server = ctx;
    for_each_connection(server, 0, cut);
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
    dj_list_init(&server->connections);
    dj_list_init(&server->waiting);
    enum deja_status status = dj_timer_create(loop, server, on_sweep, &server->sweep);
    if (status == DEJA_OK)
        status = dj_timer_create(loop, server, on_drain_timeout, &server->drain_timer);
    if (status != DEJA_OK) {
        dj_http_server_destroy(server);
        return status;
    }
    *out_server = server;
    return DEJA_OK;
}

/* The listener was tried: it is there, or the server goes. */
static enum deja_status finish_open(struct dj_http_server *server, enum deja_status status,
                                    struct dj_http_server **out_server)
{
    if (status != DEJA_OK) {
        dj_http_server_destroy(server);
        return status;
    }
    uint64_t each_ms = sweep_ms(&server->limits);
    dj_timer_start(server->sweep, each_ms, each_ms);
    server->port = dj_listener_port(server->listener);
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_http_server_open(struct dj_loop *loop, const char *host, uint16_t port,
                                     const struct dj_http_limits *limits, void *ctx,
                                     dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                     struct dj_http_server **out_server, struct deja_error *error)
{
    struct dj_http_server *server = NULL;
    enum deja_status status = create_server(loop, limits, ctx, handler, on_error, &server);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for a server");
    status = dj_listener_open(loop, host, port, server, on_accept, &server->listener, error);
    return finish_open(server, status, out_server);
}

enum deja_status dj_http_server_open_fd(struct dj_loop *loop, int fd,
                                        const struct dj_http_limits *limits, void *ctx,
                                        dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                        struct dj_http_server **out_server,
                                        struct deja_error *error)
{
    struct dj_http_server *server = NULL;
    enum deja_status status = create_server(loop, limits, ctx, handler, on_error, &server);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for a server");
    status = dj_listener_open_fd(loop, fd, server, on_accept, &server->listener, error);
    return finish_open(server, status, out_server);
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
    return server->port;
}

static void drain(struct dj_http_connection *connection, uint64_t now_us)
{
    (void)now_us;
    dj_http_connection_drain(connection);
}

void dj_http_server_drain(struct dj_http_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained)
{
    assert(dj_loop_is_current(server->loop) && !server->is_draining && drained);
    server->is_draining = true;
    server->drained_ctx = ctx;
    server->drained = drained;
    dj_listener_close(server->listener);
    server->listener = NULL;
    for_each_connection(server, 0, drain);
    dj_timer_start(server->drain_timer, timeout_ms, 0);
    tell_if_drained(server);
}

static void forget_server(struct dj_http_connection *connection, uint64_t now_us)
{
    (void)now_us;
    connection->server = NULL;
    dj_list_remove(&connection->node);
}

void dj_http_server_destroy(struct dj_http_server *server)
{
    if (!server)
        return;
    assert(dj_loop_is_current(server->loop) && server->open_count == 0 && !server->drained);
    for_each_connection(server, 0, forget_server); /* answers that come later go nowhere */
    dj_listener_close(server->listener);
    dj_timer_destroy(server->sweep);
    dj_timer_destroy(server->drain_timer);
    dj_buf_fini(&server->tls_records);
    dj_free(server->tls_plain);
    dj_free(server);
}

uint32_t dj_http_server_connections(const struct dj_http_server *server)
{
    return server->open_count;
}
