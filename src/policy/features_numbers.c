/* policy/features_numbers.c - numbers, units and dates of a text in one normal form each.
 *
 * 1,000 = 1000 = "a thousand"; 2.50 = 2.5, but Python 3.10 is not 3.1; 3 pm = 15:00;
 * 2024-01-15 = January 15, 2024. A number written as a word that is often no number ("one",
 * "first", "once") is soft: missing on the other side it says nothing.
 */
#include "policy/features_internal.h"

#include "base/num.h"
#include "base/slice.h"

enum {
    KEY_TIME = 1,   /* minutes of the day */
    KEY_OPAQUE = 2, /* hash of what is no plain number: 3.10.2, 01/02/2020 */
};

#define DATE_MONTH 0x10000u
#define DATE_WEEKDAY 0x20000u
#define UNIT_OPAQUE 0x10000u /* 5g, 3d: the letters behind a figure */

static uint64_t value_key(double value)
{
    uint64_t bits = 0;
    value += 0.0; /* -0 is 0 */
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Not the bits of a number that a text can hold: an infinity's exponent. */
static uint64_t special_key(uint32_t kind, uint32_t payload)
{
    return UINT64_C(0x7ff0) << 48 | (uint64_t)kind << 32 | payload;
}

static bool add_number(struct dj_guard_parts *parts, struct dj_feature_number number)
{
    if (parts->number_count == DJ_FEATURE_NUMBERS_MAX) {
        parts->is_overfull = true;
        return false;
    }
    parts->numbers[parts->number_count++] = number;
    return true;
}

static void add_date(struct dj_guard_parts *parts, uint32_t key, uint32_t word)
{
    dj_feature_add(parts, &parts->dates, (struct dj_feature_item){.key = key, .word = word});
}

static const struct dj_word *word_at(const struct dj_guard_parts *parts, uint32_t index)
{
    return index < parts->words.count ? &parts->words.items[index] : NULL;
}

static bool is_number_at(const struct dj_guard_parts *parts, uint32_t index)
{
    const struct dj_word *word = word_at(parts, index);
    return word && word->kind == DJ_WORD_NUMBER;
}

static void mark_counted(struct dj_guard_parts *parts, uint32_t index, uint32_t len)
{
    for (uint32_t i = index; i < index + len && i < parts->words.count; i++)
        parts->notes[i].is_counted = true;
}

/* ---- figures ---- */

static size_t count_of(struct deja_slice text, char c)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == c;
    return count;
}

/* Reads the decimal run at *offset and moves past one mark behind it. */
static uint32_t figure(struct deja_slice text, size_t *offset)
{
    uint32_t value = 0;
    while (*offset < text.len && text.data[*offset] >= '0' && text.data[*offset] <= '9')
        value = value * 10 + (uint32_t)(text.data[(*offset)++] - '0');
    ++*offset;
    return value;
}

