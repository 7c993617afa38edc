/* daemon/channels.c - see channels.h. */
#include "daemon/channels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/notices.h"
#include "cache/plain.h"
#include "daemon/channel_message.h"
#include "daemon/daemon_internal.h"
#include "daemon/tier_postgres.h"
#include "store/postgres_channel.h"
#include "store/redis_channel.h"

#define POSTGRES_NAME "deja_invalidate"
#define RUNNING_MAX 1024u
#define INBOX_MAX 1000u
#define NODE_BYTES 8u
#define MESSAGE_BYTES_MAX 65536u

/* A message of PostgreSQL's thread on its way to the loop. */
struct arrived {
    struct dj_list node;
    char *text; /* owned */
    size_t len;
};

struct dj_channels {
    struct dj_daemon *daemon;
    struct dj_loop *loop;
    struct dj_redis_channel *redis;
    struct dj_postgres_channel *postgres;
    struct dj_notices_reader *reader;
    char node[2 * NODE_BYTES + 1];
    uint32_t running;
    bool is_stopped;
    pthread_mutex_t lock; /* of what follows */
    struct dj_list inbox;
    uint32_t inbox_count;
    bool is_posted;
    struct dj_task task;
};

/* ---- what comes ---- */

struct order {
    struct dj_channels *channels;
    struct dj_channel_message message;
};

static void log_message(struct dj_channels *channels, enum dj_notice_source source,
                        const struct dj_channel_message *message, const char *trouble,
                        uint64_t removed)
{
    struct dj_log *log = channels->daemon->log;
    enum dj_log_level level = trouble ? DJ_LOG_WARN : DJ_LOG_INFO;
    char tenant[DJ_TENANT_TEXT_BYTES] = "";
    if (!dj_log_is_on(log, level))
        return;
    if (message && !trouble)
        dj_tenant_text(message->tenant, tenant);
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("tenant", tenant),
        DJ_LOG_TEXT("kind", dj_notice_source_text(source)),
        DJ_LOG_I64("removed", (int64_t)removed),
        DJ_LOG_SLICE("reason", message ? message->order.reason : deja_slice(NULL, 0)),
        DJ_LOG_TEXT("error", trouble ? trouble : ""),
        {.name = NULL},
    };
    dj_log_write(log, level,
                 trouble ? "message of a channel refused" : "entries invalidated by a channel",
                 fields);
}

static void on_run(void *ctx, enum deja_status status, uint64_t count,
                   const struct dj_cascade_result *cascade)
{
    struct order *order = ctx;
    struct dj_channels *channels = order->channels;
    struct dj_channel_message *message = &order->message;
    (void)cascade;
    if (status == DEJA_OK)
        dj_telemetry_invalidation(channels->daemon->telemetry, message->tenant,
                                  message->order.kind);
    log_message(channels, message->order.source, message,
                status == DEJA_OK ? NULL : deja_status_text(status), count);
    dj_channel_message_fini(message);
    dj_free(order);
    channels->running--;
}

static void on_dropped(void *ctx, enum deja_status status, uint64_t removed)
{
    struct dj_channels *channels = ctx;
    (void)status; /* what stays ends with its stay in memory */
    (void)removed;
    channels->running--;
}

/* Another node has made it void: here only memory could still have it. */
static void drop(struct dj_channels *channels, const struct dj_channel_message *message)
{
    struct dj_engine *engine = channels->daemon->engine;
    enum deja_status status =
        dj_engine_drop(engine, channels->loop, message->tenant,
                       message->order.has_key ? &message->order.key : NULL, channels, on_dropped);
    if (status == DEJA_OK)
        channels->running++;
    dj_engine_pull(engine);
}

static void find_key(struct dj_channels *channels, struct dj_channel_message *message)
{
    struct dj_secret key;
    struct dj_plain_space space;
    struct dj_invalidation *order = &message->order;
    if (!message->plain_key.len)
        return;
    dj_tenant_fingerprint_key(&channels->daemon->root, message->tenant, &key);
    dj_plain_space_init(&space, message->tenant, key.bytes, order->selector.name_space,
                        deja_slice(NULL, 0));
    dj_plain_key(&space, message->plain_key, &order->key);
    order->has_key = true;
    dj_plain_space_fini(&space);
    dj_secret_fini(&key);
}

