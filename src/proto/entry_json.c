/* proto/entry_json.c - see entry_json.h. */
#include "proto/entry_json.h"

#include <math.h>

#include "base/alloc.h"
#include "base/base64.h"
#include "base/num.h"
#include "base/slice.h"

#define FORM 1
#define UUID_BYTES 37u
#define BODY_BYTES_MAX ((size_t)64 << 20)

static const char *const kinds[] = {"chat", "embedding", "api", "bytes", "negative", "plain"};
#define KINDS (sizeof kinds / sizeof *kinds)

const char *dj_entry_kind_text(uint8_t kind)
{
    return kind >= 1 && kind <= KINDS ? kinds[kind - 1] : NULL;
}

uint8_t dj_entry_kind_of(struct deja_slice text)
{
    for (uint8_t i = 0; i < KINDS; i++)
        if (dj_slice_is(text, kinds[i]))
            return (uint8_t)(i + 1);
    return 0;
}

/* ---- writing ---- */

/* How many bytes follow; -1: no first byte. Overlong forms and surrogates are told by the second.
 */
static int utf8_tail(unsigned char first, unsigned char second)
{
    if (first < 0x80)
        return 0;
    if (first >= 0xc2 && first <= 0xdf)
        return 1;
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
        return -1;
    if (first >= 0xe0 && first <= 0xef)
        return 2;
    return first >= 0xf0 && first <= 0xf4 ? 3 : -1;
}

static bool is_utf8(struct deja_slice text)
{
    const unsigned char *bytes = (const unsigned char *)text.data;
    for (size_t at = 0; at < text.len;) {
        int tail = utf8_tail(bytes[at], at + 1 < text.len ? bytes[at + 1] : 0);
        if (tail < 0 || (size_t)tail >= text.len - at)
            return false;
        for (int i = 1; i <= tail; i++)
            if ((bytes[at + (size_t)i] & 0xc0) != 0x80)
                return false;
        at += (size_t)tail + 1;
    }
    return true;
}

static void put_base64(struct dj_json_writer *w, struct deja_slice bytes)
{
    struct dj_buf text = {0};
    dj_base64_encode(bytes, &text);
    dj_json_put_string(w, dj_buf_slice(&text));
    if (text.status != DEJA_OK)
        w->buf->status = text.status;
    dj_buf_fini(&text);
}

/* Empty: left out. name_base64: its other name. */
static void put_bytes(struct dj_json_writer *w, const char *name, const char *name_base64,
                      struct deja_slice bytes)
{
    if (!bytes.len)
        return;
    bool is_text = is_utf8(bytes);
    dj_json_key(w, is_text ? name : name_base64);
    if (is_text)
        dj_json_put_string(w, bytes);
    else
        put_base64(w, bytes);
}

static void put_hex(struct dj_json_writer *w, const char *name, const uint8_t *bytes, size_t len)
{
    static const uint8_t zeros[DJ_DIGEST_BYTES];
    char hex[2 * DJ_DIGEST_BYTES + 1];
    if (memcmp(bytes, zeros, len) == 0)
        return;
    dj_hex_encode(bytes, len, hex);
    dj_json_member_text(w, name, hex);
}

static void put_number(struct dj_json_writer *w, const char *name, uint64_t value)
{
    if (value)
        dj_json_member_u64(w, name, value);
}

static void uuid_text(const uint8_t bytes[DJ_ID_BYTES], char out_text[UUID_BYTES])
{
    char hex[2 * DJ_ID_BYTES + 1];
    size_t at = 0;
    dj_hex_encode(bytes, DJ_ID_BYTES, hex);
    for (size_t i = 0; i < 2 * DJ_ID_BYTES; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            out_text[at++] = '-';
        out_text[at++] = hex[i];
    }
    out_text[at] = '\0';
}

