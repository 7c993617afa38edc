/* net/http_sweep.c - what time and want of memory do to connections: timeouts, and whose memory is
 * taken when others have no room.
 *
 * (1) Every byte that is kept for a client is charged: heads, bodies, read-ahead, queued answers.
 * (2) Room is taken only from who waits for nobody but his own client: writers that make no
 * progress first, then bodies that take long. They are told by task, since whoever asks for room
 * may be in the middle of telling others (net/http_connection.c, 4).
 */
#include "base/alloc.h"
#include "net/http_internal.h"

enum {
    BODY_GRACE_MS = 5000,
    ROOM_LOOK_MS = 50,    /* a look at all connections is not repeated sooner */
    STALLED_SPARES = 2,   /* times spared_ms: a sweep notes progress once in that time */
    SLOW_BODY_SPARES = 5, /* times spared_ms, from the head on */
};

static uint64_t ms_since(uint64_t from_us, uint64_t now_us)
{
    return now_us > from_us ? (now_us - from_us) / 1000 : 0;
}

/* ---- memory ---- */

static _Atomic uint64_t *counter_of(struct dj_http_server *server)
{
    return server->limits.bytes_in_flight ? server->limits.bytes_in_flight
                                          : &server->bytes_in_flight;
}

uint64_t dj_http_server_bytes_in_flight(struct dj_http_server *server)
{
    return atomic_load_explicit(counter_of(server), memory_order_relaxed);
}

void dj_http_server_charge(struct dj_http_server *server, uint64_t old_bytes, uint64_t bytes)
{
    if (server && bytes != old_bytes)
        atomic_fetch_add_explicit(counter_of(server), bytes - old_bytes, memory_order_relaxed);
}

void dj_http_connection_recharge(struct dj_http_connection *connection)
{
    uint64_t bytes = 0;
    if (connection->sink)
        return;                 /* no client's */
    if (!connection->is_broken) /* its memory goes with the next task */
        bytes = connection->body.len + connection->input.len +
                dj_http_parser_head_bytes(connection->parser);
    if (connection->stream && !connection->is_broken)
        bytes += dj_stream_queued_bytes(connection->stream);
    dj_http_server_charge(connection->server, connection->charged_bytes, bytes);
    connection->charged_bytes = bytes;
}

static bool fits(struct dj_http_server *server, uint64_t bytes)
{
    uint64_t max = server->limits.bytes_in_flight_max;
    return bytes <= max && dj_http_server_bytes_in_flight(server) <= max - bytes;
}

static bool is_stalled_writer(const struct dj_http_connection *connection, uint64_t now_us)
{
    return connection->pending_writes > 0 &&
           ms_since(connection->progress_us, now_us) >=
               (uint64_t)STALLED_SPARES * connection->server->limits.spared_ms;
}

static bool is_slow_body(const struct dj_http_connection *connection, uint64_t now_us)
{
    return connection->state == DJ_HTTP_BODY &&
           ms_since(connection->state_since_us, now_us) >=
               (uint64_t)SLOW_BODY_SPARES * connection->server->limits.spared_ms;
}

/* Gives up such connections, oldest first, until bytes fit. */
static void give_up(struct dj_http_server *server, const struct dj_http_connection *asking,
                    uint64_t bytes,
                    bool (*is_one)(const struct dj_http_connection *, uint64_t now_us))
{
    uint64_t now_us = dj_loop_monotonic_us(server->loop);
    for (struct dj_list *node = server->crowd.members.next;
         node != &server->crowd.members && !fits(server, bytes); node = node->next) {
        struct dj_http_connection *connection = DJ_CONTAINER(node, struct dj_http_connection, node);
        if (connection == asking || !connection->stream || connection->is_broken ||
            connection->state == DJ_HTTP_CLOSED || !is_one(connection, now_us))
            continue;
        dj_http_connection_fail(connection);
        dj_http_connection_recharge(connection);
    }
}

