/* tests/unit/security/test_rules.c - rules are one block that outlives what it was made of. */
#include "check.h"

#include "security/rules.h"

static void rules_keep_copies_of_their_texts(void **state)
{
    (void)state;
    char url[] = "https://up.example";
    char model[] = "m-1";
    const struct dj_rules_values values = {.features = DJ_FEATURE_PROXY,
                                           .threshold = 0.9,
                                           .upstream_url = url,
                                           .model_count = 1,
                                           .models = {model}};
    struct dj_rules *rules = NULL;
    assert_int_equal(dj_rules_create(&values, &rules), DEJA_OK);
    memset(url, 'x', sizeof url - 1);
    memset(model, 'x', sizeof model - 1);
    const struct dj_rules_values *kept = dj_rules_of(rules);
    assert_string_equal(kept->upstream_url, "https://up.example");
    assert_string_equal(kept->models[0], "m-1");
    assert_null(kept->prices);
    assert_int_equal(kept->features, DJ_FEATURE_PROXY);
    dj_rules_unref(dj_rules_ref(rules));
    assert_string_equal(dj_rules_of(rules)->models[0], "m-1");
    dj_rules_unref(rules);
    dj_rules_unref(NULL);
}

static void rules_name_a_bounded_number_of_models(void **state)
{
    (void)state;
    const struct dj_rules_values values = {.model_count = DJ_RULES_MODELS_MAX + 1};
    struct dj_rules *rules = NULL;
    assert_int_equal(dj_rules_create(&values, &rules), DEJA_ERR_LIMIT);
    assert_null(rules);
}

static void rules_survive_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_rules_values values = {.features = DJ_FEATURES_ALL};
    for (size_t n = 1;; n++) {
        struct dj_rules *rules = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_rules_create(&values, &rules);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(rules == NULL, has_failed);
        dj_rules_unref(rules);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_keep_copies_of_their_texts),
        cmocka_unit_test(rules_name_a_bounded_number_of_models),
        cmocka_unit_test(rules_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
