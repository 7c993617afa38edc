/* cache/engine_internal.h - what the files of this room share of an engine. */
#ifndef DJ_CACHE_ENGINE_INTERNAL_H
#define DJ_CACHE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "cache/access.h"
#include "cache/engine.h"
#include "cache/generations.h"
#include "cache/semantic.h"
#include "cache/tombstones.h"
#include "cache/upkeep.h"
#include "cache/voids.h"

/* A tier and what became of its calls. */
struct dj_tier_slot {
    struct dj_tier tier;
    uint32_t bit;             /* of its level */
    _Atomic bool is_doubtful; /* a removal did not reach it */
    _Atomic uint32_t behind;  /* puts under way that nobody waits for */
    _Atomic uint64_t dropped; /* of those that nobody waits for: not kept */
    _Atomic uint64_t late;    /* reads that took longer than its soft timeout */
};

/* raise.c: the tier that keeps generations for all programs that share it. Loop 0's, but for what
 * says otherwise. */
struct dj_authority {
    struct dj_engine *engine;
    struct dj_tier_slot *slot;
    pthread_mutex_t lock;   /* of `waiting` */
    struct dj_list waiting; /* raises for the next rounds; any thread */
    struct dj_list round;   /* raises of this one */
    uint32_t round_count;
    uint32_t raises_left; /* under way, and one for the start */
    bool is_running;
    bool is_pull_lost; /* no memory for what came */
    uint64_t sequence;
    bool is_anew; /* no pull was taken over (since a loss): the next one tells all there is */
    struct dj_store_generation *pulled; /* of this round; owned, their tags too */
    size_t pulled_count;
    size_t pulled_cap;
    struct dj_task kick;
    _Atomic bool is_kicked;
    _Atomic bool is_failing;   /* the last pull brought nothing */
    _Atomic int64_t pulled_ms; /* when the last one was taken over; 0: never */
    _Atomic uint64_t losses;   /* times the authority had lost what it counted */
};

struct dj_engine {
    struct dj_engine_options options;
    struct dj_tier_slot tiers[DJ_TIERS_MAX]; /* below memory, top down */
    uint32_t tier_count;
    struct dj_generations *generations;
    struct dj_authority *authority;    /* NULL: this machine's meta environment, or memory */
    struct dj_tombstones **tombstones; /* one per loop, loop-bound */
    struct dj_voids *voids;
    struct dj_semantic *semantic;
    struct dj_access *access;
    struct dj_upkeep *upkeep;
    struct dj_job keep_job; /* loop 0's, as is the next */
    bool is_keeping;
    _Atomic uint64_t version; /* last one given */
    _Atomic bool is_index_ready;
    _Atomic bool is_stopping;
    _Atomic uint32_t pending; /* operations under way */
};

/* DEJA_OK is nothing. */
static inline void dj_engine_contained(const struct dj_engine *engine, const char *operation,
                                       enum deja_status status)
{
    if (status != DEJA_OK && engine->options.contained)
        engine->options.contained(engine->options.contained_ctx, operation, status);
}

/* Tenant, generations, expiry: may this entry be served at now_ms? (I1, I10) */
bool dj_engine_is_valid(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_entry *entry, int64_t now_ms, uint64_t max_age_ms);
/* Likewise, after its end too; DJ_FRESH_OVER: no. */
enum dj_freshness dj_engine_judge(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                                  const struct dj_entry *entry, int64_t now_ms,
                                  const struct dj_fresh_rules *rules);
/* The part of it that is neither time nor tenant: no generation it notes was raised since. */
bool dj_engine_is_current(struct dj_engine *engine, const struct dj_entry *entry);

/* What a call has just raised: the counters of tags, or that of the tenant or of a namespace. */
struct dj_raise {
    const struct dj_entry_tag *tags; /* as they were until then */
    size_t tag_count;
    bool is_entry;   /* tenant or namespace */
    bool is_tenant;  /* not the namespace */
    uint64_t before; /* that counter until then */
};
/* Was current, but for that. */
bool dj_engine_was_current(struct dj_engine *engine, const struct dj_entry *entry,
                           const struct dj_raise *raise);
/* ---- selector.c ---- */

/* Where one tag is all that is asked for. */
struct deja_slice dj_selector_tag(const struct dj_selector *selector);
bool dj_selector_is_match(const struct dj_selector *selector, const struct dj_entry *entry);
/* Tells of what was made void: kind and name out of the selector or its cause. */
void dj_engine_tell(struct dj_engine *engine, struct dj_loop *loop,
                    const uint8_t tenant[DJ_ID_BYTES], const struct dj_selector *selector,
                    uint64_t removed);

/* Of one plain key. */
void dj_engine_tell_key(struct dj_engine *engine, struct dj_loop *loop,
                        const struct dj_store_key *key, struct deja_slice name,
                        struct deja_slice name_space, bool is_user, struct deja_slice reason);

#define DJ_NAMESPACE_TAG_BYTES 256u
/* The tag of a namespace's counter. */
struct deja_slice dj_engine_namespace_tag(struct deja_slice name_space,
                                          char bytes[DJ_NAMESPACE_TAG_BYTES]);

/* ---- raise.c ---- */

