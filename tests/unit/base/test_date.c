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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_the_calendar),
    };
    return RUN_TESTS(tests);
}
