/* proto/archive.c - see archive.h. */
#include "proto/archive.h"

#include <zstd.h>

#include "base/hash.h"
#include "base/little.h"
#include "proto/frame.h"

#define MAGIC "DJBACKUP"
#define BLOCK_MAGIC "DJBB"
#define FORMAT 1u
#define PACK_LEVEL 3
#define FLAG_SEALED 1u
#define FLAG_PACKED 2u
#define CHECKSUM_BYTES 8u
#define ITEM_BYTES_MAX (64u << 20)

enum {
    FORMAT_AT = 8,
    FLAGS_AT = 10,
    ID_AT = 16,
    CREATED_AT = 32,
    SECRET_AT = 40,
    KEY_AT = 48,
    HEADER_CHECKSUM_AT = DJ_ARCHIVE_HEADER_BYTES - CHECKSUM_BYTES
};
enum {
    TYPE_AT = 4,
    BLOCK_FLAGS_AT = 5,
    INDEX_AT = 8,
    ITEMS_AT = 12,
    TENANT_AT = 16,
    PLAIN_AT = 32,
    STORED_AT = 36
};

static bool is_zero(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i])
            return false;
    return true;
}

/* ---- header ---- */

void dj_archive_header_write(const struct dj_archive_header *header,
                             char out_bytes[DJ_ARCHIVE_HEADER_BYTES])
{
    memset(out_bytes, 0, DJ_ARCHIVE_HEADER_BYTES);
    memcpy(out_bytes, MAGIC, sizeof MAGIC - 1);
    dj_little_put(out_bytes + FORMAT_AT, FORMAT, 2);
    dj_little_put(out_bytes + FLAGS_AT, header->is_sealed ? FLAG_SEALED : 0, 2);
    memcpy(out_bytes + ID_AT, header->id, sizeof header->id);
    dj_little_put(out_bytes + CREATED_AT, (uint64_t)header->created_ms, 8);
    dj_little_put(out_bytes + SECRET_AT, header->secret_name, 8);
    if (header->is_sealed)
        memcpy(out_bytes + KEY_AT, header->key, sizeof header->key);
    dj_little_put(out_bytes + HEADER_CHECKSUM_AT, dj_hash64(out_bytes, HEADER_CHECKSUM_AT, 0), 8);
}

enum deja_status dj_archive_header_read(struct deja_slice bytes,
                                        struct dj_archive_header *out_header)
{
    const char *data = bytes.data;
    if (bytes.len < sizeof MAGIC - 1 || memcmp(data, MAGIC, sizeof MAGIC - 1) != 0)
        return DEJA_ERR_MISMATCH;
    if (bytes.len != DJ_ARCHIVE_HEADER_BYTES ||
        dj_little_get(data + HEADER_CHECKSUM_AT, 8) != dj_hash64(data, HEADER_CHECKSUM_AT, 0))
        return DEJA_ERR_CORRUPT;
    uint64_t flags = dj_little_get(data + FLAGS_AT, 2);
    if (dj_little_get(data + FORMAT_AT, 2) != FORMAT || flags & ~(uint64_t)FLAG_SEALED)
        return DEJA_ERR_UNSUPPORTED;
    uint64_t created = dj_little_get(data + CREATED_AT, 8);
    size_t key_end = KEY_AT + DJ_ARCHIVE_KEY_BYTES;
    if (created > INT64_MAX || !is_zero(data + FLAGS_AT + 2, ID_AT - FLAGS_AT - 2) ||
        !is_zero(data + key_end, HEADER_CHECKSUM_AT - key_end))
        return DEJA_ERR_CORRUPT;
    *out_header = (struct dj_archive_header){.created_ms = (int64_t)created,
                                             .secret_name = dj_little_get(data + SECRET_AT, 8),
                                             .is_sealed = flags & FLAG_SEALED};
    memcpy(out_header->id, data + ID_AT, sizeof out_header->id);
    memcpy(out_header->key, data + KEY_AT, sizeof out_header->key);
    return DEJA_OK;
}

/* ---- blocks ---- */

