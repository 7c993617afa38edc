/* proxy/ride_internal.h - one client's request on its way through the proxy; shared by chat,
 * embeddings and pass-through.
 *
 * Lives from the handler until the exchange ended. Loop-bound to the exchange's loop. Slices of
 * `knobs`, `prefix` and `fingerprint` lie in the exchange's arena: after `is_gone` they are dead.
 */
#ifndef DJ_PROXY_RIDE_INTERNAL_H
#define DJ_PROXY_RIDE_INTERNAL_H

#include "cache/flight.h"
#include "proto/http_text.h"
#include "proxy/call.h"
#include "proxy/content.h"
#include "proxy/context.h"
#include "proxy/family.h"
#include "proxy/respond.h"
#include "proxy/trace.h"
#include "security/principal.h"

#define RIDE_REQUEST_ID_BYTES 128u
#define RIDE_WARMED_TAG "\x01warmed" /* of what Deja asked for by itself */

struct ride;

/* What differs between the surfaces. */
struct ride_ops {
    const char *api;                /* in metrics: "chat", "embeddings", "passthrough" */
    const struct dj_family *family; /* of the cached surfaces (cached.c); NULL: another */
    /* The flight landed with a value or items: answer whole. */
    void (*answer_hit)(struct ride *ride, const struct dj_flight_end *end);
    /* Optional: the ride ends; `extra` is freed. Runs after the answer: `extra` must not lie in the
     * exchange's arena then. */
    void (*leave)(struct ride *ride);
};

struct ride {
    const struct ride_ops *ops;
    struct dj_proxy_context *context;
    const struct dj_proxy_policy *policy; /* as it was when the request came */
    struct dj_http_exchange *exchange;
    struct dj_loop *loop;
    struct deja_slice request_id; /* dead once the exchange ended: the log's is a copy */
    char request_id_text[RIDE_REQUEST_ID_BYTES];
    struct dj_trace trace;
    char trace_text[DJ_KNOBS_TRACE_BYTES_MAX + 1]; /* knobs.trace_id, for the log; empty: none */
    uint64_t started_us;

    struct dj_principal who;
    struct dj_limit_pass pass;
    uint64_t answer_bytes;       /* of its body, so far */
    bool is_limited;             /* refused at the gate */
    uint8_t tenant[DJ_ID_BYTES]; /* who's */
    struct dj_key_prefix prefix;
    struct dj_knobs knobs;
    struct dj_fresh_rules fresh; /* what may be served to it after its end */
    uint32_t variant;            /* of knobs.variants */
    struct dj_json_doc *doc;     /* owned */
    struct dj_buf decoded;       /* body without its content coding */
    struct deja_slice body;
    struct dj_fingerprint fingerprint;
    enum deja_status prepare_status;
    struct deja_error error;
    uint64_t handled_us; /* monotonic, when the whole request was there */
    uint32_t canon_us;   /* parsing, knobs and keys */
    uint32_t key_us;     /* of that: canonical form and keys */
    bool is_inner;       /* Deja's own request (net/http_inner.h) */
    bool is_messages;    /* of Anthropic's API, cached or not */
    bool is_unknown;     /* neither read nor stored: no room for the tenant, or no memory */
    bool is_stream;
    bool has_usage; /* the client asked for the usage chunk */
    bool is_cacheable;
    const char *detail;            /* for Cache-Status: constant */
    int code;                      /* of the answer, for the log; 0: there was none */
    float similarity;              /* of a hit, for the log */
    uint8_t entry_id[DJ_ID_BYTES]; /* of a hit; of several the first */
    struct dj_content content;     /* for the log */
    uint64_t retry_after_ms;       /* of a failure before a flight was boarded */
    bool is_partial;               /* the flight's answer is only part of this one's */
    void *extra;                   /* of the surface */

    struct dj_job job;
    struct dj_join join;
    struct dj_rider rider;
    bool is_boarded;
    bool is_leader;
    bool is_begun;  /* answer headers are out */
    bool is_paused; /* the client reads slowly */
    bool is_gone;   /* the client left */
};

struct ride *ride_create(const struct ride_ops *ops, struct dj_proxy_context *context,
                         struct dj_http_exchange *exchange, struct deja_slice request_id);
/* The header in which this surface's upstream tells its request's id; we tell it again by our own.
 */
static inline const char *ride_id_header(const struct ride *ride)
{
    return ride->is_messages ? "request-id" : "x-request-id";
}
static inline bool ride_is_id_header(struct deja_slice name)
{
    return dj_http_is_same(name, "x-request-id") || dj_http_is_same(name, "request-id");
}
/* Who asks, and the key prefix; false: refused, the ride has ended. */
bool ride_identify(struct ride *ride, const char *family) DEJA_NODISCARD;
/* body without its content coding; answers by itself and returns false when that fails. */
bool ride_decode(struct ride *ride);
/* After the knobs: the rules they leave of the policy's. */
void ride_set_rules(struct ride *ride);
/* May a client leave this member of the body out of its key? (admission.ignorable_members) */
bool ride_may_ignore(const struct ride *ride, struct deja_slice member);
/* Counts what preparing took; notes the question for the log. */
void ride_count_prepared(struct ride *ride);
/* Leaves the flight and frees; the exchange must have ended or be gone. */
void ride_end(struct ride *ride, enum dj_result result, const char *level);
/* Why it was no hit: constant; NULL: somebody asked for that (knobs.rule), or it was one. */
const char *ride_reason(const struct ride *ride);
/* Answers with an error of this surface and ends. */
void ride_fail(struct ride *ride, int status, const char *message, const char *param,
               const char *code);
/* Joins or opens the flight of `call` (taken) and reads along. */
void ride_join(struct ride *ride, struct dj_call *call);
/* The outcome so far, for headers. */
struct dj_outcome ride_outcome(const struct ride *ride);
/* Whole answer with body, media type JSON or event stream. */
void ride_answer(struct ride *ride, const struct dj_outcome *outcome, struct deja_slice body,
                 bool is_stream);
/* A refusal out of the cache: outcome->entry, which the caller holds. Ends. */
void ride_answer_negative(struct ride *ride, struct dj_outcome *outcome);
/* As the upstream wrote it; the flight has landed. */
void ride_answer_whole(struct ride *ride);
/* Fills the flight key from the fingerprint and those knobs that may change the outcome. */
void ride_flight_key(const struct ride *ride, const struct dj_fingerprint *fingerprint,
                     uint8_t out_key[DJ_SHA256_BYTES]);
/* Tells a new call of who asks: his rules and knobs, and of its entry tenant, namespace, tags (the
 * user's and the knobs') and labels; slices in the call's arena. False: out of memory. */
bool ride_introduce(const struct ride *ride, struct dj_call *call);

#endif
