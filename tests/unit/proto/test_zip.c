#include "proto/zip.h"

#include <zlib.h>

#include "base/buf.h"
#include "check.h"

static void put16(struct dj_buf *buf, unsigned value)
{
    dj_buf_append_byte(buf, (char)(value & 255));
    dj_buf_append_byte(buf, (char)(value >> 8 & 255));
}

static void put32(struct dj_buf *buf, uint32_t value)
{
    put16(buf, value & 0xffff);
    put16(buf, value >> 16);
}

struct member {
    const char *name;
    const char *packed;
    uint32_t packed_len, bytes, crc;
    unsigned method, flags;
};

/* One member; what it claims may be false. */
static struct dj_buf make_zip(const struct member *m)
{
    struct dj_buf zip = {0};
    unsigned name_len = (unsigned)strlen(m->name);
    dj_buf_append(&zip, "PK\3\4\24\0", 6);
    put16(&zip, m->flags);
    put16(&zip, m->method);
    put32(&zip, 0);
    put32(&zip, m->crc);
    put32(&zip, m->packed_len);
    put32(&zip, m->bytes);
    put16(&zip, name_len);
    put16(&zip, 0);
    dj_buf_append_text(&zip, m->name);
    dj_buf_append(&zip, m->packed, m->packed_len);
    size_t directory = zip.len;
    dj_buf_append(&zip, "PK\1\2\24\0\24\0", 8);
    put16(&zip, m->flags);
    put16(&zip, m->method);
    put32(&zip, 0);
    put32(&zip, m->crc);
    put32(&zip, m->packed_len);
    put32(&zip, m->bytes);
    put16(&zip, name_len);
    for (int i = 0; i < 4; i++)
        put16(&zip, 0);
    put32(&zip, 0);
    put32(&zip, 0); /* local header at 0 */
    dj_buf_append_text(&zip, m->name);
    size_t directory_len = zip.len - directory;
    dj_buf_append(&zip, "PK\5\6\0\0\0\0\1\0\1\0", 12);
    put32(&zip, (uint32_t)directory_len);
    put32(&zip, (uint32_t)directory);
    put16(&zip, 0);
    assert_int_equal(zip.status, DEJA_OK);
    return zip;
}

static enum deja_status collect(void *ctx, struct deja_slice bytes)
{
    struct dj_buf *out = ctx;
    dj_buf_append_slice(out, bytes);
    return out->status;
}

static enum deja_status extract(struct deja_slice archive, uint64_t bytes_max, struct dj_buf *out)
{
    struct dj_zip zip;
    struct dj_zip_member member;
    enum deja_status status = dj_zip_open(archive, &zip);
    if (status == DEJA_OK)
        status = dj_zip_next(&zip, &member);
    if (status == DEJA_OK)
        status = dj_zip_extract(&zip, &member, bytes_max, out, collect);
    return status;
}

static uint32_t deflate_raw(const char *text, size_t len, char *out, size_t cap)
{
    z_stream stream = {.next_in = (unsigned char *)(uintptr_t)text, .avail_in = (unsigned)len};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, 0), Z_OK);
    stream.next_out = (unsigned char *)out;
    stream.avail_out = (unsigned)cap;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    uint32_t made = (uint32_t)stream.total_out;
    deflateEnd(&stream);
    return made;
}

static uint32_t crc_of(const char *text, size_t len)
{
    return (uint32_t)crc32(0, (const unsigned char *)text, (unsigned)len);
}

static struct member hello(char *packed, size_t cap)
{
    const char *text = "hello hello hello hello";
    uint32_t len = (uint32_t)strlen(text);
    return (struct member){.name = "a/b.txt",
                           .packed = packed,
                           .packed_len = deflate_raw(text, len, packed, cap),
                           .bytes = len,
                           .crc = crc_of(text, len),
                           .method = 8};
}

