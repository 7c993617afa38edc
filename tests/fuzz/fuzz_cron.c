/* A time of eight bytes and a line. What is read has a next time that fits it, comes after, and
 * has no other before it (looked for among the hours before).
 */
#include "fuzz.h"

#include "base/date.h"
#include "policy/cron.h"

#define MINUTE_MS INT64_C(60000)

static bool is_due(const struct dj_cron *cron, int64_t ms)
{
    struct dj_date date = dj_date_from_ms(ms);
    bool is_of_month = cron->days >> date.day & 1;
    bool is_of_week = cron->weekdays >> date.weekday & 1;
    return (cron->minutes >> date.minute & 1) && (cron->hours >> date.hour & 1) &&
           (cron->months >> date.month & 1) &&
           (cron->is_any_day || cron->is_any_weekday ? is_of_month && is_of_week
                                                     : is_of_month || is_of_week);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int64_t after;
    struct dj_cron cron;
    struct deja_error err = {""};
    if (len < sizeof after)
        return 0;
    memcpy(&after, data, sizeof after);
    enum deja_status status =
        dj_cron_read(deja_slice(data + sizeof after, len - sizeof after), &cron, &err);
    if (status != DEJA_OK) {
        FUZZ_CHECK((status == DEJA_ERR_INVALID || status == DEJA_ERR_LIMIT) && err.message[0]);
        return 0;
    }
    int64_t next = dj_cron_next(&cron, after);
    FUZZ_CHECK((next > after || next == DJ_CRON_NEVER) && next >= 0);
    if (next == DJ_CRON_NEVER)
        return 0;
    FUZZ_CHECK(next % MINUTE_MS == 0 && is_due(&cron, next));
    for (int64_t before = next - MINUTE_MS, i = 0; before > after && before >= 0 && i < 6 * 60;
         i++) {
        FUZZ_CHECK(!is_due(&cron, before));
        before -= MINUTE_MS;
    }
    return 0;
}
