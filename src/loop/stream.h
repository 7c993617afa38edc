/* loop/stream.h - TCP listeners and connections, and readiness of foreign descriptors.
 *
 * Loop-bound throughout. Memory of a stream dies after closed() ran.
 */
#ifndef DJ_LOOP_STREAM_H
#define DJ_LOOP_STREAM_H

#include "loop/loop.h"

struct dj_listener;
struct dj_stream;
struct dj_poll;

/* Every connection is an open file, and shells allow few: from now on this process may have as many
 * as the system lets it. How many that is. Before threads start. */
uint64_t dj_stream_raise_file_limit(void);

/* One accepted connection; the callee owns stream and must dj_stream_close it. */
typedef void dj_accept_fn(void *ctx, struct dj_stream *stream);

/* host: numeric address ("127.0.0.1", "::1", "0.0.0.0"); SO_REUSEPORT is set so that each loop has
 * its own; port 0: the system chooses (dj_listener_port tells). error: text for a person. */
enum deja_status dj_listener_open(struct dj_loop *loop, const char *host, uint16_t port, void *ctx,
                                  dj_accept_fn *on_accept, struct dj_listener **out_listener,
                                  struct deja_error *error) DEJA_NODISCARD;
/* DEJA_ERR_BUSY: another process listens there. To be asked before the first dj_listener_open: with
 * SO_REUSEPORT the system would let both have it and deal the connections out. */
enum deja_status dj_listener_check_free(const char *host, uint16_t port,
                                        struct deja_error *error) DEJA_NODISCARD;
/* That address bound and not listening yet, for nobody else: *out_fd, the caller's, for
 * dj_listener_open_fd. DEJA_ERR_BUSY as above; DEJA_ERR_INVALID; DEJA_ERR_IO. */
enum deja_status dj_listener_bind(const char *host, uint16_t port, int *out_fd,
                                  struct deja_error *error) DEJA_NODISCARD;
/* Over a socket that somebody else has bound (and may listen on already): fd is borrowed, the
 * listener has a copy of it, so each loop may have one; they share its queue. */
enum deja_status dj_listener_open_fd(struct dj_loop *loop, int fd, void *ctx,
                                     dj_accept_fn *on_accept, struct dj_listener **out_listener,
                                     struct deja_error *error) DEJA_NODISCARD;
/* A socket of its own user's alone (0600) at that path, bound and not listening yet: *out_fd, the
 * caller's, for dj_listener_open_fd; its peers count as loopback. What an ended process left there
 * is replaced. DEJA_ERR_BUSY: somebody listens there; DEJA_ERR_INVALID: the path is too long;
 * DEJA_ERR_IO. */
enum deja_status dj_listener_bind_unix(const char *path, int *out_fd,
                                       struct deja_error *error) DEJA_NODISCARD;
/* Is fd a TCP socket bound to just that address? Any thread. */
bool dj_listener_is_bound_to(int fd, const char *host, uint16_t port);
uint16_t dj_listener_port(const struct dj_listener *listener);
void dj_listener_close(struct dj_listener *listener); /* accepts NULL; asynchronous, no callback */

/* bytes: borrowed until return. len 0: end of stream (status DEJA_OK) or failure (DEJA_ERR_IO). */
typedef void dj_stream_read_fn(void *ctx, enum deja_status status, struct deja_slice bytes);
typedef void dj_stream_written_fn(void *ctx, enum deja_status status);

void dj_stream_read_start(struct dj_stream *stream, void *ctx, dj_stream_read_fn *on_read);
void dj_stream_read_stop(struct dj_stream *stream);

enum { DJ_STREAM_SLICES_MAX = 8 };
/* More than this is never queued on one stream (DEJA_ERR_LIMIT); callers hold back much earlier. */
#define DJ_STREAM_QUEUED_BYTES_MAX ((size_t)256 << 20)

/* Writes up to 8 slices in order. What the socket takes at once is written at once; the rest is
 * copied and queued. Only if something was queued *out_is_queued is true and on_written runs once
 * when it has left (or failed). */
enum deja_status dj_stream_write(struct dj_stream *stream, const struct deja_slice *slices,
                                 size_t count, void *ctx, dj_stream_written_fn *on_written,
                                 bool *out_is_queued) DEJA_NODISCARD;
size_t dj_stream_queued_bytes(const struct dj_stream *stream);
bool dj_stream_is_loopback(const struct dj_stream *stream); /* the peer's address */
/* That address as IPv6, an IPv4 one mapped (::ffff:1.2.3.4); zeros if it is not known. */
void dj_stream_peer(const struct dj_stream *stream, uint8_t out_address[16]);

typedef void dj_stream_closed_fn(void *ctx);
/* Pending writes end with DEJA_ERR_CANCELLED; then closed(ctx) (may be NULL) runs once. */
void dj_stream_close(struct dj_stream *stream, void *ctx, dj_stream_closed_fn *closed);

/* As dj_stream_close, but the peer sees a reset: what it got so far is not a whole answer. */
void dj_stream_abort(struct dj_stream *stream, void *ctx, dj_stream_closed_fn *closed);
/* Ends the writing side; nothing may be queued. Reading goes on until the peer ends its side. */
void dj_stream_finish(struct dj_stream *stream);

/* For libraries that bring their own sockets (curl). events: bit 1 readable, bit 2 writable. */
enum { DJ_POLL_READ = 1, DJ_POLL_WRITE = 2 };
typedef void dj_poll_fn(void *ctx, int status_or_events); /* negative: failure */
enum deja_status dj_poll_open(struct dj_loop *loop, int fd, void *ctx, dj_poll_fn *on_ready,
                              struct dj_poll **out_poll) DEJA_NODISCARD;
void dj_poll_set(struct dj_poll *poll, int events); /* 0: stop */
void dj_poll_close(struct dj_poll *poll);           /* accepts NULL; before the fd is closed */

#endif