bool dj_http_server_has_room(struct dj_http_server *server, const struct dj_http_connection *asking,
                             uint64_t bytes)
{
    if (fits(server, bytes))
        return true;
    uint64_t now_us = dj_loop_monotonic_us(server->loop);
    if (server->looked_us && ms_since(server->looked_us, now_us) < ROOM_LOOK_MS)
        return false;
    server->looked_us = now_us;
    give_up(server, asking, bytes, is_stalled_writer);
    give_up(server, asking, bytes, is_slow_body);
    return fits(server, bytes);
}

/* ---- connections ---- */

bool dj_http_connection_evict(struct dj_http_server *server)
{
    if (dj_list_is_empty(&server->waiting))
        return false;
    struct dj_http_connection *oldest =
        DJ_CONTAINER(server->waiting.next, struct dj_http_connection, waiting);
    uint64_t now_us = dj_loop_monotonic_us(server->loop);
    if (ms_since(oldest->waits_since_us, now_us) < server->limits.spared_ms)
        return false;
    dj_http_connection_close(oldest);
    return true;
}

/* Memory of the requests before this wait. */
static void trim(struct dj_http_connection *connection)
{
    if (connection->input.len > 0 || dj_http_parser_has_begun(connection->parser))
        return;
    dj_http_parser_trim(connection->parser);
    dj_buf_fini(&connection->input);
    dj_buf_fini(&connection->body);
    dj_buf_fini(&connection->head);
}

/* ---- time ---- */

static bool is_stalled(struct dj_http_connection *connection, uint64_t now_us)
{
    if (connection->pending_writes == 0)
        return false;
    size_t queued = dj_stream_queued_bytes(connection->stream);
    if (queued < connection->queued_seen)
        connection->progress_us = now_us;
    connection->queued_seen = queued;
    return ms_since(connection->progress_us, now_us) > connection->server->limits.write_stall_ms;
}

/* Judged anew in each window: bytes that came fast at first buy no hours of waiting. */
static bool is_body_too_slow(struct dj_http_connection *connection, uint64_t now_us)
{
    const struct dj_http_limits *limits = &connection->server->limits;
    uint64_t grace_ms =
        limits->header_timeout_ms < BODY_GRACE_MS ? limits->header_timeout_ms : BODY_GRACE_MS;
    uint64_t window_ms = ms_since(connection->window_since_us, now_us);
    if (window_ms <= grace_ms)
        return false;
    uint64_t bytes = dj_http_parser_body_bytes(connection->parser);
    if (bytes - connection->window_bytes < window_ms * limits->body_bytes_per_s_min / 1000)
        return true;
    connection->window_since_us = now_us;
    connection->window_bytes = bytes;
    return false;
}

void dj_http_connection_sweep(struct dj_http_connection *connection, uint64_t now_us)
{
    if (!connection->stream || connection->state == DJ_HTTP_CLOSED)
        return;
    const struct dj_http_limits *limits = &connection->server->limits;
    uint64_t age_ms = ms_since(connection->state_since_us, now_us);
    if (is_stalled(connection, now_us))
        dj_http_connection_cut(connection);
    else if (connection->state == DJ_HTTP_IDLE && age_ms > limits->header_timeout_ms &&
             connection->wire && !dj_tls_wire_is_open(connection->wire))
        dj_http_connection_close(connection);
    else if (connection->state == DJ_HTTP_IDLE && age_ms > limits->idle_timeout_ms)
        dj_http_connection_close(connection);
    else if (connection->state == DJ_HTTP_IDLE && age_ms > DJ_HTTP_TRIM_MS)
        trim(connection);
    else if (connection->state == DJ_HTTP_HEAD && age_ms > limits->header_timeout_ms)
        dj_http_connection_refuse(connection, 408, "the head of the request took too long");
    else if (connection->state == DJ_HTTP_BODY && is_body_too_slow(connection, now_us))
        dj_http_connection_refuse(connection, 408, "the body of the request comes too slowly");
    else if (connection->state == DJ_HTTP_LINGERING && age_ms > DJ_HTTP_LINGER_MS)
        dj_http_connection_close(connection);
}
