/* proto/resp.c - see resp.h.
 *
 * Trust: untrusted.
 *
 * (1) `offset` never passes what has come, and what lies before it is not looked at again: a large
 *     command that comes in small pieces costs its bytes once.
 * (2) While a command is not whole its arguments are offsets: the buffer may move meanwhile.
 *
 * Departs from Redis: line ends are CR LF or nothing (there, the second byte is not looked at); an
 * announced count takes no memory.
 */
#include "proto/resp.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"

enum {
    HEAD_BYTES_MAX = 32, /* "*1048576\r\n" */
    KEPT_ARGS = 16,      /* memory for so many is kept between commands */
    KEPT_BYTES = 1024,
    INTEGER_BYTES = 24, /* type, sign, digits, CR LF */
};

/* ---- life ---- */

void dj_resp_parser_fini(struct dj_resp_parser *parser)
{
    dj_free(parser->spans);
    dj_free(parser->args);
    dj_buf_fini(&parser->words);
    *parser = (struct dj_resp_parser){.cap = 0};
}

void dj_resp_parser_trim(struct dj_resp_parser *parser)
{
    if (dj_resp_parser_has_begun(parser))
        return;
    if (parser->cap > KEPT_ARGS) {
        dj_free(parser->spans);
        dj_free(parser->args);
        parser->spans = NULL;
        parser->args = NULL;
        parser->cap = 0;
        parser->count = 0;
    }
    if (parser->words.cap > KEPT_BYTES)
        dj_buf_fini(&parser->words);
}

bool dj_resp_parser_has_begun(const struct dj_resp_parser *parser)
{
    return parser->offset > 0 || parser->wanted > 0;
}

/* ---- small steps ---- */

static enum dj_resp_step fail(struct dj_resp_parser *parser, const char *text)
{
    snprintf(parser->error, sizeof parser->error, "Protocol error: %s", text);
    parser->wanted = 0; /* with other limits it may be right */
    return DJ_RESP_BAD;
}

static bool grow(struct dj_resp_parser *parser)
{
    size_t cap = parser->cap ? parser->cap * 2 : 8;
    struct dj_resp_span *spans = dj_realloc(parser->spans, cap * sizeof *spans);
    if (!spans)
        return false;
    parser->spans = spans;
    struct deja_slice *args = dj_realloc(parser->args, cap * sizeof *args);
    if (!args)
        return false;
    parser->args = args;
    parser->cap = cap;
    return true;
}

static bool add(struct dj_resp_parser *parser, size_t offset, size_t len)
{
    if (parser->count == parser->cap && !grow(parser))
        return false;
    parser->spans[parser->count++] = (struct dj_resp_span){(uint32_t)offset, (uint32_t)len};
    return true;
}

/* A number in its only form: no plus, no zeros in front. False: it is none, or too large for us. */
static bool read_number(const char *at, size_t len, int64_t *out_value)
{
    bool is_negative = len > 1 && at[0] == '-';
    int64_t value = 0;
    at += is_negative;
    len -= is_negative;
    if (len == 0 || len > 18 || (at[0] == '0' && (len > 1 || is_negative)))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        value = value * 10 + (at[i] - '0');
    }
    *out_value = is_negative ? -value : value;
    return true;
}

enum line { LINE_MORE, LINE_WHOLE, LINE_BAD, LINE_LONG };

/* The number of a head that begins with its type at offset. *out_next: behind its line end. */
static enum line read_head(struct deja_slice bytes, size_t offset, int64_t *out_value,
                           size_t *out_next)
{
    const char *start = bytes.data + offset + 1;
    size_t left = bytes.len - offset - 1;
    const char *end = memchr(start, '\r', left < HEAD_BYTES_MAX ? left : HEAD_BYTES_MAX);
    if (!end)
        return left < HEAD_BYTES_MAX ? LINE_MORE : LINE_LONG;
    if ((size_t)(end - bytes.data) + 1 >= bytes.len)
        return LINE_MORE;
    if (end[1] != '\n' || !read_number(start, (size_t)(end - start), out_value))
        return LINE_BAD;
    *out_next = (size_t)(end - bytes.data) + 2;
    return LINE_WHOLE;
}

