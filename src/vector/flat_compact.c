/* vector/flat_compact.c - an index made anew out of its live vectors, scope by scope.
 *
 * The copy is made under the read lock, so searches go on. Under the write lock it takes the place
 * of what was copied, unless that has changed meanwhile; then it is made once more, and the third
 * time under the write lock.
 */
#include "base/alloc.h"
#include "vector/flat_internal.h"

enum { TRIES = 2, ALIGNMENT = 64 };

static bool is_live(const struct dj_flat *from, uint32_t slot, int64_t now_ms)
{
    int64_t expires_ms = from->cold[slot].expires_ms;
    return !expires_ms || now_ms < expires_ms;
}

static void count_live(const struct dj_flat *from, int64_t now_ms, uint32_t *out_slots,
                       uint32_t *out_scopes)
{
    for (uint32_t i = 0; i < from->scopes_used; i++) {
        struct dj_flat_scope *scope = &from->scopes[i];
        uint32_t live = 0;
        for (uint32_t k = 0; k < scope->count; k++)
            live += is_live(from, dj_flat_list(scope)[k], now_ms);
        *out_slots += live;
        *out_scopes += live > 0;
    }
}

static enum deja_status make_room(struct dj_flat *to, uint32_t slots, uint32_t scopes)
{
    if (!slots)
        return DEJA_OK;
    to->bytes = dj_alloc_aligned(ALIGNMENT, (size_t)slots * to->dim);
    to->floats = dj_alloc((size_t)slots * to->dim * sizeof *to->floats);
    to->hot = dj_alloc(slots * sizeof *to->hot);
    to->cold = dj_alloc(slots * sizeof *to->cold);
    to->scopes = dj_alloc_zeroed(scopes, sizeof *to->scopes);
    if (!to->bytes || !to->floats || !to->hot || !to->cold || !to->scopes)
        return DEJA_ERR_NOMEM;
    to->slots_cap = slots;
    to->scopes_cap = scopes;
    enum deja_status status = dj_slot_table_reserve(&to->by_id, dj_flat_id_keys(to), slots);
    if (status == DEJA_OK)
        status = dj_slot_table_reserve(&to->by_scope, dj_flat_scope_keys(to), scopes);
    return status;
}

static void copy_slot(struct dj_flat *to, const struct dj_flat *from, uint32_t slot,
                      uint32_t record)
{
    uint32_t at = to->slots_used++;
    struct dj_flat_scope *scope = &to->scopes[record];
    memcpy(to->bytes + (size_t)at * to->dim, from->bytes + (size_t)slot * to->dim, to->dim);
    memcpy(to->floats + (size_t)at * to->dim, from->floats + (size_t)slot * to->dim,
           to->dim * sizeof *to->floats);
    to->hot[at] = from->hot[slot];
    to->cold[at] = from->cold[slot];
    to->cold[at].scope = record;
    to->cold[at].place = scope->count;
    dj_flat_list(scope)[scope->count++] = at;
    dj_slot_table_insert(&to->by_id, dj_flat_id_keys(to), at);
}

static enum deja_status copy_scope(struct dj_flat *to, const struct dj_flat *from,
                                   struct dj_flat_scope *scope, int64_t now_ms)
{
    uint32_t live = 0;
    for (uint32_t k = 0; k < scope->count; k++)
        live += is_live(from, dj_flat_list(scope)[k], now_ms);
    if (!live)
        return DEJA_OK;
    uint32_t record = to->scopes_used;
    struct dj_flat_scope *made = &to->scopes[record];
    if (live > DJ_FLAT_INLINE_SLOTS) {
        made->slots.many = dj_alloc(live * sizeof *made->slots.many);
        if (!made->slots.many)
            return DEJA_ERR_NOMEM;
        made->cap = live;
        to->list_bytes += live * sizeof *made->slots.many;
    }
    to->scopes_used++;
    memcpy(made->key, scope->key, sizeof made->key);
    atomic_init(&made->was_touched,
                atomic_load_explicit(&scope->was_touched, memory_order_relaxed));
    dj_slot_table_insert(&to->by_scope, dj_flat_scope_keys(to), record);
    for (uint32_t k = 0; k < scope->count; k++)
        if (is_live(from, dj_flat_list(scope)[k], now_ms))
            copy_slot(to, from, dj_flat_list(scope)[k], record);
    return DEJA_OK;
}

/* On failure to is empty again. */
static enum deja_status copy_all(struct dj_flat *to, const struct dj_flat *from, int64_t now_ms)
{
    uint32_t slots = 0;
    uint32_t scopes = 0;
    *to = (struct dj_flat){.dim = from->dim, .slot_free = DJ_SLOT_NONE, .scope_free = DJ_SLOT_NONE};
    count_live(from, now_ms, &slots, &scopes);
    enum deja_status status = make_room(to, slots, scopes);
    for (uint32_t i = 0; i < from->scopes_used && status == DEJA_OK; i++)
        status = copy_scope(to, from, &from->scopes[i], now_ms);
    if (status != DEJA_OK)
        dj_flat_forget(to);
    return status;
}

/* Under the write lock. Lock, counters and bounds are the index's own; the rest is the copy's. */
static void take_over(struct dj_flat *index, struct dj_flat *copy,
                      struct dj_flat_compacted *out_compacted)
{
    size_t before = dj_flat_size(index);
    uint64_t vectors = index->by_id.count;
    dj_flat_forget(index);
    index->bytes = copy->bytes;
    index->floats = copy->floats;
    index->hot = copy->hot;
    index->cold = copy->cold;
    index->scopes = copy->scopes;
    index->slots_cap = copy->slots_cap;
    index->slots_used = copy->slots_used;
    index->scopes_cap = copy->scopes_cap;
    index->scopes_used = copy->scopes_used;
    index->by_id = copy->by_id;
    index->by_scope = copy->by_scope;
    index->list_bytes = copy->list_bytes;
    size_t after = dj_flat_size(index);
    if (out_compacted)
        *out_compacted = (struct dj_flat_compacted){.expired = vectors - index->by_id.count,
                                                    .bytes = before > after ? before - after : 0};
}

enum deja_status dj_flat_compact(struct dj_flat *index, int64_t now_ms,
                                 struct dj_flat_compacted *out_compacted)
{
    struct dj_flat copy;
    enum deja_status status = DEJA_OK;
    for (int attempt = 0; attempt < TRIES; attempt++) {
        pthread_rwlock_rdlock(&index->lock);
        uint64_t changes = index->changes;
        status = copy_all(&copy, index, now_ms);
        pthread_rwlock_unlock(&index->lock);
        if (status != DEJA_OK)
            return status;
        pthread_rwlock_wrlock(&index->lock);
        bool is_current = index->changes == changes;
        if (is_current)
            take_over(index, &copy, out_compacted);
        pthread_rwlock_unlock(&index->lock);
        if (is_current)
            return DEJA_OK;
        dj_flat_forget(&copy);
    }
    pthread_rwlock_wrlock(&index->lock);
    status = copy_all(&copy, index, now_ms);
    if (status == DEJA_OK)
        take_over(index, &copy, out_compacted);
    pthread_rwlock_unlock(&index->lock);
    return status;
}
