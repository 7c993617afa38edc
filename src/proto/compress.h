/* proto/compress.h - gzip and deflate bodies in, with the bounds that bombs need.
 *
 * Trust: untrusted. Threads: any.
 */
#ifndef DJ_PROTO_COMPRESS_H
#define DJ_PROTO_COMPRESS_H

#include <deja/base.h>

#include "base/buf.h"

/* Appends the decoded bytes. encoding: "gzip", "deflate", "zstd", "identity" or empty.
 * DEJA_ERR_UNSUPPORTED (another coding), DEJA_ERR_INVALID (broken), DEJA_ERR_LIMIT (more than
 * bytes_max). */
enum deja_status dj_decompress(struct deja_slice encoding, struct deja_slice bytes,
                               size_t bytes_max, struct dj_buf *out) DEJA_NODISCARD;

#endif
