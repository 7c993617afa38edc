/* policy/cron.h - when a schedule's next time is: five fields as in crontab(5), always in UTC.
 *
 *   minute 0-59 · hour 0-23 · day of month 1-31 · month 1-12 or jan-dec · weekday 0-7 or sun-sat
 *
 * Each field is a list of values, ranges and steps: * , 5 , 1-5 , 0-23/2 , * / 10 (without the
 * spaces), 5/15 (from 5 on); 0 and 7 are Sunday; names in any case. Short for whole lines: @hourly,
 * @daily and @midnight, @weekly, @monthly, @yearly and @annually. Where day and weekday are both
 * given, a time that fits either counts; a field that begins with * is not "given" (as in cron).
 *
 * Trust: untrusted. Text is bounded; what never comes (the 31st of February) is refused at once, so
 * that a schedule that was accepted has a next time. Pure: no clock, no time zone, no daylight
 * saving (I5). Threads: any.
 */
#ifndef DJ_POLICY_CRON_H
#define DJ_POLICY_CRON_H

#include <deja/base.h>

#define DJ_CRON_TEXT_BYTES_MAX 256u
#define DJ_CRON_NEVER INT64_MAX

/* Plain data; bit n: the value n is meant. */
struct dj_cron {
    uint64_t minutes;
    uint32_t hours;
    uint32_t days;    /* bits 1 … 31 */
    uint16_t months;  /* bits 1 … 12 */
    uint8_t weekdays; /* bits 0 … 6, 0 = Sunday */
    bool is_any_day;  /* the field began with * */
    bool is_any_weekday;
};

/* DEJA_ERR_INVALID (err, which may be NULL, says which field and why), DEJA_ERR_LIMIT (too long).
 */
enum deja_status dj_cron_read(struct deja_slice text, struct dj_cron *out_cron,
                              struct deja_error *err) DEJA_NODISCARD;
/* The first whole minute after after_ms (never at it) that fits, in ms since 1970; DJ_CRON_NEVER
 * where the calendar ends first (year 9999). */
int64_t dj_cron_next(const struct dj_cron *cron, int64_t after_ms);

#endif
