/* store/redis_link.c - what one loop has to do with all servers.
 *
 * (1) A call is counted from dj_redis_send to dj_redis_call_end, whatever way it takes between, so
 *     that what is queued is bounded in number and bytes.
 * (2) `turn` runs once per turn of the loop in which something happened: it writes what was asked,
 *     ends connections that failed and tells calls that could not be sent. A callback never runs
 *     inside dj_redis_send.
 * (3) A redirect is followed here, a script the server does not know is sent whole, and one that
 *     it lets nobody run is done without (redis_plain.c); every other error is the caller's.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "store/redis_internal.h"

/* More than this under way on a connection, and the next call opens another. */
#define CONNECTION_CROWDED 512u
#define CHECK_IDLE_US 1000000u
#define BACKOFF_FIRST_MS 50u
#define BACKOFF_MAX_MS 1000u

static void on_turn(void *ctx);
static void on_timer(void *ctx);

static void init_lists(struct dj_redis_link *link)
{
    link->waiting_end = &link->waiting;
    link->failed_end = &link->failed;
    dj_list_init(&link->dying);
    dj_list_init(&link->plain_waiting);
    for (size_t i = 0; i < DJ_REDIS_NODES_MAX; i++)
        dj_list_init(&link->nodes[i].connections);
    memset(link->slots, 0xff, sizeof link->slots);
}

static enum deja_status create_link(struct dj_redis *redis, struct dj_loop *loop,
                                    struct dj_redis_link **out_link)
{
    struct dj_redis_link *link = dj_alloc_zeroed(1, sizeof *link);
    if (!link)
        return DEJA_ERR_NOMEM;
    link->redis = redis;
    link->loop = loop;
    init_lists(link);
    enum deja_status status = dj_timer_create(loop, link, on_timer, &link->timer);
    if (status != DEJA_OK) {
        dj_free(link);
        return status;
    }
    for (size_t i = 0; i < redis->options.address_count; i++) {
        uint32_t node = dj_redis_node_of(link, &redis->addresses[i]);
        link->nodes[node].is_seed = true;
        link->nodes[node].is_sentinel = redis->options.mode == DJ_REDIS_SENTINEL;
    }
    link->master = redis->options.mode == DJ_REDIS_STANDALONE ? 0 : DJ_REDIS_NODE_NONE;
    link->is_look_wanted = redis->options.mode != DJ_REDIS_STANDALONE;
    *out_link = link;
    return DEJA_OK;
}

enum deja_status dj_redis_link_of(struct dj_redis *redis, struct dj_loop *loop,
                                  struct dj_redis_link **out_link)
{
    uint32_t index = dj_loop_index(loop);
    assert(index < redis->options.loop_count && dj_loop_is_current(loop));
    if (redis->has_left[index])
        return DEJA_ERR_CANCELLED;
    if (!redis->links[index]) {
        enum deja_status status = create_link(redis, loop, &redis->links[index]);
        if (status != DEJA_OK)
            return status;
    }
    *out_link = redis->links[index];
    return DEJA_OK;
}

void dj_redis_link_destroy(struct dj_redis_link *link)
{
    if (!link)
        return;
    assert(link->has_left && link->under_way == 0);
    dj_unpacker_destroy(link->unpacker);
    dj_free(link);
}

/* ---- calls ---- */

void dj_redis_call_init(struct dj_redis_call *call, void *ctx, dj_redis_replied_fn *replied)
{
    *call = (struct dj_redis_call){.ctx = ctx,
                                   .replied = replied,
                                   .node = DJ_REDIS_NODE_NONE,
                                   .slot = DJ_REDIS_SLOTS,
                                   .script = DJ_REDIS_SCRIPT_NONE};
}

void dj_redis_call_key(struct dj_redis_call *call, struct deja_slice key)
{
    call->slot = dj_redis_slot(key);
}

static void count_out(struct dj_redis_call *call)
{
    struct dj_redis_link *link = call->link;
    if (call->is_inner || !link)
        return;
    link->under_way--;
    link->bytes_under_way -= call->bytes.len;
    atomic_fetch_sub_explicit(&link->redis->queued, 1, memory_order_relaxed);
}

void dj_redis_call_end(struct dj_redis_call *call, enum deja_status status,
                       const struct dj_redis_reply *reply)
{
    count_out(call);
    dj_buf_fini(&call->bytes);
    call->replied(call->ctx, status, reply); /* may free the call */
}

void dj_redis_link_failed(struct dj_redis_link *link, struct dj_redis_call *call,
                          enum deja_status status)
{
    call->failure = status;
    call->next = NULL;
    *link->failed_end = call;
    link->failed_end = &call->next;
    dj_redis_link_wake(link);
}

