/* net/http_connection.c - one client: bytes to requests, answers in their order.
 *
 *            first byte          head whole         body whole (or none)
 *   ┌─▶ IDLE ──────────▶ HEAD ──────────────▶ BODY ────────────────────▶ BUSY: the handler has it
 *   │     │               └───────┬───────────┘                           │
 *   │     │                  fault: 4xx, 5xx ── on_error ────────────────▶│ answered
 *   │     │ idle too long         ▼ BUSY                                  ▼
 *   │     │                                                           FLUSHING: bytes queued
 *   └─────┼─── keep-alive ────────────────────────────────────────────────┤
 *         ▼                                                               ▼ close
 *       CLOSED ◀───────────────────────────────────────── LINGERING (until the client closes)
 *
 * (1) One exchange at a time. While it lasts the client is read on, to notice that it left, until
 *     DJ_HTTP_INPUT_BYTES_MAX wait in `input`; then the kernel's window holds it back.
 * (2) The memory goes when the stream is closed, the exchange has ended and no task is posted.
 * (3) A handler is never called from within an answer: what is pipelined behind one that was given
 *     late waits for a task.
 * (4) Nobody is called back inside a call of his own: a write that fails is told by task.
 *
 * LINGERING: a client that is refused, or that sent more behind a last request, may still be
 * sending. Closing at once would meet that with a reset, which can destroy the answer before it is
 * read (RFC 9112 9.6), so our side is ended, and what comes is thrown away.
 */
#include <assert.h>

#include "base/alloc.h"
#include "net/http_addresses.h"
#include "net/http_internal.h"

/* Little is reserved on a client's word; a body that does come grows its buffer by doubling. */
enum { BODY_RESERVE_BYTES_MAX = 64 * 1024 };

static void read_on_or_hold_back(struct dj_http_connection *connection);

struct dj_http_connection *dj_http_connection_of(struct dj_http_exchange *exchange)
{
    return DJ_CONTAINER(exchange, struct dj_http_connection, exchange);
}

bool dj_http_exchange_has_owner(struct dj_http_exchange *exchange)
{
    return dj_http_connection_of(exchange)->owner.on_closed != NULL;
}

void dj_http_exchange_own(struct dj_http_exchange *exchange, const struct dj_http_owner *owner)
{
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    assert(!connection->owner.on_closed);
    if (connection->stream)
        connection->owner = *owner;
    else /* its client has left already */
        owner->on_closed(owner->ctx, owner->id);
}

void dj_http_exchange_close_after(struct dj_http_exchange *exchange)
{
    dj_http_connection_of(exchange)->must_close = true;
}

static void set_state(struct dj_http_connection *connection, enum dj_http_state state)
{
    connection->state = state;
    connection->state_since_us = dj_loop_turn_us(connection->loop);
    if (state == DJ_HTTP_IDLE) {
        connection->waits_since_us = connection->state_since_us;
        dj_list_push_back(&connection->server->waiting, &connection->waiting);
    } else if (state != DJ_HTTP_HEAD) {
        dj_list_remove(&connection->waiting);
    }
}

void dj_http_connection_free(struct dj_http_connection *connection)
{
    if (!connection)
        return;
    dj_list_remove(&connection->node);
    dj_http_server_charge(connection->server, connection->charged_bytes, 0);
    dj_arena_fini(&connection->exchange.arena);
    dj_http_parser_destroy(connection->parser);
    dj_tls_wire_destroy(connection->wire);
    dj_http_sink_destroy(connection->sink);
    dj_buf_fini(&connection->input);
    dj_buf_fini(&connection->body);
    dj_buf_fini(&connection->head);
    dj_free(connection->headers);
    dj_free(connection);
}

static void post_task(struct dj_http_connection *connection)
{
    if (connection->is_posted)
        return;
    connection->is_posted = true;
    dj_loop_post(connection->loop, &connection->task);
}

static void free_if_over(struct dj_http_connection *connection)
{
    if (connection->stream || connection->exchange.is_active || connection->is_posted)
        return;
    if (connection->server && connection->server->crowd.is_visiting)
        post_task(connection);
    else
        dj_http_connection_free(connection);
}

