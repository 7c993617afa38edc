#include "check.h"

#include <stdio.h>

#include "cache/filter.h"

#define COLUMN                                                                                \
    "{\"metadata\":{\"lang\":\"en\",\"score\":0.5,\"draft\":false,\"none\":null,"             \
    "\"list\":[\"a\",\"b\",7],\"deep\":{\"x\":1}},\"type\":\"analysis\",\"confidence\":0.75," \
    "\"kind\":\"faq\",\"version\":\"v2\"}"

static struct dj_entry entry_with(const char *column)
{
    struct dj_entry entry = {
        .kind = DJ_ENTRY_API,
        .version = 1234,
        .cost_usd = 0.25,
        .model = deja_slice_text("gpt-4o"),
        .name_space = deja_slice_text("docs"),
        .metadata = deja_slice_text(column),
        .tag_count = 2,
        .tags = {{.name = deja_slice_text("news")}, {.name = deja_slice_text("sport")}}};
    return entry;
}

static enum deja_status read(struct dj_arena *arena, const char *text,
                             const struct dj_filter **out_filter, const char **out_fault)
{
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    enum deja_status status = dj_filter_read(dj_json_root(doc), arena, out_filter, out_fault);
    dj_json_doc_destroy(doc); /* the filter keeps nothing of it */
    return status;
}

static bool matches(const char *text)
{
    struct dj_arena arena;
    const struct dj_filter *filter = NULL;
    struct dj_entry entry = entry_with(COLUMN);
    dj_arena_init(&arena, 0);
    assert_int_equal(read(&arena, text, &filter, NULL), DEJA_OK);
    bool is_match = dj_filter_is_match(filter, &entry);
    dj_arena_fini(&arena);
    return is_match;
}

static void expect_fault(const char *text, const char *part)
{
    struct dj_arena arena;
    const struct dj_filter *filter = NULL;
    const char *fault = NULL;
    dj_arena_init(&arena, 0);
    assert_int_equal(read(&arena, text, &filter, &fault), DEJA_ERR_INVALID);
    assert_null(filter);
    assert_non_null(strstr(fault, part));
    assert_int_equal(read(&arena, text, &filter, NULL), DEJA_ERR_INVALID);
    dj_arena_fini(&arena);
}

static void scalar_is_equality_of_type_and_value(void **state)
{
    (void)state;
    assert_true(matches("{}"));
    assert_true(matches("{\"lang\":\"en\"}"));
    assert_false(matches("{\"lang\":\"EN\"}"));
    assert_false(matches("{\"lang\":\"e\"}"));
    assert_true(matches("{\"score\":0.5}"));
    assert_true(matches("{\"score\":5e-1}"));
    assert_false(matches("{\"score\":\"0.5\"}"));
    assert_true(matches("{\"draft\":false}"));
    assert_false(matches("{\"draft\":true}"));
    assert_false(matches("{\"draft\":0}"));
    assert_true(matches("{\"none\":null}"));
    assert_false(matches("{\"missing\":null}"));
    assert_false(matches("{\"deep\":1}"));
}

static void members_and_operators_are_anded(void **state)
{
    (void)state;
    assert_true(matches("{\"lang\":\"en\",\"score\":{\"gte\":0.5,\"lt\":0.6}}"));
    assert_false(matches("{\"lang\":\"en\",\"score\":{\"gte\":0.5,\"lt\":0.5}}"));
    assert_false(matches("{\"lang\":\"de\",\"score\":{\"gte\":0.5}}"));
}

static void order_is_of_numbers_or_of_texts(void **state)
{
    (void)state;
    assert_true(matches("{\"score\":{\"gt\":0.4}}"));
    assert_false(matches("{\"score\":{\"gt\":0.5}}"));
    assert_true(matches("{\"score\":{\"lte\":0.5}}"));
    assert_true(matches("{\"lang\":{\"gt\":\"e\"}}"));
    assert_true(matches("{\"lang\":{\"lt\":\"en-GB\"}}"));
    assert_false(matches("{\"lang\":{\"gt\":1}}"));
    assert_false(matches("{\"missing\":{\"lt\":1}}"));
}

static void missing_field_matches_only_ne_and_exists_false(void **state)
{
    (void)state;
    assert_true(matches("{\"missing\":{\"ne\":1}}"));
    assert_true(matches("{\"missing\":{\"exists\":false}}"));
    assert_false(matches("{\"missing\":{\"exists\":true}}"));
    assert_false(matches("{\"missing\":{\"in\":[1,null]}}"));
    assert_true(matches("{\"none\":{\"exists\":true}}"));
    assert_true(matches("{\"deep\":{\"exists\":true}}"));
    assert_false(matches("{\"lang\":{\"exists\":false}}"));
}

