/* base/alloc.c - see alloc.h. */
#include "base/alloc.h"

#include <stdlib.h>

void *dj_alloc(size_t size)
{
    return malloc(size ? size : 1);
}

void *dj_alloc_zeroed(size_t count, size_t size)
{
    return calloc(count ? count : 1, size ? size : 1);
}

void *dj_realloc(void *old, size_t size)
{
    return realloc(old, size ? size : 1);
}

void *dj_alloc_aligned(size_t alignment, size_t size)
{
    size_t rounded = (size + alignment - 1) & ~(alignment - 1);
    if (rounded < size)
        return NULL;
    return aligned_alloc(alignment, rounded ? rounded : alignment);
}

char *dj_strdup(struct deja_slice text)
{
    char *copy = dj_alloc(text.len + 1);
    if (!copy)
        return NULL;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

void dj_free(void *memory)
{
    free(memory);
}
