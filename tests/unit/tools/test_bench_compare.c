#include "tools/bench_compare.h"

#include "check.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"

/* A time in microseconds whose rounds scatter from low to high. */
static struct dj_bench_result timed(double median, double low, double high)
{
    struct dj_bench_result result = {
        .name = "exact.hit",
        .unit = "us",
        .figures = {.medians = {median, low, high}, .success_rate = 1},
    };
    return result;
}

static enum dj_bench_verdict judge(struct dj_bench_result before, struct dj_bench_result after)
{
    return dj_bench_judge(&before, &after, 0.1, true).verdict;
}

static void change_within_the_limit_is_the_same(void **state)
{
    (void)state;
    assert_int_equal(judge(timed(100, 99, 101), timed(109, 108, 110)), DJ_BENCH_SAME);
    assert_int_equal(judge(timed(100, 100, 100), timed(100, 100, 100)), DJ_BENCH_SAME);
    assert_int_equal(judge(timed(0, 0, 0), timed(0, 0, 0)), DJ_BENCH_SAME);
}

static void slower_beyond_limit_and_spread_is_worse(void **state)
{
    (void)state;
    assert_int_equal(judge(timed(100, 95, 105), timed(130, 125, 135)), DJ_BENCH_WORSE);
    assert_int_equal(judge(timed(130, 125, 135), timed(100, 95, 105)), DJ_BENCH_BETTER);
}

static void slower_within_either_spread_is_scatter(void **state)
{
    (void)state;
    assert_int_equal(judge(timed(100, 90, 140), timed(130, 125, 135)), DJ_BENCH_SCATTER);
    assert_int_equal(judge(timed(100, 95, 105), timed(130, 104, 150)), DJ_BENCH_SCATTER);
}

static void less_is_worse_where_more_is_better(void **state)
{
    (void)state;
    struct dj_bench_result before = timed(3, 3, 3);
    struct dj_bench_result after = timed(2, 2, 2);
    before.is_higher_better = after.is_higher_better = true;
    assert_int_equal(judge(before, after), DJ_BENCH_WORSE);
    assert_int_equal(judge(after, before), DJ_BENCH_BETTER);
}

static void fewer_successes_are_worse_whatever_the_time(void **state)
{
    (void)state;
    struct dj_bench_result after = timed(50, 50, 50);
    after.figures.success_rate = 0.9;
    assert_int_equal(judge(timed(100, 100, 100), after), DJ_BENCH_WORSE);
    after.figures.success_rate = NAN; /* nothing ran */
    assert_int_equal(judge(timed(100, 100, 100), after), DJ_BENCH_WORSE);
    after.figures.success_rate = 0.998; /* chance */
    assert_int_equal(judge(timed(50, 50, 50), after), DJ_BENCH_SAME);
}

static void missing_names_are_not_compared(void **state)
{
    (void)state;
    struct dj_bench_result result = timed(1, 1, 1);
    struct dj_bench_change change = dj_bench_judge(&result, NULL, 0.1, true);
    assert_int_equal(change.verdict, DJ_BENCH_NOT_COMPARED);
    assert_string_equal(change.why, "missing in the new run");
    change = dj_bench_judge(NULL, &result, 0.1, true);
    assert_int_equal(change.verdict, DJ_BENCH_NOT_COMPARED);
    assert_string_equal(change.why, "only in the new run");
}

static void zero_and_no_figure_are_not_compared(void **state)
{
    (void)state;
    assert_int_equal(judge(timed(0, 0, 0), timed(5, 5, 5)), DJ_BENCH_NOT_COMPARED);
    assert_int_equal(judge(timed(NAN, NAN, NAN), timed(5, 5, 5)), DJ_BENCH_NOT_COMPARED);
    assert_int_equal(judge(timed(5, 5, 5), timed(NAN, NAN, NAN)), DJ_BENCH_NOT_COMPARED);
    assert_int_equal(judge(timed(5, 5, 5), timed(INFINITY, 5, 5)), DJ_BENCH_NOT_COMPARED);
    assert_int_equal(judge(timed(5, NAN, NAN), timed(9, 9, 9)), DJ_BENCH_NOT_COMPARED);
    assert_int_equal(judge(timed(5, 5, 5), timed(9, 9, NAN)), DJ_BENCH_NOT_COMPARED);
}

static void change_from_below_zero_has_the_right_sign(void **state)
{
    (void)state;
    struct dj_bench_result before = timed(-100, -100, -100);
    struct dj_bench_result after = timed(-50, -50, -50);
    struct dj_bench_change change = dj_bench_judge(&before, &after, 0.1, true);
    assert_int_equal(change.verdict, DJ_BENCH_WORSE);
    assert_true(change.change == 0.5);
}

