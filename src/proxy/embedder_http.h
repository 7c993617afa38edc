/* proxy/embedder_http.h - the embedder behind an address: any OpenAI-compatible /v1/embeddings.
 *
 *   worker: embed() ──message──> a loop and thread of its own ──HTTP──> the endpoint
 *             └──────────────waits, at most timeout_ms───────────┘
 *
 * Vectors are brought to unit length. id is model@hash of the address, so vectors of two models or
 * two endpoints never meet. What was embedded before is the caller's memo (cache/semantic.c).
 * An endpoint that fails is left alone by its sentry's breaker: then embed() fails at once.
 *
 * Trust: what comes back is untrusted: bounded, its count, indexes, dimension and numbers checked.
 * Threads: embed() on workers, several at once; open and destroy block.
 */
#ifndef DJ_PROXY_EMBEDDER_HTTP_H
#define DJ_PROXY_EMBEDDER_HTTP_H

#include <deja/base.h>

#include "embed/embedder.h"
#include "guarded/sentry.h"
#include "proxy/telemetry.h"

#define DJ_EMBEDDER_HTTP_DIM_MAX 4096u
#define DJ_EMBEDDER_HTTP_BATCH_MAX 32u

/* Texts are copied. */
struct dj_embedder_http_options {
    const char *url;          /* https://HOST, with or without /v1 or /v1/embeddings */
    const char *model;        /* as the endpoint calls it */
    const char *key;          /* bearer credential; NULL: none */
    const char *ca_file;      /* NULL: the system's */
    uint32_t timeout_ms;      /* of one call; 0: 2,000 */
    uint32_t dim;             /* 0: one text is embedded at once to learn it */
    bool is_dim_sent;         /* `dimensions` is part of the request */
    uint32_t batch_max;       /* texts of one call, 1 … DJ_EMBEDDER_HTTP_BATCH_MAX; 0: that */
    struct dj_sentry *sentry; /* borrowed; NULL: it is asked always */
    uint64_t memo_ttl_ms; /* its vectors may be remembered so long; 0: as long as there is room */
    double price_per_1k;  /* US dollars for 1,000 tokens */
    struct dj_telemetry *telemetry; /* borrowed; NULL: nothing is counted */
};

/* DEJA_ERR_CONFIG: the address, the model, the dimension. dim 0 and the endpoint did not answer as
 * it should: its status, as embed()'s. */
enum deja_status dj_embedder_http_open(const struct dj_embedder_http_options *options,
                                       struct dj_embedder **out_embedder,
                                       struct deja_error *error) DEJA_NODISCARD;

/* embed(): DEJA_ERR_TIMEOUT; DEJA_ERR_IO (no connection, broken off); DEJA_ERR_DENIED (TLS, or the
 * credential); DEJA_ERR_BUSY (429, 5xx); DEJA_ERR_CIRCUIT_OPEN; DEJA_ERR_INVALID: it will not embed
 * these texts; DEJA_ERR_CORRUPT: no such answer, or vectors of another dimension. */

#endif
