#include "policy/standing.h"
#include "check.h"

#define MS UINT64_C(1000)

static const struct dj_standing_options plain = {.target_us = 100 * MS, .interval_us = 1000 * MS};

static void a_burst_is_no_overload(void **state)
{
    (void)state;
    struct dj_standing standing = {.is_over = false};
    for (uint64_t ms = 0; ms < 10000; ms += 10) /* every second it is short for a moment */
        assert_false(dj_standing_note(&standing, &plain, ms % 1000 * MS, ms * MS));
}

static void a_delay_that_stays_for_an_interval_is(void **state)
{
    (void)state;
    struct dj_standing standing = {.is_over = false};
    assert_false(dj_standing_note(&standing, &plain, 150 * MS, 5000 * MS)); /* above for 50 ms */
    assert_false(dj_standing_note(&standing, &plain, 101 * MS, 5949 * MS));
    assert_true(dj_standing_note(&standing, &plain, 101 * MS, 5950 * MS));
    /* One that waited for all that time tells it alone. */
    struct dj_standing alone = {.is_over = false};
    assert_false(dj_standing_note(&alone, &plain, 1099 * MS, 9000 * MS));
    struct dj_standing longer = {.is_over = false};
    assert_true(dj_standing_note(&longer, &plain, 1100 * MS, 9000 * MS));
}

static void it_ends_when_the_delay_stays_away_or_nobody_waits(void **state)
{
    (void)state;
    struct dj_standing standing = {.is_over = false};
    assert_true(dj_standing_note(&standing, &plain, 5000 * MS, 10000 * MS));
    assert_true(dj_standing_note(&standing, &plain, 100 * MS, 10100 * MS));
    assert_true(dj_standing_note(&standing, &plain, 200 * MS, 10200 * MS)); /* it came back */
    assert_true(dj_standing_note(&standing, &plain, 100 * MS, 10300 * MS));
    assert_true(dj_standing_note(&standing, &plain, 0, 11299 * MS));
    assert_false(dj_standing_note(&standing, &plain, 0, 11300 * MS));
    assert_true(dj_standing_note(&standing, &plain, 5000 * MS, 20000 * MS));
    dj_standing_empty(&standing);
    assert_false(dj_standing_note(&standing, &plain, 150 * MS, 20001 * MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_no_overload),
        cmocka_unit_test(a_delay_that_stays_for_an_interval_is),
        cmocka_unit_test(it_ends_when_the_delay_stays_away_or_nobody_waits),
    };
    return RUN_TESTS(tests);
}
