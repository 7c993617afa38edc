#include "tools/config_tool.h"

#include "check.h"

static const struct dj_option table[] = {
    {"log.level", DJ_OPTION_ENUM, "info", .choices = "info|debug", .help = "Says \"how much\"."},
    {"security.secret", DJ_OPTION_SECRET, "", .help = "Hidden."},
};

struct run {
    int code;
    char text[4096];
};

static struct run run(const char *const *environment, int argc, char **argv)
{
    struct run result = {.code = -1};
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_options *options = NULL;
    struct dj_options_input input = {.table = table, .count = 2, .environment = environment};
    enum deja_status status = dj_options_resolve(&input, &diagnostics, &options);
    assert_true(status == DEJA_OK || status == DEJA_ERR_CONFIG);
    struct dj_config_tool tool = {table, 2, options, &diagnostics};
    FILE *file = tmpfile();
    assert_non_null(file);
    result.code = dj_config_tool_run(&tool, argc, argv, file, file);
    rewind(file);
    result.text[fread(result.text, 1, sizeof result.text - 1, file)] = '\0';
    fclose(file);
    dj_options_destroy(options);
    dj_diagnostics_fini(&diagnostics);
    return result;
}

static void check_prints_faults_and_exits_78(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_LOG__LEVEL=loud", NULL};
    struct run result = run(environment, 1, (char *[]){"check", NULL});
    assert_int_equal(result.code, 78);
    assert_non_null(strstr(result.text, "environment DEJA_LOG__LEVEL: error: log.level expects"));
    result = run(NULL, 2, (char *[]){"check", "--json", NULL});
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.text, "{\"valid\":true,\"errors\":0"));
}

static void print_shows_origins_and_no_secret(void **state)
{
    (void)state;
    const char *const environment[] = {"DEJA_SECURITY__SECRET=hunter2", NULL};
    struct run result = run(environment, 2, (char *[]){"print", "--origin", NULL});
    assert_int_equal(result.code, 0);
    assert_non_null(strstr(result.text, "# environment DEJA_SECURITY__SECRET"));
    assert_non_null(strstr(result.text, "# default"));
    assert_null(strstr(result.text, "hunter2"));
}

static void describe_comes_in_three_forms(void **state)
{
    (void)state;
    assert_non_null(strstr(run(NULL, 1, (char *[]){"describe", NULL}).text, "| `log.level` |"));
    assert_non_null(
        strstr(run(NULL, 2, (char *[]){"describe", "--yaml", NULL}).text, "  level: info\n"));
    assert_non_null(strstr(run(NULL, 2, (char *[]){"describe", "--json", NULL}).text,
                           "\"help\":\"Says \\\"how much\\\".\""));
}

static void wrong_use_is_exit_2(void **state)
{
    (void)state;
    assert_int_equal(run(NULL, 0, (char *[]){NULL}).code, 2);
    assert_int_equal(run(NULL, 1, (char *[]){"chekc", NULL}).code, 2);
    assert_int_equal(run(NULL, 2, (char *[]){"check", "--jason", NULL}).code, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_prints_faults_and_exits_78),
        cmocka_unit_test(print_shows_origins_and_no_secret),
        cmocka_unit_test(describe_comes_in_three_forms),
        cmocka_unit_test(wrong_use_is_exit_2),
    };
    return RUN_TESTS(tests);
}
