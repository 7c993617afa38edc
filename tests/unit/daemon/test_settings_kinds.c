/* The section `kinds`: members that are said become rows over the shipped table. */
#include "daemon/settings_kinds.h"

#include "check.h"

static bool say(struct dj_settings_kinds *said, const char *key, const char *value)
{
    const struct dj_options_other other = {
        .key = key, .value = value, .where = "deja.yaml:3:5", .key_where = "deja.yaml:3:1"};
    return dj_settings_kinds_take(said, &other);
}

static void members_of_any_kind_and_ttls_of_shipped_ones_are_taken(void **state)
{
    (void)state;
    struct dj_settings_kinds said = {.count = 0};
    assert_true(say(&said, "kinds", ""));
    assert_int_equal(said.count, 0);
    assert_true(say(&said, "kinds.invoice.ttl", "1h"));
    assert_true(say(&said, "kinds.invoice.tags.more", "x"));
    assert_true(say(&said, "kinds.invoice", "x"));
    assert_true(say(&said, "ttl.ocr_result", "2h"));
    assert_false(say(&said, "ttl.invoice", "2h"));
    assert_false(say(&said, "ttl.", "2h"));
    assert_false(say(&said, "kind.invoice.ttl", "1h"));
    assert_false(say(&said, "server.listen", "x"));
    static const struct {
        const char *kind, *member, *value;
    } rows[] = {{"invoice", "ttl", "1h"},
                {"invoice", "tags.more", "x"},
                {"invoice", "", "x"},
                {"ocr_result", "ttl", "2h"}};
    assert_int_equal(said.count, sizeof rows / sizeof *rows);
    for (size_t i = 0; i < said.count; i++) {
        const struct dj_kind_setting *setting = &said.settings[i];
        assert_true(deja_slice_is_equal(setting->kind, deja_slice_text(rows[i].kind)));
        assert_true(deja_slice_is_equal(setting->member, deja_slice_text(rows[i].member)));
        assert_true(deja_slice_is_equal(setting->value, deja_slice_text(rows[i].value)));
    }
    dj_settings_kinds_fini(&said);
    dj_settings_kinds_fini(&said); /* as a zeroed one */
}

static void what_was_said_is_copied(void **state)
{
    (void)state;
    struct dj_settings_kinds said = {.count = 0};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_kinds *kinds = NULL;
    char key[] = "kinds.invoice.ttl";
    char value[] = "1h";
    assert_true(say(&said, key, value));
    memset(key, '?', sizeof key - 1);
    memset(value, '?', sizeof value - 1);
    assert_int_equal(dj_settings_kinds_make(&said, &diagnostics, &kinds), DEJA_OK);
    assert_non_null(dj_kinds_find(kinds, deja_slice_text("invoice")));
    assert_int_equal(diagnostics.error_count, 0);
    dj_kinds_destroy(kinds);
    dj_diagnostics_fini(&diagnostics);
    dj_settings_kinds_fini(&said);
}

static void every_fault_is_told_with_its_key_and_place(void **state)
{
    (void)state;
    struct dj_settings_kinds said = {.count = 0};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_kinds *kinds = NULL;
    assert_true(say(&said, "kinds.invoice.ttl", "soon"));
    assert_true(say(&said, "kinds.invoice.colour", "red"));
    assert_int_equal(dj_settings_kinds_make(&said, &diagnostics, &kinds), DEJA_ERR_CONFIG);
    assert_null(kinds);
    dj_buf_append_byte(&diagnostics.text, '\0');
    assert_int_equal(diagnostics.error_count, 2);
    assert_non_null(strstr(diagnostics.text.data, "deja.yaml:3:5: error: kinds.invoice.ttl "));
    assert_non_null(strstr(diagnostics.text.data, "deja.yaml:3:5: error: kinds.invoice.colour "));
    dj_diagnostics_fini(&diagnostics);
    dj_settings_kinds_fini(&said);
}

static void one_member_too_many_is_told_once(void **state)
{
    (void)state;
    struct dj_settings_kinds said = {.count = 0};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_kinds *kinds = NULL;
    for (unsigned i = 0; i < DJ_SETTINGS_KINDS_MAX; i++)
        assert_true(say(&said, "kinds.invoice.ttl", "1h"));
    assert_false(said.is_full);
    for (unsigned i = 0; i < 3; i++)
        assert_true(say(&said, "kinds.invoice.ttl", "1h"));
    assert_int_equal(said.count, DJ_SETTINGS_KINDS_MAX);
    assert_int_equal(dj_settings_kinds_make(&said, &diagnostics, &kinds), DEJA_ERR_CONFIG);
    assert_int_equal(diagnostics.error_count, 1);
    dj_diagnostics_fini(&diagnostics);
    dj_settings_kinds_fini(&said);
}

static void settings_kinds_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_settings_kinds said = {.count = 0};
        struct dj_diagnostics diagnostics = {.error_count = 0};
        struct dj_kinds *kinds = NULL;
        failing_malloc_arm(n);
        bool is_taken = say(&said, "ttl.ocr_result", "2h") &&
                        say(&said, "kinds.invoice.ttl", "1h") &&
                        say(&said, "kinds.invoice.pattern", "invoice:{invoice_id}");
        enum deja_status status = dj_settings_kinds_make(&said, &diagnostics, &kinds);
        bool has_failed = failing_malloc_disarm();
        assert_true(is_taken); /* none of them is told to be unknown */
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(diagnostics.error_count, 0);
        dj_kinds_destroy(kinds);
        dj_diagnostics_fini(&diagnostics);
        dj_settings_kinds_fini(&said);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_of_any_kind_and_ttls_of_shipped_ones_are_taken),
        cmocka_unit_test(what_was_said_is_copied),
        cmocka_unit_test(every_fault_is_told_with_its_key_and_place),
        cmocka_unit_test(one_member_too_many_is_told_once),
        cmocka_unit_test(settings_kinds_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
