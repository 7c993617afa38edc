/* base/slice.h - looking into slices. Threads: any. */
#ifndef DJ_BASE_SLICE_H
#define DJ_BASE_SLICE_H

#include <string.h>

#include <deja/base.h>

/* Byte for byte; needle is terminated and not empty. */
bool dj_slice_contains(struct deja_slice text, const char *needle);

/* Byte for byte the terminated text; NULL is like no slice, not even an empty one. */
static inline bool dj_slice_is(struct deja_slice slice, const char *text)
{
    return text && deja_slice_is_equal(slice, deja_slice_text(text));
}

/* Copies it to *at, which moves behind it: the copy, which points there also when it is empty. */
static inline struct deja_slice dj_slice_place(char **at, struct deja_slice from)
{
    struct deja_slice to = deja_slice(*at, from.len);
    if (from.len)
        memcpy(*at, from.data, from.len);
    *at += from.len;
    return to;
}

#endif
