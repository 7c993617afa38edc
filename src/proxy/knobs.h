/* proxy/knobs.h - what one request asks of the cache, out of the headers of every family (WIRE §5).
 *
 * Precedence: X-Deja-* > a peer's header > body "cache" > Cache-Control. A client may narrow what
 * its tenant allows, never widen it (I12). Trust: untrusted. Threads: any.
 */
#ifndef DJ_PROXY_KNOBS_H
#define DJ_PROXY_KNOBS_H

#include <deja/base.h>

#include "net/http_server.h"
#include "policy/fresh.h"
#include "proto/json.h"

/* Families whose answer headers were asked for by one of their request headers; a bit set. */
enum dj_compat {
    DJ_COMPAT_PORTKEY = 1,
    DJ_COMPAT_CLOUDFLARE = 2,
    DJ_COMPAT_HELICONE = 4,
    DJ_COMPAT_LITELLM = 8,
    DJ_COMPAT_BIFROST = 16,
    DJ_COMPAT_APISIX = 32,
    DJ_COMPAT_OPENROUTER = 64,
    DJ_COMPAT_KONG = 128,
    DJ_COMPAT_VSR = 256, /* vLLM's semantic router */
};

struct dj_knobs {
    bool is_bypass;         /* neither read nor written */
    bool is_no_read;        /* refresh: asked upstream, then stored */
    bool is_no_store;       /* read is allowed, nothing is stored */
    bool is_only_if_cached; /* 504 on a miss */
    bool is_exact_only;
    bool is_wanted;      /* it asks for the cache: where that is off for who does not ask */
    uint32_t variants;   /* answers kept beside each other, one taken at random; 0 and 1: one */
    uint64_t ttl_ms;     /* 0: the tenant's */
    uint64_t max_age_ms; /* 0: any age */
    /* max-stale, min-fresh, stale-while-revalidate, stale-if-error; its max_age_ms is not set */
    struct dj_fresh_wish wish;
    double threshold; /* 0: the policy's; only raises */
    uint32_t skip;    /* levels neither read nor written: bits of cache/tiers.h */
    struct deja_slice name_space;
    struct deja_slice tags; /* comma separated */
    /* Helicone-Cache-Ignore-Keys as sent: members that the client would leave out of the key
     * (dj_knobs_ignores), which only the policy permits. */
    struct deja_slice ignored;
    unsigned compat;            /* enum dj_compat */
    struct deja_slice trace_id; /* x-portkey-trace-id, told again in the answer */
    /* x-portkey-metadata, cf-aig-metadata: an object of JSON with scalars, kept with the answer as
     * its metadata and no part of its key; empty: none. */
    struct deja_slice labels;
    const char *detail; /* an override that was cut or ignored: constant; NULL: none */
    const char *rule;   /* the header or member that asked for bypass, refresh or no-store:
                         * constant; NULL: nothing did */
};

/* body: the parsed root or NULL (its "cache" and "cache_skip"). Values that cannot be read are
 * ignored and named in detail. */
void dj_knobs_read(const struct dj_http_request *request, const struct dj_json *body,
                   struct dj_knobs *out_knobs);
/* A longer life than may be asked for is cut, and that named in detail. 0: there is no bound. */
void dj_knobs_cut_ttl(struct dj_knobs *knobs, uint64_t ttl_max_ms);

#define DJ_VARIANTS_MAX 20u
#define DJ_KNOBS_TRACE_BYTES_MAX 128u

/* The families named in a configuration, as they are spelled there, NULL-terminated; the i-th is
 * the bit 1 << i of enum dj_compat. */
extern const char *const dj_compat_names[];

/* Is this member of a body named in knobs->ignored? */
bool dj_knobs_ignores(const struct dj_knobs *knobs, struct deja_slice member);

/* True for request headers that steer a cache and never go upstream. */
bool dj_knobs_is_cache_header(struct deja_slice name);

#endif
