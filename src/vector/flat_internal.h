/* vector/flat_internal.h - what flat.c (keeping) and flat_search.c (finding) share. */
#ifndef DJ_VECTOR_FLAT_INTERNAL_H
#define DJ_VECTOR_FLAT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "vector/flat.h"
#include "vector/slot_table.h"

enum { DJ_FLAT_INLINE_SLOTS = 2 }; /* as many as fit where the pointer would be */

struct dj_flat_hot {
    float step;  /* value of one int8 unit */
    float error; /* length of vector - bytes * step */
};

struct dj_flat_cold {
    uint8_t id[16];
    int64_t expires_ms; /* 0: never */
    uint64_t version;   /* of its entry */
    uint64_t age;       /* number of the put that made it */
    uint32_t scope;     /* record; DJ_SLOT_NONE: the slot is free */
    uint32_t place;     /* in the scope's list; of a free slot the next free one */
};

struct dj_flat_scope {
    uint8_t key[16];
    uint32_t count; /* 0: free, place of the next free record in few[0] */
    uint32_t cap;   /* 0: the slots are in few */
    union {
        uint32_t few[DJ_FLAT_INLINE_SLOTS];
        uint32_t *many; /* owned */
    } slots;
    atomic_bool was_touched; /* by readers too */
};

struct dj_flat {
    pthread_rwlock_t lock; /* a leaf: nothing but the allocator is called under it */
    uint32_t dim;
    uint32_t vectors_max;

    int8_t *bytes; /* slots_cap of each; owned */
    float *floats;
    struct dj_flat_hot *hot;
    struct dj_flat_cold *cold;
    uint32_t slots_cap;
    uint32_t slots_used; /* slots ever handed out */
    uint32_t slot_free;  /* list of those given back */

    struct dj_flat_scope *scopes; /* owned */
    uint32_t scopes_cap;
    uint32_t scopes_used;
    uint32_t scope_free;
    uint32_t hand;

    struct dj_slot_table by_id;
    struct dj_slot_table by_scope;
    size_t list_bytes; /* of the scopes' own blocks */
    uint64_t puts;
    uint64_t changes; /* of anything but marks of use: tells a copy that it is of yesterday */
    uint64_t evictions;
};

/* A query or a vector to be stored, in both forms; one block. */
struct dj_flat_prepared {
    float *floats; /* owned */
    int8_t *bytes; /* in the same block */
    struct dj_flat_hot hot;
};

/* DEJA_ERR_INVALID (zero or not finite), DEJA_ERR_NOMEM. The caller frees out_prepared->floats. */
enum deja_status dj_flat_prepare(const float *vector, uint32_t dim,
                                 struct dj_flat_prepared *out_prepared) DEJA_NODISCARD;

/* Under the write lock or before anybody knows the index: frees arrays, lists and tables. */
void dj_flat_forget(struct dj_flat *index);
size_t dj_flat_size(const struct dj_flat *index); /* under the lock */

static inline uint32_t *dj_flat_list(struct dj_flat_scope *scope)
{
    return scope->cap ? scope->slots.many : scope->slots.few;
}

static inline struct dj_slot_keys dj_flat_id_keys(const struct dj_flat *index)
{
    return (struct dj_slot_keys){(const uint8_t *)index->cold, sizeof *index->cold};
}

static inline struct dj_slot_keys dj_flat_scope_keys(const struct dj_flat *index)
{
    return (struct dj_slot_keys){(const uint8_t *)index->scopes, sizeof *index->scopes};
}

#endif
