/* proxy/call.h - one upstream call and the flight it feeds, on the key's home loop.
 *
 *   origin loop: dj_call_create, dj_call_join ----> home loop: join a running flight, or open one:
 *   lookup (the tiers, meaning) -> hit: land | upstream -> publish -> make the entry (worker)
 *   -> land and store
 *
 * A call owns copies of all it needs: the request that started it may leave. It is the flight's
 * owner and is freed with it. Threads: created on the origin loop, then home's; `stages` and `why`
 * may be read by riders once the flight runs or landed.
 */
#ifndef DJ_PROXY_CALL_H
#define DJ_PROXY_CALL_H

#include <deja/base.h>

#include "base/arena.h"
#include "cache/flight.h"
#include "proto/sse.h"
#include "proxy/context.h"
#include "proxy/knobs.h"
#include "cache/sensitive.h"
#include "proxy/trace.h"
#include "proxy/turn.h"
#include "security/principal.h"

struct dj_call;
struct dj_family;

/* What becomes of a whole 200 answer; runs on a worker, may only touch the call and `whole`. */
typedef void dj_call_make_fn(struct dj_call *call, struct deja_slice whole);
/* Stores what was made, on home; the flight lands afterwards with `end`, which it may fill. */
typedef void dj_call_store_fn(struct dj_call *call, struct dj_flight_end *end);

struct dj_call {
    struct dj_proxy_context *context;
    struct dj_rules *rules; /* of who asked first: one reference; NULL: no limits */
    uint64_t charged_bytes; /* in context->call_bytes */
    struct dj_arena arena;
    struct dj_loop *home;
    struct dj_flight *flight;
    dj_call_make_fn *make;
    dj_call_store_fn *store;
    const struct dj_family *answers; /* which family of answers is awaited; NULL: none of them */
    uint32_t answer_count;           /* that such an answer has, if it is one */
    void *extra;                     /* of make and store, in the arena */

    /* the question */
    struct dj_fingerprint fingerprint; /* slices in the arena */
    struct dj_knobs knobs;             /* likewise */
    bool is_lookup;                    /* look in lower tiers before upstream */
    bool is_storable;                  /* the answer may be kept */
    bool is_semantic;                  /* look by meaning */
    struct dj_fresh_rules fresh;       /* of that look-up: what may be served after its end */
    bool is_refresh;                   /* nobody asked: made anew behind an answer */
    bool is_early;                     /* before its end */
    bool is_background;                /* asked by Deja itself: waits for nobody's turn */
    uint32_t refresh_place;            /* of a refresh, in context->refreshes */
    bool is_stream;                    /* asked upstream as a stream */
    uint8_t flight_key[DJ_SHA256_BYTES];

    /* among programs of a shared tier */
    struct dj_turn *turn; /* owned; NULL: none */
    enum dj_turn_state turn_state;
    uint32_t turn_asks; /* again, after the first time */
    bool is_left;       /* a refresh that another program makes */
    bool is_turn_taken; /* it is ours: looked up once more */
    uint32_t asking;    /* answers that are awaited: of the look-up, of the turn */

    /* to upstream */
    const struct dj_proxy_target *target;
    const char *method;
    const char *url;
    const struct dj_address_guard *guard; /* of a tenant's own upstream; NULL: the deployment's */
    struct dj_http_header *headers;
    size_t header_count;
    struct deja_slice secret; /* a credential that Deja holds, in the arena: wiped at the end */
    bool has_proof;           /* as of the principal, as is the next */
    uint8_t proof[DJ_TENANT_BYTES];
    struct deja_slice body;
    struct deja_slice body_plain; /* without stream_options, for upstreams that refuse it */
    bool is_usage_added;

