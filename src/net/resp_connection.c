/* net/resp_connection.c - one client: commands are read and run in order.
 *
 * (1) Commands run only in READING, one after another; while one is awaited, or the client does not
 *     read its replies, what it sends stays in `input`, up to DJ_RESP_INPUT_BYTES_MAX, and then in
 *     its socket.
 * (2) server->out holds replies of server->running alone, and nothing between two turns.
 * (3) The handler's closed() comes after answered(): the session lives as long as a command is
 *     pending, its stream need not.
 * (4) A write that fails is told by task, never inside a call of the handler's.
 *
 * Commands are parsed where the socket's bytes were read to; only what is not whole is copied.
 */
#include <assert.h>

#include "base/alloc.h"
#include "net/http_addresses.h"
#include "net/resp_internal.h"

/* Of somebody who has not said who he is. */
static const struct dj_resp_limits stranger_limits = {
    .args_max = 32, .inline_bytes_max = 4096, .bulk_bytes_max = 16384, .command_bytes_max = 65536};
enum { INLINE_BYTES_MAX = 65536, GRACE_MS = 5000 };

static void settle(struct dj_resp_session *session);
static void on_read(void *ctx, enum deja_status status, struct deja_slice bytes);

/* ---- the end ---- */

static void post_task(struct dj_resp_session *session)
{
    if (session->is_posted)
        return;
    session->is_posted = true;
    dj_loop_post(session->server->loop, &session->task);
}

static void free_session(struct dj_resp_session *session)
{
    struct dj_resp_server *server = session->server;
    if (session->client)
        server->handler->closed(session->client);
    dj_list_remove(&session->node);
    dj_resp_parser_fini(&session->parser);
    dj_buf_fini(&session->input);
    dj_tls_wire_destroy(session->wire);
    dj_free(session);
    dj_resp_server_closed_one(server);
}

static void free_if_over(struct dj_resp_session *session)
{
    if (session->stream || session->is_command_pending || session->behind || session->is_posted)
        return; /* (3) */
    if (session->server->crowd.is_visiting)
        post_task(session);
    else
        free_session(session);
}

static void on_closed(void *ctx)
{
    struct dj_resp_session *session = ctx;
    if (session->server->limits.addresses) {
        uint8_t peer[16];
        dj_stream_peer(session->stream, peer);
        dj_http_addresses_leave(session->server->limits.addresses, peer);
    }
    session->stream = NULL;
    dj_resp_session_recharge(session);
    free_if_over(session);
}

static void close_stream(struct dj_resp_session *session, bool must_reset)
{
    if (session->state == DJ_RESP_CLOSED)
        return;
    if (session->wire && !must_reset && !session->is_broken)
        dj_resp_session_tls_end(session);
    session->state = DJ_RESP_CLOSED;
    if (must_reset)
        dj_stream_abort(session->stream, session, on_closed);
    else
        dj_stream_close(session->stream, session, on_closed);
}

void dj_resp_session_close(struct dj_resp_session *session)
{
    close_stream(session, false);
}

void dj_resp_session_cut(struct dj_resp_session *session)
{
    close_stream(session, true);
}

void dj_resp_session_fail(struct dj_resp_session *session)
{
    session->is_broken = true; /* (4) */
    post_task(session);
}

static void on_task(void *ctx)
{
    struct dj_resp_session *session = ctx;
    session->is_posted = false;
    if (session->stream && session->is_broken)
        dj_resp_session_cut(session);
    free_if_over(session);
}

/* ---- reading ---- */

static void read_on_or_hold_back(struct dj_resp_session *session)
{
    bool wants = !session->has_ended && session->state != DJ_RESP_CLOSED &&
                 session->state != DJ_RESP_FLUSHING &&
                 (session->state == DJ_RESP_LINGERING ||
                  ((session->state == DJ_RESP_READING && !session->is_paused) ||
                   session->input.len < DJ_RESP_INPUT_BYTES_MAX));
    if (wants == session->is_reading || !session->stream)
        return;
    session->is_reading = wants;
    if (wants)
        dj_stream_read_start(session->stream, session, on_read);
    else
        dj_stream_read_stop(session->stream);
}

