/* proto/safetensors.h - the tensors of a safetensors file.
 *
 * File: u64 header length (little endian), header (JSON: name -> dtype, shape, data_offsets), data.
 * Trust: untrusted, the file may come from anywhere. Checked: header at most 16 MB and inside the
 * file, at most 65,536 tensors of rank at most 8, names once, shape * dtype equal to the bytes,
 * bytes inside the file, and the data covered without overlap or hole, as the format asks.
 * Threads: immutable once parsed.
 */
#ifndef DJ_PROTO_SAFETENSORS_H
#define DJ_PROTO_SAFETENSORS_H

#include <deja/base.h>

enum { DJ_TENSOR_RANK_MAX = 8 };

enum dj_dtype {
    DJ_DTYPE_F32,
    DJ_DTYPE_F16,
    DJ_DTYPE_BF16,
    DJ_DTYPE_OTHER, /* known to the format, not read here */
};

struct dj_tensor {
    struct deja_slice name; /* the parse's */
    enum dj_dtype dtype;
    uint32_t rank;
    uint64_t shape[DJ_TENSOR_RANK_MAX];
    uint64_t count;          /* of elements */
    struct deja_slice bytes; /* in the file's bytes; not aligned */
};

struct dj_safetensors;

/* file is borrowed until destroy. DEJA_ERR_INVALID, DEJA_ERR_LIMIT, DEJA_ERR_NOMEM. */
enum deja_status dj_safetensors_parse(struct deja_slice file, struct dj_safetensors **out_tensors,
                                      struct deja_error *error) DEJA_NODISCARD;
void dj_safetensors_destroy(struct dj_safetensors *tensors); /* accepts NULL */

size_t dj_safetensors_count(const struct dj_safetensors *tensors);
const struct dj_tensor *dj_safetensors_at(const struct dj_safetensors *tensors,
                                          size_t index); /* by name */
const struct dj_tensor *dj_safetensors_find(const struct dj_safetensors *tensors,
                                            struct deja_slice name); /* NULL: not there */

/* Elements first … first + count - 1, converted; false when the dtype cannot be read as float or
 * the range is not inside the tensor (out untouched). */
bool dj_tensor_read(const struct dj_tensor *tensor, uint64_t first, uint64_t count,
                    float *out) DEJA_NODISCARD;

#endif
