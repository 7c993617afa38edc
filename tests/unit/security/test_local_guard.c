#include "check.h"
#include "security/local_guard.h"

static const char *const hosts[] = {"deja.lan", "box:7070"};
static const char *const origins[] = {"https://app.example:8443"};
static const struct dj_local_config config = {hosts, 2, origins, 1};

static enum dj_local_verdict check_host(const char *host)
{
    const struct dj_local_request request = {.method = deja_slice_text("GET"),
                                             .host = deja_slice_text(host)};
    return dj_local_check(&config, &request);
}

static enum dj_local_verdict check_origin(const char *host, const char *origin)
{
    const struct dj_local_request request = {.method = deja_slice_text("POST"),
                                             .host = deja_slice_text(host),
                                             .origin = deja_slice_text(origin)};
    return dj_local_check(&config, &request);
}

static void loopback_names_and_configured_hosts_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {
        "localhost", "LocalHost:7070", "127.0.0.1", "127.0.0.1:80", "127.255.255.254:1",
        "[::1]",     "[::1]:7070",     "deja.lan",  "DEJA.LAN:99",  "box:7070"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(check_host(good[i]), DJ_LOCAL_OK);
}

static void names_that_only_look_like_loopback_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "evil.com",
                                      "127.0.0.1.evil.com",
                                      "localhost.evil.com",
                                      "evil.localhost",
                                      "localhost.",
                                      "localhost@evil.com",
                                      "evil.com@localhost",
                                      "user:pass@127.0.0.1",
                                      "127.1",
                                      "127.0.0.1.",
                                      "127.0.0.01",
                                      "127.0.0.256",
                                      "127.0.0.1.1",
                                      "0x7f.0.0.1",
                                      "2130706433",
                                      "0.0.0.0",
                                      "128.0.0.1",
                                      "1270.0.0.1",
                                      "[::]",
                                      "[::1",
                                      "::1",
                                      "[::1]x",
                                      "[::1%lo]",
                                      "[::ffff:127.0.0.1]",
                                      "localhost:",
                                      "localhost:x",
                                      "localhost:123456",
                                      "localhost:80:80",
                                      "localhost, evil.com",
                                      "localhost evil.com",
                                      "localhost/",
                                      "localhost\t",
                                      "box",
                                      "box:7071",
                                      "box:7070:1",
                                      "deja.lan.",
                                      "xdeja.lan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(check_host(bad[i]), DJ_LOCAL_BAD_HOST);
    const struct dj_local_request nul = {.method = deja_slice_text("GET"),
                                         .host = deja_slice("localhost\0", 10)};
    assert_int_equal(dj_local_check(&config, &nul), DJ_LOCAL_BAD_HOST);
    assert_int_equal(dj_local_status(DJ_LOCAL_BAD_HOST), 403);
    assert_true(dj_local_is_loopback(deja_slice_text("127.0.0.1:1")));
    assert_false(dj_local_is_loopback(deja_slice_text("deja.lan")));
}

static void rebound_page_is_refused_by_its_host_although_its_origin_fits(void **state)
{
    (void)state;
    assert_int_equal(check_origin("evil.com:7070", "http://evil.com:7070"), DJ_LOCAL_BAD_HOST);
}

static void foreign_origins_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"null",
                                      "",
                                      "http://evil.com",
                                      "http://localhost:3000",
                                      "http://127.0.0.1:7070",
                                      "http://localhost",
                                      "http://localhost:7070.evil.com",
                                      "http://localhost:7070@evil.com",
                                      "http://localhost:7070/",
                                      "http://u@localhost:7070",
                                      "file://localhost:7070",
                                      "localhost:7070",
                                      "http://",
                                      "http://localhost:7070 http://evil.com",
                                      "https://app.example",
                                      "http://app.example:8443"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(check_origin("localhost:7070", bad[i]), DJ_LOCAL_BAD_ORIGIN);
    assert_int_equal(check_origin("localhost:7070", "http://LOCALHOST:7070"), DJ_LOCAL_OK);
    assert_int_equal(check_origin("localhost", "http://localhost:80"), DJ_LOCAL_OK);
    assert_int_equal(check_origin("deja.lan:443", "https://deja.lan"), DJ_LOCAL_OK);
    assert_int_equal(check_origin("[::1]:7070", "http://[::1]:7070"), DJ_LOCAL_OK);
    assert_int_equal(check_origin("localhost:7070", "https://app.example:8443"), DJ_LOCAL_OK);
    assert_int_equal(check_origin("localhost:7070", NULL), DJ_LOCAL_OK);
    assert_int_equal(dj_local_status(DJ_LOCAL_BAD_ORIGIN), 403);
}

static void writes_need_json(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *type;
        bool has_body;
        bool needs_json;
        enum dj_local_verdict verdict;
    } rows[] = {
        {"POST", "application/json", true, true, DJ_LOCAL_OK},
        {"POST", "Application/JSON ; charset=utf-8", true, true, DJ_LOCAL_OK},
        {"POST", "application/json;charset=utf-8", true, true, DJ_LOCAL_OK},
        {"POST", "text/plain", true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", "application/jsonx", true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", "text/plain;application/json", true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", "text/plain, application/json", true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", "", true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", NULL, false, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"PUT", NULL, true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"DELETE", NULL, false, true, DJ_LOCAL_OK},
        {"DELETE", NULL, true, true, DJ_LOCAL_BAD_CONTENT_TYPE},
        {"POST", "multipart/form-data; boundary=x", true, false, DJ_LOCAL_OK},
        {"GET", NULL, false, true, DJ_LOCAL_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct dj_local_request request = {.method = deja_slice_text(rows[i].method),
                                                 .host = deja_slice_text("localhost"),
                                                 .content_type = deja_slice_text(rows[i].type),
                                                 .has_body = rows[i].has_body,
                                                 .needs_json = rows[i].needs_json};
        assert_int_equal(dj_local_check(&config, &request), rows[i].verdict);
    }
    assert_int_equal(dj_local_status(DJ_LOCAL_BAD_CONTENT_TYPE), 415);
    assert_int_equal(dj_local_status(DJ_LOCAL_OK), 200);
    assert_non_null(strstr(dj_local_text(DJ_LOCAL_BAD_CONTENT_TYPE), "application/json"));
}

static void admin_token_opens_only_to_itself(void **state)
{
    (void)state;
    struct dj_admin_token token;
    struct dj_admin_token other;
    char text[DJ_ADMIN_TOKEN_TEXT_BYTES];
    dj_admin_token_make(&token);
    dj_admin_token_make(&other);
    dj_admin_token_text(&token, text);
    assert_int_equal(strlen(text), 64);
    assert_true(dj_admin_token_is(&token, deja_slice_text(text)));
    assert_false(dj_admin_token_is(&other, deja_slice_text(text)));
    assert_false(dj_admin_token_is(&token, deja_slice(text, 63)));
    assert_false(dj_admin_token_is(&token, deja_slice(NULL, 0)));
    text[63] = text[63] == '0' ? '1' : '0';
    assert_false(dj_admin_token_is(&token, deja_slice_text(text)));
    dj_admin_token_fini(&token);
    dj_admin_token_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_names_and_configured_hosts_are_taken),
        cmocka_unit_test(names_that_only_look_like_loopback_are_refused),
        cmocka_unit_test(rebound_page_is_refused_by_its_host_although_its_origin_fits),
        cmocka_unit_test(foreign_origins_are_refused),
        cmocka_unit_test(writes_need_json),
        cmocka_unit_test(admin_token_opens_only_to_itself),
    };
    return RUN_TESTS(tests);
}
