/* No bytes break the reader, not even under a checksum that is right; what it reads is written and
 * read again as the same payload. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/hash.h"
#include "proto/record.h"

#define PAYLOAD_MAX 100000u
#define HEADER_BYTES 32u
#define CHECKSUM_OFFSET 24u

/* Sets the length and the checksum as a writer of our files would. */
static void sign(struct dj_buf *record)
{
    uint64_t stored = record->len - HEADER_BYTES;
    for (unsigned i = 0; i < 4; i++)
        record->data[12 + i] = (char)(stored >> (8 * i) & 0xff);
    uint64_t sum = dj_hash64(record->data + HEADER_BYTES, record->len - HEADER_BYTES,
                             dj_hash64(record->data, CHECKSUM_OFFSET, 0));
    for (unsigned i = 0; i < 8; i++)
        record->data[CHECKSUM_OFFSET + i] = (char)(sum >> (8 * i) & 0xff);
}

static void check(struct deja_slice record)
{
    struct dj_buf scratch = {0};
    struct dj_buf again = {0};
    struct dj_buf scratch_again = {0};
    struct dj_entry entry;
    if (dj_record_decode(record, PAYLOAD_MAX, &scratch, &entry) == DEJA_OK) {
        FUZZ_CHECK(dj_record_encode(&entry, &again) == DEJA_OK);
        FUZZ_CHECK(dj_record_decode(dj_buf_slice(&again), PAYLOAD_MAX, &scratch_again, &entry) ==
                   DEJA_OK);
        FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&scratch), dj_buf_slice(&scratch_again)));
    }
    dj_buf_fini(&scratch);
    dj_buf_fini(&again);
    dj_buf_fini(&scratch_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf record = {0};
    check(deja_slice(data, len));
    dj_buf_append(&record, data, len);
    if (record.status == DEJA_OK && len >= HEADER_BYTES) {
        sign(&record);
        check(dj_buf_slice(&record));
    }
    dj_buf_fini(&record);
    return 0;
}