/* The last reply is in out or on its way. */
static void finish(struct dj_resp_session *session)
{
    session->state = DJ_RESP_FLUSHING;
}

static void refuse(struct dj_resp_session *session, enum dj_resp_step step)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                               "Connection: close\r\nContent-Length: 56\r\n\r\n"
                               "this port speaks the protocol of Redis (RESP), not HTTP\n";
    struct dj_resp_counters *counters = dj_resp_server_counters(session->server);
    struct dj_buf *out = &session->server->out;
    dj_resp_count(step == DJ_RESP_HTTP ? &counters->http : &counters->faults, 1);
    if (step == DJ_RESP_HTTP)
        dj_buf_append(out, http, sizeof http - 1);
    else
        dj_resp_put_error(out, "ERR %s",
                          step == DJ_RESP_BAD ? session->parser.error : "out of memory");
    finish(session);
}

/* What does not fit is taken back, and an error is told instead. */
static void check_reply(struct dj_resp_session *session, size_t before)
{
    struct dj_resp_server *server = session->server;
    struct dj_buf *out = &server->out;
    size_t len = out->len - before;
    bool is_nomem = out->status == DEJA_ERR_NOMEM;
    if (out->status == DEJA_OK &&
        (len <= DJ_RESP_SMALL_BYTES_MAX || dj_resp_server_has_room(server, len)))
        return;
    bool is_beyond = out->status == DEJA_ERR_LIMIT;
    out->len = before;
    out->status = DEJA_OK;
    dj_resp_count(&dj_resp_server_counters(server)->too_large, 1);
    if (is_beyond)
        dj_resp_put_error(out, "ERR the reply is larger than resp.max_reply_bytes (%llu)",
                          (unsigned long long)server->limits.reply_bytes_max);
    else
        dj_resp_put_error(out, is_nomem ? "ERR out of memory"
                                        : "ERR too many bytes wait for their clients; try again");
    if (out->status != DEJA_OK)
        dj_resp_session_fail(session);
}

static void take_flow(struct dj_resp_session *session, enum dj_resp_flow flow, size_t before)
{
    if (flow == DJ_RESP_WAITING) {
        session->state = DJ_RESP_AWAITED;
        session->is_command_pending = true;
        return;
    }
    if (flow == DJ_RESP_BEHIND) {
        session->behind++;
        return;
    }
    check_reply(session, before);
    if (flow == DJ_RESP_CLOSE)
        finish(session);
}

static bool may_run(const struct dj_resp_session *session)
{
    return session->state == DJ_RESP_READING && !session->is_paused && !session->is_broken;
}

/* How many of the bytes were commands. */
static size_t run(struct dj_resp_session *session, struct deja_slice bytes)
{
    struct dj_resp_server *server = session->server;
    const struct dj_resp_limits trusted = {.args_max = server->limits.args_max,
                                           .inline_bytes_max = INLINE_BYTES_MAX,
                                           .bulk_bytes_max = server->limits.bulk_bytes_max,
                                           .command_bytes_max = server->limits.command_bytes_max};
    size_t used = 0;
    assert(!server->running && server->out.len == 0); /* (2) */
    server->running = session;
    server->out.bytes_max = 0;
    while (may_run(session)) {
        size_t taken = 0;
        enum dj_resp_step step =
            dj_resp_parse(&session->parser, session->is_trusted ? &trusted : &stranger_limits,
                          deja_slice(bytes.data + used, bytes.len - used), &taken);
        if (step == DJ_RESP_MORE)
            break;
        if (step == DJ_RESP_BAD && !session->is_trusted &&
            server->handler->is_welcome(session->client) && session->is_trusted)
            continue; /* once: he is trusted now */
        if (step != DJ_RESP_COMMAND) {
            refuse(session, step);
            break;
        }
        used += taken;
        if (session->parser.count == 0)
            continue;
        size_t before = server->out.len;
        server->out.bytes_max = before + server->limits.reply_bytes_max;
        enum dj_resp_flow flow = server->handler->command(session->client, session->parser.args,
                                                          session->parser.count, &server->out);
        server->out.bytes_max = 0;
        take_flow(session, flow, before);
        if (server->out.len >= DJ_RESP_FLUSH_BYTES)
            dj_resp_session_flush(session);
    }
    dj_resp_session_flush(session);
    server->running = NULL;
    return used;
}

