/* net/http_internal.h - shared by the server's files: http_server.c listens, sweeps and drains,
 * http_connection.c reads requests, http_response.c writes answers, http_tls.c is between them and
 * the stream where a server speaks TLS. */
#ifndef DJ_NET_HTTP_INTERNAL_H
#define DJ_NET_HTTP_INTERNAL_H

#include <stdatomic.h>

#include "net/crowd.h"
#include "base/buf.h"
#include "base/list.h"
#include "crypto/tls_wire.h"
#include "loop/stream.h"
#include "net/http_server.h"
#include "proto/http.h"
#include "proto/http_text.h"

enum {
    DJ_HTTP_INPUT_BYTES_MAX = 64 * 1024,   /* read ahead while an answer is awaited */
    DJ_HTTP_QUEUED_BYTES_MAX = 256 * 1024, /* then a streaming writer should pause */
    DJ_HTTP_SMALL_BYTES_MAX = 16 * 1024, /* the same where memory is short; smaller answers pass */
    DJ_HTTP_TRIM_MS = 1000,              /* a connection idle for so long keeps no buffers */
    DJ_HTTP_KEPT_BYTES_MAX = 16 * 1024,  /* a buffer larger than this is freed between requests */
    DJ_HTTP_TLS_PIECE_BYTES = 64 * 1024, /* of an answer, made into records in one go */
    DJ_HTTP_LINGER_MS = 2000,
    DJ_HTTP_LINGER_BYTES_MAX = 1024 * 1024,
};

struct dj_http_server {
    struct dj_crowd crowd; /* members: also those without a client whose answer is awaited */
    struct dj_loop *loop;
    struct dj_http_limits limits;
    struct dj_tls_server *tls; /* NULL: plain */
    char *tls_plain;           /* DJ_TLS_RECORD_BYTES_MAX: the record that is being read, and */
    char *tls_joined;          /* as many: small pieces that become one */
    struct dj_buf tls_records; /* that are being sent; empty between two calls */
    uint32_t mark;
    void *ctx;
    dj_http_handler_fn *handler;
    dj_http_error_fn *on_error;       /* may be NULL */
    struct dj_list waiting;           /* IDLE and HEAD, who has waited longest first */
    _Atomic uint64_t bytes_in_flight; /* where limits names no shared one */
    uint64_t looked_us;               /* when room was last looked for; 0: never */
    int64_t date_s;                   /* second that date tells */
    char date[DJ_HTTP_DATE_BYTES];
};

/* See the drawing in http_connection.c. */
enum dj_http_state {
    DJ_HTTP_IDLE,
    DJ_HTTP_HEAD,
    DJ_HTTP_BODY,
    DJ_HTTP_BUSY,
    DJ_HTTP_FLUSHING,
    DJ_HTTP_LINGERING,
    DJ_HTTP_CLOSED,
};

struct dj_http_exchange {
    struct dj_http_request request;
    struct dj_arena arena;
    bool is_active; /* the handler has it */
    bool is_head_request;
    bool is_begun;
    bool is_chunked;
    bool is_close_delimited;
    bool has_no_body; /* HEAD, 204, 304 */
    bool wants_drained;
    int64_t body_bytes_left;            /* of a streamed answer with a length; else -1 */
    const struct dj_http_header *added; /* beyond the answer's own */
    size_t added_count;
    void *watch_ctx;
    dj_http_event_fn *on_event; /* NULL: nobody watches */
};

