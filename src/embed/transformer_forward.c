/* embed/transformer_forward.c - the arithmetic of one batch.
 *
 *   ids -> words + places -> norm -> { qkv -> heads -> mix -> norm -> up -> gelu -> down -> norm }
 * x n
 *       -> mean over the tokens -> unit length
 *
 * The tokens of all sequences lie one after the other, without padding: linear layers run over all
 * of them at once, so weights are read once per batch; attention runs per sequence and head. Keys
 * and values are packed like weights and go through the same kernel.
 */
#include "embed/transformer_internal.h"

#include <math.h>

#include "base/alloc.h"
#include "proto/half.h"
#include "simd/simd.h"

/* Scratch of up to this many tokens (1.3 MB for MiniLM) is kept for the next call. */
enum { POOLED_TOKENS_MAX = 64 };

struct dj_transformer_scratch {
    struct dj_transformer_scratch *next; /* in the pool */
    uint32_t tokens_max;
    void *block;   /* owned; the others lie in it */
    float *state;  /* [tokens][hidden] */
    float *change; /* [tokens][hidden], what a sub-layer adds */
    float *wide;   /* [tokens][3 hidden] or [tokens][intermediate] */
    float *packed; /* [tokens][max(hidden, intermediate)], for the kernel */
    float *keys;   /* one head's, packed */
    float *values;
    float *scores; /* [tokens][tokens] of one head */
};

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void scratch_destroy(struct dj_transformer_scratch *scratch)
{
    if (!scratch)
        return;
    dj_free(scratch->block);
    dj_free(scratch);
}

static struct dj_transformer_scratch *scratch_create(const struct dj_bert_config *config,
                                                     uint32_t tokens_max)
{
    size_t tokens = tokens_max;
    size_t hidden = config->hidden;
    size_t depth = hidden / config->heads;
    size_t wide = max_of(3 * hidden, config->intermediate);
    size_t lens[] = {tokens * hidden,
                     tokens * hidden,
                     tokens * wide,
                     tokens * max_of(max_of(hidden, config->intermediate), tokens),
                     dj_gemm_packed_len(tokens, depth),
                     dj_gemm_packed_len(depth, tokens),
                     tokens * tokens};
    size_t total = 0;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        lens[i] = (lens[i] + 15) & ~(size_t)15; /* each part begins on a cache line */
        total += lens[i];
    }
    struct dj_transformer_scratch *scratch = dj_alloc_zeroed(1, sizeof *scratch);
    if (!scratch)
        return NULL;
    /* Aligned by hand: glibc before 2.38 does not reuse the gaps that aligned blocks leave, and the
     * heap grew by 50 MB in a minute of long texts. */
    scratch->block = dj_alloc(total * sizeof(float) + DJ_TRANSFORMER_ALIGNMENT);
    if (!scratch->block) {
        dj_free(scratch);
        return NULL;
    }
    float **parts[] = {&scratch->state, &scratch->change, &scratch->wide,  &scratch->packed,
                       &scratch->keys,  &scratch->values, &scratch->scores};
    size_t past = (uintptr_t)scratch->block % DJ_TRANSFORMER_ALIGNMENT;
    float *next = (float *)(void *)((char *)scratch->block + DJ_TRANSFORMER_ALIGNMENT - past);
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        *parts[i] = next;
        next += lens[i];
    }
    scratch->tokens_max = tokens_max;
    return scratch;
}

/* Pooled ones are all of POOLED_TOKENS_MAX, so any of them will do. */
static struct dj_transformer_scratch *scratch_acquire(struct dj_transformer *transformer,
                                                      uint32_t tokens)
{
    if (tokens > POOLED_TOKENS_MAX)
        return scratch_create(&transformer->weights.config, tokens);
    pthread_mutex_lock(&transformer->lock);
    struct dj_transformer_scratch *scratch = transformer->pool;
    if (scratch)
        transformer->pool = scratch->next;
    pthread_mutex_unlock(&transformer->lock);
    return scratch ? scratch : scratch_create(&transformer->weights.config, POOLED_TOKENS_MAX);
}

/* The pool holds at most one for each worker that was ever inside at the same time. */
static void scratch_release(struct dj_transformer *transformer,
                            struct dj_transformer_scratch *scratch)
{
    if (scratch->tokens_max != POOLED_TOKENS_MAX) {
        scratch_destroy(scratch);
        return;
    }
    pthread_mutex_lock(&transformer->lock);
    scratch->next = transformer->pool;
    transformer->pool = scratch;
    pthread_mutex_unlock(&transformer->lock);
}

void dj_transformer_pool_fini(struct dj_transformer *transformer)
{
    while (transformer->pool) {
        struct dj_transformer_scratch *scratch = transformer->pool;
        transformer->pool = scratch->next;
        scratch_destroy(scratch);
    }
}

static void look_up(const struct dj_transformer_weights *weights,
                    const struct dj_transformer_batch *batch, float *state)
{
    size_t hidden = weights->config.hidden;
    for (uint32_t s = 0; s < batch->count; s++) {
        for (uint32_t at = batch->begins[s]; at < batch->begins[s + 1]; at++) {
            const uint16_t *word = weights->words + batch->ids[at] * hidden;
            const float *place = weights->places + (at - batch->begins[s]) * hidden;
            float *row = state + at * hidden;
            for (size_t i = 0; i < hidden; i++)
                row[i] = dj_f16_to_f32(word[i]);
            dj_simd()->layer_norm(row, place, weights->gain, weights->shift, hidden,
                                  weights->config.layer_norm_epsilon);
        }
    }
}

