/* proto/xml.c - see xml.h. Trust: untrusted.
 *
 *   prologue  <?xml …?> <!-- … -->        passed over; <!DOCTYPE is refused
 *   root      <a x="1"> text &amp; <b/> <![CDATA[…]]> </a>
 *   epilogue  blanks, comments
 *
 * (1) scratch holds the texts of all open elements one after another; starts[depth] says where each
 *     begins, so a closed child's text is cut off again and its parent's goes on.
 * (2) Every loop takes at least one byte off `left`: time is linear in the document.
 */
#include "proto/xml.h"

#include "base/slice.h"

struct frame {
    struct deja_slice name; /* as written, prefix included; in the document */
    size_t start;           /* of its text in scratch */
};

struct reader {
    struct deja_slice left;
    struct dj_buf *scratch;
    size_t text_bytes_max;
    void *ctx;
    dj_xml_fn *each;
    uint32_t depth;
    bool had_root;
    struct frame frames[DJ_XML_DEPTH_MAX];
};

static void skip(struct reader *reader, size_t len)
{
    reader->left = deja_slice(reader->left.data + len, reader->left.len - len);
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void skip_blanks(struct reader *reader)
{
    while (reader->left.len && is_blank(reader->left.data[0]))
        skip(reader, 1);
}

static bool begins_with(const struct reader *reader, const char *mark)
{
    size_t len = strlen(mark);
    return reader->left.len >= len && memcmp(reader->left.data, mark, len) == 0;
}

/* Bytes up to and without mark, which is taken too; a NULL slice: it does not come. */
static struct deja_slice take_until(struct reader *reader, const char *mark)
{
    size_t len = strlen(mark);
    const char *data = reader->left.data;
    for (size_t i = 0; i + len <= reader->left.len; i++)
        if (data[i] == mark[0] && memcmp(data + i, mark, len) == 0) {
            skip(reader, i + len);
            return deja_slice(data, i);
        }
    return deja_slice(NULL, 0);
}

static bool is_name_byte(char byte, bool is_first)
{
    unsigned char c = (unsigned char)byte;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || c >= 0x80)
        return true;
    return !is_first && ((c >= '0' && c <= '9') || c == '-' || c == '.');
}

static struct deja_slice take_name(struct reader *reader)
{
    const char *data = reader->left.data;
    size_t len = 0;
    while (len < reader->left.len && is_name_byte(data[len], len == 0))
        len++;
    skip(reader, len);
    return deja_slice(data, len);
}

/* "name" or "prefix:name". */
static bool is_element_name(struct deja_slice name)
{
    const char *colon = name.len ? memchr(name.data, ':', name.len) : NULL;
    if (!colon)
        return name.len > 0;
    size_t before = (size_t)(colon - name.data);
    size_t behind = name.len - before - 1;
    return before && behind && !memchr(colon + 1, ':', behind) && is_name_byte(colon[1], true);
}

static struct deja_slice without_prefix(struct deja_slice name)
{
    const char *colon = name.len ? memchr(name.data, ':', name.len) : NULL;
    if (!colon)
        return name;
    return deja_slice(colon + 1, name.len - (size_t)(colon + 1 - name.data));
}

static enum deja_status append(struct reader *reader, const void *bytes, size_t len)
{
    if (len && memchr(bytes, '\0', len))
        return DEJA_ERR_INVALID;
    size_t used = reader->scratch->len - reader->frames[reader->depth - 1].start;
    if (len > reader->text_bytes_max - used)
        return DEJA_ERR_LIMIT;
    dj_buf_append(reader->scratch, bytes, len);
    return reader->scratch->status;
}

/* 0: not a character. Control characters are let through as XML 1.1 does: names of objects may have
 * them, and services write them so in documents that say 1.0. */
static size_t encode_utf8(uint32_t code, char out[4])
{
    if (!code)
        return 0;
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(leads[len] | code);
    return len;
}

/* "#65", "#x41"; 0: not a number, or more than fits. */
static uint32_t parse_code(struct deja_slice name)
{
    bool is_hex = name.len > 1 && name.data[1] == 'x';
    size_t at = is_hex ? 2 : 1;
    if (at >= name.len || name.len - at > 8)
        return 0;
    uint64_t code = 0;
    for (; at < name.len; at++) {
        char c = name.data[at];
        unsigned digit = c >= '0' && c <= '9'             ? (unsigned)(c - '0')
                         : is_hex && c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : is_hex && c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                          : 99;
        if (digit == 99)
            return 0;
        code = code * (is_hex ? 16 : 10) + digit;
    }
    return code > UINT32_MAX ? 0 : (uint32_t)code;
}

