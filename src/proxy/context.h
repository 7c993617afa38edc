/* proxy/context.h - what every handler of the daemon shares: engine, tenants, metrics, log, policy.
 *
 * One per process, read-only after start but for `settings` values that a reload swaps atomically.
 * Threads: any; members say their own rules.
 */
#ifndef DJ_PROXY_CONTEXT_H
#define DJ_PROXY_CONTEXT_H

#include <deja/base.h>

#include <stdatomic.h>

#include "cache/engine.h"
#include "cache/flight.h"
#include "cache/volatile.h"
#include "loop/pool.h"
#include "net/outbound.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "policy/prices.h"
#include "policy/ttl.h"
#include "proxy/admission.h"
#include "proxy/limiter.h"
#include "proxy/refreshes.h"
#include "proxy/target.h"
#include "proxy/telemetry.h"
#include "proxy/upstream.h"
#include "security/audit.h"
#include "security/detector.h"
#include "security/directory.h"
#include "security/keys.h"
#include "security/registry.h"
#include "security/rules.h"
#include "security/tenant.h"

#define DJ_IGNORABLE_MAX 16u
#define DJ_IGNORABLE_BYTES 64u

/* Policy values a SIGHUP may change: one immutable struct, swapped whole. */
struct dj_proxy_policy {
    uint64_t response_ttl_ms;
    struct dj_ttl_sizes ttl_sizes; /* of answers and of entries put without a life */
    uint64_t embedding_ttl_ms;
    uint64_t api_ttl_ms;   /* entries put without one */
    uint64_t plain_ttl_ms; /* plain keys put over HTTP without one */
    uint64_t refusal_ttl_ms;
    uint64_t negative_ttl_ms;     /* of what the upstream refuses; 0: not kept */
    uint64_t stale_revalidate_ms; /* after its end: served, and made anew behind */
    uint64_t stale_error_ms;      /* after its end: served when the upstream fails */
    uint32_t stores_max;          /* answers on their way into the tiers at the same time */
    uint64_t store_bytes_max;
    uint32_t refreshes_max;    /* answers made anew at the same time; 0: none */
    uint64_t record_bytes_max; /* 8 MiB */
    uint32_t peer_wait_ms;     /* for another program that makes the same answer; 0: never */
    uint32_t followers_max;    /* 10,000 per flight */
    uint32_t first_byte_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t total_timeout_ms;
    uint32_t query_chars_max; /* cache API: 1,000 */
    unsigned fold;            /* enum dj_fold bits */
    unsigned compat;          /* enum dj_compat bits: families whose headers everybody gets */
    bool is_usage_zero_on_hit;
    bool is_id_new_on_hit;
    bool is_tool_calls_cached;
    uint64_t ttl_base_ms; /* of what says its type, confidence or cost */
    bool is_ttl_dynamic;
    bool is_several_kept;
    bool is_asked_for;       /* only requests that ask for the cache are cached */
    bool is_upstream_obeyed; /* its Cache-Control */
    double confidence_min;
    size_t ignorable_count; /* members of a body that may stay out of a key */
    char ignorable[DJ_IGNORABLE_MAX][DJ_IGNORABLE_BYTES];
    struct dj_prices *prices_own; /* of prices.file; NULL: none. Owned, as is the next */
    struct dj_prices *prices_shipped;
    bool is_stored_response_kept; /* /v1/responses: also what the upstream stores */
    bool is_early_refresh;
    bool is_semantic;
    bool is_langcache_cosine; /* similarities of LangCache's API: cosine, not (1 + cosine) / 2 */
};

/* May a credential that nobody configured be a tenant of its own? */
enum dj_derive {
    DJ_DERIVE_AUTO, /* until a tenant is configured */
    DJ_DERIVE_ALWAYS,
    DJ_DERIVE_NEVER,
};

struct dj_address_guard;
struct dj_asked;
struct dj_kind_book;
struct dj_plain;
struct dj_vault;

struct dj_proxy_context {
    struct dj_engine *engine;
    struct dj_kind_book *kinds; /* NULL: entries are of no kind */
    struct dj_plain *plain;
    struct dj_registry *registry;
    struct dj_keys *keys;   /* NULL: there are none */
    struct dj_vault *vault; /* upstream credentials that Deja holds; NULL: none */
    enum dj_derive derive;
    const char *operator_token; /* the admin token, terminated; NULL: there is none */
    const struct dj_tenant_root *root;
    struct dj_rules *rules;         /* of tenants nobody configured; one reference */
    struct dj_directory *directory; /* of those somebody did; NULL: there are none */
    struct dj_metrics *metrics;
    struct dj_telemetry *telemetry;
    struct dj_log *log;
    struct dj_audit *audit; /* NULL: none is kept */
    struct dj_volatile *volatiles;
    const struct dj_detector *detector; /* NULL: entries are kept as they are */
    /* Levels below memory that seal what they keep: sensitive entries may be put there. */
    uint32_t sealed_levels;
    struct dj_pool *pool;
    struct dj_pool *reads;                /* the embedded tier's, for its gauge; may be NULL */
    struct dj_outbound *const *outbounds; /* one per loop, by loop index */
    struct dj_flights *const *flights;    /* likewise */
    struct dj_limiter *limiter;           /* NULL: nobody is limited */
    struct dj_admission *admission;       /* of calls to the upstream; NULL: no bound */
    struct dj_sentry_board *dependencies; /* of all dependencies; NULL: none */
    const struct dj_address_guard *upstream_guard; /* of upstreams that the operator did not name */
    struct dj_proxy_target targets[DJ_TARGET_COUNT];
    bool has_two_targets;      /* they are not the same */
    const char *model_name;    /* of the embedder in the process; NULL: its kind says it */
    int64_t started_ms;        /* when the daemon began */
    const char *forced_tenant; /* --tenant: everybody is this one; NULL: derived */
    _Atomic(const struct dj_proxy_policy *) policy;
    _Atomic bool is_usage_refused; /* this upstream knows no stream_options */
    _Atomic bool is_stopping;      /* no new upstream calls */
    _Atomic uint32_t calls;        /* calls alive, whatever their phase */
    _Atomic uint64_t call_bytes;  /* kept by calls that lead a flight: they outlive their clients */
    uint64_t call_bytes_max;      /* a call that is alone may have more */
    _Atomic uint32_t stores;      /* answers on their way into the tiers */
    _Atomic uint64_t store_bytes; /* of these */
    struct dj_refreshes refreshes;
    struct dj_asked *asked; /* what was asked lately, for warming; NULL: nobody wants to know */
};

#endif
