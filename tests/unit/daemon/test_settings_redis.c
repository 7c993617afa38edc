/* The shared tier out of URLs, addresses and the further names of the environment. */
#include "daemon/settings.h"

#include "check.h"
#include "daemon/tier_redis.h"

#define ENVIRONMENT_MAX 8u

struct result {
    enum deja_status status;
    struct dj_diagnostics diagnostics;
    struct dj_settings settings;
};

/* variables: up to ENVIRONMENT_MAX - 3, then NULL. */
static struct result load(const char *const *variables)
{
    const char *environment[ENVIRONMENT_MAX] = {"XDG_DATA_HOME=/tmp/x", "DEJA_CONFIG=/dev/null"};
    for (size_t i = 0; variables[i]; i++)
        environment[i + 2] = variables[i];
    struct result result = {.status = DEJA_OK};
    struct dj_settings_source source = {.environment = environment};
    result.status = dj_settings_load(&source, &result.diagnostics, &result.settings, NULL);
    dj_buf_append_byte(&result.diagnostics.text, '\0');
    return result;
}

static void done(struct result *result)
{
    dj_settings_fini(&result->settings);
    dj_diagnostics_fini(&result->diagnostics);
}

static void without_a_server_there_is_no_shared_tier(void **state)
{
    (void)state;
    static const char *const none[] = {NULL};
    static const char *const off[] = {"CACHE_L2_ENABLED=false", "REDIS_URL=redis://h", NULL};
    struct result result = load(none);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(dj_tier_redis_options(&result.settings).address_count, 0);
    done(&result);
    result = load(off);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(dj_tier_redis_options(&result.settings).address_count, 0);
    done(&result);
}

struct row {
    const char *variables[4];
    const char *host;
    const char *user;
    const char *password;
    uint32_t port;
    uint32_t db;
    bool is_tls;
};

static void assert_same(const char *found, const char *expected)
{
    if (expected)
        assert_string_equal(found, expected);
    else
        assert_null(found);
}

static void a_server_is_named_in_its_usual_ways(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {{"REDIS_URL=redis://h"}, "h", NULL, NULL, 6379, 0, false},
        {{"REDIS_URL=rediss://u:p%40%3A%2Fx@h:1/7"}, "h", "u", "p@:/x", 1, 7, true},
        {{"REDIS_URL=valkey://:p@[::1]:2"}, "::1", NULL, "p", 2, 0, false},
        {{"REDIS_URL=redis://u:p@h:1/7", "REDIS_PASSWORD=q", "REDIS_DB=3"},
         "h",
         "u",
         "q",
         1,
         3,
         false},
        {{"REDIS_URL=redis://h:1", "REDIS_ADDR=other:2"}, "other", NULL, NULL, 2, 0, false},
        {{"REDIS_ADDR=h:1"}, "h", NULL, NULL, 1, 0, false},
        {{"REDIS_HOST=h", "REDIS_PORT=5", "REDIS_AUTH=s"}, "h", NULL, "s", 5, 0, false},
        {{"REDIS_HOST=h", "REDIS_USE_TLS=true"}, "h", NULL, NULL, 6379, 0, true},
        {{"REDIS_HOST=h", "REDIS_TLS_CA_PATH=/ca"}, "h", NULL, NULL, 6379, 0, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result = load(rows[i].variables);
        assert_int_equal(result.status, DEJA_OK);
        struct dj_redis_options options = dj_tier_redis_options(&result.settings);
        assert_int_equal(options.address_count, 1);
        assert_string_equal(options.addresses[0].host, rows[i].host);
        assert_int_equal(options.addresses[0].port, rows[i].port);
        assert_same(options.user, rows[i].user);
        assert_same(options.password, rows[i].password);
        assert_int_equal(options.db, rows[i].db);
        assert_int_equal(options.is_tls, rows[i].is_tls);
        done(&result);
    }
}

static void several_addresses_are_taken(void **state)
{
    (void)state;
    static const char *const variables[] = {"REDIS_ADDR=a:1,b:2,c", "DEJA_L2__REDIS__MODE=cluster",
                                            NULL};
    struct result result = load(variables);
    assert_int_equal(result.status, DEJA_OK);
    struct dj_redis_options options = dj_tier_redis_options(&result.settings);
    assert_int_equal(options.address_count, 3);
    assert_string_equal(options.addresses[2].host, "c");
    assert_int_equal(options.addresses[2].port, 6379);
    assert_int_equal(options.mode, DJ_REDIS_CLUSTER);
    done(&result);
}

static void what_cannot_be_is_said_without_the_password(void **state)
{
    (void)state;
    static const struct {
        const char *variables[4];
        const char *what;
    } rows[] = {
        {{"CACHE_L2_ENABLED=true"}, "no server is named"},
        {{"REDIS_URL=http://topsecret@h"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://u:topsecret@h:99999"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://u:topsecret@h/x"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://u:topsecret%zz@h"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://u:topsecret%00@h"}, "l2.redis.url expects"},
        {{"REDIS_URL=redis://u@h"}, "l2.redis.password"},
        {{"REDIS_ADDR=h:0"}, "l2.redis.addresses expects"},
        {{"REDIS_HOST=a b"}, "l2.redis.host expects"},
        {{"REDIS_HOST=h", "REDIS_TLS_CERT_PATH=/c"}, "l2.redis.key_file"},
        {{"REDIS_HOST=h", "REDIS_DB=1", "DEJA_L2__REDIS__MODE=cluster"}, "only database 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result = load(rows[i].variables);
        assert_int_equal(result.status, DEJA_ERR_CONFIG);
        assert_non_null(strstr(result.diagnostics.text.data, rows[i].what));
        assert_null(strstr(result.diagnostics.text.data, "topsecret"));
        done(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_server_there_is_no_shared_tier),
        cmocka_unit_test(a_server_is_named_in_its_usual_ways),
        cmocka_unit_test(several_addresses_are_taken),
        cmocka_unit_test(what_cannot_be_is_said_without_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
