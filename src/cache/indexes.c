/* cache/indexes.c - see indexes.h.
 *
 * The lock is for the table of tenants and their lists. An index has a lock of its own: taken after
 * this one was given back, or (statistics) under it, never the other way.
 */
#include "cache/indexes.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/map.h"

#define TENANTS_MAX 20000u

struct index {
    char *label; /* owned */
    size_t label_len;
    uint32_t dim;
    struct dj_flat *flat; /* owned */
};

struct tenant {
    uint32_t count;
    struct index list[DJ_INDEXES_PER_TENANT];
};

struct dj_indexes {
    pthread_rwlock_t lock;
    struct dj_map *tenants; /* id -> struct tenant */
    uint32_t vectors_max;
};

static uint64_t hash_tenant(void *ctx, struct deja_slice key)
{
    (void)ctx;
    uint64_t hash = 0;
    memcpy(&hash, key.data + 8, sizeof hash); /* past the UUID's version bits */
    return hash * 0x9E3779B97F4A7C15u;
}

enum deja_status dj_indexes_create(uint32_t vectors_max, struct dj_indexes **out_indexes)
{
    struct dj_indexes *indexes = dj_alloc_zeroed(1, sizeof *indexes);
    if (!indexes)
        return DEJA_ERR_NOMEM;
    indexes->vectors_max = vectors_max;
    enum deja_status status = dj_map_create(TENANTS_MAX, hash_tenant, NULL, &indexes->tenants);
    if (status != DEJA_OK) {
        dj_free(indexes);
        return status;
    }
    pthread_rwlock_init(&indexes->lock, NULL);
    *out_indexes = indexes;
    return DEJA_OK;
}

void dj_indexes_destroy(struct dj_indexes *indexes)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    if (!indexes)
        return;
    while (dj_map_next(indexes->tenants, &cursor, &key, &value)) {
        struct tenant *tenant = value;
        for (uint32_t i = 0; i < tenant->count; i++) {
            dj_flat_destroy(tenant->list[i].flat);
            dj_free(tenant->list[i].label);
        }
        dj_free(tenant);
    }
    dj_map_destroy(indexes->tenants);
    pthread_rwlock_destroy(&indexes->lock);
    dj_free(indexes);
}

static struct tenant *find_tenant(struct dj_indexes *indexes, const uint8_t id[DJ_ID_BYTES])
{
    return dj_map_find(indexes->tenants, deja_slice(id, DJ_ID_BYTES));
}

static struct dj_flat *find_in(const struct tenant *tenant, const struct dj_index_name *name)
{
    for (uint32_t i = 0; tenant && i < tenant->count; i++) {
        const struct index *index = &tenant->list[i];
        if (index->dim == name->dim &&
            deja_slice_is_equal(deja_slice(index->label, index->label_len), name->label))
            return index->flat;
    }
    return NULL;
}

struct dj_flat *dj_indexes_find(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                                const struct dj_index_name *name)
{
    pthread_rwlock_rdlock(&indexes->lock);
    struct dj_flat *flat = find_in(find_tenant(indexes, tenant), name);
    pthread_rwlock_unlock(&indexes->lock);
    return flat;
}

/* Callers' own indexes leave the place of the embedder's free. */
static bool has_room(const struct tenant *tenant, const struct dj_index_name *name)
{
    uint32_t own = 0;
    for (uint32_t i = 0; tenant && i < tenant->count; i++)
        own += tenant->list[i].label_len > 0;
    return name->label.len == 0 || own < DJ_INDEXES_PER_TENANT - 1;
}

bool dj_indexes_has_room(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                         const struct dj_index_name *name)
{
    pthread_rwlock_rdlock(&indexes->lock);
    const struct tenant *found = find_tenant(indexes, tenant);
    bool is_placed = find_in(found, name) || has_room(found, name);
    pthread_rwlock_unlock(&indexes->lock);
    return is_placed;
}

/* Under the write lock. */
static enum deja_status add_index(struct dj_indexes *indexes, struct tenant *tenant,
                                  const struct dj_index_name *name, struct dj_flat **out_flat)
{
    struct index index = {.dim = name->dim, .label_len = name->label.len};
    if (!has_room(tenant, name) || tenant->count == DJ_INDEXES_PER_TENANT)
        return DEJA_ERR_LIMIT;
    index.label = dj_strdup(name->label);
    enum deja_status status = index.label ? DEJA_OK : DEJA_ERR_NOMEM;
    if (status == DEJA_OK)
        status = dj_flat_create(name->dim, indexes->vectors_max, &index.flat);
    if (status != DEJA_OK) {
        dj_free(index.label);
        return status;
    }
    tenant->list[tenant->count++] = index;
    *out_flat = index.flat;
    return DEJA_OK;
}