static void in_and_lists(void **state)
{
    (void)state;
    assert_true(matches("{\"lang\":{\"in\":[\"de\",\"en\"]}}"));
    assert_false(matches("{\"lang\":{\"in\":[]}}"));
    assert_true(matches("{\"list\":\"b\"}"));
    assert_true(matches("{\"list\":{\"in\":[7,8]}}"));
    assert_true(matches("{\"list\":{\"gt\":6}}"));
    assert_false(matches("{\"list\":{\"ne\":\"a\"}}"));
    assert_true(matches("{\"list\":{\"ne\":\"c\"}}"));
}

static void columns_have_names_of_their_own(void **state)
{
    (void)state;
    assert_true(matches("{\"$model\":\"gpt-4o\",\"$namespace\":\"docs\",\"$tag\":\"sport\"}"));
    assert_false(matches("{\"$tag\":\"weather\"}"));
    assert_true(matches("{\"$tag\":{\"ne\":\"weather\"}}"));
    assert_true(matches("{\"$provider\":{\"exists\":false}}"));
    assert_true(matches("{\"$type\":\"analysis\",\"$confidence\":{\"gt\":0.7}}"));
    assert_true(matches("{\"$cost\":{\"lt\":0.3}}"));
    assert_true(matches("{\"$kind\":\"faq\"}"));
    assert_true(matches("{\"$kind\":\"api\"}"));
    assert_true(matches("{\"$version\":\"v2\"}"));
    assert_true(matches("{\"$version\":1234}"));
    assert_false(matches("{\"type\":\"analysis\"}")); /* that would be metadata */
}

static void what_a_proxy_stored_has_columns_and_the_words_of_its_client(void **state)
{
    (void)state;
    struct dj_arena arena;
    const struct dj_filter *columns = NULL;
    const struct dj_filter *words = NULL;
    struct dj_entry entry = entry_with("{\"metadata\":{\"lang\":\"en\"},\"tape\":[[\"ping\",[]]]}");
    entry.kind = DJ_ENTRY_CHAT;
    dj_arena_init(&arena, 0);
    assert_int_equal(read(&arena, "{\"$model\":\"gpt-4o\",\"$kind\":\"chat\"}", &columns, NULL),
                     DEJA_OK);
    assert_int_equal(read(&arena, "{\"lang\":\"en\"}", &words, NULL), DEJA_OK);
    assert_true(dj_filter_is_match(columns, &entry));
    assert_true(dj_filter_is_match(words, &entry));
    assert_true(dj_filter_is_match(NULL, &entry));
    entry.metadata = deja_slice_text("{\"tape\":[[\"ping\",[]]]}");
    assert_false(dj_filter_has_words(&entry));
    assert_true(dj_filter_is_match(columns, &entry));
    assert_false(dj_filter_is_match(words, &entry));
    entry.metadata = deja_slice(NULL, 0);
    assert_false(dj_filter_has_words(&entry));
    assert_false(dj_filter_is_match(words, &entry));
    entry = entry_with("{not json");
    assert_false(dj_filter_is_match(words, &entry));
    entry = entry_with(COLUMN);
    entry.kind = DJ_ENTRY_PLAIN; /* of another form */
    assert_false(dj_filter_is_match(words, &entry));
    dj_arena_fini(&arena);
}

static void faults_are_told_with_their_field(void **state)
{
    (void)state;
    expect_fault("[]", "object of fields");
    expect_fault("7", "object of fields");
    expect_fault("{\"a\":[1]}", "a: one of several");
    expect_fault("{\"a\":{}}", "a: give an operator");
    expect_fault("{\"a\":{\"like\":1}}", "a: operators are");
    expect_fault("{\"a\":{\"eq\":[1]}}", "a: a value is");
    expect_fault("{\"a\":{\"in\":1}}", "a: \"in\" takes");
    expect_fault("{\"a\":{\"in\":[{}]}}", "a: a value is");
    expect_fault("{\"a\":{\"gt\":null}}", "a: gt, gte");
    expect_fault("{\"a\":{\"exists\":1}}", "a: \"exists\" takes");
    expect_fault("{\"$secret\":1}", "$secret: not a column");
    expect_fault("{\"a\\u0000b\":1}", "no NUL");
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    struct dj_arena arena;
    const struct dj_filter *filter = NULL;
    char text[4096];
    for (size_t count = DJ_FILTER_MEMBERS_MAX; count <= DJ_FILTER_MEMBERS_MAX + 1; count++) {
        size_t len = 0;
        for (size_t i = 0; i < count; i++)
            len +=
                (size_t)snprintf(text + len, sizeof text - len, "%c\"f%zu\":1", i ? ',' : '{', i);
        snprintf(text + len, sizeof text - len, "}");
        dj_arena_init(&arena, 0);
        assert_int_equal(read(&arena, text, &filter, NULL),
                         count <= DJ_FILTER_MEMBERS_MAX ? DEJA_OK : DEJA_ERR_INVALID);
        dj_arena_fini(&arena);
    }
    for (size_t count = DJ_FILTER_VALUES_MAX; count <= DJ_FILTER_VALUES_MAX + 1; count++) {
        size_t len = (size_t)snprintf(text, sizeof text, "{\"f\":{\"in\":[0");
        for (size_t i = 1; i < count; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, ",%zu", i);
        snprintf(text + len, sizeof text - len, "]}}");
        dj_arena_init(&arena, 0);
        assert_int_equal(read(&arena, text, &filter, NULL),
                         count <= DJ_FILTER_VALUES_MAX ? DEJA_OK : DEJA_ERR_INVALID);
        dj_arena_fini(&arena);
    }
}

