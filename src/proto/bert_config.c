/* proto/bert_config.c - see bert_config.h. Trust: untrusted. */
#include "proto/bert_config.h"

#include "proto/json_internal.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

static enum deja_status read_size(yyjson_val *root, const char *name, uint32_t min, uint32_t max,
                                  uint32_t *out_value, struct deja_error *error)
{
    yyjson_val *value = yyjson_obj_get(root, name);
    uint64_t number = yyjson_get_uint(value);
    if (!yyjson_is_uint(value) || number < min || number > max)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "config.json: %s must be a number from %u to %u", name, min, max);
    *out_value = (uint32_t)number;
    return DEJA_OK;
}

/* Absent is fine, another value is not. */
static enum deja_status check_kind(yyjson_val *root, const char *name, const char *wanted,
                                   struct deja_error *error)
{
    yyjson_val *value = yyjson_obj_get(root, name);
    if (!value || yyjson_is_null(value) || yyjson_equals_str(value, wanted))
        return DEJA_OK;
    return deja_error_set(error, DEJA_ERR_UNSUPPORTED, "config.json: %s other than \"%s\"", name,
                          wanted);
}

static enum deja_status read_config(yyjson_val *root, struct dj_bert_config *config,
                                    struct deja_error *error)
{
    static const struct {
        const char *name;
        uint32_t min;
        uint32_t max;
        size_t offset;
    } sizes[] = {
        {"num_hidden_layers", 1, 48, offsetof(struct dj_bert_config, layers)},
        {"num_attention_heads", 1, 256, offsetof(struct dj_bert_config, heads)},
        {"hidden_size", 1, 4096, offsetof(struct dj_bert_config, hidden)},
        {"intermediate_size", 1, 16384, offsetof(struct dj_bert_config, intermediate)},
        {"max_position_embeddings", 3, 8192, offsetof(struct dj_bert_config, positions)},
        {"vocab_size", 1, 1000000, offsetof(struct dj_bert_config, vocabulary)},
        {"type_vocab_size", 1, 16, offsetof(struct dj_bert_config, token_types)},
    };
    static const struct {
        const char *name;
        const char *wanted;
    } kinds[] = {
        {"model_type", "bert"},
        {"hidden_act", "gelu"},
        {"position_embedding_type", "absolute"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        enum deja_status status = check_kind(root, kinds[i].name, kinds[i].wanted, error);
        if (status != DEJA_OK)
            return status;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t value = 0;
        enum deja_status status =
            read_size(root, sizes[i].name, sizes[i].min, sizes[i].max, &value, error);
        if (status != DEJA_OK)
            return status;
        memcpy((char *)config + sizes[i].offset, &value, sizeof value);
    }
    yyjson_val *epsilon = yyjson_obj_get(root, "layer_norm_eps");
    float value = (float)(epsilon ? yyjson_get_num(epsilon) : 1e-12);
    /* Also what is only 0 as a float: a row of equal numbers would be divided by it. */
    if (!(value > 0.0F && value <= 1.0F))
        return deja_error_set(error, DEJA_ERR_INVALID, "config.json: layer_norm_eps");
    config->layer_norm_epsilon = value;
    if (config->hidden % config->heads)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "config.json: hidden_size is no multiple of num_attention_heads");
    return DEJA_OK;
}

enum deja_status dj_bert_config_parse(struct deja_slice text, struct dj_bert_config *out_config,
                                      struct deja_error *error)
{
    if (text.len > CONFIG_BYTES_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "config.json: larger than 1 MB");
    yyjson_read_err failure = {0};
    /* without the in-situ flag the parser copies, so the cast does not let it write */
    union {
        const char *borrowed;
        char *passed;
    } source = {.borrowed = text.len ? text.data : ""};
    yyjson_doc *doc = yyjson_read_opts(source.passed, text.len, 0, &dj_json_allocator, &failure);
    if (!doc) {
        bool is_memory = failure.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION;
        return deja_error_set(error, is_memory ? DEJA_ERR_NOMEM : DEJA_ERR_INVALID,
                              "config.json: %s at byte %zu",
                              failure.msg ? failure.msg : "unreadable", failure.pos);
    }
    struct dj_bert_config config = {0};
    yyjson_val *root = yyjson_doc_get_root(doc);
    enum deja_status status =
        yyjson_is_obj(root)
            ? read_config(root, &config, error)
            : deja_error_set(error, DEJA_ERR_INVALID, "config.json: not a JSON object");
    yyjson_doc_free(doc);
    if (status == DEJA_OK)
        *out_config = config;
    return status;
}
