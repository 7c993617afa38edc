/* obs/log.h - one line per event on a descriptor: JSON, or pretty on a terminal.
 *
 * Never prompts, answers, credentials (WIRE §15): callers pass lengths and hashes. Every message
 * and every text value goes through the redactor callback if one is set. Lines are written whole; a
 * full pipe drops the line and counts it, it never blocks a loop. Threads: any.
 */
#ifndef DJ_OBS_LOG_H
#define DJ_OBS_LOG_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_LOG_LINE_BYTES_MAX 4096u /* what a pipe takes whole; what does not fit is left out */

enum dj_log_level { DJ_LOG_DEBUG, DJ_LOG_INFO, DJ_LOG_WARN, DJ_LOG_ERROR };
enum dj_log_format { DJ_LOG_AUTO, DJ_LOG_JSON, DJ_LOG_PRETTY };

struct dj_log;

/* Field of a line; the list ends with name NULL. */
struct dj_log_field {
    const char *name;
    enum { DJ_FIELD_TEXT, DJ_FIELD_SLICE, DJ_FIELD_I64, DJ_FIELD_DOUBLE, DJ_FIELD_BOOL } type;
    union {
        const char *text;
        struct deja_slice slice;
        int64_t i64;
        double number;
        bool boolean;
    } value;
};
#define DJ_LOG_TEXT(field, v)                                     \
    {                                                             \
        .name = (field), .type = DJ_FIELD_TEXT, .value.text = (v) \
    }
#define DJ_LOG_SLICE(field, v)                                      \
    {                                                               \
        .name = (field), .type = DJ_FIELD_SLICE, .value.slice = (v) \
    }
#define DJ_LOG_I64(field, v)                                    \
    {                                                           \
        .name = (field), .type = DJ_FIELD_I64, .value.i64 = (v) \
    }
#define DJ_LOG_DOUBLE(field, v)                                       \
    {                                                                 \
        .name = (field), .type = DJ_FIELD_DOUBLE, .value.number = (v) \
    }
#define DJ_LOG_BOOL(field, v)                                        \
    {                                                                \
        .name = (field), .type = DJ_FIELD_BOOL, .value.boolean = (v) \
    }

/* now_ms is asked for each line (obs does not read the clock itself). fd is borrowed. */
enum deja_status dj_log_create(int fd, enum dj_log_format format, enum dj_log_level level,
                               int64_t (*now_ms)(void), struct dj_log **out_log) DEJA_NODISCARD;
void dj_log_destroy(struct dj_log *log);                            /* accepts NULL */
void dj_log_set_level(struct dj_log *log, enum dj_log_level level); /* any thread */
/* Appends what may be seen of a text: of the field of that name, or, name NULL, of the message. Of
 * a number the text is empty, and what is appended takes its place. Any thread; must not log. Of
 * longer texts only the first DJ_LOG_REDACTED_BYTES_MAX bytes come. */
typedef void dj_log_redact_fn(void *ctx, const char *name, struct deja_slice text,
                              struct dj_buf *out);
#define DJ_LOG_REDACTED_BYTES_MAX 4096u
/* Before the log is shared between threads. */
void dj_log_set_redactor(struct dj_log *log, void *ctx, dj_log_redact_fn *redact);
uint64_t dj_log_dropped(const struct dj_log *log);

/* Would a line of that level be written? Spares the making of fields. */
bool dj_log_is_on(const struct dj_log *log, enum dj_log_level level);

/* log NULL: nothing. fields NULL or ended by a field with name NULL. */
void dj_log_write(struct dj_log *log, enum dj_log_level level, const char *message,
                  const struct dj_log_field *fields);

#endif
