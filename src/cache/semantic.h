/* cache/semantic.h - embedding queue and one vector index per tenant.
 *
 * Embeddings that arrive together are one batch; one alone is not delayed: the first request starts
 * a job, those that come while workers are busy wait and are taken together. Embedding and search
 * of one request are one job. Bound: DJ_SEMANTIC_PENDING_MAX requests, tenants_max indexes.
 * Threads: any.
 */
#ifndef DJ_CACHE_SEMANTIC_H
#define DJ_CACHE_SEMANTIC_H

#include <deja/base.h>

#include "embed/embedder.h"
#include "loop/pool.h"
#include "proto/record.h"
#include "vector/flat.h"

#define DJ_SEMANTIC_PENDING_MAX 8192u

struct dj_semantic;

/* embedder is borrowed; vectors_max per tenant. */
enum deja_status dj_semantic_create(struct dj_pool *pool, struct dj_embedder *embedder,
                                    uint32_t vectors_max,
                                    struct dj_semantic **out_semantic) DEJA_NODISCARD;
void dj_semantic_destroy(struct dj_semantic *semantic); /* after the pool is idle; accepts NULL */

enum dj_semantic_search { DJ_SEARCH_NONE, DJ_SEARCH_SCOPE, DJ_SEARCH_ALL };

/* One request, embedded in its owner, who keeps it alive until done ran on loop. */
struct dj_semantic_job {
    struct dj_semantic_job *next; /* ours, while pending */
    struct dj_task task;          /* ours: done on loop */
    struct dj_loop *loop;
    void *ctx;
    dj_task_fn *done;

    uint8_t tenant[DJ_ID_BYTES];
    uint8_t scope[DJ_ID_BYTES];
    struct deja_slice text; /* borrowed until done */
    bool has_vector;        /* in: vector is given; out: vector is there */
    float *vector;          /* the owner's: room for dim floats */
    enum dj_semantic_search search;
    uint32_t limit; /* <= 100 */
    int64_t now_ms;
    bool is_insert; /* put vector under id and scope once it is there */
    uint8_t id[DJ_ID_BYTES];
    int64_t expires_ms;

    enum deja_status status;       /* out */
    struct dj_flat_match *matches; /* the owner's: room for limit */
    uint32_t match_count;
    uint32_t embed_us;
    uint32_t search_us;
};

/* DEJA_ERR_BUSY: too many pending; done never runs. */
enum deja_status dj_semantic_submit(struct dj_semantic *semantic,
                                    struct dj_semantic_job *job) DEJA_NODISCARD;

/* Vectors under that scope; 0 means: no need to embed. */
uint32_t dj_semantic_scope_count(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                                 const uint8_t scope[DJ_ID_BYTES]);
uint32_t dj_semantic_tenant_count(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES]);
/* Direct insert (refill at start, caller's own vector). */
enum deja_status dj_semantic_put(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                                 const uint8_t scope[DJ_ID_BYTES], const uint8_t id[DJ_ID_BYTES],
                                 const float *vector, int64_t expires_ms) DEJA_NODISCARD;
void dj_semantic_remove(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES],
                        const uint8_t id[DJ_ID_BYTES]);
void dj_semantic_clear(struct dj_semantic *semantic, const uint8_t tenant[DJ_ID_BYTES]);
/* True the second time a scope is asked about (bounded memory; may forget). */
bool dj_semantic_is_scope_seen(struct dj_semantic *semantic, const uint8_t scope[DJ_ID_BYTES]);
/* tenant NULL: all. */
void dj_semantic_stats(struct dj_semantic *semantic, const uint8_t *tenant, uint64_t *out_vectors,
                       uint64_t *out_bytes);
struct dj_embedder *dj_semantic_embedder(const struct dj_semantic *semantic);

#endif
