/* api/kv.h - what the routes of plain keys (/api/v1/kv) have in common.
 *
 * Trust: keys, values and headers are untrusted. Threads: the request's loop.
 */
#ifndef DJ_API_KV_H
#define DJ_API_KV_H

#include <deja/base.h>

#include "api/draft.h"
#include "api/request.h"
#include "cache/plain_op.h"

/* Whose keys a request is about: its tenant and user, and X-Deja-Namespace. Text in the arena. */
struct dj_kv_names {
    struct deja_slice name_space;
    struct deja_slice user_tag; /* empty: no user */
};
/* A header, or else the member of the URL's query that says the same; data NULL: neither. */
struct deja_slice dj_kv_said(struct dj_request *request, const char *header, const char *member);
/* False: complained, or out of memory and answered; see dj_request_has_complaints. */
bool dj_kv_read_names(struct dj_request *request, struct dj_kv_names *out_names);
/* Ended with dj_plain_space_fini; calls copy it, so right after them. */
void dj_kv_space(const struct dj_request *request, const struct dj_kv_names *names,
                 struct dj_plain_space *out_space);
/* Where the tenant wants it noted: the key's id, which is a keyed digest, into request->key_id. */
void dj_kv_name_resource(struct dj_request *request, const struct dj_kv_names *names,
                         struct deja_slice key);

/* Every check complains and returns false. where as in api/query.h. */
bool dj_kv_check_key(struct dj_request *request, struct deja_slice key, const char *where);
/* Absolute end for a life of ttl_ms; 0: never. Both as far as the tenant's ttl.max lets it. */
int64_t dj_kv_end(const struct dj_request *request, uint64_t ttl_ms);
/* Seconds, or "5m"; "0": never. */
bool dj_kv_read_ttl(struct dj_request *request, struct deja_slice text, const char *name,
                    uint64_t *out_ms);
/* Of a value that is put under that key without one: its kind's, else the tenant's ttl.plain, else
 * the deployment's. */
uint64_t dj_kv_default_ttl(const struct dj_request *request, struct deja_slice key);
/* What it was made from (cache/depends.h), as more tags of the value. */
bool dj_kv_add_depends(struct dj_request *request, const struct deja_slice *names, size_t count,
                       struct dj_plain_op *op);
/* Comma separated; in the arena. */
bool dj_kv_read_tags(struct dj_request *request, struct deja_slice text,
                     const struct deja_slice **out_tags, size_t *out_count);

/* The draft of a value with the tags of op, to be judged (api/draft.h); body and media are copied.
 */
void dj_kv_draft(const struct dj_request *request, const struct dj_kv_names *names,
                 struct deja_slice key, struct deja_slice body, struct deja_slice media,
                 const struct dj_plain_op *op, struct dj_draft *draft);
/* After a verdict that does not refuse: body, metadata and levels of what is put. They are the
 * draft's, which must outlive the change. */
void dj_kv_apply(const struct dj_request *request, const struct dj_draft *draft,
                 struct dj_plain_op *op);
/* Hands the op to the key; done's ctx is the op. DEJA_ERR_UNSUPPORTED: it looks at what is there,
 * and the request leaves out every tier where other programs could see it. */
enum deja_status dj_kv_change(const struct dj_request *request, const struct dj_kv_names *names,
                              struct deja_slice key, struct dj_plain_op *op,
                              dj_plain_changed_fn *done) DEJA_NODISCARD;
/* What the op says went wrong; status 0: nothing. */
struct dj_problem dj_kv_problem(const struct dj_plain_op *op, enum deja_status status);

/* The media type a value was put with; in the arena. */
const char *dj_kv_media(struct dj_request *request, const struct dj_entry *entry);
/* "key": text, or "key_base64". */
void dj_kv_write_key(struct dj_json_writer *w, struct deja_slice key);
/* "ttl": seconds left, rounded up; never: null. */
void dj_kv_write_ttl(struct dj_json_writer *w, const struct dj_entry *entry, int64_t now_ms);
/* "value": JSON as it is, text as a string; "value_base64": other bytes. */
void dj_kv_write_value(struct dj_json_writer *w, struct dj_request *request,
                       const struct dj_entry *entry);
int64_t dj_kv_ttl_s(const struct dj_entry *entry, int64_t now_ms); /* 0: never ends */

/* ---- versions (kv_version.c): the value a key had before the last one that was put with a version
 * lies beside it, under the key and ":@previous", until its own end ---- */

#define DJ_KV_VERSION_BYTES_MAX 128u

/* ?version= or X-Deja-Version; data NULL: not said. False: complained. */
bool dj_kv_read_version(struct dj_request *request, struct deja_slice *out_version);
/* The draft's metadata says so, too. */
void dj_kv_draft_version(struct deja_slice version, struct dj_draft *draft);
bool dj_kv_is_version(const struct dj_entry *entry, struct deja_slice version);
/* Of the value before; in the arena, data NULL: too long, or out of memory. */
struct deja_slice dj_kv_previous_key(struct dj_request *request, struct deja_slice key);
/* Puts what was there, value, under that key; where that was of the same version, what lies there
 * stays and is put once more. done runs once, later, also when it could not be kept (a version that
 * is not kept is a miss). value: taken. DEJA_ERR_NOMEM. */
enum deja_status dj_kv_keep_previous(struct dj_request *request, const struct dj_kv_names *names,
                                     struct deja_slice key, struct dj_value *value,
                                     bool is_same_version, void *ctx,
                                     void (*done)(void *ctx)) DEJA_NODISCARD;

/* Metrics: an operation of that name has ended so. */
void dj_kv_note(const struct dj_request *request, const char *operation, const char *level,
                const char *status);

#endif
