/* cache/access.c - rings of what was noted, the rows they go into, and one answer at a time. */
#include <unistd.h>

#include "base/alloc.h"
#include "cache/access_internal.h"

#define ROWS_MAX_DEFAULT 262144u
#define BATCH_DEFAULT 100u
#define SIZE_PER_CORE 10000u
#define RING_MIN 128u

/* ---- life ---- */

/* Ids are parts of HMACs, but not their tenants'. */
static uint64_t hash_key(void *ctx, struct deja_slice key)
{
    (void)ctx;
    uint64_t tenant = 0;
    uint64_t id = 0;
    memcpy(&tenant, key.data + 8, sizeof tenant);
    memcpy(&id, key.data + DJ_ID_BYTES, sizeof id);
    return (id ^ (tenant * 0x9E3779B97F4A7C15u)) * 0xff51afd7ed558ccdu;
}

static uint64_t hash_tenant(void *ctx, struct deja_slice key)
{
    (void)ctx;
    uint64_t hash = 0;
    memcpy(&hash, key.data + 8, sizeof hash);
    return hash * 0x9E3779B97F4A7C15u;
}

static enum deja_status open_ring(struct dj_access *access, struct dj_access_ring *ring)
{
    ring->access = access;
    ring->notes = dj_alloc_zeroed(access->ring_mask + 1, sizeof *ring->notes);
    pthread_mutex_init(&ring->lock, NULL);
    return ring->notes ? DEJA_OK : DEJA_ERR_NOMEM;
}

static void size_rings(struct dj_access *access)
{
    struct dj_access_options *options = &access->options;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t size =
        options->size ? options->size : SIZE_PER_CORE * (uint64_t)(cores > 0 ? cores : 1);
    uint64_t cap = RING_MIN;
    if (size < DJ_ACCESS_SIZE_MIN)
        size = DJ_ACCESS_SIZE_MIN;
    if (size > DJ_ACCESS_SIZE_MAX)
        size = DJ_ACCESS_SIZE_MAX;
    while (cap * options->loop_count < size)
        cap *= 2;
    access->ring_mask = cap - 1;
    access->eager_mask = cap / 8 - 1;
    if (!options->batch)
        options->batch = BATCH_DEFAULT;
    if (options->batch > DJ_ACCESS_BATCH_MAX)
        options->batch = DJ_ACCESS_BATCH_MAX;
}

enum deja_status dj_access_create(const struct dj_access_options *options,
                                  struct dj_access **out_access)
{
    struct dj_access *access = dj_alloc_zeroed(1, sizeof *access);
    if (!access)
        return DEJA_ERR_NOMEM;
    access->options = *options;
    if (!access->options.rows_max)
        access->options.rows_max = ROWS_MAX_DEFAULT;
    size_rings(access);
    pthread_mutex_init(&access->tenants_lock, NULL);
    for (size_t i = 0; i < DJ_ACCESS_SHARDS; i++) {
        pthread_mutex_init(&access->shards[i].lock, NULL);
        dj_list_init(&access->shards[i].by_time);
        dj_list_init(&access->shards[i].changed);
    }
    uint32_t share = access->options.rows_max / DJ_ACCESS_SHARDS + 1;
    enum deja_status status =
        dj_map_create(DJ_ACCESS_TENANTS_MAX, hash_tenant, NULL, &access->tenants);
    for (size_t i = 0; i < DJ_ACCESS_SHARDS && status == DEJA_OK; i++)
        status = dj_map_create(share, hash_key, NULL, &access->shards[i].rows);
    access->rings = dj_alloc_zeroed(options->loop_count, sizeof *access->rings);
    if (!access->rings)
        status = DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < options->loop_count && access->rings; i++) {
        enum deja_status opened = open_ring(access, &access->rings[i]);
        status = status == DEJA_OK ? opened : status;
    }
    if (status != DEJA_OK) {
        dj_access_destroy(access);
        return status;
    }
    *out_access = access;
    return DEJA_OK;
}

static void free_values(struct dj_map *map)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    while (map && dj_map_next(map, &cursor, &key, &value))
        dj_free(value);
    dj_map_destroy(map);
}

void dj_access_destroy(struct dj_access *access)
{
    if (!access)
        return;
    for (uint32_t i = 0; access->rings && i < access->options.loop_count; i++) {
        dj_free(access->rings[i].notes);
        pthread_mutex_destroy(&access->rings[i].lock);
    }
    dj_free(access->rings);
    for (size_t i = 0; i < DJ_ACCESS_SHARDS; i++) {
        free_values(access->shards[i].rows);
        pthread_mutex_destroy(&access->shards[i].lock);
    }
    free_values(access->tenants);
    pthread_mutex_destroy(&access->tenants_lock);
    dj_free(access);
}

