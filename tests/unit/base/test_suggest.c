#include "base/suggest.h"
#include "check.h"

static void distance_counts_slips(void **state)
{
    (void)state;
    assert_int_equal(dj_edit_distance("serve", "serve"), 0);
    assert_int_equal(dj_edit_distance("sevre", "serve"), 1); /* swapped neighbours */
    assert_int_equal(dj_edit_distance("serv", "serve"), 1);
    assert_int_equal(dj_edit_distance("", "abc"), 3);
    assert_int_equal(dj_edit_distance("kitten", "sitting"), 3);
}

static void nearest_name_is_suggested_and_noise_is_not(void **state)
{
    (void)state;
    struct dj_suggest near = dj_suggest("l1.max_szie");
    dj_suggest_offer(&near, "l1.max_bytes");
    dj_suggest_offer(&near, "l1.max_size");
    dj_suggest_offer(&near, "log.level");
    assert_string_equal(near.best, "l1.max_size");
    struct dj_suggest far = dj_suggest("xyzzy");
    dj_suggest_offer(&far, "serve");
    assert_null(far.best);
}

static void long_words_are_never_near(void **state)
{
    (void)state;
    char word[100];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    struct dj_suggest suggest = dj_suggest(word);
    dj_suggest_offer(&suggest, word);
    assert_null(suggest.best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_slips),
        cmocka_unit_test(nearest_name_is_suggested_and_noise_is_not),
        cmocka_unit_test(long_words_are_never_near),
    };
    return RUN_TESTS(tests);
}
