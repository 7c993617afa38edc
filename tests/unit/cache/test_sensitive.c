/* tests/unit/cache/test_sensitive.c - rules decide what becomes of an entry; nothing slips through
 * because memory ran out.
 */
#include "check.h"

#include "cache/sensitive.h"

#define SECRET "password=hunter2"
#define CARD "4111 1111 1111 1111"

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

static struct dj_rules_values rules_with(enum dj_sensitive_policy secret,
                                         enum dj_sensitive_policy card)
{
    return (struct dj_rules_values){
        .sensitive = {[DJ_SENSITIVE_SECRET] = secret, [DJ_SENSITIVE_CARD] = card}};
}

static struct dj_entry entry_with(const char *query, const char *body)
{
    return (struct dj_entry){.kind = DJ_ENTRY_CHAT,
                             .scope = {1},
                             .query = deja_slice_text(query),
                             .provider = deja_slice_text("https://u:hunter2@up.example"),
                             .body = deja_slice_text(body)};
}

static struct dj_sensitive_verdict judge(const struct dj_detector *detector,
                                         const struct dj_rules_values *rules,
                                         const struct dj_entry *entry)
{
    struct dj_sensitive_verdict verdict;
    dj_sensitive_judge(detector, rules, entry, NULL, &verdict);
    return verdict;
}

static void allowed_entry_is_not_even_looked_at(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_ALLOW, DJ_SENSITIVE_ALLOW);
    const struct dj_entry entry = entry_with(SECRET, "{\"a\":\"" SECRET "\"}");
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    assert_int_equal(verdict.classes, 0);
    assert_null(verdict.reason);
    const struct dj_rules_values strict = rules_with(DJ_SENSITIVE_REFUSE, DJ_SENSITIVE_REFUSE);
    dj_sensitive_judge(NULL, &strict, &entry, NULL, &verdict);
    assert_false(verdict.is_refused);
}

static void strictest_rule_of_what_was_found_holds(void **state)
{
    static const struct {
        enum dj_sensitive_policy secret, card;
        bool is_refused, is_redacted, is_sealed_only;
        const char *reason;
    } cases[] = {
        {DJ_SENSITIVE_ENCRYPT, DJ_SENSITIVE_ALLOW, false, false, true, "sensitive-secret"},
        {DJ_SENSITIVE_ENCRYPT, DJ_SENSITIVE_REDACT, false, true, true, "sensitive-secret"},
        {DJ_SENSITIVE_REDACT, DJ_SENSITIVE_ALLOW, false, true, false, "sensitive-secret"},
        {DJ_SENSITIVE_ENCRYPT, DJ_SENSITIVE_REFUSE, true, false, true, "sensitive-card"},
        {DJ_SENSITIVE_ALLOW, DJ_SENSITIVE_REFUSE, true, false, false, "sensitive-card"},
    };
    const struct dj_entry entry = entry_with(CARD, "{\"a\":\"" SECRET "\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dj_rules_values rules = rules_with(cases[i].secret, cases[i].card);
        struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
        assert_int_equal(verdict.is_refused, cases[i].is_refused);
        assert_int_equal(verdict.is_redacted, cases[i].is_redacted);
        assert_int_equal(verdict.is_sealed_only, cases[i].is_sealed_only);
        assert_string_equal(verdict.reason, cases[i].reason);
        dj_sensitive_fini(&verdict);
    }
}

static void redacted_copy_takes_the_places_of_the_texts(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_REDACT, DJ_SENSITIVE_ALLOW);
    struct dj_entry entry = entry_with("is " SECRET " good", "{\"a\":[\"" SECRET "\",1.50]}");
    entry.metadata = deja_slice_text("{\"status\":404}");
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    struct dj_put_options options = {.is_semantic = true};
    assert_false(dj_sensitive_is_redacted(&entry));
    dj_sensitive_apply(&verdict, 0, &entry, &options);
    assert_true(dj_sensitive_is_redacted(&entry));
    assert_true(deja_slice_is_equal(entry.query, deja_slice_text("is password=[REDACTED] good")));
    assert_true(
        deja_slice_is_equal(entry.body, deja_slice_text("{\"a\":[\"password=[REDACTED]\",1.50]}")));
    assert_true(
        deja_slice_is_equal(entry.metadata, deja_slice_text("{\"redacted\":true,\"status\":404}")));
    assert_false(options.is_semantic);
    assert_int_equal(entry.scope[0], 0);
    assert_int_equal(options.skip, 0);
    dj_sensitive_fini(&verdict);
}

