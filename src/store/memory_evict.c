/* store/memory_evict.c - S3-FIFO: three queues and no clock (Yang et al., SOSP 2023).
 *
 *   new ──> small (10 %) ──asked again──> main (90 %) ──asked again──┐
 *              │ not asked                  │  ^─────────────────────┘ (freq - 1)
 *              v                            v not asked
 *            ghost (fingerprints only)     out
 *   a new one whose fingerprint is in ghost goes to main at once
 *
 * Departs from the paper: one hit is enough to leave small (answers are asked rarely and cost
 * much); the ghost is a table overwritten by slot, so "recent" means "not yet overwritten".
 *
 * Fair share: while some tenants are above theirs and others are not, only nodes of the former are
 * victims. The hand passes over other nodes, at most SKIP_MAX of them; then the first tenant above
 * its share gives its oldest. A lone tenant never meets this path.
 */
#include "store/memory_internal.h"

enum {
    SKIP_MAX = 64,
    TURNS_MAX = 256, /* readers raise freq while the hand goes round: it must end */
};

static uint32_t *ghost_slot(struct dj_memory_shard *shard, uint64_t hash)
{
    return &shard->ghosts[hash & shard->ghost_mask];
}

static uint32_t fingerprint(uint64_t hash)
{
    return (uint32_t)(hash >> 32) | 1u; /* 0 is an empty slot */
}

static void push(struct dj_memory_shard *shard, struct dj_memory_node *node, bool is_in_main)
{
    struct dj_memory_queue *queue = is_in_main ? &shard->main : &shard->small;
    node->is_in_main = is_in_main;
    dj_list_push_front(&queue->nodes, &node->queue);
    queue->count++;
    queue->bytes += node->bytes;
}

void dj_memory_enqueue(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    uint32_t *ghost = ghost_slot(shard, node->hash);
    bool was_here =
        shard->memory->options.strategy == DJ_EVICT_S3FIFO && *ghost == fingerprint(node->hash);
    if (was_here)
        *ghost = 0;
    push(shard, node, was_here);
}

void dj_memory_dequeue(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    struct dj_memory_queue *queue = node->is_in_main ? &shard->main : &shard->small;
    dj_list_remove(&node->queue);
    queue->count--;
    queue->bytes -= node->bytes;
}

void dj_memory_requeue_as(struct dj_memory_shard *shard, struct dj_memory_node *old,
                          struct dj_memory_node *fresh)
{
    struct dj_memory_queue *queue = old->is_in_main ? &shard->main : &shard->small;
    fresh->is_in_main = old->is_in_main;
    dj_list_insert_before(&old->queue, &fresh->queue);
    queue->count++;
    queue->bytes += fresh->bytes;
    dj_memory_dequeue(shard, old);
}

/* The oldest node of the queue that may be a victim; NULL: none within reach. */
static struct dj_memory_node *oldest(struct dj_memory_queue *queue, bool is_over_only)
{
    struct dj_list *at = queue->nodes.prev;
    for (int skipped = 0; at != &queue->nodes && skipped < SKIP_MAX; skipped++) {
        struct dj_memory_node *node = DJ_CONTAINER(at, struct dj_memory_node, queue);
        if (!is_over_only || !dj_list_is_empty(&node->row->over))
            return node;
        at = at->prev;
    }
    return NULL;
}

static struct dj_memory_node *candidate(struct dj_memory_shard *shard, bool is_over_only)
{
    bool is_small_full =
        shard->small.bytes > shard->small_bytes_max || shard->small.count > shard->small_count_max;
    struct dj_memory_queue *first = is_small_full ? &shard->small : &shard->main;
    struct dj_memory_queue *second = is_small_full ? &shard->main : &shard->small;
    struct dj_memory_node *node = oldest(first, is_over_only);
    return node ? node : oldest(second, is_over_only);
}

void dj_memory_evict_node(struct dj_memory_shard *shard, struct dj_memory_node *node, bool is_over,
                          int64_t now_ms)
{
    bool is_expired = dj_store_is_gone(node->gone_ms, now_ms);
    dj_memory_note_gone(shard, node,
                        is_expired ? DJ_GONE_TTL
                        : is_over  ? DJ_GONE_TENANT_LIMIT
                                   : DJ_GONE_SIZE);
    if (!is_expired && !node->is_in_main)
        *ghost_slot(shard, node->hash) = fingerprint(node->hash);
    dj_memory_shard_unlink(shard, node);
}

/* Gives the node its second chance; false: it has none. */
static bool spare(struct dj_memory_shard *shard, struct dj_memory_node *node, int64_t now_ms)
{
    unsigned char freq = atomic_load_explicit(&node->freq, memory_order_relaxed);
    if (freq == 0 || dj_store_is_gone(node->gone_ms, now_ms))
        return false;
    /* From small it starts anew; in main it has one life less. A hit lost here is harmless. */
    unsigned char left = node->is_in_main ? (unsigned char)(freq - 1) : 0;
    atomic_store_explicit(&node->freq, left, memory_order_relaxed);
    dj_memory_dequeue(shard, node);
    push(shard, node, true);
    return true;
}

static struct dj_memory_node *first_to_go(struct dj_memory_shard *shard, bool is_over_only,
                                          int64_t now_ms)
{
    if (shard->memory->options.strategy != DJ_EVICT_S3FIFO)
        return dj_memory_choose(shard, is_over_only, now_ms);
    struct dj_memory_node *node = candidate(shard, is_over_only);
    for (int turn = 0; turn < TURNS_MAX && node && spare(shard, node, now_ms); turn++)
        node = candidate(shard, is_over_only);
    return node;
}

bool dj_memory_evict_one(struct dj_memory_shard *shard, int64_t now_ms)
{
    bool is_over_only = shard->over_count > 0 && shard->over_count < dj_map_count(shard->rows);
    struct dj_memory_node *node = first_to_go(shard, is_over_only, now_ms);
    if (!node && is_over_only) {
        struct dj_memory_row *row = DJ_CONTAINER(shard->over_rows.next, struct dj_memory_row, over);
        if (!dj_list_is_empty(&row->nodes))
            node = DJ_CONTAINER(row->nodes.prev, struct dj_memory_node, siblings);
    }
    bool is_over = node && is_over_only;
    if (!node)
        node = first_to_go(shard, false, now_ms);
    if (!node)
        return false;
    dj_memory_evict_node(shard, node, is_over, now_ms);
    return true;
}
