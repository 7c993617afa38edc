/* proto/frame.c - see frame.h. */
#include "proto/frame.h"

#include <math.h>

#include "base/hash.h"
#include "base/little.h"

#define MAGIC "DJPS"
#define FORMAT 1u
#define HEAD_BYTES 24u
#define FORMAT_OFFSET 4u
#define RECORD_OFFSET 8u
#define DIM_OFFSET 12u
#define CHECKSUM_OFFSET 16u

static uint64_t checksum(const char *frame, size_t len)
{
    uint64_t head = dj_hash64(frame, CHECKSUM_OFFSET, 0);
    return dj_hash64(frame + HEAD_BYTES, len - HEAD_BYTES, head);
}

enum deja_status dj_frame_encode(const struct dj_entry *entry, const float *vector, uint32_t dim,
                                 struct dj_buf *out)
{
    static const char head[HEAD_BYTES] = MAGIC;
    size_t begin = out->len;
    dj_buf_append(out, head, sizeof head);
    enum deja_status status = dj_record_encode(entry, out);
    size_t record_bytes = out->len - begin - HEAD_BYTES;
    for (uint32_t i = 0; vector && i < dim; i++) {
        uint32_t bits;
        char bytes[sizeof bits];
        memcpy(&bits, &vector[i], sizeof bits);
        dj_little_put(bytes, bits, sizeof bytes);
        dj_buf_append(out, bytes, sizeof bytes);
    }
    if (status != DEJA_OK || out->status != DEJA_OK)
        return status != DEJA_OK ? status : out->status;
    char *frame = out->data + begin;
    dj_little_put(frame + FORMAT_OFFSET, FORMAT, 2);
    dj_little_put(frame + RECORD_OFFSET, record_bytes, 4);
    dj_little_put(frame + DIM_OFFSET, vector ? dim : 0, 4);
    dj_little_put(frame + CHECKSUM_OFFSET, checksum(frame, out->len - begin), 8);
    return DEJA_OK;
}

enum deja_status dj_frame_decode(struct deja_slice bytes, struct dj_frame *out_frame)
{
    const char *data = bytes.data;
    if (bytes.len < HEAD_BYTES || memcmp(data, MAGIC, 4) != 0)
        return DEJA_ERR_CORRUPT;
    if (dj_little_get(data + FORMAT_OFFSET, 4) != FORMAT)
        return DEJA_ERR_UNSUPPORTED;
    size_t record_bytes = (size_t)dj_little_get(data + RECORD_OFFSET, 4);
    uint64_t dim = dj_little_get(data + DIM_OFFSET, 4);
    if (dim > DJ_FRAME_DIM_MAX || bytes.len - HEAD_BYTES != record_bytes + dim * sizeof(float) ||
        dj_little_get(data + CHECKSUM_OFFSET, 8) != checksum(data, bytes.len))
        return DEJA_ERR_CORRUPT;
    *out_frame = (struct dj_frame){.record = deja_slice(data + HEAD_BYTES, record_bytes),
                                   .dim = (uint32_t)dim,
                                   .floats = data + HEAD_BYTES + record_bytes};
    return DEJA_OK;
}

bool dj_frame_vector(const struct dj_frame *frame, float *out)
{
    for (uint32_t i = 0; i < frame->dim; i++) {
        uint32_t bits = (uint32_t)dj_little_get(frame->floats + i * sizeof bits, sizeof bits);
        memcpy(&out[i], &bits, sizeof bits);
        if (!isfinite(out[i]))
            return false;
    }
    return true;
}
