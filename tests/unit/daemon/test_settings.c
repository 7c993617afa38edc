#include "daemon/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

static const char *const home[] = {"XDG_DATA_HOME=/tmp/x", "DEJA_CONFIG=/dev/null", NULL};

struct result {
    enum deja_status status;
    struct dj_diagnostics diagnostics;
    struct dj_settings settings;
    struct dj_options *options;
};

static struct result load(const char *const *environment, const struct dj_flag *flags, size_t count)
{
    struct result result = {.status = DEJA_OK};
    struct dj_settings_source source = {
        .environment = environment, .flags = flags, .flag_count = count};
    result.status =
        dj_settings_load(&source, &result.diagnostics, &result.settings, &result.options);
    dj_buf_append_byte(&result.diagnostics.text, '\0');
    return result;
}

static struct result load_flag(const char *name, const char *value)
{
    const struct dj_flag flag = {name, value};
    return load(home, &flag, 1);
}

static void done(struct result *result)
{
    dj_settings_fini(&result->settings);
    dj_options_destroy(result->options);
    dj_diagnostics_fini(&result->diagnostics);
}

static void defaults_pass_their_own_validation(void **state)
{
    (void)state;
    struct result result = load(home, NULL, 0);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.diagnostics.warning_count, 0);
    const struct dj_settings *s = &result.settings;
    assert_int_equal(s->server.listen_count, 1);
    assert_string_equal(s->server.listen[0].host, "127.0.0.1");
    assert_int_equal(s->server.listen[0].port, 7070);
    assert_true(s->server.listen[0].is_loopback);
    assert_true(s->server.loops >= 1 && s->server.workers >= 1);
    assert_string_equal(s->data_dir, "/tmp/x/deja");
    assert_string_equal(s->semantic.model_dir, "/tmp/x/deja/models/all-minilm-l6-v2");
    assert_string_equal(s->upstream.url, "https://api.openai.com");
    assert_int_equal(s->l1.entries_max, 10000);
    assert_int_equal(s->l1.default_ttl_ms, 300000);
    assert_int_equal(s->tenant.entries_max, 1000);
    assert_int_equal(s->durability, DJ_DURABILITY_EVERYSEC);
    assert_int_equal(s->log.level, DJ_LOG_INFO);
    assert_int_equal(s->log.format, DJ_LOG_AUTO);
    assert_int_equal(s->slow_operation_ms, 100);
    assert_null(s->secret);
    done(&result);
}

static void rows_are_in_sections_and_say_what_they_do(void **state)
{
    (void)state;
    size_t count = 0;
    const struct dj_option *table = dj_settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(table[i].help);
        assert_non_null(strchr(table[i].name, '.'));
        size_t section = (size_t)(strchr(table[i].name, '.') - table[i].name) + 1;
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(table[i].name, table[j].name);
            assert_int_not_equal(table[i].offset, table[j].offset);
            if (strncmp(table[i].name, table[j].name, section) == 0)
                assert_memory_equal(table[i].name, table[i - 1].name, section);
        }
        bool is_choice = table[i].type == DJ_OPTION_ENUM;
        assert_true(!is_choice || table[i].choices);
    }
}

static void upstream_is_taken_with_and_without_v1(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/",
                                       "http://127.0.0.1:9", "http://127.0.0.1:9//"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct result result = load_flag("--upstream", urls[i]);
        assert_string_equal(result.settings.upstream.url, "http://127.0.0.1:9");
        done(&result);
    }
    static const char *const wrong[] = {
        "ftp://x",       "api.openai.com", "http://", "http://user@host",
        "http://host?x", "http:///v1",     ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct result result = load_flag("--upstream", wrong[i]);
        assert_int_equal(result.status, DEJA_ERR_CONFIG);
        assert_int_equal(result.diagnostics.error_count, 1);
        done(&result);
    }
}

