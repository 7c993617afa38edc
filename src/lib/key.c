/* lib/key.c - names of plain keys for programs (deja/key.h), over cache/key_maker.h. */
#include <deja/key.h>

#include "base/alloc.h"
#include "cache/key_maker.h"
#include "cache/kinds.h"
#include "lib/lib_internal.h"

enum { DOC_OPTIONS, DOC_ARGS, DOC_COUNT };
static const char *const doc_names[DOC_COUNT] = {"options", "args"};

struct deja_key {
    struct deja *deja;
    struct dj_key_maker *maker;
    struct dj_json_doc *docs[DOC_COUNT]; /* borrowed by the maker until the end */
    struct dj_buf sql;
    struct dj_buf name_space;
    struct dj_buf version;
    bool has_sql, has_namespace;
    enum deja_status status; /* of what the maker does not see; the first failure */
    struct deja_error error;
};

void deja_key_abort(struct deja_key *key)
{
    if (!key)
        return;
    dj_key_maker_destroy(key->maker);
    for (size_t i = 0; i < DOC_COUNT; i++)
        dj_json_doc_destroy(key->docs[i]);
    dj_buf_fini(&key->sql);
    dj_buf_fini(&key->name_space);
    dj_buf_fini(&key->version);
    dj_free(key);
}

enum deja_status deja_key_begin(struct deja *deja, struct deja_slice kind,
                                struct deja_key **out_key)
{
    struct deja_key *key = dj_alloc_zeroed(1, sizeof *key);
    if (!key)
        return DEJA_ERR_NOMEM;
    key->deja = deja;
    dj_buf_init(&key->sql, DJ_KEY_SQL_BYTES_MAX);
    dj_buf_init(&key->name_space, DJ_KEY_FIELD_BYTES_MAX);
    dj_buf_init(&key->version, DJ_KEY_FIELD_BYTES_MAX);
    enum deja_status status = dj_key_maker_create(dj_kind_book_table(deja->kinds), &key->maker);
    if (status != DEJA_OK) {
        deja_key_abort(key);
        return status;
    }
    dj_key_maker_kind(key->maker, kind);
    *out_key = key;
    return DEJA_OK;
}

static void fail(struct deja_key *key, enum deja_status status, const char *name, const char *what)
{
    if (key->status == DEJA_OK)
        key->status = deja_error_set(&key->error, status, "%s %s", name, what);
}

static void keep(struct deja_key *key, const char *name, struct dj_buf *buf,
                 struct deja_slice value)
{
    dj_buf_append_slice(buf, value);
    if (buf->status != DEJA_OK)
        fail(key, buf->status, name, "is too long");
}

static void parse(struct deja_key *key, size_t index, struct deja_slice text)
{
    struct deja_error error = {.message = ""};
    enum deja_status status = DEJA_ERR_INVALID;
    if (!key->docs[index])
        status = dj_json_parse(text, &key->docs[index], &error);
    if (status != DEJA_OK)
        fail(key, status, doc_names[index], error.message[0] ? error.message : "was given twice");
}

void deja_key_set(struct deja_key *key, const char *name, struct deja_slice value)
{
    struct deja_slice text = deja_slice_text(name);
    if (strcmp(name, "namespace") == 0) {
        keep(key, name, &key->name_space, value);
        key->has_namespace = true;
    } else if (strcmp(name, "version") == 0) {
        keep(key, name, &key->version, value);
    } else if (strcmp(name, "pattern") == 0) {
        dj_key_maker_pattern(key->maker, value);
    } else if (strcmp(name, "part") == 0) {
        dj_key_maker_part(key->maker, value);
    } else if (strcmp(name, "operation") == 0 || strcmp(name, "question") == 0) {
        dj_key_maker_input(key->maker, text, value);
    } else if (strcmp(name, "sql") == 0) {
        keep(key, name, &key->sql, value);
        key->has_sql = true;
    } else if (strcmp(name, "options") == 0) {
        parse(key, DOC_OPTIONS, value);
    } else if (strcmp(name, "args") == 0) {
        parse(key, DOC_ARGS, value);
    } else {
        dj_key_maker_field(key->maker, text, value);
    }
}

void deja_key_text(struct deja_key *key, struct deja_slice piece)
{
    dj_key_maker_text(key->maker, piece);
}

static enum deja_status finish(struct deja_key *key, struct dj_made_key *out_made,
                               struct deja_error *error)
{
    if (key->status == DEJA_OK && key->version.len && !key->has_namespace)
        fail(key, DEJA_ERR_INVALID, "version", "goes with a namespace");
    if (key->status == DEJA_OK && key->docs[DOC_ARGS] && !key->has_sql)
        fail(key, DEJA_ERR_INVALID, "args", "are those of a statement: set sql, too");
    if (key->status != DEJA_OK) {
        if (error)
            *error = key->error;
        return key->status;
    }
    if (key->has_namespace)
        dj_key_maker_namespace(key->maker, dj_buf_slice(&key->name_space),
                               dj_buf_slice(&key->version));
    if (key->docs[DOC_OPTIONS])
        dj_key_maker_options(key->maker, dj_json_root(key->docs[DOC_OPTIONS]));
    if (key->has_sql)
        dj_key_maker_sql(key->maker, dj_buf_slice(&key->sql),
                         key->docs[DOC_ARGS] ? dj_json_root(key->docs[DOC_ARGS]) : NULL);
    return dj_key_maker_finish(key->maker, out_made, error);
}

enum deja_status deja_key_end(struct deja_key *key, char *out_name, size_t name_bytes_max,
                              size_t *out_name_len, struct deja_error *error)
{
    struct dj_made_key made;
    enum deja_status status = finish(key, &made, error);
    dj_kind_book_note_key(key->deja->kinds, status == DEJA_OK ? &made : NULL);
    if (status == DEJA_OK && made.key.len > name_bytes_max)
        status = deja_error_set(error, DEJA_ERR_LIMIT, "the key has %zu bytes", made.key.len);
    if (status == DEJA_OK) {
        memcpy(out_name, made.key.data, made.key.len);
        *out_name_len = made.key.len;
    }
    deja_key_abort(key);
    return status;
}
