/* No bytes break the reader of a backup, not even under checksums that are right; what it tells is
 * of the form that a writer takes. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/hash.h"
#include "store/archive.h"

struct source {
    struct deja_slice rest;
};

static enum deja_status read_bytes(void *ctx, char *out, size_t len, size_t *out_len,
                                   struct deja_error *error)
{
    struct source *source = ctx;
    (void)error;
    *out_len = len < source->rest.len ? len : source->rest.len;
    if (*out_len)
        memcpy(out, source->rest.data, *out_len);
    source->rest = deja_slice(source->rest.data + *out_len, source->rest.len - *out_len);
    return DEJA_OK;
}

static void check(struct deja_slice bytes)
{
    struct source source = {bytes};
    const struct dj_archive_in in = {.ctx = &source, .read = read_bytes};
    struct dj_archive_reader *reader = NULL;
    struct dj_archive_item item;
    struct deja_error error;
    struct dj_buf again = {0};
    if (dj_archive_open(&in, NULL, &reader, &error) != DEJA_OK)
        return;
    while (dj_archive_next(reader, &item, NULL, &error) == DEJA_OK) {
        dj_buf_clear(&again);
        enum deja_status status =
            item.is_document ? dj_archive_document_write(&item.document, &again)
                             : dj_archive_entry_write(item.entry, item.vector, item.dim, &again);
        FUZZ_CHECK(status == DEJA_OK);
    }
    FUZZ_CHECK(dj_archive_offset(reader) <= bytes.len);
    dj_buf_fini(&again);
    dj_archive_close(reader);
}

static void put_number(char *at, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (char)(number >> (8 * i));
}

/* The checksums of header and blocks, as a writer would make them. */
static void sign(struct dj_buf *file)
{
    size_t at = DJ_ARCHIVE_HEADER_BYTES;
    if (file->len < at)
        return;
    put_number(file->data + at - 8, dj_hash64(file->data, at - 8, 0), 8);
    while (file->len - at >= DJ_ARCHIVE_HEAD_BYTES) {
        char *head = file->data + at;
        size_t left = file->len - at - DJ_ARCHIVE_HEAD_BYTES;
        size_t stored = (uint8_t)head[36] | (size_t)(uint8_t)head[37] << 8;
        if (stored > left)
            stored = left;
        put_number(head + 36, stored, 4);
        uint64_t sum = dj_hash64(head + DJ_ARCHIVE_HEAD_BYTES, stored,
                                 dj_hash64(head, DJ_ARCHIVE_HEAD_BOUND_BYTES, 0));
        put_number(head + DJ_ARCHIVE_HEAD_BOUND_BYTES, sum, 8);
        at += DJ_ARCHIVE_HEAD_BYTES + stored;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf file = {0};
    check(deja_slice(data, len));
    dj_buf_append(&file, data, len);
    if (file.status == DEJA_OK && len) {
        sign(&file);
        check(dj_buf_slice(&file));
    }
    dj_buf_fini(&file);
    return 0;
}
