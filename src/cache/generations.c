/* cache/generations.c - see generations.h. Values are stored in the map's pointers: no allocation
 * per counter but its key. */
#include "cache/generations.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"
#include "crypto/digest.h"

#define KEY_BYTES_MAX 1024u

struct dj_generations {
    pthread_rwlock_t lock;
    struct dj_map *map; /* tenant ‖ tag -> value */
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
    if (dj_map_create(entries_max, hash, g->hash_key, &g->map) != DEJA_OK ||
        pthread_rwlock_init(&g->lock, NULL) != 0) {
        dj_map_destroy(g->map);
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
    pthread_rwlock_destroy(&generations->lock);
    dj_map_destroy(generations->map);
    dj_free(generations);
}

enum deja_status dj_generations_load(struct dj_generations *generations, struct deja_slice key,
                                     uint64_t value)
{
    pthread_rwlock_wrlock(&generations->lock);
    enum deja_status status =
        dj_map_put(generations->map, key, (void *)(uintptr_t)value, NULL); /* 64-bit pointers */
    atomic_store(&generations->count, dj_map_count(generations->map));
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

uint64_t dj_generations_get(struct dj_generations *generations, const uint8_t tenant[DJ_ID_BYTES],
                            struct deja_slice tag)
{
    char bytes[KEY_BYTES_MAX];
    if (dj_generations_are_all_zero(generations))
        return 0;
    struct deja_slice key = make_key(bytes, tenant, tag);
    pthread_rwlock_rdlock(&generations->lock);
    uint64_t value = (uint64_t)(uintptr_t)dj_map_find(generations->map, key);
    pthread_rwlock_unlock(&generations->lock);
    return value;
}

enum deja_status dj_generations_raise(struct dj_generations *generations,
                                      const uint8_t tenant[DJ_ID_BYTES], struct deja_slice tag,
                                      uint64_t *out_value)
{
    char bytes[KEY_BYTES_MAX];
    struct deja_slice key = make_key(bytes, tenant, tag);
    pthread_rwlock_wrlock(&generations->lock);
    uint64_t value = (uint64_t)(uintptr_t)dj_map_find(generations->map, key) + 1;
    enum deja_status status = DEJA_OK;
    if (generations->keep)
        status = generations->keep(generations->ctx, key, value);
    if (status == DEJA_OK)
        status = dj_map_put(generations->map, key, (void *)(uintptr_t)value, NULL);
    atomic_store(&generations->count, dj_map_count(generations->map));
    pthread_rwlock_unlock(&generations->lock);
    if (status == DEJA_OK && out_value)
        *out_value = value;
    return status;
}

bool dj_generations_are_all_zero(const struct dj_generations *generations)
{
    return atomic_load(&generations->count) == 0;
}