struct dj_http_connection {
    struct dj_list node;
    struct dj_list waiting; /* on the server's list in IDLE and HEAD; a byte now and then gives no
                               better place */
    struct dj_http_server *server; /* NULL: destroyed before the last answer came */
    struct dj_loop *loop;
    struct dj_stream *stream; /* NULL: closed */
    struct dj_http_sink
        *sink;                /* owned: the answer goes there (http_inner.c); NULL: to the client */
    struct dj_tls_wire *wire; /* NULL: plain */
    struct dj_http_parser *parser;
    enum dj_http_state state;
    struct dj_http_exchange exchange; /* one at a time */
    struct dj_http_header *headers;   /* of the request; grows, kept */
    size_t header_cap;
    struct dj_buf input; /* received, not parsed yet */
    struct dj_buf body;
    struct dj_buf head; /* of the answer, while it is built */
    struct dj_task task;
    bool is_posted;
    bool is_processing; /* requests are taken from input further up the stack */
    bool is_reading;
    bool is_broken;  /* writing failed; the task closes */
    bool has_ended;  /* the client has closed its side */
    bool must_close; /* after this answer */
    uint8_t minor_version;
    struct dj_http_owner owner; /* on_closed NULL: nobody counts it */
    uint32_t pending_writes;
    uint64_t charged_bytes;   /* our part of the server's bytes_in_flight */
    uint64_t state_since_us;  /* when the turn began that changed it */
    uint64_t waits_since_us;  /* when it last became IDLE */
    uint64_t window_since_us; /* of the body's rate, */
    uint64_t window_bytes;    /* and how many had come then */
    uint64_t linger_bytes;
    size_t queued_seen;   /* at the last sweep, */
    uint64_t progress_us; /* when it last became less */
};

/* http_connection.c */
/* Takes stream; false: no memory, it is closed. */
bool dj_http_connection_accept(struct dj_http_server *server, struct dj_stream *stream);
/* Nothing that was begun is left half done: idle ones close, others after their answer. */
void dj_http_connection_drain(struct dj_http_connection *connection);
void dj_http_connection_cut(struct dj_http_connection *connection);
void dj_http_connection_close(struct dj_http_connection *connection); /* nothing is owed to it */
/* The server's own answer, and the end of the connection. */
void dj_http_connection_refuse(struct dj_http_connection *connection, int status,
                               const char *detail);
void dj_http_connection_free(struct dj_http_connection *connection);
struct dj_http_connection *dj_http_connection_of(struct dj_http_exchange *exchange);
/* The answer is complete as far as it goes: go on, or close. */
void dj_http_connection_answered(struct dj_http_connection *connection);
void dj_http_connection_abort(struct dj_http_connection *connection);
/* Nothing can be sent any more; told later, by task. */
void dj_http_connection_fail(struct dj_http_connection *connection);
/* slices leave in order; failure is noted as by dj_http_connection_fail. */
void dj_http_connection_write(struct dj_http_connection *connection,
                              const struct deja_slice *slices, size_t count);

/* Bytes for the socket itself. */
void dj_http_connection_send(struct dj_http_connection *connection, const struct deja_slice *slices,
                             size_t count);
/* A dj_stream_read_fn: bytes of requests. */
void dj_http_connection_read(void *connection, enum deja_status status, struct deja_slice bytes);

/* http_inner.c: an answer that goes to nobody's socket; end calls back, once. */
void dj_http_sink_begin(struct dj_http_sink *sink, int status, const struct dj_http_header *headers,
                        size_t count);
void dj_http_sink_write(struct dj_http_sink *sink, struct deja_slice bytes);
void dj_http_sink_end(struct dj_http_sink *sink, bool is_whole);
void dj_http_sink_destroy(struct dj_http_sink *sink); /* accepts NULL */

/* http_tls.c; the connection has a wire. */
void dj_http_tls_read(void *connection, enum deja_status status, struct deja_slice bytes);
void dj_http_tls_write(struct dj_http_connection *connection, const struct deja_slice *slices,
                       size_t count);
void dj_http_tls_end(struct dj_http_connection *connection);

/* http_sweep.c */
void dj_http_connection_sweep(struct dj_http_connection *connection, uint64_t now_us);
/* Closes the one that has waited longest for a request to become whole; false: none has waited for
 * limits.spared_ms. */
bool dj_http_connection_evict(struct dj_http_server *server);
/* Brings the bytes in flight up to date with what is kept for this connection. */
void dj_http_connection_recharge(struct dj_http_connection *connection);
void dj_http_server_charge(struct dj_http_server *server, uint64_t old_bytes, uint64_t bytes);
uint64_t dj_http_server_bytes_in_flight(struct dj_http_server *server);
/* May bytes more be kept for asking? Others that only wait for their clients may be given up. */
bool dj_http_server_has_room(struct dj_http_server *server, const struct dj_http_connection *asking,
                             uint64_t bytes);

/* http_server.c */
const char *dj_http_server_date(struct dj_http_server *server); /* of an IMF-fixdate, this second */

/* http_response.c */
void dj_http_answer_error(struct dj_http_connection *connection, int status, const char *detail);

#endif
