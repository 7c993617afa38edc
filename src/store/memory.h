/* store/memory.h - the memory tier: sharded by home loop, read anywhere without a lock.
 *
 * Reads: any loop thread, lock-free (epochs; a value is pinned by its count). Writes: only on the
 * key's home loop, dj_memory_home(). Bounded by bytes and entries, per tenant and in all.
 */
#ifndef DJ_STORE_MEMORY_H
#define DJ_STORE_MEMORY_H

#include "policy/evict.h"
#include "store/store.h"

/* What a tenant may have at most; 0: not said. */
struct dj_memory_limit {
    uint64_t entries_max;
    uint64_t bytes_max;
};
/* Asked before each put, on the home loop: it must be quick and must not call the store. */
typedef void dj_memory_limit_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                                struct dj_memory_limit *out_limit);

struct dj_memory_options {
    uint64_t bytes_max;          /* 100 MB */
    uint64_t entries_max;        /* 10,000 */
    uint64_t tenant_entries_max; /* 1,000: the fair share once the tier is full */
    uint64_t ttl_ms;             /* longest stay, whatever the entry's own life; 0: that */
    struct dj_stay stay;         /* asked first, on the home loop; must not call the store */
    uint64_t plain_ttl_ms;       /* likewise, of plain keys; 0: as ttl_ms */
    uint64_t lease_ms;   /* find knows a value so long, and again so long each time it is put; 0: it
                            does while the value stays */
    uint32_t loop_count; /* shards */
    enum dj_evict_strategy strategy;
    uint32_t low_water_percent; /* dj_memory_trim goes down to it; 0: 90 */
    uint32_t batch;             /* entries of one turn of a loop; 0: 100 */
    dj_memory_limit_fn *limit;  /* NULL: tenants have no limits of their own */
    void *limit_ctx;
    dj_store_gone_fn *gone; /* NULL: nobody is told */
    void *gone_ctx;
};

/* loops: loop_count loops, borrowed until close. */
enum deja_status dj_memory_open(const struct dj_memory_options *options,
                                struct dj_loop *const *loops,
                                struct dj_store **out_store) DEJA_NODISCARD;

/* The loop that owns the key. */
uint32_t dj_memory_home(const struct dj_store *store, const struct dj_store_key *key);

/* Synchronous twins for the hit path. find: a reference the caller owns, or NULL; loop_index is the
 * calling loop's. put/remove: on the home loop only. */
struct dj_value *dj_memory_find(struct dj_store *store, uint32_t loop_index,
                                const struct dj_store_key *key, int64_t now_ms);
/* Likewise, but only one that stays and whose lease is over. */
struct dj_value *dj_memory_find_lapsed(struct dj_store *store, uint32_t loop_index,
                                       const struct dj_store_key *key, int64_t now_ms);
/* Takes its own reference. Overwrites only an older version; false: not stored (older, expired, or
 * does not fit). The same version anew: its lease begins again. */
bool dj_memory_put(struct dj_store *store, struct dj_value *value, int64_t now_ms);
/* Likewise, of a value that no other tier has: without a lease. */
bool dj_memory_put_alone(struct dj_store *store, struct dj_value *value, int64_t now_ms);
/* Only what has a version <= version_max; false: that was not there, or expired. */
bool dj_memory_remove(struct dj_store *store, const struct dj_store_key *key, uint64_t version_max);
/* Drops expired entries of one shard, a bounded piece per call (1,024 buckets); how many went. On
 * the shard's loop, from a timer: an expired entry is a miss long before it is swept. */
uint64_t dj_memory_sweep(struct dj_store *store, uint32_t loop_index, int64_t now_ms);
/* So many calls go over a whole shard. Any thread. */
uint32_t dj_memory_sweep_turns(const struct dj_store *store);
/* A tier that has been full since the round before is brought down to its low-water mark, each
 * shard giving of its own: one batch a call. On the shard's loop; true: the round is not over. */
bool dj_memory_trim(struct dj_store *store, uint32_t loop_index, int64_t now_ms) DEJA_NODISCARD;

#endif
