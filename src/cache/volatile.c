/* cache/volatile.c - see volatile.h. A slot packs 32 bits of each scope, so one exchange is enough.
 */
#include "cache/volatile.h"

#include <stdatomic.h>

#include "base/alloc.h"

#define SLOTS 8192u

struct dj_volatile {
    _Atomic uint64_t count;
    _Atomic uint64_t slots[SLOTS];
};

enum deja_status dj_volatile_create(struct dj_volatile **out_table)
{
    struct dj_volatile *table = dj_alloc_zeroed(1, sizeof *table);
    if (!table)
        return DEJA_ERR_NOMEM;
    *out_table = table;
    return DEJA_OK;
}

void dj_volatile_destroy(struct dj_volatile *table)
{
    dj_free(table);
}

bool dj_volatile_note(struct dj_volatile *table, const uint8_t folded[DJ_ID_BYTES],
                      const uint8_t scope[DJ_ID_BYTES])
{
    uint32_t place = 0;
    uint32_t folded_mark = 0;
    uint32_t scope_mark = 0;
    memcpy(&place, folded, sizeof place);
    memcpy(&folded_mark, folded + sizeof place, sizeof folded_mark);
    memcpy(&scope_mark, scope, sizeof scope_mark);
    uint64_t packed = (uint64_t)folded_mark << 32 | scope_mark;
    uint64_t old =
        atomic_exchange_explicit(&table->slots[place % SLOTS], packed, memory_order_relaxed);
    bool is_volatile = old && old >> 32 == folded_mark && (uint32_t)old != scope_mark;
    if (is_volatile)
        atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed);
    return is_volatile;
}

uint64_t dj_volatile_count(const struct dj_volatile *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}