static void stored_and_deflated_members_come_out(void **state)
{
    (void)state;
    char packed[200];
    struct member m = hello(packed, sizeof packed);
    struct dj_buf zip = make_zip(&m);
    struct dj_buf out = {0};
    assert_int_equal(extract(dj_buf_slice(&zip), 1000, &out), DEJA_OK);
    assert_int_equal(out.len, m.bytes);
    assert_memory_equal(out.data, "hello hello hello hello", out.len);
    dj_buf_fini(&zip);
    dj_buf_clear(&out);
    m = (struct member){"x", "plain", 5, 5, crc_of("plain", 5), 0, 0};
    zip = make_zip(&m);
    assert_int_equal(extract(dj_buf_slice(&zip), 5, &out), DEJA_OK);
    assert_memory_equal(out.data, "plain", 5);
    dj_buf_fini(&zip);
    dj_buf_fini(&out);
}

static void claims_that_are_false_are_refused(void **state)
{
    (void)state;
    char packed[200];
    for (int i = 0; i < 9; i++) {
        struct member m = hello(packed, sizeof packed);
        enum deja_status expected = DEJA_ERR_INVALID;
        uint64_t bytes_max = 1000;
        m.crc += i == 0;
        m.bytes -= i == 1; /* a bomb gives more than it declares */
        m.bytes += i == 2;
        m.packed_len -= i == 3 ? 2 : 0;
        if (i == 4)
            m.bytes = UINT32_MAX, expected = DEJA_ERR_UNSUPPORTED; /* zip64 */
        if (i == 5)
            m.flags = 1, expected = DEJA_ERR_UNSUPPORTED; /* encrypted */
        if (i == 6)
            m.method = 12, expected = DEJA_ERR_UNSUPPORTED;
        if (i == 7)
            bytes_max = m.bytes - 1, expected = DEJA_ERR_LIMIT;
        if (i == 8)
            m.method = 0;
        struct dj_buf zip = make_zip(&m);
        struct dj_buf out = {0};
        assert_int_equal(extract(dj_buf_slice(&zip), bytes_max, &out), expected);
        assert_true(out.len <= bytes_max);
        dj_buf_fini(&zip);
        dj_buf_fini(&out);
    }
}

static void every_cut_and_every_flipped_byte_is_survived(void **state)
{
    (void)state;
    char packed[200];
    struct member m = hello(packed, sizeof packed);
    struct dj_buf zip = make_zip(&m);
    for (size_t len = 0; len < zip.len; len++) {
        struct dj_buf out = {0};
        char *exact = test_malloc(len + 1); /* so that a sanitizer sees a read beyond */
        memcpy(exact, zip.data, len);
        assert_int_not_equal(extract(deja_slice(exact, len), 1000, &out), DEJA_OK);
        test_free(exact);
        dj_buf_fini(&out);
    }
    for (size_t i = 0; i < zip.len * 255; i++) {
        struct dj_buf out = {0};
        char before = zip.data[i / 255];
        zip.data[i / 255] = (char)(before ^ (char)(i % 255 + 1));
        enum deja_status status = extract(dj_buf_slice(&zip), 1000, &out);
        if (status == DEJA_OK)
            assert_memory_equal(out.data, "hello hello hello hello", m.bytes);
        zip.data[i / 255] = before;
        dj_buf_fini(&out);
    }
    dj_buf_fini(&zip);
}

static void extract_survives_each_failed_allocation(void **state)
{
    (void)state;
    char packed[200];
    struct member m = hello(packed, sizeof packed);
    struct dj_buf zip = make_zip(&m);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status = extract(dj_buf_slice(&zip), 1000, &out);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&out);
    }
    dj_buf_fini(&zip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_and_deflated_members_come_out),
        cmocka_unit_test(claims_that_are_false_are_refused),
        cmocka_unit_test(every_cut_and_every_flipped_byte_is_survived),
        cmocka_unit_test(extract_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
