/* policy/fresh.c - see fresh.h. */
#include "policy/fresh.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Less than window_ms past; what lies before the expiry is in every window but an empty one. */
static bool is_within(int64_t past_ms, uint64_t window_ms)
{
    return window_ms > 0 && (past_ms < 0 || (uint64_t)past_ms < window_ms);
}

enum dj_freshness dj_fresh_judge(const struct dj_fresh_times *times, int64_t now_ms,
                                 const struct dj_fresh_rules *rules)
{
    int64_t age_ms = now_ms > times->created_ms ? now_ms - times->created_ms : 0;
    if (rules->max_age_ms && (uint64_t)age_ms > rules->max_age_ms)
        return DJ_FRESH_OVER;
    if (times->expires_ms == 0)
        return DJ_FRESH;
    int64_t past_ms = now_ms - times->expires_ms;
    if (past_ms < 0 && (uint64_t)-past_ms >= rules->min_fresh_ms)
        return DJ_FRESH;
    if (past_ms >= 0 && now_ms >= times->stale_until_ms)
        return DJ_FRESH_OVER;
    if (is_within(past_ms, rules->serve_stale_ms))
        return DJ_FRESH_STALE;
    return is_within(past_ms, rules->error_stale_ms) ? DJ_FRESH_IF_ERROR : DJ_FRESH_OVER;
}

void dj_fresh_narrow(uint64_t revalidate_ms, uint64_t error_ms, const struct dj_fresh_wish *wish,
                     struct dj_fresh_rules *out_rules)
{
    uint64_t allowed_ms = revalidate_ms > error_ms ? revalidate_ms : error_ms;
    bool is_strict = (wish->max_age_ms || wish->min_fresh_ms) && !wish->has_max_stale;
    struct dj_fresh_rules rules = {.max_age_ms = wish->max_age_ms,
                                   .min_fresh_ms = wish->min_fresh_ms,
                                   .serve_stale_ms = is_strict ? 0 : revalidate_ms,
                                   .error_stale_ms = is_strict ? 0 : error_ms};
    if (wish->has_max_stale)
        rules.serve_stale_ms = least(wish->max_stale_ms, allowed_ms);
    if (wish->has_while_revalidate)
        rules.serve_stale_ms = least(rules.serve_stale_ms, wish->while_revalidate_ms);
    if (wish->min_fresh_ms)
        rules.serve_stale_ms = 0; /* what must stay fresh is not stale */
    if (wish->has_if_error)
        rules.error_stale_ms = least(error_ms, wish->if_error_ms);
    *out_rules = rules;
}
