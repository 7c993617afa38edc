/* proto/zip.c - see zip.h.
 *
 *   [local header, name, extra, data]…  [central record]…  [end record, comment]
 *
 * (1) Every read goes through a range that was checked against the archive.
 * (2) A member's data ends before the central directory, so records are never read as data.
 */
#include "proto/zip.h"

#include "base/alloc.h"
#include "proto/zlib_memory.h"

#define LOCAL_BYTES 30u
#define RECORD_BYTES 46u
#define END_BYTES 22u
#define COMMENT_MAX 65535u
#define PIECE_BYTES 65536u

static uint16_t read16(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint16_t)(b[0] | b[1] << 8);
}

static uint32_t read32(const char *at)
{
    return read16(at) | (uint32_t)read16(at + 2) << 16;
}

enum deja_status dj_zip_open(struct deja_slice archive, struct dj_zip *out_zip)
{
    if (archive.len < END_BYTES)
        return DEJA_ERR_INVALID;
    size_t last = archive.len - END_BYTES;
    size_t first = last > COMMENT_MAX ? last - COMMENT_MAX : 0;
    for (size_t at = last + 1; at-- > first;) {
        const char *end = archive.data + at;
        if (memcmp(end, "PK\5\6", 4) != 0 || read16(end + 20) != last - at)
            continue;
        uint32_t count = read16(end + 10);
        uint64_t bytes = read32(end + 12);
        uint64_t offset = read32(end + 16);
        if (count == 0xffff || bytes == UINT32_MAX || offset == UINT32_MAX)
            return DEJA_ERR_UNSUPPORTED;
        if (read16(end + 4) || read16(end + 6) || read16(end + 8) != count)
            return DEJA_ERR_UNSUPPORTED;
        if (offset > at || bytes > at - offset)
            return DEJA_ERR_INVALID;
        *out_zip = (struct dj_zip){archive, (size_t)offset, (size_t)offset,
                                   (size_t)(offset + bytes), count};
        return DEJA_OK;
    }
    return DEJA_ERR_INVALID;
}

enum deja_status dj_zip_next(struct dj_zip *zip, struct dj_zip_member *out_member)
{
    size_t room = zip->directory_end - zip->cursor;
    const char *at = zip->archive.data + zip->cursor;
    if (!zip->left)
        return DEJA_ERR_NOT_FOUND;
    if (room < RECORD_BYTES || memcmp(at, "PK\1\2", 4) != 0)
        return DEJA_ERR_INVALID;
    size_t name_len = read16(at + 28);
    size_t bytes = RECORD_BYTES + name_len + read16(at + 30) + read16(at + 32);
    if (bytes > room)
        return DEJA_ERR_INVALID;
    *out_member = (struct dj_zip_member){
        .name = deja_slice(at + RECORD_BYTES, name_len),
        .bytes = read32(at + 24),
        .packed_bytes = read32(at + 20),
        .offset = read32(at + 42),
        .crc = read32(at + 16),
        .method = read16(at + 10),
        .flags = read16(at + 8),
    };
    zip->cursor += bytes;
    zip->left--;
    return DEJA_OK;
}

static enum deja_status find_data(const struct dj_zip *zip, const struct dj_zip_member *member,
                                  struct deja_slice *out_data)
{
    /* A size of all ones says that zip64 fields hold the real one. */
    if (member->bytes == UINT32_MAX || member->packed_bytes == UINT32_MAX ||
        member->offset == UINT32_MAX || (member->flags & 0x41))
        return DEJA_ERR_UNSUPPORTED;
    if (member->offset > zip->directory || zip->directory - member->offset < LOCAL_BYTES)
        return DEJA_ERR_INVALID;
    const char *at = zip->archive.data + member->offset;
    size_t room = zip->directory - member->offset;
    size_t head = LOCAL_BYTES + (size_t)read16(at + 26) + read16(at + 28);
    if (memcmp(at, "PK\3\4", 4) != 0 || read16(at + 26) != member->name.len || head > room ||
        memcmp(at + LOCAL_BYTES, member->name.data, member->name.len) != 0)
        return DEJA_ERR_INVALID;
    if (member->packed_bytes > room - head)
        return DEJA_ERR_INVALID;
    *out_data = deja_slice(at + head, (size_t)member->packed_bytes);
    return DEJA_OK;
}

static enum deja_status copy_stored(struct deja_slice data, uint32_t *crc, void *ctx,
                                    dj_zip_write_fn *write)
{
    enum deja_status status = DEJA_OK;
    for (size_t at = 0; at < data.len && status == DEJA_OK; at += PIECE_BYTES) {
        size_t len = data.len - at < PIECE_BYTES ? data.len - at : PIECE_BYTES;
        *crc = (uint32_t)crc32(*crc, (const unsigned char *)data.data + at, (unsigned)len);
        status = write(ctx, deja_slice(data.data + at, len));
    }
    return status;
}

static enum deja_status inflate_all(z_stream *stream, unsigned char *piece, uint64_t bytes,
                                    uint32_t *crc, void *ctx, dj_zip_write_fn *write)
{
    uint64_t written = 0;
    for (int result = Z_OK; result != Z_STREAM_END;) {
        stream->next_out = piece;
        stream->avail_out = PIECE_BYTES;
        result = inflate(stream, Z_NO_FLUSH);
        size_t len = PIECE_BYTES - stream->avail_out;
        if (result != Z_OK && result != Z_STREAM_END)
            return result == Z_MEM_ERROR ? DEJA_ERR_NOMEM : DEJA_ERR_INVALID;
        if (len > bytes - written)
            return DEJA_ERR_INVALID; /* more than it declares: a bomb, or broken */
        if (!len)
            continue; /* only at the end: Z_OK without progress is Z_BUF_ERROR */
        written += len;
        *crc = (uint32_t)crc32(*crc, piece, (unsigned)len);
        enum deja_status status = write(ctx, deja_slice(piece, len));
        if (status != DEJA_OK)
            return status;
    }
    return written == bytes && !stream->avail_in ? DEJA_OK : DEJA_ERR_INVALID;
}

static enum deja_status copy_deflated(struct deja_slice data, uint64_t bytes, uint32_t *crc,
                                      void *ctx, dj_zip_write_fn *write)
{
    z_stream stream = DJ_ZLIB_STREAM;
    stream.next_in = (unsigned char *)(uintptr_t)data.data; /* zlib does not write */
    stream.avail_in = (unsigned)data.len;
    unsigned char *piece = dj_alloc(PIECE_BYTES);
    if (!piece)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_ERR_NOMEM;
    if (inflateInit2(&stream, -MAX_WBITS) == Z_OK) {
        status = inflate_all(&stream, piece, bytes, crc, ctx, write);
        inflateEnd(&stream);
    }
    dj_free(piece);
    return status;
}

enum deja_status dj_zip_extract(const struct dj_zip *zip, const struct dj_zip_member *member,
                                uint64_t bytes_max, void *ctx, dj_zip_write_fn *write)
{
    struct deja_slice data;
    uint32_t crc = 0;
    enum deja_status status = find_data(zip, member, &data);
    if (status != DEJA_OK)
        return status;
    if (member->bytes > bytes_max)
        return DEJA_ERR_LIMIT;
    if (member->method == 0)
        status = data.len == member->bytes ? copy_stored(data, &crc, ctx, write) : DEJA_ERR_INVALID;
    else if (member->method == 8)
        status = copy_deflated(data, member->bytes, &crc, ctx, write);
    else
        return DEJA_ERR_UNSUPPORTED;
    if (status == DEJA_OK && crc != member->crc)
        status = DEJA_ERR_INVALID;
    return status;
}
