/* policy/standing.h - does a queue have a standing delay, or only a burst?
 *
 * After CoDel: a delay above the target says nothing by itself; one that did not fall to the target
 * for a whole interval does not go away by itself. Then the queue is overloaded, until its delay
 * has stayed at or below the target for an interval, or it was empty.
 *
 * Departs from CoDel: it does not say how often to drop. Who asks drops all that have waited longer
 * than the target while it is overloaded, for their clients may wait elsewhere meanwhile.
 *
 * Pure; time is any clock in us. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_STANDING_H
#define DJ_POLICY_STANDING_H

#include <deja/base.h>

struct dj_standing_options {
    uint64_t target_us; /* 100,000 */
    uint64_t interval_us;
};

/* The caller's memory; zeroed: not overloaded. */
struct dj_standing {
    bool is_over;
    bool is_above; /* since since_us; else, when it is over, at or below the target since then */
    bool is_noted;
    uint64_t since_us;
};

/* delay_us: of the one that has waited longest; now. True: overloaded. */
bool dj_standing_note(struct dj_standing *standing, const struct dj_standing_options *options,
                      uint64_t delay_us, uint64_t now_us);
void dj_standing_empty(struct dj_standing *standing); /* nobody waits */

#endif
