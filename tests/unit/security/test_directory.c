/* tests/unit/security/test_directory.c - tenants somebody made: found, inherited, changed, kept. */
#include <stdio.h>

#include "check.h"
#include "documents.h"

#include "security/directory.h"

static const char *const guards[] = {"numbers", "units"};
static const struct dj_rules_values defaults = {.features = DJ_FEATURES_ALL, .delta = 0.25};

struct fixture {
    struct memory_authority authority;
    struct dj_directory *directory;
    size_t faults;
    char fault[320]; /* the first */
};

static void on_fault(void *ctx, const char *field, const char *rule, const char *message)
{
    struct fixture *fixture = ctx;
    (void)rule;
    if (fixture->faults++ == 0)
        snprintf(fixture->fault, sizeof fixture->fault, "%s: %s", field, message);
}

static enum deja_status try_open(struct fixture *fixture)
{
    const struct dj_directory_options options = {.authority = &fixture->authority.table,
                                                 .defaults = &defaults,
                                                 .names = {.guards = guards, .guard_count = 2},
                                                 .tenants_max = 20};
    return dj_directory_create(&options, &fixture->directory);
}

static void open_directory(struct fixture *fixture)
{
    *fixture = (struct fixture){.faults = 0};
    memory_authority_init(&fixture->authority);
    assert_int_equal(try_open(fixture), DEJA_OK);
    fixture->authority.changed = dj_directory_changed;
    fixture->authority.changed_ctx = fixture->directory;
}

static void close_directory(struct fixture *fixture)
{
    dj_directory_destroy(fixture->directory);
}

static struct dj_json_doc *parse(const char *text)
{
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    return doc;
}

static enum deja_status add(struct fixture *fixture, const char *text,
                            uint8_t out_id[DJ_TENANT_BYTES])
{
    const struct dj_tenant_config_faults faults = {.ctx = fixture, .tell = on_fault};
    struct dj_json_doc *doc = parse(text);
    fixture->faults = 0;
    enum deja_status status =
        dj_directory_add(fixture->directory, dj_json_root(doc), 1000, &faults, out_id);
    dj_json_doc_destroy(doc);
    return status;
}

static enum deja_status set(struct fixture *fixture, const uint8_t id[DJ_TENANT_BYTES],
                            bool is_patch, const char *text)
{
    const struct dj_tenant_config_faults faults = {.ctx = fixture, .tell = on_fault};
    struct dj_json_doc *doc = parse(text);
    fixture->faults = 0;
    enum deja_status status =
        dj_directory_set(fixture->directory, id, dj_json_root(doc), is_patch, 2000, &faults);
    dj_json_doc_destroy(doc);
    return status;
}

/* Of a tenant that is there. The rules live as long as the directory does not change. */
static struct dj_rules_values rules_of(struct fixture *fixture, const uint8_t id[DJ_TENANT_BYTES])
{
    struct dj_rules *rules = dj_directory_find(fixture->directory, id);
    assert_non_null(rules);
    struct dj_rules_values values = *dj_rules_of(rules);
    dj_rules_unref(rules);
    return values;
}

static bool is_there(struct fixture *fixture, const uint8_t id[DJ_TENANT_BYTES])
{
    struct dj_rules *rules = dj_directory_find(fixture->directory, id);
    dj_rules_unref(rules);
    return rules != NULL;
}

static void a_tenant_is_found_with_its_rules_until_it_is_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    open_directory(&fixture);
    assert_false(dj_directory_has_tenants(fixture.directory));
    assert_int_equal(add(&fixture, "{\"name\":\"acme\",\"config\":{\"limits\":{\"burst\":9}}}", id),
                     DEJA_OK);
    assert_true(dj_directory_has_tenants(fixture.directory));
    struct dj_rules_values values = rules_of(&fixture, id);
    assert_true(values.is_configured);
    assert_false(values.is_suspended);
    assert_int_equal(values.limits.burst, 9);
    assert_float_equal(values.delta, 0.25, 1e-9);
    assert_int_equal(set(&fixture, id, true, "{\"state\":\"suspended\"}"), DEJA_OK);
    assert_true(rules_of(&fixture, id).is_suspended);
    assert_int_equal(rules_of(&fixture, id).limits.burst, 9);
    assert_int_equal(set(&fixture, id, false, "{\"state\":\"active\",\"config\":{}}"), DEJA_OK);
    assert_int_equal(rules_of(&fixture, id).limits.burst, 0);
    assert_int_equal(dj_directory_remove(fixture.directory, id), DEJA_OK);
    assert_false(is_there(&fixture, id));
    assert_int_equal(dj_directory_remove(fixture.directory, id), DEJA_ERR_NOT_FOUND);
    close_directory(&fixture);
}

