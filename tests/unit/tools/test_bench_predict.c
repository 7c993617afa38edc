#include "tools/bench_predict.h"
#include "check.h"

#include <string.h>

#include "tools/rhythm.h"

static void what_is_warmed_is_used_at_least_seven_times_in_ten(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct dj_bench_predict_options options = dj_bench_predict_default;
        struct dj_bench_predict_result result;
        options.seed = seed;
        assert_int_equal(dj_bench_predict(&options, &result), DEJA_OK);
        assert_true(result.warmed > 1000);
        assert_true((double)result.used >= 0.70 * (double)result.warmed);
        assert_true(dj_predict_precision(&result.score) >= 0.70);
        assert_true(dj_predict_recall(&result.score) >= 0.40);
        assert_true(result.hits > result.hits_without);
        assert_true(result.cost_usd > 0 && result.wasted_usd < 0.3 * result.cost_usd);
        assert_int_equal(result.clusters, DJ_PREDICT_CLUSTERS);
    }
}

static void a_higher_threshold_is_more_precise_and_finds_less(void **state)
{
    (void)state;
    struct dj_bench_predict_options options = dj_bench_predict_default;
    struct dj_bench_predict_result low;
    struct dj_bench_predict_result high;
    options.threshold = 0.4;
    assert_int_equal(dj_bench_predict(&options, &low), DEJA_OK);
    options.threshold = 0.85;
    assert_int_equal(dj_bench_predict(&options, &high), DEJA_OK);
    assert_true(dj_predict_precision(&high.score) > dj_predict_precision(&low.score));
    assert_true(dj_predict_recall(&high.score) < dj_predict_recall(&low.score));
}

static void a_budget_is_kept(void **state)
{
    (void)state;
    struct dj_bench_predict_options options = dj_bench_predict_default;
    struct dj_bench_predict_result result;
    options.budget_per_day = 5;
    assert_int_equal(dj_bench_predict(&options, &result), DEJA_OK);
    assert_true(result.warmed > 0 && result.warmed <= 5 * 7 * (options.weeks - options.learn));
}

static void the_same_seed_gives_the_same_result(void **state)
{
    (void)state;
    struct dj_bench_predict_options options = dj_bench_predict_default;
    struct dj_bench_predict_result a;
    struct dj_bench_predict_result b;
    options.weeks = 3;
    options.learn = 2;
    assert_int_equal(dj_bench_predict(&options, &a), DEJA_OK);
    assert_int_equal(dj_bench_predict(&options, &b), DEJA_OK);
    assert_memory_equal(&a, &b, sizeof a);
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    struct dj_bench_predict_options options = dj_bench_predict_default;
    struct dj_bench_predict_result result;
    options.learn = options.weeks;
    assert_int_equal(dj_bench_predict(&options, &result), DEJA_ERR_INVALID);
    options = dj_bench_predict_default;
    options.ttl_hours = 0;
    assert_int_equal(dj_bench_predict(&options, &result), DEJA_ERR_INVALID);
}

static void predict_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_bench_predict_options options = dj_bench_predict_default;
    options.weeks = 2;
    options.learn = 1;
    for (size_t n = 1; n < 12; n++) {
        struct dj_bench_predict_result result = {.warmed = 77};
        failing_malloc_arm(n);
        enum deja_status status = dj_bench_predict(&options, &result);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (has_failed)
            assert_int_equal(result.warmed, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_warmed_is_used_at_least_seven_times_in_ten),
        cmocka_unit_test(a_higher_threshold_is_more_precise_and_finds_less),
        cmocka_unit_test(a_budget_is_kept),
        cmocka_unit_test(the_same_seed_gives_the_same_result),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(predict_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
