/* net/http_response.c - heads of answers, whole answers and streamed ones.
 *
 * The head is built in a buffer of the connection and leaves with the body in one call, a small
 * body copied behind it. Framing is ours alone: what a caller says about it is left out.
 */
#include <assert.h>
#include <stdio.h>

#include "net/http_headers.h"
#include "net/http_internal.h"

/* A body up to here is copied behind its head: writing one piece takes 2 % less of a hit of 1 KiB
 * than writing two. */
enum { JOINED_BYTES_MAX = 2048 };

const struct dj_http_request *dj_http_exchange_request(const struct dj_http_exchange *exchange)
{
    return &exchange->request;
}

struct dj_loop *dj_http_exchange_loop(const struct dj_http_exchange *exchange)
{
    const char *base = (const char *)exchange - offsetof(struct dj_http_connection, exchange);
    return ((const struct dj_http_connection *)(const void *)base)->loop;
}

void dj_http_exchange_watch(struct dj_http_exchange *exchange, void *ctx,
                            dj_http_event_fn *on_event)
{
    assert(exchange->is_active);
    exchange->watch_ctx = ctx;
    exchange->on_event = on_event;
}

void dj_http_exchange_add_headers(struct dj_http_exchange *exchange,
                                  const struct dj_http_header *headers, size_t count)
{
    assert(exchange->is_active);
    size_t before = exchange->added_count;
    struct dj_http_header *both =
        before ? dj_arena_alloc(&exchange->arena, (before + count) * sizeof *both) : NULL;
    if (both) {
        memcpy(both, exchange->added, before * sizeof *both);
        memcpy(both + before, headers, count * sizeof *both);
    }
    exchange->added = both ? both : headers;
    exchange->added_count = both ? before + count : count;
}

static bool is_ours(struct deja_slice name)
{
    switch (name.len) {
    case 4:
        return dj_http_is_same(name, "date");
    case 10:
        return dj_http_is_same(name, "connection") || dj_http_is_same(name, "keep-alive");
    case 14:
        return dj_http_is_same(name, "content-length");
    case 17:
        return dj_http_is_same(name, "transfer-encoding");
    default:
        return false;
    }
}

/* Said by others too, and by those better. */
static bool is_added(const struct dj_http_exchange *exchange, struct deja_slice name)
{
    for (size_t i = 0; i < exchange->added_count; i++)
        if (dj_http_is_same_slice(exchange->added[i].name, name))
            return !dj_http_is_same(name, "vary");
    return false;
}

/* Room is asked for once a line. */
static void append_header(struct dj_buf *head, struct deja_slice name, struct deja_slice value)
{
    size_t len = name.len + 2 + value.len + 2; /* both are in memory: no overflow */
    char *at = dj_buf_reserve(head, len);
    if (!at)
        return;
    memcpy(at, name.data, name.len);
    memcpy(at + name.len, ": ", 2);
    at += name.len + 2;
    if (value.len)
        memcpy(at, value.data, value.len);
    memcpy(at + value.len, "\r\n", 2);
    head->len += len;
}

static void append_headers(struct dj_buf *head, const struct dj_http_exchange *exchange,
                           const struct dj_http_header *headers, size_t count)
{
    bool is_own = headers != exchange->added;
    for (size_t i = 0; i < count; i++) {
        if (is_own && is_added(exchange, headers[i].name))
            continue;
        if (is_ours(headers[i].name) || !dj_http_is_token(headers[i].name) ||
            !dj_http_is_value(headers[i].value))
            continue;
        append_header(head, headers[i].name, headers[i].value);
    }
}

/* Everything up to the framing headers. */
static void begin_head(struct dj_http_connection *connection, int status,
                       const struct dj_http_header *headers, size_t count)
{
    assert(status >= 200 && status <= 999);
    struct dj_buf *head = &connection->head;
    dj_buf_clear(head);
    if (status == 200) {
        dj_buf_append(head, "HTTP/1.1 200 OK\r\nDate: ", 23);
    } else {
        dj_buf_append(head, "HTTP/1.1 ", 9);
        dj_buf_append_u64(head, (uint64_t)status);
        dj_buf_append_byte(head, ' ');
        dj_buf_append_text(head, dj_http_reason(status));
        dj_buf_append(head, "\r\nDate: ", 8);
    }
    dj_buf_append_text(head, dj_http_server_date(connection->server));
    dj_buf_append(head, "\r\n", 2);
    append_headers(head, &connection->exchange, headers, count);
    append_headers(head, &connection->exchange, connection->exchange.added,
                   connection->exchange.added_count);
    if (connection->must_close || connection->server->crowd.is_draining ||
        (connection->has_ended && connection->input.len == 0)) {
        connection->must_close = true;
        dj_buf_append_text(head, "Connection: close\r\n");
    } else if (connection->minor_version == 0) {
        dj_buf_append_text(head, "Connection: keep-alive\r\n");
    }
}

