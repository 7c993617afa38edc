/* tests/unit/proxy/test_refreshes.c - one at a time per key, few in all, a rest after a failure. */
#include "check.h"

#include "proxy/refreshes.h"

static struct dj_store_key key_of(uint8_t number)
{
    struct dj_store_key key = {.tenant = "tenant", .id = {0}};
    key.id[4] = number; /* of the half that chooses the place */
    key.id[1] = number;
    return key;
}

static void key_is_made_anew_once_at_a_time(void **state)
{
    (void)state;
    static struct dj_refreshes refreshes;
    const struct dj_store_key key = key_of(1);
    uint32_t place = 0;
    uint32_t unused = 0;
    assert_true(dj_refreshes_begin(&refreshes, &key, 9, 100, &place));
    assert_false(dj_refreshes_begin(&refreshes, &key, 9, 100, &unused));
    dj_refreshes_end(&refreshes, place, 0, 100);
    assert_true(dj_refreshes_begin(&refreshes, &key, 9, 100, &place));
}

static void key_rests_after_a_failure_and_others_do_not(void **state)
{
    (void)state;
    static struct dj_refreshes refreshes;
    const struct dj_store_key key = key_of(1);
    const struct dj_store_key other = key_of(2);
    uint32_t place = 0;
    assert_true(dj_refreshes_begin(&refreshes, &key, 9, 100, &place));
    dj_refreshes_end(&refreshes, place, DJ_REFRESH_REST_MS, 100);
    assert_false(dj_refreshes_begin(&refreshes, &key, 9, 100 + DJ_REFRESH_REST_MS - 1, &place));
    assert_true(dj_refreshes_begin(&refreshes, &other, 9, 100, &place));
    assert_true(dj_refreshes_begin(&refreshes, &key, 9, 100 + DJ_REFRESH_REST_MS, &place));
}

static void no_more_run_than_are_allowed(void **state)
{
    (void)state;
    static struct dj_refreshes refreshes;
    uint32_t places[3];
    uint32_t unused = 0;
    for (uint8_t i = 0; i < 3; i++) {
        const struct dj_store_key key = key_of((uint8_t)(i + 1));
        assert_true(dj_refreshes_begin(&refreshes, &key, 3, 0, &places[i]));
    }
    const struct dj_store_key more = key_of(9);
    assert_false(dj_refreshes_begin(&refreshes, &more, 3, 0, &unused));
    dj_refreshes_end(&refreshes, places[0], 0, 0);
    assert_true(dj_refreshes_begin(&refreshes, &more, 3, 0, &unused));
    assert_false(dj_refreshes_begin(&refreshes, &more, 0, 0, &unused));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_is_made_anew_once_at_a_time),
        cmocka_unit_test(key_rests_after_a_failure_and_others_do_not),
        cmocka_unit_test(no_more_run_than_are_allowed),
    };
    return RUN_TESTS(tests);
}
