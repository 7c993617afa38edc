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
/* A text member that may be missing; len_max in bytes. */
bool dj_query_label(struct dj_request *request, const struct dj_json *object, const char *name,
                    const char *where, size_t len_max, struct deja_slice *out_text);
/* A number in [low, high] that may be missing (then untouched). */
bool dj_query_number(struct dj_request *request, const struct dj_json *object, const char *name,
                     const char *where, const double range[2], double *out_value);
/* Seconds, or text such as "5m"; may be missing (then untouched); never 0. */
bool dj_query_duration(struct dj_request *request, const struct dj_json *object, const char *name,
                       const char *where, uint64_t *out_ms);
/* "embedding": missing (*out_vector NULL), or as many finite numbers as the embedder's dimension,
 * not all zero; in the arena. */
bool dj_query_vector(struct dj_request *request, const struct dj_json *object, const char *where,
                     const struct dj_query_vector **out_vector);

/* The key of the cache API; name_space is borrowed as long as the prefix is used. */
void dj_query_prefix(struct dj_request *request, struct deja_slice name_space,
                     struct dj_key_prefix *out_prefix);
/* Key and scope of a text that was checked. query empty: only the scope of the namespace, for
 * look-ups by a vector alone. DEJA_ERR_NOMEM. */
enum deja_status dj_query_fingerprint(struct dj_request *request, struct deja_slice name_space,
                                      struct deja_slice query,
                                      struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;

#endif
