/* cache/engine.h - the cache itself: tiers, index, embedder and decision behind four calls.
 *
 *   find   (memory, synchronous)     the hit path of the request's own loop
 *   lookup (everything below)        the tiers, then meaning
 *   put                              memory, the tiers, index
 *   remove / clear / invalidate      one key, or every entry a selector names
 *   embed, access, top, feedback     what the cache API adds
 *
 * Threads: an engine is shared by all loops; calls name the loop they are made on and callbacks
 * come back there. Writes to a key happen on its home loop, in one order (races have one place).
 * Tenants: every call names one; nothing crosses (I1). Time: taken from the loop.
 */
#ifndef DJ_CACHE_ENGINE_H
#define DJ_CACHE_ENGINE_H

#include <deja/base.h>

#include "cache/filter.h"
#include "cache/key.h"
#include "cache/happenings.h"
#include "cache/notices.h"
#include "cache/tiers.h"
#include "embed/embedder.h"
#include "loop/pool.h"
#include "obs/metrics.h"
#include "policy/fresh.h"
#include "store/store.h"

#define DJ_CANDIDATES_MAX 100u
#define DJ_EMBED_BATCH_MAX 100u
#define DJ_TOP_MAX 100u
#define DJ_VECTOR_DIM_MAX 4096u
#define DJ_VECTOR_INDEXES_MAX 8u /* of callers' own vectors, per tenant */

struct dj_engine;

/* step 1 … step_count, `what` in a few words: before the step. False: stop. */
typedef bool dj_optimise_step_fn(void *ctx, uint32_t step, uint32_t step_count, const char *what);
/* A tier makes the indexes anew that it keeps itself. Worker; may take minutes. */
typedef enum deja_status dj_optimise_tier_fn(void *ctx, void *step_ctx, dj_optimise_step_fn *step);

/* A step in the background has failed and was left out: nobody waits for it. operation: constant.
 * status is not DEJA_OK. Any thread. */
typedef void dj_contained_fn(void *ctx, const char *operation, enum deja_status status);

struct dj_engine_options {
    struct dj_loop *const *loops; /* borrowed */
    uint32_t loop_count;
    struct dj_store *memory; /* taken: closed by dj_engine_destroy */
    struct dj_store *lmdb;   /* taken; NULL: none. The first tier below memory */
    bool is_lmdb_foreign;    /* lmdb is another store in its place */
    /* Where generations are kept unless a shared tier has them; borrowed. NULL: nowhere. */
    struct dj_lmdb_meta *meta;
    struct dj_tier tiers[DJ_TIERS_MAX - 1]; /* below it, top down; their stores are taken */
    uint32_t tier_count;
    struct dj_pool *pool;             /* borrowed: embedding and index work */
    struct dj_embedder *embedder;     /* taken; NULL: exact only */
    struct dj_metrics *metrics;       /* borrowed */
    struct dj_notices *notices;       /* borrowed; what is made void is told there; NULL: nobody */
    struct dj_happenings *happenings; /* borrowed; NULL: nobody wants them */
    uint32_t vectors_max;             /* per tenant; 0: 100,000 */
    uint32_t candidates;              /* 4 */
    double threshold;                 /* responses; 0: the shipped one of the embedder's kind */
    double api_threshold;             /* cache API default, 0.95 */
    uint64_t ttl_max_ms;              /* cap of every TTL; 0: 30 days */
    double ttl_jitter;                /* 0.1 */
    dj_optimise_tier_fn *optimise_tier; /* NULL: no tier keeps indexes of its own */
    void *optimise_ctx;
    dj_contained_fn *contained; /* NULL: nobody is told */
    void *contained_ctx;
    uint32_t tracker_size; /* as in cache/access.h, as is the next */
    uint32_t tracker_batch;
    /* Between two looks at the low-water mark; 0: 300,000; UINT64_MAX: never. */
    uint64_t evict_check_ms;
};

enum deja_status dj_engine_create(const struct dj_engine_options *options,
                                  struct dj_engine **out_engine) DEJA_NODISCARD;
/* After the loops have ended. Accepts NULL. */
void dj_engine_destroy(struct dj_engine *engine);

/* Reads generations and refills the indexes (and access statistics) from the embedded tier;
 * blocking, before the loops run (generations) and on a worker (vectors). */
