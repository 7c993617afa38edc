/* proto/frame.h - an entry's record and its vector as one string of bytes, for a store that keeps
 * strings and nothing else.
 *
 *   | magic 4 | format 2 | zero 2 | record bytes 4 | dim 4 | checksum 8 | record | floats |
 *
 * Little endian; the checksum (XXH3-64) is over everything but itself. Trust: kept by code that is
 * not ours; every length is checked. Threads: any.
 */
#ifndef DJ_PROTO_FRAME_H
#define DJ_PROTO_FRAME_H

#include <deja/base.h>

#include "proto/record.h"

#define DJ_FRAME_DIM_MAX 4096u

/* vector: NULL, or dim finite floats. Appends. Errors as dj_record_encode. */
enum deja_status dj_frame_encode(const struct dj_entry *entry, const float *vector, uint32_t dim,
                                 struct dj_buf *out) DEJA_NODISCARD;

/* Borrowed from the bytes that were decoded. */
struct dj_frame {
    struct deja_slice record; /* for dj_record_decode */
    uint32_t dim;             /* 0: no vector */
    const char *floats;       /* as they are stored */
};

/* DEJA_ERR_CORRUPT, DEJA_ERR_UNSUPPORTED (a newer format). */
enum deja_status dj_frame_decode(struct deja_slice bytes,
                                 struct dj_frame *out_frame) DEJA_NODISCARD;
/* frame->dim floats, all finite, into out; false: one is not. */
bool dj_frame_vector(const struct dj_frame *frame, float *out) DEJA_NODISCARD;

#endif
