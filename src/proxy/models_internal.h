/* proxy/models_internal.h - the daemon's own embedding model in OpenAI's list of models: between
 * passthrough.c, which asks the upstream, and models.c.
 *
 * Trust: an upstream's list is untrusted; its caller bounds it. Threads: any, no state.
 */
#ifndef DJ_PROXY_MODELS_INTERNAL_H
#define DJ_PROXY_MODELS_INTERNAL_H

#include "proxy/embeddings_internal.h"

#define MODELS_LIST_BYTES_MAX (2u << 20) /* of an upstream's list; longer ones pass as they are */

enum models_asked {
    MODELS_OTHER, /* nothing the own model is told in */
    MODELS_LIST,  /* GET /v1/models; Anthropic's list has the same path and is another */
    MODELS_OWN,   /* GET /v1/models/local/NAME, or local/default */
};

/* The own model as it is told. */
struct models_own {
    char id[EMBEDDINGS_MODEL_BYTES]; /* "local/NAME" */
    int64_t created_s;
};

/* What this request wants that the own model is told in, if this client may use it. out_own is set
 * but with MODELS_OTHER. */
enum models_asked models_ask(const struct ride *ride, struct models_own *out_own);

/* Appends the model alone. */
void models_put(const struct models_own *own, struct dj_buf *out);

/* Appends list, the upstream's JSON, with the own model at the end of its "data"; list empty: a
 * list of it alone. False: list is none, has a page to come or that model already, or memory ran
 * out: out is to be thrown away. */
bool models_merge(const struct models_own *own, struct deja_slice list,
                  struct dj_buf *out) DEJA_NODISCARD;

#endif
