/* proxy/telemetry.h - the metrics of WIRE §13 that requests touch, as one place to count them.
 *
 * Tenants: the first DJ_TELEMETRY_LABELS_MAX have labels of their own, later ones are "other";
 * the first DJ_TELEMETRY_TENANTS_MAX have totals of their own, later ones count only in the sum.
 * A request that ended in an error makes no tenant known, so strangers cannot fill the tables.
 * Threads: any; counting takes no lock once a series was met.
 */
#ifndef DJ_PROXY_TELEMETRY_H
#define DJ_PROXY_TELEMETRY_H

#include <deja/base.h>

#include "cache/tiers.h"
#include "obs/log.h"
#include "obs/metrics.h"
#include "policy/kinds.h"
#include "policy/prices.h"
#include "proto/record.h"
#include "security/tenant.h"

#define DJ_TELEMETRY_LABELS_MAX 100u
#define DJ_TELEMETRY_TENANTS_MAX 12000u
#define DJ_TELEMETRY_LEVELS 6u

struct dj_telemetry;
struct dj_engine;
struct dj_ledger;
struct dj_kind_book;
struct dj_recent;
struct dj_sentry_board;

enum dj_result {
    DJ_RESULT_HIT_EXACT,
    DJ_RESULT_HIT_SEMANTIC,
    DJ_RESULT_MISS,
    DJ_RESULT_BYPASS,
    DJ_RESULT_REFRESH,
    DJ_RESULT_ERROR,
    DJ_RESULT_COLLAPSED,
    DJ_RESULT_COUNT
};
enum dj_stage {
    DJ_STAGE_AUTH,
    DJ_STAGE_CANON,
    DJ_STAGE_EMBED,
    DJ_STAGE_SEARCH,
    DJ_STAGE_VERIFY,
    DJ_STAGE_FETCH,
    DJ_STAGE_UPSTREAM,
    DJ_STAGE_STORE,
    DJ_STAGE_COUNT
};

enum deja_status dj_telemetry_create(struct dj_metrics *metrics,
                                     struct dj_telemetry **out_telemetry) DEJA_NODISCARD;
void dj_telemetry_destroy(struct dj_telemetry *telemetry); /* accepts NULL */

const char *dj_result_text(enum dj_result result); /* "hit_exact", ...: constant */

/* One request that was answered; all of it borrowed for the call. */
struct dj_finished {
    const uint8_t *tenant; /* DJ_ID_BYTES */
    const char *api;       /* "chat", "messages", "embeddings", "api", "passthrough", … */
    const char *kind; /* that the question named (policy/kinds.h), terminated; NULL, "": none */
    enum dj_result result;
    const char *level; /* "memory", "lmdb", "none" */
    double seconds;
    double similarity;       /* of the hit, else of the nearest; NaN: none was measured */
    const uint8_t *entry_id; /* DJ_ID_BYTES of the entry that was served; NULL: none was */
    int64_t now_ms;
};
/* Counts it and puts it among the recent ones. */
void dj_telemetry_request(struct dj_telemetry *telemetry, const struct dj_finished *finished);
/* The last ones, borrowed from the telemetry. */
const struct dj_recent *dj_telemetry_recent(const struct dj_telemetry *telemetry);
/* The request just counted belonged to that trace: kept as example of its duration. */
void dj_telemetry_exemplar(struct dj_telemetry *telemetry, const char *api, enum dj_result result,
                           double seconds, const char *trace_id);
/* What a hit saved; its kind is that of the entry: "response", "embedding", or what was said when
 * it was put. */
void dj_telemetry_saved(struct dj_telemetry *telemetry, const struct dj_entry *entry);
/* The same of a kind that the caller knows (policy/kinds.h), or its family: constant or terminated.
 */
void dj_telemetry_saved_kind(struct dj_telemetry *telemetry, const struct dj_entry *entry,
                             const char *kind);
