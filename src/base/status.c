/* base/status.c - texts for statuses and errors. */
#include <deja/base.h>

#include <stdarg.h>
#include <stdio.h>

struct status_row {
    enum deja_status status;
    const char *name; /* for programs: never changed */
    const char *text;
};

static const struct status_row rows[] = {
    {DEJA_OK, "ok", "ok"},
    {DEJA_ERR_NOMEM, "out_of_memory", "out of memory"},
    {DEJA_ERR_INVALID, "invalid_request", "invalid input"},
    {DEJA_ERR_LIMIT, "limit_reached", "limit reached"},
    {DEJA_ERR_BUSY, "busy", "busy, try again"},
    {DEJA_ERR_NOT_FOUND, "not_found", "not found"},
    {DEJA_ERR_DENIED, "denied", "not allowed"},
    {DEJA_ERR_IO, "io_failed", "input/output failed"},
    {DEJA_ERR_TIMEOUT, "timeout", "timed out"},
    {DEJA_ERR_CANCELLED, "cancelled", "cancelled"},
    {DEJA_ERR_CORRUPT, "corrupt", "data does not verify"},
    {DEJA_ERR_CONFIG, "configuration", "configuration cannot be used"},
    {DEJA_ERR_UNSUPPORTED, "unsupported", "not supported"},
    {DEJA_ERR_MISMATCH, "mismatch", "of another kind than what is kept"},
    {DEJA_ERR_QUERY_EMPTY, "query_empty", "the query is empty"},
    {DEJA_ERR_QUERY_TOO_LONG, "query_too_long", "the query is too long"},
    {DEJA_ERR_QUERY_INVALID_CHARACTERS, "query_invalid_characters",
     "the query has invalid characters"},
    {DEJA_ERR_TENANT_MISSING, "tenant_missing", "no tenant was named"},
    {DEJA_ERR_FEATURE_DISABLED, "feature_disabled", "this feature is disabled"},
    {DEJA_ERR_RATE_LIMITED, "rate_limited", "too many requests at once"},
    {DEJA_ERR_CACHE_UNAVAILABLE, "cache_unavailable", "the cache is unavailable"},
    {DEJA_ERR_CIRCUIT_OPEN, "circuit_open", "circuit breaker is open"},
    {DEJA_ERR_HEALTH_CHECK_FAILED, "health_check_failed", "the health check failed"},
};

static const struct status_row *find(enum deja_status status)
{
    static const struct status_row unknown = {DEJA_OK, "unknown", "unknown status"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status)
            return &rows[i];
    return &unknown;
}

const char *deja_status_text(enum deja_status status)
{
    return find(status)->text;
}

const char *deja_status_name(enum deja_status status)
{
    return find(status)->name;
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
