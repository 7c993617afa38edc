#include "tools/bench_series.h"

#include "check.h"

#include <math.h>

static struct dj_bench_series make_series(size_t cap)
{
    struct dj_bench_series series = {.values = NULL};
    assert_int_equal(dj_bench_series_init(&series, cap), DEJA_OK);
    return series;
}

static void add_all(struct dj_bench_series *series, const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dj_bench_series_add(series, values[i], true);
}

static void percentile_is_the_smallest_value_that_enough_do_not_exceed(void **state)
{
    (void)state;
    double values[100];
    for (size_t i = 0; i < 100; i++)
        values[i] = (double)i + 1;
    assert_true(dj_bench_percentile(values, 100, 0.50) == 50);
    assert_true(dj_bench_percentile(values, 100, 0.95) == 95);
    assert_true(dj_bench_percentile(values, 100, 0.99) == 99);
    assert_true(dj_bench_percentile(values, 100, 1) == 100);
    assert_true(dj_bench_percentile(values, 100, 0) == 1);
    assert_true(dj_bench_percentile(values, 3, 0.99) == 3);
    assert_true(dj_bench_percentile(values, 1, 0.5) == 1);
}

static void percentile_of_nothing_is_not_a_number(void **state)
{
    (void)state;
    assert_true(isnan(dj_bench_percentile(NULL, 0, 0.5)));
    struct dj_bench_spread spread = dj_bench_spread(NULL, 0);
    assert_true(isnan(spread.median) && isnan(spread.low) && isnan(spread.high));
}

static void quartiles_are_interpolated(void **state)
{
    (void)state;
    double odd[] = {5, 1, 4, 2, 3};
    struct dj_bench_spread spread = dj_bench_spread(odd, 5);
    assert_true(spread.low == 2 && spread.median == 3 && spread.high == 4);
    double even[] = {4, 1, 3, 2};
    spread = dj_bench_spread(even, 4);
    assert_true(spread.low == 1.75 && spread.median == 2.5 && spread.high == 3.25);
    double one[] = {7};
    spread = dj_bench_spread(one, 1);
    assert_true(spread.low == 7 && spread.median == 7 && spread.high == 7);
}

static void rounds_give_medians_and_rates_with_their_spread(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(16);
    struct dj_bench_figures figures;
    add_all(&series, (const double[]){10, 30, 20}, 3);
    dj_bench_series_end_round(&series, 0);
    add_all(&series, (const double[]){100, 100}, 2);
    dj_bench_series_end_round(&series, 50); /* side by side */
    dj_bench_series_end_round(&series, 0);  /* nothing: no round */
    dj_bench_series_summarise(&series, &figures);
    assert_int_equal(figures.runs, 5);
    assert_int_equal(figures.rounds, 2);
    assert_true(figures.mean == 52);
    assert_true(figures.p50 == 30 && figures.p99 == 100);
    assert_true(figures.medians.median == 60);
    assert_true(figures.medians.low == 40 && figures.medians.high == 80);
    /* 3 in 60 us, 2 in 50 us */
    assert_true(fabs(figures.rates.median - 45000) < 1e-6);
    assert_true(figures.success_rate == 1);
    dj_bench_series_fini(&series);
}

static void failed_operations_count_and_cost_but_have_no_value(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(16);
    struct dj_bench_figures figures;
    dj_bench_series_add(&series, 10, true);
    dj_bench_series_add(&series, 90, false);
    dj_bench_series_end_round(&series, 0);
    dj_bench_series_summarise(&series, &figures);
    assert_int_equal(figures.runs, 2);
    assert_true(figures.success_rate == 0.5);
    assert_true(figures.mean == 10 && figures.p99 == 10);
    assert_true(fabs(figures.rates.median - 10000) < 1e-6); /* one in 100 us */
    dj_bench_series_fini(&series);
}

static void series_of_failures_has_no_figures(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(4);
    struct dj_bench_figures figures;
    dj_bench_series_add(&series, 10, false);
    dj_bench_series_end_round(&series, 0);
    dj_bench_series_summarise(&series, &figures);
    assert_true(figures.success_rate == 0);
    assert_int_equal(figures.rounds, 0);
    assert_true(isnan(figures.mean) && isnan(figures.p50) && isnan(figures.medians.median));
    dj_bench_series_fini(&series);
}

static void series_of_nothing_has_no_success_rate(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(4);
    struct dj_bench_figures figures;
    dj_bench_series_summarise(&series, &figures);
    assert_true(isnan(figures.success_rate) && isnan(figures.mean));
    dj_bench_series_fini(&series);
}

static void full_series_and_too_many_rounds_are_bounded(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(DJ_BENCH_ROUNDS_MAX + 4);
    for (unsigned i = 0; i < 2 * DJ_BENCH_ROUNDS_MAX; i++) {
        dj_bench_series_add(&series, i, true);
        dj_bench_series_end_round(&series, 0);
    }
    assert_int_equal(series.count, DJ_BENCH_ROUNDS_MAX + 4);
    assert_int_equal(series.round_count, DJ_BENCH_ROUNDS_MAX);
    dj_bench_series_fini(&series);
}

static void cleared_series_starts_over(void **state)
{
    (void)state;
    struct dj_bench_series series = make_series(4);
    struct dj_bench_figures figures;
    dj_bench_series_add(&series, 99, true);
    dj_bench_series_add(&series, 99, false);
    dj_bench_series_end_round(&series, 0);
    dj_bench_series_clear(&series);
    dj_bench_series_add(&series, 1, true);
    dj_bench_series_end_round(&series, 0);
    dj_bench_series_summarise(&series, &figures);
    assert_int_equal(figures.runs, 1);
    assert_true(figures.mean == 1 && figures.medians.median == 1);
    dj_bench_series_fini(&series);
}

static void series_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_bench_series series = {.values = NULL};
    failing_malloc_arm(1);
    enum deja_status status = dj_bench_series_init(&series, 8);
    assert_true(failing_malloc_disarm());
    assert_int_equal(status, DEJA_ERR_NOMEM);
    assert_null(series.values);
    dj_bench_series_fini(&series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentile_is_the_smallest_value_that_enough_do_not_exceed),
        cmocka_unit_test(percentile_of_nothing_is_not_a_number),
        cmocka_unit_test(quartiles_are_interpolated),
        cmocka_unit_test(rounds_give_medians_and_rates_with_their_spread),
        cmocka_unit_test(failed_operations_count_and_cost_but_have_no_value),
        cmocka_unit_test(series_of_failures_has_no_figures),
        cmocka_unit_test(series_of_nothing_has_no_success_rate),
        cmocka_unit_test(full_series_and_too_many_rounds_are_bounded),
        cmocka_unit_test(cleared_series_starts_over),
        cmocka_unit_test(series_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
