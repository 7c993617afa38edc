/* No bytes break the reader, not even under a checksum that is right; what it reads lies within
 * what it was given. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/hash.h"
#include "proto/frame.h"

#define HEAD_BYTES 24u
#define CHECKSUM_OFFSET 16u

static void sign(struct dj_buf *frame)
{
    uint64_t sum = dj_hash64(frame->data + HEAD_BYTES, frame->len - HEAD_BYTES,
                             dj_hash64(frame->data, CHECKSUM_OFFSET, 0));
    for (unsigned i = 0; i < 8; i++)
        frame->data[CHECKSUM_OFFSET + i] = (char)(sum >> (8 * i) & 0xff);
}

static void check(struct deja_slice bytes)
{
    static float floats[DJ_FRAME_DIM_MAX];
    struct dj_frame frame;
    if (dj_frame_decode(bytes, &frame) != DEJA_OK)
        return;
    FUZZ_CHECK(frame.record.data == bytes.data + HEAD_BYTES);
    FUZZ_CHECK(HEAD_BYTES + frame.record.len + frame.dim * sizeof(float) == bytes.len);
    FUZZ_CHECK(frame.dim <= DJ_FRAME_DIM_MAX);
    if (dj_frame_vector(&frame, floats))
        FUZZ_CHECK(frame.dim == 0 || floats[0] - floats[0] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf frame = {0};
    check(deja_slice(data, len));
    dj_buf_append(&frame, data, len);
    if (frame.status == DEJA_OK && len >= HEAD_BYTES) {
        sign(&frame);
        check(dj_buf_slice(&frame));
    }
    dj_buf_fini(&frame);
    return 0;
}
