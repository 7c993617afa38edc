#include "check.h"

#include "cache/key.h"

/* Arena and prefix of a test; fingerprints live as long as it. */
struct fixture {
    struct dj_arena arena;
    struct dj_key_prefix prefix;
};

static void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){
        .prefix = {
            .tenant = "tenant", .fingerprint_key = "secret", .family = "chat", .policy_epoch = 1}};
    dj_arena_init(&fixture->arena, 0);
}

static enum deja_status try_key(struct fixture *fixture, const char *body,
                                struct dj_fingerprint *out_fingerprint)
{
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {0};
    assert_int_equal(dj_json_parse(deja_slice_text(body), &doc, &error), DEJA_OK);
    enum deja_status status =
        dj_key_chat(&fixture->prefix, dj_json_root(doc), &fixture->arena, out_fingerprint);
    dj_json_doc_destroy(doc);
    return status;
}

static struct dj_fingerprint key(struct fixture *fixture, const char *body)
{
    struct dj_fingerprint fingerprint;
    assert_int_equal(try_key(fixture, body, &fingerprint), DEJA_OK);
    dj_key_scope(&fixture->prefix, &fingerprint);
    return fingerprint;
}

static bool is_same_exact(const struct dj_fingerprint *a, const struct dj_fingerprint *b)
{
    return memcmp(a->exact, b->exact, sizeof a->exact) == 0;
}

static bool is_same_id(const struct dj_fingerprint *a, const struct dj_fingerprint *b)
{
    return memcmp(a->key.id, b->key.id, sizeof a->key.id) == 0;
}

static bool is_same_scope(const struct dj_fingerprint *a, const struct dj_fingerprint *b)
{
    return memcmp(a->scope, b->scope, sizeof a->scope) == 0;
}

static bool has_scope(const struct dj_fingerprint *fingerprint)
{
    static const uint8_t none[DJ_ID_BYTES];
    return memcmp(fingerprint->scope, none, sizeof none) != 0;
}

#define CHAT(extra, text)                                                                      \
    "{\"model\":\"m\"," extra "\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"}," \
    "{\"role\":\"user\",\"content\":" text "}]}"
#define HELLO "\"What is a cache?\""

static void expect_same_exact(const char *left, const char *right)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, left);
    struct dj_fingerprint b = key(&fixture, right);
    assert_true(is_same_exact(&a, &b));
    assert_true(is_same_id(&a, &b));
    assert_true(is_same_scope(&a, &b));
    dj_arena_fini(&fixture.arena);
}

static void expect_all_differ(const char *left, const char *right)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, left);
    struct dj_fingerprint b = key(&fixture, right);
    assert_false(is_same_exact(&a, &b));
    assert_false(is_same_id(&a, &b));
    assert_false(is_same_scope(&a, &b));
    dj_arena_fini(&fixture.arena);
}

static void order_of_properties_does_not_matter(void **state)
{
    (void)state;
    expect_same_exact("{\"model\":\"m\",\"temperature\":0.5,"
                      "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                      "{\"messages\":[{\"content\":\"x\",\"role\":\"user\"}],"
                      "\"temperature\":0.5,\"model\":\"m\"}");
}

static void delivery_and_bookkeeping_do_not_matter(void **state)
{
    (void)state;
    expect_same_exact(CHAT("", HELLO),
                      CHAT("\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                           "\"metadata\":{\"a\":\"b\"},\"store\":true,"
                           "\"service_tier\":\"auto\",\"prompt_cache_key\":\"k\","
                           "\"safety_identifier\":\"u\",\"cache\":{\"ttl\":5},",
                           HELLO));
}

static void a_sampling_parameter_matters_even_at_its_default(void **state)
{
    (void)state;
    expect_all_differ(CHAT("", HELLO), CHAT("\"temperature\":1,", HELLO));
    expect_all_differ(CHAT("\"temperature\":0,", HELLO), CHAT("\"temperature\":1,", HELLO));
}

static void an_unknown_parameter_matters(void **state)
{
    (void)state;
    expect_all_differ(CHAT("", HELLO), CHAT("\"of_next_year\":1,", HELLO));
}

static void everything_in_the_prefix_matters(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint plain = key(&fixture, CHAT("", HELLO));
    struct dj_key_prefix others[8];
    for (size_t i = 0; i < 8; i++)
        others[i] = fixture.prefix;
    others[0].tenant[0]++;
    others[1].fingerprint_key[0]++;
    others[2].name_space = deja_slice_text("other");
    others[3].family = "api";
    others[4].upstream_id = deja_slice_text("other");
    others[5].headers[0] = deja_slice_text("other");
    others[6].headers[1] = deja_slice_text("other");
    others[7].headers[2] = deja_slice_text("other");
    struct dj_fingerprint made[8];
    for (size_t i = 0; i < 8; i++) {
        fixture.prefix = others[i];
        made[i] = key(&fixture, CHAT("", HELLO));
        assert_false(is_same_exact(&plain, &made[i]));
        assert_false(is_same_id(&plain, &made[i]));
        assert_false(is_same_scope(&plain, &made[i]));
        for (size_t k = 0; k < i; k++) /* the same word in another place is another prefix */
            assert_false(is_same_exact(&made[k], &made[i]));
    }
    dj_arena_fini(&fixture.arena);
}

static void policy_epoch_changes_the_scope_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, CHAT("", HELLO));
    fixture.prefix.policy_epoch++;
    struct dj_fingerprint b = key(&fixture, CHAT("", HELLO));
    assert_true(is_same_exact(&a, &b));
    assert_false(is_same_scope(&a, &b));
    dj_arena_fini(&fixture.arena);
}