static struct dj_redis_connection *best_connection(struct dj_redis_node *node)
{
    struct dj_redis_connection *best = NULL;
    for (struct dj_list *at = node->connections.next; at != &node->connections; at = at->next) {
        struct dj_redis_connection *connection =
            DJ_CONTAINER(at, struct dj_redis_connection, member);
        if (!connection->is_own && (!best || connection->count < best->count))
            best = connection;
    }
    return best;
}

enum deja_status dj_redis_send_to(struct dj_redis_link *link, uint32_t index,
                                  struct dj_redis_call *call)
{
    struct dj_redis_node *node = &link->nodes[index];
    if (call->script != DJ_REDIS_SCRIPT_NONE &&
        atomic_load_explicit(&link->redis->is_scriptless, memory_order_relaxed))
        return dj_redis_plain_start(link, index, call);
    struct dj_redis_connection *best = best_connection(node);
    if (!best || (best->count >= CONNECTION_CROWDED && node->connection_count - node->own_count <
                                                           link->redis->options.connections_max)) {
        struct dj_redis_connection *fresh = NULL;
        bool may_dial = dj_loop_monotonic_us(link->loop) >= node->retry_at_us;
        enum deja_status status =
            may_dial ? dj_redis_connection_open(link, node, &fresh) : DEJA_ERR_IO;
        if (status == DEJA_OK)
            best = fresh;
        else if (!best)
            return status;
    }
    enum deja_status status = dj_redis_connection_send(best, call);
    if (status == DEJA_OK) /* a check is due when this has not been answered */
        dj_redis_link_watch(link, best->used_us + link->redis->options.read_ms * 1000ull);
    return status;
}

/* A server that can be spoken to now, where every one is as good: the next in turn. */
static uint32_t any_node(struct dj_redis_link *link)
{
    uint64_t now_us = dj_loop_monotonic_us(link->loop);
    uint32_t fallback = DJ_REDIS_NODE_NONE;
    for (uint32_t i = 0; i < link->node_count; i++) {
        uint32_t index = (link->rotor + i) % link->node_count;
        const struct dj_redis_node *node = &link->nodes[index];
        if (now_us < node->retry_at_us && node->connection_count == 0)
            continue;
        if (node->has_slots)
            return index;
        if (fallback == DJ_REDIS_NODE_NONE && node->is_seed)
            fallback = index;
    }
    return fallback;
}

static enum deja_status route(struct dj_redis_link *link, struct dj_redis_call *call)
{
    uint32_t node = call->node;
    if (node == DJ_REDIS_NODE_NONE && link->redis->options.mode == DJ_REDIS_CLUSTER) {
        if (call->slot < DJ_REDIS_SLOTS && link->slots[call->slot] != 0xff)
            node = link->slots[call->slot];
        else
            node = any_node(link);
        if (node == DJ_REDIS_NODE_NONE)
            return DEJA_ERR_IO;
    } else if (node == DJ_REDIS_NODE_NONE) {
        node = link->master;
    }
    if (node != DJ_REDIS_NODE_NONE)
        return dj_redis_send_to(link, node, call);
    call->next = NULL;
    call->at_us = dj_loop_monotonic_us(link->loop);
    *link->waiting_end = call;
    link->waiting_end = &call->next;
    dj_redis_link_watch(link, call->at_us + link->redis->options.dial_ms * 1000ull);
    dj_redis_look_again(link);
    return DEJA_OK;
}

enum deja_status dj_redis_send(struct dj_redis_link *link, struct dj_redis_call *call)
{
    const struct dj_redis_options *options = &link->redis->options;
    enum deja_status status = call->bytes.status;
    if (status != DEJA_OK)
        goto failed;
    status = link->has_left ? DEJA_ERR_CANCELLED : DEJA_ERR_BUSY;
    if (link->has_left || link->under_way >= options->queue_max ||
        link->bytes_under_way + call->bytes.len > options->queue_bytes_max)
        goto failed;
    call->link = link;
    link->under_way++;
    link->bytes_under_way += call->bytes.len;
    atomic_fetch_add_explicit(&link->redis->queued, 1, memory_order_relaxed);
    status = route(link, call);
    if (status == DEJA_OK)
        return DEJA_OK;
    count_out(call);
    if (status == DEJA_ERR_IO)
        dj_redis_look_again(link);
failed:
    dj_buf_fini(&call->bytes);
    return status;
}

/* ---- replies ---- */

