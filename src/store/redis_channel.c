/* store/redis_channel.c - see redis_channel.h.
 *
 * (1) The connection is nobody else's: it is `is_own`, and what comes on it after the greeting goes
 *     to the channel: with RESP3 a push, with RESP2 an array, the same elements in both.
 * (2) It is pinged, for a socket that died without a word never says so by itself.
 */
#include "store/redis_channel.h"

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "store/redis_internal.h"

#define PING_US 10000000u
#define SILENT_US 30000000u

struct dj_redis_channel {
    struct dj_redis_channel_options options;
    struct dj_redis_connection *connection; /* NULL: none */
    bool is_subscribed;
    bool was_subscribed;
    uint64_t pinged_us;
};

/* ---- for the connection ---- */

static void say(struct dj_redis_connection *connection, const char *word, const char *argument)
{
    struct dj_buf bytes = {0};
    dj_redis_command(&bytes, argument ? 2 : 1);
    dj_redis_argument_text(&bytes, word);
    if (argument)
        dj_redis_argument_text(&bytes, argument);
    if (bytes.status != DEJA_OK ||
        redisAppendFormattedCommand(connection->wire, bytes.data, bytes.len) != REDIS_OK)
        dj_redis_connection_fail(connection, DEJA_ERR_NOMEM, "out of memory");
    else
        dj_redis_connection_flush(connection);
    dj_buf_fini(&bytes);
}

void dj_redis_channel_ready(struct dj_redis_channel *channel)
{
    channel->pinged_us = dj_loop_monotonic_us(channel->options.loop);
    say(channel->connection, "SUBSCRIBE", channel->options.name);
}

void dj_redis_channel_take(struct dj_redis_channel *channel, const struct dj_redis_reply *reply)
{
    struct deja_slice word = {0};
    struct deja_slice name = {0};
    struct deja_slice message = {0};
    if (reply->type == DJ_REDIS_ERROR) {
        dj_redis_note_trouble(channel->connection->link->redis, channel->connection->node,
                              "it says \"%.*s\" to SUBSCRIBE: give the ACL user the channel %s",
                              reply->text.len < 160 ? (int)reply->text.len : 160, reply->text.data,
                              channel->options.name);
        dj_redis_connection_fail(channel->connection, DEJA_ERR_DENIED, NULL);
        return;
    }
    if (!dj_redis_text(dj_redis_at(reply, 0), &word) ||
        !dj_redis_text(dj_redis_at(reply, 1), &name) || !dj_slice_is(name, channel->options.name))
        return; /* to a ping */
    if (dj_slice_is(word, "subscribe")) {
        bool is_again = channel->was_subscribed;
        channel->is_subscribed = channel->was_subscribed = true;
        if (channel->options.subscribed)
            channel->options.subscribed(channel->options.ctx, is_again);
    } else if (dj_slice_is(word, "message") && dj_redis_text(dj_redis_at(reply, 2), &message)) {
        channel->options.message(channel->options.ctx, message);
    }
}

void dj_redis_channel_gone(struct dj_redis_channel *channel)
{
    channel->connection = NULL;
    channel->is_subscribed = false;
}

/* ---- its own ---- */

enum deja_status dj_redis_channel_create(const struct dj_redis_channel_options *options,
                                         struct dj_redis_channel **out_channel)
{
    struct dj_redis_channel *channel = dj_alloc_zeroed(1, sizeof *channel);
    if (!channel)
        return DEJA_ERR_NOMEM;
    channel->options = *options;
    *out_channel = channel;
    return DEJA_OK;
}

void dj_redis_channel_destroy(struct dj_redis_channel *channel)
{
    dj_free(channel);
}

bool dj_redis_channel_is_subscribed(const struct dj_redis_channel *channel)
{
    return channel->is_subscribed;
}

static void open_connection(struct dj_redis_channel *channel, struct dj_redis_link *link)
{
    uint32_t index = link->redis->options.mode == DJ_REDIS_CLUSTER ? dj_redis_next_master(link, 0)
                                                                   : link->master;
    struct dj_redis_connection *connection = NULL;
    if (index == DJ_REDIS_NODE_NONE) {
        dj_redis_look_again(link);
        return;
    }
    struct dj_redis_node *node = &link->nodes[index];
    if (dj_loop_monotonic_us(link->loop) < node->retry_at_us ||
        dj_redis_connection_open(link, node, &connection) != DEJA_OK ||
        connection->state == DJ_REDIS_DEAD)
        return; /* the next tick tries again */
    connection->is_own = true;
    node->own_count++;
    connection->channel = channel;
    channel->connection = connection;
}

void dj_redis_channel_tick(struct dj_redis_channel *channel)
{
    struct dj_redis_link *link = NULL;
    struct dj_redis *redis = (struct dj_redis *)channel->options.store;
    struct dj_redis_connection *connection = channel->connection;
    uint64_t now_us = dj_loop_monotonic_us(channel->options.loop);
    if (dj_redis_link_of(redis, channel->options.loop, &link) != DEJA_OK)
        return;
    if (!connection) {
        open_connection(channel, link);
        return;
    }
    if (connection->state != DJ_REDIS_READY)
        return; /* its dial has a limit of its own */
    if (now_us > connection->heard_us + SILENT_US && now_us > connection->begun_us + SILENT_US) {
        dj_redis_connection_fail(connection, DEJA_ERR_TIMEOUT, "it does not answer in time");
    } else if (now_us > channel->pinged_us + PING_US) {
        channel->pinged_us = now_us;
        say(connection, "PING", NULL);
    }
}

/* ---- publishing ---- */

struct publication {
    struct dj_redis_call call;
};

static void on_published(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    (void)status;
    (void)reply;
    dj_free(ctx);
}

enum deja_status dj_redis_publish(struct dj_store *store, struct dj_loop *loop, const char *name,
                                  struct deja_slice message)
{
    struct dj_redis *redis = (struct dj_redis *)store;
    struct dj_redis_link *link = NULL;
    enum deja_status status = dj_redis_link_of(redis, loop, &link);
    if (status != DEJA_OK)
        return status;
    struct publication *publication = dj_alloc_zeroed(1, sizeof *publication);
    if (!publication)
        return DEJA_ERR_NOMEM;
    dj_redis_call_init(&publication->call, publication, on_published);
    dj_redis_command(&publication->call.bytes, 3);
    dj_redis_argument_text(&publication->call.bytes, "PUBLISH");
    dj_redis_argument_text(&publication->call.bytes, name);
    dj_redis_argument(&publication->call.bytes, message);
    status = dj_redis_send(link, &publication->call);
    if (status != DEJA_OK)
        dj_free(publication);
    return status;
}
