/* guarded/guard.c - what is decided once for all loops; see guard.h.
 *
 * (1) Nothing is called while the mutex is held; events are told after it.
 * (2) Every attempt that dj_guard_admit let through is told about exactly once, so that a
 *     half-open breaker never waits for somebody who is gone.
 */
#include "guarded/guard.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "guarded/guard_internal.h"

#define CALLS_MAX 1024u
#define QUEUE_MAX 4096u

/* The policies' own defaults, which no constant expression may name. */
static struct dj_guard_options defaults(void)
{
    return (struct dj_guard_options){.breaker = dj_breaker_options_default,
                                     .retry = dj_retry_options_default,
                                     .calls_max = CALLS_MAX,
                                     .queue_max = QUEUE_MAX};
}

struct dj_guard_options dj_guard_options_of(bool is_low_latency)
{
    struct dj_guard_options options = defaults();
    if (is_low_latency) {
        options.breaker = dj_breaker_options_low_latency;
        options.retry.attempts_max = 2;
    }
    return options;
}

static uint64_t now_ms(void)
{
    return dj_clock_monotonic_us() / 1000;
}

/* SplitMix64: spread, not secret. Under the mutex. */
static uint64_t draw(struct dj_guard *guard)
{
    uint64_t z = guard->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

enum deja_status dj_guard_create(const char *name, const struct dj_guard_options *options,
                                 const struct dj_guard_events *events, void *ctx,
                                 struct dj_guard **out_guard)
{
    struct dj_guard *guard = dj_alloc_zeroed(1, sizeof *guard);
    if (!guard)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&guard->mutex, NULL);
    assert(code == 0);
    guard->name = name;
    guard->events = events;
    guard->ctx = ctx;
    atomic_store(&guard->refs, 1);
    guard->random = dj_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)guard;
    guard->breaker.since_ms = now_ms();
    dj_guard_set_options(guard, options);
    *out_guard = guard;
    return DEJA_OK;
}

void guard_unref(struct dj_guard *guard)
{
    if (atomic_fetch_sub(&guard->refs, 1) != 1)
        return;
    for (size_t i = 0; i < DJ_GUARD_LOOPS_MAX; i++)
        dj_free(atomic_load(&guard->lanes[i]));
    pthread_mutex_destroy(&guard->mutex);
    dj_free(guard);
}

void dj_guard_destroy(struct dj_guard *guard)
{
    if (!guard)
        return;
    guard_lanes_end(guard);
    guard->events = NULL; /* of late attempts nobody is told */
    guard_unref(guard);
}

void dj_guard_set_options(struct dj_guard *guard, const struct dj_guard_options *options)
{
    pthread_mutex_lock(&guard->mutex);
    guard->options = *options;
    if (guard->options.retry.attempts_max > DJ_GUARD_ATTEMPTS_MAX)
        guard->options.retry.attempts_max = DJ_GUARD_ATTEMPTS_MAX;
    pthread_mutex_unlock(&guard->mutex);
    atomic_store(&guard->calls_max, options->calls_max ? options->calls_max : 1);
    atomic_store(&guard->queue_max, options->queue_max);
}

bool dj_guard_is_failure(enum deja_status status)
{
    switch (status) {
    case DEJA_ERR_IO:
    case DEJA_ERR_TIMEOUT:
    case DEJA_ERR_CORRUPT: /* not the protocol */
    case DEJA_ERR_DENIED:  /* does not let us in: of no use until somebody mends that */
    case DEJA_ERR_BUSY:
    case DEJA_ERR_CACHE_UNAVAILABLE:
        return true;
    default:
        return false;
    }
}

/* ---- decisions ---- */

static void tell_change(struct dj_guard *guard, enum dj_breaker_state before,
                        enum dj_breaker_state after, const char *text)
{
    if (before != after && guard->events && guard->events->changed)
        guard->events->changed(guard->ctx, after, text);
}

bool dj_guard_admit(struct dj_guard *guard, struct dj_guard_ticket *out_ticket,
                    uint64_t *out_wait_ms)
{
    char text[DJ_GUARD_TEXT_BYTES];
    uint32_t ticket = 0;
    pthread_mutex_lock(&guard->mutex);
    uint64_t now = now_ms();
    enum dj_breaker_state before = guard->breaker.state;
    bool is_let = dj_breaker_admit(&guard->breaker, &guard->options.breaker, now, &ticket);
    enum dj_breaker_state after = guard->breaker.state;
    if (is_let)
        guard->figures.calls++;
    else
        guard->figures.refused++;
    if (!is_let && out_wait_ms)
        *out_wait_ms = dj_breaker_wait_ms(&guard->breaker, now);
    memcpy(text, guard->figures.last_error, sizeof text);
    pthread_mutex_unlock(&guard->mutex);
    if (is_let)
        *out_ticket =
            (struct dj_guard_ticket){.ticket = ticket, .started_us = dj_clock_monotonic_us()};
    tell_change(guard, before, after, text);
    return is_let;
}

/* Under the mutex. */
static void note_failure(struct dj_guard *guard, const char *operation, enum deja_status status)
{
    guard->figures.failures++;
    if (status == DEJA_ERR_TIMEOUT)
        guard->figures.timeouts++;
    snprintf(guard->figures.last_error, sizeof guard->figures.last_error, "%s: %s", operation,
             deja_status_text(status));
}

