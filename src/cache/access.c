/* cache/access.c - see access.h.
 *
 *   shards[hash of the key]   rows in a map, on a list by when they were served, and on a second
 *                             one while they differ from what the embedded tier has
 *
 * (1) tail is moved by the loop, head by who holds the ring's lock; a slot is written before tail
 *     passes it and read before head does.
 * (2) A shard's lock is held for one row, or for one walk over its share of the rows; a ring's lock
 *     is taken before a shard's, and no two of a kind are held together.
 */
#include "cache/access.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/map.h"

#define SHARDS 64u
#define ROWS_MAX_DEFAULT 262144u
#define TENANTS_MAX 20000u
#define BATCH_DEFAULT 100u
#define SIZE_PER_CORE 10000u
#define RING_MIN 128u
#define PIECE_MAX 1024u /* rows handed over in one go: the table's bound */

struct note {
    struct dj_store_key key;
    int64_t at_ms;
};

struct ring {
    pthread_mutex_t lock; /* the reader's */
    _Atomic(uint64_t) head;
    _Atomic(uint64_t) tail;
    struct note *notes; /* ring_mask + 1 */
    struct dj_job job;
    atomic_bool is_posted;
    struct dj_access *access;
};

struct row {
    struct dj_list by_time; /* in the shard's list, longest ago first */
    struct dj_list changed; /* in the shard's other list, or alone */
    struct dj_store_key key;
    uint64_t hits;
    int64_t last_ms;
};

struct shard {
    pthread_mutex_t lock;
    struct dj_map *rows; /* key -> struct row, owned */
    struct dj_list by_time;
    struct dj_list changed;
};

struct tenant {
    struct dj_access_sums sums;
    int64_t last_ms;
    bool is_changed;
};

struct dj_access {
    struct dj_access_options options;
    uint64_t ring_mask;  /* notes of a ring, a power of two, less one */
    uint64_t eager_mask; /* so many in a ring, less one, make a worker look before its time */
    struct ring *rings;  /* loop_count */
    struct shard shards[SHARDS];
    pthread_mutex_t tenants_lock; /* a leaf */
    struct dj_map *tenants;       /* id -> struct tenant, owned */
    struct dj_access_sums all;    /* under tenants_lock */
};

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

