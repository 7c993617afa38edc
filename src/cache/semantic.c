/* cache/semantic.c - see semantic.h.
 *
 * Pending jobs are a list under one mutex. At most `workers_max` drain jobs run in the pool; each
 * takes up to a batch, embeds it at once, then searches or inserts for each and posts the results.
 * The pending lock and those of the indexes are never held together.
 */
#include "cache/semantic.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/slice.h"
#include "embed/memo.h"

#define BATCH_MAX 32u
#define DRAINS_MAX 2u
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
    struct dj_embedder *embedder; /* NULL: callers' own vectors only */
    struct dj_memo *memo;         /* NULL without an embedder */

    pthread_mutex_t pending_lock;
    struct dj_semantic_job *first;
    struct dj_semantic_job **last;
    uint32_t pending_count;
    struct drain drains[DRAINS_MAX];

    struct dj_indexes *indexes;

    _Atomic uint32_t *seen; /* scope fingerprints, overwritten freely */
};

enum deja_status dj_semantic_create(struct dj_pool *pool, struct dj_embedder *embedder,
                                    uint32_t vectors_max, struct dj_semantic **out_semantic)
{
    struct dj_semantic *s = dj_alloc_zeroed(1, sizeof *s);
    if (!s)
        return DEJA_ERR_NOMEM;
    s->pool = pool;
    s->embedder = embedder;
    s->last = &s->first;
    pthread_mutex_init(&s->pending_lock, NULL);
    enum deja_status status = dj_indexes_create(vectors_max, &s->indexes);
    if (status == DEJA_OK && embedder)
        status = dj_memo_create(embedder->dim, MEMO_ENTRIES_MAX, MEMO_BYTES_MAX, &s->memo);
    s->seen = dj_alloc_zeroed(SEEN_SLOTS, sizeof *s->seen);
    for (size_t i = 0; i < DRAINS_MAX && status == DEJA_OK; i++) {
        s->drains[i].semantic = s;
        if (embedder)
            s->drains[i].vectors = dj_alloc(sizeof(float) * BATCH_MAX * embedder->dim);
        if ((embedder && !s->drains[i].vectors) || !s->seen)
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
    dj_indexes_destroy(semantic->indexes);
    dj_memo_destroy(semantic->memo);
    for (size_t i = 0; i < DRAINS_MAX; i++) {
        dj_free(semantic->drains[i].vectors);
        dj_buf_fini(&semantic->drains[i].key);
    }
    dj_free(semantic->seen);
    pthread_mutex_destroy(&semantic->pending_lock);
    dj_free(semantic);
}

struct dj_embedder *dj_semantic_embedder(const struct dj_semantic *semantic)
{
    return semantic->embedder;
}

enum deja_status dj_semantic_name(const struct dj_semantic *semantic, uint32_t dim,
                                  struct deja_slice embedder, char label[DJ_INDEX_LABEL_BYTES],
                                  struct dj_index_name *out_name)
{
    const struct dj_embedder *own = semantic->embedder;
    bool is_named = own && embedder.len && dj_slice_is(embedder, own->id);
    if (is_named && dim != own->dim)
        return DEJA_ERR_MISMATCH;
    if (is_named || (own && !embedder.len && dim == own->dim)) {
        *out_name = (struct dj_index_name){.label = deja_slice("", 0), .dim = dim};
        return DEJA_OK;
    }
    if (embedder.len >= DJ_INDEX_LABEL_BYTES)
        return DEJA_ERR_LIMIT;
    label[0] = DJ_INDEX_LABEL_MARK;
    if (embedder.len)
        memcpy(label + 1, embedder.data, embedder.len);
    *out_name = (struct dj_index_name){.label = deja_slice(label, embedder.len + 1), .dim = dim};
    return DEJA_OK;
}

struct dj_indexes *dj_semantic_indexes(struct dj_semantic *semantic)
{
    return semantic->indexes;
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
    struct dj_flat *index = dj_indexes_find(semantic->indexes, job->tenant, &job->name);
    uint64_t started = dj_clock_monotonic_us();
    job->match_count = 0;
    if (index && job->search == DJ_SEARCH_SCOPE)
        job->status = dj_flat_search(index, job->scope, job->vector, job->limit, job->now_ms,
                                     job->matches, &job->match_count);
    else if (index && job->search == DJ_SEARCH_ALL)
        job->status = dj_flat_search_all(index, job->vector, job->limit, job->now_ms, job->matches,
                                         &job->match_count);
    if (job->status == DEJA_OK && job->is_insert)
        job->status = dj_indexes_put(semantic->indexes, job->tenant, &job->name, job->scope,
                                     job->id, job->vector, job->expires_ms, job->version);
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

void dj_semantic_forget_texts(struct dj_semantic *semantic)
{
    if (semantic->memo)
        dj_memo_clear(semantic->memo);
}

static bool recall(struct dj_semantic *semantic, struct dj_buf *buf, struct dj_semantic_job *job)
{
    struct deja_slice key = memo_key(buf, job);
    uint64_t ttl_ms = semantic->embedder->memo_ttl_ms;
    uint64_t now_ms = dj_clock_monotonic_us() / 1000;
    uint64_t since_ms = ttl_ms && now_ms > ttl_ms ? now_ms - ttl_ms : 0;
    return key.data && dj_memo_get(semantic->memo, key, since_ms, job->vector);
}

static void remember(struct dj_semantic *semantic, struct dj_buf *buf,
                     const struct dj_semantic_job *job)
{
    struct deja_slice key = memo_key(buf, job);
    if (key.data)
        dj_memo_put(semantic->memo, key, dj_clock_monotonic_us() / 1000, job->vector);
}

/* Fills the vectors of those jobs of the batch that have none. */
static void embed_batch(struct drain *drain, struct dj_semantic_job **batch, uint32_t count)
{
    struct dj_semantic *semantic = drain->semantic;
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
    uint32_t dim = semantic->embedder->dim;
    uint64_t started = dj_clock_monotonic_us();
    enum deja_status status = dj_embedder_embed(semantic->embedder, texts, wanted, drain->vectors);
    /* One text that the embedder refuses must not cost the others theirs: each is asked alone. */
    bool is_apart = status == DEJA_ERR_INVALID && wanted > 1;
    uint32_t took = (uint32_t)(dj_clock_monotonic_us() - started);
    for (uint32_t i = 0; i < wanted; i++) {
        if (is_apart)
            status = dj_embedder_embed(semantic->embedder, &texts[i], 1,
                                       drain->vectors + (size_t)i * dim);
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
    uint32_t batch_max = semantic->embedder ? semantic->embedder->batch_max : 0;
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

enum deja_status dj_semantic_submit_all(struct dj_semantic *semantic, struct dj_semantic_job *first,
                                        uint32_t count)
{
    enum deja_status status = DEJA_OK;
    struct dj_semantic_job *last = first;
    for (struct dj_semantic_job *job = first; job; job = job->next) {
        job->status = DEJA_OK;
        job->match_count = 0;
        job->embed_us = 0;
        job->search_us = 0;
        last = job;
    }
    pthread_mutex_lock(&semantic->pending_lock);
    if (semantic->pending_count + count > DJ_SEMANTIC_PENDING_MAX || !start_drain(semantic)) {
        status = DEJA_ERR_BUSY;
    } else {
        *semantic->last = first;
        semantic->last = &last->next;
        semantic->pending_count += count;
    }
    pthread_mutex_unlock(&semantic->pending_lock);
    return status;
}

enum deja_status dj_semantic_submit(struct dj_semantic *semantic, struct dj_semantic_job *job)
{
    job->next = NULL;
    return dj_semantic_submit_all(semantic, job, 1);
}
