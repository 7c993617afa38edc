/* cache/semantic.c - see semantic.h.
 *
 * Pending jobs are a list under one mutex. At most `workers_max` drain jobs run in the pool; each
 * takes up to a batch, embeds it at once, then searches or inserts for each and posts the results.
 * Lock order: pending lock and index lock are never held together.
 */
#include "cache/semantic.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"
#include "embed/memo.h"

#define BATCH_MAX 32u
#define DRAINS_MAX 2u
#define TENANTS_MAX 20000u
#define SEEN_SLOTS 65536u
#define MEMO_ENTRIES_MAX 10000u
#define MEMO_BYTES_MAX (32u << 20)

struct drain {
    struct dj_job job;
    struct dj_semantic *semantic;
    bool is_running; /* under the pending lock */
    float *vectors;  /* BATCH_MAX * dim */
    struct dj_buf key;
};

struct dj_semantic {
    struct dj_pool *pool;
    struct dj_embedder *embedder;
    struct dj_memo *memo;
    uint32_t vectors_max;

    pthread_mutex_t pending_lock;
    struct dj_semantic_job *first;
    struct dj_semantic_job **last;
    uint32_t pending_count;
    struct drain drains[DRAINS_MAX];

    pthread_rwlock_t index_lock;
    struct dj_map *indexes; /* tenant -> struct dj_flat */

    _Atomic uint32_t *seen; /* scope fingerprints, overwritten freely */
};

static uint64_t hash_tenant(void *ctx, struct deja_slice key)
{
    (void)ctx;
    uint64_t hash = 0;
    memcpy(&hash, key.data + 8, sizeof hash); /* past the UUID's version bits */
    return hash * 0x9E3779B97F4A7C15u;
}

enum deja_status dj_semantic_create(struct dj_pool *pool, struct dj_embedder *embedder,
                                    uint32_t vectors_max, struct dj_semantic **out_semantic)
{
    struct dj_semantic *s = dj_alloc_zeroed(1, sizeof *s);
    if (!s)
        return DEJA_ERR_NOMEM;
    s->pool = pool;
    s->embedder = embedder;
    s->vectors_max = vectors_max;
    s->last = &s->first;
    pthread_mutex_init(&s->pending_lock, NULL);
    pthread_rwlock_init(&s->index_lock, NULL);
    enum deja_status status = dj_map_create(TENANTS_MAX, hash_tenant, NULL, &s->indexes);
    if (status == DEJA_OK)
        status = dj_memo_create(embedder->dim, MEMO_ENTRIES_MAX, MEMO_BYTES_MAX, &s->memo);
    s->seen = dj_alloc_zeroed(SEEN_SLOTS, sizeof *s->seen);
    for (size_t i = 0; i < DRAINS_MAX && status == DEJA_OK; i++) {
        s->drains[i].semantic = s;
        s->drains[i].vectors = dj_alloc(sizeof(float) * BATCH_MAX * embedder->dim);
        if (!s->drains[i].vectors || !s->seen)
            status = DEJA_ERR_NOMEM;
    }
    if (status != DEJA_OK) {
        dj_semantic_destroy(s);
        return status;
    }
    *out_semantic = s;
    return DEJA_OK;
}

void dj_semantic_destroy(struct dj_semantic *semantic)
{
    if (!semantic)
        return;
    size_t cursor = 0;
    struct deja_slice key;
    void *index = NULL;
    while (semantic->indexes && dj_map_next(semantic->indexes, &cursor, &key, &index))
        dj_flat_destroy(index);
    dj_map_destroy(semantic->indexes);
    dj_memo_destroy(semantic->memo);
    for (size_t i = 0; i < DRAINS_MAX; i++) {
        dj_free(semantic->drains[i].vectors);
        dj_buf_fini(&semantic->drains[i].key);
    }
    dj_free(semantic->seen);
    pthread_mutex_destroy(&semantic->pending_lock);
    pthread_rwlock_destroy(&semantic->index_lock);
    dj_free(semantic);
}

struct dj_embedder *dj_semantic_embedder(const struct dj_semantic *semantic)
{
    return semantic->embedder;
}

/* ---- indexes ---- */

/* Indexes are made once per tenant and live as long as the room, so the pointer outlasts the lock.
 */
static struct dj_flat *find_index(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES])
{
    pthread_rwlock_rdlock(&semantic->index_lock);
    struct dj_flat *index = dj_map_find(semantic->indexes, deja_slice(tenant, DJ_ID_BYTES));
    pthread_rwlock_unlock(&semantic->index_lock);
    return index;
}

