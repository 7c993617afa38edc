/* cache/key_maker.c - see key_maker.h.
 *
 * (1) What is hashed is framed: name and length before each content, in the order of `inputs`, so
 * that no two sets of inputs give the same bytes. (2) The text is hashed by itself while it comes;
 * its digest stands in the frame.
 */
#include "cache/key_maker.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/num.h"
#include "base/slice.h"
#include "cache/key_sql.h"
#include "crypto/digest.h"
#include "text/utf8.h"

#define FORM "deja key 1"
#define EMPTY "empty_key"
#define HASH_DIGITS (2 * DJ_SHA256_BYTES)
#define OPTIONS_BYTES_MAX (32u << 20)

enum input { INPUT_OPERATION, INPUT_OPTIONS, INPUT_QUESTION, INPUT_SQL, INPUT_ARGS, INPUT_COUNT };
static const char *const inputs[INPUT_COUNT] = {
    [INPUT_OPERATION] = "operation", [INPUT_OPTIONS] = "options",
    [INPUT_QUESTION] = "question",   [INPUT_SQL] = "sql",
    [INPUT_ARGS] = "args",
};

struct dj_key_maker {
    const struct dj_kinds *kinds;
    struct dj_arena arena;
    enum deja_status status; /* sticks, with what is wrong */
    struct deja_error error;
    struct deja_slice kind;
    struct deja_slice pattern;
    struct deja_slice name_space;
    struct deja_slice version;
    struct deja_slice part;
    bool has_namespace;
    struct dj_kind_field fields[DJ_KIND_FIELDS_MAX + 2];
    size_t field_count;
    struct dj_sha256_state *text; /* NULL: none came */
    uint64_t text_bytes;
    struct dj_buf given[INPUT_COUNT]; /* canonical */
    bool has[INPUT_COUNT];
    const struct dj_json *options; /* until finish: the kind says what stays out */
    const struct dj_json *args;
    char hash[HASH_DIGITS + 1];
    struct dj_buf key;
    bool is_empty;
};

enum deja_status dj_key_maker_create(const struct dj_kinds *kinds, struct dj_key_maker **out_maker)
{
    struct dj_key_maker *maker = dj_alloc_zeroed(1, sizeof *maker);
    if (!maker)
        return DEJA_ERR_NOMEM;
    maker->kinds = kinds;
    dj_arena_init(&maker->arena, 1u << 20);
    dj_buf_init(&maker->key, DJ_KEY_BYTES_MAX);
    for (size_t i = 0; i < INPUT_COUNT; i++)
        dj_buf_init(&maker->given[i], OPTIONS_BYTES_MAX);
    *out_maker = maker;
    return DEJA_OK;
}

void dj_key_maker_destroy(struct dj_key_maker *maker)
{
    if (!maker)
        return;
    dj_arena_fini(&maker->arena);
    dj_sha256_destroy(maker->text);
    dj_buf_fini(&maker->key);
    for (size_t i = 0; i < INPUT_COUNT; i++)
        dj_buf_fini(&maker->given[i]);
    dj_free(maker);
}

/* The first fault stays. */
static void fail(struct dj_key_maker *maker, enum deja_status status, const char *what,
                 struct deja_slice name)
{
    if (maker->status == DEJA_OK)
        maker->status = deja_error_set(&maker->error, status, "%.*s %s",
                                       (int)(name.len < 64 ? name.len : 64), name.data, what);
}

static void keep(struct dj_key_maker *maker, const char *name, struct deja_slice value,
                 struct deja_slice *out_value)
{
    struct deja_slice copy = dj_arena_copy(&maker->arena, value);
    if (value.len > DJ_KEY_FIELD_BYTES_MAX)
        fail(maker, DEJA_ERR_LIMIT, "is longer than 512 bytes: give it as text, to be hashed",
             deja_slice_text(name));
    else if (value.len && !copy.data)
        fail(maker, DEJA_ERR_NOMEM, "found no memory", deja_slice_text(name));
    else
        *out_value = value.len ? copy : deja_slice("", 0);
}

void dj_key_maker_kind(struct dj_key_maker *maker, struct deja_slice kind)
{
    keep(maker, "kind", kind, &maker->kind);
}

void dj_key_maker_pattern(struct dj_key_maker *maker, struct deja_slice pattern)
{
    keep(maker, "pattern", pattern, &maker->pattern);
}

