#include "store/s3_sign.h"

#include "check.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct dj_s3_identity example = {
    .access_key = {"AKIAIOSFODNN7EXAMPLE", 20},
    .secret_key = {"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", 40},
};

static struct dj_http_header header(const char *name, const char *value)
{
    return (struct dj_http_header){deja_slice_text(name), deja_slice_text(value)};
}

struct vector {
    const char *method, *path, *query, *payload_hash, *signed_names, *signature;
    const char *extra[2][2];
};

/* The worked examples of AWS's documentation of S3 ("Signature Calculations for the Authorization
 * Header: Transferring Payload in a Single Chunk"), bucket examplebucket, 24 May 2013. */
static const struct vector published[] = {
    {"GET",
     "/test.txt",
     "",
     EMPTY,
     "host;range;x-amz-content-sha256;x-amz-date",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
     {{"range", "bytes=0-9"}}},
    {"PUT",
     "/test%24file.text",
     "",
     "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}},
    {"GET",
     "/",
     "lifecycle=",
     EMPTY,
     "host;x-amz-content-sha256;x-amz-date",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
     {{NULL}}},
    {"GET",
     "/",
     "max-keys=2&prefix=J",
     EMPTY,
     "host;x-amz-content-sha256;x-amz-date",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
     {{NULL}}},
};

static void sign_vector(const struct vector *vector, struct dj_buf *out)
{
    struct dj_http_header headers[5] = {
        header("x-amz-date", "20130524T000000Z"),
        header("x-amz-content-sha256", vector->payload_hash),
        header("host", "examplebucket.s3.amazonaws.com"),
    };
    size_t count = 3;
    for (size_t i = 0; i < 2 && vector->extra[i][0]; i++)
        headers[count++] = header(vector->extra[i][0], vector->extra[i][1]);
    const struct dj_s3_signing signing = {
        .method = vector->method,
        .path = deja_slice_text(vector->path),
        .query = deja_slice_text(vector->query),
        .region = "us-east-1",
        .time = "20130524T000000Z",
        .payload_hash = vector->payload_hash,
        .headers = headers,
        .header_count = count,
        .identity = example,
    };
    assert_int_equal(dj_s3_sign(&signing, out), DEJA_OK);
}

static void signatures_are_those_that_were_published(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct dj_buf got = {0};
        struct dj_buf expected = {0};
        sign_vector(&published[i], &got);
        dj_buf_append_format(&expected,
                             "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/"
                             "s3/aws4_request,SignedHeaders=%s,Signature=%s",
                             published[i].signed_names, published[i].signature);
        dj_buf_append_byte(&got, '\0');
        dj_buf_append_byte(&expected, '\0');
        assert_string_equal(got.data, expected.data);
        dj_buf_fini(&got);
        dj_buf_fini(&expected);
    }
}

static void blanks_around_and_inside_a_value_change_nothing(void **state)
{
    (void)state;
    struct dj_buf plain = {0};
    struct dj_buf blanks = {0};
    struct vector vector = published[1];
    sign_vector(&vector, &plain);
    vector.extra[0][1] = "  Fri,   24 May\t2013  00:00:00 GMT ";
    sign_vector(&vector, &blanks);
    assert_true(deja_slice_is_equal(dj_buf_slice(&plain), dj_buf_slice(&blanks)));
    dj_buf_fini(&plain);
    dj_buf_fini(&blanks);
}

static void time_is_written_without_marks(void **state)
{
    (void)state;
    char text[DJ_S3_TIME_BYTES];
    dj_s3_time(1369353600000, text);
    assert_string_equal(text, "20130524T000000Z");
    dj_s3_time(1780000000999, text);
    assert_string_equal(text, "20260528T202640Z");
}

static void everything_but_plain_characters_is_encoded(void **state)
{
    (void)state;
    struct dj_buf buf = {0};
    dj_s3_query_append(&buf, "prefix", deja_slice_text("a/b c+d=\xc3\xa9~-._"));
    dj_s3_query_append(&buf, "uploads", deja_slice_text(""));
    dj_buf_append_byte(&buf, ' ');
    dj_s3_encode(&buf, deja_slice_text("/a b/c%"), true);
    dj_buf_append_byte(&buf, '\0');
    assert_string_equal(buf.data, "prefix=a%2Fb%20c%2Bd%3D%C3%A9~-._&uploads= /a%20b/c%25");
    dj_buf_fini(&buf);
}

static void sign_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_http_header host = header("host", "h");
    const struct dj_s3_signing signing = {
        .method = "GET",
        .path = deja_slice_text("/"),
        .region = "r",
        .time = "20130524T000000Z",
        .payload_hash = EMPTY,
        .headers = &host,
        .header_count = 1,
        .identity = example,
    };
    for (size_t n = 1;; n++) {
        struct dj_buf out = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_s3_sign(&signing, &out);
        bool has_failed = failing_malloc_disarm();
        dj_buf_fini(&out);
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_that_were_published),
        cmocka_unit_test(blanks_around_and_inside_a_value_change_nothing),
        cmocka_unit_test(time_is_written_without_marks),
        cmocka_unit_test(everything_but_plain_characters_is_encoded),
        cmocka_unit_test(sign_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