static void addresses_have_their_usual_forms(void **state)
{
    (void)state;
    struct result result = load_flag("--listen", "7071, localhost:0,[::1]:7072");
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.settings.server.listen_count, 3);
    assert_int_equal(result.settings.server.listen[0].port, 7071);
    assert_string_equal(result.settings.server.listen[1].host, "127.0.0.1");
    assert_string_equal(result.settings.server.listen[2].host, "::1");
    done(&result);
    static const char *const wrong[] = {"host:1", "127.0.0.1:65536", "::1:80", "127.0.0.1", "",
                                        "x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        result = load_flag("--listen", wrong[i]);
        assert_int_equal(result.status, DEJA_ERR_CONFIG);
        done(&result);
    }
}

static void public_address_is_refused_unless_insecure(void **state)
{
    (void)state;
    struct result result = load_flag("--listen", "0.0.0.0:7070");
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    assert_non_null(strstr(result.diagnostics.text.data, "--insecure"));
    done(&result);
    const struct dj_flag flags[] = {{"--listen", ":7070"}, {"--insecure", "true"}};
    result = load(home, flags, 2);
    assert_int_equal(result.status, DEJA_OK);
    assert_string_equal(result.settings.server.listen[0].host, "0.0.0.0");
    done(&result);
}

static void old_trees_and_further_names_are_accepted(void **state)
{
    (void)state;
    char path[] = "/tmp/deja-settings-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *yaml = "cache:\n  l1: {max_size: 77, enabled: true}\n  l2: {enabled: false}\n"
                       "  semantic: {similarity_threshold: 0.9}\ndefault_ttl: 3600\n";
    assert_int_equal(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    const char *const environment[] = {"HOME=/home/x",
                                       "CACHE_L1_DEFAULT_TTL=2m",
                                       "REDIS_URL=redis://other",
                                       "DEJA_SCOPE__FOLD=time,date",
                                       "DEJA_SERVER=http://x",
                                       NULL};
    struct dj_settings_source source = {.config_path = path, .environment = environment};
    struct result result = {.status = DEJA_OK};
    assert_int_equal(
        dj_settings_load(&source, &result.diagnostics, &result.settings, &result.options), DEJA_OK);
    assert_int_equal(result.settings.l1.entries_max, 77);
    assert_int_equal(result.settings.l1.default_ttl_ms, 120000);
    assert_float_equal(result.settings.semantic.api_threshold, 0.9, 0);
    assert_int_equal(result.settings.ttl.api_ms, 3600000);
    assert_int_equal(result.settings.scope_fold, DJ_FOLD_TIME | DJ_FOLD_DATE);
    assert_int_equal(result.diagnostics.warning_count, 5);
    done(&result);
    unlink(path);
}

static void reload_names_what_needs_a_restart(void **state)
{
    (void)state;
    const char *const changed[] = {"XDG_DATA_HOME=/tmp/x", "DEJA_CONFIG=/dev/null",
                                   "DEJA_SERVER__LISTEN=127.0.0.1:1", "DEJA_LOG__LEVEL=debug",
                                   NULL};
    struct result running = load(home, NULL, 0);
    struct result loaded = load(changed, NULL, 0);
    struct dj_buf names = {0};
    assert_int_equal(dj_settings_not_reloadable(running.options, loaded.options, &names), 1);
    assert_memory_equal(names.data, "server.listen\n", names.len);
    dj_buf_fini(&names);
    done(&running);
    done(&loaded);
}

static void profiles_set_the_tracker_where_nobody_did(void **state)
{
    (void)state;
    struct result result = load(home, NULL, 0);
    assert_int_equal(result.settings.performance.tracker_batch, 100);
    assert_int_equal(result.settings.performance.tracker_flush_ms, 100);
    done(&result);
    result = load_flag("performance.profile", "low-latency");
    assert_int_equal(result.settings.performance.tracker_size, 1000);
    assert_int_equal(result.settings.performance.tracker_batch, 10);
    assert_int_equal(result.settings.performance.tracker_flush_ms, 10);
    done(&result);
    result = load_flag("performance.profile", "high-throughput");
    assert_int_equal(result.settings.performance.tracker_size, 100000);
    assert_int_equal(result.settings.performance.tracker_batch, 1000);
    assert_int_equal(result.settings.performance.tracker_flush_ms, 500);
    done(&result);
    const struct dj_flag flags[] = {{"performance.profile", "low-latency"},
                                    {"performance.tracker_batch", "7"}};
    result = load(home, flags, 2);
    assert_int_equal(result.settings.performance.tracker_batch, 7);
    assert_int_equal(result.settings.performance.tracker_flush_ms, 10);
    assert_string_equal(
        dj_options_where(result.options,
                         dj_options_find(result.options, "performance.tracker_flush")),
        "profile low-latency");
    done(&result);
}

static void low_latency_profile_gives_up_and_comes_back_sooner(void **state)
{
    (void)state;
    struct result result = load_flag("performance.profile", "low-latency");
    const struct dj_settings_guard *guard = &result.settings.guard;
    assert_int_equal(result.status, DEJA_OK);
    assert_true(guard->failure_ratio > 0.499 && guard->failure_ratio < 0.501);
    assert_int_equal(guard->ratio_requests_min, 20);
    assert_int_equal(guard->failures_max, 5);
    assert_int_equal(guard->open_ms, 5000);
    assert_int_equal(guard->open_ms_max, 60000);
    assert_true(guard->open_growth > 1.999 && guard->open_growth < 2.001);
    assert_true(guard->open_jitter > 0.099 && guard->open_jitter < 0.101);
    assert_int_equal(guard->half_open_first, 1);
    assert_int_equal(guard->half_open_max, 3);
    assert_int_equal(guard->probe_ms, 5000);
    assert_int_equal(guard->attempts_max, 2);
    done(&result);
    result = load_flag("performance.profile", "balanced");
    assert_int_equal(result.settings.guard.open_ms, 30000);
    assert_int_equal(result.settings.guard.attempts_max, 3);
    done(&result);
    const struct dj_flag flags[] = {{"performance.profile", "low-latency"},
                                    {"circuit_breaker.timeout", "7s"}};
    result = load(home, flags, 2);
    assert_int_equal(result.settings.guard.open_ms, 7000);
    assert_int_equal(result.settings.guard.open_ms_max, 60000);
    done(&result);
}

static void http_embedder_needs_an_address_and_a_model(void **state)
{
    (void)state;
    struct result result = load_flag("semantic.embedder", "http");
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    assert_non_null(strstr(result.diagnostics.text.data, "semantic.http.url"));
    assert_non_null(strstr(result.diagnostics.text.data, "semantic.http.model"));
    done(&result);
    const struct dj_flag flags[] = {{"semantic.embedder", "http"},
                                    {"semantic.http.url", "https://embeddings.example"},
                                    {"semantic.http.model", "small"}};
    result = load(home, flags, 3);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.settings.http_embedder.timeout_ms, 2000);
    done(&result);
}

