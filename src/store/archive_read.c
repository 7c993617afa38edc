/* store/archive_read.c - see archive.h. Trust: untrusted.
 *
 *   head ──> checksum ──> opened ──> unpacked ──> items; the running digest goes over all of it,
 * and the end block is compared with it
 */
#include "store/archive_internal.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/num.h"
#include "proto/frame.h"

#define RECORD_PAYLOAD_BYTES_MAX ((size_t)64 << 20)

struct dj_archive_reader {
    struct dj_archive_in in;
    struct dj_archive_header header;
    struct dj_archive_seal seal;
    struct dj_sha256_state *digest;
    struct dj_unpacker *unpacker;
    struct dj_archive_end counted; /* so far */
    struct dj_archive_block block;
    uint64_t block_offset;
    struct dj_buf stored;
    struct dj_buf opened;
    struct dj_buf plain;
    struct deja_slice rest; /* of the block's items */
    uint32_t items_left;
    struct dj_buf payload; /* of the entry that was told */
    struct dj_entry entry;
    float vector[DJ_FRAME_DIM_MAX];
    struct dj_archive_end end;
    bool is_over;
    bool has_failed;
};

static enum deja_status damaged(struct dj_archive_reader *reader, struct deja_error *error,
                                const char *what)
{
    reader->has_failed = true;
    return deja_error_set(error, DEJA_ERR_CORRUPT,
                          "the backup is damaged: block %" PRIu64 " at byte %" PRIu64 ": %s",
                          reader->counted.blocks, reader->block_offset, what);
}

/* Fewer than len only at the end of the stream. */
static enum deja_status take(struct dj_archive_reader *reader, char *out, size_t len,
                             size_t *out_len, struct deja_error *error)
{
    enum deja_status status = reader->in.read(reader->in.ctx, out, len, out_len, error);
    if (status == DEJA_OK)
        reader->counted.bytes += *out_len;
    return status;
}

/* ---- opening ---- */

static enum deja_status read_header(struct dj_archive_reader *reader, struct dj_keyring *keyring,
                                    struct deja_error *error)
{
    char bytes[DJ_ARCHIVE_HEADER_BYTES];
    uint8_t key[DJ_KEYRING_KEY_BYTES];
    size_t len = 0;
    enum deja_status status = take(reader, bytes, sizeof bytes, &len, error);
    if (status != DEJA_OK)
        return status;
    status = dj_archive_header_read(deja_slice(bytes, len), &reader->header);
    if (status == DEJA_ERR_MISMATCH)
        return deja_error_set(error, status, "this is not a backup of Deja");
    if (status == DEJA_ERR_UNSUPPORTED)
        return deja_error_set(error, status,
                              "the backup is of a newer format: use the release that wrote it");
    if (status != DEJA_OK)
        return deja_error_set(error, status, "the backup is damaged: its header at byte 0%s",
                              len < sizeof bytes ? " is cut short" : ": its checksum is wrong");
    dj_sha256_update(reader->digest, deja_slice(bytes, len));
    if (!reader->header.is_sealed)
        return DEJA_OK;
    status = DEJA_ERR_DENIED;
    if (keyring)
        status =
            dj_keyring_unwrap_apart(keyring, reader->header.id,
                                    deja_slice(reader->header.key, sizeof reader->header.key), key);
    if (status == DEJA_OK)
        status = dj_archive_seal_init(&reader->seal, reader->header.id, key);
    dj_wipe(key, sizeof key);
    if (status == DEJA_ERR_DENIED)
        deja_error_set(error, status,
                       "the backup was sealed under another master key: bring the one of the "
                       "deployment that wrote it, as encryption.master_key or as master.key in "
                       "the data directory");
    else if (status != DEJA_OK)
        deja_error_set(error, status, "the backup is damaged: the key in its header at byte 48: %s",
                       deja_status_text(status));
    return status;
}

enum deja_status dj_archive_open(const struct dj_archive_in *in, struct dj_keyring *keyring,
                                 struct dj_archive_reader **out_reader, struct deja_error *error)
{
    struct dj_archive_reader *reader = dj_alloc_zeroed(1, sizeof *reader);
    if (!reader)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    reader->in = *in;
    enum deja_status status = dj_sha256_create(&reader->digest);
    reader->unpacker = dj_unpacker_create();
    if (status != DEJA_OK || !reader->unpacker)
        status = deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    if (status == DEJA_OK)
        status = read_header(reader, keyring, error);
    if (status == DEJA_OK) {
        *out_reader = reader;
        return DEJA_OK;
    }
    reader->in.close = NULL; /* the caller's still */
    dj_archive_close(reader);
    return status;
}

