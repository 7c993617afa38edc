/* policy/breaker.c - see breaker.h.
 *
 * (1) enter() is the only place that changes `state`; it raises `epoch`, so a ticket of before is
 *     worth nothing.
 * (2) Half-open, probes <= probes_max, and each of them ends as a success, a failure (which leaves
 *     the state) or nothing (which gives its place back): it cannot get stuck.
 */
#include "policy/breaker.h"

const struct dj_breaker_options dj_breaker_options_default = {
    .failures_max = 5,
    .ratio = 0.6,
    .ratio_calls_min = 10,
    .window_ms = 10000,
    .open_ms = 30000,
    .open_ms_max = 30000,
    .open_growth = 1,
    .jitter = 0,
    .probes_first = 5,
    .probes_max = 5,
    .successes_min = 2,
    .slow_ms = 5000,
};

const struct dj_breaker_options dj_breaker_options_low_latency = {
    .failures_max = 5,
    .ratio = 0.5,
    .ratio_calls_min = 20,
    .window_ms = 10000,
    .open_ms = 5000,
    .open_ms_max = 60000,
    .open_growth = 2,
    .jitter = 0.1,
    .probes_first = 1,
    .probes_max = 3,
    .successes_min = 2,
    .slow_ms = 5000,
};

const char *dj_breaker_state_text(enum dj_breaker_state state)
{
    static const char *const texts[] = {"closed", "half_open", "open"};
    return texts[state];
}

static void enter(struct dj_breaker *breaker, enum dj_breaker_state state, uint64_t now_ms)
{
    breaker->state = state;
    breaker->epoch++;
    breaker->since_ms = now_ms;
    breaker->failures_in_row = 0;
    breaker->probes = 0;
    breaker->successes = 0;
    memset(breaker->slices, 0, sizeof breaker->slices);
    if (state == DJ_BREAKER_CLOSED)
        breaker->opened_in_row = 0;
}

static double bounded(double value, double low, double high)
{
    return value > low ? (value < high ? value : high) : low; /* NaN: low */
}

static void open_now(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                     uint64_t now_ms, uint64_t random)
{
    double wait_ms = (double)options->open_ms;
    double wait_ms_max = (double)options->open_ms_max;
    double growth = bounded(options->open_growth, 1, 100);
    if (wait_ms_max < wait_ms)
        wait_ms_max = wait_ms;
    for (uint32_t i = 0; i < breaker->opened_in_row && wait_ms < wait_ms_max && growth > 1; i++)
        wait_ms *= growth;
    wait_ms = wait_ms < wait_ms_max ? wait_ms : wait_ms_max;
    /* 53 bits of it, in [0, 1) */
    double draw = (double)(random >> 11) / (double)(UINT64_C(1) << 53);
    wait_ms += wait_ms * bounded(options->jitter, 0, 1) * draw;
    enter(breaker, DJ_BREAKER_OPEN, now_ms);
    if (breaker->opened_in_row < UINT32_MAX)
        breaker->opened_in_row++;
    breaker->open_until_ms = now_ms + (uint64_t)wait_ms;
}

bool dj_breaker_admit(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                      uint64_t now_ms, uint32_t *out_ticket)
{
    if (breaker->state == DJ_BREAKER_OPEN) {
        if (now_ms < breaker->open_until_ms)
            return false;
        enter(breaker, DJ_BREAKER_HALF_OPEN, now_ms);
    }
    if (breaker->state == DJ_BREAKER_HALF_OPEN) {
        uint32_t most = breaker->successes ? options->probes_max : options->probes_first;
        if (breaker->probes >= most)
            return false;
        breaker->probes++;
    }
    *out_ticket = breaker->epoch;
    return true;
}

/* Counts into the slice of now and sums the window. */
static void count(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                  bool is_failure, uint64_t now_ms, uint32_t *out_calls, uint32_t *out_failures)
{
    uint64_t slice_ms = options->window_ms / DJ_BREAKER_SLICES;
    uint64_t number = now_ms / (slice_ms ? slice_ms : 1) + 1;
    uint32_t own = (uint32_t)(number % DJ_BREAKER_SLICES);
    *out_calls = 0;
    *out_failures = 0;
    if (breaker->slices[own].number != number) {
        breaker->slices[own].number = number;
        breaker->slices[own].calls = 0;
        breaker->slices[own].failures = 0;
    }
    if (breaker->slices[own].calls < UINT32_MAX / DJ_BREAKER_SLICES) {
        breaker->slices[own].calls++;
        breaker->slices[own].failures += is_failure;
    }
    for (uint32_t i = 0; i < DJ_BREAKER_SLICES; i++) {
        if (breaker->slices[i].number + DJ_BREAKER_SLICES <= number)
            continue;
        *out_calls += breaker->slices[i].calls;
        *out_failures += breaker->slices[i].failures;
    }
}

static void tell_closed(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                        bool is_failure, uint64_t now_ms, uint64_t random)
{
    uint32_t calls = 0;
    uint32_t failures = 0;
    count(breaker, options, is_failure, now_ms, &calls, &failures);
    if (!is_failure) {
        breaker->failures_in_row = 0;
        return;
    }
    breaker->failures_in_row++;
    bool is_row = options->failures_max && breaker->failures_in_row >= options->failures_max;
    bool is_ratio =
        calls >= options->ratio_calls_min && (double)failures >= options->ratio * (double)calls;
    if (is_row || is_ratio)
        open_now(breaker, options, now_ms, random);
}

void dj_breaker_tell(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                     uint32_t ticket, enum dj_breaker_outcome outcome, uint64_t took_ms,
                     uint64_t now_ms, uint64_t random)
{
    if (ticket != breaker->epoch || breaker->state == DJ_BREAKER_OPEN)
        return;
    if (outcome == DJ_BREAKER_SUCCESS && options->slow_ms && took_ms > options->slow_ms)
        outcome = DJ_BREAKER_FAILURE;
    if (breaker->state == DJ_BREAKER_CLOSED) {
        if (outcome != DJ_BREAKER_NEITHER)
            tell_closed(breaker, options, outcome == DJ_BREAKER_FAILURE, now_ms, random);
        return;
    }
    if (outcome == DJ_BREAKER_NEITHER) {
        breaker->probes--;
    } else if (outcome == DJ_BREAKER_FAILURE) {
        open_now(breaker, options, now_ms, random);
    } else {
        breaker->successes++;
        if (breaker->successes >= options->successes_min)
            enter(breaker, DJ_BREAKER_CLOSED, now_ms);
    }
}

void dj_breaker_probed(struct dj_breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == DJ_BREAKER_OPEN)
        enter(breaker, DJ_BREAKER_HALF_OPEN, now_ms);
}

uint64_t dj_breaker_wait_ms(const struct dj_breaker *breaker, uint64_t now_ms)
{
    if (breaker->state != DJ_BREAKER_OPEN || now_ms >= breaker->open_until_ms)
        return 0;
    return breaker->open_until_ms - now_ms;
}
