#include "policy/ttl.h"
#include "check.h"

#include <math.h>

#define HOUR_MS UINT64_C(3600000)

static void life_is_the_callers_else_the_kinds_within_every_cap(void **state)
{
    (void)state;
    static const struct {
        struct dj_ttl_input input;
        uint64_t life;
    } cases[] = {
        {{.base_ms = HOUR_MS}, HOUR_MS},
        {{.base_ms = HOUR_MS, .request_ms = 60000}, 60000},
        {{.base_ms = HOUR_MS, .request_ms = 9 * HOUR_MS, .cap_ms = 2 * HOUR_MS}, 2 * HOUR_MS},
        {{.base_ms = HOUR_MS, .max_age_ms = 30000}, 30000},
        {{.base_ms = HOUR_MS, .max_age_ms = 10}, 10},
        {{.base_ms = 1}, DJ_TTL_MIN_MS},
        {{.base_ms = 0}, DJ_TTL_MAX_MS},
        {{.base_ms = UINT64_MAX}, DJ_TTL_MAX_MS},
        {{.base_ms = UINT64_MAX, .cap_ms = 5 * HOUR_MS}, 5 * HOUR_MS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(dj_ttl_life(&cases[i].input) == cases[i].life);
}

static void jitter_takes_off_at_most_its_share(void **state)
{
    (void)state;
    struct dj_ttl_input input = {.base_ms = HOUR_MS, .jitter = 0.1};
    input.random = 0;
    assert_true(dj_ttl_life(&input) == HOUR_MS);
    input.random = UINT64_MAX;
    assert_true(dj_ttl_life(&input) >= HOUR_MS * 9 / 10);
    assert_true(dj_ttl_life(&input) < HOUR_MS * 91 / 100);
    input.jitter = (double)NAN;
    assert_true(dj_ttl_life(&input) == HOUR_MS);
    input.jitter = 7;
    assert_true(dj_ttl_life(&input) >= HOUR_MS / 2 && dj_ttl_life(&input) < HOUR_MS * 51 / 100);
}

static void expiry_is_absolute_and_does_not_overflow(void **state)
{
    (void)state;
    struct dj_ttl_input input = {.now_ms = 1000, .base_ms = HOUR_MS};
    assert_true(dj_ttl_expiry(&input) == 1000 + (int64_t)HOUR_MS);
    input.now_ms = INT64_MAX - 5;
    assert_true(dj_ttl_expiry(&input) == INT64_MAX);
}

static void a_text_is_small_medium_or_large_by_its_characters(void **state)
{
    (void)state;
    const struct dj_ttl_sizes sizes = {.small_max = 3, .medium_max = 5};
    static const struct {
        const char *text;
        enum dj_ttl_size size;
    } cases[] = {
        {"", DJ_TTL_SMALL},
        {"abc", DJ_TTL_SMALL},
        {"abcd", DJ_TTL_MEDIUM},
        {"\xc3\xa9\xc3\xa9\xc3\xa9", DJ_TTL_SMALL},
        {"abcde", DJ_TTL_MEDIUM},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80", DJ_TTL_SMALL},
        {"abcdef", DJ_TTL_LARGE},
        {"abc\xc3\xa9\xc3\xa9", DJ_TTL_MEDIUM},
        {"abcdefghijklmnopqrstuvwxyz", DJ_TTL_LARGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_ttl_size_of(&sizes, deja_slice_text(cases[i].text)), cases[i].size);
}

static void confidence_cost_and_analysis_lengthen_a_life(void **state)
{
    (void)state;
    assert_true(dj_ttl_dynamic(HOUR_MS, 0.9, 0.1, false) == HOUR_MS);
    assert_true(dj_ttl_dynamic(HOUR_MS, 0.95, 0, false) == 2 * HOUR_MS);
    assert_true(dj_ttl_dynamic(HOUR_MS, 0, 0.2, false) == HOUR_MS * 3 / 2);
    assert_true(dj_ttl_dynamic(HOUR_MS, 0.95, 0.2, true) == 6 * HOUR_MS);
    assert_true(dj_ttl_dynamic(HOUR_MS, (double)NAN, (double)INFINITY, false) == HOUR_MS);
    assert_true(dj_ttl_dynamic(UINT64_MAX, 1, 1, true) == DJ_TTL_MAX_MS);
}

static void early_refresh_is_the_published_formula(void **state)
{
    (void)state;
    assert_true(fabs(dj_ttl_early_ms(2000, 1, 0.1) - 4605.170185988091) < 1e-9);
    assert_true(fabs(dj_ttl_early_ms(2000, 2, 0.1) - 9210.340371976182) < 1e-9);
    assert_true(dj_ttl_early_ms(2000, 1, 1) == 0);
    assert_true(dj_ttl_early_ms(0, 1, 0.1) == 0);
    assert_true(isfinite(dj_ttl_early_ms(UINT64_MAX, 1, 1e-16)));
}

static void refresh_is_early_when_no_more_than_the_drawn_time_is_left(void **state)
{
    (void)state;
    const uint64_t tenth = UINT64_MAX / 10; /* u = 0.1 to 16 digits: 4605.17 ms */
    assert_true(dj_ttl_is_early(4605, 2000, 1, tenth));
    assert_false(dj_ttl_is_early(4606, 2000, 1, tenth));
    assert_true(dj_ttl_is_early(0, 2000, 1, tenth));
    assert_false(dj_ttl_is_early(1, 2000, 1, UINT64_MAX)); /* u = 1 */
    assert_true(dj_ttl_is_early(73000, 2000, 1, 0));       /* the least u there is */
    assert_false(dj_ttl_is_early(74000, 2000, 1, 0));      /* beyond every draw */
    assert_false(dj_ttl_is_early(1, 0, 1, 0));             /* what costs nothing to make */
    assert_false(dj_ttl_is_early(INT64_MAX, UINT32_MAX, 1, 0));
    assert_true(dj_ttl_may_be_early(73000, 2000, 1));
    assert_false(dj_ttl_may_be_early(74000, 2000, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_is_the_callers_else_the_kinds_within_every_cap),
        cmocka_unit_test(jitter_takes_off_at_most_its_share),
        cmocka_unit_test(expiry_is_absolute_and_does_not_overflow),
        cmocka_unit_test(early_refresh_is_the_published_formula),
        cmocka_unit_test(refresh_is_early_when_no_more_than_the_drawn_time_is_left),
        cmocka_unit_test(a_text_is_small_medium_or_large_by_its_characters),
        cmocka_unit_test(confidence_cost_and_analysis_lengthen_a_life),
    };
    return RUN_TESTS(tests);
}