static enum dj_breaker_outcome outcome_of(enum deja_status status)
{
    return dj_guard_is_failure(status)                         ? DJ_BREAKER_FAILURE
           : status == DEJA_OK || status == DEJA_ERR_NOT_FOUND ? DJ_BREAKER_SUCCESS
                                                               : DJ_BREAKER_NEITHER;
}

void guard_tell(struct dj_guard *guard, const struct guard_told *told)
{
    char text[DJ_GUARD_TEXT_BYTES];
    uint64_t took_us = dj_clock_monotonic_us() - told->started_us;
    enum dj_breaker_outcome outcome = outcome_of(told->status);
    pthread_mutex_lock(&guard->mutex);
    enum dj_breaker_state before = guard->breaker.state;
    if (outcome == DJ_BREAKER_FAILURE)
        note_failure(guard, told->operation, told->status);
    if (told->ticket)
        dj_breaker_tell(&guard->breaker, &guard->options.breaker, told->ticket->ticket, outcome,
                        told->is_long ? 0 : took_us / 1000, now_ms(), draw(guard));
    else if (outcome == DJ_BREAKER_SUCCESS)
        dj_breaker_probed(&guard->breaker, now_ms());
    enum dj_breaker_state after = guard->breaker.state;
    guard->figures.opened += before != after && after == DJ_BREAKER_OPEN;
    memcpy(text, guard->figures.last_error, sizeof text);
    pthread_mutex_unlock(&guard->mutex);
    if (guard->events && guard->events->attempted)
        guard->events->attempted(guard->ctx, told->operation, told->status, took_us);
    tell_change(guard, before, after, text);
}

void dj_guard_tell(struct dj_guard *guard, const struct dj_guard_ticket *ticket,
                   const char *operation, enum deja_status status)
{
    const struct guard_told told = {.ticket = ticket,
                                    .started_us = ticket->started_us,
                                    .operation = operation,
                                    .status = status};
    guard_tell(guard, &told);
}

void dj_guard_earn(struct dj_guard *guard)
{
    pthread_mutex_lock(&guard->mutex);
    dj_retry_earn(&guard->budget, &guard->options.retry);
    pthread_mutex_unlock(&guard->mutex);
}

bool dj_guard_may_retry(struct dj_guard *guard, const struct dj_guard_again *again,
                        uint64_t *out_pause_ms)
{
    struct dj_retry_question question = {.status = again->status,
                                         .attempts = again->attempts,
                                         .elapsed_ms = again->elapsed_ms,
                                         .remaining_ms = again->remaining_ms};
    pthread_mutex_lock(&guard->mutex);
    question.random = draw(guard);
    enum dj_retry_answer answer =
        dj_retry_decide(&guard->budget, &guard->options.retry, &question, out_pause_ms);
    guard->figures.retries += answer == DJ_RETRY_YES;
    guard->figures.retries_denied += answer == DJ_RETRY_NO_BUDGET;
    pthread_mutex_unlock(&guard->mutex);
    return answer == DJ_RETRY_YES;
}

/* ---- what there is to see ---- */

enum dj_breaker_state dj_guard_state(struct dj_guard *guard)
{
    pthread_mutex_lock(&guard->mutex);
    enum dj_breaker_state state = guard->breaker.state;
    pthread_mutex_unlock(&guard->mutex);
    return state;
}

bool dj_guard_is_open(struct dj_guard *guard)
{
    pthread_mutex_lock(&guard->mutex);
    bool is_open = guard->breaker.state == DJ_BREAKER_OPEN &&
                   dj_breaker_wait_ms(&guard->breaker, now_ms()) > 0;
    pthread_mutex_unlock(&guard->mutex);
    return is_open;
}

void guard_count(struct dj_guard *guard, enum guard_count what)
{
    pthread_mutex_lock(&guard->mutex);
    guard->figures.overflowed += what == GUARD_OVERFLOWED;
    guard->figures.expired += what == GUARD_EXPIRED;
    guard->figures.late += what == GUARD_LATE;
    pthread_mutex_unlock(&guard->mutex);
}

void dj_guard_note(struct dj_guard *guard, const char *text)
{
    pthread_mutex_lock(&guard->mutex);
    snprintf(guard->figures.last_error, sizeof guard->figures.last_error, "%s", text);
    pthread_mutex_unlock(&guard->mutex);
}

void dj_guard_look(struct dj_guard *guard, struct dj_guard_report *out_report)
{
    pthread_mutex_lock(&guard->mutex);
    uint64_t now = now_ms();
    *out_report = guard->figures;
    out_report->name = guard->name;
    out_report->state = guard->breaker.state;
    out_report->since_ms = now > guard->breaker.since_ms ? now - guard->breaker.since_ms : 0;
    out_report->open_wait_ms = dj_breaker_wait_ms(&guard->breaker, now);
    pthread_mutex_unlock(&guard->mutex);
    for (size_t i = 0; i < DJ_GUARD_LOOPS_MAX; i++) {
        const struct dj_guard_lane *lane = atomic_load(&guard->lanes[i]);
        if (!lane)
            continue;
        out_report->running += atomic_load(&lane->running);
        out_report->queued += atomic_load(&lane->queued);
    }
}
