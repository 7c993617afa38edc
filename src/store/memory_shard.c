/* store/memory_shard.c - a hash table with one writer and readers that never wait.
 *
 *   buckets[hash & mask] ──> node ──> node ──> NULL      links: atomic, written by the writer only
 *
 * (1) A node is complete before the store that links it, and its key never changes.
 * (2) A newer version takes the older one's place by one store: a reader finds one or the other,
 *     never neither.
 * (3) entries and bytes are reserved before a node is linked and given back when it is unlinked,
 *     so the tier's sums never pass their bounds.
 */
#include "store/memory_internal.h"

#include <assert.h>

#include "base/alloc.h"

enum { FREQ_MAX = 3, SWEEP_BUCKETS_MAX = 1024, BUCKETS_MIN = 64, BUCKETS_MAX = 1 << 28 };

static uint64_t power_of_two(uint64_t at_least)
{
    uint64_t size = BUCKETS_MIN;
    while (size < at_least && size < BUCKETS_MAX)
        size *= 2;
    return size;
}

static void queue_init(struct dj_memory_queue *queue)
{
    dj_list_init(&queue->nodes);
    queue->count = 0;
    queue->bytes = 0;
}

enum deja_status dj_memory_shard_init(struct dj_memory_shard *shard, struct dj_memory *memory,
                                      struct dj_loop *loop)
{
    const struct dj_memory_options *options = &memory->options;
    uint64_t share = options->entries_max / options->loop_count + 1;
    uint64_t bucket_count = power_of_two(share);
    shard->memory = memory;
    shard->loop = loop;
    dj_list_init(&shard->retired);
    dj_list_init(&shard->over_rows);
    queue_init(&shard->small);
    queue_init(&shard->main);
    shard->small_bytes_max = options->bytes_max / options->loop_count / 10;
    shard->small_count_max = share / 10;
    shard->bucket_mask = bucket_count - 1;
    shard->ghost_mask = bucket_count - 1;
    atomic_init(&shard->epoch, 1);
    shard->buckets = dj_alloc_zeroed(bucket_count, sizeof *shard->buckets);
    shard->ghosts = dj_alloc_zeroed(bucket_count, sizeof *shard->ghosts);
    size_t readers_bytes = options->loop_count * sizeof *shard->readers;
    shard->readers = dj_alloc_aligned(_Alignof(struct dj_memory_reader), readers_bytes);
    if (!shard->buckets || !shard->ghosts || !shard->readers)
        return DEJA_ERR_NOMEM;
    for (uint32_t i = 0; i < options->loop_count; i++)
        atomic_init(&shard->readers[i].epoch, 0);
    return dj_map_create(options->entries_max + 1, NULL, NULL, &shard->rows);
}

void dj_memory_shard_fini(struct dj_memory_shard *shard)
{
    if (shard->rows) {
        for (uint64_t i = 0; i <= shard->bucket_mask; i++) {
            struct dj_memory_node *node;
            while ((node = atomic_load_explicit(&shard->buckets[i], memory_order_relaxed)))
                dj_memory_shard_unlink(shard, node);
        }
        dj_memory_reclaim(shard);
        assert(dj_list_is_empty(&shard->retired));
    }
    dj_map_destroy(shard->rows);
    dj_free(shard->readers);
    dj_free(shard->ghosts);
    dj_free(shard->buckets);
}

static _Atomic(struct dj_memory_node *) *bucket_of(const struct dj_memory_shard *shard,
                                                   uint64_t hash)
{
    return &shard->buckets[hash & shard->bucket_mask];
}

/* The link that points to the key's node, or the NULL link at the chain's end. */
static _Atomic(struct dj_memory_node *) *link_of(const struct dj_memory_shard *shard,
                                                 const struct dj_store_key *key, uint64_t hash)
{
    _Atomic(struct dj_memory_node *) *link = bucket_of(shard, hash);
    struct dj_memory_node *node;
    while ((node = atomic_load_explicit(link, memory_order_relaxed))) {
        if (node->hash == hash && dj_store_key_is_equal(&node->key, key))
            return link;
        link = &node->next;
    }
    return link;
}

