/* policy/bucket.c - see bucket.h.
 *
 * (1) parts <= burst * period_us <= DJ_BUCKET_PARTS_MAX, and >= -DJ_BUCKET_PARTS_MAX: what is
 *     missing to a full one fits into 63 bits.
 */
#include "policy/bucket.h"

#include <assert.h>

bool dj_bucket_rate_of(double per_second, uint64_t burst, uint64_t period_us,
                       struct dj_bucket_rate *out_rate)
{
    double tokens = per_second * ((double)period_us / 1e6);
    uint64_t burst_max = (uint64_t)DJ_BUCKET_PARTS_MAX / period_us;
    if (!(per_second > 0) || tokens >= (double)DJ_BUCKET_PARTS_MAX) /* nor if it is no number */
        return false;
    if (!burst)
        burst = per_second < 1 ? 1 : (uint64_t)per_second;
    *out_rate = (struct dj_bucket_rate){
        .tokens = tokens < 1 ? 1 : (uint64_t)(tokens + 0.5), /* a low one is not none */
        .period_us = period_us,
        .burst = burst < burst_max ? burst : burst_max,
    };
    return true;
}

static int64_t parts_max(const struct dj_bucket_rate *rate)
{
    assert(rate->period_us && rate->burst <= (uint64_t)DJ_BUCKET_PARTS_MAX / rate->period_us);
    return (int64_t)(rate->burst * rate->period_us);
}

/* Time for that many parts to come, rounded up. */
static uint64_t time_of(const struct dj_bucket_rate *rate, uint64_t parts)
{
    if (!parts)
        return 0;
    return rate->tokens ? (parts - 1) / rate->tokens + 1 : UINT64_MAX;
}

static void refill(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t now_us)
{
    int64_t full = parts_max(rate);
    if (!bucket->has_begun) {
        *bucket = (struct dj_bucket){.parts = full, .seen_us = now_us, .has_begun = true};
        return;
    }
    if (bucket->parts >= full) {
        bucket->parts = full; /* of another burst, perhaps */
        bucket->seen_us = now_us > bucket->seen_us ? now_us : bucket->seen_us;
        return;
    }
    if (now_us <= bucket->seen_us)
        return;
    uint64_t elapsed_us = now_us - bucket->seen_us;
    uint64_t missing = (uint64_t)(full - bucket->parts);
    if (rate->tokens && elapsed_us >= time_of(rate, missing))
        bucket->parts = full;
    else /* less than what is missing: it fits */
        bucket->parts += (int64_t)(elapsed_us * rate->tokens);
    bucket->seen_us = now_us;
}

uint64_t dj_bucket_wait_us(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                           uint64_t count, uint64_t now_us)
{
    refill(bucket, rate, now_us);
    if (count > rate->burst)
        return UINT64_MAX;
    int64_t wanted = (int64_t)(count * rate->period_us);
    return bucket->parts >= wanted ? 0 : time_of(rate, (uint64_t)(wanted - bucket->parts));
}

bool dj_bucket_take(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t count,
                    uint64_t now_us)
{
    if (dj_bucket_wait_us(bucket, rate, count, now_us))
        return false;
    bucket->parts -= (int64_t)(count * rate->period_us);
    return true;
}

void dj_bucket_charge(struct dj_bucket *bucket, const struct dj_bucket_rate *rate, uint64_t count,
                      uint64_t now_us)
{
    refill(bucket, rate, now_us);
    uint64_t room = (uint64_t)(bucket->parts + DJ_BUCKET_PARTS_MAX);
    if (count > room / rate->period_us)
        bucket->parts = -DJ_BUCKET_PARTS_MAX;
    else
        bucket->parts -= (int64_t)(count * rate->period_us);
}

uint64_t dj_bucket_left(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                        uint64_t now_us)
{
    refill(bucket, rate, now_us);
    return bucket->parts > 0 ? (uint64_t)bucket->parts / rate->period_us : 0;
}

uint64_t dj_bucket_full_us(struct dj_bucket *bucket, const struct dj_bucket_rate *rate,
                           uint64_t now_us)
{
    refill(bucket, rate, now_us);
    return time_of(rate, (uint64_t)(parts_max(rate) - bucket->parts));
}
