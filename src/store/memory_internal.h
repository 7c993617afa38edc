/* store/memory_internal.h - one shard of the memory tier and the steps its files share.
 *
 * "Writer" is the shard's home loop, the only thread that changes the shard. What other threads
 * may touch is atomic, and is marked so; everything else is the writer's.
 */
#ifndef DJ_STORE_MEMORY_INTERNAL_H
#define DJ_STORE_MEMORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "store/key_internal.h"
#include "store/memory.h"

struct dj_memory_shard;
struct dj_memory_row;

/* One stored value. Immutable once linked, except next and freq. */
struct dj_memory_node {
    _Atomic(struct dj_memory_node *) next; /* of the bucket's chain; any thread reads */
    struct dj_value *value;                /* one reference */
    uint64_t hash;
    struct dj_store_key key;
    int64_t gone_ms;           /* 0: never */
    _Atomic(int64_t) lease_ms; /* the end of it; any thread reads */
    atomic_uchar freq;         /* 0 … 3, hits since it last came by the hand; any thread */
    /* Kept for the strategies that ask for them; any thread. */
    _Atomic(uint32_t) hits;
    _Atomic(int64_t) last_ms;
    bool is_in_main;         /* which queue; the writer's, as all below */
    size_t bytes;            /* charged: value and node */
    struct dj_list queue;    /* small or main, newest first; once unlinked: retired, oldest first */
    struct dj_list siblings; /* the row's, newest first */
    struct dj_memory_row *row;
    uint64_t retired_at; /* the shard's epoch when it was unlinked */
};

/* A tenant's sums over all shards; lives while a shard has a row of it. */
struct dj_memory_tenant {
    _Atomic(uint64_t) entries;
    _Atomic(uint64_t) bytes;
    uint32_t row_count; /* under tenants_mutex */
};

/* A tenant's nodes in one shard; gone with its last node. */
struct dj_memory_row {
    uint8_t tenant_id[DJ_ID_BYTES];
    struct dj_memory_tenant *tenant;
    struct dj_list nodes;
    struct dj_list over; /* on the shard's list while above the fair share */
    uint64_t count;      /* nodes, and puts under way */
};

/* A loop's pin on a shard: the epoch it entered in, 0 outside. A cache line of its own. */
struct dj_memory_reader {
    _Alignas(64) _Atomic(uint64_t) epoch;
};

struct dj_memory_queue {
    struct dj_list nodes;
    uint64_t count;
    uint64_t bytes;
};

struct dj_memory;

struct dj_memory_shard {
    struct dj_memory *memory;
    struct dj_loop *loop; /* home */
    _Atomic(struct dj_memory_node *) *buckets;
    uint64_t bucket_mask;
    struct dj_memory_reader *readers; /* loop_count */
    _Atomic(uint64_t) epoch;          /* from 1; raised by each unlink */
    _Atomic(uint64_t) entries;
    _Atomic(uint64_t) bytes;
    atomic_bool is_writing; /* asserts the single writer */

    struct dj_list retired; /* unlinked nodes that a reader may still see, oldest first */
    struct dj_memory_queue small;
    struct dj_memory_queue main;
    uint64_t small_bytes_max;
    uint64_t small_count_max;
    uint32_t *ghosts; /* fingerprints of what fell out of small */
    uint64_t ghost_mask;
    struct dj_map *rows;      /* tenant -> dj_memory_row */
    struct dj_list over_rows; /* rows above their share */
    uint64_t over_count;
    uint64_t sweep_bucket;

    struct dj_task trim_task;
    atomic_bool is_trim_posted;
    uint64_t pressure_seen; /* of memory->pressure, when the last round of trimming ended */
    bool is_trimming;
    bool is_asking; /* other shards are asked for room of a tenant at its limit */
};

struct dj_memory {
    struct dj_store store; /* base */
    struct dj_memory_options options;
    uint64_t row_entries_max;  /* the fair share, per shard */
    atomic_uint ref_count;     /* the owner, and every operation under way */
    atomic_bool is_closed;     /* loops may be gone: nothing is posted any more */
    _Atomic(uint64_t) entries; /* reserved before a node is linked, so never above the bounds */
    _Atomic(uint64_t) bytes;
    _Atomic(uint64_t) evictions;
    _Atomic(uint64_t) expired;
    _Atomic(uint64_t) pressure;      /* puts that found the tier full */
    pthread_mutex_t tenants_mutex;   /* a leaf: nothing is locked or called under it */
    struct dj_map *tenants;          /* id -> dj_memory_tenant, under tenants_mutex */
    struct dj_memory_shard shards[]; /* loop_count */
};

/* memory.c */
struct dj_memory *dj_memory_ref(struct dj_memory *memory);
void dj_memory_unref(struct dj_memory *memory);

/* memory_shard.c: writer only unless said otherwise. */
enum deja_status dj_memory_shard_init(struct dj_memory_shard *shard, struct dj_memory *memory,
                                      struct dj_loop *loop) DEJA_NODISCARD;
