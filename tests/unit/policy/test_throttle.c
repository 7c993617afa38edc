#include "policy/throttle.h"
#include "check.h"

#include <math.h>

static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void chance_is_that_of_the_formula(void **state)
{
    (void)state;
    assert_true(fabs(dj_throttle_chance(1000, 400, 2) - 0.199800) < 5e-7);
    assert_true(dj_throttle_chance(1000, 500, 2) <= 0);
    assert_true(dj_throttle_chance(0, 0, 2) <= 0);
    assert_true(dj_throttle_chance(1000, 0, 2) < 1 && dj_throttle_chance(1000, 0, 2) > 0.998);
    assert_true(dj_throttle_chance(100, 200, 2) <= 0);
    assert_true(dj_throttle_chance(100, 0, (double)NAN) <= 0);
}

static void a_healthy_dependency_is_never_held_back(void **state)
{
    (void)state;
    struct dj_throttle throttle = {.slices = {{0}}};
    for (uint64_t now_ms = 0; now_ms < 600000; now_ms += 10) {
        assert_true(dj_throttle_admit(&throttle, &dj_throttle_options_default, now_ms, 0));
        dj_throttle_accepted(&throttle, &dj_throttle_options_default, now_ms);
    }
}

/* The dependency accepts 10 a second, 100 a second are wanted: what is sent settles at about K
 * times what is accepted, and all of it goes again once everything is accepted. */
static void overload_is_held_to_twice_what_is_accepted_and_ends_with_it(void **state)
{
    (void)state;
    struct dj_throttle throttle = {.slices = {{0}}};
    uint64_t random = 3;
    uint64_t sent = 0;
    uint64_t accepted = 0;
    for (uint64_t now_ms = 0; now_ms < 900000; now_ms += 10) {
        bool is_sick = now_ms < 600000;
        if (now_ms == 300000)
            sent = accepted = 0; /* it has settled */
        if (now_ms == 600000) {
            assert_true(sent < 3 * accepted);
            assert_true(accepted >= 2900);
        }
        if (now_ms == 780000)
            sent = accepted = 0; /* the window has passed */
        if (!dj_throttle_admit(&throttle, &dj_throttle_options_default, now_ms, draw(&random)))
            continue;
        sent++;
        bool is_taken = !is_sick || accepted * 100 <= (now_ms % 300000);
        if (is_taken) {
            accepted++;
            dj_throttle_accepted(&throttle, &dj_throttle_options_default, now_ms);
        }
    }
    assert_int_equal(sent, 12000);
}

static void a_few_refusals_hold_nothing_back(void **state)
{
    (void)state;
    struct dj_throttle throttle = {.slices = {{0}}};
    for (size_t i = 0; i < 10; i++)
        assert_true(dj_throttle_admit(&throttle, &dj_throttle_options_default, 5000, 0));
    assert_false(dj_throttle_admit(&throttle, &dj_throttle_options_default, 5000, 0));
}

static void what_was_asked_two_minutes_ago_is_forgotten(void **state)
{
    (void)state;
    struct dj_throttle throttle = {.slices = {{0}}};
    for (size_t i = 0; i < 1000; i++)
        dj_throttle_admit(&throttle, &dj_throttle_options_default, 5000, UINT64_MAX);
    assert_false(dj_throttle_admit(&throttle, &dj_throttle_options_default, 119999, 0));
    assert_true(dj_throttle_admit(&throttle, &dj_throttle_options_default, 240000, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chance_is_that_of_the_formula),
        cmocka_unit_test(a_healthy_dependency_is_never_held_back),
        cmocka_unit_test(overload_is_held_to_twice_what_is_accepted_and_ends_with_it),
        cmocka_unit_test(a_few_refusals_hold_nothing_back),
        cmocka_unit_test(what_was_asked_two_minutes_ago_is_forgotten),
    };
    return RUN_TESTS(tests);
}