enum deja_status dj_engine_load_generations(struct dj_engine *engine) DEJA_NODISCARD;
void dj_engine_load_vectors(struct dj_engine *engine); /* worker */
bool dj_engine_is_index_ready(const struct dj_engine *engine);

/* ---- hit path ---- */

enum dj_hit_kind { DJ_HIT_NONE, DJ_HIT_EXACT, DJ_HIT_NORMALIZED, DJ_HIT_SEMANTIC };
const char *dj_hit_kind_text(enum dj_hit_kind kind); /* "exact", … */

/* Valid entry in memory: a reference the caller owns, or NULL. max_age_ms 0: any age. */
struct dj_value *dj_engine_find(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, uint64_t max_age_ms);
/* The same where an answer may be served after its end: *out_freshness is not DJ_FRESH_OVER. */
struct dj_value *dj_engine_find_stale(struct dj_engine *engine, struct dj_loop *loop,
                                      const struct dj_store_key *key,
                                      const struct dj_fresh_rules *rules,
                                      enum dj_freshness *out_freshness);
/* Found some time ago: may it still be served, at worst as stale? No: it is over, was invalidated,
 * or deleted by its key. On the key's home loop. */
bool dj_engine_may_serve(struct dj_engine *engine, struct dj_loop *loop,
                         const struct dj_value *value);
/* exact or normalised, by comparing the exact key. */
enum dj_hit_kind dj_engine_hit_kind(const struct dj_value *value,
                                    const uint8_t exact[DJ_SHA256_BYTES]);

/* ---- lookup: the tiers, then meaning ---- */

struct dj_candidate {
    uint8_t id[DJ_ID_BYTES];
    float similarity;
    uint32_t guards_refused; /* bit mask, policy/guards.h; 0: all passed */
    bool is_fetched;         /* the record was there, valid, of this tenant and scope */
    bool is_other_scope;     /* explain only */
    uint8_t scope[DJ_ID_BYTES];
    const char *level;      /* where its record was; NULL: not fetched */
    struct dj_value *value; /* owned by the result; may be NULL */
    uint64_t hits;          /* find: how often it was served, and when last; 0: never */
    int64_t last_access_ms;
};

/* A caller's own vector. embedder empty and dim that of the engine's embedder, or embedder its id:
 * the embedder's own index, beside vectors made of texts. Otherwise an index of its own per
 * (embedder, dim), at most DJ_VECTOR_INDEXES_MAX a tenant. */
struct dj_query_vector {
    const float *floats; /* dim of them, finite, not all zero; copied during the call */
    uint32_t dim;        /* 1 … DJ_VECTOR_DIM_MAX */
    struct deja_slice embedder;
};

struct dj_lookup_options {
    bool is_exact;      /* look by key */
    bool is_semantic;   /* look by meaning */
    bool is_explain;    /* fetch all candidates, whatever the threshold; never serves */
    bool is_find;       /* find similar: fetch all that reach the threshold (any of 0 … 1), best
                         * first, with their access statistics; never serves, no guards */
    bool is_all_scopes; /* explain without a scope */
    double threshold;   /* 0: engine default for responses; only raises it, except in the cache
                         * API's find (is_threshold_free) */
    bool is_threshold_free;
    double base_threshold; /* in the place of the engine's default: of the tenant; 0: that */
    uint32_t guards_off;   /* bits of policy/guards.h that the tenant has switched off */
    uint32_t limit;        /* candidates, <= DJ_CANDIDATES_MAX; 0: engine default */
    uint32_t skip;         /* levels not to be asked, and not promoted into */
    uint64_t max_age_ms;   /* 0: any */
    /* For what is found by its key: windows after its end. Its max_age_ms is not looked at. */
    struct dj_fresh_rules fresh;
    /* NULL, or what an entry must match, also one found by its key; borrowed until done ran. The
     * nearest DJ_CANDIDATES_MAX are looked at, and the best `limit` of those that match kept. */
    const struct dj_filter *filter;
};

