/* security/lockout.h - who failed too often lately: a score for each name, which halves every
 * half_life_ms.
 *
 *   fail     the score grows by 1, up to twice the limit of who asks, so that a lock ends within
 *            one half-life after the last failure
 *   locked   the score is at or above the limit
 *
 * Names are bytes that strangers choose (a key's id, a client's address, both): they are hashed
 * with a random key into a table of fixed size, in which the lowest score of four gives way.
 * Threads: any; one short lock, which is not even taken while nothing failed lately. Time: given by
 * the caller.
 */
#ifndef DJ_SECURITY_LOCKOUT_H
#define DJ_SECURITY_LOCKOUT_H

#include <deja/base.h>

struct dj_lockout;

/* slots: names that are kept; rounded up to a power of two. */
enum deja_status dj_lockout_create(size_t slots, int64_t half_life_ms,
                                   struct dj_lockout **out_lockout) DEJA_NODISCARD;
void dj_lockout_destroy(struct dj_lockout *lockout); /* accepts NULL */

void dj_lockout_fail(struct dj_lockout *lockout, struct deja_slice name, double limit,
                     int64_t now_ms);
/* 0: not known. */
double dj_lockout_score(struct dj_lockout *lockout, struct deja_slice name, int64_t now_ms);
/* How long until a score is below the limit; 0: it is. */
int64_t dj_lockout_rest_ms(const struct dj_lockout *lockout, double score, double limit);

#endif
