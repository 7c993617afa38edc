/* store/redis_documents.h - wrapped data keys in a Valkey or Redis that is all programs have in
 * common: an authority (security/authority.h) for that one table.
 *
 *   PREFIX:{v:0}:data_keys:NAME   SET NX: one program makes a key, the others get that one
 *   PREFIX:{v:0}:data_keys        names by the time of their last change (us), for pull
 *
 * Needs no command that the tier itself does not. Nothing there has an end, so an eviction of
 * volatile keys spares it. Trust: whoever may write there may destroy keys, as he may entries; he
 * cannot make one that opens (they are wrapped). Threads: any; each call is a visit
 * (redis_visit.h).
 */
#ifndef DJ_STORE_REDIS_DOCUMENTS_H
#define DJ_STORE_REDIS_DOCUMENTS_H

#include "security/authority.h"
#include "store/redis.h"

struct dj_redis_documents;

/* options' texts are borrowed until destroy. now_us: the time, for the order of changes. */
enum deja_status dj_redis_documents_create(
    const struct dj_redis_options *options, uint32_t timeout_ms, uint64_t (*now_us)(void),
    struct dj_redis_documents **out_documents) DEJA_NODISCARD;
void dj_redis_documents_destroy(struct dj_redis_documents *documents); /* accepts NULL */
struct dj_authority dj_redis_documents_table(struct dj_redis_documents *documents);

#endif
