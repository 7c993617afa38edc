/* api/idempotency.h - answers of writes that may be sent twice (Idempotency-Key, IETF draft).
 *
 *   (none) --begin--> IN FLIGHT --finish--> KEPT --24 h, or room is needed--> (none)
 *                     IN FLIGHT --forget--> (none)
 *
 * Of a key the first answer is kept and given again, as long as the body is the same. Only in
 * memory: a restart forgets. Bound: count_max keys, bytes_max of answers; the oldest kept one goes
 * first, one in flight never.
 *
 * Threads: any. Trust: keys are digests with the tenant's secret, so nobody aims at another's.
 */
#ifndef DJ_API_IDEMPOTENCY_H
#define DJ_API_IDEMPOTENCY_H

#include <deja/base.h>

#include "base/buf.h"
#include "crypto/digest.h"

#define DJ_IDEMPOTENCY_KEY_BYTES_MAX 255u
#define DJ_IDEMPOTENCY_ANSWER_BYTES_MAX (64u * 1024u) /* a larger one is not kept */

struct dj_idempotency;

enum dj_idempotent {
    DJ_IDEMPOTENT_NEW,        /* go on; finish or forget is owed */
    DJ_IDEMPOTENT_REPLAY,     /* answered before */
    DJ_IDEMPOTENT_IN_FLIGHT,  /* the first one has no answer yet */
    DJ_IDEMPOTENT_OTHER_BODY, /* the same key for another request */
    DJ_IDEMPOTENT_FULL,       /* too many are in flight, or no memory */
};

enum deja_status dj_idempotency_create(size_t count_max, size_t bytes_max,
                                       struct dj_idempotency **out_table) DEJA_NODISCARD;
void dj_idempotency_destroy(struct dj_idempotency *table); /* accepts NULL */

/* name: digest of the key and what it is for; body: digest of the body. On REPLAY *out_status is
 * set and the answer appended to out_body. */
enum dj_idempotent dj_idempotency_begin(struct dj_idempotency *table,
                                        const uint8_t name[DJ_SHA256_BYTES],
                                        const uint8_t body[DJ_SHA256_BYTES], int64_t now_ms,
                                        int *out_status, struct dj_buf *out_body);
/* The answer of what began; forgotten if it cannot be kept. */
void dj_idempotency_finish(struct dj_idempotency *table, const uint8_t name[DJ_SHA256_BYTES],
                           int status, struct deja_slice answer);
/* It failed: the key may be used again. */
void dj_idempotency_forget(struct dj_idempotency *table, const uint8_t name[DJ_SHA256_BYTES]);

/* Every answer that is kept is forgotten; requests in flight go on. */
void dj_idempotency_clear(struct dj_idempotency *table);

#endif