    /* running */
    struct dj_outbound_call *outbound;
    struct dj_admission_place place;
    bool is_placed; /* it may run */
    struct dj_upstream_leave leave;
    enum dj_upstream_family family;
    uint32_t attempts;         /* upstream was asked so often */
    uint64_t first_started_us; /* the first time */
    struct dj_timer *pause;    /* before the next; NULL: none */
    uint64_t wait_ms;          /* for riders of a flight that was not let through: Retry-After */
    struct dj_flight_head head;
    struct dj_buf pending; /* bytes of an event that is not whole yet, or of a held answer */
    bool is_held;          /* a 400 that may be about stream_options */
    bool is_encoded;       /* the answer has a content coding: not recorded */
    bool is_store_lost;    /* a chunk could not be kept */
    uint64_t lookup_started_us;
    uint64_t upstream_started_us;
    struct dj_job job;
    struct dj_task task;
    struct dj_buf whole;
    float *vector; /* of the text, if the lookup made one */
    uint32_t vector_dim;

    /* results, for headers */
    uint32_t lookup_us; /* all of the lookup on home; 0: not run */
    uint32_t embed_us;
    uint32_t search_us;
    uint32_t upstream_us;
    const char *why; /* constant */
    bool had_stale;  /* an answer whose time is over was found */
    /* It, for the case that the upstream fails; NULL: none, or deleted meanwhile. Owned; for riders
     * once the flight has landed or failed. */
    struct dj_value *stale;
    const char *stale_level;
    float nearest;

    /* made by `make` */
    struct dj_entry entry;    /* prefilled when the fill began; slices in the arena or in `made` */
    struct deja_slice labels; /* what its metadata is without a tape; in the arena */
    struct dj_buf made;       /* the canonical object */
    bool is_admitted;
    bool is_short_lived;
    double confidence; /* NAN: not said */
    /* What the upstream's Cache-Control leaves of the life, where it is obeyed; 0: as it is. */
    uint64_t upstream_ttl_ms;
    bool is_never_stale; /* must-revalidate, likewise */
    const char *refused; /* why not: constant */
    struct dj_sensitive_verdict sensitive;
};

/* Zeroed but for context and arena; freed with dj_call_destroy until it has been joined. */
struct dj_call *dj_call_create(struct dj_proxy_context *context) DEJA_NODISCARD;
void dj_call_destroy(struct dj_call *call); /* accepts NULL */

/* Where that tenant's misses go, if not to the deployment's upstream; NULL. Borrowed of who. */
const char *dj_call_own_upstream(const struct dj_principal *who);
/* Copies what goes upstream out of request: filtered headers, url. Not the body. Credentials of
 * Deja's own stay here; where the client has shown none of the upstream's, the one that is held for
 * who's tenant goes along. trace: the request's; it goes on with a span of ours. */
enum deja_status dj_call_take_request(struct dj_call *call, const struct dj_http_request *request,
                                      const struct dj_principal *who, const struct dj_trace *trace,
                                      bool is_cached_surface) DEJA_NODISCARD;

/* Of an entry that expires then: the wider of the policy's windows is added; 0: there is none. */
int64_t dj_call_stale_until(const struct dj_proxy_policy *policy, int64_t expires_ms);

/* Runs once, on the origin loop. flight NULL: it could not be made (status says why). Otherwise the
 * callee owns one reference and start and must board. */
typedef void dj_joined_fn(void *ctx, enum deja_status status, struct dj_flight *flight,
                          struct dj_chunk *start, bool is_leader);
struct dj_join {
    struct dj_task task;
    struct dj_loop *origin;
    struct dj_call *call; /* taken */
    struct dj_flight *flight;
    struct dj_chunk *start;
    enum deja_status status;
    bool is_leader;
    bool is_alone; /* do not ride with others */
    void *ctx;
    dj_joined_fn *joined;
};
/* As dj_call_join, but nobody waits: a running flight is left alone. Takes call, whose is_refresh
 * and refresh_place are set. */
void dj_call_refresh(struct dj_call *call);
/* join is embedded in its owner, who keeps it alive until joined ran. */
void dj_call_join(struct dj_join *join);

#endif
