/* vector/slot_table.h - 16-byte keys to indexes of an array that holds the keys: 4 bytes an entry.
 *
 * Open addressing, linear probing, at most half full; removal shifts back, so there are no
 * tombstones to sweep however much the table churns. The keys stay in the caller's array, named by
 * struct dj_slot_keys at every call because the array may move. Threads: none of its own.
 */
#ifndef DJ_VECTOR_SLOT_TABLE_H
#define DJ_VECTOR_SLOT_TABLE_H

#include <deja/base.h>

#define DJ_SLOT_NONE UINT32_MAX

struct dj_slot_table {
    uint32_t *entries; /* owned; index + 1, 0 is free; NULL while empty */
    size_t cap;        /* power of two, or 0 */
    size_t count;
};

struct dj_slot_keys {
    const uint8_t *first; /* key of index 0 */
    size_t stride;        /* bytes from key to key */
};

void dj_slot_table_fini(struct dj_slot_table *table); /* frees and zeroes */
/* Makes room for count entries in all; nothing changes on DEJA_ERR_NOMEM. */
enum deja_status dj_slot_table_reserve(struct dj_slot_table *table, struct dj_slot_keys keys,
                                       size_t count) DEJA_NODISCARD;
uint32_t dj_slot_table_find(const struct dj_slot_table *table, struct dj_slot_keys keys,
                            const uint8_t key[16]); /* DJ_SLOT_NONE: not there */
/* index's key is in the array already and not in the table; room was reserved. */
void dj_slot_table_insert(struct dj_slot_table *table, struct dj_slot_keys keys, uint32_t index);
void dj_slot_table_remove(struct dj_slot_table *table, struct dj_slot_keys keys,
                          uint32_t index); /* is in the table */

#endif
