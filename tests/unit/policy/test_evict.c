#include "policy/evict.h"

#include "check.h"

enum { DAY = 86400000 };

static void score_halves_in_a_day_and_grows_with_hits(void **state)
{
    (void)state;
    struct dj_evict_facts facts = {.hits = 3, .last_ms = DAY};
    assert_float_equal(dj_evict_score(&facts, DAY), 4, 1e-9);
    assert_float_equal(dj_evict_score(&facts, 2 * (int64_t)DAY), 2, 1e-9);
    assert_float_equal(dj_evict_score(&facts, 0), 4, 1e-9); /* a clock that went back */
    facts.hits = UINT64_MAX;
    assert_true(dj_evict_score(&facts, DAY) > 1e19);
}

static void each_strategy_has_its_own_first(void **state)
{
    (void)state;
    const struct dj_evict_facts used = {.hits = 9, .last_ms = 1000, .gone_ms = 5000};
    const struct dj_evict_facts fresh = {.hits = 0, .last_ms = 2000, .gone_ms = 9000};
    const struct dj_evict_facts lasting = {.hits = 0, .last_ms = 3000, .gone_ms = 0};
    assert_true(dj_evict_goes_before(DJ_EVICT_LRU, &used, &fresh, 4000));
    assert_false(dj_evict_goes_before(DJ_EVICT_LRU, &fresh, &used, 4000));
    assert_true(dj_evict_goes_before(DJ_EVICT_LFU, &fresh, &used, 4000));
    assert_false(dj_evict_goes_before(DJ_EVICT_LFU, &used, &fresh, 4000));
    assert_true(dj_evict_goes_before(DJ_EVICT_TTL, &used, &fresh, 4000));
    assert_true(dj_evict_goes_before(DJ_EVICT_TTL, &fresh, &lasting, 4000));
    assert_false(dj_evict_goes_before(DJ_EVICT_TTL, &lasting, &fresh, 4000));
    assert_false(dj_evict_goes_before(DJ_EVICT_TTL, &lasting, &lasting, 4000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_halves_in_a_day_and_grows_with_hits),
        cmocka_unit_test(each_strategy_has_its_own_first),
    };
    return RUN_TESTS(tests);
}
