/* policy/kinds_tags.c - the tags of an entry, and those an event voids.
 *
 * Both are made by one function from the same templates, so an event meets every entry that was
 * tagged with the same value. A value that is too long is cut: those that begin alike share a tag,
 * and more is voided, never less.
 */
#include "policy/kinds_internal.h"

#include "base/slice.h"
#include "text/utf8.h"

/* What entries outside the kinds know of their making: proxied ones, and those put with a model. */
#define MODEL_EVENT "model:updated"

static const struct dj_kind_field *find_field(const struct dj_kind_field *fields, size_t count,
                                              struct deja_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (fields[i].value.len && deja_slice_is_equal(fields[i].name, name))
            return &fields[i];
    return NULL;
}

/* Fields of a template; SIZE_MAX: one of them is not given. */
static size_t fields_used(struct deja_slice text, const struct dj_kind_field *fields, size_t count)
{
    size_t at = 0, used = 0;
    bool is_field = false;
    struct deja_slice piece;
    while (dj_kind_piece(text, &at, &is_field, &piece)) {
        if (is_field && !find_field(fields, count, piece))
            return SIZE_MAX;
        used += is_field;
    }
    return used;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* %XX as the byte it stands for; what is no such thing stands for itself. At most len_max bytes. */
static size_t decode(struct deja_slice value, bool is_encoded, char *out, size_t len_max)
{
    size_t len = 0;
    for (size_t i = 0; i < value.len && len < len_max; i++) {
        bool is_escape = is_encoded && value.data[i] == '%' && value.len - i > 2 &&
                         digit(value.data[i + 1]) >= 0 && digit(value.data[i + 2]) >= 0;
        unsigned byte = (unsigned char)value.data[i];
        if (is_escape)
            byte = (unsigned)digit(value.data[i + 1]) << 4 | (unsigned)digit(value.data[i + 2]);
        out[len++] = (char)byte;
        i += is_escape ? 2 : 0;
    }
    return len;
}

/* A stranger's bytes as they may stand in a tag: no control characters, valid UTF-8. */
static void put_value(struct dj_buf *out, struct deja_slice value, bool is_encoded)
{
    static const char digits[] = "0123456789abcdef";
    char bytes[DJ_KIND_TAG_BYTES];
    size_t len = decode(value, is_encoded, bytes, sizeof bytes);
    size_t whole = len; /* a character that was cut in two does not make it binary */
    while (whole > 0 && len == sizeof bytes && ((unsigned char)bytes[whole - 1] & 0xc0) == 0x80)
        whole--;
    if (whole > 0 && len == sizeof bytes && ((unsigned char)bytes[whole - 1] & 0xc0) == 0xc0)
        whole--;
    bool is_text =
        dj_utf8_is_valid(deja_slice(bytes, len)) || dj_utf8_is_valid(deja_slice(bytes, whole));
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= ' ' && c != 0x7f && (is_text || c < 0x80)) {
            dj_buf_append_byte(out, (char)c);
        } else {
            const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
            dj_buf_append(out, escaped, sizeof escaped);
        }
    }
}

struct given {
    const struct dj_kind_field *fields;
    size_t count;
    bool is_encoded; /* out of a key: %3A stands for ':' (cache/key_maker.h) */
};

/* At the end of out; its length. */
static size_t put_tag(struct dj_buf *out, struct deja_slice text, const struct given *given)
{
    size_t at = 0, start = out->len;
    bool is_field = false;
    struct deja_slice piece;
    while (dj_kind_piece(text, &at, &is_field, &piece)) {
        if (is_field)
            put_value(out, find_field(given->fields, given->count, piece)->value,
                      given->is_encoded);
        else
            dj_buf_append_slice(out, piece);
    }
    size_t len = out->len - start;
    if (out->status == DEJA_OK && len > DJ_KIND_TAG_BYTES) {
        len = DJ_KIND_TAG_BYTES;
        while (len > 0 && ((unsigned char)out->data[start + len] & 0xc0) == 0x80)
            len--;
        out->len = start + len;
    }
    return len;
}

static size_t put_kind(struct dj_buf *out, const struct dj_kind *kind)
{
    size_t start = out->len;
    dj_buf_append_text(out, "kind:");
    dj_buf_append_slice(out, kind->name);
    return out->len - start;
}

size_t dj_kind_tags(const struct dj_kind *kind, const struct dj_kind_field *fields, size_t count,
                    struct dj_buf *bytes, struct deja_slice out_tags[DJ_KIND_TAGS_MAX])
{
    const struct given given = {fields, count, .is_encoded = true};
    size_t made = 0, start = bytes->len;
    out_tags[made++].len = put_kind(bytes, kind);
    for (size_t i = 0; i < kind->tags.count; i++)
        if (fields_used(kind->tags.items[i], fields, count) != SIZE_MAX)
            out_tags[made++].len = put_tag(bytes, kind->tags.items[i], &given);
    if (bytes->status != DEJA_OK)
        return 0;
    for (size_t i = 0; i < made; i++) { /* now nothing moves any more */
        out_tags[i].data = bytes->data + start;
        start += out_tags[i].len;
    }
    return made;
}

