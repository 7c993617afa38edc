/* base/alloc.h - the only door to the allocator.
 *
 * Tests make these fail by wrapping malloc, calloc and realloc at link time
 * (tests/support/failing_malloc.h). Threads: any.
 */
#ifndef DJ_BASE_ALLOC_H
#define DJ_BASE_ALLOC_H

#include <deja/base.h>

/* Owned by the caller, ended with dj_free; NULL when memory ran out. size 0 gives a unique block.
 */
void *dj_alloc(size_t size) DEJA_NODISCARD;
void *dj_alloc_zeroed(size_t count, size_t size) DEJA_NODISCARD; /* checks count * size */
/* NULL: old is untouched. old may be NULL. */
void *dj_realloc(void *old, size_t size) DEJA_NODISCARD;
/* Aligned for SIMD; alignment is a power of two; ended with dj_free. */
void *dj_alloc_aligned(size_t alignment, size_t size) DEJA_NODISCARD;
char *dj_strdup(struct deja_slice text) DEJA_NODISCARD; /* terminated copy */
void dj_free(void *memory);                             /* accepts NULL */

#endif
