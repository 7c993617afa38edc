/* Addresses, TLS, the admin listener, and what may be called for tenants. */
#include "daemon/settings.h"

#include "check.h"
#include "crypto/tls_server.h"
#include "failing_malloc.h"

#define FLAGS_MAX 8u

struct result {
    enum deja_status status;
    struct dj_diagnostics diagnostics;
    struct dj_settings settings;
};

/* pairs: names and values, up to FLAGS_MAX of each, then NULL. */
static struct result load(const char *const *pairs)
{
    static const char *const environment[] = {"XDG_DATA_HOME=/tmp/x", "DEJA_CONFIG=/dev/null",
                                              NULL};
    struct dj_flag flags[FLAGS_MAX];
    struct result result = {.status = DEJA_OK};
    size_t count = 0;
    for (; pairs[2 * count]; count++)
        flags[count] = (struct dj_flag){pairs[2 * count], pairs[2 * count + 1]};
    struct dj_settings_source source = {
        .environment = environment, .flags = flags, .flag_count = count};
    result.status = dj_settings_load(&source, &result.diagnostics, &result.settings, NULL);
    dj_buf_append_byte(&result.diagnostics.text, '\0');
    return result;
}

static void done(struct result *result)
{
    dj_settings_fini(&result->settings);
    dj_diagnostics_fini(&result->diagnostics);
}

#define PAIR "tls.cert_file", "/c.pem", "tls.key_file", "/k.pem"

static void certificates_make_addresses_speak_tls_unless_written_otherwise(void **state)
{
    (void)state;
    const char *const pairs[] = {PAIR, "server.listen",
                                 "127.0.0.1:1,http://127.0.0.1:2,https://[::1]:3", NULL};
    struct result result = load(pairs);
    assert_int_equal(result.status, DEJA_OK);
    const struct dj_settings_address *listen = result.settings.server.listen;
    assert_int_equal(result.settings.server.listen_count, 3);
    assert_true(listen[0].is_tls && !listen[1].is_tls && listen[2].is_tls);
    assert_string_equal(listen[2].host, "::1");
    assert_int_equal(listen[1].port, 2);
    done(&result);
    const char *const plain[] = {"server.listen", "127.0.0.1:1", NULL};
    result = load(plain);
    assert_false(result.settings.server.listen[0].is_tls);
    done(&result);
}

static void the_admin_listener_has_the_certificates_of_tls_or_its_own(void **state)
{
    (void)state;
    const char *const inherited[] = {PAIR, "admin.listen", "127.0.0.1:1,unix:/run/x.sock", NULL};
    struct result result = load(inherited);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.settings.admin.listen_count, 2);
    assert_true(result.settings.admin.listen[0].is_tls);
    assert_true(result.settings.admin.listen[1].is_unix);
    assert_true(result.settings.admin.listen[1].is_loopback);
    assert_false(result.settings.admin.listen[1].is_tls);
    assert_string_equal(result.settings.admin.listen[1].host, "/run/x.sock");
    assert_string_equal(result.settings.admin_tls.cert_files.items[0], "/c.pem");
    done(&result);
    const char *const own[] = {
        PAIR, "admin.tls.cert_file", "/a.pem,/b.pem", "admin.tls.key_file", "/a.key,/b.key", NULL};
    result = load(own);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.settings.admin_tls.cert_files.count, 2);
    assert_string_equal(result.settings.admin_tls.key_files.items[1], "/b.key");
    done(&result);
}

static void what_does_not_go_together_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *pairs[2 * FLAGS_MAX + 1];
        const char *said;
    } rows[] = {
        {{"tls.cert_file", "/c.pem", NULL}, "go together"},
        {{"tls.key_file", "/k.pem", NULL}, "go together"},
        {{"tls.cert_file", "/c,/d", "tls.key_file", "/k", NULL}, "go together"},
        {{"tls.client_auth", "required", NULL}, "client_ca_file"},
        {{"tls.client_ca_file", "/ca", NULL}, "client_auth"},
        {{"admin.tls.client_auth", "optional", NULL}, "admin.tls.client_ca_file"},
        {{"server.listen", "https://127.0.0.1:1", NULL}, "tls.cert_file"},
        {{"server.listen", "unix:/run/x", NULL}, "no Unix sockets"},
        {{"admin.listen", "unix:x", NULL}, "admin.listen expects"},
        {{"admin.listen", "0.0.0.0:1", NULL}, "without TLS"},
        {{"server.listen", "0.0.0.0:1", NULL}, "without TLS"},
        {{PAIR, "server.listen", "http://0.0.0.0:1", NULL}, "without TLS"},
        {{"upstream.allowed_addresses", "10.0.0.1,here", NULL}, "\"here\""},
        {{"webhooks.allowed_addresses", "there", NULL}, "webhooks.allowed_addresses expects"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result result = load(rows[i].pairs);
        assert_int_equal(result.status, DEJA_ERR_CONFIG);
        if (!strstr(result.diagnostics.text.data, rows[i].said))
            fail_msg("%zu: %s", i, result.diagnostics.text.data);
        done(&result);
    }
}

static void allowed_addresses_become_a_guard(void **state)
{
    (void)state;
    const char *const pairs[] = {"upstream.allowed_addresses", "10.0.0.0/8,127.0.0.1:80", NULL};
    struct result result = load(pairs);
    assert_int_equal(result.status, DEJA_OK);
    assert_int_equal(result.settings.upstream_guard.count, 2);
    assert_int_equal(result.settings.upstream_guard.exceptions[1].port, 80);
    done(&result);
}

static void loading_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *const pairs[] = {PAIR, "admin.listen", "127.0.0.1:1,unix:/run/x.sock", NULL};
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        struct result result = load(pairs);
        bool has_failed = failing_malloc_disarm();
        assert_true(has_failed || result.status == DEJA_OK);
        done(&result);
        if (!has_failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_make_addresses_speak_tls_unless_written_otherwise),
        cmocka_unit_test(the_admin_listener_has_the_certificates_of_tls_or_its_own),
        cmocka_unit_test(what_does_not_go_together_is_told),
        cmocka_unit_test(allowed_addresses_become_a_guard),
        cmocka_unit_test(loading_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