static enum deja_status open_ring(struct dj_access *access, struct ring *ring)
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
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&access->shards[i].lock, NULL);
        dj_list_init(&access->shards[i].by_time);
        dj_list_init(&access->shards[i].changed);
    }
    uint32_t share = access->options.rows_max / SHARDS + 1;
    enum deja_status status = dj_map_create(TENANTS_MAX, hash_tenant, NULL, &access->tenants);
    for (size_t i = 0; i < SHARDS && status == DEJA_OK; i++)
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
    for (size_t i = 0; i < SHARDS; i++) {
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

static struct shard *shard_of(struct dj_access *access, const struct dj_store_key *key)
{
    return &access->shards[hash_key(NULL, slice_of(key)) >> 58];
}

static void drop_row(struct shard *shard, struct row *row)
{
    dj_map_remove(shard->rows, slice_of(&row->key));
    dj_list_remove(&row->by_time);
    dj_list_remove(&row->changed);
    dj_free(row);
}

/* Under the shard's lock. NULL: no memory; the count of this entry is lost, the tenant's is not. */
static struct row *find_or_make(struct dj_access *access, struct shard *shard,
                                const struct dj_store_key *key)
{
    struct row *row = dj_map_find(shard->rows, slice_of(key));
    if (row)
        return row;
    if (dj_map_count(shard->rows) >= access->options.rows_max / SHARDS + 1)
        drop_row(shard, DJ_CONTAINER(shard->by_time.next, struct row, by_time));
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

static void add_hits(struct dj_access *access, const struct dj_store_key *key, uint64_t hits,
                     int64_t at_ms, bool is_changed)
{
    struct shard *shard = shard_of(access, key);
    pthread_mutex_lock(&shard->lock);
    struct row *row = find_or_make(access, shard, key);
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
static struct tenant *find_or_make_tenant(struct dj_access *access, const uint8_t id[DJ_ID_BYTES])
{
    struct deja_slice key = deja_slice(id, DJ_ID_BYTES);
    struct tenant *tenant = dj_map_find(access->tenants, key);
    if (tenant)
        return tenant;
    tenant = dj_alloc_zeroed(1, sizeof *tenant);
    if (!tenant || dj_map_put(access->tenants, key, tenant, NULL) != DEJA_OK) {
        dj_free(tenant);
        return NULL;
    }
    return tenant;
}

static void add_sums(struct dj_access *access, const uint8_t id[DJ_ID_BYTES],
                     const struct dj_access_sums *sums, int64_t at_ms, bool is_changed)
{
    pthread_mutex_lock(&access->tenants_lock);
    struct tenant *tenant = find_or_make_tenant(access, id);
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
static void take_notes(struct ring *ring, uint64_t count_max)
{
    struct dj_access *access = ring->access;
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    struct dj_access_sums sums = {0};
    const struct note *last = NULL;
    if (tail - head > count_max)
        tail = head + count_max;
    for (; head < tail; head++) {
        const struct note *note = &ring->notes[head & access->ring_mask];
        /* Notes of one tenant in a row are one addition to its sum. */
        if (last && memcmp(last->key.tenant, note->key.tenant, DJ_ID_BYTES) != 0) {
            add_sums(access, last->key.tenant, &sums, last->at_ms, true);
            sums.hits = 0;
        }
        add_hits(access, &note->key, 1, note->at_ms, true);
        sums.hits++;
        last = note;
    }
    if (last)
        add_sums(access, last->key.tenant, &sums, last->at_ms, true);
    atomic_store_explicit(&ring->head, head, memory_order_release);
}

static void drain(struct ring *ring)
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

static void drain_all(struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.loop_count; i++)
        drain(&access->rings[i]);
}

static void run_drain(void *ctx)
{
    struct ring *ring = ctx;
    atomic_store(&ring->is_posted, false); /* first: what comes meanwhile may ask again */
    drain(ring);
}

static void post_drain(struct ring *ring)
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
    struct ring *ring = &access->rings[loop_index];
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) > access->ring_mask) {
        pthread_mutex_lock(&ring->lock); /* a worker that is late; else nothing would be lossless */
        take_notes(ring, access->options.batch);
        pthread_mutex_unlock(&ring->lock);
    }
    ring->notes[tail & access->ring_mask] = (struct note){.key = *key, .at_ms = now_ms};
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
    struct shard *shard = shard_of(access, key);
    drain_all(access);
    pthread_mutex_lock(&shard->lock);
    const struct row *row = dj_map_find(shard->rows, slice_of(key));
    *out_stats = (struct dj_access_stats){.hits = row ? row->hits : 0,
                                          .last_access_ms = row ? row->last_ms : 0};
    pthread_mutex_unlock(&shard->lock);
}

void dj_access_forget(struct dj_access *access, const struct dj_store_key *key)
{
    struct shard *shard = shard_of(access, key);
    drain_all(access);
    pthread_mutex_lock(&shard->lock);
    struct row *row = dj_map_find(shard->rows, slice_of(key));
    if (row)
        drop_row(shard, row);
    pthread_mutex_unlock(&shard->lock);
}

static bool is_less(const struct dj_top_entry *a, const struct dj_top_entry *b)
{
    if (a->hits != b->hits)
        return a->hits < b->hits;
    if (a->last_access_ms != b->last_access_ms)
        return a->last_access_ms < b->last_access_ms;
    return memcmp(a->id, b->id, sizeof a->id) < 0;
}

/* The root is the least of those kept. */
static void sift_down(struct dj_top_entry *heap, uint32_t count, uint32_t at)
{
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (is_less(&heap[child], &heap[least]))
                least = child;
        if (least == at)
            return;
        struct dj_top_entry swapped = heap[at];
        heap[at] = heap[least];
        heap[least] = swapped;
        at = least;
    }
}

