/* proxy/embeddings_internal.h - between embeddings.c, which asks cache and upstream,
 * embeddings_local.c, which asks the embedder in the process, and models.c, which tells of it.
 */
#ifndef DJ_PROXY_EMBEDDINGS_INTERNAL_H
#define DJ_PROXY_EMBEDDINGS_INTERNAL_H

#include "proxy/ride_internal.h"

#define EMBEDDINGS_ITEMS_MAX 2048u

/* One input. */
struct item {
    const struct dj_json *json;
    struct dj_fingerprint fingerprint; /* key and exact only */
    struct dj_value *value;            /* owned; NULL: missing */
};

struct inputs {
    struct ride *ride;
    struct item *items;
    size_t count;
    size_t waiting;    /* gets under way */
    const char *level; /* the lowest that one of them was found in; NULL: none was */
    bool is_array;
    bool is_base64;
    struct deja_slice rest; /* canonical body without the input */
    bool is_local;          /* the model is the daemon's own; the next two are of such */
    const char *fault;      /* the member that cannot be used: constant; NULL: none */
    uint64_t tokens;
};

#define EMBEDDINGS_MODEL_BYTES 128u

/* What the daemon's own model is called, "local/NAME"; false: it has none. */
bool embeddings_own_model(const struct dj_proxy_context *context,
                          char out_name[EMBEDDINGS_MODEL_BYTES]);
/* A client means it by that name. */
bool embeddings_is_own_model(struct deja_slice name, const char *own);

/* bytes: float32, as kept. */
void embeddings_put_vector(struct dj_json_writer *w, struct deja_slice bytes, bool is_base64);

/* The model's name begins with "local/". root: of the body. */
bool embeddings_is_local(const struct dj_json *root);
/* On a worker: checks, counts tokens; what is wrong is in ride->error, prepare_status and fault. */
void embeddings_prepare_local(struct inputs *inputs, const struct dj_json *root);
/* On the ride's loop: embeds and answers, or answers with what was wrong; ends the ride. */
void embeddings_answer_local(struct inputs *inputs);

#endif
