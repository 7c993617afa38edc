#include "policy/predict.h"
#include "check.h"

#include <math.h>
#include <string.h>

#define HOUR_MS INT64_C(3600000)
#define DAY 24
#define MONDAY 496536 /* an hour: 2026-08-24T00:00Z */

static struct dj_predict_model model_of(const struct dj_habit *habit)
{
    struct dj_predict_model model;
    const struct dj_habit *const habits[] = {habit};
    assert_int_equal(dj_predict_train(habits, 1, 1, &model), DEJA_OK);
    return model;
}

static double probability(const struct dj_habit *habit, int64_t hour)
{
    struct dj_predict_model model = model_of(habit);
    struct dj_prediction prediction;
    dj_predict_one(&model, habit, hour, hour, &prediction);
    assert_true(prediction.probability >= 0 && prediction.probability <= 1);
    return prediction.probability;
}

static void note(struct dj_habit *habit, int64_t hour)
{
    dj_habit_note(habit, hour * HOUR_MS + 1234567, DJ_PREDICT_USER_LOCAL, DJ_PREDICT_ANSWER);
}

static void a_week_begins_on_monday(void **state)
{
    (void)state;
    assert_int_equal(dj_predict_slot_of(MONDAY), 0);
    assert_int_equal(dj_predict_slot_of(MONDAY - 1), 167);
    assert_int_equal(dj_predict_slot_of(MONDAY + 3 * DAY + 9), 81);
    assert_int_equal(dj_predict_week_of(MONDAY) - dj_predict_week_of(MONDAY - 1), 1);
    assert_int_equal(dj_predict_slot_of(0), 72); /* 1970-01-01 was a Thursday */
    assert_int_equal(dj_predict_slot_of(-73), 167);
    assert_int_equal(dj_predict_hour_of(-1), -1);
}

static void hours_are_remembered_for_eight_weeks(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    for (int64_t week = 0; week < 12; week++)
        note(&habit, MONDAY + week * 168 + 9);
    for (int64_t week = 0; week < 12; week++) {
        assert_int_equal(dj_habit_has(&habit, MONDAY + week * 168 + 9), week >= 4);
        assert_false(dj_habit_has(&habit, MONDAY + week * 168 + 10));
    }
    assert_int_equal(dj_habit_count(&habit), 8);
    assert_false(dj_habit_has(&habit, MONDAY + 12 * 168 + 9)); /* not yet */
    note(&habit, MONDAY + 40 * 168);
    assert_int_equal(dj_habit_count(&habit), 1);
}

static void the_order_of_accesses_does_not_matter(void **state)
{
    (void)state;
    struct dj_habit forth = {0};
    struct dj_habit back = {0};
    for (int64_t i = 0; i < 30; i++) {
        note(&forth, MONDAY + i * 31);
        note(&back, MONDAY + (29 - i) * 31);
    }
    assert_memory_equal(forth.weeks, back.weeks, sizeof forth.weeks);
    assert_int_equal(forth.first_hour, back.first_hour);
    assert_int_equal(forth.last_hour, back.last_hour);
    assert_int_equal(forth.week, back.week);
}

static void merging_is_the_same_as_having_seen_both(void **state)
{
    (void)state;
    struct dj_habit both = {0};
    struct dj_habit one = {0};
    struct dj_habit other = {0};
    for (int64_t i = 0; i < 40; i++) {
        note(i % 3 ? &one : &other, MONDAY + i * 29);
        note(&both, MONDAY + i * 29);
    }
    dj_habit_merge(&one, &other);
    assert_memory_equal(one.weeks, both.weeks, sizeof both.weeks);
    assert_int_equal(one.first_hour, both.first_hour);
    dj_habit_merge(&one, &other); /* twice is once */
    assert_memory_equal(one.weeks, both.weeks, sizeof both.weeks);
    struct dj_habit none = {0};
    dj_habit_merge(&one, &none);
    assert_memory_equal(one.weeks, both.weeks, sizeof both.weeks);
    dj_habit_merge(&none, &one);
    assert_memory_equal(none.weeks, both.weeks, sizeof both.weeks);
}

static void what_comes_every_day_is_expected_after_some_days(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    for (int64_t day = 0; day < 7; day++)
        note(&habit, MONDAY + day * DAY + 9);
    assert_true(probability(&habit, MONDAY + 7 * DAY + 9) > DJ_PREDICT_THRESHOLD);
    assert_true(probability(&habit, MONDAY + 7 * DAY + 15) < 0.2);
}

static void what_comes_on_mondays_is_not_expected_on_tuesday(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    for (int64_t week = 0; week < 4; week++)
        note(&habit, MONDAY + week * 168 + 9);
    assert_true(probability(&habit, MONDAY + 4 * 168 + 9) > DJ_PREDICT_THRESHOLD);
    assert_true(probability(&habit, MONDAY + 4 * 168 + DAY + 9) < 0.3);
}

