/* base/status.c - texts for statuses and errors. */
#include <deja/base.h>

#include <stdarg.h>
#include <stdio.h>

const char *deja_status_text(enum deja_status status)
{
    switch (status) {
    case DEJA_OK:
        return "ok";
    case DEJA_ERR_NOMEM:
        return "out of memory";
    case DEJA_ERR_INVALID:
        return "invalid input";
    case DEJA_ERR_LIMIT:
        return "limit reached";
    case DEJA_ERR_BUSY:
        return "busy, try again";
    case DEJA_ERR_NOT_FOUND:
        return "not found";
    case DEJA_ERR_DENIED:
        return "not allowed";
    case DEJA_ERR_IO:
        return "input/output failed";
    case DEJA_ERR_TIMEOUT:
        return "timed out";
    case DEJA_ERR_CANCELLED:
        return "cancelled";
    case DEJA_ERR_CORRUPT:
        return "data does not verify";
    case DEJA_ERR_CONFIG:
        return "configuration cannot be used";
    case DEJA_ERR_UNSUPPORTED:
        return "not supported";
    case DEJA_ERR_MISMATCH:
        return "of another kind than what is kept";
    }
    return "unknown status";
}

enum deja_status deja_error_set(struct deja_error *error, enum deja_status status,
                                const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        int written = vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
        if (written < 0)
            error->message[0] = '\0';
    }
    return status;
}
