#include "base/buf.h"
#include "check.h"
#include "proto/compress.h"

#include <zlib.h>
#include <zstd.h>

#define PLAIN "hello hello hello hello"
#define BYTES(text) deja_slice(text, sizeof(text) - 1)

static const char gzip_bytes[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57"
                                 "\xc8\x40\x27\x01\xe3\x51\x3d\x8d\x17\x00\x00\x00";
static const char zlib_bytes[] = "\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\x68\x03\x08\xb1";
static const char raw_bytes[] = "\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01";

static enum deja_status decode(const char *encoding, struct deja_slice bytes, size_t bytes_max,
                               const char *expected)
{
    struct dj_buf out = {0};
    dj_buf_append_text(&out, ">");
    enum deja_status status = dj_decompress(deja_slice_text(encoding), bytes, bytes_max, &out);
    dj_buf_clear(&out); /* keeps the bytes, forgets a failed growth */
    out.len = status == DEJA_OK ? 1 + strlen(expected) : 1;
    if (status == DEJA_OK)
        assert_memory_equal(out.data + 1, expected, strlen(expected));
    dj_buf_fini(&out);
    return status;
}

static void every_coding_decodes(void **state)
{
    (void)state;
    char packed[100];
    size_t len = ZSTD_compress(packed, sizeof packed, PLAIN, sizeof PLAIN - 1, 1);
    assert_int_equal(decode("gzip", BYTES(gzip_bytes), 100, PLAIN), DEJA_OK);
    assert_int_equal(decode("X-GZip", BYTES(gzip_bytes), 23, PLAIN), DEJA_OK);
    assert_int_equal(decode("deflate", BYTES(zlib_bytes), 100, PLAIN), DEJA_OK);
    assert_int_equal(decode("deflate", BYTES(raw_bytes), 100, PLAIN), DEJA_OK);
    assert_int_equal(decode("zstd", deja_slice(packed, len), 23, PLAIN), DEJA_OK);
    assert_int_equal(decode("identity", BYTES(PLAIN), 23, PLAIN), DEJA_OK);
    assert_int_equal(decode("", BYTES(PLAIN), 23, PLAIN), DEJA_OK);
    assert_int_equal(decode("br", BYTES(PLAIN), 23, ""), DEJA_ERR_UNSUPPORTED);
    assert_int_equal(decode("gzip, gzip", BYTES(gzip_bytes), 23, ""), DEJA_ERR_UNSUPPORTED);
}

static void gzip_members_are_joined(void **state)
{
    (void)state;
    char two[2 * sizeof gzip_bytes];
    size_t len = sizeof gzip_bytes - 1;
    memcpy(two, gzip_bytes, len);
    memcpy(two + len, gzip_bytes, len);
    assert_int_equal(decode("gzip", deja_slice(two, 2 * len), 100, PLAIN PLAIN), DEJA_OK);
}

static void broken_bodies_are_refused(void **state)
{
    (void)state;
    char packed[100];
    size_t len = ZSTD_compress(packed, sizeof packed, PLAIN, sizeof PLAIN - 1, 1);
    for (size_t cut = 0; cut + 1 < sizeof gzip_bytes; cut++)
        assert_int_equal(decode("gzip", deja_slice(gzip_bytes, cut), 100, ""), DEJA_ERR_INVALID);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(decode("zstd", deja_slice(packed, cut), 100, ""), DEJA_ERR_INVALID);
    packed[len] = 'x';
    assert_int_equal(decode("zstd", deja_slice(packed, len + 1), 100, ""), DEJA_ERR_INVALID);
    assert_int_equal(decode("gzip", deja_slice_text("plain text"), 100, ""), DEJA_ERR_INVALID);
    assert_int_equal(decode("deflate", deja_slice_text("plain text"), 100, ""), DEJA_ERR_INVALID);
    assert_int_equal(decode("zstd", deja_slice_text("plain text"), 100, ""), DEJA_ERR_INVALID);
    char trailing[sizeof zlib_bytes];
    memcpy(trailing, zlib_bytes, sizeof zlib_bytes); /* with its final NUL as one byte too many */
    assert_int_equal(decode("deflate", deja_slice(trailing, sizeof trailing), 100, ""),
                     DEJA_ERR_INVALID);
}

static void more_than_the_bound_is_refused(void **state)
{
    (void)state;
    char packed[100];
    size_t len = ZSTD_compress(packed, sizeof packed, PLAIN, sizeof PLAIN - 1, 1);
    assert_int_equal(decode("gzip", BYTES(gzip_bytes), 22, ""), DEJA_ERR_LIMIT);
    assert_int_equal(decode("deflate", BYTES(raw_bytes), 0, ""), DEJA_ERR_LIMIT);
    assert_int_equal(decode("zstd", deja_slice(packed, len), 22, ""), DEJA_ERR_LIMIT);
    assert_int_equal(decode("identity", BYTES(PLAIN), 22, ""), DEJA_ERR_LIMIT);
}

static void bombs_stop_at_a_hundredfold(void **state)
{
    (void)state;
    const size_t len = (size_t)16 << 20;
    char *zeros = test_calloc(1, len);
    char *packed = test_malloc(len);
    uLongf packed_len = len;
    assert_int_equal(compress2((Bytef *)packed, &packed_len, (const Bytef *)zeros, len, 9), Z_OK);
    struct dj_buf out = {0};
    assert_int_equal(
        dj_decompress(deja_slice_text("deflate"), deja_slice(packed, packed_len), SIZE_MAX, &out),
        DEJA_ERR_LIMIT);
    assert_true(out.cap < 4 * packed_len * 100);
    assert_int_equal(out.len, 0);
    dj_buf_fini(&out);
    size_t zstd_len = ZSTD_compress(packed, len, zeros, len, 1);
    assert_int_equal(
        dj_decompress(deja_slice_text("zstd"), deja_slice(packed, zstd_len), SIZE_MAX, &out),
        DEJA_ERR_LIMIT);
    dj_buf_fini(&out);
    test_free(packed);
    test_free(zeros);
}

static void decompress_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = decode("gzip", BYTES(gzip_bytes), 100, PLAIN);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        if (n > 1) /* the first is the test's own */
            assert_int_equal(status, DEJA_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_coding_decodes),
        cmocka_unit_test(gzip_members_are_joined),
        cmocka_unit_test(broken_bodies_are_refused),
        cmocka_unit_test(more_than_the_bound_is_refused),
        cmocka_unit_test(bombs_stop_at_a_hundredfold),
        cmocka_unit_test(decompress_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
