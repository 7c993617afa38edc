/* net/crowd.c - see crowd.h. */
#include "net/crowd.h"

#include <assert.h>

#include "net/http_addresses.h"

enum { SWEEP_MS_MIN = 5, SWEEP_MS_MAX = 1000, SWEEPS_PER_TIMEOUT = 8 };

/* ---- members ---- */

static void on_accept(void *ctx, struct dj_stream *stream)
{
    struct dj_crowd *crowd = ctx;
    uint8_t peer[16];
    dj_stream_peer(stream, peer);
    if (crowd->addresses && !dj_http_addresses_enter(crowd->addresses, peer)) {
        crowd->ops->refuse(crowd, stream);
        return;
    }
    bool has_room = crowd->open_count < crowd->connections_max ||
                    (crowd->ops->make_room && crowd->ops->make_room(crowd));
    if (!has_room)
        crowd->ops->refuse(crowd, stream);
    else if (crowd->ops->accept(crowd, stream))
        return; /* leaves the table when it is closed */
    if (crowd->addresses)
        dj_http_addresses_leave(crowd->addresses, peer);
}

void dj_crowd_join(struct dj_crowd *crowd, struct dj_list *member)
{
    dj_list_push_back(&crowd->members, member);
    crowd->open_count++;
}

void dj_crowd_each(struct dj_crowd *crowd, uint64_t now_us, dj_crowd_visit_fn *visit)
{
    crowd->is_visiting = true;
    struct dj_list *node = crowd->members.next;
    while (node != &crowd->members) {
        struct dj_list *next = node->next; /* visit may take node itself off the list */
        visit(node, now_us);
        node = next;
    }
    crowd->is_visiting = false;
}

static void on_sweep(void *ctx)
{
    struct dj_crowd *crowd = ctx;
    dj_crowd_each(crowd, dj_loop_monotonic_us(crowd->loop), crowd->ops->sweep);
}

/* ---- drain ---- */

static void tell_drained(void *ctx)
{
    struct dj_crowd *crowd = ctx;
    dj_task_fn *drained = crowd->drained;
    crowd->drained = NULL;
    drained(crowd->drained_ctx); /* may end the server */
}

static void tell_if_drained(struct dj_crowd *crowd)
{
    if (!crowd->is_draining || crowd->open_count > 0 || !crowd->drained || crowd->drained_task.run)
        return;
    crowd->drained_task = (struct dj_task){.run = tell_drained, .ctx = crowd};
    dj_loop_post(crowd->loop, &crowd->drained_task);
}

void dj_crowd_closed_one(struct dj_crowd *crowd)
{
    crowd->open_count--;
    tell_if_drained(crowd);
}

static void on_drain_timeout(void *ctx)
{
    struct dj_crowd *crowd = ctx;
    dj_crowd_each(crowd, 0, crowd->ops->cut);
}

void dj_crowd_drain(struct dj_crowd *crowd, uint32_t timeout_ms, void *ctx, dj_task_fn *drained)
{
    assert(dj_loop_is_current(crowd->loop) && !crowd->is_draining && drained);
    crowd->is_draining = true;
    crowd->drained_ctx = ctx;
    crowd->drained = drained;
    dj_listener_close(crowd->listener);
    crowd->listener = NULL;
    dj_crowd_each(crowd, 0, crowd->ops->drain);
    dj_timer_start(crowd->drain_timer, timeout_ms, 0);
    tell_if_drained(crowd);
}

/* ---- life ---- */

enum deja_status dj_crowd_init(struct dj_crowd *crowd)
{
    assert(dj_loop_is_current(crowd->loop));
    dj_list_init(&crowd->members);
    enum deja_status status = dj_timer_create(crowd->loop, crowd, on_sweep, &crowd->sweep);
    if (status == DEJA_OK)
        status = dj_timer_create(crowd->loop, crowd, on_drain_timeout, &crowd->drain_timer);
    return status;
}

enum deja_status dj_crowd_listen(struct dj_crowd *crowd, const struct dj_crowd_place *place,
                                 uint32_t shortest_ms, struct deja_error *error)
{
    enum deja_status status =
        place->fd >= 0
            ? dj_listener_open_fd(crowd->loop, place->fd, crowd, on_accept, &crowd->listener, error)
            : dj_listener_open(crowd->loop, place->host, place->port, crowd, on_accept,
                               &crowd->listener, error);
    if (status != DEJA_OK)
        return status;
    uint64_t each_ms = shortest_ms / SWEEPS_PER_TIMEOUT;
    each_ms = each_ms < SWEEP_MS_MIN ? SWEEP_MS_MIN : each_ms;
    each_ms = each_ms > SWEEP_MS_MAX ? SWEEP_MS_MAX : each_ms;
    dj_timer_start(crowd->sweep, each_ms, each_ms);
    crowd->port = dj_listener_port(crowd->listener);
    return DEJA_OK;
}

void dj_crowd_fini(struct dj_crowd *crowd)
{
    assert(dj_loop_is_current(crowd->loop) && crowd->open_count == 0 && !crowd->drained);
    dj_listener_close(crowd->listener);
    dj_timer_destroy(crowd->sweep);
    dj_timer_destroy(crowd->drain_timer);
}
