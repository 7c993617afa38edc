/* net/crowd.h - the connections of one server, whatever they speak: accepted within bounds, looked
 * at by one coarse timer, drained.
 *
 * One timer looks at all of them: thousands of timers cost more, and limits of seconds need no
 * precision. A part of its server, as a member is of its connection. Threads: loop-bound.
 */
#ifndef DJ_NET_CROWD_H
#define DJ_NET_CROWD_H

#include <deja/base.h>

#include "base/list.h"
#include "loop/stream.h"

struct dj_crowd;
struct dj_http_addresses;

/* member: the node of a connection. */
typedef void dj_crowd_visit_fn(struct dj_list *member, uint64_t now_us);

struct dj_crowd_ops {
    /* Takes stream and joins; false: no memory, it is closed. */
    bool (*accept)(struct dj_crowd *crowd, struct dj_stream *stream);
    /* There are too many: takes stream, tells it if it can, closes it. */
    void (*refuse)(struct dj_crowd *crowd, struct dj_stream *stream);
    /* Optional (NULL): one that only waits is closed for a new one. */
    bool (*make_room)(struct dj_crowd *crowd);
    dj_crowd_visit_fn *sweep; /* time limits */
    dj_crowd_visit_fn *drain; /* ends after what was begun */
    dj_crowd_visit_fn *cut;   /* ends now */
};

struct dj_crowd {
    const struct dj_crowd_ops *ops;
    struct dj_loop *loop;
    struct dj_listener *listener;        /* NULL: not any more */
    struct dj_http_addresses *addresses; /* borrowed; NULL: they are not counted */
    uint32_t connections_max;
    uint16_t port;
    struct dj_list members; /* may hold some that have no client any more */
    uint32_t open_count;    /* those that have */
    bool is_visiting;       /* the list is being walked: nothing leaves it but who is visited */
    bool is_draining;
    struct dj_timer *sweep;
    struct dj_timer *drain_timer;
    struct dj_task drained_task;
    void *drained_ctx;
    dj_task_fn *drained; /* NULL: not asked, or told already */
};

/* ops, loop, addresses and connections_max are filled in, the rest is zeroed. On failure
 * dj_crowd_fini is still to be called. */
enum deja_status dj_crowd_init(struct dj_crowd *crowd) DEJA_NODISCARD;

/* Where a server listens. */
struct dj_crowd_place {
    int fd; /* as dj_listener_open_fd wants it; < 0: host and port */
    const char *host;
    uint16_t port;
};
/* shortest_ms: the shortest time limit there is: how often it is looked. */
enum deja_status dj_crowd_listen(struct dj_crowd *crowd, const struct dj_crowd_place *place,
                                 uint32_t shortest_ms, struct deja_error *error) DEJA_NODISCARD;

void dj_crowd_join(struct dj_crowd *crowd, struct dj_list *member);
/* Its stream is closed; it may stay on the list. */
void dj_crowd_closed_one(struct dj_crowd *crowd);
/* visit may take its own member off the list. */
void dj_crowd_each(struct dj_crowd *crowd, uint64_t now_us, dj_crowd_visit_fn *visit);

/* No new ones; those there are end after what they have begun, after timeout_ms at once. drained
 * runs once, later, and may end the server. Once. */
void dj_crowd_drain(struct dj_crowd *crowd, uint32_t timeout_ms, void *ctx, dj_task_fn *drained);

/* Nobody is open any more. */
void dj_crowd_fini(struct dj_crowd *crowd);

#endif
