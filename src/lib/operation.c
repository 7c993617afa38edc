/* lib/operation.c - one call from its caller to the loop and back; see lib_internal.h.
 *
 * (1) `under_way` counts operations from create to destroy; close waits for zero. `counted` leaves
 *     out those that were answered, so that who was answered can call again within the bound.
 * (2) The caller is told once: is_answered is set before it is called.
 * (3) A blocked caller is woken under its waiter's mutex, and only then may its stack go.
 */
#include <assert.h>

#include "base/alloc.h"
#include "lib/lib_internal.h"

enum deja_status dj_operation_create(struct deja *deja, uint32_t timeout_ms, dj_operation_fn *start,
                                     struct dj_operation **out_operation)
{
    enum deja_status status = DEJA_OK;
    struct dj_operation *operation = dj_alloc_zeroed(1, sizeof *operation);
    if (!operation)
        return DEJA_ERR_NOMEM;
    pthread_mutex_lock(&deja->mutex);
    if (deja->is_closing)
        status = DEJA_ERR_CANCELLED;
    else if (deja->counted >= deja->options.operations_max)
        status = DEJA_ERR_RATE_LIMITED;
    if (status == DEJA_OK) {
        deja->under_way++;
        deja->counted++;
    }
    pthread_mutex_unlock(&deja->mutex);
    if (status != DEJA_OK) {
        dj_free(operation);
        return status;
    }
    operation->deja = deja;
    operation->is_counted = true;
    operation->timeout_ms = timeout_ms;
    operation->start = start;
    dj_list_init(&operation->waiting);
    *out_operation = operation;
    return DEJA_OK;
}

/* Under mutex. */
static void stop_counting(struct dj_operation *operation)
{
    if (!operation->is_counted)
        return;
    operation->is_counted = false;
    operation->deja->counted--;
    operation->deja->bytes_counted -= operation->bytes;
}

void dj_operation_destroy(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    pthread_mutex_lock(&deja->mutex);
    stop_counting(operation);
    pthread_mutex_unlock(&deja->mutex);
    dj_timer_destroy(operation->timer);
    dj_sensitive_fini(&operation->verdict);
    if (operation->kv) {
        dj_plain_op_fini(&operation->kv->op);
        dj_plain_space_fini(&operation->kv->space);
    }
    dj_arena_fini(&operation->arena);
    dj_free(operation);
    pthread_mutex_lock(&deja->mutex);
    if (--deja->under_way == 0)
        pthread_cond_broadcast(&deja->is_idle);
    pthread_mutex_unlock(&deja->mutex);
}

void dj_operation_stop_timer(struct dj_operation *operation)
{
    dj_timer_destroy(operation->timer);
    operation->timer = NULL;
}

/* True: the caller is to be told now, by whoever asked. */
static bool begin_answer(struct dj_operation *operation, enum deja_status status)
{
    struct dj_counters *counters = &operation->deja->counters;
    if (operation->is_answered)
        return false;
    operation->is_answered = true;
    dj_operation_stop_timer(operation);
    if (status != DEJA_ERR_TIMEOUT) { /* it is freed next, and its caller may call again at once */
        pthread_mutex_lock(&operation->deja->mutex);
        stop_counting(operation);
        pthread_mutex_unlock(&operation->deja->mutex);
    }
    if (status == DEJA_ERR_TIMEOUT)
        atomic_fetch_add(&counters->timeouts, 1);
    else if (status != DEJA_OK)
        atomic_fetch_add(&counters->failures, 1);
    return true;
}

void dj_operation_answer(struct dj_operation *operation, enum deja_status status,
                         struct deja_answer *answer)
{
    if (begin_answer(operation, status))
        operation->on_answer(operation->ctx, status, answer);
    else
        deja_answer_release(answer); /* too late */
}

void dj_operation_done(struct dj_operation *operation, enum deja_status status, uint64_t count)
{
    if (begin_answer(operation, status) && operation->on_done)
        operation->on_done(operation->ctx, status, count);
}