/* Is there half a command, and since when? */
static void note_half(struct dj_resp_session *session)
{
    bool is_half = may_run(session) && session->input.len > 0;
    session->active_us = dj_loop_turn_us(session->server->loop);
    if (!is_half)
        session->half_us = 0;
    else if (!session->half_us)
        session->half_us = session->active_us;
}

static bool keep(struct dj_resp_session *session, struct deja_slice bytes)
{
    struct dj_resp_server *server = session->server;
    if (!dj_resp_server_has_room(server, bytes.len)) {
        static const char text[] = "-ERR too many bytes in flight; try again\r\n";
        dj_resp_count(&dj_resp_server_counters(server)->too_large, 1);
        dj_resp_session_write(session, deja_slice(text, sizeof text - 1));
        finish(session);
        return false;
    }
    dj_buf_append_slice(&session->input, bytes);
    if (session->input.status == DEJA_OK)
        return true;
    dj_resp_session_fail(session);
    return false;
}

static void run_input(struct dj_resp_session *session)
{
    size_t used = run(session, dj_buf_slice(&session->input));
    if (used > 0)
        session->half_us = 0;
    dj_buf_consume(&session->input, used);
}

static void take(struct dj_resp_session *session, struct deja_slice bytes)
{
    dj_resp_count(&dj_resp_server_counters(session->server)->bytes_in, bytes.len);
    if (session->input.len == 0 && may_run(session)) {
        size_t used = run(session, bytes);
        bytes = deja_slice(bytes.data + used, bytes.len - used);
        session->half_us = 0;
        if (bytes.len > 0 && session->state <= DJ_RESP_AWAITED)
            keep(session, bytes);
    } else if (keep(session, bytes) && may_run(session)) {
        run_input(session);
    }
    note_half(session);
}

/* TLS: what was read in one go is handed on in that go. */
static void take_records(struct dj_resp_session *session, struct deja_slice bytes)
{
    struct dj_resp_server *server = session->server;
    enum dj_tls_step step = DJ_TLS_DATA;
    while (step == DJ_TLS_DATA && session->state <= DJ_RESP_AWAITED && !session->is_broken) {
        size_t len = 0;
        step =
            dj_tls_wire_take(session->wire, &bytes, server->tls_plain, &len, &server->tls_records);
        if (server->tls_records.len > 0 && server->tls_records.status == DEJA_OK)
            dj_resp_session_send(session, dj_buf_slice(&server->tls_records));
        dj_buf_clear(&server->tls_records);
        if (len > 0 && !session->is_broken)
            take(session, deja_slice(server->tls_plain, len));
    }
    if (step == DJ_TLS_END)
        session->has_ended = true;
    if (step == DJ_TLS_FAILED && session->state != DJ_RESP_CLOSED) {
        dj_resp_count(&dj_resp_server_counters(server)->faults, 1);
        dj_resp_session_cut(session);
    }
}

static void on_read(void *ctx, enum deja_status status, struct deja_slice bytes)
{
    struct dj_resp_session *session = ctx;
    if (status != DEJA_OK) {
        dj_resp_session_cut(session);
        return;
    }
    if (session->state == DJ_RESP_LINGERING) {
        session->linger_bytes += bytes.len;
        if (bytes.len == 0 || session->linger_bytes > DJ_RESP_LINGER_BYTES_MAX)
            dj_resp_session_close(session);
        return;
    }
    if (bytes.len == 0)
        session->has_ended = true;
    else if (session->wire)
        take_records(session, bytes);
    else
        take(session, bytes);
    settle(session);
}

