/* proto/record.c - the bytes of an entry outside memory. docs/adr/0004 says why they look so.
 *
 * Trust: our own files, checksummed; a store may still hand back anything, so every length is
 * checked and nothing is believed before the checksum is right. All numbers are little-endian.
 *
 *   header, 32 bytes                      payload (after zstd, if flag 1)
 *    0  "DJE1"                              0  tenant 16, id 16, exact 32, scope 16
 *    4  format version, 1 byte             80  version, created, expires, stale until,
 *    5  flags, 1 byte: 1 = zstd                 tenant generation: 8 each
 *    6  zero, 2 bytes                     120  cost: 8, an IEEE 754 double
 *    8  key id, 4 bytes: 0 = body not sealed  128  input tokens, output tokens, make ms: 4 each
 *   12  payload bytes stored, 4           140  kind 1, tag count 1, zero 2
 *   16  payload bytes unpacked, 4         144  query, namespace, model, provider, embedder id,
 *   20  zero, 4 bytes                          metadata, body: each length 4 and bytes
 *   24  checksum, 8 bytes                   …  tags: each length 4, bytes, generation 8
 *
 * checksum = XXH3-64 of the stored payload, seeded with the XXH3-64 of the 24 bytes before it.
 *
 * (1) A record says the same about its lengths in the header, in the payload and by its own end.
 * (2) A change of this picture is a new format version; tests hold golden bytes.
 */
#include "proto/record.h"

#include <assert.h>

#include <zstd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/little.h"
#include "proto/zlib_memory.h"

#define HEADER_BYTES 32u
#define CHECKSUM_OFFSET 24u
#define FORMAT_VERSION 1u
#define FLAG_ZSTD 1u
#define FLAG_GZIP 2u
#define FIXED_BYTES 144u
#define TEXT_COUNT 7u

#define NAME_BYTES_MAX 4096u                 /* namespace, model, provider, embedder, tag */
#define METADATA_BYTES_MAX ((size_t)1 << 20) /* JSON object */
#define TEXT_BYTES_MAX ((size_t)64 << 20)    /* query, body */
#define PACK_BYTES_MIN 1024u
#define ZSTD_LEVEL 1 /* answers are packed where a client waits */
#define GZIP_LEVEL 6
#define GZIP_WINDOW (15 + 16) /* with its own head and end */
#define GZIP_MEMORY 8

static const char magic[4] = {'D', 'J', 'E', '1'};

static_assert(DJ_ENTRY_TAGS_MAX <= UINT8_MAX, "tag count is one byte");

static void put_number(struct dj_buf *buf, uint64_t value, unsigned bytes)
{
    char out[8];
    dj_little_put(out, value, bytes);
    dj_buf_append(buf, out, bytes);
}

static void put_text(struct dj_buf *buf, struct deja_slice text)
{
    put_number(buf, text.len, 4);
    dj_buf_append_slice(buf, text);
}

static enum deja_status check_lengths(const struct dj_entry *entry)
{
    const struct deja_slice names[] = {entry->name_space, entry->model, entry->provider,
                                       entry->embedder_id};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].len > NAME_BYTES_MAX)
            return DEJA_ERR_LIMIT;
    if (entry->metadata.len > METADATA_BYTES_MAX || entry->query.len > TEXT_BYTES_MAX ||
        entry->body.len > TEXT_BYTES_MAX || entry->tag_count > DJ_ENTRY_TAGS_MAX)
        return DEJA_ERR_LIMIT;
    for (size_t i = 0; i < entry->tag_count; i++)
        if (entry->tags[i].name.len > NAME_BYTES_MAX)
            return DEJA_ERR_LIMIT;
    return DEJA_OK;
}

static uint64_t bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static void put_payload(struct dj_buf *buf, const struct dj_entry *entry)
{
    dj_buf_append(buf, entry->tenant, DJ_ID_BYTES);
    dj_buf_append(buf, entry->id, DJ_ID_BYTES);
    dj_buf_append(buf, entry->exact, DJ_DIGEST_BYTES);
    dj_buf_append(buf, entry->scope, DJ_ID_BYTES);
    put_number(buf, entry->version, 8);
    put_number(buf, (uint64_t)entry->created_ms, 8);
    put_number(buf, (uint64_t)entry->expires_ms, 8);
    put_number(buf, (uint64_t)entry->stale_until_ms, 8);
    put_number(buf, entry->tenant_generation, 8);
    put_number(buf, bits_of(entry->cost_usd), 8);
    put_number(buf, entry->input_tokens, 4);
    put_number(buf, entry->output_tokens, 4);
    put_number(buf, entry->make_ms, 4);
    put_number(buf, entry->kind, 1);
    put_number(buf, entry->tag_count, 1);
    put_number(buf, 0, 2);
    put_text(buf, entry->query);
    put_text(buf, entry->name_space);
    put_text(buf, entry->model);
    put_text(buf, entry->provider);
    put_text(buf, entry->embedder_id);
    put_text(buf, entry->metadata);
    put_text(buf, entry->body);
    for (size_t i = 0; i < entry->tag_count; i++) {
        put_text(buf, entry->tags[i].name);
        put_number(buf, entry->tags[i].generation, 8);
    }
}