static void append_length(struct dj_buf *head, uint64_t length)
{
    dj_buf_append(head, "Content-Length: ", 16);
    dj_buf_append_u64(head, length);
    dj_buf_append(head, "\r\n", 2);
}

static bool is_bodiless(const struct dj_http_exchange *exchange, int status)
{
    return exchange->is_head_request || status == 204 || status == 304;
}

static bool is_client_there(const struct dj_http_connection *connection)
{
    return connection->state != DJ_HTTP_CLOSED && connection->server;
}

/* What others have not read yet leaves no room to queue an answer of this size. */
static bool is_too_much(const struct dj_http_connection *connection, size_t bytes)
{
    struct dj_http_server *server = connection->server;
    if (bytes <= DJ_HTTP_SMALL_BYTES_MAX)
        return false;
    /* A quarter is left for requests on their way in, unless this answer alone needs it. */
    uint64_t max = server->limits.bytes_in_flight_max;
    uint64_t kept_free = bytes <= max / 2 ? max / 4 : 0;
    return !dj_http_server_has_room(server, connection, bytes + kept_free);
}

static void refuse_for_size(struct dj_http_exchange *exchange)
{
    static const char detail[] = "too many answers wait for their clients";
    struct dj_http_server *server = dj_http_connection_of(exchange)->server;
    if (server->on_error)
        server->on_error(server->ctx, 503, detail, exchange->request.path, exchange);
    else
        dj_http_respond(exchange, 503, NULL, 0, deja_slice_text(detail));
}

/* The head, which is built, and body. */
static void write_whole(struct dj_http_connection *connection, struct deja_slice body)
{
    struct dj_buf *head = &connection->head;
    if (body.len <= JOINED_BYTES_MAX && dj_buf_reserve(head, body.len)) {
        dj_buf_append_slice(head, body);
        body.len = 0;
    }
    const struct deja_slice parts[] = {dj_buf_slice(head), body};
    dj_http_connection_write(connection, parts, body.len > 0 ? 2 : 1);
}

void dj_http_respond(struct dj_http_exchange *exchange, int status,
                     const struct dj_http_header *headers, size_t header_count,
                     struct deja_slice body)
{
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    assert(exchange->is_active && !exchange->is_begun);
    exchange->on_event = NULL;
    if (is_client_there(connection) && is_too_much(connection, body.len)) {
        refuse_for_size(exchange);
        return;
    }
    if (connection->sink) {
        dj_http_sink_begin(connection->sink, status, headers, header_count);
        dj_http_sink_write(connection->sink, body);
        dj_http_sink_end(connection->sink, true);
    }
    if (is_client_there(connection)) {
        begin_head(connection, status, headers, header_count);
        if (status != 204 && status != 304)
            append_length(&connection->head, body.len);
        dj_buf_append(&connection->head, "\r\n", 2);
        if (connection->head.status != DEJA_OK) {
            dj_http_connection_abort(connection);
            return;
        }
        write_whole(connection, is_bodiless(exchange, status) ? deja_slice(NULL, 0) : body);
    }
    dj_http_connection_answered(connection);
}

void dj_http_respond_begin(struct dj_http_exchange *exchange, int status,
                           const struct dj_http_header *headers, size_t header_count,
                           int64_t content_length)
{
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    assert(exchange->is_active && !exchange->is_begun);
    exchange->is_begun = true;
    exchange->has_no_body = is_bodiless(exchange, status);
    exchange->body_bytes_left = content_length < 0 ? -1 : content_length;
    if (connection->sink)
        dj_http_sink_begin(connection->sink, status, headers, header_count);
    if (!is_client_there(connection))
        return;
    bool can_chunk = connection->minor_version >= 1;
    if (content_length < 0 && !exchange->has_no_body) {
        exchange->is_chunked = can_chunk;
        exchange->is_close_delimited = !can_chunk;
        connection->must_close = connection->must_close || !can_chunk;
    }
    begin_head(connection, status, headers, header_count);
    if (content_length >= 0 && status != 204 && status != 304)
        append_length(&connection->head, (uint64_t)content_length);
    else if (content_length < 0 && can_chunk && status != 204 && status != 304)
        dj_buf_append_text(&connection->head, "Transfer-Encoding: chunked\r\n");
    dj_buf_append(&connection->head, "\r\n", 2);
    const struct deja_slice head = dj_buf_slice(&connection->head);
    if (connection->head.status == DEJA_OK)
        dj_http_connection_write(connection, &head, 1);
    else
        dj_http_connection_fail(connection);
}