/* After every turn: what comes next? */
static void settle(struct dj_resp_session *session)
{
    if (session->state == DJ_RESP_CLOSED || session->is_broken)
        return;
    dj_resp_session_recharge(session);
    if (session->state == DJ_RESP_READING && session->pending_writes == 0 && !session->is_paused &&
        !session->behind && (session->has_ended || session->server->crowd.is_draining))
        session->state = DJ_RESP_FLUSHING;
    if (session->state == DJ_RESP_FLUSHING && session->pending_writes == 0 && !session->behind) {
        if (session->has_ended) {
            dj_resp_session_close(session);
            return;
        }
        if (session->wire)
            dj_resp_session_tls_end(session);
        if (session->is_broken || session->pending_writes > 0)
            return;
        dj_stream_finish(session->stream);
        session->state = DJ_RESP_LINGERING;
        session->active_us = dj_loop_turn_us(session->server->loop);
        dj_buf_fini(&session->input);
        dj_resp_session_recharge(session);
    }
    read_on_or_hold_back(session);
}

void dj_resp_session_written(struct dj_resp_session *session)
{
    session->is_paused = false;
    if (session->input.len > 0 && may_run(session)) {
        run_input(session);
        note_half(session);
    }
    settle(session);
}

/* ---- the handler's side ---- */

struct dj_buf *dj_resp_session_out(struct dj_resp_session *session)
{
    struct dj_buf *out = &session->server->out;
    assert(session->is_command_pending && !session->server->running);
    out->bytes_max = session->server->limits.reply_bytes_max;
    return out;
}

uint64_t dj_resp_session_reply_bytes_max(const struct dj_resp_session *session)
{
    return session->server->limits.reply_bytes_max;
}

void dj_resp_session_answered(struct dj_resp_session *session, enum dj_resp_flow flow)
{
    struct dj_resp_server *server = session->server;
    assert(session->is_command_pending && !server->running && flow != DJ_RESP_WAITING);
    assert(!session->held_bytes);
    session->is_command_pending = false;
    server->out.bytes_max = 0;
    if (session->state != DJ_RESP_AWAITED) {
        dj_buf_clear(&server->out); /* its client has gone */
        free_if_over(session);
        return;
    }
    session->state = DJ_RESP_READING;
    server->running = session;
    take_flow(session, flow, 0);
    dj_resp_session_flush(session);
    server->running = NULL;
    if (session->input.len > 0 && may_run(session))
        run_input(session);
    note_half(session);
    settle(session);
}

void dj_resp_session_replied(struct dj_resp_session *session, struct deja_slice replies,
                             uint32_t count)
{
    assert(session->behind >= count && session->server->running != session);
    session->behind -= count;
    if (session->state == DJ_RESP_CLOSED) {
        free_if_over(session);
        return;
    }
    dj_resp_session_write(session, replies);
    if (dj_stream_queued_bytes(session->stream) > DJ_RESP_QUEUED_BYTES_MAX)
        session->is_paused = true;
    settle(session);
}

void dj_resp_session_end(struct dj_resp_session *session)
{
    if (session->state != DJ_RESP_CLOSED)
        dj_resp_session_fail(session);
}

void dj_resp_session_listen(struct dj_resp_session *session, bool is_listening)
{
    session->is_listening = is_listening;
}

void dj_resp_session_trust(struct dj_resp_session *session)
{
    session->is_trusted = true;
}

struct dj_loop *dj_resp_session_loop(const struct dj_resp_session *session)
{
    return session->server->loop;
}

bool dj_resp_session_is_loopback(const struct dj_resp_session *session)
{
    return session->stream && dj_stream_is_loopback(session->stream);
}

void dj_resp_session_peer(const struct dj_resp_session *session, uint8_t out_address[16])
{
    memset(out_address, 0, 16);
    if (session->stream)
        dj_stream_peer(session->stream, out_address);
}

struct deja_slice dj_resp_session_certificate(const struct dj_resp_session *session)
{
    return session->wire ? dj_tls_wire_fingerprint(session->wire) : deja_slice(NULL, 0);
}

/* ---- life ---- */

