#include "policy/reuse.h"
#include "policy/guards.h"
void dj_reuse_decide(const struct dj_reuse_candidate *c, uint32_t count, double threshold, struct dj_reuse_decision *out)
{
    *out = (struct dj_reuse_decision){.reason = "no-candidate"};
    for (uint32_t i = 0; i < count; i++) {
        if (!c[i].is_usable) continue;
        if (!((double)c[i].similarity >= threshold)) { out->reason = "below-threshold"; break; }
        if (c[i].guards_refused) { out->reason = dj_guard_reason(dj_guard_first(c[i].guards_refused)); continue; }
        out->is_served = true; out->index = i; out->reason = "served"; return;
    }
}
double dj_reuse_shipped_threshold(const char *k) { return strcmp(k, "lexical") == 0 ? 0.95 : 0.9; }