/* Y-M-D, D.M.Y, and M/D/Y or D/M/Y where one of them can be no month. False: ambiguous. */
static bool read_figure_date(struct dj_guard_parts *parts, struct deja_slice text, uint32_t index)
{
    size_t offset = 0;
    uint32_t first = figure(text, &offset);
    uint32_t second = figure(text, &offset);
    uint32_t third = figure(text, &offset);
    uint32_t year = third;
    uint32_t month = second;
    uint32_t day = first;
    if (first > 31) {
        year = first;
        day = third;
    } else if (first <= 12 && second <= 12 && first != second &&
               !memchr(text.data, '.', text.len)) {
        return false;
    } else if (first <= 12 && second > 12) {
        month = first;
        day = second;
    }
    if (month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    add_date(parts, DATE_MONTH + month, index);
    return add_number(parts, (struct dj_feature_number){.key = value_key(day), .word = index}) &&
           add_number(parts, (struct dj_feature_number){.key = value_key(year), .word = index});
}

/* am, pm or nothing: minutes of the day, or -1 when hours and half do not make a time. */
static int32_t minutes_of(uint32_t hours, uint32_t minutes, const struct dj_word *half)
{
    bool is_am = half && dj_slice_is(half->lower, "am");
    bool is_pm = half && dj_slice_is(half->lower, "pm");
    if (hours > 24 || minutes > 59 || ((is_am || is_pm) && hours > 12))
        return -1;
    if (is_am || is_pm)
        hours = hours % 12 + (is_pm ? 12 : 0);
    return (int32_t)(hours * 60 + minutes);
}

static bool is_half_day(const struct dj_word *word)
{
    return word && word->kind == DJ_WORD_PLAIN &&
           (dj_slice_is(word->lower, "am") || dj_slice_is(word->lower, "pm"));
}

/* "15:00", "7:00 am", "3 pm": words taken, 0 when it is no time. */
static uint32_t read_time(struct dj_guard_parts *parts, uint32_t index)
{
    struct deja_slice text = parts->words.items[index].lower;
    const struct dj_word *next = word_at(parts, index + 1);
    const struct dj_word *half = is_half_day(next) ? next : NULL;
    if (text.len > 8 || (!half && !memchr(text.data, ':', text.len)))
        return 0;
    if (memchr(text.data, '.', text.len))
        return 0;
    size_t offset = 0;
    uint32_t hours = figure(text, &offset);
    uint32_t minutes = offset < text.len ? figure(text, &offset) : 0;
    int32_t time = minutes_of(hours, minutes, half);
    if (time < 0)
        return 0;
    if (!add_number(parts, (struct dj_feature_number){.key = special_key(KEY_TIME, (uint32_t)time),
                                                      .word = index}))
        return 1;
    return half ? 2 : 1;
}

/* "Python 3.10", "version 2.50", "v1.20": the last zero counts. */
static bool is_version_context(const struct dj_guard_parts *parts, uint32_t index)
{
    if (!index)
        return false;
    const struct dj_word *before = &parts->words.items[index - 1];
    if (before->kind != DJ_WORD_PLAIN || before->has_comma_before)
        return false;
    return dj_feature_is(parts, index - 1, "version") || dj_feature_is(parts, index - 1, "v") ||
           (before->is_capitalised && !before->is_sentence_head) || before->is_mixed;
}

static uint64_t plain_key(const struct dj_guard_parts *parts, uint32_t index)
{
    struct deja_slice text = parts->words.items[index].lower;
    size_t dots = count_of(text, '.');
    while (dots && text.len > 2 && memcmp(text.data + text.len - 2, ".0", 2) == 0) {
        text.len -= 2;
        dots--;
    }
    bool keeps_zero =
        dots == 1 && text.data[text.len - 1] == '0' && is_version_context(parts, index);
    double value = 0;
    if (dots > 1 || keeps_zero || dj_num_parse_double(text, &value) != DEJA_OK)
        return special_key(KEY_OPAQUE, dj_lex_hash(text));
    return value_key(value);
}

/* "5. Is it", "1) take": a place in a list, not a quantity. */
static bool is_enumeration(const struct dj_word *word, struct deja_slice text)
{
    size_t end = word->offset + word->len;
    return word->is_sentence_head && end + 1 < text.len &&
           (text.data[end] == ')' || text.data[end] == '.') && text.data[end + 1] == ' ';
}

/* ---- number words ---- */

struct reading {
    double total;
    double current;
    uint32_t used;
    bool has_value;
    bool is_ordinal;
    bool is_soft;
    bool was_tens;
};

static const struct dj_lex_row *sense_at(const struct dj_guard_parts *parts, uint32_t index,
                                         enum dj_lex_kind kind)
{
    const struct dj_word *word = word_at(parts, index);
    if (!word || word->kind != DJ_WORD_PLAIN)
        return NULL;
    return dj_lex_sense(dj_lex_find(word->lower), kind);
}

static bool take_scale(struct reading *r, const struct dj_lex_row *scale)
{
    double current = r->has_value ? r->current : 1;
    if (scale->value == 100) {
        r->current = current * 100;
    } else {
        r->total += current * scale->value;
        r->current = 0;
    }
    r->is_soft = false;
    r->was_tens = false;
    return true;
}

/* "five" after "twenty", "two hundred (and)"; not after "two". */
static bool can_add(const struct reading *r, double value)
{
    if (!r->has_value)
        return true;
    if (r->was_tens)
        return value < 10 && value > 0;
    return (r->current >= 100 && value < 100) || (r->current == 0 && value < 1000);
}

/* One more word of a number at index; false: the number ended before it. */
static bool take_word(const struct dj_guard_parts *parts, uint32_t index, struct reading *r)
{
    const struct dj_lex_row *row = sense_at(parts, index, DJ_LEX_SCALE);
    if (row && (r->has_value || row->value > 100 || dj_feature_is(parts, index, "hundred"))) {
        take_scale(r, row);
        r->has_value = true;
        return true;
    }
    row = sense_at(parts, index, DJ_LEX_NUMBER);
    if (!row) {
        /* "twenty-first"; a bare ordinal only at the beginning */
        row = sense_at(parts, index, DJ_LEX_ORDINAL);
        if (!row || r->is_ordinal || (r->has_value && !r->was_tens))
            return false;
        r->is_soft = !r->has_value;
        r->current += row->value;
        r->is_ordinal = true;
        r->has_value = true;
        r->was_tens = false;
        return true;
    }
    if (r->is_ordinal || !can_add(r, row->value))
        return false;
    r->is_soft = !r->has_value && row->value <= 1;
    r->was_tens = row->value >= 20 && row->value <= 90;
    r->current += row->value;
    r->has_value = true;
    return true;
}

static void read_words(const struct dj_guard_parts *parts, uint32_t index, struct reading *r)
{
    while (index + r->used < parts->words.count) {
        uint32_t at = index + r->used;
        if (r->used && parts->words.items[at].has_comma_before)
            return;
        if (take_word(parts, at, r)) {
            r->used++;
            continue;
        }
        /* "two hundred and five" */
        bool is_and = r->current >= 100 && dj_feature_is(parts, at, "and") &&
                      sense_at(parts, at + 1, DJ_LEX_NUMBER);
        if (!is_and || !take_word(parts, at + 1, r))
            return;
        r->used += 2;
    }
}

/* Letters stuck to a figure: 10k, 21st, 1990s. Others ("5g") become a unit of their own. */
static uint32_t take_suffix(const struct dj_guard_parts *parts, uint32_t index, double *scale,
                            uint32_t *unit)
{
    const struct dj_word *word = word_at(parts, index);
    if (!word || word->kind != DJ_WORD_PLAIN || !word->is_glued)
        return 0;
    static const char *const without_meaning[] = {"st", "nd", "rd", "th", "s"};
    for (size_t i = 0; i < sizeof without_meaning / sizeof *without_meaning; i++) {
        if (dj_feature_is(parts, index, without_meaning[i]))
            return 1;
    }
    if (dj_feature_is(parts, index, "k")) {
        *scale = 1000;
        return 1;
    }
    if (dj_feature_is(parts, index, "m") || dj_feature_is(parts, index, "mil")) {
        *scale = 1e6;
        return 1;
    }
    bool is_known = dj_lex_sense(dj_lex_find(word->lower), DJ_LEX_UNIT) ||
                    dj_lex_sense(dj_lex_find(word->lower), DJ_LEX_SCALE);
    bool is_hyphen =
        parts->words.items[index - 1].offset + parts->words.items[index - 1].len != word->offset;
    if (is_known || is_hyphen)
        return 0;
    *unit = UNIT_OPAQUE | (dj_lex_hash(word->lower) & 0xffff);
    return 1;
}

/* ---- units ---- */

static uint32_t unit_after(const struct dj_guard_parts *parts, uint32_t index,
                           struct dj_feature_number *number)
{
    const struct dj_word *word = word_at(parts, index);
    if (!word || word->has_comma_before || word->kind == DJ_WORD_NUMBER)
        return 0;
    uint32_t len = 0;
    struct dj_lex_span span = dj_feature_phrase(parts, index, &len);
    const struct dj_lex_row *row = dj_lex_sense(span, DJ_LEX_UNIT);
    if (!row)
        return 0;
    number->unit = row->id;
    number->is_currency = row->flags & DJ_LEX_CURRENCY;
    return len;
}

/* "$", "Rs", "USD" in front of a number. */
static void unit_before(const struct dj_guard_parts *parts, uint32_t index,
                        struct dj_feature_number *number)
{
    if (!index)
        return;
    const struct dj_word *word = &parts->words.items[index - 1];
    if (word->kind != DJ_WORD_SYMBOL && !word->is_acronym && !dj_feature_is(parts, index - 1, "rs"))
        return;
    const struct dj_lex_row *row = dj_lex_sense(dj_lex_find(word->lower), DJ_LEX_UNIT);
    if (!row)
        return;
    number->unit = row->id;
    number->is_currency = row->flags & DJ_LEX_CURRENCY;
}

static bool is_minus_before(const struct dj_guard_parts *parts, uint32_t index)
{
    if (!index || !parts->words.items[index].is_glued)
        return false;
    const struct dj_word *word = &parts->words.items[index - 1];
    bool is_minus = word->kind == DJ_WORD_SYMBOL && word->lower.data[0] == '-';
    return is_minus && (index < 2 || parts->words.items[index - 2].kind != DJ_WORD_NUMBER);
}

static bool is_glued_to_letters(const struct dj_guard_parts *parts, uint32_t index)
{
    return index && parts->words.items[index].is_glued &&
           parts->words.items[index - 1].kind == DJ_WORD_PLAIN;
}

static uint32_t read_figures(struct dj_guard_parts *parts, struct deja_slice text, uint32_t index)
{
    const struct dj_word *word = &parts->words.items[index];
    if (is_enumeration(word, text))
        return 1;
    size_t marks = count_of(word->lower, '/') + count_of(word->lower, '-');
    bool is_dotted_date = count_of(word->lower, '.') == 2 && word->lower.len >= 8 &&
                          word->lower.data[word->lower.len - 5] == '.';
    if (marks == 2 || is_dotted_date) {
        if (!read_figure_date(parts, word->lower, index))
            add_number(parts, (struct dj_feature_number){
                                  .key = special_key(KEY_OPAQUE, dj_lex_hash(word->lower)),
                                  .word = index});
        return 1;
    }
    uint32_t time = read_time(parts, index);
    if (time)
        return time;

    struct dj_feature_number number = {.key = plain_key(parts, index), .word = index};
    double scale = 1;
    uint32_t used = 1;
    used += take_suffix(parts, index + used, &scale, &number.unit);
    const struct dj_lex_row *row = sense_at(parts, index + used, DJ_LEX_SCALE);
    while (row && !parts->words.items[index + used].has_comma_before) {
        scale *= row->value;
        row = sense_at(parts, index + ++used, DJ_LEX_SCALE);
    }
    double value = 0;
    bool is_minus = is_minus_before(parts, index);
    if ((scale != 1 || is_minus) && dj_num_parse_double(word->lower, &value) == DEJA_OK)
        number.key = value_key(value * scale * (is_minus ? -1 : 1));
    number.is_soft = is_glued_to_letters(parts, index);
    if (!number.unit)
        unit_before(parts, index, &number);
    if (!number.unit)
        used += unit_after(parts, index + used, &number);
    add_number(parts, number);
    return used;
}

uint32_t dj_feature_read_number(struct dj_guard_parts *parts, struct deja_slice text,
                                uint32_t index)
{
    uint32_t used = 0;
    if (is_number_at(parts, index)) {
        used = read_figures(parts, text, index);
    } else {
        struct reading r = {0};
        read_words(parts, index, &r);
        /* "no one", "a second", "this one" count nothing; "half" is often part of a word. */
        if (!r.used || (r.used == 1 && index && parts->words.items[index].is_glued))
            return 0;
        struct dj_feature_number number = {
            .key = value_key(r.total + r.current), .word = index, .is_soft = r.is_soft};
        used = r.used;
        if (!r.is_ordinal)
            used += unit_after(parts, index + used, &number);
        add_number(parts, number);
    }
    mark_counted(parts, index, used);
    return used;
}

uint32_t dj_feature_read_unit(struct dj_guard_parts *parts, uint32_t index)
{
    const struct dj_word *word = &parts->words.items[index];
    if (word->kind == DJ_WORD_NUMBER || word->kind == DJ_WORD_CODE || word->lower.len < 2)
        return 0;
    uint32_t len = 0;
    const struct dj_lex_row *row = dj_lex_sense(dj_feature_phrase(parts, index, &len), DJ_LEX_UNIT);
    if (!row || (word->is_capitalised && !word->is_acronym && !word->is_sentence_head))
        return 0; /* Stone County */
    dj_feature_add(parts, &parts->units, (struct dj_feature_item){.key = row->id, .word = index});
    return len;
}

/* ---- dates ---- */

/* "may", "march", "mon", "dec": words of other trades unless figure, preposition or capital help.
 */
static bool is_surely_date(const struct dj_guard_parts *parts, uint32_t index)
{
    const struct dj_word *word = &parts->words.items[index];
    bool is_name = word->is_capitalised && !word->is_sentence_head;
    bool is_by_figure = is_number_at(parts, index + 1) || (index && is_number_at(parts, index - 1));
    if (is_by_figure || (is_name && word->lower.len != 3))
        return true;
    bool is_verb = dj_feature_is(parts, index, "may") || dj_feature_is(parts, index, "march");
    if (word->lower.len > 4 && !is_verb)
        return true;
    if (is_name)
        return true;
    static const char *const before[] = {"in",   "of",   "since", "until", "by", "during",
                                         "last", "next", "this",  "every", "on"};
    for (size_t i = 0; index && i < sizeof before / sizeof *before; i++) {
        if (dj_feature_is(parts, index - 1, before[i]))
            return true;
    }
    return false;
}

uint32_t dj_feature_read_date(struct dj_guard_parts *parts, uint32_t index)
{
    if (parts->words.items[index].kind != DJ_WORD_PLAIN)
        return 0;
    uint32_t len = 0;
    struct dj_lex_span span = dj_feature_phrase(parts, index, &len);
    const struct dj_lex_row *row = dj_lex_sense(span, DJ_LEX_DAY);
    if (row) {
        dj_feature_add(parts, &parts->dates,
                       (struct dj_feature_item){.key = row->id, .is_soft = true, .word = index});
        mark_counted(parts, index, len);
        return len;
    }
    struct deja_slice base = dj_feature_base(parts->words.items[index].lower);
    span = dj_lex_find(base);
    row = dj_lex_sense(span, DJ_LEX_MONTH);
    uint32_t key = DATE_MONTH;
    if (!row) {
        row = dj_lex_sense(span, DJ_LEX_WEEKDAY);
        key = DATE_WEEKDAY;
    }
    if (!row || !is_surely_date(parts, index))
        return 0;
    add_date(parts, key + (uint32_t)row->value, index);
    mark_counted(parts, index, 1);
    return 1;
}