static void take(struct dj_channels *channels, enum dj_notice_source source, struct deja_slice text)
{
    const struct dj_settings_notices *settings = &channels->daemon->settings->notices;
    const char *trouble = "too many are under way";
    struct order *order = NULL;
    if (channels->is_stopped)
        return;
    if (channels->running < RUNNING_MAX)
        order = dj_alloc_zeroed(1, sizeof *order);
    if (!order) {
        log_message(channels, source, NULL, trouble, 0);
        return;
    }
    order->channels = channels;
    const struct dj_channel_rules rules = {
        .root = &channels->daemon->root,
        .kinds = channels->daemon->settings->kinds,
        .tenant = settings->tenant,
        .is_unnamed_refused = settings->is_unnamed_refused,
    };
    trouble = dj_channel_message_read(text, &rules, &order->message);
    if (trouble) {
        log_message(channels, source, NULL, trouble, 0);
        dj_free(order);
        return;
    }
    order->message.order.source = source;
    if (order->message.from.len) {
        if (!dj_slice_is(order->message.from, channels->node))
            drop(channels, &order->message);
    } else {
        find_key(channels, &order->message);
        if (dj_invalidation_run(channels->daemon->engine, channels->loop, order->message.tenant,
                                &order->message.order, false, order, on_run) == DEJA_OK) {
            channels->running++;
            return;
        }
    }
    dj_channel_message_fini(&order->message);
    dj_free(order);
}

static void on_redis(void *ctx, struct deja_slice message)
{
    struct dj_channels *channels = ctx;
    if (channels->daemon->settings->notices.is_redis_obeyed && message.len <= MESSAGE_BYTES_MAX)
        take(channels, DJ_NOTICE_REDIS, message);
}

static void on_inbox(void *ctx)
{
    struct dj_channels *channels = ctx;
    struct arrived *arrived = NULL;
    do {
        arrived = NULL;
        pthread_mutex_lock(&channels->lock);
        if (!dj_list_is_empty(&channels->inbox)) {
            arrived = DJ_CONTAINER(channels->inbox.next, struct arrived, node);
            dj_list_remove(&arrived->node);
            channels->inbox_count--;
        } else {
            channels->is_posted = false;
        }
        pthread_mutex_unlock(&channels->lock);
        if (arrived) {
            take(channels, DJ_NOTICE_POSTGRES, deja_slice(arrived->text, arrived->len));
            dj_free(arrived->text);
            dj_free(arrived);
        }
    } while (arrived);
}

/* On the channel's thread. */
static void on_postgres(void *ctx, struct deja_slice message)
{
    struct dj_channels *channels = ctx;
    struct arrived *arrived = dj_alloc_zeroed(1, sizeof *arrived);
    if (arrived)
        arrived->text = dj_strdup(message);
    if (!arrived || !arrived->text) {
        dj_free(arrived);
        return;
    }
    arrived->len = message.len;
    pthread_mutex_lock(&channels->lock);
    bool has_room = channels->inbox_count < INBOX_MAX && !channels->is_stopped;
    if (has_room) {
        dj_list_push_back(&channels->inbox, &arrived->node);
        channels->inbox_count++;
        if (!channels->is_posted) {
            channels->is_posted = true;
            channels->task = (struct dj_task){.run = on_inbox, .ctx = channels};
            dj_loop_post(channels->loop, &channels->task);
        }
    }
    pthread_mutex_unlock(&channels->lock);
    if (!has_room) {
        dj_free(arrived->text);
        dj_free(arrived);
    }
}

/* ---- what goes ---- */

static void send(struct dj_channels *channels, const struct dj_notice *notice)
{
    const struct dj_settings_notices *settings = &channels->daemon->settings->notices;
    struct dj_buf text = {0};
    dj_channel_message_write(notice, channels->node, &text);
    struct deja_slice message = dj_buf_slice(&text);
    enum deja_status status = text.status;
    if (status == DEJA_OK && settings->is_redis_told && channels->redis)
        status = dj_redis_publish(channels->daemon->redis, channels->loop, settings->redis_channel,
                                  message);
    if (text.status == DEJA_OK && settings->is_postgres_told && channels->postgres)
        status = dj_postgres_publish(channels->postgres, message);
    if (status != DEJA_OK)
        log_message(channels, DJ_NOTICE_HERE, NULL, deja_status_text(status), 0);
    dj_buf_fini(&text);
}

