/* guarded/guard_internal.h - what guard.c (decisions, figures) and call.c (calls, time) share. */
#ifndef DJ_GUARDED_GUARD_INTERNAL_H
#define DJ_GUARDED_GUARD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "guarded/guard.h"

/* Calls of one duration come due in the order they began; further durations share the last row. */
#define GUARD_ROWS 6u

struct guard_row {
    uint64_t after_us;
    struct dj_list timed;
};

/* Calls of one loop; loop-bound but for the two counts. */
struct dj_guard_lane {
    struct dj_guard *guard;
    struct dj_loop *loop;
    struct dj_timer *timer; /* in the background: a guard ends after the loops; NULL: it has */
    uint64_t armed_us;      /* 0: not armed */
    struct guard_row rows[GUARD_ROWS];
    struct dj_list queue;
    _Atomic uint32_t running; /* attempts in the bulkhead, given up ones included */
    _Atomic uint32_t queued;
};

struct dj_guard {
    const char *name;
    const struct dj_guard_events *events;
    void *ctx;
    _Atomic(struct dj_guard_lane *) lanes[DJ_GUARD_LOOPS_MAX]; /* each made by its loop */
    _Atomic uint32_t refs;                                     /* the owner and every call */
    _Atomic uint32_t calls_max;                                /* of options, for the lanes */
    _Atomic uint32_t queue_max;
    pthread_mutex_t mutex; /* the rest; innermost, nothing is called under it */
    struct dj_guard_options options;
    struct dj_breaker breaker;
    struct dj_retry_budget budget;
    uint64_t random;
    struct dj_guard_report figures; /* counters and last_error */
};

void guard_unref(struct dj_guard *guard);
/* Outcome of an attempt. */
struct guard_told {
    const struct dj_guard_ticket *ticket; /* NULL: a probe, which the breaker did not admit */
    uint64_t started_us;
    const char *operation;
    enum deja_status status;
    bool is_long; /* its duration says nothing */
};
void guard_tell(struct dj_guard *guard, const struct guard_told *told);

enum guard_count { GUARD_OVERFLOWED, GUARD_EXPIRED, GUARD_LATE };
void guard_count(struct dj_guard *guard, enum guard_count what);
void guard_lanes_end(struct dj_guard *guard); /* no call begins, waits or is timed any more */

#endif