static void fail(struct dj_operation *operation, enum deja_status status)
{
    if (operation->on_answer)
        dj_operation_answer(operation, status, NULL);
    else
        dj_operation_done(operation, status, 0);
}

static void on_timeout(void *ctx)
{
    struct dj_operation *operation = ctx;
    dj_operation_fn *expired = operation->expired;
    fail(operation, DEJA_ERR_TIMEOUT);
    if (expired)
        expired(operation); /* nobody else would end it */
}

static void run(void *ctx)
{
    struct dj_operation *operation = ctx;
    if (operation->timeout_ms != DEJA_NO_TIMEOUT) {
        enum deja_status status =
            dj_timer_create(operation->deja->loop, operation, on_timeout, &operation->timer);
        if (status != DEJA_OK) {
            fail(operation, status);
            dj_operation_destroy(operation);
            return;
        }
        dj_timer_start(operation->timer, operation->timeout_ms, 0);
    }
    operation->start(operation);
}

enum deja_status dj_operation_submit(struct dj_operation *operation)
{
    struct deja *deja = operation->deja;
    const struct dj_sensitive_verdict *copy = &operation->verdict;
    uint64_t bytes =
        operation->arena.used_bytes + copy->query.len + copy->body.len + copy->metadata.len;
    pthread_mutex_lock(&deja->mutex);
    bool has_room = deja->bytes_counted == 0 ||
                    deja->bytes_counted + bytes <= deja->options.operation_bytes_max;
    if (has_room) {
        deja->bytes_counted += bytes;
        operation->bytes = bytes;
    }
    pthread_mutex_unlock(&deja->mutex);
    if (!has_room)
        return DEJA_ERR_RATE_LIMITED;
    operation->task = (struct dj_task){.run = run, .ctx = operation};
    dj_loop_post(deja->loop, &operation->task);
    return DEJA_OK;
}

/* ---- blocked callers ---- */

enum deja_status dj_waiter_init(struct dj_waiter *waiter, const struct deja *deja)
{
    if (pthread_equal(pthread_self(), deja->thread))
        return DEJA_ERR_INVALID;
    *waiter = (struct dj_waiter){.is_done = false};
    int code = pthread_mutex_init(&waiter->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&waiter->changed, NULL);
    assert(code == 0);
    return DEJA_OK;
}

enum deja_status dj_waiter_wait(struct dj_waiter *waiter, enum deja_status submitted)
{
    pthread_mutex_lock(&waiter->mutex);
    while (submitted == DEJA_OK && !waiter->is_done) {
        struct dj_computation *computation = waiter->computation;
        waiter->computation = NULL;
        if (!computation) {
            pthread_cond_wait(&waiter->changed, &waiter->mutex);
            continue;
        }
        pthread_mutex_unlock(&waiter->mutex);
        dj_computation_run(computation);
        pthread_mutex_lock(&waiter->mutex);
    }
    pthread_mutex_unlock(&waiter->mutex);
    pthread_cond_destroy(&waiter->changed);
    pthread_mutex_destroy(&waiter->mutex);
    return submitted == DEJA_OK ? waiter->status : submitted;
}

static void wake(struct dj_waiter *waiter, enum deja_status status)
{
    waiter->status = status;
    waiter->is_done = true;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->mutex);
}

void dj_waiter_on_answer(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    struct dj_waiter *waiter = ctx;
    pthread_mutex_lock(&waiter->mutex);
    waiter->answer = answer;
    wake(waiter, status);
}

void dj_waiter_on_done(void *ctx, enum deja_status status, uint64_t count)
{
    struct dj_waiter *waiter = ctx;
    pthread_mutex_lock(&waiter->mutex);
    waiter->count = count;
    wake(waiter, status);
}

void dj_waiter_compute(struct dj_waiter *waiter, struct dj_computation *computation)
{
    pthread_mutex_lock(&waiter->mutex);
    waiter->computation = computation;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->mutex);
}