/* Plain result; owned by the lookup until the callback returns. */
struct dj_lookup_result {
    /* Of the search; a sick tier is a miss with status DEJA_OK (I4). DEJA_ERR_MISMATCH: the tenant
     * has vectors, but none of that embedder and dimension. */
    enum deja_status status;
    enum dj_hit_kind kind;  /* DJ_HIT_NONE: miss */
    struct dj_value *value; /* of the hit; borrowed: ref it to keep it */
    const char *level;      /* where it was: "memory", "lmdb", "redis", "postgres", "s3" */
    bool is_stale;          /* the hit has expired: it should be made anew */
    /* A miss: what was found by its key, expired, and is for the case that the upstream fails;
     * borrowed; NULL: none. */
    struct dj_value *stale;
    const char *stale_level;
    float similarity;   /* 1 for exact */
    double threshold;   /* in force */
    const char *reason; /* why not: constant text, e.g. "scope-empty", "below-threshold",
                         * "guard:numbers", "no-text", "not-stored" */
    uint32_t candidate_count;
    struct dj_candidate *candidates; /* best first; owned by the lookup */
    uint32_t embed_us;               /* stage times; 0: not run */
    uint32_t search_us;
    uint32_t fetch_us;
    uint32_t verify_us; /* guards */
    bool has_vector;
    const float *vector; /* of the text, or the caller's; borrowed until the callback returns */
    uint32_t dim;        /* of vector */
};
typedef void dj_lookup_done_fn(void *ctx, const struct dj_lookup_result *result);

/* fingerprint is copied (its text too). done runs exactly once, later, on loop. Scope must be
 * filled for a semantic lookup. vector: NULL: the text is embedded. DEJA_ERR_NOMEM;
 * DEJA_ERR_INVALID: not a vector; DEJA_ERR_MISMATCH: names the engine's embedder with another
 * dimension. */
enum deja_status dj_engine_lookup(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_fingerprint *fingerprint,
                                  const struct dj_lookup_options *options,
                                  const struct dj_query_vector *vector, void *ctx,
                                  dj_lookup_done_fn *done) DEJA_NODISCARD;

/* vectors: count times dim floats in the texts' order, borrowed until done returns; NULL unless
 * status is DEJA_OK. */
typedef void dj_embed_done_fn(void *ctx, enum deja_status status, const float *vectors,
                              uint32_t dim, uint32_t embed_us);
/* All texts as one batch of the embedder (those it knows already are not made again). texts are
 * copied; 1 … DJ_EMBED_BATCH_MAX, else DEJA_ERR_INVALID. DEJA_ERR_UNSUPPORTED: no embedder;
 * DEJA_ERR_BUSY; DEJA_ERR_NOMEM. done runs once, later, on loop. */
enum deja_status dj_engine_embed(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], const struct deja_slice *texts,
                                 size_t count, void *ctx, dj_embed_done_fn *done) DEJA_NODISCARD;

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
/* A version above all before it: microseconds since 1970, or one more than the last. What a
 * computation that begins now is as of. Any thread. */
uint64_t dj_engine_next_version(struct dj_engine *engine);
/* What that fill makes would not be kept any more: outrun by a delete, a clear or an invalidation.
 * entry: its tenant, namespace, tags and version are looked at. as_of: see struct dj_put_options.
 * On home, the key's. */
bool dj_engine_is_outrun(struct dj_engine *engine, const struct dj_loop *home,
                         const struct dj_store_key *key, const struct dj_entry *entry,
                         uint64_t as_of);

struct dj_put_options {
    bool is_semantic; /* indexed under entry->scope, by `vector` or that of entry->query */
    const struct dj_query_vector *vector; /* NULL, or the caller's own; copied */
    uint32_t skip;                        /* levels it shall not be put into */
    uint32_t cleared;                     /* those of them where what is older goes */
    bool is_through;                      /* tiers behind the answer are waited for too */
    /* When its computation began; entry->version is that then. It is not kept if something that
     * speaks for it was made void since (cache/voids.h). 0: a word of now, or a copy. */
    uint64_t as_of;
};
struct dj_put_outcome {
    bool is_stored;  /* false: outrun by a delete, an invalidation or a newer version, or no tier
                      * took it */
    bool is_outrun;  /* then: not the latter */
    uint32_t missed; /* levels that were to have it and have not; what is put behind the answer
                      * counts only if it found no room */
};
/* status: the first failure of a tier that is waited for; the others may have it all the same.
 * outcome: borrowed until return. */
typedef void dj_put_done_fn(void *ctx, enum deja_status status,
                            const struct dj_put_outcome *outcome);
