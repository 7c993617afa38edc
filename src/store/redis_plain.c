/* store/redis_plain.c - what the scripts do, for servers that let nobody run scripts.
 *
 *   a call that names a script ──> LOOK: WATCH, reads, MULTI ──> END: writes, EXEC ──> its reply
 *                                   ^        nothing to write: DISCARD ┘   │
 *                                   └───────── somebody was faster ────────┘
 *
 * (1) What is watched belongs to a connection, so one of these at a time has a connection of its
 *     own; where all are taken the next ones wait. (2) Nothing is written before the server has
 *     agreed to MULTI: a SET outside a transaction would overwrite what is newer. (3) An error of
 *     any step ends the connection, whatever state its transaction is in; the call gets that error
 *     as if it were a script's, redirects included. Loop-bound.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/redis_plain.h"

#define TRIES_MAX 200u

static void look(struct dj_redis_plain *plain);
static void decide(struct dj_redis_plain *plain);
static void start_waiting(struct dj_redis_link *link);

/* ---- the call ---- */

/* The next argument of a command we wrote ourselves. */
static struct deja_slice next_argument(const char **at)
{
    size_t len = 0;
    for ((*at)++; **at != '\r'; (*at)++)
        len = 10 * len + (size_t)(**at - '0');
    struct deja_slice argument = deja_slice(*at + 2, len);
    *at += 2 + len + 2;
    return argument;
}

/* EVALSHA digest count keys… arguments… */
static void read_origin(struct dj_redis_plain *plain)
{
    const struct dj_buf *bytes = &plain->origin->bytes;
    const char *at = memchr(bytes->data, '\n', bytes->len);
    const char *end = bytes->data + bytes->len;
    at++;
    (void)next_argument(&at);
    (void)next_argument(&at);
    uint32_t key_count = (uint32_t)(next_argument(&at).data[0] - '0');
    for (uint32_t i = 0; i < key_count && i < DJ_REDIS_PLAIN_KEYS; i++)
        plain->keys[i] = next_argument(&at);
    for (uint32_t i = 0; at < end && i < DJ_REDIS_PLAIN_ARGUMENTS; i++)
        plain->arguments[i] = next_argument(&at);
}

/* ---- ends ---- */

static void finish(struct dj_redis_plain *plain)
{
    struct dj_redis_link *link = plain->link;
    struct dj_redis_connection *connection = plain->connection;
    struct dj_redis_call *origin = plain->origin;
    connection->plain = NULL;
    if (plain->refusal_len > 0) {
        const struct dj_redis_reply error = {
            .type = DJ_REDIS_ERROR, .text = deja_slice(plain->refusal, plain->refusal_len)};
        dj_redis_link_replied(connection, origin, &error);
    } else if (plain->status != DEJA_OK) {
        dj_redis_link_failed(link, origin, plain->status);
    } else {
        dj_redis_call_end(origin, DEJA_OK, &plain->reply);
    }
    dj_redis_plain_forget(plain);
    dj_free(plain);
    start_waiting(link);
}

/* Every reply of the stage is there. */
static void go_on(struct dj_redis_plain *plain)
{
    if (plain->refusal_len > 0 || plain->status != DEJA_OK)
        finish(plain);
    else if (plain->stage == DJ_REDIS_STAGE_LOOK)
        decide(plain);
    else if (plain->is_again)
        look(plain);
    else
        finish(plain);
}

static void give_up(struct dj_redis_plain *plain, enum deja_status status)
{
    if (plain->status == DEJA_OK)
        plain->status = status;
    dj_redis_connection_fail(plain->connection, DEJA_ERR_IO, NULL);
}

/* ---- saying ---- */

static void on_part(void *ctx, enum deja_status status, const struct dj_redis_reply *reply);

struct dj_buf *dj_redis_plain_say(struct dj_redis_plain *plain, const char *word,
                                  uint32_t argument_count)
{
    struct dj_redis_part *part = &plain->parts[plain->part_count++];
    part->plain = plain;
    dj_redis_call_init(&part->call, part, on_part);
    part->call.node = plain->node;
    part->call.is_inner = true;
    part->call.link = plain->link;
    dj_redis_command(&part->call.bytes, 1 + argument_count);
    dj_redis_argument_text(&part->call.bytes, word);
    return &part->call.bytes;
}

