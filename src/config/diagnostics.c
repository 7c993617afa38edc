/* config/diagnostics.c - see diagnostics.h. */
#include "config/diagnostics.h"

#include <stdarg.h>
#include <stdio.h>

#define MESSAGE_MAX 512u

void dj_diagnostics_fini(struct dj_diagnostics *diagnostics)
{
    dj_buf_fini(&diagnostics->text);
    *diagnostics = (struct dj_diagnostics){0};
}

static void add(struct dj_diagnostics *diagnostics, const char *where, const char *kind,
                const char *message)
{
    size_t count = diagnostics->error_count + diagnostics->warning_count;
    if (count > DJ_DIAGNOSTICS_MAX)
        return;
    if (count == DJ_DIAGNOSTICS_MAX) {
        dj_buf_append_text(&diagnostics->text, "error: more than can be listed\n");
        return;
    }
    if (where)
        dj_buf_append_format(&diagnostics->text, "%s: ", where);
    dj_buf_append_format(&diagnostics->text, "%s: %s\n", kind, message);
}

void dj_diagnostics_error(struct dj_diagnostics *diagnostics, const char *where, const char *format,
                          ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    add(diagnostics, where, "error", message);
    diagnostics->error_count++;
}

void dj_diagnostics_warning(struct dj_diagnostics *diagnostics, const char *where,
                            const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    add(diagnostics, where, "warning", message);
    diagnostics->warning_count++;
}
