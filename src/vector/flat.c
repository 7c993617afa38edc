/* vector/flat.c - the vectors kept and given up; flat_search.c finds them, flat_compact.c puts them
 * together. See flat.h.
 *
 *   scope table -> scope record -> list of slots ┐      id table -> slot
 *                                                v
 *   slot:  bytes[dim]  |  floats[dim]  |  hot {step, error}  |  cold {id, expires, scope, place}
 *
 * (1) A live slot is in the id table, and in its scope's list at cold.place.
 * (2) A scope record is in the scope table exactly while its list is not empty.
 * (3) The list of a scope of one or two lies in its record, larger ones in a block of their own.
 * (4) live + free slots = slots_used; arrays never grow beyond vectors_max.
 *
 * Idle scopes are found by a clock hand: searches and puts touch a record, the hand takes the first
 * one that was not touched since it came by last.
 */
#include "vector/flat.h"

#include <assert.h>

#include "base/alloc.h"
#include "vector/flat_internal.h"

enum {
    DIM_MAX = 8192,
    SLOTS_FIRST = 16, /* of the first growth */
    ALIGNMENT = 64    /* a byte vector of 64n begins on a cache line */
};

#define VECTORS_MAX (UINT32_C(1) << 31)

enum deja_status dj_flat_create(uint32_t dim, uint32_t vectors_max, struct dj_flat **out_index)
{
    static_assert(offsetof(struct dj_flat_cold, id) == 0 &&
                      offsetof(struct dj_flat_scope, key) == 0,
                  "tables find the keys at the beginning");
    if (!dim || dim > DIM_MAX || !vectors_max || vectors_max > VECTORS_MAX)
        return DEJA_ERR_INVALID;
    struct dj_flat *index = dj_alloc_zeroed(1, sizeof *index);
    if (!index)
        return DEJA_ERR_NOMEM;
    pthread_rwlock_init(&index->lock, NULL);
    index->dim = dim;
    index->vectors_max = vectors_max;
    index->slot_free = DJ_SLOT_NONE;
    index->scope_free = DJ_SLOT_NONE;
    *out_index = index;
    return DEJA_OK;
}

/* Back to the state after create; counters stay. */
void dj_flat_forget(struct dj_flat *index)
{
    for (uint32_t i = 0; i < index->scopes_used; i++) {
        if (index->scopes[i].count && index->scopes[i].cap)
            dj_free(index->scopes[i].slots.many);
    }
    dj_free(index->bytes);
    dj_free(index->floats);
    dj_free(index->hot);
    dj_free(index->cold);
    dj_free(index->scopes);
    index->bytes = NULL;
    index->floats = NULL;
    index->hot = NULL;
    index->cold = NULL;
    index->scopes = NULL;
    index->slots_cap = 0;
    index->slots_used = 0;
    index->slot_free = DJ_SLOT_NONE;
    index->scopes_cap = 0;
    index->scopes_used = 0;
    index->scope_free = DJ_SLOT_NONE;
    index->hand = 0;
    index->list_bytes = 0;
    index->changes++;
    dj_slot_table_fini(&index->by_id);
    dj_slot_table_fini(&index->by_scope);
}

void dj_flat_destroy(struct dj_flat *index)
{
    if (!index)
        return;
    dj_flat_forget(index);
    pthread_rwlock_destroy(&index->lock);
    dj_free(index);
}

static uint32_t grown(uint32_t cap, uint32_t max)
{
    uint64_t larger = cap < SLOTS_FIRST ? SLOTS_FIRST : (uint64_t)cap + cap / 2;
    return larger < max ? (uint32_t)larger : max;
}

/* Room for one more slot. Arrays grow one by one; those that did keep their size on failure. */
static enum deja_status grow_slots(struct dj_flat *index)
{
    if (index->slot_free != DJ_SLOT_NONE || index->slots_used < index->slots_cap)
        return DEJA_OK;
    size_t cap = grown(index->slots_cap, index->vectors_max);
    float *floats = dj_realloc(index->floats, cap * index->dim * sizeof *floats);
    if (!floats)
        return DEJA_ERR_NOMEM;
    index->floats = floats;
    struct dj_flat_hot *hot = dj_realloc(index->hot, cap * sizeof *hot);
    if (!hot)
        return DEJA_ERR_NOMEM;
    index->hot = hot;
    struct dj_flat_cold *cold = dj_realloc(index->cold, cap * sizeof *cold);
    if (!cold)
        return DEJA_ERR_NOMEM;
    index->cold = cold;
    int8_t *bytes = dj_alloc_aligned(ALIGNMENT, cap * index->dim);
    if (!bytes)
        return DEJA_ERR_NOMEM;
    if (index->slots_used)
        memcpy(bytes, index->bytes, (size_t)index->slots_used * index->dim);
    dj_free(index->bytes);
    index->bytes = bytes;
    index->slots_cap = (uint32_t)cap;
    return DEJA_OK;
}

