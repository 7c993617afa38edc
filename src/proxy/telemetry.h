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

#include "obs/metrics.h"
#include "proto/record.h"
#include "security/tenant.h"

#define DJ_TELEMETRY_LABELS_MAX 100u
#define DJ_TELEMETRY_TENANTS_MAX 12000u

struct dj_telemetry;
struct dj_engine;

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

/* One answered request. api: "chat", "embeddings", "api", "passthrough". level: "memory", "lmdb",
 * "none". */
void dj_telemetry_request(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                          const char *api, enum dj_result result, const char *level,
                          double seconds);
/* What a hit saved. */
void dj_telemetry_saved(struct dj_telemetry *telemetry, const struct dj_entry *entry);
void dj_telemetry_stage(struct dj_telemetry *telemetry, enum dj_stage stage, double seconds);
void dj_telemetry_similarity(struct dj_telemetry *telemetry, const char *outcome, double value);
void dj_telemetry_upstream(struct dj_telemetry *telemetry, const char *provider, int code);
void dj_telemetry_operation(struct dj_telemetry *telemetry, const char *operation,
                            const char *level, const char *status, double seconds);
void dj_telemetry_inflight(struct dj_telemetry *telemetry, int change);

/* kind: "tag", "all", "query", "entry". */
void dj_telemetry_invalidation(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                               const char *kind);
/* A reload of the configuration ended. */
void dj_telemetry_reloaded(struct dj_telemetry *telemetry, bool is_ok, int64_t now_ms);

/* Sets what is looked up rather than counted (sizes, entries, evictions, tiers, queues, the
 * process), right before the metrics are written. queued: jobs waiting for a worker. */
void dj_telemetry_gauges(struct dj_telemetry *telemetry, struct dj_engine *engine, uint32_t queued,
                         int64_t started_ms);

/* For the summary at exit and /api/v1/stats. */
struct dj_telemetry_totals {
    uint64_t requests;
    uint64_t results[DJ_RESULT_COUNT];
    uint64_t saved_input_tokens;
    uint64_t saved_output_tokens;
    double saved_seconds;
    double saved_cost_usd;
};
/* tenant NULL: all. A tenant that is not known has zeros. */
void dj_telemetry_totals(struct dj_telemetry *telemetry, const uint8_t *tenant,
                         struct dj_telemetry_totals *out_totals);

#endif
