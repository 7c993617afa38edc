/* net/http_server.h - HTTP/1.1 server: one per loop, requests whole, answers whole or streamed.
 *
 * A request is handed to the handler when its body has arrived (bounded); pipelined requests wait
 * until the one before was answered. Framing errors are answered 4xx and the connection is closed.
 * Trust: everything a client sends is untrusted; parsed in proto/. Threads: loop-bound.
 */
#ifndef DJ_NET_HTTP_SERVER_H
#define DJ_NET_HTTP_SERVER_H

#include <stdatomic.h>

#include <deja/base.h>

#include "base/arena.h"
#include "loop/loop.h"

struct dj_http_server;
struct dj_http_exchange; /* one request and its answer; valid from handler until it ended */

struct dj_http_header {
    struct deja_slice name;  /* as sent; compare without case */
    struct deja_slice value; /* trimmed */
};

struct dj_http_request {
    struct deja_slice method; /* "GET" */
    struct deja_slice target; /* as sent: path and query */
    struct deja_slice path;   /* target up to '?', not decoded */
    struct deja_slice query;  /* after '?', may be empty */
    const struct dj_http_header *headers;
    size_t header_count;
    struct deja_slice body; /* whole, transfer coding removed, content coding as sent */
    bool is_loopback_peer;
    uint8_t peer[16];  /* its IPv6 address, or IPv4 one mapped into it */
    uint32_t listener; /* what dj_http_server_mark said of the server it came to; else 0 */
    /* Of the client's certificate, verified by TLS: SHA-256 as 64 hex digits, and its subject (RFC
     * 2253). Empty: none. */
    struct deja_slice peer_identity;
    struct deja_slice peer_subject;
    /* 16 bytes: the program itself asks, for that tenant (net/http_inner.h); NULL: a client. */
    const uint8_t *inner_tenant;
    uint8_t *inner_id; /* of such a request: where the id of the entry it is about goes; or NULL */
    uint64_t started_us;    /* monotonic, when the first byte of the request arrived */
    struct dj_arena *arena; /* memory of this exchange, for the handler too */
};

struct dj_http_addresses;
struct dj_tls_server;

struct dj_http_limits {
    uint32_t header_bytes_max;    /* 64 KiB */
    uint32_t headers_max;         /* 100 */
    uint64_t body_bytes_max;      /* 32 MiB */
    uint64_t bytes_in_flight_max; /* 256 MiB over all connections */
    /* Where they are counted for several servers together, borrowed until the last is destroyed;
     * NULL: each for itself. */
    _Atomic uint64_t *bytes_in_flight;
    uint32_t connections_max; /* 10,000; beyond, one that waits is closed, or 503 */
    /* Counts the connections of each client address; borrowed until the server is destroyed.
     * NULL: not counted. */
    struct dj_http_addresses *addresses;
    uint32_t spared_ms;            /* 1 s: who has waited less long is not closed for another */
    uint32_t header_timeout_ms;    /* 10 s from the first byte */
    uint32_t idle_timeout_ms;      /* 75 s between requests */
    uint32_t body_bytes_per_s_min; /* 1 KiB/s after 5 s */
    uint32_t write_stall_ms;       /* 30 s without progress */
};
extern const struct dj_http_limits dj_http_limits_default;

/* Answers through the exchange, now or later on the same loop. Runs once per request. */
typedef void dj_http_handler_fn(void *ctx, struct dj_http_exchange *exchange);
/* Writes the body (and the media type) of an error the server itself has to give: 400, 408, 413,
 * 417, 431, 503 ... path may be empty when the request line was not read. NULL: plain text. */
typedef void dj_http_error_fn(void *ctx, int status, const char *detail, struct deja_slice path,
                              struct dj_http_exchange *exchange);

/* host and port as in dj_listener_open. */
enum deja_status dj_http_server_open(struct dj_loop *loop, const char *host, uint16_t port,
                                     const struct dj_http_limits *limits, void *ctx,
                                     dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                     struct dj_http_server **out_server,
                                     struct deja_error *error) DEJA_NODISCARD;
/* The same over a bound socket that is inherited; fd as in dj_listener_open_fd. */
enum deja_status dj_http_server_open_fd(struct dj_loop *loop, int fd,
                                        const struct dj_http_limits *limits, void *ctx,
                                        dj_http_handler_fn *handler, dj_http_error_fn *on_error,
                                        struct dj_http_server **out_server,
                                        struct deja_error *error) DEJA_NODISCARD;
