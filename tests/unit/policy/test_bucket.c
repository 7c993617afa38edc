#include "policy/bucket.h"
#include "check.h"

#include <math.h>

static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const struct dj_bucket_rate plain = {
    .tokens = 100, .period_us = 1000000, .burst = 200}; /* the default of a tenant */

static void a_new_bucket_gives_its_burst_and_no_more(void **state)
{
    (void)state;
    struct dj_bucket bucket = {0};
    for (unsigned i = 0; i < 200; i++)
        assert_true(dj_bucket_take(&bucket, &plain, 1, 5000000));
    assert_false(dj_bucket_take(&bucket, &plain, 1, 5000000));
    assert_int_equal(dj_bucket_wait_us(&bucket, &plain, 1, 5000000), 10000);
    assert_int_equal(dj_bucket_full_us(&bucket, &plain, 5000000), 2000000);
}

static void a_token_is_back_exactly_when_it_was_said(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (unsigned round = 0; round < 2000; round++) {
        const struct dj_bucket_rate rate = {.tokens = 1 + draw(&random) % 100000,
                                            .period_us = 1 + draw(&random) % 1000000000,
                                            .burst = 1 + draw(&random) % 1000};
        struct dj_bucket bucket = {0};
        uint64_t now_us = draw(&random) % 1000000;
        assert_true(dj_bucket_take(&bucket, &rate, rate.burst, now_us));
        uint64_t wait_us = dj_bucket_wait_us(&bucket, &rate, 1, now_us);
        assert_true(wait_us > 0 && wait_us < UINT64_MAX);
        assert_false(dj_bucket_take(&bucket, &rate, 1, now_us + wait_us - 1));
        assert_true(dj_bucket_take(&bucket, &rate, 1, now_us + wait_us));
    }
}

/* A third of a token a microsecond, asked every microsecond for hours: a rate in floating point
 * drifts, or never gets anywhere. */
static void nothing_is_lost_or_won_by_asking_often(void **state)
{
    (void)state;
    const struct dj_bucket_rate rate = {.tokens = 1, .period_us = 3, .burst = 10};
    struct dj_bucket bucket = {0};
    uint64_t given = 0;
    for (uint64_t now_us = 0; now_us < 3000000; now_us++)
        given += dj_bucket_take(&bucket, &rate, 1, now_us);
    assert_int_equal(given, 10 + 2999999 / 3);
    const struct dj_bucket_rate slow = {
        .tokens = 1, .period_us = UINT64_C(86400000000), .burst = 1}; /* one a day */
    struct dj_bucket rare = {0};
    assert_true(dj_bucket_take(&rare, &slow, 1, 0));
    for (uint64_t now_us = 1; now_us < UINT64_C(86400000000); now_us += 9999991)
        assert_false(dj_bucket_take(&rare, &slow, 1, now_us));
    assert_true(dj_bucket_take(&rare, &slow, 1, UINT64_C(86400000000)));
}

/* Over any stretch of time that begins with an empty history: burst + rate * t. And whoever asks
 * for one at a time, no faster than the rate, is never turned away. */
static void no_history_gives_more_than_burst_and_rate(void **state)
{
    (void)state;
    uint64_t random = 11;
    for (unsigned round = 0; round < 300; round++) {
        const struct dj_bucket_rate rate = {.tokens = 1 + draw(&random) % 5000,
                                            .period_us = 1000 + draw(&random) % 2000000,
                                            .burst = 1 + draw(&random) % 500};
        struct dj_bucket bucket = {0};
        uint64_t started_us = draw(&random) % 1000000;
        uint64_t now_us = started_us;
        uint64_t given = 0;
        for (unsigned i = 0; i < 2000; i++) {
            uint64_t count = 1 + draw(&random) % 5;
            if (dj_bucket_take(&bucket, &rate, count, now_us))
                given += count;
            uint64_t earned = (now_us - started_us) * rate.tokens / rate.period_us;
            assert_true(given <= rate.burst + earned);
            now_us += draw(&random) % (2 * rate.period_us / rate.tokens + 2);
        }
    }
}

static void who_keeps_to_the_rate_is_never_turned_away(void **state)
{
    (void)state;
    struct dj_bucket bucket = {0};
    assert_true(dj_bucket_take(&bucket, &plain, 200, 0));
    for (uint64_t now_us = 10000; now_us < 60000000; now_us += 10000)
        assert_true(dj_bucket_take(&bucket, &plain, 1, now_us));
}

