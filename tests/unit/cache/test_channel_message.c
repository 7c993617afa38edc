/* tests/unit/cache/test_channel_message.c - what another program may say, and what is refused. */
#include "cache/channel_message.h"
#include "check.h"

#define TENANT "01234567-89ab-8cde-8f01-23456789abcd"

struct fixture {
    struct dj_tenant_root root;
    struct dj_kinds *kinds;
    struct dj_channel_rules rules;
    struct dj_channel_message message;
};

static void begin(struct fixture *fixture)
{
    static const uint8_t secret[DJ_SHA256_BYTES] = {7};
    *fixture = (struct fixture){.kinds = NULL};
    dj_tenant_root_init(&fixture->root, secret);
    assert_int_equal(dj_kinds_create(NULL, 0, NULL, NULL, &fixture->kinds), DEJA_OK);
    fixture->rules = (struct dj_channel_rules){.root = &fixture->root, .kinds = fixture->kinds};
}

static void end(struct fixture *fixture)
{
    dj_kinds_destroy(fixture->kinds);
    dj_tenant_root_fini(&fixture->root);
}

static const char *read(struct fixture *fixture, const char *text)
{
    return dj_channel_message_read(deja_slice_text(text), &fixture->rules, &fixture->message);
}

static void each_way_of_saying_it_is_read(void **state)
{
    static const struct {
        const char *text;
        const char *kind;
    } rows[] = {
        {"{\"key\":\"user:7\",\"reason\":\"r\"}", "key"},
        {"{\"key\":\"0123456789abcdef0123456789abcdef\"}", "entry"},
        {"{\"pattern\":\"user:*\"}", "pattern"},
        {"{\"tag\":\"t\",\"cascade\":true}", "tag"},
        {"{\"namespace\":\"n\"}", "namespace"},
        {"{\"all\":true}", "all"},
        {"{\"cascade\":\"doc:7\"}", "cascade"},
        {"{\"event\":{\"name\":\"template:updated\",\"template_id\":\"7\"}}", "event"},
        {"{\"tag\":\"t\",\"tenant\":\"" TENANT "\"}", "tag"},
    };
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *trouble = read(&fixture, rows[i].text);
        if (trouble)
            fail_msg("%s: %s", rows[i].text, trouble);
        assert_string_equal(fixture.message.order.kind, rows[i].kind);
        dj_channel_message_fini(&fixture.message);
    }
    end(&fixture);
}

static void what_is_unknown_or_says_two_things_is_refused_whole(void **state)
{
    static const char *const rows[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"key\":\"a\",\"tag\":\"b\"}",
        "{\"keys\":[\"a\"]}",
        "{\"key\":7}",
        "{\"key\":\"a\\u0001b\"}",
        "{\"tag\":\"t\",\"tenant\":\"nobody\"}",
        "{\"event\":\"moon:full\"}",
        "{\"event\":{\"name\":\"template:updated\",\"template_id\":[1]}}",
        "{\"all\":false}",
    };
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!read(&fixture, rows[i]))
            fail_msg("taken: %s", rows[i]);
    fixture.rules.is_unnamed_refused = true;
    assert_non_null(read(&fixture, "{\"tag\":\"t\"}"));
    end(&fixture);
}

static void who_is_known_speaks_of_his_own_tenant(void **state)
{
    static const char *const refused[] = {
        "{\"tag\":\"t\",\"tenant\":\"11234567-89ab-8cde-8f01-23456789abcd\"}",
        "{\"tag\":\"t\",\"tenant\":\"nobody\"}",
        "{\"key\":\"k\",\"from\":\"aabbccdd\"}",
    };
    static const char *const read_ones[] = {"{\"tag\":\"t\",\"tenant\":\"" TENANT "\"}",
                                            "{\"tag\":\"t\"}"};
    uint8_t own[DJ_TENANT_BYTES];
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    assert_int_equal(dj_tenant_parse(deja_slice_text(TENANT), own), DEJA_OK);
    fixture.rules = (struct dj_channel_rules){.kinds = fixture.kinds, .only = own};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!read(&fixture, refused[i]))
            fail_msg("taken: %s", refused[i]);
    for (size_t i = 0; i < sizeof read_ones / sizeof *read_ones; i++) {
        assert_null(read(&fixture, read_ones[i]));
        assert_memory_equal(fixture.message.tenant, own, sizeof own);
        dj_channel_message_fini(&fixture.message);
    }
    end(&fixture);
}

static void all_of_a_namespace_is_that_namespace(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    assert_null(read(&fixture, "{\"all\":true,\"namespace\":\"n\"}"));
    assert_true(fixture.message.order.selector.has_name_space);
    assert_string_equal(fixture.message.order.kind, "namespace");
    dj_channel_message_fini(&fixture.message);
    end(&fixture);
}

static void what_deja_sends_is_known_as_its_own(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_buf text = {0};
    struct dj_notice notice = {.kind = "entry",
                               .name = deja_slice_text("0123456789abcdef0123456789abcdef"),
                               .reason = deja_slice_text("be\xff"
                                                         "cause")};
    begin(&fixture);
    dj_channel_message_write(&notice, "aabbccdd", &text);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(text.status, DEJA_OK);
    assert_null(read(&fixture, text.data));
    assert_true(deja_slice_is_equal(fixture.message.from, deja_slice_text("aabbccdd")));
    assert_true(fixture.message.order.has_key);
    assert_int_equal(fixture.message.order.key.id[1], 0x23);
    dj_channel_message_fini(&fixture.message);
    dj_buf_fini(&text);
    end(&fixture);
}

static void reading_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        const char *trouble =
            read(&fixture, "{\"event\":{\"name\":\"template:updated\",\"template_id\":\"7\"}}");
        bool has_failed = failing_malloc_disarm();
        if (!trouble)
            dj_channel_message_fini(&fixture.message);
        if (!has_failed) {
            assert_null(trouble);
            break;
        }
    }
    end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_of_saying_it_is_read),
        cmocka_unit_test(what_is_unknown_or_says_two_things_is_refused_whole),
        cmocka_unit_test(who_is_known_speaks_of_his_own_tenant),
        cmocka_unit_test(all_of_a_namespace_is_that_namespace),
        cmocka_unit_test(what_deja_sends_is_known_as_its_own),
        cmocka_unit_test(reading_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