/* Stores entry (copied; version, generations from begin_fill). options NULL: none. Errors as
 * dj_engine_lookup; DEJA_ERR_LIMIT: too many indexes. done (may be NULL) runs once, on loop, when
 * every tier that is waited for has it as durably as it promises. */
enum deja_status dj_engine_put(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_entry *entry, const struct dj_put_options *options,
                               void *ctx, dj_put_done_fn *done) DEJA_NODISCARD;

/* A first turn always; later turns of a conversation only once their scope is asked about a second
 * time (a conversation that is never repeated costs no embedding). Any thread. */
bool dj_engine_is_worth_indexing(struct dj_engine *engine,
                                 const struct dj_fingerprint *fingerprint);

/* A lock of the first tier that has locks, for one answer that programs would make at the same
 * time; it ends by itself after lease_ms. token: 16 bytes nobody else knows; who asks again with
 * the token that holds it holds it for lease_ms anew. locked runs once, later, on loop; a status
 * that is not DEJA_OK: nobody can tell. DEJA_ERR_UNSUPPORTED: no tier has locks. */
bool dj_engine_has_lock(const struct dj_engine *engine);
/* How long that tier's word is worth waiting for: its soft timeout; 0: none, or no such tier. */
uint32_t dj_engine_lock_patience_ms(const struct dj_engine *engine);
/* Levels that need not be read to find what the lock's last holder put: those below that tier,
 * when entries of the kind are kept in it. skip: levels left out anyway. */
uint32_t dj_engine_lock_skip(const struct dj_engine *engine, enum dj_entry_kind kind,
                             uint32_t skip);
enum deja_status dj_engine_lock(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, const uint8_t token[16],
                                uint32_t lease_ms, void *ctx,
                                dj_store_locked_fn *locked) DEJA_NODISCARD;
/* Best effort. */
void dj_engine_unlock(struct dj_engine *engine, struct dj_loop *loop,
                      const struct dj_store_key *key, const uint8_t token[16]);

typedef void dj_remove_done_fn(void *ctx, enum deja_status status, uint64_t removed);
/* By key, everywhere; fills of it that are running will not be stored. */
enum deja_status dj_engine_remove(struct dj_engine *engine, struct dj_loop *loop,
                                  const struct dj_store_key *key, void *ctx,
                                  dj_remove_done_fn *done) DEJA_NODISCARD;

/* Why something is made void, for the notice that tells of it (cache/notices.h). Zeroed: what was
 * asked says it all. */
struct dj_cause {
    const char *kind; /* constant; NULL: by what is removed */
    enum dj_notice_source source;
    struct deja_slice name; /* empty: that of what is removed */
    struct deja_slice reason;
    bool is_untold; /* somebody else tells of it */
};
/* dj_engine_remove, and the notice says why. cause is copied, but for its kind. */
enum deja_status dj_engine_remove_because(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_cause *cause, void *ctx,
                                          dj_remove_done_fn *done) DEJA_NODISCARD;
/* Another program has made it void: memory shall not have it any more. key NULL: all of the tenant.
 */
enum deja_status dj_engine_drop(struct dj_engine *engine, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], const struct dj_store_key *key,
                                void *ctx, dj_remove_done_fn *done) DEJA_NODISCARD;
/* Every entry of the tenant: its generation is raised (durably), then tiers are swept. */
enum deja_status dj_engine_clear(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], void *ctx,
                                 dj_remove_done_fn *done) DEJA_NODISCARD;
/* Raises one tag's generation, durably: entries that carry it are invalid at once. */
enum deja_status dj_engine_invalidate_tag(struct dj_engine *engine, struct dj_loop *loop,
                                          const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                          void *ctx, dj_remove_done_fn *done) DEJA_NODISCARD;

/* Who made an answer. Empty: whoever. Plain keys and what a program put have no maker. */
struct dj_maker {
    struct deja_slice provider;
    struct deja_slice model;
};

/* All members that are set must hold; none set: every entry of the tenant, put through the cache
 * API and proxied alike. */
