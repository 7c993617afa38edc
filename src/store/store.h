/* store/store.h - the one table every tier is behind: memory, LMDB, Valkey/Redis, PostgreSQL, S3.
 *
 * Asynchronous from the first day: a call returns DEJA_OK and its callback runs exactly once on the
 * given loop, not before the call has returned; any other status: the callback never runs.
 * A miss is value NULL with DEJA_OK (I4). Threads: call on the loop that is named.
 */
#ifndef DJ_STORE_STORE_H
#define DJ_STORE_STORE_H

#include <deja/base.h>

#include "loop/loop.h"
#include "store/value.h"

struct dj_store_key {
    uint8_t tenant[DJ_ID_BYTES];
    uint8_t id[DJ_ID_BYTES];
};

struct dj_store_stats {
    uint64_t entries;
    uint64_t bytes;
    uint64_t bytes_max;
    uint64_t evictions;
    uint64_t expired;
    uint64_t corrupt;      /* records that did not verify: answered as misses and removed */
    uint64_t dropped;      /* writes that found no room or no disk */
    uint64_t queued;       /* writes that wait */
    uint64_t record_bytes; /* of all records written since start, as they are kept */
    uint64_t plain_bytes;  /* the same without compression */
};

/* value: a reference the callee owns, or NULL. Expired entries (beyond stale_until) are misses. */
typedef void dj_store_got_fn(void *ctx, enum deja_status status, struct dj_value *value);
/* removed: how many were there, and not expired (remove); put: 1: it was outrun, what is there is
 * no older; 0 otherwise, and where the store cannot tell. */
typedef void dj_store_done_fn(void *ctx, enum deja_status status, uint64_t removed);
/* One kept vector; what it points to is borrowed until return. */
struct dj_store_vector {
    struct dj_store_key key;
    const uint8_t *scope; /* DJ_ID_BYTES */
    struct deja_slice embedder_id;
    const float *floats;      /* dim of them; NULL: sealed */
    struct deja_slice sealed; /* as dj_entry's */
    uint32_t dim;
    int64_t expires_ms;
};
/* Return false to stop. */
typedef bool dj_store_vector_fn(void *ctx, const struct dj_store_vector *vector);

/* How long a level keeps an entry that is put into it now, where the entry says so rather than the
 * level. Until when (ms since 1970); INT64_MAX: as long as it lives; 0: as the level says by
 * itself. Any thread; quick. of NULL: always 0. */
struct dj_stay {
    int64_t (*of)(void *ctx, const struct dj_entry *entry, int64_t now_ms);
    void *ctx;
};

#define DJ_STORE_PAGE_MAX 64u

/* A piece of a tenant's entries, and where the next one begins. The caller's: zeroed before the
 * first piece, kept as it is for the next, alive until the callback. */
struct dj_store_page {
    struct dj_value *values[DJ_STORE_PAGE_MAX]; /* references the caller owns */
    uint32_t count;                             /* may be 0 although more follow */
    bool is_last;
    /* The caller's: vectors come with their entries (dj_entry.vector), from tiers that can: sealed,
     * or where nothing is sealed or store/sealed.h has opened them, their floats as the machine has
     * them, of dj_entry.embedder_id. */
    bool has_vectors;
    uint64_t position; /* the store's */
    uint8_t after[DJ_ID_BYTES];
};

/* Why an entry left without being asked to. */
enum dj_gone_reason {
    DJ_GONE_TTL,          /* expired */
    DJ_GONE_SIZE,         /* the tier was full */
    DJ_GONE_TENANT_LIMIT, /* the tier was full and its tenant had more than its share */
    DJ_GONE_REASON_COUNT
};
/* Told of each; from a loop or the tier's own thread, in the middle of a write: it must be quick
 * and must not call the store. */
typedef void dj_store_gone_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                              enum dj_gone_reason reason);

/* Access statistics of one entry; id of zeros: the sums of its tenant. */
struct dj_store_access {
    struct dj_store_key key;
    uint64_t hits;
    int64_t last_ms;
    uint64_t verdicts; /* tenants only, as is the next */
    uint64_t verdicts_wrong;
};
typedef bool dj_store_access_fn(void *ctx, const struct dj_store_access *row); /* false: stop */

/* One neighbour of a search, best first. */
struct dj_store_match {
    uint8_t id[DJ_ID_BYTES];
    uint8_t scope[DJ_ID_BYTES];
    float similarity; /* cosine */
};
#define DJ_STORE_MATCHES_MAX 100u

/* Neighbours are asked for in one scope of one tenant, among vectors of one embedder and dimension.
 * Everything is copied during the call. */
struct dj_store_search {
    uint8_t tenant[DJ_ID_BYTES];
    const uint8_t *scope; /* NULL: every scope of the tenant */
    struct deja_slice embedder_id;
    const float *vector; /* dim of them */
    uint32_t dim;
    uint32_t limit;   /* 1 … DJ_STORE_MATCHES_MAX */
    double threshold; /* matches below are left out */
};
/* matches: borrowed until return. */
typedef void dj_store_searched_fn(void *ctx, enum deja_status status,
                                  const struct dj_store_match *matches, uint32_t count);

