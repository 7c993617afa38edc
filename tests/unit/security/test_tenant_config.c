/* tests/unit/security/test_tenant_config.c - what one tenant says, checked and put together. */
#include "check.h"

#include "security/tenant_config.h"

static const char *const guards[] = {"numbers", "units", "negation"};
static const struct dj_tenant_config_names names = {.guards = guards, .guard_count = 3};

struct told {
    size_t count;
    char first[160];
    char message[320];
};

static void on_fault(void *ctx, const char *field, const char *rule, const char *message)
{
    struct told *told = ctx;
    assert_true(strlen(rule) > 0);
    if (told->count++ > 0)
        return;
    memcpy(told->first, field, strlen(field) + 1);
    memcpy(told->message, message, strlen(message) + 1);
}

static enum deja_status read_strictly(const char *text, struct told *told,
                                      struct dj_tenant_config **out_config)
{
    const struct dj_tenant_config_faults faults = {.ctx = told, .tell = on_fault};
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    *told = (struct told){.count = 0};
    enum deja_status status = dj_tenant_config_read(dj_json_root(doc), &names, &faults, out_config);
    dj_json_doc_destroy(doc);
    return status;
}

static void each_value_lands_where_it_belongs(void **state)
{
    (void)state;
    struct told told;
    struct dj_tenant_config *config = NULL;
    struct dj_rules_values values = {.features = DJ_FEATURES_ALL, .delta = 0.5};
    assert_int_equal(
        read_strictly(
            "{\"features\":{\"semantic\":false},\"ttl\":{\"response\":\"5m\",\"max\":60,"
            "\"large_text\":\"2h\"},"
            "\"semantic\":{\"threshold\":0.93},\"guards\":{\"units\":false},"
            "\"limits\":{\"requests_per_s\":2.5,\"burst\":7,\"bytes_per_s\":\"64kb\"},"
            "\"sensitive\":{\"card\":\"refuse\"},\"audit\":\"writes\","
            "\"log\":{\"content\":\"full\"},\"models\":[\"m-1\",\"gpt-*\"],"
            "\"upstream\":{\"url\":\"https://up.example\",\"respect_cache_control\":true},"
            "\"prices\":{\"m-1\":{\"input\":1.5,\"output\":6}}}",
            &told, &config),
        DEJA_OK);
    dj_tenant_config_apply(config, &values);
    assert_int_equal(values.features, DJ_FEATURES_ALL - DJ_FEATURE_SEMANTIC);
    assert_int_equal(values.response_ttl_ms, 300000);
    assert_int_equal(values.ttl_max_ms, 60000);
    assert_int_equal(values.size_ttl_ms[1], 0);
    assert_int_equal(values.size_ttl_ms[2], 7200000);
    assert_int_equal(values.api_ttl_ms, 0);
    assert_float_equal(values.threshold, 0.93, 1e-9);
    assert_float_equal(values.delta, 0.5, 1e-9);
    assert_int_equal(values.guards_off, 2);
    assert_float_equal(values.limits.requests_per_s, 2.5, 1e-9);
    assert_int_equal(values.limits.burst, 7);
    assert_int_equal(values.limits.bytes_per_s, 65536);
    assert_int_equal(values.sensitive[DJ_SENSITIVE_CARD], DJ_SENSITIVE_REFUSE);
    assert_int_equal(values.audit, DJ_AUDIT_WRITES);
    assert_int_equal(values.content_log, DJ_CONTENT_FULL);
    assert_string_equal(values.upstream_url, "https://up.example");
    assert_true(values.is_upstream_obeyed);
    assert_string_equal(values.prices, "{\"m-1\":{\"input\":1.5,\"output\":6}}");
    assert_true(dj_rules_allow_model(&values, deja_slice_text("m-1")));
    assert_true(dj_rules_allow_model(&values, deja_slice_text("gpt-4o")));
    assert_false(dj_rules_allow_model(&values, deja_slice_text("m-12")));
    assert_false(dj_rules_allow_model(&values, deja_slice_text("gpt")));
    dj_tenant_config_destroy(config);
}

