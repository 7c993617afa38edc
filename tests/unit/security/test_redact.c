/* tests/unit/security/test_redact.c - what was found is gone, all else stays, JSON stays JSON. */
#include "check.h"

#include "security/redact.h"

static int make_detector(void **state)
{
    struct dj_detector *detector = NULL;
    assert_int_equal(dj_detector_create(NULL, 0, &detector, NULL), DEJA_OK);
    *state = detector;
    return 0;
}

static int end_detector(void **state)
{
    dj_detector_destroy(*state);
    return 0;
}

static void assert_text(const struct dj_buf *buf, const char *expected)
{
    assert_int_equal(buf->status, DEJA_OK);
    char text[2048];
    assert_true(buf->len < sizeof text);
    memcpy(text, buf->data, buf->len);
    text[buf->len] = '\0';
    assert_string_equal(text, expected);
}

static void sensitive_names_are_known_in_any_case(void **state)
{
    (void)state;
    static const char *const sensitive[] = {
        "api_key",      "API-Key",       "x-api-key",     "apikey",
        "userPassword", "PASSWD",        "db.pwd",        "client_secret",
        "access_token", "private-key",   "SSN",           "social-security-number",
        "Credit-Card",  "card_number_2", "Authorization", "set-cookie"};
    static const char *const harmless[] = {"tenant", "req_id", "reason", "key", "card", "number",
                                           "path",   "pass",   "api",    "tok", ""};
    for (size_t i = 0; i < sizeof sensitive / sizeof *sensitive; i++)
        assert_true(dj_redact_is_name(deja_slice_text(sensitive[i])));
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        assert_false(dj_redact_is_name(deja_slice_text(harmless[i])));
}

