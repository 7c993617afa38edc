/* proto/safetensors.c - see safetensors.h. Trust: untrusted. */
#include "proto/safetensors.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "proto/half.h"
#include "proto/json_internal.h"

enum { LENGTH_BYTES = 8, HEADER_BYTES_MAX = 16 << 20, TENSORS_MAX = 65536, NAME_BYTES_MAX = 512 };

struct dj_safetensors {
    struct dj_arena arena; /* names and tensors */
    struct dj_tensor *tensors;
    size_t count;
};

static const struct {
    const char *name;
    uint32_t size; /* bytes of one element */
    enum dj_dtype dtype;
} dtypes[] = {
    {"F32", 4, DJ_DTYPE_F32},    {"F16", 2, DJ_DTYPE_F16},   {"BF16", 2, DJ_DTYPE_BF16},
    {"F64", 8, DJ_DTYPE_OTHER},  {"I64", 8, DJ_DTYPE_OTHER}, {"U64", 8, DJ_DTYPE_OTHER},
    {"I32", 4, DJ_DTYPE_OTHER},  {"U32", 4, DJ_DTYPE_OTHER}, {"I16", 2, DJ_DTYPE_OTHER},
    {"U16", 2, DJ_DTYPE_OTHER},  {"I8", 1, DJ_DTYPE_OTHER},  {"U8", 1, DJ_DTYPE_OTHER},
    {"BOOL", 1, DJ_DTYPE_OTHER},
};

/* Size of one element, 0 for an unknown type. */
static uint32_t read_dtype(yyjson_val *value, enum dj_dtype *out_dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (yyjson_equals_str(value, dtypes[i].name)) {
            *out_dtype = dtypes[i].dtype;
            return dtypes[i].size;
        }
    }
    return 0;
}

static bool read_shape(yyjson_val *value, struct dj_tensor *tensor)
{
    if (!yyjson_is_arr(value) || yyjson_arr_size(value) > DJ_TENSOR_RANK_MAX)
        return false;
    tensor->count = 1;
    yyjson_arr_iter iter = yyjson_arr_iter_with(value);
    for (yyjson_val *side = yyjson_arr_iter_next(&iter); side; side = yyjson_arr_iter_next(&iter)) {
        uint64_t len = yyjson_get_uint(side);
        if (!yyjson_is_uint(side) || __builtin_mul_overflow(tensor->count, len, &tensor->count))
            return false;
        tensor->shape[tensor->rank++] = len;
    }
    return true;
}

/* name and value are of the header; data is what follows it in the file. */
static enum deja_status read_tensor(struct dj_safetensors *tensors, yyjson_val *name,
                                    yyjson_val *value, struct deja_slice data,
                                    struct deja_error *error)
{
    struct dj_tensor tensor = {0};
    struct deja_slice text = deja_slice(yyjson_get_str(name), yyjson_get_len(name));
    int shown = text.len < 100 ? (int)text.len : 100;
    uint32_t size = read_dtype(yyjson_obj_get(value, "dtype"), &tensor.dtype);
    yyjson_val *offsets = yyjson_obj_get(value, "data_offsets");
    yyjson_val *begin = yyjson_arr_get(offsets, 0);
    yyjson_val *end = yyjson_arr_get(offsets, 1);
    if (text.len > NAME_BYTES_MAX || !size ||
        !read_shape(yyjson_obj_get(value, "shape"), &tensor) || yyjson_arr_size(offsets) != 2 ||
        !yyjson_is_uint(begin) || !yyjson_is_uint(end))
        return deja_error_set(error, DEJA_ERR_INVALID, "weights: tensor \"%.*s\" is not described",
                              shown, text.data);
    uint64_t first = yyjson_get_uint(begin);
    uint64_t past = yyjson_get_uint(end);
    uint64_t bytes = 0;
    if (first > past || past > data.len || __builtin_mul_overflow(tensor.count, size, &bytes) ||
        bytes != past - first)
        return deja_error_set(error, DEJA_ERR_INVALID,
                              "weights: tensor \"%.*s\" does not lie in the file", shown,
                              text.data);
    tensor.name = dj_arena_copy(&tensors->arena, text);
    if (text.len && !tensor.name.data)
        return deja_error_set(error, DEJA_ERR_NOMEM, "weights: out of memory");
    tensor.bytes = deja_slice(data.data + first, past - first);
    tensors->tensors[tensors->count++] = tensor;
    return DEJA_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct dj_tensor *x = a;
    const struct dj_tensor *y = b;
    if (x->bytes.data != y->bytes.data)
        return x->bytes.data < y->bytes.data ? -1 : 1;
    return (x->bytes.len > y->bytes.len) - (x->bytes.len < y->bytes.len);
}