bool dj_http_respond_write(struct dj_http_exchange *exchange, struct deja_slice bytes)
{
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    assert(exchange->is_active && exchange->is_begun);
    if (connection->sink)
        dj_http_sink_write(connection->sink, bytes);
    if (!is_client_there(connection) || exchange->has_no_body || bytes.len == 0)
        return true;
    if (exchange->body_bytes_left >= 0) {
        if (bytes.len > (uint64_t)exchange->body_bytes_left)
            bytes.len = (size_t)exchange->body_bytes_left; /* more would be the next answer */
        exchange->body_bytes_left -= (int64_t)bytes.len;
    }
    if (exchange->is_chunked) {
        char size_line[24];
        int len = snprintf(size_line, sizeof(size_line), "%zx\r\n", bytes.len);
        const struct deja_slice parts[] = {{size_line, (size_t)len}, bytes, {"\r\n", 2}};
        dj_http_connection_write(connection, parts, 3);
    } else {
        dj_http_connection_write(connection, &bytes, 1);
    }
    if (connection->is_broken)
        return !exchange->on_event; /* a watcher is about to hear of it */
    struct dj_http_server *server = connection->server;
    bool is_short = dj_http_server_bytes_in_flight(server) > server->limits.bytes_in_flight_max / 2;
    size_t queued_max = is_short ? DJ_HTTP_SMALL_BYTES_MAX : DJ_HTTP_QUEUED_BYTES_MAX;
    if (dj_stream_queued_bytes(connection->stream) <= queued_max)
        return true;
    exchange->wants_drained = true;
    return false;
}

void dj_http_respond_end(struct dj_http_exchange *exchange)
{
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    assert(exchange->is_active && exchange->is_begun);
    exchange->on_event = NULL;
    if (connection->sink)
        dj_http_sink_end(connection->sink, true);
    if (is_client_there(connection)) {
        if (exchange->body_bytes_left > 0 && !exchange->has_no_body) {
            dj_http_connection_abort(connection); /* shorter than said */
            return;
        }
        if (exchange->is_chunked) {
            const struct deja_slice last = {"0\r\n\r\n", 5};
            dj_http_connection_write(connection, &last, 1);
        }
    }
    dj_http_connection_answered(connection);
}

void dj_http_respond_abort(struct dj_http_exchange *exchange)
{
    assert(exchange->is_active);
    struct dj_http_connection *connection = dj_http_connection_of(exchange);
    if (connection->sink)
        dj_http_sink_end(connection->sink, false);
    dj_http_connection_abort(connection);
}

void dj_http_answer_error(struct dj_http_connection *connection, int status, const char *detail)
{
    struct dj_http_server *server = connection->server;
    struct dj_http_exchange *exchange = &connection->exchange;
    struct deja_slice target = dj_http_parser_target(connection->parser);
    const char *mark = target.len ? memchr(target.data, '?', target.len) : NULL;
    struct deja_slice path =
        deja_slice(target.data, mark ? (size_t)(mark - target.data) : target.len);
    *exchange = (struct dj_http_exchange){
        .request = {.target = target,
                    .path = path,
                    .is_loopback_peer = dj_stream_is_loopback(connection->stream),
                    .listener = server->mark,
                    .started_us = exchange->request.started_us,
                    .arena = &exchange->arena},
        .is_active = true,
        .body_bytes_left = -1,
    };
    connection->minor_version = 1;
    if (server->on_error) {
        server->on_error(server->ctx, status, detail, path, exchange);
        return;
    }
    const struct dj_http_header type = {{"Content-Type", 12}, {"text/plain", 10}};
    dj_http_respond(exchange, status, &type, 1, deja_slice_text(detail));
}
