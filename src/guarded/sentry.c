/* guarded/sentry.c - what is decided once for all loops; see sentry.h.
 *
 * (1) Nothing is called while the mutex is held; events are told after it.
 * (2) Every attempt that dj_sentry_admit let through is told about exactly once, so that a
 *     half-open breaker never waits for somebody who is gone.
 */
#include "guarded/sentry.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "guarded/sentry_internal.h"

#define CALLS_MAX 1024u
#define QUEUE_MAX 4096u

/* The policies' own defaults, which no constant expression may name. */
static struct dj_sentry_options defaults(void)
{
    return (struct dj_sentry_options){.breaker = dj_breaker_options_default,
                                      .retry = dj_retry_options_default,
                                      .calls_max = CALLS_MAX,
                                      .queue_max = QUEUE_MAX};
}

struct dj_sentry_options dj_sentry_options_of(bool is_low_latency)
{
    struct dj_sentry_options options = defaults();
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
static uint64_t draw(struct dj_sentry *sentry)
{
    uint64_t z = sentry->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

enum deja_status dj_sentry_create(const char *name, const struct dj_sentry_options *options,
                                  const struct dj_sentry_events *events, void *ctx,
                                  struct dj_sentry **out_guard)
{
    struct dj_sentry *sentry = dj_alloc_zeroed(1, sizeof *sentry);
    if (!sentry)
        return DEJA_ERR_NOMEM;
    int code = pthread_mutex_init(&sentry->mutex, NULL);
    assert(code == 0);
    sentry->name = name;
    sentry->events = events;
    sentry->ctx = ctx;
    atomic_store(&sentry->refs, 1);
    sentry->random = dj_clock_monotonic_ns() ^ (uint64_t)(uintptr_t)sentry;
    sentry->breaker.since_ms = now_ms();
    dj_sentry_set_options(sentry, options);
    *out_guard = sentry;
    return DEJA_OK;
}

void sentry_unref(struct dj_sentry *sentry)
{
    if (atomic_fetch_sub(&sentry->refs, 1) != 1)
        return;
    for (size_t i = 0; i < DJ_SENTRY_LOOPS_MAX; i++)
        dj_free(atomic_load(&sentry->lanes[i]));
    pthread_mutex_destroy(&sentry->mutex);
    dj_free(sentry);
}

void dj_sentry_destroy(struct dj_sentry *sentry)
{
    if (!sentry)
        return;
    sentry_lanes_end(sentry);
    sentry->events = NULL; /* of late attempts nobody is told */
    sentry_unref(sentry);
}

void dj_sentry_set_options(struct dj_sentry *sentry, const struct dj_sentry_options *options)
{
    pthread_mutex_lock(&sentry->mutex);
    sentry->options = *options;
    if (sentry->options.retry.attempts_max > DJ_SENTRY_ATTEMPTS_MAX)
        sentry->options.retry.attempts_max = DJ_SENTRY_ATTEMPTS_MAX;
    pthread_mutex_unlock(&sentry->mutex);
    atomic_store(&sentry->calls_max, options->calls_max ? options->calls_max : 1);
    atomic_store(&sentry->queue_max, options->queue_max);
}

bool dj_sentry_is_failure(enum deja_status status)
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

static void tell_change(struct dj_sentry *sentry, enum dj_breaker_state before,
                        enum dj_breaker_state after, const char *text)
{
    if (before != after && sentry->events && sentry->events->changed)
        sentry->events->changed(sentry->ctx, after, text);
}

bool dj_sentry_admit(struct dj_sentry *sentry, struct dj_sentry_ticket *out_ticket,
                     uint64_t *out_wait_ms)
{
    char text[DJ_SENTRY_TEXT_BYTES];
    uint32_t ticket = 0;
    pthread_mutex_lock(&sentry->mutex);
    uint64_t now = now_ms();
    enum dj_breaker_state before = sentry->breaker.state;
    bool is_let = dj_breaker_admit(&sentry->breaker, &sentry->options.breaker, now, &ticket);
    enum dj_breaker_state after = sentry->breaker.state;
    if (is_let)
        sentry->figures.calls++;
    else
        sentry->figures.refused++;
    if (!is_let && out_wait_ms)
        *out_wait_ms = dj_breaker_wait_ms(&sentry->breaker, now);
    memcpy(text, sentry->figures.last_error, sizeof text);
    pthread_mutex_unlock(&sentry->mutex);
    if (is_let)
        *out_ticket =
            (struct dj_sentry_ticket){.ticket = ticket, .started_us = dj_clock_monotonic_us()};
    tell_change(sentry, before, after, text);
    return is_let;
}

/* Under the mutex. */
static void note_failure(struct dj_sentry *sentry, const char *operation, enum deja_status status)
{
    sentry->figures.failures++;
    if (status == DEJA_ERR_TIMEOUT)
        sentry->figures.timeouts++;
    snprintf(sentry->figures.last_error, sizeof sentry->figures.last_error, "%s: %s", operation,
             deja_status_text(status));
}

static enum dj_breaker_outcome outcome_of(enum deja_status status)
{
    return dj_sentry_is_failure(status)                        ? DJ_BREAKER_FAILURE
           : status == DEJA_OK || status == DEJA_ERR_NOT_FOUND ? DJ_BREAKER_SUCCESS
                                                               : DJ_BREAKER_NEITHER;
}

void sentry_tell(struct dj_sentry *sentry, const struct sentry_told *told)
{
    char text[DJ_SENTRY_TEXT_BYTES];
    uint64_t took_us = dj_clock_monotonic_us() - told->started_us;
    enum dj_breaker_outcome outcome = outcome_of(told->status);
    pthread_mutex_lock(&sentry->mutex);
    enum dj_breaker_state before = sentry->breaker.state;
    if (outcome == DJ_BREAKER_FAILURE)
        note_failure(sentry, told->operation, told->status);
    if (told->ticket)
        dj_breaker_tell(&sentry->breaker, &sentry->options.breaker, told->ticket->ticket, outcome,
                        told->is_long ? 0 : took_us / 1000, now_ms(), draw(sentry));
    else if (outcome == DJ_BREAKER_SUCCESS)
        dj_breaker_probed(&sentry->breaker, now_ms());
    enum dj_breaker_state after = sentry->breaker.state;
    sentry->figures.opened += before != after && after == DJ_BREAKER_OPEN;
    memcpy(text, sentry->figures.last_error, sizeof text);
    pthread_mutex_unlock(&sentry->mutex);
    if (sentry->events && sentry->events->attempted)
        sentry->events->attempted(sentry->ctx, told->operation, told->status, took_us);
    tell_change(sentry, before, after, text);
}

void dj_sentry_tell(struct dj_sentry *sentry, const struct dj_sentry_ticket *ticket,
                    const char *operation, enum deja_status status)
{
    const struct sentry_told told = {.ticket = ticket,
                                     .started_us = ticket->started_us,
                                     .operation = operation,
                                     .status = status};
    sentry_tell(sentry, &told);
}

void dj_sentry_earn(struct dj_sentry *sentry)
{
    pthread_mutex_lock(&sentry->mutex);
    dj_retry_earn(&sentry->budget, &sentry->options.retry);
    pthread_mutex_unlock(&sentry->mutex);
}

bool dj_sentry_may_retry(struct dj_sentry *sentry, const struct dj_sentry_again *again,
                         uint64_t *out_pause_ms)
{
    struct dj_retry_question question = {.status = again->status,
                                         .attempts = again->attempts,
                                         .elapsed_ms = again->elapsed_ms,
                                         .remaining_ms = again->remaining_ms};
    pthread_mutex_lock(&sentry->mutex);
    question.random = draw(sentry);
    enum dj_retry_answer answer =
        dj_retry_decide(&sentry->budget, &sentry->options.retry, &question, out_pause_ms);
    sentry->figures.retries += answer == DJ_RETRY_YES;
    sentry->figures.retries_denied += answer == DJ_RETRY_NO_BUDGET;
    pthread_mutex_unlock(&sentry->mutex);
    return answer == DJ_RETRY_YES;
}

/* ---- what there is to see ---- */

enum dj_breaker_state dj_sentry_state(struct dj_sentry *sentry)
{
    pthread_mutex_lock(&sentry->mutex);
    enum dj_breaker_state state = sentry->breaker.state;
    pthread_mutex_unlock(&sentry->mutex);
    return state;
}

bool dj_sentry_is_open(struct dj_sentry *sentry)
{
    pthread_mutex_lock(&sentry->mutex);
    bool is_open = sentry->breaker.state == DJ_BREAKER_OPEN &&
                   dj_breaker_wait_ms(&sentry->breaker, now_ms()) > 0;
    pthread_mutex_unlock(&sentry->mutex);
    return is_open;
}

void sentry_count(struct dj_sentry *sentry, enum sentry_count what)
{
    pthread_mutex_lock(&sentry->mutex);
    sentry->figures.overflowed += what == SENTRY_OVERFLOWED;
    sentry->figures.expired += what == SENTRY_EXPIRED;
    sentry->figures.late += what == SENTRY_LATE;
    pthread_mutex_unlock(&sentry->mutex);
}

void dj_sentry_note(struct dj_sentry *sentry, const char *text)
{
    pthread_mutex_lock(&sentry->mutex);
    snprintf(sentry->figures.last_error, sizeof sentry->figures.last_error, "%s", text);
    pthread_mutex_unlock(&sentry->mutex);
}

void dj_sentry_look(struct dj_sentry *sentry, struct dj_sentry_report *out_report)
{
    pthread_mutex_lock(&sentry->mutex);
    uint64_t now = now_ms();
    *out_report = sentry->figures;
    out_report->name = sentry->name;
    out_report->state = sentry->breaker.state;
    out_report->since_ms = now > sentry->breaker.since_ms ? now - sentry->breaker.since_ms : 0;
    out_report->open_wait_ms = dj_breaker_wait_ms(&sentry->breaker, now);
    pthread_mutex_unlock(&sentry->mutex);
    for (size_t i = 0; i < DJ_SENTRY_LOOPS_MAX; i++) {
        const struct dj_sentry_lane *lane = atomic_load(&sentry->lanes[i]);
        if (!lane)
            continue;
        out_report->running += atomic_load(&lane->running);
        out_report->queued += atomic_load(&lane->queued);
    }
}
