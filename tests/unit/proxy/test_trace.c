/* tests/unit/proxy/test_trace.c - which trace a request belongs to. */
#include "check.h"

#include "proxy/trace.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static struct dj_trace read_one(const char *value)
{
    const struct dj_http_header header = {deja_slice_text("Traceparent"), deja_slice_text(value)};
    const struct dj_http_request request = {.headers = &header, .header_count = 1};
    struct dj_trace trace = {.id = ""};
    dj_trace_read(&request, &trace);
    return trace;
}

static void a_callers_trace_is_carried_on_with_a_span_of_our_own(void **state)
{
    (void)state;
    struct dj_trace trace = read_one("00-" TRACE "-" SPAN "-01");
    char first[DJ_TRACEPARENT_BYTES];
    char second[DJ_TRACEPARENT_BYTES];
    assert_string_equal(dj_trace_id(&trace), TRACE);
    assert_false(trace.is_restarted);
    dj_trace_write(&trace, first);
    dj_trace_write(&trace, second);
    assert_int_equal(strlen(first), DJ_TRACEPARENT_BYTES - 1);
    assert_memory_equal(first, "00-" TRACE "-", 36);
    assert_string_equal(first + 52, "-01");
    assert_memory_not_equal(first + 36, SPAN, 16);
    assert_memory_not_equal(first + 36, second + 36, 16);
    struct dj_trace again = read_one(first); /* what is written can be read */
    assert_string_equal(again.id, TRACE);
    assert_false(again.is_restarted);
}

static void a_request_without_one_stays_without_one(void **state)
{
    (void)state;
    const struct dj_http_request request = {.header_count = 0};
    struct dj_trace trace = {.id = ""};
    dj_trace_read(&request, &trace);
    assert_null(dj_trace_id(&trace));
    assert_false(trace.is_restarted);
}

static void a_value_that_cannot_be_read_starts_a_new_trace(void **state)
{
    (void)state;
    static const char *const values[] = {
        "",
        "x",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01-extra",
        "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "-" SPAN "-zz",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "01-" TRACE "-" SPAN "-01x",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct dj_trace trace = read_one(values[i]);
        if (!trace.is_restarted)
            fail_msg("read as a trace: %s", values[i]);
        assert_int_equal(strlen(trace.id), 32);
        assert_string_not_equal(trace.id, TRACE);
        assert_string_equal(trace.flags, "00");
    }
}

static void a_later_version_may_be_longer(void **state)
{
    (void)state;
    struct dj_trace trace = read_one("01-" TRACE "-" SPAN "-01-what-comes-later");
    assert_string_equal(trace.id, TRACE);
    assert_false(trace.is_restarted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callers_trace_is_carried_on_with_a_span_of_our_own),
        cmocka_unit_test(a_request_without_one_stays_without_one),
        cmocka_unit_test(a_value_that_cannot_be_read_starts_a_new_trace),
        cmocka_unit_test(a_later_version_may_be_longer),
    };
    return RUN_TESTS(tests);
}
