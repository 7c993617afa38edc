/* store/archive_write.c - see archive.h.
 *
 *   put ── the open block's plain bytes ──(full, another tenant, another type)──> packed ──> sealed
 *     ──> head ──> out; the running digest goes over all of it
 */
#include "store/archive_internal.h"

#include "base/alloc.h"
#include "proto/frame.h"

struct dj_archive_writer {
    struct dj_archive_out out;
    struct dj_archive_seal seal;
    struct dj_sha256_state *digest;
    struct dj_archive_block block; /* open: its type, tenant, items; type 0: none */
    struct dj_buf plain;
    struct dj_buf packed;
    struct dj_buf sealed;
    struct dj_archive_end end; /* so far */
    bool is_finished;
    bool has_failed;
};

static enum deja_status emit(struct dj_archive_writer *writer, struct deja_slice bytes,
                             struct deja_error *error)
{
    dj_sha256_update(writer->digest, bytes);
    writer->end.bytes += bytes.len;
    return writer->out.write(writer->out.ctx, bytes, error);
}

static enum deja_status begin(struct dj_archive_writer *writer,
                              const struct dj_archive_options *options, struct deja_error *error)
{
    struct dj_archive_header header = {.created_ms = options->now_ms,
                                       .secret_name = options->secret_name,
                                       .is_sealed = options->keyring != NULL};
    char bytes[DJ_ARCHIVE_HEADER_BYTES];
    uint8_t key[DJ_KEYRING_KEY_BYTES];
    dj_random_bytes(header.id, sizeof header.id);
    enum deja_status status = dj_sha256_create(&writer->digest);
    if (status == DEJA_OK && options->keyring) {
        status = dj_keyring_wrap_apart(options->keyring, header.id, key, header.key);
        if (status == DEJA_OK)
            status = dj_archive_seal_init(&writer->seal, header.id, key);
        dj_wipe(key, sizeof key);
    }
    if (status != DEJA_OK)
        return deja_error_set(error, status, "the backup cannot be begun: %s",
                              deja_status_text(status));
    dj_archive_header_write(&header, bytes);
    return emit(writer, deja_slice(bytes, sizeof bytes), error);
}

enum deja_status dj_archive_create(const struct dj_archive_options *options,
                                   const struct dj_archive_out *out,
                                   struct dj_archive_writer **out_writer, struct deja_error *error)
{
    struct dj_archive_writer *writer = dj_alloc_zeroed(1, sizeof *writer);
    if (!writer)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    writer->out = *out;
    enum deja_status status = begin(writer, options, error);
    if (status == DEJA_OK) {
        *out_writer = writer;
        return DEJA_OK;
    }
    writer->out.close = NULL; /* the caller's still */
    dj_archive_destroy(writer);
    return status;
}

void dj_archive_destroy(struct dj_archive_writer *writer)
{
    if (!writer)
        return;
    if (writer->out.close)
        writer->out.close(writer->out.ctx);
    dj_archive_seal_fini(&writer->seal);
    dj_sha256_destroy(writer->digest);
    dj_buf_fini(&writer->plain);
    dj_buf_fini(&writer->packed);
    dj_buf_fini(&writer->sealed);
    dj_free(writer);
}

/* Packed and sealed: writer's until the next one. */
static enum deja_status make_stored(struct dj_archive_writer *writer, struct deja_slice plain,
                                    struct deja_slice *out_stored)
{
    struct dj_archive_block *block = &writer->block;
    struct deja_slice stored = plain;
    dj_buf_clear(&writer->packed);
    dj_buf_clear(&writer->sealed);
    enum deja_status status = dj_archive_pack(plain, &writer->packed, &block->is_packed);
    if (status != DEJA_OK)
        return status;
    if (block->is_packed)
        stored = dj_buf_slice(&writer->packed);
    block->is_sealed = writer->seal.aead != NULL;
    block->stored_bytes = (uint32_t)(stored.len + (block->is_sealed ? DJ_AEAD_TAG_BYTES : 0));
    if (block->is_sealed) {
        status = dj_archive_seal_block(&writer->seal, block, stored, &writer->sealed);
        stored = dj_buf_slice(&writer->sealed);
    }
    *out_stored = stored;
    return status;
}

static enum deja_status write_block(struct dj_archive_writer *writer, struct deja_slice plain,
                                    struct deja_error *error)
{
    struct dj_archive_block *block = &writer->block;
    struct deja_slice stored;
    char head[DJ_ARCHIVE_HEAD_BYTES];
    if (writer->end.blocks > UINT32_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the backup has too many blocks");
    block->index = (uint32_t)writer->end.blocks;
    block->plain_bytes = (uint32_t)plain.len;
    enum deja_status status = make_stored(writer, plain, &stored);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "a block cannot be packed: %s",
                              deja_status_text(status));
    dj_archive_block_write(block, stored, head);
    status = emit(writer, deja_slice(head, sizeof head), error);
    if (status == DEJA_OK)
        status = emit(writer, stored, error);
    writer->end.blocks++;
    return status;
}