/* Only what was asked tells what the vector is of. */
static void entry_redacted_in_its_answer_is_found_by_meaning(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_REDACT, DJ_SENSITIVE_ALLOW);
    struct dj_entry entry = entry_with("what is it", "{\"a\":\"" SECRET "\"}");
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    struct dj_put_options options = {.is_semantic = true};
    dj_sensitive_apply(&verdict, 0, &entry, &options);
    assert_true(options.is_semantic);
    assert_int_equal(entry.scope[0], 1);
    dj_sensitive_fini(&verdict);
}

static void sealed_only_entry_skips_tiers_that_do_not_seal(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_ENCRYPT, DJ_SENSITIVE_ALLOW);
    struct dj_entry entry = entry_with(SECRET, "{}");
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    struct dj_put_options options = {.is_semantic = true};
    dj_sensitive_apply(&verdict, DJ_LEVEL_BIT(DJ_LEVEL_LMDB), &entry, &options);
    assert_true(options.is_semantic);
    assert_false(options.skip & DJ_LEVEL_BIT(DJ_LEVEL_MEMORY));
    assert_false(options.skip & DJ_LEVEL_BIT(DJ_LEVEL_LMDB));
    assert_true(options.skip & DJ_LEVEL_BIT(DJ_LEVEL_REDIS));
    assert_true(deja_slice_is_equal(entry.query, deja_slice_text(SECRET)));
    dj_sensitive_fini(&verdict);
}

static void names_that_entries_are_looked_up_by_are_not_redacted(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_REDACT, DJ_SENSITIVE_ALLOW);
    struct dj_entry entry = entry_with("q", "{}");
    entry.tag_count = 1;
    entry.tags[0].name = deja_slice_text(SECRET);
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    assert_true(verdict.is_refused);
    dj_sensitive_fini(&verdict);
}

static void vector_is_kept_only_where_its_text_could_be(void **state)
{
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text("\"" SECRET "\""), &doc, NULL), DEJA_OK);
    static const bool is_refused[] = {false, false, true, true};
    for (int policy = DJ_SENSITIVE_ALLOW; policy <= DJ_SENSITIVE_REFUSE; policy++) {
        const struct dj_rules_values rules =
            rules_with((enum dj_sensitive_policy)policy, DJ_SENSITIVE_ALLOW);
        struct dj_sensitive_verdict verdict = {0};
        dj_sensitive_judge_source(*state, &rules, dj_json_root(doc), &verdict);
        assert_int_equal(verdict.is_refused, is_refused[policy]);
        assert_int_equal(verdict.classes != 0, policy != DJ_SENSITIVE_ALLOW);
    }
    dj_json_doc_destroy(doc);
}

/* A limit that was reached counts as found. */
static void what_could_not_be_looked_at_is_refused(void **state)
{
    (void)state;
    static const struct dj_detector_pattern hostile[] = {{"own", "(a+)+$", DJ_SENSITIVE_CARD}};
    static const struct {
        enum dj_sensitive_policy policy;
        bool is_refused;
    } cases[] = {
        {DJ_SENSITIVE_ENCRYPT, false}, {DJ_SENSITIVE_REDACT, true}, {DJ_SENSITIVE_REFUSE, true}};
    struct dj_detector *detector = NULL;
    char text[3000];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '!';
    assert_int_equal(dj_detector_create(hostile, 1, &detector, NULL), DEJA_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_ALLOW, cases[i].policy);
        struct dj_entry entry = entry_with("q", "{}");
        entry.query = deja_slice(text, sizeof text);
        struct dj_sensitive_verdict verdict = judge(detector, &rules, &entry);
        assert_int_equal(verdict.is_refused, cases[i].is_refused);
        assert_true(verdict.is_sealed_only);
        assert_string_equal(verdict.reason, "sensitive-limit");
        dj_sensitive_fini(&verdict);
    }
    dj_detector_destroy(detector);
}

