/* base/arena.h - memory of one request, freed whole.
 *
 * A zeroed arena is empty and may be fini'd. Blocks are chained; one allocation never moves.
 * Threads: none of its own.
 */
#ifndef DJ_BASE_ARENA_H
#define DJ_BASE_ARENA_H

#include <deja/base.h>

struct dj_arena_block;

struct dj_arena {
    struct dj_arena_block *head; /* owned chain, newest first */
    size_t used_bytes;           /* handed out */
    size_t bytes_max;            /* 0: no bound */
};

void dj_arena_init(struct dj_arena *arena, size_t bytes_max);
void dj_arena_fini(struct dj_arena *arena); /* frees every block */
/* Aligned for any type, not zeroed; NULL: out of memory or past bytes_max. */
void *dj_arena_alloc(struct dj_arena *arena, size_t size) DEJA_NODISCARD;
/* A copy in the arena; data NULL means it could not be made (for len > 0). */
struct deja_slice dj_arena_copy(struct dj_arena *arena, struct deja_slice bytes);

#endif