static uint64_t checksum_of(const char *header, struct deja_slice payload)
{
    return dj_hash64(payload.data, payload.len, dj_hash64(header, CHECKSUM_OFFSET, 0));
}

/* Of len bytes into *packed, whose end it sets; false: it could not. */
static bool pack_gzip(const char *bytes, size_t len, int level, struct dj_buf *packed)
{
    z_stream stream = DJ_ZLIB_STREAM;
    if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return false;
    uLong bound = deflateBound(&stream, (uLong)len);
    char *room = dj_buf_reserve(packed, bound);
    stream.next_in = (Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)len;
    stream.next_out = (Bytef *)room;
    stream.avail_out = room ? (uInt)bound : 0;
    bool is_whole = room && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    packed->len = is_whole ? stream.total_out : 0;
    deflateEnd(&stream);
    return is_whole;
}

static bool pack_zstd(const char *bytes, size_t len, int level, struct dj_buf *packed)
{
    size_t bound = ZSTD_compressBound(len);
    char *room = dj_buf_reserve(packed, bound);
    size_t packed_len = room ? ZSTD_compress(room, bound, bytes, len, level) : 0;
    if (!room || ZSTD_isError(packed_len))
        return false;
    packed->len = packed_len;
    return true;
}

/* Replaces the payload at `start` by its packed form if that is shorter by an eighth at least;
 * otherwise, or without memory, it stays as it is. The flag that says so; 0: it stayed. */
static unsigned pack(const struct dj_packing *packing, struct dj_buf *out, size_t start)
{
    size_t len = out->len - start;
    bool is_gzip = packing->packer == DJ_PACKER_GZIP;
    uint32_t level = packing->level ? packing->level : is_gzip ? GZIP_LEVEL : ZSTD_LEVEL;
    if (packing->packer == DJ_PACKER_NONE ||
        len < (packing->bytes_min ? packing->bytes_min : PACK_BYTES_MIN))
        return 0;
    struct dj_buf packed = {0};
    bool is_packed = is_gzip ? pack_gzip(out->data + start, len, (int)level, &packed)
                             : pack_zstd(out->data + start, len, (int)level, &packed);
    bool is_better = is_packed && packed.len <= len - len / 8;
    if (is_better) {
        memcpy(out->data + start, packed.data, packed.len);
        out->len = start + packed.len;
    }
    dj_buf_fini(&packed);
    return !is_better ? 0 : is_gzip ? FLAG_GZIP : FLAG_ZSTD;
}

enum deja_status dj_record_encode(const struct dj_entry *entry, struct dj_buf *out)
{
    return dj_record_encode_with(NULL, entry, out);
}

enum deja_status dj_record_encode_with(const struct dj_packing *packing,
                                       const struct dj_entry *entry, struct dj_buf *out)
{
    static const struct dj_packing by_default;
    static const char no_header[HEADER_BYTES] = {0};
    enum deja_status status = check_lengths(entry);
    if (status == DEJA_OK)
        status = out->status;
    if (status != DEJA_OK)
        return status;
    size_t start = out->len;
    dj_buf_append(out, no_header, HEADER_BYTES);
    size_t payload_start = out->len;
    put_payload(out, entry);
    if (out->status != DEJA_OK) {
        out->len = start;
        return out->status;
    }
    size_t unpacked_len = out->len - payload_start;
    /* What is sealed was packed before. */
    unsigned flags = entry->key_id ? 0 : pack(packing ? packing : &by_default, out, payload_start);
    size_t end = out->len;
    out->len = start; /* the header is written into the room kept for it */
    dj_buf_append(out, magic, sizeof magic);
    put_number(out, FORMAT_VERSION, 1);
    put_number(out, flags, 1);
    put_number(out, 0, 2);
    put_number(out, entry->key_id, 4);
    put_number(out, end - payload_start, 4);
    put_number(out, unpacked_len, 4);
    put_number(out, 0, 4);
    put_number(
        out,
        checksum_of(out->data + start, deja_slice(out->data + payload_start, end - payload_start)),
        8);
    out->len = end;
    return out->status;
}

