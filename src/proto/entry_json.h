/* proto/entry_json.h - a whole entry as one line of JSON, and back: what `deja export` writes.
 *
 *   {"deja":1,"tenant":"…uuid…","id":"…","kind":"api","version":N,"created_ms":N,"expires_ms":N,
 *    "ttl_ms":N,"stale_until_ms":N,"exact":"…","scope":"…","namespace":"…","query":"…","model":"…",
 *    "provider":"…","embedder":"…","tags":["…"],"metadata":"…","input_tokens":N,"output_tokens":N,
 *    "cost_usd":N,"make_ms":N,"body":"…","vector":"…"}
 *
 * Bytes come back as they were: a text that is not UTF-8 is NAME_base64 instead of NAME, tags that
 * are not are left as {"base64":"…"}. vector: float32, little endian, base64. expires_ms is what
 * counts; ttl_ms (what was left when it was written; null: never ends) is for people, and for lines
 * without expires_ms. Members that are zero or empty are left out. Generations are not told: they
 * are the place's own.
 *
 * Trust: lines come from anywhere; every length and number is checked. Threads: any; pure.
 */
#ifndef DJ_PROTO_ENTRY_JSON_H
#define DJ_PROTO_ENTRY_JSON_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"
#include "proto/record.h"

#define DJ_ENTRY_JSON_DIM_MAX 4096u

/* "chat", "embedding", "api", "bytes", "negative", "plain"; NULL: no such kind. */
const char *dj_entry_kind_text(uint8_t kind);
uint8_t dj_entry_kind_of(struct deja_slice text); /* 0: none of them */

/* Members of one object onto w; vector NULL: none. */
void dj_entry_json_write(struct dj_json_writer *w, const struct dj_entry *entry,
                         const float *vector, uint32_t dim, int64_t now_ms);

/* A line that was read. Owns what entry and vector point to; zeroed may be fini'd. */
struct dj_entry_line {
    struct dj_json_doc *doc;
    struct dj_buf bytes;
    struct dj_entry entry;
    bool has_tenant; /* as are the next: the line says it */
    bool has_id;
    float *vector; /* dim of them; NULL: none */
    uint32_t dim;
};
/* DEJA_ERR_INVALID: error says which member and what is wrong with it; DEJA_ERR_UNSUPPORTED: of a
 * newer form; DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. *out_line is to be fini'd in any case. */
enum deja_status dj_entry_json_read(struct deja_slice text, int64_t now_ms,
                                    struct dj_entry_line *out_line,
                                    struct deja_error *error) DEJA_NODISCARD;
/* The same of a value that was parsed: it outlives the line. */
enum deja_status dj_entry_json_take(const struct dj_json *root, int64_t now_ms,
                                    struct dj_entry_line *out_line,
                                    struct deja_error *error) DEJA_NODISCARD;
void dj_entry_line_fini(struct dj_entry_line *line);

#endif
