/* cache/access_internal.h - what the files of access statistics share.
 *
 *   shards[hash of the key]   rows in a map, on a list by when they were served, and on a second
 *                             one while they differ from what the tiers have
 *
 * (1) tail is moved by the loop, head by who holds the ring's lock; a slot is written before tail
 *     passes it and read before head does.
 * (2) A shard's lock is held for one row, or for one walk over its share of the rows; a ring's lock
 *     is taken before a shard's, and no two of a kind are held together.
 */
#ifndef DJ_CACHE_ACCESS_INTERNAL_H
#define DJ_CACHE_ACCESS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "cache/access.h"

#define DJ_ACCESS_SHARDS 64u
#define DJ_ACCESS_TENANTS_MAX 20000u

struct dj_access_noted {
    struct dj_store_key key;
    int64_t at_ms;
};

struct dj_access_ring {
    pthread_mutex_t lock; /* the reader's */
    _Atomic(uint64_t) head;
    _Atomic(uint64_t) tail;
    struct dj_access_noted *notes; /* ring_mask + 1 */
    struct dj_job job;
    atomic_bool is_posted;
    struct dj_access *access;
};

struct dj_access_row {
    struct dj_list by_time; /* in the shard's list, longest ago first */
    struct dj_list changed; /* in the shard's other list, or alone */
    struct dj_store_key key;
    uint64_t hits;
    int64_t last_ms;
};

struct dj_access_shard {
    pthread_mutex_t lock;
    struct dj_map *rows; /* key -> struct dj_access_row, owned */
    struct dj_list by_time;
    struct dj_list changed;
};

struct dj_access_tenant {
    struct dj_access_sums sums;
    int64_t last_ms;
    bool is_changed;
};

struct dj_access {
    struct dj_access_options options;
    uint64_t ring_mask;  /* notes of a ring, a power of two, less one */
    uint64_t eager_mask; /* so many in a ring, less one, make a worker look before its time */
    struct dj_access_ring *rings; /* loop_count */
    struct dj_access_shard shards[DJ_ACCESS_SHARDS];
    pthread_mutex_t tenants_lock; /* a leaf */
    struct dj_map *tenants;       /* id -> struct dj_access_tenant, owned */
    struct dj_access_sums all;    /* under tenants_lock */
};

/* These: any thread. Adds to the row of that key; is_changed: tiers do not know it yet. */
void dj_access_add_hits(struct dj_access *access, const struct dj_store_key *key, uint64_t hits,
                        int64_t at_ms, bool is_changed);
/* Adds to the sums of the tenant and of all. */
void dj_access_add_sums(struct dj_access *access, const uint8_t id[DJ_ID_BYTES],
                        const struct dj_access_sums *sums, int64_t at_ms, bool is_changed);
/* What was noted before the call is counted after it. */
void dj_access_drain(struct dj_access *access);
struct dj_access_shard *dj_access_shard_of(struct dj_access *access,
                                           const struct dj_store_key *key);

#endif