/* One head of one sequence. qkv: the sequence's first row at this head's columns. */
static void attend(const struct dj_transformer_scratch *scratch, const float *qkv, size_t hidden,
                   size_t depth, size_t tokens, float *out)
{
    const struct dj_simd *simd = dj_simd();
    dj_gemm_pack_rows(qkv + hidden, 3 * hidden, tokens, depth, scratch->keys);
    simd->gemm_f32(&(struct dj_gemm){.a = qkv,
                                     .a_stride = 3 * hidden,
                                     .m = tokens,
                                     .packed = scratch->keys,
                                     .n = tokens,
                                     .k = depth,
                                     .out = scratch->scores,
                                     .out_stride = tokens,
                                     .scratch = scratch->packed});
    for (size_t row = 0; row < tokens; row++)
        simd->softmax(scratch->scores + row * tokens, tokens, 1.0F / sqrtf((float)depth));
    dj_gemm_pack_columns(qkv + 2 * hidden, 3 * hidden, depth, tokens, scratch->values);
    simd->gemm_f32(&(struct dj_gemm){.a = scratch->scores,
                                     .a_stride = tokens,
                                     .m = tokens,
                                     .packed = scratch->values,
                                     .n = depth,
                                     .k = tokens,
                                     .out = out,
                                     .out_stride = hidden,
                                     .scratch = scratch->packed});
}

static void linear(const struct dj_transformer_scratch *scratch, size_t tokens, const float *in,
                   const float *const weights[2], const size_t sides[2], float *out)
{
    dj_simd()->gemm_f32(&(struct dj_gemm){.a = in,
                                          .a_stride = sides[1],
                                          .m = tokens,
                                          .packed = weights[0],
                                          .n = sides[0],
                                          .k = sides[1],
                                          .bias = weights[1],
                                          .out = out,
                                          .out_stride = sides[0],
                                          .scratch = scratch->packed});
}

static void add_and_norm(const struct dj_transformer_scratch *scratch, size_t tokens, size_t hidden,
                         const float *const norm[2], float epsilon)
{
    for (size_t row = 0; row < tokens; row++)
        dj_simd()->layer_norm(scratch->state + row * hidden, scratch->change + row * hidden,
                              norm[0], norm[1], hidden, epsilon);
}

static void run_layer(const struct dj_bert_config *config, const struct dj_transformer_layer *layer,
                      const struct dj_transformer_batch *batch,
                      const struct dj_transformer_scratch *scratch)
{
    size_t hidden = config->hidden;
    size_t inner = config->intermediate;
    size_t depth = hidden / config->heads;
    size_t tokens = batch->begins[batch->count];
    const float *const qkv[2] = {layer->qkv, layer->qkv_bias};
    const float *const mix[2] = {layer->mix, layer->mix_bias};
    const float *const mix_norm[2] = {layer->mix_gain, layer->mix_shift};
    const float *const up[2] = {layer->up, layer->up_bias};
    const float *const down[2] = {layer->down, layer->down_bias};
    const float *const down_norm[2] = {layer->down_gain, layer->down_shift};

    linear(scratch, tokens, scratch->state, qkv, (const size_t[2]){3 * hidden, hidden},
           scratch->wide);
    for (uint32_t s = 0; s < batch->count; s++) {
        size_t begin = batch->begins[s];
        for (size_t head = 0; head < config->heads; head++)
            attend(scratch, scratch->wide + begin * 3 * hidden + head * depth, hidden, depth,
                   batch->begins[s + 1] - begin, scratch->change + begin * hidden + head * depth);
    }
    /* the heads' outputs lie in change; what mix makes of them passes through wide */
    linear(scratch, tokens, scratch->change, mix, (const size_t[2]){hidden, hidden}, scratch->wide);
    memcpy(scratch->change, scratch->wide, tokens * hidden * sizeof(float));
    add_and_norm(scratch, tokens, hidden, mix_norm, config->layer_norm_epsilon);
    linear(scratch, tokens, scratch->state, up, (const size_t[2]){inner, hidden}, scratch->wide);
    dj_simd()->gelu(scratch->wide, tokens * inner);
    linear(scratch, tokens, scratch->wide, down, (const size_t[2]){hidden, inner}, scratch->change);
    add_and_norm(scratch, tokens, hidden, down_norm, config->layer_norm_epsilon);
}

/* The mean's factor is lost in the unit length, so the sum will do. */
static bool pool_tokens(const struct dj_transformer_batch *batch, const float *state, size_t hidden,
                        float *out)
{
    memset(out, 0, batch->count * hidden * sizeof *out);
    for (uint32_t s = 0; s < batch->count; s++, out += hidden) {
        for (uint32_t at = batch->begins[s]; at < batch->begins[s + 1]; at++)
            dj_simd()->add(out, state + at * hidden, hidden);
        if (!dj_simd_normalise(out, hidden))
            return false;
    }
    return true;
}

enum deja_status dj_transformer_forward(struct dj_transformer *transformer,
                                        const struct dj_transformer_batch *batch, float *out)
{
    const struct dj_transformer_weights *weights = &transformer->weights;
    struct dj_transformer_scratch *scratch =
        scratch_acquire(transformer, batch->begins[batch->count]);
    if (!scratch)
        return DEJA_ERR_NOMEM;
    look_up(weights, batch, scratch->state);
    for (uint32_t i = 0; i < weights->config.layers; i++)
        run_layer(&weights->config, &weights->layers[i], batch, scratch);
    bool is_finite = pool_tokens(batch, scratch->state, weights->config.hidden, out);
    scratch_release(transformer, scratch);
    return is_finite ? DEJA_OK : DEJA_ERR_CORRUPT;
}