void dj_archive_close(struct dj_archive_reader *reader)
{
    if (!reader)
        return;
    if (reader->in.close)
        reader->in.close(reader->in.ctx);
    dj_archive_seal_fini(&reader->seal);
    dj_sha256_destroy(reader->digest);
    dj_unpacker_destroy(reader->unpacker);
    dj_buf_fini(&reader->stored);
    dj_buf_fini(&reader->opened);
    dj_buf_fini(&reader->plain);
    dj_buf_fini(&reader->payload);
    dj_free(reader);
}

const struct dj_archive_header *dj_archive_header_of(const struct dj_archive_reader *reader)
{
    return &reader->header;
}

uint64_t dj_archive_offset(const struct dj_archive_reader *reader)
{
    return reader->counted.bytes;
}

/* ---- blocks ---- */

/* The stored bytes; grown as they come, so that a length alone takes no memory. */
static enum deja_status read_stored(struct dj_archive_reader *reader, struct deja_error *error)
{
    size_t left = reader->block.stored_bytes;
    dj_buf_clear(&reader->stored);
    while (left) {
        size_t piece = left < DJ_ARCHIVE_BLOCK_BYTES ? left : DJ_ARCHIVE_BLOCK_BYTES;
        size_t got = 0;
        char *room = dj_buf_reserve(&reader->stored, piece);
        if (!room)
            return deja_error_set(error, reader->stored.status, "out of memory");
        enum deja_status status = take(reader, room, piece, &got, error);
        if (status != DEJA_OK)
            return status;
        reader->stored.len += got;
        left -= got;
        if (got < piece)
            return damaged(reader, error, "it is cut short");
    }
    return DEJA_OK;
}

static enum deja_status open_block(struct dj_archive_reader *reader, struct deja_error *error)
{
    const struct dj_archive_block *block = &reader->block;
    struct deja_slice bytes = dj_buf_slice(&reader->stored);
    enum deja_status status = DEJA_OK;
    dj_buf_clear(&reader->opened);
    dj_buf_clear(&reader->plain);
    if (block->is_sealed != reader->header.is_sealed)
        return damaged(reader, error, "it is sealed otherwise than the header says");
    if (block->is_sealed) {
        status = dj_archive_open_block(&reader->seal, block, bytes, &reader->opened);
        bytes = dj_buf_slice(&reader->opened);
    }
    if (status == DEJA_ERR_CORRUPT)
        return damaged(reader, error, "its seal does not open: it is not what was written there");
    if (status == DEJA_OK && block->is_packed) {
        status = dj_archive_unpack(bytes, block->plain_bytes, &reader->plain);
        bytes = dj_buf_slice(&reader->plain);
    }
    if (status == DEJA_ERR_CORRUPT || (status == DEJA_OK && bytes.len != block->plain_bytes))
        return damaged(reader, error, "it cannot be unpacked");
    if (status != DEJA_OK)
        return deja_error_set(error, status, "a block cannot be read: %s",
                              deja_status_text(status));
    reader->rest = bytes;
    reader->items_left = block->items;
    return DEJA_OK;
}

static enum deja_status read_end(struct dj_archive_reader *reader, uint64_t bytes_before,
                                 struct deja_error *error)
{
    struct dj_archive_end *end = &reader->end;
    uint8_t digest[DJ_SHA256_BYTES];
    char more;
    size_t len = 0;
    dj_sha256_finish(reader->digest, digest);
    if (dj_archive_end_read(reader->rest, end) != DEJA_OK)
        return damaged(reader, error, "the end is not of the form");
    if (end->bytes != bytes_before || end->blocks != reader->counted.blocks ||
        end->entries != reader->counted.entries || end->documents != reader->counted.documents)
        return damaged(reader, error, "the end counts other blocks and entries than there are");
    if (memcmp(end->digest, digest, sizeof digest) != 0)
        return damaged(reader, error, "the digest of the whole is another");
    enum deja_status status = take(reader, &more, 1, &len, error);
    if (status == DEJA_OK && len)
        return damaged(reader, error, "there are bytes behind the end");
    reader->is_over = status == DEJA_OK;
    return status;
}

/* Every item of the block can be read: before the first of them is told. */
static bool is_readable(struct dj_archive_reader *reader)
{
    struct deja_slice rest = reader->rest;
    struct dj_archive_document document;
    struct deja_slice bytes;
    struct dj_frame frame;
    for (uint32_t i = 0; i < reader->block.items; i++) {
        if (reader->block.type == DJ_ARCHIVE_DOCUMENTS) {
            if (dj_archive_document_read(&rest, &document) != DEJA_OK)
                return false;
        } else if (dj_archive_entry_read(&rest, &bytes) != DEJA_OK ||
                   dj_frame_decode(bytes, &frame) != DEJA_OK ||
                   !dj_frame_vector(&frame, reader->vector)) {
            return false;
        }
    }
    return rest.len == 0;
}