static void offer(struct dj_top_entry *heap, uint32_t *count, uint32_t k,
                  const struct dj_top_entry *entry)
{
    if (*count < k) {
        heap[(*count)++] = *entry;
        if (*count == k)
            for (uint32_t i = k / 2; i-- > 0;)
                sift_down(heap, k, i);
    } else if (is_less(&heap[0], entry)) {
        heap[0] = *entry;
        sift_down(heap, k, 0);
    }
}

uint32_t dj_access_top(struct dj_access *access, const uint8_t tenant[DJ_ID_BYTES], uint32_t k,
                       struct dj_top_entry *out_entries)
{
    uint32_t count = 0;
    drain_all(access);
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &access->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (struct dj_list *node = shard->by_time.next; node != &shard->by_time;
             node = node->next) {
            const struct row *row = DJ_CONTAINER(node, struct row, by_time);
            struct dj_top_entry entry = {.hits = row->hits, .last_access_ms = row->last_ms};
            memcpy(entry.id, row->key.id, sizeof entry.id);
            if (memcmp(row->key.tenant, tenant, DJ_ID_BYTES) == 0)
                offer(out_entries, &count, k, &entry);
        }
        pthread_mutex_unlock(&shard->lock);
    }
    if (count < k) /* not a heap yet */
        for (uint32_t i = count / 2; i-- > 0;)
            sift_down(out_entries, count, i);
    for (uint32_t left = count; left > 1; left--) {
        struct dj_top_entry least = out_entries[0];
        out_entries[0] = out_entries[left - 1];
        out_entries[left - 1] = least;
        sift_down(out_entries, left - 1, 0);
    }
    return count;
}

void dj_access_verdict(struct dj_access *access, const uint8_t tenant[DJ_ID_BYTES], bool is_wrong)
{
    const struct dj_access_sums sums = {.verdicts = 1, .verdicts_wrong = is_wrong ? 1 : 0};
    add_sums(access, tenant, &sums, 0, true);
}

void dj_access_sums(struct dj_access *access, const uint8_t *tenant,
                    struct dj_access_sums *out_sums)
{
    drain_all(access);
    pthread_mutex_lock(&access->tenants_lock);
    if (!tenant) {
        *out_sums = access->all;
    } else {
        const struct tenant *found = dj_map_find(access->tenants, deja_slice(tenant, DJ_ID_BYTES));
        *out_sums = found ? found->sums : (struct dj_access_sums){0};
    }
    pthread_mutex_unlock(&access->tenants_lock);
}

/* ---- keeping ---- */

static uint32_t take_changed(struct dj_access *access, uint32_t count_max,
                             struct dj_store_access *rows)
{
    uint32_t count = 0;
    for (size_t i = 0; i < SHARDS && count < count_max; i++) {
        struct shard *shard = &access->shards[i];
        pthread_mutex_lock(&shard->lock);
        while (count < count_max && !dj_list_is_empty(&shard->changed)) {
            struct row *row = DJ_CONTAINER(shard->changed.next, struct row, changed);
            dj_list_remove(&row->changed);
            rows[count++] = (struct dj_store_access){
                .key = row->key, .hits = row->hits, .last_ms = row->last_ms};
        }
        pthread_mutex_unlock(&shard->lock);
    }
    return count;
}

static uint32_t take_changed_tenants(struct dj_access *access, uint32_t count_max,
                                     struct dj_store_access *rows)
{
    uint32_t count = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *value = NULL;
    pthread_mutex_lock(&access->tenants_lock);
    while (count < count_max && dj_map_next(access->tenants, &cursor, &key, &value)) {
        struct tenant *tenant = value;
        if (!tenant->is_changed)
            continue;
        tenant->is_changed = false;
        struct dj_store_access *row = &rows[count++];
        *row = (struct dj_store_access){.hits = tenant->sums.hits,
                                        .last_ms = tenant->last_ms,
                                        .verdicts = tenant->sums.verdicts,
                                        .verdicts_wrong = tenant->sums.verdicts_wrong};
        memcpy(row->key.tenant, key.data, sizeof row->key.tenant);
    }
    pthread_mutex_unlock(&access->tenants_lock);
    return count;
}

