/* guarded/sentry_internal.h - what sentry.c (decisions, figures) and call.c (calls, time) share. */
#ifndef DJ_GUARDED_SENTRY_INTERNAL_H
#define DJ_GUARDED_SENTRY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "guarded/sentry.h"

/* Calls of one duration come due in the order they began; further durations share the last row. */
#define SENTRY_ROWS 6u

struct sentry_row {
    uint64_t after_us;
    struct dj_list timed;
};

/* Calls of one loop; loop-bound but for the two counts. */
struct dj_sentry_lane {
    struct dj_sentry *sentry;
    struct dj_loop *loop;
    struct dj_timer *timer; /* in the background: a sentry ends after the loops; NULL: it has */
    uint64_t armed_us;      /* 0: not armed */
    struct sentry_row rows[SENTRY_ROWS];
    struct dj_list queue;
    _Atomic uint32_t running; /* attempts in the bulkhead, given up ones included */
    _Atomic uint32_t queued;
};

struct dj_sentry {
    const char *name;
    const struct dj_sentry_events *events;
    void *ctx;
    _Atomic(struct dj_sentry_lane *) lanes[DJ_SENTRY_LOOPS_MAX]; /* each made by its loop */
    _Atomic uint32_t refs;                                       /* the owner and every call */
    _Atomic uint32_t calls_max;                                  /* of options, for the lanes */
    _Atomic uint32_t queue_max;
    pthread_mutex_t mutex; /* the rest; innermost, nothing is called under it */
    struct dj_sentry_options options;
    struct dj_breaker breaker;
    struct dj_retry_budget budget;
    uint64_t random;
    struct dj_sentry_report figures; /* counters and last_error */
};

void sentry_unref(struct dj_sentry *sentry);
/* Outcome of an attempt. */
struct sentry_told {
    const struct dj_sentry_ticket *ticket; /* NULL: a probe, which the breaker did not admit */
    uint64_t started_us;
    const char *operation;
    enum deja_status status;
    bool is_long; /* its duration says nothing */
};
void sentry_tell(struct dj_sentry *sentry, const struct sentry_told *told);

enum sentry_count { SENTRY_OVERFLOWED, SENTRY_EXPIRED, SENTRY_LATE };
void sentry_count(struct dj_sentry *sentry, enum sentry_count what);
void sentry_lanes_end(struct dj_sentry *sentry); /* no call begins, waits or is timed any more */

#endif
