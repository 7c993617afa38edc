#include "policy/admit.h"
#include "check.h"

#include <math.h>

static const struct deja_slice stop = {"stop", 4};

static struct dj_admit_facts whole_answer(void)
{
    return (struct dj_admit_facts){
        .status = 200, .is_complete = true, .finish_reasons = &stop, .finish_reason_count = 1};
}

static void expect(struct dj_admit_facts facts, const char *reason)
{
    struct dj_admit_decision decision = dj_admit_decide(&facts);
    assert_string_equal(decision.reason, reason);
    assert_int_equal(decision.is_stored, strcmp(reason, "stored") == 0);
}

static void whole_answer_is_stored(void **state)
{
    (void)state;
    expect(whole_answer(), "stored");
    struct dj_admit_facts facts = whole_answer();
    assert_int_equal(dj_admit_decide(&facts).ttl_class, DJ_TTL_NORMAL);
}

static void forgotten_facts_admit_nothing(void **state)
{
    (void)state;
    expect((struct dj_admit_facts){0}, "status");
}

static void each_objection_keeps_an_answer_out(void **state)
{
    (void)state;
    struct dj_admit_facts facts = whole_answer();
    facts.is_no_store = true;
    expect(facts, "no-store");
    facts = whole_answer();
    facts.status = 201;
    expect(facts, "status");
    facts = whole_answer();
    facts.is_complete = false;
    expect(facts, "incomplete");
    facts = whole_answer();
    facts.is_moderated = true;
    expect(facts, "moderated");
    facts = whole_answer();
    facts.is_stateful = true;
    expect(facts, "stateful");
    facts = whole_answer();
    facts.has_hosted_tools = true;
    expect(facts, "hosted-tools");
    facts = whole_answer();
    facts.has_tool_calls = true;
    expect(facts, "tool-calls");
    facts = whole_answer();
    facts.choices_wanted = 2;
    expect(facts, "several-choices");
    facts = whole_answer();
    facts.is_content_empty = true;
    expect(facts, "empty");
    facts.is_empty_allowed = true;
    expect(facts, "stored");
}

static void only_known_whole_ends_are_admitted(void **state)
{
    (void)state;
    static const struct {
        const char *end;
        const char *reason;
    } cases[] = {{"stop", "stored"},
                 {"end_turn", "stored"},
                 {"stop_sequence", "stored"},
                 {"completed", "stored"},
                 {"length", "finish-reason"},
                 {"content_filter", "finish-reason"},
                 {"max_tokens", "finish-reason"},
                 {"something_new", "finish-reason"},
                 {"", "finish-reason"},
                 {"tool_calls", "tool-calls"},
                 {"tool_use", "tool-calls"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct deja_slice end = deja_slice_text(cases[i].end);
        struct dj_admit_facts facts = whole_answer();
        facts.finish_reasons = &end;
        expect(facts, cases[i].reason);
    }
    struct deja_slice ends[] = {deja_slice_text("stop"), deja_slice_text("length")};
    struct dj_admit_facts facts = whole_answer();
    facts.finish_reasons = ends;
    facts.finish_reason_count = 2;
    expect(facts, "finish-reason");
}

static void tool_calls_are_stored_when_the_operator_says_so(void **state)
{
    (void)state;
    struct deja_slice end = deja_slice_text("tool_calls");
    struct dj_admit_facts facts = whole_answer();
    facts.finish_reasons = &end;
    facts.has_tool_calls = true;
    facts.is_tool_calls_stored = true;
    expect(facts, "stored");
}

static void low_or_unreadable_confidence_is_refused(void **state)
{
    (void)state;
    static const struct {
        double confidence;
        const char *reason;
    } cases[] = {{0.7, "stored"}, {0.69, "confidence"}, {(double)NAN, "confidence"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_admit_facts facts = whole_answer();
        facts.has_confidence = true;
        facts.confidence = cases[i].confidence;
        expect(facts, cases[i].reason);
    }
}

static void refusals_and_volatile_questions_live_shortly(void **state)
{
    (void)state;
    struct dj_admit_facts facts = whole_answer();
    facts.is_refusal = true;
    assert_int_equal(dj_admit_decide(&facts).ttl_class, DJ_TTL_SHORT);
    facts = whole_answer();
    facts.is_volatile = true;
    assert_int_equal(dj_admit_decide(&facts).ttl_class, DJ_TTL_SHORT);
    expect(facts, "stored");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answer_is_stored),
        cmocka_unit_test(forgotten_facts_admit_nothing),
        cmocka_unit_test(each_objection_keeps_an_answer_out),
        cmocka_unit_test(only_known_whole_ends_are_admitted),
        cmocka_unit_test(tool_calls_are_stored_when_the_operator_says_so),
        cmocka_unit_test(low_or_unreadable_confidence_is_refused),
        cmocka_unit_test(refusals_and_volatile_questions_live_shortly),
    };
    return RUN_TESTS(tests);
}
