/* text/utf8.c - see utf8.h; utf8proc gives the tables, this file the bounds.
 *
 * Normal forms: code points are decomposed one by one into a wide buffer, runs of combining marks
 * are put into canonical order, NFC composes, and the result is written back as UTF-8.
 *
 * Departs from utf8proc_map(): its ordering is a bubble sort, quadratic in a run of marks a
 * stranger may make as long as he likes; long runs are sorted here by counting, in linear time.
 */
#include "text/utf8.h"

#include <utf8proc.h>

#include "base/alloc.h"

enum {
    CLASS_COUNT = 256,    /* combining classes fit a byte */
    SHORT_RUN = 16,       /* marks sorted in place; longer runs are counted */
    CODE_POINT_BYTES = 4, /* UTF-8 of one code point */
    CODE_POINT_MAX = 0x10ffff
};

/* Length of the sequence at text, 0 when it is not valid. */
static size_t sequence_len(const unsigned char *text, size_t len)
{
    unsigned char lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t need = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (need > len)
        return 0;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    if (lead == 0xe0)
        low = 0xa0; /* overlong */
    else if (lead == 0xed)
        high = 0x9f; /* surrogates */
    else if (lead == 0xf0)
        low = 0x90; /* overlong */
    else if (lead == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    return need;
}

/* Bytes of ASCII at the beginning; eight at a time, as most of our text is. */
static size_t ascii_len(struct deja_slice text)
{
    size_t i = 0;
    while (i + 8 <= text.len) {
        uint64_t word = 0;
        memcpy(&word, text.data + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
        i += 8;
    }
    while (i < text.len && (unsigned char)text.data[i] < 0x80)
        i++;
    return i;
}

bool dj_utf8_is_valid(struct deja_slice text)
{
    size_t i = ascii_len(text);
    while (i < text.len) {
        size_t len = sequence_len((const unsigned char *)text.data + i, text.len - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

int32_t dj_utf8_next(struct deja_slice text, size_t *offset)
{
    const unsigned char *at = (const unsigned char *)text.data + *offset;
    size_t len = *offset < text.len ? sequence_len(at, text.len - *offset) : 0;
    *offset += len ? len : 1;
    switch (len) {
    case 1:
        return at[0];
    case 2:
        return (at[0] & 0x1f) << 6 | (at[1] & 0x3f);
    case 3:
        return (at[0] & 0x0f) << 12 | (at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    case 4:
        return (at[0] & 0x07) << 18 | (at[1] & 0x3f) << 12 | (at[2] & 0x3f) << 6 | (at[3] & 0x3f);
    default:
        return -1;
    }
}

void dj_utf8_append(struct dj_buf *buf, int32_t code_point)
{
    char bytes[CODE_POINT_BYTES];
    uint32_t c = (uint32_t)code_point;
    if (c < 0x80) {
        dj_buf_append_byte(buf, (char)c);
        return;
    }
    if (c > CODE_POINT_MAX || (c >= 0xd800 && c <= 0xdfff))
        c = 0xfffd; /* only valid UTF-8 leaves */
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; c >>= 6)
        bytes[i] = (char)(0x80 | (c & 0x3f));
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    bytes[0] = (char)(leads[len] | c);
    dj_buf_append(buf, bytes, len);
}

size_t dj_utf8_count(struct deja_slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return count;
}

enum dj_char_class dj_char_class(int32_t code_point)
{
    if (code_point == '\t' || code_point == '\n' || code_point == '\r')
        return DJ_CHAR_SPACE;
    switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return DJ_CHAR_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return DJ_CHAR_MARK;
    case UTF8PROC_CATEGORY_ND:
        return DJ_CHAR_DIGIT;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return DJ_CHAR_NUMBER_OTHER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return DJ_CHAR_PUNCTUATION;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
        return DJ_CHAR_SYMBOL;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return DJ_CHAR_SPACE;
    default:
        return DJ_CHAR_CONTROL;
    }
}

bool dj_char_is_nonspacing_mark(int32_t code_point)
{
    return code_point >= 0x300 && utf8proc_category(code_point) == UTF8PROC_CATEGORY_MN;
}

bool dj_char_is_assigned(int32_t code_point)
{
    return utf8proc_category(code_point) != UTF8PROC_CATEGORY_CN;
}

int32_t dj_char_lower(int32_t code_point)
{
    if (code_point < 0x80)
        return code_point >= 'A' && code_point <= 'Z' ? code_point + ('a' - 'A') : code_point;
    return utf8proc_tolower(code_point);
}

size_t dj_char_decompose(int32_t code_point, int32_t out_parts[DJ_CHAR_PARTS_MAX])
{
    int boundary = 0;
    utf8proc_ssize_t count = 0;
    if (code_point >= 0xc0) /* the first that decomposes */
        count = utf8proc_decompose_char(code_point, out_parts, DJ_CHAR_PARTS_MAX,
                                        UTF8PROC_DECOMPOSE, &boundary);
    if (count >= 1 && count <= DJ_CHAR_PARTS_MAX)
        return (size_t)count;
    out_parts[0] = code_point;
    return 1;
}

static int combining_class(int32_t code_point)
{
    if (code_point < 0x300)
        return 0;
    return (int)utf8proc_get_property(code_point)->combining_class;
}

/* Both sorts are stable: marks of one class keep their order, as the standard wants. */
static void sort_short(int32_t *run, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        int32_t mark = run[i];
        int class = combining_class(mark);
        size_t j = i;
        for (; j && combining_class(run[j - 1]) > class; j--)
            run[j] = run[j - 1];
        run[j] = mark;
    }
}

static enum deja_status sort_long(int32_t *run, size_t len)
{
    size_t starts[CLASS_COUNT + 1] = {0};
    int32_t *sorted = dj_alloc(len * sizeof *sorted);
    if (!sorted)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < len; i++)
        starts[combining_class(run[i]) + 1]++;
    for (size_t class = 1; class < CLASS_COUNT; class ++)
        starts[class] += starts[class - 1];
    for (size_t i = 0; i < len; i++)
        sorted[starts[combining_class(run[i])]++] = run[i];
    memcpy(run, sorted, len * sizeof *run);
    dj_free(sorted);
    return DEJA_OK;
}

static enum deja_status put_marks_in_order(int32_t *wide, size_t count)
{
    size_t i = 0;
    while (i < count) {
        if (!combining_class(wide[i])) {
            i++;
            continue;
        }
        size_t begin = i;
        while (i < count && combining_class(wide[i]))
            i++;
        if (i - begin <= SHORT_RUN) {
            sort_short(wide + begin, i - begin);
            continue;
        }
        enum deja_status status = sort_long(wide + begin, i - begin);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status decompose(struct deja_slice text, struct dj_buf *wide)
{
    size_t offset = 0;
    while (offset < text.len) {
        int32_t code_point = dj_utf8_next(text, &offset);
        if (code_point < 0)
            return DEJA_ERR_INVALID;
        if (code_point < 0x80) {
            dj_buf_append(wide, &code_point, sizeof code_point);
            continue;
        }
        int32_t parts[DJ_CHAR_PARTS_MAX];
        size_t count = dj_char_decompose(code_point, parts);
        dj_buf_append(wide, parts, count * sizeof *parts);
    }
    return wide->status;
}

static enum deja_status normalise(struct deja_slice text, struct dj_buf *out, bool must_compose)
{
    if (out->status != DEJA_OK)
        return out->status;
    size_t len_before = out->len;
    if (ascii_len(text) == text.len) {
        dj_buf_append_slice(out, text);
        return out->status;
    }
    struct dj_buf wide;
    dj_buf_init(&wide, 0);
    enum deja_status status = decompose(text, &wide);
    if (status != DEJA_OK)
        goto done;
    int32_t *points = (int32_t *)(void *)wide.data;
    size_t count = wide.len / sizeof *points;
    status = put_marks_in_order(points, count);
    if (status != DEJA_OK)
        goto done;
    if (must_compose) {
        utf8proc_ssize_t composed = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count,
                                                             UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (composed < 0) {
            status = DEJA_ERR_INVALID;
            goto done;
        }
        count = (size_t)composed;
    }
    for (size_t i = 0; i < count && out->status == DEJA_OK; i++)
        dj_utf8_append(out, points[i]);
    status = out->status;
    if (status != DEJA_OK)
        out->len = len_before;
done:
    dj_buf_fini(&wide);
    return status;
}

enum deja_status dj_utf8_nfd(struct deja_slice text, struct dj_buf *out)
{
    return normalise(text, out, false);
}

enum deja_status dj_utf8_nfc(struct deja_slice text, struct dj_buf *out)
{
    return normalise(text, out, true);
}
