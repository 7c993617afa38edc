/* proxy/embeddings_local.c - POST /v1/embeddings with a model of the daemon's own, "local/NAME".
 *
 *   prepare (worker): the model, the texts, tokens -> batches of the engine's embedding queue
 *   -> each written down as it comes -> one answer
 *
 * Nothing goes upstream and nothing is stored: the engine remembers vectors by itself
 * (embed/memo.h).
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/slice.h"
#include "proxy/embeddings_internal.h"

static const char prefix[] = "local/";
static const char whatever[] = "local/default"; /* it is called, the daemon's own model */

struct local {
    struct inputs *inputs;
    size_t next;  /* of the items */
    size_t count; /* under way */
    struct dj_buf body;
    struct dj_json_writer w;
    uint32_t embed_us;
    struct deja_slice texts[DJ_EMBED_BATCH_MAX];
};

static struct deja_slice model_of(const struct dj_json *root)
{
    return dj_json_string(dj_json_get(root, "model"));
}

bool embeddings_is_local(const struct dj_json *root)
{
    struct deja_slice model = model_of(root);
    size_t len = sizeof prefix - 1;
    return model.len > len && memcmp(model.data, prefix, len) == 0;
}

bool embeddings_own_model(const struct dj_proxy_context *context,
                          char out_name[EMBEDDINGS_MODEL_BYTES])
{
    const struct dj_embedder *embedder = dj_engine_embedder(context->engine);
    if (!embedder || !embedder->ops->count)
        return false;
    bool is_named = strcmp(embedder->kind, "transformer") == 0 && context->model_name;
    (void)snprintf(out_name, EMBEDDINGS_MODEL_BYTES, "%s%s", prefix,
                   is_named ? context->model_name : embedder->kind);
    return true;
}

bool embeddings_is_own_model(struct deja_slice name, const char *own)
{
    return dj_slice_is(name, own) || dj_slice_is(name, whatever);
}

static void refuse(struct inputs *inputs, const char *member, enum deja_status status,
                   const char *message)
{
    inputs->fault = member;
    inputs->ride->prepare_status = deja_error_set(&inputs->ride->error, status, "%s", message);
}

/* False: refused. */
static bool check_model(struct inputs *inputs, const struct dj_json *root)
{
    const struct dj_proxy_context *context = inputs->ride->context;
    char own[EMBEDDINGS_MODEL_BYTES];
    char message[EMBEDDINGS_MODEL_BYTES + 192];
    if (!embeddings_own_model(context, own)) {
        refuse(inputs, "model", DEJA_ERR_NOT_FOUND,
               "There is no embedder in this daemon: semantic.enabled is off, or semantic.embedder "
               "is an endpoint elsewhere.");
        return false;
    }
    if (embeddings_is_own_model(model_of(root), own))
        return true;
    snprintf(message, sizeof message,
             "The daemon's own model is %s (local/default is always it). Another one: deja "
             "model pull NAME, semantic.model: NAME, and a restart.",
             own);
    refuse(inputs, "model", DEJA_ERR_NOT_FOUND, message);
    return false;
}

static bool check_form(struct inputs *inputs, const struct dj_json *root)
{
    const struct dj_json *dimensions = dj_json_get(root, "dimensions");
    const struct dj_json *format = dj_json_get(root, "encoding_format");
    uint32_t dim = dj_engine_embedder(inputs->ride->context->engine)->dim;
    char message[128];
    if (dj_json_type(dimensions) != DJ_JSON_NULL && dj_json_i64(dimensions, 0) != dim) {
        snprintf(message, sizeof message, "This model has %u dimensions, no more and no less.",
                 dim);
        refuse(inputs, "dimensions", DEJA_ERR_INVALID, message);
        return false;
    }
    if (dj_json_type(format) != DJ_JSON_NULL && !inputs->is_base64 &&
        !dj_slice_is(dj_json_string(format), "float")) {
        refuse(inputs, "encoding_format", DEJA_ERR_INVALID,
               "encoding_format is \"float\" or \"base64\".");
        return false;
    }
    return true;
}

void embeddings_prepare_local(struct inputs *inputs, const struct dj_json *root)
{
    const struct dj_embedder *embedder = dj_engine_embedder(inputs->ride->context->engine);
    inputs->is_local = true;
    if (!check_model(inputs, root) || !check_form(inputs, root))
        return;
    if (!inputs->count) {
        refuse(inputs, "input", DEJA_ERR_INVALID,
               "input is a text or an array of 1 to 2048 texts.");
        return;
    }
    for (size_t i = 0; i < inputs->count; i++) {
        struct deja_slice text = dj_json_string(inputs->items[i].json);
        if (!dj_json_is(inputs->items[i].json, DJ_JSON_STRING)) {
            refuse(inputs, "input", DEJA_ERR_INVALID,
                   "Lists of tokens are of another model's tokenizer: send the text itself "
                   "(LangChain: check_embedding_ctx_length=False).");
            return;
        }
        if (!text.len) {
            refuse(inputs, "input", DEJA_ERR_INVALID, "A text must not be empty.");
            return;
        }
        inputs->tokens += dj_embedder_count(embedder, text);
    }
}

