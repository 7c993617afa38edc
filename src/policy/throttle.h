/* policy/throttle.h - holding calls back from a dependency that turns many of them away.
 *
 * Client-side adaptive throttling: with what was asked and accepted in the last two minutes, a call
 * is held back with p = max(0, (requests - K * accepts) / (requests + 1)). Calls held back count as
 * asked, so p follows what clients want; it never reaches 1, so better times are noticed. Example:
 * 1,000 asked, 400 accepted, K = 2: p = 0.199800.
 *
 * Pure; time and random values are given. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_THROTTLE_H
#define DJ_POLICY_THROTTLE_H

#include <deja/base.h>

struct dj_throttle_options {
    double k;           /* 2: half of what is asked may be turned away before calls are held back */
    uint64_t window_ms; /* 2 min; at least DJ_THROTTLE_SLICES */
    uint32_t requests_min; /* 10: fewer say nothing, and the first refusal is the client's to see */
};
extern const struct dj_throttle_options dj_throttle_options_default;

#define DJ_THROTTLE_SLICES 12u

/* The caller's memory; zeroed: nothing was asked. */
struct dj_throttle {
    struct {
        uint64_t number; /* of the slice of time, + 1; 0: none */
        uint64_t requests;
        uint64_t accepts;
    } slices[DJ_THROTTLE_SLICES];
};

double dj_throttle_chance(uint64_t requests, uint64_t accepts, double k); /* p, in [0, 1) */

/* Counts one that is asked; false: hold it back. random: uniform over all 64 bits. */
bool dj_throttle_admit(struct dj_throttle *throttle, const struct dj_throttle_options *options,
                       uint64_t now_ms, uint64_t random);
/* One that was asked was not turned away, or is under way: an answer may take longer than the next
 * hundred questions, and would otherwise hold them back. */
void dj_throttle_accepted(struct dj_throttle *throttle, const struct dj_throttle_options *options,
                          uint64_t now_ms);
/* One that had been counted as accepted was turned away after all. */
void dj_throttle_turned_away(struct dj_throttle *throttle);

#endif