static enum deja_status make_index(struct dj_indexes *indexes, const uint8_t id[DJ_ID_BYTES],
                                   const struct dj_index_name *name, struct dj_flat **out_flat)
{
    enum deja_status status = DEJA_OK;
    pthread_rwlock_wrlock(&indexes->lock);
    struct tenant *tenant = find_tenant(indexes, id);
    if (!tenant) {
        tenant = dj_alloc_zeroed(1, sizeof *tenant);
        status = tenant ? dj_map_put(indexes->tenants, deja_slice(id, DJ_ID_BYTES), tenant, NULL)
                        : DEJA_ERR_NOMEM;
        if (status != DEJA_OK)
            dj_free(tenant);
    }
    struct dj_flat *flat = status == DEJA_OK ? find_in(tenant, name) : NULL;
    if (status == DEJA_OK && !flat)
        status = add_index(indexes, tenant, name, &flat);
    pthread_rwlock_unlock(&indexes->lock);
    if (status == DEJA_OK)
        *out_flat = flat;
    return status;
}

/* The tenant's indexes as they are now; they outlast the lock. */
static uint32_t list_of(struct dj_indexes *indexes, const uint8_t id[DJ_ID_BYTES],
                        struct dj_flat *out_flats[DJ_INDEXES_PER_TENANT])
{
    pthread_rwlock_rdlock(&indexes->lock);
    const struct tenant *tenant = find_tenant(indexes, id);
    uint32_t count = tenant ? tenant->count : 0;
    for (uint32_t i = 0; i < count; i++)
        out_flats[i] = tenant->list[i].flat;
    pthread_rwlock_unlock(&indexes->lock);
    return count;
}

enum deja_status dj_indexes_put(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                                const struct dj_index_name *name, const uint8_t scope[DJ_ID_BYTES],
                                const uint8_t id[DJ_ID_BYTES], const float *vector,
                                int64_t expires_ms, uint64_t version)
{
    struct dj_flat *flat = dj_indexes_find(indexes, tenant, name);
    enum deja_status status = flat ? DEJA_OK : make_index(indexes, tenant, name, &flat);
    if (status == DEJA_OK)
        status = dj_flat_put(flat, scope, id, vector, expires_ms, version);
    if (status != DEJA_OK)
        return status;
    struct dj_flat *flats[DJ_INDEXES_PER_TENANT];
    uint32_t count = list_of(indexes, tenant, flats);
    for (uint32_t i = 0; i < count; i++)
        if (flats[i] != flat)
            dj_flat_remove(flats[i], id, version);
    return DEJA_OK;
}

void dj_indexes_remove(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                       const uint8_t id[DJ_ID_BYTES], uint64_t version_max)
{
    struct dj_flat *flats[DJ_INDEXES_PER_TENANT];
    uint32_t count = list_of(indexes, tenant, flats);
    for (uint32_t i = 0; i < count; i++)
        dj_flat_remove(flats[i], id, version_max);
}

void dj_indexes_clear(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_flat *flats[DJ_INDEXES_PER_TENANT];
    uint32_t count = list_of(indexes, tenant, flats);
    for (uint32_t i = 0; i < count; i++)
        dj_flat_clear(flats[i]);
}

uint32_t dj_indexes_count(struct dj_indexes *indexes, const uint8_t tenant[DJ_ID_BYTES],
                          const uint8_t *scope)
{
    struct dj_flat *flats[DJ_INDEXES_PER_TENANT];
    uint32_t count = list_of(indexes, tenant, flats);
    uint32_t vectors = 0;
    for (uint32_t i = 0; i < count; i++)
        vectors += scope ? dj_flat_scope_count(flats[i], scope) : dj_flat_count(flats[i]);
    return vectors;
}

static bool is_of(struct deja_slice key, const uint8_t *tenant)
{
    return !tenant || memcmp(key.data, tenant, DJ_ID_BYTES) == 0;
}

void dj_indexes_stats(struct dj_indexes *indexes, const uint8_t *tenant, uint64_t *out_vectors,
                      uint64_t *out_bytes)
{
    uint64_t vectors = 0;
    uint64_t bytes = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_rwlock_rdlock(&indexes->lock);
    while (dj_map_next(indexes->tenants, &cursor, &key, &value)) {
        const struct tenant *found = value;
        if (!is_of(key, tenant))
            continue;
        for (uint32_t i = 0; i < found->count; i++) {
            vectors += dj_flat_count(found->list[i].flat);
            bytes += dj_flat_bytes(found->list[i].flat);
        }
    }
    pthread_rwlock_unlock(&indexes->lock);
    *out_vectors = vectors;
    *out_bytes = bytes;
}

enum deja_status dj_indexes_list(struct dj_indexes *indexes, const uint8_t *tenant,
                                 struct dj_flat ***out_flats, size_t *out_count)
{
    size_t count = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_rwlock_rdlock(&indexes->lock);
    while (dj_map_next(indexes->tenants, &cursor, &key, &value))
        count += is_of(key, tenant) ? ((const struct tenant *)value)->count : 0;
    struct dj_flat **flats = dj_alloc(count * sizeof *flats);
    count = 0;
    cursor = 0;
    while (flats && dj_map_next(indexes->tenants, &cursor, &key, &value)) {
        const struct tenant *found = value;
        for (uint32_t i = 0; is_of(key, tenant) && i < found->count; i++)
            flats[count++] = found->list[i].flat;
    }
    pthread_rwlock_unlock(&indexes->lock);
    if (!flats)
        return DEJA_ERR_NOMEM;
    *out_flats = flats;
    *out_count = count;
    return DEJA_OK;
}
