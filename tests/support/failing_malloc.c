/* support/failing_malloc.c - see failing_malloc.h. */
#include "failing_malloc.h"

static _Thread_local size_t countdown;
static _Thread_local bool has_failed;

void failing_malloc_arm(size_t n)
{
    countdown = n;
    has_failed = false;
}

bool failing_malloc_disarm(void)
{
    countdown = 0;
    return has_failed;
}

static bool must_fail(void)
{
    if (!countdown || --countdown)
        return false;
    has_failed = true;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return must_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return must_fail() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return must_fail() ? NULL : __real_aligned_alloc(alignment, size);
}
