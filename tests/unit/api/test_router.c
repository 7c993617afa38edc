/* tests/unit/api/test_router.c - who gets to which handler, and what everybody else is told. */
#include "api_fixture.h"

static void a_foreign_host_or_origin_is_refused_in_the_surfaces_words(void **state)
{
    struct fixture *fixture = *state;
    static const char host[] = "GET /api/v1/stats HTTP/1.1\r\nHost: evil.example\r\n"
                               "Connection: close\r\n\r\n";
    assert_int_equal(send_raw(fixture, host, sizeof host - 1), 421);
    assert_reply(fixture, "application/problem+json");
    assert_reply(fixture, "\"type\":\"wrong_host\"");
    static const char openai[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\n"
                                 "Connection: close\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(send_raw(fixture, openai, sizeof openai - 1), 421);
    assert_reply(fixture, "{\"error\":{\"message\":");
    assert_int_equal(ask(fixture, "GET", "/api/v1/stats", "Origin: https://evil.example\r\n", ""),
                     403);
    assert_reply(fixture, "\"type\":\"foreign_origin\"");
}

static void a_sane_request_id_is_kept_and_another_is_made(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/livez", "X-Request-Id: mine-42\r\n", ""), 200);
    assert_reply(fixture, "X-Request-Id: mine-42\r\n");
    assert_int_equal(ask(fixture, "GET", "/livez", "X-Request-Id: not sane\r\n", ""), 200);
    assert_false(has(fixture, "not sane"));
    assert_reply(fixture, "X-Request-Id: ");
    char first[33];
    memcpy(first, strstr(fixture->reply, "X-Request-Id: ") + 14, 32);
    first[32] = '\0';
    ask(fixture, "GET", "/livez", "", "");
    assert_false(has(fixture, first));
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/nothing", "", ""), 404);
    assert_reply(fixture, "\"type\":\"not_found\"");
    assert_int_equal(ask(fixture, "GET", "/v1", "", ""), 404);
    assert_int_equal(ask(fixture, "GET", "/api/v1/entries/a/b", "", ""), 404);
    assert_int_equal(ask(fixture, "POST", "/livez", JSON, "{}"), 405);
    assert_reply(fixture, "Allow: GET\r\n");
    assert_int_equal(ask(fixture, "PUT", "/api/v1/entries/0", JSON, "{}"), 405);
    assert_reply(fixture, "Allow: GET, DELETE\r\n");
    assert_int_equal(ask(fixture, "GET", "/v1/../admin/reload", "", ""), 400);
    assert_int_equal(ask(fixture, "GET", "/v1/%2E%2e/x", "", ""), 400);
    assert_reply(fixture, "\"code\":\"invalid_path\"");
}

static void writes_want_json(void **state)
{
    struct fixture *fixture = *state;
    static const char body[] = "{\"query\":\"q\"}";
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", "", body), 415);
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", "Content-Type: text/plain\r\n", body),
                     415);
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup",
                         "Content-Type: Application/JSON; charset=utf-8\r\n", body),
                     200);
}

static void admin_wants_the_token(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "POST", "/admin/reload", JSON, "{}"), 401);
    assert_reply(fixture, "WWW-Authenticate: Bearer\r\n");
    assert_int_equal(ask(fixture, "POST", "/admin/reload",
                         JSON "Authorization: Bearer 0123456789abcdee\r\n", "{}"),
                     401);
    assert_int_equal(fixture->reloads, 0);
    assert_int_equal(ask(fixture, "POST", "/admin/reload",
                         JSON "Authorization: Bearer 0123456789abcdef\r\n", "{}"),
                     202);
    assert_int_equal(
        ask(fixture, "POST", "/admin/reload", JSON "X-Deja-Token: 0123456789abcdef\r\n", "{}"),
        202);
    assert_int_equal(fixture->reloads, 2);
}

static void readyz_is_unready_while_draining(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/readyz", "", ""), 200);
    atomic_store(&fixture->api.is_draining, true);
    assert_int_equal(ask(fixture, "GET", "/readyz", "", ""), 503);
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 503);
    assert_int_equal(ask(fixture, "GET", "/livez", "", ""), 200);
}

static void health_tells_components_and_disabled_ones_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    int status = ask(fixture, "GET", "/health/detailed", "", "");
    assert_true(status == 200 || status == 207); /* a slow machine may be degraded */
    assert_reply(fixture, "\"l1\":{\"status\":\"healthy\"");
    assert_reply(fixture, "\"lmdb\":{\"status\":\"disabled\"");
    assert_reply(fixture, "\"redis\":{\"status\":\"disabled\"");
    assert_reply(fixture, "\"id\":\"toy:64\"");
    assert_reply(fixture, "\"tracking_enabled\":true");
}

static void metrics_come_in_the_form_that_was_asked_for(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/metrics", "", ""), 200);
    assert_reply(fixture, "Content-Type: text/plain; version=0.0.4");
    assert_reply(fixture, "semantic_cache_build_info{");
    assert_reply(fixture, "semantic_cache_size_bytes{");
    assert_reply(fixture, "process_resident_memory_bytes ");
    assert_int_equal(ask(fixture, "GET", "/metrics",
                         "Accept: application/openmetrics-text; version=1.0.0\r\n", ""),
                     200);
    assert_reply(fixture, "Content-Type: application/openmetrics-text; version=1.0.0");
    assert_reply(fixture, "# EOF\n");
}

static void a_fault_of_the_framing_has_the_surfaces_form(void **state)
{
    struct fixture *fixture = *state;
    static const char text[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                               "Content-Length: 999999999999\r\n\r\n";
    assert_int_equal(send_raw(fixture, text, sizeof text - 1), 413);
    assert_reply(fixture, "\"code\":\"payload_too_large\"");
    static const char junk[] = "\x16\x03\x01 nonsense\r\n\r\n";
    assert_int_equal(send_raw(fixture, junk, sizeof junk - 1), 400);
    assert_reply(fixture, "application/problem+json");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_foreign_host_or_origin_is_refused_in_the_surfaces_words),
        TEST(a_sane_request_id_is_kept_and_another_is_made),
        TEST(unknown_paths_and_methods_are_told_apart),
        TEST(writes_want_json),
        TEST(admin_wants_the_token),
        TEST(readyz_is_unready_while_draining),
        TEST(health_tells_components_and_disabled_ones_do_not_count),
        TEST(metrics_come_in_the_form_that_was_asked_for),
        TEST(a_fault_of_the_framing_has_the_surfaces_form),
    };
    return RUN_TESTS(tests);
}
