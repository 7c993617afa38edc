/* proxy/admission.h - calls to the upstream under overload: so many at a time, each tenant with its
 * share, the others wait or are refused (policy/fair.h decides).
 *
 *   enter -> LET, told later, or REFUSED;    LET or told so -> leave
 *
 * Health and administration ask nothing upstream and so never wait here. Threads: any; one short
 * lock, nothing is called under it. Time: the monotonic clock.
 */
#ifndef DJ_PROXY_ADMISSION_H
#define DJ_PROXY_ADMISSION_H

#include <deja/base.h>

#include "loop/loop.h"
#include "policy/fair.h"
#include "security/tenant.h"

struct dj_admission;

/* is_let: the call may be made, and leaves. Else it leaves too, which does nothing. */
typedef void dj_admission_told_fn(void *ctx, bool is_let);

/* Embedded in its owner, zeroed, who keeps it until it was told and has left. */
struct dj_admission_place {
    struct dj_fair_ticket ticket;
    struct dj_task task;
    struct dj_loop *loop; /* where it is told */
    void *ctx;
    dj_admission_told_fn *told;
    bool is_let;
};

enum dj_admission_verdict {
    DJ_ADMISSION_LET,
    DJ_ADMISSION_WAITS, /* told() runs once, on the place's loop */
    DJ_ADMISSION_REFUSED
};

struct dj_admission_question {
    const uint8_t *tenant; /* DJ_TENANT_BYTES */
    uint32_t weight;       /* 0: 1 */
    bool is_patient;       /* false: what cannot go now is refused */
    struct dj_loop *loop;
    void *ctx;
    dj_admission_told_fn *told;
};

/* first: a loop that is not running yet; who waits is looked at there now and then. */
enum deja_status dj_admission_create(const struct dj_fair_options *options, struct dj_loop *first,
                                     struct dj_admission **out_admission) DEJA_NODISCARD;
/* After the loops have ended and before the first is destroyed, when nobody has a place any more.
 * Accepts NULL. */
void dj_admission_destroy(struct dj_admission *admission);
/* Who waits is refused, and from now on whoever would have to wait. */
void dj_admission_stop(struct dj_admission *admission);

/* admission NULL: let, as if there were no bound. */
enum dj_admission_verdict dj_admission_enter(struct dj_admission *admission,
                                             struct dj_admission_place *place,
                                             const struct dj_admission_question *question);
/* Twice, or of one that was never let: does nothing. */
void dj_admission_leave(struct dj_admission *admission, struct dj_admission_place *place);

uint32_t dj_admission_waiting(struct dj_admission *admission); /* now; NULL: 0 */

#endif