static void results_of_other_conditions_are_not_compared(void **state)
{
    (void)state;
    struct dj_bench_result before = timed(1, 1, 1);
    struct dj_bench_result after[5];
    for (size_t i = 0; i < 5; i++)
        after[i] = timed(9, 9, 9);
    snprintf(after[0].unit, sizeof after[0].unit, "bytes");
    after[1].entries = 1000;
    after[2].clients = 8;
    snprintf(after[3].embedder, sizeof after[3].embedder, "lexical");
    after[4].is_higher_better = true;
    for (size_t i = 0; i < 5; i++) {
        struct dj_bench_change change = dj_bench_judge(&before, &after[i], 0.1, true);
        assert_int_equal(change.verdict, DJ_BENCH_NOT_COMPARED);
        assert_non_null(change.why);
    }
}

static void times_of_two_machines_are_not_compared_but_sizes_are(void **state)
{
    (void)state;
    struct dj_bench_result before = timed(1, 1, 1);
    struct dj_bench_result after = timed(9, 9, 9);
    assert_int_equal(dj_bench_judge(&before, &after, 0.1, false).verdict, DJ_BENCH_NOT_COMPARED);
    snprintf(before.unit, sizeof before.unit, "bytes");
    snprintf(after.unit, sizeof after.unit, "bytes");
    assert_int_equal(dj_bench_judge(&before, &after, 0.1, false).verdict, DJ_BENCH_WORSE);
}

static struct dj_bench_report *report_of(const struct dj_bench_result *results, size_t count)
{
    struct dj_bench_report *report = dj_alloc_zeroed(1, sizeof *report);
    assert_non_null(report);
    snprintf(report->machine.cpu, sizeof report->machine.cpu, "a processor");
    report->machine.cores = 2;
    for (size_t i = 0; i < count; i++)
        report->results[report->count++] = results[i];
    return report;
}

static void comparison_names_every_result_of_both_runs_once(void **state)
{
    (void)state;
    struct dj_bench_result old[] = {timed(1, 1, 1), timed(1, 1, 1)};
    struct dj_bench_result new[] = {timed(2, 2, 2), timed(1, 1, 1)};
    snprintf(old[1].name, sizeof old[1].name, "gone");
    snprintf(new[1].name, sizeof new[1].name, "came");
    struct dj_bench_comparison comparison = {
        .before = report_of(old, 2), .after = report_of(new, 2), .limit = 0.1};
    struct dj_buf text = {0};
    size_t compared = 0;
    assert_int_equal(dj_bench_compare(&comparison, false, &text, &compared), 1);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(text.status, DEJA_OK);
    assert_int_equal(compared, 1);
    assert_non_null(strstr(text.data, "WORSE"));
    assert_non_null(strstr(text.data, "missing in the new run"));
    assert_non_null(strstr(text.data, "only in the new run"));
    assert_null(strstr(text.data, "Two machines"));
    dj_buf_fini(&text);
    struct dj_bench_report *after = report_of(new, 2);
    after->machine.cores = 64;
    struct dj_bench_comparison other = {.before = comparison.before, .after = after, .limit = 0.1};
    assert_int_equal(dj_bench_compare(&other, false, &text, &compared), 0);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(compared, 0);
    assert_non_null(strstr(text.data, "Two machines"));
    dj_buf_fini(&text);
    const struct dj_bench_report *reports[] = {comparison.before, comparison.after, after};
    for (size_t i = 0; i < 3; i++)
        dj_free((void *)(uintptr_t)reports[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(change_within_the_limit_is_the_same),
        cmocka_unit_test(slower_beyond_limit_and_spread_is_worse),
        cmocka_unit_test(slower_within_either_spread_is_scatter),
        cmocka_unit_test(less_is_worse_where_more_is_better),
        cmocka_unit_test(fewer_successes_are_worse_whatever_the_time),
        cmocka_unit_test(missing_names_are_not_compared),
        cmocka_unit_test(zero_and_no_figure_are_not_compared),
        cmocka_unit_test(change_from_below_zero_has_the_right_sign),
        cmocka_unit_test(results_of_other_conditions_are_not_compared),
        cmocka_unit_test(times_of_two_machines_are_not_compared_but_sizes_are),
        cmocka_unit_test(comparison_names_every_result_of_both_runs_once),
    };
    return RUN_TESTS(tests);
}