static void anthropic_is_where_it_is_or_where_everything_goes(void **state)
{
    (void)state;
    static const struct {
        const char *url, *said, *wanted;
    } rows[] = {
        {"https://api.openai.com", "", "https://api.anthropic.com"},
        {"https://api.openai.com/v1/", "", "https://api.anthropic.com"},
        {"http://127.0.0.1:4000/v1", "", "http://127.0.0.1:4000"},
        {"http://127.0.0.1:4000", "https://claude.example/v1/", "https://claude.example"},
        {"https://api.openai.com", "https://api.openai.com", "https://api.openai.com"},
    };
    const char *const environment[] = {"HOME=/x", "DEJA_CONFIG=/dev/null", NULL};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dj_flag flags[] = {{"upstream.url", rows[i].url},
                                        {"upstream.anthropic.url", rows[i].said}};
        struct result result = load(environment, flags, 2);
        assert_int_equal(result.status, DEJA_OK);
        assert_string_equal(result.settings.upstream.anthropic_url, rows[i].wanted);
        assert_int_equal(dj_settings_other_anthropic(&result.settings) != NULL,
                         strcmp(result.settings.upstream.url, rows[i].wanted) != 0);
        done(&result);
    }
    const struct dj_flag wrong[] = {{"upstream.anthropic.url", "ftp://x"}};
    struct result result = load(environment, wrong, 1);
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    assert_non_null(strstr(result.diagnostics.text.data, "upstream.anthropic.url expects"));
    done(&result);
}

