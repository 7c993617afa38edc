/* store/key_filter.h - which keys a slow tier has: 64 bits a key, so that most misses cost nothing.
 *
 * Never says no to a key that was added (and not removed); says yes wrongly about once in 2^64
 * times the number of keys. Threads: any; a lock per segment, held for a probe, or for one
 * segment's growth (1/64 of the keys).
 */
#ifndef DJ_STORE_KEY_FILTER_H
#define DJ_STORE_KEY_FILTER_H

#include <deja/base.h>

struct dj_key_filter;

/* entry_count: for how many keys room is made at once. */
enum deja_status dj_key_filter_create(uint64_t entry_count,
                                      struct dj_key_filter **out_filter) DEJA_NODISCARD;
void dj_key_filter_destroy(struct dj_key_filter *filter); /* accepts NULL */

/* When there is no memory to grow, that segment answers yes from then on. */
void dj_key_filter_add(struct dj_key_filter *filter, uint64_t hash);
void dj_key_filter_remove(struct dj_key_filter *filter, uint64_t hash);
bool dj_key_filter_has(struct dj_key_filter *filter, uint64_t hash);

#endif
