#include "config/config.h"
#include "check.h"

static struct dj_config *parse(const char *text, struct dj_diagnostics *diagnostics)
{
    struct dj_config *config = NULL;
    enum deja_status status =
        dj_config_parse(deja_slice_text(text), "deja.yaml", false, diagnostics, &config);
    assert_true((status == DEJA_OK) == (config != NULL));
    return config;
}

static const struct dj_config_item *find(const struct dj_config *config, const char *key)
{
    for (size_t i = 0; i < dj_config_count(config); i++)
        if (strcmp(dj_config_at(config, i)->key, key) == 0)
            return dj_config_at(config, i);
    return NULL;
}

static void nested_keys_become_dotted_with_positions(void **state)
{
    (void)state;
    struct dj_diagnostics diagnostics = {0};
    struct dj_config *config = parse("# a comment\n"
                                     "l1:\n"
                                     "  max_size: 10\n"
                                     "  enabled: true\n"
                                     "server:\n"
                                     "  listen: [127.0.0.1:1, \"[::1]:2\"]\n"
                                     "log.level: \"info\"\n"
                                     "ttl:\n",
                                     &diagnostics);
    assert_non_null(config);
    const struct dj_config_item *item = find(config, "l1.max_size");
    assert_non_null(item);
    assert_string_equal(item->value, "10");
    assert_int_equal(item->kind, DJ_CONFIG_SCALAR);
    assert_int_equal(item->line, 3);
    assert_int_equal(item->column, 13);
    assert_int_equal(item->key_column, 3);
    item = find(config, "server.listen");
    assert_non_null(item);
    assert_int_equal(item->kind, DJ_CONFIG_LIST);
    assert_string_equal(item->value, "127.0.0.1:1\n[::1]:2");
    assert_int_equal(find(config, "log.level")->kind, DJ_CONFIG_TEXT);
    assert_int_equal(find(config, "ttl")->kind, DJ_CONFIG_NULL);
    assert_int_equal(dj_config_count(config), 5);
    dj_config_destroy(config);
    dj_diagnostics_fini(&diagnostics);
}

static void empty_files_are_empty_configurations(void **state)
{
    (void)state;
    const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "{}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_diagnostics diagnostics = {0};
        struct dj_config *config = parse(texts[i], &diagnostics);
        assert_non_null(config);
        assert_int_equal(dj_config_count(config), 0);
        dj_config_destroy(config);
        dj_diagnostics_fini(&diagnostics);
    }
}

static void json_is_the_same_tree(void **state)
{
    (void)state;
    struct dj_diagnostics diagnostics = {0};
    struct dj_config *config = NULL;
    const char *text = "{\"l1\": {\"max_size\": 10, \"enabled\": true},\n \"x\": [\"a\", \"b\"]}";
    assert_int_equal(
        dj_config_parse(deja_slice_text(text), "deja.json", true, &diagnostics, &config), DEJA_OK);
    assert_string_equal(find(config, "l1.max_size")->value, "10");
    assert_int_equal(find(config, "l1.enabled")->kind, DJ_CONFIG_SCALAR);
    assert_string_equal(find(config, "x")->value, "a\nb");
    assert_int_equal(find(config, "x")->line, 2);
    dj_config_destroy(config);
    config = NULL;
    assert_int_equal(dj_config_parse(deja_slice_text("{\"a\": {\"b\": 1, \"b\": 2}}"), "deja.json",
                                     true, &diagnostics, &config),
                     DEJA_ERR_CONFIG);
    assert_non_null(strstr(diagnostics.text.data, "deja.json:1:16: error: duplicate key a.b"));
    assert_null(config);
    dj_diagnostics_fini(&diagnostics);
}

static void faults_carry_their_position(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", "deja.yaml:3:1: error: duplicate key a"},
        {"a: {b: 1}\na.b: 2\n", "deja.yaml:2:1: error: duplicate key a.b"},
        {"a:\n  b: 1\na:\n  c: 1\n", "deja.yaml:3:1: error: duplicate key a"},
        {"a: &x 1\nb: *x\n", "deja.yaml:2:4: error: aliases are not accepted"},
        {"a: !!int 1\n", "error: tags are not accepted"},
        {"a: 1\n---\nb: 2\n", "error: a second document"},
        {"- a\n- b\n", "deja.yaml:1:1: error: expected \"key: value\" lines, not a list"},
        {"just text\n", "deja.yaml:1:1: error: expected \"key: value\" lines"},
        {"a: [{b: 1}]\n", "deja.yaml:1:5: error: a list holds plain values only"},
        {"a: [[1]]\n", "deja.yaml:1:5: error: a list holds plain values only"},
        {"? {a: 1}\n: 2\n", "error: a key must be plain text"},
        {"a: \"x\\ny\"\n", "deja.yaml:1:4: error: a value of one line"},
        {"a: \"x\\0y\"\n", "deja.yaml:1:4: error: a value of one line"},
        {"\"a b\": 1\n", "deja.yaml:1:1: error: a key is made of letters"},
        {"a: [1, 2\n", "deja.yaml:"},
        {"a: b: c\n", "deja.yaml:1:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_diagnostics diagnostics = {0};
        assert_null(parse(cases[i].text, &diagnostics));
        dj_buf_append_byte(&diagnostics.text, '\0');
        if (!strstr(diagnostics.text.data, cases[i].message))
            fail_msg("%s gave: %s", cases[i].text, diagnostics.text.data);
        dj_diagnostics_fini(&diagnostics);
    }
}

