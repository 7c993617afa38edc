/* api/resp.c - a client's life, and its commands in order.
 *
 *   command ─▶ something behind, and this does not overlap? ─▶ held until that has been replied
 *           ─▶ known? arity? ─▶ [between MULTI and EXEC: queued]
 *           ─▶ who, may they, how fast ─▶ run: answered | waiting | left behind
 *
 * (1) Replies leave in the order of commands: one that waits is alone, and what is answered at once
 *     or waits begins only when nothing is behind.
 * (2) So a client reads what it wrote: a read behind a write begins when the write has been
 *     confirmed.
 *     While a worker looks at a long value nothing begins: what is written later is written later.
 * (3) EXEC is a command that waits for the others, one after another, in the same way; their
 *     replies are put together in `results`.
 */
#include "api/resp.h"

#include <assert.h>
#include <stdio.h>

#include "api/resp_internal.h"
#include "base/alloc.h"
#include "base/num.h"
#include "proxy/gate.h"

/* ---- words ---- */

bool dj_resp_is(struct deja_slice word, const char *lower)
{
    for (size_t i = 0; i < word.len; i++) {
        char c = word.data[i];
        if (!lower[i] || (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c) != lower[i])
            return false;
    }
    return !lower[word.len];
}

bool dj_resp_take_integer(struct deja_slice word, int64_t *out_value, struct dj_buf *out)
{
    size_t sign = word.len > 0 && word.data[0] == '-';
    bool is_plain = word.len > sign && word.data[sign] >= '0' && word.data[sign] <= '9' &&
                    (word.data[sign] != '0' || word.len == 1);
    if (is_plain && dj_num_parse_i64(word, out_value) == DEJA_OK)
        return true;
    dj_resp_put_error(out, "ERR value is not an integer or out of range");
    return false;
}

bool dj_resp_check_key(struct deja_slice key, struct dj_buf *out)
{
    if (dj_plain_is_previous(key)) {
        dj_resp_put_error(out, "ERR names that end in %s are those of versions", DJ_PLAIN_PREVIOUS);
        return false;
    }
    if (key.len > 0 && key.len <= DJ_PLAIN_KEY_BYTES_MAX)
        return true;
    dj_resp_put_error(out, "ERR a key must have 1 to %u bytes, not %zu", DJ_PLAIN_KEY_BYTES_MAX,
                      key.len);
    return false;
}

