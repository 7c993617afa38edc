/* store/redis_connection.c - one socket to one server.
 *
 *   RESOLVING ──name──> CONNECTING ──socket, TLS begins──> GREETING ──logged in──> READY
 *       └───────────────────┴──────────────────────────────────┴──────────────────────┴──> DEAD
 *
 * (1) Replies come in the order of commands: `sent` is that order. A reply to nobody is an error.
 * (2) A connection that fails goes to the link's dying list and is ended in the link's turn, never
 *     under the feet of whoever noticed; so no callback runs inside a call.
 * (3) hiredis' asynchronous half is not used: it asserts that a server never says more than it was
 *     asked, and looks names up where it stands. Its buffers, parser and TLS are.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>

#include "base/alloc.h"
#include "store/redis_internal.h"

/* Reads of 16 KB each before other sockets have their turn. */
#define READS_PER_TURN 64

struct dj_redis_lookup {
    struct dj_job job;
    struct dj_redis_connection *connection; /* NULL: nobody waits any more */
    struct dj_redis_link *link;
    struct dj_redis_address address;
    struct addrinfo *found;
    int code;
};

static void on_ready(void *ctx, int events);

static void look_up(void *ctx)
{
    struct dj_redis_lookup *lookup = ctx;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    lookup->code = getaddrinfo(lookup->address.host, NULL, &hints, &lookup->found);
}

static void set_events(struct dj_redis_connection *connection)
{
    int events = DJ_POLL_READ;
    if (connection->state == DJ_REDIS_CONNECTING || connection->is_write_hung)
        events |= DJ_POLL_WRITE;
    dj_poll_set(connection->poll, events);
}

static int open_socket(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    /* Where these fail the connection is only a little slower, or is noticed dead later. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (connect(fd, address, len) != 0 && errno != EINPROGRESS) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static void connect_to(struct dj_redis_connection *connection, const struct addrinfo *found)
{
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    if (address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = htons(connection->node->address.port);
    else
        ((struct sockaddr_in *)&address)->sin_port = htons(connection->node->address.port);
    int fd = open_socket((struct sockaddr *)&address, found->ai_addrlen);
    if (fd < 0) {
        dj_redis_connection_fail(connection, DEJA_ERR_IO, strerror(errno));
        return;
    }
    redisOptions options = {.type = REDIS_CONN_USERFD, .options = REDIS_OPT_NONBLOCK};
    options.endpoint.fd = fd;
    connection->wire = redisConnectWithOptions(&options);
    if (!connection->wire || connection->wire->err) {
        if (!connection->wire)
            close(fd);
        dj_redis_connection_fail(connection, DEJA_ERR_NOMEM, "out of memory");
        return;
    }
    dj_redis_reader_attach(&connection->reader, connection->wire,
                           connection->link->redis->options.record_bytes_max + 4096);
    enum deja_status status =
        dj_poll_open(connection->link->loop, fd, connection, on_ready, &connection->poll);
    if (status != DEJA_OK) {
        dj_redis_connection_fail(connection, status, "its socket cannot be watched");
        return;
    }
    connection->state = DJ_REDIS_CONNECTING;
    set_events(connection);
}

static void on_looked_up(void *ctx)
{
    struct dj_redis_lookup *lookup = ctx;
    struct dj_redis_connection *connection = lookup->connection;
    lookup->link->resolving--;
    if (connection) {
        connection->lookup = NULL;
        if (lookup->code != 0 || !lookup->found)
            dj_redis_connection_fail(connection, DEJA_ERR_IO, gai_strerror(lookup->code));
        else
            connect_to(connection, lookup->found);
    } else {
        dj_redis_link_wake(lookup->link); /* which may wait for this to be left */
    }
    if (lookup->found)
        freeaddrinfo(lookup->found);
    dj_free(lookup);
}

static enum deja_status resolve(struct dj_redis_connection *connection)
{
    struct dj_redis_link *link = connection->link;
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    if (getaddrinfo(connection->node->address.host, NULL, &hints, &found) == 0) {
        connect_to(connection, found);
        freeaddrinfo(found);
        return DEJA_OK;
    }
    struct dj_redis_lookup *lookup = dj_alloc_zeroed(1, sizeof *lookup);
    if (!lookup)
        return DEJA_ERR_NOMEM;
    lookup->connection = connection;
    lookup->link = link;
    lookup->address = connection->node->address;
    lookup->job =
        (struct dj_job){.work = look_up, .done = on_looked_up, .ctx = lookup, .loop = link->loop};
    enum deja_status status = dj_pool_submit(link->redis->names, &lookup->job);
    if (status != DEJA_OK) {
        dj_free(lookup);
        return status;
    }
    link->resolving++;
    connection->lookup = lookup;
    return DEJA_OK;
}

