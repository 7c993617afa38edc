/* embed/transformer_load.c - from tensors in a file to packed weights in memory.
 *
 * Sizes were bounded by bert_config; every tensor must be there with exactly the shape they ask
 * for, so nothing larger than the file is ever allocated. Trust: untrusted.
 */
#include "embed/transformer_internal.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "proto/half.h"
#include "proto/safetensors.h"
#include "simd/simd.h"

struct loader {
    struct dj_safetensors *file;
    const char *prefix; /* "" or "bert." */
    float *next;        /* in the block of floats */
    float *staging;     /* owned; the largest matrix, as stored */
    struct deja_error *error;
};

/* The tensor [rows][columns], or [columns] when rows is 0. */
static enum deja_status find(struct loader *loader, const char *name, uint64_t rows,
                             uint64_t columns, const struct dj_tensor **out_tensor)
{
    char full[128];
    int len = snprintf(full, sizeof full, "%s%s", loader->prefix, name);
    const struct dj_tensor *tensor =
        dj_safetensors_find(loader->file, deja_slice(full, (size_t)len));
    if (!tensor)
        return deja_error_set(loader->error, DEJA_ERR_INVALID, "weights: no tensor %s", full);
    bool is_right =
        rows ? tensor->rank == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns
             : tensor->rank == 1 && tensor->shape[0] == columns;
    if (!is_right)
        return deja_error_set(loader->error, DEJA_ERR_INVALID,
                              "weights: %s is not of the size config.json gives", full);
    if (tensor->dtype == DJ_DTYPE_OTHER)
        return deja_error_set(loader->error, DEJA_ERR_UNSUPPORTED,
                              "weights: %s is neither F32, F16 nor BF16", full);
    *out_tensor = tensor;
    return DEJA_OK;
}

static enum deja_status read_floats(struct loader *loader, const struct dj_tensor *tensor,
                                    uint64_t first, uint64_t count, float *out)
{
    bool is_finite = dj_tensor_read(tensor, first, count, out);
    for (uint64_t i = 0; is_finite && i < count; i++)
        is_finite = isfinite(out[i]);
    if (is_finite)
        return DEJA_OK;
    return deja_error_set(loader->error, DEJA_ERR_INVALID, "weights: %.*s holds NaN or infinity",
                          (int)tensor->name.len, tensor->name.data);
}

static enum deja_status load_vector(struct loader *loader, const char *name, uint32_t len,
                                    float **out_vector)
{
    const struct dj_tensor *tensor = NULL;
    enum deja_status status = find(loader, name, 0, len, &tensor);
    if (status == DEJA_OK)
        status = read_floats(loader, tensor, 0, len, loader->next);
    if (status == DEJA_OK) {
        *out_vector = loader->next;
        loader->next += len;
    }
    return status;
}

/* Linear layer name.weight [n][k] and name.bias [n], packed. */
static enum deja_status load_linear(struct loader *loader, const char *name, uint32_t n, uint32_t k,
                                    float *out[2])
{
    char full[128];
    const struct dj_tensor *tensor = NULL;
    (void)snprintf(full, sizeof full, "%s.weight", name);
    enum deja_status status = find(loader, full, n, k, &tensor);
    if (status == DEJA_OK)
        status = read_floats(loader, tensor, 0, (uint64_t)n * k, loader->staging);
    if (status != DEJA_OK)
        return status;
    out[0] = loader->next;
    dj_gemm_pack_rows(loader->staging, k, n, k, out[0]);
    loader->next += dj_gemm_packed_len(n, k);
    (void)snprintf(full, sizeof full, "%s.bias", name);
    return load_vector(loader, full, n, &out[1]);
}

static enum deja_status load_norm(struct loader *loader, const char *name, uint32_t len,
                                  float *out[2])
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    enum deja_status status = load_vector(loader, full, len, &out[0]);
    if (status != DEJA_OK)
        return status;
    (void)snprintf(full, sizeof full, "%s.bias", name);
    return load_vector(loader, full, len, &out[1]);
}

