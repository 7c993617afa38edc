/* cache/generations.h - counters of tenants and tags: validity without clocks (DESIGN §5).
 *
 * A counter that was never raised is 0 and costs nothing. Alone on its machine a program's
 * authority is a callback that keeps a raise durably before it counts. Where programs share one (a
 * tier with raise and pull), this table is what was last pulled from it, and counters that are
 * *held*: raised here, not yet seen in a pull. A held counter has a random value of this program
 * alone, so that nothing anybody noted equals it. Bound: entries_max counters. Threads: any;
 * raise() blocks (it syncs), so: worker only; nobody else waits for that. What is noted while it
 * syncs is the old value, and void when it has returned.
 */
#ifndef DJ_CACHE_GENERATIONS_H
#define DJ_CACHE_GENERATIONS_H

#include <deja/base.h>

#include "store/store.h"

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
/* out_value (may be NULL): the counter after it. Not where there is an authority elsewhere. */
enum deja_status dj_generations_raise(struct dj_generations *generations,
                                      const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                      uint64_t *out_value) DEJA_NODISCARD;

/* The tenant's counter and that tag's, added up as of one moment. */
uint64_t dj_generations_sum(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                            struct deja_slice tag);

/* ---- with an authority elsewhere ---- */

struct dj_generation_hold {
    uint8_t tenant[DJ_ID_BYTES];
    struct deja_slice tag; /* borrowed */
    uint64_t before;       /* the counter until it was held */
    uint64_t known;        /* what the authority's was, as far as is known */
    uint64_t held;         /* its value now: names this hold */
    bool is_ended;         /* settled: the authority's is above `known` and in force */
};
/* Tenant and tag are given. At once, until it is settled. DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_generations_hold(struct dj_generations *generations,
                                     struct dj_generation_hold *hold) DEJA_NODISCARD;
/* One pull: what was raised, and which holds it has made needless; all of it at one moment. A
 * counter that comes back lower than it was stays as it was: *out_is_behind. DEJA_ERR_LIMIT,
 * DEJA_ERR_NOMEM: no hold has ended. */
enum deja_status dj_generations_settle(struct dj_generations *generations,
                                       const struct dj_store_generation *pulled,
                                       size_t pulled_count, struct dj_generation_hold *holds,
                                       size_t hold_count, bool *out_is_behind) DEJA_NODISCARD;
/* Every counter that is known; return false to stop. Do not call the table from it. */
typedef bool dj_generation_each_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                                   struct deja_slice tag);
void dj_generations_walk(struct dj_generations *generations, void *ctx,
                         dj_generation_each_fn *each);
size_t dj_generations_held(struct dj_generations *generations); /* how many are held */

/* True while nothing was raised: entries noted under 0 are valid then. */
bool dj_generations_are_all_zero(const struct dj_generations *generations);

#endif
