/* base/date.h - milliseconds since 1970 as a date in UTC, without the C library's tables.
 *
 * Pure arithmetic on the proleptic Gregorian calendar; reads no clock (I5). Threads: any.
 */
#ifndef DJ_BASE_DATE_H
#define DJ_BASE_DATE_H

#include <deja/base.h>

struct dj_date {
    int32_t year;
    uint8_t month; /* 1 … 12 */
    uint8_t day;   /* 1 … 31 */
    uint8_t hour;
    uint8_t minute;
    uint8_t second;  /* 0 … 59: no leap seconds */
    uint8_t weekday; /* 0 = Sunday */
    uint16_t millisecond;
};

/* Clamped to the years 0000 … 9999, so that every text form has its width. */
struct dj_date dj_date_from_ms(int64_t ms);

#define DJ_DATE_RFC3339_BYTES 25u
/* "2026-02-03T04:05:06.789Z", terminated. */
void dj_date_rfc3339(int64_t ms, char out_text[DJ_DATE_RFC3339_BYTES]);
/* The other way: "2026-02-03T04:05:06Z", with or without a fraction (what is below a millisecond is
 * dropped), Z or an offset such as +01:00. Years 1970 … 9999. Trust: untrusted. DEJA_ERR_INVALID.
 */
enum deja_status dj_date_parse(struct deja_slice text, int64_t *out_ms) DEJA_NODISCARD;

#endif