static enum deja_status read_entity(struct reader *reader)
{
    static const struct {
        const char *name;
        char byte;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    enum { NAME_MAX_BYTES = 12 };
    size_t len = 1;
    while (len < reader->left.len && len <= NAME_MAX_BYTES && reader->left.data[len] != ';')
        len++;
    if (len >= reader->left.len || len > NAME_MAX_BYTES)
        return DEJA_ERR_INVALID;
    struct deja_slice name = deja_slice(reader->left.data + 1, len - 1);
    skip(reader, len + 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (dj_slice_is(name, known[i].name))
            return append(reader, &known[i].byte, 1);
    char bytes[4];
    size_t count = name.len && name.data[0] == '#' ? encode_utf8(parse_code(name), bytes) : 0;
    return count ? append(reader, bytes, count) : DEJA_ERR_INVALID;
}

static enum deja_status read_text(struct reader *reader)
{
    if (reader->left.data[0] == '&')
        return read_entity(reader);
    size_t len = 0;
    while (len < reader->left.len && reader->left.data[len] != '<' && reader->left.data[len] != '&')
        len++;
    enum deja_status status = append(reader, reader->left.data, len);
    skip(reader, len);
    return status;
}

/* name = "value", blanks before it taken already. */
static enum deja_status skip_attribute(struct reader *reader)
{
    if (!take_name(reader).len)
        return DEJA_ERR_INVALID;
    skip_blanks(reader);
    if (!begins_with(reader, "="))
        return DEJA_ERR_INVALID;
    skip(reader, 1);
    skip_blanks(reader);
    if (!begins_with(reader, "\"") && !begins_with(reader, "'"))
        return DEJA_ERR_INVALID;
    const char quote[2] = {reader->left.data[0], '\0'};
    skip(reader, 1);
    struct deja_slice value = take_until(reader, quote);
    if (!value.data || memchr(value.data, '<', value.len))
        return DEJA_ERR_INVALID;
    return DEJA_OK;
}

static enum deja_status close_element(struct reader *reader)
{
    const struct frame *frame = &reader->frames[reader->depth - 1];
    struct dj_buf *scratch = reader->scratch;
    struct deja_slice text = deja_slice(scratch->data ? scratch->data + frame->start : NULL,
                                        scratch->len - frame->start);
    bool goes_on =
        reader->each(reader->ctx, DJ_XML_END, reader->depth, without_prefix(frame->name), text);
    scratch->len = frame->start;
    reader->depth--;
    return goes_on ? DEJA_OK : DEJA_ERR_CANCELLED;
}

static enum deja_status read_begin(struct reader *reader)
{
    skip(reader, 1);
    struct deja_slice name = take_name(reader);
    if (!is_element_name(name) || (reader->depth == 0 && reader->had_root))
        return DEJA_ERR_INVALID;
    if (reader->depth == DJ_XML_DEPTH_MAX)
        return DEJA_ERR_LIMIT;
    reader->had_root = true;
    reader->frames[reader->depth++] = (struct frame){name, reader->scratch->len};
    if (!reader->each(reader->ctx, DJ_XML_BEGIN, reader->depth, without_prefix(name),
                      deja_slice(NULL, 0)))
        return DEJA_ERR_CANCELLED;
    for (;;) {
        bool had_blank = reader->left.len && is_blank(reader->left.data[0]);
        skip_blanks(reader);
        if (begins_with(reader, ">")) {
            skip(reader, 1);
            return DEJA_OK;
        }
        if (begins_with(reader, "/>")) {
            skip(reader, 2);
            return close_element(reader);
        }
        enum deja_status status = had_blank ? skip_attribute(reader) : DEJA_ERR_INVALID;
        if (status != DEJA_OK)
            return status;
    }
}

static enum deja_status read_end(struct reader *reader)
{
    skip(reader, 2);
    struct deja_slice name = take_name(reader);
    skip_blanks(reader);
    if (!reader->depth || !begins_with(reader, ">") ||
        !deja_slice_is_equal(name, reader->frames[reader->depth - 1].name))
        return DEJA_ERR_INVALID;
    skip(reader, 1);
    return close_element(reader);
}

static enum deja_status read_piece(struct reader *reader)
{
    if (reader->left.data[0] != '<') {
        if (reader->depth)
            return read_text(reader);
        return DEJA_ERR_INVALID;
    }
    if (begins_with(reader, "<!--")) {
        skip(reader, 4);
        return take_until(reader, "-->").data ? DEJA_OK : DEJA_ERR_INVALID;
    }
    if (begins_with(reader, "<![CDATA[") && reader->depth) {
        skip(reader, 9);
        struct deja_slice text = take_until(reader, "]]>");
        return text.data ? append(reader, text.data, text.len) : DEJA_ERR_INVALID;
    }
    if (begins_with(reader, "<?")) {
        skip(reader, 2);
        return take_until(reader, "?>").data ? DEJA_OK : DEJA_ERR_INVALID;
    }
    if (begins_with(reader, "</"))
        return read_end(reader);
    return read_begin(reader); /* "<!DOCTYPE" has no name there and is refused */
}

enum deja_status dj_xml_read(struct deja_slice document, size_t text_bytes_max,
                             struct dj_buf *scratch, void *ctx, dj_xml_fn *each)
{
    struct reader reader = {.left = document,
                            .scratch = scratch,
                            .text_bytes_max = text_bytes_max,
                            .ctx = ctx,
                            .each = each};
    dj_buf_clear(scratch);
    if (begins_with(&reader, "\xef\xbb\xbf"))
        skip(&reader, 3);
    enum deja_status status = DEJA_OK;
    while (status == DEJA_OK) {
        if (!reader.depth)
            skip_blanks(&reader);
        if (!reader.left.len)
            return reader.had_root && !reader.depth ? DEJA_OK : DEJA_ERR_INVALID;
        status = read_piece(&reader);
    }
    return status;
}

void dj_xml_append(struct dj_buf *buf, struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == '&')
            dj_buf_append_text(buf, "&amp;");
        else if (byte == '<')
            dj_buf_append_text(buf, "&lt;");
        else if (byte == '>')
            dj_buf_append_text(buf, "&gt;");
        else if (byte == '"')
            dj_buf_append_text(buf, "&quot;");
        else if (byte < 0x20)
            dj_buf_append_format(buf, "&#%u;", byte);
        else
            dj_buf_append_byte(buf, (char)byte);
    }
}