void dj_memory_shard_fini(struct dj_memory_shard *shard); /* accepts half-built */
struct dj_value *dj_memory_shard_find(struct dj_memory_shard *shard, uint32_t loop_index,
                                      const struct dj_store_key *key, bool is_lapsed,
                                      int64_t now_ms); /* any loop */
bool dj_memory_shard_put(struct dj_memory_shard *shard, struct dj_value *value, int64_t lease_ms,
                         int64_t now_ms); /* lease_ms: its end */
bool dj_memory_shard_remove(struct dj_memory_shard *shard, const struct dj_store_key *key,
                            uint64_t version_max);
/* Adds a tenant's values of the next buckets to the page, until it or the turn is full; *cursor:
 * where the next call goes on, false: the shard's end. */
bool dj_memory_shard_list(struct dj_memory_shard *shard, const uint8_t tenant[DJ_ID_BYTES],
                          int64_t now_ms, uint64_t *cursor, struct dj_store_page *page);
/* Up to count_max entries of a tenant; how many went. */
uint64_t dj_memory_shard_clear(struct dj_memory_shard *shard, const uint8_t tenant[DJ_ID_BYTES],
                               uint64_t count_max);
uint64_t dj_memory_shard_sweep(struct dj_memory_shard *shard, int64_t now_ms);
/* Counts a node that is about to be unlinked and tells who watches. */
void dj_memory_note_gone(struct dj_memory_shard *shard, const struct dj_memory_node *node,
                         enum dj_gone_reason reason);
/* Takes a node out of chain, queue and row and retires it. */
void dj_memory_shard_unlink(struct dj_memory_shard *shard, struct dj_memory_node *node);

/* memory_row.c: the tenant's row, counted up; NULL: out of memory. */
struct dj_memory_row *dj_memory_row_acquire(struct dj_memory_shard *shard,
                                            const uint8_t tenant[DJ_ID_BYTES]);
void dj_memory_row_release(struct dj_memory_shard *shard, struct dj_memory_row *row);

/* memory_choose.c: the other strategies. */
void dj_memory_touch(struct dj_memory_node *node, int64_t now_ms); /* any loop */
/* The first to go of a bounded sample of a queue's nodes, which moves on; NULL: none of them may.
 */
struct dj_memory_node *dj_memory_choose(struct dj_memory_shard *shard, bool is_over_only,
                                        int64_t now_ms);
/* The same of a tenant's nodes here; NULL: there are none. */
struct dj_memory_node *dj_memory_choose_of(struct dj_memory_shard *shard, struct dj_memory_row *row,
                                           int64_t now_ms);

/* memory_room.c */
/* Reserves bytes and an entry of the tier and of the row's tenant; false: there is no room now. */
bool dj_memory_reserve(struct dj_memory_shard *shard, struct dj_memory_row *row, size_t bytes,
                       int64_t now_ms);
void dj_memory_unreserve(struct dj_memory_shard *shard, struct dj_memory_tenant *tenant,
                         size_t bytes);
/* dj_store_ops.evict. */
enum deja_status dj_memory_evict(struct dj_store *store, struct dj_loop *caller,
                                 const uint8_t *tenant, uint64_t bytes, void *ctx,
                                 dj_store_done_fn *done) DEJA_NODISCARD;
bool dj_memory_shard_trim(struct dj_memory_shard *shard, int64_t now_ms);
uint32_t dj_memory_batch(const struct dj_memory *memory);

/* memory_shard.c: around changes of a shard, on its loop. */
void dj_memory_begin_write(struct dj_memory_shard *shard);
void dj_memory_end_write(struct dj_memory_shard *shard);
uint32_t dj_memory_shard_turns(const struct dj_memory_shard *shard);

/* memory_evict.c: S3-FIFO. */
/* Takes the node out because there was no room. */
void dj_memory_evict_node(struct dj_memory_shard *shard, struct dj_memory_node *node, bool is_over,
                          int64_t now_ms);
void dj_memory_enqueue(struct dj_memory_shard *shard, struct dj_memory_node *node);
void dj_memory_dequeue(struct dj_memory_shard *shard, struct dj_memory_node *node);
/* Gives fresh the place of old, which leaves its queue. */
void dj_memory_requeue_as(struct dj_memory_shard *shard, struct dj_memory_node *old,
                          struct dj_memory_node *fresh);
bool dj_memory_evict_one(struct dj_memory_shard *shard, int64_t now_ms); /* false: empty */

/* memory_epoch.c */
void dj_memory_enter(struct dj_memory_shard *shard, uint32_t loop_index); /* any loop */
void dj_memory_leave(struct dj_memory_shard *shard, uint32_t loop_index); /* any loop */
void dj_memory_retire(struct dj_memory_shard *shard, struct dj_memory_node *node);
void dj_memory_reclaim(struct dj_memory_shard *shard);

#endif