static enum dj_resp_step finish(struct dj_resp_parser *parser, const char *base, size_t used,
                                size_t *out_used)
{
    for (size_t i = 0; i < parser->count; i++)
        parser->args[i] = deja_slice(base + parser->spans[i].offset, parser->spans[i].len);
    parser->expected = 0;
    parser->offset = 0;
    parser->wanted = 0;
    *out_used = used;
    return DJ_RESP_COMMAND;
}

/* ---- arrays of bulk strings ---- */

static enum dj_resp_step begin_array(struct dj_resp_parser *parser,
                                     const struct dj_resp_limits *limits, struct deja_slice bytes,
                                     size_t *out_used)
{
    int64_t count = 0;
    size_t next = 0;
    switch (read_head(bytes, 0, &count, &next)) {
    case LINE_MORE:
        parser->wanted = bytes.len + 1;
        return DJ_RESP_MORE;
    case LINE_LONG:
        return fail(parser, "too big mbulk count string");
    case LINE_BAD:
        return fail(parser, "invalid multibulk length");
    default:
        break;
    }
    if (count > (int64_t)limits->args_max)
        return fail(parser, "invalid multibulk length");
    parser->count = 0;
    if (count <= 0)
        return finish(parser, bytes.data, next, out_used);
    parser->expected = (size_t)count;
    parser->offset = next;
    return DJ_RESP_MORE;
}

static enum dj_resp_step refuse_type(struct dj_resp_parser *parser, char type)
{
    char text[40];
    if (type < ' ' || type > '~')
        type = '?';
    snprintf(text, sizeof text, "expected '$', got '%c'", type);
    return fail(parser, text);
}

/* One argument; DJ_RESP_COMMAND: it is there. */
static enum dj_resp_step read_bulk(struct dj_resp_parser *parser,
                                   const struct dj_resp_limits *limits, struct deja_slice bytes)
{
    int64_t len = 0;
    size_t next = 0;
    parser->wanted = bytes.len + 1;
    if (parser->offset == bytes.len)
        return DJ_RESP_MORE;
    if (bytes.data[parser->offset] != '$')
        return refuse_type(parser, bytes.data[parser->offset]);
    switch (read_head(bytes, parser->offset, &len, &next)) {
    case LINE_MORE:
        return DJ_RESP_MORE;
    case LINE_LONG:
        return fail(parser, "too big bulk count string");
    case LINE_BAD:
        return fail(parser, "invalid bulk length");
    default:
        break;
    }
    if (len < 0 || (uint64_t)len > limits->bulk_bytes_max ||
        (uint64_t)len > limits->command_bytes_max ||
        next + 2 > limits->command_bytes_max - (uint64_t)len)
        return fail(parser, "invalid bulk length");
    size_t end = next + (size_t)len;
    if (end + 2 > bytes.len) {
        parser->wanted = end + 2;
        return DJ_RESP_MORE;
    }
    if (bytes.data[end] != '\r' || bytes.data[end + 1] != '\n')
        return fail(parser, "a bulk string does not end where it said");
    if (!add(parser, next, (size_t)len))
        return DJ_RESP_NOMEM;
    parser->offset = end + 2;
    return DJ_RESP_COMMAND;
}

static enum dj_resp_step read_array(struct dj_resp_parser *parser,
                                    const struct dj_resp_limits *limits, struct deja_slice bytes,
                                    size_t *out_used)
{
    if (!parser->expected) {
        enum dj_resp_step step = begin_array(parser, limits, bytes, out_used);
        if (!parser->expected)
            return step;
    }
    while (parser->count < parser->expected) {
        enum dj_resp_step step = read_bulk(parser, limits, bytes);
        if (step != DJ_RESP_COMMAND)
            return step;
    }
    return finish(parser, bytes.data, parser->offset, out_used);
}