/* Nothing is said after what could not be said: no write without its MULTI (2). */
static void send_stage(struct dj_redis_plain *plain, enum dj_redis_stage stage)
{
    struct dj_redis_link *link = plain->link;
    enum deja_status status = DEJA_OK;
    plain->stage = stage;
    plain->left = plain->part_count;
    for (uint32_t i = 0; i < plain->part_count; i++) {
        struct dj_redis_call *call = &plain->parts[i].call;
        if (status == DEJA_OK)
            status = call->bytes.status;
        if (status == DEJA_OK)
            status = dj_redis_connection_send(plain->connection, call);
        if (status != DEJA_OK) {
            dj_buf_fini(&call->bytes);
            plain->left--;
        }
    }
    dj_redis_link_watch(link, plain->connection->used_us + link->redis->options.read_ms * 1000ull);
    if (status != DEJA_OK)
        give_up(plain, status);
    if (plain->left == 0)
        go_on(plain);
}

static void look(struct dj_redis_plain *plain)
{
    if (plain->tries++ == TRIES_MAX) { /* somebody else got through each time: it is that busy */
        plain->status = DEJA_ERR_BUSY;
        finish(plain);
        return;
    }
    dj_redis_plain_ask(plain);
    send_stage(plain, DJ_REDIS_STAGE_LOOK);
}

static void decide(struct dj_redis_plain *plain)
{
    enum deja_status status = dj_redis_plain_decide(plain);
    if (status != DEJA_OK) {
        give_up(plain, status);
        finish(plain);
        return;
    }
    dj_redis_plain_say(plain, plain->part_count > 0 ? "EXEC" : "DISCARD", 0);
    send_stage(plain, DJ_REDIS_STAGE_END);
}

/* ---- replies ---- */

static void note_refusal(struct dj_redis_plain *plain, const struct dj_redis_reply *error)
{
    if (plain->refusal_len > 0)
        return;
    plain->refusal_len =
        error->text.len < DJ_REDIS_REFUSAL_BYTES ? error->text.len : DJ_REDIS_REFUSAL_BYTES;
    memcpy(plain->refusal, error->text.data, plain->refusal_len);
    dj_redis_connection_fail(plain->connection, DEJA_ERR_IO, NULL);
}

/* Of EXEC: what each command said; of those before it: QUEUED. */
static bool take_end(struct dj_redis_plain *plain, uint32_t index,
                     const struct dj_redis_reply *reply)
{
    if (index + 1 < plain->part_count || plain->part_count == 1)
        return reply->type == DJ_REDIS_TEXT;
    if (reply->type == DJ_REDIS_NIL) {
        plain->is_again = true;
        return true;
    }
    if (reply->type != DJ_REDIS_ARRAY || reply->count == 0)
        return false;
    for (size_t i = 0; i < reply->count; i++)
        if (reply->elements[i].type == DJ_REDIS_ERROR) {
            note_refusal(plain, &reply->elements[i]);
            return true;
        }
    return plain->origin->script != DJ_REDIS_PULL || dj_redis_plain_take_counters(plain, reply);
}

static void on_part(void *ctx, enum deja_status status, const struct dj_redis_reply *reply)
{
    struct dj_redis_part *part = ctx;
    struct dj_redis_plain *plain = part->plain;
    uint32_t index = (uint32_t)(part - plain->parts);
    plain->left--;
    if (status != DEJA_OK) {
        if (plain->status == DEJA_OK)
            plain->status = status;
    } else if (reply->type == DJ_REDIS_ERROR) {
        note_refusal(plain, reply);
    } else if (plain->stage == DJ_REDIS_STAGE_LOOK ? !dj_redis_plain_take(plain, index, reply)
                                                   : !take_end(plain, index, reply)) {
        give_up(plain, DEJA_ERR_CORRUPT);
    }
    if (plain->left == 0)
        go_on(plain);
}

/* ---- connections ---- */

