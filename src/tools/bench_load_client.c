/* tools/bench_load_client.c - one client of `deja bench load`: a connection it keeps, one question
 * at a time, and a look at every answer.
 *
 *   OFF --ask--> ASKING --answer--> IDLE --pause over, ask--> ASKING ...
 *                   \--failed--> OFF        \--server closes--> OFF
 *
 * Plain sockets on a loop, because a thousand clients of a library for everything would be slower
 * than what they measure, and because who asks over which connection must be ours to say.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/slice.h"
#include "proto/json.h"
#include "tools/bench_load_internal.h"

#define READ_BYTES 16384u
#define TTL_S 3600

static const struct dj_http_reply_limits limits = {.head_bytes_max = 16384,
                                                   .body_bytes_max = 1u << 20};

/* ---- what is sent ---- */

static uint32_t tenant_of(const struct dj_load_client *client)
{
    return client->index % dj_load_target(client->load)->tenant_count;
}

static void write_chat(const struct dj_load_client *client, struct dj_json_writer *w)
{
    char text[DJ_BENCH_TEXT_BYTES];
    dj_json_begin_object(w);
    dj_json_member_text(w, "model", "load");
    dj_json_key(w, "messages");
    dj_json_begin_array(w);
    dj_json_begin_object(w);
    dj_json_member_text(w, "role", "user");
    dj_json_key(w, "content");
    dj_json_put_string(w, dj_load_question(client->question, text));
    dj_json_end_object(w);
    dj_json_end_array(w);
    dj_json_end_object(w);
}

static void write_entry(const struct dj_load_client *client, struct dj_json_writer *w)
{
    const struct dj_load_target *target = dj_load_target(client->load);
    char text[DJ_BENCH_TEXT_BYTES];
    char answer[DJ_LOAD_ANSWER_BYTES];
    dj_json_begin_object(w);
    dj_json_key(w, "query");
    dj_json_put_string(w, dj_load_question(client->question, text));
    dj_json_member_text(w, "namespace", target->name_space);
    if (client->is_put) {
        size_t len = dj_load_answer(target, tenant_of(client), client->question, answer);
        dj_json_key(w, "response");
        dj_json_put_string(w, deja_slice(answer, len));
        dj_json_member_u64(w, "ttl", TTL_S);
    }
    dj_json_end_object(w);
}

static void write_request(struct dj_load_client *client)
{
    const struct dj_load_target *target = dj_load_target(client->load);
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    const char *name = target->names[tenant_of(client)];
    if (target->is_api)
        write_entry(client, &w);
    else
        write_chat(client, &w);
    dj_buf_clear(&client->request);
    dj_buf_append_format(&client->request,
                         "%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                         "%s%s%sContent-Length: %zu\r\n\r\n",
                         !target->is_api  ? "POST /v1/chat/completions"
                         : client->is_put ? "PUT /api/v1/entries"
                                          : "POST /api/v1/lookup",
                         target->host, *name ? "Authorization: Bearer " : "", name,
                         *name ? "\r\n" : "", body.len);
    dj_buf_append_slice(&client->request, dj_buf_slice(&body));
    if (body.status != DEJA_OK)
        client->request.status = body.status;
    dj_buf_fini(&body);
}

/* ---- what came ---- */

static struct deja_slice text_of(const struct dj_load_target *target, const struct dj_json *root)
{
    if (target->is_api)
        return dj_json_string(dj_json_get(root, "response"));
    const struct dj_json *choice = dj_json_at(dj_json_get(root, "choices"), 0);
    return dj_json_string(dj_json_get(dj_json_get(choice, "message"), "content"));
}

