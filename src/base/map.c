/* base/map.c - linear probing with backward-shift deletion: no tombstones, so a churning map keeps
 * its probe lengths. Load is kept at or below 3/4. */
#include "base/map.h"

#include "base/alloc.h"

#define MAP_SLOTS_FIRST 16u

struct slot {
    uint64_t hash;
    char *key; /* owned; NULL: free slot */
    size_t key_len;
    void *value;
};

struct dj_map {
    struct slot *slots;
    size_t slot_count; /* power of two */
    size_t count;
    size_t entries_max;
    dj_map_hash_fn *hash;
    void *hash_ctx;
};

static uint64_t hash_digest(void *ctx, struct deja_slice key)
{
    (void)ctx;
    uint64_t hash = 0;
    memcpy(&hash, key.data, key.len < sizeof hash ? key.len : sizeof hash);
    return hash;
}

enum deja_status dj_map_create(size_t entries_max, dj_map_hash_fn *hash, void *hash_ctx,
                               struct dj_map **out_map)
{
    struct dj_map *map = dj_alloc_zeroed(1, sizeof *map);
    if (!map)
        return DEJA_ERR_NOMEM;
    map->slots = dj_alloc_zeroed(MAP_SLOTS_FIRST, sizeof *map->slots);
    if (!map->slots) {
        dj_free(map);
        return DEJA_ERR_NOMEM;
    }
    map->slot_count = MAP_SLOTS_FIRST;
    map->entries_max = entries_max;
    map->hash = hash ? hash : hash_digest;
    map->hash_ctx = hash_ctx;
    *out_map = map;
    return DEJA_OK;
}

void dj_map_destroy(struct dj_map *map)
{
    if (!map)
        return;
    for (size_t i = 0; i < map->slot_count; i++)
        dj_free(map->slots[i].key);
    dj_free(map->slots);
    dj_free(map);
}

/* The slot that holds key, or the free slot where it would go. */
static struct slot *probe(const struct dj_map *map, uint64_t hash, struct deja_slice key)
{
    size_t mask = map->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct slot *slot = &map->slots[i];
        if (!slot->key)
            return slot;
        if (slot->hash == hash && deja_slice_is_equal(deja_slice(slot->key, slot->key_len), key))
            return slot;
    }
}

void *dj_map_find(const struct dj_map *map, struct deja_slice key)
{
    struct slot *slot = probe(map, map->hash(map->hash_ctx, key), key);
    return slot->key ? slot->value : NULL;
}

static enum deja_status grow(struct dj_map *map)
{
    size_t old_count = map->slot_count;
    struct slot *old = map->slots;
    struct slot *slots = dj_alloc_zeroed(old_count * 2, sizeof *slots);
    if (!slots)
        return DEJA_ERR_NOMEM;
    map->slots = slots;
    map->slot_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++)
        if (old[i].key)
            *probe(map, old[i].hash, deja_slice(old[i].key, old[i].key_len)) = old[i];
    dj_free(old);
    return DEJA_OK;
}

enum deja_status dj_map_put(struct dj_map *map, struct deja_slice key, void *value, void **out_old)
{
    uint64_t hash = map->hash(map->hash_ctx, key);
    struct slot *slot = probe(map, hash, key);
    if (slot->key) {
        if (out_old)
            *out_old = slot->value;
        slot->value = value;
        return DEJA_OK;
    }
    if (map->count >= map->entries_max)
        return DEJA_ERR_LIMIT;
    if ((map->count + 1) * 4 > map->slot_count * 3) {
        if (grow(map) != DEJA_OK)
            return DEJA_ERR_NOMEM;
        slot = probe(map, hash, key);
    }
    char *copy = dj_strdup(key);
    if (!copy)
        return DEJA_ERR_NOMEM;
    *slot = (struct slot){.hash = hash, .key = copy, .key_len = key.len, .value = value};
    map->count++;
    if (out_old)
        *out_old = NULL;
    return DEJA_OK;
}

/* Moves later members of the probe run back over the hole at `hole`. */
static void close_hole(struct dj_map *map, size_t hole)
{
    size_t mask = map->slot_count - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct slot){0};
}

void *dj_map_find_or_make(struct dj_map *map, struct deja_slice key, size_t bytes)
{
    void *value = dj_map_find(map, key);
    if (value)
        return value;
    value = dj_alloc_zeroed(1, bytes);
    if (!value || dj_map_put(map, key, value, NULL) != DEJA_OK) {
        dj_free(value);
        return NULL;
    }
    return value;
}

void *dj_map_remove(struct dj_map *map, struct deja_slice key)
{
    struct slot *slot = probe(map, map->hash(map->hash_ctx, key), key);
    if (!slot->key)
        return NULL;
    void *value = slot->value;
    dj_free(slot->key);
    close_hole(map, (size_t)(slot - map->slots));
    map->count--;
    return value;
}

size_t dj_map_count(const struct dj_map *map)
{
    return map->count;
}

size_t dj_map_probes_max(const struct dj_map *map)
{
    size_t mask = map->slot_count - 1;
    size_t longest = 0;
    for (size_t i = 0; i <= mask; i++) {
        size_t probes = map->slots[i].key ? ((i - map->slots[i].hash) & mask) + 1 : 0;
        if (probes > longest)
            longest = probes;
    }
    return longest;
}

bool dj_map_next(const struct dj_map *map, size_t *cursor, struct deja_slice *out_key,
                 void **out_value)
{
    while (*cursor < map->slot_count) {
        const struct slot *slot = &map->slots[(*cursor)++];
        if (!slot->key)
            continue;
        *out_key = deja_slice(slot->key, slot->key_len);
        *out_value = slot->value;
        return true;
    }
    return false;
}