static enum deja_status make_index(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                                   struct dj_flat **out_index)
{
    struct deja_slice key = deja_slice(tenant, DJ_ID_BYTES);
    enum deja_status status = DEJA_OK;
    pthread_rwlock_wrlock(&semantic->index_lock);
    struct dj_flat *index = dj_map_find(semantic->indexes, key);
    if (!index) {
        status = dj_flat_create(semantic->embedder->dim, semantic->vectors_max, &index);
        if (status == DEJA_OK)
            status = dj_map_put(semantic->indexes, key, index, NULL);
        if (status != DEJA_OK) {
            dj_flat_destroy(index);
            index = NULL;
        }
    }
    pthread_rwlock_unlock(&semantic->index_lock);
    if (status == DEJA_OK)
        *out_index = index;
    return status;
}

enum deja_status dj_semantic_put(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                                 const uint8_t scope[DJ_ID_BYTES], const uint8_t id[DJ_ID_BYTES],
                                 const float *vector, int64_t expires_ms)
{
    struct dj_flat *index = find_index(semantic, tenant);
    enum deja_status status = index ? DEJA_OK : make_index(semantic, tenant, &index);
    return status == DEJA_OK ? dj_flat_put(index, scope, id, vector, expires_ms) : status;
}

void dj_semantic_remove(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                        const uint8_t id[DJ_ID_BYTES])
{
    struct dj_flat *index = find_index(semantic, tenant);
    if (index)
        dj_flat_remove(index, id);
}

void dj_semantic_clear(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_flat *index = find_index(semantic, tenant);
    if (index)
        dj_flat_clear(index);
}

uint32_t dj_semantic_scope_count(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                                 const uint8_t scope[DJ_ID_BYTES])
{
    struct dj_flat *index = find_index(semantic, tenant);
    return index ? dj_flat_scope_count(index, scope) : 0;
}

uint32_t dj_semantic_tenant_count(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES])
{
    struct dj_flat *index = find_index(semantic, tenant);
    return index ? dj_flat_count(index) : 0;
}

void dj_semantic_stats(struct dj_semantic *semantic, const uint8_t *tenant, uint64_t *out_vectors,
                       uint64_t *out_bytes)
{
    uint64_t vectors = 0;
    uint64_t bytes = 0;
    size_t cursor = 0;
    struct deja_slice key;
    void *index = NULL;
    pthread_rwlock_rdlock(&semantic->index_lock);
    while (dj_map_next(semantic->indexes, &cursor, &key, &index)) {
        if (tenant && memcmp(key.data, tenant, DJ_ID_BYTES) != 0)
            continue;
        vectors += dj_flat_count(index);
        bytes += dj_flat_bytes(index);
    }
    pthread_rwlock_unlock(&semantic->index_lock);
    *out_vectors = vectors;
    *out_bytes = bytes;
}

bool dj_semantic_is_scope_seen(struct dj_semantic *semantic, const uint8_t scope[DJ_ID_BYTES])
{
    uint32_t slot = 0;
    uint32_t mark = 0;
    memcpy(&slot, scope, sizeof slot);
    memcpy(&mark, scope + sizeof slot, sizeof mark);
    mark |= 1;
    return atomic_exchange_explicit(&semantic->seen[slot % SEEN_SLOTS], mark,
                                    memory_order_relaxed) == mark;
}

/* ---- the queue ---- */

static void search_job(struct dj_semantic *semantic, struct dj_semantic_job *job)
{
    struct dj_flat *index = find_index(semantic, job->tenant);
    uint64_t started = dj_clock_monotonic_us();
    job->match_count = 0;
    if (index && job->search == DJ_SEARCH_SCOPE)
        job->status = dj_flat_search(index, job->scope, job->vector, job->limit, job->now_ms,
                                     job->matches, &job->match_count);
    else if (index && job->search == DJ_SEARCH_ALL)
        job->status = dj_flat_search_all(index, job->vector, job->limit, job->now_ms, job->matches,
                                         &job->match_count);
    if (job->status == DEJA_OK && job->is_insert)
        job->status = dj_semantic_put(semantic, job->tenant, job->scope, job->id, job->vector,
                                      job->expires_ms);
    job->search_us = (uint32_t)(dj_clock_monotonic_us() - started);
}

/* The memo is asked under tenant and text: that somebody else asked the same must not show in the
 * time an answer takes (I1). data NULL: no memory, so no memo this time. */
static struct deja_slice memo_key(struct dj_buf *buf, const struct dj_semantic_job *job)
{
    dj_buf_clear(buf);
    dj_buf_append(buf, job->tenant, sizeof job->tenant);
    dj_buf_append_slice(buf, job->text);
    return buf->status == DEJA_OK ? dj_buf_slice(buf) : deja_slice(NULL, 0);
}