static void on_closed(void *ctx)
{
    struct dj_http_connection *connection = ctx;
    struct dj_http_server *server = connection->server;
    if (server && server->limits.addresses) {
        uint8_t peer[16];
        dj_stream_peer(connection->stream, peer);
        dj_http_addresses_leave(server->limits.addresses, peer);
    }
    connection->stream = NULL;
    if (connection->owner.on_closed)
        connection->owner.on_closed(connection->owner.ctx, connection->owner.id);
    connection->owner.on_closed = NULL;
    dj_http_connection_recharge(connection);
    free_if_over(connection);
    if (server)
        dj_crowd_closed_one(&server->crowd);
}

static void close_stream(struct dj_http_connection *connection, bool must_reset)
{
    if (connection->state == DJ_HTTP_CLOSED)
        return;
    if (connection->wire && !must_reset && !connection->is_broken)
        dj_http_tls_end(connection);
    set_state(connection, DJ_HTTP_CLOSED);
    if (must_reset)
        dj_stream_abort(connection->stream, connection, on_closed);
    else
        dj_stream_close(connection->stream, connection, on_closed);
}

static void end_exchange(struct dj_http_connection *connection)
{
    struct dj_http_exchange *exchange = &connection->exchange;
    dj_arena_fini(&exchange->arena);
    exchange->is_active = false;
    exchange->on_event = NULL;
    if (connection->body.cap > DJ_HTTP_KEPT_BYTES_MAX)
        dj_buf_fini(&connection->body);
    else
        dj_buf_clear(&connection->body);
    dj_http_connection_recharge(connection);
}

/* The client left or was cut: a watcher is told, and the exchange is over; one that nobody watches
 * waits for its answer. */
static void lose_client(struct dj_http_connection *connection, bool must_reset)
{
    close_stream(connection, must_reset);
    struct dj_http_exchange *exchange = &connection->exchange;
    if (!exchange->is_active || !exchange->on_event)
        return;
    dj_http_event_fn *on_event = exchange->on_event;
    exchange->on_event = NULL;
    on_event(exchange->watch_ctx, exchange, DJ_HTTP_GONE);
    end_exchange(connection);
}

static void after_flush(struct dj_http_connection *connection)
{
    bool has_all_ended = connection->has_ended && connection->input.len == 0;
    if (connection->must_close && !connection->has_ended) {
        if (connection->wire)
            dj_http_tls_end(connection);
        if (connection->is_broken)
            return; /* the task closes */
        if (connection->pending_writes > 0) {
            set_state(connection, DJ_HTTP_FLUSHING);
            return;
        }
        dj_stream_finish(connection->stream);
        set_state(connection, DJ_HTTP_LINGERING);
        connection->input.len = 0;
        read_on_or_hold_back(connection);
        return;
    }
    if (connection->must_close || has_all_ended) {
        close_stream(connection, false);
        return;
    }
    dj_http_parser_next(connection->parser);
    dj_http_connection_recharge(connection);
    set_state(connection, DJ_HTTP_IDLE);
    if (connection->input.len > 0 && !connection->is_processing)
        post_task(connection); /* (3) */
}

static void on_written(void *ctx, enum deja_status status)
{
    struct dj_http_connection *connection = ctx;
    connection->pending_writes--;
    if (connection->state == DJ_HTTP_CLOSED)
        return;
    dj_http_connection_recharge(connection);
    if (status != DEJA_OK) {
        lose_client(connection, true);
        return;
    }
    if (connection->pending_writes > 0)
        return;
    struct dj_http_exchange *exchange = &connection->exchange;
    if (connection->state == DJ_HTTP_FLUSHING) {
        after_flush(connection);
    } else if (exchange->is_active && exchange->wants_drained) {
        exchange->wants_drained = false;
        if (exchange->on_event)
            exchange->on_event(exchange->watch_ctx, exchange, DJ_HTTP_DRAINED);
    }
}

void dj_http_connection_fail(struct dj_http_connection *connection)
{
    connection->is_broken = true; /* (4) */
    post_task(connection);
}

