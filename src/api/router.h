/* api/router.h - from a request to its handler: the local surface's checks, then the route.
 *
 * Threads: one router is shared by all loops and immutable; handlers run on the request's loop.
 */
#ifndef DJ_API_ROUTER_H
#define DJ_API_ROUTER_H

#include <deja/base.h>

#include "net/http_server.h"
#include "proxy/context.h"

/* Handlers get this; borrowed for the life of the daemon. */
struct dj_api {
    struct dj_proxy_context *proxy;
    const char *admin_token;          /* hex, NULL: admin routes are closed */
    const char *const *allowed_hosts; /* NULL-terminated, beyond loopback names */
    const char *const *allowed_origins;
    _Atomic bool is_draining; /* /readyz answers 503 */
    int64_t started_ms;
};

/* dj_http_handler_fn and dj_http_error_fn over a struct dj_api. */
void dj_api_handle(void *api, struct dj_http_exchange *exchange);
void dj_api_handle_error(void *api, int status, const char *detail, struct deja_slice path,
                         struct dj_http_exchange *exchange);

#endif