enum deja_status dj_authority_create(struct dj_engine *engine) DEJA_NODISCARD; /* if there is one */
void dj_authority_destroy(struct dj_authority *authority);                     /* accepts NULL */
/* before: the counter until the raise. status: kept where it was to be kept? If not it counts here
 * all the same (where an authority is shared), and is tried again. */
typedef void dj_raised_fn(void *ctx, enum deja_status status, uint64_t before);
/* tag as in cache/generations.h. done runs once, later, on loop. */
enum deja_status dj_engine_raise(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                 void *ctx, dj_raised_fn *done) DEJA_NODISCARD;
/* Is what others made void known well enough to believe that tier? */
bool dj_engine_may_read(const struct dj_engine *engine, const struct dj_tier_slot *slot,
                        int64_t now_ms);

/* Copies vector, or makes room for the embedder's (NULL: DEJA_OK and *out_floats NULL when there is
 * none); label is where the name's label may lie. Errors as dj_engine_lookup. */
enum deja_status dj_engine_take_vector(struct dj_engine *engine,
                                       const struct dj_query_vector *vector,
                                       char label[DJ_INDEX_LABEL_BYTES],
                                       struct dj_index_name *out_name,
                                       float **out_floats) DEJA_NODISCARD;

struct dj_removal_options {
    uint64_t version_max; /* newer ones stay; UINT64_MAX: all there are when home is reached */
    bool is_tombstone;    /* fills that began before are refused */
    bool is_vector;
    uint32_t skip;          /* levels it stays in */
    bool is_noted;          /* as a happening */
    const char *entry_kind; /* in that; NULL: not known */
};
enum deja_status dj_engine_remove_version(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_removal_options *options, void *ctx,
                                          dj_remove_done_fn *done) DEJA_NODISCARD;

/* dj_engine_put and dj_engine_remove (of what has no vector) for who is on the key's home loop:
 * memory has it, or has it no more, when they return, and the tiers were asked. value: takes its
 * own reference; its version and generations are those of a fill. */
enum deja_status dj_engine_put_here(struct dj_engine *engine, struct dj_loop *home,
                                    struct dj_value *value, const struct dj_put_options *options,
                                    void *ctx, dj_put_done_fn *done) DEJA_NODISCARD;
enum deja_status dj_engine_remove_here(struct dj_engine *engine, struct dj_loop *home,
                                       const struct dj_store_key *key, void *ctx,
                                       dj_remove_done_fn *done) DEJA_NODISCARD;

/* Around every operation that leaves the calling function. */
static inline void dj_engine_enter(struct dj_engine *engine)
{
    atomic_fetch_add(&engine->pending, 1);
}

static inline void dj_engine_leave(struct dj_engine *engine)
{
    atomic_fetch_sub(&engine->pending, 1);
}
static inline struct dj_store_key dj_engine_key_of(const struct dj_entry *entry)
{
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    return key;
}

/* ---- tiers.c ---- */

/* At creation; at most DJ_TIERS_MAX. */
void dj_engine_add_tier(struct dj_engine *engine, const struct dj_tier *tier);
/* May entries of its kind go there, in a call that skips those levels? */
bool dj_tier_is_written(const struct dj_tier_slot *slot, const struct dj_entry *entry,
                        uint32_t skip);
/* The same, and do programs share it? */
bool dj_tier_is_shared(const struct dj_tier_slot *slot, const struct dj_entry *entry,
                       uint32_t skip);
struct dj_tier_vector {
    const float *floats;
    uint32_t dim;
};
/* Nobody waits for it; false: it found no room. vector: NULL: none. is_fill: if the tier has what
 * is newer, memory shall not have it either. On the key's home loop. */
bool dj_tier_put_behind(struct dj_engine *engine, struct dj_loop *loop, struct dj_tier_slot *slot,
                        struct dj_value *value, const struct dj_tier_vector *vector, bool is_fill);

/* The first tier that finds by meaning, and may be read now; NULL: none. */
struct dj_tier_slot *dj_engine_searcher(struct dj_engine *engine, uint32_t skip, int64_t now_ms);

struct dj_walk_options {
    struct dj_store_key key;
    uint32_t skip;
    bool is_no_promotion;
    bool is_patient; /* no soft timeouts: each tier has its own deadline's time */
};
/* Of this tenant and current: can the caller use it, at this time? Not called any more once he was
 * told. NULL: if it has not expired. */
typedef bool dj_walk_usable_fn(void *ctx, struct dj_value *value, const char *level);
/* The tiers below memory, top down (I4: none of their failures is told). got runs once, later, on
 * loop. DEJA_ERR_NOT_FOUND: there is none to be asked; DEJA_ERR_NOMEM. */
enum deja_status dj_engine_walk(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_walk_options *options, void *ctx,
                                dj_walk_usable_fn *is_usable, dj_engine_got_fn *got) DEJA_NODISCARD;
/* Puts a value into memory and the first `below` tiers, but for the levels to skip, on its home
 * loop, unless it was deleted since. Takes its own reference. Any loop; best effort. */
void dj_engine_promote(struct dj_engine *engine, struct dj_value *value, uint32_t below,
                       uint32_t skip);

/* From loop 0: access statistics that changed go to the tiers that keep them. */
void dj_engine_keep_access(struct dj_engine *engine, struct dj_loop *loop);

#endif
