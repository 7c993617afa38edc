#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config/option_value.h"
#include "config/options.h"

struct target {
    bool is_enabled;
    uint32_t size;
    double ratio;
    uint64_t ttl_ms;
    uint64_t bytes;
    char *path;
    int mode;
    struct dj_text_list hosts;
    struct dj_text_list fold;
    char *secret;
};

#define AT(member) .offset = offsetof(struct target, member)
static const struct dj_option table[] = {
    {"l1.enabled", DJ_OPTION_BOOL, "true", .help = "h", AT(is_enabled)},
    {"l1.max_size", DJ_OPTION_INT, "10000", 1, 1000000, .help = "h", .flag = "--size",
     .old_names = "memory_cache_size", .env_names = "CACHE_L1_MAX_SIZE CACHE_MEMORY_SIZE",
     AT(size)},
    {"ttl.jitter", DJ_OPTION_DOUBLE, "0.1", 0, 0.5, .help = "h", AT(ratio)},
    {"ttl.response", DJ_OPTION_DURATION, "24h", 1000, 1e12, .help = "h", AT(ttl_ms)},
    {"l1.max_bytes", DJ_OPTION_SIZE, "100mb", .help = "h", AT(bytes)},
    {"upstream.ca_file", DJ_OPTION_TEXT, "", .help = "h", AT(path)},
    {"proxy.mode", DJ_OPTION_ENUM, "instant", .choices = "paced|instant", .help = "h", AT(mode)},
    {"server.hosts", DJ_OPTION_LIST, "a,b", .help = "h", AT(hosts)},
    {"scope.fold", DJ_OPTION_LIST, "", .choices = "time|uuid", .help = "h", AT(fold)},
    {"security.secret", DJ_OPTION_SECRET, "", .help = "h", AT(secret)},
};
#define COUNT (sizeof table / sizeof *table)
static const struct dj_preset presets[] = {
    {"l1.max_size", "paced", "500"},
    {"ttl.response", "paced", "2h"},
    {"ttl.jitter", "instant", "0.1"},
    {"none.such", "paced", "1"},
};
static const struct dj_reserved reserved[] = {{"l2", "not offered by this version"}};

struct result {
    enum deja_status status;
    struct dj_diagnostics diagnostics;
    struct dj_options *options;
    struct target target;
};

static struct result resolve(const char *yaml, const char *const *environment,
                             const struct dj_flag *flags, size_t flag_count)
{
    struct result result = {0};
    struct dj_config *config = NULL;
    if (yaml)
        assert_int_equal(dj_config_parse(deja_slice_text(yaml), "deja.yaml", false,
                                         &result.diagnostics, &config),
                         DEJA_OK);
    struct dj_options_input input = {.table = table,
                                     .count = COUNT,
                                     .profile = "proxy.mode",
                                     .presets = presets,
                                     .preset_count = sizeof presets / sizeof *presets,
                                     .reserved = reserved,
                                     .reserved_count = 1,
                                     .reserved_env = "REDIS_URL",
                                     .file = config,
                                     .environment = environment,
                                     .flags = flags,
                                     .flag_count = flag_count};
    result.status = dj_options_resolve(&input, &result.diagnostics, &result.options);
    dj_config_destroy(config);
    dj_buf_append_byte(&result.diagnostics.text, '\0');
    if (result.status == DEJA_OK)
        assert_int_equal(dj_options_fill(result.options, &result.target), DEJA_OK);
    return result;
}

static void done(struct result *result)
{
    dj_options_release(table, COUNT, &result->target);
    dj_options_destroy(result->options);
    dj_diagnostics_fini(&result->diagnostics);
}

static void expect_message(struct result *result, const char *message)
{
    if (!strstr(result->diagnostics.text.data, message))
        fail_msg("expected: %s\ngot: %s", message, result->diagnostics.text.data);
}

static const char *where(const struct result *result, const char *name)
{
    return dj_options_where(result->options, dj_options_find(result->options, name));
}

