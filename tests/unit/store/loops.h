/* loops.h - running loops for a test, and waiting for what they do. */
#ifndef DJ_TEST_STORE_LOOPS_H
#define DJ_TEST_STORE_LOOPS_H

#include <assert.h>
#include <pthread.h>

#include "loop/loop.h"
#include "store/store.h"

enum { LOOPS_MAX = 4 };

struct loops {
    struct dj_loop *loop[LOOPS_MAX];
    pthread_t thread[LOOPS_MAX];
    uint32_t count;
};

static inline void *run_loop(void *ctx)
{
    dj_loop_run(ctx);
    return NULL;
}

static inline void loops_create(struct loops *loops, uint32_t count)
{
    loops->count = count;
    for (uint32_t i = 0; i < count; i++) {
        enum deja_status status = dj_loop_create(i, &loops->loop[i]);
        assert(status == DEJA_OK);
    }
}

static inline void loops_start(struct loops *loops)
{
    for (uint32_t i = 0; i < loops->count; i++) {
        int code = pthread_create(&loops->thread[i], NULL, run_loop, loops->loop[i]);
        assert(code == 0);
    }
}

static inline void loops_stop(struct loops *loops)
{
    for (uint32_t i = 0; i < loops->count; i++) {
        dj_loop_stop(loops->loop[i]);
        pthread_join(loops->thread[i], NULL);
    }
}

static inline void loops_destroy(struct loops *loops)
{
    for (uint32_t i = 0; i < loops->count; i++)
        dj_loop_destroy(loops->loop[i]);
}

/* One asynchronous call of a store, made on its loop and waited for. */
struct call {
    struct dj_store *store;
    struct dj_loop *loop;
    enum { CALL_GET, CALL_PUT, CALL_REMOVE, CALL_CLEAR, CALL_LIST, CALL_SEARCH } kind;
    struct dj_store_key key;
    struct dj_value *value; /* put: borrowed; get: the result, owned */
    const float *vector;
    uint32_t dim;
    uint64_t version_max; /* remove; 0: any */
    struct dj_store_page *page;
    const struct dj_store_search *search;
    struct dj_store_match matches[DJ_STORE_MATCHES_MAX];
    uint32_t match_count;
    uint64_t removed;
    enum deja_status status;
    struct dj_task task;
    bool has_returned; /* the call itself, before its callback */
    bool was_early;
    bool is_done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static inline void call_finish(struct call *call, enum deja_status status)
{
    pthread_mutex_lock(&call->mutex);
    call->status = status;
    call->was_early = !call->has_returned;
    call->is_done = true;
    pthread_cond_signal(&call->cond);
    pthread_mutex_unlock(&call->mutex);
}

static inline void on_call_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct call *call = ctx;
    call->value = value;
    call_finish(call, status);
}

static inline void on_call_done(void *ctx, enum deja_status status, uint64_t removed)
{
    struct call *call = ctx;
    call->removed = removed;
    call_finish(call, status);
}

static inline void on_call_searched(void *ctx, enum deja_status status,
                                    const struct dj_store_match *matches, uint32_t count)
{
    struct call *call = ctx;
    call->match_count = count;
    if (count > 0)
        memcpy(call->matches, matches, count * sizeof *matches);
    call_finish(call, status);
}

static inline void on_call(void *ctx)
{
    struct call *call = ctx;
    const struct dj_store_ops *ops = call->store->ops;
    enum deja_status status = DEJA_ERR_INVALID;
    if (call->kind == CALL_GET)
        status = ops->get(call->store, call->loop, &call->key, call, on_call_got);
    else if (call->kind == CALL_PUT)
        status = ops->put(call->store, call->loop, call->value, call->vector, call->dim, call,
                          on_call_done);
    else if (call->kind == CALL_REMOVE)
        status =
            ops->remove(call->store, call->loop, &call->key,
                        call->version_max ? call->version_max : UINT64_MAX, call, on_call_done);
    else if (call->kind == CALL_LIST)
        status =
            ops->list(call->store, call->loop, call->key.tenant, call->page, call, on_call_done);
    else if (call->kind == CALL_SEARCH)
        status = ops->search(call->store, call->loop, call->search, call, on_call_searched);
    else
        status = ops->clear(call->store, call->loop, call->key.tenant, call, on_call_done);
    call->has_returned = true; /* the callback comes on this thread, later */
    if (status != DEJA_OK)
        call_finish(call, status);
}

static inline void call_wait(struct call *call)
{
    pthread_mutex_init(&call->mutex, NULL);
    pthread_cond_init(&call->cond, NULL);
    call->task = (struct dj_task){.run = on_call, .ctx = call};
    dj_loop_post(call->loop, &call->task);
    pthread_mutex_lock(&call->mutex);
    while (!call->is_done)
        pthread_cond_wait(&call->cond, &call->mutex);
    pthread_mutex_unlock(&call->mutex);
    assert(!call->was_early);
    pthread_mutex_destroy(&call->mutex);
    pthread_cond_destroy(&call->cond);
}

/* The value, owned, or NULL. */
static inline struct dj_value *wait_get(struct dj_store *store, struct dj_loop *loop,
                                        struct dj_store_key key)
{
    struct call call = {.store = store, .loop = loop, .kind = CALL_GET, .key = key};
    call_wait(&call);
    assert(call.status == DEJA_OK);
    return call.value;
}

/* Takes value. */
static inline enum deja_status wait_put(struct dj_store *store, struct dj_loop *loop,
                                        struct dj_value *value)
{
    struct call call = {.store = store, .loop = loop, .kind = CALL_PUT, .value = value};
    call_wait(&call);
    dj_value_unref(value);
    return call.status;
}

static inline uint64_t wait_remove(struct dj_store *store, struct dj_loop *loop,
                                   struct dj_store_key key)
{
    struct call call = {.store = store, .loop = loop, .kind = CALL_REMOVE, .key = key};
    call_wait(&call);
    assert(call.status == DEJA_OK);
    return call.removed;
}

static inline uint64_t wait_clear(struct dj_store *store, struct dj_loop *loop,
                                  struct dj_store_key key)
{
    struct call call = {.store = store, .loop = loop, .kind = CALL_CLEAR, .key = key};
    call_wait(&call);
    assert(call.status == DEJA_OK);
    return call.removed;
}

#endif