enum dj_resp_flow dj_resp_syntax_error(struct dj_buf *out)
{
    dj_resp_put_error(out, "ERR syntax error");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_wrong_arity(const char *command, struct dj_buf *out)
{
    dj_resp_put_error(out, "ERR wrong number of arguments for '%s' command", command);
    return DJ_RESP_ANSWERED;
}

void dj_resp_put_failure(struct dj_buf *out, enum deja_status status)
{
    if (status == DEJA_ERR_NOMEM)
        dj_resp_put_error(out, "OOM out of memory");
    else if (status == DEJA_ERR_BUSY)
        dj_resp_put_error(out, "ERR busy: too much is being written at the same time, or another "
                               "program holds this key; try again");
    else if (status == DEJA_ERR_LIMIT)
        dj_resp_put_error(out, "ERR the value is too long to be kept");
    else
        dj_resp_put_error(out, "ERR the cache is not available: %s", deja_status_text(status));
}

/* ---- what is held ---- */

static void fini_held(struct dj_resp_held *held)
{
    dj_arena_fini(&held->arena);
    *held = (struct dj_resp_held){.command = NULL};
}

/* Copies args. False: no memory. */
static bool hold_args(struct dj_resp_held *held, const struct dj_resp_command *command,
                      const struct dj_resp_args *args)
{
    size_t bytes = 0;
    for (size_t i = 0; i < args->count; i++)
        bytes += args->items[i].len;
    struct deja_slice *items = dj_arena_alloc(&held->arena, args->count * sizeof *items);
    char *at = dj_arena_alloc(&held->arena, bytes + 1);
    if (!items || !at)
        return false;
    for (size_t i = 0; i < args->count; i++) {
        if (args->items[i].len > 0)
            memcpy(at, args->items[i].data, args->items[i].len);
        items[i] = deja_slice(at, args->items[i].len);
        at += args->items[i].len;
    }
    held->command = command;
    held->args = (struct dj_resp_args){items, args->count};
    return true;
}

const struct dj_resp_args *dj_resp_hold(struct dj_resp_client *client,
                                        const struct dj_resp_args *args, struct dj_buf *out)
{
    if (args == &client->held.args)
        return args; /* it was held before it began */
    if (hold_args(&client->held, client->last, args))
        return &client->held.args;
    dj_resp_put_failure(out, DEJA_ERR_NOMEM);
    return NULL;
}

void *dj_resp_hold_alloc(struct dj_resp_client *client, size_t size, struct dj_buf *out)
{
    void *memory = dj_arena_alloc(&client->held.arena, size);
    if (!memory)
        dj_resp_put_failure(out, DEJA_ERR_NOMEM);
    else
        memset(memory, 0, size);
    return memory;
}

/* ---- one command ---- */

static struct dj_buf *out_of(struct dj_resp_client *client)
{
    return client->is_executing ? &client->results : dj_resp_session_out(client->session);
}

/* The one key a command is about; data NULL: none, or several. */
static struct deja_slice key_of(const struct dj_resp_command *command,
                                const struct dj_resp_args *args)
{
    size_t at = (size_t)command->first_key;
    bool is_one =
        command->last_key == command->first_key || args->count == at + (size_t)command->key_step;
    return at > 0 && is_one && at < args->count ? args->items[at] : deja_slice(NULL, 0);
}

/* It was answered: what it was charged with is given back, and it is noted. */
static void end_command(struct dj_resp_client *client, const struct dj_resp_command *command,
                        const struct dj_resp_args *args, const struct dj_buf *out, size_t before)
{
    struct deja_slice reply = out->len > before ? deja_slice(out->data + before, out->len - before)
                                                : (struct deja_slice){0};
    if (client->pass.limiter)
        dj_gate_leave(&client->pass, reply.len);
    if (command->audit)
        dj_resp_note_audit(client, command, key_of(command, args), reply);
}

static enum dj_resp_flow run(struct dj_resp_client *client, const struct dj_resp_command *command,
                             const struct dj_resp_args *args, struct dj_buf *out)
{
    size_t before = out->len;
    client->last = command;
    if (!dj_resp_admit(client, command, args, out))
        return DJ_RESP_ANSWERED;
    enum dj_resp_flow flow = command->run(client, args, out);
    if (flow == DJ_RESP_ANSWERED || flow == DJ_RESP_CLOSE)
        end_command(client, command, args, out, before);
    return flow;
}

static bool may_begin(const struct dj_resp_client *client, const struct dj_resp_command *command)
{
    return client->write_count == 0 ||
           (command && (command->flags & DJ_RESP_OVERLAPS) && !client->is_judging &&
            client->write_count < DJ_RESP_BEHIND_MAX &&
            client->write_bytes < DJ_RESP_BEHIND_BYTES_MAX);
}

/* Until what is behind has been replied (1). */
static enum dj_resp_flow hold_back(struct dj_resp_client *client, const struct dj_resp_args *args)
{
    if (!hold_args(&client->held, NULL, args)) {
        fini_held(&client->held);
        return DJ_RESP_CLOSE; /* an error would overtake what is behind */
    }
    client->is_held_due = true;
    return DJ_RESP_WAITING;
}

/* Runs it, where nothing is in its way. */
static enum dj_resp_flow begin(struct dj_resp_client *client, const struct dj_resp_command *command,
                               const struct dj_resp_args *args, struct dj_buf *out)
{
    enum dj_resp_flow flow = run(client, command, args, out);
    if (flow != DJ_RESP_WAITING)
        fini_held(&client->held);
    return flow;
}

/* What was answered at once, from before on, although others are behind (an error, then): it joins
 * them. */
static enum dj_resp_flow join(struct dj_resp_client *client, struct dj_buf *out, size_t before)
{
    bool is_joined = dj_resp_write_note(
        client, deja_slice(out->data ? out->data + before : NULL, out->len - before));
    out->len = before;
    return is_joined ? DJ_RESP_BEHIND : DJ_RESP_CLOSE;
}

/* ---- transactions ---- */

void dj_resp_end_transaction(struct dj_resp_client *client)
{
    while (client->queue) {
        struct dj_resp_queued *queued = client->queue;
        client->queue = queued->next;
        fini_held(&queued->held);
        dj_free(queued);
    }
    client->queue_end = &client->queue;
    client->queue_count = 0;
    client->queue_bytes = 0;
    client->is_queueing = client->is_queue_bad = client->is_executing = false;
    dj_buf_fini(&client->results);
}

static void enqueue(struct dj_resp_client *client, const struct dj_resp_command *command,
                    const struct dj_resp_args *args, struct dj_buf *out)
{
    struct dj_resp_queued *queued = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < args->count; i++)
        bytes += args->items[i].len + sizeof args->items[i];
    if (client->queue_count >= DJ_RESP_QUEUE_MAX ||
        bytes > DJ_RESP_QUEUE_BYTES_MAX - client->queue_bytes) {
        dj_resp_put_error(out, "ERR the transaction is too long");
    } else if (!(queued = dj_alloc_zeroed(1, sizeof *queued)) ||
               !hold_args(&queued->held, command, args)) {
        if (queued)
            fini_held(&queued->held);
        dj_free(queued);
        queued = NULL;
        dj_resp_put_failure(out, DEJA_ERR_NOMEM);
    }
    if (!queued) {
        client->is_queue_bad = true;
        return;
    }
    *client->queue_end = queued;
    client->queue_end = &queued->next;
    client->queue_count++;
    client->queue_bytes += bytes;
    dj_resp_put_status(out, "QUEUED");
}

