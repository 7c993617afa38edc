/* proxy/family.h - the families of cached answers: what one surface does otherwise than another.
 *
 *   request  -> objection, key -> [take: what goes upstream]
 *   answer   -> stream: assemble -> inspect -> an entry: the complete object (and perhaps a tape)
 *   hit      -> [rewrite] -> as it is, or replay -> the client
 *
 * One entry serves both modes of its family and never another family: its name is in the key.
 * A family is a constant row of functions; the way of a request through them is cached.c's, and
 * cached_make.c's for what becomes of an answer. Threads: any; the functions keep nothing.
 */
#ifndef DJ_PROXY_FAMILY_H
#define DJ_PROXY_FAMILY_H

#include <deja/base.h>

#include "cache/key.h"
#include "net/http_server.h"
#include "proxy/answer.h"
#include "proxy/target.h"

#define DJ_FAMILY_HEADERS_MAX \
    (sizeof((struct dj_key_prefix *)0)->headers / sizeof(struct deja_slice))

struct dj_proxy_policy;

struct dj_family {
    const char *name; /* in keys, metrics and the log: "chat" */
    enum dj_target target;
    /* Request headers that are in the key; unused ones are NULL. */
    const char *key_headers[DJ_FAMILY_HEADERS_MAX];
    const char *id_prefix;      /* of a new id */
    const char *created_member; /* what tells when it was made, in seconds; NULL: nothing does */
    bool has_usage_option;      /* streams tell usage only where stream_options asks for it */

    /* Why this request is neither looked up nor stored: constant; NULL: nothing speaks against
     * it. root: an object. */
    const char *(*objection)(const struct dj_json *root, const struct dj_proxy_policy *policy);
    /* Optional: how many answers one answer has by right; without it, one. */
    uint32_t (*count_answers)(const struct dj_json *root);
    /* As dj_key_chat. */
    enum deja_status (*key)(const struct dj_key_prefix *prefix, const struct dj_json *root,
                            struct dj_arena *arena, struct dj_fingerprint *out_fingerprint);
    /* Fills out (zeroed) from the bytes of a whole stream. DEJA_ERR_INVALID: not a stream of this
     * family, or one that tells of an error; DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
    enum deja_status (*assemble)(struct deja_slice sse, struct dj_assembly *out_assembly);
    void (*inspect)(const struct dj_json *object, struct dj_answer_facts *out_facts);
    /* Appends the events of object, the terminal one included. */
    enum deja_status (*replay)(const struct dj_json *object,
                               const struct dj_replay_options *options, struct dj_buf *out_sse);
};

extern const struct dj_family dj_family_chat;
extern const struct dj_family dj_family_completions;
extern const struct dj_family dj_family_messages;
extern const struct dj_family dj_family_responses;

/* By its name; NULL: there is none. */
const struct dj_family *dj_family_find(struct deja_slice name);

/* The family that such a body is most likely of; chat's where nothing speaks for another. */
const struct dj_family *dj_family_guess(const struct dj_json *root);

/* The headers of request that are in the key of this family. */
void dj_family_set_headers(const struct dj_family *family, const struct dj_http_request *request,
                           struct dj_key_prefix *prefix);

/* Appends object with changes for a hit: usage counters zero; id and time of creation new. */
struct dj_rewrite {
    bool is_usage_zero;
    const char *id;    /* NULL: as it was, and created too */
    int64_t created_s; /* seconds since 1970 */
};
void dj_family_rewrite(const struct dj_family *family, const struct dj_json *object,
                       const struct dj_rewrite *rewrite, struct dj_buf *out_json);

#endif
