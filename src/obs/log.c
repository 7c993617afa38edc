/* obs/log.c - lines of fields onto a descriptor.
 *
 * A line is built on the stack and written by one write: up to DJ_LOG_LINE_BYTES_MAX a pipe takes
 * it whole or not at all. The descriptor is not made non-blocking, as that would also change the
 * shell's side of a shared terminal or file; instead it is asked, under a lock, whether it can take
 * bytes, and the line is dropped and counted if not.
 *
 * (1) A line is one line: every control character is escaped, in the pretty form too, where it
 * could speak to the terminal. (2) A field that no longer fits is left out, and "truncated" says
 * so.
 */
#include "obs/log.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/date.h"
#include "obs/text_internal.h"

#define TEXT_BYTES_MAX 1024u /* of one value */
#define END_BYTES 32u        /* kept free for the end of the line */

struct dj_log {
    int fd; /* borrowed */
    bool is_pretty;
    _Atomic int level;
    int64_t (*now_ms)(void);
    _Atomic uint64_t dropped;
    void *redact_ctx;
    dj_log_redact_fn *redact;
    pthread_mutex_t lock; /* of writing */
    bool is_torn;         /* the descriptor took a part of the last line */
};

struct line {
    char bytes[DJ_LOG_LINE_BYTES_MAX];
    size_t len;
    bool is_full;
};

enum deja_status dj_log_create(int fd, enum dj_log_format format, enum dj_log_level level,
                               int64_t (*now_ms)(void), struct dj_log **out_log)
{
    assert(now_ms);
    struct dj_log *log = dj_alloc_zeroed(1, sizeof *log);
    if (!log)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&log->lock, NULL) != 0) {
        dj_free(log);
        return DEJA_ERR_NOMEM;
    }
    log->fd = fd;
    log->is_pretty = format == DJ_LOG_PRETTY || (format == DJ_LOG_AUTO && isatty(fd));
    atomic_store(&log->level, (int)level);
    log->now_ms = now_ms;
    *out_log = log;
    return DEJA_OK;
}

void dj_log_destroy(struct dj_log *log)
{
    if (!log)
        return;
    pthread_mutex_destroy(&log->lock);
    dj_free(log);
}

void dj_log_set_level(struct dj_log *log, enum dj_log_level level)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

void dj_log_set_redactor(struct dj_log *log, void *ctx, dj_log_redact_fn *redact)
{
    log->redact_ctx = ctx;
    log->redact = redact;
}

uint64_t dj_log_dropped(const struct dj_log *log)
{
    return atomic_load_explicit(&log->dropped, memory_order_relaxed);
}