static enum dj_load_outcome look_at(const struct dj_load_client *client, enum dj_load_header header)
{
    const struct dj_load_target *target = dj_load_target(client->load);
    uint32_t tenant = tenant_of(client);
    enum dj_load_outcome outcome = DJ_LOAD_WRONG;
    char expected[DJ_LOAD_ANSWER_BYTES];
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(dj_buf_slice(&client->body), &doc, NULL) != DEJA_OK)
        return DJ_LOAD_WRONG;
    struct deja_slice text = text_of(target, dj_json_root(doc));
    size_t len = dj_load_answer(target, tenant, client->question, expected);
    if (deja_slice_is_equal(text, deja_slice(expected, len)))
        outcome = DJ_LOAD_RIGHT;
    else if (dj_load_is_foreign(target, tenant, text))
        outcome = DJ_LOAD_FOREIGN;
    else if (target->is_api && header == DJ_LOAD_MISS) /* a miss has no words */
        outcome = text.len ? DJ_LOAD_WRONG : DJ_LOAD_RIGHT;
    dj_json_doc_destroy(doc);
    return outcome;
}

static void fail(struct dj_load_client *client, const char *detail)
{
    dj_load_client_close(client);
    dj_load_on_answer(client->load, client, DJ_LOAD_FAILED, DJ_LOAD_NOTHING, detail);
}

static void fail_with_status(struct dj_load_client *client, int status)
{
    char detail[200];
    snprintf(detail, sizeof detail, "HTTP %d: %.*s", status,
             (int)(client->body.len < 160 ? client->body.len : 160),
             client->body.data ? client->body.data : "");
    dj_load_client_close(client);
    dj_load_on_answer(client->load, client, DJ_LOAD_FAILED, DJ_LOAD_NOTHING, detail);
}

static enum dj_load_header read_header(const struct dj_http_reply *reply)
{
    struct deja_slice value = dj_http_reply_find(reply, "X-Cache-Hit");
    return dj_slice_is(value, "true")    ? DJ_LOAD_HIT
           : dj_slice_is(value, "false") ? DJ_LOAD_MISS
                                         : DJ_LOAD_NOTHING;
}

/* The answer is whole. What the cache API misses is put, and only then is the call over. */
static void on_whole(struct dj_load_client *client)
{
    const struct dj_load_target *target = dj_load_target(client->load);
    int status = dj_http_reply_status(client->reply);
    enum dj_load_header header = read_header(client->reply);
    bool is_kept = dj_http_reply_is_keep_alive(client->reply);
    dj_http_reply_next(client->reply);
    if (status != (client->is_put ? 201 : 200)) {
        fail_with_status(client, status);
        return;
    }
    client->state = DJ_LOAD_IDLE;
    client->has_answered = true;
    if (!is_kept)
        dj_load_client_close(client);
    if (client->is_put) {
        client->is_put = false;
        dj_load_on_answer(client->load, client, DJ_LOAD_RIGHT, DJ_LOAD_NOTHING, NULL);
        return;
    }
    enum dj_load_outcome outcome = look_at(client, header);
    if (outcome == DJ_LOAD_RIGHT && header == DJ_LOAD_NOTHING)
        outcome = DJ_LOAD_NO_HEADER;
    client->is_put = target->is_api && header == DJ_LOAD_MISS && outcome == DJ_LOAD_RIGHT;
    dj_load_on_answer(client->load, client, outcome, header, NULL);
}

static bool on_body(void *ctx, struct deja_slice bytes)
{
    struct dj_load_client *client = ctx;
    dj_buf_append_slice(&client->body, bytes);
    return client->body.status == DEJA_OK;
}

