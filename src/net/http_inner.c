/* net/http_inner.c - see http_inner.h: a connection that was never open, whose answer goes into a
 * sink.
 *
 * (1) Its state is CLOSED from the beginning and it has no server, so that no function writes to a
 *     client; http_response.c hands the sink what it would have written.
 * (2) The sink and the request's bytes end with the connection, after done.
 */
#include "net/http_inner.h"

#include "base/alloc.h"
#include "net/http_internal.h"

struct dj_http_sink {
    struct dj_http_connection *connection;
    void *handler_ctx;
    dj_http_handler_fn *handler;
    void *ctx;
    dj_http_inner_done_fn *done;
    struct dj_arena arena; /* the request, and the answer's headers */
    struct dj_http_header *headers;
    size_t header_count;
    int status;
    struct dj_buf body;
    uint8_t tenant[16];
};

static bool copy(struct dj_arena *arena, struct deja_slice from, struct deja_slice *out)
{
    *out = from.len ? dj_arena_copy(arena, from) : deja_slice("", 0);
    return out->data != NULL;
}

static bool copy_headers(struct dj_arena *arena, const struct dj_http_header *from, size_t count,
                         struct dj_http_header *out)
{
    for (size_t i = 0; i < count; i++)
        if (!copy(arena, from[i].name, &out[i].name) || !copy(arena, from[i].value, &out[i].value))
            return false;
    return true;
}

/* ---- the answer ---- */

void dj_http_sink_begin(struct dj_http_sink *sink, int status, const struct dj_http_header *headers,
                        size_t count)
{
    sink->status = status;
    sink->headers = dj_arena_alloc(&sink->arena, (count + 1) * sizeof *sink->headers);
    if (sink->headers && copy_headers(&sink->arena, headers, count, sink->headers))
        sink->header_count = count;
}

void dj_http_sink_write(struct dj_http_sink *sink, struct deja_slice bytes)
{
    dj_buf_append_slice(&sink->body, bytes);
}

void dj_http_sink_end(struct dj_http_sink *sink, bool is_whole)
{
    dj_http_inner_done_fn *done = sink->done;
    sink->done = NULL;
    if (done)
        done(sink->ctx, sink->status, sink->headers, sink->header_count, dj_buf_slice(&sink->body),
             is_whole && sink->body.status == DEJA_OK);
}

void dj_http_sink_destroy(struct dj_http_sink *sink)
{
    if (!sink)
        return;
    dj_buf_fini(&sink->body);
    dj_arena_fini(&sink->arena);
    dj_free(sink);
}

/* ---- the request ---- */

static void on_task(void *ctx)
{
    struct dj_http_connection *connection = ctx;
    struct dj_http_sink *sink = connection->sink;
    connection->is_posted = false;
    sink->handler(sink->handler_ctx, &connection->exchange);
}

static bool take_request(struct dj_http_sink *sink, const struct dj_http_inner_request *from)
{
    struct dj_http_exchange *exchange = &sink->connection->exchange;
    struct dj_http_request *request = &exchange->request;
    struct dj_http_header *headers =
        dj_arena_alloc(&sink->arena, (from->header_count + 1) * sizeof *headers);
    if (!headers || !copy_headers(&sink->arena, from->headers, from->header_count, headers) ||
        !copy(&sink->arena, deja_slice_text(from->method), &request->method) ||
        !copy(&sink->arena, from->target, &request->target) ||
        !copy(&sink->arena, from->body, &request->body))
        return false;
    const char *mark = memchr(request->target.data, '?', request->target.len);
    size_t path_len = mark ? (size_t)(mark - request->target.data) : request->target.len;
    memcpy(sink->tenant, from->tenant, sizeof sink->tenant);
    request->path = deja_slice(request->target.data, path_len);
    request->query =
        mark ? deja_slice(mark + 1, request->target.len - path_len - 1) : deja_slice(NULL, 0);
    request->headers = headers;
    request->header_count = from->header_count;
    request->inner_tenant = sink->tenant;
    request->inner_id = from->id;
    request->started_us = dj_loop_monotonic_us(sink->connection->loop);
    request->arena = &exchange->arena;
    exchange->is_active = true;
    exchange->body_bytes_left = -1;
    dj_arena_init(&exchange->arena, from->body.len * 4 + (4u << 20));
    return true;
}

enum deja_status dj_http_inner_ask(struct dj_loop *loop,
                                   const struct dj_http_inner_request *request, void *handler_ctx,
                                   dj_http_handler_fn *handler, void *ctx,
                                   dj_http_inner_done_fn *done)
{
    if (request->header_count > DJ_HTTP_INNER_HEADERS_MAX)
        return DEJA_ERR_LIMIT;
    struct dj_http_connection *connection = dj_alloc_zeroed(1, sizeof *connection);
    struct dj_http_sink *sink = dj_alloc_zeroed(1, sizeof *sink);
    if (!connection || !sink) {
        dj_free(connection);
        dj_free(sink);
        return DEJA_ERR_NOMEM;
    }
    *sink = (struct dj_http_sink){.connection = connection,
                                  .handler_ctx = handler_ctx,
                                  .handler = handler,
                                  .ctx = ctx,
                                  .done = done};
    dj_buf_init(&sink->body, DJ_HTTP_INNER_ANSWER_BYTES_MAX);
    dj_list_init(&connection->node);
    dj_list_init(&connection->waiting);
    connection->loop = loop;
    connection->sink = sink;
    connection->state = DJ_HTTP_CLOSED;
    connection->task = (struct dj_task){.run = on_task, .ctx = connection};
    if (!take_request(sink, request)) {
        dj_http_connection_free(connection);
        return DEJA_ERR_NOMEM;
    }
    connection->is_posted = true;
    dj_loop_post(loop, &connection->task);
    return DEJA_OK;
}
