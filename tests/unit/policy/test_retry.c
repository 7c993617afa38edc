#include "policy/retry.h"
#include "check.h"

#define HALF (UINT64_C(1) << 63)

static struct dj_retry_question question_of(uint32_t attempts)
{
    return (struct dj_retry_question){
        .status = DEJA_ERR_IO, .attempts = attempts, .remaining_ms = 60000, .random = HALF};
}

static void pauses_double_up_to_their_bound_and_are_drawn_in_full(void **state)
{
    (void)state;
    struct dj_retry_options options = dj_retry_options_default;
    static const uint64_t bounds[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    options.attempts_max = 100;
    options.elapsed_ms_max = 0;
    for (uint32_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        struct dj_retry_budget budget = {.spent = 0};
        struct dj_retry_question question = question_of(i + 1);
        uint64_t pause_ms = 0;
        assert_int_equal(dj_retry_decide(&budget, &options, &question, &pause_ms), DJ_RETRY_YES);
        assert_int_equal(pause_ms, bounds[i] / 2);
        question.random = 0;
        assert_int_equal(dj_retry_decide(&budget, &options, &question, &pause_ms), DJ_RETRY_YES);
        assert_int_equal(pause_ms, 0);
        question.random = UINT64_MAX;
        assert_int_equal(dj_retry_decide(&budget, &options, &question, &pause_ms), DJ_RETRY_YES);
        assert_int_equal(pause_ms, bounds[i] - 1);
    }
}

static void only_what_may_pass_by_itself_is_tried_again(void **state)
{
    (void)state;
    for (int status = 0; status > -40; status--) {
        struct dj_retry_budget budget = {.spent = 0};
        struct dj_retry_question question = question_of(1);
        uint64_t pause_ms = 77;
        question.status = (enum deja_status)status;
        bool is_yes = dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms) ==
                      DJ_RETRY_YES;
        assert_true(is_yes == (status == DEJA_ERR_IO || status == DEJA_ERR_TIMEOUT));
        assert_true(is_yes || (pause_ms == 77 && !(budget.spent > 0)));
    }
}

static void attempts_time_and_deadline_bound_it(void **state)
{
    (void)state;
    static const struct {
        uint32_t attempts;
        uint64_t elapsed_ms;
        uint64_t remaining_ms;
        enum dj_retry_answer answer;
    } cases[] = {
        {1, 0, 60000, DJ_RETRY_YES},
        {2, 0, 60000, DJ_RETRY_YES},
        {3, 0, 60000, DJ_RETRY_TOO_MANY},
        {1, 9949, 60000, DJ_RETRY_YES},
        {1, 9950, 60000, DJ_RETRY_TOO_MANY},
        {1, UINT64_MAX / 2, 60000, DJ_RETRY_TOO_MANY},
        {1, 0, 51, DJ_RETRY_YES},
        {1, 0, 50, DJ_RETRY_TOO_LATE}, /* the pause alone takes 50 */
        {1, 0, 0, DJ_RETRY_TOO_LATE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_retry_budget budget = {.spent = 0};
        struct dj_retry_question question = question_of(cases[i].attempts);
        uint64_t pause_ms;
        question.elapsed_ms = cases[i].elapsed_ms;
        question.remaining_ms = cases[i].remaining_ms;
        assert_int_equal(dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms),
                         cases[i].answer);
    }
}

static void a_get_of_one_second_fits_both_pauses(void **state)
{
    (void)state;
    struct dj_retry_budget budget = {.spent = 0};
    struct dj_retry_question question = {
        .status = DEJA_ERR_IO, .attempts = 1, .remaining_ms = 1000, .random = UINT64_MAX};
    uint64_t pause_ms;
    assert_int_equal(dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms),
                     DJ_RETRY_YES);
    question.attempts = 2;
    question.remaining_ms -= pause_ms;
    assert_int_equal(dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms),
                     DJ_RETRY_YES);
    assert_true(question.remaining_ms > pause_ms);
}

static void retries_are_at_most_a_tenth_of_the_calls_and_the_reserve(void **state)
{
    (void)state;
    struct dj_retry_budget budget = {.spent = 0};
    uint32_t retries = 0;
    for (uint32_t calls = 1; calls <= 100000; calls++) {
        struct dj_retry_question question = question_of(1);
        uint64_t pause_ms;
        dj_retry_earn(&budget, &dj_retry_options_default);
        retries += dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms) ==
                   DJ_RETRY_YES;
        assert_true(retries <= 10 + calls / 10 + 1);
    }
    assert_true(retries >= 10000);
    /* What is not used is not saved up beyond the reserve. */
    for (uint32_t calls = 0; calls < 100000; calls++)
        dj_retry_earn(&budget, &dj_retry_options_default);
    for (retries = 0; retries < 100; retries++) {
        struct dj_retry_question question = question_of(1);
        uint64_t pause_ms;
        if (dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms) !=
            DJ_RETRY_YES)
            break;
    }
    assert_int_equal(retries, 10);
}

static void an_outage_is_not_multiplied_by_three_attempts(void **state)
{
    (void)state;
    struct dj_retry_budget budget = {.spent = 0};
    uint64_t attempts = 0;
    for (uint32_t calls = 0; calls < 10000; calls++) {
        dj_retry_earn(&budget, &dj_retry_options_default);
        struct dj_retry_question question = question_of(0);
        uint64_t pause_ms;
        do {
            attempts++;
            question.attempts++;
        } while (dj_retry_decide(&budget, &dj_retry_options_default, &question, &pause_ms) ==
                 DJ_RETRY_YES);
    }
    assert_true(attempts <= 11011);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_their_bound_and_are_drawn_in_full),
        cmocka_unit_test(only_what_may_pass_by_itself_is_tried_again),
        cmocka_unit_test(attempts_time_and_deadline_bound_it),
        cmocka_unit_test(a_get_of_one_second_fits_both_pauses),
        cmocka_unit_test(retries_are_at_most_a_tenth_of_the_calls_and_the_reserve),
        cmocka_unit_test(an_outage_is_not_multiplied_by_three_attempts),
    };
    return RUN_TESTS(tests);
}
