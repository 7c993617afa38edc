/* base/arena.c - see arena.h. */
#include "base/arena.h"

#include <stdalign.h>

#include "base/alloc.h"

#define ARENA_BLOCK_BYTES 4096u

struct dj_arena_block {
    struct dj_arena_block *next;
    size_t used;
    size_t cap;
    alignas(max_align_t) char bytes[];
};

void dj_arena_init(struct dj_arena *arena, size_t bytes_max)
{
    *arena = (struct dj_arena){.bytes_max = bytes_max};
}

void dj_arena_fini(struct dj_arena *arena)
{
    while (arena->head) {
        struct dj_arena_block *next = arena->head->next;
        dj_free(arena->head);
        arena->head = next;
    }
    *arena = (struct dj_arena){0};
}

void *dj_arena_alloc(struct dj_arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t rounded = (size + align - 1) & ~(align - 1);
    if (rounded < size || (arena->bytes_max && rounded > arena->bytes_max - arena->used_bytes))
        return NULL;
    struct dj_arena_block *block = arena->head;
    if (!block || block->cap - block->used < rounded) {
        size_t cap = rounded > ARENA_BLOCK_BYTES ? rounded : ARENA_BLOCK_BYTES;
        if (cap > SIZE_MAX - sizeof *block)
            return NULL;
        block = dj_alloc(sizeof *block + cap);
        if (!block)
            return NULL;
        *block = (struct dj_arena_block){.next = arena->head, .cap = cap};
        arena->head = block;
    }
    void *memory = block->bytes + block->used;
    block->used += rounded;
    arena->used_bytes += rounded;
    return memory;
}

struct deja_slice dj_arena_copy(struct dj_arena *arena, struct deja_slice bytes)
{
    char *copy = dj_arena_alloc(arena, bytes.len + 1);
    if (!copy)
        return deja_slice(NULL, 0);
    if (bytes.len)
        memcpy(copy, bytes.data, bytes.len);
    copy[bytes.len] = '\0';
    return deja_slice(copy, bytes.len);
}