/* A directive with such a byte once kept the YAML library busy for ever. */
static void bytes_that_are_not_utf8_are_told_with_their_place(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "l1:\n  \xff: 1\n",         "a: 1\n% \xff\n",
        "%a:\n  \xc3(\n",           "a: 1\n  \xe0\x80\xaf",
        "a:\n\xc3\xa9\xed\xa0\x80", "a:\n  \xf4\x90\x80\x80",
        "a: 1\n  \xe2\x82",         "a: 1\n  \x80",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_diagnostics diagnostics = {0};
        assert_null(parse(texts[i], &diagnostics));
        assert_int_equal(diagnostics.error_count, 1);
        dj_buf_append_byte(&diagnostics.text, '\0');
        assert_non_null(strstr(diagnostics.text.data, "deja.yaml:2:"));
        assert_non_null(strstr(diagnostics.text.data, "not UTF-8"));
        dj_diagnostics_fini(&diagnostics);
    }
}

static void every_duplicate_is_told_not_only_the_first(void **state)
{
    (void)state;
    struct dj_diagnostics diagnostics = {0};
    assert_null(parse("a: 1\na: {x: [1, 2], y: {z: 1}}\nb: 1\nb: [1]\nc: 1\nc: 2\n", &diagnostics));
    assert_int_equal(diagnostics.error_count, 3);
    dj_diagnostics_fini(&diagnostics);
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    struct dj_diagnostics diagnostics = {0};
    struct dj_buf text = {0};
    for (int i = 0; i < 15; i++)
        dj_buf_append_text(&text, "{a: ");
    dj_buf_append_text(&text, "{a: 1}");
    for (int i = 0; i < 15; i++)
        dj_buf_append_byte(&text, '}');
    struct dj_config *config = NULL;
    assert_int_equal(dj_config_parse(dj_buf_slice(&text), "x", false, &diagnostics, &config),
                     DEJA_OK);
    dj_config_destroy(config);
    dj_buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        dj_buf_append_text(&text, "{a: ");
    assert_int_equal(dj_config_parse(dj_buf_slice(&text), "x", false, &diagnostics, &config),
                     DEJA_ERR_CONFIG);
    dj_buf_clear(&text);
    while (text.len <= DJ_CONFIG_BYTES_MAX)
        dj_buf_append_text(&text, "# padding padding padding padding\n");
    assert_int_equal(dj_config_parse(dj_buf_slice(&text), "x", false, &diagnostics, &config),
                     DEJA_ERR_CONFIG);
    dj_buf_fini(&text);
    dj_diagnostics_fini(&diagnostics);
}

static void missing_file_and_directory_are_errors(void **state)
{
    (void)state;
    struct dj_diagnostics diagnostics = {0};
    struct dj_config *config = NULL;
    assert_int_equal(dj_config_read("/nonexistent/deja.yaml", &diagnostics, &config),
                     DEJA_ERR_CONFIG);
    assert_int_equal(dj_config_read("/", &diagnostics, &config), DEJA_ERR_CONFIG);
    assert_int_equal(diagnostics.error_count, 2);
    dj_diagnostics_fini(&diagnostics);
}

static void parse_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *text = "l1:\n  max_size: 10\nserver:\n  listen: [a, b]\n";
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_diagnostics diagnostics = {0};
        struct dj_config *config = NULL;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_config_parse(deja_slice_text(text), "x", false, &diagnostics, &config);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_config_destroy(config);
        dj_diagnostics_fini(&diagnostics);
    }
}

static void read_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char *const path = DJ_SOURCE_ROOT "/deja.yaml.example";
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_diagnostics diagnostics = {0};
        struct dj_config *config = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_config_read(path, &diagnostics, &config);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_true((status == DEJA_OK) == (config != NULL));
        dj_config_destroy(config);
        dj_diagnostics_fini(&diagnostics);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_keys_become_dotted_with_positions),
        cmocka_unit_test(empty_files_are_empty_configurations),
        cmocka_unit_test(json_is_the_same_tree),
        cmocka_unit_test(faults_carry_their_position),
        cmocka_unit_test(bytes_that_are_not_utf8_are_told_with_their_place),
        cmocka_unit_test(every_duplicate_is_told_not_only_the_first),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(missing_file_and_directory_are_errors),
        cmocka_unit_test(parse_survives_each_failed_allocation),
        cmocka_unit_test(read_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
