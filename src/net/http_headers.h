/* net/http_headers.h - what the server, the client and those above them ask about header fields.
 *
 * Trust: names and values may be anything; nothing here allocates. Threads: any.
 */
#ifndef DJ_NET_HTTP_HEADERS_H
#define DJ_NET_HTTP_HEADERS_H

#include "net/http_server.h" /* dj_http_header */

/* First header of that name (any case), or a NULL slice. */
static inline struct deja_slice dj_http_find(const struct dj_http_header *headers, size_t count,
                                             const char *name)
{
    return dj_http_find_slice(headers, count, deja_slice_text(name));
}

/* True for the headers that end at this hop (RFC 9110 §7.6.1, with the ones old peers send) and for
 * those that a Connection header among headers names. */
bool dj_http_is_hop_by_hop(const struct dj_http_header *headers, size_t count,
                           struct deja_slice name);

#endif