static void verdict_survives_each_failed_allocation(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_REDACT, DJ_SENSITIVE_REFUSE);
    const struct dj_entry entry =
        entry_with("is " SECRET " good", "{\"a\":\"{\\\"pwd\\\":\\\"hunter2\\\"}\"}");
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(verdict.is_refused, has_failed);
        assert_int_equal(verdict.is_redacted, !has_failed);
        if (has_failed)
            assert_string_equal(verdict.reason, "sensitive-memory");
        dj_sensitive_fini(&verdict);
        if (!has_failed)
            break;
    }
}

static void metadata_of_a_plain_value_says_what_became_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *after;
    } cases[] = {
        {"", "{\"redacted\":true,\"sealed_only\":true}"},
        {"{}", "{\"redacted\":true,\"sealed_only\":true}"},
        {"{\"a\":1}", "{\"redacted\":true,\"a\":1,\"sealed_only\":true}"},
    };
    struct dj_arena arena = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct deja_slice metadata = deja_slice_text(cases[i].before);
        for (int twice = 0; twice < 2; twice++)
            assert_int_equal(dj_sensitive_mark(&arena, true, true, &metadata), DEJA_OK);
        assert_int_equal(metadata.len, strlen(cases[i].after));
        assert_memory_equal(metadata.data, cases[i].after, metadata.len);
    }
    struct deja_slice metadata = deja_slice_text("any bytes");
    assert_int_equal(dj_sensitive_mark(&arena, true, false, &metadata), DEJA_OK);
    assert_int_equal(dj_sensitive_mark(&arena, false, true, &metadata), DEJA_ERR_DENIED);
    assert_int_equal(metadata.len, 9);
    dj_arena_fini(&arena);
}

static void metadata_that_is_no_object_is_redacted_as_the_bytes_it_is(void **state)
{
    const struct dj_rules_values rules = rules_with(DJ_SENSITIVE_REDACT, DJ_SENSITIVE_ALLOW);
    struct dj_put_options options = {.skip = 0};
    struct dj_entry entry = entry_with("a question", "an answer: " SECRET);
    entry.kind = DJ_ENTRY_BYTES;
    entry.metadata = deja_slice_text("seen: " SECRET);
    struct dj_sensitive_verdict verdict = judge(*state, &rules, &entry);
    assert_true(verdict.is_redacted);
    dj_sensitive_apply(&verdict, 0, &entry, &options);
    assert_int_equal(entry.metadata.len, strlen("seen: password=[REDACTED]"));
    assert_memory_equal(entry.metadata.data, "seen: password=[REDACTED]", entry.metadata.len);
    assert_int_equal(entry.body.len, strlen("an answer: password=[REDACTED]"));
    dj_sensitive_fini(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_entry_is_not_even_looked_at),
        cmocka_unit_test(strictest_rule_of_what_was_found_holds),
        cmocka_unit_test(redacted_copy_takes_the_places_of_the_texts),
        cmocka_unit_test(entry_redacted_in_its_answer_is_found_by_meaning),
        cmocka_unit_test(sealed_only_entry_skips_tiers_that_do_not_seal),
        cmocka_unit_test(names_that_entries_are_looked_up_by_are_not_redacted),
        cmocka_unit_test(vector_is_kept_only_where_its_text_could_be),
        cmocka_unit_test(what_could_not_be_looked_at_is_refused),
        cmocka_unit_test(verdict_survives_each_failed_allocation),
        cmocka_unit_test(metadata_of_a_plain_value_says_what_became_of_it),
        cmocka_unit_test(metadata_that_is_no_object_is_redacted_as_the_bytes_it_is),
    };
    return cmocka_run_group_tests(tests, make_detector, end_detector);
}
