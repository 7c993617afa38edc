/* net/http_headers.h - what the server and the client both ask about header fields.
 *
 * Trust: names and values may be anything; nothing here allocates. Threads: any.
 */
#ifndef DJ_NET_HTTP_HEADERS_H
#define DJ_NET_HTTP_HEADERS_H

#include "net/http_server.h" /* dj_http_header */

/* Without case; name is lower or upper as it likes. */
bool dj_http_name_is(struct deja_slice name, const char *text);

/* A token of RFC 9110 (also right for methods), at most 256 bytes. */
bool dj_http_is_name_valid(struct deja_slice name);
/* No control character but the tab. */
bool dj_http_is_value_valid(struct deja_slice value);

/* First header of that name, or a NULL slice. */
struct deja_slice dj_http_find(const struct dj_http_header *headers, size_t count,
                               const char *name);

/* True if list ("a, b") holds token, without case. */
bool dj_http_list_has(struct deja_slice list, struct deja_slice token);

/* True for the headers that end at this hop (RFC 9110 §7.6.1, with the ones old peers send) and for
 * those that a Connection header among headers names. */
bool dj_http_is_hop_by_hop(const struct dj_http_header *headers, size_t count,
                           struct deja_slice name);

#endif