/* ---- rows ---- */

static struct deja_slice slice_of(const struct dj_store_key *key)
{
    return deja_slice(key, sizeof *key);
}

struct dj_access_shard *dj_access_shard_of(struct dj_access *access, const struct dj_store_key *key)
{
    return &access->shards[hash_key(NULL, slice_of(key)) >> 58];
}

static void drop_row(struct dj_access_shard *shard, struct dj_access_row *row)
{
    dj_map_remove(shard->rows, slice_of(&row->key));
    dj_list_remove(&row->by_time);
    dj_list_remove(&row->changed);
    dj_free(row);
}

/* Under the shard's lock. NULL: no memory; the count of this entry is lost, the tenant's is not. */
static struct dj_access_row *find_or_make(struct dj_access *access, struct dj_access_shard *shard,
                                          const struct dj_store_key *key)
{
    struct dj_access_row *row = dj_map_find(shard->rows, slice_of(key));
    if (row)
        return row;
    if (dj_map_count(shard->rows) >= access->options.rows_max / DJ_ACCESS_SHARDS + 1)
        drop_row(shard, DJ_CONTAINER(shard->by_time.next, struct dj_access_row, by_time));
    row = dj_alloc_zeroed(1, sizeof *row);
    if (!row || dj_map_put(shard->rows, slice_of(key), row, NULL) != DEJA_OK) {
        dj_free(row);
        return NULL;
    }
    row->key = *key;
    dj_list_init(&row->changed);
    dj_list_push_back(&shard->by_time, &row->by_time);
    return row;
}

void dj_access_add_hits(struct dj_access *access, const struct dj_store_key *key, uint64_t hits,
                        int64_t at_ms, bool is_changed)
{
    struct dj_access_shard *shard = dj_access_shard_of(access, key);
    pthread_mutex_lock(&shard->lock);
    struct dj_access_row *row = find_or_make(access, shard, key);
    if (row) {
        row->hits += hits;
        if (at_ms >= row->last_ms) {
            row->last_ms = at_ms;
            dj_list_remove(&row->by_time);
            dj_list_push_back(&shard->by_time, &row->by_time);
        }
        if (is_changed) {
            dj_list_remove(&row->changed);
            dj_list_push_back(&shard->changed, &row->changed);
        }
    }
    pthread_mutex_unlock(&shard->lock);
}

/* Under tenants_lock. NULL: too many tenants or no memory; then only the sums of all count it. */
static struct dj_access_tenant *find_or_make_tenant(struct dj_access *access,
                                                    const uint8_t id[DJ_ID_BYTES])
{
    return dj_map_find_or_make(access->tenants, deja_slice(id, DJ_ID_BYTES),
                               sizeof(struct dj_access_tenant));
}

void dj_access_add_sums(struct dj_access *access, const uint8_t id[DJ_ID_BYTES],
                        const struct dj_access_sums *sums, int64_t at_ms, bool is_changed)
{
    pthread_mutex_lock(&access->tenants_lock);
    struct dj_access_tenant *tenant = find_or_make_tenant(access, id);
    struct dj_access_sums *both[] = {&access->all, tenant ? &tenant->sums : NULL};
    for (size_t i = 0; i < 2 && both[i]; i++) {
        both[i]->hits += sums->hits;
        both[i]->verdicts += sums->verdicts;
        both[i]->verdicts_wrong += sums->verdicts_wrong;
    }
    if (tenant) {
        tenant->last_ms = at_ms > tenant->last_ms ? at_ms : tenant->last_ms;
        tenant->is_changed |= is_changed;
    }
    pthread_mutex_unlock(&access->tenants_lock);
}

/* ---- rings ---- */

/* Takes up to count_max notes; the ring's lock is held. */
static void take_notes(struct dj_access_ring *ring, uint64_t count_max)
{
    struct dj_access *access = ring->access;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    struct dj_access_sums sums = {0};
    const struct dj_access_noted *last = NULL;
    if (tail - head > count_max)
        tail = head + count_max;
    for (; head < tail; head++) {
        const struct dj_access_noted *note = &ring->notes[head & access->ring_mask];
        /* Notes of one tenant in a row are one addition to its sum. */
        if (last && memcmp(last->key.tenant, note->key.tenant, DJ_ID_BYTES) != 0) {
            dj_access_add_sums(access, last->key.tenant, &sums, last->at_ms, true);
            sums.hits = 0;
        }
        dj_access_add_hits(access, &note->key, 1, note->at_ms, true);
        sums.hits++;
        last = note;
    }
    if (last)
        dj_access_add_sums(access, last->key.tenant, &sums, last->at_ms, true);
    atomic_store_explicit(&ring->head, head, memory_order_release);
}

