/* vector/slot_table.c - see slot_table.h. */
#include "vector/slot_table.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { CAP_MIN = 16 };

static const uint8_t *key_at(struct dj_slot_keys keys, uint32_t index)
{
    return keys.first + (size_t)index * keys.stride;
}

/* Keys are MACs and random ids, nobody chooses them. */
static size_t home_of(const struct dj_slot_table *table, const uint8_t key[16])
{
    return (size_t)dj_hash64(key, 16, 0) & (table->cap - 1);
}

void dj_slot_table_fini(struct dj_slot_table *table)
{
    dj_free(table->entries);
    *table = (struct dj_slot_table){NULL, 0, 0};
}

enum deja_status dj_slot_table_reserve(struct dj_slot_table *table, struct dj_slot_keys keys,
                                       size_t count)
{
    if (table->cap >= count * 2)
        return DEJA_OK;
    struct dj_slot_table larger = {.cap = table->cap ? table->cap : CAP_MIN};
    while (larger.cap < count * 2)
        larger.cap *= 2;
    larger.entries = dj_alloc_zeroed(larger.cap, sizeof *larger.entries);
    if (!larger.entries)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < table->cap; i++) {
        if (table->entries[i])
            dj_slot_table_insert(&larger, keys, table->entries[i] - 1);
    }
    dj_free(table->entries);
    *table = larger;
    return DEJA_OK;
}

/* The entry that holds key, or the free one where it would go. */
static size_t place_of(const struct dj_slot_table *table, struct dj_slot_keys keys,
                       const uint8_t key[16])
{
    size_t at = home_of(table, key);
    while (table->entries[at] && memcmp(key_at(keys, table->entries[at] - 1), key, 16) != 0)
        at = (at + 1) & (table->cap - 1);
    return at;
}

uint32_t dj_slot_table_find(const struct dj_slot_table *table, struct dj_slot_keys keys,
                            const uint8_t key[16])
{
    if (!table->count)
        return DJ_SLOT_NONE;
    return table->entries[place_of(table, keys, key)] - 1; /* 0 - 1 is DJ_SLOT_NONE */
}

void dj_slot_table_insert(struct dj_slot_table *table, struct dj_slot_keys keys, uint32_t index)
{
    assert((table->count + 1) * 2 <= table->cap);
    size_t at = place_of(table, keys, key_at(keys, index));
    assert(!table->entries[at]);
    table->entries[at] = index + 1;
    table->count++;
}

void dj_slot_table_remove(struct dj_slot_table *table, struct dj_slot_keys keys, uint32_t index)
{
    size_t mask = table->cap - 1;
    size_t gap = place_of(table, keys, key_at(keys, index));
    assert(table->entries[gap] == index + 1);
    for (size_t at = (gap + 1) & mask; table->entries[at]; at = (at + 1) & mask) {
        size_t home = home_of(table, key_at(keys, table->entries[at] - 1));
        /* an entry may fill the gap unless its home lies between the gap and itself */
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->entries[gap] = table->entries[at];
            gap = at;
        }
    }
    table->entries[gap] = 0;
    table->count--;
}
