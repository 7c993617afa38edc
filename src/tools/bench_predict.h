/* tools/bench_predict.h - how good are predictions, and what do they cost? Weeks of generated
 * traffic (rhythm.h) before the predictor, hour by hour, under a clock of its own.
 *
 *   weeks 1 … learn      accesses are learned, nothing is warmed
 *   then  … weeks        before each hour: what is likelier than the threshold and would not live
 *                        through it is warmed; then the hour comes, and is learned
 *
 * Every prediction is made of what was known an hour before: time that is judged is held out. The
 * same traffic is run beside it without warming, for the hit rate.
 */
#ifndef DJ_TOOLS_BENCH_PREDICT_H
#define DJ_TOOLS_BENCH_PREDICT_H

#include <deja/base.h>

#include "policy/predict.h"

struct dj_bench_predict_options {
    uint64_t seed;
    uint32_t weeks; /* of traffic, 2 … 52 */
    uint32_t learn; /* of these first, below weeks */
    uint32_t ttl_hours;
    double threshold;
    uint32_t budget_per_day; /* requests that may be warmed; 0: no bound */
};
extern const struct dj_bench_predict_options dj_bench_predict_default;

struct dj_bench_predict_result {
    struct dj_predict_score
        score; /* of the hours after learning; predicted: likely, warmed or not */
    uint64_t warmed;
    uint64_t used; /* of these, before they ended */
    double cost_usd;
    double wasted_usd;          /* of those that were not used */
    uint64_t requests;          /* of clients, after learning */
    uint64_t hits;              /* of these, with warming */
    uint64_t hits_without;      /* and without */
    double clients_usd;         /* what clients' misses cost, with warming */
    double clients_without_usd; /* and without */
    uint32_t clusters;
    uint64_t keys; /* with a habit, at the end */
};

/* Deterministic. DEJA_ERR_INVALID: options out of range; DEJA_ERR_NOMEM. */
enum deja_status dj_bench_predict(const struct dj_bench_predict_options *options,
                                  struct dj_bench_predict_result *out_result) DEJA_NODISCARD;
/* Runs with the defaults and prints; an enum dj_exit: failed where fewer than 70 % were used. */
int dj_bench_predict_report(bool wants_json);

#endif