void dj_key_maker_namespace(struct dj_key_maker *maker, struct deja_slice name_space,
                            struct deja_slice version)
{
    uint64_t number = 1;
    if (version.len && version.data[0] == 'v')
        version = deja_slice(version.data + 1, version.len - 1);
    if (version.len && dj_num_parse_u64(version, &number) != DEJA_OK)
        fail(maker, DEJA_ERR_INVALID, "expects a number like 2 or v2", deja_slice_text("version"));
    maker->has_namespace = true;
    keep(maker, "namespace", name_space, &maker->name_space);
    keep(maker, "version", version, &maker->version);
}

static void set_field(struct dj_key_maker *maker, struct deja_slice name, struct deja_slice value)
{
    if (maker->field_count == sizeof maker->fields / sizeof *maker->fields) {
        fail(maker, DEJA_ERR_LIMIT, "is one field too many", name);
        return;
    }
    struct dj_kind_field *field = &maker->fields[maker->field_count];
    keep(maker, "a field's name", name, &field->name);
    keep(maker, "a field", value, &field->value);
    maker->field_count++;
}

void dj_key_maker_field(struct dj_key_maker *maker, struct deja_slice name, struct deja_slice value)
{
    set_field(maker, name, value);
}

void dj_key_maker_part(struct dj_key_maker *maker, struct deja_slice part)
{
    keep(maker, "part", part, &maker->part);
}

/* ---- what is hashed ---- */

void dj_key_maker_text(struct dj_key_maker *maker, struct deja_slice piece)
{
    if (!maker->text && dj_sha256_create(&maker->text) != DEJA_OK) {
        fail(maker, DEJA_ERR_NOMEM, "found no memory", deja_slice_text("text"));
        return;
    }
    dj_sha256_update(maker->text, piece);
    maker->text_bytes += piece.len;
}

static void give(struct dj_key_maker *maker, enum input input, struct deja_slice value)
{
    if (maker->has[input])
        fail(maker, DEJA_ERR_INVALID, "was given twice", deja_slice_text(inputs[input]));
    maker->has[input] = true;
    dj_buf_append_slice(&maker->given[input], value);
}

void dj_key_maker_input(struct dj_key_maker *maker, struct deja_slice name, struct deja_slice value)
{
    if (dj_slice_is(name, inputs[INPUT_OPERATION]))
        give(maker, INPUT_OPERATION, value);
    else if (dj_slice_is(name, inputs[INPUT_QUESTION]))
        give(maker, INPUT_QUESTION, value);
    else
        fail(maker, DEJA_ERR_INVALID, "is no input; there are operation and question", name);
}

void dj_key_maker_options(struct dj_key_maker *maker, const struct dj_json *options)
{
    give(maker, INPUT_OPTIONS, deja_slice("", 0));
    maker->options = options;
}

void dj_key_maker_sql(struct dj_key_maker *maker, struct deja_slice statement,
                      const struct dj_json *arguments)
{
    struct dj_buf verb = {0}, table = {0};
    if (statement.len > DJ_KEY_SQL_BYTES_MAX) {
        fail(maker, DEJA_ERR_LIMIT, "is longer than 1 MiB", deja_slice_text("sql"));
        return;
    }
    give(maker, INPUT_SQL, deja_slice("", 0));
    dj_key_sql_form(statement, &maker->given[INPUT_SQL]);
    dj_key_sql_about(statement, &verb, &table);
    if (verb.status != DEJA_OK || table.status != DEJA_OK)
        fail(maker, DEJA_ERR_NOMEM, "found no memory", deja_slice_text("sql"));
    set_field(maker, deja_slice_text("verb"), dj_buf_slice(&verb));
    set_field(maker, deja_slice_text("table"), dj_buf_slice(&table));
    dj_buf_fini(&verb);
    dj_buf_fini(&table);
    if (arguments) {
        give(maker, INPUT_ARGS, deja_slice("", 0));
        maker->args = arguments;
    }
}

/* Canonical, without what the kind leaves out. */
static void put_json(struct dj_key_maker *maker, enum input input, const struct dj_json *value,
                     const struct dj_kind *kind)
{
    char names[DJ_KIND_LIST_MAX][DJ_KIND_TEXT_MAX + 1];
    const char *skip[DJ_KIND_LIST_MAX + 1] = {NULL};
    size_t offset = 0, len = 0;
    for (size_t i = 0; kind && i < kind->ignored.count; i++) {
        struct deja_slice name = kind->ignored.items[i];
        memcpy(names[i], name.data, name.len);
        names[i][name.len] = '\0';
        skip[i] = names[i];
    }
    if (value)
        dj_json_canonical(&maker->given[input], value, skip, NULL, &offset, &len);
}

