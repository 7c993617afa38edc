/* proto/sse.c - server-sent events out of bytes that arrive in any pieces.
 *
 * Trust: untrusted. A line that lies whole in what was fed is used where it is; only the rest of an
 * unfinished one is copied. A line ends at LF, CR or CRLF; as a CR may be the last byte fed, the LF
 * that belongs to it is skipped when it comes.
 *
 * (1) Half-read line, data and name together hold at most event_bytes_max bytes (I7).
 * (2) An event is handed out at its empty line and only if it has a data line; the fields id and
 *     retry are for clients that reconnect and are dropped, as are comments and unknown fields.
 */
#include "proto/sse.h"

void dj_sse_init(struct dj_sse_parser *parser, size_t event_bytes_max)
{
    *parser = (struct dj_sse_parser){.event_bytes_max = event_bytes_max};
}

void dj_sse_fini(struct dj_sse_parser *parser)
{
    dj_buf_fini(&parser->line);
    dj_buf_fini(&parser->data);
    dj_buf_fini(&parser->name);
    *parser = (struct dj_sse_parser){0};
}

static enum deja_status keep(const struct dj_sse_parser *parser, struct dj_buf *buf,
                             struct deja_slice bytes)
{
    size_t held = parser->line.len + parser->data.len + parser->name.len;
    if (held > parser->event_bytes_max || bytes.len > parser->event_bytes_max - held)
        return DEJA_ERR_LIMIT;
    dj_buf_append_slice(buf, bytes);
    return buf->status;
}

static enum deja_status dispatch(struct dj_sse_parser *parser, void *ctx, dj_sse_event_fn *on_event)
{
    bool goes_on = true;
    if (parser->has_data) {
        const struct dj_sse_event event = {.name = dj_buf_slice(&parser->name),
                                           .data = dj_buf_slice(&parser->data)};
        goes_on = on_event(ctx, &event);
    }
    parser->has_data = false;
    dj_buf_clear(&parser->data);
    dj_buf_clear(&parser->name);
    return goes_on ? DEJA_OK : DEJA_ERR_CANCELLED;
}

static bool is_field(struct deja_slice line, const char *name, struct deja_slice *out_value)
{
    size_t len = strlen(name);
    if (line.len < len || memcmp(line.data, name, len) != 0)
        return false;
    if (line.len == len) {
        *out_value = deja_slice(NULL, 0);
        return true;
    }
    if (line.data[len] != ':')
        return false;
    len++;
    if (len < line.len && line.data[len] == ' ')
        len++;
    *out_value = deja_slice(line.data + len, line.len - len);
    return true;
}

static enum deja_status take_line(struct dj_sse_parser *parser, struct deja_slice line, void *ctx,
                                  dj_sse_event_fn *on_event)
{
    struct deja_slice value;
    if (!parser->is_started && line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0)
        line = deja_slice(line.data + 3, line.len - 3);
    parser->is_started = true;
    if (!line.len)
        return dispatch(parser, ctx, on_event);
    if (is_field(line, "data", &value)) {
        enum deja_status status = DEJA_OK;
        if (parser->has_data)
            status = keep(parser, &parser->data, deja_slice("\n", 1));
        parser->has_data = true;
        return status == DEJA_OK ? keep(parser, &parser->data, value) : status;
    }
    if (is_field(line, "event", &value)) {
        dj_buf_clear(&parser->name);
        return keep(parser, &parser->name, value);
    }
    return DEJA_OK;
}

/* Bytes before the first CR or LF, or all. */
static size_t find_line_end(struct deja_slice bytes)
{
    const char *lf = memchr(bytes.data, '\n', bytes.len);
    size_t len = lf ? (size_t)(lf - bytes.data) : bytes.len;
    const char *cr = memchr(bytes.data, '\r', len);
    return cr ? (size_t)(cr - bytes.data) : len;
}

/* A line whose end was found; its beginning may have been kept from earlier. */
static enum deja_status end_line(struct dj_sse_parser *parser, struct deja_slice line, void *ctx,
                                 dj_sse_event_fn *on_event)
{
    if (!parser->line.len) {
        return line.len > parser->event_bytes_max ? DEJA_ERR_LIMIT
                                                  : take_line(parser, line, ctx, on_event);
    }
    enum deja_status status = keep(parser, &parser->line, line);
    if (status != DEJA_OK)
        return status;
    /* Set aside, so that the bound does not count the line and its copy in data. */
    struct dj_buf whole = parser->line;
    parser->line = (struct dj_buf){0};
    status = take_line(parser, dj_buf_slice(&whole), ctx, on_event);
    dj_buf_clear(&whole);
    parser->line = whole;
    return status;
}

enum deja_status dj_sse_feed(struct dj_sse_parser *parser, struct deja_slice bytes, void *ctx,
                             dj_sse_event_fn *on_event)
{
    while (bytes.len) {
        if (parser->is_after_cr && bytes.data[0] == '\n')
            bytes = deja_slice(bytes.data + 1, bytes.len - 1);
        parser->is_after_cr = false;
        if (!bytes.len)
            break;
        size_t len = find_line_end(bytes);
        struct deja_slice line = deja_slice(bytes.data, len);
        if (len == bytes.len)
            return keep(parser, &parser->line, line);
        parser->is_after_cr = bytes.data[len] == '\r';
        bytes = deja_slice(bytes.data + len + 1, bytes.len - len - 1);
        enum deja_status status = end_line(parser, line, ctx, on_event);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

bool dj_sse_is_at_boundary(const struct dj_sse_parser *parser)
{
    return !parser->line.len && !parser->has_data && !parser->name.len;
}

void dj_sse_begin(struct dj_buf *buf, struct deja_slice name)
{
    if (name.len) {
        dj_buf_append_text(buf, "event: ");
        dj_buf_append_slice(buf, name);
        dj_buf_append_byte(buf, '\n');
    }
    dj_buf_append_text(buf, "data: ");
}

void dj_sse_end(struct dj_buf *buf)
{
    dj_buf_append_text(buf, "\n\n");
}

void dj_sse_append(struct dj_buf *buf, struct deja_slice data)
{
    dj_sse_begin(buf, deja_slice(NULL, 0));
    dj_buf_append_slice(buf, data);
    dj_sse_end(buf);
}