/* A counter of generations that all programs of a shared store keep together. */
struct dj_store_generation {
    uint8_t tenant[DJ_ID_BYTES];
    struct deja_slice tag; /* as cache/generations.h names counters: empty: the tenant's own */
    uint64_t generation;
};
typedef void dj_store_raised_fn(void *ctx, enum deja_status status, uint64_t generation);
typedef void dj_store_generation_fn(void *ctx, const struct dj_store_generation *counter);
/* sequence: hand it to the next pull. */
typedef void dj_store_pulled_fn(void *ctx, enum deja_status status, uint64_t sequence);

/* is_held: the caller has it now. */
typedef void dj_store_locked_fn(void *ctx, enum deja_status status, bool is_held);

typedef void dj_store_tenant_fn(void *ctx, const uint8_t tenant[DJ_ID_BYTES]);

struct dj_store;

struct dj_store_ops {
    const char *level; /* "memory", "lmdb", "redis", "postgres", "s3": as in metrics */
    enum deja_status (*get)(struct dj_store *store, struct dj_loop *loop,
                            const struct dj_store_key *key, void *ctx, dj_store_got_fn *got);
    /* Takes its own reference of value. vector: NULL or dim floats, copied; it may also come
     * sealed, as a part of the entry. Overwrites only if version is larger than what is stored.
     * done when it is as durable as the tier promises. */
    enum deja_status (*put)(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                            const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done);
    /* Only what has a version <= version_max; UINT64_MAX: any. */
    enum deja_status (*remove)(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, uint64_t version_max, void *ctx,
                               dj_store_done_fn *done);
    /* Every entry of a tenant. */
    enum deja_status (*clear)(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], void *ctx, dj_store_done_fn *done);
    /* Optional (NULL: no selections). The tenant's next entries that are not gone. What is put or
     * removed meanwhile may or may not be met; what was there before the first piece and stays is
     * met once. done(…, page->count). */
    enum deja_status (*list)(struct dj_store *store, struct dj_loop *loop,
                             const uint8_t tenant[DJ_ID_BYTES], struct dj_store_page *page,
                             void *ctx, dj_store_done_fn *done);
    /* tenant NULL: all. Any thread. */
    void (*stats)(struct dj_store *store, const uint8_t *tenant, struct dj_store_stats *out_stats);
    /* Optional (NULL): a read that goes all the way down, whatever is kept in front; for health. */
    enum deja_status (*probe)(struct dj_store *store, struct dj_loop *loop, void *ctx,
                              dj_store_got_fn *got);
    /* Optional (NULL): every vector kept, in (tenant, scope) order; blocking, worker only. */
    enum deja_status (*scan_vectors)(struct dj_store *store, void *ctx, dj_store_vector_fn *each);
    /* Optional, both or none. Queues 1 … 1,024 rows of access statistics; each replaces what was
     * kept, if its entry is there. Best effort: nobody is told. Any thread. */
    enum deja_status (*keep_access)(struct dj_store *store, const struct dj_store_access *rows,
                                    size_t count);
    /* Every row kept; blocking, worker or start-up only. */
    enum deja_status (*scan_access)(struct dj_store *store, void *ctx, dj_store_access_fn *each);
    /* Optional (NULL): nearest neighbours in the store itself. */
    enum deja_status (*search)(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_search *search, void *ctx,
                               dj_store_searched_fn *searched);
    /* Optional, both or none: the authority for generations where programs share the store. raise
     * makes it larger and tells what it is now; pull gives every counter raised after `since` (0:
     * all) to `each`, then `pulled`. */
    enum deja_status (*raise)(struct dj_store *store, struct dj_loop *loop,
                              const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag, void *ctx,
                              dj_store_raised_fn *raised);
    enum deja_status (*pull)(struct dj_store *store, struct dj_loop *loop, uint64_t since,
                             void *ctx, dj_store_generation_fn *each, dj_store_pulled_fn *pulled);
    /* Optional, both or none: a lock that ends by itself after lease_ms. token: 16 bytes that only
     * the holder knows; unlock with another one frees nothing. lock with the token that holds it
     * renews: it lasts lease_ms from now. */
    enum deja_status (*lock)(struct dj_store *store, struct dj_loop *loop,
                             const struct dj_store_key *key, const uint8_t token[16],
                             uint32_t lease_ms, void *ctx, dj_store_locked_fn *locked);
    enum deja_status (*unlock)(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, const uint8_t token[16], void *ctx,
                               dj_store_done_fn *done);
    /* Optional (NULL): least recently used entries go until `bytes` are free; tenant NULL: of all
     * tenants. */
    enum deja_status (*evict)(struct dj_store *store, struct dj_loop *loop, const uint8_t *tenant,
                              uint64_t bytes, void *ctx, dj_store_done_fn *done);
    /* Optional (NULL): every tenant that has entries here, each once, in no order. Any thread; each
     * must not call the store. */
    void (*tenants)(struct dj_store *store, void *ctx, dj_store_tenant_fn *each);
    /* Optional (NULL): the loop is about to end: what the store has open on it is closed, what is
     * under way on it ends with DEJA_ERR_CANCELLED and later calls are refused with it. On the
     * loop, once, before it is stopped. */
    void (*leave)(struct dj_store *store, struct dj_loop *loop);
    /* Queued writes are finished; then the store is gone. Blocking; after the loops have ended. */
    void (*close)(struct dj_store *store);
};

/* Every store embeds this as its first member. */
struct dj_store {
    const struct dj_store_ops *ops;
};

#endif
