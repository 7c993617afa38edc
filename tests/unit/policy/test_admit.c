#include "policy/admit.h"
#include "check.h"

#include <math.h>

static struct dj_admit_question whole_answer(void)
{
    return (struct dj_admit_question){.status = 200,
                                      .is_complete = true,
                                      .choice_count = 1,
                                      .is_every_choice_stopped = true,
                                      .has_content = true};
}

static void expect(struct dj_admit_question question, const char *reason)
{
    struct dj_admit_answer answer;
    dj_admit_decide(&question, &answer);
    assert_string_equal(answer.reason, reason);
    assert_int_equal(answer.is_admitted, strcmp(reason, "admitted") == 0);
}

static void whole_answer_is_admitted_for_a_normal_life(void **state)
{
    (void)state;
    struct dj_admit_question question = whole_answer();
    struct dj_admit_answer answer;
    dj_admit_decide(&question, &answer);
    assert_true(answer.is_admitted);
    assert_false(answer.is_short_lived);
}

static void forgotten_facts_admit_nothing(void **state)
{
    (void)state;
    expect((struct dj_admit_question){0}, "status");
}

static void each_objection_keeps_an_answer_out(void **state)
{
    (void)state;
#define OBJECTION(member, value, reason)                    \
    do {                                                    \
        struct dj_admit_question question = whole_answer(); \
        question.member = (value);                          \
        expect(question, reason);                           \
    } while (0)
    OBJECTION(is_no_store, true, "no-store");
    OBJECTION(status, 201, "status");
    OBJECTION(status, 500, "status");
    OBJECTION(is_complete, false, "incomplete");
    OBJECTION(is_moderated, true, "moderated");
    OBJECTION(is_stateful, true, "stateful");
    OBJECTION(has_hosted_tools, true, "hosted-tools");
    OBJECTION(has_length, true, "length");
    OBJECTION(has_content_filter, true, "content-filter");
    OBJECTION(has_tool_calls, true, "tool-calls");
    OBJECTION(choice_count, 2, "several-choices");
    OBJECTION(choice_count, 0, "empty");
    OBJECTION(has_content, false, "empty");
    OBJECTION(is_every_choice_stopped, false, "finish-reason");
    OBJECTION(is_other_type, true, "content-type");
#undef OBJECTION
}

static void an_empty_result_is_a_payload_where_that_is_allowed(void **state)
{
    (void)state;
    struct dj_admit_question question = whole_answer();
    question.has_content = false;
    question.is_empty_allowed = true;
    expect(question, "admitted");
}

static void tool_calls_are_stored_when_the_operator_says_so(void **state)
{
    (void)state;
    struct dj_admit_question question = whole_answer();
    question.has_tool_calls = true;
    question.is_tool_calls_cached = true;
    expect(question, "admitted");
}

static void low_or_unreadable_confidence_is_refused(void **state)
{
    (void)state;
    static const struct {
        double confidence;
        const char *reason;
    } cases[] = {{0.7, "admitted"}, {0.69, "confidence"}, {(double)NAN, "confidence"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_admit_question question = whole_answer();
        question.has_confidence = true;
        question.confidence = cases[i].confidence;
        expect(question, cases[i].reason);
    }
}

static void refusals_and_volatile_questions_live_shortly(void **state)
{
    (void)state;
    struct dj_admit_answer answer;
    struct dj_admit_question question = whole_answer();
    question.has_refusal = true;
    dj_admit_decide(&question, &answer);
    assert_true(answer.is_admitted && answer.is_short_lived);
    question = whole_answer();
    question.is_volatile = true;
    dj_admit_decide(&question, &answer);
    assert_true(answer.is_admitted && answer.is_short_lived);
}

static void refusals_of_the_request_alone_may_be_kept(void **state)
{
    (void)state;
    static const int kept[] = {400, 404, 405, 410, 413, 414, 415, 422};
    size_t next = 0;
    for (int status = 0; status < 1000; status++) {
        bool is_kept = next < sizeof kept / sizeof *kept && kept[next] == status;
        assert_int_equal(dj_admit_is_negative(status), is_kept);
        next += is_kept;
    }
}

static void bound_of_confidence_and_several_answers_are_settings(void **state)
{
    (void)state;
    struct dj_admit_question question = whole_answer();
    question.has_confidence = true;
    question.confidence = 0.65;
    expect(question, "confidence");
    question.confidence_min = 0.6;
    expect(question, "admitted");
    question.choice_count = 3;
    expect(question, "several-choices");
    question.is_several_kept = true;
    expect(question, "admitted");
    assert_true(dj_admit_is_confident(DJ_ADMIT_CONFIDENCE_MIN, 0));
    assert_false(dj_admit_is_confident(0.69, 0));
    assert_false(dj_admit_is_confident((double)NAN, 0.1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bound_of_confidence_and_several_answers_are_settings),
        cmocka_unit_test(refusals_of_the_request_alone_may_be_kept),
        cmocka_unit_test(whole_answer_is_admitted_for_a_normal_life),
        cmocka_unit_test(forgotten_facts_admit_nothing),
        cmocka_unit_test(each_objection_keeps_an_answer_out),
        cmocka_unit_test(an_empty_result_is_a_payload_where_that_is_allowed),
        cmocka_unit_test(tool_calls_are_stored_when_the_operator_says_so),
        cmocka_unit_test(low_or_unreadable_confidence_is_refused),
        cmocka_unit_test(refusals_and_volatile_questions_live_shortly),
    };
    return RUN_TESTS(tests);
}