static void defaults_fill_every_type(void **state)
{
    (void)state;
    struct result result = resolve(NULL, NULL, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_true(result.target.is_enabled);
    assert_int_equal(result.target.size, 10000);
    assert_float_equal(result.target.ratio, 0.1, 0);
    assert_int_equal(result.target.ttl_ms, 86400000);
    assert_int_equal(result.target.bytes, 100u << 20);
    assert_null(result.target.path);
    assert_int_equal(result.target.mode, 1);
    assert_int_equal(result.target.hosts.count, 2);
    assert_string_equal(result.target.hosts.items[1], "b");
    assert_int_equal(result.target.fold.count, 0);
    assert_null(result.target.secret);
    assert_string_equal(where(&result, "l1.max_size"), "default");
    done(&result);
}

static void flag_beats_environment_beats_alias_beats_file(void **state)
{
    (void)state;
    const char *const alias[] = {"CACHE_L1_MAX_SIZE=3", "CACHE_MEMORY_SIZE=9", NULL};
    const char *const both[] = {"DEJA_L1__MAX_SIZE=4", "CACHE_L1_MAX_SIZE=3", NULL};
    const struct dj_flag flag = {"--size", "5"};
    struct result result = resolve("l1:\n  max_size: 2\n", NULL, NULL, 0);
    assert_int_equal(result.target.size, 2);
    assert_string_equal(where(&result, "l1.max_size"), "deja.yaml:2:13");
    done(&result);
    result = resolve("l1:\n  max_size: 2\n", alias, NULL, 0);
    assert_int_equal(result.target.size, 3);
    assert_string_equal(where(&result, "l1.max_size"), "environment CACHE_L1_MAX_SIZE");
    done(&result);
    result = resolve("l1:\n  max_size: 2\n", both, NULL, 0);
    assert_int_equal(result.target.size, 4);
    assert_string_equal(where(&result, "l1.max_size"), "environment DEJA_L1__MAX_SIZE");
    done(&result);
    result = resolve("l1:\n  max_size: 2\n", both, &flag, 1);
    assert_int_equal(result.target.size, 5);
    assert_string_equal(where(&result, "l1.max_size"), "flag --size");
    done(&result);
}

static void every_fault_is_told_with_its_place(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_L1__MAX_SZIE=4", "DEJA_TTL__JITTER=2", "DEJA_KEY=x",
                                       NULL};
    struct result result = resolve("l1:\n  max_szie: 2\n  enabled: yes\n  max_size: 0\n"
                                   "ttl: {response: soon}\nproxy: {mode: fast}\n"
                                   "scope: {fold: [time, tmie]}\nl1.max_bytes: [1, 2]\nfoo: {}\n",
                                   environment, NULL, 0);
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    assert_int_equal(result.diagnostics.error_count, 10);
    expect_message(&result, "deja.yaml:2:3: error: unknown key \"l1.max_szie\": did you mean "
                            "\"l1.max_size\"?");
    expect_message(&result, "deja.yaml:3:12: error: l1.enabled expects true or false, not \"yes\"");
    expect_message(&result, "deja.yaml:4:13: error: l1.max_size must be from 1 to 1000000, not 0");
    expect_message(&result, "deja.yaml:5:17: error: ttl.response expects a duration");
    expect_message(&result, "proxy.mode expects one of paced, instant, not \"fast\"");
    expect_message(&result, "scope.fold expects one of time, uuid, not \"tmie\"");
    expect_message(&result, "deja.yaml:8:15: error: l1.max_bytes takes one value, not a list");
    expect_message(&result, "deja.yaml:9:1: error: unknown key \"foo\"");
    expect_message(&result, "environment DEJA_L1__MAX_SZIE: error: unknown key \"l1.max_szie\"");
    expect_message(&result,
                   "environment DEJA_TTL__JITTER: error: ttl.jitter must be from 0 to 0.5");
    done(&result);
}

