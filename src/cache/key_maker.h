/* cache/key_maker.h - names of plain keys, made the same way by everybody.
 *
 *   kind, fields, what it is about ──> "shop:v2:template:score:42", and the hash in it
 *
 *   [NAMESPACE ':' vN ':'] pattern of the kind, its fields filled in [':' PART]
 *   [NAMESPACE ':' vN ':'] KIND ':' ID                            where no kind has that name
 *
 * A field stands percent-encoded where it holds what has a meaning in keys and patterns of keys
 * (: { } * ? [ ] \ ^ % " /, white space, control characters, bytes that are no UTF-8); empty, it is
 * "empty_key". {hash} is made of what the key is about:
 *
 *   text alone                     SHA-256 of its bytes, in hex: as sha256sum prints it
 *   more (operation, options, …)   SHA-256 over each input's name, length and content, text by its
 *                                  own SHA-256, so that it can come in pieces
 *   sql                            the statement with single blanks outside of quotes, and its
 *                                  arguments; {verb} and {table} are read out of it
 *
 * Options, and a statement's arguments, are JSON and hashed in canonical form (sorted members, one
 * form for numbers) without the members that the kind leaves out.
 *
 * Trust: everything is a stranger's; inputs are bounded. Threads: a maker belongs to one at a time.
 */
#ifndef DJ_CACHE_KEY_MAKER_H
#define DJ_CACHE_KEY_MAKER_H

#include <deja/base.h>

#include "base/buf.h"
#include "policy/kinds.h"
#include "proto/json.h"

#define DJ_KEY_BYTES_MAX 4096u
#define DJ_KEY_FIELD_BYTES_MAX 512u
#define DJ_KEY_SQL_BYTES_MAX (1u << 20)
#define DJ_KEY_STREAM_BYTES 1000u /* longer texts are counted as hashed in a stream */

struct dj_key_maker;

/* kinds: borrowed; NULL: no kind has a name. */
enum deja_status dj_key_maker_create(const struct dj_kinds *kinds,
                                     struct dj_key_maker **out_maker) DEJA_NODISCARD;
void dj_key_maker_destroy(struct dj_key_maker *maker); /* accepts NULL */

/* A failure of any of these sticks until the end: dj_key_maker_finish tells the first. What is
 * given is copied or hashed on the spot, but for JSON, which is borrowed until then. */

/* "template_score", or any word that no kind has; asked for. */
void dj_key_maker_kind(struct dj_key_maker *maker, struct deja_slice kind);
/* One of the kind's patterns, where the first whose fields are all there is not meant. */
void dj_key_maker_pattern(struct dj_key_maker *maker, struct deja_slice pattern);
/* version: "2" or "v2"; empty: 1. */
void dj_key_maker_namespace(struct dj_key_maker *maker, struct deja_slice name_space,
                            struct deja_slice version);
/* A field of the pattern; "id" is the first that has no value otherwise. */
void dj_key_maker_field(struct dj_key_maker *maker, struct deja_slice name,
                        struct deja_slice value);
void dj_key_maker_part(struct dj_key_maker *maker, struct deja_slice part); /* q, m, s, lock, … */
/* The next piece of the text; any bytes. */
void dj_key_maker_text(struct dj_key_maker *maker, struct deja_slice piece);
/* "operation", "question": each once. */
void dj_key_maker_input(struct dj_key_maker *maker, struct deja_slice name,
                        struct deja_slice value);
void dj_key_maker_options(struct dj_key_maker *maker, const struct dj_json *options);
void dj_key_maker_sql(struct dj_key_maker *maker, struct deja_slice statement,
                      const struct dj_json *arguments); /* NULL: none */

struct dj_made_key {
    struct deja_slice key;      /* the maker's */
    const struct dj_kind *kind; /* of the key that was made; NULL: of none */
    struct deja_slice hash;     /* 64 hex digits; empty: nothing was hashed. The maker's */
    uint64_t hashed_bytes;
    bool is_streamed; /* a text above DJ_KEY_STREAM_BYTES */
    bool is_empty;    /* something was empty: "empty_key" stands for it */
};
/* Once. DEJA_ERR_INVALID: error says which field is missing, or what there is too much of;
 * DEJA_ERR_LIMIT: the key would be too long; DEJA_ERR_NOMEM. */
enum deja_status dj_key_maker_finish(struct dj_key_maker *maker, struct dj_made_key *out_made,
                                     struct deja_error *error) DEJA_NODISCARD;

#endif
