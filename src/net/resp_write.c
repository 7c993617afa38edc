/* net/resp_write.c - replies on their way out, through TLS where there is, and what is charged.
 *
 * (1) server->tls_records is empty whenever another function of the room is called, as in
 *     http_tls.c.
 * (2) Every byte that is kept for a client is charged: commands that are not whole, what was sent
 *     ahead, what a handler gathers, queued replies.
 */
#include "net/resp_internal.h"

/* ---- memory ---- */

static _Atomic uint64_t *in_flight(struct dj_resp_server *server)
{
    return server->limits.bytes_in_flight ? server->limits.bytes_in_flight
                                          : &server->bytes_in_flight;
}

void dj_resp_session_recharge(struct dj_resp_session *session)
{
    uint64_t bytes = session->held_bytes;
    if (session->stream && !session->is_broken) /* else its memory goes with the next task */
        bytes += session->input.len + dj_stream_queued_bytes(session->stream);
    if (bytes == session->charged_bytes)
        return;
    atomic_fetch_add_explicit(in_flight(session->server), bytes - session->charged_bytes,
                              memory_order_relaxed);
    session->charged_bytes = bytes;
}

bool dj_resp_server_has_room(struct dj_resp_server *server, uint64_t bytes)
{
    uint64_t max = server->limits.bytes_in_flight_max;
    return bytes <= max &&
           atomic_load_explicit(in_flight(server), memory_order_relaxed) <= max - bytes;
}

bool dj_resp_session_hold(struct dj_resp_session *session, uint64_t bytes)
{
    if (bytes > session->held_bytes &&
        !dj_resp_server_has_room(session->server, bytes - session->held_bytes))
        return false;
    session->held_bytes = bytes;
    dj_resp_session_recharge(session);
    return true;
}

void dj_resp_session_let_go(struct dj_resp_session *session)
{
    session->held_bytes = 0;
    dj_resp_session_recharge(session);
}

/* ---- the socket ---- */

static void on_written(void *ctx, enum deja_status status)
{
    struct dj_resp_session *session = ctx;
    session->pending_writes--;
    if (session->state == DJ_RESP_CLOSED)
        return;
    dj_resp_session_recharge(session);
    if (status != DEJA_OK)
        dj_resp_session_cut(session);
    else if (session->pending_writes == 0)
        dj_resp_session_written(session);
}

void dj_resp_session_send(struct dj_resp_session *session, struct deja_slice bytes)
{
    bool is_queued = false;
    enum deja_status status =
        dj_stream_write(session->stream, &bytes, 1, session, on_written, &is_queued);
    if (status != DEJA_OK) {
        dj_resp_session_fail(session);
        return;
    }
    dj_resp_count(&dj_resp_server_counters(session->server)->bytes_out, bytes.len);
    if (!is_queued)
        return;
    if (session->pending_writes++ == 0) {
        session->queued_seen = SIZE_MAX;
        session->progress_us = dj_loop_monotonic_us(session->server->loop);
    }
    dj_resp_session_recharge(session);
}

/* ---- TLS ---- */

static void send_records(struct dj_resp_session *session)
{
    struct dj_buf *records = &session->server->tls_records;
    if (records->status != DEJA_OK)
        dj_resp_session_fail(session);
    else if (records->len > 0 && !session->is_broken)
        dj_resp_session_send(session, dj_buf_slice(records));
    dj_buf_clear(records); /* (1) */
}

static void write_tls(struct dj_resp_session *session, struct deja_slice bytes)
{
    struct dj_buf *records = &session->server->tls_records;
    while (bytes.len > 0 && !session->is_broken) {
        size_t len = bytes.len < DJ_RESP_FLUSH_BYTES ? bytes.len : DJ_RESP_FLUSH_BYTES;
        if (dj_tls_wire_put(session->wire, deja_slice(bytes.data, len), records) != DEJA_OK) {
            dj_buf_clear(records);
            dj_resp_session_fail(session);
            return;
        }
        send_records(session);
        bytes = deja_slice(bytes.data + len, bytes.len - len);
    }
}

void dj_resp_session_tls_end(struct dj_resp_session *session)
{
    dj_tls_wire_end(session->wire, &session->server->tls_records);
    send_records(session);
}

/* ---- replies ---- */

void dj_resp_session_write(struct dj_resp_session *session, struct deja_slice bytes)
{
    if (!session->stream || session->state == DJ_RESP_CLOSED || session->is_broken ||
        bytes.len == 0)
        return;
    if (session->wire)
        write_tls(session, bytes);
    else
        dj_resp_session_send(session, bytes);
}

void dj_resp_session_flush(struct dj_resp_session *session)
{
    struct dj_buf *out = &session->server->out;
    dj_resp_session_write(session, dj_buf_slice(out));
    if (out->cap > DJ_RESP_KEPT_BYTES_MAX * 2)
        dj_buf_fini(out);
    else
        dj_buf_clear(out);
    if (session->stream && dj_stream_queued_bytes(session->stream) > DJ_RESP_QUEUED_BYTES_MAX)
        session->is_paused = true;
}

bool dj_resp_session_push(struct dj_resp_session *session, struct deja_slice message)
{
    struct dj_resp_server *server = session->server;
    if (session->state == DJ_RESP_CLOSED || session->is_broken || !session->stream)
        return false;
    if (server->running == session) {
        dj_buf_append_slice(&server->out, message);
        return true;
    }
    dj_resp_session_write(session, message);
    if (session->is_broken ||
        dj_stream_queued_bytes(session->stream) <= server->limits.push_bytes_max)
        return !session->is_broken;
    dj_resp_count(&dj_resp_server_counters(server)->lagging, 1);
    dj_resp_session_fail(session);
    return false;
}
