#include "policy/breaker.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>

/* SplitMix64: histories are the same in every run. */
static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool ask(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                uint64_t now_ms, enum dj_breaker_outcome outcome, uint64_t took_ms)
{
    uint32_t ticket;
    if (!dj_breaker_admit(breaker, options, now_ms, &ticket))
        return false;
    dj_breaker_tell(breaker, options, ticket, outcome, took_ms, now_ms, 0);
    return true;
}

static void fail_times(struct dj_breaker *breaker, const struct dj_breaker_options *options,
                       uint64_t now_ms, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        assert_true(ask(breaker, options, now_ms, DJ_BREAKER_FAILURE, 1));
}

static void five_failures_in_a_row_open_it_and_a_success_between_does_not(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    fail_times(&breaker, options, 1000, 4);
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
    assert_true(ask(&breaker, options, 1000, DJ_BREAKER_SUCCESS, 1));
    fail_times(&breaker, options, 1000, 4);
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED); /* 8 of 9: too few for the ratio */
    breaker = (struct dj_breaker){.state = DJ_BREAKER_CLOSED};
    fail_times(&breaker, options, 1000, 5);
    assert_int_equal(breaker.state, DJ_BREAKER_OPEN);
    uint32_t ticket;
    assert_false(dj_breaker_admit(&breaker, options, 30999, &ticket));
    assert_int_equal(dj_breaker_wait_ms(&breaker, 30999), 1);
    assert_true(dj_breaker_admit(&breaker, options, 31000, &ticket));
    assert_int_equal(breaker.state, DJ_BREAKER_HALF_OPEN);
}

static void ratio_counts_from_ten_calls_on_and_only_within_the_window(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    /* Four of ten succeed: exactly 0.6 with the tenth call. */
    static const char history[] = "SFFSFFSFSF";
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
        assert_true(ask(&breaker, options, 500,
                        history[i] == 'S' ? DJ_BREAKER_SUCCESS : DJ_BREAKER_FAILURE, 1));
    }
    assert_int_equal(breaker.state, DJ_BREAKER_OPEN);

    breaker = (struct dj_breaker){.state = DJ_BREAKER_CLOSED};
    for (size_t i = 0; i < 9; i++)
        ask(&breaker, options, 500, history[i] == 'S' ? DJ_BREAKER_SUCCESS : DJ_BREAKER_FAILURE, 1);
    assert_true(ask(&breaker, options, 10500, DJ_BREAKER_FAILURE, 1));
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED); /* the nine are of another time */
}