struct dj_selector {
    bool has_name_space;
    struct deja_slice name_space;   /* empty: the default one */
    struct deja_slice tag;          /* empty: any */
    struct deja_slice user_tag;     /* another one, of a user (security/user.h); empty: any */
    int64_t created_before_ms;      /* 0: any */
    const struct dj_filter *filter; /* NULL: any */
    struct deja_slice pattern; /* a glob (policy/glob.h) that the name of a plain key fits, or a
                                * tag of the entry; data NULL: any */
    /* Of an event: entries that carry one of these tags, or have that maker. */
    const struct deja_slice *any_tags;
    size_t any_tag_count; /* at most DJ_SELECTOR_TAGS_MAX */
    const struct dj_maker *maker;
    /* NULL: any. On the loop of the call; quick. */
    bool (*matches)(void *ctx, const struct dj_entry *entry);
    void (*counted)(void *ctx, const struct dj_entry *entry); /* NULL, or told of each */
    void *ctx;                                                /* of both */
    const struct dj_cause *cause; /* NULL: what is selected says it all */
};
#define DJ_SELECTOR_TAGS_MAX 256u
/* count: live entries, each once however many tiers have it. */
typedef void dj_selected_fn(void *ctx, enum deja_status status, uint64_t count);
/* selector and what it points to are borrowed until done ran (once, later, on loop). A tier that
 * cannot be read ends it with that tier's error. */
enum deja_status dj_engine_count(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES],
                                 const struct dj_selector *selector, void *ctx,
                                 dj_selected_fn *done) DEJA_NODISCARD;
/* Removes them for good: gone from every tier as durably as it promises, and no fill that began
 * before brings one back. Only a tag, only a namespace, only an event's tags, or nothing set: the
 * generations are raised first, so that all are void at once. What is put while it runs stays. */
enum deja_status dj_engine_remove_selected(struct dj_engine *engine, struct dj_loop *loop,
                                           const uint8_t tenant[DJ_ID_BYTES],
                                           const struct dj_selector *selector, void *ctx,
                                           dj_selected_fn *done) DEJA_NODISCARD;

/* value: a reference the callee owns; NULL: not there or not valid. level: where it was, or NULL.
 */
typedef void dj_engine_got_fn(void *ctx, struct dj_value *value, const char *level);
/* By id through all tiers but the levels to skip (GET /api/v1/entries/{id}). */
enum deja_status dj_engine_get(struct dj_engine *engine, struct dj_loop *loop,
                               const struct dj_store_key *key, uint32_t skip, void *ctx,
                               dj_engine_got_fn *got) DEJA_NODISCARD;

/* Levels below memory that entries of that kind are put into. */
uint32_t dj_engine_levels(const struct dj_engine *engine, enum dj_entry_kind kind);
/* Of the tier of that place; DJ_LEVEL_COUNT: there are not so many. */
enum dj_level dj_engine_level(const struct dj_engine *engine, uint32_t index);
/* A read through the tier of that place in dj_engine_stats().tiers, for health. value is always
 * NULL. DEJA_ERR_NOT_FOUND: there are not so many. */
enum deja_status dj_engine_probe(struct dj_engine *engine, struct dj_loop *loop, uint32_t index,
                                 void *ctx, dj_store_got_fn *got) DEJA_NODISCARD;

/* ---- access statistics, feedback ---- */

struct dj_access_stats {
    uint64_t hits;
    int64_t last_access_ms; /* 0: never */
};
/* An answer made from that entry was served. level: where it was; constant. On loop; never waits.
 */
void dj_engine_note_hit(struct dj_engine *engine, struct dj_loop *loop,
                        const struct dj_entry *entry, const char *level);
/* Nothing was found that could be served. id: of what was asked for; NULL: not known. entry_kind:
 * of it; constant. Likewise. */
void dj_engine_note_miss(struct dj_engine *engine, struct dj_loop *loop,
                         const uint8_t tenant[DJ_ID_BYTES], const uint8_t *id,
                         enum dj_entry_kind entry_kind);
/* What was noted up to about 100 ms ago; zeros for an entry nobody was served. Any thread. */
void dj_engine_access(struct dj_engine *engine, const struct dj_store_key *key,
                      struct dj_access_stats *out_stats);

struct dj_top_entry {
    uint8_t id[DJ_ID_BYTES];
    uint64_t hits;
    int64_t last_access_ms;
};
/* entries: most hits first; borrowed until done returns. An entry may be gone by now. */
typedef void dj_top_done_fn(void *ctx, enum deja_status status, const struct dj_top_entry *entries,
                            uint32_t count);