void dj_archive_block_bound(const struct dj_archive_block *block,
                            char out_bytes[DJ_ARCHIVE_HEAD_BOUND_BYTES])
{
    memset(out_bytes, 0, DJ_ARCHIVE_HEAD_BOUND_BYTES);
    memcpy(out_bytes, BLOCK_MAGIC, sizeof BLOCK_MAGIC - 1);
    out_bytes[TYPE_AT] = (char)block->type;
    out_bytes[BLOCK_FLAGS_AT] =
        (char)((block->is_sealed ? FLAG_SEALED : 0) | (block->is_packed ? FLAG_PACKED : 0));
    dj_little_put(out_bytes + INDEX_AT, block->index, 4);
    dj_little_put(out_bytes + ITEMS_AT, block->items, 4);
    memcpy(out_bytes + TENANT_AT, block->tenant, sizeof block->tenant);
    dj_little_put(out_bytes + PLAIN_AT, block->plain_bytes, 4);
    dj_little_put(out_bytes + STORED_AT, block->stored_bytes, 4);
}

static uint64_t checksum(const char *head, struct deja_slice stored)
{
    return dj_hash64(stored.data, stored.len, dj_hash64(head, DJ_ARCHIVE_HEAD_BOUND_BYTES, 0));
}

void dj_archive_block_write(const struct dj_archive_block *block, struct deja_slice stored,
                            char out_head[DJ_ARCHIVE_HEAD_BYTES])
{
    dj_archive_block_bound(block, out_head);
    dj_little_put(out_head + DJ_ARCHIVE_HEAD_BOUND_BYTES, checksum(out_head, stored),
                  CHECKSUM_BYTES);
}

enum deja_status dj_archive_block_read(struct deja_slice head, struct dj_archive_block *out_block)
{
    const char *data = head.data;
    if (head.len != DJ_ARCHIVE_HEAD_BYTES ||
        memcmp(data, BLOCK_MAGIC, sizeof BLOCK_MAGIC - 1) != 0 || dj_little_get(data + 6, 2) != 0)
        return DEJA_ERR_CORRUPT;
    uint64_t type = dj_little_get(data + TYPE_AT, 1);
    uint64_t flags = dj_little_get(data + BLOCK_FLAGS_AT, 1);
    uint64_t plain = dj_little_get(data + PLAIN_AT, 4);
    uint64_t stored = dj_little_get(data + STORED_AT, 4);
    if (type < DJ_ARCHIVE_DOCUMENTS || type > DJ_ARCHIVE_END ||
        flags & ~(uint64_t)(FLAG_SEALED | FLAG_PACKED) || plain > DJ_ARCHIVE_BLOCK_BYTES_MAX ||
        stored > DJ_ARCHIVE_BLOCK_BYTES_MAX + DJ_ARCHIVE_HEAD_BYTES ||
        (type != DJ_ARCHIVE_ENTRIES && !is_zero(data + TENANT_AT, DJ_ID_BYTES)))
        return DEJA_ERR_CORRUPT;
    *out_block = (struct dj_archive_block){.type = (enum dj_archive_type)type,
                                           .is_packed = flags & FLAG_PACKED,
                                           .is_sealed = flags & FLAG_SEALED,
                                           .index = (uint32_t)dj_little_get(data + INDEX_AT, 4),
                                           .items = (uint32_t)dj_little_get(data + ITEMS_AT, 4),
                                           .plain_bytes = (uint32_t)plain,
                                           .stored_bytes = (uint32_t)stored};
    memcpy(out_block->tenant, data + TENANT_AT, sizeof out_block->tenant);
    return DEJA_OK;
}

bool dj_archive_block_is_whole(struct deja_slice head, struct deja_slice stored)
{
    return dj_little_get(head.data + DJ_ARCHIVE_HEAD_BOUND_BYTES, CHECKSUM_BYTES) ==
           checksum(head.data, stored);
}

/* ---- end ---- */

void dj_archive_end_write(const struct dj_archive_end *end, char out_bytes[DJ_ARCHIVE_END_BYTES])
{
    dj_little_put(out_bytes, end->blocks, 8);
    dj_little_put(out_bytes + 8, end->entries, 8);
    dj_little_put(out_bytes + 16, end->documents, 8);
    dj_little_put(out_bytes + 24, end->bytes, 8);
    memcpy(out_bytes + 32, end->digest, sizeof end->digest);
}

