/* proto/json_canonical.c - the one form of a JSON value that keys are made of.
 *
 * Numbers are normalised on their decimal text, never through double, so nothing is rounded and two
 * numbers get one text exactly when they are equal:
 *
 *   sign, digits D without leading and trailing zeros, exponent E:   value = D * 10^E
 *   zero                                    "0"
 *   E = 0, or E > 0 and at most 32 digits   the integer, zeros written out
 *   otherwise                               D "e" E
 *   an exponent of more than 18 digits      as sent, but without needless zeros
 *
 * It is JSON again, and its own canonical form. The last line is for numbers nobody means: it is
 * exact, but two spellings of one such number may differ, which costs a miss and nothing else.
 *
 * (1) This form is a part of stored keys: a change of it is a new key format version (ADR 0003).
 */
#include "proto/json_internal.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/slice.h"

#define PLAIN_DIGITS_MAX 32u
#define EXPONENT_DIGITS_MAX 18u

struct writer {
    struct dj_buf *buf;
    const char *const *skip; /* borrowed; for the root only */
    struct dj_json_cut cut;
    const yyjson_val *mark;
    size_t mark_offset;
    size_t mark_len;
};

/* The parts of a JSON number as sent. */
struct number {
    bool is_negative;
    struct deja_slice whole;
    struct deja_slice fraction;
    bool is_exponent_negative;
    struct deja_slice exponent; /* without leading zeros */
};

static struct deja_slice take_digits(struct deja_slice *text)
{
    size_t len = 0;
    while (len < text->len && text->data[len] >= '0' && text->data[len] <= '9')
        len++;
    struct deja_slice digits = deja_slice(text->data, len);
    *text = deja_slice(text->data + len, text->len - len);
    return digits;
}

static bool take(struct deja_slice *text, char c)
{
    if (!text->len || text->data[0] != c)
        return false;
    *text = deja_slice(text->data + 1, text->len - 1);
    return true;
}

static struct number split(struct deja_slice text)
{
    struct number number = {0};
    number.is_negative = take(&text, '-');
    number.whole = take_digits(&text);
    if (take(&text, '.'))
        number.fraction = take_digits(&text);
    if (take(&text, 'e') || take(&text, 'E')) {
        number.is_exponent_negative = take(&text, '-');
        if (!number.is_exponent_negative)
            take(&text, '+');
        while (take(&text, '0'))
            ;
        number.exponent = take_digits(&text);
    }
    return number;
}

static char digit_at(const struct number *number, size_t index)
{
    return index < number->whole.len ? number->whole.data[index]
                                     : number->fraction.data[index - number->whole.len];
}

static void append_digits(struct dj_buf *buf, const struct number *number, size_t begin, size_t end)
{
    size_t point = number->whole.len;
    if (begin < point) {
        size_t stop = end < point ? end : point;
        dj_buf_append(buf, number->whole.data + begin, stop - begin);
        begin = stop;
    }
    if (begin < end)
        dj_buf_append(buf, number->fraction.data + (begin - point), end - begin);
}

