/* net/resp_server.c - accepts, sweeps timeouts, drains.
 *
 * One coarse timer looks at every connection, as in http_server.c.
 */
#include "net/resp_server.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/http_addresses.h"
#include "net/resp_internal.h"

enum { SWEEP_MS_MIN = 5, SWEEP_MS_MAX = 1000, SWEEPS_PER_TIMEOUT = 8 };

const struct dj_resp_server_limits dj_resp_server_limits_default = {
    .connections_max = 10000,
    .args_max = 65536,
    .bulk_bytes_max = (uint64_t)32 << 20,
    .command_bytes_max = (uint64_t)64 << 20,
    .reply_bytes_max = (uint64_t)64 << 20,
    .push_bytes_max = (uint64_t)1 << 20,
    .bytes_in_flight_max = (uint64_t)256 << 20,
    .login_timeout_ms = 60000,
    .send_bytes_per_s_min = 1024,
    .write_stall_ms = 30000,
};

struct dj_resp_counters *dj_resp_server_counters(struct dj_resp_server *server)
{
    return server->limits.counters ? server->limits.counters : &server->counters;
}

static void on_refused_written(void *ctx, enum deja_status status)
{
    (void)ctx;
    (void)status;
}

/* Without a word where TLS would have to come first. */
static void refuse(struct dj_resp_server *server, struct dj_stream *stream)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    const struct deja_slice slice = {text, sizeof text - 1};
    bool is_queued;
    dj_resp_count(&dj_resp_server_counters(server)->refused, 1);
    /* The buffer of a new socket takes it whole; where not, the client sees only the close. */
    if (!server->tls &&
        dj_stream_write(stream, &slice, 1, NULL, on_refused_written, &is_queued) == DEJA_OK &&
        !is_queued)
        dj_stream_finish(stream);
    dj_stream_close(stream, NULL, NULL);
}

static void on_accept(void *ctx, struct dj_stream *stream)
{
    struct dj_resp_server *server = ctx;
    struct dj_http_addresses *addresses = server->limits.addresses;
    uint8_t peer[16];
    dj_stream_peer(stream, peer);
    if (addresses && !dj_http_addresses_enter(addresses, peer)) {
        refuse(server, stream);
        return;
    }
    if (server->open_count >= server->limits.connections_max)
        refuse(server, stream);
    else if (dj_resp_session_accept(server, stream))
        return; /* leaves the table when it is closed */
    if (addresses)
        dj_http_addresses_leave(addresses, peer);
}

static void for_each_session(struct dj_resp_server *server, uint64_t now_us,
                             void (*visit)(struct dj_resp_session *, uint64_t now_us))
{
    server->is_visiting = true;
    struct dj_list *node = server->sessions.next;
    while (node != &server->sessions) {
        struct dj_list *next = node->next; /* visit may take node itself off the list */
        visit(DJ_CONTAINER(node, struct dj_resp_session, node), now_us);
        node = next;
    }
    server->is_visiting = false;
}

static void on_sweep(void *ctx)
{
    struct dj_resp_server *server = ctx;
    for_each_session(server, dj_loop_monotonic_us(server->loop), dj_resp_session_sweep);
}

static uint64_t sweep_ms(const struct dj_resp_server_limits *limits)
{
    uint64_t shortest_ms = limits->login_timeout_ms;
    if (limits->idle_timeout_ms && limits->idle_timeout_ms < shortest_ms)
        shortest_ms = limits->idle_timeout_ms;
    if (limits->write_stall_ms < shortest_ms)
        shortest_ms = limits->write_stall_ms;
    uint64_t each_ms = shortest_ms / SWEEPS_PER_TIMEOUT;
    return each_ms < SWEEP_MS_MIN ? SWEEP_MS_MIN : each_ms > SWEEP_MS_MAX ? SWEEP_MS_MAX : each_ms;
}

/* ---- drain ---- */

static void tell_drained(void *ctx)
{
    struct dj_resp_server *server = ctx;
    dj_task_fn *drained = server->drained;
    server->drained = NULL;
    drained(server->drained_ctx); /* may destroy the server */
}

static void tell_if_drained(struct dj_resp_server *server)
{
    if (!server->is_draining || server->open_count > 0 || !server->drained ||
        server->drained_task.run)
        return;
    server->drained_task = (struct dj_task){.run = tell_drained, .ctx = server};
    dj_loop_post(server->loop, &server->drained_task);
}

