/* base/buf.c - see buf.h. Capacity doubles, so n appended bytes cost O(n) copies in all. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"

#define BUF_CAP_FIRST 256u

void dj_buf_init(struct dj_buf *buf, size_t bytes_max)
{
    *buf = (struct dj_buf){.bytes_max = bytes_max};
}

void dj_buf_fini(struct dj_buf *buf)
{
    dj_free(buf->data);
    *buf = (struct dj_buf){0};
}

void dj_buf_clear(struct dj_buf *buf)
{
    buf->len = 0;
    buf->status = DEJA_OK;
}

char *dj_buf_grow(struct dj_buf *buf, size_t len)
{
    if (buf->status != DEJA_OK)
        return NULL;
    if (len > SIZE_MAX / 2 - buf->len || (buf->bytes_max && len > buf->bytes_max - buf->len)) {
        buf->status = DEJA_ERR_LIMIT;
        return NULL;
    }
    size_t cap = buf->cap ? buf->cap : BUF_CAP_FIRST;
    while (cap < buf->len + len)
        cap *= 2;
    char *data = dj_realloc(buf->data, cap);
    if (!data) {
        buf->status = DEJA_ERR_NOMEM;
        return NULL;
    }
    buf->data = data;
    buf->cap = cap;
    return data + buf->len;
}

void dj_buf_append_format(struct dj_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *room = len < 0 ? NULL : dj_buf_reserve(buf, (size_t)len + 1);
    if (room && vsnprintf(room, (size_t)len + 1, format, again) == len)
        buf->len += (size_t)len;
    va_end(again);
}

void dj_buf_append_u64(struct dj_buf *buf, uint64_t value)
{
    char digits[DJ_NUM_U64_DIGITS_MAX];
    dj_buf_append(buf, digits, dj_num_write_u64(value, digits));
}

char *dj_buf_take_text(struct dj_buf *buf)
{
    dj_buf_append_byte(buf, '\0');
    char *text = buf->data;
    if (buf->status == DEJA_OK)
        *buf = (struct dj_buf){0};
    else
        text = NULL;
    dj_buf_fini(buf);
    return text;
}

void dj_buf_consume(struct dj_buf *buf, size_t len)
{
    if (len >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->data, buf->data + len, buf->len - len);
    buf->len -= len;
}
