/* cache/engine_internal.h - what the files of this room share of an engine. */
#ifndef DJ_CACHE_ENGINE_INTERNAL_H
#define DJ_CACHE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "cache/access.h"
#include "cache/engine.h"
#include "cache/generations.h"
#include "cache/semantic.h"
#include "cache/tombstones.h"

struct dj_engine {
    struct dj_engine_options options;
    struct dj_generations *generations;
    struct dj_tombstones **tombstones; /* one per loop, loop-bound */
    struct dj_semantic *semantic;
    struct dj_access *access;
    struct dj_job keep_job; /* loop 0's, as is the next */
    bool is_keeping;
    _Atomic uint64_t version; /* last one given */
    _Atomic bool is_index_ready;
    _Atomic uint32_t pending; /* operations under way */
};

/* Tenant, generations, expiry: may this entry be served at now_ms? (I1, I10) */
bool dj_engine_is_valid(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_entry *entry, int64_t now_ms, uint64_t max_age_ms);
/* Likewise, after its end too; DJ_FRESH_OVER: no. */
enum dj_freshness dj_engine_judge(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                                  const struct dj_entry *entry, int64_t now_ms,
                                  const struct dj_fresh_rules *rules);
/* The part of it that is neither time nor tenant: no generation it notes was raised since. */
bool dj_engine_is_current(struct dj_engine *engine, const struct dj_entry *entry);

/* What a call has just raised: the counter of a tag, or that of the tenant or of a namespace. */
struct dj_raise {
    bool is_tag;
    bool is_entry;  /* tenant or namespace */
    bool is_tenant; /* not the namespace */
    struct deja_slice tag;
    uint64_t generation; /* after the raise */
};
/* Was current, but for that raise. */
bool dj_engine_was_current(struct dj_engine *engine, const struct dj_entry *entry,
                           const struct dj_raise *raise);
/* Blocking: worker. */
enum deja_status dj_engine_raise_namespace(struct dj_engine *engine,
                                           const uint8_t tenant[DJ_ID_BYTES],
                                           struct deja_slice name_space,
                                           uint64_t *out_generation) DEJA_NODISCARD;
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
};
enum deja_status dj_engine_remove_version(struct dj_engine *engine, struct dj_loop *loop,
                                          const struct dj_store_key *key,
                                          const struct dj_removal_options *options, void *ctx,
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
/* Once a minute, from loop 0: access statistics go to the embedded tier. */
void dj_engine_keep_access(struct dj_engine *engine, struct dj_loop *loop);
/* A version above all before it. */
uint64_t dj_engine_next_version(struct dj_engine *engine);
/* Puts a value read from a lower tier into memory, on its home loop, unless it was deleted since.
 * Takes its own reference. Any loop; best effort. */
void dj_engine_promote(struct dj_engine *engine, struct dj_value *value);

#endif