void dj_resp_server_closed_one(struct dj_resp_server *server)
{
    server->open_count--;
    atomic_fetch_sub_explicit(&dj_resp_server_counters(server)->open, 1, memory_order_relaxed);
    tell_if_drained(server);
}

static void cut(struct dj_resp_session *session, uint64_t now_us)
{
    (void)now_us;
    dj_resp_session_cut(session);
}

static void on_drain_timeout(void *ctx)
{
    struct dj_resp_server *server = ctx;
    for_each_session(server, 0, cut);
}

static void drain(struct dj_resp_session *session, uint64_t now_us)
{
    (void)now_us;
    dj_resp_session_drain(session);
}

void dj_resp_server_drain(struct dj_resp_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained)
{
    assert(dj_loop_is_current(server->loop) && !server->is_draining && drained);
    server->is_draining = true;
    server->drained_ctx = ctx;
    server->drained = drained;
    dj_listener_close(server->listener);
    server->listener = NULL;
    for_each_session(server, 0, drain);
    dj_timer_start(server->drain_timer, timeout_ms, 0);
    tell_if_drained(server);
}

/* ---- life ---- */

/* All but the listener. */
static enum deja_status create_server(struct dj_loop *loop,
                                      const struct dj_resp_server_limits *limits,
                                      const struct dj_resp_handler *handler, void *ctx,
                                      struct dj_resp_server **out_server)
{
    assert(dj_loop_is_current(loop) && handler->opened && handler->command && handler->is_welcome &&
           handler->closed);
    struct dj_resp_server *server = dj_alloc_zeroed(1, sizeof(*server));
    if (!server)
        return DEJA_ERR_NOMEM;
    server->loop = loop;
    server->limits = limits ? *limits : dj_resp_server_limits_default;
    server->handler = handler;
    server->ctx = ctx;
    dj_list_init(&server->sessions);
    enum deja_status status = dj_timer_create(loop, server, on_sweep, &server->sweep);
    if (status == DEJA_OK)
        status = dj_timer_create(loop, server, on_drain_timeout, &server->drain_timer);
    if (status != DEJA_OK) {
        dj_resp_server_destroy(server);
        return status;
    }
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_resp_server_open(struct dj_loop *loop, const struct dj_resp_place *place,
                                     const struct dj_resp_server_limits *limits,
                                     const struct dj_resp_handler *handler, void *ctx,
                                     struct dj_resp_server **out_server, struct deja_error *error)
{
    struct dj_resp_server *server = NULL;
    enum deja_status status = create_server(loop, limits, handler, ctx, &server);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for a server");
    status = place->fd >= 0
                 ? dj_listener_open_fd(loop, place->fd, server, on_accept, &server->listener, error)
                 : dj_listener_open(loop, place->host, place->port, server, on_accept,
                                    &server->listener, error);
    if (status != DEJA_OK) {
        dj_resp_server_destroy(server);
        return status;
    }
    uint64_t each_ms = sweep_ms(&server->limits);
    dj_timer_start(server->sweep, each_ms, each_ms);
    server->port = dj_listener_port(server->listener);
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_resp_server_set_tls(struct dj_resp_server *server, struct dj_tls_server *tls)
{
    assert(dj_loop_is_current(server->loop));
    if (!server->tls_plain)
        server->tls_plain = dj_alloc(DJ_TLS_RECORD_BYTES_MAX);
    if (!server->tls_plain)
        return DEJA_ERR_NOMEM;
    server->tls = tls;
    return DEJA_OK;
}

uint16_t dj_resp_server_port(const struct dj_resp_server *server)
{
    return server->port;
}

uint32_t dj_resp_server_connections(const struct dj_resp_server *server)
{
    return server->open_count;
}

void dj_resp_server_destroy(struct dj_resp_server *server)
{
    if (!server)
        return;
    assert(dj_loop_is_current(server->loop) && server->open_count == 0 && !server->drained);
    dj_listener_close(server->listener);
    dj_timer_destroy(server->sweep);
    dj_timer_destroy(server->drain_timer);
    dj_buf_fini(&server->tls_records);
    dj_buf_fini(&server->out);
    dj_free(server->tls_plain);
    dj_free(server);
}