static void numbers_and_booleans_have_no_quotes(void **state)
{
    (void)state;
    struct result result =
        resolve("l1: {max_size: \"2\", enabled: \"true\"}\nttl.response: \"30s\"\n", NULL, NULL, 0);
    assert_int_equal(result.diagnostics.error_count, 2);
    done(&result);
}

static void old_names_work_with_one_warning_each(void **state)
{
    (void)state;
    struct result result =
        resolve("memory_cache_size: 7\ncache:\n  l1:\n    enabled: false\n", NULL, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.target.size, 7);
    assert_false(result.target.is_enabled);
    assert_int_equal(result.diagnostics.warning_count, 2);
    expect_message(&result, "deja.yaml:1:20: warning: \"memory_cache_size\" is an old name of "
                            "\"l1.max_size\"");
    done(&result);
    result = resolve("l1.max_size: 8\nmemory_cache_size: 7\n", NULL, NULL, 0);
    assert_int_equal(result.target.size, 8); /* the current name wins */
    done(&result);
}

static void what_is_not_offered_is_refused_unless_it_is_off(void **state)
{
    (void)state;
    const char *const environment[] = {"REDIS_URL=redis://x", NULL};
    struct result result =
        resolve("l2: {enabled: false}\ncache.l2.enabled: false\n", environment, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    expect_message(&result, "environment REDIS_URL: warning: set, but");
    done(&result);
    result = resolve("l2: {redis: {url: x}}\n", NULL, NULL, 0);
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    expect_message(&result, "deja.yaml:1:14: error: l2.redis.url: not offered by this version");
    done(&result);
}

static void references_are_expanded_once(void **state)
{
    (void)state;
    const char *const environment[] = {"HOME_DIR=/home/${ENV:X}", "N=12", NULL};
    struct result result = resolve("upstream.ca_file: \"${ENV:HOME_DIR}/ca.pem\"\n"
                                   "l1.max_size: \"${ENV:N}\"\n",
                                   environment, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_string_equal(result.target.path, "/home/${ENV:X}/ca.pem");
    assert_int_equal(result.target.size, 12);
    done(&result);
    static const char *const broken[] = {"${ENV:NOT_SET}", "${FILE:x}",    "${ENV",
                                         "${ENV:}",        "${CRED:../x}", "${CRED:x}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "upstream.ca_file: \"%s\"\n", broken[i]);
        result = resolve(yaml, environment, NULL, 0);
        assert_int_equal(result.status, DEJA_ERR_CONFIG);
        assert_int_equal(result.diagnostics.error_count, 1);
        done(&result);
    }
}

static void secrets_come_from_files_and_are_never_shown(void **state)
{
    (void)state;
    char path[] = "/tmp/deja-secret-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "hunter2\n", 8), 8);
    close(fd);
    char yaml[200];
    snprintf(yaml, sizeof yaml, "security.secret_file: %s\n", path);
    struct result result = resolve(yaml, NULL, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.diagnostics.warning_count, 0); /* mkstemp makes it 0600 */
    assert_string_equal(result.target.secret, "hunter2");
    size_t index = dj_options_find(result.options, "security.secret");
    assert_string_equal(dj_options_text(result.options, index), "***");
    done(&result);
    assert_int_equal(chmod(path, 0644), 0);
    result = resolve(yaml, NULL, NULL, 0);
    expect_message(&result, "can be read by others");
    done(&result);
    unlink(path);
    const struct dj_flag flag = {"security.secret", "x"};
    result = resolve(NULL, NULL, &flag, 1);
    expect_message(&result, "a secret is never a flag");
    done(&result);
}

static void equality_sees_values_not_places(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_L1__MAX_SIZE=10000", "DEJA_L1__ENABLED=false", NULL};
    struct result a = resolve(NULL, NULL, NULL, 0);
    struct result b = resolve(NULL, environment, NULL, 0);
    assert_true(
        dj_options_is_equal(a.options, b.options, dj_options_find(a.options, "l1.max_size")));
    assert_false(
        dj_options_is_equal(a.options, b.options, dj_options_find(a.options, "l1.enabled")));
    done(&a);
    done(&b);
}

static void described_yaml_reads_back_as_the_defaults(void **state)
{
    (void)state;
    struct dj_buf yaml = {0};
    dj_options_describe(table, COUNT, DJ_DESCRIBE_YAML, &yaml);
    dj_buf_append_byte(&yaml, '\0');
    assert_int_equal(yaml.status, DEJA_OK);
    /* This table's sections are scattered, so its YAML has duplicate sections: only look. */
    assert_non_null(strstr(yaml.data, "  max_size: 10000\n"));
    assert_non_null(strstr(yaml.data, "  hosts: [\"a\", \"b\"]\n"));
    assert_non_null(strstr(yaml.data, "  # secret: \"\"\n"));
    dj_buf_fini(&yaml);
}

static void resolve_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_SERVER__HOSTS=a, b ,c", "DEJA_SECURITY__SECRET=s",
                                       NULL};
    struct dj_options_input input = {.table = table, .count = COUNT, .environment = environment};
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_diagnostics diagnostics = {0};
        struct dj_options *options = NULL;
        struct target target = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_options_resolve(&input, &diagnostics, &options);
        if (status == DEJA_OK)
            status = dj_options_fill(options, &target);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_options_release(table, COUNT, &target);
        dj_options_destroy(options);
        dj_diagnostics_fini(&diagnostics);
    }
}

