/* proto/compress.c - content codings of request and answer bodies, over zlib and zstd.
 *
 * Trust: untrusted. Two bounds against bombs, whichever is lower: the caller's, and 100 times the
 * bytes that came (deflate alone could do 1,032), the latter never below 1 MiB, so that a small
 * body of blanks is no crime. zstd frames may not ask for a window above 8 MiB (RFC 9659).
 */
#include "proto/compress.h"

#include <zstd.h>

#include "proto/http_text.h"
#include "proto/zlib_memory.h"

#define RATIO_MAX 100u
#define RATIO_FREE_BYTES ((size_t)1 << 20)
#define ZSTD_WINDOW_LOG_MAX 23
#define STEP_BYTES 32768u

/* Where decoded bytes go: room for one byte more than the bound tells "exactly" from "more". */
struct sink {
    struct dj_buf *out;
    size_t start;
    size_t bytes_max;
};

static char *reserve(const struct sink *sink, size_t *out_room)
{
    size_t left = sink->bytes_max - (sink->out->len - sink->start);
    size_t room = left < STEP_BYTES ? left + 1 : STEP_BYTES;
    *out_room = room;
    return dj_buf_reserve(sink->out, room);
}

static bool is_over(const struct sink *sink)
{
    return sink->out->len - sink->start > sink->bytes_max;
}

/* One step of inflate into the sink; *out_code is zlib's. */
static enum deja_status inflate_step(z_stream *stream, const struct sink *sink, int *out_code)
{
    size_t room = 0;
    char *at = reserve(sink, &room);
    if (!at)
        return sink->out->status;
    stream->next_out = (Bytef *)at;
    stream->avail_out = (uInt)room;
    *out_code = inflate(stream, Z_NO_FLUSH);
    size_t made = room - stream->avail_out;
    sink->out->len += made;
    if (is_over(sink))
        return DEJA_ERR_LIMIT;
    if (*out_code == Z_MEM_ERROR)
        return DEJA_ERR_NOMEM;
    /* Z_BUF_ERROR: no input is left though the stream has not ended. */
    return *out_code == Z_OK || *out_code == Z_STREAM_END ? DEJA_OK : DEJA_ERR_INVALID;
}

static enum deja_status inflate_all(struct deja_slice bytes, int window_bits, bool has_members,
                                    const struct sink *sink)
{
    z_stream stream = DJ_ZLIB_STREAM;
    if (bytes.len > UINT32_MAX)
        return DEJA_ERR_LIMIT;
    stream.next_in = (Bytef *)(uintptr_t)bytes.data; /* zlib reads it only */
    stream.avail_in = (uInt)bytes.len;
    if (inflateInit2(&stream, window_bits) != Z_OK)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_OK;
    int code = Z_OK;
    while (status == DEJA_OK) {
        status = inflate_step(&stream, sink, &code);
        if (status != DEJA_OK || code != Z_STREAM_END)
            continue;
        if (!stream.avail_in)
            break;
        if (!has_members || inflateReset(&stream) != Z_OK)
            status = DEJA_ERR_INVALID; /* bytes after the end */
    }
    int ended = inflateEnd(&stream);
    return ended == Z_OK ? status : DEJA_ERR_INVALID;
}

/* "deflate" means zlib's wrapper, though some send the bare stream; the first two bytes tell. */
static int deflate_window_bits(struct deja_slice bytes)
{
    if (bytes.len < 2)
        return MAX_WBITS;
    unsigned first = (unsigned char)bytes.data[0];
    unsigned second = (unsigned char)bytes.data[1];
    return (first & 15) == 8 && (first * 256 + second) % 31 == 0 ? MAX_WBITS : -MAX_WBITS;
}

static enum deja_status zstd_all(struct deja_slice bytes, const struct sink *sink)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        return DEJA_ERR_NOMEM;
    enum deja_status status = DEJA_OK;
    ZSTD_inBuffer in = {.src = bytes.data, .size = bytes.len};
    size_t left = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    if (ZSTD_isError(left))
        status = DEJA_ERR_UNSUPPORTED;
    while (status == DEJA_OK) {
        size_t room = 0;
        char *at = reserve(sink, &room);
        if (!at) {
            status = sink->out->status;
            break;
        }
        ZSTD_outBuffer out = {.dst = at, .size = room};
        left = ZSTD_decompressStream(context, &out, &in);
        sink->out->len += out.pos;
        if (is_over(sink))
            status = DEJA_ERR_LIMIT;
        else if (ZSTD_isError(left))
            status = DEJA_ERR_INVALID;
        else if (in.pos == in.size && out.pos < out.size)
            break; /* nothing more to read, nothing held back */
    }
    ZSTD_freeDCtx(context);
    return status == DEJA_OK && left != 0 ? DEJA_ERR_INVALID : status;
}

static enum deja_status decode(struct deja_slice encoding, struct deja_slice bytes,
                               const struct sink *sink)
{
    if (!encoding.len || dj_http_is_same(encoding, "identity")) {
        if (bytes.len > sink->bytes_max)
            return DEJA_ERR_LIMIT;
        dj_buf_append_slice(sink->out, bytes);
        return sink->out->status;
    }
    bool is_gzip = dj_http_is_same(encoding, "gzip") || dj_http_is_same(encoding, "x-gzip");
    bool is_deflate = dj_http_is_same(encoding, "deflate");
    bool is_zstd = dj_http_is_same(encoding, "zstd");
    if (!is_gzip && !is_deflate && !is_zstd)
        return DEJA_ERR_UNSUPPORTED;
    if (!bytes.len)
        return DEJA_ERR_INVALID;
    if (is_zstd)
        return zstd_all(bytes, sink);
    int window_bits = is_gzip ? MAX_WBITS + 16 : deflate_window_bits(bytes);
    return inflate_all(bytes, window_bits, is_gzip, sink);
}

enum deja_status dj_decompress(struct deja_slice encoding, struct deja_slice bytes,
                               size_t bytes_max, struct dj_buf *out)
{
    if (out->status != DEJA_OK)
        return out->status;
    bool is_coded = encoding.len && !dj_http_is_same(encoding, "identity");
    size_t by_ratio = bytes.len < SIZE_MAX / RATIO_MAX ? bytes.len * RATIO_MAX : SIZE_MAX;
    if (by_ratio < RATIO_FREE_BYTES)
        by_ratio = RATIO_FREE_BYTES;
    struct sink sink = {.out = out, .start = out->len, .bytes_max = bytes_max};
    if (is_coded && by_ratio < bytes_max)
        sink.bytes_max = by_ratio;
    enum deja_status status = decode(encoding, bytes, &sink);
    if (status != DEJA_OK)
        out->len = sink.start;
    return status;
}
