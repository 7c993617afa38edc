/* embed/transformer_internal.h - what loading and computing share. */
#ifndef DJ_EMBED_TRANSFORMER_INTERNAL_H
#define DJ_EMBED_TRANSFORMER_INTERNAL_H

#include <pthread.h>

#include "embed/embedder.h"
#include "embed/tokenizer.h"
#include "proto/bert_config.h"

enum { DJ_TRANSFORMER_IDS_MAX = 256, DJ_TRANSFORMER_ALIGNMENT = 64 };

/* Matrices are packed panels (simd.h), the rest plain vectors; all of them inside one block. */
struct dj_transformer_layer {
    float *qkv; /* query, key and value side by side: one pass over the input */
    float *qkv_bias;
    float *mix; /* of the heads' outputs */
    float *mix_bias;
    float *mix_gain; /* layer norm after attention */
    float *mix_shift;
    float *up;
    float *up_bias;
    float *down;
    float *down_bias;
    float *down_gain; /* layer norm after the feed-forward part */
    float *down_shift;
};

struct dj_transformer_weights {
    struct dj_bert_config config;
    uint32_t ids_max;
    uint16_t *words; /* owned; [vocabulary][hidden] binary16 */
    float *floats;   /* owned; everything below lies in it */
    float *places;   /* [ids_max][hidden], token type 0 added */
    float *gain;     /* layer norm of the sum */
    float *shift;
    struct dj_transformer_layer *layers; /* owned */
};

struct dj_transformer_scratch;

struct dj_transformer {
    struct dj_embedder base; /* first */
    struct dj_tokenizer *tokenizer;
    struct dj_transformer_weights weights;
    pthread_mutex_t lock; /* guards the pool; a leaf: nothing is taken or called under it */
    struct dj_transformer_scratch *pool;
};

/* Reads the tensors of a weights file; *weights has config and ids_max set, the rest zero. What was
 * allocated is fini'd by the caller in either case. */
enum deja_status dj_transformer_load(struct dj_transformer_weights *weights, struct deja_slice file,
                                     struct deja_error *error) DEJA_NODISCARD;
void dj_transformer_weights_fini(struct dj_transformer_weights *weights);

/* Sequences one after the other: begins[count] is the number of ids. out: count * hidden. */
struct dj_transformer_batch {
    const uint32_t *ids;
    const uint32_t *begins;
    uint32_t count;
};
enum deja_status dj_transformer_forward(struct dj_transformer *transformer,
                                        const struct dj_transformer_batch *batch,
                                        float *out) DEJA_NODISCARD;
void dj_transformer_pool_fini(struct dj_transformer *transformer);

#endif