/* A plain key of that kind (NULL: of none) was looked up; entry NULL: it was not there. */
void dj_telemetry_plain(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_kind *kind, const struct dj_entry *entry);
/* A call upstream was paid for. kind: "response", "embedding", "passthrough", "verification". */
void dj_telemetry_spent(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                        const char *kind, double cost_usd);
/* What is taken for prices that nobody knows; set before requests come. */
void dj_telemetry_set_guess(struct dj_telemetry *telemetry, const struct dj_price_guess *guess);
struct dj_price_guess dj_telemetry_guess(const struct dj_telemetry *telemetry);
/* Sums of the last hours and days; borrowed from the telemetry. */
struct dj_ledger *dj_telemetry_ledger(const struct dj_telemetry *telemetry);
void dj_telemetry_stage(struct dj_telemetry *telemetry, enum dj_stage stage, double seconds);
void dj_telemetry_similarity(struct dj_telemetry *telemetry, const char *outcome, double value);
void dj_telemetry_upstream(struct dj_telemetry *telemetry, const char *provider, int code);
void dj_telemetry_operation(struct dj_telemetry *telemetry, const char *operation,
                            const char *level, const char *status, double seconds);
/* A look-up below memory, or of the cache API: its stages, its time and how near it came. */
struct dj_telemetry_lookup {
    bool is_hit;
    const char *level; /* "none" for a miss */
    uint32_t embed_us; /* 0: not run, as are the others */
    uint32_t search_us;
    uint32_t fetch_us;
    uint32_t verify_us;
    double similarity; /* of the nearest candidate; 0 or NaN: none was met */
    double threshold;
    double seconds;
};
void dj_telemetry_lookup(struct dj_telemetry *telemetry, const struct dj_telemetry_lookup *lookup);
/* One call to the endpoint of a remote embedder. */
struct dj_telemetry_embedding {
    struct deja_slice model;
    const char *status; /* constant: "ok", "timeout", "refused", … */
    uint64_t texts;
    uint64_t tokens; /* as the endpoint counted; 0: it did not */
    double cost_usd;
};
void dj_telemetry_embedding(struct dj_telemetry *telemetry,
                            const struct dj_telemetry_embedding *embedding);
/* Making the canonical form and the keys of one request. */
void dj_telemetry_key(struct dj_telemetry *telemetry, double seconds);
/* A fault that cost one request or one background step, not the process. operation: constant. */
void dj_telemetry_recovered(struct dj_telemetry *telemetry, const char *operation, double count);
/* The one way a step in the background ends: DEJA_OK is nothing; a failure is counted as recovered,
 * logged as a warning (as sparingly as slow operations are), and whoever calls goes on. operation:
 * constant. Any thread. */
void dj_telemetry_contained(struct dj_telemetry *telemetry, const char *operation,
                            enum deja_status status);
/* An answer that should not have been given. source: "user", "verifier", "shadow". */
void dj_telemetry_false_hit(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                            const char *source);
/* An answer was made anew behind the scenes. reason: "stale", "early"; outcome: "stored", "found"
 * (somebody else had made it), "left" (another program is at it), "failed". */
void dj_telemetry_refreshed(struct dj_telemetry *telemetry, const char *reason,
                            const char *outcome);
/* An answer was made ahead of need (source: constant, as enum dj_warm_source says); one of these
 * was served for the first time. */
void dj_telemetry_warmed(struct dj_telemetry *telemetry, const char *source, double cost_usd);
void dj_telemetry_warmed_used(struct dj_telemetry *telemetry);
/* An answer was served after its end. reason: "stale-while-revalidate", "stale-if-error". */
void dj_telemetry_stale(struct dj_telemetry *telemetry, const char *reason);
/* An answer was not stored, or in memory only. reason: "queue" (too much on its way), "memory". */
void dj_telemetry_dropped(struct dj_telemetry *telemetry, const char *reason);
struct dj_sensitive_verdict;
/* An entry with sensitive data was sealed only, redacted or refused; nothing found: nothing. */
void dj_telemetry_sensitive(struct dj_telemetry *telemetry,
                            const struct dj_sensitive_verdict *verdict);
/* A request, or a call upstream, was refused for what a tenant may use. reason: of dj_limit_text,
 * constant. */
void dj_telemetry_limited(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                          const char *reason);
/* A call upstream was refused because too many waited. */
void dj_telemetry_overloaded(struct dj_telemetry *telemetry);
/* How it ended that a call asked whether another program makes the same answer: "held" at once,
 * "taken" after waiting, "found", "left" (a refresh), "overdue", "unknown". */
void dj_telemetry_turn(struct dj_telemetry *telemetry, const char *outcome);
void dj_telemetry_inflight(struct dj_telemetry *telemetry, int change);

