/* store/lmdb.h - the embedded tier: two LMDB environments in the data directory.
 *
 * `meta` is synchronous and small, the authority of this machine (secret, tenants, generations);
 * `entries` is written by one thread with group commit and may be thrown away (docs/adr/0005).
 * Reads run on the pool, batched; values are copied and the read transaction ends in the same job.
 */
#ifndef DJ_STORE_LMDB_H
#define DJ_STORE_LMDB_H

#include "loop/pool.h"
#include "store/store.h"

enum dj_durability { DJ_DURABILITY_OS, DJ_DURABILITY_EVERYSEC, DJ_DURABILITY_ALWAYS };

/* The directory's lock and its meta environment. */
struct dj_lmdb_meta;

struct dj_lmdb_options {
    const char *directory;     /* exists; entries/ and meta/ are made below it, 0700 */
    struct dj_lmdb_meta *meta; /* of that directory, borrowed until close; NULL: opened with it */
    uint64_t bytes_max;        /* 10 GiB or 20 % of the disk, whichever is less; 0: that default */
    enum dj_durability durability;
    uint32_t queue_max;     /* writes waiting for the writer; 65,536 */
    struct dj_pool *pool;   /* reads; borrowed until close */
    bool is_fresh;          /* begins anew: what was kept is discarded without a word */
    dj_store_gone_fn *gone; /* from the writer's thread; NULL: nobody is told */
    void *gone_ctx;
    struct dj_packing packing; /* of records */
};

/* Without meta: flock on the directory; DEJA_ERR_BUSY: another process has it. Verifies after an
 * unclean stop and another boot id; damaged entries are discarded with *out_discarded set (may be
 * NULL). */
enum deja_status dj_lmdb_open(const struct dj_lmdb_options *options, struct dj_store **out_store,
                              bool *out_discarded, struct deja_error *error) DEJA_NODISCARD;

/* The meta environment: small values under text keys, synced before return. Blocking: worker or
 * start-up only. get: DEJA_ERR_NOT_FOUND. Used for the deployment secret, generations, tenants.
 *
 * open: flock on the directory; DEJA_ERR_BUSY: another process has it. It is there without the
 * tier, too: what this machine must remember does not hang on where it keeps entries. */
enum deja_status dj_lmdb_meta_open(const char *directory, struct dj_lmdb_meta **out_meta,
                                   struct deja_error *error) DEJA_NODISCARD;
void dj_lmdb_meta_close(struct dj_lmdb_meta *meta); /* accepts NULL; after the store that borrows */
/* Of a store that dj_lmdb_open made; valid until its close. */
struct dj_lmdb_meta *dj_lmdb_meta_of(struct dj_store *store);
enum deja_status dj_lmdb_meta_get(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, void *ctx,
                                  void (*found)(void *ctx, struct deja_slice value)) DEJA_NODISCARD;
enum deja_status dj_lmdb_meta_put(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, struct deja_slice value) DEJA_NODISCARD;
/* get, and below it walk, from outside, whether a program has the directory open or not.
 * DEJA_ERR_NOT_FOUND: no such value, or no meta environment. */
enum deja_status dj_lmdb_meta_peek(const char *directory, const char *table, struct deja_slice key,
                                   void *ctx,
                                   void (*found)(void *ctx,
                                                 struct deja_slice value)) DEJA_NODISCARD;
enum deja_status dj_lmdb_meta_peek_all(const char *directory, const char *table, void *ctx,
                                       bool (*each)(void *ctx, struct deja_slice key,
                                                    struct deja_slice value)) DEJA_NODISCARD;
/* DEJA_ERR_BUSY: there is one already. */
enum deja_status dj_lmdb_meta_add(struct dj_lmdb_meta *meta, const char *table,
                                  struct deja_slice key, struct deja_slice value) DEJA_NODISCARD;
enum deja_status dj_lmdb_meta_remove(struct dj_lmdb_meta *meta, const char *table,
                                     struct deja_slice key) DEJA_NODISCARD;
/* Every pair of a table as of one moment, in key order; return false to stop. DEJA_ERR_NOMEM. */
enum deja_status dj_lmdb_meta_walk(struct dj_lmdb_meta *meta, const char *table, void *ctx,
                                   bool (*each)(void *ctx, struct deja_slice key,
                                                struct deja_slice value)) DEJA_NODISCARD;

/* What was removed is wiped from the files, where LMDB would leave it until the room is used again:
 * after an erasure. Holds up writers meanwhile. Blocking: worker. DEJA_ERR_BUSY: a read that began
 * before still looks at some of it; again later. DEJA_ERR_IO, DEJA_ERR_NOMEM. */
enum deja_status dj_lmdb_scrub(struct dj_store *store) DEJA_NODISCARD;
enum deja_status dj_lmdb_meta_scrub(struct dj_lmdb_meta *meta) DEJA_NODISCARD;

#endif
