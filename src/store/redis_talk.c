/* store/redis_talk.c - the first words on a connection, and what a person is told of trouble.
 *
 *   HELLO 3 AUTH … ──> SELECT db ──> ready        a server that does not know HELLO or RESP3:
 *        └──> AUTH ────────┘                      AUTH alone, and RESP2
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/slice.h"
#include "store/redis_internal.h"

enum { STEP_HELLO, STEP_AUTH, STEP_SELECT };

void dj_redis_note_trouble(struct dj_redis *redis, const struct dj_redis_node *node,
                           const char *format, ...)
{
    char why[360];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    pthread_mutex_lock(&redis->mutex);
    len = snprintf(redis->trouble.message, sizeof redis->trouble.message, "%.100s:%u: %s",
                   node->address.host, node->address.port, why);
    pthread_mutex_unlock(&redis->mutex);
}

void dj_redis_forget_trouble(struct dj_redis *redis)
{
    pthread_mutex_lock(&redis->mutex);
    redis->trouble.message[0] = '\0';
    pthread_mutex_unlock(&redis->mutex);
}

static const char *user_of(const struct dj_redis_connection *connection)
{
    const struct dj_redis_options *options = &connection->link->redis->options;
    return connection->node->is_sentinel ? options->sentinel_user : options->user;
}

static const char *password_of(const struct dj_redis_connection *connection)
{
    const struct dj_redis_options *options = &connection->link->redis->options;
    return connection->node->is_sentinel ? options->sentinel_password : options->password;
}

/* Constant text with what to do, for an error reply to a greeting. */
static const char *advice_for(const struct dj_redis_connection *connection,
                              const struct dj_redis_reply *reply)
{
    bool is_sentinel = connection->node->is_sentinel;
    if (dj_redis_is_error(reply, "WRONGPASS") || dj_redis_is_error(reply, "ERR"))
        return is_sentinel ? "check l2.redis.sentinel_user and l2.redis.sentinel_password"
                           : "check l2.redis.user and l2.redis.password";
    if (dj_redis_is_error(reply, "NOAUTH"))
        return is_sentinel ? "set l2.redis.sentinel_password"
                           : "set l2.redis.password, and l2.redis.user for an ACL user";
    if (dj_redis_is_error(reply, "NOPERM"))
        return "give the ACL user the rights in deploy/valkey.conf";
    if (dj_redis_is_error(reply, "LOADING"))
        return "it reads its data; it will be ready later";
    return "see the server's log";
}

static void fail_greeting(struct dj_redis_connection *connection,
                          const struct dj_redis_reply *reply)
{
    char why[256];
    size_t len = reply->text.len < 160 ? reply->text.len : 160;
    char said[161];
    for (size_t i = 0; i < len; i++)
        said[i] =
            reply->text.data[i] >= ' ' && reply->text.data[i] < 127 ? reply->text.data[i] : '?';
    said[len] = '\0';
    int written =
        snprintf(why, sizeof why, "it says \"%s\": %s", said, advice_for(connection, reply));
    enum deja_status status = dj_redis_status_of(reply);
    if (written > 0 && status == DEJA_ERR_IO && dj_redis_is_error(reply, "ERR"))
        status = DEJA_ERR_DENIED; /* older servers' word for a wrong password */
    dj_redis_connection_fail(connection, status, why);
}

