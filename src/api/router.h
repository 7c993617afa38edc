/* api/router.h - from a request to its handler: the local surface's checks, then the route.
 *
 *   every path     Host and Origin are checked (421, 403) before anything else
 *   /v1/caches/…   LangCache's API, never the proxy
 *   /v1/…          the proxy
 *   /api/v1/…      the native API; the tenant is the bearer's, as for the three others
 *   /gptcache/…    a GPTCache server's routes
 *   /cache/…       those of LiteLLM's cache administration
 *   /metrics, /health…   loopback peers, others with the role admin
 *   /livez, /readyz, /healthz, /openapi.json   everybody
 *   /admin/…, /api/v1/keys…   the role admin: the admin token, or a key that has it
 *
 * What is for operators and administrators is not there on a listener for traffic, and the proxy is
 * not there on theirs.
 *
 * Threads: one router is shared by all loops and immutable but for its atomics; handlers run on the
 * request's loop. Trust: requests are untrusted.
 */
#ifndef DJ_API_ROUTER_H
#define DJ_API_ROUTER_H

#include <deja/base.h>

#include "api/erase.h"
#include "api/resp.h"
#include "api/schedules.h"
#include "api/transfer.h"
#include "net/http_server.h"
#include "policy/kinds.h"
#include "proxy/context.h"

struct dj_idempotency;
struct dj_warm;

/* What is served on the listener that a request came to (dj_http_request.listener). Elsewhere a
 * route is as if it were not there. */
enum dj_listener_kind {
    DJ_LISTENER_ALL,
    DJ_LISTENER_TRAFFIC, /* no operations and no administration */
    DJ_LISTENER_ADMIN,   /* nothing that goes to the upstream */
};

/* Adds members to a component of /health/detailed ("redis"), or to what operators of LiteLLM are
 * told ("redis/info"), of what only the composition knows; none: it is not there. Any loop; it must
 * not block. */
struct dj_json_writer;
typedef void dj_api_describe_fn(void *ctx, const char *component, struct dj_json_writer *w);

/* Sealing of what is kept, of what only the composition knows; ctx NULL: there is none. Any loop;
 * none of them blocks. */
struct dj_api_encryption {
    void *ctx;
    /* Starts a rotation of data keys; tenant NULL: of all. DEJA_ERR_BUSY, DEJA_ERR_UNSUPPORTED. */
    enum deja_status (*rotate)(void *ctx, const uint8_t *tenant, bool has_lost_master);
    void (*write)(void *ctx, struct dj_json_writer *w); /* members of an object */
    const char *(*trouble)(void *ctx);                  /* NULL: none */
    bool (*is_on)(void *ctx);
};

#define DJ_TAIL_PLACES 256u

/* Handlers get this; borrowed for the life of the daemon. A zeroed member is its default. */
struct dj_api {
    struct dj_proxy_context *proxy;
    struct dj_audit *audit;           /* NULL: none is kept */
    const char *const *allowed_hosts; /* NULL-terminated, beyond loopback names */
    const char *const *allowed_origins;
    struct dj_idempotency *idempotency;          /* NULL: Idempotency-Key is not obeyed */
    const struct dj_erase_service *erase;        /* NULL: 501 */
    const struct dj_schedule_service *schedules; /* NULL: 501 */
    const struct dj_kinds *event_kinds;          /* what events void; NULL: none is known */
    const struct dj_transfer_service *transfers; /* NULL: 501 */
    void (*reload)(void *ctx);                   /* starts what SIGHUP does; any loop; NULL: 501 */
    void *reload_ctx;
    dj_api_describe_fn *describe; /* NULL: nothing */
    void *describe_ctx;
    struct dj_api_encryption encryption;
    struct dj_warm *warm;       /* NULL: 501 */
    struct dj_resp_api *resp;   /* NULL: clients of Redis are not served */
    _Atomic bool is_draining;   /* /readyz answers 503 */
    struct dj_notices *notices; /* what is made void; NULL: nobody can follow it */
    _Atomic uint64_t tail_places[DJ_TAIL_PLACES]; /* api/tail.c's: whose client waits; 0: free */
    _Atomic uint64_t embedder_due_ms; /* monotonic; this and the next are api/probe.c's */
    _Atomic int embedder_health;
    _Atomic uint64_t request_seed; /* of made-up request ids; drawn at the first one */
    _Atomic uint64_t request_count;
};

/* One row of the table of routes, for those who describe it (openapi.json). */
struct dj_api_route {
    const char *method; /* "*": any */
    const char *path;   /* a segment "*" stands for any one; the end of "/v1/" for any rest */
    const char *access; /* who may: "open", "operator", "read", "write", "admin", "audit" */
};
bool dj_api_route(size_t index, struct dj_api_route *out_route); /* false: there are no more */

/* A dj_http_handler_fn over a struct dj_api, of requests that Deja makes of itself: the proxy's
 * part of it alone. */
void dj_api_handle_inner(void *api, struct dj_http_exchange *exchange);
/* dj_http_handler_fn and dj_http_error_fn over a struct dj_api. */
void dj_api_handle(void *api, struct dj_http_exchange *exchange);
void dj_api_handle_error(void *api, int status, const char *detail, struct deja_slice path,
                         struct dj_http_exchange *exchange);

#endif
