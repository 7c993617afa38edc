/* cache/engine_internal.h - what the files of this room share of an engine. */
#ifndef DJ_CACHE_ENGINE_INTERNAL_H
#define DJ_CACHE_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "cache/engine.h"
#include "cache/generations.h"
#include "cache/semantic.h"
#include "cache/tombstones.h"

struct dj_engine {
    struct dj_engine_options options;
    struct dj_generations *generations;
    struct dj_tombstones **tombstones; /* one per loop, loop-bound */
    struct dj_semantic *semantic;      /* NULL: no embedder */
    _Atomic uint64_t version;          /* last one given */
    _Atomic bool is_index_ready;
    _Atomic uint32_t pending; /* operations under way */
};

/* Tenant, generations, expiry: may this entry be served at now_ms? (I1, I10) */
bool dj_engine_is_valid(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_entry *entry, int64_t now_ms, uint64_t max_age_ms);
/* The part of it that is neither time nor tenant: no generation it notes was raised since. */
bool dj_engine_is_current(struct dj_engine *engine, const struct dj_entry *entry);

/* Around every operation that leaves the calling function. */
static inline void dj_engine_enter(struct dj_engine *engine)
{
    atomic_fetch_add(&engine->pending, 1);
}

static inline void dj_engine_leave(struct dj_engine *engine)
{
    atomic_fetch_sub(&engine->pending, 1);
}
/* A version above all before it. */
uint64_t dj_engine_next_version(struct dj_engine *engine);
/* Puts a value read from a lower tier into memory, on its home loop, unless it was deleted since.
 * Takes its own reference. Any loop; best effort. */
void dj_engine_promote(struct dj_engine *engine, struct dj_value *value);

#endif