void dj_http_connection_send(struct dj_http_connection *connection, const struct deja_slice *slices,
                             size_t count)
{
    bool is_queued = false;
    enum deja_status status =
        dj_stream_write(connection->stream, slices, count, connection, on_written, &is_queued);
    if (status != DEJA_OK) {
        dj_http_connection_fail(connection);
        return;
    }
    if (!is_queued)
        return;
    if (connection->pending_writes++ == 0) {
        connection->queued_seen = SIZE_MAX;
        connection->progress_us = dj_loop_monotonic_us(connection->loop);
    }
    dj_http_connection_recharge(connection);
}

void dj_http_connection_write(struct dj_http_connection *connection,
                              const struct deja_slice *slices, size_t count)
{
    if (connection->state == DJ_HTTP_CLOSED || connection->is_broken)
        return;
    if (connection->wire)
        dj_http_tls_write(connection, slices, count);
    else
        dj_http_connection_send(connection, slices, count);
}

void dj_http_connection_answered(struct dj_http_connection *connection)
{
    end_exchange(connection);
    if (connection->state == DJ_HTTP_CLOSED) {
        free_if_over(connection);
        return;
    }
    if (connection->is_broken)
        return; /* the task closes */
    if (connection->pending_writes > 0)
        set_state(connection, DJ_HTTP_FLUSHING);
    else
        after_flush(connection);
}

void dj_http_connection_abort(struct dj_http_connection *connection)
{
    /* Where the end of the connection would be the end of the answer, only a reset tells. */
    bool must_reset = connection->exchange.is_close_delimited;
    connection->exchange.on_event = NULL;
    close_stream(connection, must_reset);
    end_exchange(connection);
    free_if_over(connection);
}

void dj_http_connection_refuse(struct dj_http_connection *connection, int status,
                               const char *detail)
{
    connection->must_close = true;
    set_state(connection, DJ_HTTP_BUSY);
    dj_http_answer_error(connection, status, detail);
}

static bool on_body(void *ctx, struct deja_slice bytes)
{
    struct dj_http_connection *connection = ctx;
    struct dj_http_server *server = connection->server;
    if (!dj_http_server_has_room(server, connection, bytes.len))
        return false;
    dj_buf_append_slice(&connection->body, bytes);
    dj_http_connection_recharge(connection);
    return connection->body.status == DEJA_OK;
}

/* A part of a head has come and is kept. */
static void charge_head(struct dj_http_connection *connection)
{
    dj_http_connection_recharge(connection);
    if (!dj_http_server_has_room(connection->server, connection, 0))
        dj_http_connection_refuse(connection, 503, "too many bytes in flight");
}

/* The head is whole and a body follows. */
static void begin_body(struct dj_http_connection *connection)
{
    const struct dj_http_head *head = dj_http_parser_head(connection->parser);
    if (!dj_http_server_has_room(connection->server, connection, head->content_length)) {
        dj_http_connection_refuse(connection, 503, "too many bytes in flight");
        return;
    }
    set_state(connection, DJ_HTTP_BODY);
    connection->window_since_us = connection->state_since_us;
    connection->window_bytes = 0;
    size_t expected = head->content_length < BODY_RESERVE_BYTES_MAX ? (size_t)head->content_length
                                                                    : BODY_RESERVE_BYTES_MAX;
    if (expected > 0 && !dj_buf_reserve(&connection->body, expected)) {
        dj_http_connection_refuse(connection, 503, "out of memory");
        return;
    }
    if (head->expects_continue) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        const struct deja_slice slice = {text, sizeof(text) - 1};
        dj_http_connection_write(connection, &slice, 1);
    }
}

static bool copy_headers(struct dj_http_connection *connection, const struct dj_http_head *head)
{
    if (head->field_count > connection->header_cap) {
        struct dj_http_header *headers =
            dj_realloc(connection->headers, head->field_count * sizeof(*headers));
        if (!headers)
            return false;
        connection->headers = headers;
        connection->header_cap = head->field_count;
    }
    for (size_t i = 0; i < head->field_count; i++)
        connection->headers[i] =
            (struct dj_http_header){head->fields[i].name, head->fields[i].value};
    return true;
}