/* ---- answering ---- */

static void destroy(struct local *local)
{
    if (!local)
        return;
    dj_buf_fini(&local->body);
    dj_free(local);
}

static void fail(struct local *local, int status, const char *message, const char *code)
{
    struct ride *ride = local->inputs->ride;
    destroy(local);
    ride_fail(ride, status, message, NULL, code);
}

static void finish(struct local *local)
{
    struct inputs *inputs = local->inputs;
    struct ride *ride = inputs->ride;
    struct dj_json_writer *w = &local->w;
    char model[EMBEDDINGS_MODEL_BYTES] = "";
    (void)embeddings_own_model(ride->context, model); /* there is one: it was checked */
    dj_json_end_array(w);
    dj_json_member_text(w, "model", model);
    dj_json_key(w, "usage");
    dj_json_begin_object(w);
    dj_json_member_u64(w, "prompt_tokens", inputs->tokens);
    dj_json_member_u64(w, "total_tokens", inputs->tokens);
    dj_json_end_object(w);
    dj_json_end_object(w);
    if (local->body.status != DEJA_OK) {
        fail(local, 503, "Deja is out of memory.", "cache_unavailable");
        return;
    }
    ride->detail = "local-model";
    ride->is_cacheable = false;
    struct dj_outcome outcome = ride_outcome(ride);
    outcome.embed_us = local->embed_us;
    ride_answer(ride, &outcome, dj_buf_slice(&local->body), false);
    destroy(local);
    ride_end(ride, DJ_RESULT_BYPASS, "none");
}

static void embed_next(struct local *local);

static void on_embedded(void *ctx, enum deja_status status, const float *vectors, uint32_t dim,
                        uint32_t embed_us)
{
    struct local *local = ctx;
    struct inputs *inputs = local->inputs;
    if (status != DEJA_OK) {
        fail(local, 503, "The embedder does not answer.", "cache_unavailable");
        return;
    }
    local->embed_us += embed_us;
    for (size_t i = 0; i < local->count; i++) {
        const struct deja_slice bytes =
            deja_slice((const char *)(vectors + i * dim), dim * sizeof *vectors);
        dj_json_begin_object(&local->w);
        dj_json_member_text(&local->w, "object", "embedding");
        dj_json_member_u64(&local->w, "index", local->next + i);
        dj_json_key(&local->w, "embedding");
        embeddings_put_vector(&local->w, bytes, inputs->is_base64);
        dj_json_end_object(&local->w);
    }
    local->next += local->count;
    if (local->next < inputs->count)
        embed_next(local);
    else
        finish(local);
}

static void embed_next(struct local *local)
{
    struct inputs *inputs = local->inputs;
    struct ride *ride = inputs->ride;
    local->count = 0;
    while (local->count < DJ_EMBED_BATCH_MAX && local->next + local->count < inputs->count) {
        local->texts[local->count] = dj_json_string(inputs->items[local->next + local->count].json);
        local->count++;
    }
    enum deja_status status = dj_engine_embed(ride->context->engine, ride->loop, ride->tenant,
                                              local->texts, local->count, local, on_embedded);
    if (status != DEJA_OK)
        fail(local, 503, "Too many texts wait to be embedded.", "cache_unavailable");
}

void embeddings_answer_local(struct inputs *inputs)
{
    struct ride *ride = inputs->ride;
    if (ride->prepare_status != DEJA_OK) {
        bool is_unknown = ride->prepare_status == DEJA_ERR_NOT_FOUND;
        ride_fail(ride, is_unknown ? 404 : 400, ride->error.message, inputs->fault,
                  is_unknown ? "model_not_found" : "invalid_value");
        return;
    }
    struct local *local = dj_alloc_zeroed(1, sizeof *local);
    if (!local) {
        ride_fail(ride, 503, "Deja is out of memory.", NULL, "cache_unavailable");
        return;
    }
    local->inputs = inputs;
    local->w = dj_json_writer(&local->body);
    dj_json_begin_object(&local->w);
    dj_json_member_text(&local->w, "object", "list");
    dj_json_key(&local->w, "data");
    dj_json_begin_array(&local->w);
    embed_next(local);
}