static void on_news(void *ctx)
{
    struct dj_channels *channels = ctx;
    const struct dj_notice *notice;
    while (channels->reader && (notice = dj_notices_next(channels->reader, NULL))) {
        if (notice->source == DJ_NOTICE_HERE)
            send(channels, notice);
        dj_notice_unref(notice);
    }
}

/* ---- life ---- */

static enum deja_status open_redis(struct dj_channels *channels)
{
    const struct dj_settings_notices *settings = &channels->daemon->settings->notices;
    const struct dj_redis_channel_options options = {
        .store = channels->daemon->redis,
        .loop = channels->loop,
        .name = settings->redis_channel,
        .ctx = channels,
        .message = on_redis,
    };
    if (!channels->daemon->redis || !settings->redis_channel ||
        (!settings->is_redis_obeyed && !settings->is_redis_told))
        return DEJA_OK;
    return dj_redis_channel_create(&options, &channels->redis);
}

static enum deja_status open_postgres(struct dj_channels *channels)
{
    const struct dj_settings *settings = channels->daemon->settings;
    const struct dj_postgres_options options = dj_tier_postgres_options(settings);
    if (!settings->postgres.url ||
        (!settings->notices.is_postgres_obeyed && !settings->notices.is_postgres_told))
        return DEJA_OK;
    return dj_postgres_channel_create(&options, POSTGRES_NAME, channels, on_postgres,
                                      &channels->postgres);
}

enum deja_status dj_channels_create(struct dj_daemon *daemon, struct dj_channels **out_channels)
{
    const struct dj_settings_notices *settings = &daemon->settings->notices;
    uint8_t node[NODE_BYTES];
    struct dj_channels *channels = dj_alloc_zeroed(1, sizeof *channels);
    if (!channels)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&channels->lock, NULL) != 0) {
        dj_free(channels);
        return DEJA_ERR_NOMEM;
    }
    channels->daemon = daemon;
    channels->loop = daemon->loops[0];
    dj_list_init(&channels->inbox);
    dj_random_bytes(node, sizeof node);
    dj_hex_encode(node, sizeof node, channels->node);
    enum deja_status status = open_redis(channels);
    if (status == DEJA_OK && (settings->is_redis_told || settings->is_postgres_told))
        status = dj_notices_open(daemon->notices, channels->loop, NULL, UINT64_MAX, channels,
                                 on_news, &channels->reader);
    if (status == DEJA_OK)
        status = open_postgres(channels);
    if (status != DEJA_OK) {
        dj_channels_destroy(channels);
        return status;
    }
    *out_channels = channels;
    return DEJA_OK;
}

void dj_channels_tick(struct dj_channels *channels)
{
    if (channels && channels->redis && !channels->is_stopped)
        dj_redis_channel_tick(channels->redis);
}

void dj_channels_stop(struct dj_channels *channels)
{
    if (!channels)
        return;
    pthread_mutex_lock(&channels->lock);
    channels->is_stopped = true;
    pthread_mutex_unlock(&channels->lock);
    dj_notices_close(channels->reader);
    channels->reader = NULL;
}

uint32_t dj_channels_running(struct dj_channels *channels)
{
    return channels ? channels->running : 0;
}

void dj_channels_destroy(struct dj_channels *channels)
{
    if (!channels)
        return;
    dj_notices_close(channels->reader); /* of a start that failed */
    dj_postgres_channel_destroy(channels->postgres);
    dj_redis_channel_destroy(channels->redis);
    while (!dj_list_is_empty(&channels->inbox)) {
        struct arrived *arrived = DJ_CONTAINER(channels->inbox.next, struct arrived, node);
        dj_list_remove(&arrived->node);
        dj_free(arrived->text);
        dj_free(arrived);
    }
    pthread_mutex_destroy(&channels->lock);
    dj_free(channels);
}