static void what_is_not_said_is_inherited_and_follows(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t top[DJ_TENANT_BYTES];
    uint8_t below[DJ_TENANT_BYTES];
    char id[DJ_TENANT_TEXT_BYTES];
    char text[200];
    open_directory(&fixture);
    assert_int_equal(add(&fixture,
                         "{\"name\":\"top\",\"config\":{\"limits\":{\"burst\":9},"
                         "\"features\":{\"proxy\":false}}}",
                         top),
                     DEJA_OK);
    dj_tenant_text(top, id);
    snprintf(text, sizeof text,
             "{\"name\":\"below\",\"inherits\":\"%s\",\"config\":{\"features\":{\"api\":false}}}",
             id);
    assert_int_equal(add(&fixture, text, below), DEJA_OK);
    assert_int_equal(rules_of(&fixture, below).limits.burst, 9);
    assert_int_equal(rules_of(&fixture, below).features,
                     DJ_FEATURE_SEMANTIC | DJ_FEATURE_EMBEDDINGS);
    assert_int_equal(set(&fixture, top, true, "{\"config\":{\"limits\":{\"burst\":3}}}"), DEJA_OK);
    assert_int_equal(rules_of(&fixture, below).limits.burst, 3);
    assert_int_equal(set(&fixture, top, true, "{\"state\":\"suspended\"}"), DEJA_OK);
    assert_false(rules_of(&fixture, below).is_suspended); /* its state is its own */
    assert_int_equal(dj_directory_remove(fixture.directory, top), DEJA_ERR_BUSY);
    assert_int_equal(set(&fixture, below, true, "{\"inherits\":null}"), DEJA_OK);
    assert_int_equal(rules_of(&fixture, below).limits.burst, 0);
    assert_int_equal(dj_directory_remove(fixture.directory, top), DEJA_OK);
    close_directory(&fixture);
}

static void circles_and_long_chains_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t ids[DJ_DIRECTORY_DEPTH_MAX + 1][DJ_TENANT_BYTES];
    char text[200];
    open_directory(&fixture);
    assert_int_equal(add(&fixture, "{\"name\":\"t0\"}", ids[0]), DEJA_OK);
    for (size_t i = 1; i <= DJ_DIRECTORY_DEPTH_MAX; i++) {
        char id[DJ_TENANT_TEXT_BYTES];
        dj_tenant_text(ids[i - 1], id);
        snprintf(text, sizeof text, "{\"name\":\"t%zu\",\"inherits\":\"%s\"}", i, id);
        assert_int_equal(add(&fixture, text, ids[i]),
                         i < DJ_DIRECTORY_DEPTH_MAX ? DEJA_OK : DEJA_ERR_INVALID);
    }
    assert_non_null(strstr(fixture.fault, "chain"));
    char last[DJ_TENANT_TEXT_BYTES];
    dj_tenant_text(ids[2], last);
    snprintf(text, sizeof text, "{\"inherits\":\"%s\"}", last);
    assert_int_equal(set(&fixture, ids[0], true, text), DEJA_ERR_INVALID);
    assert_int_equal(add(&fixture,
                         "{\"name\":\"lost\",\"inherits\":"
                         "\"01234567-89ab-4cde-8f01-23456789abcd\"}",
                         ids[0]),
                     DEJA_ERR_INVALID);
    assert_string_equal(fixture.fault, "inherits: there is no such tenant");
    close_directory(&fixture);
}

static void a_circle_that_two_programs_made_is_suspended(void **state)
{
    (void)state;
    struct fixture fixture;
    static const char a[] = "00000000-0000-4000-8000-00000000000a";
    static const char b[] = "00000000-0000-4000-8000-00000000000b";
    static const char format[] =
        "{\"name\":\"x\",\"state\":\"active\",\"inherits\":\"%s\",\"config\":{}}";
    uint8_t id[DJ_TENANT_BYTES];
    char text[200];
    open_directory(&fixture);
    snprintf(text, sizeof text, format, b);
    dj_directory_changed(fixture.directory, DJ_DIRECTORY_TENANTS, deja_slice_text(a),
                         deja_slice_text(text));
    snprintf(text, sizeof text, format, a);
    dj_directory_changed(fixture.directory, DJ_DIRECTORY_TENANTS, deja_slice_text(b),
                         deja_slice_text(text));
    assert_int_equal(dj_tenant_parse(deja_slice_text(a), id), DEJA_OK);
    assert_true(rules_of(&fixture, id).is_suspended);
    close_directory(&fixture);
}