static void value_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const char *const texts[] = {"true", "7",     "0.2", "5m",   "3kb",
                                        "/a",   "paced", "x,y", "uuid", "secret"};
    _Static_assert(sizeof texts / sizeof *texts == COUNT, "a text for each option");
    bool has_failed = true;
    for (size_t i = 0; i < COUNT; i++, has_failed = true) {
        for (size_t n = 1; has_failed; n++) {
            struct dj_option_value value = {0};
            struct target target = {0};
            struct deja_error error = {""};
            failing_malloc_arm(n);
            enum deja_status status =
                dj_option_value_parse(&table[i], deja_slice_text(texts[i]), ',', &value, &error);
            if (status == DEJA_OK)
                status = dj_option_value_store(&table[i], &value, &target);
            has_failed = failing_malloc_disarm();
            assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
            dj_option_value_release(&table[i], &target);
            dj_option_value_fini(&value);
        }
    }
}

static void profile_fills_what_nobody_said(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_L1__MAX_SIZE=10000", NULL};
    struct result result = resolve("proxy:\n  mode: paced\n", NULL, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.target.size, 500);
    assert_int_equal(result.target.ttl_ms, 7200000);
    assert_string_equal(where(&result, "l1.max_size"), "profile paced");
    assert_int_equal(
        dj_options_origin(result.options, dj_options_find(result.options, "l1.max_size")),
        DJ_ORIGIN_PROFILE);
    assert_string_equal(where(&result, "l1.max_bytes"), "default");
    done(&result);
    /* Said by a file, and by the environment although it is the default's value. */
    result = resolve("ttl:\n  response: 5m\nproxy:\n  mode: paced\n", environment, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.target.size, 10000);
    assert_int_equal(result.target.ttl_ms, 300000);
    done(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_every_type),
        cmocka_unit_test(profile_fills_what_nobody_said),
        cmocka_unit_test(flag_beats_environment_beats_alias_beats_file),
        cmocka_unit_test(every_fault_is_told_with_its_place),
        cmocka_unit_test(numbers_and_booleans_have_no_quotes),
        cmocka_unit_test(old_names_work_with_one_warning_each),
        cmocka_unit_test(what_is_not_offered_is_refused_unless_it_is_off),
        cmocka_unit_test(references_are_expanded_once),
        cmocka_unit_test(secrets_come_from_files_and_are_never_shown),
        cmocka_unit_test(equality_sees_values_not_places),
        cmocka_unit_test(described_yaml_reads_back_as_the_defaults),
        cmocka_unit_test(resolve_survives_each_failed_allocation),
        cmocka_unit_test(value_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
