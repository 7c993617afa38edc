/* proto/json_writer.c - JSON out: commas, escapes, shortest doubles. */
#include "proto/json_internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A bit per byte that may not stand in a string as it is, for eight bytes at once: below 0x20,
 * the quote, the backslash. The test of x < n by subtraction is right for bytes below 0x80, others
 * are masked out; a false bit above a true one only ends the fast run early. */
static uint64_t find_special(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t highs = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"');
    uint64_t slash = word ^ (ones * '\\');
    return ((word - ones * 0x20) | (quote - ones) | (slash - ones)) & ~word & highs;
}

static bool is_special(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

/* Bytes from the start that need no escape. */
static size_t plain_run(const char *data, size_t len)
{
    size_t i = 0;
    for (; len - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        if (find_special(word))
            break;
    }
    if (len >= sizeof(uint64_t) && len - i < sizeof(uint64_t)) { /* the last eight again */
        uint64_t word;
        memcpy(&word, data + len - sizeof word, sizeof word);
        if (!find_special(word))
            return len;
    }
    while (i < len && !is_special((unsigned char)data[i]))
        i++;
    return i;
}

static void append_escape(struct dj_buf *buf, unsigned char c)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof short_forms - 1; i += 2) {
        if ((unsigned char)short_forms[i] != c)
            continue;
        char text[2] = {'\\', short_forms[i + 1]};
        dj_buf_append(buf, text, sizeof text);
        return;
    }
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    dj_buf_append(buf, text, sizeof text);
}

void dj_json_escape(struct dj_buf *buf, struct deja_slice text)
{
    for (size_t i = 0; i < text.len;) {
        size_t run = plain_run(text.data + i, text.len - i);
        dj_buf_append(buf, text.data + i, run);
        i += run;
        if (i < text.len)
            append_escape(buf, (unsigned char)text.data[i++]);
    }
}

void dj_json_append_string(struct dj_buf *buf, struct deja_slice text)
{
    dj_buf_append_byte(buf, '"');
    dj_json_escape(buf, text);
    dj_buf_append_byte(buf, '"');
}

static void append_container(struct dj_buf *buf, yyjson_val *val)
{
    bool is_object = unsafe_yyjson_is_obj(val);
    size_t count = unsafe_yyjson_get_len(val);
    yyjson_val *item = unsafe_yyjson_get_first(val);
    dj_buf_append_byte(buf, is_object ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        if (i)
            dj_buf_append_byte(buf, ',');
        if (is_object) {
            dj_json_append_string(
                buf, deja_slice(unsafe_yyjson_get_str(item), unsafe_yyjson_get_len(item)));
            dj_buf_append_byte(buf, ':');
            item++;
        }
        dj_json_append(buf, item);
        item = unsafe_yyjson_get_next(item);
    }
    dj_buf_append_byte(buf, is_object ? '}' : ']');
}

void dj_json_append(struct dj_buf *buf, yyjson_val *val)
{
    struct deja_slice text = dj_json_number_text(dj_json_of(val));
    switch (dj_json_type(dj_json_of(val))) {
    case DJ_JSON_NULL:
        dj_buf_append(buf, "null", 4);
        return;
    case DJ_JSON_BOOL:
        dj_buf_append_text(buf, unsafe_yyjson_get_bool(val) ? "true" : "false");
        return;
    case DJ_JSON_NUMBER:
        dj_buf_append_slice(buf, text);
        return;
    case DJ_JSON_STRING:
        dj_json_append_string(buf, dj_json_string(dj_json_of(val)));
        return;
    case DJ_JSON_ARRAY:
    case DJ_JSON_OBJECT:
        append_container(buf, val);
        return;
    }
}

struct dj_json_writer dj_json_writer(struct dj_buf *buf)
{
    return (struct dj_json_writer){.buf = buf};
}

/* The comma before an item of a container. */
static void begin_item(struct dj_json_writer *w)
{
    if (w->is_after_key) {
        w->is_after_key = false;
        return;
    }
    if (!w->depth)
        return;
    uint64_t bit = (uint64_t)1 << (w->depth - 1);
    if (w->has_item & bit)
        dj_buf_append_byte(w->buf, ',');
    w->has_item |= bit;
}