static void documents_that_cannot_be_used_keep_their_tenant_suspended(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "not json",
        "[]",
        "{}",
        "{\"name\":\"n\",\"state\":\"odd\",\"config\":{}}",
        "{\"name\":\"n\",\"state\":\"active\",\"inherits\":\"odd\",\"config\":{}}",
        "{\"name\":\"n\",\"state\":\"active\",\"config\":{\"limits\":{\"burst\":-3}}}",
    };
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    static const char key[] = "00000000-0000-4000-8000-00000000000a";
    assert_int_equal(dj_tenant_parse(deja_slice_text(key), id), DEJA_OK);
    open_directory(&fixture);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        dj_directory_changed(fixture.directory, DJ_DIRECTORY_TENANTS, deja_slice_text(key),
                             deja_slice_text(texts[i]));
        assert_true(rules_of(&fixture, id).is_suspended);
    }
    close_directory(&fixture);
}

static void faults_are_told_and_nothing_is_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *fault;
    } cases[] = {
        {"{}", "name: must be text"},
        {"{\"name\":\"\"}", "name: must be text"},
        {"{\"name\":\"a\\u0001\"}", "name: must be text"},
        {"{\"nam\":\"a\",\"name\":\"a\"}", "nam: no such member: did you mean name?"},
        {"{\"name\":\"a\",\"state\":\"paused\"}", "state: must be active or suspended"},
        {"{\"name\":\"a\",\"id\":\"1\"}", "id: must be a UUID"},
        {"{\"name\":\"a\",\"config\":3}", "config: must be an object"},
        {"{\"name\":\"a\",\"config\":{\"audit\":1}}", "config.audit: must be off, writes or all"},
    };
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    open_directory(&fixture);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(add(&fixture, cases[i].text, id), DEJA_ERR_INVALID);
        assert_non_null(strstr(fixture.fault, cases[i].fault));
    }
    assert_int_equal(dj_directory_count(fixture.directory), 0);
    close_directory(&fixture);
}

static void names_and_ids_are_taken_once(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    uint8_t other[DJ_TENANT_BYTES];
    open_directory(&fixture);
    assert_int_equal(
        add(&fixture, "{\"name\":\"a\",\"id\":\"00000000-0000-4000-8000-00000000000a\"}", id),
        DEJA_OK);
    assert_int_equal(id[15], 0x0a);
    assert_int_equal(
        add(&fixture, "{\"name\":\"b\",\"id\":\"00000000-0000-4000-8000-00000000000a\"}", other),
        DEJA_ERR_BUSY);
    assert_int_equal(add(&fixture, "{\"name\":\"a\"}", other), DEJA_ERR_BUSY);
    assert_int_equal(add(&fixture, "{\"name\":\"b\"}", other), DEJA_OK);
    assert_int_equal(set(&fixture, other, true, "{\"name\":\"a\"}"), DEJA_ERR_BUSY);
    for (size_t i = 2; i < 20; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"name\":\"n%zu\"}", i);
        assert_int_equal(add(&fixture, text, other), DEJA_OK);
    }
    assert_int_equal(add(&fixture, "{\"name\":\"full\"}", other), DEJA_ERR_LIMIT);
    close_directory(&fixture);
}

static void a_link_gives_a_credential_to_a_tenant(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    uint8_t found[DJ_TENANT_BYTES] = {0};
    static const uint8_t derived[DJ_TENANT_BYTES] = {1, 2, 3};
    open_directory(&fixture);
    assert_int_equal(add(&fixture, "{\"name\":\"a\"}", id), DEJA_OK);
    assert_false(dj_directory_link(fixture.directory, derived, found));
    assert_int_equal(
        dj_directory_add_link(fixture.directory, derived, derived, deja_slice_text(""), 1000),
        DEJA_ERR_NOT_FOUND);
    assert_int_equal(
        dj_directory_add_link(fixture.directory, derived, id, deja_slice_text("ci"), 1000),
        DEJA_OK);
    assert_true(dj_directory_link(fixture.directory, derived, found));
    assert_memory_equal(found, id, sizeof id);
    assert_int_equal(dj_directory_remove_link(fixture.directory, derived, derived),
                     DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_directory_remove_link(fixture.directory, derived, id), DEJA_OK);
    assert_false(dj_directory_link(fixture.directory, derived, found));
    assert_int_equal(
        dj_directory_add_link(fixture.directory, derived, id, deja_slice_text(""), 1000), DEJA_OK);
    assert_int_equal(dj_directory_remove(fixture.directory, id), DEJA_OK);
    assert_false(dj_directory_link(fixture.directory, derived, found));
    assert_null(memory_find(&fixture.authority, DJ_DIRECTORY_LINKS,
                            deja_slice_text("01020300-0000-0000-0000-000000000000")));
    close_directory(&fixture);
}

