/* loop/timer.c - one libuv timer per object; memory dies in the close callback. */
#include <assert.h>

#include "base/alloc.h"
#include "loop/loop_internal.h"

struct dj_timer {
    uv_timer_t handle;
    struct dj_loop *loop;
    void *ctx;
    dj_timer_fn *on_timer;
    bool is_background;
};

static void on_fired(uv_timer_t *handle)
{
    struct dj_timer *timer = handle->data;
    timer->on_timer(timer->ctx);
}

static void on_closed(uv_handle_t *handle)
{
    struct dj_timer *timer = handle->data;
    if (!timer->is_background)
        timer->loop->handle_count--;
    dj_free(timer);
}

enum deja_status dj_timer_create(struct dj_loop *loop, void *ctx, dj_timer_fn *on_timer,
                                 struct dj_timer **out_timer)
{
    assert(dj_loop_is_current(loop) && on_timer);
    struct dj_timer *timer = dj_alloc_zeroed(1, sizeof(*timer));
    if (!timer)
        return DEJA_ERR_NOMEM;
    int code = uv_timer_init(&loop->uv, &timer->handle);
    assert(code == 0);
    timer->handle.data = timer;
    timer->loop = loop;
    timer->ctx = ctx;
    timer->on_timer = on_timer;
    loop->handle_count++;
    *out_timer = timer;
    return DEJA_OK;
}

void dj_timer_start(struct dj_timer *timer, uint64_t after_ms, uint64_t repeat_ms)
{
    assert(dj_loop_is_current(timer->loop));
    /* libuv counts from its cached time, which is old before run() and after a long callback. */
    uv_update_time(&timer->loop->uv);
    int code = uv_timer_start(&timer->handle, on_fired, after_ms, repeat_ms);
    assert(code == 0);
}

void dj_timer_stop(struct dj_timer *timer)
{
    assert(dj_loop_is_current(timer->loop));
    uv_timer_stop(&timer->handle);
}

void dj_timer_destroy(struct dj_timer *timer)
{
    if (!timer)
        return;
    assert(dj_loop_is_current(timer->loop));
    uv_close((uv_handle_t *)&timer->handle, on_closed);
}

void dj_timer_set_background(struct dj_timer *timer)
{
    assert(dj_loop_is_current(timer->loop) && !timer->is_background);
    timer->is_background = true;
    timer->loop->handle_count--;
}
