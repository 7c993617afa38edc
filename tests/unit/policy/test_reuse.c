#include "policy/reuse.h"
#include "check.h"

#include <math.h>

#include "policy/guards.h"

#define NUMBERS (1u << DJ_GUARD_NUMBERS)
#define ENTITIES (1u << DJ_GUARD_ENTITIES)

static struct dj_reuse_decision decide(const struct dj_reuse_candidate *candidates, uint32_t count)
{
    struct dj_reuse_decision decision;
    dj_reuse_decide(candidates, count, 0.9, &decision);
    return decision;
}

static void best_candidate_that_passed_is_served(void **state)
{
    (void)state;
    static const struct dj_reuse_candidate candidates[] = {
        {0.91f, 0, true}, {0.99f, NUMBERS, true}, {0.95f, 0, true}, {0.5f, 0, true}};
    struct dj_reuse_decision decision = decide(candidates, 4);
    assert_int_equal(decision.index, 2);
    assert_true(decision.is_served);
    assert_string_equal(decision.reason, "served");
}

static void nothing_found_is_said_so(void **state)
{
    (void)state;
    struct dj_reuse_decision decision = decide(NULL, 0);
    assert_false(decision.is_served);
    assert_string_equal(decision.reason, "no-candidate");
}

static void similarity_below_the_cut_is_a_miss(void **state)
{
    (void)state;
    static const struct dj_reuse_candidate candidates[] = {{0.8999f, 0, true},
                                                           {0.2f, NUMBERS, true}};
    struct dj_reuse_decision decision = decide(candidates, 2);
    assert_false(decision.is_served);
    assert_string_equal(decision.reason, "below-threshold");
}

static void refusing_guard_of_the_nearest_is_named(void **state)
{
    (void)state;
    static const struct dj_reuse_candidate candidates[] = {
        {0.92f, NUMBERS, true}, {0.97f, ENTITIES | 1u << DJ_GUARD_CONTENT, true}};
    struct dj_reuse_decision decision = decide(candidates, 2);
    assert_false(decision.is_served);
    assert_string_equal(decision.reason, "guard:entities");
}

static void similarity_that_is_not_finite_is_never_served(void **state)
{
    (void)state;
    const struct dj_reuse_candidate candidates[] = {
        {NAN, 0, true}, {INFINITY, 0, true}, {-INFINITY, 0, true}};
    struct dj_reuse_decision decision = decide(candidates, 3);
    assert_false(decision.is_served);
    dj_reuse_decide(&(struct dj_reuse_candidate){0.99f, 0, true}, 1, (double)NAN, &decision);
    assert_false(decision.is_served);
}

static void unusable_candidate_is_neither_served_nor_spoken_of(void **state)
{
    (void)state;
    static const struct dj_reuse_candidate candidates[] = {{0.99f, 0, false}, {0.5f, 0, true}};
    struct dj_reuse_decision decision = decide(candidates, 2);
    assert_false(decision.is_served);
    assert_string_equal(decision.reason, "below-threshold");
    decision = decide(candidates, 1);
    assert_string_equal(decision.reason, "no-candidate");
}

static void caller_raises_the_cut_and_never_lowers_it(void **state)
{
    (void)state;
    double shipped = dj_reuse_shipped_threshold("transformer");
    assert_true(shipped >= DJ_REUSE_FLOOR_RESPONSE);
    assert_true(dj_reuse_threshold(shipped, DJ_REUSE_FLOOR_RESPONSE, 0) == shipped);
    assert_true(dj_reuse_threshold(shipped, DJ_REUSE_FLOOR_RESPONSE, 0.99) == 0.99);
    assert_true(dj_reuse_threshold(shipped, DJ_REUSE_FLOOR_RESPONSE, 0.1) == shipped);
    assert_true(dj_reuse_threshold(shipped, DJ_REUSE_FLOOR_RESPONSE, (double)NAN) == shipped);
    assert_true(dj_reuse_threshold(shipped, DJ_REUSE_FLOOR_API, 0.9) >= DJ_REUSE_FLOOR_API);
    assert_true(dj_reuse_threshold((double)NAN, (double)NAN, 0) == 1);
}

static void unknown_embedders_get_the_strictest_cut(void **state)
{
    (void)state;
    assert_true(dj_reuse_shipped_threshold("other") >= dj_reuse_shipped_threshold("lexical"));
    assert_true(dj_reuse_shipped_threshold(NULL) >= dj_reuse_shipped_threshold("transformer"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_candidate_that_passed_is_served),
        cmocka_unit_test(nothing_found_is_said_so),
        cmocka_unit_test(similarity_below_the_cut_is_a_miss),
        cmocka_unit_test(refusing_guard_of_the_nearest_is_named),
        cmocka_unit_test(similarity_that_is_not_finite_is_never_served),
        cmocka_unit_test(unusable_candidate_is_neither_served_nor_spoken_of),
        cmocka_unit_test(caller_raises_the_cut_and_never_lowers_it),
        cmocka_unit_test(unknown_embedders_get_the_strictest_cut),
    };
    return RUN_TESTS(tests);
}
