/* loop/poll.c - readiness of descriptors that other libraries own. */
#include <assert.h>

#include "base/alloc.h"
#include "loop/loop_internal.h"
#include "loop/stream.h"

struct dj_poll {
    uv_poll_t handle;
    struct dj_loop *loop;
    int events; /* libuv watches for these */
    void *ctx;
    dj_poll_fn *on_ready;
};

static void on_event(uv_poll_t *handle, int status, int events)
{
    struct dj_poll *poll = handle->data;
    int ready = 0;
    if (status < 0) /* libuv has ended it */
        poll->events = 0;
    if (events & UV_READABLE)
        ready |= DJ_POLL_READ;
    if (events & UV_WRITABLE)
        ready |= DJ_POLL_WRITE;
    poll->on_ready(poll->ctx, status < 0 ? -1 : ready);
}

static void on_closed(uv_handle_t *handle)
{
    struct dj_poll *poll = handle->data;
    poll->loop->handle_count--;
    dj_free(poll);
}

enum deja_status dj_poll_open(struct dj_loop *loop, int fd, void *ctx, dj_poll_fn *on_ready,
                              struct dj_poll **out_poll)
{
    assert(dj_loop_is_current(loop) && on_ready);
    struct dj_poll *poll = dj_alloc_zeroed(1, sizeof(*poll));
    if (!poll)
        return DEJA_ERR_NOMEM;
    int code = uv_poll_init(&loop->uv, &poll->handle, fd);
    if (code < 0) {
        dj_free(poll);
        return dj_loop_status_from_uv(code);
    }
    poll->handle.data = poll;
    poll->loop = loop;
    poll->ctx = ctx;
    poll->on_ready = on_ready;
    loop->handle_count++;
    *out_poll = poll;
    return DEJA_OK;
}

void dj_poll_set(struct dj_poll *poll, int events)
{
    assert(dj_loop_is_current(poll->loop));
    int wanted = 0;
    if (events & DJ_POLL_READ)
        wanted |= UV_READABLE;
    if (events & DJ_POLL_WRITE)
        wanted |= UV_WRITABLE;
    if (wanted == poll->events) /* libuv would forget the descriptor and add it anew */
        return;
    int code = uv_poll_start(&poll->handle, wanted, on_event); /* 0 events: stops */
    assert(code == 0);
    poll->events = wanted;
}

void dj_poll_close(struct dj_poll *poll)
{
    if (!poll)
        return;
    assert(dj_loop_is_current(poll->loop));
    uv_close((uv_handle_t *)&poll->handle, on_closed);
}