static void what_is_wrong_is_told_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *field;
        const char *part;
    } cases[] = {
        {"{\"limit\":{}}", "limit", "did you mean limits?"},
        {"{\"limits\":{\"burts\":1}}", "limits.burts", "did you mean burst?"},
        {"{\"guards\":{\"unit\":true}}", "guards.unit", "did you mean units?"},
        {"{\"features\":{\"semantik\":true}}", "features.semantik", "did you mean semantic?"},
        {"{\"limits\":{\"burst\":-1}}", "limits.burst", "from 0"},
        {"{\"limits\":{\"burst\":1.5}}", "limits.burst", "whole number"},
        {"{\"limits\":3}", "limits", "object"},
        {"{\"ttl\":{\"response\":\"soon\"}}", "ttl.response", "5m"},
        {"{\"ttl\":{\"response\":0}}", "ttl.response", "time"},
        {"{\"semantic\":{\"threshold\":1.2}}", "semantic.threshold", "from 0.01 to 1"},
        {"{\"semantic\":{\"threshold\":\"x\"}}", "semantic.threshold", "number"},
        {"{\"sensitive\":{\"card\":\"hide\"}}", "sensitive.card", "allow, encrypt, redact or"},
        {"{\"audit\":true}", "audit", "off, writes or all"},
        {"{\"features\":{\"proxy\":1}}", "features.proxy", "true or false"},
        {"{\"models\":\"m\"}", "models", "list"},
        {"{\"models\":[\"a*b\"]}", "models", "gpt-4o*"},
        {"{\"upstream\":{\"url\":\"http://up\"}}", "upstream.url", "https"},
        {"{\"upstream\":{\"url\":\"https://127.0.0.1\"}}", "upstream.url", "this machine"},
        {"{\"upstream\":{\"url\":\"https://169.254.169.254/\"}}", "upstream.url", "metadata"},
        {"{\"upstream\":{\"url\":\"https://a@up.example\"}}", "upstream.url", "user name"},
        {"{\"upstream\":{\"respect_cache_control\":1}}", "upstream.respect_cache_control", "true"},
        {"{\"upstream\":{\"uri\":\"https://up\"}}", "upstream.uri", "did you mean url?"},
        {"{\"prices\":{\"m\":3}}", "prices.m", "million tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct told told;
        struct dj_tenant_config *config = NULL;
        assert_int_equal(read_strictly(cases[i].text, &told, &config), DEJA_ERR_INVALID);
        assert_null(config);
        assert_string_equal(told.first, cases[i].field);
        assert_non_null(strstr(told.message, cases[i].part));
    }
}

static struct dj_tenant_config *read_kept(const char *text)
{
    struct dj_json_doc *doc = NULL;
    struct dj_tenant_config *config = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_tenant_config_read(dj_json_root(doc), &names, NULL, &config), DEJA_OK);
    dj_json_doc_destroy(doc);
    return config;
}

static void what_is_kept_may_be_of_a_later_version_but_not_wrong(void **state)
{
    (void)state;
    struct dj_tenant_config *later = read_kept("{\"later\":1,\"audit\":\"all\"}");
    struct dj_tenant_config *wrong = read_kept("{\"models\":[3]}");
    assert_false(dj_tenant_config_is_broken(later));
    assert_true(dj_tenant_config_is_broken(wrong));
    dj_tenant_config_destroy(later);
    dj_tenant_config_destroy(wrong);
}

static void a_patch_changes_and_removes_members(void **state)
{
    (void)state;
    struct dj_json_doc *target = NULL;
    struct dj_json_doc *patch = NULL;
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    assert_int_equal(
        dj_json_parse(deja_slice_text("{\"a\":{\"b\":1,\"c\":2},\"d\":3}"), &target, NULL),
        DEJA_OK);
    assert_int_equal(dj_json_parse(deja_slice_text("{\"a\":{\"b\":null,\"e\":5},\"d\":null,"
                                                   "\"f\":{\"g\":null,\"h\":1}}"),
                                   &patch, NULL),
                     DEJA_OK);
    dj_json_merge(&w, dj_json_root(target), dj_json_root(patch));
    dj_buf_append_byte(&text, '\0');
    assert_string_equal(text.data, "{\"a\":{\"c\":2,\"e\":5},\"f\":{\"h\":1}}");
    dj_buf_fini(&text);
    dj_json_doc_destroy(target);
    dj_json_doc_destroy(patch);
}

static void what_is_shown_can_be_read_again(void **state)
{
    (void)state;
    struct told told;
    struct dj_tenant_config *config = NULL;
    struct dj_rules_values values = {
        .features = DJ_FEATURE_API, .threshold = 0.9, .model_count = 1, .models = {"m"}};
    struct dj_rules_values again = {.features = DJ_FEATURES_ALL};
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    dj_tenant_config_put(&w, &names, &values);
    dj_json_end_object(&w);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(read_strictly(text.data, &told, &config), DEJA_OK);
    dj_tenant_config_apply(config, &again);
    assert_int_equal(again.features, DJ_FEATURE_API);
    assert_float_equal(again.threshold, 0.9, 1e-9);
    assert_int_equal(again.model_count, 1);
    dj_tenant_config_destroy(config);
    dj_buf_fini(&text);
}

static void reading_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    assert_int_equal(
        dj_json_parse(deja_slice_text("{\"models\":[\"a\",\"b\"],\"prices\":{\"m\":{}},"
                                      "\"upstream\":{\"url\":\"https://u.example\"}}"),
                      &doc, NULL),
        DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_tenant_config *config = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_tenant_config_read(dj_json_root(doc), &names, NULL, &config);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_tenant_config_destroy(config);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_lands_where_it_belongs),
        cmocka_unit_test(what_is_wrong_is_told_by_name),
        cmocka_unit_test(what_is_kept_may_be_of_a_later_version_but_not_wrong),
        cmocka_unit_test(a_patch_changes_and_removes_members),
        cmocka_unit_test(what_is_shown_can_be_read_again),
        cmocka_unit_test(reading_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