static void broken_secret_is_not_repeated(void **state)
{
    (void)state;
    const char *const environment[] = {"HOME=/x", "DEJA_CONFIG=/dev/null",
                                       "DEJA_SECURITY__SECRET=topsecret", NULL};
    struct result result = load(environment, NULL, 0);
    assert_int_equal(result.status, DEJA_ERR_CONFIG);
    assert_null(strstr(result.diagnostics.text.data, "topsecret"));
    done(&result);
}

/* A file in the source tree ends with what the table says in that form. */
static void assert_written_from_table(const char *path, enum dj_describe_form form)
{
    struct dj_buf described = {0};
    size_t count = 0;
    const struct dj_option *table = dj_settings_table(&count);
    dj_options_describe(table, count, form, &described);
    assert_int_equal(described.status, DEJA_OK);
    char *text = test_malloc(described.len + 4096);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t len = fread(text, 1, described.len + 4096, file);
    fclose(file);
    assert_true(len > described.len);
    assert_memory_equal(text + len - described.len, described.data, described.len);
    test_free(text);
    dj_buf_fini(&described);
}

static void documents_are_the_table(void **state)
{
    (void)state;
    assert_written_from_table(DJ_SOURCE_ROOT "/deja.yaml.example", DJ_DESCRIBE_YAML);
    assert_written_from_table(DJ_SOURCE_ROOT "/docs/configuration.md", DJ_DESCRIBE_MARKDOWN);
}

static void sample_file_loads_as_the_defaults(void **state)
{
    (void)state;
    size_t count = 0;
    const struct dj_option *table = dj_settings_table(&count);
    struct dj_settings_source source = {.config_path = DJ_SOURCE_ROOT "/deja.yaml.example",
                                        .environment = home};
    struct result defaults = load(home, NULL, 0);
    struct result result = {.status = DEJA_OK};
    assert_int_equal(
        dj_settings_load(&source, &result.diagnostics, &result.settings, &result.options), DEJA_OK);
    for (size_t i = 0; i < count; i++)
        if (!dj_options_is_equal(defaults.options, result.options, i))
            fail_msg("%s differs", table[i].name);
    done(&result);
    done(&defaults);
}

static void load_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_settings_source source = {.config_path = DJ_SOURCE_ROOT "/deja.yaml.example",
                                        .environment = home};
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct result result = {.status = DEJA_OK};
        failing_malloc_arm(n);
        result.status =
            dj_settings_load(&source, &result.diagnostics, &result.settings, &result.options);
        has_failed = failing_malloc_disarm();
        assert_int_equal(result.status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        done(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_pass_their_own_validation),
        cmocka_unit_test(profiles_set_the_tracker_where_nobody_did),
        cmocka_unit_test(low_latency_profile_gives_up_and_comes_back_sooner),
        cmocka_unit_test(http_embedder_needs_an_address_and_a_model),
        cmocka_unit_test(rows_are_in_sections_and_say_what_they_do),
        cmocka_unit_test(upstream_is_taken_with_and_without_v1),
        cmocka_unit_test(addresses_have_their_usual_forms),
        cmocka_unit_test(public_address_is_refused_unless_insecure),
        cmocka_unit_test(old_trees_and_further_names_are_accepted),
        cmocka_unit_test(reload_names_what_needs_a_restart),
        cmocka_unit_test(anthropic_is_where_it_is_or_where_everything_goes),
        cmocka_unit_test(broken_secret_is_not_repeated),
        cmocka_unit_test(documents_are_the_table),
        cmocka_unit_test(sample_file_loads_as_the_defaults),
        cmocka_unit_test(load_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