static void half_open_lets_five_through_and_two_successes_close_it(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    uint32_t tickets[6];
    fail_times(&breaker, options, 0, 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(dj_breaker_admit(&breaker, options, 30000, &tickets[i]));
    assert_false(dj_breaker_admit(&breaker, options, 30000, &tickets[5]));
    /* One that says nothing gives its place back. */
    dj_breaker_tell(&breaker, options, tickets[0], DJ_BREAKER_NEITHER, 1, 30001, 0);
    assert_true(dj_breaker_admit(&breaker, options, 30001, &tickets[0]));
    assert_false(dj_breaker_admit(&breaker, options, 30001, &tickets[5]));
    dj_breaker_tell(&breaker, options, tickets[1], DJ_BREAKER_SUCCESS, 1, 30002, 0);
    assert_int_equal(breaker.state, DJ_BREAKER_HALF_OPEN);
    dj_breaker_tell(&breaker, options, tickets[2], DJ_BREAKER_SUCCESS, 1, 30002, 0);
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
    /* What was asked half-open and fails later says nothing about the closed state. */
    dj_breaker_tell(&breaker, options, tickets[3], DJ_BREAKER_FAILURE, 1, 30003, 0);
    assert_int_equal(breaker.failures_in_row, 0);
}

static void half_open_failure_opens_it_again(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    fail_times(&breaker, options, 0, 5);
    assert_true(ask(&breaker, options, 30000, DJ_BREAKER_SUCCESS, 1));
    assert_true(ask(&breaker, options, 30000, DJ_BREAKER_FAILURE, 1));
    assert_int_equal(breaker.state, DJ_BREAKER_OPEN);
    assert_int_equal(dj_breaker_wait_ms(&breaker, 30000), 30000);
}

static void call_longer_than_five_seconds_is_a_failure(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    for (size_t i = 0; i < 4; i++)
        assert_true(ask(&breaker, options, 0, DJ_BREAKER_SUCCESS, 5001));
    assert_int_equal(breaker.failures_in_row, 4);
    assert_true(ask(&breaker, options, 0, DJ_BREAKER_SUCCESS, 5000));
    assert_int_equal(breaker.failures_in_row, 0);
    struct dj_breaker_options patient = *options;
    patient.slow_ms = 0;
    assert_true(ask(&breaker, &patient, 0, DJ_BREAKER_SUCCESS, UINT64_MAX));
    assert_int_equal(breaker.failures_in_row, 0);
}

static void recovery_probe_makes_it_half_open_at_once(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_default;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    uint32_t ticket;
    dj_breaker_probed(&breaker, 0);
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
    fail_times(&breaker, options, 0, 5);
    dj_breaker_probed(&breaker, 10);
    assert_int_equal(breaker.state, DJ_BREAKER_HALF_OPEN);
    assert_true(dj_breaker_admit(&breaker, options, 10, &ticket));
}

static void low_latency_profile_opens_longer_each_time_with_jitter(void **state)
{
    (void)state;
    const struct dj_breaker_options *options = &dj_breaker_options_low_latency;
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    static const uint64_t waits[] = {5000, 10000, 20000, 40000, 60000, 60000};
    uint64_t now_ms = 0;
    fail_times(&breaker, options, now_ms, 5);
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        assert_int_equal(breaker.state, DJ_BREAKER_OPEN);
        assert_int_equal(dj_breaker_wait_ms(&breaker, now_ms), waits[i]);
        now_ms += waits[i];
        uint32_t ticket;
        uint32_t second;
        assert_true(dj_breaker_admit(&breaker, options, now_ms, &ticket));
        assert_false(dj_breaker_admit(&breaker, options, now_ms, &second)); /* one at first */
        dj_breaker_tell(&breaker, options, ticket, DJ_BREAKER_FAILURE, 1, now_ms, 0);
    }
    /* After one success up to three; closed, it begins with 5 s again. */
    now_ms += 60000;
    assert_true(ask(&breaker, options, now_ms, DJ_BREAKER_SUCCESS, 1));
    uint32_t tickets[2];
    assert_true(dj_breaker_admit(&breaker, options, now_ms, &tickets[0]));
    assert_true(dj_breaker_admit(&breaker, options, now_ms, &tickets[1]));
    dj_breaker_tell(&breaker, options, tickets[0], DJ_BREAKER_SUCCESS, 1, now_ms, 0);
    assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
    uint32_t last = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_true(dj_breaker_admit(&breaker, options, now_ms, &last));
        dj_breaker_tell(&breaker, options, last, DJ_BREAKER_FAILURE, 1, now_ms, UINT64_MAX);
    }
    uint64_t wait_ms = dj_breaker_wait_ms(&breaker, now_ms);
    assert_true(wait_ms > 5400 && wait_ms <= 5500); /* a tenth at most is added */
}

/* ---- against a model: a list of everything that happened, nothing summed up ---- */

enum { EVENTS_MAX = 4096 };

struct model {
    enum dj_breaker_state state;
    uint32_t generation;
    uint64_t open_until_ms;
    uint32_t opened;
    struct {
        uint64_t at_ms;
        bool is_failure;
    } events[EVENTS_MAX]; /* since closed */
    size_t count;
    uint32_t admitted, nothing, successes; /* half-open */
};

static void model_enter(struct model *model, enum dj_breaker_state state)
{
    model->state = state;
    model->generation++;
    model->count = 0;
    model->admitted = model->nothing = model->successes = 0;
    if (state == DJ_BREAKER_CLOSED)
        model->opened = 0;
}

