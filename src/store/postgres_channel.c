/* store/postgres_channel.c - see postgres_channel.h. */
#include "store/postgres_channel.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "store/postgres_sync.h"

#define TURN_MS 100    /* how soon what waits is sent, and a stop is seen */
#define RETRY_TURNS 20 /* between two tries to connect */
#define STATEMENT_MS 5000

struct waiting {
    struct dj_list node;
    char *text; /* owned, terminated */
};

struct dj_postgres_channel {
    struct dj_postgres_options options;
    char name[64];
    void *ctx;
    dj_postgres_message_fn *message;
    pthread_t thread;
    atomic_bool is_stopping;
    atomic_bool is_listening;
    pthread_mutex_t lock; /* of the next two */
    struct dj_list waiting;
    uint32_t waiting_count;
};

static struct waiting *take(struct dj_postgres_channel *channel)
{
    struct waiting *found = NULL;
    pthread_mutex_lock(&channel->lock);
    if (!dj_list_is_empty(&channel->waiting)) {
        found = DJ_CONTAINER(channel->waiting.next, struct waiting, node);
        dj_list_remove(&found->node);
        channel->waiting_count--;
    }
    pthread_mutex_unlock(&channel->lock);
    return found;
}

static void waiting_destroy(struct waiting *waiting)
{
    if (!waiting)
        return;
    dj_free(waiting->text);
    dj_free(waiting);
}

/* false: the connection is of no use any more. */
static bool send_waiting(struct dj_postgres_channel *channel, PGconn *conn)
{
    struct waiting *waiting;
    bool is_fine = true;
    while (is_fine && (waiting = take(channel))) {
        const char *values[] = {channel->name, waiting->text};
        PGresult *result =
            PQexecParams(conn, "SELECT pg_notify($1, $2)", 2, NULL, values, NULL, NULL, 0);
        is_fine = PQstatus(conn) == CONNECTION_OK;
        PQclear(result);
        waiting_destroy(waiting);
    }
    return is_fine;
}

static bool take_notifications(struct dj_postgres_channel *channel, PGconn *conn)
{
    PGnotify *notify;
    if (!PQconsumeInput(conn))
        return false;
    while ((notify = PQnotifies(conn))) {
        if (notify->be_pid != PQbackendPID(conn) && strcmp(notify->relname, channel->name) == 0)
            channel->message(channel->ctx, deja_slice_text(notify->extra));
        PQfreemem(notify);
    }
    return true;
}

static void listen_on(struct dj_postgres_channel *channel, struct dj_postgres *postgres)
{
    char sql[96];
    bool is_fine = true;
    snprintf(sql, sizeof sql, "LISTEN \"%s\"", channel->name);
    if (dj_pg_exec(postgres, sql, STATEMENT_MS, NULL, NULL) != DEJA_OK)
        return;
    atomic_store(&channel->is_listening, true);
    while (is_fine && !atomic_load(&channel->is_stopping)) {
        struct pollfd ready = {.fd = PQsocket(postgres->conn), .events = POLLIN};
        is_fine = poll(&ready, 1, TURN_MS) >= 0 && send_waiting(channel, postgres->conn) &&
                  take_notifications(channel, postgres->conn);
    }
    atomic_store(&channel->is_listening, false);
}

static void *run(void *ctx)
{
    struct dj_postgres_channel *channel = ctx;
    while (!atomic_load(&channel->is_stopping)) {
        struct dj_postgres *postgres = NULL;
        if (dj_pg_connect(&channel->options, &channel->is_stopping, &postgres, NULL) == DEJA_OK)
            listen_on(channel, postgres);
        dj_postgres_disconnect(postgres);
        for (int i = 0; i < RETRY_TURNS && !atomic_load(&channel->is_stopping); i++)
            poll(NULL, 0, TURN_MS);
    }
    return NULL;
}

enum deja_status dj_postgres_channel_create(const struct dj_postgres_options *options,
                                            const char *name, void *ctx,
                                            dj_postgres_message_fn *message,
                                            struct dj_postgres_channel **out_channel)
{
    struct dj_postgres_channel *channel = dj_alloc_zeroed(1, sizeof *channel);
    if (!channel)
        return DEJA_ERR_NOMEM;
    channel->options = *options;
    snprintf(channel->name, sizeof channel->name, "%s", name);
    channel->ctx = ctx;
    channel->message = message;
    dj_list_init(&channel->waiting);
    if (pthread_mutex_init(&channel->lock, NULL) != 0) {
        dj_free(channel);
        return DEJA_ERR_NOMEM;
    }
    if (pthread_create(&channel->thread, NULL, run, channel) != 0) {
        pthread_mutex_destroy(&channel->lock);
        dj_free(channel);
        return DEJA_ERR_IO;
    }
    *out_channel = channel;
    return DEJA_OK;
}

void dj_postgres_channel_destroy(struct dj_postgres_channel *channel)
{
    struct waiting *waiting;
    if (!channel)
        return;
    atomic_store(&channel->is_stopping, true);
    pthread_join(channel->thread, NULL);
    while ((waiting = take(channel)))
        waiting_destroy(waiting);
    pthread_mutex_destroy(&channel->lock);
    dj_free(channel);
}

bool dj_postgres_channel_is_listening(struct dj_postgres_channel *channel)
{
    return atomic_load(&channel->is_listening);
}

enum deja_status dj_postgres_publish(struct dj_postgres_channel *channel, struct deja_slice message)
{
    if (message.len > DJ_POSTGRES_MESSAGE_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    struct waiting *waiting = dj_alloc_zeroed(1, sizeof *waiting);
    char *text = waiting ? dj_strdup(message) : NULL;
    if (!text) {
        dj_free(waiting);
        return DEJA_ERR_NOMEM;
    }
    waiting->text = text;
    pthread_mutex_lock(&channel->lock);
    bool has_room = channel->waiting_count < DJ_POSTGRES_MESSAGES_MAX;
    if (has_room) {
        dj_list_push_back(&channel->waiting, &waiting->node);
        channel->waiting_count++;
    }
    pthread_mutex_unlock(&channel->lock);
    if (!has_room)
        waiting_destroy(waiting);
    return has_room ? DEJA_OK : DEJA_ERR_BUSY;
}
