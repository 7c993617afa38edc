/* A model's files may come from anywhere. The first byte says which: weights (1: only the header is
 * given, its length and the data are made to fit), config.json, vocabulary and a text.
 */
#include "fuzz.h"

#include <math.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "embed/tokenizer.h"
#include "proto/bert_config.h"
#include "proto/safetensors.h"

#define IDS_MAX 64u

static void check_tensor(const struct dj_safetensors *tensors, struct deja_slice file, size_t index)
{
    const struct dj_tensor *tensor = dj_safetensors_at(tensors, index);
    float values[4];
    uint64_t count = 1;
    FUZZ_CHECK(tensor && tensor->rank <= DJ_TENSOR_RANK_MAX);
    FUZZ_CHECK(dj_safetensors_find(tensors, tensor->name) == tensor);
    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    FUZZ_CHECK(count == tensor->count);
    FUZZ_CHECK(tensor->bytes.data >= file.data &&
               tensor->bytes.data + tensor->bytes.len <= file.data + file.len);
    FUZZ_CHECK(!dj_tensor_read(tensor, tensor->count, 1, values));
    FUZZ_CHECK(!dj_tensor_read(tensor, 1, UINT64_MAX, values));
    if (tensor->dtype == DJ_DTYPE_OTHER)
        return;
    FUZZ_CHECK(tensor->bytes.len == tensor->count * (tensor->dtype == DJ_DTYPE_F32 ? 4 : 2));
    if (tensor->count)
        FUZZ_CHECK(dj_tensor_read(tensor, tensor->count - 1, 1, values));
}

static void check_weights(struct deja_slice file)
{
    struct dj_safetensors *tensors = NULL;
    struct deja_error error = {""};
    if (dj_safetensors_parse(file, &tensors, &error) != DEJA_OK) {
        FUZZ_CHECK(!tensors && error.message[0]);
        return;
    }
    size_t covered = 0;
    for (size_t i = 0; i < dj_safetensors_count(tensors); i++) {
        check_tensor(tensors, file, i);
        covered += dj_safetensors_at(tensors, i)->bytes.len;
    }
    FUZZ_CHECK(covered + 8 <= file.len); /* no byte belongs to two */
    dj_safetensors_destroy(tensors);
}

/* Eight bytes of length in front, as much data behind as the second byte says. */
static void check_header(const uint8_t *data, size_t len)
{
    struct dj_buf file = {0};
    size_t header_len = len - 1;
    for (unsigned i = 0; i < 8; i++)
        dj_buf_append_byte(&file, (char)(header_len >> (8 * i)));
    dj_buf_append(&file, data + 1, header_len);
    for (unsigned i = 0; i < data[0]; i++)
        dj_buf_append_byte(&file, (char)i);
    if (file.status == DEJA_OK)
        check_weights(dj_buf_slice(&file));
    dj_buf_fini(&file);
}

static void check_config(struct deja_slice text)
{
    struct dj_bert_config config = {0};
    struct deja_error error = {""};
    if (dj_bert_config_parse(text, &config, &error) != DEJA_OK) {
        FUZZ_CHECK(config.layers == 0 && error.message[0]);
        return;
    }
    FUZZ_CHECK(config.layers >= 1 && config.layers <= 48);
    FUZZ_CHECK(config.hidden >= 1 && config.hidden <= 4096);
    FUZZ_CHECK(config.heads >= 1 && config.hidden % config.heads == 0);
    FUZZ_CHECK(config.intermediate >= 1 && config.intermediate <= 16384);
    FUZZ_CHECK(config.positions >= 3 && config.positions <= 8192);
    FUZZ_CHECK(config.vocabulary >= 1 && config.vocabulary <= 1000000);
    FUZZ_CHECK(config.token_types >= 1 && config.token_types <= 16);
    FUZZ_CHECK(isfinite(config.layer_norm_epsilon) && config.layer_norm_epsilon > 0);
}

/* The vocabulary ends at the first NUL, the text begins behind it. */
static void check_tokenizer(struct deja_slice bytes)
{
    const char *end = memchr(bytes.data, 0, bytes.len);
    size_t vocab_len = end ? (size_t)(end - bytes.data) : bytes.len;
    struct deja_slice text = end ? deja_slice(end + 1, bytes.len - vocab_len - 1)
                                 : deja_slice_text("How do I embed this?");
    struct dj_tokenizer *tokenizer = NULL;
    struct deja_error error = {""};
    uint32_t ids[IDS_MAX];
    uint32_t cut[IDS_MAX];
    if (dj_tokenizer_create(deja_slice(bytes.data, vocab_len), &tokenizer, &error) != DEJA_OK) {
        FUZZ_CHECK(!tokenizer && error.message[0]);
        return;
    }
    uint32_t count = dj_tokenizer_encode(tokenizer, text, IDS_MAX, ids);
    FUZZ_CHECK(count >= 2 && count <= IDS_MAX);
    for (uint32_t i = 0; i < count; i++)
        FUZZ_CHECK(ids[i] < dj_tokenizer_count(tokenizer));
    /* A cut encoding is the start of the whole one, and ends as it does. */
    for (uint32_t cap = 2; cap < count; cap++) {
        FUZZ_CHECK(dj_tokenizer_encode(tokenizer, text, cap, cut) == cap);
        FUZZ_CHECK(memcmp(cut, ids, (cap - 1) * sizeof *ids) == 0);
        FUZZ_CHECK(cut[cap - 1] == ids[count - 1]);
    }
    dj_tokenizer_destroy(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3 || len > 65536)
        return 0;
    struct deja_slice rest = deja_slice(data + 1, len - 1);
    switch (data[0] % 4) {
    case 0:
        check_weights(rest);
        break;
    case 1:
        check_header(data + 1, len - 1);
        break;
    case 2:
        check_config(rest);
        break;
    default:
        check_tokenizer(rest);
    }
    return 0;
}