static bool has_lapsed(const struct dj_memory_shard *shard, struct dj_memory_node *node,
                       int64_t now_ms)
{
    return shard->memory->options.lease_ms &&
           now_ms >= atomic_load_explicit(&node->lease_ms, memory_order_relaxed);
}

struct dj_value *dj_memory_shard_find(struct dj_memory_shard *shard, uint32_t loop_index,
                                      const struct dj_store_key *key, bool is_lapsed,
                                      int64_t now_ms)
{
    struct dj_value *found = NULL;
    uint64_t hash = dj_store_key_hash(key);
    dj_memory_enter(shard, loop_index);
    /* Sequentially consistent loads: memory_epoch.c (1). */
    struct dj_memory_node *node = atomic_load(bucket_of(shard, hash));
    while (node && !(node->hash == hash && dj_store_key_is_equal(&node->key, key)))
        node = atomic_load(&node->next);
    if (node && !dj_store_is_gone(node->gone_ms, now_ms) &&
        has_lapsed(shard, node, now_ms) == is_lapsed) {
        found = dj_value_ref(node->value);
        /* Readers may lose a count to each other; it is a hint. Written only while it grows, so a
         * hot entry's cache line stays shared. */
        unsigned char freq = atomic_load_explicit(&node->freq, memory_order_relaxed);
        if (freq < FREQ_MAX)
            atomic_store_explicit(&node->freq, (unsigned char)(freq + 1), memory_order_relaxed);
        if (shard->memory->options.strategy != DJ_EVICT_S3FIFO)
            dj_memory_touch(node, now_ms);
    }
    dj_memory_leave(shard, loop_index);
    return found;
}

void dj_memory_begin_write(struct dj_memory_shard *shard)
{
    assert(dj_loop_is_current(shard->loop));
    bool is_taken = atomic_exchange_explicit(&shard->is_writing, true, memory_order_acquire);
    assert(!is_taken);
}

void dj_memory_end_write(struct dj_memory_shard *shard)
{
    dj_memory_reclaim(shard);
    atomic_store_explicit(&shard->is_writing, false, memory_order_release);
}

/* The node has left chain and queue: its counts, its row, its memory. */
static void drop(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    dj_list_remove(&node->siblings);
    atomic_fetch_sub_explicit(&shard->entries, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&shard->bytes, node->bytes, memory_order_relaxed);
    dj_memory_unreserve(shard, node->row->tenant, node->bytes);
    dj_memory_row_release(shard, node->row);
    node->row = NULL;
    dj_memory_retire(shard, node);
}

void dj_memory_shard_unlink(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    _Atomic(struct dj_memory_node *) *link = link_of(shard, &node->key, node->hash);
    atomic_store(link, atomic_load_explicit(&node->next, memory_order_relaxed));
    dj_memory_dequeue(shard, node);
    drop(shard, node);
}

/* Links the node where an older version of its key is, or else at the chain's end. */
static void link_node(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    dj_list_push_front(&node->row->nodes, &node->siblings);
    atomic_fetch_add_explicit(&shard->entries, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shard->bytes, node->bytes, memory_order_relaxed);
    _Atomic(struct dj_memory_node *) *link = link_of(shard, &node->key, node->hash);
    struct dj_memory_node *old = atomic_load_explicit(link, memory_order_relaxed);
    if (!old) {
        dj_memory_enqueue(shard, node);
        atomic_store(link, node);
        return;
    }
    unsigned char freq = atomic_load_explicit(&old->freq, memory_order_relaxed);
    atomic_init(&node->freq, freq);
    atomic_init(&node->hits, atomic_load_explicit(&old->hits, memory_order_relaxed));
    atomic_init(&node->next, atomic_load_explicit(&old->next, memory_order_relaxed));
    dj_memory_requeue_as(shard, old, node);
    atomic_store(link, node);
    drop(shard, old);
}

