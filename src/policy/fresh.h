/* policy/fresh.h - may an answer whose time is over still be served, and to whom?
 *
 * The operator opens two windows after an expiry: one in which the answer is served at once while a
 * new one is made behind it, one in which it is served when the upstream fails. A request narrows
 * them, and may ask for a stale answer within the wider one (I12). Beyond an entry's own
 * stale_until nothing is served (I10). Pure: the clock is given (I5). Threads: any.
 */
#ifndef DJ_POLICY_FRESH_H
#define DJ_POLICY_FRESH_H

#include <deja/base.h>

/* What holds for one request. Zeroed: nothing that has expired. */
struct dj_fresh_rules {
    uint64_t max_age_ms;     /* since it was made; 0: any */
    uint64_t min_fresh_ms;   /* it must stay fresh for so long */
    uint64_t serve_stale_ms; /* expired for less: served at once */
    uint64_t error_stale_ms; /* expired for less: served if the upstream fails */
};

/* Of an entry; ms since 1970. */
struct dj_fresh_times {
    int64_t created_ms;
    int64_t expires_ms;     /* 0: never */
    int64_t stale_until_ms; /* 0: as expires_ms */
};

enum dj_freshness {
    DJ_FRESH,          /* served */
    DJ_FRESH_STALE,    /* served, and made anew behind */
    DJ_FRESH_IF_ERROR, /* kept at hand while the upstream is asked */
    DJ_FRESH_OVER      /* a miss */
};
enum dj_freshness dj_fresh_judge(const struct dj_fresh_times *times, int64_t now_ms,
                                 const struct dj_fresh_rules *rules);

/* What a request said (RFC 9111 §5.2.1, RFC 5861). */
struct dj_fresh_wish {
    uint64_t max_age_ms; /* 0: not said */
    uint64_t min_fresh_ms;
    bool has_max_stale;
    uint64_t max_stale_ms; /* UINT64_MAX: however old */
    bool has_while_revalidate;
    uint64_t while_revalidate_ms;
    bool has_if_error;
    uint64_t if_error_ms;
};
/* The operator's windows, narrowed. Who names an age or a freshness takes nothing stale, unless
 * max-stale or stale-if-error says so. */
void dj_fresh_narrow(uint64_t revalidate_ms, uint64_t error_ms, const struct dj_fresh_wish *wish,
                     struct dj_fresh_rules *out_rules);

#endif
