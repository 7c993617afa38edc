/* cache/engine.h - the cache itself: tiers, index, embedder and decision behind four calls.
 *
 *   find   (memory, synchronous)     the hit path of the request's own loop
 *   lookup (everything below)        embedded tier, then meaning
 *   put                              memory, embedded tier, index
 *   remove / clear / invalidate
 *
 * Threads: an engine is shared by all loops; calls name the loop they are made on and callbacks
 * come back there. Writes to a key happen on its home loop, in one order (races have one place).
 * Tenants: every call names one; nothing crosses (I1). Time: taken from the loop.
 */
#ifndef DJ_CACHE_ENGINE_H
#define DJ_CACHE_ENGINE_H

#include <deja/base.h>

#include "cache/key.h"
#include "embed/embedder.h"
#include "loop/pool.h"
#include "obs/metrics.h"
#include "store/store.h"

#define DJ_CANDIDATES_MAX 10u

struct dj_engine;

struct dj_engine_options {
    struct dj_loop *const *loops; /* borrowed */
    uint32_t loop_count;
    struct dj_store *memory;      /* taken: closed by dj_engine_destroy */
    struct dj_store *lmdb;        /* taken; NULL: none */
    bool is_lmdb_foreign;         /* lmdb is another store in its place: generations are not kept */
    struct dj_pool *pool;         /* borrowed: embedding and index work */
    struct dj_embedder *embedder; /* taken; NULL: exact only */
    struct dj_metrics *metrics;   /* borrowed */
    uint32_t vectors_max;         /* per tenant; 0: 100,000 */
    uint32_t candidates;          /* 4 */
    double threshold;             /* responses; 0: the shipped one of the embedder's kind */
    double api_threshold;         /* cache API default, 0.95 */
    uint64_t ttl_max_ms;          /* cap of every TTL; 0: 30 days */
    double ttl_jitter;            /* 0.1 */
};

enum deja_status dj_engine_create(const struct dj_engine_options *options,
                                  struct dj_engine **out_engine) DEJA_NODISCARD;
/* After the loops have ended. Accepts NULL. */
void dj_engine_destroy(struct dj_engine *engine);

/* Reads generations and refills the index from the embedded tier; blocking, before the loops run
 * (generations) and on a worker (vectors). */
enum deja_status dj_engine_load_generations(struct dj_engine *engine) DEJA_NODISCARD;
void dj_engine_load_vectors(struct dj_engine *engine); /* worker */
bool dj_engine_is_index_ready(const struct dj_engine *engine);

/* ---- hit path ---- */

enum dj_hit_kind { DJ_HIT_NONE, DJ_HIT_EXACT, DJ_HIT_NORMALIZED, DJ_HIT_SEMANTIC };
const char *dj_hit_kind_text(enum dj_hit_kind kind); /* "exact", … */

/* Valid entry in memory: a reference the caller owns, or NULL. max_age_ms 0: any age. */
struct dj_value *dj_engine_find(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, uint64_t max_age_ms);
/* exact or normalised, by comparing the exact key. */
enum dj_hit_kind dj_engine_hit_kind(const struct dj_value *value,
                                    const uint8_t exact[DJ_SHA256_BYTES]);

/* ---- lookup: embedded tier, then meaning ---- */

struct dj_candidate {
    uint8_t id[DJ_ID_BYTES];
    float similarity;
    uint32_t guards_refused; /* bit mask, policy/guards.h; 0: all passed */
    bool is_fetched;         /* the record was there, valid, of this tenant and scope */
    bool is_other_scope;     /* explain only */
    uint8_t scope[DJ_ID_BYTES];
    const char *level;      /* where its record was; NULL: not fetched */
    struct dj_value *value; /* owned by the result; may be NULL */
};

struct dj_lookup_options {
    bool is_exact;      /* look by key */
    bool is_semantic;   /* look by meaning */
    bool is_explain;    /* fetch all candidates, whatever the threshold; never serves */
    bool is_all_scopes; /* explain without a scope */
    double threshold;   /* 0: engine default for responses; only raises it, except in the cache
                         * API's find (is_threshold_free) */
    bool is_threshold_free;
    uint32_t limit;      /* candidates; 0: engine default */
    uint64_t max_age_ms; /* 0: any */
};

/* Plain result; owned by the lookup until the callback returns. */
struct dj_lookup_result {
    enum deja_status status; /* of the search; a sick tier is a miss with status DEJA_OK (I4) */
    enum dj_hit_kind kind;   /* DJ_HIT_NONE: miss */
    struct dj_value *value;  /* of the hit; borrowed: ref it to keep it */
    const char *level;       /* "memory", "lmdb" */
    float similarity;        /* 1 for exact */
    double threshold;        /* in force */
    const char *reason;      /* why not: constant text, e.g. "scope-empty", "below-threshold",
                              * "guard:numbers", "no-text", "not-stored" */
    uint32_t candidate_count;
    struct dj_candidate candidates[DJ_CANDIDATES_MAX];
    uint32_t embed_us; /* stage times; 0: not run */
    uint32_t search_us;
    uint32_t fetch_us;
    bool has_vector;
    const float *vector; /* of the text, embedder's dim; borrowed until the callback returns */
};
typedef void dj_lookup_done_fn(void *ctx, const struct dj_lookup_result *result);

