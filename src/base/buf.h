/* base/buf.h - a byte buffer that grows up to a bound and owns its bytes.
 *
 * A zeroed buf is empty, unbounded and may be fini'd. Appends are sticky about failure: after the
 * first append that could not be done `status` stays set and later appends do nothing, so a
 * sequence of appends is checked once at its end. Threads: none of its own.
 */
#ifndef DJ_BASE_BUF_H
#define DJ_BASE_BUF_H

#include <deja/base.h>

struct dj_buf {
    char *data; /* owned; NULL while nothing was appended */
    size_t len;
    size_t cap;
    size_t bytes_max;        /* 0: no bound */
    enum deja_status status; /* first failure: DEJA_ERR_NOMEM or DEJA_ERR_LIMIT */
};

void dj_buf_init(struct dj_buf *buf, size_t bytes_max);
void dj_buf_fini(struct dj_buf *buf);  /* frees and zeroes */
void dj_buf_clear(struct dj_buf *buf); /* keeps the memory, forgets bytes and status */

void dj_buf_append_format(struct dj_buf *buf, const char *format, ...) DEJA_PRINTF(2, 3);
void dj_buf_append_u64(struct dj_buf *buf, uint64_t value); /* decimal */

/* Room for at least len more bytes at data + len; the caller then adds what it wrote to len.
 * NULL (status set) when there is none. */
static inline char *dj_buf_reserve(struct dj_buf *buf, size_t len) DEJA_NODISCARD;
/* Its way where memory must come first. */
char *dj_buf_grow(struct dj_buf *buf, size_t len) DEJA_NODISCARD;

/* Inline down to the copy, as most appends are of a few bytes and find room. */
static inline char *dj_buf_reserve(struct dj_buf *buf, size_t len)
{
    bool has_room = buf->data && buf->status == DEJA_OK && len <= buf->cap - buf->len &&
                    (!buf->bytes_max || len <= buf->bytes_max - buf->len);
    return has_room ? buf->data + buf->len : dj_buf_grow(buf, len);
}

static inline void dj_buf_append(struct dj_buf *buf, const void *data, size_t len)
{
    char *room = len ? dj_buf_reserve(buf, len) : NULL;
    if (!room)
        return;
    memcpy(room, data, len);
    buf->len += len;
}

static inline void dj_buf_append_slice(struct dj_buf *buf, struct deja_slice slice)
{
    dj_buf_append(buf, slice.data, slice.len);
}

static inline void dj_buf_append_text(struct dj_buf *buf, const char *text) /* terminated */
{
    dj_buf_append(buf, text, strlen(text));
}

static inline void dj_buf_append_byte(struct dj_buf *buf, char byte)
{
    dj_buf_append(buf, &byte, 1);
}

/* The bytes as a terminated text, which is the caller's from now on (dj_free); buf is zeroed. NULL:
 * an append before it, or the one of the terminator, failed. */
char *dj_buf_take_text(struct dj_buf *buf) DEJA_NODISCARD;

/* Drops the first len bytes (at most all). */
void dj_buf_consume(struct dj_buf *buf, size_t len);

static inline struct deja_slice dj_buf_slice(const struct dj_buf *buf)
{
    return deja_slice(buf->data, buf->len); /* until the next change of buf */
}

#endif
