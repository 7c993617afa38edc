/* tests/unit/api/test_problem.c - errors in the words of each surface. */
#include "check.h"

#include <stdio.h>

#include "api/problem.h"

static void assert_body(enum dj_surface surface, const struct dj_problem *problem, const char *path,
                        const char *body)
{
    struct dj_buf out = {0};
    dj_problem_write(surface, problem, deja_slice_text(path), deja_slice_text("r1"), &out);
    assert_int_equal(out.status, DEJA_OK);
    dj_buf_append_byte(&out, '\0');
    assert_string_equal(out.data, body);
    dj_buf_fini(&out);
}

static void the_path_tells_the_surface(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum dj_surface surface;
    } cases[] = {
        {"/v1/chat/completions", DJ_SURFACE_OPENAI},
        {"/v1/messages", DJ_SURFACE_ANTHROPIC},
        {"/v1/messages/batches", DJ_SURFACE_ANTHROPIC},
        {"/v1/messagesx", DJ_SURFACE_OPENAI},
        {"/v1/caches", DJ_SURFACE_LANGCACHE},
        {"/v1/caches/c/entries", DJ_SURFACE_LANGCACHE},
        {"/v1/cachesx", DJ_SURFACE_OPENAI},
        {"/gptcache/put", DJ_SURFACE_GPTCACHE},
        {"/v1", DJ_SURFACE_NATIVE},
        {"/api/v1/entries", DJ_SURFACE_NATIVE},
        {"", DJ_SURFACE_NATIVE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_problem_surface(deja_slice_text(cases[i].path)), cases[i].surface);
}

static void each_surface_has_its_body(void **state)
{
    (void)state;
    static const struct dj_problem_field field = {"ttl", "range", "too \"big\""};
    const struct dj_problem problem = {.status = 400,
                                       .type = "invalid_request",
                                       .detail = "ttl: too big",
                                       .fields = &field,
                                       .field_count = 1};
    assert_body(DJ_SURFACE_OPENAI, &problem, "/v1/x",
                "{\"error\":{\"message\":\"ttl: too big\",\"type\":\"invalid_request_error\","
                "\"param\":\"ttl\",\"code\":\"invalid_request\"}}");
    assert_body(DJ_SURFACE_ANTHROPIC, &problem, "/v1/messages",
                "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
                "\"message\":\"ttl: too big\"},\"request_id\":\"r1\"}");
    assert_body(
        DJ_SURFACE_NATIVE, &problem, "/api/v1/entries",
        "{\"type\":\"invalid_request\",\"title\":\"Bad Request\",\"status\":400,"
        "\"detail\":\"ttl: too big\",\"instance\":\"/api/v1/entries\",\"request_id\":\"r1\","
        "\"fields\":[{\"field\":\"ttl\",\"rule\":\"range\",\"message\":\"too "
        "\\\"big\\\"\"}]}");
}

/* What the SDKs of LangCache know; another type makes their error classes fail to parse. */
static void langcache_has_a_closed_list_of_types(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *type;
        const char *body;
    } cases[] = {
        {400, "invalid_json", "\"Bad Request\",\"type\":\"/errors/invalid-data\",\"status\":400"},
        {401, "unauthorized",
         "\"Unauthorized\",\"type\":\"/errors/authentication-failed\",\"status\":401"},
        {403, "credential_suspended",
         "\"Forbidden\",\"type\":\"/errors/insufficient-permissions\",\"status\":403"},
        {404, "not_found", "\"Not Found\",\"type\":\"/errors/resource-not-found\",\"status\":404"},
        {413, "payload_too_large",
         "\"Content Too Large\",\"type\":\"/errors/payload-too-large\",\"status\":413"},
        {503, "cache_unavailable",
         "\"Failed Dependency\",\"type\":\"/errors/resource-unavailable\",\"status\":424"},
        {503, "overloaded",
         "\"Too Many Requests\",\"type\":\"/errors/too-many-requests\",\"status\":429"},
        {500, "internal",
         "\"Internal Server Error\",\"type\":\"/errors/unexpected-error\",\"status\":500"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct dj_problem problem = {
            .status = cases[i].status, .type = cases[i].type, .detail = "why"};
        char body[256];
        snprintf(body, sizeof body,
                 "{\"title\":%s,\"detail\":\"why\",\"instance\":\"/v1/caches/c\"}", cases[i].body);
        assert_body(DJ_SURFACE_LANGCACHE, &problem, "/v1/caches/c", body);
    }
}

