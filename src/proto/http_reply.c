/* proto/http_reply.c - see http_reply.h. llhttp finds the parts, with none of its lenient flags.
 *
 * Trust: untrusted. Fields are kept as they arrive, one behind the other:
 *
 *     name 1 : value 1 \n name 2 : value 2 \n ...
 *
 * which can be read back, as llhttp lets neither a colon into a name nor a line end into a value.
 *
 * (1) llhttp is started anew for each answer: nothing of one answer's framing reaches the next.
 * (2) What is neither body nor chunk line is bounded by head_bytes_max, kept or not.
 */
#include "proto/http_reply.h"

#include <assert.h>

#include <llhttp.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "proto/http_text.h"

#define CHUNK_LINE_BYTES 16u

struct dj_http_reply {
    llhttp_t llhttp;
    struct dj_http_reply_limits limits;
    struct dj_buf fields; /* see above */
    uint64_t wire_bytes;
    uint64_t body_bytes;
    uint64_t chunk_count;
    bool is_head_done;
    bool is_done;
    bool is_keep_alive;
    const char *detail; /* not NULL: failed */
    void *ctx;          /* of the feed that runs */
    dj_http_body_fn *on_body;
};

static int fail(struct dj_http_reply *reply, const char *detail)
{
    if (!reply->detail)
        reply->detail = detail;
    return HPE_USER;
}

static int keep(struct dj_http_reply *reply, const char *at, size_t len)
{
    if (reply->is_head_done)
        return 0; /* a trailer */
    if (len > reply->limits.head_bytes_max - reply->fields.len)
        return fail(reply, "the headers are too long");
    dj_buf_append(&reply->fields, at, len);
    return reply->fields.status == DEJA_OK ? 0 : fail(reply, "out of memory");
}

static int on_text(llhttp_t *llhttp, const char *at, size_t len)
{
    return keep(llhttp->data, at, len);
}

static int on_name_complete(llhttp_t *llhttp)
{
    return keep(llhttp->data, ":", 1);
}

static int on_value_complete(llhttp_t *llhttp)
{
    return keep(llhttp->data, "\n", 1);
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct dj_http_reply *reply = llhttp->data;
    if (llhttp->http_major != 1 || llhttp->http_minor > 1)
        return fail(reply, "only HTTP/1.0 and HTTP/1.1 are spoken");
    llhttp->upgrade = 0; /* never: what follows is a body or the next answer */
    reply->is_head_done = true;
    reply->is_keep_alive = llhttp_should_keep_alive(llhttp) != 0;
    if (llhttp_message_needs_eof(llhttp))
        return fail(reply, "an answer without a length");
    return 0;
}

static int on_chunk_header(llhttp_t *llhttp)
{
    struct dj_http_reply *reply = llhttp->data;
    reply->chunk_count++;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct dj_http_reply *reply = llhttp->data;
    if (!len)
        return 0;
    if (len > reply->limits.body_bytes_max - reply->body_bytes)
        return fail(reply, "the body is too large");
    reply->body_bytes += len;
    return reply->on_body(reply->ctx, deja_slice(at, len)) ? 0
                                                           : fail(reply, "the body cannot be kept");
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct dj_http_reply *reply = llhttp->data;
    reply->is_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_text,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_text,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

enum deja_status dj_http_reply_create(const struct dj_http_reply_limits *limits,
                                      struct dj_http_reply **out_reply)
{
    struct dj_http_reply *reply = dj_alloc_zeroed(1, sizeof *reply);
    if (!reply)
        return DEJA_ERR_NOMEM;
    reply->limits = *limits;
    dj_http_reply_next(reply);
    *out_reply = reply;
    return DEJA_OK;
}

void dj_http_reply_destroy(struct dj_http_reply *reply)
{
    if (!reply)
        return;
    dj_buf_fini(&reply->fields);
    dj_free(reply);
}

void dj_http_reply_next(struct dj_http_reply *reply)
{
    *reply = (struct dj_http_reply){.limits = reply->limits, .fields = reply->fields};
    dj_buf_clear(&reply->fields);
    llhttp_init(&reply->llhttp, HTTP_RESPONSE, &settings);
    reply->llhttp.data = reply;
}

enum dj_http_step dj_http_reply_feed(struct dj_http_reply *reply, struct deja_slice bytes,
                                     size_t *out_taken, void *ctx, dj_http_body_fn *on_body_fn)
{
    assert(!reply->is_done);
    *out_taken = 0;
    if (reply->detail)
        return DJ_HTTP_STEP_FAILED;
    const char *data = bytes.len ? bytes.data : "";
    reply->ctx = ctx;
    reply->on_body = on_body_fn;
    llhttp_errno_t code = llhttp_execute(&reply->llhttp, data, bytes.len);
    reply->ctx = NULL;
    size_t taken = bytes.len;
    const char *stop = llhttp_get_error_pos(&reply->llhttp);
    if (code != HPE_OK && stop && stop >= data && stop <= data + bytes.len)
        taken = (size_t)(stop - data);
    reply->wire_bytes += taken;
    *out_taken = taken;
    if (code != HPE_OK && !(code == HPE_PAUSED && reply->is_done))
        fail(reply, "not an HTTP answer");
    if (reply->wire_bytes - reply->body_bytes >
        reply->limits.head_bytes_max + CHUNK_LINE_BYTES * reply->chunk_count)
        fail(reply, "too much beside the body");
    if (reply->detail)
        return DJ_HTTP_STEP_FAILED;
    return reply->is_done ? DJ_HTTP_STEP_DONE : DJ_HTTP_STEP_MORE;
}

int dj_http_reply_status(const struct dj_http_reply *reply)
{
    assert(reply->is_done);
    return reply->llhttp.status_code;
}

bool dj_http_reply_is_keep_alive(const struct dj_http_reply *reply)
{
    return reply->is_keep_alive;
}

struct deja_slice dj_http_reply_find(const struct dj_http_reply *reply, const char *name)
{
    const char *at = reply->fields.data;
    const char *end = at + reply->fields.len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (!line_end || !colon || colon > line_end)
            break;
        if (dj_http_is_same(deja_slice(at, (size_t)(colon - at)), name))
            return dj_http_trim(deja_slice(colon + 1, (size_t)(line_end - colon - 1)));
        at = line_end + 1;
    }
    return deja_slice(NULL, 0);
}

const char *dj_http_reply_detail(const struct dj_http_reply *reply)
{
    return reply->detail ? reply->detail : "";
}
