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

/* width digits at text[at]; false: they are not all digits, or above max. */
static bool read_digits(struct deja_slice text, size_t at, unsigned width, uint32_t max,
                        uint32_t *out_value)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < width; i++) {
        char c = at + i < text.len ? text.data[at + i] : '\0';
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (uint32_t)(c - '0');
    }
    *out_value = value;
    return value <= max;
}

static int64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day)
{
    uint32_t from_march = month > 2 ? month - 3 : month + 9;
    uint32_t y = month > 2 ? year : year - 1;
    uint32_t of_era = y % 400;
    int64_t day_of_era =
        (int64_t)of_era * 365 + of_era / 4 - of_era / 100 + (153 * from_march + 2) / 5 + day - 1;
    return (int64_t)(y / 400) * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

/* ".123" at text[*at], which moves behind it; nothing there: 0. */
static bool read_fraction(struct deja_slice text, size_t *at, uint32_t *out_ms)
{
    uint32_t scale = 100;
    size_t from = *at + 1;
    *out_ms = 0;
    if (*at >= text.len || text.data[*at] != '.')
        return true;
    for (*at = from; *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9'; ++*at) {
        *out_ms += (uint32_t)(text.data[*at] - '0') * scale;
        scale /= 10;
    }
    return *at > from && *at - from <= 9;
}

/* Z, +hh:mm or -hh:mm as the rest of the text. */
static bool read_offset(struct deja_slice text, size_t at, int64_t *out_minutes)
{
    uint32_t hours = 0;
    uint32_t minutes = 0;
    char sign = at < text.len ? text.data[at] : '\0';
    *out_minutes = 0;
    if (sign == 'Z' || sign == 'z')
        return at + 1 == text.len;
    if ((sign != '+' && sign != '-') || at + 6 != text.len || text.data[at + 3] != ':' ||
        !read_digits(text, at + 1, 2, 23, &hours) || !read_digits(text, at + 4, 2, 59, &minutes))
        return false;
    *out_minutes = (int64_t)(hours * 60 + minutes) * (sign == '+' ? 1 : -1);
    return true;
}

enum deja_status dj_date_parse(struct deja_slice text, int64_t *out_ms)
{
    uint32_t year, month, day, hour, minute, second, ms;
    int64_t offset;
    size_t at = 19;
    if (text.len < 20 || text.len > 35 || text.data[4] != '-' || text.data[7] != '-' ||
        (text.data[10] != 'T' && text.data[10] != 't' && text.data[10] != ' ') ||
        text.data[13] != ':' || text.data[16] != ':' || !read_digits(text, 0, 4, 9999, &year) ||
        !read_digits(text, 5, 2, 12, &month) || !read_digits(text, 8, 2, 31, &day) ||
        !read_digits(text, 11, 2, 23, &hour) || !read_digits(text, 14, 2, 59, &minute) ||
        !read_digits(text, 17, 2, 59, &second) || !read_fraction(text, &at, &ms) ||
        !read_offset(text, at, &offset) || year < 1970 || !month || !day)
        return DEJA_ERR_INVALID;
    int64_t of_day = ((int64_t)hour * 60 + minute - offset) * 60000 + (int64_t)second * 1000 + ms;
    int64_t day_ms = days_since_1970(year, month, day) * MS_PER_DAY;
    struct dj_date read = dj_date_from_ms(day_ms);
    if (read.day != day || read.month != month) /* the 30th of February */
        return DEJA_ERR_INVALID;
    *out_ms = day_ms + of_day;
    return DEJA_OK;
}