/* They differ from what a tier has, still. */
static void put_back(struct dj_access *access, const struct dj_store_access *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct shard *shard = shard_of(access, &rows[i].key);
        pthread_mutex_lock(&shard->lock);
        struct row *row = dj_map_find(shard->rows, slice_of(&rows[i].key));
        if (row && dj_list_is_empty(&row->changed))
            dj_list_push_back(&shard->changed, &row->changed);
        pthread_mutex_unlock(&shard->lock);
    }
}

static void put_back_tenants(struct dj_access *access, const struct dj_store_access *rows,
                             uint32_t count)
{
    pthread_mutex_lock(&access->tenants_lock);
    for (uint32_t i = 0; i < count; i++) {
        struct tenant *tenant =
            dj_map_find(access->tenants, deja_slice(rows[i].key.tenant, DJ_ID_BYTES));
        if (tenant)
            tenant->is_changed = true;
    }
    pthread_mutex_unlock(&access->tenants_lock);
}

/* False: one of those that keep them has no room now. */
static bool hand_over(struct dj_access *access, const struct dj_store_access *rows, uint32_t count)
{
    bool is_taken = true;
    for (uint32_t i = 0; i < access->options.store_count; i++) {
        struct dj_store *store = access->options.stores[i];
        if (store->ops->keep_access && store->ops->keep_access(store, rows, count) != DEJA_OK)
            is_taken = false;
    }
    return is_taken;
}

static bool has_keeper(const struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.store_count; i++)
        if (access->options.stores[i]->ops->keep_access)
            return true;
    return false;
}

void dj_access_keep(struct dj_access *access)
{
    uint32_t piece = access->options.batch < PIECE_MAX ? access->options.batch : PIECE_MAX;
    struct dj_store_access *rows = has_keeper(access) ? dj_alloc(piece * sizeof *rows) : NULL;
    if (!rows)
        return;
    drain_all(access);
    uint32_t pieces_max = (access->options.rows_max + TENANTS_MAX) / piece + 2;
    bool is_tenants = false;
    bool is_taken = true;
    for (uint32_t i = 0; i < pieces_max && is_taken; i++) {
        uint32_t count = is_tenants ? 0 : take_changed(access, piece, rows);
        if (count == 0) {
            is_tenants = true;
            count = take_changed_tenants(access, piece, rows);
        }
        if (count == 0)
            break;
        is_taken = hand_over(access, rows, count);
        if (!is_taken && is_tenants)
            put_back_tenants(access, rows, count);
        else if (!is_taken)
            put_back(access, rows, count);
    }
    dj_free(rows);
}

static bool on_row(void *ctx, const struct dj_store_access *row)
{
    static const uint8_t no_id[DJ_ID_BYTES];
    struct dj_access *access = ctx;
    if (memcmp(row->key.id, no_id, DJ_ID_BYTES) == 0) {
        const struct dj_access_sums sums = {
            .hits = row->hits, .verdicts = row->verdicts, .verdicts_wrong = row->verdicts_wrong};
        add_sums(access, row->key.tenant, &sums, row->last_ms, false);
    } else {
        add_hits(access, &row->key, row->hits, row->last_ms, false);
    }
    return true;
}

void dj_access_load(struct dj_access *access)
{
    for (uint32_t i = 0; i < access->options.store_count; i++) {
        struct dj_store *store = access->options.stores[i];
        if (!store->ops->scan_access)
            continue;
        if (store->ops->scan_access(store, access, on_row) != DEJA_OK) {
            /* Counts begin anew: no reason not to serve. */
        }
        return; /* others keep the same */
    }
}
