/* daemon/resp.h - the listeners for clients of Redis: one server per address and loop.
 *
 * Threads: as said.
 */
#ifndef DJ_DAEMON_RESP_H
#define DJ_DAEMON_RESP_H

#include "api/resp.h"
#include "daemon/settings.h"

struct dj_daemon;
struct dj_node;

#define DJ_RESP_LISTEN_MAX 8u

/* The daemon's part. */
struct dj_daemon_resp {
    struct dj_resp_api api;
    struct dj_resp_counters counters;
    int fds[DJ_RESP_LISTEN_MAX]; /* bound once for all loops; 0: none */
};
/* A loop's. */
struct dj_node_resp {
    struct dj_resp_server *servers[DJ_RESP_LISTEN_MAX];
    uint32_t count;
};

/* All servers of all loops, after the proxy's context was made; before the loops run. Does nothing
 * where resp.listen is empty. */
enum deja_status dj_daemon_open_resp(struct dj_daemon *daemon,
                                     struct deja_error *error) DEJA_NODISCARD;
/* On the node's loop; drained once per server. How many there are. */
uint32_t dj_daemon_drain_resp(struct dj_node *node, uint32_t timeout_ms, dj_task_fn *drained);
void dj_daemon_end_resp_node(struct dj_node *node); /* on its loop, after that */
void dj_daemon_end_resp(struct dj_daemon *daemon);  /* after the loops; half-made is fine */
/* "  redis      redis://127.0.0.1:6380", a line for each, to stderr. */
void dj_daemon_print_resp(const struct dj_daemon *daemon);

#endif