/* Three matrices of the file become one of three times the rows. */
static enum deja_status load_qkv(struct loader *loader, uint32_t index, uint32_t hidden,
                                 struct dj_transformer_layer *layer)
{
    static const char *const names[] = {"query", "key", "value"};
    char full[128];
    const struct dj_tensor *tensor = NULL;
    size_t one = (size_t)hidden * hidden;
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(full, sizeof full, "encoder.layer.%u.attention.self.%s.weight", index,
                       names[i]);
        enum deja_status status = find(loader, full, hidden, hidden, &tensor);
        if (status == DEJA_OK)
            status = read_floats(loader, tensor, 0, one, loader->staging + i * one);
        if (status != DEJA_OK)
            return status;
    }
    layer->qkv = loader->next;
    dj_gemm_pack_rows(loader->staging, hidden, (size_t)hidden * 3, hidden, layer->qkv);
    loader->next += dj_gemm_packed_len((size_t)hidden * 3, hidden);
    layer->qkv_bias = loader->next;
    for (size_t i = 0; i < 3; i++) {
        float *bias = NULL;
        (void)snprintf(full, sizeof full, "encoder.layer.%u.attention.self.%s.bias", index,
                       names[i]);
        enum deja_status status = load_vector(loader, full, hidden, &bias);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status load_layer(struct loader *loader, uint32_t index,
                                   const struct dj_bert_config *config,
                                   struct dj_transformer_layer *layer)
{
    char name[96];
    float *parts[5][2] = {{NULL}};
    uint32_t hidden = config->hidden;
    const struct {
        const char *name;
        uint32_t n;
        uint32_t k; /* 0: a layer norm */
    } plan[5] = {
        {"attention.output.dense", hidden, hidden},
        {"attention.output.LayerNorm", hidden, 0},
        {"intermediate.dense", config->intermediate, hidden},
        {"output.dense", hidden, config->intermediate},
        {"output.LayerNorm", hidden, 0},
    };
    enum deja_status status = load_qkv(loader, index, hidden, layer);
    for (size_t i = 0; i < 5 && status == DEJA_OK; i++) {
        (void)snprintf(name, sizeof name, "encoder.layer.%u.%s", index, plan[i].name);
        status = plan[i].k ? load_linear(loader, name, plan[i].n, plan[i].k, parts[i])
                           : load_norm(loader, name, plan[i].n, parts[i]);
    }
    if (status != DEJA_OK)
        return status;
    layer->mix = parts[0][0];
    layer->mix_bias = parts[0][1];
    layer->mix_gain = parts[1][0];
    layer->mix_shift = parts[1][1];
    layer->up = parts[2][0];
    layer->up_bias = parts[2][1];
    layer->down = parts[3][0];
    layer->down_bias = parts[3][1];
    layer->down_gain = parts[4][0];
    layer->down_shift = parts[4][1];
    return DEJA_OK;
}

static enum deja_status load_embeddings(struct loader *loader,
                                        struct dj_transformer_weights *weights)
{
    const struct dj_bert_config *config = &weights->config;
    uint32_t hidden = config->hidden;
    const struct dj_tensor *words = NULL;
    const struct dj_tensor *places = NULL;
    const struct dj_tensor *types = NULL;
    float *norm[2] = {NULL, NULL};
    enum deja_status status =
        find(loader, "embeddings.word_embeddings.weight", config->vocabulary, hidden, &words);
    if (status == DEJA_OK)
        status = find(loader, "embeddings.position_embeddings.weight", config->positions, hidden,
                      &places);
    if (status == DEJA_OK)
        status = find(loader, "embeddings.token_type_embeddings.weight", config->token_types,
                      hidden, &types);
    if (status != DEJA_OK)
        return status;
    weights->words = dj_alloc((size_t)config->vocabulary * hidden * sizeof *weights->words);
    if (!weights->words)
        return deja_error_set(loader->error, DEJA_ERR_NOMEM, "weights: out of memory");
    for (uint32_t id = 0; id < config->vocabulary; id++) {
        size_t first = (size_t)id * hidden;
        status = read_floats(loader, words, first, hidden, loader->staging);
        if (status != DEJA_OK)
            return status;
        for (uint32_t i = 0; i < hidden; i++)
            weights->words[first + i] = dj_f16_from_f32(loader->staging[i]);
    }
    weights->places = loader->next;
    size_t places_len = (size_t)weights->ids_max * hidden;
    status = read_floats(loader, places, 0, places_len, weights->places);
    if (status == DEJA_OK)
        status = read_floats(loader, types, 0, hidden, loader->staging);
    if (status != DEJA_OK)
        return status;
    for (uint32_t place = 0; place < weights->ids_max; place++)
        dj_simd()->add(weights->places + (size_t)place * hidden, loader->staging, hidden);
    loader->next += places_len;
    status = load_norm(loader, "embeddings.LayerNorm", hidden, norm);
    weights->gain = norm[0];
    weights->shift = norm[1];
    return status;
}

static size_t count_floats(const struct dj_transformer_weights *weights)
{
    size_t hidden = weights->config.hidden;
    size_t inner = weights->config.intermediate;
    size_t layer = dj_gemm_packed_len(3 * hidden, hidden) + dj_gemm_packed_len(hidden, hidden) +
                   dj_gemm_packed_len(inner, hidden) + dj_gemm_packed_len(hidden, inner) +
                   9 * hidden + inner;
    return weights->config.layers * layer + (weights->ids_max + (size_t)2) * hidden;
}

/* Before the block is allocated: the file must at least hold that many elements. */
static bool is_plausible(const struct dj_transformer_weights *weights, struct deja_slice file)
{
    uint64_t hidden = weights->config.hidden;
    uint64_t inner = weights->config.intermediate;
    uint64_t elements = weights->config.layers * (4 * hidden * hidden + 2 * hidden * inner) +
                        weights->config.vocabulary * hidden + weights->config.positions * hidden;
    return elements <= file.len / 2;
}

enum deja_status dj_transformer_load(struct dj_transformer_weights *weights, struct deja_slice file,
                                     struct deja_error *error)
{
    const struct dj_bert_config *config = &weights->config;
    struct loader loader = {.error = error};
    enum deja_status status = dj_safetensors_parse(file, &loader.file, error);
    if (status != DEJA_OK)
        return status;
    if (!is_plausible(weights, file)) {
        status = deja_error_set(error, DEJA_ERR_INVALID,
                                "weights: the file is smaller than config.json says");
        goto done;
    }
    const char *probe = "bert.embeddings.LayerNorm.weight";
    loader.prefix = dj_safetensors_find(loader.file, deja_slice_text(probe)) ? "bert." : "";
    size_t widest = config->intermediate > 3 * config->hidden ? config->intermediate
                                                              : (size_t)3 * config->hidden;
    loader.staging = dj_alloc(widest * config->hidden * sizeof *loader.staging);
    weights->layers = dj_alloc_zeroed(config->layers, sizeof *weights->layers);
    weights->floats =
        dj_alloc_aligned(DJ_TRANSFORMER_ALIGNMENT, count_floats(weights) * sizeof(float));
    if (!loader.staging || !weights->layers || !weights->floats) {
        status = deja_error_set(error, DEJA_ERR_NOMEM, "weights: out of memory");
        goto done;
    }
    loader.next = weights->floats;
    for (uint32_t i = 0; i < config->layers && status == DEJA_OK; i++)
        status = load_layer(&loader, i, config, &weights->layers[i]);
    if (status == DEJA_OK)
        status = load_embeddings(&loader, weights);
done:
    dj_free(loader.staging);
    dj_safetensors_destroy(loader.file);
    return status;
}

void dj_transformer_weights_fini(struct dj_transformer_weights *weights)
{
    dj_free(weights->words);
    dj_free(weights->floats);
    dj_free(weights->layers);
    weights->words = NULL;
    weights->floats = NULL;
    weights->layers = NULL;
}
