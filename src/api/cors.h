/* api/cors.h - pages of the configured origins may call from a browser (Fetch standard, CORS).
 *
 * Only for requests that the local guard has passed: their Origin is the very host's or configured
 * (server.allowed_origins). No answer names another origin, and credentials are never asked for:
 * a key is sent by the page's own code. Threads: the exchange's loop.
 */
#ifndef DJ_API_CORS_H
#define DJ_API_CORS_H

#include <deja/base.h>

#include "net/http_server.h"

/* Names the request's Origin, if it has one, in its answer. True: it was a preflight and has been
 * answered (204). */
bool dj_cors_answer(struct dj_http_exchange *exchange, struct deja_slice request_id);

#endif
