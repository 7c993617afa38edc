/* tests/unit/policy/test_cron.c - lines, and the times that follow from them. */
#include "policy/cron.h"
#include "check.h"

#include "base/date.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS INT64_C(86400000)
#define NOW_MS INT64_C(1770091506789) /* 2026-02-03T04:05:06.789Z, a Tuesday */

static struct dj_cron read(const char *line)
{
    struct dj_cron cron;
    struct deja_error err = {""};
    if (dj_cron_read(deja_slice_text(line), &cron, &err) != DEJA_OK)
        fail_msg("%s: %s", line, err.message);
    return cron;
}

static void a_line_is_next_due_when_its_row_says(void **state)
{
    static const struct {
        const char *line;
        const char *next;
    } rows[] = {
        {"* * * * *", "2026-02-03T04:06:00.000Z"},
        {"*/15 * * * *", "2026-02-03T04:15:00.000Z"},
        {"5 4 * * *", "2026-02-04T04:05:00.000Z"}, /* strictly after */
        {"6 4 * * *", "2026-02-03T04:06:00.000Z"},
        {"0 */6 * * *", "2026-02-03T06:00:00.000Z"},
        {"30 2 * * *", "2026-02-04T02:30:00.000Z"},
        {"0 0 1 * *", "2026-03-01T00:00:00.000Z"},
        {"0 9-17/4 * * *", "2026-02-03T09:00:00.000Z"},
        {"10,20,40 4 * * *", "2026-02-03T04:10:00.000Z"},
        {"30/10 * * * *", "2026-02-03T04:30:00.000Z"},
        {"0 12 * * fri", "2026-02-06T12:00:00.000Z"},
        {"0 12 * * SAT-SUN", "2026-02-07T12:00:00.000Z"},
        {"0 12 * * 7", "2026-02-08T12:00:00.000Z"},
        {"0 12 * * 0", "2026-02-08T12:00:00.000Z"},
        {"0 0 13 * fri", "2026-02-06T00:00:00.000Z"},  /* either will do */
        {"0 0 */2 * fri", "2026-02-13T00:00:00.000Z"}, /* begins with *: both */
        {"0 0 29 feb *", "2028-02-29T00:00:00.000Z"},
        {"0 0 31 apr,may *", "2026-05-31T00:00:00.000Z"},
        {"59 23 31 12 *", "2026-12-31T23:59:00.000Z"},
        {"@hourly", "2026-02-03T05:00:00.000Z"},
        {"@daily", "2026-02-04T00:00:00.000Z"},
        {"@midnight", "2026-02-04T00:00:00.000Z"},
        {"@weekly", "2026-02-08T00:00:00.000Z"},
        {"@monthly", "2026-03-01T00:00:00.000Z"},
        {"@yearly", "2027-01-01T00:00:00.000Z"},
        {" 0\t5  *  *\t* ", "2026-02-03T05:00:00.000Z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct dj_cron cron = read(rows[i].line);
        char text[DJ_DATE_RFC3339_BYTES];
        dj_date_rfc3339(dj_cron_next(&cron, NOW_MS), text);
        if (strcmp(text, rows[i].next) != 0)
            fail_msg("%s: %s, not %s", rows[i].line, text, rows[i].next);
    }
}

static void a_line_that_cannot_be_meant_is_refused_with_its_reason(void **state)
{
    static const struct {
        const char *line;
        const char *why;
    } rows[] = {
        {"", "minute is missing"},
        {"* * * *", "weekday is missing"},
        {"* * * * * *", "there are more"},
        {"60 * * * *", "minute \"60\""},
        {"* 24 * * *", "hour"},
        {"* * 0 * *", "day of the month"},
        {"* * 32 * *", "day of the month"},
        {"* * * 13 *", "month"},
        {"* * * * 8", "weekday"},
        {"* * * * mond", "weekday"},
        {"-1 * * * *", "minute"},
        {"1- * * * *", "minute"},
        {"1,,2 * * * *", "minute"},
        {"*/0 * * * *", "step"},
        {"*/x * * * *", "step"},
        {"*/99999999999999999999 * * * *", "step"},
        {"* 22-2 * * *", "runs backwards"},
        {"0 0 31 feb *", "never comes"},
        {"0 0 31 4,6,9,11 *", "never comes"},
        {"@reboot", "is not known"},
        {"@daily *", "is not known"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct deja_error err = {""};
        struct dj_cron cron = {.minutes = 77};
        assert_int_equal(dj_cron_read(deja_slice_text(rows[i].line), &cron, &err),
                         DEJA_ERR_INVALID);
        assert_int_equal(cron.minutes, 77); /* untouched */
        if (!strstr(err.message, rows[i].why))
            fail_msg("%s: %s", rows[i].line, err.message);
    }
    char text[DJ_CRON_TEXT_BYTES_MAX + 1];
    struct dj_cron cron;
    memset(text, ' ', sizeof text);
    assert_int_equal(dj_cron_read(deja_slice(text, sizeof text), &cron, NULL), DEJA_ERR_LIMIT);
}

/* The 29th of February around 2100, which is no leap year, is the longest wait there is. */
static void the_longest_wait_is_found(void **state)
{
    struct dj_cron cron = read("0 0 29 2 *");
    char text[DJ_DATE_RFC3339_BYTES];
    (void)state;
    int64_t last = INT64_C(3981600000) * 1000; /* 2096-03-03 */
    dj_date_rfc3339(dj_cron_next(&cron, last), text);
    assert_string_equal(text, "2104-02-29T00:00:00.000Z");
}

static void a_week_of_times_is_what_walking_each_minute_finds(void **state)
{
    static const char *const lines[] = {"*/7 3-5 * * *", "0 0 1,15 * mon", "13 */5 * * 1-5",
                                        "59 23 * * sun", "0,30 8-18/2 2-6 feb,mar *"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct dj_cron cron = read(lines[i]);
        int64_t next = dj_cron_next(&cron, NOW_MS);
        for (int64_t at = NOW_MS / MINUTE_MS * MINUTE_MS + MINUTE_MS; at < NOW_MS + 7 * DAY_MS;
             at += MINUTE_MS) {
            struct dj_date date = dj_date_from_ms(at);
            bool is_of_month = cron.days >> date.day & 1;
            bool is_of_week = cron.weekdays >> date.weekday & 1;
            bool is_day = cron.is_any_day || cron.is_any_weekday ? is_of_month && is_of_week
                                                                 : is_of_month || is_of_week;
            bool is_due = (cron.minutes >> date.minute & 1) && (cron.hours >> date.hour & 1) &&
                          (cron.months >> date.month & 1) && is_day;
            assert_int_equal(is_due, at == next);
            if (is_due)
                next = dj_cron_next(&cron, at);
        }
    }
}

static void the_calendar_has_ends(void **state)
{
    struct dj_cron cron = read("* * * * *");
    (void)state;
    assert_int_equal(dj_cron_next(&cron, INT64_MAX), DJ_CRON_NEVER);
    assert_int_equal(dj_cron_next(&cron, INT64_C(253402300799999)), DJ_CRON_NEVER);
    assert_int_equal(dj_cron_next(&cron, INT64_MIN), 0);
    assert_int_equal(dj_cron_next(&cron, -1), 0);
    assert_int_equal(dj_cron_next(&cron, 0), MINUTE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_next_due_when_its_row_says),
        cmocka_unit_test(a_line_that_cannot_be_meant_is_refused_with_its_reason),
        cmocka_unit_test(the_longest_wait_is_found),
        cmocka_unit_test(a_week_of_times_is_what_walking_each_minute_finds),
        cmocka_unit_test(the_calendar_has_ends),
    };
    return RUN_TESTS(tests);
}