/* DEJA_ERR_NOT_FOUND: that was the end. */
static enum deja_status next_block(struct dj_archive_reader *reader, struct deja_error *error)
{
    char head[DJ_ARCHIVE_HEAD_BYTES];
    size_t len = 0;
    reader->block_offset = reader->counted.bytes;
    enum deja_status status = take(reader, head, sizeof head, &len, error);
    if (status != DEJA_OK)
        return status;
    if (len < sizeof head)
        return damaged(reader, error, len ? "it is cut short" : "the end is missing");
    if (dj_archive_block_read(deja_slice(head, len), &reader->block) != DEJA_OK)
        return damaged(reader, error, "its head is not of the form");
    status = read_stored(reader, error);
    if (status != DEJA_OK)
        return status;
    if (!dj_archive_block_is_whole(deja_slice(head, len), dj_buf_slice(&reader->stored)))
        return damaged(reader, error, "its checksum is wrong");
    if (reader->block.index != reader->counted.blocks)
        return damaged(reader, error, "it belongs elsewhere: blocks are missing or turned round");
    status = open_block(reader, error);
    if (status != DEJA_OK)
        return status;
    if (reader->block.type == DJ_ARCHIVE_END) {
        status = read_end(reader, reader->block_offset, error);
        return status == DEJA_OK ? DEJA_ERR_NOT_FOUND : status;
    }
    dj_sha256_update(reader->digest, deja_slice(head, sizeof head));
    dj_sha256_update(reader->digest, dj_buf_slice(&reader->stored));
    return is_readable(reader) ? DEJA_OK
                               : damaged(reader, error, "what it holds is not of the form");
}

/* ---- items ---- */

static enum deja_status tell_entry(struct dj_archive_reader *reader,
                                   struct dj_archive_item *out_item, struct deja_error *error)
{
    struct deja_slice bytes;
    struct dj_frame frame;
    dj_buf_clear(&reader->payload);
    enum deja_status status = dj_archive_entry_read(&reader->rest, &bytes);
    if (status == DEJA_OK)
        status = dj_frame_decode(bytes, &frame);
    if (status == DEJA_OK)
        status = dj_record_decode_with(reader->unpacker, frame.record, RECORD_PAYLOAD_BYTES_MAX,
                                       &reader->payload, &reader->entry);
    if (status == DEJA_ERR_NOMEM)
        return deja_error_set(error, status, "out of memory");
    if (status != DEJA_OK || !dj_frame_vector(&frame, reader->vector) ||
        memcmp(reader->entry.tenant, reader->block.tenant, DJ_ID_BYTES) != 0 ||
        reader->entry.key_id)
        return damaged(reader, error, "an entry in it is not of the form");
    *out_item = (struct dj_archive_item){
        .entry = &reader->entry, .vector = frame.dim ? reader->vector : NULL, .dim = frame.dim};
    reader->counted.entries++;
    return DEJA_OK;
}

static enum deja_status tell_document(struct dj_archive_reader *reader,
                                      struct dj_archive_item *out_item, struct deja_error *error)
{
    struct dj_archive_item item = {.is_document = true};
    if (dj_archive_document_read(&reader->rest, &item.document) != DEJA_OK)
        return damaged(reader, error, "a document in it is not of the form");
    *out_item = item;
    reader->counted.documents++;
    return DEJA_OK;
}

enum deja_status dj_archive_next(struct dj_archive_reader *reader, struct dj_archive_item *out_item,
                                 struct dj_archive_end *out_end, struct deja_error *error)
{
    if (reader->has_failed)
        return deja_error_set(error, DEJA_ERR_CORRUPT, "the backup is damaged");
    while (!reader->is_over && reader->items_left == 0) {
        enum deja_status status = next_block(reader, error);
        if (status != DEJA_OK && status != DEJA_ERR_NOT_FOUND)
            return status;
        if (status == DEJA_OK)
            reader->counted.blocks++;
    }
    if (reader->is_over) {
        if (out_end)
            *out_end = reader->end;
        return DEJA_ERR_NOT_FOUND;
    }
    reader->items_left--;
    return reader->block.type == DJ_ARCHIVE_DOCUMENTS ? tell_document(reader, out_item, error)
                                                      : tell_entry(reader, out_item, error);
}
