/* policy/ttl.c - see ttl.h. Everything is bounded by DJ_TTL_MAX_MS (2^35) before it is multiplied,
 * so doubles are exact to the millisecond and nothing overflows. */
#include "policy/ttl.h"

#include <math.h>

#include "text/utf8.h"

#define UTF8_BYTES_MAX 4u /* of a character */

/* -ln of the least draw, 2^-53. */
#define EARLY_MAX 36.74

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t capped(uint64_t value, uint64_t cap)
{
    return cap ? least(value, cap) : value;
}

uint64_t dj_ttl_life(const struct dj_ttl_input *input)
{
    uint64_t ceiling = capped(capped(DJ_TTL_MAX_MS, input->cap_ms), input->max_age_ms);
    uint64_t life = input->request_ms ? input->request_ms : input->base_ms;
    life = life ? least(life, ceiling) : ceiling;
    double jitter = isfinite(input->jitter) ? input->jitter : 0;
    jitter = jitter < 0 ? 0 : jitter > DJ_TTL_JITTER_MAX ? DJ_TTL_JITTER_MAX : jitter;
    /* 53 bits of it, in [0, 1) */
    double draw = (double)(input->random >> 11) / (double)(UINT64_C(1) << 53);
    life = (uint64_t)((double)life * (1 - jitter * draw));
    if (life < DJ_TTL_MIN_MS)
        life = DJ_TTL_MIN_MS;
    return least(life, ceiling);
}

int64_t dj_ttl_expiry(const struct dj_ttl_input *input)
{
    int64_t life = (int64_t)dj_ttl_life(input);
    return input->now_ms > INT64_MAX - life ? INT64_MAX : input->now_ms + life;
}

static bool is_within(struct deja_slice text, uint32_t chars_max)
{
    if (text.len <= chars_max)
        return true;
    return text.len <= (size_t)chars_max * UTF8_BYTES_MAX && dj_utf8_count(text) <= chars_max;
}

enum dj_ttl_size dj_ttl_size_of(const struct dj_ttl_sizes *sizes, struct deja_slice text)
{
    if (is_within(text, sizes->small_max))
        return DJ_TTL_SMALL;
    return is_within(text, sizes->medium_max) ? DJ_TTL_MEDIUM : DJ_TTL_LARGE;
}

uint64_t dj_ttl_dynamic(uint64_t base_ms, double confidence, double cost_usd, bool is_analysis)
{
    double life = (double)least(base_ms, DJ_TTL_MAX_MS);
    if (isfinite(confidence) && confidence > 0.9)
        life *= 2;
    if (isfinite(cost_usd) && cost_usd > 0.10)
        life *= 1.5;
    if (is_analysis)
        life *= 2;
    return life > (double)DJ_TTL_MAX_MS ? DJ_TTL_MAX_MS : (uint64_t)life;
}

double dj_ttl_early_ms(uint64_t make_ms, double beta, double u)
{
    return -beta * (double)least(make_ms, DJ_TTL_MAX_MS) * log(u);
}

bool dj_ttl_may_be_early(int64_t left_ms, uint64_t make_ms, double beta)
{
    return (double)left_ms <= EARLY_MAX * beta * (double)make_ms;
}

bool dj_ttl_is_early(int64_t left_ms, uint64_t make_ms, double beta, uint64_t random)
{
    /* 53 bits, in (0, 1]: the logarithm is finite */
    double u = (double)((random >> 11) + 1) / (double)(UINT64_C(1) << 53);
    return dj_ttl_early_ms(make_ms, beta, u) >= (double)left_ms;
}
