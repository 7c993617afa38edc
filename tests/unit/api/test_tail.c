/* tests/unit/api/test_tail.c - GET /api/v1/tail: what is told, to whom, and when. */
#include "api_fixture.h"

static void put_and_look_up(struct fixture *fixture, const char *key)
{
    char headers[128];
    snprintf(headers, sizeof headers, JSON "Authorization: Bearer %s\r\n", key);
    assert_int_equal(ask(fixture, "PUT", "/api/v1/entries", headers,
                         "{\"query\":\"a secret question\",\"response\":\"an answer\"}"),
                     201);
    assert_int_equal(
        ask(fixture, "POST", "/api/v1/lookup", headers, "{\"query\":\"a secret question\"}"), 200);
    assert_int_equal(ask(fixture, "POST", "/api/v1/lookup", headers, "{\"query\":\"zebra\"}"), 200);
}

#define ANNA "Authorization: Bearer sk-anna\r\n"
#define BERT "Authorization: Bearer sk-bert\r\n"

/* What the last answer told as next, as the path that asks for the rest. */
static void follow(const struct fixture *fixture, const char *more, char *out, size_t cap)
{
    const char *at = strstr(fixture->reply, "\"next\":");
    assert_non_null(at);
    snprintf(out, cap, "/api/v1/tail?after=%.*s%s", (int)strspn(at + 7, "0123456789"), at + 7,
             more);
}

static void requests_are_told_in_order_without_their_text(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    put_and_look_up(fixture, "sk-anna");
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail", ANNA, ""), 200);
    const char *hit = strstr(fixture->reply, "\"result\":\"hit_exact\"");
    const char *miss = strstr(fixture->reply, "\"result\":\"miss\"");
    assert_true(hit && miss && hit < miss);
    assert_reply(fixture, "\"api\":\"api\"");
    assert_reply(fixture, "\"level\":\"memory\"");
    assert_reply(fixture, "\"id\":null");
    assert_reply(fixture, "\"lost\":0");
    assert_false(has(fixture, "secret") || has(fixture, "zebra") || has(fixture, "answer"));
    follow(fixture, "", path, sizeof path);
    assert_int_equal(ask(fixture, "GET", path, ANNA, ""), 200);
    assert_reply(fixture, "\"requests\":[]");
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=1", ANNA, ""), 200);
    assert_false(has(fixture, "hit_exact"));
    assert_reply(fixture, "\"miss\"");
}

static void another_tenant_sees_nothing(void **state)
{
    struct fixture *fixture = *state;
    put_and_look_up(fixture, "sk-anna");
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=1000", BERT, ""), 200);
    assert_reply(fixture, "\"requests\":[]");
}

static uint32_t places_taken(struct fixture *fixture)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < DJ_TAIL_PLACES; i++)
        taken += atomic_load(&fixture->api.tail_places[i]) != 0;
    return taken;
}

static void waiting_ends_with_the_time_and_at_once_while_draining(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=0&wait=1ms", ANNA, ""), 200);
    assert_reply(fixture, "\"requests\":[]");
    atomic_store(&fixture->api.is_draining, true);
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=0&wait=30s", ANNA, ""), 200);
    assert_reply(fixture, "\"requests\":[]");
    assert_int_equal(places_taken(fixture), 0);
}

static void no_more_wait_than_there_are_places(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < DJ_TAIL_PLACES; i++)
        atomic_store(&fixture->api.tail_places[i], 2); /* nobody's: names are odd */
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=0&wait=30s", ANNA, ""), 429);
    assert_reply(fixture, "overloaded");
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=0", ANNA, ""), 200);
    assert_int_equal(places_taken(fixture), DJ_TAIL_PLACES);
    atomic_store(&fixture->api.tail_places[7], 0);
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail?last=0&wait=1ms", ANNA, ""), 200);
    assert_int_equal(places_taken(fixture), DJ_TAIL_PLACES - 1);
    for (uint32_t i = 0; i < DJ_TAIL_PLACES; i++)
        atomic_store(&fixture->api.tail_places[i], 0);
}

static void a_place_of_an_earlier_daemon_starts_over(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    put_and_look_up(fixture, "sk-anna");
    assert_int_equal(ask(fixture, "GET", "/api/v1/tail", ANNA, ""), 200);
    follow(fixture, "", path, sizeof path);
    fixture->context.started_ms = 12345; /* between two requests: nobody reads it */
    assert_int_equal(ask(fixture, "GET", path, ANNA, ""), 200);
    assert_reply(fixture, "\"result\":\"hit_exact\"");
}

static void wrong_parameters_are_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[][2] = {
        {"last=1001", "\"last\""},
        {"last=-1", "\"last\""},
        {"last=", "\"last\""},
        {"after=x", "\"after\""},
        {"wait=31s", "\"wait\""},
        {"wait=soon", "\"wait\""},
        {"last=1&after=1", "\"after\""},
        {"after=4503599627370496", "\"after\""},
        {"after=18446744073709551616", "\"after\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[96];
        snprintf(path, sizeof path, "/api/v1/tail?%s", bad[i][0]);
        assert_int_equal(ask(fixture, "GET", path, ANNA, ""), 400);
        assert_reply(fixture, bad[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_told_in_order_without_their_text, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_tenant_sees_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_ends_with_the_time_and_at_once_while_draining,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_more_wait_than_there_are_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_of_an_earlier_daemon_starts_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(wrong_parameters_are_refused_by_name, set_up, tear_down),
    };
    return RUN_TESTS(tests);
}
