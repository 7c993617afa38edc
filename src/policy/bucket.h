/* policy/bucket.h - a token bucket: so many at once, and so many over time.
 *
 * In whole numbers: a token is period_us parts, of which `tokens` come back each microsecond, so
 * that no rounding adds up however often it is asked. Whatever is asked, of any stretch of time t
 * no more than burst + tokens * t / period_us are given, but for what is charged afterwards (a
 * debt, paid back before more is given).
 *
 * Pure; time is any clock in us, one that steps back stands still. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_BUCKET_H
#define DJ_POLICY_BUCKET_H

#include <deja/base.h>

/* tokens come back in period_us; burst is the most that is kept. burst * period_us is at most
 * DJ_BUCKET_PARTS_MAX; period_us stays the same over a bucket's life, the others may change. */
struct dj_bucket_rate {
    uint64_t tokens; /* 0: none come back */
    uint64_t period_us;
    uint64_t burst;
};
#define DJ_BUCKET_PARTS_MAX (INT64_C(1) << 61)

/* The caller's memory; zeroed: full. */
struct dj_bucket {
    int64_t parts; /* below zero: a debt */
    uint64_t seen_us;
    bool has_begun;
};

/* per_second tokens as a rate of that period; a rate that is not above 0 or too high to tell from
 * none gives false. burst 0: what comes in a second, at least 1. */
bool dj_bucket_rate_of(double per_second, uint64_t burst, uint64_t period_us,
                       struct dj_bucket_rate *out_rate);

/* How long until `count` may be taken: 0 now, UINT64_MAX never. count 0: until there is no debt. */
uint64_t dj_bucket_wait_us(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                           uint64_t count, uint64_t now_us);
/* True: taken. */
bool dj_bucket_take(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t count,
                    uint64_t now_us);
/* Taken whether they are there or not: what is known only afterwards. */
void dj_bucket_charge(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t count,
                      uint64_t now_us);

uint64_t dj_bucket_left(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                        uint64_t now_us); /* whole tokens */
/* Until it is full, when it says no more than a new one would; UINT64_MAX: never. */
uint64_t dj_bucket_full_us(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                           uint64_t now_us);

#endif