/* Gives the request that is whole to the handler. */
static void dispatch(struct dj_http_connection *connection, uint64_t started_us)
{
    struct dj_http_server *server = connection->server;
    const struct dj_http_head *head = dj_http_parser_head(connection->parser);
    if (!copy_headers(connection, head)) {
        dj_http_connection_refuse(connection, 503, "out of memory");
        return;
    }
    const char *mark = head->target.len ? memchr(head->target.data, '?', head->target.len) : NULL;
    size_t path_len = mark ? (size_t)(mark - head->target.data) : head->target.len;
    struct dj_http_exchange *exchange = &connection->exchange;
    *exchange = (struct dj_http_exchange){
        .request =
            {
                .method = head->method,
                .target = head->target,
                .path = deja_slice(head->target.data, path_len),
                .query = mark ? deja_slice(mark + 1, head->target.len - path_len - 1)
                              : deja_slice(NULL, 0),
                .headers = connection->headers,
                .header_count = head->field_count,
                .body = dj_buf_slice(&connection->body),
                .is_loopback_peer = dj_stream_is_loopback(connection->stream),
                .listener = server->mark,
                .started_us = started_us,
                .arena = &exchange->arena,
            },
        .is_active = true,
        .is_head_request = head->method.len == 4 && memcmp(head->method.data, "HEAD", 4) == 0,
        .body_bytes_left = -1,
    };
    dj_stream_peer(connection->stream, exchange->request.peer);
    dj_arena_init(&exchange->arena, (size_t)server->limits.body_bytes_max * 4 + ((size_t)1 << 20));
    if (connection->wire) {
        exchange->request.peer_identity = dj_tls_wire_fingerprint(connection->wire);
        exchange->request.peer_subject = dj_tls_wire_subject(connection->wire);
    }
    connection->minor_version = head->minor_version;
    connection->must_close = !head->is_keep_alive || server->crowd.is_draining;
    set_state(connection, DJ_HTTP_BUSY);
    server->handler(server->ctx, exchange);
}

static bool is_reading_request(const struct dj_http_connection *connection)
{
    return connection->state <= DJ_HTTP_BODY && !connection->is_broken;
}

/* Takes requests out of bytes until one is not answered at once; how many bytes were taken. */
static size_t process(struct dj_http_connection *connection, struct deja_slice bytes)
{
    size_t total = 0;
    assert(!connection->is_processing);
    connection->is_processing = true;
    while (is_reading_request(connection) && total < bytes.len) {
        size_t taken = 0;
        enum dj_http_step step = dj_http_parser_feed(
            connection->parser, deja_slice(bytes.data + total, bytes.len - total), &taken,
            connection, on_body);
        total += taken;
        if (connection->state == DJ_HTTP_IDLE && dj_http_parser_has_begun(connection->parser)) {
            set_state(connection, DJ_HTTP_HEAD);
            connection->exchange.request.started_us = dj_loop_monotonic_us(connection->loop);
        }
        if (step == DJ_HTTP_STEP_MORE && connection->state == DJ_HTTP_HEAD)
            charge_head(connection);
        else if (step == DJ_HTTP_STEP_HEAD)
            begin_body(connection);
        else if (step == DJ_HTTP_STEP_DONE)
            dispatch(connection, connection->exchange.request.started_us);
        else if (step == DJ_HTTP_STEP_FAILED)
            dj_http_connection_refuse(connection, dj_http_parser_status(connection->parser),
                                      dj_http_parser_detail(connection->parser));
    }
    connection->is_processing = false;
    return total;
}

