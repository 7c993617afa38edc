/* cache/generations.c - see generations.h. Values are stored in the maps' pointers: no allocation
 * per counter but its key. A counter is what `held` says, else what `map` says.
 *
 * Lock order: raising, lock. No callback runs under `lock` but that of a walk, so whoever reads
 * waits for no disk. */
#include "cache/generations.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"
#include "crypto/digest.h"

#define KEY_BYTES_MAX 1024u
/* No authority counts that far; a sum of a held and another counter cannot be that of two. */
#define HELD_BIT (UINT64_C(1) << 62)

struct dj_generations {
    pthread_mutex_t raising; /* one raise at a time: from the old value until the new one is in
                              * force */
    pthread_rwlock_t lock;   /* of the maps */
    struct dj_map *map;      /* tenant ‖ tag -> value */
    struct dj_map *held;     /* the same, of those that are held */
    uint8_t hash_key[16];
    _Atomic size_t count;
    void *ctx;
    dj_generation_keep_fn *keep;
};

static uint64_t hash(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key);
}

enum deja_status dj_generations_create(size_t entries_max, void *ctx, dj_generation_keep_fn *keep,
                                       struct dj_generations **out_generations)
{
    struct dj_generations *g = dj_alloc_zeroed(1, sizeof *g);
    if (!g)
        return DEJA_ERR_NOMEM;
    dj_random_bytes(g->hash_key, sizeof g->hash_key);
    bool has_mutex = pthread_mutex_init(&g->raising, NULL) == 0;
    if (!has_mutex || dj_map_create(entries_max, hash, g->hash_key, &g->map) != DEJA_OK ||
        dj_map_create(entries_max, hash, g->hash_key, &g->held) != DEJA_OK ||
        pthread_rwlock_init(&g->lock, NULL) != 0) {
        dj_map_destroy(g->map);
        dj_map_destroy(g->held);
        if (has_mutex)
            pthread_mutex_destroy(&g->raising);
        dj_free(g);
        return DEJA_ERR_NOMEM;
    }
    g->ctx = ctx;
    g->keep = keep;
    *out_generations = g;
    return DEJA_OK;
}

void dj_generations_destroy(struct dj_generations *generations)
{
    if (!generations)
        return;
    pthread_mutex_destroy(&generations->raising);
    pthread_rwlock_destroy(&generations->lock);
    dj_map_destroy(generations->map);
    dj_map_destroy(generations->held);
    dj_free(generations);
}

/* Under the lock, as is count_all. */
static uint64_t value_of(const struct dj_generations *generations, struct deja_slice key)
{
    void *value = dj_map_count(generations->held) ? dj_map_find(generations->held, key) : NULL;
    return (uint64_t)(uintptr_t)(value ? value : dj_map_find(generations->map, key));
}

static void count_all(struct dj_generations *generations)
{
    atomic_store(&generations->count,
                 dj_map_count(generations->map) + dj_map_count(generations->held));
}

enum deja_status dj_generations_load(struct dj_generations *generations, struct deja_slice key,
                                     uint64_t value)
{
    pthread_rwlock_wrlock(&generations->lock);
    enum deja_status status =
        dj_map_put(generations->map, key, (void *)(uintptr_t)value, NULL); /* 64-bit pointers */
    count_all(generations);
    pthread_rwlock_unlock(&generations->lock);
    return status;
}

static struct deja_slice make_key(char bytes[KEY_BYTES_MAX], const uint8_t tenant[DJ_ID_BYTES],
                                  struct deja_slice tag)
{
    size_t len = tag.len < KEY_BYTES_MAX - DJ_ID_BYTES ? tag.len : KEY_BYTES_MAX - DJ_ID_BYTES;
    memcpy(bytes, tenant, DJ_ID_BYTES);
    if (len)
        memcpy(bytes + DJ_ID_BYTES, tag.data, len);
    return deja_slice(bytes, DJ_ID_BYTES + len);
}

/* has_tenant: the tenant's own is added, under one lock. */
static uint64_t read_value(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                           struct deja_slice tag, bool has_tenant)
{
    char bytes[KEY_BYTES_MAX];
    if (dj_generations_are_all_zero(generations))
        return 0;
    struct deja_slice key = make_key(bytes, tenant, tag);
    pthread_rwlock_rdlock(&generations->lock);
    uint64_t value = value_of(generations, key);
    if (has_tenant)
        value += value_of(generations, deja_slice(tenant, DJ_ID_BYTES));
    pthread_rwlock_unlock(&generations->lock);
    return value;
}

uint64_t dj_generations_get(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                            struct deja_slice tag)
{
    return read_value(generations, tenant, tag, false);
}

