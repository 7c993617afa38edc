/* embed/memo.c - see memo.h.
 *
 * A list in order of use and a chained table over the same nodes; a node is one block: links, text
 * and vector. Strangers choose the texts and XXH3 is no keyed hash, so chains are bounded: a put
 * into a chain of CHAIN_MAX replaces its oldest node. Who collides hashes costs entries, not time.
 */
#include "embed/memo.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"

enum { CHAIN_MAX = 16 };

struct node {
    struct dj_list use; /* first */
    struct node *next;  /* in its chain, newest first */
    uint64_t hash;
    uint64_t put_ms;
    size_t text_len;
    float vector[]; /* dim floats, then the text */
};

struct dj_memo {
    pthread_mutex_t lock; /* a leaf: nothing is called under it but the allocator */
    struct dj_list uses;  /* most recent first */
    struct node **chains; /* owned */
    uint64_t mask;
    uint32_t dim;
    uint32_t entries_max;
    size_t bytes_max;
    struct dj_memo_stats stats;
};

static char *text_of(const struct dj_memo *memo, struct node *node)
{
    return (char *)(node->vector + memo->dim);
}

static size_t bytes_of(const struct dj_memo *memo, size_t text_len)
{
    return sizeof(struct node) + memo->dim * sizeof(float) + text_len;
}

enum deja_status dj_memo_create(uint32_t dim, uint32_t entries_max, size_t bytes_max,
                                struct dj_memo **out_memo)
{
    size_t chains = 16;
    while (chains < entries_max)
        chains *= 2;
    struct dj_memo *memo = dj_alloc_zeroed(1, sizeof *memo);
    if (!memo)
        return DEJA_ERR_NOMEM;
    memo->chains = dj_alloc_zeroed(chains, sizeof *memo->chains);
    if (!memo->chains) {
        dj_free(memo);
        return DEJA_ERR_NOMEM;
    }
    pthread_mutex_init(&memo->lock, NULL);
    dj_list_init(&memo->uses);
    memo->mask = chains - 1;
    memo->dim = dim;
    memo->entries_max = entries_max;
    memo->bytes_max = bytes_max;
    *out_memo = memo;
    return DEJA_OK;
}

static void drop(struct dj_memo *memo, struct node *node)
{
    struct node **link = &memo->chains[node->hash & memo->mask];
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    dj_list_remove(&node->use);
    memo->stats.entries--;
    memo->stats.bytes -= bytes_of(memo, node->text_len);
    dj_free(node);
}

static struct node *last_used(struct dj_memo *memo)
{
    return DJ_CONTAINER(memo->uses.prev, struct node, use);
}

static void drop_all(struct dj_memo *memo)
{
    while (!dj_list_is_empty(&memo->uses))
        drop(memo, last_used(memo));
}

void dj_memo_destroy(struct dj_memo *memo)
{
    if (!memo)
        return;
    drop_all(memo);
    pthread_mutex_destroy(&memo->lock);
    dj_free(memo->chains);
    dj_free(memo);
}

/* Sets *out_depth to the chain's length when the text is not in it. */
static struct node *find(struct dj_memo *memo, uint64_t hash, struct deja_slice text,
                         size_t *out_depth)
{
    size_t depth = 0;
    for (struct node *node = memo->chains[hash & memo->mask]; node; node = node->next, depth++) {
        if (node->hash == hash &&
            deja_slice_is_equal(text, deja_slice(text_of(memo, node), node->text_len)))
            return node;
    }
    *out_depth = depth;
    return NULL;
}

bool dj_memo_get(struct dj_memo *memo, struct deja_slice text, uint64_t since_ms, float *out)
{
    uint64_t hash = dj_hash64(text.data, text.len, (uintptr_t)memo);
    size_t depth = 0;
    pthread_mutex_lock(&memo->lock);
    struct node *node = find(memo, hash, text, &depth);
    if (node && node->put_ms < since_ms) {
        drop(memo, node);
        node = NULL;
    }
    if (node) {
        memcpy(out, node->vector, memo->dim * sizeof *out);
        dj_list_remove(&node->use);
        dj_list_push_front(&memo->uses, &node->use);
        memo->stats.hits++;
    } else {
        memo->stats.misses++;
    }
    pthread_mutex_unlock(&memo->lock);
    return node != NULL;
}

static void make_room(struct dj_memo *memo, uint64_t hash, size_t bytes, size_t depth)
{
    if (depth >= CHAIN_MAX) {
        struct node *oldest = memo->chains[hash & memo->mask];
        while (oldest->next)
            oldest = oldest->next;
        drop(memo, oldest);
    }
    while (memo->stats.entries >= memo->entries_max || memo->stats.bytes > memo->bytes_max - bytes)
        drop(memo, last_used(memo));
}

void dj_memo_put(struct dj_memo *memo, struct deja_slice text, uint64_t now_ms, const float *vector)
{
    uint64_t hash = dj_hash64(text.data, text.len, (uintptr_t)memo);
    size_t bytes = bytes_of(memo, text.len);
    if (text.len > memo->bytes_max || bytes > memo->bytes_max)
        return;
    struct node *made = dj_alloc(bytes);
    if (!made)
        return;
    made->hash = hash;
    made->put_ms = now_ms;
    made->text_len = text.len;
    memcpy(made->vector, vector, memo->dim * sizeof *vector);
    if (text.len)
        memcpy(text_of(memo, made), text.data, text.len);

    size_t depth = 0;
    pthread_mutex_lock(&memo->lock);
    struct node *old = find(memo, hash, text, &depth);
    if (old)
        drop(memo, old);
    make_room(memo, hash, bytes, depth);
    made->next = memo->chains[hash & memo->mask];
    memo->chains[hash & memo->mask] = made;
    dj_list_push_front(&memo->uses, &made->use);
    memo->stats.entries++;
    memo->stats.bytes += bytes;
    pthread_mutex_unlock(&memo->lock);
}

void dj_memo_clear(struct dj_memo *memo)
{
    pthread_mutex_lock(&memo->lock);
    drop_all(memo);
    pthread_mutex_unlock(&memo->lock);
}

struct dj_memo_stats dj_memo_stats(struct dj_memo *memo)
{
    pthread_mutex_lock(&memo->lock);
    struct dj_memo_stats stats = memo->stats;
    pthread_mutex_unlock(&memo->lock);
    return stats;
}
