/* tests/unit/policy/test_fresh.c - windows after an expiry, and what a request makes of them. */
#include "policy/fresh.h"
#include "check.h"

static void entry_is_judged_by_its_times_and_the_windows(void **state)
{
    (void)state;
    /* made at 1000, ends at 5000, gone at 9000 */
    static const struct dj_fresh_times times = {1000, 5000, 9000};
    static const struct {
        int64_t now_ms;
        struct dj_fresh_rules rules;
        enum dj_freshness wanted;
    } cases[] = {
        {4999, {0}, DJ_FRESH},
        {5000, {0}, DJ_FRESH_OVER},
        {5000, {.serve_stale_ms = 1}, DJ_FRESH_STALE},
        {5999, {.serve_stale_ms = 1000}, DJ_FRESH_STALE},
        {6000, {.serve_stale_ms = 1000}, DJ_FRESH_OVER},
        {6000, {.serve_stale_ms = 1000, .error_stale_ms = 1001}, DJ_FRESH_IF_ERROR},
        {8999, {.serve_stale_ms = UINT64_MAX}, DJ_FRESH_STALE},
        {9000, {.serve_stale_ms = UINT64_MAX, .error_stale_ms = UINT64_MAX}, DJ_FRESH_OVER},
        {4000, {.min_fresh_ms = 1000}, DJ_FRESH},
        {4001, {.min_fresh_ms = 1000}, DJ_FRESH_OVER},
        {4001, {.min_fresh_ms = 1000, .error_stale_ms = 1}, DJ_FRESH_IF_ERROR},
        {3000, {.max_age_ms = 2000}, DJ_FRESH},
        {3001, {.max_age_ms = 2000}, DJ_FRESH_OVER},
        {5001, {.max_age_ms = 2000, .serve_stale_ms = 9999}, DJ_FRESH_OVER},
        {0, {.max_age_ms = 1}, DJ_FRESH}, /* a clock that went back makes nobody old */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_fresh_judge(&times, cases[i].now_ms, &cases[i].rules), cases[i].wanted);
}

static void entry_without_an_end_is_fresh_and_one_without_grace_has_none(void **state)
{
    (void)state;
    static const struct dj_fresh_rules all = {
        .min_fresh_ms = UINT64_MAX, .serve_stale_ms = UINT64_MAX, .error_stale_ms = UINT64_MAX};
    assert_int_equal(dj_fresh_judge(&(struct dj_fresh_times){.created_ms = 1}, INT64_MAX, &all),
                     DJ_FRESH);
    assert_int_equal(dj_fresh_judge(&(struct dj_fresh_times){1, 5000, 0}, 5000, &all),
                     DJ_FRESH_OVER);
}

static void request_narrows_what_the_operator_allows(void **state)
{
    (void)state;
    /* The operator: 60 s while a new one is made, 300 s when the upstream fails. */
    static const struct {
        struct dj_fresh_wish wish;
        uint64_t serve_ms;
        uint64_t error_ms;
    } cases[] = {
        {{0}, 60, 300},
        {{.max_age_ms = 10}, 0, 0},
        {{.min_fresh_ms = 10}, 0, 0},
        {{.max_age_ms = 10, .has_max_stale = true, .max_stale_ms = 20}, 20, 300},
        {{.has_max_stale = true, .max_stale_ms = UINT64_MAX}, 300, 300},
        {{.has_max_stale = true, .max_stale_ms = 0}, 0, 300},
        {{.has_while_revalidate = true, .while_revalidate_ms = 0}, 0, 300},
        {{.has_while_revalidate = true, .while_revalidate_ms = 999}, 60, 300},
        {{.has_if_error = true, .if_error_ms = 7}, 60, 7},
        {{.has_if_error = true, .if_error_ms = 999}, 60, 300},
        {{.max_age_ms = 10, .has_if_error = true, .if_error_ms = 7}, 0, 7},
        {{.min_fresh_ms = 10, .has_max_stale = true, .max_stale_ms = 20}, 0, 300},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_fresh_rules rules;
        dj_fresh_narrow(60, 300, &cases[i].wish, &rules);
        assert_int_equal(rules.serve_stale_ms, cases[i].serve_ms);
        assert_int_equal(rules.error_stale_ms, cases[i].error_ms);
        assert_int_equal(rules.max_age_ms, cases[i].wish.max_age_ms);
        assert_int_equal(rules.min_fresh_ms, cases[i].wish.min_fresh_ms);
    }
}

static void nothing_stale_is_served_where_the_operator_opened_no_window(void **state)
{
    (void)state;
    struct dj_fresh_rules rules;
    dj_fresh_narrow(0, 0,
                    &(struct dj_fresh_wish){.has_max_stale = true,
                                            .max_stale_ms = UINT64_MAX,
                                            .has_if_error = true,
                                            .if_error_ms = UINT64_MAX,
                                            .has_while_revalidate = true,
                                            .while_revalidate_ms = UINT64_MAX},
                    &rules);
    assert_int_equal(rules.serve_stale_ms, 0);
    assert_int_equal(rules.error_stale_ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_is_judged_by_its_times_and_the_windows),
        cmocka_unit_test(entry_without_an_end_is_fresh_and_one_without_grace_has_none),
        cmocka_unit_test(request_narrows_what_the_operator_allows),
        cmocka_unit_test(nothing_stale_is_served_where_the_operator_opened_no_window),
    };
    return RUN_TESTS(tests);
}
