#include "check.h"

#include <deja/base.h>

static void conditions_have_the_names_of_the_daemons_problems(void **state)
{
    (void)state;
    static const struct {
        enum deja_status status;
        const char *name;
    } rows[] = {
        {DEJA_OK, "ok"},
        {DEJA_ERR_TIMEOUT, "timeout"},
        {DEJA_ERR_QUERY_EMPTY, "query_empty"},
        {DEJA_ERR_QUERY_TOO_LONG, "query_too_long"},
        {DEJA_ERR_QUERY_INVALID_CHARACTERS, "query_invalid_characters"},
        {DEJA_ERR_TENANT_MISSING, "tenant_missing"},
        {DEJA_ERR_FEATURE_DISABLED, "feature_disabled"},
        {DEJA_ERR_RATE_LIMITED, "rate_limited"},
        {DEJA_ERR_CACHE_UNAVAILABLE, "cache_unavailable"},
        {DEJA_ERR_CIRCUIT_OPEN, "circuit_open"},
        {DEJA_ERR_HEALTH_CHECK_FAILED, "health_check_failed"},
        {(enum deja_status) - 999, "unknown"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(deja_status_name(rows[i].status), rows[i].name);
    assert_string_equal(deja_status_text(DEJA_ERR_CIRCUIT_OPEN), "circuit breaker is open");
}

static void every_status_has_a_text(void **state)
{
    (void)state;
    for (int status = DEJA_OK; status >= DEJA_ERR_HEALTH_CHECK_FAILED; status--) {
        if (status < DEJA_ERR_MISMATCH && status > DEJA_ERR_QUERY_EMPTY)
            continue; /* not given */
        assert_string_not_equal(deja_status_text((enum deja_status)status), "unknown status");
        assert_string_not_equal(deja_status_name((enum deja_status)status), "unknown");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_have_the_names_of_the_daemons_problems),
        cmocka_unit_test(every_status_has_a_text),
    };
    return RUN_TESTS(tests);
}
