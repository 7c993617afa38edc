#include "library.h"

#include <deja/key.h>

#include "failing_malloc.h"
#include "store/directory.h"

static const struct deja_kind_setting settings[] = {
    {"invoice", "pattern", "invoice:{invoice_id}"},
    {"invoice", "ttl", "2d"},
    {"invoice", "tags", "invoice:{invoice_id}\ninvoices"},
    {"invoice", "events", "invoice:paid"},
    {"template_score", "ttl", "5m"},
};
#define SETTING_COUNT (sizeof settings / sizeof *settings)
#define TWO_DAYS_MS (UINT64_C(2) * 24 * 3600 * 1000)

static struct deja *open_with_kinds(void)
{
    struct deja_options options;
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.kinds = settings;
    options.kind_count = SETTING_COUNT;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    return deja;
}

static void set(struct deja *deja, const struct deja_kv *kv)
{
    uint64_t count = 0;
    assert_int_equal(deja_kv_set(deja, kv, &count), DEJA_OK);
    assert_int_equal(count, 1);
}

/* body NULL: a miss; version empty: the last. */
static void expect(struct deja *deja, const char *key, const char *version, const char *body)
{
    struct deja_kv kv = kv_of(key, "");
    struct deja_answer *answer = NULL;
    kv.version_name = deja_slice_text(version);
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_int_equal(deja_answer_outcome(answer), body ? DEJA_HIT_EXACT : DEJA_MISS);
    assert_slice(deja_answer_body(answer), body ? body : "");
    deja_answer_release(answer);
}

static uint64_t ttl_of(struct deja *deja, const char *key)
{
    struct deja_kv kv = kv_of(key, "");
    uint64_t ttl_ms = 0;
    assert_int_equal(deja_kv_ttl(deja, &kv, &ttl_ms), DEJA_OK);
    return ttl_ms;
}

/* field NULL: it carries nothing. */
static struct deja_selection event_of(const char *event, struct deja_event_field *field)
{
    struct deja_selection selection;
    deja_selection_init(&selection);
    selection.event = deja_slice_text(event);
    selection.fields = field;
    selection.field_count = field ? 1 : 0;
    selection.timeout_ms = NO_LIMIT_MS;
    return selection;
}

static uint64_t void_selected(struct deja *deja, const struct deja_selection *selection)
{
    uint64_t count = 77;
    assert_int_equal(deja_invalidate_selected(deja, selection, &count), DEJA_OK);
    return count;
}

/* ---- kinds ---- */

static void own_kind_gives_life_tags_and_events(void **state)
{
    (void)state;
    struct deja *deja = open_with_kinds();
    struct deja_event_field field = {deja_slice_text("invoice_id"), deja_slice_text("7")};
    struct deja_selection paid = event_of("invoice:paid", &field);
    struct deja_kv kv = kv_of("invoice:7", "a");
    set(deja, &kv);
    kv = kv_of("invoice:8", "b");
    set(deja, &kv);
    kv = kv_of("template:score:1", "c");
    set(deja, &kv);
    assert_true(ttl_of(deja, "invoice:7") > TWO_DAYS_MS / 2);
    assert_true(ttl_of(deja, "template:score:1") <= 300000);
    paid.is_dry_run = true;
    assert_int_equal(void_selected(deja, &paid), 1);
    expect(deja, "invoice:7", "", "a");
    paid.is_dry_run = false;
    assert_int_equal(void_selected(deja, &paid), 1);
    expect(deja, "invoice:7", "", NULL);
    expect(deja, "invoice:8", "", "b");
    paid.field_count = 0; /* the whole kind */
    assert_int_equal(void_selected(deja, &paid), 1);
    expect(deja, "invoice:8", "", NULL);
    expect(deja, "template:score:1", "", "c");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void own_kind_names_keys(void **state)
{
    (void)state;
    struct deja *deja = open_with_kinds();
    struct deja_key *key = NULL;
    char name[DEJA_KEY_BYTES_MAX];
    size_t len = 0;
    assert_int_equal(deja_key_begin(deja, deja_slice_text("invoice"), &key), DEJA_OK);
    deja_key_set(key, "id", deja_slice_text("7"));
    assert_int_equal(deja_key_end(key, name, sizeof name, &len, NULL), DEJA_OK);
    assert_slice(deja_slice(name, len), "invoice:7");
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void kind_that_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct deja_kind_setting wrong[] = {{"invoice", "pattern", "invoice:{id}"},
                                                     {"invoice", "ttl", "soon"}};
    static const struct deja_kind_setting lacking[] = {{"invoice", NULL, "1"}};
    struct deja_options options;
    struct deja_error error = {.message = ""};
    struct deja *deja = NULL;
    deja_options_init(&options);
    options.kinds = wrong;
    options.kind_count = 2;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "kinds[1], invoice.ttl"));
    options.kinds = lacking;
    options.kind_count = 1;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "kinds[0]"));
    options.kinds = NULL;
    assert_int_equal(deja_open(&options, &deja, &error), DEJA_ERR_CONFIG);
    assert_null(deja);
}

