/* store/memory_epoch.c - when an unlinked node may be freed.
 *
 *   reader (loop r)                    writer (home loop)
 *   a: E = epoch                       d: link = node->next        (unlink)
 *   b: readers[r] = E                  e: node->retired_at = epoch++
 *   c: walk the links                  f: look at every readers[r]
 *      readers[r] = 0                     free when each is 0 or above retired_at
 *
 * (1) a … f are sequentially consistent, so they have one order S. A reader that sees the node at c
 *     read a link older than d: b < c < d < e < f. So f sees b (or something later by the same
 *     reader, who then had left), and a < e means E <= retired_at: the node stays.
 * (2) A reader that f did not see comes after f in S, hence after d: it cannot find the node.
 * (3) The value is pinned by its own count inside the epoch; epochs protect only the walk.
 * (4) Per shard, so writers share no counter. A reader is in one shard at a time.
 *
 * No fences: TSan does not model them. On x86 c costs plain loads and b one exchange.
 */
#include "store/memory_internal.h"

#include "base/alloc.h"

void dj_memory_enter(struct dj_memory_shard *shard, uint32_t loop_index)
{
    atomic_store(&shard->readers[loop_index].epoch, atomic_load(&shard->epoch));
}

void dj_memory_leave(struct dj_memory_shard *shard, uint32_t loop_index)
{
    atomic_store_explicit(&shard->readers[loop_index].epoch, 0, memory_order_release);
}

void dj_memory_retire(struct dj_memory_shard *shard, struct dj_memory_node *node)
{
    node->retired_at = atomic_fetch_add(&shard->epoch, 1);
    dj_list_push_back(&shard->retired, &node->queue);
}

void dj_memory_reclaim(struct dj_memory_shard *shard)
{
    if (dj_list_is_empty(&shard->retired))
        return;
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < shard->memory->options.loop_count; i++) {
        uint64_t epoch = atomic_load(&shard->readers[i].epoch);
        if (epoch != 0 && epoch < oldest)
            oldest = epoch;
    }
    while (!dj_list_is_empty(&shard->retired)) {
        struct dj_memory_node *node =
            DJ_CONTAINER(shard->retired.next, struct dj_memory_node, queue);
        if (node->retired_at >= oldest)
            return;
        dj_list_remove(&node->queue);
        dj_value_unref(node->value);
        dj_free(node);
    }
}