static void a_reload_finds_what_was_kept_and_drops_what_is_gone(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    char key[DJ_TENANT_TEXT_BYTES];
    open_directory(&fixture);
    assert_int_equal(add(&fixture, "{\"name\":\"a\",\"config\":{\"audit\":\"all\"}}", id), DEJA_OK);
    dj_tenant_text(id, key);
    struct dj_directory *first = fixture.directory;
    assert_int_equal(try_open(&fixture), DEJA_OK);
    assert_true(dj_directory_is_due(fixture.directory, 1));
    assert_int_equal(dj_directory_reload(fixture.directory, 5000), DEJA_OK);
    assert_int_equal(rules_of(&fixture, id).audit, DJ_AUDIT_ALL);
    assert_false(dj_directory_is_due(fixture.directory, 5000 + DJ_DIRECTORY_AGE_MS - 1));
    assert_true(dj_directory_is_due(fixture.directory, 5000 + DJ_DIRECTORY_AGE_MS));
    dj_directory_destroy(first);
    fixture.authority.changed = NULL; /* another program's doing, unseen */
    fixture.authority.fault = DEJA_ERR_IO;
    assert_int_equal(dj_directory_reload(fixture.directory, 6000), DEJA_ERR_IO);
    assert_true(is_there(&fixture, id));
    fixture.authority.fault = DEJA_OK;
    memory_find(&fixture.authority, DJ_DIRECTORY_TENANTS, deja_slice_text(key))->is_there = false;
    assert_true(is_there(&fixture, id));
    assert_int_equal(dj_directory_invalidate(fixture.directory, id), DEJA_OK);
    assert_false(is_there(&fixture, id));
    assert_int_equal(dj_directory_reload(fixture.directory, 7000), DEJA_OK);
    assert_false(dj_directory_has_tenants(fixture.directory));
    close_directory(&fixture);
}

static void they_are_shown_page_by_page(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    uint8_t next[DJ_TENANT_BYTES];
    uint8_t last[DJ_TENANT_BYTES] = {0};
    bool has_more = true;
    size_t shown = 0;
    open_directory(&fixture);
    for (size_t i = 0; i < 7; i++) {
        char text[32];
        snprintf(text, sizeof text, "{\"name\":\"n%zu\"}", i);
        assert_int_equal(add(&fixture, text, id), DEJA_OK);
    }
    while (has_more) {
        struct dj_buf text = {0};
        struct dj_json_writer w = dj_json_writer(&text);
        struct dj_json_doc *doc = NULL;
        dj_json_begin_array(&w);
        assert_int_equal(dj_directory_list(fixture.directory, shown ? last : NULL,
                                           deja_slice(NULL, 0), 3, &w, next, &has_more),
                         DEJA_OK);
        dj_json_end_array(&w);
        assert_int_equal(dj_json_parse(dj_buf_slice(&text), &doc, NULL), DEJA_OK);
        assert_int_equal(dj_json_count(dj_json_root(doc)), shown < 6 ? 3 : 1);
        shown += dj_json_count(dj_json_root(doc));
        memcpy(last, next, sizeof last);
        dj_json_doc_destroy(doc);
        dj_buf_fini(&text);
    }
    assert_int_equal(shown, 7);
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    assert_int_equal(dj_directory_put(fixture.directory, id, true, &w), DEJA_OK);
    dj_buf_append_byte(&text, '\0');
    assert_non_null(strstr(text.data, "\"name\":\"n6\",\"state\":\"active\","
                                      "\"created\":\"1970-01-01T00:00:01.000Z\""));
    assert_non_null(strstr(text.data, "\"effective\":{\"features\":{\"proxy\":true"));
    dj_buf_fini(&text);
    close_directory(&fixture);
}

static void a_directory_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct fixture fixture = {.faults = 0};
        memory_authority_init(&fixture.authority);
        failing_malloc_arm(n);
        enum deja_status status = try_open(&fixture);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_directory_destroy(fixture.directory);
        if (!has_failed)
            break;
    }
}

