/* base/slice.h - looking into slices. Threads: any. */
#ifndef DJ_BASE_SLICE_H
#define DJ_BASE_SLICE_H

#include <deja/base.h>

/* Byte for byte; needle is terminated and not empty. */
bool dj_slice_contains(struct deja_slice text, const char *needle);

/* Byte for byte the terminated text; NULL is like no slice, not even an empty one. */
static inline bool dj_slice_is(struct deja_slice slice, const char *text)
{
    return text && deja_slice_is_equal(slice, deja_slice_text(text));
}

#endif
