/* proxy/proxy.h - the surfaces of OpenAI and Anthropic: cached chat, completions, responses,
 * messages and embeddings, everything else passed through.
 *
 * Each call takes over the exchange and answers it, now or later, on its loop. request_id: borrowed
 * until the exchange ended (it lies in its arena). Threads: loop-bound to the exchange's loop.
 */
#ifndef DJ_PROXY_PROXY_H
#define DJ_PROXY_PROXY_H

#include <deja/base.h>

#include "net/http_server.h"
#include "proxy/context.h"

void dj_proxy_chat(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                   struct deja_slice request_id);
void dj_proxy_completions(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id);
void dj_proxy_messages(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                       struct deja_slice request_id);
void dj_proxy_responses(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                        struct deja_slice request_id);
void dj_proxy_embeddings(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                         struct deja_slice request_id);
void dj_proxy_passthrough(struct dj_proxy_context *context, struct dj_http_exchange *exchange,
                          struct deja_slice request_id);

#endif