static enum deja_status flush(struct dj_archive_writer *writer, struct deja_error *error)
{
    enum deja_status status = DEJA_OK;
    if (writer->block.items)
        status = write_block(writer, dj_buf_slice(&writer->plain), error);
    dj_buf_clear(&writer->plain);
    writer->block = (struct dj_archive_block){.items = 0};
    writer->has_failed = writer->has_failed || status != DEJA_OK;
    return status;
}

/* A block of that type and tenant is open. */
static enum deja_status want_block(struct dj_archive_writer *writer, enum dj_archive_type type,
                                   const uint8_t *tenant, struct deja_error *error)
{
    static const uint8_t nobody[DJ_ID_BYTES];
    struct dj_archive_block *block = &writer->block;
    tenant = tenant ? tenant : nobody;
    if (writer->has_failed || writer->is_finished)
        return deja_error_set(error, DEJA_ERR_INVALID, "the backup has ended before");
    bool is_other = block->items && (block->type != type ||
                                     memcmp(block->tenant, tenant, sizeof block->tenant) != 0 ||
                                     writer->plain.len >= DJ_ARCHIVE_BLOCK_BYTES);
    enum deja_status status = is_other ? flush(writer, error) : DEJA_OK;
    block->type = type;
    memcpy(block->tenant, tenant, sizeof block->tenant);
    return status;
}

static enum deja_status end_put(struct dj_archive_writer *writer, enum deja_status status,
                                size_t before, uint64_t *count, struct deja_error *error)
{
    if (status == DEJA_OK && writer->plain.len > DJ_ARCHIVE_BLOCK_BYTES_MAX)
        status = DEJA_ERR_LIMIT;
    if (status != DEJA_OK) {
        writer->plain.len = before;
        writer->has_failed = true;
        return deja_error_set(error, status, "an entry cannot be written: %s",
                              deja_status_text(status));
    }
    writer->block.items++;
    ++*count;
    return DEJA_OK;
}

enum deja_status dj_archive_put(struct dj_archive_writer *writer, const struct dj_entry *entry,
                                const float *vector, uint32_t dim, struct deja_error *error)
{
    enum deja_status status = want_block(writer, DJ_ARCHIVE_ENTRIES, entry->tenant, error);
    size_t before = writer->plain.len;
    if (status != DEJA_OK)
        return status;
    status = vector && dim > DJ_FRAME_DIM_MAX
                 ? DEJA_ERR_LIMIT
                 : dj_archive_entry_write(entry, vector, vector ? dim : 0, &writer->plain);
    return end_put(writer, status, before, &writer->end.entries, error);
}

enum deja_status dj_archive_put_document(struct dj_archive_writer *writer,
                                         const struct dj_archive_document *document,
                                         struct deja_error *error)
{
    enum deja_status status = want_block(writer, DJ_ARCHIVE_DOCUMENTS, NULL, error);
    size_t before = writer->plain.len;
    if (status != DEJA_OK)
        return status;
    status = dj_archive_document_write(document, &writer->plain);
    return end_put(writer, status, before, &writer->end.documents, error);
}

enum deja_status dj_archive_finish(struct dj_archive_writer *writer, struct dj_archive_end *out_end,
                                   struct deja_error *error)
{
    char bytes[DJ_ARCHIVE_END_BYTES];
    enum deja_status status = want_block(writer, DJ_ARCHIVE_END, NULL, error);
    if (status == DEJA_OK)
        status = flush(writer, error); /* empty unless nothing was put */
    if (status != DEJA_OK)
        return status;
    struct dj_archive_end end = writer->end;
    dj_sha256_finish(writer->digest, end.digest);
    dj_archive_end_write(&end, bytes);
    writer->block = (struct dj_archive_block){.type = DJ_ARCHIVE_END, .items = 1};
    /* The digest is over; what follows it is not in it. */
    dj_sha256_destroy(writer->digest);
    writer->digest = NULL;
    status = dj_sha256_create(&writer->digest);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "out of memory");
    status = write_block(writer, deja_slice(bytes, sizeof bytes), error);
    if (status == DEJA_OK)
        status = writer->out.finish(writer->out.ctx, error);
    writer->is_finished = true;
    if (status == DEJA_OK && out_end)
        *out_end = end;
    return status;
}