static void begin_container(struct dj_json_writer *w, char bracket)
{
    begin_item(w);
    assert(w->depth < DJ_JSON_DEPTH_MAX); /* our own nesting; parsed values take no level here */
    dj_buf_append_byte(w->buf, bracket);
    w->depth++;
    w->has_item &= ~((uint64_t)1 << (w->depth - 1));
}

static void end_container(struct dj_json_writer *w, char bracket)
{
    assert(w->depth && !w->is_after_key);
    w->depth--;
    dj_buf_append_byte(w->buf, bracket);
}

void dj_json_begin_object(struct dj_json_writer *w)
{
    begin_container(w, '{');
}

void dj_json_end_object(struct dj_json_writer *w)
{
    end_container(w, '}');
}

void dj_json_begin_array(struct dj_json_writer *w)
{
    begin_container(w, '[');
}

void dj_json_end_array(struct dj_json_writer *w)
{
    end_container(w, ']');
}

void dj_json_key_slice(struct dj_json_writer *w, struct deja_slice name)
{
    assert(w->depth && !w->is_after_key);
    begin_item(w);
    dj_json_append_string(w->buf, name);
    dj_buf_append_byte(w->buf, ':');
    w->is_after_key = true;
}

void dj_json_key(struct dj_json_writer *w, const char *name)
{
    dj_json_key_slice(w, deja_slice_text(name));
}

void dj_json_put_string(struct dj_json_writer *w, struct deja_slice text)
{
    begin_item(w);
    dj_json_append_string(w->buf, text);
}

void dj_json_put_text(struct dj_json_writer *w, const char *text)
{
    dj_json_put_string(w, deja_slice_text(text));
}

void dj_json_put_i64(struct dj_json_writer *w, int64_t value)
{
    begin_item(w);
    if (value < 0)
        dj_buf_append_byte(w->buf, '-');
    dj_buf_append_u64(w->buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void dj_json_put_u64(struct dj_json_writer *w, uint64_t value)
{
    begin_item(w);
    dj_buf_append_u64(w->buf, value);
}

void dj_json_put_double(struct dj_json_writer *w, double value)
{
    if (!isfinite(value)) {
        dj_json_put_null(w);
        return;
    }
    begin_item(w);
    char text[32];
    int len = 0;
    /* 15 digits are enough for most doubles that came from short decimals, 17 for all. */
    for (int precision = 15; precision <= 17; precision++) {
        len = snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    dj_buf_append(w->buf, text, (size_t)len);
}

void dj_json_put_bool(struct dj_json_writer *w, bool value)
{
    begin_item(w);
    dj_buf_append_text(w->buf, value ? "true" : "false");
}

void dj_json_put_null(struct dj_json_writer *w)
{
    begin_item(w);
    dj_buf_append(w->buf, "null", 4);
}

void dj_json_put_raw(struct dj_json_writer *w, struct deja_slice json)
{
    begin_item(w);
    dj_buf_append_slice(w->buf, json);
}

void dj_json_put_value(struct dj_json_writer *w, const struct dj_json *value)
{
    if (!value) {
        dj_json_put_null(w);
        return;
    }
    begin_item(w);
    dj_json_append(w->buf, dj_json_val(value));
}

void dj_json_member_text(struct dj_json_writer *w, const char *name, const char *text)
{
    dj_json_key(w, name);
    if (text)
        dj_json_put_text(w, text);
    else
        dj_json_put_null(w);
}

void dj_json_member_u64(struct dj_json_writer *w, const char *name, uint64_t value)
{
    dj_json_key(w, name);
    dj_json_put_u64(w, value);
}

void dj_json_member_double(struct dj_json_writer *w, const char *name, double value)
{
    dj_json_key(w, name);
    dj_json_put_double(w, value);
}

void dj_json_member_bool(struct dj_json_writer *w, const char *name, bool value)
{
    dj_json_key(w, name);
    dj_json_put_bool(w, value);
}
