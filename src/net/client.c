/* net/client.c - see client.h.
 *
 * The loop ends when every handle on it is closed, so outbound is destroyed by a task posted from
 * on_done, not inside it.
 */
#include "net/client.h"

#include <stdio.h>
#include <strings.h>

#include "loop/loop.h"
#include "net/outbound.h"

#define URL_MAX 8192u
#define AUTHORIZATION_MAX 1024u
#define TOTAL_TIMEOUT_MS 60000u
#define HEAD_BYTES_MAX 65536u

struct call {
    struct dj_loop *loop;
    struct dj_outbound *outbound;
    struct dj_task finish;
    struct dj_client_answer *answer;
    enum deja_status status;
};

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct call *call = ctx;
    struct dj_buf *head = &call->answer->head;
    dj_buf_clear(head); /* of an interim answer */
    for (size_t i = 0; i < count; i++) {
        dj_buf_append_slice(head, headers[i].name);
        dj_buf_append_text(head, ": ");
        dj_buf_append_slice(head, headers[i].value);
        dj_buf_append_byte(head, '\n');
    }
    call->answer->http_status = status;
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct call *call = ctx;
    dj_buf_append_slice(&call->answer->body, bytes);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct call *call = ctx;
    call->status = status;
    snprintf(call->answer->detail, sizeof call->answer->detail, "%s", detail ? detail : "");
    dj_loop_post(call->loop, &call->finish);
}

static void finish(void *ctx)
{
    struct call *call = ctx;
    dj_outbound_destroy(call->outbound);
    call->outbound = NULL;
    dj_loop_stop(call->loop);
}

static enum deja_status start(struct call *call, const struct dj_client *client, const char *method,
                              const char *url, struct deja_slice body)
{
    static const struct dj_outbound_events events = {on_head, on_data, on_done};
    char authorization[AUTHORIZATION_MAX];
    struct dj_http_header headers[6 + DJ_CLIENT_HEADERS_MAX] = {
        {deja_slice_text("Accept"), deja_slice_text("application/json")}};
    size_t count = 1;
    struct dj_outbound_call *running = NULL;
    if (body.len)
        headers[count++] = (struct dj_http_header){
            deja_slice_text("Content-Type"),
            deja_slice_text(client->media ? client->media : "application/json")};
    if (client->key) {
        int len = snprintf(authorization, sizeof authorization, "Bearer %s", client->key);
        if (len < 0 || (size_t)len >= sizeof authorization)
            return DEJA_ERR_INVALID;
        headers[count++] = (struct dj_http_header){deja_slice_text("Authorization"),
                                                   deja_slice_text(authorization)};
    }
    if (client->token)
        headers[count++] = (struct dj_http_header){deja_slice_text("X-Deja-Token"),
                                                   deja_slice_text(client->token)};
    if (client->tenant)
        headers[count++] = (struct dj_http_header){deja_slice_text("X-Deja-Tenant"),
                                                   deja_slice_text(client->tenant)};
    if (client->user)
        headers[count++] =
            (struct dj_http_header){deja_slice_text("X-Deja-User"), deja_slice_text(client->user)};
    for (size_t i = 0; client->headers && i < DJ_CLIENT_HEADERS_MAX && client->headers[2 * i]; i++)
        headers[count++] = (struct dj_http_header){deja_slice_text(client->headers[2 * i]),
                                                   deja_slice_text(client->headers[2 * i + 1])};
    struct dj_outbound_request request = {
        .method = method,
        .url = url,
        .headers = headers,
        .header_count = count,
        .body = body,
        .total_timeout_ms = client->timeout_ms ? client->timeout_ms : TOTAL_TIMEOUT_MS};
    enum deja_status status = dj_outbound_start(call->outbound, &request, &events, call, &running);
    explicit_bzero(authorization, sizeof authorization);
    return status;
}

enum deja_status dj_client_call(const struct dj_client *client, const char *method,
                                const char *path, struct deja_slice body,
                                struct dj_client_answer *out_answer)
{
    struct call call = {.answer = out_answer, .status = DEJA_ERR_CANCELLED};
    char url[URL_MAX];
    struct deja_error error = {.message = ""};
    struct dj_outbound_options options = dj_outbound_options_default;
    options.ca_file = client->ca_file;
    *out_answer = (struct dj_client_answer){.http_status = 0};
    dj_buf_init(&out_answer->body, DJ_CLIENT_BODY_MAX);
    dj_buf_init(&out_answer->head, HEAD_BYTES_MAX);
    int len = snprintf(url, sizeof url, "%s%s", client->server, path);
    if (len < 0 || (size_t)len >= sizeof url)
        return DEJA_ERR_LIMIT;
    enum deja_status status = dj_outbound_check_url(url, &error);
    if (status != DEJA_OK) {
        snprintf(out_answer->detail, sizeof out_answer->detail, "%.190s", error.message);
        return status;
    }
    call.finish = (struct dj_task){.run = finish, .ctx = &call};
    status = dj_loop_create(0, &call.loop);
    if (status != DEJA_OK)
        return status;
    status = dj_outbound_create(call.loop, &options, &call.outbound);
    if (status == DEJA_OK)
        status = start(&call, client, method, url, body);
    if (status != DEJA_OK)
        dj_loop_post(call.loop, &call.finish); /* takes down what was built */
    dj_loop_run(call.loop);
    dj_loop_destroy(call.loop);
    if (status == DEJA_OK)
        status = call.status;
    if (status == DEJA_OK)
        status = out_answer->body.status;
    return status;
}

struct deja_slice dj_client_answer_header(const struct dj_client_answer *answer, const char *name)
{
    struct deja_slice rest = dj_buf_slice(&answer->head);
    size_t name_len = strlen(name);
    while (rest.len) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        if (len >= name_len + 2 && rest.data[name_len] == ':' &&
            strncasecmp(rest.data, name, name_len) == 0)
            return deja_slice(rest.data + name_len + 2, len - name_len - 2);
        size_t used = end ? len + 1 : len;
        rest = deja_slice(rest.data + used, rest.len - used);
    }
    return deja_slice(NULL, 0);
}

void dj_client_answer_fini(struct dj_client_answer *answer)
{
    dj_buf_fini(&answer->body);
    dj_buf_fini(&answer->head);
    *answer = (struct dj_client_answer){.http_status = 0};
}

void dj_percent_encode(struct dj_buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || (c && strchr("-._~", c));
        if (is_plain) {
            dj_buf_append_byte(out, (char)c);
        } else {
            dj_buf_append_byte(out, '%');
            dj_buf_append_byte(out, hex[c >> 4]);
            dj_buf_append_byte(out, hex[c & 15]);
        }
    }
}
