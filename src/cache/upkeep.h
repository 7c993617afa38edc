/* cache/upkeep.h - what keeps an engine in shape: sweeping, trimming, eviction on demand, indexes.
 *
 * Threads: calls name the loop they are made on, and callbacks come back there, unless said
 * otherwise. Bounds: one optimisation at a time; DJ_IDLE_MAX entries of a list.
 */
#ifndef DJ_CACHE_UPKEEP_H
#define DJ_CACHE_UPKEEP_H

#include <deja/base.h>

#include "cache/engine.h"

#define DJ_IDLE_MAX 100u

/* ---- eviction ---- */

/* What a tier gave. */
struct dj_eviction {
    const char *level;
    enum deja_status status;
    uint64_t bytes;   /* that were asked for */
    uint64_t removed; /* entries */
};
/* evictions: borrowed until return; one of each tier that evicts. status: their first failure. */
typedef void dj_evicted_fn(void *ctx, enum deja_status status, const struct dj_eviction *evictions,
                           uint32_t count);
/* Entries go until each tier has given `bytes` of its own; 0: a tenth of what it has. tenant NULL:
 * of all tenants. Tiers that know no eviction and those that are only read are not asked. */
enum deja_status dj_engine_evict(struct dj_engine *engine, struct dj_loop *loop,
                                 const uint8_t *tenant, uint64_t bytes, void *ctx,
                                 dj_evicted_fn *done) DEJA_NODISCARD;

/* ---- who would go ---- */

enum dj_idle_order {
    DJ_IDLE_LAST,  /* longest not served first; what never was: by its making */
    DJ_IDLE_SCORE, /* lowest access score first (policy/evict.h) */
};
struct dj_idle_entry {
    struct dj_value *value; /* borrowed: ref it to keep it */
    const char *level;      /* the uppermost that has it */
    struct dj_access_stats access;
    double score;
};
/* entries: borrowed until return. */
typedef void dj_idle_fn(void *ctx, enum deja_status status, const struct dj_idle_entry *entries,
                        uint32_t count);
/* k 1 … DJ_IDLE_MAX, else DEJA_ERR_INVALID. Goes through all entries of the tenant, piece by piece;
 * tiers that list nothing are left out. */
enum deja_status dj_engine_idle(struct dj_engine *engine, struct dj_loop *loop,
                                const uint8_t tenant[DJ_ID_BYTES], enum dj_idle_order order,
                                uint32_t k, void *ctx, dj_idle_fn *done) DEJA_NODISCARD;
double dj_engine_score(const struct dj_access_stats *access, int64_t created_ms, int64_t now_ms);

/* ---- indexes ---- */

struct dj_index_stats {
    uint64_t indexes;
    uint64_t vectors;
    uint64_t free_slots; /* there is memory for so many more */
    uint64_t bytes;
    uint64_t evictions; /* vectors that gave way to others */
};
/* tenant NULL: all. Any thread. DEJA_ERR_NOMEM. */
enum deja_status dj_engine_index_stats(struct dj_engine *engine, const uint8_t *tenant,
                                       struct dj_index_stats *out_stats) DEJA_NODISCARD;

/* The optimisation that runs, or the last one; zeros: there was none. */
struct dj_optimise_progress {
    bool is_running;
    bool has_tenant; /* of one only */
    uint8_t tenant[DJ_ID_BYTES];
    enum deja_status status; /* the first failure; goes on with the next index */
    uint64_t done;           /* indexes, and steps of a tier that keeps its own */
    uint64_t total;
    char what[64];    /* that runs now, of a tier's; "" */
    uint64_t expired; /* vectors that went */
    uint64_t bytes;   /* freed */
    int64_t started_ms;
    int64_t ended_ms; /* 0: runs */
};
void dj_engine_optimise_progress(struct dj_engine *engine,
                                 struct dj_optimise_progress *out_progress); /* any thread */
/* Starts making the indexes anew (vector/flat.h) on a worker, one after the other; nobody is told
 * but by the progress. tenant NULL: of all, and then those that a tier keeps. DEJA_ERR_BUSY: one
 * runs. */
enum deja_status dj_engine_optimise(struct dj_engine *engine, struct dj_loop *loop,
                                    const uint8_t *tenant) DEJA_NODISCARD;

/* ---- access statistics ---- */

#define DJ_KEEP_MS 10000 /* at least so often the tiers are handed what changed */

/* From a timer of loop 0, each flush interval: workers take the notes that wait, and hand them on
 * to the tiers when that is due. */
void dj_engine_flush(struct dj_engine *engine, struct dj_loop *loop);

/* ---- for the engine itself ---- */

struct dj_upkeep;
enum deja_status dj_upkeep_create(struct dj_engine *engine,
                                  struct dj_upkeep **out_upkeep) DEJA_NODISCARD;
void dj_upkeep_destroy(struct dj_upkeep *upkeep); /* accepts NULL */
/* A round on that loop: every expired entry of its part of memory goes, and, once per check
 * interval, what is above the low-water mark; in pieces, other work in between. */
void dj_upkeep_tend(struct dj_upkeep *upkeep, struct dj_loop *loop);

#endif