enum deja_status dj_archive_end_read(struct deja_slice bytes, struct dj_archive_end *out_end)
{
    if (bytes.len != DJ_ARCHIVE_END_BYTES)
        return DEJA_ERR_CORRUPT;
    out_end->blocks = dj_little_get(bytes.data, 8);
    out_end->entries = dj_little_get(bytes.data + 8, 8);
    out_end->documents = dj_little_get(bytes.data + 16, 8);
    out_end->bytes = dj_little_get(bytes.data + 24, 8);
    memcpy(out_end->digest, bytes.data + 32, sizeof out_end->digest);
    return DEJA_OK;
}

/* ---- packing ---- */

enum deja_status dj_archive_pack(struct deja_slice plain, struct dj_buf *out, bool *out_is_packed)
{
    size_t bound = ZSTD_compressBound(plain.len);
    char *room = dj_buf_reserve(out, bound);
    if (!room)
        return out->status;
    size_t len = ZSTD_compress(room, bound, plain.data, plain.len, PACK_LEVEL);
    *out_is_packed = !ZSTD_isError(len) && len < plain.len;
    if (*out_is_packed)
        out->len += len;
    return DEJA_OK;
}

enum deja_status dj_archive_unpack(struct deja_slice packed, uint32_t plain_bytes,
                                   struct dj_buf *out)
{
    /* Nothing is taken for a length that the packed bytes do not themselves tell. */
    if (plain_bytes == 0 || ZSTD_getFrameContentSize(packed.data, packed.len) != plain_bytes)
        return DEJA_ERR_CORRUPT;
    char *room = dj_buf_reserve(out, plain_bytes);
    if (!room)
        return out->status;
    /* Made here, so that want of memory is not taken for damage: a backup is judged by this. */
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        return DEJA_ERR_NOMEM;
    size_t len = ZSTD_decompressDCtx(context, room, plain_bytes, packed.data, packed.len);
    ZSTD_freeDCtx(context);
    if (ZSTD_isError(len) || len != plain_bytes)
        return DEJA_ERR_CORRUPT;
    out->len += plain_bytes;
    return DEJA_OK;
}

/* ---- items ---- */

static void put_part(struct dj_buf *out, struct deja_slice part, size_t len_bytes)
{
    char len[4];
    dj_little_put(len, part.len, len_bytes);
    dj_buf_append(out, len, len_bytes);
    dj_buf_append_slice(out, part);
}

static bool take_part(struct deja_slice *rest, size_t len_bytes, struct deja_slice *out_part)
{
    if (rest->len < len_bytes)
        return false;
    uint64_t len = dj_little_get(rest->data, len_bytes);
    if (len > rest->len - len_bytes)
        return false;
    *out_part = deja_slice(rest->data + len_bytes, (size_t)len);
    *rest = deja_slice(rest->data + len_bytes + len, rest->len - len_bytes - (size_t)len);
    return true;
}

enum deja_status dj_archive_document_write(const struct dj_archive_document *document,
                                           struct dj_buf *out)
{
    if (document->table.len > UINT8_MAX || document->key.len > UINT16_MAX ||
        document->value.len > ITEM_BYTES_MAX)
        return DEJA_ERR_LIMIT;
    put_part(out, document->table, 1);
    put_part(out, document->key, 2);
    put_part(out, document->value, 4);
    return out->status;
}

enum deja_status dj_archive_document_read(struct deja_slice *rest,
                                          struct dj_archive_document *out_document)
{
    struct deja_slice left = *rest;
    struct dj_archive_document document;
    if (!take_part(&left, 1, &document.table) || !take_part(&left, 2, &document.key) ||
        !take_part(&left, 4, &document.value))
        return DEJA_ERR_CORRUPT;
    *rest = left;
    *out_document = document;
    return DEJA_OK;
}

enum deja_status dj_archive_entry_write(const struct dj_entry *entry, const float *vector,
                                        uint32_t dim, struct dj_buf *out)
{
    static const char none[4];
    size_t begin = out->len;
    dj_buf_append(out, none, sizeof none);
    enum deja_status status = dj_frame_encode(entry, vector, dim, out);
    if (status != DEJA_OK) {
        out->len = begin < out->len ? begin : out->len;
        return status;
    }
    dj_little_put(out->data + begin, out->len - begin - sizeof none, sizeof none);
    return DEJA_OK;
}

enum deja_status dj_archive_entry_read(struct deja_slice *rest, struct deja_slice *out_frame)
{
    return take_part(rest, 4, out_frame) ? DEJA_OK : DEJA_ERR_CORRUPT;
}
