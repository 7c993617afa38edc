/* tests/unit/security/test_lockout.c - scores that grow with failures and halve with time. */
#include "check.h"

#include "security/lockout.h"

#define NOW INT64_C(1800000000000)
#define HALF 1000

static struct dj_lockout *create(void)
{
    struct dj_lockout *lockout = NULL;
    assert_int_equal(dj_lockout_create(16, HALF, &lockout), DEJA_OK);
    return lockout;
}

static double score(struct dj_lockout *lockout, const char *name, int64_t now_ms)
{
    return dj_lockout_score(lockout, deja_slice_text(name), now_ms);
}

static void a_score_grows_and_halves(void **state)
{
    (void)state;
    struct dj_lockout *lockout = create();
    assert_true(score(lockout, "a", NOW) <= 0);
    for (int i = 0; i < 4; i++)
        dj_lockout_fail(lockout, deja_slice_text("a"), 10, NOW);
    assert_float_equal(score(lockout, "a", NOW), 4, 1e-9);
    assert_float_equal(score(lockout, "a", NOW + HALF), 2, 1e-9);
    assert_float_equal(score(lockout, "a", NOW + 2 * HALF), 1, 1e-9);
    assert_true(score(lockout, "a", NOW + 100 * HALF) <= 0);
    assert_true(score(lockout, "b", NOW) <= 0);
    assert_float_equal(score(lockout, "a", NOW - 5), 4, 1e-9); /* a clock that went back */
    dj_lockout_destroy(lockout);
}

static void a_lock_ends_a_half_life_after_the_last_failure(void **state)
{
    (void)state;
    struct dj_lockout *lockout = create();
    for (int i = 0; i < 1000; i++)
        dj_lockout_fail(lockout, deja_slice_text("a"), 10, NOW);
    double now = score(lockout, "a", NOW);
    assert_float_equal(now, 20, 1e-9);
    assert_in_range(dj_lockout_rest_ms(lockout, now, 10), HALF - 1, HALF + 1);
    assert_int_equal(dj_lockout_rest_ms(lockout, 9.9, 10), 0);
    dj_lockout_destroy(lockout);
}

static void strangers_displace_the_lowest(void **state)
{
    (void)state;
    struct dj_lockout *lockout = NULL;
    assert_int_equal(dj_lockout_create(4, HALF, &lockout), DEJA_OK);
    for (int i = 0; i < 20; i++)
        dj_lockout_fail(lockout, deja_slice_text("worst"), 10, NOW);
    for (char name[] = "a"; name[0] <= 'z'; name[0]++)
        dj_lockout_fail(lockout, deja_slice_text(name), 10, NOW);
    assert_float_equal(score(lockout, "worst", NOW), 20, 1e-9);
    assert_float_equal(score(lockout, "z", NOW), 1, 1e-9);
    assert_true(score(lockout, "a", NOW) <= 0);
    dj_lockout_destroy(lockout);
}

static void lockout_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_lockout *lockout = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_lockout_create(16, HALF, &lockout);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_lockout_destroy(lockout);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_score_grows_and_halves),
        cmocka_unit_test(a_lock_ends_a_half_life_after_the_last_failure),
        cmocka_unit_test(strangers_displace_the_lowest),
        cmocka_unit_test(lockout_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