static void drain(struct dj_access_ring *ring)
{
    const struct dj_access *access = ring->access;
    uint64_t end = atomic_load(&ring->tail);
    /* Up to what was there: a loop that notes faster than this reads must not hold it for ever. */
    while ((int64_t)(end - atomic_load(&ring->head)) > 0) {
        pthread_mutex_lock(&ring->lock);
        take_notes(ring, access->options.batch);
        pthread_mutex_unlock(&ring->lock);
    }
}

void dj_access_drain(struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.loop_count; i++)
        drain(&access->rings[i]);
}

static void run_drain(void *ctx)
{
    struct dj_access_ring *ring = ctx;
    atomic_store(&ring->is_posted, false); /* first: what comes meanwhile may ask again */
    drain(ring);
}

static void post_drain(struct dj_access_ring *ring)
{
    if (atomic_exchange(&ring->is_posted, true))
        return;
    /* The job is free again once is_posted is false: a pool is done with it before it works. */
    ring->job = (struct dj_job){.work = run_drain, .ctx = ring};
    if (dj_pool_submit(ring->access->options.pool, &ring->job) != DEJA_OK)
        atomic_store(&ring->is_posted, false); /* the next flush */
}

void dj_access_note(struct dj_access *access, uint32_t loop_index, const struct dj_store_key *key,
                    int64_t now_ms)
{
    struct dj_access_ring *ring = &access->rings[loop_index];
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) > access->ring_mask) {
        pthread_mutex_lock(&ring->lock); /* a worker that is late; else nothing would be lossless */
        take_notes(ring, access->options.batch);
        pthread_mutex_unlock(&ring->lock);
    }
    ring->notes[tail & access->ring_mask] = (struct dj_access_noted){.key = *key, .at_ms = now_ms};
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    if (((tail + 1) & access->eager_mask) == 0)
        post_drain(ring);
}

void dj_access_flush(struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.loop_count; i++)
        if (atomic_load(&access->rings[i].head) != atomic_load(&access->rings[i].tail))
            post_drain(&access->rings[i]);
}

/* ---- asking ---- */

void dj_access_get(struct dj_access *access, const struct dj_store_key *key,
                   struct dj_access_stats *out_stats)
{
    struct dj_access_shard *shard = dj_access_shard_of(access, key);
    dj_access_drain(access);
    pthread_mutex_lock(&shard->lock);
    const struct dj_access_row *row = dj_map_find(shard->rows, slice_of(key));
    *out_stats = (struct dj_access_stats){.hits = row ? row->hits : 0,
                                          .last_access_ms = row ? row->last_ms : 0};
    pthread_mutex_unlock(&shard->lock);
}

void dj_access_forget(struct dj_access *access, const struct dj_store_key *key)
{
    struct dj_access_shard *shard = dj_access_shard_of(access, key);
    dj_access_drain(access);
    pthread_mutex_lock(&shard->lock);
    struct dj_access_row *row = dj_map_find(shard->rows, slice_of(key));
    if (row)
        drop_row(shard, row);
    pthread_mutex_unlock(&shard->lock);
}

void dj_access_verdict(struct dj_access *access, const uint8_t tenant[DJ_ID_BYTES], bool is_wrong)
{
    const struct dj_access_sums sums = {.verdicts = 1, .verdicts_wrong = is_wrong ? 1 : 0};
    dj_access_add_sums(access, tenant, &sums, 0, true);
}

void dj_access_sums(struct dj_access *access, const uint8_t *tenant,
                    struct dj_access_sums *out_sums)
{
    dj_access_drain(access);
    pthread_mutex_lock(&access->tenants_lock);
    if (!tenant) {
        *out_sums = access->all;
    } else {
        const struct dj_access_tenant *found =
            dj_map_find(access->tenants, deja_slice(tenant, DJ_ID_BYTES));
        *out_sums = found ? found->sums : (struct dj_access_sums){0};
    }
    pthread_mutex_unlock(&access->tenants_lock);
}
