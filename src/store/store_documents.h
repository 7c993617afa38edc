/* store/store_documents.h - wrapped data keys in a tier that keeps entries and nothing else (S3):
 * an authority (security/authority.h) for that one table over the tier's own functions.
 *
 * A document is an entry of a tenant that nobody is, named by a digest of its name. Versions make
 * the order: a new document has version 1, so that of two programs one makes it, and a later one
 * the time. There is no news but to list them all: pull does so once in a minute.
 *
 * Blocking, on workers, once the loop runs or is about to: a call is handed to the loop and waited
 * for, at most timeout_ms. Trust: as redis_documents.h.
 */
#ifndef DJ_STORE_STORE_DOCUMENTS_H
#define DJ_STORE_STORE_DOCUMENTS_H

#include "security/authority.h"
#include "store/store.h"

struct dj_store_documents;

/* store: borrowed; its calls are made on loop. Both outlive the last call. */
enum deja_status dj_store_documents_create(
    struct dj_store *store, struct dj_loop *loop, uint32_t timeout_ms,
    struct dj_store_documents **out_documents) DEJA_NODISCARD;
void dj_store_documents_destroy(struct dj_store_documents *documents); /* accepts NULL */
/* The loop is about to end: calls end soon, further ones answer DEJA_ERR_TIMEOUT at once. */
void dj_store_documents_stop(struct dj_store_documents *documents);
struct dj_authority dj_store_documents_table(struct dj_store_documents *documents);

#endif
