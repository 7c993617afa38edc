/* cache/volatile.h - notices misses that differ only in volatile tokens of the system prompt.
 *
 * A lossy table from folded scope to the last real scope seen under it: the same folded scope with
 * another real one means that a time, date, UUID or request id made this miss. Threads: any, no
 * lock; it may forget, it never invents.
 */
#ifndef DJ_CACHE_VOLATILE_H
#define DJ_CACHE_VOLATILE_H

#include <deja/base.h>

#include "proto/record.h"

struct dj_volatile;

enum deja_status dj_volatile_create(struct dj_volatile **out_table) DEJA_NODISCARD;
void dj_volatile_destroy(struct dj_volatile *table); /* accepts NULL */
/* True: seen before under this folded scope with another real scope. Notes both. */
bool dj_volatile_note(struct dj_volatile *table, const uint8_t folded[DJ_ID_BYTES],
                      const uint8_t scope[DJ_ID_BYTES]);
/* How often note() said true. */
uint64_t dj_volatile_count(const struct dj_volatile *table);

#endif
