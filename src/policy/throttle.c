/* policy/throttle.c - see throttle.h. */
#include "policy/throttle.h"

const struct dj_throttle_options dj_throttle_options_default = {
    .k = 2, .window_ms = 120000, .requests_min = 10};

double dj_throttle_chance(uint64_t requests, uint64_t accepts, double k)
{
    double surplus = (double)requests - k * (double)accepts;
    return surplus > 0 ? surplus / ((double)requests + 1) : 0; /* a k that is no number: 0 */
}

/* The slice of now, emptied if it was another's; its number. */
static uint32_t turn(struct dj_throttle *throttle, const struct dj_throttle_options *options,
                     uint64_t now_ms, uint64_t *out_number)
{
    uint64_t slice_ms = options->window_ms / DJ_THROTTLE_SLICES;
    uint64_t number = now_ms / (slice_ms ? slice_ms : 1) + 1;
    uint32_t own = (uint32_t)(number % DJ_THROTTLE_SLICES);
    if (throttle->slices[own].number != number) {
        throttle->slices[own].number = number;
        throttle->slices[own].requests = 0;
        throttle->slices[own].accepts = 0;
    }
    *out_number = number;
    return own;
}

bool dj_throttle_admit(struct dj_throttle *throttle, const struct dj_throttle_options *options,
                       uint64_t now_ms, uint64_t random)
{
    uint64_t number;
    uint64_t requests = 0;
    uint64_t accepts = 0;
    uint32_t own = turn(throttle, options, now_ms, &number);
    for (uint32_t i = 0; i < DJ_THROTTLE_SLICES; i++) {
        if (throttle->slices[i].number + DJ_THROTTLE_SLICES <= number)
            continue;
        requests += throttle->slices[i].requests;
        accepts += throttle->slices[i].accepts;
    }
    throttle->slices[own].requests++;
    if (requests < options->requests_min)
        return true;
    /* 53 bits of it, in [0, 1) */
    double draw = (double)(random >> 11) / (double)(UINT64_C(1) << 53);
    return draw >= dj_throttle_chance(requests, accepts, options->k);
}

void dj_throttle_accepted(struct dj_throttle *throttle, const struct dj_throttle_options *options,
                          uint64_t now_ms)
{
    uint64_t number;
    throttle->slices[turn(throttle, options, now_ms, &number)].accepts++;
}

void dj_throttle_turned_away(struct dj_throttle *throttle)
{
    uint32_t newest = 0;
    for (uint32_t i = 1; i < DJ_THROTTLE_SLICES; i++)
        if (throttle->slices[i].accepts &&
            (!throttle->slices[newest].accepts ||
             throttle->slices[i].number > throttle->slices[newest].number))
            newest = i;
    if (throttle->slices[newest].accepts)
        throttle->slices[newest].accepts--;
}