/* kind: "tag", "all", "query", "entry". */
void dj_telemetry_invalidation(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                               const char *kind);
/* result: "delivered", "retried" (a try that failed, and is not the last), "dropped". */
void dj_telemetry_webhook(struct dj_telemetry *telemetry, const char *result);
/* So many events came and went before they could be sent to one of them. */
void dj_telemetry_webhook_lost(struct dj_telemetry *telemetry, uint64_t count);
/* An entry left a level without being asked to. level: "memory", "lmdb"; reason: "size", "ttl",
 * "tenant_limit". Never waits but for the first of a tenant. */
void dj_telemetry_evicted(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                          const char *level, const char *reason);
/* A reload of the configuration ended. */
void dj_telemetry_reloaded(struct dj_telemetry *telemetry, bool is_ok, int64_t now_ms);

/* ---- slow operations ---- */

/* Operations of at least threshold_ms are counted and logged, at most
 * DJ_TELEMETRY_SLOW_LINES_MAX lines a second. log: borrowed, NULL: only counted. Any thread. */
#define DJ_TELEMETRY_SLOW_LINES_MAX 10u
void dj_telemetry_set_slow(struct dj_telemetry *telemetry, struct dj_log *log,
                           uint64_t threshold_ms);
struct dj_slow {
    const char *operation; /* constant: "lookup", "set", "request" */
    const char *level;
    const uint8_t *tenant; /* NULL: not known */
    struct deja_slice request_id;
    const char *trace_id; /* NULL: none */
    double seconds;       /* spent here: without the upstream's time */
};
void dj_telemetry_slow(struct dj_telemetry *telemetry, const struct dj_slow *slow);

/* ---- looked up rather than counted ---- */

/* What telemetry cannot look up by itself. */
struct dj_telemetry_now {
    uint32_t workers_queued;  /* jobs that wait for a worker */
    uint32_t reads_queued;    /* batches of reads that wait for a reader of the embedded tier */
    uint32_t upstream_queued; /* and that wait for it */
    uint32_t flights;         /* upstream calls and the flights they feed */
    uint64_t volatile_met;    /* misses caused by a time, date or id in a system prompt */
    int64_t started_ms;
    bool is_lmdb_up;
    bool is_degraded;                           /* as /health says */
    const struct dj_sentry_board *dependencies; /* NULL: none */
    struct dj_kind_book *kinds;                 /* likewise */
};
/* Sets sizes, entries, evictions, tiers, queues and the process, right before the metrics are
 * written. */
void dj_telemetry_gauges(struct dj_telemetry *telemetry, struct dj_engine *engine,
                         const struct dj_telemetry_now *now);

/* Label sets the worst look-up has to look at. */
size_t dj_telemetry_label_probes_max(const struct dj_telemetry *telemetry);
/* Tenants that have totals of their own. Any thread. */
uint32_t dj_telemetry_tenant_count(struct dj_telemetry *telemetry);

/* For the summary at exit and /api/v1/stats. */
struct dj_telemetry_totals {
    uint64_t requests;
    uint64_t results[DJ_RESULT_COUNT];
    struct dj_level_totals {
        uint64_t hits; /* where the answer was */
        uint64_t us;   /* the time these took */
        uint64_t evictions;
        uint64_t expired;
    } levels[DJ_TELEMETRY_LEVELS]; /* "none", memory, and those below */
    uint64_t saved_input_tokens;
    uint64_t saved_output_tokens;
    double saved_seconds;
    double saved_cost_usd;
};
/* Figures of one level; the one source of API, metrics and command line. */
struct dj_level_figures {
    const char *level;
    uint64_t entries;
    uint64_t bytes;
    uint64_t bytes_max;
    uint64_t evictions;
    uint64_t expired;
    uint64_t hits;
    uint64_t misses;  /* look-ups that came as far as this level and went on */
    double hit_rate;  /* 0 to 1; of the hits and misses */
    double latency_s; /* mean, of the hits */
};
/* memory first, then the tiers below it as they are asked; how many. tenant NULL: all. */
uint32_t dj_telemetry_levels(struct dj_telemetry *telemetry, struct dj_engine *engine,
                             const uint8_t *tenant,
                             struct dj_level_figures out_levels[DJ_TELEMETRY_LEVELS]);

/* tenant NULL: all. A tenant that is not known has zeros. */
void dj_telemetry_totals(struct dj_telemetry *telemetry, const uint8_t *tenant,
                         struct dj_telemetry_totals *out_totals);

#endif
