/* proto/http_reply.h - answers of an HTTP/1.1 server out of bytes, for a client of our own that
 * keeps its connection: whole ones, with a length or chunked, to requests other than HEAD.
 *
 * The caller feeds what it received and looks at the step that comes back, as in proto/http.h:
 * MORE, DONE (the answer is complete; bytes not taken belong to the next one), FAILED (final). An
 * answer that ends with the connection is refused, because its end cannot be told from a break.
 *
 * Trust: untrusted. Threads: none of its own. Time: none; timeouts are the caller's.
 */
#ifndef DJ_PROTO_HTTP_REPLY_H
#define DJ_PROTO_HTTP_REPLY_H

#include <deja/base.h>

#include "proto/http.h" /* the steps, dj_http_body_fn */

struct dj_http_reply;

struct dj_http_reply_limits {
    uint32_t head_bytes_max; /* all but the body: status line, headers, chunk lines, trailers */
    uint64_t body_bytes_max;
};

/* limits is copied. */
enum deja_status dj_http_reply_create(const struct dj_http_reply_limits *limits,
                                      struct dj_http_reply **out_reply) DEJA_NODISCARD;
void dj_http_reply_destroy(struct dj_http_reply *reply); /* accepts NULL */

/* Not after DONE without dj_http_reply_next. *out_taken: how many of the bytes belong to this
 * answer. on_body runs for each piece of the body; false there: FAILED. */
enum dj_http_step dj_http_reply_feed(struct dj_http_reply *reply, struct deja_slice bytes,
                                     size_t *out_taken, void *ctx,
                                     dj_http_body_fn *on_body) DEJA_NODISCARD;
/* Forgets the answer that is done and waits for the next; keeps its memory. */
void dj_http_reply_next(struct dj_http_reply *reply);

/* Of an answer that is DONE, until next or destroy. */
int dj_http_reply_status(const struct dj_http_reply *reply);
bool dj_http_reply_is_keep_alive(const struct dj_http_reply *reply);
/* First field of that name (any case), trimmed; a NULL slice if there is none. */
struct deja_slice dj_http_reply_find(const struct dj_http_reply *reply, const char *name);
/* After FAILED: a constant text. */
const char *dj_http_reply_detail(const struct dj_http_reply *reply);

#endif
