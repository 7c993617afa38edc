/* cache/key.h - fingerprints of a request (DESIGN §2): exact key, normalised key, scope, text.
 *
 * All are HMAC-SHA-256 with the tenant's fingerprint key over a versioned prefix and the canonical
 * body minus a deny-list, so nobody can test guesses against stored names. Threads: any.
 */
#ifndef DJ_CACHE_KEY_H
#define DJ_CACHE_KEY_H

#include <deja/base.h>

#include "base/arena.h"
#include "crypto/digest.h"
#include "proto/json.h"
#include "store/store.h"

/* Which volatile tokens scope.fold removes from system prompts; a bit set. */
enum dj_fold { DJ_FOLD_TIME = 1, DJ_FOLD_UUID = 2, DJ_FOLD_REQUEST_ID = 4, DJ_FOLD_DATE = 8 };

/* Everything in front of the body; slices are borrowed during the call. */
struct dj_key_prefix {
    uint8_t tenant[DJ_ID_BYTES];
    uint8_t fingerprint_key[DJ_SHA256_BYTES];
    struct deja_slice name_space; /* empty: the default one */
    const char *family;           /* "chat", "messages", "embeddings", "api", ... */
    struct deja_slice upstream_id;
    struct deja_slice headers[3]; /* of the request, as the family has them (proxy/family.h) */
    uint64_t policy_epoch;
};

struct dj_fingerprint {
    struct dj_store_key key; /* tenant and id; id = first bytes of the normalised key */
    uint8_t exact[DJ_SHA256_BYTES];
    uint8_t scope[DJ_ID_BYTES];  /* all zero until dj_key_scope, or when there is no text */
    struct deja_slice text;      /* normalised last user text; NULL: exact only. In the arena */
    struct deja_slice canonical; /* canonical body, in the arena */
    size_t mark_offset;          /* of the last user text in canonical, with its quotes */
    size_t mark_len;
    bool has_history; /* turns before the last user text */
    bool is_semantic; /* may be answered by meaning: has text, no tools, text only */
};

/* Of a chat body (root: an object with "messages"). The scope is left for dj_key_scope.
 * DEJA_ERR_INVALID (no messages), DEJA_ERR_NOMEM. */
enum deja_status dj_key_chat(const struct dj_key_prefix *prefix, const struct dj_json *root,
                             struct dj_arena *arena,
                             struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

/* The same of the bodies of other APIs (key_families.c). Which text may be asked in other words:
 * the last turn, if it is the user's and all turns are text; of a legacy completion its prompt, if
 * it is one text. DEJA_ERR_INVALID: without messages, input, prompt. */
enum deja_status dj_key_messages(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                 struct dj_arena *arena,
                                 struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;
enum deja_status dj_key_responses(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                  struct dj_arena *arena,
                                  struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;
enum deja_status dj_key_completions(const struct dj_key_prefix *prefix, const struct dj_json *root,
                                    struct dj_arena *arena,
                                    struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

/* Of a cache API query: text in a namespace, attributes in the scope. */
enum deja_status dj_key_query(const struct dj_key_prefix *prefix, struct deja_slice query,
                              struct dj_arena *arena,
                              struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

/* Of one embeddings input item; rest: canonical body without input and encoding_format. */
void dj_key_item(const struct dj_key_prefix *prefix, struct deja_slice rest, struct deja_slice item,
                 struct dj_fingerprint *out_fingerprint);

/* Fills scope; only after an exact miss. */
void dj_key_scope(const struct dj_key_prefix *prefix, struct dj_fingerprint *fingerprint);

/* body with volatile tokens of its system prompts replaced (system turns of messages and input,
 * system, instructions); DEJA_ERR_NOT_FOUND: none were there.
 * out: JSON text in the arena; out_kinds (may be NULL): which kinds were met. */
enum deja_status dj_key_fold(const struct dj_json *root, unsigned fold, struct dj_arena *arena,
                             struct deja_slice *out_body, unsigned *out_kinds) DEJA_NODISCARD;

/* Root members that never enter a key (WIRE §1.1), NULL-terminated. */
extern const char *const dj_key_skip[];

#endif
