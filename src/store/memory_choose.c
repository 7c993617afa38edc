/* store/memory_choose.c - victims of lru, lfu and ttl: the first to go of a sample.
 *
 *   queue, newest first:  [ … … … … | the SAMPLE oldest ]   the sample moves to the front, but for
 *                                                           the node that goes
 *
 * A reader may not reorder a list, so there is no exact order to keep: hits and the last moment are
 * noted in the node, and a sample is compared. Its nodes come by again only after all others, so
 * nobody is looked at twice before everybody was. With up to SAMPLE nodes the choice is exact.
 */
#include "store/memory_internal.h"

enum { SAMPLE = 64, SKIP_MAX = 256 };

void dj_memory_touch(struct dj_memory_node *node, int64_t now_ms)
{
    /* Readers may lose a count to each other: it is a hint, and an atomic addition is not for the
     * hit path. */
    uint32_t hits = atomic_load_explicit(&node->hits, memory_order_relaxed);
    if (hits < UINT32_MAX)
        atomic_store_explicit(&node->hits, hits + 1, memory_order_relaxed);
    if (atomic_load_explicit(&node->last_ms, memory_order_relaxed) != now_ms)
        atomic_store_explicit(&node->last_ms, now_ms, memory_order_relaxed);
}

static struct dj_evict_facts facts_of(struct dj_memory_node *node)
{
    return (struct dj_evict_facts){.hits = atomic_load_explicit(&node->hits, memory_order_relaxed),
                                   .last_ms =
                                       atomic_load_explicit(&node->last_ms, memory_order_relaxed),
                                   .gone_ms = node->gone_ms};
}

static bool goes_before(const struct dj_memory_shard *shard, struct dj_memory_node *a,
                        struct dj_memory_node *b, int64_t now_ms)
{
    enum dj_evict_strategy strategy = shard->memory->options.strategy;
    bool is_gone = dj_store_is_gone(a->gone_ms, now_ms);
    if (is_gone != dj_store_is_gone(b->gone_ms, now_ms))
        return is_gone;
    if (strategy == DJ_EVICT_S3FIFO) /* one was asked for again, the other not */
        return atomic_load_explicit(&a->freq, memory_order_relaxed) <
               atomic_load_explicit(&b->freq, memory_order_relaxed);
    struct dj_evict_facts x = facts_of(a);
    struct dj_evict_facts y = facts_of(b);
    return dj_evict_goes_before(strategy, &x, &y, now_ms);
}

struct dj_memory_node *dj_memory_choose(struct dj_memory_shard *shard, bool is_over_only,
                                        int64_t now_ms)
{
    struct dj_list *nodes = &shard->small.nodes; /* all are there: nothing enters main */
    struct dj_memory_node *best = NULL;
    uint64_t met = 0;
    uint64_t visits_max = shard->small.count < SKIP_MAX ? shard->small.count : SKIP_MAX;
    for (uint64_t visits = 0; visits < visits_max && met < SAMPLE; visits++) {
        struct dj_memory_node *node = DJ_CONTAINER(nodes->prev, struct dj_memory_node, queue);
        dj_list_remove(&node->queue);
        dj_list_push_front(nodes, &node->queue);
        if (is_over_only && dj_list_is_empty(&node->row->over))
            continue;
        met++;
        if (!best || goes_before(shard, node, best, now_ms))
            best = node;
    }
    return best;
}

struct dj_memory_node *dj_memory_choose_of(struct dj_memory_shard *shard, struct dj_memory_row *row,
                                           int64_t now_ms)
{
    struct dj_memory_node *best = NULL;
    uint64_t visits_max = row->count < SAMPLE ? row->count : SAMPLE;
    for (uint64_t visits = 0; visits < visits_max && !dj_list_is_empty(&row->nodes); visits++) {
        struct dj_memory_node *node =
            DJ_CONTAINER(row->nodes.prev, struct dj_memory_node, siblings);
        dj_list_remove(&node->siblings);
        dj_list_push_front(&row->nodes, &node->siblings);
        if (!best || goes_before(shard, node, best, now_ms))
            best = node;
    }
    return best;
}
