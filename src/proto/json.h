/* proto/json.h - JSON in and out: a read-only tree over yyjson, a writer onto a buf, and the
 * canonical form that keys are made of.
 *
 * Trust: untrusted. Size and depth are checked before parsing; invalid UTF-8, duplicate names,
 * trailing bytes, NaN and infinity are refused. Numbers keep their raw text. Threads: a parsed
 * document is immutable and may be read anywhere.
 */
#ifndef DJ_PROTO_JSON_H
#define DJ_PROTO_JSON_H

#include <deja/base.h>

#include "base/buf.h"

#define DJ_JSON_DEPTH_MAX 64u

struct dj_json_doc;
struct dj_json; /* one value, borrowed from its document */

enum dj_json_type {
    DJ_JSON_NULL,
    DJ_JSON_BOOL,
    DJ_JSON_NUMBER,
    DJ_JSON_STRING,
    DJ_JSON_ARRAY,
    DJ_JSON_OBJECT,
};

/* DEJA_ERR_INVALID with line-free text "… at byte N", DEJA_ERR_LIMIT (depth), DEJA_ERR_NOMEM.
 * text need not outlive the call. */
enum deja_status dj_json_parse(struct deja_slice text, struct dj_json_doc **out_doc,
                               struct deja_error *error) DEJA_NODISCARD;
void dj_json_doc_destroy(struct dj_json_doc *doc); /* accepts NULL */
const struct dj_json *dj_json_root(const struct dj_json_doc *doc);

/* All readers accept NULL and wrong types and then answer "nothing". */
enum dj_json_type dj_json_type(const struct dj_json *value);          /* NULL: DJ_JSON_NULL */
bool dj_json_is(const struct dj_json *value, enum dj_json_type type); /* false for a NULL pointer */
bool dj_json_bool(const struct dj_json *value, bool fallback);
double dj_json_double(const struct dj_json *value, double fallback);
int64_t dj_json_i64(const struct dj_json *value, int64_t fallback); /* integers only */
struct deja_slice dj_json_string(const struct dj_json *value);      /* NULL slice if not a string */
struct deja_slice dj_json_number_text(const struct dj_json *value); /* as sent */
const struct dj_json *dj_json_get_slice(const struct dj_json *object, struct deja_slice name);
static inline const struct dj_json *dj_json_get(const struct dj_json *object, const char *name)
{
    return dj_json_get_slice(object, deja_slice_text(name));
}
size_t dj_json_count(const struct dj_json *container);
const struct dj_json *dj_json_at(const struct dj_json *array, size_t index); /* O(1)? use walk */

/* Walk: for (struct dj_json_walk w = dj_json_walk(v); dj_json_walk_next(&w);) { w.key; w.value; }
 */
struct dj_json_walk {
    const struct dj_json *value; /* current */
    struct deja_slice key;       /* of an object's member */
    const struct dj_json *container;
    const void *position;
    size_t index; /* of the current value */
    size_t left;
};
struct dj_json_walk dj_json_walk(const struct dj_json *container);
bool dj_json_walk_next(struct dj_json_walk *walk);

/* Writer: appends to a buf; commas are the writer's. Failures are the buf's (sticky). */
struct dj_json_writer {
    struct dj_buf *buf;
    uint64_t has_item; /* bit per depth */
    uint32_t depth;
    bool is_after_key;
};
struct dj_json_writer dj_json_writer(struct dj_buf *buf);
void dj_json_begin_object(struct dj_json_writer *w);
void dj_json_end_object(struct dj_json_writer *w);
void dj_json_begin_array(struct dj_json_writer *w);
void dj_json_end_array(struct dj_json_writer *w);
void dj_json_key(struct dj_json_writer *w, const char *name);
void dj_json_key_slice(struct dj_json_writer *w, struct deja_slice name);
void dj_json_put_string(struct dj_json_writer *w,
                        struct deja_slice text); /* escapes; valid UTF-8 */
void dj_json_put_text(struct dj_json_writer *w, const char *text);
void dj_json_put_i64(struct dj_json_writer *w, int64_t value);
void dj_json_put_u64(struct dj_json_writer *w, uint64_t value);
void dj_json_put_double(struct dj_json_writer *w, double value); /* shortest; non-finite: null */
void dj_json_put_bool(struct dj_json_writer *w, bool value);
void dj_json_put_null(struct dj_json_writer *w);
void dj_json_put_raw(struct dj_json_writer *w, struct deja_slice json);        /* already JSON */
void dj_json_put_value(struct dj_json_writer *w, const struct dj_json *value); /* numbers as sent */

/* A key and its value. text NULL: null. */
void dj_json_member_text(struct dj_json_writer *w, const char *name, const char *text);
void dj_json_member_u64(struct dj_json_writer *w, const char *name, uint64_t value);
void dj_json_member_bool(struct dj_json_writer *w, const char *name, bool value);
void dj_json_member_double(struct dj_json_writer *w, const char *name, double value);

/* Appends text as the inside of a JSON string (no quotes). */
void dj_json_escape(struct dj_buf *buf, struct deja_slice text);

/* JSON Merge Patch (RFC 7396): target, changed as the object patch says; null removes. At most
 * DJ_JSON_DEPTH_MAX deep. Either may be NULL: an empty object. Time: members of the one times those
 * of the other. */
void dj_json_merge(struct dj_json_writer *w, const struct dj_json *target,
                   const struct dj_json *patch);

/* Canonical form: keys sorted by bytes, no white space, strings untouched (minimal escapes),
 * numbers in one normal form (1.0, 1, 1e0 are equal; -0 is 0; integers beyond 2^53 keep digits).
 * Members of the root object whose name is on skip (NULL-terminated list) are left out. When mark
 * is not NULL and that very string value is written, *out_mark_offset / *out_mark_len give its
 * place in buf including the quotes (SIZE_MAX: not met). */
void dj_json_canonical(struct dj_buf *buf, const struct dj_json *root, const char *const *skip,
                       const struct dj_json *mark, size_t *out_mark_offset, size_t *out_mark_len);

/* The same without some members further down: those whose value is one of `values`, wherever in
 * root they lie. They are looked up one after another: a few. */
struct dj_json_cut {
    const struct dj_json *const *values;
    size_t count;
};
void dj_json_canonical_cut(struct dj_buf *buf, const struct dj_json *root, const char *const *skip,
                           const struct dj_json_cut *cut, const struct dj_json *mark,
                           size_t *out_mark_offset, size_t *out_mark_len);

#endif
