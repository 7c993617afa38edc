/* net/resp_server.h - a server for clients of Redis: one per loop, commands in order, replies in
 * order and put together.
 *
 *             command                       "by and by"
 *   READING ─────────▶ handler ──┬─ answered ──▶ READING ◀──────────── dj_resp_session_answered
 *      ▲                         ├─ waiting ───▶ WAITING ───────────────────┘
 *      └── drained ── PAUSED ◀───┤  (the client does not read)
 *                                └─ close ─────▶ LINGERING ──▶ closed
 *
 * The commands of one connection run one after another; what a client sends ahead waits, up to a
 * bound, and then in its own socket. Replies to what came in one go leave in one go.
 *
 * Trust: everything a client sends is untrusted; parsed in proto/. Threads: loop-bound.
 */
#ifndef DJ_NET_RESP_SERVER_H
#define DJ_NET_RESP_SERVER_H

#include <stdatomic.h>

#include <deja/base.h>

#include "base/buf.h"
#include "net/crowd.h"
#include "loop/loop.h"

struct dj_resp_server;
struct dj_resp_session; /* one connection; valid from opened() to closed() */
struct dj_http_addresses;
struct dj_tls_server;

enum dj_resp_flow {
    DJ_RESP_ANSWERED, /* the reply is in out */
    DJ_RESP_WAITING,  /* it will be, and dj_resp_session_answered be called, later on the loop */
    DJ_RESP_BEHIND,   /* likewise, by dj_resp_session_replied; meanwhile the next ones are run */
    DJ_RESP_CLOSE,    /* as ANSWERED, and the connection ends with it */
};

/* What is done with commands; all members are set. */
struct dj_resp_handler {
    /* A new client; what is returned is `client` below. NULL: no memory, it is turned away. */
    void *(*opened)(void *ctx, struct dj_resp_session *session);
    /* count >= 1; args are borrowed until return. To out whole replies are appended, or nothing
     * where it waits or is left behind. What does not fit into limits.reply_bytes_max becomes an
     * error. */
    enum dj_resp_flow (*command)(void *client, const struct deja_slice *args, size_t count,
                                 struct dj_buf *out);
    /* Somebody who has not said who he is sends a large command: may he? (dj_resp_session_trust was
     * called, then.) */
    bool (*is_welcome)(void *client);
    /* The connection is no more; last call. Not before every command was answered. */
    void (*closed)(void *client);
};

/* What happened since the start, of all servers that share it; relaxed atomics. */
struct dj_resp_counters {
    _Atomic uint64_t connections; /* accepted, and of these: */
    _Atomic uint64_t open;
    _Atomic uint64_t refused;   /* beyond a number of connections */
    _Atomic uint64_t faults;    /* not the protocol, or beyond a limit of it */
    _Atomic uint64_t http;      /* somebody spoke HTTP */
    _Atomic uint64_t slow;      /* cut: slow to send, to read or to say who they are */
    _Atomic uint64_t idle;      /* closed after the idle timeout */
    _Atomic uint64_t too_large; /* replies beyond reply_bytes_max, or without room */
    _Atomic uint64_t lagging;   /* cut: pushed messages they did not take */
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
};

struct dj_resp_server_limits {
    uint32_t connections_max;            /* of this server; 10,000 */
    uint32_t args_max;                   /* 65,536 */
    uint64_t bulk_bytes_max;             /* 32 MiB */
    uint64_t command_bytes_max;          /* 64 MiB */
    uint64_t reply_bytes_max;            /* 64 MiB */
    uint64_t push_bytes_max;             /* that wait for one client; 1 MiB */
    uint64_t bytes_in_flight_max;        /* 256 MiB over all connections */
    _Atomic uint64_t *bytes_in_flight;   /* where they are counted; NULL: each server for itself */
    struct dj_http_addresses *addresses; /* as for HTTP; NULL: not counted */
    struct dj_resp_counters *counters;   /* borrowed; NULL: each server for itself */
    uint32_t login_timeout_ms;           /* 60 s until dj_resp_session_trust */
    uint32_t idle_timeout_ms;            /* 0: none */
    uint32_t send_bytes_per_s_min;       /* of half a command, 1 KiB/s after 5 s */
    uint32_t write_stall_ms;             /* 30 s without progress */
};
extern const struct dj_resp_server_limits dj_resp_server_limits_default;

/* handler and ctx: borrowed until drained. */
enum deja_status dj_resp_server_open(struct dj_loop *loop, const struct dj_crowd_place *place,
                                     const struct dj_resp_server_limits *limits,
                                     const struct dj_resp_handler *handler, void *ctx,
                                     struct dj_resp_server **out_server,
                                     struct deja_error *error) DEJA_NODISCARD;
/* Connections accepted from now on speak TLS; tls is borrowed until they have ended. */
enum deja_status dj_resp_server_set_tls(struct dj_resp_server *server,
                                        struct dj_tls_server *tls) DEJA_NODISCARD;
uint16_t dj_resp_server_port(const struct dj_resp_server *server);
uint32_t dj_resp_server_connections(const struct dj_resp_server *server);

/* Stops accepting and closes connections, each after the command it waits for; drained(ctx) runs
 * once when none is left. After timeout_ms streams are cut; commands that wait are still waited
 * for. */
void dj_resp_server_drain(struct dj_resp_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained);
void dj_resp_server_destroy(struct dj_resp_server *server); /* after drained; accepts NULL */

/* ---- one connection ---- */

struct dj_loop *dj_resp_session_loop(const struct dj_resp_session *session);
bool dj_resp_session_is_loopback(const struct dj_resp_session *session);
void dj_resp_session_peer(const struct dj_resp_session *session, uint8_t out_address[16]);
/* Of the client's certificate as in dj_tls_wire_fingerprint; empty: none, or no TLS. */
struct deja_slice dj_resp_session_certificate(const struct dj_resp_session *session);
/* Who it is is known: from now on it has the limits of commands and time of the server, before
 * those of somebody who only says who he is. */
void dj_resp_session_trust(struct dj_resp_session *session);

/* While a command waits: where its reply goes, whole, in one turn of the loop, before answered. */
struct dj_buf *dj_resp_session_out(struct dj_resp_session *session);
uint64_t dj_resp_session_reply_bytes_max(const struct dj_resp_session *session);
/* While a command waits: what its handler keeps for the reply, in the place of what it said before,
 * counts as bytes in flight. False: there is no room for that beside what
 * others keep, and what was said before stays. */
bool dj_resp_session_hold(struct dj_resp_session *session, uint64_t bytes) DEJA_NODISCARD;
void dj_resp_session_let_go(struct dj_resp_session *session); /* of it; before answered */
/* The command that waited has been answered. Not inside the handler. flow: not DJ_RESP_WAITING. */
void dj_resp_session_answered(struct dj_resp_session *session, enum dj_resp_flow flow);
/* The replies of the next `count` commands that were left behind. That they come before those of
 * later commands is the handler's business. Not inside the handler. */
void dj_resp_session_replied(struct dj_resp_session *session, struct deja_slice replies,
                             uint32_t count);
/* It cannot be served on: the connection is cut, by task. */
void dj_resp_session_end(struct dj_resp_session *session);
/* It waits for messages out of band, however long: the idle timeout is not for it. */
void dj_resp_session_listen(struct dj_resp_session *session, bool is_listening);
/* A whole message out of band, between two replies. May be called from a command too. False: the
 * client does not take them, and is cut. */
bool dj_resp_session_push(struct dj_resp_session *session, struct deja_slice message);

#endif