static void sdks_before_0_12_have_other_names(void **state)
{
    (void)state;
    static const struct {
        const char *agent;
        enum dj_surface surface;
    } cases[] = {
        {"speakeasy-sdk/typescript 0.11.1 2.760.2 @redis-ai/langcache", DJ_SURFACE_LANGCACHE_0_11},
        {"speakeasy-sdk/python 0.9.11 2.1.1 langcache", DJ_SURFACE_LANGCACHE_0_11},
        {"speakeasy-sdk/python 0.12.0 2.1.1 langcache", DJ_SURFACE_LANGCACHE},
        {"speakeasy-sdk/python 0.14.0 2.932.9 langcache", DJ_SURFACE_LANGCACHE},
        {"speakeasy-sdk/python 1.0.0", DJ_SURFACE_LANGCACHE},
        {"speakeasy-sdk/python 0.", DJ_SURFACE_LANGCACHE},
        {"speakeasy-sdk/", DJ_SURFACE_LANGCACHE},
        {"curl/8 0.1", DJ_SURFACE_LANGCACHE},
        {"", DJ_SURFACE_LANGCACHE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dj_problem_langcache(deja_slice_text(cases[i].agent)), cases[i].surface);
    const struct dj_problem gone = {.status = 404, .type = "not_found"};
    assert_body(DJ_SURFACE_LANGCACHE_0_11, &gone, "/v1/caches/c",
                "{\"title\":\"Not Found\",\"type\":\"/errors/resource/not-found\",\"status\":404,"
                "\"detail\":\"Not Found\",\"instance\":\"/v1/caches/c\"}");
    const struct dj_problem down = {.status = 503, .type = "cache_unavailable", .detail = "why"};
    assert_body(DJ_SURFACE_LANGCACHE_0_11, &down, "/v1/caches/c",
                "{\"title\":\"Failed Dependency\","
                "\"type\":\"/errors/database/resource-database-unavailable\",\"status\":424,"
                "\"detail\":\"why\",\"instance\":\"/v1/caches/c\"}");
}

static void a_gptcache_server_says_422_and_where(void **state)
{
    (void)state;
    static const struct dj_problem_field field = {"prompt", "required", "must be there"};
    const struct dj_problem wrong = {
        .status = 400, .type = "invalid_request", .fields = &field, .field_count = 1};
    const struct dj_problem other = {.status = 404, .type = "not_found"};
    assert_int_equal(dj_problem_status(DJ_SURFACE_GPTCACHE, &wrong), 422);
    assert_int_equal(dj_problem_status(DJ_SURFACE_GPTCACHE, &other), 404);
    assert_body(DJ_SURFACE_GPTCACHE, &wrong, "/gptcache/put",
                "{\"detail\":[{\"type\":\"required\",\"loc\":[\"body\",\"prompt\"],"
                "\"msg\":\"must be there\"}]}");
    assert_body(DJ_SURFACE_GPTCACHE, &other, "/gptcache/x", "{\"detail\":\"Not Found\"}");
}

static void bytes_that_are_not_text_do_not_break_the_body(void **state)
{
    (void)state;
    const struct dj_problem problem = {.status = 404, .type = "not_found"};
    assert_body(DJ_SURFACE_NATIVE, &problem, "/\xff\"",
                "{\"type\":\"not_found\",\"title\":\"Not Found\",\"status\":404,"
                "\"detail\":\"Not Found\",\"instance\":\"/?\\\"\",\"request_id\":\"r1\"}");
}

static void a_problem_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_problem problem = {.status = 404, .type = "not_found"};
    for (size_t n = 1;; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        dj_problem_write(DJ_SURFACE_NATIVE, &problem, deja_slice_text("/"), deja_slice_text("r"),
                         &out);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(out.status == DEJA_OK, !has_failed);
        dj_buf_fini(&out);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_path_tells_the_surface),
        cmocka_unit_test(each_surface_has_its_body),
        cmocka_unit_test(langcache_has_a_closed_list_of_types),
        cmocka_unit_test(sdks_before_0_12_have_other_names),
        cmocka_unit_test(a_gptcache_server_says_422_and_where),
        cmocka_unit_test(bytes_that_are_not_text_do_not_break_the_body),
        cmocka_unit_test(a_problem_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
