/* policy/reuse.c - see reuse.h. A comparison with a value that is not finite is never asked: NaN
 * would make "below" false and serve. */
#include "policy/reuse.h"

#include <math.h>

#include "policy/guards.h"

static const struct {
    const char *kind;
    double threshold;
} shipped_thresholds[] = {
    {"transformer", 0.90}, /* all-MiniLM-L6-v2; docs/accuracy.md */
    {"lexical", 0.90},
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

static bool is_candidate(const struct dj_reuse_candidate *candidate)
{
    return candidate->is_usable && isfinite(candidate->similarity);
}

void dj_reuse_decide(const struct dj_reuse_candidate *candidates, uint32_t count, double threshold,
                     struct dj_reuse_decision *out_decision)
{
    struct dj_reuse_decision decision = {.reason = "no-candidate"};
    const struct dj_reuse_candidate *nearest = NULL;
    const struct dj_reuse_candidate *best = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct dj_reuse_candidate *candidate = &candidates[i];
        if (!is_candidate(candidate))
            continue;
        if (!nearest || candidate->similarity > nearest->similarity)
            nearest = candidate;
        bool is_servable =
            (double)candidate->similarity >= threshold && candidate->guards_refused == 0;
        if (is_servable && (!best || candidate->similarity > best->similarity)) {
            best = candidate;
            decision =
                (struct dj_reuse_decision){.is_served = true, .index = i, .reason = "served"};
        }
    }
    if (nearest && !best) {
        const char *guard = dj_guard_reason(dj_guard_first(nearest->guards_refused));
        bool is_similar = (double)nearest->similarity >= threshold;
        decision.reason = is_similar && guard ? guard : "below-threshold";
    }
    *out_decision = decision;
}
