/* loop/signal.c - signals as callbacks of the main loop. */
#include <assert.h>

#include "base/alloc.h"
#include "loop/loop_internal.h"

struct dj_signal {
    uv_signal_t handle;
    struct dj_loop *loop;
    void *ctx;
    dj_signal_fn *on_signal;
};

static void on_raised(uv_signal_t *handle, int signal_number)
{
    struct dj_signal *signal = handle->data;
    signal->on_signal(signal->ctx, signal_number);
}

static void on_closed(uv_handle_t *handle)
{
    struct dj_signal *signal = handle->data;
    signal->loop->handle_count--;
    dj_free(signal);
}

enum deja_status dj_signal_create(struct dj_loop *loop, int signal_number, void *ctx,
                                  dj_signal_fn *on_signal, struct dj_signal **out_signal)
{
    assert(dj_loop_is_current(loop) && on_signal);
    struct dj_signal *signal = dj_alloc_zeroed(1, sizeof(*signal));
    if (!signal)
        return DEJA_ERR_NOMEM;
    int code = uv_signal_init(&loop->uv, &signal->handle);
    if (code < 0) {
        dj_free(signal);
        return dj_loop_status_from_uv(code);
    }
    signal->handle.data = signal;
    signal->loop = loop;
    signal->ctx = ctx;
    signal->on_signal = on_signal;
    loop->handle_count++;
    code = uv_signal_start(&signal->handle, on_raised, signal_number);
    if (code < 0) {
        uv_close((uv_handle_t *)&signal->handle, on_closed);
        return dj_loop_status_from_uv(code);
    }
    *out_signal = signal;
    return DEJA_OK;
}

void dj_signal_destroy(struct dj_signal *signal)
{
    if (!signal)
        return;
    assert(dj_loop_is_current(signal->loop));
    uv_close((uv_handle_t *)&signal->handle, on_closed);
}
