/* base/date.c - see date.h. Days are counted from 0000-03-01 in eras of 400 years, so that the leap
 * day is the last of its year and needs no case of its own.
 */
#include "base/date.h"

#define MS_PER_DAY INT64_C(86400000)
#define MS_MIN INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define MS_MAX INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
#define DAYS_TO_1970 719468             /* from 0000-03-01 */
#define DAYS_PER_ERA 146097

struct dj_date dj_date_from_ms(int64_t ms)
{
    if (ms < MS_MIN)
        ms = MS_MIN;
    if (ms > MS_MAX)
        ms = MS_MAX;
    int64_t since_1970 = ms / MS_PER_DAY - (ms % MS_PER_DAY < 0);
    uint32_t of_day = (uint32_t)(ms - since_1970 * MS_PER_DAY);
    int64_t days = since_1970 + DAYS_TO_1970;
    int64_t era = (days >= 0 ? days : days - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
    uint32_t day_of_era = (uint32_t)(days - era * DAYS_PER_ERA);
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t from_march = (5 * day_of_year + 2) / 153;
    uint32_t month = from_march < 10 ? from_march + 3 : from_march - 9;
    return (struct dj_date){
        .year = (int32_t)(year_of_era + era * 400) + (month <= 2),
        .month = (uint8_t)month,
        .day = (uint8_t)(day_of_year - (153 * from_march + 2) / 5 + 1),
        .hour = (uint8_t)(of_day / 3600000),
        .minute = (uint8_t)(of_day / 60000 % 60),
        .second = (uint8_t)(of_day / 1000 % 60),
        .weekday = (uint8_t)((since_1970 % 7 + 11) % 7), /* 1970-01-01 was a Thursday */
        .millisecond = (uint16_t)(of_day % 1000),
    };
}

static void put_digits(char *out, uint32_t value, unsigned width)
{
    while (width) {
        out[--width] = (char)('0' + value % 10);
        value /= 10;
    }
}

void dj_date_rfc3339(int64_t ms, char out_text[DJ_DATE_RFC3339_BYTES])
{
    struct dj_date date = dj_date_from_ms(ms);
    memcpy(out_text, "0000-00-00T00:00:00.000Z", DJ_DATE_RFC3339_BYTES);
    put_digits(out_text, (uint32_t)date.year, 4);
    put_digits(out_text + 5, date.month, 2);
    put_digits(out_text + 8, date.day, 2);
    put_digits(out_text + 11, date.hour, 2);
    put_digits(out_text + 14, date.minute, 2);
    put_digits(out_text + 17, date.second, 2);
    put_digits(out_text + 20, date.millisecond, 3);
}
