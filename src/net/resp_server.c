/* net/resp_server.c - a crowd (crowd.h) of connections that speak RESP. */
#include "net/resp_server.h"

#include <assert.h>

#include "base/alloc.h"
#include "net/resp_internal.h"

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

static struct dj_resp_server *server_of(struct dj_crowd *crowd)
{
    return DJ_CONTAINER(crowd, struct dj_resp_server, crowd);
}

/* Without a word where TLS would have to come first. */
static void refuse(struct dj_crowd *crowd, struct dj_stream *stream)
{
    struct dj_resp_server *server = server_of(crowd);
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

static struct dj_resp_session *session_of(struct dj_list *member)
{
    return DJ_CONTAINER(member, struct dj_resp_session, node);
}

static bool accept_one(struct dj_crowd *crowd, struct dj_stream *stream)
{
    return dj_resp_session_accept(server_of(crowd), stream);
}

static void sweep(struct dj_list *member, uint64_t now_us)
{
    dj_resp_session_sweep(session_of(member), now_us);
}

static void drain(struct dj_list *member, uint64_t now_us)
{
    (void)now_us;
    dj_resp_session_drain(session_of(member));
}

static void cut(struct dj_list *member, uint64_t now_us)
{
    (void)now_us;
    dj_resp_session_cut(session_of(member));
}

static const struct dj_crowd_ops crowd_ops = {
    .accept = accept_one, .refuse = refuse, .sweep = sweep, .drain = drain, .cut = cut};

static uint32_t shortest_ms(const struct dj_resp_server_limits *limits)
{
    uint32_t shortest_ms = limits->login_timeout_ms;
    if (limits->idle_timeout_ms && limits->idle_timeout_ms < shortest_ms)
        shortest_ms = limits->idle_timeout_ms;
    if (limits->write_stall_ms < shortest_ms)
        shortest_ms = limits->write_stall_ms;
    return shortest_ms;
}

void dj_resp_server_closed_one(struct dj_resp_server *server)
{
    atomic_fetch_sub_explicit(&dj_resp_server_counters(server)->open, 1, memory_order_relaxed);
    dj_crowd_closed_one(&server->crowd);
}

void dj_resp_server_drain(struct dj_resp_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained)
{
    dj_crowd_drain(&server->crowd, timeout_ms, ctx, drained);
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
    server->crowd = (struct dj_crowd){.ops = &crowd_ops,
                                      .loop = loop,
                                      .addresses = server->limits.addresses,
                                      .connections_max = server->limits.connections_max};
    enum deja_status status = dj_crowd_init(&server->crowd);
    if (status != DEJA_OK) {
        dj_resp_server_destroy(server);
        return status;
    }
    *out_server = server;
    return DEJA_OK;
}

enum deja_status dj_resp_server_open(struct dj_loop *loop, const struct dj_crowd_place *place,
                                     const struct dj_resp_server_limits *limits,
                                     const struct dj_resp_handler *handler, void *ctx,
                                     struct dj_resp_server **out_server, struct deja_error *error)
{
    struct dj_resp_server *server = NULL;
    enum deja_status status = create_server(loop, limits, handler, ctx, &server);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "no memory for a server");
    status = dj_crowd_listen(&server->crowd, place, shortest_ms(&server->limits), error);
    if (status != DEJA_OK) {
        dj_resp_server_destroy(server);
        return status;
    }
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
    return server->crowd.port;
}

uint32_t dj_resp_server_connections(const struct dj_resp_server *server)
{
    return server->crowd.open_count;
}

void dj_resp_server_destroy(struct dj_resp_server *server)
{
    if (!server)
        return;
    dj_crowd_fini(&server->crowd);
    dj_buf_fini(&server->tls_records);
    dj_buf_fini(&server->out);
    dj_free(server->tls_plain);
    dj_free(server);
}
