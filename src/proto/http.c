/* proto/http.c - see http.h. llhttp finds the parts, with none of its lenient flags; this file
 * keeps the head, pauses where the caller decides, and makes the checks that llhttp leaves to its
 * user.
 *
 * Trust: untrusted. The head is kept in one buffer, in the order of its arrival:
 *
 *     target | name 1 | value 1 | name 2 | value 2 | ...
 *
 * so that until it is complete only lengths are noted; slices are made once the buffer no longer
 * moves.
 *
 * (1) llhttp is started anew for each request: nothing of one request's framing reaches the next.
 * (2) No byte after the end of a request is looked at before dj_http_parser_next.
 * (3) What is kept is bounded by head_bytes_max; what is dropped (empty lines before a request,
 *     chunk extensions, trailers) is counted and bounded too.
 */
#include "proto/http.h"

#include <assert.h>

#include <llhttp.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/slice.h"
#include "proto/http_text.h"

#define FIELDS_CAP_FIRST 16u
/* Chunk lines, extensions and trailers: so much for the whole body and so much for each chunk. */
#define OVERHEAD_BYTES_MAX 16384u
#define OVERHEAD_BYTES_PER_CHUNK 16u

struct dj_http_parser {
    llhttp_t llhttp;
    struct dj_http_parser_limits limits;
    struct dj_buf head_bytes; /* see above */
    struct dj_http_field *fields;
    size_t field_count;
    size_t field_cap;
    size_t target_len;
    struct dj_http_head head;
    uint64_t wire_bytes; /* of the head, then of the body */
    uint64_t body_bytes;
    uint64_t chunk_count;
    bool has_begun;
    const char *target_end; /* where the target ended in what is fed now; NULL: before */
    bool is_target_done;
    bool is_protocol_seen;
    bool is_in_value;
    bool is_head_done;
    bool is_done;
    int status; /* not 0: failed */
    const char *detail;
    void *ctx; /* of the feed that runs */
    dj_http_body_fn *on_body;
};

static int fail(struct dj_http_parser *parser, int status, const char *detail)
{
    if (!parser->status) {
        parser->status = status;
        parser->detail = detail;
    }
    return HPE_USER;
}

static int fail_too_long(struct dj_http_parser *parser)
{
    return parser->target_len && !parser->is_target_done
               ? fail(parser, 414, "the request line is too long")
               : fail(parser, 431, "the headers are too long");
}

static int keep(struct dj_http_parser *parser, const char *at, size_t len, size_t *kept_len)
{
    *kept_len += len; /* lengths of a head that fails are not looked at again */
    if (len > parser->limits.head_bytes_max - parser->head_bytes.len)
        return fail_too_long(parser);
    dj_buf_append(&parser->head_bytes, at, len);
    if (parser->head_bytes.status != DEJA_OK)
        return fail(parser, 503, "out of memory");
    return 0;
}

static int on_message_begin(llhttp_t *llhttp)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->has_begun = true;
    return 0;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->target_end = at + len;
    return keep(parser, at, len, &parser->target_len);
}

static int on_url_complete(llhttp_t *llhttp)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->is_target_done = true;
    return 0;
}

static bool grow_fields(struct dj_http_parser *parser)
{
    size_t cap = parser->field_cap ? parser->field_cap * 2 : FIELDS_CAP_FIRST;
    struct dj_http_field *fields = dj_realloc(parser->fields, cap * sizeof *fields);
    if (!fields)
        return false;
    parser->fields = fields;
    parser->field_cap = cap;
    return true;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct dj_http_parser *parser = llhttp->data;
    if (parser->is_head_done)
        return 0; /* a trailer */
    if (!parser->field_count || parser->is_in_value) {
        if (parser->field_count >= parser->limits.fields_max)
            return fail(parser, 431, "too many headers");
        if (parser->field_count == parser->field_cap && !grow_fields(parser))
            return fail(parser, 503, "out of memory");
        parser->fields[parser->field_count++] = (struct dj_http_field){0};
        parser->is_in_value = false;
    }
    return keep(parser, at, len, &parser->fields[parser->field_count - 1].name.len);
}

static int on_header_field_complete(llhttp_t *llhttp)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->is_in_value = true;
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct dj_http_parser *parser = llhttp->data;
    if (parser->is_head_done)
        return 0;
    return keep(parser, at, len, &parser->fields[parser->field_count - 1].value.len);
}

static int on_headers_complete(llhttp_t *llhttp)
{
    llhttp->upgrade = 0; /* never: what follows is a body or the next request */
    return HPE_PAUSED;
}

