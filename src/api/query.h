/* api/query.h - what the cache API's requests have in common: members checked, text turned into a
 * fingerprint.
 *
 * Every check complains to the request (dj_request_complain) and returns false; where names the
 * place in a batch: "" or "entries[3].". Trust: untrusted. Threads: the request's loop.
 */
#ifndef DJ_API_QUERY_H
#define DJ_API_QUERY_H

#include <deja/base.h>

#include "api/request.h"
#include "cache/engine.h"
#include "cache/key.h"

#define DJ_BATCH_MAX 100u
#define DJ_NAMESPACE_BYTES_MAX 128u
#define DJ_LABEL_BYTES_MAX 256u

/* known: NULL-terminated member names. */
bool dj_query_check_members(struct dj_request *request, const struct dj_json *object,
                            const char *where, const char *const *known);
/* The text of REQUIREMENTS A8: 1 to query_chars_max characters, no control characters. */
bool dj_query_check_text(struct dj_request *request, struct deja_slice text, const char *where);
/* A text member that may be missing; len_max in bytes, no control characters. */
bool dj_query_label(struct dj_request *request, const struct dj_json *object, const char *name,
                    const char *where, size_t len_max, struct deja_slice *out_text);
/* A number in [low, high] that may be missing (then untouched). */
bool dj_query_number(struct dj_request *request, const struct dj_json *object, const char *name,
                     const char *where, const double range[2], double *out_value);
/* Seconds, or text such as "5m"; may be missing (then untouched); never 0. */
bool dj_query_duration(struct dj_request *request, const struct dj_json *object, const char *name,
                       const char *where, uint64_t *out_ms);
/* true or false; may be missing (then untouched). */
bool dj_query_flag(struct dj_request *request, const struct dj_json *object, const char *name,
                   const char *where, bool *out_flag);
/* "embedding": missing (*out_vector NULL), or 1 to DJ_VECTOR_DIM_MAX finite numbers, not all zero,
 * of the embedder that "embedder" names (the daemon's own if it has that dimension); in the arena.
 */
bool dj_query_vector(struct dj_request *request, const struct dj_json *object, const char *where,
                     const struct dj_query_vector **out_vector);
/* "filter": missing (untouched), or an object as cache/filter.h reads it; in the arena. */
bool dj_query_filter(struct dj_request *request, const struct dj_json *object, const char *where,
                     const struct dj_filter **out_filter);
/* A member of the URL's query, decoded into the arena; data NULL: it is not there. Complains about
 * broken escapes, what is not UTF-8, more than 64 KiB. */
bool dj_query_url_member(struct dj_request *request, const char *name,
                         struct deja_slice *out_value);
/* The same of "namespace", which is checked as one. */
bool dj_query_url_namespace(struct dj_request *request, struct deja_slice *out_name_space);
/* The same of "reason": why something is made void, for the audit log and the notice; into
 * request->reason, empty: none was said. */
bool dj_query_url_reason(struct dj_request *request);

/* An id as answers tell it, of the request's tenant; false: it is not 32 hex digits. */
bool dj_query_id(const struct dj_request *request, struct deja_slice text,
                 struct dj_store_key *out_key);

/* The key of the cache API; name_space is borrowed as long as the prefix is used. */
void dj_query_prefix(struct dj_request *request, struct deja_slice name_space,
                     struct dj_key_prefix *out_prefix);
/* Key and scope of a text that was checked. query empty: only the scope of the namespace, for
 * look-ups by a vector alone. DEJA_ERR_NOMEM. */
enum deja_status dj_query_fingerprint(struct dj_request *request, struct deja_slice name_space,
                                      struct deja_slice query,
                                      struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;
/* The same of a vector that is kept without a text: known by its name, or by its numbers. Its keys
 * are apart from those of texts, its scope is the namespace's. */
enum deja_status dj_query_fingerprint_vector(struct dj_request *request,
                                             struct deja_slice name_space, struct deja_slice name,
                                             const struct dj_query_vector *vector,
                                             struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

#endif