static void a_debt_is_paid_before_more_is_given(void **state)
{
    (void)state;
    struct dj_bucket bucket = {0};
    dj_bucket_charge(&bucket, &plain, 300, 0); /* 100 more than it had */
    assert_int_equal(dj_bucket_left(&bucket, &plain, 0), 0);
    assert_int_equal(dj_bucket_wait_us(&bucket, &plain, 0, 0), 1000000);
    assert_int_equal(dj_bucket_wait_us(&bucket, &plain, 1, 0), 1010000);
    assert_false(dj_bucket_take(&bucket, &plain, 0, 999999));
    assert_true(dj_bucket_take(&bucket, &plain, 0, 1000000));
    dj_bucket_charge(&bucket, &plain, UINT64_MAX, 1000000); /* bounded, not wrapped */
    assert_false(dj_bucket_take(&bucket, &plain, 0, 2000000));
    assert_true(dj_bucket_full_us(&bucket, &plain, 2000000) < UINT64_MAX);
    assert_true(dj_bucket_take(&bucket, &plain, 200, UINT64_MAX));
}

static void a_clock_that_steps_back_stands_still(void **state)
{
    (void)state;
    struct dj_bucket bucket = {0};
    assert_true(dj_bucket_take(&bucket, &plain, 200, 1000000));
    assert_false(dj_bucket_take(&bucket, &plain, 1, 0));
    assert_false(dj_bucket_take(&bucket, &plain, 1, 1009999));
    assert_true(dj_bucket_take(&bucket, &plain, 1, 1010000));
}

static void other_limits_hold_from_now_on(void **state)
{
    (void)state;
    const struct dj_bucket_rate less = {.tokens = 1, .period_us = 1000000, .burst = 2};
    struct dj_bucket bucket = {0};
    assert_true(dj_bucket_take(&bucket, &plain, 1, 0));
    assert_int_equal(dj_bucket_left(&bucket, &less, 0), 2);
    assert_int_equal(dj_bucket_left(&bucket, &plain, 0), 2); /* not a new burst */
    assert_int_equal(dj_bucket_wait_us(&bucket, &less, 3, 0), UINT64_MAX);
    const struct dj_bucket_rate none = {.period_us = 1000000, .burst = 1};
    struct dj_bucket once = {0};
    assert_true(dj_bucket_take(&once, &none, 1, 0));
    assert_int_equal(dj_bucket_wait_us(&once, &none, 1, UINT64_MAX), UINT64_MAX);
}

static void a_rate_is_made_of_a_number_of_any_kind(void **state)
{
    (void)state;
    struct dj_bucket_rate rate;
    assert_true(dj_bucket_rate_of(100, 200, 1000000000, &rate));
    assert_int_equal(rate.tokens, 100000);
    assert_int_equal(rate.burst, 200);
    assert_true(dj_bucket_rate_of(0.5, 0, 1000000000, &rate));
    assert_int_equal(rate.tokens, 500);
    assert_int_equal(rate.burst, 1);
    assert_true(dj_bucket_rate_of(1e-12, 1, 1000, &rate));
    assert_int_equal(rate.tokens, 1);
    assert_true(dj_bucket_rate_of(1e9, UINT64_MAX, 1000000, &rate));
    assert_true(rate.burst <= (uint64_t)DJ_BUCKET_PARTS_MAX / 1000000);
    assert_false(dj_bucket_rate_of(0, 1, 1000000, &rate));
    assert_false(dj_bucket_rate_of(-1, 1, 1000000, &rate));
    assert_false(dj_bucket_rate_of((double)NAN, 1, 1000000, &rate));
    assert_false(dj_bucket_rate_of(1e300, 1, 1000000, &rate));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_bucket_gives_its_burst_and_no_more),
        cmocka_unit_test(a_token_is_back_exactly_when_it_was_said),
        cmocka_unit_test(nothing_is_lost_or_won_by_asking_often),
        cmocka_unit_test(no_history_gives_more_than_burst_and_rate),
        cmocka_unit_test(who_keeps_to_the_rate_is_never_turned_away),
        cmocka_unit_test(a_debt_is_paid_before_more_is_given),
        cmocka_unit_test(a_clock_that_steps_back_stands_still),
        cmocka_unit_test(other_limits_hold_from_now_on),
        cmocka_unit_test(a_rate_is_made_of_a_number_of_any_kind),
    };
    return RUN_TESTS(tests);
}
