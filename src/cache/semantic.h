/* cache/semantic.h - embedding queue before the tenants' vector indexes.
 *
 * Embeddings that arrive together are one batch; one alone is not delayed: the first request starts
 * a job, those that come while workers are busy wait and are taken together. Embedding and search
 * of one request are one job. Bound: DJ_SEMANTIC_PENDING_MAX requests.
 * Threads: any.
 */
#ifndef DJ_CACHE_SEMANTIC_H
#define DJ_CACHE_SEMANTIC_H

#include <deja/base.h>

#include "cache/indexes.h"
#include "embed/embedder.h"
#include "loop/pool.h"
#include "proto/record.h"

#define DJ_SEMANTIC_PENDING_MAX 8192u
#define DJ_INDEX_LABEL_BYTES 129u
/* Begins the label of an index of callers' own vectors, and the embedder id of their entries: so
 * they are told from vectors that an embedder of an earlier configuration made. */
#define DJ_INDEX_LABEL_MARK '@'

struct dj_semantic;

/* embedder is borrowed; NULL: jobs bring their vectors. vectors_max per index. */
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
    struct dj_index_name name; /* label borrowed until done */
    struct deja_slice text;    /* borrowed until done */
    bool has_vector;           /* in: vector is given; out: vector is there */
    float *vector;             /* the owner's: room for name.dim floats */
    enum dj_semantic_search search;
    uint32_t limit; /* <= 100 */
    int64_t now_ms;
    bool is_insert; /* put vector under id and scope once it is there */
    uint8_t id[DJ_ID_BYTES];
    int64_t expires_ms;
    uint64_t version;

    enum deja_status status;       /* out */
    struct dj_flat_match *matches; /* the owner's: room for limit */
    uint32_t match_count;
    uint32_t embed_us;
    uint32_t search_us;
};

/* DEJA_ERR_BUSY: too many pending; done never runs. */
enum deja_status dj_semantic_submit(struct dj_semantic *semantic,
                                    struct dj_semantic_job *job) DEJA_NODISCARD;

/* Which index vectors of that embedder (empty: not said) and dimension belong to; label is where
 * the name's label may lie. DEJA_ERR_MISMATCH: the engine's embedder has another dimension;
 * DEJA_ERR_LIMIT: the embedder's name is too long. */
enum deja_status dj_semantic_name(const struct dj_semantic *semantic, uint32_t dim,
                                  struct deja_slice embedder, char label[DJ_INDEX_LABEL_BYTES],
                                  struct dj_index_name *out_name) DEJA_NODISCARD;
struct dj_indexes *dj_semantic_indexes(struct dj_semantic *semantic);
/* count jobs, linked by next: enter the queue together or not at all. */
enum deja_status dj_semantic_submit_all(struct dj_semantic *semantic, struct dj_semantic_job *first,
                                        uint32_t count) DEJA_NODISCARD;

/* True the second time a scope is asked about (bounded memory; may forget). */
bool dj_semantic_is_scope_seen(struct dj_semantic *semantic, const uint8_t scope[DJ_ID_BYTES]);
/* Texts embedded lately are forgotten, of all tenants: they are asked to be embedded again. Any
 * thread. */
void dj_semantic_forget_texts(struct dj_semantic *semantic);
struct dj_embedder *dj_semantic_embedder(const struct dj_semantic *semantic);

#endif