enum deja_status dj_redis_connection_open(struct dj_redis_link *link, struct dj_redis_node *node,
                                          struct dj_redis_connection **out_connection)
{
    struct dj_redis_connection *connection = dj_alloc_zeroed(1, sizeof *connection);
    if (!connection)
        return DEJA_ERR_NOMEM;
    connection->link = link;
    connection->node = node;
    connection->sent_end = &connection->sent;
    connection->held_end = &connection->held;
    connection->begun_us = dj_loop_monotonic_us(link->loop);
    connection->used_us = connection->begun_us;
    dj_list_push_back(&node->connections, &connection->member);
    node->connection_count++;
    enum deja_status status = resolve(connection);
    if (status != DEJA_OK) {
        dj_list_remove(&connection->member);
        node->connection_count--;
        dj_free(connection);
        return status;
    }
    dj_redis_link_watch(link, connection->begun_us + link->redis->options.dial_ms * 1000ull);
    *out_connection = connection;
    return DEJA_OK;
}

void dj_redis_connection_fail(struct dj_redis_connection *connection, enum deja_status status,
                              const char *why)
{
    struct dj_redis_link *link = connection->link;
    if (connection->state == DJ_REDIS_DEAD)
        return;
    bool was_ready = connection->state == DJ_REDIS_READY;
    connection->state = DJ_REDIS_DEAD;
    connection->failure = status;
    if (connection->poll) {
        dj_poll_close(connection->poll);
        connection->poll = NULL;
    }
    dj_list_remove(&connection->member);
    dj_list_push_back(&link->dying, &connection->member);
    connection->node->connection_count--;
    if (connection->is_own)
        connection->node->own_count--;
    /* A server may close what nobody uses. */
    bool is_idle = was_ready && connection->count == 0 && status == DEJA_ERR_IO;
    if (why && !is_idle) {
        dj_redis_note_trouble(link->redis, connection->node, "%s", why);
        dj_redis_link_unreachable(link, connection->node);
    }
    dj_redis_link_wake(link);
}

static void fail_all(struct dj_redis_connection *connection, struct dj_redis_call *first)
{
    while (first) {
        struct dj_redis_call *call = first;
        first = call->next;
        connection->count--;
        dj_redis_call_end(call, connection->failure, NULL);
    }
}

void dj_redis_connection_end(struct dj_redis_connection *connection)
{
    dj_list_remove(&connection->member);
    if (connection->channel)
        dj_redis_channel_gone(connection->channel);
    if (connection->lookup)
        connection->lookup->connection = NULL;
    if (connection->wire)
        redisFree(connection->wire); /* with its session and socket */
    dj_redis_reader_fini(&connection->reader);
    struct dj_redis_call *sent = connection->sent;
    struct dj_redis_call *held = connection->held;
    connection->sent = connection->held = NULL;
    /* The greeting is not anybody's. */
    if (sent == &connection->greeting)
        sent = sent->next;
    dj_buf_fini(&connection->greeting.bytes);
    fail_all(connection, sent);
    fail_all(connection, held);
    dj_free(connection);
}

static enum deja_status append(struct dj_redis_connection *connection, struct dj_redis_call *call)
{
    static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
    redisContext *wire = connection->wire;
    bool is_first = sdslen(wire->obuf) == 0;
    if (call->is_asking && redisAppendFormattedCommand(wire, asking, sizeof asking - 1) != REDIS_OK)
        goto failed;
    if (redisAppendFormattedCommand(wire, call->bytes.data, call->bytes.len) != REDIS_OK)
        goto failed;
    if (call->is_asking)
        call->skip++;
    call->is_asking = false;
    call->next = NULL;
    call->at_us = dj_loop_monotonic_us(connection->link->loop);
    *connection->sent_end = call;
    connection->sent_end = &call->next;
    if (is_first)
        connection->wrote_us = call->at_us;
    if (!connection->has_output) {
        connection->has_output = true;
        dj_redis_link_wake(connection->link);
    }
    return DEJA_OK;
failed: /* half a command may be in the buffer: the connection can say nothing more */
    dj_redis_connection_fail(connection, DEJA_ERR_NOMEM, "out of memory");
    return DEJA_ERR_NOMEM;
}

