/* What a TLS client needs before it speaks; the speaking is
 * tests/integration/test_redis_faults.py's. */
#include "crypto/tls.h"

#include "check.h"
#include "failing_malloc.h"

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    static const struct {
        struct dj_tls_client_options options;
        const char *what;
    } rows[] = {
        {{.ca_file = "/nonexistent/ca"}, "/nonexistent/ca"},
        {{.ca_file = "/dev/null"}, "/dev/null"},
        {{.cert_file = "/nonexistent/cert"}, "its key's"},
        {{.key_file = "/nonexistent/key"}, "its key's"},
        {{.cert_file = "/nonexistent/cert", .key_file = "/nonexistent/key"}, "/nonexistent/cert"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deja_error error = {.message = ""};
        struct dj_tls_client *client = NULL;
        assert_int_equal(dj_tls_client_create(&rows[i].options, &client, &error), DEJA_ERR_CONFIG);
        assert_non_null(strstr(error.message, rows[i].what));
        assert_null(client);
    }
}

static void sessions_are_for_names_and_addresses(void **state)
{
    (void)state;
    static const char *const hosts[] = {"localhost", "valkey.example", "127.0.0.1", "::1"};
    struct dj_tls_client *client = NULL;
    const struct dj_tls_client_options options = {.ca_file = NULL};
    assert_int_equal(dj_tls_client_create(&options, &client, NULL), DEJA_OK);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct ssl_st *session = dj_tls_session_create(client, hosts[i]);
        assert_non_null(session);
        assert_null(dj_tls_session_doubt(session));
        dj_tls_session_destroy(session);
    }
    dj_tls_session_destroy(NULL);
    dj_tls_client_destroy(client);
    dj_tls_client_destroy(NULL);
}

static void dj_tls_client_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_tls_client_options options = {.server_name = "valkey.example"};
    for (size_t n = 1;; n++) {
        struct dj_tls_client *client = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_tls_client_create(&options, &client, NULL);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_tls_client_destroy(client);
            return;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_cannot_be_used_are_named),
        cmocka_unit_test(sessions_are_for_names_and_addresses),
        cmocka_unit_test(dj_tls_client_create_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
