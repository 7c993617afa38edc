/* guarded/sentry.h - the one wrapper around whatever answers from outside: deadline, retries with a
 * budget, circuit breaker, bulkhead, figures.
 *
 * A sentry stands for one dependency and endpoint ("redis", "upstream"); a call is one asynchronous
 * thing asked of it, in one or several attempts:
 *
 *   dj_sentry_run -> [queue of the bulkhead] -> breaker -> work->start -> dj_sentry_end
 *                                                 ^                          | failed, may retry
 *                                                 '------- pause <-----------'
 *
 * The decisions are those of policy/breaker.h and policy/retry.h. Calls live on the loop they were
 * started on and hop nowhere; what all loops share (breaker, budget, figures) is behind a mutex
 * that is held for a few instructions and never during a callback.
 *
 * Threads: a sentry any thread, a call its loop's. Time: the loop's monotonic clock.
 */
#ifndef DJ_GUARDED_SENTRY_H
#define DJ_GUARDED_SENTRY_H

#include <deja/base.h>

#include "base/list.h"
#include "loop/loop.h"
#include "policy/breaker.h"
#include "policy/retry.h"

struct dj_sentry;
struct dj_sentry_call;

#define DJ_SENTRY_LOOPS_MAX 256u
#define DJ_SENTRY_ATTEMPTS_MAX 8u
#define DJ_SENTRY_TEXT_BYTES 160u

/* What the sentry decides by; a reload gives it others. */
struct dj_sentry_options {
    struct dj_breaker_options breaker;
    struct dj_retry_options retry; /* attempts_max at most DJ_SENTRY_ATTEMPTS_MAX */
    uint32_t calls_max;            /* under way at once, on each loop; at least 1 */
    uint32_t queue_max;            /* calls that wait for one of these, on each loop */
};
/* Those of the two profiles: the policies' own, 1,024 calls at once and 4,096 that wait on each
 * loop. */
struct dj_sentry_options dj_sentry_options_of(bool is_low_latency);

/* What a sentry tells, on whatever thread it happens; must be quick and must not call the sentry.
 */
struct dj_sentry_events {
    /* Of every attempt that ended, was given up or refused by the breaker. */
    void (*attempted)(void *ctx, const char *operation, enum deja_status status, uint64_t took_us);
    /* The breaker changed: after the change; text as in the report. */
    void (*changed)(void *ctx, enum dj_breaker_state state, const char *text);
};

/* name: constant; events (NULL: nobody is told) and its ctx: until the sentry is destroyed. */
enum deja_status dj_sentry_create(const char *name, const struct dj_sentry_options *options,
                                  const struct dj_sentry_events *events, void *ctx,
                                  struct dj_sentry **out_guard) DEJA_NODISCARD;
/* After the loops it was used on have ended, before they are destroyed. Calls that wait end with
 * DEJA_ERR_CANCELLED; attempts under way may end later, the sentry lives on until the last did.
 * Accepts NULL. */
void dj_sentry_destroy(struct dj_sentry *sentry);
/* Any thread. Holds from the next decision on. */
void dj_sentry_set_options(struct dj_sentry *sentry, const struct dj_sentry_options *options);

/* The breaker waits to be told of what it let through with this. */
struct dj_sentry_ticket {
    uint64_t started_us;
    uint32_t ticket;
};

/* ---- calls ---- */

/* One attempt of a call; the call's memory. */
struct dj_sentry_attempt {
    struct dj_sentry_call *call;
    struct dj_sentry_ticket ticket;
    bool is_running;
};

/* What is asked; static const. All on the call's loop. */
struct dj_sentry_work {
    /* Begins an attempt. DEJA_OK: dj_sentry_end(attempt, …) follows exactly once, on the same loop,
     * not inside this call. Anything else: the attempt failed with that. */
    enum deja_status (*start)(struct dj_sentry_call *call, struct dj_sentry_attempt *attempt);
    /* The call is over; exactly once if dj_sentry_run returned DEJA_OK, otherwise never, and not
     * inside dj_sentry_run. Late attempts may still be under way: do not free the call here. */
    void (*done)(struct dj_sentry_call *call, enum deja_status status);
    /* Last of all: nobody will touch the call again. Also when dj_sentry_run failed. */
    void (*release)(struct dj_sentry_call *call);
};

