/* cache/access.h - how often and when an entry was served, without making anybody wait.
 *
 *   note ── ring of its loop ──(a worker: each flush interval, or when an eighth of it is full;
 *                                or whoever asks)──> rows ──> tiers that keep them
 *
 * A ring has one writer, its loop, and one reader at a time. Whoever asks for figures empties the
 * rings first, so they are exact. Nothing is lost: a loop whose ring is full empties a piece of it
 * itself, and what a tier could not take is handed to it again. A ring's lock is held for one
 * piece. Bounds: `size` notes over all loops; rows_max rows, of which those longest not served go
 * first; 20,000 tenants. Threads: note on its loop; the rest any, but keep and load: worker.
 */
#ifndef DJ_CACHE_ACCESS_H
#define DJ_CACHE_ACCESS_H

#include <deja/base.h>

#include "cache/engine.h"
#include "loop/pool.h"
#include "store/store.h"

#define DJ_ACCESS_SIZE_MIN 100u
#define DJ_ACCESS_SIZE_MAX 1000000u
#define DJ_ACCESS_BATCH_MAX 10000u

#define DJ_ACCESS_STORES_MAX 8u

struct dj_access;

struct dj_access_options {
    uint32_t loop_count;
    uint32_t size;        /* notes that may wait; each loop's part is rounded up to a power of two;
                           * 0: 10,000 a core */
    uint32_t batch;       /* notes or rows of one piece; 0: 100 */
    uint32_t rows_max;    /* 0: 262,144 */
    struct dj_pool *pool; /* borrowed */
    /* Borrowed; those that keep none are passed over. What was kept is read from the first. */
    struct dj_store *stores[DJ_ACCESS_STORES_MAX];
    uint32_t store_count;
    dj_contained_fn *contained; /* as in engine.h, as is the next */
    void *contained_ctx;
};

enum deja_status dj_access_create(const struct dj_access_options *options,
                                  struct dj_access **out_access) DEJA_NODISCARD;
void dj_access_destroy(struct dj_access *access); /* accepts NULL; after the pool is idle */

void dj_access_note(struct dj_access *access, uint32_t loop_index, const struct dj_store_key *key,
                    int64_t now_ms);
void dj_access_get(struct dj_access *access, const struct dj_store_key *key,
                   struct dj_access_stats *out_stats);
/* The entry was removed: what is put under its key later begins anew. */
void dj_access_forget(struct dj_access *access, const struct dj_store_key *key);
/* Fills at most k <= DJ_TOP_MAX, most hits first; how many. Reads all rows: worker. */
uint32_t dj_access_top(struct dj_access *access, const uint8_t tenant[DJ_ID_BYTES], uint32_t k,
                       struct dj_top_entry *out_entries);

struct dj_access_sums {
    uint64_t hits;
    uint64_t verdicts;
    uint64_t verdicts_wrong;
};
void dj_access_verdict(struct dj_access *access, const uint8_t tenant[DJ_ID_BYTES], bool is_wrong);
/* tenant NULL: all. */
void dj_access_sums(struct dj_access *access, const uint8_t *tenant,
                    struct dj_access_sums *out_sums);

/* A worker takes what waits; nothing waits: nothing happens. Any thread. */
void dj_access_flush(struct dj_access *access);
/* Hands what changed to the tiers, in pieces; each row once, however fast it changes meanwhile.
 * What a tier refuses (its queue is full) goes to it with the next call. */
void dj_access_keep(struct dj_access *access);
/* Adds what was kept; best effort. */
void dj_access_load(struct dj_access *access);

#endif
