/* policy/cron.c - see cron.h.
 *
 * Every field becomes a set of bits, so that asking is a test of five bits. The next time is found
 * day by day: the longest wait of a line that is ever due is eight years (the 29th of February
 * around 2100), some three thousand steps.
 */
#include "policy/cron.h"

#include "base/date.h"
#include "base/num.h"
#include "base/slice.h"

#define MS_PER_MINUTE INT64_C(60000)
#define MS_PER_DAY INT64_C(86400000)
#define DAYS_MAX 3000 /* eight years and some days */

struct field {
    const char *title;
    uint32_t least;
    uint32_t most;
    const char *names; /* three letters each, or NULL; the first is `least` */
};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field fields[FIELDS] = {
    [MINUTE] = {"minute", 0, 59, NULL},
    [HOUR] = {"hour", 0, 23, NULL},
    [DAY] = {"day of the month", 1, 31, NULL},
    [MONTH] = {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    [WEEKDAY] = {"weekday", 0, 7, "sunmontuewedthufrisat"},
};

static const struct {
    const char *name;
    const char *line;
} shorthands[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};

static enum deja_status refuse(struct deja_error *err, const struct field *field,
                               struct deja_slice text, const char *reason)
{
    return deja_error_set(err, DEJA_ERR_INVALID, "the %s \"%.*s\" %s", field->title,
                          (int)(text.len < 64 ? text.len : 64), text.data, reason);
}

/* Cuts what is before the first c (or all) off *text. */
static struct deja_slice cut(struct deja_slice *text, char c, bool *out_found)
{
    const char *at = text->len ? memchr(text->data, c, text->len) : NULL;
    struct deja_slice head = deja_slice(text->data, at ? (size_t)(at - text->data) : text->len);
    size_t used = head.len + (at != NULL);
    *text = deja_slice(text->data + used, text->len - used);
    *out_found = at != NULL;
    return head;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool read_value(const struct field *field, struct deja_slice text, uint32_t *out_value)
{
    uint64_t number;
    if (dj_num_parse_u64(text, &number) == DEJA_OK) {
        if (number < field->least || number > field->most)
            return false;
        *out_value = (uint32_t)number;
        return true;
    }
    if (!field->names || text.len != 3)
        return false;
    for (uint32_t i = 0; field->names[3 * i]; i++) {
        const char *name = field->names + 3 * (size_t)i;
        if (lower(text.data[0]) == name[0] && lower(text.data[1]) == name[1] &&
            lower(text.data[2]) == name[2]) {
            *out_value = field->least + i;
            return true;
        }
    }
    return false;
}

/* One item of a list: "*", "5", "1-5", each with or without "/step". */
static enum deja_status read_item(const struct field *field, struct deja_slice item, uint64_t *bits,
                                  struct deja_error *err)
{
    struct deja_slice rest = item;
    bool has_step;
    bool has_range;
    uint64_t step = 1;
    uint32_t first = field->least;
    uint32_t last = field->most;
    struct deja_slice range = cut(&rest, '/', &has_step);
    if (has_step && (dj_num_parse_u64(rest, &step) != DEJA_OK || !step || step > field->most))
        return refuse(err, field, item, "has a step that is not a number within its range");
    if (!dj_slice_is(range, "*")) {
        struct deja_slice end = range;
        struct deja_slice begin = cut(&end, '-', &has_range);
        if (!read_value(field, begin, &first) || (has_range && !read_value(field, end, &last)))
            return refuse(err, field, item, "is not one of its values");
        if (!has_range && !has_step)
            last = first;
        if (has_range && field->most == 7 && last == 0 && first)
            last = 7; /* sat-sun */
        if (first > last)
            return refuse(err, field, item, "runs backwards; write it as two ranges");
    }
    for (uint64_t value = first; value <= last; value += step)
        *bits |= UINT64_C(1) << value;
    return DEJA_OK;
}

static enum deja_status read_field(const struct field *field, struct deja_slice text,
                                   uint64_t *out_bits, struct deja_error *err)
{
    uint64_t bits = 0;
    bool has_more = true;
    while (has_more) {
        struct deja_slice item = cut(&text, ',', &has_more);
        enum deja_status status = read_item(field, item, &bits, err);
        if (status != DEJA_OK)
            return status;
    }
    *out_bits = bits;
    return DEJA_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct deja_slice next_word(struct deja_slice *text)
{
    size_t at = 0;
    while (at < text->len && is_blank(text->data[at]))
        at++;
    size_t end = at;
    while (end < text->len && !is_blank(text->data[end]))
        end++;
    struct deja_slice word = deja_slice(text->data + at, end - at);
    *text = deja_slice(text->data + end, text->len - end);
    return word;
}

/* The line a shorthand stands for, or text itself. */
static enum deja_status expand(struct deja_slice text, struct deja_slice *out_line,
                               struct deja_error *err)
{
    struct deja_slice rest = text;
    struct deja_slice word = next_word(&rest);
    *out_line = text;
    if (!word.len || word.data[0] != '@')
        return DEJA_OK;
    for (size_t i = 0; i < sizeof shorthands / sizeof shorthands[0]; i++) {
        if (dj_slice_is(word, shorthands[i].name) && !next_word(&rest).len) {
            *out_line = deja_slice_text(shorthands[i].line);
            return DEJA_OK;
        }
    }
    return deja_error_set(err, DEJA_ERR_INVALID,
                          "\"%.*s\" is not known; @hourly, @daily, @midnight, @weekly, @monthly, "
                          "@yearly and @annually are",
                          (int)(text.len < 64 ? text.len : 64), text.data);
}

static bool is_day(const struct dj_cron *cron, const struct dj_date *date)
{
    bool is_of_month = cron->days >> date->day & 1;
    bool is_of_week = cron->weekdays >> date->weekday & 1;
    if (!(cron->months >> date->month & 1))
        return false;
    if (cron->is_any_day || cron->is_any_weekday)
        return is_of_month && is_of_week;
    return is_of_month || is_of_week;
}

/* The first minute of the day, at or after minute, that fits; -1: none. */
static int64_t minute_of_day(const struct dj_cron *cron, int64_t minute)
{
    for (; minute < 24 * 60; minute++) {
        if (!(cron->hours >> (minute / 60) & 1))
            minute += 59 - minute % 60;
        else if (cron->minutes >> (minute % 60) & 1)
            return minute;
    }
    return -1;
}

int64_t dj_cron_next(const struct dj_cron *cron, int64_t after_ms)
{
    int64_t end_ms = INT64_C(253402300800000); /* the year 10000 */
    if (after_ms < 0)
        after_ms = -1;
    if (after_ms >= end_ms)
        return DJ_CRON_NEVER;
    int64_t minute = after_ms < 0 ? 0 : after_ms / MS_PER_MINUTE + 1;
    int64_t day_ms = minute * MS_PER_MINUTE / MS_PER_DAY * MS_PER_DAY;
    minute -= day_ms / MS_PER_MINUTE;
    for (uint32_t i = 0; i < DAYS_MAX && day_ms < end_ms; i++) {
        struct dj_date date = dj_date_from_ms(day_ms);
        int64_t found = is_day(cron, &date) ? minute_of_day(cron, minute) : -1;
        if (found >= 0)
            return day_ms + found * MS_PER_MINUTE;
        minute = 0;
        day_ms += MS_PER_DAY;
    }
    return DJ_CRON_NEVER;
}

enum deja_status dj_cron_read(struct deja_slice text, struct dj_cron *out_cron,
                              struct deja_error *err)
{
    struct deja_slice words[FIELDS];
    uint64_t bits[FIELDS];
    struct deja_slice line;
    if (text.len > DJ_CRON_TEXT_BYTES_MAX)
        return deja_error_set(err, DEJA_ERR_LIMIT, "a schedule has at most %u characters",
                              DJ_CRON_TEXT_BYTES_MAX);
    enum deja_status status = expand(text, &line, err);
    for (size_t i = 0; status == DEJA_OK && i < FIELDS; i++) {
        words[i] = next_word(&line);
        if (!words[i].len)
            status = deja_error_set(err, DEJA_ERR_INVALID,
                                    "a schedule has five fields: minute, hour, day of the month, "
                                    "month and weekday, as in \"0 */6 * * *\"; the %s is missing",
                                    fields[i].title);
        else
            status = read_field(&fields[i], words[i], &bits[i], err);
    }
    if (status == DEJA_OK && next_word(&line).len)
        status = deja_error_set(err, DEJA_ERR_INVALID,
                                "a schedule has five fields; there are more (no seconds, no year)");
    if (status != DEJA_OK)
        return status;
    struct dj_cron cron = {
        .minutes = bits[MINUTE],
        .hours = (uint32_t)bits[HOUR],
        .days = (uint32_t)bits[DAY],
        .months = (uint16_t)bits[MONTH],
        .weekdays = (uint8_t)((bits[WEEKDAY] | bits[WEEKDAY] >> 7) & 127),
        .is_any_day = words[DAY].data[0] == '*',
        .is_any_weekday = words[WEEKDAY].data[0] == '*',
    };
    if (dj_cron_next(&cron, 0) == DJ_CRON_NEVER)
        return deja_error_set(err, DEJA_ERR_INVALID, "that day never comes in that month");
    *out_cron = cron;
    return DEJA_OK;
}