static void log_values_lose_what_stands_after_sensitive_names(void **state)
{
    static const char *const cases[][2] = {
        {"api_key=abc&x=1", "api_key=[REDACTED]&x=1"},
        {"X-Api-Key: abc", "X-Api-Key: [REDACTED]"},
        {"{\"token\":\"a b c\",\"n\":1}", "{\"token\":\"[REDACTED]\",\"n\":1}"},
        {"Password = open sesame", "Password = [REDACTED] sesame"},
        {"Authorization: Bearer a b", "Authorization: [REDACTED]"},
        {"Cookie: s=1; t=2", "Cookie: [REDACTED]"},
        {"credit-card: 1234 and ssn=12", "credit-card: [REDACTED] and ssn=[REDACTED]"},
        {"card 4111 1111 1111 1111!", "card [REDACTED]!"},
        {"mail a@example.com", "mail [REDACTED]"},
        {"postgres://u:hunter2@db/x", "postgres://u:[REDACTED]@db/x"},
        {"password=[REDACTED]", "password=[REDACTED]"},
        {"the upstream could not be reached", "the upstream could not be reached"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_buf out = {0};
        dj_redact_log(*state, "detail", deja_slice_text(cases[i][0]), &out);
        if (cases[i][1][0])
            assert_text(&out, cases[i][1]);
        else
            assert_int_equal(out.len, 0);
        dj_buf_fini(&out);
    }
}

static void log_field_of_a_sensitive_name_is_not_shown(void **state)
{
    struct dj_buf out = {0};
    dj_redact_log(*state, "apiKey", deja_slice_text("x"), &out);
    assert_text(&out, DJ_REDACTED);
    dj_buf_fini(&out);
}

static void overlapping_finds_are_one(void **state)
{
    struct dj_buf out = {0};
    dj_redact_log(*state, "detail",
                  deja_slice_text("password=4111-1111-1111-1111, pwd=\"4111 1111 1111 1111\" ok"),
                  &out);
    assert_text(&out, "password=[REDACTED], pwd=\"[REDACTED]\" ok");
    dj_buf_fini(&out);
}

static void redact_json(const struct dj_detector *detector, const char *json, const char *expected)
{
    struct dj_json_doc *doc = NULL;
    struct dj_json_doc *again = NULL;
    struct dj_findings findings = {0};
    struct dj_findings looked = {0};
    struct dj_buf out = {0};
    unsigned classes = DJ_SENSITIVE_ALL & ~DJ_SENSITIVE_BIT(DJ_SENSITIVE_CONTACT);
    assert_int_equal(dj_json_parse(deja_slice_text(json), &doc, NULL), DEJA_OK);
    assert_int_equal(dj_redact_json(detector, classes, dj_json_root(doc), &findings, &out),
                     DEJA_OK);
    assert_text(&out, expected);
    assert_int_equal(dj_json_parse(dj_buf_slice(&out), &again, NULL), DEJA_OK);
    assert_int_equal(dj_redact_json(detector, classes, dj_json_root(doc), &looked, NULL), DEJA_OK);
    assert_int_equal(looked.classes, findings.classes);
    assert_int_equal(findings.classes != 0, strcmp(json, expected) != 0);
    dj_findings_fini(&findings);
    dj_findings_fini(&looked);
    dj_json_doc_destroy(doc);
    dj_json_doc_destroy(again);
    dj_buf_fini(&out);
}

static void json_stays_json(void **state)
{
    redact_json(*state, "{\"password\":\"letmein\",\"n\":[1,2.50,true,null]}",
                "{\"password\":\"[REDACTED]\",\"n\":[1,2.50,true,null]}");
    redact_json(*state, "{\"n\":4111111111111111}", "{\"n\":\"[REDACTED]\"}");
    redact_json(*state, "{\"ssn\":536221234}", "{\"ssn\":\"[REDACTED]\"}");
    redact_json(*state, "[\"say \\\"password=hunter2\\\" twice\\n\"]",
                "[\"say \\\"password=[REDACTED]\\\" twice\\n\"]");
    redact_json(*state, "{\"a 4111111111111111\":1,\"b 4111111111111111\":2}",
                "{\"[REDACTED]\":1,\"[REDACTED] 2\":2}");
    redact_json(*state, "\"4111 1111 1111 1111\"", "\"[REDACTED]\"");
    redact_json(*state, "{\"passwords\":[\"x\"],\"usage\":{\"prompt_tokens\":123456789}}",
                "{\"passwords\":[\"x\"],\"usage\":{\"prompt_tokens\":123456789}}");
    redact_json(*state, "{\"logprobs\":{\"content\":[{\"token\":\"Hello\",\"logprob\":-0.1}]}}",
                "{\"logprobs\":{\"content\":[{\"token\":\"Hello\",\"logprob\":-0.1}]}}");
}

static void arguments_of_tools_are_looked_into(void **state)
{
    redact_json(*state,
                "{\"arguments\":\"{\\\"user\\\": \\\"a\\\", \\\"password\\\": \\\"letmein\\\"}\"}",
                "{\"arguments\":\"{\\\"user\\\":\\\"a\\\",\\\"password\\\":\\\"[REDACTED]\\\"}\"}");
    redact_json(*state, "{\"arguments\":\"{\\\"n\\\": 4111111111111111}\"}",
                "{\"arguments\":\"{\\\"n\\\":\\\"[REDACTED]\\\"}\"}");
    redact_json(*state, "{\"arguments\":\"{ \\\"n\\\" : 1 }\",\"pwd\":\"hunter2\"}",
                "{\"arguments\":\"{ \\\"n\\\" : 1 }\",\"pwd\":\"[REDACTED]\"}");
    redact_json(*state, "[\"{broken password=hunter2\"]", "[\"{broken password=[REDACTED]\"]");
}

static void redaction_survives_each_failed_allocation(void **state)
{
    struct dj_json_doc *doc = NULL;
    static const char json[] =
        "{\"a\":\"{\\\"password\\\":\\\"hunter2\\\"}\",\"b 4111111111111111\":\"pwd=hunter2\"}";
    assert_int_equal(dj_json_parse(deja_slice_text(json), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_findings findings = {0};
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_redact_json(*state, DJ_SENSITIVE_ALL, dj_json_root(doc), &findings, &out);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_findings_fini(&findings);
        dj_buf_fini(&out);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

/* Half a secret must not be shown because the other half found no memory. */
static void log_value_is_hidden_when_memory_runs_out(void **state)
{
    for (size_t n = 1;; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        dj_redact_log(*state, "detail", deja_slice_text("a password=hunter2 z"), &out);
        bool has_failed = failing_malloc_disarm();
        assert_true(out.status != DEJA_OK || out.len);
        for (size_t i = 0; i + 7 <= out.len; i++)
            assert_memory_not_equal(out.data + i, "hunter2", 7);
        dj_buf_fini(&out);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sensitive_names_are_known_in_any_case),
        cmocka_unit_test(log_values_lose_what_stands_after_sensitive_names),
        cmocka_unit_test(log_field_of_a_sensitive_name_is_not_shown),
        cmocka_unit_test(overlapping_finds_are_one),
        cmocka_unit_test(json_stays_json),
        cmocka_unit_test(arguments_of_tools_are_looked_into),
        cmocka_unit_test(redaction_survives_each_failed_allocation),
        cmocka_unit_test(log_value_is_hidden_when_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make_detector, end_detector);
}
