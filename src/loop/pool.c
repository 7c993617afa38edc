/* loop/pool.c - threads that wait on one bounded first-in first-out queue.
 *
 * One lock, `mutex`, held only to move a job; nothing is called under it.
 */
#include "loop/pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/alloc.h"

enum { POOL_NAME_BYTES = 13, THREAD_NAME_BYTES = 16 };

struct dj_pool {
    pthread_mutex_t mutex;
    pthread_cond_t has_work;
    struct dj_job *first; /* oldest */
    struct dj_job *last;
    _Atomic(uint32_t) queued; /* changed under mutex */
    uint32_t queue_max;
    bool is_stopping;
    uint32_t thread_count; /* started */
    char name[POOL_NAME_BYTES];
    pthread_t threads[];
};

/* The oldest job, waits for one; NULL: the pool ends and the queue is empty. */
static struct dj_job *take_job(struct dj_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while (!pool->first && !pool->is_stopping)
        pthread_cond_wait(&pool->has_work, &pool->mutex);
    struct dj_job *job = pool->first;
    if (job) {
        pool->first = job->next;
        if (!pool->first)
            pool->last = NULL;
        atomic_fetch_sub_explicit(&pool->queued, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void *run_worker(void *ctx)
{
    struct dj_pool *pool = ctx;
    char name[THREAD_NAME_BYTES];
    snprintf(name, sizeof(name), "dj-%s", pool->name);
    prctl(PR_SET_NAME, name); /* a nameless thread works as well */
    for (;;) {
        struct dj_job *job = take_job(pool);
        if (!job)
            return NULL;
        /* Without done() nobody else ends the job, so work() may have freed it. */
        bool has_done = job->done != NULL;
        job->work(job->ctx);
        if (has_done)
            dj_loop_post(job->loop, &job->task);
    }
}

static bool start_threads(struct dj_pool *pool, uint32_t thread_count)
{
    /* Signals are the main loop's. */
    sigset_t all;
    sigset_t mask_before;
    sigfillset(&all);
    int code = pthread_sigmask(SIG_SETMASK, &all, &mask_before);
    assert(code == 0);
    bool is_complete = true;
    for (uint32_t i = 0; i < thread_count && is_complete; i++) {
        if (pthread_create(&pool->threads[i], NULL, run_worker, pool) == 0)
            pool->thread_count++;
        else
            is_complete = false;
    }
    code = pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
    assert(code == 0);
    return is_complete;
}

enum deja_status dj_pool_create(const char *name, uint32_t thread_count, uint32_t queue_max,
                                struct dj_pool **out_pool)
{
    size_t name_len = strlen(name);
    assert(name_len < POOL_NAME_BYTES && thread_count > 0 && thread_count <= 1024);
    struct dj_pool *pool =
        dj_alloc_zeroed(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    if (!pool)
        return DEJA_ERR_NOMEM;
    memcpy(pool->name, name, name_len);
    pool->queue_max = queue_max;
    int code = pthread_mutex_init(&pool->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&pool->has_work, NULL);
    assert(code == 0);
    if (!start_threads(pool, thread_count)) {
        dj_pool_destroy(pool);
        return DEJA_ERR_LIMIT;
    }
    *out_pool = pool;
    return DEJA_OK;
}

void dj_pool_destroy(struct dj_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->has_work);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        int code = pthread_join(pool->threads[i], NULL);
        assert(code == 0);
    }
    pthread_cond_destroy(&pool->has_work);
    pthread_mutex_destroy(&pool->mutex);
    dj_free(pool);
}

enum deja_status dj_pool_submit(struct dj_pool *pool, struct dj_job *job)
{
    assert(job->work && (job->loop || !job->done));
    job->next = NULL;
    job->task.run = job->done;
    job->task.ctx = job->ctx;
    pthread_mutex_lock(&pool->mutex);
    bool has_room = atomic_load_explicit(&pool->queued, memory_order_relaxed) < pool->queue_max;
    if (has_room) {
        if (pool->last)
            pool->last->next = job;
        else
            pool->first = job;
        pool->last = job;
        atomic_fetch_add_explicit(&pool->queued, 1, memory_order_relaxed);
        pthread_cond_signal(&pool->has_work);
    }
    pthread_mutex_unlock(&pool->mutex);
    return has_room ? DEJA_OK : DEJA_ERR_BUSY;
}

uint32_t dj_pool_queued(const struct dj_pool *pool)
{
    return atomic_load_explicit(&pool->queued, memory_order_relaxed);
}