static int on_chunk_header(llhttp_t *llhttp)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->chunk_count++;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct dj_http_parser *parser = llhttp->data;
    if (!len)
        return 0;
    if (len > parser->limits.body_bytes_max - parser->body_bytes)
        return fail(parser, 413, "the body is too large");
    parser->body_bytes += len;
    if (!parser->on_body(parser->ctx, deja_slice(at, len)))
        return fail(parser, 503, "the body cannot be kept");
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct dj_http_parser *parser = llhttp->data;
    parser->is_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

enum deja_status dj_http_parser_create(const struct dj_http_parser_limits *limits,
                                       struct dj_http_parser **out_parser)
{
    struct dj_http_parser *parser = dj_alloc_zeroed(1, sizeof *parser);
    if (!parser)
        return DEJA_ERR_NOMEM;
    parser->limits = *limits;
    dj_http_parser_next(parser);
    *out_parser = parser;
    return DEJA_OK;
}

void dj_http_parser_destroy(struct dj_http_parser *parser)
{
    if (!parser)
        return;
    dj_buf_fini(&parser->head_bytes);
    dj_free(parser->fields);
    dj_free(parser);
}

void dj_http_parser_next(struct dj_http_parser *parser)
{
    struct dj_http_parser fresh = {
        .limits = parser->limits,
        .head_bytes = parser->head_bytes,
        .fields = parser->fields,
        .field_cap = parser->field_cap,
    };
    *parser = fresh;
    dj_buf_clear(&parser->head_bytes);
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    parser->llhttp.data = parser;
}

void dj_http_parser_trim(struct dj_http_parser *parser)
{
    assert(!parser->has_begun);
    dj_buf_fini(&parser->head_bytes);
    dj_free(parser->fields);
    parser->fields = NULL;
    parser->field_cap = 0;
}

static void make_slices(struct dj_http_parser *parser)
{
    const char *at = parser->head_bytes.data;
    parser->head.target = deja_slice(at, parser->target_len);
    at += parser->target_len;
    for (size_t i = 0; i < parser->field_count; i++) {
        struct dj_http_field *field = &parser->fields[i];
        field->name.data = at;
        at += field->name.len;
        field->value.data = at;
        at += field->value.len;
        field->value = dj_http_trim(field->value);
    }
    parser->head.fields = parser->fields;
    parser->head.field_count = parser->field_count;
}

/* "http://authority/path" is cut down to its path if the authority is the Host. */
static int check_absolute_target(struct dj_http_parser *parser)
{
    struct deja_slice *target = &parser->head.target;
    size_t scheme = target->len > 7 && dj_http_is_same(deja_slice(target->data, 7), "http://") ? 7
                    : target->len > 8 && dj_http_is_same(deja_slice(target->data, 8), "https://")
                        ? 8
                        : 0;
    if (!scheme)
        return fail(parser, 400, "the target must begin with /");
    struct deja_slice rest = deja_slice(target->data + scheme, target->len - scheme);
    const char *slash = memchr(rest.data, '/', rest.len);
    struct deja_slice authority =
        deja_slice(rest.data, slash ? (size_t)(slash - rest.data) : rest.len);
    if (!dj_http_is_same_slice(authority, parser->head.host))
        return fail(parser, 400, "the target names another host than Host");
    *target = slash ? deja_slice(slash, rest.len - authority.len) : deja_slice("/", 1);
    return 0;
}

static int check_target(struct dj_http_parser *parser)
{
    struct deja_slice target = parser->head.target;
    for (size_t i = 0; i < target.len; i++)
        if (target.data[i] <= 0x20 || target.data[i] >= 0x7f || target.data[i] == '#' ||
            target.data[i] == '\\')
            return fail(parser, 400, "a character that may not stand in a target");
    if (target.len && target.data[0] == '/')
        return 0;
    if (target.len == 1 && target.data[0] == '*' && dj_slice_is(parser->head.method, "OPTIONS"))
        return 0;
    return check_absolute_target(parser);
}

struct framing {
    unsigned host_count;
    unsigned length_count;
    unsigned coding_count;
    bool is_chunked;
    bool has_expect;
    bool is_expect_known;
};

static int check_fields(struct dj_http_parser *parser, struct framing *out_framing)
{
    struct framing framing = {.is_expect_known = true};
    for (size_t i = 0; i < parser->field_count; i++) {
        const struct dj_http_field *field = &parser->fields[i];
        if (!dj_http_is_token(field->name) || !dj_http_is_value(field->value))
            return fail(parser, 400, "a character that may not stand in a header");
        if (dj_http_is_same(field->name, "host")) {
            framing.host_count++;
            parser->head.host = field->value;
        } else if (dj_http_is_same(field->name, "content-length")) {
            framing.length_count++;
        } else if (dj_http_is_same(field->name, "transfer-encoding")) {
            framing.coding_count++;
            framing.is_chunked = dj_http_is_same(field->value, "chunked");
        } else if (dj_http_is_same(field->name, "expect")) {
            framing.has_expect = true;
            if (!dj_http_is_same(field->value, "100-continue"))
                framing.is_expect_known = false;
        }
    }
    if (framing.host_count > 1 || (framing.host_count && !dj_http_is_host(parser->head.host)))
        return fail(parser, 400, "Host is double or malformed");
    *out_framing = framing;
    return 0;
}

