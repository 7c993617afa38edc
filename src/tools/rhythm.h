/* tools/rhythm.h - weeks of traffic with a daily and a weekly rhythm, to measure predictions with.
 *
 * Made by rules, the same for a seed; nothing of anybody's is in it. Assumptions, each a constant
 * of rhythm.c:
 *
 *   reports    60 keys, each at one hour of every workday, asked for with probability 0.93; every
 *              tenth time an hour late                                          answers, by a key
 *   digests    25 keys, each at one hour of every day, 0.95                     answers, by a key
 *   reviews    40 keys, each at one hour of one day of the week, 0.9            documents, by a key
 *   templates  30 keys, while people work (8 to 18, Monday to Friday), in each hour with 0.85
 *   questions  400 keys by people: Zipf-like popularity, at most 0.6 an hour, by the hour of the
 *              day (a bell around 11:00, half of it around 15:00) and a tenth of it at weekends
 *   one-offs   12 an hour while people work, else 1: never asked for again
 *   change     a tenth of reports, digests and reviews begins only in the fourth week, a tenth ends
 *              in the sixth, a tenth moves by three hours in the fifth
 *
 * Threads: one at a time. Time: hours since 1970, UTC.
 */
#ifndef DJ_TOOLS_RHYTHM_H
#define DJ_TOOLS_RHYTHM_H

#include <deja/base.h>

#include "policy/predict.h"

#define DJ_RHYTHM_KEYS 555u /* that may come again; one-offs are numbered from here on */

struct dj_rhythm_access {
    uint32_t key;
    int64_t at_ms;
    enum dj_predict_user user;
    enum dj_predict_request request;
    double cost_usd; /* of asking the model */
};
typedef void dj_rhythm_access_fn(void *ctx, const struct dj_rhythm_access *access);

/* What is asked for in the hour-th hour (0 …) of the traffic, which begins on Monday,
 * 2026-08-24T00:00Z. A key may come more than once. *one_offs: how many there were so far; 0 at
 * first. */
void dj_rhythm_hour(uint64_t seed, uint32_t hour, uint32_t *one_offs, void *ctx,
                    dj_rhythm_access_fn *access);
#define DJ_RHYTHM_BEGIN_HOUR INT64_C(496536)

#endif