static void prefix_beyond_its_bound_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    static char large[10000];
    memset(large, 'x', sizeof large);
    fixture_init(&fixture);
    fixture.prefix.headers[0] = deja_slice(large, sizeof large);
    struct dj_fingerprint fingerprint;
    assert_int_equal(try_key(&fixture, CHAT("", HELLO), &fingerprint), DEJA_ERR_LIMIT);
    dj_arena_fini(&fixture.arena);
}

static void last_user_text_never_changes_the_scope(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, CHAT("", HELLO));
    struct dj_fingerprint b = key(&fixture, CHAT("", "\"Explain \\\"caches\\\".\""));
    assert_true(has_scope(&a));
    assert_true(is_same_scope(&a, &b));
    assert_false(is_same_exact(&a, &b));
    assert_false(is_same_id(&a, &b));
    dj_arena_fini(&fixture.arena);
}

static void everything_around_the_last_user_text_changes_the_scope(void **state)
{
    (void)state;
    expect_all_differ("{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},"
                      "{\"role\":\"user\",\"content\":\"x\"}]}",
                      "{\"messages\":[{\"role\":\"system\",\"content\":\"b\"},"
                      "{\"role\":\"user\",\"content\":\"x\"}]}");
    expect_all_differ("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
                      "{\"role\":\"user\",\"content\":\"x\"}]}");
}

static void white_space_changes_the_exact_key_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, CHAT("", HELLO));
    struct dj_fingerprint b = key(&fixture, CHAT("", "\"  What is  a cache? \""));
    assert_false(is_same_exact(&a, &b));
    assert_true(is_same_id(&a, &b));
    assert_true(is_same_scope(&a, &b));
    assert_true(deja_slice_is_equal(b.text, deja_slice_text("What is a cache?")));
    dj_arena_fini(&fixture.arena);
}

static void code_keeps_its_white_space(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, CHAT("", "\"if x:\\n    y()\\nz()\""));
    struct dj_fingerprint b = key(&fixture, CHAT("", "\"if x:\\n    y()\\n    z()\""));
    assert_false(is_same_id(&a, &b));
    assert_true(deja_slice_is_equal(a.text, deja_slice_text("if x:\n    y()\nz()")));
    dj_arena_fini(&fixture.arena);
}

static void plain_question_may_be_found_by_meaning(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, CHAT("", HELLO));
    assert_true(a.is_semantic);
    assert_false(a.has_history);
    struct dj_fingerprint b =
        key(&fixture, CHAT("", "[{\"type\":\"text\",\"text\":\"What is a cache?\"}]"));
    assert_true(b.is_semantic);
    assert_true(deja_slice_is_equal(a.text, b.text));
    dj_arena_fini(&fixture.arena);
}

static void expect_not_semantic(const char *body)
{
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint fingerprint = key(&fixture, body);
    assert_false(fingerprint.is_semantic);
    dj_arena_fini(&fixture.arena);
}

static void tools_images_and_several_choices_are_not_found_by_meaning(void **state)
{
    (void)state;
    expect_not_semantic(CHAT("\"tools\":[{\"type\":\"function\"}],", HELLO));
    expect_not_semantic(CHAT("\"functions\":[{\"name\":\"f\"}],", HELLO));
    expect_not_semantic(CHAT("\"web_search_options\":{},", HELLO));
    expect_not_semantic(CHAT("\"n\":2,", HELLO));
    expect_not_semantic(CHAT("", "[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"image_url\"}]"));
    expect_not_semantic("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]},"
                        "{\"role\":\"user\",\"content\":\"x\"}]}");
    expect_not_semantic(CHAT("", "\"  \""));
}

