/* net/resp_internal.h - shared by resp_server.c, which accepts, sweeps and drains, and
 * resp_connection.c, which reads commands and writes replies. */
#ifndef DJ_NET_RESP_INTERNAL_H
#define DJ_NET_RESP_INTERNAL_H

#include "base/list.h"
#include "crypto/tls_wire.h"
#include "loop/stream.h"
#include "net/resp_server.h"
#include "proto/resp.h"

enum {
    DJ_RESP_INPUT_BYTES_MAX = 64 * 1024,   /* read ahead while a command is answered */
    DJ_RESP_FLUSH_BYTES = 64 * 1024,       /* of replies leave without waiting for more */
    DJ_RESP_QUEUED_BYTES_MAX = 256 * 1024, /* then the client shall read first */
    DJ_RESP_SMALL_BYTES_MAX = 16 * 1024,   /* such replies need no room in flight */
    DJ_RESP_KEPT_BYTES_MAX = 64 * 1024,    /* a buffer larger than this is freed after use */
    DJ_RESP_TRIM_MS = 1000,
    DJ_RESP_LINGER_MS = 2000,
    DJ_RESP_LINGER_BYTES_MAX = 1024 * 1024,
};

struct dj_resp_server {
    struct dj_crowd crowd;
    struct dj_loop *loop;
    struct dj_resp_server_limits limits;
    struct dj_tls_server *tls; /* NULL: plain */
    char *tls_plain;           /* DJ_TLS_RECORD_BYTES_MAX: the record that is being read */
    struct dj_buf tls_records; /* that are being sent; empty between two calls */
    const struct dj_resp_handler *handler;
    void *ctx;
    struct dj_buf out;                /* replies of `running`; empty between two turns */
    struct dj_resp_session *running;  /* whose commands are being run */
    _Atomic uint64_t bytes_in_flight; /* where limits names no shared ones */
    struct dj_resp_counters counters;
};

enum dj_resp_state {
    DJ_RESP_READING,
    DJ_RESP_AWAITED,   /* a command is being answered */
    DJ_RESP_FLUSHING,  /* the last reply is leaving */
    DJ_RESP_LINGERING, /* our side has ended; what the client sends is not looked at */
    DJ_RESP_CLOSED,
};

struct dj_resp_session {
    struct dj_list node;
    struct dj_resp_server *server;
    struct dj_stream *stream; /* NULL: closed */
    struct dj_tls_wire *wire; /* NULL: plain */
    void *client;             /* the handler's */
    enum dj_resp_state state;
    bool is_command_pending; /* answered() will come, whatever the state */
    uint32_t behind;         /* commands whose replied() will come, likewise */
    bool is_paused;          /* until what is queued has left */
    bool is_reading;
    bool is_trusted;
    bool is_listening;
    bool is_broken; /* writing failed; the task closes */
    bool has_ended; /* the client has closed its side */
    bool is_posted;
    struct dj_task task;
    struct dj_resp_parser parser;
    struct dj_buf input; /* received, not run yet */
    uint32_t pending_writes;
    uint64_t held_bytes;    /* by the handler of the command that waits */
    uint64_t charged_bytes; /* our part of the bytes in flight */
    uint64_t opened_us;
    uint64_t active_us;   /* the last command or byte */
    uint64_t half_us;     /* since when half a command waits; 0: none does */
    size_t queued_seen;   /* at the last sweep, */
    uint64_t progress_us; /* when it last became less */
    uint64_t linger_bytes;
};

/* resp_connection.c */
/* Takes stream; false: no memory, it is closed. */
bool dj_resp_session_accept(struct dj_resp_server *server, struct dj_stream *stream);
/* Closes after what was begun. */
void dj_resp_session_drain(struct dj_resp_session *session);
void dj_resp_session_cut(struct dj_resp_session *session); /* the client sees a reset */
void dj_resp_session_close(struct dj_resp_session *session);
/* Nothing can be sent any more; told later, by task. */
void dj_resp_session_fail(struct dj_resp_session *session);
void dj_resp_session_sweep(struct dj_resp_session *session, uint64_t now_us);

/* resp_write.c */
void dj_resp_session_recharge(struct dj_resp_session *session);
bool dj_resp_server_has_room(struct dj_resp_server *server, uint64_t bytes);
/* Bytes of replies, through TLS where there is. */
void dj_resp_session_write(struct dj_resp_session *session, struct deja_slice bytes);
/* Bytes for the socket itself. */
void dj_resp_session_send(struct dj_resp_session *session, struct deja_slice bytes);
void dj_resp_session_flush(struct dj_resp_session *session); /* server->out */
void dj_resp_session_tls_end(struct dj_resp_session *session);
/* All that was queued has left. */
void dj_resp_session_written(struct dj_resp_session *session);

/* resp_server.c */
struct dj_resp_counters *dj_resp_server_counters(struct dj_resp_server *server);
void dj_resp_server_closed_one(struct dj_resp_server *server);

static inline void dj_resp_count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

#endif
