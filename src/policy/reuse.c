/* policy/reuse.c - see reuse.h. A comparison with a value that is not finite is never asked: NaN
 * would make "below" false and serve. */
#include "policy/reuse.h"

#include <math.h>

#include "policy/guards.h"

static const struct {
    const char *kind;
    double threshold;
} shipped_thresholds[] = {
    {"transformer", 0.88}, /* all-MiniLM-L6-v2; docs/accuracy.md */
    {"lexical", 0.95},
};
#define STRICTEST 0.97

double dj_reuse_shipped_threshold(const char *embedder_kind)
{
    for (size_t i = 0; embedder_kind && i < sizeof shipped_thresholds / sizeof *shipped_thresholds;
         i++) {
        if (strcmp(embedder_kind, shipped_thresholds[i].kind) == 0)
            return shipped_thresholds[i].threshold;
    }
    return STRICTEST;
}

double dj_reuse_threshold(double shipped, double floor, double asked)
{
    double threshold = shipped > floor ? shipped : floor;
    if (!isfinite(threshold))
        threshold = 1; /* our own mistake; only equal vectors pass */
    return isfinite(asked) && asked > threshold ? asked : threshold;
}

static bool is_servable(const struct dj_reuse_candidate *candidate, double threshold)
{
    return isfinite(candidate->similarity) && candidate->similarity >= threshold &&
           candidate->guards_refused == 0;
}

struct dj_reuse_decision dj_reuse_decide(const struct dj_reuse_candidate *candidates, size_t count,
                                         double threshold)
{
    struct dj_reuse_decision decision = {.index = DJ_REUSE_NONE,
                                         .reason = DJ_REUSE_NO_CANDIDATE,
                                         .reason_text = "no-candidate",
                                         .threshold = threshold};
    size_t nearest = DJ_REUSE_NONE;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(candidates[i].similarity))
            continue;
        if (nearest == DJ_REUSE_NONE || candidates[i].similarity > candidates[nearest].similarity)
            nearest = i;
        if (is_servable(&candidates[i], threshold) &&
            (decision.index == DJ_REUSE_NONE ||
             candidates[i].similarity > candidates[decision.index].similarity))
            decision.index = i;
    }
    if (decision.index != DJ_REUSE_NONE) {
        decision.reason = DJ_REUSE_SERVED;
        decision.reason_text = "served";
    } else if (nearest != DJ_REUSE_NONE && candidates[nearest].similarity >= threshold) {
        const char *guard = dj_guard_reason(dj_guard_first(candidates[nearest].guards_refused));
        decision.reason = DJ_REUSE_GUARD;
        decision.reason_text = guard ? guard : "guard";
    } else if (nearest != DJ_REUSE_NONE) {
        decision.reason = DJ_REUSE_BELOW_THRESHOLD;
        decision.reason_text = "below-threshold";
    }
    return decision;
}
