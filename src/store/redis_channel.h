/* store/redis_channel.h - messages between programs over Valkey or Redis: SUBSCRIBE and PUBLISH.
 *
 * A subscription has a connection of its own, to any server that takes part (a cluster hands
 * messages on to all its nodes). It is made and looked after by tick(), about once a second; while
 * it is away, messages are lost, and whoever needs to know is told when it is there again.
 *
 * Trust: messages are anybody's who may publish there. Threads: one loop.
 */
#ifndef DJ_STORE_REDIS_CHANNEL_H
#define DJ_STORE_REDIS_CHANNEL_H

#include "store/redis.h"

#define DJ_REDIS_CHANNEL_BYTES_MAX 128u

struct dj_redis_channel;

typedef void dj_redis_message_fn(void *ctx, struct deja_slice message); /* borrowed until return */
/* It is subscribed from now on: is_again: it was before, and messages may have been lost. */
typedef void dj_redis_subscribed_fn(void *ctx, bool is_again);

struct dj_redis_channel_options {
    struct dj_store *store; /* of dj_redis_open, unwrapped; outlives the channel */
    struct dj_loop *loop;
    const char *name; /* borrowed */
    void *ctx;
    dj_redis_message_fn *message;
    dj_redis_subscribed_fn *subscribed; /* NULL: does not matter */
};

enum deja_status dj_redis_channel_create(const struct dj_redis_channel_options *options,
                                         struct dj_redis_channel **out_channel) DEJA_NODISCARD;
/* After the store was left on that loop. Accepts NULL. */
void dj_redis_channel_destroy(struct dj_redis_channel *channel);
void dj_redis_channel_tick(struct dj_redis_channel *channel); /* on its loop */
bool dj_redis_channel_is_subscribed(const struct dj_redis_channel *channel);

/* Best effort: nobody is told whether anybody heard it. On a loop of the store. DEJA_ERR_BUSY,
 * DEJA_ERR_IO, DEJA_ERR_NOMEM. */
enum deja_status dj_redis_publish(struct dj_store *store, struct dj_loop *loop, const char *name,
                                  struct deja_slice message) DEJA_NODISCARD;

#endif
