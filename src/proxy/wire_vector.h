/* proxy/wire_vector.h - a vector as embeddings APIs send it.
 *
 * Trust: untrusted. Threads: any.
 */
#ifndef DJ_PROXY_WIRE_VECTOR_H
#define DJ_PROXY_WIRE_VECTOR_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/json.h"

#define DJ_WIRE_VECTOR_DIM_MAX 16384u

/* Appends its floats (as bytes, this machine's order) to out: an array of numbers, or base64 of
 * little-endian floats. DEJA_ERR_INVALID: neither, empty or too long; out may have some of it then.
 */
enum deja_status dj_wire_vector_read(const struct dj_json *embedding,
                                     struct dj_buf *out) DEJA_NODISCARD;

#endif
