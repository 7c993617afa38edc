/* cache/engine.c - see engine.h: composition, validity, the hit path, statistics. */
#include "cache/engine_internal.h"

#include <math.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/slice.h"
#include "policy/reuse.h"
#include "policy/ttl.h"
#include "store/lmdb.h"
#include "store/memory.h"

#define GENERATIONS_MAX 1000000u
#define GENERATIONS_TABLE "generations"
#define VECTORS_MAX_DEFAULT 100000u
#define CANDIDATES_DEFAULT 4u
#define API_THRESHOLD_DEFAULT 0.95
#define VECTOR_NORM_MIN 1e-30
#define TTL_MAX_DEFAULT_MS (30ull * 24 * 3600 * 1000)

const char *dj_hit_kind_text(enum dj_hit_kind kind)
{
    static const char *const texts[] = {"none", "exact", "normalized", "semantic"};
    return texts[kind];
}

static enum deja_status keep_generation(void *ctx, struct deja_slice key, uint64_t value)
{
    struct dj_engine *engine = ctx;
    return dj_lmdb_meta_put(engine->options.meta, GENERATIONS_TABLE, key,
                            deja_slice(&value, sizeof value));
}

/* Is this machine's meta environment the authority? */
static bool is_meta_kept(const struct dj_engine *engine)
{
    return engine->options.meta && !engine->authority;
}

static void set_defaults(struct dj_engine_options *options)
{
    if (!options->vectors_max)
        options->vectors_max = VECTORS_MAX_DEFAULT;
    if (!options->candidates)
        options->candidates = CANDIDATES_DEFAULT;
    if (!options->ttl_max_ms)
        options->ttl_max_ms = TTL_MAX_DEFAULT_MS;
    if (!(options->api_threshold > 0))
        options->api_threshold = API_THRESHOLD_DEFAULT;
    if (!(options->threshold > 0) && options->embedder)
        options->threshold = dj_reuse_shipped_threshold(options->embedder->kind);
}

enum deja_status dj_engine_create(const struct dj_engine_options *options,
                                  struct dj_engine **out_engine)
{
    struct dj_engine *engine = dj_alloc_zeroed(1, sizeof *engine);
    if (!engine)
        return DEJA_ERR_NOMEM;
    engine->options = *options;
    set_defaults(&engine->options);
    if (options->lmdb)
        dj_engine_add_tier(engine, &(struct dj_tier){.store = options->lmdb});
    for (uint32_t i = 0; i < options->tier_count; i++)
        dj_engine_add_tier(engine, &options->tiers[i]);
    enum deja_status status = dj_authority_create(engine);
    if (status == DEJA_OK)
        status = dj_generations_create(GENERATIONS_MAX, engine,
                                       is_meta_kept(engine) ? keep_generation : NULL,
                                       &engine->generations);
    engine->tombstones = dj_alloc_zeroed(options->loop_count, sizeof(struct dj_tombstones *));
    if (!engine->tombstones)
        status = DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < options->loop_count && status == DEJA_OK; i++)
        status = dj_tombstones_create(&engine->tombstones[i]);
    if (status == DEJA_OK)
        status = dj_semantic_create(options->pool, options->embedder, engine->options.vectors_max,
                                    &engine->semantic);
    struct dj_access_options access = {.loop_count = options->loop_count,
                                       .pool = options->pool,
                                       .size = options->tracker_size,
                                       .batch = options->tracker_batch,
                                       .contained = options->contained,
                                       .contained_ctx = options->contained_ctx};
    if (options->lmdb)
        access.stores[access.store_count++] = options->lmdb;
    for (uint32_t i = 0; i < options->tier_count; i++)
        if (!options->tiers[i].is_read_only)
            access.stores[access.store_count++] = options->tiers[i].store;
    if (status == DEJA_OK)
        status = dj_access_create(&access, &engine->access);
    if (status == DEJA_OK)
        status = dj_upkeep_create(engine, &engine->upkeep);
    if (status != DEJA_OK) {
        /* On failure stores and embedder stay the caller's. */
        engine->options.memory = NULL;
        engine->tier_count = 0;
        engine->options.embedder = NULL;
        dj_engine_destroy(engine);
        return status;
    }
    atomic_store(&engine->is_index_ready, !options->lmdb);
    *out_engine = engine;
    return DEJA_OK;
}