static void append_i64(struct dj_buf *buf, int64_t value)
{
    if (value < 0)
        dj_buf_append_byte(buf, '-');
    dj_buf_append_u64(buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static int64_t exponent_of(const struct number *number)
{
    int64_t value = 0;
    for (size_t i = 0; i < number->exponent.len; i++)
        value = value * 10 + (number->exponent.data[i] - '0');
    return number->is_exponent_negative ? -value : value;
}

static void append_zeros(struct dj_buf *buf, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dj_buf_append_byte(buf, '0');
}

/* The point stays where it was sent, as the exponent is not computed with. */
static void append_huge(struct dj_buf *buf, const struct number *number, size_t begin, size_t end)
{
    size_t point = number->whole.len;
    append_digits(buf, number, begin, end < point ? end : point);
    append_zeros(buf, end < point ? point - end : begin >= point);
    if (end > point) {
        dj_buf_append_byte(buf, '.');
        append_zeros(buf, begin > point ? begin - point : 0);
        append_digits(buf, number, begin > point ? begin : point, end);
    }
    dj_buf_append_text(buf, number->is_exponent_negative ? "e-" : "e");
    dj_buf_append_slice(buf, number->exponent);
}

static void append_number(struct dj_buf *buf, struct deja_slice text)
{
    struct number number = split(text);
    size_t end = number.whole.len + number.fraction.len;
    size_t begin = 0;
    while (begin < end && digit_at(&number, begin) == '0')
        begin++;
    while (end > begin && digit_at(&number, end - 1) == '0')
        end--;
    if (begin == end) {
        dj_buf_append_byte(buf, '0');
        return;
    }
    if (number.is_negative)
        dj_buf_append_byte(buf, '-');
    if (number.exponent.len > EXPONENT_DIGITS_MAX) {
        append_huge(buf, &number, begin, end);
        return;
    }
    append_digits(buf, &number, begin, end);
    int64_t shift = (int64_t)number.whole.len - (int64_t)end; /* a text is far shorter than 2^63 */
    int64_t exponent = shift + exponent_of(&number);
    size_t digits = end - begin;
    if (exponent >= 0 && (uint64_t)exponent + digits <= PLAIN_DIGITS_MAX) {
        append_zeros(buf, (size_t)exponent);
    } else if (exponent) {
        dj_buf_append_byte(buf, 'e');
        append_i64(buf, exponent);
    }
}

static void append_value(struct writer *w, yyjson_val *val);

static bool is_skipped(const char *const *skip, struct deja_slice name)
{
    for (; skip && *skip; skip++)
        if (name.len && name.data[0] == **skip && /* spares nearly all the lengths */
            dj_slice_is(name, *skip))
            return true;
    return false;
}

static bool is_cut(const struct writer *w, const yyjson_val *val)
{
    for (size_t i = 0; i < w->cut.count; i++)
        if (dj_json_val(w->cut.values[i]) == val)
            return true;
    return false;
}

static void append_members(struct writer *w, const struct dj_json_member *members, size_t count)
{
    const char *const *skip = w->skip;
    w->skip = NULL; /* what is below is no longer the root */
    bool has_item = false;
    for (size_t i = 0; i < count; i++) {
        if (is_skipped(skip, members[i].name) || is_cut(w, members[i].value))
            continue;
        if (has_item)
            dj_buf_append_byte(w->buf, ',');
        has_item = true;
        dj_json_append_string(w->buf, members[i].name);
        dj_buf_append_byte(w->buf, ':');
        append_value(w, members[i].value);
    }
}

static void append_object(struct writer *w, yyjson_val *val)
{
    size_t count = unsafe_yyjson_get_len(val);
    struct dj_json_member small[DJ_JSON_MEMBERS_SMALL];
    struct dj_json_member *members = small;
    struct dj_json_member *scratch = NULL;
    if (count > DJ_JSON_MEMBERS_SMALL) {
        members = dj_alloc_zeroed(count * 2, sizeof *members);
        if (!members) {
            if (w->buf->status == DEJA_OK)
                w->buf->status = DEJA_ERR_NOMEM;
            return;
        }
        scratch = members + count;
    }
    dj_json_members_read(val, members);
    dj_json_members_sort(members, count, scratch);
    dj_buf_append_byte(w->buf, '{');
    append_members(w, members, count);
    dj_buf_append_byte(w->buf, '}');
    if (members != small)
        dj_free(members);
}

static void append_array(struct writer *w, yyjson_val *val)
{
    size_t count = unsafe_yyjson_get_len(val);
    yyjson_val *item = unsafe_yyjson_get_first(val);
    w->skip = NULL;
    dj_buf_append_byte(w->buf, '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            dj_buf_append_byte(w->buf, ',');
        append_value(w, item);
        item = unsafe_yyjson_get_next(item);
    }
    dj_buf_append_byte(w->buf, ']');
}

static void append_value(struct writer *w, yyjson_val *val)
{
    size_t offset = w->buf->len;
    switch (dj_json_type(dj_json_of(val))) {
    case DJ_JSON_OBJECT:
        append_object(w, val);
        return;
    case DJ_JSON_ARRAY:
        append_array(w, val);
        return;
    case DJ_JSON_NUMBER:
        append_number(w->buf, dj_json_number_text(dj_json_of(val)));
        return;
    default:
        dj_json_append(w->buf, val);
        break;
    }
    if (val == w->mark) {
        w->mark_offset = offset;
        w->mark_len = w->buf->len - offset;
    }
}

void dj_json_canonical_cut(struct dj_buf *buf, const struct dj_json *root, const char *const *skip,
                           const struct dj_json_cut *cut, const struct dj_json *mark,
                           size_t *out_mark_offset, size_t *out_mark_len)
{
    struct writer w = {
        .buf = buf, .skip = skip, .cut = *cut, .mark = dj_json_val(mark), .mark_offset = SIZE_MAX};
    assert(root);
    append_value(&w, dj_json_val(root));
    if (!mark)
        return;
    *out_mark_offset = w.mark_offset;
    *out_mark_len = w.mark_len;
}

void dj_json_canonical(struct dj_buf *buf, const struct dj_json *root, const char *const *skip,
                       const struct dj_json *mark, size_t *out_mark_offset, size_t *out_mark_len)
{
    static const struct dj_json_cut nothing = {.count = 0};
    dj_json_canonical_cut(buf, root, skip, &nothing, mark, out_mark_offset, out_mark_len);
}
