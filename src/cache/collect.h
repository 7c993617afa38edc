/* cache/collect.h - the ids of a tenant's entries that lie in the tiers below memory, by a pattern
 * of what they are stored under: for warming, which then reads each through the tiers and so
 * promotes it.
 *
 * Threads: loop-bound to the loop of the call.
 */
#ifndef DJ_CACHE_COLLECT_H
#define DJ_CACHE_COLLECT_H

#include <deja/base.h>

#include "cache/engine.h"

#define DJ_COLLECT_MAX 10000u

/* Is what is stored under this query (a prompt, or a plain key) wanted? Quick; on loop. */
typedef bool dj_collect_fn(void *ctx, const struct dj_entry *entry);
/* ids: count times DJ_ID_BYTES, borrowed until return; a tier that cannot be read is left out. */
typedef void dj_collected_fn(void *ctx, const uint8_t (*ids)[DJ_ID_BYTES], size_t count);

/* At most count_max (<= DJ_COLLECT_MAX) that are valid now, each once. collected runs once, later,
 * on loop. DEJA_ERR_NOMEM. */
enum deja_status dj_engine_collect(struct dj_engine *engine, struct dj_loop *loop,
                                   const uint8_t tenant[DJ_ID_BYTES], size_t count_max, void *ctx,
                                   dj_collect_fn *is_wanted,
                                   dj_collected_fn *collected) DEJA_NODISCARD;

#endif