/* Laws over many pairs of a stored and an asked value. */
static void operators_agree_with_each_other(void **state)
{
    (void)state;
    static const char *const values[] = {"0",      "-1",          "1.5",  "1e300", "\"\"", "\"a\"",
                                         "\"ab\"", "\"\\u00e9\"", "true", "false", "null"};
    enum { COUNT = sizeof values / sizeof values[0] };
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < COUNT; j++) {
            static const char *const ops[] = {"eq", "ne", "gt", "gte", "lt", "lte"};
            bool holds[6] = {false};
            bool has_order = j < 8;
            char column[128];
            snprintf(column, sizeof column, "{\"metadata\":{\"f\":%s}}", values[i]);
            struct dj_entry entry = entry_with(column);
            for (size_t op = 0; op < (has_order ? 6 : 2); op++) {
                struct dj_arena arena;
                const struct dj_filter *filter = NULL;
                char text[128];
                snprintf(text, sizeof text, "{\"f\":{\"%s\":%s}}", ops[op], values[j]);
                dj_arena_init(&arena, 0);
                assert_int_equal(read(&arena, text, &filter, NULL), DEJA_OK);
                holds[op] = dj_filter_is_match(filter, &entry);
                dj_arena_fini(&arena);
            }
            assert_int_equal(holds[0], i == j);
            assert_int_equal(holds[1], i != j);
            bool is_same_type = has_order && i < 8 && (i < 4) == (j < 4);
            assert_int_equal(holds[2] + holds[4] + (is_same_type && holds[0]), is_same_type);
            assert_int_equal(holds[3], holds[2] || (has_order && holds[0]));
            assert_int_equal(holds[5], holds[4] || (has_order && holds[0]));
        }
    }
}

static void filter_read_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char text[] = "{\"lang\":{\"in\":[\"de\",\"en\"],\"ne\":\"x\"},\"$tag\":\"news\"}";
    struct dj_json_doc *doc = NULL;
    assert_int_equal(dj_json_parse(deja_slice_text(text), &doc, NULL), DEJA_OK);
    for (size_t n = 1;; n++) {
        struct dj_arena arena;
        const struct dj_filter *filter = NULL;
        dj_arena_init(&arena, 0);
        failing_malloc_arm(n);
        enum deja_status status = dj_filter_read(dj_json_root(doc), &arena, &filter, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(filter == NULL, has_failed);
        dj_arena_fini(&arena);
        if (!has_failed)
            break;
    }
    for (size_t bytes = 1; bytes < 2000; bytes += 7) { /* an arena that ends anywhere */
        struct dj_arena arena;
        const struct dj_filter *filter = NULL;
        dj_arena_init(&arena, bytes);
        enum deja_status status = dj_filter_read(dj_json_root(doc), &arena, &filter, NULL);
        assert_true(status == DEJA_OK || status == DEJA_ERR_NOMEM);
        dj_arena_fini(&arena);
    }
    dj_json_doc_destroy(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_is_equality_of_type_and_value),
        cmocka_unit_test(members_and_operators_are_anded),
        cmocka_unit_test(order_is_of_numbers_or_of_texts),
        cmocka_unit_test(missing_field_matches_only_ne_and_exists_false),
        cmocka_unit_test(in_and_lists),
        cmocka_unit_test(columns_have_names_of_their_own),
        cmocka_unit_test(what_a_proxy_stored_has_columns_and_the_words_of_its_client),
        cmocka_unit_test(faults_are_told_with_their_field),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(operators_agree_with_each_other),
        cmocka_unit_test(filter_read_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