/* ---- events ---- */

static bool is_named(const struct dj_kind_texts *texts, struct deja_slice text)
{
    for (size_t i = 0; i < texts->count; i++)
        if (deja_slice_is_equal(texts->items[i], text))
            return true;
    return false;
}

void dj_kinds_voided_fini(struct dj_kinds_voided *voided)
{
    dj_buf_fini(&voided->bytes);
    *voided = (struct dj_kinds_voided){.tag_count = 0};
}

/* Offsets while the bytes may still move. */
struct found {
    struct dj_kinds_voided *voided;
    size_t starts[DJ_EVENT_TAGS_MAX];
};

/* The last len bytes, unless that tag is there already. */
static enum deja_status keep(struct found *found, size_t len)
{
    struct dj_kinds_voided *voided = found->voided;
    if (voided->bytes.status != DEJA_OK)
        return voided->bytes.status;
    size_t start = voided->bytes.len - len;
    for (size_t i = 0; i < voided->tag_count; i++)
        if (voided->tags[i].len == len &&
            memcmp(voided->bytes.data + found->starts[i], voided->bytes.data + start, len) == 0) {
            voided->bytes.len = start;
            return DEJA_OK;
        }
    if (voided->tag_count == DJ_EVENT_TAGS_MAX)
        return DEJA_ERR_LIMIT;
    found->starts[voided->tag_count] = start;
    voided->tags[voided->tag_count++].len = len;
    return DEJA_OK;
}

static enum deja_status void_kind(const struct dj_kind *kind, const struct dj_kind_field *fields,
                                  size_t count, struct found *found)
{
    const struct given given = {fields, count, .is_encoded = false};
    size_t most = 0;
    enum deja_status status = DEJA_OK;
    if (!count)
        return keep(found, put_kind(&found->voided->bytes, kind));
    for (size_t i = 0; i < kind->tags.count; i++) {
        size_t used = fields_used(kind->tags.items[i], fields, count);
        if (used != SIZE_MAX && used > most)
            most = used;
    }
    for (size_t i = 0; most && status == DEJA_OK && i < kind->tags.count; i++)
        if (fields_used(kind->tags.items[i], fields, count) == most)
            status = keep(found, put_tag(&found->voided->bytes, kind->tags.items[i], &given));
    return status;
}

/* Fields without a value were not given. */
static size_t count_given(const struct dj_kind_field *fields, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        left += fields[i].value.len > 0;
    return left;
}

static void void_models(const struct dj_kind_field *fields, size_t count,
                        struct dj_kinds_voided *voided)
{
    const struct dj_kind_field *provider = find_field(fields, count, deja_slice_text("provider"));
    const struct dj_kind_field *model = find_field(fields, count, deja_slice_text("model"));
    voided->is_by_model = provider || model || !count_given(fields, count);
    if (provider)
        voided->provider = provider->value;
    if (model)
        voided->model = model->value;
}

enum deja_status dj_kinds_event(const struct dj_kinds *kinds, struct deja_slice event,
                                const struct dj_kind_field *fields, size_t count,
                                struct dj_kinds_voided *out_voided)
{
    struct dj_kinds_voided voided = {.tag_count = 0};
    struct found found = {.voided = &voided};
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    size_t given_count = count_given(fields, count);
    for (size_t i = 0; i < kinds->count; i++) {
        if (!is_named(&kinds->rows[i].events, event))
            continue;
        status = void_kind(&kinds->rows[i], fields, given_count ? count : 0, &found);
        if (status != DEJA_OK)
            break;
    }
    if (status != DEJA_OK) {
        dj_buf_fini(&voided.bytes);
        return status;
    }
    for (size_t i = 0; i < voided.tag_count; i++)
        voided.tags[i].data = voided.bytes.data + found.starts[i];
    if (dj_slice_is(event, MODEL_EVENT))
        void_models(fields, count, &voided);
    *out_voided = voided;
    return DEJA_OK;
}

static bool is_told_before(const struct dj_kinds *kinds, size_t row, struct deja_slice event)
{
    for (size_t i = 0; i < row; i++)
        if (is_named(&kinds->rows[i].events, event))
            return true;
    return false;
}

void dj_kinds_event_names(const struct dj_kinds *kinds, struct dj_buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < kinds->count; i++) {
        const struct dj_kind_texts *events = &kinds->rows[i].events;
        for (size_t k = 0; k < events->count; k++) {
            if (is_told_before(kinds, i, events->items[k]))
                continue;
            if (out->len > start)
                dj_buf_append_text(out, ", ");
            dj_buf_append_slice(out, events->items[k]);
        }
    }
}