static int check_framing(struct dj_http_parser *parser, const struct framing *framing)
{
    struct dj_http_head *head = &parser->head;
    if (framing->coding_count && (framing->length_count || !head->minor_version))
        return fail(parser, 400, "Transfer-Encoding with Content-Length or HTTP/1.0");
    if (framing->length_count > 1)
        return fail(parser, 400, "more than one Content-Length");
    if (framing->coding_count > 1 || (framing->coding_count && !framing->is_chunked))
        return fail(parser, 501, "only the transfer coding chunked is known");
    head->is_chunked = framing->coding_count == 1;
    if (head->is_chunked != ((parser->llhttp.flags & F_CHUNKED) != 0))
        return fail(parser, 400, "Transfer-Encoding is not clear");
    head->content_length = framing->length_count ? parser->llhttp.content_length : 0;
    if (head->content_length > parser->limits.body_bytes_max)
        return fail(parser, 413, "the body is too large");
    /* An expectation of HTTP/1.0 is ignored, as RFC 9110 asks. */
    if (framing->has_expect && head->minor_version && !framing->is_expect_known)
        return fail(parser, 417, "an expectation other than 100-continue");
    head->expects_continue =
        framing->has_expect && head->minor_version && (head->is_chunked || head->content_length);
    return 0;
}

static int check_head(struct dj_http_parser *parser)
{
    struct dj_http_head *head = &parser->head;
    struct framing framing;
    if (parser->wire_bytes > parser->limits.head_bytes_max)
        return fail_too_long(parser);
    if (parser->llhttp.http_major != 1 || parser->llhttp.http_minor > 1)
        return fail(parser, 505, "only HTTP/1.0 and HTTP/1.1 are spoken");
    make_slices(parser);
    head->minor_version = parser->llhttp.http_minor;
    head->method = deja_slice_text(llhttp_method_name((llhttp_method_t)parser->llhttp.method));
    head->is_keep_alive = llhttp_should_keep_alive(&parser->llhttp) != 0;
    if (parser->llhttp.method == HTTP_CONNECT)
        return fail(parser, 501, "CONNECT is not offered");
    if (parser->llhttp.method == HTTP_TRACE) /* shows credentials to whoever could make it sent */
        return fail(parser, 501, "TRACE is not offered");
    int failed = check_fields(parser, &framing);
    if (!failed && head->minor_version && !framing.host_count)
        failed = fail(parser, 400, "Host is missing");
    if (!failed)
        failed = check_target(parser);
    if (!failed)
        failed = check_framing(parser, &framing);
    return failed;
}

/* What llhttp refused: the status for its error, given the byte where it stopped. */
static void fail_as_llhttp(struct dj_http_parser *parser, llhttp_errno_t code,
                           struct deja_slice rest)
{
    const char *reason = llhttp_get_error_reason(&parser->llhttp);
    int status = 400;
    bool is_ours = parser->llhttp.http_major == 1 && parser->llhttp.http_minor <= 1;
    if ((code == HPE_INVALID_VERSION && !is_ours) || code == HPE_PAUSED_H2_UPGRADE)
        status = 505; /* llhttp also says so of bytes after a good version */
    else if (code == HPE_INVALID_TRANSFER_ENCODING && !(parser->llhttp.flags & F_CONTENT_LENGTH))
        status = 501;
    else if (code == HPE_INVALID_METHOD && rest.len && dj_http_is_token(deja_slice(rest.data, 1)))
        status = 501; /* a word, only not one of HTTP's; anything else is not HTTP at all */
    fail(parser, status, reason && *reason ? reason : "not an HTTP request");
}

static bool is_overhead_too_large(const struct dj_http_parser *parser)
{
    return parser->wire_bytes - parser->body_bytes >
           OVERHEAD_BYTES_MAX + OVERHEAD_BYTES_PER_CHUNK * parser->chunk_count;
}