static enum deja_status grow_scopes(struct dj_flat *index)
{
    if (index->scope_free != DJ_SLOT_NONE || index->scopes_used < index->scopes_cap)
        return DEJA_OK;
    /* one more than vectors: a vector that moves is in its old scope until the new one is ready */
    uint32_t cap = grown(index->scopes_cap, index->vectors_max + 1);
    struct dj_flat_scope *scopes = dj_realloc(index->scopes, cap * sizeof *scopes);
    if (!scopes)
        return DEJA_ERR_NOMEM;
    index->scopes = scopes;
    index->scopes_cap = cap;
    return DEJA_OK;
}

/* Room for one more slot in the scope's list. */
static enum deja_status grow_list(struct dj_flat *index, struct dj_flat_scope *scope)
{
    if (scope->count < (scope->cap ? scope->cap : DJ_FLAT_INLINE_SLOTS))
        return DEJA_OK;
    uint32_t cap = scope->count * 2;
    uint32_t *many = dj_realloc(scope->cap ? scope->slots.many : NULL, cap * sizeof *many);
    if (!many)
        return DEJA_ERR_NOMEM;
    if (!scope->cap)
        memcpy(many, scope->slots.few, sizeof scope->slots.few);
    index->list_bytes += (cap - scope->cap) * sizeof *many;
    scope->slots.many = many;
    scope->cap = cap;
    return DEJA_OK;
}

/* Gives memory back when three quarters lie idle; that it cannot be moved is no failure. */
static void shrink_list(struct dj_flat *index, struct dj_flat_scope *scope)
{
    if (!scope->cap || scope->count > scope->cap / 4)
        return;
    uint32_t *many = scope->slots.many;
    if (scope->count <= DJ_FLAT_INLINE_SLOTS) {
        uint32_t few[DJ_FLAT_INLINE_SLOTS] = {0};
        memcpy(few, many, scope->count * sizeof *few);
        memcpy(scope->slots.few, few, sizeof few);
        dj_free(many);
        index->list_bytes -= scope->cap * sizeof *many;
        scope->cap = 0;
        return;
    }
    uint32_t cap = scope->cap / 2;
    uint32_t *smaller = dj_realloc(many, cap * sizeof *many);
    if (!smaller)
        return;
    scope->slots.many = smaller;
    index->list_bytes -= (scope->cap - cap) * sizeof *many;
    scope->cap = cap;
}

/* The record of key, a new empty one if need be (not in the table before its first slot is). */
static enum deja_status find_or_make_scope(struct dj_flat *index, const uint8_t key[16],
                                           uint32_t *out_record)
{
    uint32_t record = dj_slot_table_find(&index->by_scope, dj_flat_scope_keys(index), key);
    if (record != DJ_SLOT_NONE) {
        *out_record = record;
        return grow_list(index, &index->scopes[record]);
    }
    enum deja_status status = grow_scopes(index);
    if (status == DEJA_OK)
        status = dj_slot_table_reserve(&index->by_scope, dj_flat_scope_keys(index),
                                       index->by_scope.count + 1);
    if (status != DEJA_OK)
        return status;
    record = index->scope_free;
    if (record != DJ_SLOT_NONE)
        index->scope_free = index->scopes[record].slots.few[0];
    else
        record = index->scopes_used++;
    struct dj_flat_scope *scope = &index->scopes[record];
    memset(scope, 0, sizeof *scope);
    memcpy(scope->key, key, sizeof scope->key);
    dj_slot_table_insert(&index->by_scope, dj_flat_scope_keys(index), record);
    *out_record = record;
    return DEJA_OK;
}

static void free_scope(struct dj_flat *index, uint32_t record)
{
    struct dj_flat_scope *scope = &index->scopes[record];
    dj_slot_table_remove(&index->by_scope, dj_flat_scope_keys(index), record);
    scope->slots.few[0] = index->scope_free;
    index->scope_free = record;
}