void dj_engine_destroy(struct dj_engine *engine)
{
    if (!engine)
        return;
    if (engine->access && dj_engine_is_index_ready(engine))
        dj_access_keep(engine->access);
    if (engine->options.memory)
        engine->options.memory->ops->close(engine->options.memory);
    for (uint32_t i = 0; i < engine->tier_count; i++)
        engine->tiers[i].tier.store->ops->close(engine->tiers[i].tier.store);
    dj_access_destroy(engine->access);
    dj_upkeep_destroy(engine->upkeep);
    dj_semantic_destroy(engine->semantic);
    dj_embedder_destroy(engine->options.embedder);
    for (uint32_t i = 0; engine->tombstones && i < engine->options.loop_count; i++)
        dj_tombstones_destroy(engine->tombstones[i]);
    dj_free(engine->tombstones);
    dj_generations_destroy(engine->generations);
    dj_authority_destroy(engine->authority);
    dj_free(engine);
}

/* ---- start ---- */

static bool on_generation(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct dj_engine *engine = ctx;
    uint64_t generation = 0;
    if (value.len != sizeof generation)
        return true;
    memcpy(&generation, value.data, sizeof generation);
    return dj_generations_load(engine->generations, key, generation) == DEJA_OK;
}

enum deja_status dj_engine_load_generations(struct dj_engine *engine)
{
    if (!is_meta_kept(engine))
        return DEJA_OK;
    enum deja_status status =
        dj_lmdb_meta_walk(engine->options.meta, GENERATIONS_TABLE, engine, on_generation);
    return status == DEJA_ERR_NOT_FOUND ? DEJA_OK : status;
}

static bool on_vector(void *ctx, const struct dj_store_vector *vector)
{
    struct dj_engine *engine = ctx;
    const struct dj_embedder *embedder = engine->options.embedder;
    struct deja_slice embedder_id = vector->embedder_id;
    struct dj_index_name name = {.label = deja_slice("", 0), .dim = vector->dim};
    bool is_callers = embedder_id.len && embedder_id.data[0] == DJ_INDEX_LABEL_MARK;
    if (!vector->floats) /* sealed, and nobody above the store opened it */
        return true;
    if (is_callers)
        name.label = embedder_id;
    /* A vector of another embedder is not comparable (A4): it is made anew when its entry is put
     * again, and never mixed in. */
    else if (!embedder || vector->dim != embedder->dim || !dj_slice_is(embedder_id, embedder->id))
        return true;
    /* Version 0: what was put since the start is newer. */
    return dj_indexes_put(dj_semantic_indexes(engine->semantic), vector->key.tenant, &name,
                          vector->scope, vector->key.id, vector->floats, vector->expires_ms,
                          0) != DEJA_ERR_NOMEM;
}

void dj_engine_load_vectors(struct dj_engine *engine)
{
    struct dj_store *lmdb = engine->options.lmdb;
    dj_access_load(engine->access);
    /* What could not be read is still found exactly, and indexed again at its next put (I4). */
    if (lmdb && lmdb->ops->scan_vectors)
        dj_engine_contained(engine, "load_vectors",
                            lmdb->ops->scan_vectors(lmdb, engine, on_vector));
    atomic_store(&engine->is_index_ready, true);
}

bool dj_engine_is_index_ready(const struct dj_engine *engine)
{
    return atomic_load(&engine->is_index_ready);
}

/* ---- validity ---- */

bool dj_engine_is_valid(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                        const struct dj_entry *entry, int64_t now_ms, uint64_t max_age_ms)
{
    if (memcmp(entry->tenant, tenant, DJ_ID_BYTES) != 0)
        return false;
    if (entry->expires_ms && now_ms >= entry->expires_ms)
        return false;
    if (max_age_ms && now_ms - entry->created_ms > (int64_t)max_age_ms)
        return false;
    return dj_engine_is_current(engine, entry);
}

/* Tags have no control characters, so a namespace's counter cannot be a tag's. A longer name shares
 * its counter with those that begin like it: more is void, never less. */
struct deja_slice dj_engine_namespace_tag(struct deja_slice name_space,
                                          char bytes[DJ_NAMESPACE_TAG_BYTES])
{
    size_t len =
        name_space.len < DJ_NAMESPACE_TAG_BYTES - 1 ? name_space.len : DJ_NAMESPACE_TAG_BYTES - 1;
    bytes[0] = '\0';
    if (len)
        memcpy(bytes + 1, name_space.data, len);
    return deja_slice(bytes, len + 1);
}

/* What an entry notes of both its tenant and its namespace: the sum. Both counters only grow, so it
 * is what it was exactly while neither was raised; and records from before there were counters of
 * namespaces noted the same number. */
static uint64_t entry_generation(struct dj_engine *engine, const uint8_t tenant[DJ_ID_BYTES],
                                 struct deja_slice name_space)
{
    char bytes[DJ_NAMESPACE_TAG_BYTES];
    if (dj_generations_are_all_zero(engine->generations))
        return 0;
    return dj_generations_sum(engine->generations, tenant,
                              dj_engine_namespace_tag(name_space, bytes));
}