/* Sends the call once more; where that cannot be, it fails in the next turn. */
static void send_again(struct dj_redis_link *link, struct dj_redis_call *call, uint32_t node)
{
    enum deja_status status = DEJA_ERR_IO;
    if (link->has_left)
        status = DEJA_ERR_CANCELLED;
    else if (node != DJ_REDIS_NODE_NONE)
        status = dj_redis_send_to(link, node, call);
    if (status != DEJA_OK)
        dj_redis_link_failed(link, call, status);
}

static void follow(struct dj_redis_connection *connection, struct dj_redis_call *call,
                   const struct dj_redis_redirect *redirect)
{
    struct dj_redis_link *link = connection->link;
    uint32_t node = dj_redis_node_of(link, &redirect->address);
    call->redirects++;
    call->is_asking = redirect->is_asking;
    if (!redirect->is_asking) {
        if (node != DJ_REDIS_NODE_NONE)
            link->slots[redirect->slot] = (uint8_t)node;
        dj_redis_look_again(link);
    }
    send_again(link, call, node);
}

static bool make_whole(struct dj_redis_call *call)
{
    struct dj_buf whole;
    dj_buf_init(&whole, 0);
    dj_redis_command_eval(&whole, call->script, dj_buf_slice(&call->bytes));
    if (whole.status != DEJA_OK) {
        dj_buf_fini(&whole);
        return false;
    }
    if (!call->is_inner)
        call->link->bytes_under_way += whole.len - call->bytes.len;
    dj_buf_fini(&call->bytes);
    call->bytes = whole;
    call->is_whole = true;
    return true;
}

void dj_redis_link_replied(struct dj_redis_connection *connection, struct dj_redis_call *call,
                           const struct dj_redis_reply *reply)
{
    struct dj_redis_link *link = connection->link;
    struct dj_redis_redirect redirect;
    if (reply->type == DJ_REDIS_ERROR) {
        if (call->redirects < DJ_REDIS_REDIRECTS_MAX && call->node == DJ_REDIS_NODE_NONE &&
            dj_redis_redirect_parse(reply, connection->node->address.host, &redirect)) {
            follow(connection, call, &redirect);
            return;
        }
        bool is_script = call->script != DJ_REDIS_SCRIPT_NONE;
        bool is_refused = is_script && !call->is_plain && dj_redis_is_script_refused(reply);
        if (is_refused)
            atomic_store_explicit(&link->redis->is_scriptless, true, memory_order_relaxed);
        if (is_refused || (is_script && !call->is_whole && dj_redis_is_error(reply, "NOSCRIPT") &&
                           make_whole(call))) {
            send_again(link, call, (uint32_t)(connection->node - link->nodes));
            return;
        }
        if (dj_redis_is_error(reply, "CLUSTERDOWN") || dj_redis_is_error(reply, "MOVED"))
            dj_redis_look_again(link);
        if (dj_redis_is_error(reply, "READONLY")) /* it was master when we connected */
            dj_redis_connection_fail(connection, DEJA_ERR_IO, "it has become a replica");
        if (dj_redis_status_of(reply) == DEJA_ERR_DENIED)
            dj_redis_note_trouble(link->redis, connection->node,
                                  "it says \"%.*s\": give the ACL user the rights in "
                                  "deploy/valkey.conf",
                                  reply->text.len < 160 ? (int)reply->text.len : 160,
                                  reply->text.data);
    }
    dj_redis_call_end(call, DEJA_OK, reply);
}

void dj_redis_link_unreachable(struct dj_redis_link *link, struct dj_redis_node *node)
{
    node->backoff_ms = node->backoff_ms ? 2 * node->backoff_ms : BACKOFF_FIRST_MS;
    if (node->backoff_ms > BACKOFF_MAX_MS)
        node->backoff_ms = BACKOFF_MAX_MS;
    node->retry_at_us = dj_loop_monotonic_us(link->loop) + node->backoff_ms * 1000ull;
    link->rotor++;
    if (!node->is_sentinel && link->redis->options.mode == DJ_REDIS_SENTINEL)
        link->master = DJ_REDIS_NODE_NONE;
    dj_redis_look_again(link);
}

/* ---- turns and time ---- */

void dj_redis_link_wake(struct dj_redis_link *link)
{
    if (link->is_turn_posted)
        return;
    link->is_turn_posted = true;
    link->turn = (struct dj_task){.run = on_turn, .ctx = link};
    dj_loop_post(link->loop, &link->turn);
}

void dj_redis_link_watch(struct dj_redis_link *link, uint64_t at_us)
{
    if (!link->timer || at_us == UINT64_MAX || (link->timer_at_us && link->timer_at_us <= at_us))
        return;
    uint64_t now_us = dj_loop_monotonic_us(link->loop);
    link->timer_at_us = at_us;
    dj_timer_start(link->timer, at_us > now_us ? (at_us - now_us) / 1000 + 1 : 1, 0);
}