/* The list has room. */
static void join_scope(struct dj_flat *index, uint32_t record, uint32_t slot)
{
    struct dj_flat_scope *scope = &index->scopes[record];
    index->cold[slot].scope = record;
    index->cold[slot].place = scope->count;
    dj_flat_list(scope)[scope->count++] = slot;
    atomic_store_explicit(&scope->was_touched, true, memory_order_relaxed);
}

/* The last of the list takes the place that falls free. */
static void leave_scope(struct dj_flat *index, uint32_t slot)
{
    uint32_t record = index->cold[slot].scope;
    struct dj_flat_scope *scope = &index->scopes[record];
    uint32_t *list = dj_flat_list(scope);
    uint32_t last = list[--scope->count];
    list[index->cold[slot].place] = last;
    index->cold[last].place = index->cold[slot].place;
    shrink_list(index, scope);
    if (!scope->count)
        free_scope(index, record);
}

static void remove_slot(struct dj_flat *index, uint32_t slot)
{
    dj_slot_table_remove(&index->by_id, dj_flat_id_keys(index), slot);
    leave_scope(index, slot);
    index->cold[slot].scope = DJ_SLOT_NONE;
    index->cold[slot].place = index->slot_free;
    index->slot_free = slot;
    index->changes++;
}

/* The next record the hand finds idle, passing over `kept` unless it is the only one. */
static uint32_t find_idle_scope(struct dj_flat *index, const uint8_t kept[16])
{
    uint32_t own = dj_slot_table_find(&index->by_scope, dj_flat_scope_keys(index), kept);
    if (own != DJ_SLOT_NONE && index->by_scope.count == 1)
        return own;
    for (;;) { /* ends in the second round: the first has cleared every mark */
        uint32_t record = index->hand;
        index->hand = (index->hand + 1) % index->scopes_used;
        struct dj_flat_scope *scope = &index->scopes[record];
        if (!scope->count || record == own)
            continue;
        if (!atomic_exchange_explicit(&scope->was_touched, false, memory_order_relaxed))
            return record;
    }
}

static bool goes_before(const struct dj_flat_cold *a, const struct dj_flat_cold *b)
{
    uint64_t x = a->expires_ms ? (uint64_t)a->expires_ms : UINT64_MAX;
    uint64_t y = b->expires_ms ? (uint64_t)b->expires_ms : UINT64_MAX;
    return x != y ? x < y : a->age < b->age;
}

static void evict_one(struct dj_flat *index, const uint8_t kept[16])
{
    struct dj_flat_scope *scope = &index->scopes[find_idle_scope(index, kept)];
    const uint32_t *list = dj_flat_list(scope);
    uint32_t victim = list[0];
    for (uint32_t i = 1; i < scope->count; i++) {
        if (goes_before(&index->cold[list[i]], &index->cold[victim]))
            victim = list[i];
    }
    remove_slot(index, victim);
    index->evictions++;
}

/* Everything that can fail has happened by now. */
static void fill_slot(struct dj_flat *index, uint32_t slot, const struct dj_flat_prepared *made,
                      int64_t expires_ms, uint64_t version)
{
    memcpy(index->bytes + (size_t)slot * index->dim, made->bytes, index->dim);
    memcpy(index->floats + (size_t)slot * index->dim, made->floats,
           index->dim * sizeof *made->floats);
    index->hot[slot] = made->hot;
    index->cold[slot].expires_ms = expires_ms;
    index->cold[slot].version = version;
    index->cold[slot].age = index->puts++;
    index->changes++;
}

static enum deja_status insert(struct dj_flat *index, const uint8_t scope[16], const uint8_t id[16],
                               const struct dj_flat_prepared *made, int64_t expires_ms,
                               uint64_t version)
{
    if (index->by_id.count >= index->vectors_max)
        evict_one(index, scope);
    enum deja_status status = grow_slots(index);
    if (status == DEJA_OK)
        status =
            dj_slot_table_reserve(&index->by_id, dj_flat_id_keys(index), index->by_id.count + 1);
    uint32_t record = DJ_SLOT_NONE;
    if (status == DEJA_OK)
        status = find_or_make_scope(index, scope, &record);
    if (status != DEJA_OK)
        return status;
    uint32_t slot = index->slot_free;
    if (slot != DJ_SLOT_NONE)
        index->slot_free = index->cold[slot].place;
    else
        slot = index->slots_used++;
    memcpy(index->cold[slot].id, id, sizeof index->cold[slot].id);
    dj_slot_table_insert(&index->by_id, dj_flat_id_keys(index), slot);
    join_scope(index, record, slot);
    fill_slot(index, slot, made, expires_ms, version);
    return DEJA_OK;
}