static void model_open(struct model *model, const struct dj_breaker_options *options,
                       uint64_t now_ms)
{
    double wait_ms = (double)options->open_ms * pow(options->open_growth, model->opened);
    if (wait_ms > (double)options->open_ms_max)
        wait_ms = (double)options->open_ms_max;
    model_enter(model, DJ_BREAKER_OPEN);
    model->opened++;
    model->open_until_ms = now_ms + (uint64_t)wait_ms;
}

static bool model_admit(struct model *model, const struct dj_breaker_options *options,
                        uint64_t now_ms)
{
    if (model->state == DJ_BREAKER_OPEN && now_ms >= model->open_until_ms)
        model_enter(model, DJ_BREAKER_HALF_OPEN);
    if (model->state == DJ_BREAKER_OPEN)
        return false;
    if (model->state == DJ_BREAKER_CLOSED)
        return true;
    uint32_t most = model->successes ? options->probes_max : options->probes_first;
    if (model->admitted - model->nothing >= most)
        return false;
    model->admitted++;
    return true;
}

static void model_tell(struct model *model, const struct dj_breaker_options *options,
                       uint32_t generation, enum dj_breaker_outcome outcome, uint64_t now_ms)
{
    if (generation != model->generation || model->state == DJ_BREAKER_OPEN)
        return;
    if (model->state == DJ_BREAKER_HALF_OPEN) {
        model->nothing += outcome == DJ_BREAKER_NEITHER;
        model->successes += outcome == DJ_BREAKER_SUCCESS;
        if (outcome == DJ_BREAKER_FAILURE)
            model_open(model, options, now_ms);
        else if (model->successes >= options->successes_min)
            model_enter(model, DJ_BREAKER_CLOSED);
        return;
    }
    if (outcome == DJ_BREAKER_NEITHER)
        return;
    assert_true(model->count < EVENTS_MAX);
    model->events[model->count].at_ms = now_ms;
    model->events[model->count++].is_failure = outcome == DJ_BREAKER_FAILURE;
    if (outcome != DJ_BREAKER_FAILURE)
        return;
    uint32_t row = 0;
    for (size_t i = model->count; i > 0 && model->events[i - 1].is_failure; i--)
        row++;
    uint64_t slice_ms = options->window_ms / DJ_BREAKER_SLICES;
    uint32_t calls = 0;
    uint32_t failures = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->events[i].at_ms / slice_ms + DJ_BREAKER_SLICES <= now_ms / slice_ms)
            continue;
        calls++;
        failures += model->events[i].is_failure;
    }
    if (row >= options->failures_max ||
        (calls >= options->ratio_calls_min && (double)failures >= options->ratio * calls))
        model_open(model, options, now_ms);
}

struct pending {
    uint32_t ticket;
    uint32_t generation;
};

static void random_history(const struct dj_breaker_options *options, uint64_t seed)
{
    struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
    struct model *model = test_calloc(1, sizeof *model);
    struct pending pending[16];
    size_t waiting = 0;
    uint64_t random = seed;
    uint64_t now_ms = draw(&random) % 100000;
    unsigned sickness = 0;
    for (size_t step = 0; step < 2000; step++) {
        now_ms += draw(&random) % 4 ? draw(&random) % 50 : draw(&random) % 8000;
        if (draw(&random) % 100 == 0)
            sickness = (unsigned)(draw(&random) % 100); /* of a hundred calls fail */
        unsigned what = (unsigned)(draw(&random) % 100);
        if (what < 50 && waiting < 16) {
            bool is_let = dj_breaker_admit(&breaker, options, now_ms, &pending[waiting].ticket);
            assert_true(is_let == model_admit(model, options, now_ms));
            pending[waiting].generation = model->generation;
            waiting += is_let;
        } else if (what < 98 && waiting) {
            size_t which = draw(&random) % waiting;
            struct pending call = pending[which];
            pending[which] = pending[--waiting];
            enum dj_breaker_outcome outcome = draw(&random) % 20 == 0          ? DJ_BREAKER_NEITHER
                                              : draw(&random) % 100 < sickness ? DJ_BREAKER_FAILURE
                                                                               : DJ_BREAKER_SUCCESS;
            dj_breaker_tell(&breaker, options, call.ticket, outcome, 1, now_ms, 0);
            model_tell(model, options, call.generation, outcome, now_ms);
        } else if (what >= 98 && model->state == DJ_BREAKER_OPEN) {
            dj_breaker_probed(&breaker, now_ms);
            model_enter(model, DJ_BREAKER_HALF_OPEN);
        }
        assert_int_equal(breaker.state, model->state);
        assert_true(breaker.state != DJ_BREAKER_OPEN ||
                    breaker.open_until_ms == model->open_until_ms);
        assert_true(breaker.probes <= options->probes_max);
    }
    test_free(model);
}