static void frame(struct dj_sha256_state *state, const char *name, struct deja_slice content)
{
    uint8_t len[8];
    for (unsigned i = 0; i < sizeof len; i++)
        len[i] = (uint8_t)((uint64_t)content.len >> (8 * i));
    dj_sha256_update(state, deja_slice(name, strlen(name) + 1));
    dj_sha256_update(state, deja_slice(len, sizeof len));
    dj_sha256_update(state, content);
}

/* Fills maker->hash; nothing given: leaves it empty. */
static void hash(struct dj_key_maker *maker)
{
    uint8_t digest[DJ_SHA256_BYTES];
    struct dj_sha256_state *state = NULL;
    bool is_framed = false;
    for (size_t i = 0; i < INPUT_COUNT; i++) {
        is_framed = is_framed || maker->has[i];
        if (maker->given[i].status != DEJA_OK)
            fail(maker, maker->given[i].status, "is too large", deja_slice_text(inputs[i]));
    }
    if (maker->status != DEJA_OK || (!is_framed && !maker->text))
        return;
    if (maker->text)
        dj_sha256_finish(maker->text, digest);
    if (is_framed && dj_sha256_create(&state) != DEJA_OK) {
        fail(maker, DEJA_ERR_NOMEM, "found no memory", deja_slice_text("hash"));
        return;
    }
    if (is_framed) {
        dj_sha256_update(state, deja_slice(FORM, sizeof FORM));
        for (size_t i = 0; i < INPUT_COUNT; i++)
            if (maker->has[i])
                frame(state, inputs[i], dj_buf_slice(&maker->given[i]));
        if (maker->text)
            frame(state, "text", deja_slice(digest, sizeof digest));
        dj_sha256_finish(state, digest);
        dj_sha256_destroy(state);
    }
    dj_hex_encode(digest, sizeof digest, maker->hash);
}

/* ---- the name ---- */

/* A stranger's value as it may stand in a key. */
static void put_value(struct dj_key_maker *maker, struct deja_slice value)
{
    static const char digits[] = "0123456789abcdef";
    bool is_text = dj_utf8_is_valid(value);
    if (!value.len) {
        maker->is_empty = true;
        dj_buf_append_text(&maker->key, EMPTY);
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        bool is_plain = c > ' ' && c != 0x7f && (c < 0x80 ? !strchr(":{}*?[]\\^%\"/", c) : is_text);
        if (is_plain) {
            dj_buf_append_byte(&maker->key, (char)c);
        } else {
            const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
            dj_buf_append(&maker->key, escaped, sizeof escaped);
        }
    }
}

/* The field of that name; what was never named by it is told by "id". */
static const struct dj_kind_field *find_field(const struct dj_key_maker *maker,
                                              struct deja_slice name, bool *is_id_free)
{
    const struct dj_kind_field *id = NULL;
    for (size_t i = 0; i < maker->field_count; i++) {
        if (deja_slice_is_equal(maker->fields[i].name, name))
            return &maker->fields[i];
        if (dj_slice_is(maker->fields[i].name, "id"))
            id = &maker->fields[i];
    }
    if (!*is_id_free)
        return NULL;
    *is_id_free = !id;
    return id;
}

/* Writes the pattern with its fields; false: *out_missing has no value. */
static bool fill(struct dj_key_maker *maker, struct deja_slice pattern,
                 struct deja_slice *out_missing)
{
    size_t at = 0;
    bool is_id_free = true;
    const struct deja_slice hash_name = deja_slice_text("hash");
    while (at < pattern.len) {
        size_t start = at;
        if (pattern.data[at] != '{') {
            while (at < pattern.len && pattern.data[at] != '{')
                at++;
            dj_buf_append(&maker->key, pattern.data + start, at - start);
            continue;
        }
        while (at < pattern.len && pattern.data[at] != '}')
            at++;
        struct deja_slice name = deja_slice(pattern.data + start + 1, at - start - 1);
        at++;
        bool is_hash = deja_slice_is_equal(name, hash_name) && maker->hash[0];
        const struct dj_kind_field *field = is_hash ? NULL : find_field(maker, name, &is_id_free);
        if (!is_hash && !field) {
            *out_missing = name;
            return false;
        }
        if (is_hash)
            dj_buf_append_text(&maker->key, maker->hash);
        else
            put_value(maker, field->value);
    }
    return true;
}