static void put(struct line *line, const char *bytes, size_t len)
{
    if (len > sizeof line->bytes - END_BYTES - line->len)
        line->is_full = true;
    if (line->is_full)
        return;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* The inside of a JSON string, or of a quoted pretty value. */
static void put_escaped(struct line *line, struct deja_slice text)
{
    static const char digits[] = "0123456789abcdef";
    struct deja_slice cut = dj_obs_cut(text, TEXT_BYTES_MAX);
    bool is_cut = cut.len < text.len;
    while (cut.len) {
        size_t len = dj_obs_sequence(cut);
        unsigned char c = (unsigned char)*cut.data;
        if (!len)
            put_text(line, "\\ufffd");
        else if (c == '"' || c == '\\')
            put(line, (const char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            put_text(line, "\\n");
        else if (c < 0x20 || c == 0x7f)
            put(line, (const char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
        else if (c == 0xc2 && (unsigned char)cut.data[1] < 0xa0) /* C1: terminals obey these too */
            put(line,
                (const char[]){'\\', 'u', '0', '0', digits[(unsigned char)cut.data[1] >> 4],
                               digits[(unsigned char)cut.data[1] & 15]},
                6);
        else
            put(line, cut.data, len);
        len += !len;
        cut = deja_slice(cut.data + len, cut.len - len);
    }
    if (is_cut)
        put_text(line, "\xe2\x80\xa6");
}

/* Words need no quotes in the pretty form. */
static bool is_word(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f || text.data[i] == '"' ||
            text.data[i] == '\\' || text.data[i] == '=')
            return false;
    return text.len && text.len <= TEXT_BYTES_MAX;
}

static void put_string(const struct dj_log *log, struct line *line, struct deja_slice text)
{
    bool is_bare = log->is_pretty && is_word(text);
    if (!is_bare)
        put_text(line, "\"");
    put_escaped(line, text);
    if (!is_bare)
        put_text(line, "\"");
}

/* name NULL: the message. False: there is no redactor. Half of a redaction might be a whole secret,
 * and half of a text half of one: it is cut long after what is shown of it ends. */
static bool redact(const struct dj_log *log, const char *name, struct deja_slice text,
                   struct dj_buf *out)
{
    if (!log->redact)
        return false;
    dj_buf_init(out, (size_t)2 * DJ_LOG_REDACTED_BYTES_MAX);
    struct deja_slice cut = dj_obs_cut(text, DJ_LOG_REDACTED_BYTES_MAX);
    log->redact(log->redact_ctx, name, cut, out);
    bool is_end_shown = cut.len < text.len && out->len <= TEXT_BYTES_MAX;
    if (out->status != DEJA_OK || is_end_shown) {
        dj_buf_clear(out);
        dj_buf_append_text(out, "***");
    }
    return true;
}

static void put_value(const struct dj_log *log, struct line *line, const char *name,
                      struct deja_slice text)
{
    struct dj_buf seen = {0};
    put_string(log, line, redact(log, name, text, &seen) ? dj_buf_slice(&seen) : text);
    dj_buf_fini(&seen);
}

/* True: the name says that no value is shown, and what stands in its place was put. */
static bool put_hidden(const struct dj_log *log, struct line *line, const char *name)
{
    struct dj_buf seen = {0};
    bool is_hidden = redact(log, name, deja_slice("", 0), &seen) && seen.len;
    if (is_hidden)
        put_string(log, line, dj_buf_slice(&seen));
    dj_buf_fini(&seen);
    return is_hidden;
}

static void put_field(const struct dj_log *log, struct line *line, const struct dj_log_field *field)
{
    char number[32];
    put_text(line, log->is_pretty ? " " : ",\"");
    put_text(line, field->name);
    put_text(line, log->is_pretty ? "=" : "\":");
    bool is_text = field->type == DJ_FIELD_TEXT || field->type == DJ_FIELD_SLICE;
    if (!is_text && put_hidden(log, line, field->name))
        return;
    switch (field->type) {
    case DJ_FIELD_TEXT:
        if (field->value.text)
            put_value(log, line, field->name, deja_slice_text(field->value.text));
        else
            put_text(line, "null");
        return;
    case DJ_FIELD_SLICE:
        put_value(log, line, field->name, field->value.slice);
        return;
    case DJ_FIELD_I64:
        snprintf(number, sizeof number, "%lld", (long long)field->value.i64);
        put_text(line, number);
        return;
    case DJ_FIELD_DOUBLE:
        snprintf(number, sizeof number, "%.9g", field->value.number);
        put_text(line, isfinite(field->value.number) ? number : "null");
        return;
    case DJ_FIELD_BOOL:
        put_text(line, field->value.boolean ? "true" : "false");
        return;
    }
}

static void put_head(const struct dj_log *log, struct line *line, enum dj_log_level level,
                     const char *message)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    static const char *const pretty_names[] = {" DEBUG ", " INFO  ", " WARN  ", " ERROR "};
    char now[DJ_DATE_RFC3339_BYTES];
    struct dj_buf seen = {0};
    struct deja_slice shown = deja_slice_text(message);
    if (redact(log, NULL, shown, &seen))
        shown = dj_buf_slice(&seen);
    dj_date_rfc3339(log->now_ms(), now);
    if (log->is_pretty) {
        put(line, now + 11, 12); /* the time of day */
        put_text(line, pretty_names[level]);
        put_escaped(line, shown);
        dj_buf_fini(&seen);
        return;
    }
    put_text(line, "{\"ts\":\"");
    put_text(line, now);
    put_text(line, "\",\"level\":\"");
    put_text(line, names[level]);
    put_text(line, "\",\"msg\":\"");
    put_escaped(line, shown);
    put_text(line, "\"");
    dj_buf_fini(&seen);
}

static void put_end(const struct dj_log *log, struct line *line, bool is_truncated)
{
    const char *end = log->is_pretty ? is_truncated ? " truncated=true\n" : "\n"
                      : is_truncated ? ",\"truncated\":true}\n"
                                     : "}\n";
    size_t len = strlen(end); /* END_BYTES were kept for it */
    memcpy(line->bytes + line->len, end, len);
    line->len += len;
}

static bool can_take(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

/* Lock held. A line that went out in part is ended before the next one. */
static bool write_line(struct dj_log *log, const char *bytes, size_t len)
{
    if (!can_take(log->fd))
        return false;
    if (log->is_torn && write(log->fd, "\n", 1) != 1)
        return false;
    log->is_torn = false;
    while (len) {
        ssize_t written = write(log->fd, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        len -= (size_t)written;
        log->is_torn = len > 0;
        if (len && !can_take(log->fd))
            return false;
    }
    return true;
}

bool dj_log_is_on(const struct dj_log *log, enum dj_log_level level)
{
    return log && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

void dj_log_write(struct dj_log *log, enum dj_log_level level, const char *message,
                  const struct dj_log_field *fields)
{
    if (!dj_log_is_on(log, level))
        return;
    struct line line;
    line.len = 0;
    line.is_full = false;
    put_head(log, &line, level, message);
    bool is_truncated = false;
    for (; fields && fields->name; fields++) {
        size_t before = line.len;
        put_field(log, &line, fields);
        if (!line.is_full)
            continue;
        line.len = before;
        line.is_full = false;
        is_truncated = true;
    }
    put_end(log, &line, is_truncated);
    pthread_mutex_lock(&log->lock);
    bool is_written = write_line(log, line.bytes, line.len);
    pthread_mutex_unlock(&log->lock);
    if (!is_written)
        atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
}