static bool recall(struct dj_semantic *semantic, struct dj_buf *buf, struct dj_semantic_job *job)
{
    struct deja_slice key = memo_key(buf, job);
    return key.data && dj_memo_get(semantic->memo, key, job->vector);
}

static void remember(struct dj_semantic *semantic, struct dj_buf *buf,
                     const struct dj_semantic_job *job)
{
    struct deja_slice key = memo_key(buf, job);
    if (key.data)
        dj_memo_put(semantic->memo, key, job->vector);
}

/* Fills the vectors of those jobs of the batch that have none. */
static void embed_batch(struct drain *drain, struct dj_semantic_job **batch, uint32_t count)
{
    struct dj_semantic *semantic = drain->semantic;
    uint32_t dim = semantic->embedder->dim;
    struct deja_slice texts[BATCH_MAX];
    struct dj_semantic_job *wanting[BATCH_MAX];
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (batch[i]->has_vector)
            continue;
        if (recall(semantic, &drain->key, batch[i])) {
            batch[i]->has_vector = true;
            continue;
        }
        texts[wanted] = batch[i]->text;
        wanting[wanted++] = batch[i];
    }
    if (!wanted)
        return;
    uint64_t started = dj_clock_monotonic_us();
    enum deja_status status = dj_embedder_embed(semantic->embedder, texts, wanted, drain->vectors);
    uint32_t took = (uint32_t)(dj_clock_monotonic_us() - started);
    for (uint32_t i = 0; i < wanted; i++) {
        wanting[i]->status = status;
        wanting[i]->embed_us = took;
        wanting[i]->has_vector = status == DEJA_OK;
        if (status != DEJA_OK)
            continue;
        memcpy(wanting[i]->vector, drain->vectors + (size_t)i * dim, sizeof(float) * dim);
        remember(semantic, &drain->key, wanting[i]);
    }
}

static uint32_t take_batch(struct drain *drain, struct dj_semantic_job **batch)
{
    struct dj_semantic *semantic = drain->semantic;
    uint32_t count = 0;
    uint32_t batch_max = semantic->embedder->batch_max;
    if (batch_max == 0 || batch_max > BATCH_MAX)
        batch_max = BATCH_MAX;
    pthread_mutex_lock(&semantic->pending_lock);
    while (count < batch_max && semantic->first) {
        batch[count++] = semantic->first;
        semantic->first = semantic->first->next;
        semantic->pending_count--;
    }
    if (!semantic->first)
        semantic->last = &semantic->first;
    if (!count)
        drain->is_running = false;
    pthread_mutex_unlock(&semantic->pending_lock);
    return count;
}

static void run_drain(void *ctx)
{
    struct drain *drain = ctx;
    struct dj_semantic_job *batch[BATCH_MAX];
    uint32_t count = 0;
    while ((count = take_batch(drain, batch)) > 0) {
        embed_batch(drain, batch, count);
        for (uint32_t i = 0; i < count; i++) {
            if (batch[i]->status == DEJA_OK)
                search_job(drain->semantic, batch[i]);
            batch[i]->task = (struct dj_task){.run = batch[i]->done, .ctx = batch[i]->ctx};
            dj_loop_post(batch[i]->loop, &batch[i]->task);
        }
    }
}

/* Starts a drain if one is idle; the pending lock is held. False: none runs and none could start.
 */
static bool start_drain(struct dj_semantic *semantic)
{
    bool is_any_running = false;
    for (size_t i = 0; i < DRAINS_MAX; i++) {
        struct drain *drain = &semantic->drains[i];
        if (drain->is_running) {
            is_any_running = true;
            continue;
        }
        drain->job = (struct dj_job){.work = run_drain, .ctx = drain};
        if (dj_pool_submit(semantic->pool, &drain->job) == DEJA_OK) {
            drain->is_running = true;
            return true;
        }
    }
    return is_any_running;
}

enum deja_status dj_semantic_submit(struct dj_semantic *semantic, struct dj_semantic_job *job)
{
    enum deja_status status = DEJA_OK;
    job->status = DEJA_OK;
    job->match_count = 0;
    job->embed_us = 0;
    job->search_us = 0;
    job->next = NULL;
    pthread_mutex_lock(&semantic->pending_lock);
    if (semantic->pending_count >= DJ_SEMANTIC_PENDING_MAX || !start_drain(semantic)) {
        status = DEJA_ERR_BUSY;
    } else {
        *semantic->last = job;
        semantic->last = &job->next;
        semantic->pending_count++;
    }
    pthread_mutex_unlock(&semantic->pending_lock);
    return status;
}
