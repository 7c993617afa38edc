/* loop/pool.h - worker threads for what may block or takes long: embedding, index, LMDB, big
 * bodies.
 *
 * Bounded queue (I7). Threads: submit from any thread; work() on a worker; done() on the loop.
 */
#ifndef DJ_LOOP_POOL_H
#define DJ_LOOP_POOL_H

#include "loop/loop.h"

struct dj_pool;

typedef void dj_work_fn(void *ctx);

/* Embedded in its owner, who keeps it alive until done() ran. */
struct dj_job {
    struct dj_job *next; /* the pool's, while queued */
    dj_work_fn *work;    /* on a worker */
    dj_task_fn *done;    /* on loop, exactly once, after work; NULL: nobody is told */
    void *ctx;           /* for both */
    struct dj_loop *loop;
    struct dj_task task;
};

/* name: for the thread names, at most 12 characters. */
enum deja_status dj_pool_create(const char *name, uint32_t thread_count, uint32_t queue_max,
                                struct dj_pool **out_pool) DEJA_NODISCARD;
/* Jobs that wait are still worked on; returns when the workers ended. Accepts NULL. */
void dj_pool_destroy(struct dj_pool *pool);

/* Fill work, done, ctx, loop first. DEJA_ERR_BUSY: queue full, nothing will be called. */
enum deja_status dj_pool_submit(struct dj_pool *pool, struct dj_job *job) DEJA_NODISCARD;
uint32_t dj_pool_queued(const struct dj_pool *pool); /* any thread, for gauges */

#endif