/* Connections accepted from now on speak TLS; tls is borrowed until their exchanges have ended. */
enum deja_status dj_http_server_set_tls(struct dj_http_server *server,
                                        struct dj_tls_server *tls) DEJA_NODISCARD;
/* What its requests carry as `listener`. */
void dj_http_server_mark(struct dj_http_server *server, uint32_t listener);
uint16_t dj_http_server_port(const struct dj_http_server *server);

/* Stops accepting, closes idle connections; running exchanges are answered with
 * "Connection: close". drained(ctx) runs once when no connection is left, at the latest after
 * timeout_ms (what is left is then cut). */
void dj_http_server_drain(struct dj_http_server *server, uint32_t timeout_ms, void *ctx,
                          dj_task_fn *drained);
void dj_http_server_destroy(struct dj_http_server *server); /* after drained; accepts NULL */
uint32_t dj_http_server_connections(const struct dj_http_server *server);

const struct dj_http_request *dj_http_exchange_request(const struct dj_http_exchange *exchange);
struct dj_loop *dj_http_exchange_loop(const struct dj_http_exchange *exchange);

/* Headers of the answer, whoever gives it; of what is named here the answer's own are left out, but
 * for Vary. headers and what they point to live as long as the exchange (its arena). What was added
 * before stays; without memory for both, only the new ones. */
void dj_http_exchange_add_headers(struct dj_http_exchange *exchange,
                                  const struct dj_http_header *headers, size_t count);

/* Who a connection is counted for: told once by the first request that knows; on_closed runs when
 * it is closed, on its loop, and answers through no exchange. */
struct dj_http_owner {
    void *ctx;
    void (*on_closed)(void *ctx, const uint8_t id[16]);
    uint8_t id[16];
};
bool dj_http_exchange_has_owner(struct dj_http_exchange *exchange);
void dj_http_exchange_own(struct dj_http_exchange *exchange, const struct dj_http_owner *owner);
/* The connection ends with this answer. */
void dj_http_exchange_close_after(struct dj_http_exchange *exchange);

/* First header of that name (any case), or a NULL slice. */
struct deja_slice dj_http_find_slice(const struct dj_http_header *headers, size_t count,
                                     struct deja_slice name);
static inline struct deja_slice dj_http_find_header(const struct dj_http_request *request,
                                                    const char *name)
{
    return dj_http_find_slice(request->headers, request->header_count, deja_slice_text(name));
}

/* Whole answer; where it is large and does not fit into bytes_in_flight_max beside what other
 * clients have not read yet, a 503 goes out instead. headers: without Content-Length,
 * Connection, Transfer-Encoding and Date, which the server writes; values with control
 * characters are refused (the header is left out). body is borrowed until return. The exchange
 * ends; do not touch it again. Cannot fail: a client that is gone is not an error. */
void dj_http_respond(struct dj_http_exchange *exchange, int status,
                     const struct dj_http_header *headers, size_t header_count,
                     struct deja_slice body);

/* Streamed answer: begin, write any number of times, end. content_length < 0: chunked (or until
 * close for HTTP/1.0). After begin the caller gets on_event on its exchange. */
enum dj_http_event {
    DJ_HTTP_DRAINED, /* queued bytes fell to zero: write on */
    DJ_HTTP_GONE,    /* the client left or stalled: the exchange has ended, do not touch it */
};
typedef void dj_http_event_fn(void *ctx, struct dj_http_exchange *exchange,
                              enum dj_http_event event);

/* May be set before the answer begins, so that a client that leaves is known early. on_event runs
 * with DJ_HTTP_GONE at most once, after which the exchange is no more. Without it an exchange whose
 * client left stays valid until answered (the answer goes nowhere). */
void dj_http_exchange_watch(struct dj_http_exchange *exchange, void *ctx,
                            dj_http_event_fn *on_event);
void dj_http_respond_begin(struct dj_http_exchange *exchange, int status,
                           const struct dj_http_header *headers, size_t header_count,
                           int64_t content_length);
/* Bytes are copied where the socket does not take them at once. Returns false when the caller
 * should pause until DJ_HTTP_DRAINED (more than 256 KiB queued; 16 KiB once half of
 * bytes_in_flight_max is taken). */
bool dj_http_respond_write(struct dj_http_exchange *exchange, struct deja_slice bytes);
void dj_http_respond_end(struct dj_http_exchange *exchange);
/* Breaks the connection so that the client sees an unfinished answer (upstream died). */
void dj_http_respond_abort(struct dj_http_exchange *exchange);

#endif
