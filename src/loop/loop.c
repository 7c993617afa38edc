/* loop/loop.c - libuv with one wakeup handle and a list of posted tasks.
 *
 *   dj_loop_post: push on `tasks` (any thread) --first of a batch--> another thread: uv_async_send
 *                                                └─the loop's own: it does not wait (hurry)
 *   run_tasks:    take the whole list, reverse it, run it             (the loop's thread), when it
 *                 is woken and after each look at the sockets
 *
 * (1) Taking is one exchange of the whole list, so a popped node can never come back under a
 *     pusher's hands (no ABA), and one batch costs one wakeup.
 * (2) A task posted by a task runs in the next round, of which a turn has ROUNDS_MAX: a task that
 *     posts itself cannot starve I/O, and a short chain of them costs no call of the system.
 * (3) handle_count counts every handle of this room but `wakeup` and `hurry`; run() returns only at
 *     zero, so nothing libuv still knows is ever freed.
 * (4) Who finds the list not empty wakes nobody: its first task's poster did, or it was this thread
 *     and the list is taken before it waits.
 */
#include "loop/loop.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/alloc.h"
#include "loop/loop_internal.h"

#define ROUNDS_MAX 4

enum deja_status dj_loop_status_from_uv(int code)
{
    switch (code) {
    case UV_ENOMEM:
        return DEJA_ERR_NOMEM;
    case UV_ECANCELED:
        return DEJA_ERR_CANCELLED;
    case UV_EINVAL:
        return DEJA_ERR_INVALID;
    case UV_EADDRINUSE:
        return DEJA_ERR_BUSY;
    case UV_EACCES:
    case UV_EPERM:
        return DEJA_ERR_DENIED;
    case UV_ETIMEDOUT:
        return DEJA_ERR_TIMEOUT;
    default:
        return DEJA_ERR_IO;
    }
}

/* Runs what was posted before the call; false: there was nothing. */
static bool run_tasks(struct dj_loop *loop)
{
    uv_idle_stop(&loop->hurry); /* before: what the tasks post starts it anew */
    struct dj_task *newest = atomic_exchange_explicit(&loop->tasks, NULL, memory_order_acquire);
    struct dj_task *oldest = NULL;
    while (newest) {
        struct dj_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    if (!oldest)
        return false;
    while (oldest) {
        struct dj_task *task = oldest;
        oldest = task->next; /* run() may free the task */
        task->run(task->ctx);
    }
    return true;
}

static void on_wakeup(uv_async_t *handle)
{
    run_tasks(handle->data);
}

static void on_hurry(uv_idle_t *handle)
{
    (void)handle; /* that it is there is all: libuv looks at the sockets and comes back */
}

enum deja_status dj_loop_create(uint32_t index, struct dj_loop **out_loop)
{
    struct dj_loop *loop = dj_alloc_zeroed(1, sizeof(*loop));
    if (!loop)
        return DEJA_ERR_NOMEM;
    loop->index = index;
    loop->wall = &loop->wall_storage;
    int code = uv_loop_init(&loop->uv);
    if (code < 0) {
        dj_free(loop);
        return dj_loop_status_from_uv(code);
    }
    code = uv_async_init(&loop->uv, &loop->wakeup, on_wakeup);
    if (code < 0) {
        int closed = uv_loop_close(&loop->uv);
        assert(closed == 0);
        dj_free(loop);
        return dj_loop_status_from_uv(code);
    }
    loop->wakeup.data = loop;
    uv_idle_init(&loop->uv, &loop->hurry); /* cannot fail, nor can its start and stop */
    *out_loop = loop;
    return DEJA_OK;
}

void dj_loop_destroy(struct dj_loop *loop)
{
    if (!loop)
        return;
    assert(atomic_load(&loop->owner) == 0);
    /* What was posted late, and handles whose close was asked for outside run(). */
    do
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    while (run_tasks(loop));
    assert(loop->handle_count == 0);
    uv_close((uv_handle_t *)&loop->wakeup, NULL);
    uv_close((uv_handle_t *)&loop->hurry, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int code = uv_loop_close(&loop->uv);
    assert(code == 0);
    dj_free(loop);
}

void dj_loop_run(struct dj_loop *loop)
{
    /* A peer that is gone is an error code of write, not a signal; the mask is this thread's own.
     */
    sigset_t pipe_signal;
    sigset_t mask_before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    int code = pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask_before);
    assert(code == 0);

    uintptr_t nobody = 0;
    bool is_mine = atomic_compare_exchange_strong(&loop->owner, &nobody, (uintptr_t)pthread_self());
    assert(is_mine);
    while (!atomic_load_explicit(&loop->is_stopping, memory_order_acquire) ||
           loop->handle_count > 0) {
        uv_run(&loop->uv, UV_RUN_ONCE);
        for (int round = 0; round < ROUNDS_MAX && run_tasks(loop); round++) {
        }
    }
    run_tasks(loop);
    atomic_store(&loop->owner, 0);

    /* A SIGPIPE that waits behind the mask must not arrive when the mask is lifted. */
    const struct timespec no_wait = {0};
    while (sigtimedwait(&pipe_signal, NULL, &no_wait) == SIGPIPE)
        continue;
    code = pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
    assert(code == 0);
}

void dj_loop_stop(struct dj_loop *loop)
{
    atomic_store_explicit(&loop->is_stopping, true, memory_order_release);
    uv_async_send(&loop->wakeup);
}

uint32_t dj_loop_index(const struct dj_loop *loop)
{
    return loop->index;
}

bool dj_loop_is_current(const struct dj_loop *loop)
{
    uintptr_t owner = atomic_load_explicit(&loop->owner, memory_order_relaxed);
    return owner == 0 || owner == (uintptr_t)pthread_self();
}

void dj_loop_post(struct dj_loop *loop, struct dj_task *task)
{
    struct dj_task *head = atomic_load_explicit(&loop->tasks, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->tasks, &head, task, memory_order_release,
                                                  memory_order_relaxed));
    /* `task` may be gone by now. */
    if (head) /* (4) */
        return;
    if (atomic_load_explicit(&loop->owner, memory_order_relaxed) == (uintptr_t)pthread_self())
        uv_idle_start(&loop->hurry, on_hurry);
    else
        uv_async_send(&loop->wakeup);
}

int64_t dj_clock_now_ms(void)
{
    struct timespec now;
    int code = clock_gettime(CLOCK_REALTIME, &now);
    assert(code == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t dj_clock_monotonic_ns(void)
{
    return uv_hrtime();
}

uint64_t dj_clock_monotonic_us(void)
{
    return dj_clock_monotonic_ns() / 1000;
}

int64_t dj_loop_now_ms(const struct dj_loop *loop)
{
    assert(dj_loop_is_current(loop));
    uint64_t at_ms = uv_now(&loop->uv);
    if (loop->wall->now_ms == 0 || loop->wall->at_ms != at_ms) {
        loop->wall->at_ms = at_ms;
        loop->wall->now_ms = dj_clock_now_ms();
    }
    return loop->wall->now_ms;
}

uint64_t dj_loop_turn_us(const struct dj_loop *loop)
{
    return uv_now(&loop->uv) * 1000; /* libuv reads the same clock for it */
}

uint64_t dj_loop_monotonic_us(const struct dj_loop *loop)
{
    (void)loop;
    return dj_clock_monotonic_us();
}