/* Takes from the front; after the first shortage everything is empty and has_failed stays set. */
struct reader {
    struct deja_slice left;
    bool has_failed;
};

static struct deja_slice take(struct reader *reader, size_t len)
{
    if (reader->has_failed || len > reader->left.len) {
        reader->has_failed = true;
        return deja_slice(NULL, 0);
    }
    struct deja_slice taken = deja_slice(reader->left.data, len);
    reader->left = deja_slice(reader->left.data + len, reader->left.len - len);
    return taken;
}

static uint64_t take_number(struct reader *reader, unsigned bytes)
{
    struct deja_slice taken = take(reader, bytes);
    return dj_little_get(taken.data, taken.len);
}

static struct deja_slice take_text(struct reader *reader)
{
    return take(reader, take_number(reader, 4));
}

static void take_bytes(struct reader *reader, uint8_t *out, size_t len)
{
    struct deja_slice taken = take(reader, len);
    if (taken.len)
        memcpy(out, taken.data, taken.len);
}

static void take_fixed(struct reader *reader, struct dj_entry *entry)
{
    take_bytes(reader, entry->tenant, DJ_ID_BYTES);
    take_bytes(reader, entry->id, DJ_ID_BYTES);
    take_bytes(reader, entry->exact, DJ_DIGEST_BYTES);
    take_bytes(reader, entry->scope, DJ_ID_BYTES);
    entry->version = take_number(reader, 8);
    entry->created_ms = (int64_t)take_number(reader, 8);
    entry->expires_ms = (int64_t)take_number(reader, 8);
    entry->stale_until_ms = (int64_t)take_number(reader, 8);
    entry->tenant_generation = take_number(reader, 8);
    uint64_t cost_bits = take_number(reader, 8);
    memcpy(&entry->cost_usd, &cost_bits, sizeof entry->cost_usd);
    entry->input_tokens = (uint32_t)take_number(reader, 4);
    entry->output_tokens = (uint32_t)take_number(reader, 4);
    entry->make_ms = (uint32_t)take_number(reader, 4);
    entry->kind = (uint8_t)take_number(reader, 1);
    entry->tag_count = take_number(reader, 1);
    if (take_number(reader, 2))
        reader->has_failed = true;
}

static enum deja_status read_payload(struct deja_slice payload, struct dj_entry *out_entry)
{
    struct reader reader = {.left = payload};
    struct dj_entry entry = {0};
    take_fixed(&reader, &entry);
    struct deja_slice *const texts[TEXT_COUNT] = {
        &entry.query,       &entry.name_space, &entry.model, &entry.provider,
        &entry.embedder_id, &entry.metadata,   &entry.body,
    };
    for (size_t i = 0; i < TEXT_COUNT; i++)
        *texts[i] = take_text(&reader);
    if (entry.tag_count > DJ_ENTRY_TAGS_MAX)
        return DEJA_ERR_CORRUPT;
    for (size_t i = 0; i < entry.tag_count; i++) {
        entry.tags[i].name = take_text(&reader);
        entry.tags[i].generation = take_number(&reader, 8);
    }
    if (reader.has_failed || reader.left.len || check_lengths(&entry) != DEJA_OK)
        return DEJA_ERR_CORRUPT;
    if (entry.kind < DJ_ENTRY_CHAT || entry.kind > DJ_ENTRY_PLAIN)
        return DEJA_ERR_UNSUPPORTED;
    *out_entry = entry;
    return DEJA_OK;
}

struct header {
    unsigned flags;
    uint32_t key_id;
    size_t stored_len;
    size_t unpacked_len;
};

static enum deja_status read_header(struct deja_slice record, struct header *out_header)
{
    struct reader reader = {.left = record};
    struct deja_slice mark = take(&reader, sizeof magic);
    if (!deja_slice_is_equal(mark, deja_slice(magic, sizeof magic)))
        return DEJA_ERR_CORRUPT;
    uint64_t version = take_number(&reader, 1);
    if (version > FORMAT_VERSION)
        return DEJA_ERR_UNSUPPORTED; /* its header may look different from here on */
    struct header header;
    header.flags = (unsigned)take_number(&reader, 1);
    uint64_t zeros = take_number(&reader, 2);
    header.key_id = (uint32_t)take_number(&reader, 4);
    header.stored_len = take_number(&reader, 4);
    header.unpacked_len = take_number(&reader, 4);
    zeros |= take_number(&reader, 4);
    uint64_t checksum = take_number(&reader, 8);
    if (reader.has_failed || !version || zeros || header.stored_len != reader.left.len ||
        checksum != checksum_of(record.data, reader.left))
        return DEJA_ERR_CORRUPT;
    if (header.flags & ~(FLAG_ZSTD | FLAG_GZIP))
        return DEJA_ERR_UNSUPPORTED; /* whole, but made by a build that can do more */
    *out_header = header;
    return DEJA_OK;
}

