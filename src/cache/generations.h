/* cache/generations.h - counters of tenants and tags: validity without clocks (DESIGN §5).
 *
 * A counter that was never raised is 0 and costs nothing. The authority is a callback that keeps a
 * raise durably before it counts. Bound: entries_max counters. Threads: any; raise() blocks (it
 * syncs), so: worker only.
 */
#ifndef DJ_CACHE_GENERATIONS_H
#define DJ_CACHE_GENERATIONS_H

#include <deja/base.h>

#include "proto/record.h"

struct dj_generations;

/* Keeps value under key durably before it returns. */
typedef enum deja_status dj_generation_keep_fn(void *ctx, struct deja_slice key, uint64_t value);

/* keep NULL: in memory only. */
enum deja_status dj_generations_create(size_t entries_max, void *ctx, dj_generation_keep_fn *keep,
                                       struct dj_generations **out_generations) DEJA_NODISCARD;
void dj_generations_destroy(struct dj_generations *generations); /* accepts NULL */
/* At start, what keep() once kept. */
enum deja_status dj_generations_load(struct dj_generations *generations, struct deja_slice key,
                                     uint64_t value) DEJA_NODISCARD;

/* tag empty: the tenant's own counter; one byte 0 and a name: that namespace's. */
uint64_t dj_generations_get(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                            struct deja_slice tag);
/* out_value (may be NULL): the counter after it. */
enum deja_status dj_generations_raise(struct dj_generations *generations,
                                      const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                      uint64_t *out_value) DEJA_NODISCARD;

/* True while nothing was raised: entries noted under 0 are valid then. */
bool dj_generations_are_all_zero(const struct dj_generations *generations);

#endif
