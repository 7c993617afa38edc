/* proxy/content.h - what a request's log line tells of its texts, where a tenant has said so
 * (log.content): nothing; 8 hex digits of a keyed digest, and lengths; or their beginning too.
 *
 * The key is the tenant's own, so equal digests mean equal texts of one tenant and tell nobody else
 * anything. What is written passes the log's redactor like all else. Threads: none of its own.
 */
#ifndef DJ_PROXY_CONTENT_H
#define DJ_PROXY_CONTENT_H

#include <deja/base.h>

#include "base/buf.h"
#include "crypto/digest.h"
#include "obs/log.h"
#include "security/rules.h"

#define DJ_CONTENT_FIELDS 6u

/* Zeroed: nothing is told. */
struct dj_content {
    bool has_prompt;
    bool has_answer;
    char prompt_hash[9];
    char answer_hash[9]; /* "": it was not at hand whole */
    size_t prompt_bytes;
    size_t answer_bytes;
    struct dj_buf prompt; /* DJ_CONTENT_FULL: beginnings */
    struct dj_buf answer;
};
void dj_content_fini(struct dj_content *content); /* frees and zeroes */

/* DJ_CONTENT_OFF: nothing. Texts are copied as far as they are told. */
void dj_content_note_prompt(struct dj_content *content, enum dj_content_log how,
                            const uint8_t key[DJ_SHA256_BYTES], struct deja_slice text);
void dj_content_note_answer(struct dj_content *content, enum dj_content_log how,
                            const uint8_t key[DJ_SHA256_BYTES], struct deja_slice text);
/* Only how long it was: a stream. */
void dj_content_note_answer_bytes(struct dj_content *content, enum dj_content_log how,
                                  size_t bytes);

/* Appends at most DJ_CONTENT_FIELDS fields, borrowed from content, and the one that ends the list.
 */
void dj_content_fields(const struct dj_content *content, struct dj_log_field *out_fields);

#endif
