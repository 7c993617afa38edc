/* proxy/proxy.h - the handlers of the OpenAI surface: cached chat, cached embeddings, the rest.
 *
 * Each answers the exchange, now or later, on its loop. request_id goes into X-Request-Id of the
 * answer; it lives as long as the exchange. Threads: the exchange's loop.
 */
#ifndef DJ_PROXY_PROXY_H
#define DJ_PROXY_PROXY_H

#include <deja/base.h>

#include "net/http_server.h"
#include "proxy/context.h"

void dj_proxy_chat(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                   struct deja_slice request_id);
void dj_proxy_embeddings(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                         struct deja_slice request_id);
void dj_proxy_passthrough(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id);

#endif