static void last_turn_of_a_tool_has_no_text(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a =
        key(&fixture, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
                      "{\"role\":\"tool\",\"content\":\"42\",\"tool_call_id\":\"c\"}]}");
    assert_null(a.text.data);
    assert_false(a.is_semantic);
    assert_false(has_scope(&a));
    dj_arena_fini(&fixture.arena);
}

static void turns_before_the_last_are_history(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct dj_fingerprint a = key(&fixture, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
                                            "{\"role\":\"assistant\",\"content\":\"y\"},"
                                            "{\"role\":\"user\",\"content\":\"z\"}]}");
    assert_true(a.has_history);
    assert_true(a.is_semantic);
    dj_arena_fini(&fixture.arena);
}

static void body_without_messages_has_no_key(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_fingerprint fingerprint;
    fixture_init(&fixture);
    assert_int_equal(try_key(&fixture, "{\"model\":\"m\"}", &fingerprint), DEJA_ERR_INVALID);
    assert_int_equal(try_key(&fixture, "[]", &fingerprint), DEJA_ERR_INVALID);
    dj_arena_fini(&fixture.arena);
}

static void queries_of_a_namespace_share_a_scope(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_fingerprint a;
    struct dj_fingerprint b;
    fixture_init(&fixture);
    assert_int_equal(dj_key_query(&fixture.prefix, deja_slice_text("one"), &fixture.arena, &a),
                     DEJA_OK);
    assert_int_equal(dj_key_query(&fixture.prefix, deja_slice_text(" two "), &fixture.arena, &b),
                     DEJA_OK);
    dj_key_scope(&fixture.prefix, &a);
    dj_key_scope(&fixture.prefix, &b);
    assert_true(a.is_semantic);
    assert_false(is_same_id(&a, &b));
    assert_true(has_scope(&a));
    assert_true(is_same_scope(&a, &b));
    assert_true(deja_slice_is_equal(b.text, deja_slice_text("two")));
    dj_arena_fini(&fixture.arena);
}

static void items_differ_by_item_and_by_the_rest(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct deja_slice rest = deja_slice_text("{\"model\":\"m\"}");
    struct dj_fingerprint made[4];
    dj_key_item(&fixture.prefix, rest, deja_slice_text("\"a\""), &made[0]);
    dj_key_item(&fixture.prefix, rest, deja_slice_text("\"a\""), &made[1]);
    dj_key_item(&fixture.prefix, rest, deja_slice_text("\"b\""), &made[2]);
    dj_key_item(&fixture.prefix, deja_slice_text("{\"model\":\"n\"}"), deja_slice_text("\"a\""),
                &made[3]);
    assert_true(is_same_exact(&made[0], &made[1]));
    assert_false(is_same_exact(&made[0], &made[2]));
    assert_false(is_same_exact(&made[0], &made[3]));
    dj_arena_fini(&fixture.arena);
}

static void key_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_json_doc *doc = NULL;
    struct deja_error error = {0};
    const char *body = CHAT("", "\" What  is it? \"");
    assert_int_equal(dj_json_parse(deja_slice_text(body), &doc, &error), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct fixture fixture;
        struct dj_fingerprint fingerprint = {.mark_len = 77};
        fixture_init(&fixture);
        failing_malloc_arm(n);
        enum deja_status status =
            dj_key_chat(&fixture.prefix, dj_json_root(doc), &fixture.arena, &fingerprint);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(fingerprint.mark_len == 77, has_failed);
        dj_arena_fini(&fixture.arena);
        if (!has_failed)
            break;
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_properties_does_not_matter),
        cmocka_unit_test(delivery_and_bookkeeping_do_not_matter),
        cmocka_unit_test(a_sampling_parameter_matters_even_at_its_default),
        cmocka_unit_test(an_unknown_parameter_matters),
        cmocka_unit_test(everything_in_the_prefix_matters),
        cmocka_unit_test(policy_epoch_changes_the_scope_alone),
        cmocka_unit_test(prefix_beyond_its_bound_is_refused),
        cmocka_unit_test(last_user_text_never_changes_the_scope),
        cmocka_unit_test(everything_around_the_last_user_text_changes_the_scope),
        cmocka_unit_test(white_space_changes_the_exact_key_alone),
        cmocka_unit_test(code_keeps_its_white_space),
        cmocka_unit_test(plain_question_may_be_found_by_meaning),
        cmocka_unit_test(tools_images_and_several_choices_are_not_found_by_meaning),
        cmocka_unit_test(last_turn_of_a_tool_has_no_text),
        cmocka_unit_test(turns_before_the_last_are_history),
        cmocka_unit_test(body_without_messages_has_no_key),
        cmocka_unit_test(queries_of_a_namespace_share_a_scope),
        cmocka_unit_test(items_differ_by_item_and_by_the_rest),
        cmocka_unit_test(key_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
