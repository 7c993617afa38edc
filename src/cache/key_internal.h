/* cache/key_internal.h - how a body becomes a key, for the files that know one kind of body each:
 * key.c (chat, cache API, embeddings) and key_families.c (the others).
 */
#ifndef DJ_CACHE_KEY_INTERNAL_H
#define DJ_CACHE_KEY_INTERNAL_H

#include "base/slice.h"
#include "cache/key.h"

/* What is to be known of a body. */
struct dj_key_subject {
    const char *const *skip;    /* root members that are left out */
    struct dj_json_cut cut;     /* and others */
    const struct dj_json *text; /* what may be asked in other words; NULL: nothing, exact only */
    bool has_history;
    bool is_semantic; /* its answer may be found by meaning, if there is a text */
};

enum deja_status dj_key_of_body(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                const struct dj_key_subject *subject, struct dj_arena *arena,
                                struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

/* A container with something in it. */
static inline bool dj_key_has_members(const struct dj_json *root, const char *name)
{
    return dj_json_count(dj_json_get(root, name)) > 0;
}
static inline bool dj_key_is_text(const struct dj_json *value, const char *text)
{
    return dj_slice_is(dj_json_string(value), text);
}

#endif