static void key_joins_a_kind_by_its_name(void **state)
{
    (void)state;
    struct deja *deja = open_with_kinds();
    struct deja_selection paid = event_of("invoice:paid", NULL);
    struct deja_kv kv = kv_of("summary", "s");
    kv.kind = deja_slice_text("invoice");
    set(deja, &kv);
    assert_true(ttl_of(deja, "summary") > TWO_DAYS_MS / 2);
    kv.kind = deja_slice_text("invoices");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    assert_int_equal(void_selected(deja, &paid), 1);
    expect(deja, "summary", "", NULL);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static enum deja_status compute(void *ctx, struct deja_made *made)
{
    (void)ctx;
    deja_made_append(made, deja_slice_text("computed"));
    return DEJA_OK;
}

static void computed_key_is_of_its_kind(void **state)
{
    (void)state;
    struct deja *deja = open_with_kinds();
    struct deja_event_field field = {deja_slice_text("invoice_id"), deja_slice_text("9")};
    struct deja_selection paid = event_of("invoice:paid", &field);
    struct deja_kv kv = kv_of("invoice:9", "");
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_kv_get_or_compute(deja, &kv, NULL, compute, &answer), DEJA_OK);
    deja_answer_release(answer);
    expect(deja, "invoice:9", "", "computed");
    assert_true(ttl_of(deja, "invoice:9") > TWO_DAYS_MS / 2);
    assert_int_equal(void_selected(deja, &paid), 1);
    expect(deja, "invoice:9", "", NULL);
    kv.version_name = deja_slice_text("v1");
    assert_int_equal(deja_kv_get_or_compute(deja, &kv, NULL, compute, &answer), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

/* ---- what it was made from ---- */

static void key_goes_with_what_it_was_made_from(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_slice names[DEJA_TAGS_MAX + 1] = {deja_slice_text("doc:7")};
    struct deja_selection selection;
    struct deja_kv kv = kv_of("doc:7", "source");
    set(deja, &kv);
    kv = kv_of("doc:7:summary", "summary");
    kv.depends_on = names;
    kv.depends_on_count = 1;
    set(deja, &kv);
    deja_selection_init(&selection);
    selection.timeout_ms = NO_LIMIT_MS;
    selection.name = deja_slice_text("doc:7");
    selection.is_dry_run = true;
    assert_int_equal(void_selected(deja, &selection), 1);
    expect(deja, "doc:7:summary", "", "summary");
    selection.is_dry_run = false;
    assert_int_equal(void_selected(deja, &selection), 1);
    expect(deja, "doc:7:summary", "", NULL);
    expect(deja, "doc:7", "", "source");
    kv.depends_on_count = DEJA_TAGS_MAX + 1;
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_LIMIT);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void selection_says_one_thing(void **state)
{
    (void)state;
    struct deja *deja = open_memory();
    struct deja_event_field field = {deja_slice_text("colour"), deja_slice_text("red")};
    struct deja_selection selection = event_of("no:such", NULL);
    uint64_t count = 7;
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_NOT_FOUND);
    selection.tag = deja_slice_text("t");
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_INVALID);
    selection.event = deja_slice("", 0);
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_OK);
    assert_int_equal(count, 0);
    selection.tag = deja_slice("", 0);
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_INVALID);
    selection = event_of("template:updated", &field);
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_INVALID);
    selection.field_count = DEJA_EVENT_FIELDS_MAX + 1;
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_LIMIT);
    selection.struct_bytes = 0;
    assert_int_equal(deja_invalidate_selected(deja, &selection, &count), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

/* ---- versions ---- */

static void set_version(struct deja *deja, const char *version, const char *body)
{
    struct deja_kv kv = kv_of("k", body);
    kv.version_name = deja_slice_text(version);
    set(deja, &kv);
}

static void last_two_versions_are_found(void **state)
{
    (void)state;
    struct directory directory;
    struct deja_options options;
    struct deja *deja = NULL;
    directory_create(&directory);
    deja_options_init(&options);
    options.data_dir = directory.path;
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    set_version(deja, "v1", "one");
    expect(deja, "k", "v1", "one");
    expect(deja, "k", "v0", NULL);
    set_version(deja, "v2", "two");
    set_version(deja, "v3", "three");
    assert_int_equal(deja_close(deja), DEJA_OK);
    assert_int_equal(deja_open(&options, &deja, NULL), DEJA_OK);
    expect(deja, "k", "v1", NULL);
    expect(deja, "k", "v2", "two");
    expect(deja, "k", "v3", "three");
    expect(deja, "k", "", "three");
    set_version(deja, "v3", "three again"); /* the one before stays */
    expect(deja, "k", "v2", "two");
    expect(deja, "k", "v3", "three again");
    struct deja_kv kv = kv_of("k", "plain");
    set(deja, &kv);
    expect(deja, "k", "v2", NULL);
    expect(deja, "k", "", "plain");
    assert_int_equal(deja_close(deja), DEJA_OK);
    directory_remove(&directory);
}

static void version_that_is_none_is_refused(void **state)
{
    (void)state;
    static char text[DEJA_VERSION_BYTES_MAX + 1];
    struct deja *deja = open_memory();
    struct deja_kv kv = kv_of("k", "1");
    memset(text, 'v', sizeof text);
    kv.version_name = deja_slice(text, sizeof text);
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    kv.version_name = deja_slice_text("a\nb");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    kv.version_name = deja_slice_text("v1");
    kv.metadata = deja_slice_text("any bytes");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    kv.metadata = deja_slice_text("{\"a\":1}");
    set(deja, &kv);
    struct deja_answer *answer = NULL;
    assert_int_equal(deja_kv_get(deja, &kv, &answer), DEJA_OK);
    assert_slice(deja_answer_metadata(answer), "{\"a\":1,\"version\":\"v1\"}");
    deja_answer_release(answer);
    kv = kv_of("k:@previous", "1");
    assert_int_equal(deja_kv_set(deja, &kv, NULL), DEJA_ERR_INVALID);
    assert_int_equal(deja_kv_mget(deja, &kv, &kv.key, 1, &answer), DEJA_ERR_INVALID);
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    struct deja *deja = open_with_kinds();
    for (size_t n = 1;; n++) {
        struct deja_slice name = deja_slice_text("doc:7");
        struct deja_selection paid = event_of("invoice:paid", NULL);
        struct deja_answer *answer = NULL;
        struct deja_kv kv = kv_of("summary", "s");
        kv.kind = deja_slice_text("invoice");
        kv.depends_on = &name;
        kv.depends_on_count = 1;
        kv.version_name = n % 2 ? deja_slice_text("odd") : deja_slice_text("even");
        failing_malloc_arm(n);
        enum deja_status stored = deja_kv_set(deja, &kv, NULL);
        enum deja_status found = deja_kv_get(deja, &kv, &answer);
        enum deja_status gone = deja_invalidate_selected(deja, &paid, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_true(has_failed || (stored == DEJA_OK && found == DEJA_OK && gone == DEJA_OK));
        assert_true(found == DEJA_OK || !answer);
        deja_answer_release(answer);
        if (!has_failed)
            break;
    }
    assert_int_equal(deja_close(deja), DEJA_OK);
}

static void open_with_kinds_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct deja_options options;
    deja_options_init(&options);
    options.kinds = settings;
    options.kind_count = SETTING_COUNT;
    for (size_t n = 1;; n++) {
        struct deja *deja = NULL;
        failing_malloc_arm(n);
        enum deja_status status = deja_open(&options, &deja, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && !deja));
        deja_close(deja);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_kind_gives_life_tags_and_events),
        cmocka_unit_test(own_kind_names_keys),
        cmocka_unit_test(kind_that_is_wrong_is_named),
        cmocka_unit_test(key_joins_a_kind_by_its_name),
        cmocka_unit_test(computed_key_is_of_its_kind),
        cmocka_unit_test(key_goes_with_what_it_was_made_from),
        cmocka_unit_test(selection_says_one_thing),
        cmocka_unit_test(last_two_versions_are_found),
        cmocka_unit_test(version_that_is_none_is_refused),
        cmocka_unit_test(calls_survive_each_failed_allocation),
        cmocka_unit_test(open_with_kinds_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
