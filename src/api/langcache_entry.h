/* api/langcache_entry.h - an entry as the surfaces of other caches speak of it: a prompt, a
 * response that is text, attributes that are texts.
 *
 * They are entries of the cache API like those of PUT /api/v1/entries: query = prompt, response = a
 * JSON string, metadata = attributes, namespace = cacheId. Without attributes the two are the same
 * entry. With attributes they are part of its key, so that the same prompt may have one entry for
 * each set of them, but not of its scope: a search that names fewer attributes finds it too.
 *
 * A prompt that is a list of messages as LangChain writes them out is taken for the conversation it
 * is: its last human text is what is compared by meaning, all before it must be the same.
 *
 * Every check complains to the request and returns false. Trust: untrusted. Threads: the request's
 * loop.
 */
#ifndef DJ_API_LANGCACHE_ENTRY_H
#define DJ_API_LANGCACHE_ENTRY_H

#include <deja/base.h>

#include "api/query.h"

#define DJ_PROMPT_BYTES_MAX (64u * 1024u)
#define DJ_ATTRIBUTES_MAX 32u
#define DJ_ATTRIBUTE_NAME_BYTES_MAX 128u
#define DJ_ATTRIBUTE_BYTES_MAX (64u * 1024u) /* all values together */

/* What a prompt is looked for and kept under; borrowed from the request. */
struct dj_prompt {
    struct deja_slice text;
    struct deja_slice name_space;
    const struct dj_json *attributes; /* NULL, or an object of strings that has members */
};

/* A text of 1 to DJ_PROMPT_BYTES_MAX bytes that is not only white space. */
bool dj_prompt_read_text(struct dj_request *request, const char *name, struct deja_slice *out_text);
/* "attributes": missing, or at most DJ_ATTRIBUTES_MAX texts; names do not begin with "$", which
 * filters have for an entry's own columns. */
bool dj_prompt_read_attributes(struct dj_request *request, const struct dj_json **out_attributes);

/* Key and scope. DEJA_ERR_NOMEM. */
enum deja_status dj_prompt_fingerprint(struct dj_request *request, const struct dj_prompt *prompt,
                                       struct dj_fingerprint *out_fingerprint) DEJA_NODISCARD;
/* Puts prompt and response; ttl_ms 0: the default. done runs once, on the request's loop, when the
 * tiers have acknowledged; what may not be kept is answered here instead. out_id and ctx live in
 * the request's arena. */
enum deja_status dj_prompt_put(struct dj_request *request, const struct dj_prompt *prompt,
                               struct deja_slice response, uint64_t ttl_ms,
                               uint8_t out_id[DJ_ID_BYTES], void *ctx,
                               dj_put_done_fn *done) DEJA_NODISCARD;
/* What a put that was acknowledged leads to besides its answer. */
void dj_prompt_finish_put(struct dj_request *request);

/* The parts of a stored entry as text; what is not text is its JSON. */
void dj_prompt_put_words(struct dj_json_writer *w, const struct dj_entry *entry);
void dj_prompt_put_response(struct dj_json_writer *w, const struct dj_entry *entry);
/* An object of those members of its metadata that are texts. */
void dj_prompt_put_attributes(struct dj_json_writer *w, const struct dj_entry *entry);
/* The entry was put with these very words, to the byte. */
bool dj_prompt_is_words(const struct dj_entry *entry, struct deja_slice text);

/* Counts one operation ("set", "lookup", "delete") that took from the request's start until now. */
void dj_prompt_count(struct dj_request *request, const char *operation, const char *level,
                     const char *status);
/* A failure of the engine, told as something to try again where it is. */
void dj_prompt_refuse(struct dj_request *request, enum deja_status status);

#endif
