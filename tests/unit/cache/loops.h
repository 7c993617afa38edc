/* loops.h - running loops for a test, and steps of the test that run on one of them. */
#ifndef DJ_TEST_CACHE_LOOPS_H
#define DJ_TEST_CACHE_LOOPS_H

#include <assert.h>
#include <pthread.h>

#include "loop/loop.h"

enum { LOOPS = 3 };

struct loops {
    struct dj_loop *loop[LOOPS];
    pthread_t thread[LOOPS];
};

static inline void *run_loop(void *ctx)
{
    dj_loop_run(ctx);
    return NULL;
}

static inline void loops_start(struct loops *loops)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        enum deja_status status = dj_loop_create(i, &loops->loop[i]);
        assert(status == DEJA_OK);
        int code = pthread_create(&loops->thread[i], NULL, run_loop, loops->loop[i]);
        assert(code == 0);
    }
}

static inline void loops_stop(struct loops *loops)
{
    for (uint32_t i = 0; i < LOOPS; i++) {
        dj_loop_stop(loops->loop[i]);
        pthread_join(loops->thread[i], NULL);
    }
}

static inline void loops_destroy(struct loops *loops)
{
    for (uint32_t i = 0; i < LOOPS; i++)
        dj_loop_destroy(loops->loop[i]);
}

/* Something that happens once, and waiting for it. */
struct event {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool has_happened;
};

static inline void event_init(struct event *event)
{
    pthread_mutex_init(&event->mutex, NULL);
    pthread_cond_init(&event->cond, NULL);
    event->has_happened = false;
}

static inline void event_set(struct event *event)
{
    pthread_mutex_lock(&event->mutex);
    event->has_happened = true;
    pthread_cond_signal(&event->cond);
    pthread_mutex_unlock(&event->mutex);
}

static inline void event_wait(struct event *event)
{
    pthread_mutex_lock(&event->mutex);
    while (!event->has_happened)
        pthread_cond_wait(&event->cond, &event->mutex);
    pthread_mutex_unlock(&event->mutex);
    pthread_mutex_destroy(&event->mutex);
    pthread_cond_destroy(&event->cond);
}

struct step {
    struct event event;
    struct dj_task task;
    dj_task_fn *run;
    void *ctx;
};

static inline void run_step(void *ctx)
{
    struct step *step = ctx;
    step->run(step->ctx);
    event_set(&step->event);
}

/* Runs run(ctx) on the loop and waits. What was posted there before has run by then. */
static inline void on_loop(struct dj_loop *loop, dj_task_fn *run, void *ctx)
{
    struct step step = {.run = run, .ctx = ctx};
    event_init(&step.event);
    step.task = (struct dj_task){.run = run_step, .ctx = &step};
    dj_loop_post(loop, &step.task);
    event_wait(&step.event);
}

static inline void nothing(void *ctx)
{
    (void)ctx;
}

static inline void drain_loop(struct dj_loop *loop)
{
    on_loop(loop, nothing, NULL);
}

#endif
