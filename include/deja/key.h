/* deja/key.h - names of plain keys, made the same way as the daemon and `deja key-name` make them.
 *
 *     struct deja_key *key;
 *     status = deja_key_begin(deja, deja_slice_text("template_score"), &key);
 *     deja_key_set(key, "id", deja_slice_text("42"));
 *     status = deja_key_end(key, name, sizeof name, &name_len, &error);    (template:score:42)
 *
 * A key of a kind (docs/kinds.md) lives as its kind says: deja_kv_set without a ttl_ms takes the
 * kind's. Threads: a key belongs to one thread at a time. Nothing here blocks.
 */
#ifndef DEJA_KEY_H
#define DEJA_KEY_H

#include <deja/kv.h>

#ifdef __cplusplus
extern "C" {
#endif

struct deja_key; /* one key being made; opaque */

/* kind: "template_score", …, or any word: KIND:ID. Its deja must outlive it. */
DEJA_API DEJA_NODISCARD enum deja_status deja_key_begin(struct deja *deja, struct deja_slice kind,
                                                        struct deja_key **out_key);
/* One of these, copied; what is wrong is told by deja_key_end:
 *   "namespace", "version"      before the key: shop:v2:…
 *   "pattern", "part"           one of the kind's patterns; q, m, s, lock, … after the key
 *   "operation", "question"     hashed
 *   "options", "args"           hashed: JSON, in canonical form
 *   "sql"                       hashed, and its verb and table
 *   any other name              a field of the kind's pattern; "id": the one without a value */
DEJA_API void deja_key_set(struct deja_key *key, const char *name, struct deja_slice value);
/* The next piece of the text that {hash} is made of, however long it becomes. */
DEJA_API void deja_key_text(struct deja_key *key, struct deja_slice piece);
/* Writes the name (not terminated; DEJA_KEY_BYTES_MAX are enough) and ends the key, also on
 * failure: DEJA_ERR_INVALID (error, may be NULL, says what is missing or wrong), DEJA_ERR_LIMIT
 * (too long, or does not fit out_name), DEJA_ERR_NOMEM. */
DEJA_API DEJA_NODISCARD enum deja_status deja_key_end(struct deja_key *key, char *out_name,
                                                      size_t name_bytes_max, size_t *out_name_len,
                                                      struct deja_error *error);
DEJA_API void deja_key_abort(struct deja_key *key); /* ends it without a name; accepts NULL */

#ifdef __cplusplus
}
#endif
#endif