static void random_histories_agree_with_the_model(void **state)
{
    (void)state;
    struct dj_breaker_options calm = dj_breaker_options_low_latency;
    calm.jitter = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        random_history(&dj_breaker_options_default, seed);
        random_history(&calm, seed);
    }
}

/* ---- an hour on a simulated clock ---- */

/* What the dependency does in that second of the script. */
static bool is_down(uint64_t second)
{
    uint64_t minute = second / 60;
    if (minute >= 10 && minute < 15)
        return true; /* five minutes gone */
    if (minute >= 20 && minute < 30)
        return second % 60 < 10; /* ten seconds of each minute */
    return second >= 2400 && second < 2445;
}

static void an_hour_of_failures_costs_few_calls_and_recovery_is_bounded(void **state)
{
    (void)state;
    static const struct dj_breaker_options *const profiles[] = {&dj_breaker_options_default,
                                                                &dj_breaker_options_low_latency};
    for (size_t i = 0; i < 2; i++) {
        const struct dj_breaker_options *options = profiles[i];
        struct dj_breaker breaker = {.state = DJ_BREAKER_CLOSED};
        uint64_t random = 7;
        uint64_t asked_down = 0;
        uint64_t refused_up = 0;
        uint64_t up_since = 0;
        uint64_t longest_ms = 0;
        for (uint64_t now_ms = 0; now_ms < 3600000; now_ms += 10) { /* 100 calls a second */
            bool is_sick = is_down(now_ms / 1000);
            uint32_t ticket;
            if (is_sick)
                up_since = now_ms;
            if (!dj_breaker_admit(&breaker, options, now_ms, &ticket)) {
                refused_up += !is_sick;
                if (!is_sick && now_ms - up_since > longest_ms)
                    longest_ms = now_ms - up_since;
                continue;
            }
            asked_down += is_sick;
            dj_breaker_tell(&breaker, options, ticket,
                            is_sick ? DJ_BREAKER_FAILURE : DJ_BREAKER_SUCCESS, 1, now_ms,
                            draw(&random));
        }
        /* Down for 445 s at 100 calls a second: 44,500 calls, nearly all of them spared. */
        assert_true(asked_down < 200);
        uint64_t open_max_ms = options->open_ms_max + options->open_ms_max / 10;
        assert_true(longest_ms <= open_max_ms);
        assert_true(refused_up > 0);
        assert_int_equal(breaker.state, DJ_BREAKER_CLOSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_open_it_and_a_success_between_does_not),
        cmocka_unit_test(ratio_counts_from_ten_calls_on_and_only_within_the_window),
        cmocka_unit_test(half_open_lets_five_through_and_two_successes_close_it),
        cmocka_unit_test(half_open_failure_opens_it_again),
        cmocka_unit_test(call_longer_than_five_seconds_is_a_failure),
        cmocka_unit_test(recovery_probe_makes_it_half_open_at_once),
        cmocka_unit_test(low_latency_profile_opens_longer_each_time_with_jitter),
        cmocka_unit_test(random_histories_agree_with_the_model),
        cmocka_unit_test(an_hour_of_failures_costs_few_calls_and_recovery_is_bounded),
    };
    return RUN_TESTS(tests);
}