bool dj_engine_was_current(struct dj_engine *engine, const struct dj_entry *entry,
                           const struct dj_raise *raise)
{
    const uint8_t *tenant = entry->tenant;
    /* Generations only grow: what this program noted was 0 too. Others may have noted more. */
    if (!engine->authority && dj_generations_are_all_zero(engine->generations))
        return true;
    uint64_t noted = 0;
    if (raise->is_entry) {
        char bytes[DJ_NAMESPACE_TAG_BYTES];
        struct deja_slice own = deja_slice(NULL, 0);
        struct deja_slice tag = dj_engine_namespace_tag(entry->name_space, bytes);
        noted = raise->before +
                dj_generations_get(engine->generations, tenant, raise->is_tenant ? tag : own);
    } else {
        noted = entry_generation(engine, tenant, entry->name_space);
    }
    if (noted != entry->tenant_generation)
        return false;
    for (size_t i = 0; i < entry->tag_count; i++) {
        uint64_t generation = dj_generations_get(engine->generations, tenant, entry->tags[i].name);
        for (size_t j = 0; j < raise->tag_count; j++)
            if (deja_slice_is_equal(entry->tags[i].name, raise->tags[j].name))
                generation = raise->tags[j].generation;
        if (generation != entry->tags[i].generation)
            return false;
    }
    return true;
}

bool dj_engine_is_current(struct dj_engine *engine, const struct dj_entry *entry)
{
    static const struct dj_raise nothing;
    return dj_engine_was_current(engine, entry, &nothing);
}

struct dj_value *dj_engine_find(struct dj_engine *engine, struct dj_loop *loop,
                                const struct dj_store_key *key, uint64_t max_age_ms)
{
    int64_t now_ms = dj_loop_now_ms(loop);
    struct dj_value *value =
        dj_memory_find(engine->options.memory, dj_loop_index(loop), key, now_ms);
    if (value &&
        !dj_engine_is_valid(engine, key->tenant, dj_value_entry(value), now_ms, max_age_ms)) {
        dj_value_unref(value);
        return NULL;
    }
    return value;
}

enum dj_hit_kind dj_engine_hit_kind(const struct dj_value *value,
                                    const uint8_t exact[DJ_SHA256_BYTES])
{
    return memcmp(dj_value_entry(value)->exact, exact, DJ_SHA256_BYTES) == 0 ? DJ_HIT_EXACT
                                                                             : DJ_HIT_NORMALIZED;
}

uint64_t dj_engine_next_version(struct dj_engine *engine)
{
    /* Time keeps versions growing over restarts; the counter keeps them apart within a
     * microsecond. */
    uint64_t now_us = (uint64_t)dj_clock_now_ms() * 1000;
    uint64_t last = atomic_load(&engine->version);
    uint64_t next = 0;
    do {
        next = now_us > last ? now_us : last + 1;
    } while (!atomic_compare_exchange_weak(&engine->version, &last, next));
    return next;
}

void dj_engine_begin_fill(struct dj_engine *engine, struct dj_entry *entry,
                          struct dj_fill *out_fill)
{
    out_fill->version = dj_engine_next_version(engine);
    out_fill->tenant_generation = entry_generation(engine, entry->tenant, entry->name_space);
    for (size_t i = 0; i < entry->tag_count; i++)
        entry->tags[i].generation =
            dj_generations_get(engine->generations, entry->tenant, entry->tags[i].name);
    entry->version = out_fill->version;
    entry->tenant_generation = out_fill->tenant_generation;
}

bool dj_engine_is_worth_indexing(struct dj_engine *engine, const struct dj_fingerprint *fingerprint)
{
    if (!engine->options.embedder || !fingerprint->is_semantic)
        return false;
    return !fingerprint->has_history ||
           dj_semantic_is_scope_seen(engine->semantic, fingerprint->scope);
}

/* Finite, and long enough for its direction to be told. */
static bool is_vector(const float *floats, uint32_t dim)
{
    double norm = 0;
    for (uint32_t i = 0; i < dim; i++)
        norm += (double)floats[i] * (double)floats[i];
    return isfinite(norm) && norm > VECTOR_NORM_MIN;
}