static void put_tags(struct dj_json_writer *w, const struct dj_entry *entry)
{
    if (!entry->tag_count)
        return;
    dj_json_key(w, "tags");
    dj_json_begin_array(w);
    for (size_t i = 0; i < entry->tag_count; i++) {
        struct deja_slice name = entry->tags[i].name;
        if (is_utf8(name)) {
            dj_json_put_string(w, name);
            continue;
        }
        dj_json_begin_object(w);
        dj_json_key(w, "base64");
        put_base64(w, name);
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

static void put_times(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms)
{
    dj_json_key(w, "created_ms");
    dj_json_put_i64(w, entry->created_ms);
    dj_json_key(w, "expires_ms");
    dj_json_put_i64(w, entry->expires_ms);
    dj_json_key(w, "ttl_ms");
    if (entry->expires_ms)
        dj_json_put_i64(w, entry->expires_ms - now_ms);
    else
        dj_json_put_null(w);
    if (entry->stale_until_ms) {
        dj_json_key(w, "stale_until_ms");
        dj_json_put_i64(w, entry->stale_until_ms);
    }
}

void dj_entry_json_write(struct dj_json_writer *w, const struct dj_entry *entry,
                         const float *vector, uint32_t dim, int64_t now_ms)
{
    char tenant[UUID_BYTES];
    uuid_text(entry->tenant, tenant);
    dj_json_begin_object(w);
    dj_json_member_u64(w, "deja", FORM);
    dj_json_member_text(w, "tenant", tenant);
    put_hex(w, "id", entry->id, sizeof entry->id);
    dj_json_member_text(w, "kind", dj_entry_kind_text(entry->kind));
    dj_json_member_u64(w, "version", entry->version);
    put_times(w, entry, now_ms);
    put_hex(w, "exact", entry->exact, sizeof entry->exact);
    put_hex(w, "scope", entry->scope, sizeof entry->scope);
    put_bytes(w, "namespace", "namespace_base64", entry->name_space);
    put_bytes(w, "query", "query_base64", entry->query);
    put_bytes(w, "model", "model_base64", entry->model);
    put_bytes(w, "provider", "provider_base64", entry->provider);
    put_bytes(w, "embedder", "embedder_base64", entry->embedder_id);
    put_tags(w, entry);
    put_bytes(w, "metadata", "metadata_base64", entry->metadata);
    put_number(w, "input_tokens", entry->input_tokens);
    put_number(w, "output_tokens", entry->output_tokens);
    put_number(w, "make_ms", entry->make_ms);
    if (entry->cost_usd != 0)
        dj_json_member_double(w, "cost_usd", entry->cost_usd);
    put_bytes(w, "body", "body_base64", entry->body);
    if (vector && dim) {
        /* Floats are as all targets have them: little endian. */
        dj_json_key(w, "vector");
        put_base64(w, deja_slice(vector, dim * sizeof *vector));
    }
    dj_json_end_object(w);
}

/* ---- reading ---- */

struct reading {
    const struct dj_json *root;
    struct dj_entry_line *line;
    struct deja_error *error;
    enum deja_status status;
};

static bool complain(struct reading *reading, const char *name, const char *what)
{
    if (reading->status == DEJA_OK)
        reading->status = deja_error_set(reading->error, DEJA_ERR_INVALID, "\"%s\" %s", name, what);
    return false;
}

/* The decoded bytes, at the end of line->bytes: an offset, as those may still move. */
struct place {
    size_t offset;
    size_t len;
    struct deja_slice text; /* where it was no base64: of the document */
};

static bool decode(struct reading *reading, const char *name, struct deja_slice text,
                   struct place *out_place)
{
    struct dj_buf *bytes = &reading->line->bytes;
    size_t before = bytes->len;
    enum deja_status status = dj_base64_decode(text, bytes);
    if (status == DEJA_ERR_INVALID)
        return complain(reading, name, "is not base64");
    if (status != DEJA_OK)
        reading->status =
            deja_error_set(reading->error, status, "\"%s\": %s", name, deja_status_text(status));
    *out_place = (struct place){.offset = before, .len = bytes->len - before};
    return status == DEJA_OK;
}

static void read_bytes(struct reading *reading, const char *name, const char *name_base64,
                       struct place *out_place)
{
    const struct dj_json *text = dj_json_get(reading->root, name);
    const struct dj_json *base64 = dj_json_get(reading->root, name_base64);
    if (text && base64)
        complain(reading, name, "is there twice: as text and as base64");
    else if ((text && !dj_json_is(text, DJ_JSON_STRING)) ||
             (base64 && !dj_json_is(base64, DJ_JSON_STRING)))
        complain(reading, text ? name : name_base64, "must be a string");
    else if (base64)
        decode(reading, name_base64, dj_json_string(base64), out_place);
    else if (text)
        out_place->text = dj_json_string(text);
}

static struct deja_slice slice_of(const struct reading *reading, const struct place *place)
{
    return place->len ? deja_slice(reading->line->bytes.data + place->offset, place->len)
                      : place->text;
}

static bool read_hex(struct reading *reading, const char *name, uint8_t *out, size_t len)
{
    const struct dj_json *value = dj_json_get(reading->root, name);
    if (!value)
        return false;
    if (dj_hex_decode(dj_json_string(value), out, len) != DEJA_OK)
        return complain(reading, name,
                        len == DJ_ID_BYTES ? "must be 32 hex digits" : "must be 64 hex digits");
    return true;
}

static int64_t read_number(struct reading *reading, const char *name, int64_t max)
{
    const struct dj_json *value = dj_json_get(reading->root, name);
    int64_t number = dj_json_i64(value, -1);
    if (!value)
        return 0;
    if (number < 0 || number > max) {
        complain(reading, name, "must be a whole number that is not negative");
        return 0;
    }
    return number;
}

static void read_tenant(struct reading *reading)
{
    const struct dj_json *value = dj_json_get(reading->root, "tenant");
    struct deja_slice text = dj_json_string(value);
    char hex[2 * DJ_ID_BYTES];
    size_t len = 0;
    if (!value)
        return;
    for (size_t i = 0; i < text.len && len < sizeof hex; i++)
        if (text.data[i] != '-')
            hex[len++] = text.data[i];
    reading->line->has_tenant =
        text.len == UUID_BYTES - 1 && len == sizeof hex &&
        dj_hex_decode(deja_slice(hex, len), reading->line->entry.tenant, DJ_ID_BYTES) == DEJA_OK;
    if (!reading->line->has_tenant)
        complain(reading, "tenant", "must be a tenant's id: 8-4-4-4-12 hex digits");
}

static void read_times(struct reading *reading, int64_t now_ms)
{
    struct dj_entry *entry = &reading->line->entry;
    const struct dj_json *ttl = dj_json_get(reading->root, "ttl_ms");
    entry->created_ms = read_number(reading, "created_ms", INT64_MAX);
    entry->stale_until_ms = read_number(reading, "stale_until_ms", INT64_MAX);
    entry->expires_ms = read_number(reading, "expires_ms", INT64_MAX);
    if (!entry->created_ms)
        entry->created_ms = now_ms;
    bool is_told = dj_json_get(reading->root, "expires_ms") != NULL;
    if (is_told || !ttl || dj_json_is(ttl, DJ_JSON_NULL))
        return;
    int64_t left = read_number(reading, "ttl_ms", INT64_MAX / 2);
    entry->expires_ms = now_ms + left;
}

static void read_tags(struct reading *reading, struct place places[DJ_ENTRY_TAGS_MAX])
{
    const struct dj_json *tags = dj_json_get(reading->root, "tags");
    struct dj_entry *entry = &reading->line->entry;
    struct dj_json_walk walk = dj_json_walk(tags);
    if (!tags)
        return;
    if (!dj_json_is(tags, DJ_JSON_ARRAY) || dj_json_count(tags) > DJ_ENTRY_TAGS_MAX) {
        complain(reading, "tags", "must be an array of at most 33");
        return;
    }
    while (dj_json_walk_next(&walk) && reading->status == DEJA_OK) {
        struct place *place = &places[entry->tag_count++];
        const struct dj_json *base64 = dj_json_get(walk.value, "base64");
        if (dj_json_is(walk.value, DJ_JSON_STRING))
            place->text = dj_json_string(walk.value);
        else if (dj_json_is(base64, DJ_JSON_STRING))
            decode(reading, "tags", dj_json_string(base64), place);
        else
            complain(reading, "tags", "must hold strings, or {\"base64\":\"…\"}");
    }
}

static void read_vector(struct reading *reading)
{
    const struct dj_json *value = dj_json_get(reading->root, "vector");
    struct dj_entry_line *line = reading->line;
    struct place place = {.len = 0};
    if (!value || !decode(reading, "vector", dj_json_string(value), &place))
        return;
    size_t dim = place.len / sizeof(float);
    if (!dim || dim > DJ_ENTRY_JSON_DIM_MAX || place.len % sizeof(float)) {
        complain(reading, "vector", "must be 1 to 4096 floats of four bytes");
        return;
    }
    line->vector = dj_alloc(place.len);
    if (!line->vector) {
        reading->status = deja_error_set(reading->error, DEJA_ERR_NOMEM, "out of memory");
        return;
    }
    memcpy(line->vector, line->bytes.data + place.offset, place.len);
    line->dim = (uint32_t)dim;
    for (size_t i = 0; i < dim; i++)
        if (!isfinite(line->vector[i]))
            complain(reading, "vector", "must hold finite numbers");
}

static void read_numbers(struct reading *reading)
{
    struct dj_entry *entry = &reading->line->entry;
    const struct dj_json *cost = dj_json_get(reading->root, "cost_usd");
    entry->version = (uint64_t)read_number(reading, "version", INT64_MAX);
    entry->input_tokens = (uint32_t)read_number(reading, "input_tokens", UINT32_MAX);
    entry->output_tokens = (uint32_t)read_number(reading, "output_tokens", UINT32_MAX);
    entry->make_ms = (uint32_t)read_number(reading, "make_ms", UINT32_MAX);
    entry->cost_usd = dj_json_double(cost, 0);
    if (cost && (!dj_json_is(cost, DJ_JSON_NUMBER) || !(entry->cost_usd >= 0)))
        complain(reading, "cost_usd", "must be a number that is not negative");
}

static void read_texts(struct reading *reading)
{
    struct dj_entry *entry = &reading->line->entry;
    const struct {
        const char *name, *name_base64;
        struct deja_slice *slice;
    } texts[] = {
        {"namespace", "namespace_base64", &entry->name_space},
        {"query", "query_base64", &entry->query},
        {"model", "model_base64", &entry->model},
        {"provider", "provider_base64", &entry->provider},
        {"embedder", "embedder_base64", &entry->embedder_id},
        {"metadata", "metadata_base64", &entry->metadata},
        {"body", "body_base64", &entry->body},
    };
    enum { TEXTS = sizeof texts / sizeof *texts };
    struct place places[TEXTS] = {{.len = 0}};
    struct place tags[DJ_ENTRY_TAGS_MAX] = {{.len = 0}};
    for (size_t i = 0; i < TEXTS; i++)
        read_bytes(reading, texts[i].name, texts[i].name_base64, &places[i]);
    read_tags(reading, tags);
    for (size_t i = 0; i < TEXTS && reading->status == DEJA_OK; i++)
        *texts[i].slice = slice_of(reading, &places[i]);
    for (size_t i = 0; i < entry->tag_count && reading->status == DEJA_OK; i++)
        entry->tags[i].name = slice_of(reading, &tags[i]);
}

static enum deja_status read_all(const struct dj_json *root, int64_t now_ms,
                                 struct dj_entry_line *line, struct deja_error *error)
{
    struct reading reading = {.root = root, .line = line, .error = error};
    if (!dj_json_is(root, DJ_JSON_OBJECT))
        return deja_error_set(error, DEJA_ERR_INVALID, "is not an object");
    int64_t form = dj_json_i64(dj_json_get(root, "deja"), 0);
    if (form != FORM)
        return deja_error_set(error, form > FORM ? DEJA_ERR_UNSUPPORTED : DEJA_ERR_INVALID,
                              form > FORM ? "is of a newer form (\"deja\" is above 1)"
                                          : "is not a line of deja export: \"deja\" is not 1");
    struct dj_entry *entry = &line->entry;
    entry->kind = dj_entry_kind_of(dj_json_string(dj_json_get(root, "kind")));
    if (!entry->kind)
        complain(&reading, "kind", "must be chat, embedding, api, bytes, negative or plain");
    read_tenant(&reading);
    line->has_id = read_hex(&reading, "id", entry->id, sizeof entry->id);
    if (!read_hex(&reading, "exact", entry->exact, sizeof entry->exact))
        memset(entry->exact, 0, sizeof entry->exact);
    if (!read_hex(&reading, "scope", entry->scope, sizeof entry->scope))
        memset(entry->scope, 0, sizeof entry->scope);
    read_times(&reading, now_ms);
    read_numbers(&reading);
    /* Before the texts: its bytes may move those of the others. */
    read_vector(&reading);
    read_texts(&reading);
    return reading.status;
}

enum deja_status dj_entry_json_take(const struct dj_json *root, int64_t now_ms,
                                    struct dj_entry_line *out_line, struct deja_error *error)
{
    *out_line = (struct dj_entry_line){.dim = 0};
    out_line->bytes.bytes_max = BODY_BYTES_MAX;
    return read_all(root, now_ms, out_line, error);
}

enum deja_status dj_entry_json_read(struct deja_slice text, int64_t now_ms,
                                    struct dj_entry_line *out_line, struct deja_error *error)
{
    *out_line = (struct dj_entry_line){.dim = 0};
    out_line->bytes.bytes_max = BODY_BYTES_MAX;
    enum deja_status status = dj_json_parse(text, &out_line->doc, error);
    return status == DEJA_OK ? read_all(dj_json_root(out_line->doc), now_ms, out_line, error)
                             : status;
}

void dj_entry_line_fini(struct dj_entry_line *line)
{
    dj_json_doc_destroy(line->doc);
    dj_buf_fini(&line->bytes);
    dj_free(line->vector);
    *line = (struct dj_entry_line){.dim = 0};
}
