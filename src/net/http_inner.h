/* net/http_inner.h - requests that the program makes of its own handlers: no socket, no client, the
 * same way through them as everybody's.
 *
 * For what Deja asks by itself on behalf of a tenant (warming). Such a request says whose it is by
 * dj_http_request.inner_tenant, which nothing that came over a network can set; whatever else would
 * tell who asks is not looked at. Threads: loop-bound.
 */
#ifndef DJ_NET_HTTP_INNER_H
#define DJ_NET_HTTP_INNER_H

#include <deja/base.h>

#include "net/http_server.h"

#define DJ_HTTP_INNER_HEADERS_MAX 32u
/* Of an answer that is kept for done; what is longer is counted as not whole. */
#define DJ_HTTP_INNER_ANSWER_BYTES_MAX (32u << 20)

struct dj_http_inner_request {
    const uint8_t *tenant; /* 16 bytes */
    const char *method;
    struct deja_slice target; /* path and query */
    const struct dj_http_header *headers;
    size_t header_count; /* at most DJ_HTTP_INNER_HEADERS_MAX */
    struct deja_slice body;
    uint8_t *id; /* 16 bytes, the caller's until done: of the entry it is about; NULL: not wanted */
};

/* is_whole false: the answer broke off, or was too long. Everything is borrowed until return. */
typedef void dj_http_inner_done_fn(void *ctx, int status, const struct dj_http_header *headers,
                                   size_t header_count, struct deja_slice body, bool is_whole);

/* request is copied. handler runs later on loop, and done once, when it has answered.
 * DEJA_ERR_LIMIT: too many headers; DEJA_ERR_NOMEM. */
enum deja_status dj_http_inner_ask(struct dj_loop *loop,
                                   const struct dj_http_inner_request *request, void *handler_ctx,
                                   dj_http_handler_fn *handler, void *ctx,
                                   dj_http_inner_done_fn *done) DEJA_NODISCARD;

#endif