static void receive(struct dj_load_client *client)
{
    char bytes[READ_BYTES];
    size_t taken = 0;
    ssize_t got = recv(client->fd, bytes, sizeof bytes, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (client->state == DJ_LOAD_IDLE) {
        dj_load_client_close(client);
        dj_load_on_dropped(client->load, client);
        return;
    }
    if (got <= 0) {
        fail(client, got ? strerror(errno) : "closed before an answer");
        return;
    }
    enum dj_http_step step =
        dj_http_reply_feed(client->reply, deja_slice(bytes, (size_t)got), &taken, client, on_body);
    if (step == DJ_HTTP_STEP_FAILED)
        fail(client, dj_http_reply_detail(client->reply));
    else if (step == DJ_HTTP_STEP_DONE && taken < (size_t)got)
        fail(client, "more than was asked for");
    else if (step == DJ_HTTP_STEP_DONE)
        on_whole(client);
}

/* ---- the connection ---- */

static void transmit(struct dj_load_client *client)
{
    while (client->sent < client->request.len) {
        ssize_t sent = send(client->fd, client->request.data + client->sent,
                            client->request.len - client->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) {
            dj_poll_set(client->poll, DJ_POLL_WRITE);
            return;
        }
        if (sent < 0) {
            fail(client, strerror(errno));
            return;
        }
        client->sent += (size_t)sent;
    }
    dj_poll_set(client->poll, DJ_POLL_READ);
}

static void on_ready(void *ctx, int events)
{
    struct dj_load_client *client = ctx;
    int code = 0;
    socklen_t len = sizeof code;
    if (client->state == DJ_LOAD_ASKING && client->sent < client->request.len) {
        if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code)
            fail(client, strerror(code));
        else
            transmit(client);
    } else if (events) {
        receive(client);
    }
}

static const char *connect_to(struct dj_load_client *client)
{
    const struct dj_load_target *target = dj_load_target(client->load);
    int one = 1;
    client->fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return strerror(errno);
    if (setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        (connect(client->fd, (const struct sockaddr *)&target->address, target->address_len) != 0 &&
         errno != EINPROGRESS))
        return strerror(errno);
    if (dj_poll_open(dj_load_loop(client->load), client->fd, client, on_ready, &client->poll) !=
        DEJA_OK)
        return "out of memory";
    return NULL;
}

/* ---- what the load does with it ---- */

static void on_pause_over(void *ctx)
{
    struct dj_load_client *client = ctx;
    dj_load_on_pause_over(client->load, client);
}

enum deja_status dj_load_client_init(struct dj_load_client *client, struct dj_load *load,
                                     uint32_t index)
{
    *client = (struct dj_load_client){.load = load, .index = index, .fd = -1};
    dj_buf_init(&client->body, 1u << 20);
    enum deja_status status = dj_http_reply_create(&limits, &client->reply);
    if (status == DEJA_OK)
        status = dj_timer_create(dj_load_loop(load), client, on_pause_over, &client->timer);
    return status;
}

void dj_load_client_fini(struct dj_load_client *client)
{
    if (!client->load)
        return;
    dj_load_client_close(client);
    dj_timer_destroy(client->timer);
    dj_http_reply_destroy(client->reply);
    dj_buf_fini(&client->request);
    dj_buf_fini(&client->body);
    *client = (struct dj_load_client){.load = NULL};
}

void dj_load_client_close(struct dj_load_client *client)
{
    dj_poll_close(client->poll);
    client->poll = NULL;
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->state = DJ_LOAD_OFF;
    dj_http_reply_next(client->reply);
}

void dj_load_client_ask(struct dj_load_client *client, uint32_t question)
{
    const char *fault = NULL;
    if (client->is_put)
        question = client->question; /* the miss is filled first */
    client->question = question;
    client->sent = 0;
    client->began_ns = dj_clock_monotonic_ns();
    dj_buf_clear(&client->body);
    write_request(client);
    if (client->request.status != DEJA_OK)
        fault = "out of memory";
    else if (client->fd < 0)
        fault = connect_to(client);
    client->state = DJ_LOAD_ASKING;
    if (fault)
        fail(client, fault);
    else
        transmit(client);
}

void dj_load_client_pause(struct dj_load_client *client, uint32_t pause_ms)
{
    dj_timer_start(client->timer, pause_ms, 0);
}

void dj_load_client_expire(struct dj_load_client *client, uint64_t began_before_ns)
{
    if (client->state == DJ_LOAD_ASKING && client->began_ns < began_before_ns)
        fail(client, "no answer in time");
}