enum deja_status dj_redis_connection_send(struct dj_redis_connection *connection,
                                          struct dj_redis_call *call)
{
    connection->used_us = dj_loop_monotonic_us(connection->link->loop);
    if (connection->state == DJ_REDIS_READY || call == &connection->greeting) {
        enum deja_status status = append(connection, call);
        if (status != DEJA_OK)
            return status;
    } else {
        call->at_us = connection->used_us;
        call->next = NULL;
        *connection->held_end = call;
        connection->held_end = &call->next;
    }
    if (call != &connection->greeting)
        connection->count++;
    return DEJA_OK;
}

void dj_redis_ready(struct dj_redis_connection *connection)
{
    connection->state = DJ_REDIS_READY;
    connection->node->backoff_ms = 0;
    connection->node->retry_at_us = 0;
    dj_redis_forget_trouble(connection->link->redis);
    if (connection->channel)
        dj_redis_channel_ready(connection->channel);
    struct dj_redis_call *held = connection->held;
    connection->held = NULL;
    connection->held_end = &connection->held;
    while (held) {
        struct dj_redis_call *call = held;
        held = call->next;
        if (append(connection, call) != DEJA_OK) {
            connection->count--;
            dj_redis_link_failed(connection->link, call, DEJA_ERR_NOMEM);
        }
    }
}

static bool is_socket_writable(const struct dj_redis_connection *connection)
{
    struct pollfd ready = {.fd = connection->wire->fd, .events = POLLOUT};
    return poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT);
}

void dj_redis_connection_flush(struct dj_redis_connection *connection)
{
    redisContext *wire = connection->wire;
    connection->has_output = false;
    int is_done = 0;
    for (int i = 0; !is_done; i++) {
        size_t before = sdslen(wire->obuf);
        if (redisBufferWrite(wire, &is_done) != REDIS_OK) {
            const char *doubt =
                connection->session ? dj_tls_session_doubt(connection->session) : NULL;
            dj_redis_connection_fail(connection, DEJA_ERR_IO, doubt ? doubt : wire->errstr);
            return;
        }
        if (sdslen(wire->obuf) < before) {
            connection->wrote_us = dj_loop_monotonic_us(connection->link->loop);
            continue;
        }
        /* Nothing went: the socket is full, or TLS has to hear something first. In the second case
         * waiting for room would be a busy loop; the next read brings us back. */
        bool is_tls_waiting = connection->session && is_socket_writable(connection);
        if (is_tls_waiting && i == 0)
            continue;
        connection->is_write_hung = !is_done && !is_tls_waiting;
        break;
    }
    if (is_done)
        connection->is_write_hung = false;
    set_events(connection);
}

/* false: the connection has failed. */
static bool take_reply(struct dj_redis_connection *connection, const struct dj_redis_reply *reply)
{
    struct dj_redis_call *call = connection->sent;
    if (connection->channel && connection->state == DJ_REDIS_READY) {
        dj_redis_channel_take(connection->channel, reply);
        return connection->state != DJ_REDIS_DEAD;
    }
    if (reply->type == DJ_REDIS_PUSH)
        return true;
    if (!call) {
        dj_redis_connection_fail(connection, DEJA_ERR_CORRUPT, "it says what it was not asked");
        return false;
    }
    if (call->skip > 0) {
        call->skip--;
        return true;
    }
    connection->sent = call->next;
    if (!connection->sent)
        connection->sent_end = &connection->sent;
    if (call == &connection->greeting) {
        call->replied(call->ctx, DEJA_OK, reply);
    } else {
        connection->count--;
        dj_redis_link_replied(connection, call, reply);
    }
    return connection->state != DJ_REDIS_DEAD;
}

/* false: the connection has failed. */
static bool take_replies(struct dj_redis_connection *connection)
{
    for (;;) {
        const struct dj_redis_reply *reply = NULL;
        enum deja_status status = dj_redis_reader_next(&connection->reader, &reply);
        if (status != DEJA_OK) {
            dj_redis_connection_fail(
                connection, status == DEJA_ERR_LIMIT ? DEJA_ERR_CORRUPT : status,
                status == DEJA_ERR_CORRUPT ? "what it says is not the protocol"
                : status == DEJA_ERR_LIMIT ? "a reply of it is larger than is accepted"
                                           : "out of memory");
            return false;
        }
        if (!reply)
            return true;
        if (!take_reply(connection, reply))
            return false;
    }
}

