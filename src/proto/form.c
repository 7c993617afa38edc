/* proto/form.c - see form.h. Trust: untrusted. */
#include "proto/form.h"

/* The value of a hex digit, or -1. */
static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum deja_status decode(struct deja_slice text, bool is_plus_space, struct dj_buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < text.len; at++) {
        char c = text.data[at];
        if (c == '%') {
            int high = at + 2 < text.len ? digit(text.data[at + 1]) : -1;
            int low = at + 2 < text.len ? digit(text.data[at + 2]) : -1;
            if (high < 0 || low < 0) {
                out->len = before;
                return DEJA_ERR_INVALID;
            }
            c = (char)(high * 16 + low);
            at += 2;
        } else if (c == '+' && is_plus_space) {
            c = ' ';
        }
        dj_buf_append_byte(out, c);
    }
    if (out->status != DEJA_OK)
        out->len = before;
    return out->status;
}

enum deja_status dj_form_get(struct deja_slice query, const char *name, struct dj_buf *out)
{
    struct deja_slice wanted = deja_slice_text(name);
    size_t start = 0;
    for (size_t at = 0; at <= query.len; at++) {
        if (at < query.len && query.data[at] != '&')
            continue;
        struct deja_slice member = deja_slice(query.data + start, at - start);
        const char *equals = member.len ? memchr(member.data, '=', member.len) : NULL;
        size_t name_len = equals ? (size_t)(equals - member.data) : member.len;
        if (member.len && deja_slice_is_equal(deja_slice(member.data, name_len), wanted)) {
            size_t value_at = equals ? name_len + 1 : name_len;
            return decode(deja_slice(member.data + value_at, member.len - value_at), true, out);
        }
        start = at + 1;
    }
    return DEJA_ERR_NOT_FOUND;
}

enum deja_status dj_form_segment(struct deja_slice segment, struct dj_buf *out)
{
    return decode(segment, false, out);
}