/* First member of its owner's struct, zeroed but for those the owner fills. */
struct dj_sentry_call {
    const struct dj_sentry_work *work;
    const char *operation; /* constant: "get" */
    uint32_t deadline_ms;  /* of the whole call, at least 1 */
    uint32_t attempt_ms;   /* of each attempt; 0: only the deadline bounds it */
    bool is_once;          /* never retried: not idempotent, or the caller retries */
    bool is_long;          /* may take longer than the breaker's bound and be no failure */
    bool is_probe;         /* asks whatever the breaker says, beside the bulkhead; told of as one */

    /* the sentry's */
    struct dj_sentry *sentry;
    struct dj_sentry_lane *lane;
    struct dj_list timed; /* on a list of the lane, ordered by due_us */
    struct dj_list queued;
    struct dj_sentry_attempt *wanted; /* whose end is waited for; NULL: pausing, queued or done */
    uint64_t began_us;
    uint64_t ends_us;
    uint64_t due_us;
    uint32_t attempts;
    uint32_t running; /* of these; given up ones included */
    bool is_queued;
    bool is_done;
    struct dj_sentry_attempt attempt[DJ_SENTRY_ATTEMPTS_MAX];
};

/* Anything but DEJA_OK: DEJA_ERR_CIRCUIT_OPEN, DEJA_ERR_BUSY (bulkhead and queue are full),
 * DEJA_ERR_NOMEM, or what the first attempt failed with at once; done never runs, release did. */
enum deja_status dj_sentry_run(struct dj_sentry *sentry, struct dj_loop *loop,
                               struct dj_sentry_call *call) DEJA_NODISCARD;
/* Is anybody still waiting for this attempt? False: its result is late; use it or drop it. */
bool dj_sentry_is_wanted(const struct dj_sentry_attempt *attempt);
/* The attempt ended; what it brought has been put aside by the owner. The call may be gone after.
 */
void dj_sentry_end(struct dj_sentry_attempt *attempt, enum deja_status status);

/* ---- for callers that hold their own clock and loop: the decision alone ---- */

/* False: the breaker is open; *out_wait_ms (may be NULL): for how long at least. */
bool dj_sentry_admit(struct dj_sentry *sentry, struct dj_sentry_ticket *out_ticket,
                     uint64_t *out_wait_ms);
/* Exactly once for each that was admitted. CANCELLED and the like say nothing of the dependency. */
void dj_sentry_tell(struct dj_sentry *sentry, const struct dj_sentry_ticket *ticket,
                    const char *operation, enum deja_status status);
/* A call is made for the first time: pays into the budget of retries. */
void dj_sentry_earn(struct dj_sentry *sentry);
/* True: it may be tried again after *out_pause_ms, and is paid for. The breaker is asked then. */
struct dj_sentry_again {
    enum deja_status status; /* of the attempt that failed */
    uint32_t attempts;       /* made so far */
    uint64_t elapsed_ms;     /* since the first began */
    uint64_t remaining_ms;   /* of the deadline */
};
bool dj_sentry_may_retry(struct dj_sentry *sentry, const struct dj_sentry_again *again,
                         uint64_t *out_pause_ms);
enum dj_breaker_state dj_sentry_state(struct dj_sentry *sentry);
/* Would a call be refused now? For those who choose another way in advance. Takes no place. */
bool dj_sentry_is_open(struct dj_sentry *sentry);

/* Does that status count against the dependency? */
bool dj_sentry_is_failure(enum deja_status status);

/* ---- what there is to see; any thread ---- */

struct dj_sentry_report {
    const char *name;
    enum dj_breaker_state state;
    uint64_t since_ms;     /* how long it has been so */
    uint64_t open_wait_ms; /* until it lets somebody through; 0 unless open */
    uint64_t calls;        /* attempts, all that follow included */
    uint64_t failures;     /* of the dependency */
    uint64_t timeouts;     /* of these */
    uint64_t refused;      /* calls that met an open breaker */
    uint64_t overflowed;   /* calls that met a full bulkhead */
    uint64_t expired;      /* calls whose deadline passed in the queue */
    uint64_t retries;
    uint64_t retries_denied; /* the budget was spent */
    uint64_t late;           /* answers of attempts that had been given up */
    uint64_t opened;         /* times the breaker opened */
    uint32_t running;
    uint32_t queued;
    char last_error[DJ_SENTRY_TEXT_BYTES]; /* "get: timed out"; "" if there was none */
};
void dj_sentry_look(struct dj_sentry *sentry, struct dj_sentry_report *out_report);
/* What went wrong, in words, where a caller knows more than the status. Any thread; cut off. */
void dj_sentry_note(struct dj_sentry *sentry, const char *text);

#endif