void dj_memory_note_gone(struct dj_memory_shard *shard, const struct dj_memory_node *node,
                         enum dj_gone_reason reason)
{
    struct dj_memory *memory = shard->memory;
    _Atomic(uint64_t) *count = reason == DJ_GONE_TTL ? &memory->expired : &memory->evictions;
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    if (memory->options.gone)
        memory->options.gone(memory->options.gone_ctx, dj_value_entry(node->value)->tenant, reason);
}

/* The entry's own end, or that of its stay. */
static int64_t gone_ms(const struct dj_memory_options *options, const struct dj_entry *entry,
                       int64_t now_ms)
{
    const struct dj_stay *stay = &options->stay;
    bool is_plain = entry->kind == DJ_ENTRY_PLAIN && options->plain_ttl_ms;
    int64_t stay_ms = stay->of ? stay->of(stay->ctx, entry, now_ms) : 0;
    return dj_store_stay_end(dj_store_gone_ms(entry), stay_ms,
                             is_plain ? options->plain_ttl_ms : options->ttl_ms, now_ms);
}

static bool put(struct dj_memory_shard *shard, struct dj_value *value, int64_t lease_ms,
                int64_t now_ms)
{
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key = dj_store_key_of(entry);
    uint64_t hash = dj_store_key_hash(&key);
    size_t bytes = dj_value_bytes(value) + sizeof(struct dj_memory_node);
    int64_t until_ms = gone_ms(&shard->memory->options, entry, now_ms);
    if (bytes > shard->memory->options.bytes_max)
        return false;
    struct dj_memory_node *old =
        atomic_load_explicit(link_of(shard, &key, hash), memory_order_relaxed);
    bool is_old_gone = old && dj_store_is_gone(old->gone_ms, now_ms);
    if (is_old_gone) {
        dj_memory_note_gone(shard, old, DJ_GONE_TTL);
        dj_memory_shard_unlink(shard, old);
    } else if (old && dj_value_entry(old->value)->version >= entry->version) {
        if (dj_value_entry(old->value)->version == entry->version)
            atomic_store_explicit(&old->lease_ms, lease_ms, memory_order_relaxed);
        return false;
    }
    if (dj_store_is_gone(until_ms, now_ms)) {
        /* What is over already still ends the version before it. */
        if (old && !is_old_gone)
            dj_memory_shard_unlink(shard, old);
        return false;
    }
    struct dj_memory_node *node = dj_alloc_zeroed(1, sizeof *node);
    if (!node)
        return false;
    node->row = dj_memory_row_acquire(shard, key.tenant);
    if (!node->row) {
        dj_free(node);
        return false;
    }
    if (!dj_memory_reserve(shard, node->row, bytes, now_ms)) {
        dj_memory_row_release(shard, node->row);
        dj_free(node);
        return false;
    }
    node->value = dj_value_ref(value);
    node->hash = hash;
    node->key = key;
    node->gone_ms = until_ms;
    atomic_init(&node->lease_ms, lease_ms);
    node->bytes = bytes;
    atomic_init(&node->last_ms, now_ms);
    link_node(shard, node);
    return true;
}

bool dj_memory_shard_put(struct dj_memory_shard *shard, struct dj_value *value, int64_t lease_ms,
                         int64_t now_ms)
{
    dj_memory_begin_write(shard);
    bool is_stored = put(shard, value, lease_ms, now_ms);
    dj_memory_end_write(shard);
    return is_stored;
}