void dj_http_connection_read(void *ctx, enum deja_status status, struct deja_slice bytes)
{
    struct dj_http_connection *connection = ctx;
    if (bytes.len == 0) {
        connection->is_reading = false;
        connection->has_ended = true;
        /* Input in a state that reads waits for the task, which closes when it is used up. */
        bool is_awaited = connection->input.len > 0 || connection->state == DJ_HTTP_BUSY ||
                          connection->state == DJ_HTTP_FLUSHING;
        /* A client that only ended its side may still read: unless somebody watches, try. */
        if (status == DEJA_OK && is_awaited && !connection->exchange.on_event)
            return;
        lose_client(connection, false);
        return;
    }
    if (connection->state == DJ_HTTP_LINGERING) {
        connection->linger_bytes += bytes.len;
        if (connection->linger_bytes > DJ_HTTP_LINGER_BYTES_MAX)
            close_stream(connection, true);
        return;
    }
    size_t taken = 0;
    if (connection->input.len == 0 && is_reading_request(connection))
        taken = process(connection, bytes);
    if (connection->state >= DJ_HTTP_LINGERING || taken == bytes.len)
        return;
    dj_buf_append(&connection->input, bytes.data + taken, bytes.len - taken);
    if (connection->input.status != DEJA_OK) {
        lose_client(connection, true);
        return;
    }
    dj_http_connection_recharge(connection);
    read_on_or_hold_back(connection);
}

static void read_on_or_hold_back(struct dj_http_connection *connection)
{
    if (connection->state == DJ_HTTP_CLOSED || connection->has_ended)
        return;
    bool must_read = connection->input.len < DJ_HTTP_INPUT_BYTES_MAX;
    if (must_read && !connection->is_reading)
        dj_stream_read_start(connection->stream, connection,
                             connection->wire ? dj_http_tls_read : dj_http_connection_read);
    else if (!must_read && connection->is_reading)
        dj_stream_read_stop(connection->stream);
    connection->is_reading = must_read;
}

static void take_input(struct dj_http_connection *connection)
{
    size_t taken = process(connection, dj_buf_slice(&connection->input));
    dj_buf_consume(&connection->input, taken); /* nothing, if an error threw it away */
    if (connection->input.len == 0 && connection->input.cap > DJ_HTTP_KEPT_BYTES_MAX)
        dj_buf_fini(&connection->input);
    dj_http_connection_recharge(connection);
    if (connection->has_ended && is_reading_request(connection))
        close_stream(connection, false); /* half a request, and nothing more will come */
    else
        read_on_or_hold_back(connection);
}

static void on_task(void *ctx)
{
    struct dj_http_connection *connection = ctx;
    connection->is_posted = false;
    if (connection->state != DJ_HTTP_CLOSED) {
        if (connection->is_broken)
            lose_client(connection, true);
        else if (is_reading_request(connection) && connection->input.len > 0)
            take_input(connection);
    }
    free_if_over(connection);
}

void dj_http_connection_drain(struct dj_http_connection *connection)
{
    if (connection->state == DJ_HTTP_IDLE && connection->input.len == 0)
        close_stream(connection, false);
    else if (connection->state >= DJ_HTTP_BUSY)
        connection->must_close = true;
}

void dj_http_connection_close(struct dj_http_connection *connection)
{
    close_stream(connection, false);
}

void dj_http_connection_cut(struct dj_http_connection *connection)
{
    if (connection->stream && connection->state != DJ_HTTP_CLOSED)
        lose_client(connection, true);
}

bool dj_http_connection_accept(struct dj_http_server *server, struct dj_stream *stream)
{
    struct dj_http_connection *connection = dj_alloc_zeroed(1, sizeof(*connection));
    if (!connection)
        goto failed;
    const struct dj_http_parser_limits limits = {
        .head_bytes_max = server->limits.header_bytes_max,
        .fields_max = server->limits.headers_max,
        .body_bytes_max = server->limits.body_bytes_max,
    };
    if (dj_http_parser_create(&limits, &connection->parser) != DEJA_OK)
        goto failed;
    if (server->tls && dj_tls_wire_create(server->tls, &connection->wire) != DEJA_OK)
        goto failed;
    connection->server = server;
    connection->loop = server->loop;
    connection->stream = stream;
    connection->task = (struct dj_task){.run = on_task, .ctx = connection};
    dj_list_init(&connection->waiting);
    dj_crowd_join(&server->crowd, &connection->node);
    set_state(connection, DJ_HTTP_IDLE);
    read_on_or_hold_back(connection);
    return true;
failed:
    if (connection)
        dj_http_parser_destroy(connection->parser);
    dj_free(connection);
    dj_stream_close(stream, NULL, NULL);
    return false;
}
