#include "base/date.h"
#include "check.h"

static void dates_are_those_of_the_calendar(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
        unsigned weekday;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z", 4},
        {-1, "1969-12-31T23:59:59.999Z", 3},
        {951782400000, "2000-02-29T00:00:00.000Z", 2},
        {951868800000, "2000-03-01T00:00:00.000Z", 3},
        {1709164800123, "2024-02-29T00:00:00.123Z", 4},
        {4107542400000, "2100-03-01T00:00:00.000Z", 1},
        {784111777000, "1994-11-06T08:49:37.000Z", 0},
        {INT64_MAX, "9999-12-31T23:59:59.999Z", 5},
        {INT64_MIN, "0000-01-01T00:00:00.000Z", 6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[DJ_DATE_RFC3339_BYTES];
        dj_date_rfc3339(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(dj_date_from_ms(rows[i].ms).weekday, rows[i].weekday);
    }
}

static void a_time_is_read_as_it_was_meant(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *same; /* NULL: it is none */
    } rows[] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
        {"2026-02-03T04:05:06.789Z", "2026-02-03T04:05:06.789Z"},
        {"2026-02-03T04:05:06.7Z", "2026-02-03T04:05:06.700Z"},
        {"2026-02-03T04:05:06.789999999z", "2026-02-03T04:05:06.789Z"},
        {"2026-02-03 04:05:06+01:30", "2026-02-03T02:35:06.000Z"},
        {"2026-02-03t23:05:06-01:00", "2026-02-04T00:05:06.000Z"},
        {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"},
        {"9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"},
        {"2025-02-29T00:00:00Z", NULL},
        {"2026-04-31T00:00:00Z", NULL},
        {"2026-13-01T00:00:00Z", NULL},
        {"2026-00-01T00:00:00Z", NULL},
        {"2026-02-03T24:00:00Z", NULL},
        {"2026-02-03T04:05:60Z", NULL},
        {"2026-02-03T04:05:06", NULL},
        {"2026-02-03T04:05:06.Z", NULL},
        {"2026-02-03T04:05:06+0130", NULL},
        {"2026-02-03", NULL},
        {"1969-12-31T23:59:59Z", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[DJ_DATE_RFC3339_BYTES];
        int64_t ms = 77;
        enum deja_status status = dj_date_parse(deja_slice_text(rows[i].text), &ms);
        assert_int_equal(status, rows[i].same ? DEJA_OK : DEJA_ERR_INVALID);
        if (!rows[i].same) {
            assert_int_equal(ms, 77);
            continue;
        }
        dj_date_rfc3339(ms, text);
        assert_string_equal(text, rows[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_the_calendar),
        cmocka_unit_test(a_time_is_read_as_it_was_meant),
    };
    return RUN_TESTS(tests);
}
