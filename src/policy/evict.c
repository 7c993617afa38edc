/* policy/evict.c - see evict.h. */
#include "policy/evict.h"

#include <math.h>

#define HALF_LIFE_MS 86400000.0

double dj_evict_score(const struct dj_evict_facts *facts, int64_t now_ms)
{
    double age_ms = now_ms > facts->last_ms ? (double)(now_ms - facts->last_ms) : 0;
    return ((double)facts->hits + 1) * exp2(-age_ms / HALF_LIFE_MS);
}

static uint64_t end_of(const struct dj_evict_facts *facts)
{
    return facts->gone_ms ? (uint64_t)facts->gone_ms : UINT64_MAX;
}

bool dj_evict_goes_before(enum dj_evict_strategy strategy, const struct dj_evict_facts *a,
                          const struct dj_evict_facts *b, int64_t now_ms)
{
    if (strategy == DJ_EVICT_LFU) {
        double x = dj_evict_score(a, now_ms);
        double y = dj_evict_score(b, now_ms);
        if (x < y || x > y)
            return x < y;
    }
    if (strategy == DJ_EVICT_TTL && end_of(a) != end_of(b))
        return end_of(a) < end_of(b);
    return a->last_ms < b->last_ms;
}