enum dj_resp_flow dj_resp_multi(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    (void)args;
    if (client->is_queueing) {
        dj_resp_put_error(out, "ERR MULTI calls can not be nested");
        return DJ_RESP_ANSWERED;
    }
    dj_resp_end_transaction(client);
    client->is_queueing = true;
    dj_resp_put_status(out, "OK");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_discard(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    (void)args;
    if (!client->is_queueing) {
        dj_resp_put_error(out, "ERR DISCARD without MULTI");
        return DJ_RESP_ANSWERED;
    }
    dj_resp_end_transaction(client);
    dj_resp_put_status(out, "OK");
    return DJ_RESP_ANSWERED;
}

/* Runs what is queued until one waits. True: all were run, and nothing is behind. */
static bool execute(struct dj_resp_client *client)
{
    while (client->queue) {
        struct dj_resp_queued *queued = client->queue;
        client->queue = queued->next;
        const struct dj_resp_command *command = queued->held.command;
        enum dj_resp_flow flow = DJ_RESP_WAITING;
        size_t before = client->results.len;
        bool is_behind = client->write_count > 0;
        if (may_begin(client, command))
            flow = begin(client, command, &queued->held.args, &client->results);
        else
            flow = hold_back(client, &queued->held.args);
        if (flow == DJ_RESP_ANSWERED && is_behind)
            flow = join(client, &client->results, before);
        fini_held(&queued->held);
        dj_free(queued);
        if (flow == DJ_RESP_WAITING)
            return false;
        if (flow == DJ_RESP_CLOSE)
            client->is_closing = true;
    }
    return client->write_count == 0;
}

/* All results are there. */
static void put_results(struct dj_resp_client *client, struct dj_buf *out)
{
    if (client->results.status == DEJA_OK) {
        dj_resp_put_array(out, client->queue_count);
        dj_buf_append_slice(out, dj_buf_slice(&client->results));
    } else {
        dj_resp_put_failure(out, client->results.status);
    }
    dj_resp_end_transaction(client);
}

enum dj_resp_flow dj_resp_exec(struct dj_resp_client *client, const struct dj_resp_args *args,
                               struct dj_buf *out)
{
    (void)args;
    if (!client->is_queueing) {
        dj_resp_put_error(out, "ERR EXEC without MULTI");
        return DJ_RESP_ANSWERED;
    }
    if (client->is_queue_bad) {
        dj_resp_end_transaction(client);
        dj_resp_put_error(out, "EXECABORT Transaction discarded because of previous errors.");
        return DJ_RESP_ANSWERED;
    }
    client->is_queueing = false;
    client->is_executing = true;
    if (!execute(client))
        return DJ_RESP_WAITING;
    put_results(client, out);
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_watch(struct dj_resp_client *client, const struct dj_resp_args *args,
                                struct dj_buf *out)
{
    (void)client;
    (void)args;
    dj_resp_put_error(out, "ERR WATCH is not served: a transaction here is only run in order; use "
                           "SET with NX, XX or GET, INCR or GETDEL for what must be atomic");
    return DJ_RESP_ANSWERED;
}

enum dj_resp_flow dj_resp_unwatch(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    (void)client;
    (void)args;
    dj_resp_put_status(out, "OK");
    return DJ_RESP_ANSWERED;
}

/* ---- replies of what waited ---- */

/* The command of the session has been answered, or one of its transaction. */
static void go_on(struct dj_resp_client *client, enum dj_resp_flow flow)
{
    if (client->is_executing) {
        if (!execute(client))
            return;
        client->is_executing = false;
        put_results(client, dj_resp_session_out(client->session));
        flow = client->is_closing ? DJ_RESP_CLOSE : DJ_RESP_ANSWERED;
    }
    if (client->is_muted && flow != DJ_RESP_BEHIND)
        dj_buf_clear(dj_resp_session_out(client->session));
    dj_resp_session_answered(client->session, flow);
}

struct dj_buf *dj_resp_reply_begin(struct dj_resp_client *client)
{
    struct dj_buf *out = out_of(client);
    client->reply_before = out->len;
    return out;
}

void dj_resp_reply_end(struct dj_resp_client *client)
{
    end_command(client, client->last, &client->held.args, out_of(client), client->reply_before);
    fini_held(&client->held);
    client->work = NULL;
    go_on(client, DJ_RESP_ANSWERED);
}

void dj_resp_reply_behind(struct dj_resp_client *client)
{
    fini_held(&client->held);
    client->work = NULL;
    if (!client->is_executing || client->queue)
        go_on(client, DJ_RESP_BEHIND);
}

static enum dj_resp_flow dispatch(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out);

void dj_resp_writes_ended(struct dj_resp_client *client)
{
    if (!client->is_held_due) {
        if (client->is_executing)
            go_on(client, DJ_RESP_ANSWERED);
        return;
    }
    client->is_held_due = false;
    enum dj_resp_flow flow = dispatch(client, &client->held.args, out_of(client));
    if (flow != DJ_RESP_WAITING)
        go_on(client, flow);
}

/* ---- from the connection ---- */

static void put_unknown(const struct dj_resp_args *args, struct dj_buf *out)
{
    char text[256];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 1; i < args->count && len < 128; i++) {
        struct deja_slice arg = args->items[i];
        int more = snprintf(text + len, sizeof text - len, "'%.*s' ",
                            (int)(arg.len < 128 - len ? arg.len : 128 - len), arg.data);
        len += more > 0 ? (size_t)more : 0;
    }
    struct deja_slice name = args->items[0];
    dj_resp_put_error(out, "ERR unknown command '%.*s', with args beginning with: %s",
                      (int)(name.len < 128 ? name.len : 128), name.data, text);
}

/* Known, with a right number of words, and not out of place; NULL: the error is in out. */
static const struct dj_resp_command *find(struct dj_resp_client *client,
                                          const struct dj_resp_args *args, struct dj_buf *out)
{
    const struct dj_resp_command *command = dj_resp_find_command(args->items[0]);
    int count = (int)args->count;
    if (!command) {
        put_unknown(args, out);
        return NULL;
    }
    dj_resp_metrics_command(client->api->metrics, dj_resp_command_index(command));
    if (command->arity > 0 ? count != command->arity : count < -command->arity) {
        dj_resp_wrong_arity(command->name, out);
    } else if (client->version < 3 && dj_resp_subscriptions(client) > 0 &&
               !(command->flags & DJ_RESP_ON_PUSH)) {
        dj_resp_put_error(out,
                          "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                          "QUIT / RESET are allowed in this context",
                          command->name);
    } else if (client->is_queueing && (command->flags & DJ_RESP_NO_MULTI)) {
        dj_resp_put_error(out, "ERR Command not allowed inside a transaction");
    } else {
        return command;
    }
    return NULL;
}

static enum dj_resp_flow dispatch(struct dj_resp_client *client, const struct dj_resp_args *args,
                                  struct dj_buf *out)
{
    enum dj_resp_flow flow = DJ_RESP_ANSWERED;
    const struct dj_resp_command *command = find(client, args, out);
    if (!command)
        client->is_queue_bad |= client->is_queueing;
    else if (client->is_queueing && !(command->flags & DJ_RESP_AT_ONCE))
        enqueue(client, command, args, out);
    else
        return begin(client, command, args, out);
    fini_held(&client->held);
    return flow;
}

static enum dj_resp_flow on_command(void *ctx, const struct deja_slice *items, size_t count,
                                    struct dj_buf *out)
{
    struct dj_resp_client *client = ctx;
    struct dj_resp_api *api = client->api;
    const struct dj_resp_args args = {items, count};
    size_t before = out->len;
    bool is_behind = client->write_count > 0;
    client->is_muted = client->muting != DJ_RESP_REPLY_ON;
    if (client->muting == DJ_RESP_REPLY_SKIP)
        client->muting = DJ_RESP_REPLY_ON;
    atomic_fetch_add_explicit(&api->commands, 1, memory_order_relaxed);
    if (is_behind && !may_begin(client, dj_resp_find_command(items[0])))
        return hold_back(client, &args);
    enum dj_resp_flow flow = dispatch(client, &args, out);
    if (client->is_muted && flow == DJ_RESP_ANSWERED)
        out->len = before;
    else if (is_behind && flow == DJ_RESP_ANSWERED)
        flow = join(client, out, before);
    return flow;
}

static void *on_opened(void *ctx, struct dj_resp_session *session)
{
    struct dj_resp_api *api = ctx;
    struct dj_resp_client *client = dj_alloc_zeroed(1, sizeof *client);
    if (!client)
        return NULL;
    client->api = api;
    client->session = session;
    client->loop = dj_resp_session_loop(session);
    client->id = atomic_fetch_add_explicit(&api->client_id, 1, memory_order_relaxed) + 1;
    client->version = 2;
    client->opened_ms = dj_loop_now_ms(client->loop);
    client->queue_end = &client->queue;
    dj_list_init(&client->writes);
    return client;
}

static void on_closed(void *ctx)
{
    struct dj_resp_client *client = ctx;
    assert(client->write_count == 0);
    dj_resp_unsubscribe_all(client);
    dj_resp_end_transaction(client);
    fini_held(&client->held);
    dj_resp_forget_who(client);
    dj_free(client);
}

static bool is_welcome(void *ctx)
{
    struct dj_buf ignored = {0};
    bool is_let = dj_resp_is_welcome(ctx, &ignored);
    dj_buf_fini(&ignored);
    return is_let;
}

const struct dj_resp_handler dj_resp_api_handler = {
    .opened = on_opened, .command = on_command, .is_welcome = is_welcome, .closed = on_closed};
