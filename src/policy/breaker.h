/* policy/breaker.h - may a dependency be asked now? The circuit breaker's decision.
 *
 *   CLOSED --5 failures in a row, or a ratio of failures--> OPEN --its time is over, or a recovery
 *   probe succeeded--> HALF_OPEN --2 successes--> CLOSED;   HALF_OPEN --1 failure--> OPEN
 *
 * Every admitted call is told about once, with the ticket it was given: what was asked in an
 * earlier state says nothing about this one and is not counted. A success that took longer than
 * slow_ms is a failure. Time is any clock in ms that does not go back (I5); random values are
 * given. Pure. Threads: the caller's lock.
 */
#ifndef DJ_POLICY_BREAKER_H
#define DJ_POLICY_BREAKER_H

#include <deja/base.h>

enum dj_breaker_state { DJ_BREAKER_CLOSED, DJ_BREAKER_HALF_OPEN, DJ_BREAKER_OPEN };
const char *dj_breaker_state_text(enum dj_breaker_state state); /* "closed", "half_open", "open" */

struct dj_breaker_options {
    uint32_t failures_max;    /* in a row; 0: not looked at */
    double ratio;             /* of failures in the window; above 1: not looked at */
    uint32_t ratio_calls_min; /* the ratio says nothing of fewer calls */
    uint64_t window_ms;       /* at least DJ_BREAKER_SLICES */
    uint64_t open_ms;         /* first time open */
    uint64_t open_ms_max;     /* and at most, when it opens again and again */
    double open_growth;       /* each time it opens without having closed; at least 1 */
    double jitter;            /* part of the open time that is drawn and added, 0 … 1 */
    uint32_t probes_first;    /* calls let through half-open before one succeeded */
    uint32_t probes_max;      /* and in all; at least successes_min */
    uint32_t successes_min;   /* half-open, to close */
    uint64_t slow_ms;         /* a longer call is a failure; 0: none is */
};
extern const struct dj_breaker_options dj_breaker_options_default;
extern const struct dj_breaker_options dj_breaker_options_low_latency;

enum dj_breaker_outcome {
    DJ_BREAKER_SUCCESS,
    DJ_BREAKER_FAILURE, /* refused, timed out, 5xx, not the protocol */
    DJ_BREAKER_NEITHER  /* cancelled, our own fault: says nothing about the dependency */
};

/* The window is cut into slices; it is exact to one of them. */
#define DJ_BREAKER_SLICES 10u

/* The caller's memory; zeroed: closed and never asked. */
struct dj_breaker {
    enum dj_breaker_state state;
    uint32_t epoch; /* raised by every change of state: the ticket */
    uint64_t since_ms;
    uint64_t open_until_ms;
    uint32_t opened_in_row; /* without having closed */
    uint32_t failures_in_row;
    uint32_t probes; /* half-open: admitted, less those that said nothing */
    uint32_t successes;
    struct {
        uint64_t number; /* of the slice of time, + 1; 0: none */
        uint32_t calls;
        uint32_t failures;
    } slices[DJ_BREAKER_SLICES];
};

/* True: ask, and tell about it with *out_ticket. */
bool dj_breaker_admit(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                      uint64_t now_ms, uint32_t *out_ticket);
/* random: uniform over all 64 bits, for the jitter. */
void dj_breaker_tell(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                     uint32_t ticket, enum dj_breaker_outcome outcome, uint64_t took_ms,
                     uint64_t now_ms, uint64_t random);
/* A recovery probe, which nobody has to admit, succeeded: open becomes half-open at once. */
void dj_breaker_probed(struct dj_breaker *breaker, uint64_t now_ms);
/* How long until an open breaker lets somebody through; 0: it may now. */
uint64_t dj_breaker_wait_ms(const struct dj_breaker *breaker, uint64_t now_ms);

#endif