bool dj_memory_shard_remove(struct dj_memory_shard *shard, const struct dj_store_key *key,
                            uint64_t version_max)
{
    dj_memory_begin_write(shard);
    uint64_t hash = dj_store_key_hash(key);
    struct dj_memory_node *node =
        atomic_load_explicit(link_of(shard, key, hash), memory_order_relaxed);
    if (node && dj_value_entry(node->value)->version > version_max)
        node = NULL;
    bool was_there = node && !dj_store_is_gone(node->gone_ms, dj_loop_now_ms(shard->loop));
    if (node)
        dj_memory_shard_unlink(shard, node);
    dj_memory_end_write(shard);
    return was_there;
}

/* The cursor is a bucket and, below it, how many of its chain were given already: a chain longer
 * than a page would not fit otherwise. */
bool dj_memory_shard_list(struct dj_memory_shard *shard, const uint8_t tenant[DJ_ID_BYTES],
                          int64_t now_ms, uint64_t *cursor, struct dj_store_page *page)
{
    assert(dj_loop_is_current(shard->loop)); /* the writer: nothing is unlinked meanwhile */
    uint64_t bucket = *cursor >> 16;
    uint64_t skip = *cursor & 0xffff;
    for (uint32_t i = 0; i < SWEEP_BUCKETS_MAX && bucket <= shard->bucket_mask; i++) {
        uint64_t index = 0;
        struct dj_memory_node *node =
            atomic_load_explicit(&shard->buckets[bucket], memory_order_relaxed);
        for (; node && index < 0xffff; index++) {
            bool is_wanted = index >= skip && !dj_store_is_gone(node->gone_ms, now_ms) &&
                             memcmp(node->key.tenant, tenant, DJ_ID_BYTES) == 0;
            if (is_wanted && page->count == DJ_STORE_PAGE_MAX) {
                *cursor = bucket << 16 | index;
                return true;
            }
            if (is_wanted)
                page->values[page->count++] = dj_value_ref(node->value);
            node = atomic_load_explicit(&node->next, memory_order_relaxed);
        }
        bucket++;
        skip = 0;
    }
    *cursor = bucket << 16;
    return bucket <= shard->bucket_mask;
}

uint64_t dj_memory_shard_clear(struct dj_memory_shard *shard, const uint8_t tenant[DJ_ID_BYTES],
                               uint64_t count_max)
{
    dj_memory_begin_write(shard);
    uint64_t removed = 0;
    struct deja_slice id = deja_slice(tenant, DJ_ID_BYTES);
    struct dj_memory_row *row;
    /* The row goes with its last node, so it is looked up each time. */
    while (removed < count_max && (row = dj_map_find(shard->rows, id))) {
        dj_memory_shard_unlink(shard,
                               DJ_CONTAINER(row->nodes.next, struct dj_memory_node, siblings));
        removed++;
    }
    dj_memory_end_write(shard);
    return removed;
}

uint32_t dj_memory_shard_turns(const struct dj_memory_shard *shard)
{
    return (uint32_t)(shard->bucket_mask / SWEEP_BUCKETS_MAX + 1);
}

uint64_t dj_memory_shard_sweep(struct dj_memory_shard *shard, int64_t now_ms)
{
    dj_memory_begin_write(shard);
    uint64_t removed = 0;
    uint64_t last =
        shard->bucket_mask < SWEEP_BUCKETS_MAX ? shard->bucket_mask : SWEEP_BUCKETS_MAX - 1;
    for (uint64_t i = 0; i <= last; i++) {
        uint64_t bucket = shard->sweep_bucket++ & shard->bucket_mask;
        struct dj_memory_node *node =
            atomic_load_explicit(&shard->buckets[bucket], memory_order_relaxed);
        while (node) {
            struct dj_memory_node *next = atomic_load_explicit(&node->next, memory_order_relaxed);
            if (dj_store_is_gone(node->gone_ms, now_ms)) {
                dj_memory_note_gone(shard, node, DJ_GONE_TTL);
                dj_memory_shard_unlink(shard, node);
                removed++;
            }
            node = next;
        }
    }
    dj_memory_end_write(shard);
    return removed;
}
