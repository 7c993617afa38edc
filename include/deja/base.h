/* deja/base.h - the types every call of Deja shares: status, error text, byte slices.
 *
 * Threads: plain data; no function here keeps state.
 */
#ifndef DEJA_BASE_H
#define DEJA_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEJA_API __attribute__((visibility("default")))
#define DEJA_NODISCARD __attribute__((warn_unused_result))
#define DEJA_PRINTF(format_index, args_index) \
    __attribute__((format(printf, format_index, args_index)))

#define DEJA_VERSION "0.1.0"

/* What a call that can fail returns. A miss is an outcome, never an error. */
enum deja_status {
    DEJA_OK = 0,
    DEJA_ERR_NOMEM = -1,        /* out of memory; nothing changed */
    DEJA_ERR_INVALID = -2,      /* the input is not acceptable; it will never be */
    DEJA_ERR_LIMIT = -3,        /* a bound was reached; smaller input or less load may pass */
    DEJA_ERR_BUSY = -4,         /* somebody else holds it, or a queue is full; try again */
    DEJA_ERR_NOT_FOUND = -5,    /* no such thing where a thing was expected */
    DEJA_ERR_DENIED = -6,       /* not allowed */
    DEJA_ERR_IO = -7,           /* disk or network failed */
    DEJA_ERR_TIMEOUT = -8,      /* the deadline passed */
    DEJA_ERR_CANCELLED = -9,    /* ended by its owner before it was done */
    DEJA_ERR_CORRUPT = -10,     /* bytes that were ours do not verify */
    DEJA_ERR_CONFIG = -11,      /* the configuration cannot be used */
    DEJA_ERR_UNSUPPORTED = -12, /* understood, and not offered here */
    DEJA_ERR_MISMATCH = -13,    /* right in itself, but not of the kind that is kept here */

    /* Conditions of the cache; programs know them by deja_status_name(), which is the same word as
     * `type` in the daemon's answers. */
    DEJA_ERR_QUERY_EMPTY = -20,
    DEJA_ERR_QUERY_TOO_LONG = -21,
    DEJA_ERR_QUERY_INVALID_CHARACTERS = -22, /* not UTF-8, or control characters */
    DEJA_ERR_TENANT_MISSING = -23,
    DEJA_ERR_FEATURE_DISABLED = -24,
    DEJA_ERR_RATE_LIMITED = -25,      /* too much at once; later it may pass */
    DEJA_ERR_CACHE_UNAVAILABLE = -26, /* a store failed */
    DEJA_ERR_CIRCUIT_OPEN = -27,      /* a store failed so often that it is not asked for now */
    DEJA_ERR_HEALTH_CHECK_FAILED = -28
};

/* Constant text for a status, never NULL; for people, not for programs. */
DEJA_API const char *deja_status_text(enum deja_status status);
/* One constant word for a status, never NULL: "query_empty", "timeout"; it does not change. */
DEJA_API const char *deja_status_name(enum deja_status status);

/* Text a person will read about one failure. The caller's; filled on failure only. */
struct deja_error {
    char message[480];
};

/* Formats into error (NULL: does nothing) and returns status, so that one line can do both. */
DEJA_API enum deja_status deja_error_set(struct deja_error *error, enum deja_status status,
                                         const char *format, ...) DEJA_PRINTF(3, 4);

/* Bytes somebody else owns; how long they live is said where a slice is handed over. */
struct deja_slice {
    const char *data; /* not terminated; may be NULL when len is 0 */
    size_t len;
};

static inline struct deja_slice deja_slice(const void *data, size_t len)
{
    struct deja_slice slice;
    slice.data = (const char *)data;
    slice.len = len;
    return slice;
}

/* Of a terminated string. */
static inline struct deja_slice deja_slice_text(const char *text)
{
    return deja_slice(text, text ? strlen(text) : 0);
}

static inline bool deja_slice_is_equal(struct deja_slice a, struct deja_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#ifdef __cplusplus
}
#endif
#endif