static void read_some(struct dj_redis_connection *connection)
{
    redisContext *wire = connection->wire;
    for (int i = 0; i < READS_PER_TURN; i++) {
        size_t before = wire->reader->len;
        if (redisBufferRead(wire) != REDIS_OK) {
            const char *doubt =
                connection->session ? dj_tls_session_doubt(connection->session) : NULL;
            dj_redis_connection_fail(connection, DEJA_ERR_IO, doubt ? doubt : wire->errstr);
            return;
        }
        if (wire->reader->len == before)
            break;
        connection->heard_us = dj_loop_monotonic_us(connection->link->loop);
        size_t got = wire->reader->len - before;
        if (!take_replies(connection))
            return;
        if (got < 16384 && !connection->session)
            break; /* that was all */
    }
    /* What TLS had to read first. */
    if (sdslen(wire->obuf) > 0 && !connection->has_output && !connection->is_write_hung)
        dj_redis_connection_flush(connection);
}

static void on_connected(struct dj_redis_connection *connection)
{
    int code = 0;
    socklen_t len = sizeof code;
    struct dj_redis *redis = connection->link->redis;
    if (getsockopt(connection->wire->fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0)
        code = errno;
    if (code != 0) {
        dj_redis_connection_fail(connection, DEJA_ERR_IO, strerror(code));
        return;
    }
    if (redis->tls) {
        struct ssl_st *session = dj_tls_session_create(redis->tls, connection->node->address.host);
        if (!session) {
            dj_redis_connection_fail(connection, DEJA_ERR_NOMEM, "out of memory");
            return;
        }
        if (redisInitiateSSL(connection->wire, session) != REDIS_OK) {
            const char *doubt = dj_tls_session_doubt(session);
            dj_redis_connection_fail(connection, DEJA_ERR_IO,
                                     doubt ? doubt : connection->wire->errstr);
            dj_tls_session_destroy(session);
            return;
        }
        connection->session = session;
    }
    connection->state = DJ_REDIS_GREETING;
    dj_redis_greet(connection);
    if (connection->state != DJ_REDIS_DEAD)
        set_events(connection);
}

static void on_ready(void *ctx, int events)
{
    struct dj_redis_connection *connection = ctx;
    if (connection->state == DJ_REDIS_CONNECTING) {
        on_connected(connection);
        return;
    }
    if (events < 0) { /* watching has ended with the failure; reading tells what it was */
        events = DJ_POLL_READ;
        set_events(connection);
    }
    if (events & DJ_POLL_READ)
        read_some(connection);
    if ((events & DJ_POLL_WRITE) && connection->state != DJ_REDIS_DEAD)
        dj_redis_connection_flush(connection);
}

uint64_t dj_redis_connection_check(struct dj_redis_connection *connection, uint64_t now_us)
{
    const struct dj_redis_options *options = &connection->link->redis->options;
    uint64_t next_us = UINT64_MAX;
    if (connection->state != DJ_REDIS_READY) {
        next_us = connection->begun_us + options->dial_ms * 1000ull;
        if (now_us >= next_us)
            dj_redis_connection_fail(connection, DEJA_ERR_TIMEOUT, "it does not answer in time");
        return next_us;
    }
    if (connection->sent) {
        uint64_t from_us = connection->sent->at_us;
        /* A long reply may take as long again, and again, while it comes. */
        uint64_t heard_us = connection->heard_us > from_us ? connection->heard_us : from_us;
        uint64_t read_us = options->read_ms * 1000ull;
        next_us = heard_us + read_us;
        if (next_us > from_us + 10 * read_us)
            next_us = from_us + 10 * read_us;
        if (now_us >= next_us) {
            dj_redis_connection_fail(connection, DEJA_ERR_TIMEOUT, "it does not answer in time");
            return next_us;
        }
    }
    if (connection->is_write_hung) {
        uint64_t written_us = connection->wrote_us + options->write_ms * 1000ull;
        if (now_us >= written_us)
            dj_redis_connection_fail(connection, DEJA_ERR_TIMEOUT, "it does not take what is sent");
        next_us = written_us < next_us ? written_us : next_us;
    }
    return next_us;
}