/* Runs llhttp over bytes; returns how many it took. Pauses are no errors here. */
static size_t execute(struct dj_http_parser *parser, struct deja_slice bytes)
{
    if (llhttp_get_errno(&parser->llhttp) == HPE_PAUSED)
        llhttp_resume(&parser->llhttp);
    const char *data = bytes.len ? bytes.data : "";
    llhttp_errno_t code = llhttp_execute(&parser->llhttp, data, bytes.len);
    size_t taken = bytes.len;
    const char *stop = llhttp_get_error_pos(&parser->llhttp);
    if (code != HPE_OK && stop && stop >= data && stop <= data + bytes.len)
        taken = (size_t)(stop - data);
    parser->wire_bytes += taken;
    if (code != HPE_OK && code != HPE_PAUSED && !parser->status)
        fail_as_llhttp(parser, code, deja_slice(data + taken, bytes.len - taken));
    return taken;
}

/* llhttp also takes RTSP/1.0 and ICE/1.0 for some methods. It has checked the word, of which the
 * first letter is enough. Without a word (HTTP/0.9) the target is told as ended only after the
 * line's end; what begins there is passed over, and check_head refuses the version. */
static void check_protocol(struct dj_http_parser *parser, struct deja_slice taken)
{
    if (!parser->is_target_done || parser->is_protocol_seen || !taken.len)
        return;
    const char *end = taken.data + taken.len;
    const char *at = parser->target_end ? parser->target_end : taken.data;
    while (at < end && (*at == ' ' || *at == '\r' || *at == '\n'))
        at++;
    if (at == end)
        return;
    parser->is_protocol_seen = true;
    if (*at != 'H')
        fail(parser, 505, "only HTTP is spoken");
}

static enum dj_http_step feed_head(struct dj_http_parser *parser, struct deja_slice bytes,
                                   size_t *out_taken)
{
    parser->target_end = NULL;
    *out_taken = execute(parser, bytes);
    check_protocol(parser, deja_slice(bytes.data, *out_taken));
    bool is_complete = llhttp_get_errno(&parser->llhttp) == HPE_PAUSED;
    if (!parser->status && !is_complete && parser->wire_bytes > parser->limits.head_bytes_max)
        fail_too_long(parser);
    if (!parser->status && is_complete)
        check_head(parser);
    if (parser->status)
        return DJ_HTTP_STEP_FAILED;
    if (!is_complete)
        return DJ_HTTP_STEP_MORE;
    parser->is_head_done = true;
    parser->wire_bytes = 0;
    if (parser->head.is_chunked || parser->head.content_length)
        return DJ_HTTP_STEP_HEAD;
    size_t none = execute(parser, deja_slice(NULL, 0)); /* on to the end that is already reached */
    assert(!none && parser->is_done);
    return DJ_HTTP_STEP_DONE;
}

enum dj_http_step dj_http_parser_feed(struct dj_http_parser *parser, struct deja_slice bytes,
                                      size_t *out_taken, void *ctx, dj_http_body_fn *on_body_fn)
{
    assert(!parser->is_done);
    *out_taken = 0;
    if (parser->status)
        return DJ_HTTP_STEP_FAILED;
    if (!parser->is_head_done)
        return feed_head(parser, bytes, out_taken);
    parser->ctx = ctx;
    parser->on_body = on_body_fn;
    *out_taken = execute(parser, bytes);
    parser->ctx = NULL;
    if (!parser->status && is_overhead_too_large(parser))
        fail(parser, 400, "too much beside the body");
    if (parser->status)
        return DJ_HTTP_STEP_FAILED;
    return parser->is_done ? DJ_HTTP_STEP_DONE : DJ_HTTP_STEP_MORE;
}

const struct dj_http_head *dj_http_parser_head(const struct dj_http_parser *parser)
{
    assert(parser->is_head_done);
    return &parser->head;
}

struct deja_slice dj_http_head_find(const struct dj_http_head *head, const char *name)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (dj_http_is_same(head->fields[i].name, name))
            return head->fields[i].value;
    return deja_slice(NULL, 0);
}

bool dj_http_parser_has_begun(const struct dj_http_parser *parser)
{
    return parser->has_begun;
}

size_t dj_http_parser_head_bytes(const struct dj_http_parser *parser)
{
    return parser->head_bytes.len;
}

uint64_t dj_http_parser_body_bytes(const struct dj_http_parser *parser)
{
    return parser->body_bytes;
}

int dj_http_parser_status(const struct dj_http_parser *parser)
{
    return parser->status;
}

const char *dj_http_parser_detail(const struct dj_http_parser *parser)
{
    return parser->detail ? parser->detail : "";
}

struct deja_slice dj_http_parser_target(const struct dj_http_parser *parser)
{
    size_t kept = parser->head_bytes.len;
    return deja_slice(parser->head_bytes.data,
                      parser->target_len < kept ? parser->target_len : kept);
}
