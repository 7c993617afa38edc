/* proto/http.h - HTTP/1.1 requests out of bytes, strictly: what two parsers could read in two ways
 * is refused, never repaired.
 *
 * The caller feeds what it received and looks at the step that comes back:
 *
 *     DJ_HTTP_STEP_MORE    everything was taken; feed the next bytes
 *     DJ_HTTP_STEP_HEAD    the head is complete and a body follows: look at the head (its length,
 *                          whether the client waits for 100), then go on feeding what was not taken
 *     DJ_HTTP_STEP_DONE    the request is complete; bytes not taken belong to the next one, which
 *                          may be fed after dj_http_parser_next
 *     DJ_HTTP_STEP_FAILED  answer dj_http_parser_status and close; final
 *
 * A request without a body goes to DONE at once. At HEAD and DONE taken may be less than len.
 *
 * Refused: Content-Length together with Transfer-Encoding, two or malformed Content-Length, any
 * coding but one "chunked", folded headers, bare CR or LF, a space before the colon, control
 * characters and NUL, a missing, double or malformed Host, targets that are not plain ASCII or have
 * a backslash (clients disagree whether it is a slash), CONNECT, TRACE, other protocols than HTTP,
 * versions other than 1.0 and 1.1. An absolute target is taken only if its authority is
 * the Host. Upgrade is not offered: the header is left to stand and means nothing. Trailers and
 * chunk extensions are dropped, and bounded.
 *
 * Trust: untrusted. Threads: none of its own. Time: none; timeouts are the caller's.
 */
#ifndef DJ_PROTO_HTTP_H
#define DJ_PROTO_HTTP_H

#include <deja/base.h>

struct dj_http_parser;

struct dj_http_parser_limits {
    uint32_t head_bytes_max; /* request line and headers: 414, 431 */
    uint32_t fields_max;     /* 431 */
    uint64_t body_bytes_max; /* 413, at the head where the length is told there */
};

struct dj_http_field {
    struct deja_slice name;  /* as sent: a token */
    struct deja_slice value; /* trimmed, no control characters; may be empty */
};

/* All slices are borrowed until dj_http_parser_next or _destroy. */
struct dj_http_head {
    struct deja_slice method; /* "GET": one that llhttp knows, in capitals */
    struct deja_slice target; /* origin form ("/path?query"), or "*" with OPTIONS */
    struct deja_slice host;   /* empty: HTTP/1.0 without one */
    const struct dj_http_field *fields;
    size_t field_count;
    uint8_t minor_version;   /* 0 or 1 */
    bool is_keep_alive;      /* the client would go on after this request */
    bool expects_continue;   /* waits for "100 Continue" before it sends the body */
    bool is_chunked;         /* the body's length is not known in advance */
    uint64_t content_length; /* 0 when chunked or without a body */
};

enum dj_http_step {
    DJ_HTTP_STEP_MORE,
    DJ_HTTP_STEP_HEAD,
    DJ_HTTP_STEP_DONE,
    DJ_HTTP_STEP_FAILED,
};

/* A piece of the body, transfer coding removed, in order, never empty; bytes are borrowed until
 * return (they lie in what was fed). Must not touch the parser. false: cannot be kept; the request
 * fails with 503. */
typedef bool dj_http_body_fn(void *ctx, struct deja_slice bytes);

/* limits is copied. */
enum deja_status dj_http_parser_create(const struct dj_http_parser_limits *limits,
                                       struct dj_http_parser **out_parser) DEJA_NODISCARD;
void dj_http_parser_destroy(struct dj_http_parser *parser); /* accepts NULL */

/* Not after DONE without dj_http_parser_next. bytes may be empty. *out_taken: how many of the bytes
 * belong to this request. */
enum dj_http_step dj_http_parser_feed(struct dj_http_parser *parser, struct deja_slice bytes,
                                      size_t *out_taken, void *ctx,
                                      dj_http_body_fn *on_body) DEJA_NODISCARD;
/* Forgets the request that is done and waits for the next; keeps its memory. */
void dj_http_parser_next(struct dj_http_parser *parser);
/* Gives that memory back; between requests only. */
void dj_http_parser_trim(struct dj_http_parser *parser);

/* From HEAD (or DONE) on. */
const struct dj_http_head *dj_http_parser_head(const struct dj_http_parser *parser);
/* First field of that name (any case); a NULL slice if there is none. */
struct deja_slice dj_http_head_find(const struct dj_http_head *head, const char *name);
/* True as soon as a byte of a request was taken (empty lines before it do not count): tells a half
 * request from an idle connection. */
bool dj_http_parser_has_begun(const struct dj_http_parser *parser);
/* Bytes of the head that are kept: while it arrives, and until next. */
size_t dj_http_parser_head_bytes(const struct dj_http_parser *parser);
/* Body bytes handed out so far. */
uint64_t dj_http_parser_body_bytes(const struct dj_http_parser *parser);

/* After FAILED: 400, 413, 414, 417, 431, 501, 503 or 505, and a constant text without line breaks.
 */
int dj_http_parser_status(const struct dj_http_parser *parser);
const char *dj_http_parser_detail(const struct dj_http_parser *parser);
/* The target as far as it was read, for the error's form; may be empty. Until next or destroy. */
struct deja_slice dj_http_parser_target(const struct dj_http_parser *parser);

#endif
