/* cache/access_top.c - the entries of a tenant that were served most: a heap of k over all rows. */
#include "cache/access_internal.h"

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
    dj_access_drain(access);
    for (size_t i = 0; i < DJ_ACCESS_SHARDS; i++) {
        struct dj_access_shard *shard = &access->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (struct dj_list *node = shard->by_time.next; node != &shard->by_time;
             node = node->next) {
            const struct dj_access_row *row = DJ_CONTAINER(node, struct dj_access_row, by_time);
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
