/* proto/sse.h - server-sent events, incrementally.
 *
 * Trust: untrusted. Handles LF, CRLF, CR, comments, multi-line data, events split anywhere, a BOM.
 * Bound: event_bytes_max. Threads: none of its own.
 */
#ifndef DJ_PROTO_SSE_H
#define DJ_PROTO_SSE_H

#include <deja/base.h>

#include "base/buf.h"

struct dj_sse_event {
    struct deja_slice name; /* "event:" field, empty if none */
    struct deja_slice data; /* lines joined with \n */
};
/* Slices are borrowed until return. Return false to stop feeding. */
typedef bool dj_sse_event_fn(void *ctx, const struct dj_sse_event *event);

struct dj_sse_parser {
    struct dj_buf line;
    struct dj_buf data;
    struct dj_buf name;
    size_t event_bytes_max;
    bool has_data;
    bool is_after_cr;
    bool is_started;
};

void dj_sse_init(struct dj_sse_parser *parser, size_t event_bytes_max);
void dj_sse_fini(struct dj_sse_parser *parser);
/* DEJA_ERR_LIMIT, DEJA_ERR_NOMEM, DEJA_ERR_CANCELLED (the callback returned false). */
enum deja_status dj_sse_feed(struct dj_sse_parser *parser, struct deja_slice bytes, void *ctx,
                             dj_sse_event_fn *on_event) DEJA_NODISCARD;
/* True when nothing half-read is left. */
bool dj_sse_is_at_boundary(const struct dj_sse_parser *parser);

/* Appends an event around what the caller appends between the two, which is without line breaks:
 * "event: <name>\ndata: " (name empty: no such line), "\n\n". */
void dj_sse_begin(struct dj_buf *buf, struct deja_slice name);
void dj_sse_end(struct dj_buf *buf);
/* Both, with data between; without a name. */
void dj_sse_append(struct dj_buf *buf, struct deja_slice data);

#endif