uint64_t dj_generations_sum(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                            struct deja_slice tag)
{
    return read_value(generations, tenant, tag, true);
}

enum deja_status dj_generations_raise(struct dj_generations *generations,
                                      const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                      uint64_t *out_value)
{
    char bytes[KEY_BYTES_MAX];
    struct deja_slice key = make_key(bytes, tenant, tag);
    enum deja_status status = DEJA_OK;
    pthread_mutex_lock(&generations->raising);
    pthread_rwlock_rdlock(&generations->lock);
    uint64_t value = (uint64_t)(uintptr_t)dj_map_find(generations->map, key) + 1;
    pthread_rwlock_unlock(&generations->lock);
    if (generations->keep)
        status = generations->keep(generations->ctx, key, value);
    if (status == DEJA_OK)
        status = dj_generations_load(generations, key, value);
    pthread_mutex_unlock(&generations->raising);
    if (status == DEJA_OK && out_value)
        *out_value = value;
    return status;
}

bool dj_generations_are_all_zero(const struct dj_generations *generations)
{
    return atomic_load(&generations->count) == 0;
}

/* ---- with an authority elsewhere ---- */

enum deja_status dj_generations_hold(struct dj_generations *generations,
                                     struct dj_generation_hold *hold)
{
    char bytes[KEY_BYTES_MAX];
    struct deja_slice key = make_key(bytes, hold->tenant, hold->tag);
    uint64_t held = 0;
    dj_random_bytes(&held, sizeof held);
    held = (held >> 2) | HELD_BIT;
    pthread_rwlock_wrlock(&generations->lock);
    uint64_t before = value_of(generations, key);
    uint64_t known = (uint64_t)(uintptr_t)dj_map_find(generations->map, key);
    enum deja_status status = dj_map_put(generations->held, key, (void *)(uintptr_t)held, NULL);
    count_all(generations);
    pthread_rwlock_unlock(&generations->lock);
    if (status != DEJA_OK)
        return status;
    hold->before = before;
    hold->known = known;
    hold->held = held;
    return DEJA_OK;
}

/* One that was held anew since has another number, and stays so. */
static void end_hold(struct dj_generations *generations, struct dj_generation_hold *hold)
{
    char bytes[KEY_BYTES_MAX];
    struct deja_slice key = make_key(bytes, hold->tenant, hold->tag);
    uint64_t shared = (uint64_t)(uintptr_t)dj_map_find(generations->map, key);
    bool is_current = (uint64_t)(uintptr_t)dj_map_find(generations->held, key) == hold->held;
    hold->is_ended = !is_current || shared > hold->known;
    if (is_current && hold->is_ended)
        dj_map_remove(generations->held, key);
}

enum deja_status dj_generations_settle(struct dj_generations *generations,
                                       const struct dj_store_generation *pulled,
                                       size_t pulled_count, struct dj_generation_hold *holds,
                                       size_t hold_count, bool *out_is_behind)
{
    char bytes[KEY_BYTES_MAX];
    enum deja_status status = DEJA_OK;
    bool is_behind = false;
    pthread_rwlock_wrlock(&generations->lock);
    for (size_t i = 0; i < pulled_count && status == DEJA_OK; i++) {
        struct deja_slice key = make_key(bytes, pulled[i].tenant, pulled[i].tag);
        uint64_t known = (uint64_t)(uintptr_t)dj_map_find(generations->map, key);
        is_behind = is_behind || pulled[i].generation < known;
        if (pulled[i].generation > known)
            status =
                dj_map_put(generations->map, key, (void *)(uintptr_t)pulled[i].generation, NULL);
    }
    /* What was taken over before a failure only makes more void; no hold ends with it. */
    for (size_t i = 0; i < hold_count && status == DEJA_OK; i++)
        end_hold(generations, &holds[i]);
    count_all(generations);
    pthread_rwlock_unlock(&generations->lock);
    if (status == DEJA_OK)
        *out_is_behind = is_behind;
    return status;
}

void dj_generations_walk(struct dj_generations *generations, void *ctx, dj_generation_each_fn *each)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    bool is_wanted = true;
    pthread_rwlock_rdlock(&generations->lock);
    while (is_wanted && dj_map_next(generations->map, &cursor, &key, &value))
        is_wanted = each(ctx, (const uint8_t *)key.data,
                         deja_slice(key.data + DJ_ID_BYTES, key.len - DJ_ID_BYTES));
    pthread_rwlock_unlock(&generations->lock);
}

size_t dj_generations_held(struct dj_generations *generations)
{
    pthread_rwlock_rdlock(&generations->lock);
    size_t count = dj_map_count(generations->held);
    pthread_rwlock_unlock(&generations->lock);
    return count;
}