static void put_pattern(struct dj_key_maker *maker, const struct dj_kind *kind)
{
    struct deja_slice missing = {.data = NULL, .len = 0};
    size_t start = maker->key.len;
    bool is_known = false;
    for (size_t i = 0; i < kind->patterns.count; i++) {
        struct deja_slice pattern = kind->patterns.items[i];
        if (maker->pattern.len && !deja_slice_is_equal(maker->pattern, pattern))
            continue;
        is_known = true;
        if (fill(maker, pattern, &missing))
            return;
        maker->key.len = start;
    }
    if (!is_known)
        fail(maker, DEJA_ERR_INVALID, "is no pattern of that kind", maker->pattern);
    else if (dj_slice_is(missing, "hash"))
        fail(maker, DEJA_ERR_INVALID, "is missing: give the hash, or a text to be hashed", missing);
    else
        fail(maker, DEJA_ERR_INVALID, "is missing: the kind's pattern needs it", missing);
}

/* KIND ':' ID, or what was hashed in its place; and after it: nothing that is named goes lost. */
static void put_plain(struct dj_key_maker *maker)
{
    put_value(maker, maker->kind);
    for (size_t i = 0; i < maker->field_count; i++) {
        dj_buf_append_byte(&maker->key, ':');
        put_value(maker, maker->fields[i].value);
    }
    if (!maker->hash[0] && maker->field_count)
        return;
    dj_buf_append_byte(&maker->key, ':');
    if (maker->hash[0])
        dj_buf_append_text(&maker->key, maker->hash);
    else
        put_value(maker, deja_slice("", 0));
}

static void put_key(struct dj_key_maker *maker, const struct dj_kind *kind)
{
    if (maker->has_namespace) {
        put_value(maker, maker->name_space);
        dj_buf_append_text(&maker->key, ":v");
        dj_buf_append_slice(&maker->key, maker->version.len ? maker->version : deja_slice("1", 1));
        dj_buf_append_byte(&maker->key, ':');
    }
    if (kind)
        put_pattern(maker, kind);
    else if (maker->kind.len || maker->field_count || maker->hash[0])
        put_plain(maker);
    else
        put_value(maker, deja_slice("", 0));
    if (maker->part.len) {
        dj_buf_append_byte(&maker->key, ':');
        put_value(maker, maker->part);
    }
}

enum deja_status dj_key_maker_finish(struct dj_key_maker *maker, struct dj_made_key *out_made,
                                     struct deja_error *error)
{
    const struct dj_kind *kind =
        maker->kinds && maker->kind.len ? dj_kinds_find(maker->kinds, maker->kind) : NULL;
    if (kind && !kind->patterns.count)
        kind = NULL;
    if (maker->pattern.len && !kind)
        fail(maker, DEJA_ERR_INVALID, "needs a kind that has patterns", deja_slice_text("pattern"));
    put_json(maker, INPUT_OPTIONS, maker->options, kind);
    put_json(maker, INPUT_ARGS, maker->args, kind);
    hash(maker);
    if (maker->status == DEJA_OK)
        put_key(maker, kind);
    if (maker->key.status != DEJA_OK)
        fail(maker, maker->key.status, "would be longer than 4,096 bytes",
             deja_slice_text("the key"));
    if (maker->status != DEJA_OK) {
        if (error)
            *error = maker->error;
        return maker->status;
    }
    uint64_t hashed = maker->text_bytes;
    for (size_t i = 0; i < INPUT_COUNT; i++)
        hashed += maker->given[i].len;
    *out_made =
        (struct dj_made_key){.key = dj_buf_slice(&maker->key),
                             .kind = dj_kinds_match(maker->kinds, dj_buf_slice(&maker->key), NULL),
                             .hash = deja_slice(maker->hash, maker->hash[0] ? HASH_DIGITS : 0),
                             .hashed_bytes = hashed,
                             .is_streamed = maker->text_bytes > DJ_KEY_STREAM_BYTES,
                             .is_empty = maker->is_empty};
    return DEJA_OK;
}
