/* net/http_tls.c - between a connection and its stream, where the server speaks TLS.
 *
 *   socket ─▶ dj_http_tls_read ─▶ wire ─▶ dj_http_connection_read      requests
 *   socket ◀─ dj_http_connection_send ◀─ wire ◀─ dj_http_tls_write    answers
 *
 * (1) server->tls_records is empty whenever another function of the room is called: what the wire
 *     wants to send has been sent then, or the connection is broken.
 * (2) What was read from the socket in one go (64 KiB at most) is handed on in that go, also when
 *     the connection asks for a pause: as much more than it wanted as without TLS.
 *
 * An answer becomes records piece by piece, so that beside what the socket does not take at once no
 * second copy of it is kept. Trust: untrusted; read in crypto/.
 */
#include "net/http_internal.h"

static void send_records(struct dj_http_connection *connection)
{
    struct dj_buf *records = &connection->server->tls_records;
    if (records->status != DEJA_OK) {
        dj_http_connection_fail(connection);
    } else if (records->len > 0 && !connection->is_broken) {
        const struct deja_slice slice = dj_buf_slice(records);
        dj_http_connection_send(connection, &slice, 1);
    }
    dj_buf_clear(records); /* (1) */
}

/* Somebody speaks HTTP to a port that speaks TLS: he is told, as it can only be a mistake. */
static void tell_plain_http(struct dj_http_connection *connection)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                               "Connection: close\r\nContent-Length: 42\r\n\r\n"
                               "this port speaks TLS: use https:// for it\n";
    const struct deja_slice slice = {text, sizeof text - 1};
    dj_buf_clear(&connection->server->tls_records);
    dj_http_connection_send(connection, &slice, 1);
}

static bool goes_on(const struct dj_http_connection *connection)
{
    return connection->state != DJ_HTTP_CLOSED && !connection->is_broken;
}

void dj_http_tls_read(void *ctx, enum deja_status status, struct deja_slice bytes)
{
    struct dj_http_connection *connection = ctx;
    struct dj_http_server *server = connection->server;
    enum dj_tls_step step = DJ_TLS_DATA;
    if (bytes.len == 0) {
        dj_http_connection_read(connection, status, bytes);
        return;
    }
    while (step == DJ_TLS_DATA && goes_on(connection)) {
        size_t len = 0;
        step = dj_tls_wire_take(connection->wire, &bytes, server->tls_plain, &len,
                                &server->tls_records);
        if (step == DJ_TLS_FAILED && dj_tls_wire_is_http(connection->wire))
            tell_plain_http(connection);
        else
            send_records(connection);
        if (len > 0 && goes_on(connection))
            dj_http_connection_read(connection, DEJA_OK, deja_slice(server->tls_plain, len));
    }
    if ((step != DJ_TLS_END && step != DJ_TLS_FAILED) || !goes_on(connection))
        return;
    dj_stream_read_stop(connection->stream);
    dj_http_connection_read(connection, step == DJ_TLS_END ? DEJA_OK : DEJA_ERR_IO,
                            deja_slice(NULL, 0));
}

static bool put(struct dj_http_connection *connection, struct deja_slice piece)
{
    struct dj_buf *records = &connection->server->tls_records;
    if (dj_tls_wire_put(connection->wire, piece, records) == DEJA_OK)
        return true;
    dj_buf_clear(records); /* half an answer is none */
    dj_http_connection_fail(connection);
    return false;
}

/* A chunk and what frames it fit into one record: they are put together in joined and replace
 * slices. How many there are then. */
static size_t join(struct dj_http_connection *connection, const struct deja_slice *slices,
                   size_t count, struct deja_slice *out_joined)
{
    char *joined = connection->server->tls_joined;
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (slices[i].len > DJ_TLS_RECORD_BYTES_MAX - len)
            return count;
        if (slices[i].len > 0)
            memcpy(joined + len, slices[i].data, slices[i].len);
        len += slices[i].len;
    }
    *out_joined = deja_slice(joined, len);
    return 1;
}

void dj_http_tls_write(struct dj_http_connection *connection, const struct deja_slice *slices,
                       size_t count)
{
    struct dj_buf *records = &connection->server->tls_records;
    struct deja_slice joined = {0};
    if (count > 1 && (count = join(connection, slices, count, &joined)) == 1)
        slices = &joined;
    for (size_t i = 0; i < count; i++) {
        struct deja_slice rest = slices[i];
        while (rest.len > 0) {
            size_t len = rest.len < DJ_HTTP_TLS_PIECE_BYTES ? rest.len : DJ_HTTP_TLS_PIECE_BYTES;
            if (!put(connection, deja_slice(rest.data, len)))
                return;
            rest = deja_slice(rest.data + len, rest.len - len);
            if (records->len >= DJ_HTTP_TLS_PIECE_BYTES)
                send_records(connection);
            if (connection->is_broken)
                return;
        }
    }
    send_records(connection);
}

void dj_http_tls_end(struct dj_http_connection *connection)
{
    dj_tls_wire_end(connection->wire, &connection->server->tls_records);
    send_records(connection);
}