static void what_came_once_is_not_expected(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    note(&habit, MONDAY + 9);
    for (int64_t hour = MONDAY + 10; hour < MONDAY + 2 * 168; hour++)
        assert_true(probability(&habit, hour) < DJ_PREDICT_THRESHOLD);
}

static void a_habit_that_has_ended_is_forgotten(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    for (int64_t week = 0; week < 8; week++)
        note(&habit, MONDAY + week * 168 + 9);
    assert_true(probability(&habit, MONDAY + 8 * 168 + 9) > 0.8);
    assert_true(probability(&habit, MONDAY + 11 * 168 + 9) < DJ_PREDICT_THRESHOLD);
}

/* Where the truth is a coin of 0.85 or 0.5, the estimate comes near it. */
static void probabilities_are_near_the_truth(void **state)
{
    (void)state;
    const double truths[] = {0.5, 0.85};
    for (size_t t = 0; t < 2; t++) {
        uint64_t random = 11;
        double sum = 0;
        for (uint32_t key = 0; key < 200; key++) {
            struct dj_habit habit = {0};
            note(&habit, MONDAY); /* known from then on */
            for (int64_t day = 0; day < 56; day++) {
                random = random * UINT64_C(6364136223846793005) + 1;
                if ((double)(random >> 11) / 9007199254740992.0 < truths[t])
                    note(&habit, MONDAY + day * DAY + 9);
            }
            sum += probability(&habit, MONDAY + 56 * DAY + 9);
        }
        assert_true(fabs(sum / 200 - truths[t]) <= 0.06);
    }
}

static void a_prediction_says_what_it_was_made_of(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    struct dj_prediction prediction;
    for (int64_t week = 0; week < 4; week++)
        if (week != 2)
            note(&habit, MONDAY + week * 168 + 9);
    struct dj_predict_model model = model_of(&habit);
    dj_predict_one(&model, &habit, MONDAY + 4 * 168, MONDAY + 4 * 168 + 9, &prediction);
    assert_int_equal(prediction.seen, 3);
    assert_int_equal(prediction.weeks, 4);
    assert_true(prediction.cluster < model.clusters.count);
    assert_true(prediction.hour_rate > 0 && prediction.hour_rate < 1);
}

static void without_habits_there_is_a_model_that_expects_nothing(void **state)
{
    (void)state;
    struct dj_predict_model model;
    struct dj_prediction prediction;
    const struct dj_habit habit = {0};
    assert_int_equal(dj_predict_train(NULL, 0, 1, &model), DEJA_OK);
    assert_int_equal(model.clusters.count, 1);
    dj_predict_one(&model, &habit, MONDAY, MONDAY, &prediction);
    assert_true(prediction.probability < 0.01);
}

static void there_are_ten_clusters_of_a_busy_week(void **state)
{
    (void)state;
    struct dj_habit habits[40] = {{0}};
    const struct dj_habit *list[40];
    struct dj_predict_model model;
    struct dj_predict_model again;
    for (uint32_t i = 0; i < 40; i++) {
        for (int64_t day = 0; day < 14; day++)
            dj_habit_note(&habits[i], (MONDAY + day * DAY + (i * 7) % 24) * HOUR_MS,
                          i % DJ_PREDICT_USERS, i % DJ_PREDICT_REQUESTS);
        list[i] = &habits[i];
    }
    assert_int_equal(dj_predict_train(list, 40, 5, &model), DEJA_OK);
    assert_int_equal(model.clusters.count, DJ_PREDICT_CLUSTERS);
    assert_int_equal(dj_predict_train(list, 40, 5, &again), DEJA_OK);
    assert_memory_equal(&model, &again, sizeof model);
}

static void train_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_habit habit = {0};
    const struct dj_habit *const list[] = {&habit};
    note(&habit, MONDAY);
    for (size_t n = 1;; n++) {
        static struct dj_predict_model model;
        failing_malloc_arm(n);
        enum deja_status status = dj_predict_train(list, 1, 1, &model);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_week_begins_on_monday),
        cmocka_unit_test(hours_are_remembered_for_eight_weeks),
        cmocka_unit_test(the_order_of_accesses_does_not_matter),
        cmocka_unit_test(merging_is_the_same_as_having_seen_both),
        cmocka_unit_test(what_comes_every_day_is_expected_after_some_days),
        cmocka_unit_test(what_comes_on_mondays_is_not_expected_on_tuesday),
        cmocka_unit_test(what_came_once_is_not_expected),
        cmocka_unit_test(a_habit_that_has_ended_is_forgotten),
        cmocka_unit_test(probabilities_are_near_the_truth),
        cmocka_unit_test(a_prediction_says_what_it_was_made_of),
        cmocka_unit_test(without_habits_there_is_a_model_that_expects_nothing),
        cmocka_unit_test(there_are_ten_clusters_of_a_busy_week),
        cmocka_unit_test(train_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