/* k 1 … DJ_TOP_MAX, else DEJA_ERR_INVALID. */
enum deja_status dj_engine_top(struct dj_engine *engine, struct dj_loop *loop,
                               const uint8_t tenant[DJ_ID_BYTES], uint32_t k, void *ctx,
                               dj_top_done_fn *done) DEJA_NODISCARD;

/* A verdict about an entry, counted for its tenant; is_wrong withdraws the entry at once, as
 * dj_engine_remove does. removed: 1 when it was there. */
enum deja_status dj_engine_feedback(struct dj_engine *engine, struct dj_loop *loop,
                                    const struct dj_store_key *key, bool is_wrong, void *ctx,
                                    dj_remove_done_fn *done) DEJA_NODISCARD;

/* Nothing of that tenant is served any more; its entries go as they expire. Blocking: worker. With
 * a shared authority it counts here at once and there with the next pull. */
enum deja_status dj_engine_forget(struct dj_engine *engine,
                                  const uint8_t tenant[DJ_ID_BYTES]) DEJA_NODISCARD;

/* expires of an entry made now: ttl capped, jittered. ttl_ms 0: fallback_ms. */
int64_t dj_engine_expiry(const struct dj_engine *engine, struct dj_loop *loop, uint64_t ttl_ms,
                         uint64_t fallback_ms);

/* Takes over what other programs made void, and raises what could not be raised before. On loop 0,
 * once a second, the first time when the loops begin to run; does nothing where no tier is shared.
 */
void dj_engine_pull(struct dj_engine *engine);

/* Drops expired entries of that loop's part of memory; loop-bound, about once a minute. */
void dj_engine_sweep(struct dj_engine *engine, struct dj_loop *loop);

/* The loop is about to end: what tiers have open on it is closed. On that loop, once. */
void dj_engine_leave_loop(struct dj_engine *engine, struct dj_loop *loop);

/* The process ends: an optimisation stops after the step it is at, a cascade with
 * DEJA_ERR_CANCELLED. Any thread. */
void dj_engine_stop(struct dj_engine *engine);
/* Lookups, writes and promotions that have begun and not ended. Before loops may be stopped this
 * must have come to 0: what is under way holds the engine. Any thread. */
uint32_t dj_engine_pending(const struct dj_engine *engine);

/* ---- inspect ---- */

struct dj_tier_stats {
    const char *level;
    enum dj_level place;
    bool is_read_only;
    uint32_t behind;  /* puts under way that nobody waits for */
    uint64_t dropped; /* of those: not kept */
    uint64_t late;    /* reads that took longer than the soft timeout */
    struct dj_store_stats store;
};

/* Of the generations that all programs of a shared tier keep together. */
struct dj_authority_stats {
    const char *level; /* NULL: this program keeps its own */
    bool is_failing;   /* the last pull brought nothing */
    int64_t age_ms;    /* of the last one that did; -1: there was none */
    uint64_t held;     /* counters raised here that the authority has not confirmed */
    uint64_t losses;   /* times it had lost what it counted */
};

struct dj_engine_stats {
    struct dj_store_stats memory;
    struct dj_tier_stats tiers[DJ_TIERS_MAX]; /* below it, top down */
    uint32_t tier_count;
    struct dj_authority_stats authority;
    struct dj_store_stats lmdb; /* that of the embedded tier once more */
    bool has_lmdb;
    bool is_index_ready;
    uint64_t vectors;
    uint64_t vector_bytes;
    uint64_t hits;     /* served, as dj_engine_note_hit counted */
    uint64_t verdicts; /* feedback, and how much of it was `wrong` */
    uint64_t verdicts_wrong;
};
/* tenant NULL: all. Any thread. */
void dj_engine_stats(struct dj_engine *engine, const uint8_t *tenant,
                     struct dj_engine_stats *out_stats);
const struct dj_embedder *dj_engine_embedder(const struct dj_engine *engine); /* NULL: none */
double dj_engine_threshold(const struct dj_engine *engine, bool is_api);
uint32_t dj_engine_home(const struct dj_engine *engine, const struct dj_store_key *key);
struct dj_loop *dj_engine_loop(const struct dj_engine *engine, uint32_t index);

#endif