enum deja_status dj_engine_take_vector(struct dj_engine *engine,
                                       const struct dj_query_vector *vector,
                                       char label[DJ_INDEX_LABEL_BYTES],
                                       struct dj_index_name *out_name, float **out_floats)
{
    const struct dj_embedder *embedder = engine->options.embedder;
    struct dj_index_name name = {.label = deja_slice("", 0), .dim = embedder ? embedder->dim : 0};
    enum deja_status status = DEJA_OK;
    if (!vector && !embedder)
        return DEJA_OK;
    if (vector && (vector->dim == 0 || vector->dim > DJ_VECTOR_DIM_MAX ||
                   !is_vector(vector->floats, vector->dim)))
        return DEJA_ERR_INVALID;
    if (vector)
        status = dj_semantic_name(engine->semantic, vector->dim, vector->embedder, label, &name);
    if (status != DEJA_OK)
        return status;
    float *floats = dj_alloc(sizeof(float) * name.dim);
    if (!floats)
        return DEJA_ERR_NOMEM;
    if (vector)
        memcpy(floats, vector->floats, sizeof(float) * name.dim);
    *out_name = name;
    *out_floats = floats;
    return DEJA_OK;
}

int64_t dj_engine_expiry(const struct dj_engine *engine, struct dj_loop *loop, uint64_t ttl_ms,
                         uint64_t fallback_ms)
{
    struct dj_ttl_input input = {.now_ms = dj_loop_now_ms(loop),
                                 .base_ms = fallback_ms,
                                 .request_ms = ttl_ms,
                                 .cap_ms = engine->options.ttl_max_ms,
                                 .jitter = engine->options.ttl_jitter};
    dj_random_bytes(&input.random, sizeof input.random);
    return dj_ttl_expiry(&input);
}

void dj_engine_sweep(struct dj_engine *engine, struct dj_loop *loop)
{
    dj_upkeep_tend(engine->upkeep, loop);
    dj_engine_keep_access(engine, loop);
}

void dj_engine_stop(struct dj_engine *engine)
{
    atomic_store(&engine->is_stopping, true);
}

uint32_t dj_engine_pending(const struct dj_engine *engine)
{
    return atomic_load(&engine->pending);
}

/* ---- inspect ---- */

static void authority_stats(const struct dj_engine *engine, struct dj_authority_stats *out_stats)
{
    struct dj_authority *authority = engine->authority;
    if (!authority)
        return;
    int64_t pulled_ms = atomic_load(&authority->pulled_ms);
    *out_stats =
        (struct dj_authority_stats){.level = authority->slot->tier.store->ops->level,
                                    .is_failing = atomic_load(&authority->is_failing),
                                    .age_ms = pulled_ms ? dj_clock_now_ms() - pulled_ms : -1,
                                    .held = dj_generations_held(engine->generations),
                                    .losses = atomic_load(&authority->losses)};
}

static void tier_stats(struct dj_tier_slot *slot, const uint8_t *tenant,
                       struct dj_tier_stats *out_stats)
{
    *out_stats = (struct dj_tier_stats){.level = slot->tier.store->ops->level,
                                        .is_read_only = slot->tier.is_read_only,
                                        .behind = atomic_load(&slot->behind),
                                        .dropped = atomic_load(&slot->dropped),
                                        .late = atomic_load(&slot->late)};
    slot->tier.store->ops->stats(slot->tier.store, tenant, &out_stats->store);
}

void dj_engine_stats(struct dj_engine *engine, const uint8_t *tenant,
                     struct dj_engine_stats *out_stats)
{
    *out_stats = (struct dj_engine_stats){0};
    engine->options.memory->ops->stats(engine->options.memory, tenant, &out_stats->memory);
    for (uint32_t i = 0; i < engine->tier_count; i++) {
        tier_stats(&engine->tiers[i], tenant, &out_stats->tiers[i]);
        out_stats->tiers[i].place = dj_engine_level(engine, i);
    }
    out_stats->tier_count = engine->tier_count;
    authority_stats(engine, &out_stats->authority);
    if (engine->options.lmdb) {
        out_stats->has_lmdb = true;
        out_stats->lmdb = out_stats->tiers[0].store;
    }
    dj_indexes_stats(dj_semantic_indexes(engine->semantic), tenant, &out_stats->vectors,
                     &out_stats->vector_bytes);
    struct dj_access_sums sums;
    dj_access_sums(engine->access, tenant, &sums);
    out_stats->hits = sums.hits;
    out_stats->verdicts = sums.verdicts;
    out_stats->verdicts_wrong = sums.verdicts_wrong;
    out_stats->is_index_ready = dj_engine_is_index_ready(engine);
}

const struct dj_embedder *dj_engine_embedder(const struct dj_engine *engine)
{
    return engine->options.embedder;
}

double dj_engine_threshold(const struct dj_engine *engine, bool is_api)
{
    return is_api ? engine->options.api_threshold : engine->options.threshold;
}

uint32_t dj_engine_home(const struct dj_engine *engine, const struct dj_store_key *key)
{
    return dj_memory_home(engine->options.memory, key);
}

struct dj_loop *dj_engine_loop(const struct dj_engine *engine, uint32_t index)
{
    return engine->options.loops[index];
}