bool dj_resp_session_accept(struct dj_resp_server *server, struct dj_stream *stream)
{
    struct dj_resp_session *session = dj_alloc_zeroed(1, sizeof(*session));
    if (!session)
        goto refused;
    session->server = server;
    session->stream = stream;
    session->task = (struct dj_task){.run = on_task, .ctx = session};
    session->opened_us = session->active_us = dj_loop_turn_us(server->loop);
    dj_list_init(&session->node);
    if (server->tls && dj_tls_wire_create(server->tls, &session->wire) != DEJA_OK)
        goto refused;
    session->client = server->handler->opened(server->ctx, session);
    if (!session->client)
        goto refused;
    struct dj_resp_counters *counters = dj_resp_server_counters(server);
    dj_resp_count(&counters->connections, 1);
    dj_resp_count(&counters->open, 1);
    dj_crowd_join(&server->crowd, &session->node);
    read_on_or_hold_back(session);
    return true;
refused:
    if (session)
        dj_tls_wire_destroy(session->wire);
    dj_free(session);
    dj_stream_close(stream, NULL, NULL);
    return false;
}

void dj_resp_session_drain(struct dj_resp_session *session)
{
    /* Who has sent nothing has nothing to lose by a close. */
    if (session->state == DJ_RESP_READING && session->input.len == 0 && !session->behind &&
        session->pending_writes == 0)
        dj_resp_session_close(session);
    else
        settle(session);
}

/* ---- time ---- */

static uint64_t ms_since(uint64_t from_us, uint64_t now_us)
{
    return now_us > from_us ? (now_us - from_us) / 1000 : 0;
}

static bool is_stalled(struct dj_resp_session *session, uint64_t now_us)
{
    if (session->pending_writes == 0)
        return false;
    size_t queued = dj_stream_queued_bytes(session->stream);
    if (queued < session->queued_seen)
        session->progress_us = now_us;
    session->queued_seen = queued;
    return ms_since(session->progress_us, now_us) > session->server->limits.write_stall_ms;
}

/* Who says nothing for long, or says half a command for long. */
static bool is_slow(const struct dj_resp_session *session, uint64_t now_us)
{
    const struct dj_resp_server_limits *limits = &session->server->limits;
    uint64_t half_ms = session->half_us ? ms_since(session->half_us, now_us) : 0;
    uint64_t grace_ms = limits->login_timeout_ms < GRACE_MS ? limits->login_timeout_ms : GRACE_MS;
    if (!session->is_trusted && ms_since(session->opened_us, now_us) > limits->login_timeout_ms)
        return true;
    return half_ms > grace_ms &&
           session->input.len < (half_ms - grace_ms) * limits->send_bytes_per_s_min / 1000 + 1;
}

static void trim(struct dj_resp_session *session)
{
    if (session->input.len > 0 || session->parser.offset > 0)
        return;
    dj_resp_parser_trim(&session->parser);
    dj_buf_fini(&session->input);
}

void dj_resp_session_sweep(struct dj_resp_session *session, uint64_t now_us)
{
    struct dj_resp_counters *counters = dj_resp_server_counters(session->server);
    uint32_t idle_ms_max = session->server->limits.idle_timeout_ms;
    if (!session->stream || session->state == DJ_RESP_CLOSED)
        return;
    uint64_t idle_ms = ms_since(session->active_us, now_us);
    if (is_stalled(session, now_us)) {
        dj_resp_count(&counters->slow, 1);
        dj_resp_session_cut(session);
    } else if (session->state == DJ_RESP_LINGERING) {
        if (idle_ms > DJ_RESP_LINGER_MS)
            dj_resp_session_close(session);
    } else if (session->state == DJ_RESP_READING && is_slow(session, now_us)) {
        dj_resp_count(&counters->slow, 1);
        dj_resp_session_close(session);
    } else if (session->state == DJ_RESP_READING && idle_ms_max && idle_ms > idle_ms_max &&
               !session->is_listening && !session->behind) {
        dj_resp_count(&counters->idle, 1);
        dj_resp_session_close(session);
    } else if (idle_ms > DJ_RESP_TRIM_MS) {
        trim(session);
    }
}