static enum deja_status replace(struct dj_flat *index, uint32_t slot, const uint8_t scope[16],
                                const struct dj_flat_prepared *made, int64_t expires_ms,
                                uint64_t version)
{
    uint32_t record = index->cold[slot].scope;
    if (memcmp(index->scopes[record].key, scope, 16) != 0) {
        enum deja_status status = find_or_make_scope(index, scope, &record);
        if (status != DEJA_OK)
            return status;
        leave_scope(index, slot);
        join_scope(index, record, slot);
    }
    atomic_store_explicit(&index->scopes[record].was_touched, true, memory_order_relaxed);
    fill_slot(index, slot, made, expires_ms, version);
    return DEJA_OK;
}

enum deja_status dj_flat_put(struct dj_flat *index, const uint8_t scope[16], const uint8_t id[16],
                             const float *vector, int64_t expires_ms, uint64_t version)
{
    struct dj_flat_prepared made;
    enum deja_status status = dj_flat_prepare(vector, index->dim, &made);
    if (status != DEJA_OK)
        return status;
    pthread_rwlock_wrlock(&index->lock);
    uint32_t slot = dj_slot_table_find(&index->by_id, dj_flat_id_keys(index), id);
    if (slot == DJ_SLOT_NONE)
        status = insert(index, scope, id, &made, expires_ms, version);
    else if (index->cold[slot].version <= version)
        status = replace(index, slot, scope, &made, expires_ms, version);
    pthread_rwlock_unlock(&index->lock);
    dj_free(made.floats);
    return status;
}

bool dj_flat_remove(struct dj_flat *index, const uint8_t id[16], uint64_t version_max)
{
    pthread_rwlock_wrlock(&index->lock);
    uint32_t slot = dj_slot_table_find(&index->by_id, dj_flat_id_keys(index), id);
    bool is_removed = slot != DJ_SLOT_NONE && index->cold[slot].version <= version_max;
    if (is_removed)
        remove_slot(index, slot);
    pthread_rwlock_unlock(&index->lock);
    return is_removed;
}

void dj_flat_clear(struct dj_flat *index)
{
    pthread_rwlock_wrlock(&index->lock);
    dj_flat_forget(index);
    pthread_rwlock_unlock(&index->lock);
}

uint32_t dj_flat_scope_count(struct dj_flat *index, const uint8_t scope[16])
{
    pthread_rwlock_rdlock(&index->lock);
    uint32_t record = dj_slot_table_find(&index->by_scope, dj_flat_scope_keys(index), scope);
    uint32_t count = record == DJ_SLOT_NONE ? 0 : index->scopes[record].count;
    pthread_rwlock_unlock(&index->lock);
    return count;
}

uint32_t dj_flat_count(struct dj_flat *index)
{
    pthread_rwlock_rdlock(&index->lock);
    uint32_t count = (uint32_t)index->by_id.count;
    pthread_rwlock_unlock(&index->lock);
    return count;
}

size_t dj_flat_size(const struct dj_flat *index)
{
    size_t slot = index->dim * (sizeof *index->bytes + sizeof *index->floats) + sizeof *index->hot +
                  sizeof *index->cold;
    return sizeof *index + index->slots_cap * slot + index->scopes_cap * sizeof *index->scopes +
           index->list_bytes + (index->by_id.cap + index->by_scope.cap) * sizeof(uint32_t);
}

size_t dj_flat_bytes(struct dj_flat *index)
{
    pthread_rwlock_rdlock(&index->lock);
    size_t bytes = dj_flat_size(index);
    pthread_rwlock_unlock(&index->lock);
    return bytes;
}

uint32_t dj_flat_free_slots(struct dj_flat *index)
{
    pthread_rwlock_rdlock(&index->lock);
    uint32_t count = index->slots_cap - (uint32_t)index->by_id.count;
    pthread_rwlock_unlock(&index->lock);
    return count;
}

uint64_t dj_flat_evictions(struct dj_flat *index)
{
    pthread_rwlock_rdlock(&index->lock);
    uint64_t evictions = index->evictions;
    pthread_rwlock_unlock(&index->lock);
    return evictions;
}