static int compare_slices(struct deja_slice a, struct deja_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_names(const void *a, const void *b)
{
    return compare_slices(((const struct dj_tensor *)a)->name, ((const struct dj_tensor *)b)->name);
}

/* Leaves the tensors sorted by name. */
static enum deja_status check_layout(struct dj_safetensors *tensors, struct deja_slice data,
                                     struct deja_error *error)
{
    qsort(tensors->tensors, tensors->count, sizeof *tensors->tensors, compare_places);
    const char *at = data.data;
    for (size_t i = 0; i < tensors->count; i++) {
        if (tensors->tensors[i].bytes.data != at)
            return deja_error_set(error, DEJA_ERR_INVALID,
                                  "weights: tensors overlap or leave gaps");
        at += tensors->tensors[i].bytes.len;
    }
    if (at != data.data + data.len)
        return deja_error_set(error, DEJA_ERR_INVALID, "weights: bytes after the last tensor");
    qsort(tensors->tensors, tensors->count, sizeof *tensors->tensors, compare_names);
    for (size_t i = 1; i < tensors->count; i++) {
        if (!compare_names(&tensors->tensors[i - 1], &tensors->tensors[i]))
            return deja_error_set(error, DEJA_ERR_INVALID, "weights: a tensor is named twice");
    }
    return DEJA_OK;
}

static enum deja_status read_header(struct dj_safetensors *tensors, yyjson_val *root,
                                    struct deja_slice data, struct deja_error *error)
{
    if (!yyjson_is_obj(root))
        return deja_error_set(error, DEJA_ERR_INVALID, "weights: the header is no JSON object");
    size_t count = yyjson_obj_size(root);
    if (count > TENSORS_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "weights: %zu tensors, at most %d", count,
                              TENSORS_MAX);
    tensors->tensors = dj_arena_alloc(&tensors->arena, (count + 1) * sizeof *tensors->tensors);
    if (!tensors->tensors)
        return deja_error_set(error, DEJA_ERR_NOMEM, "weights: out of memory");
    yyjson_obj_iter iter = yyjson_obj_iter_with(root);
    for (yyjson_val *key = yyjson_obj_iter_next(&iter); key; key = yyjson_obj_iter_next(&iter)) {
        if (yyjson_equals_str(key, "__metadata__"))
            continue;
        enum deja_status status =
            read_tensor(tensors, key, yyjson_obj_iter_get_val(key), data, error);
        if (status != DEJA_OK)
            return status;
    }
    return check_layout(tensors, data, error);
}

enum deja_status dj_safetensors_parse(struct deja_slice file, struct dj_safetensors **out_tensors,
                                      struct deja_error *error)
{
    if (file.len < LENGTH_BYTES)
        return deja_error_set(error, DEJA_ERR_INVALID, "weights: the file is too short");
    uint64_t header_len = 0;
    for (size_t i = LENGTH_BYTES; i-- > 0;)
        header_len = header_len << 8 | (unsigned char)file.data[i];
    if (header_len > HEADER_BYTES_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "weights: header larger than 16 MB");
    if (header_len > file.len - LENGTH_BYTES)
        return deja_error_set(error, DEJA_ERR_INVALID, "weights: the header is cut off");
    struct dj_safetensors *tensors = dj_alloc_zeroed(1, sizeof *tensors);
    if (!tensors)
        return deja_error_set(error, DEJA_ERR_NOMEM, "weights: out of memory");
    dj_arena_init(&tensors->arena, 0);

    yyjson_read_err failure = {0};
    enum deja_status status = DEJA_OK;
    /* without the in-situ flag the parser copies, so the cast does not let it write */
    union {
        const char *borrowed;
        char *passed;
    } header = {.borrowed = file.data + LENGTH_BYTES};
    yyjson_doc *doc =
        yyjson_read_opts(header.passed, (size_t)header_len, 0, &dj_json_allocator, &failure);
    if (!doc) {
        bool is_memory = failure.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION;
        status = deja_error_set(error, is_memory ? DEJA_ERR_NOMEM : DEJA_ERR_INVALID,
                                "weights: header: %s at byte %zu",
                                failure.msg ? failure.msg : "unreadable", failure.pos);
        goto done;
    }
    size_t data_at = LENGTH_BYTES + (size_t)header_len;
    status = read_header(tensors, yyjson_doc_get_root(doc),
                         deja_slice(file.data + data_at, file.len - data_at), error);
done:
    yyjson_doc_free(doc);
    if (status != DEJA_OK) {
        dj_safetensors_destroy(tensors);
        return status;
    }
    *out_tensors = tensors;
    return DEJA_OK;
}

void dj_safetensors_destroy(struct dj_safetensors *tensors)
{
    if (!tensors)
        return;
    dj_arena_fini(&tensors->arena);
    dj_free(tensors);
}

size_t dj_safetensors_count(const struct dj_safetensors *tensors)
{
    return tensors->count;
}

const struct dj_tensor *dj_safetensors_at(const struct dj_safetensors *tensors, size_t index)
{
    return index < tensors->count ? &tensors->tensors[index] : NULL;
}

const struct dj_tensor *dj_safetensors_find(const struct dj_safetensors *tensors,
                                            struct deja_slice name)
{
    size_t low = 0;
    size_t high = tensors->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_slices(tensors->tensors[middle].name, name);
        if (!order)
            return &tensors->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static uint32_t little_endian(const unsigned char *at, size_t size)
{
    uint32_t value = 0;
    while (size-- > 0)
        value = value << 8 | at[size];
    return value;
}

bool dj_tensor_read(const struct dj_tensor *tensor, uint64_t first, uint64_t count, float *out)
{
    if (tensor->dtype == DJ_DTYPE_OTHER || first > tensor->count || count > tensor->count - first)
        return false;
    const unsigned char *at = (const unsigned char *)tensor->bytes.data;
    size_t size = tensor->dtype == DJ_DTYPE_F32 ? 4 : 2;
    at += (size_t)first * size;
    for (size_t i = 0; i < count; i++, at += size) {
        uint32_t bits = little_endian(at, size);
        if (tensor->dtype == DJ_DTYPE_F32)
            memcpy(&out[i], &bits, sizeof bits);
        else if (tensor->dtype == DJ_DTYPE_F16)
            out[i] = dj_f16_to_f32((uint16_t)bits);
        else
            out[i] = dj_bf16_to_f32((uint16_t)bits);
    }
    return true;
}