static void say(struct dj_redis_connection *connection, uint8_t step)
{
    struct dj_buf *bytes = &connection->greeting.bytes;
    const char *user = user_of(connection);
    const char *password = password_of(connection);
    connection->greeting_step = step;
    dj_buf_clear(bytes);
    if (step == STEP_HELLO) {
        dj_redis_command(bytes, password ? 7 : 4);
        dj_redis_argument_text(bytes, "HELLO");
        dj_redis_argument_text(bytes, "3");
        if (password) {
            dj_redis_argument_text(bytes, "AUTH");
            dj_redis_argument_text(bytes, user ? user : "default");
            dj_redis_argument_text(bytes, password);
        }
        dj_redis_argument_text(bytes, "SETNAME");
        dj_redis_argument_text(bytes, "deja");
    } else if (step == STEP_AUTH) {
        dj_redis_command(bytes, user ? 3 : 2);
        dj_redis_argument_text(bytes, "AUTH");
        if (user)
            dj_redis_argument_text(bytes, user);
        dj_redis_argument_text(bytes, password);
    } else {
        dj_redis_command(bytes, 2);
        dj_redis_argument_text(bytes, "SELECT");
        dj_redis_argument_u64(bytes, connection->link->redis->options.db);
    }
    if (bytes->status != DEJA_OK ||
        dj_redis_connection_send(connection, &connection->greeting) != DEJA_OK)
        dj_redis_connection_fail(connection, DEJA_ERR_NOMEM, "out of memory");
}

static void go_on(struct dj_redis_connection *connection)
{
    if (connection->link->redis->options.db > 0 && !connection->node->is_sentinel)
        say(connection, STEP_SELECT);
    else
        dj_redis_ready(connection);
}

/* A map's value, or NULL. */
static const struct dj_redis_reply *member(const struct dj_redis_reply *map, const char *name)
{
    struct deja_slice text;
    for (size_t i = 0; map->type == DJ_REDIS_ARRAY && i + 1 < map->count; i += 2)
        if (dj_redis_text(&map->elements[i], &text) && dj_slice_is(text, name))
            return &map->elements[i + 1];
    return NULL;
}

static void note_software(struct dj_redis *redis, const struct dj_redis_reply *hello)
{
    struct deja_slice name = deja_slice(NULL, 0);
    struct deja_slice version = deja_slice(NULL, 0);
    if (!dj_redis_text(member(hello, "server"), &name) ||
        !dj_redis_text(member(hello, "version"), &version))
        return;
    pthread_mutex_lock(&redis->mutex);
    int len = snprintf(redis->figures.software, sizeof redis->figures.software, "%.*s %.*s",
                       name.len < 15 ? (int)name.len : 15, name.data,
                       version.len < 15 ? (int)version.len : 15, version.data);
    pthread_mutex_unlock(&redis->mutex);
    (void)len; /* both are cut to fit */
}

static void on_hello(struct dj_redis_connection *connection, const struct dj_redis_reply *reply)
{
    struct deja_slice role;
    if (reply->type == DJ_REDIS_ERROR) {
        bool is_old = dj_redis_is_error(reply, "NOPROTO") ||
                      (dj_redis_is_error(reply, "ERR") && reply->text.len > 11 &&
                       memcmp(reply->text.data, "ERR unknown", 11) == 0);
        if (!is_old)
            fail_greeting(connection, reply);
        else if (password_of(connection))
            say(connection, STEP_AUTH);
        else
            go_on(connection);
        return;
    }
    connection->is_resp3 = true;
    if (!connection->node->is_sentinel)
        note_software(connection->link->redis, reply);
    if (connection->link->redis->options.mode != DJ_REDIS_CLUSTER &&
        !connection->node->is_sentinel && dj_redis_text(member(reply, "role"), &role) &&
        !dj_slice_is(role, "master")) {
        dj_redis_connection_fail(connection, DEJA_ERR_IO,
                                 "it is a replica: name the master, or its sentinels");
        return;
    }
    go_on(connection);
}

static void on_greeted(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct dj_redis_connection *connection = ctx;
    if (status != DEJA_OK)
        return; /* told to its calls */
    if (connection->greeting_step == STEP_HELLO)
        on_hello(connection, reply);
    else if (reply->type == DJ_REDIS_ERROR)
        fail_greeting(connection, reply);
    else if (connection->greeting_step == STEP_AUTH)
        go_on(connection);
    else
        dj_redis_ready(connection);
}

void dj_redis_greet(struct dj_redis_connection *connection)
{
    dj_redis_call_init(&connection->greeting, connection, on_greeted);
    say(connection, STEP_HELLO);
}