/* ---- inline commands ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_same(struct deja_slice text, const char *lower)
{
    for (size_t i = 0; i < text.len; i++)
        if (!lower[i] || (text.data[i] | 0x20) != lower[i])
            return false;
    return !lower[text.len];
}

/* "POST / HTTP/1.1" and "Host: …" are no commands of anybody. */
static bool is_http(const struct dj_resp_parser *parser)
{
    static const char version[] = "HTTP/1.";
    if (!parser->count)
        return false;
    struct deja_slice first = parser->args[0];
    struct deja_slice last = parser->args[parser->count - 1];
    return is_same(first, "post") || is_same(first, "host:") ||
           (parser->count == 3 && last.len > sizeof version - 1 &&
            memcmp(last.data, version, sizeof version - 1) == 0);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Behind a backslash in double quotes at `at`; how many bytes of the line it took. */
static size_t unescape(struct dj_buf *out, struct deja_slice line, size_t at)
{
    static const char names[] = "nrtba";
    static const char values[] = "\n\r\t\b\a";
    char c = line.data[at];
    if (c == 'x' && at + 2 < line.len && hex_digit(line.data[at + 1]) >= 0 &&
        hex_digit(line.data[at + 2]) >= 0) {
        dj_buf_append_byte(
            out, (char)(hex_digit(line.data[at + 1]) * 16 + hex_digit(line.data[at + 2])));
        return 3;
    }
    const char *name = c ? strchr(names, c) : NULL;
    dj_buf_append_byte(out, name ? values[name - names] : c);
    return 1;
}

/* A quoted part from behind its quote on; *at comes to lie behind the closing one, which must end
 * the word. False: it does not. */
static bool read_quoted(struct dj_buf *out, struct deja_slice line, size_t *at, char quote)
{
    size_t i = *at;
    while (i < line.len && line.data[i] != quote) {
        bool is_escape =
            line.data[i] == '\\' && i + 1 < line.len && (quote == '"' || line.data[i + 1] == '\'');
        i += is_escape;
        if (is_escape && quote == '"')
            i += unescape(out, line, i);
        else
            dj_buf_append_byte(out, line.data[i++]);
    }
    *at = i + 1;
    return i < line.len && (i + 1 == line.len || is_space(line.data[i + 1]));
}

static bool read_word(struct dj_buf *out, struct deja_slice line, size_t *at)
{
    while (*at < line.len && !is_space(line.data[*at])) {
        char c = line.data[(*at)++];
        if (c == '"' || c == '\'') {
            if (!read_quoted(out, line, at, c))
                return false;
        } else {
            dj_buf_append_byte(out, c);
        }
    }
    return true;
}

static enum dj_resp_step split(struct dj_resp_parser *parser, const struct dj_resp_limits *limits,
                               struct deja_slice line)
{
    size_t at = 0;
    dj_buf_clear(&parser->words);
    parser->count = 0;
    for (;;) {
        while (at < line.len && is_space(line.data[at]))
            at++;
        if (at == line.len)
            break;
        size_t begin = parser->words.len;
        if (!read_word(&parser->words, line, &at))
            return fail(parser, "unbalanced quotes in request");
        if (parser->count == limits->args_max)
            return fail(parser, "too big inline request");
        if (parser->words.status != DEJA_OK || !add(parser, begin, parser->words.len - begin))
            return DJ_RESP_NOMEM;
    }
    return DJ_RESP_COMMAND;
}

static enum dj_resp_step read_inline(struct dj_resp_parser *parser,
                                     const struct dj_resp_limits *limits, struct deja_slice bytes,
                                     size_t *out_used)
{
    const char *end = memchr(bytes.data + parser->offset, '\n', bytes.len - parser->offset);
    size_t len = end ? (size_t)(end - bytes.data) : bytes.len;
    if (len > limits->inline_bytes_max)
        return fail(parser, "too big inline request");
    if (!end) {
        parser->offset = bytes.len;
        parser->wanted = bytes.len + 1;
        return DJ_RESP_MORE;
    }
    enum dj_resp_step step = split(parser, limits, deja_slice(bytes.data, len));
    if (step != DJ_RESP_COMMAND)
        return step;
    /* Words that are all empty have no memory. */
    finish(parser, parser->words.data ? parser->words.data : "", len + 1, out_used);
    return is_http(parser) ? DJ_RESP_HTTP : DJ_RESP_COMMAND;
}

enum dj_resp_step dj_resp_parse(struct dj_resp_parser *parser, const struct dj_resp_limits *limits,
                                struct deja_slice bytes, size_t *out_used)
{
    assert(limits->bulk_bytes_max <= UINT32_MAX / 2 && limits->command_bytes_max <= UINT32_MAX / 2);
    if (bytes.len == 0 || bytes.len < parser->wanted)
        return DJ_RESP_MORE;
    return bytes.data[0] == '*' ? read_array(parser, limits, bytes, out_used)
                                : read_inline(parser, limits, bytes, out_used);
}

/* ---- replies ---- */

static size_t write_head(char *at, char type, int64_t value)
{
    size_t len = 0;
    at[len++] = type;
    if (value < 0)
        at[len++] = '-';
    len += dj_num_write_u64(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, at + len);
    at[len++] = '\r';
    at[len++] = '\n';
    return len;
}

static void put_head(struct dj_buf *out, char type, int64_t value)
{
    char *at = dj_buf_reserve(out, INTEGER_BYTES);
    if (at)
        out->len += write_head(at, type, value);
}

void dj_resp_put_status(struct dj_buf *out, const char *text)
{
    dj_buf_append_byte(out, '+');
    dj_buf_append_text(out, text);
    dj_buf_append(out, "\r\n", 2);
}

void dj_resp_put_error(struct dj_buf *out, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    dj_buf_append_byte(out, '-');
    dj_buf_append_text(out, len < 0 ? "ERR" : text);
    dj_buf_append(out, "\r\n", 2);
}

void dj_resp_put_integer(struct dj_buf *out, int64_t value)
{
    put_head(out, ':', value);
}

void dj_resp_put_bulk(struct dj_buf *out, struct deja_slice bytes)
{
    char *at = dj_buf_reserve(out, bytes.len + INTEGER_BYTES + 2);
    if (!at)
        return;
    size_t len = write_head(at, '$', (int64_t)bytes.len);
    if (bytes.len)
        memcpy(at + len, bytes.data, bytes.len);
    len += bytes.len;
    at[len++] = '\r';
    at[len++] = '\n';
    out->len += len;
}

void dj_resp_put_text(struct dj_buf *out, const char *text)
{
    dj_resp_put_bulk(out, deja_slice_text(text));
}

void dj_resp_put_null(struct dj_buf *out, int version)
{
    dj_buf_append_text(out, version >= 3 ? "_\r\n" : "$-1\r\n");
}

void dj_resp_put_null_array(struct dj_buf *out, int version)
{
    dj_buf_append_text(out, version >= 3 ? "_\r\n" : "*-1\r\n");
}

void dj_resp_put_array(struct dj_buf *out, size_t count)
{
    put_head(out, '*', (int64_t)count);
}

void dj_resp_put_map(struct dj_buf *out, int version, size_t pairs)
{
    if (version >= 3)
        put_head(out, '%', (int64_t)pairs);
    else
        put_head(out, '*', (int64_t)pairs * 2);
}

void dj_resp_put_set(struct dj_buf *out, int version, size_t count)
{
    put_head(out, version >= 3 ? '~' : '*', (int64_t)count);
}

void dj_resp_put_push(struct dj_buf *out, int version, size_t count)
{
    put_head(out, version >= 3 ? '>' : '*', (int64_t)count);
}

void dj_resp_put_verbatim(struct dj_buf *out, int version, const char *format,
                          struct deja_slice bytes)
{
    if (version < 3) {
        dj_resp_put_bulk(out, bytes);
        return;
    }
    put_head(out, '=', (int64_t)bytes.len + 4);
    dj_buf_append(out, format, 3);
    dj_buf_append_byte(out, ':');
    dj_buf_append_slice(out, bytes);
    dj_buf_append(out, "\r\n", 2);
}