/* fingerprint is copied (its text too). done runs exactly once, later, on loop. Scope must be
 * filled for a semantic lookup. vector: NULL, or the caller's own query vector (dim floats).
 * DEJA_ERR_NOMEM. */
enum deja_status dj_engine_lookup(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_fingerprint *fingerprint,
                                  const struct dj_lookup_options *options, const float *vector,
                                  void *ctx, dj_lookup_done_fn *done) DEJA_NODISCARD;

/* ---- writes ---- */

/* A fill notes, when it starts, what must still hold when it is stored (validity by generations;
 * deletes by version). Plain data. */
struct dj_fill {
    uint64_t version;
    uint64_t tenant_generation;
};
/* Any thread. tags' generations are noted into the entry's tags. */
void dj_engine_begin_fill(struct dj_engine *engine, struct dj_entry *entry,
                          struct dj_fill *out_fill);

/* stored: false when it was outrun by a delete, an invalidation or a newer version. */
typedef void dj_put_done_fn(void *ctx, enum deja_status status, bool stored);
/* Stores entry (copied; version, generations from begin_fill). Embeds entry->query under
 * entry->scope when is_semantic and vector is NULL. done (may be NULL) runs once, on loop, when
 * every tier has it as durably as it promises. */
enum deja_status dj_engine_put(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_entry *entry, bool is_semantic, const float *vector,
                               void *ctx, dj_put_done_fn *done) DEJA_NODISCARD;

/* A first turn always; later turns of a conversation only once their scope is asked about a second
 * time (a conversation that is never repeated costs no embedding). Any thread. */
bool dj_engine_is_worth_indexing(struct dj_engine *engine,
                                 const struct dj_fingerprint *fingerprint);

typedef void dj_remove_done_fn(void *ctx, enum deja_status status, uint64_t removed);
/* By key, everywhere; fills of it that are running will not be stored. */
enum deja_status dj_engine_remove(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_store_key *key, void *ctx,
                                  dj_remove_done_fn *done) DEJA_NODISCARD;
/* Every entry of the tenant: its generation is raised (durably), then tiers are swept. */
enum deja_status dj_engine_clear(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                 dj_remove_done_fn *done) DEJA_NODISCARD;
/* Raises one tag's generation, durably: entries that carry it are invalid at once. */
enum deja_status dj_engine_invalidate_tag(struct dj_engine *engine, struct dj_loop *loop,
                                          const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                          void *ctx, dj_remove_done_fn *done) DEJA_NODISCARD;
/* By id through all tiers (GET /api/v1/entries/{id}); value NULL: not there or not valid. */
enum deja_status dj_engine_get(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_store_key *key, void *ctx,
                               dj_store_got_fn *got) DEJA_NODISCARD;

/* Nothing of that tenant is served any more; its entries go as they expire. Blocking: worker. */
enum deja_status dj_engine_forget(struct dj_engine *engine,
                                  const uint8_t tenant[DJ_ID_BYTES]) DEJA_NODISCARD;

/* expires of an entry made now: ttl capped, jittered. ttl_ms 0: fallback_ms. */
int64_t dj_engine_expiry(const struct dj_engine *engine, struct dj_loop *loop, uint64_t ttl_ms,
                         uint64_t fallback_ms);

/* Drops expired entries of that loop's part of memory; loop-bound, about once a minute. */
void dj_engine_sweep(struct dj_engine *engine, struct dj_loop *loop);

/* Lookups, writes and promotions that have begun and not ended. Before loops may be stopped this
 * must have come to 0: what is under way holds the engine. Any thread. */
uint32_t dj_engine_pending(const struct dj_engine *engine);

/* ---- inspect ---- */

struct dj_engine_stats {
    struct dj_store_stats memory;
    struct dj_store_stats lmdb;
    bool has_lmdb;
    bool is_index_ready;
    uint64_t vectors;
    uint64_t vector_bytes;
};
/* tenant NULL: all. Any thread. */
void dj_engine_stats(struct dj_engine *engine, const uint8_t *tenant,
                     struct dj_engine_stats *out_stats);
const struct dj_embedder *dj_engine_embedder(const struct dj_engine *engine); /* NULL: none */
double dj_engine_threshold(const struct dj_engine *engine, bool is_api);
uint32_t dj_engine_home(const struct dj_engine *engine, const struct dj_store_key *key);
struct dj_loop *dj_engine_loop(const struct dj_engine *engine, uint32_t index);

#endif