static void end_failed(struct dj_redis_link *link)
{
    while (!dj_list_is_empty(&link->dying))
        dj_redis_connection_end(DJ_CONTAINER(link->dying.next, struct dj_redis_connection, member));
    struct dj_redis_call *call = link->failed;
    link->failed = NULL;
    link->failed_end = &link->failed;
    while (call) {
        struct dj_redis_call *next = call->next;
        dj_redis_call_end(call, call->failure, NULL);
        call = next;
    }
}

/* The timer is what keeps the loop alive until a name that is being looked up is there. */
static void close_timer(struct dj_redis_link *link)
{
    if (link->resolving > 0)
        return;
    dj_timer_destroy(link->timer);
    link->timer = NULL;
}

static void flush_node(struct dj_redis_node *node)
{
    struct dj_list *next = NULL;
    for (struct dj_list *at = node->connections.next; at != &node->connections; at = next) {
        next = at->next; /* a flush may move it to the dying */
        struct dj_redis_connection *connection =
            DJ_CONTAINER(at, struct dj_redis_connection, member);
        if (connection->has_output)
            dj_redis_connection_flush(connection);
    }
}

static void on_turn(void *ctx)
{
    struct dj_redis_link *link = ctx;
    link->is_turn_posted = false;
    if (link->has_left) {
        end_failed(link);
        if (link->timer)
            close_timer(link);
        return;
    }
    dj_redis_look_now(link, dj_loop_monotonic_us(link->loop));
    for (uint32_t i = 0; i < link->node_count; i++)
        if (link->nodes[i].connection_count > 0)
            flush_node(&link->nodes[i]);
    end_failed(link);
}

/* Idle ones go, but for the last idle_min of a server. */
static uint64_t check_node(struct dj_redis_link *link, struct dj_redis_node *node, uint64_t now_us)
{
    const struct dj_redis_options *options = &link->redis->options;
    uint64_t next_us = UINT64_MAX;
    struct dj_list *next = NULL;
    for (struct dj_list *at = node->connections.next; at != &node->connections; at = next) {
        next = at->next;
        struct dj_redis_connection *connection =
            DJ_CONTAINER(at, struct dj_redis_connection, member);
        bool is_idle = connection->state == DJ_REDIS_READY && connection->count == 0 &&
                       !connection->channel &&
                       now_us >= connection->used_us + options->idle_ms * 1000ull;
        if (is_idle && node->connection_count > (node->is_sentinel ? 0 : options->idle_min)) {
            dj_redis_connection_fail(connection, DEJA_ERR_IO, NULL);
            continue;
        }
        uint64_t at_us = dj_redis_connection_check(connection, now_us);
        if (at_us < next_us)
            next_us = at_us;
    }
    return next_us;
}

static void check_waiting(struct dj_redis_link *link, uint64_t now_us)
{
    uint64_t limit_us = link->redis->options.dial_ms * 1000ull;
    if (link->waiting && now_us >= link->waiting->at_us + limit_us)
        dj_redis_waiting_fail(link, DEJA_ERR_TIMEOUT);
}

static void on_timer(void *ctx)
{
    struct dj_redis_link *link = ctx;
    uint64_t now_us = dj_loop_monotonic_us(link->loop);
    uint64_t next_us = now_us + CHECK_IDLE_US;
    link->timer_at_us = 0;
    if (link->has_left)
        return;
    for (uint32_t i = 0; i < link->node_count; i++) {
        uint64_t at_us = check_node(link, &link->nodes[i], now_us);
        if (at_us < next_us)
            next_us = at_us;
    }
    check_waiting(link, now_us);
    dj_redis_look_now(link, now_us);
    dj_redis_measure(link, now_us);
    dj_redis_link_watch(link, next_us > now_us ? next_us : now_us + 1000);
}

void dj_redis_link_leave(struct dj_redis_link *link)
{
    if (link->has_left)
        return;
    link->has_left = true;
    uint32_t mine = dj_loop_index(link->loop) + 1;
    atomic_compare_exchange_strong(&link->redis->measurer, &mine, 0);
    for (uint32_t i = 0; i < link->node_count; i++) {
        struct dj_list *connections = &link->nodes[i].connections;
        while (!dj_list_is_empty(connections))
            dj_redis_connection_fail(
                DJ_CONTAINER(connections->next, struct dj_redis_connection, member),
                DEJA_ERR_CANCELLED, NULL);
    }
    dj_redis_waiting_fail(link, DEJA_ERR_CANCELLED);
    dj_redis_plain_leave(link);
    dj_redis_link_wake(link); /* callbacks run, and the timer goes, in the last turn */
}
