/* proxy/telemetry.h - the metrics of WIRE §13 that requests touch, as one place to count them.
 *
 * Threads: any.
 */
#ifndef DJ_PROXY_TELEMETRY_H
#define DJ_PROXY_TELEMETRY_H

#include <deja/base.h>

#include "obs/metrics.h"
#include "proto/record.h"

struct dj_telemetry;

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

/* For the summary at exit and /api/v1/stats. */
struct dj_telemetry_totals {
    uint64_t requests;
    uint64_t results[DJ_RESULT_COUNT];
    uint64_t saved_input_tokens;
    uint64_t saved_output_tokens;
    double saved_seconds;
    double saved_cost_usd;
};
/* tenant NULL: all. Tenants beyond a bound share the totals of "other". */
void dj_telemetry_totals(struct dj_telemetry *telemetry, const uint8_t *tenant,
                         struct dj_telemetry_totals *out_totals);

#endif
