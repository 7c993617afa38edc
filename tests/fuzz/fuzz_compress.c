/* No packed body gives more than its bound, none changes what was there when it is refused, and
 * what was packed comes out again. The first byte says the coding; a zip archive is read member by
 * member.
 */
#include "fuzz.h"

#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "proto/compress.h"
#include "proto/zip.h"

#define BYTES_MAX 100000u
#define MEMBERS_MAX 64u

static void check_decode(const char *coding, struct deja_slice bytes)
{
    struct dj_buf out = {0};
    dj_buf_append_text(&out, ">");
    enum deja_status status = dj_decompress(deja_slice_text(coding), bytes, BYTES_MAX, &out);
    FUZZ_CHECK(out.len >= 1 && out.data[0] == '>');
    if (status == DEJA_OK) {
        size_t len = out.len - 1;
        FUZZ_CHECK(len <= BYTES_MAX);
        /* One byte less is too little; nothing of it stays. */
        if (len) {
            struct dj_buf less = {0};
            FUZZ_CHECK(dj_decompress(deja_slice_text(coding), bytes, len - 1, &less) ==
                       DEJA_ERR_LIMIT);
            FUZZ_CHECK(less.len == 0);
            dj_buf_fini(&less);
        }
    } else {
        FUZZ_CHECK(out.len == 1);
    }
    dj_buf_fini(&out);
}

static enum deja_status count_bytes(void *ctx, struct deja_slice bytes)
{
    *(uint64_t *)ctx += bytes.len;
    return DEJA_OK;
}

static void check_zip(struct deja_slice archive)
{
    struct dj_zip zip;
    struct dj_zip_member member;
    if (dj_zip_open(archive, &zip) != DEJA_OK)
        return;
    for (unsigned i = 0; i < MEMBERS_MAX && dj_zip_next(&zip, &member) == DEJA_OK; i++) {
        uint64_t written = 0;
        FUZZ_CHECK(member.name.data >= archive.data &&
                   member.name.data + member.name.len <= archive.data + archive.len);
        enum deja_status status = dj_zip_extract(&zip, &member, BYTES_MAX, &written, count_bytes);
        FUZZ_CHECK(written <= BYTES_MAX);
        FUZZ_CHECK(status != DEJA_OK || written == member.bytes);
    }
}

static void check_round_trip(const char *coding, struct deja_slice packed, struct deja_slice bytes)
{
    struct dj_buf out = {0};
    FUZZ_CHECK(dj_decompress(deja_slice_text(coding), packed, bytes.len, &out) == DEJA_OK);
    FUZZ_CHECK(deja_slice_is_equal(dj_buf_slice(&out), bytes));
    dj_buf_fini(&out);
}

static void pack(struct deja_slice bytes)
{
    static uint8_t packed[8192];
    uLongf deflated = sizeof packed;
    size_t len = ZSTD_compress(packed, sizeof packed, bytes.data, bytes.len, 1);
    FUZZ_CHECK(!ZSTD_isError(len));
    check_round_trip("zstd", deja_slice(packed, len), bytes);
    FUZZ_CHECK(compress2(packed, &deflated, (const Bytef *)bytes.data, bytes.len, 1) == Z_OK);
    check_round_trip("deflate", deja_slice(packed, deflated), bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const codings[] = {"gzip", "deflate", "zstd", "identity", "br"};
    if (len < 2 || len > 65536)
        return 0;
    struct deja_slice rest = deja_slice(data + 1, len - 1);
    unsigned which = data[0] % 8;
    if (which < sizeof codings / sizeof *codings)
        check_decode(codings[which], rest);
    else if (which < 7)
        check_zip(rest);
    else if (rest.len <= 4096)
        pack(rest);
    return 0;
}
