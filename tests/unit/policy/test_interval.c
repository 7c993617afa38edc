#include "policy/interval.h"
#include "check.h"

#include <math.h>

static void assert_near(double value, double wanted)
{
    assert_true(fabs(value - wanted) < 1e-6);
}

/* ACCURACY.md §15.1 */
static void one_sided_bounds_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint64_t k;
        uint64_t n;
        double upper;
    } cases[] = {{0, 59, 0.049508},  {0, 149, 0.019905}, {0, 299, 0.009969},   {0, 300, 0.009936},
                 {1, 300, 0.015715}, {3, 450, 0.017140}, {10, 1000, 0.016903}, {7, 7, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_near(dj_interval_upper(cases[i].k, cases[i].n, 0.05), cases[i].upper);
}

static void two_sided_intervals_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint64_t k;
        uint64_t n;
        double low;
        double high;
    } cases[] = {{0, 300, 0, 0.012221},
                 {3, 450, 0.001377, 0.019358},
                 {10, 1000, 0.004806, 0.018313},
                 {25, 5000, 0.003238, 0.007372}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_interval interval = dj_interval_two_sided(cases[i].k, cases[i].n, 0.05);
        assert_near(interval.low, cases[i].low);
        assert_near(interval.high, cases[i].high);
    }
}

/* ACCURACY.md §15.2: the least n that proves a rate, by the number of errors allowed. */
static void smallest_samples_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        uint64_t k;
        uint64_t n;
        double delta;
    } cases[] = {{0, 598, 0.005}, {5, 2100, 0.005}, {0, 299, 0.01}, {3, 773, 0.01},
                 {0, 149, 0.02},  {5, 523, 0.02},   {0, 59, 0.05},  {4, 181, 0.05}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(dj_interval_upper(cases[i].k, cases[i].n, 0.05) <= cases[i].delta);
        assert_true(dj_interval_upper(cases[i].k, cases[i].n - 1, 0.05) > cases[i].delta);
    }
}

static void bounds_of_nonsense_claim_nothing(void **state)
{
    (void)state;
    assert_true(dj_interval_upper(0, 0, 0.05) == 1);
    assert_true(dj_interval_upper(8, 7, 0.05) == 1);
    assert_true(dj_interval_upper(0, 100, (double)NAN) == 1);
    assert_true(dj_interval_upper(0, 100, 0) == 1);
    struct dj_interval interval = dj_interval_two_sided(0, 0, 0.05);
    assert_true(interval.low == 0 && interval.high == 1);
    interval = dj_interval_two_sided(7, 7, 0.05);
    assert_true(interval.low > 0.5 && interval.high == 1);
}

static void large_counts_stay_finite_and_ordered(void **state)
{
    (void)state;
    struct dj_interval interval = dj_interval_two_sided(20000, 1000000, 0.05);
    assert_true(interval.low > 0.0196 && interval.low < 0.02);
    assert_true(interval.high > 0.02 && interval.high < 0.0204);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sided_bounds_are_the_published_ones),
        cmocka_unit_test(two_sided_intervals_are_the_published_ones),
        cmocka_unit_test(smallest_samples_are_the_published_ones),
        cmocka_unit_test(bounds_of_nonsense_claim_nothing),
        cmocka_unit_test(large_counts_stay_finite_and_ordered),
    };
    return RUN_TESTS(tests);
}