size_t dj_record_plain_bytes(struct deja_slice record)
{
    struct header header;
    return read_header(record, &header) == DEJA_OK ? HEADER_BYTES + header.unpacked_len : 0;
}

/* struct dj_unpacker is zstd's own context under a name of ours. */
struct dj_unpacker *dj_unpacker_create(void)
{
    return (struct dj_unpacker *)(void *)ZSTD_createDCtx();
}

void dj_unpacker_destroy(struct dj_unpacker *unpacker)
{
    ZSTD_freeDCtx((ZSTD_DCtx *)(void *)unpacker);
}

/* Into room, which holds room_len bytes: never more. */
static enum deja_status unpack_gzip(struct deja_slice stored, char *room, size_t room_len,
                                    size_t *out_len)
{
    z_stream stream = DJ_ZLIB_STREAM;
    int code = inflateInit2(&stream, GZIP_WINDOW);
    if (code != Z_OK)
        return code == Z_MEM_ERROR ? DEJA_ERR_NOMEM : DEJA_ERR_CORRUPT;
    stream.next_in = (Bytef *)(uintptr_t)stored.data;
    stream.avail_in = (uInt)stored.len;
    stream.next_out = (Bytef *)room;
    stream.avail_out = (uInt)room_len;
    code = inflate(&stream, Z_FINISH);
    *out_len = stream.total_out;
    bool is_whole = code == Z_STREAM_END && stream.avail_in == 0;
    inflateEnd(&stream);
    return is_whole ? DEJA_OK : code == Z_MEM_ERROR ? DEJA_ERR_NOMEM : DEJA_ERR_CORRUPT;
}

static enum deja_status unpack(struct dj_unpacker *unpacker, const struct header *header,
                               struct deja_slice stored, struct dj_buf *scratch)
{
    dj_buf_clear(scratch);
    char *room = dj_buf_reserve(scratch, header->unpacked_len);
    if (!room)
        return scratch->status;
    size_t len = stored.len;
    if (header->flags & FLAG_GZIP) {
        enum deja_status status = unpack_gzip(stored, room, header->unpacked_len, &len);
        if (status != DEJA_OK)
            return status;
    } else if (header->flags & FLAG_ZSTD) {
        /* Made here, so that want of memory is not taken for damage: what is damaged is removed. */
        ZSTD_DCtx *own = unpacker ? NULL : ZSTD_createDCtx();
        ZSTD_DCtx *context = unpacker ? (ZSTD_DCtx *)(void *)unpacker : own;
        if (!context)
            return DEJA_ERR_NOMEM;
        len = ZSTD_decompressDCtx(context, room, header->unpacked_len, stored.data, stored.len);
        ZSTD_freeDCtx(own);
        if (ZSTD_isError(len))
            return DEJA_ERR_CORRUPT;
    } else if (len == header->unpacked_len) {
        memcpy(room, stored.data, len);
    }
    if (len != header->unpacked_len)
        return DEJA_ERR_CORRUPT;
    scratch->len = len;
    return DEJA_OK;
}

enum deja_status dj_record_decode(struct deja_slice record, size_t payload_bytes_max,
                                  struct dj_buf *scratch, struct dj_entry *out_entry)
{
    return dj_record_decode_with(NULL, record, payload_bytes_max, scratch, out_entry);
}

enum deja_status dj_record_decode_with(struct dj_unpacker *unpacker, struct deja_slice record,
                                       size_t payload_bytes_max, struct dj_buf *scratch,
                                       struct dj_entry *out_entry)
{
    struct header header;
    enum deja_status status = read_header(record, &header);
    if (status != DEJA_OK)
        return status;
    if (header.unpacked_len > payload_bytes_max)
        return DEJA_ERR_LIMIT;
    if (header.unpacked_len < FIXED_BYTES)
        return DEJA_ERR_CORRUPT;
    struct deja_slice stored = deja_slice(record.data + HEADER_BYTES, header.stored_len);
    status = unpack(unpacker, &header, stored, scratch);
    if (status == DEJA_OK)
        status = read_payload(dj_buf_slice(scratch), out_entry);
    if (status == DEJA_OK)
        out_entry->key_id = header.key_id;
    return status;
}
