/* base/map.h - bytes to pointer, open addressing, keys copied.
 *
 * The caller chooses the hash: SipHash with a random key where strangers choose keys (crypto), or
 * bytes of an HMAC. Threads: none of its own. Bound: entries_max.
 */
#ifndef DJ_BASE_MAP_H
#define DJ_BASE_MAP_H

#include <deja/base.h>

struct dj_map;

typedef uint64_t dj_map_hash_fn(void *ctx, struct deja_slice key);

/* hash NULL: the first 8 bytes of the key, right for keys that are digests already. */
enum deja_status dj_map_create(size_t entries_max, dj_map_hash_fn *hash, void *hash_ctx,
                               struct dj_map **out_map) DEJA_NODISCARD;
void dj_map_destroy(struct dj_map *map); /* accepts NULL; values are the caller's */

void *dj_map_find(const struct dj_map *map, struct deja_slice key); /* NULL: not there */
/* Replaces; *out_old (may be NULL) gets the previous value or NULL. DEJA_ERR_LIMIT at entries_max.
 */
enum deja_status dj_map_put(struct dj_map *map, struct deja_slice key, void *value,
                            void **out_old) DEJA_NODISCARD;
/* The value there, or `bytes` zeroed ones (dj_alloc) that are put there. NULL: no memory, or
 * entries_max. */
void *dj_map_find_or_make(struct dj_map *map, struct deja_slice key, size_t bytes);
void *dj_map_remove(struct dj_map *map, struct deja_slice key); /* the value, or NULL */
size_t dj_map_count(const struct dj_map *map);

/* The longest way from a key's home to its slot, in slots: what the worst find has to look at.
 * Looks at every slot. */
size_t dj_map_probes_max(const struct dj_map *map);

/* Walks in table order; start with *cursor = 0; false at the end. Do not change the map between. */
bool dj_map_next(const struct dj_map *map, size_t *cursor, struct deja_slice *out_key,
                 void **out_value);

#endif
