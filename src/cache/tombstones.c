/* cache/tombstones.c - a ring in order of arrival, and a map from key to its newest ring place. */
#include "cache/tombstones.h"

#include "base/alloc.h"
#include "base/map.h"
#include "crypto/digest.h"

struct tombstone {
    struct dj_store_key key;
    uint64_t version;
};

struct dj_tombstones {
    uint8_t hash_key[16];
    struct dj_map *map; /* key -> struct tombstone in ring */
    struct tombstone *ring;
    size_t next;
    uint64_t floor;
};

/* Who deletes names any id he likes, there or not. */
static uint64_t hash(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key);
}

enum deja_status dj_tombstones_create(struct dj_tombstones **out_tombstones)
{
    struct dj_tombstones *t = dj_alloc_zeroed(1, sizeof *t);
    if (!t)
        return DEJA_ERR_NOMEM;
    dj_random_bytes(t->hash_key, sizeof t->hash_key);
    t->ring = dj_alloc_zeroed(DJ_TOMBSTONES_MAX, sizeof *t->ring);
    if (!t->ring || dj_map_create(DJ_TOMBSTONES_MAX, hash, t->hash_key, &t->map) != DEJA_OK) {
        dj_tombstones_destroy(t);
        return DEJA_ERR_NOMEM;
    }
    *out_tombstones = t;
    return DEJA_OK;
}

void dj_tombstones_destroy(struct dj_tombstones *tombstones)
{
    if (!tombstones)
        return;
    dj_map_destroy(tombstones->map);
    dj_free(tombstones->ring);
    dj_free(tombstones);
}

void dj_tombstones_add(struct dj_tombstones *tombstones, const struct dj_store_key *key,
                       uint64_t version)
{
    struct tombstone *place = &tombstones->ring[tombstones->next];
    struct deja_slice old_key = deja_slice(&place->key, sizeof place->key);
    tombstones->next = (tombstones->next + 1) % DJ_TOMBSTONES_MAX;
    if (place->version) {
        if (dj_map_find(tombstones->map, old_key) == place)
            dj_map_remove(tombstones->map, old_key);
        if (place->version > tombstones->floor)
            tombstones->floor = place->version;
    }
    *place = (struct tombstone){.key = *key, .version = version};
    /* Without memory for the map the floor still refuses everything that is as old. */
    if (dj_map_put(tombstones->map, deja_slice(key, sizeof *key), place, NULL) != DEJA_OK)
        tombstones->floor = version;
}

bool dj_tombstones_refuse(const struct dj_tombstones *tombstones, const struct dj_store_key *key,
                          uint64_t version)
{
    if (version <= tombstones->floor)
        return true;
    const struct tombstone *found = dj_map_find(tombstones->map, deja_slice(key, sizeof *key));
    return found && version <= found->version;
}

size_t dj_tombstones_probes_max(const struct dj_tombstones *tombstones)
{
    return dj_map_probes_max(tombstones->map);
}
