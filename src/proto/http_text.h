/* proto/http_text.h - small words of HTTP: names without case, values without control characters,
 * lists, reason phrases, dates.
 *
 * Trust: untrusted. Threads: any; nothing here allocates or keeps state.
 */
#ifndef DJ_PROTO_HTTP_TEXT_H
#define DJ_PROTO_HTTP_TEXT_H

#include <deja/base.h>

/* A method or header name: one or more of RFC 9110's token characters. */
bool dj_http_is_token(struct deja_slice text);
/* May stand as a header value: no control characters but the tab; bytes from 0x80 on may occur. */
bool dj_http_is_value(struct deja_slice text);
/* "name", "name:443", "1.2.3.4", "[::1]:80"; no userinfo, not empty. */
bool dj_http_is_host(struct deja_slice text);

/* Header names, codings, tokens: ASCII letters compare without case. */
bool dj_http_is_same_bytes(const char *a, const char *b, size_t len);

/* Inline, as nearly all pairs differ in their length, which of a constant is known to the compiler,
 * or in their last letter. */
static inline bool dj_http_is_same_slice(struct deja_slice a, struct deja_slice b)
{
    if (a.len != b.len || !a.len)
        return a.len == b.len;
    return !((a.data[a.len - 1] ^ b.data[b.len - 1]) & ~0x20) &&
           dj_http_is_same_bytes(a.data, b.data, a.len);
}

static inline bool dj_http_is_same(struct deja_slice a, const char *b)
{
    return dj_http_is_same_slice(a, deja_slice_text(b));
}

/* Without blanks and tabs at both ends. */
struct deja_slice dj_http_trim(struct deja_slice text);

/* Takes the next item of a comma-separated list off *list, trimmed; false at the end. Empty items
 * are passed over. Does not know quoted strings: for lists of tokens. */
bool dj_http_list_next(struct deja_slice *list, struct deja_slice *out_item);
/* Is token (any case) an item of the list? Parameters after ';' belong to the item. */
bool dj_http_list_has(struct deja_slice list, const char *token);

/* "OK" for 200, "Unknown" for what has no name. Never NULL. */
const char *dj_http_reason(int status);

#define DJ_HTTP_DATE_BYTES 30u
/* "Sun, 06 Nov 1994 08:49:37 GMT", terminated. */
void dj_http_date(int64_t now_ms, char out_text[DJ_HTTP_DATE_BYTES]);

#endif