/* What a lack of memory hides is found by the reload that is due then. */
static void a_change_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t top[DJ_TENANT_BYTES];
    uint8_t id[DJ_TENANT_BYTES];
    char text[200];
    char key[DJ_TENANT_TEXT_BYTES];
    open_directory(&fixture);
    assert_int_equal(add(&fixture, "{\"name\":\"top\"}", top), DEJA_OK);
    dj_tenant_text(top, key);
    snprintf(text, sizeof text, "{\"name\":\"a\",\"inherits\":\"%s\"}", key);
    assert_int_equal(add(&fixture, text, id), DEJA_OK);
    assert_int_equal(dj_directory_reload(fixture.directory, 1000), DEJA_OK);
    const struct dj_tenant_config_faults faults = {.ctx = &fixture, .tell = on_fault};
    struct dj_json_doc *suspend = parse("{\"state\":\"suspended\",\"config\":{\"audit\":\"all\"}}");
    struct dj_json_doc *resume = parse("{\"state\":\"active\",\"config\":{}}");
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status =
            dj_directory_set(fixture.directory, top, dj_json_root(suspend), true, 3000, &faults);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || status == DEJA_ERR_NOMEM);
        if (status == DEJA_OK && dj_directory_is_due(fixture.directory, 1000))
            assert_int_equal(dj_directory_reload(fixture.directory, 1000), DEJA_OK);
        assert_int_equal(rules_of(&fixture, top).is_suspended, status == DEJA_OK);
        assert_int_equal(rules_of(&fixture, id).audit == DJ_AUDIT_ALL, status == DEJA_OK);
        if (!has_failed)
            break;
        assert_int_equal(
            dj_directory_set(fixture.directory, top, dj_json_root(resume), false, 3000, &faults),
            DEJA_OK);
    }
    dj_json_doc_destroy(suspend);
    dj_json_doc_destroy(resume);
    close_directory(&fixture);
}

/* Everything else an administrator does, and what is shown of it: done or not done. */
static enum deja_status administer(struct fixture *fixture, const uint8_t id[DJ_TENANT_BYTES],
                                   int step)
{
    static const uint8_t derived[DJ_TENANT_BYTES] = {7};
    struct dj_buf out = {0};
    struct dj_json_writer w = dj_json_writer(&out);
    uint8_t next[DJ_TENANT_BYTES];
    bool has_more = false;
    enum deja_status status = DEJA_OK;
    switch (step) {
    case 0:
        status = dj_directory_add_link(fixture->directory, derived, id, deja_slice_text("l"), 1);
        break;
    case 1:
        status = dj_directory_invalidate(fixture->directory, id);
        break;
    case 2:
        status = dj_directory_put(fixture->directory, id, true, &w);
        break;
    case 3:
        status = dj_directory_list(fixture->directory, NULL, deja_slice_text(""), 10, &w, next,
                                   &has_more);
        break;
    case 4:
        status = dj_directory_remove_link(fixture->directory, derived, id);
        break;
    default:
        status = dj_directory_remove(fixture->directory, id);
    }
    if (status == DEJA_OK)
        status = out.status;
    dj_buf_fini(&out);
    return status;
}

static void administration_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t id[DJ_TENANT_BYTES];
    open_directory(&fixture);
    assert_int_equal(add(&fixture, "{\"name\":\"a\"}", id), DEJA_OK);
    assert_int_equal(dj_directory_reload(fixture.directory, 1000), DEJA_OK);
    for (int step = 0; step <= 5; step++)
        for (size_t n = 1;; n++) {
            failing_malloc_arm(n);
            enum deja_status status = administer(&fixture, id, step);
            bool has_failed = failing_malloc_disarm();
            /* What was kept before memory ran out is only told late: a reload is due then. */
            assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
            assert_int_equal(dj_directory_reload(fixture.directory, 1000), DEJA_OK);
            if (status == DEJA_OK)
                break;
        }
    assert_int_equal(dj_directory_count(fixture.directory), 0);
    close_directory(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenant_is_found_with_its_rules_until_it_is_removed),
        cmocka_unit_test(what_is_not_said_is_inherited_and_follows),
        cmocka_unit_test(circles_and_long_chains_are_refused),
        cmocka_unit_test(a_circle_that_two_programs_made_is_suspended),
        cmocka_unit_test(documents_that_cannot_be_used_keep_their_tenant_suspended),
        cmocka_unit_test(faults_are_told_and_nothing_is_written),
        cmocka_unit_test(names_and_ids_are_taken_once),
        cmocka_unit_test(a_link_gives_a_credential_to_a_tenant),
        cmocka_unit_test(a_reload_finds_what_was_kept_and_drops_what_is_gone),
        cmocka_unit_test(they_are_shown_page_by_page),
        cmocka_unit_test(a_directory_survives_each_failed_allocation),
        cmocka_unit_test(a_change_survives_each_failed_allocation),
        cmocka_unit_test(administration_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