/* One of its own that is free, or a new one. DEJA_ERR_BUSY: all are taken. */
static enum deja_status take_connection(struct dj_redis_link *link, struct dj_redis_node *node,
                                        struct dj_redis_connection **out_connection)
{
    for (struct dj_list *at = node->connections.next; at != &node->connections; at = at->next) {
        struct dj_redis_connection *connection =
            DJ_CONTAINER(at, struct dj_redis_connection, member);
        if (connection->is_own && !connection->plain && !connection->channel) {
            *out_connection = connection;
            return DEJA_OK;
        }
    }
    enum deja_status status = DEJA_ERR_IO;
    if (node->own_count >= link->redis->options.connections_max)
        return DEJA_ERR_BUSY;
    if (dj_loop_monotonic_us(link->loop) >= node->retry_at_us)
        status = dj_redis_connection_open(link, node, out_connection);
    if (status != DEJA_OK)
        return node->own_count > 0 ? DEJA_ERR_BUSY : status;
    if ((*out_connection)->state == DJ_REDIS_DEAD) /* at once; its calls are told later */
        return DEJA_OK;
    (*out_connection)->is_own = true;
    node->own_count++;
    return DEJA_OK;
}

static void begin(struct dj_redis_plain *plain, struct dj_redis_connection *connection)
{
    plain->connection = connection;
    connection->plain = plain;
    look(plain);
}

/* In the order they came, as far as there are connections. */
static void start_waiting(struct dj_redis_link *link)
{
    if (link->is_starting)
        return;
    link->is_starting = true;
    struct dj_list *next = NULL;
    for (struct dj_list *at = link->plain_waiting.next; at != &link->plain_waiting; at = next) {
        struct dj_redis_plain *plain = DJ_CONTAINER(at, struct dj_redis_plain, member);
        struct dj_redis_connection *connection = NULL;
        enum deja_status status =
            link->has_left ? DEJA_ERR_CANCELLED
                           : take_connection(link, &link->nodes[plain->node], &connection);
        next = at->next;
        if (status == DEJA_ERR_BUSY)
            continue;
        dj_list_remove(at);
        if (status == DEJA_OK) {
            begin(plain, connection);
        } else {
            dj_redis_link_failed(link, plain->origin, status);
            dj_free(plain);
        }
    }
    link->is_starting = false;
}

enum deja_status dj_redis_plain_start(struct dj_redis_link *link, uint32_t node,
                                      struct dj_redis_call *call)
{
    struct dj_redis_connection *connection = NULL;
    enum deja_status status = take_connection(link, &link->nodes[node], &connection);
    if (status != DEJA_OK && status != DEJA_ERR_BUSY)
        return status;
    struct dj_redis_plain *plain = dj_alloc_zeroed(1, sizeof *plain);
    if (!plain)
        return DEJA_ERR_NOMEM;
    plain->link = link;
    plain->origin = call;
    call->is_plain = true;
    plain->node = node;
    read_origin(plain);
    if (call->script == DJ_REDIS_PULL &&
        dj_num_parse_u64(plain->arguments[0], &plain->since) != DEJA_OK)
        plain->since = 0;
    if (status == DEJA_OK)
        begin(plain, connection);
    else
        dj_list_push_back(&link->plain_waiting, &plain->member);
    return DEJA_OK;
}

void dj_redis_plain_leave(struct dj_redis_link *link)
{
    start_waiting(link);
}

/* NOPERM "… no permissions to run the 'evalsha' command", or a command that is not there. */
bool dj_redis_is_script_refused(const struct dj_redis_reply *reply)
{
    static const char unknown[] = "ERR unknown command";
    static const char named[] = "'eval";
    if (reply->type != DJ_REDIS_ERROR)
        return false;
    if (!dj_redis_is_error(reply, "NOPERM"))
        return reply->text.len >= sizeof unknown - 1 &&
               memcmp(reply->text.data, unknown, sizeof unknown - 1) == 0;
    for (size_t i = 0; i + sizeof named - 1 <= reply->text.len; i++)
        if (memcmp(reply->text.data + i, named, sizeof named - 1) == 0)
            return true;
    return false;
}
