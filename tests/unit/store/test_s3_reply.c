#include "store/s3_reply.h"

#include <stdio.h>

#include "check.h"

#define FOLDER "cache/00112233445566778899aabbccddeeff/"

static struct dj_s3_listing listing; /* large; of one test at a time */

static enum deja_status read_listing(const char *body)
{
    struct dj_buf scratch = {0};
    enum deja_status status = dj_s3_read_listing(deja_slice_text(body), FOLDER, &scratch, &listing);
    dj_buf_fini(&scratch);
    return status;
}

static void listing_gives_ids_and_says_whether_more_follows(void **state)
{
    (void)state;
    static const char body[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
        "<Prefix>" FOLDER "</Prefix><KeyCount>3</KeyCount><IsTruncated>true</IsTruncated>"
        "<Contents><Key>" FOLDER "000102030405060708090a0b0c0d0e0f</Key><Size>77</Size>"
        "<ETag>&quot;x&quot;</ETag><Owner><ID>1</ID></Owner></Contents>"
        "<Contents><Size>9</Size><Key>" FOLDER "notes &amp; more.txt</Key></Contents>"
        "<Contents><Key>" FOLDER "ff0102030405060708090a0b0c0d0eff</Key></Contents>"
        "<Contents><Key>zebra</Key></Contents>"
        "<CommonPrefixes><Prefix>q</Prefix></CommonPrefixes></ListBucketResult>";
    assert_int_equal(read_listing(body), DEJA_OK);
    assert_int_equal(listing.count, 2);
    assert_true(listing.is_truncated);
    assert_int_equal(listing.items[0].bytes, 77);
    assert_int_equal(listing.items[0].id[15], 15);
    assert_int_equal(listing.items[1].id[0], 0xff);
    assert_int_equal(listing.items[1].bytes, 0);
    assert_string_equal(listing.last, "zebra");
}

static void listing_that_is_none_is_corrupt(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "hello",
        "<html></html>",
        "<ListBucketResult/>",
        "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key></Key></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>x</Size>"
        "</Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>false</IsTruncated>",
        "<!DOCTYPE x><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "<Error><Code>NoSuchBucket</Code></Error>",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_int_equal(read_listing(bodies[i]), DEJA_ERR_CORRUPT);
}

static void listing_has_a_bound(void **state)
{
    (void)state;
    struct dj_buf body = {0};
    struct dj_buf scratch = {0};
    for (int extra = 0; extra < 2; extra++) {
        dj_buf_clear(&body);
        dj_buf_append_text(&body, "<ListBucketResult><IsTruncated>false</IsTruncated>");
        for (int i = 0; i < DJ_S3_LISTED_MAX + extra; i++)
            dj_buf_append_format(&body, "<Contents><Key>" FOLDER "%032d</Key></Contents>", i);
        dj_buf_append_text(&body, "</ListBucketResult>");
        assert_int_equal(dj_s3_read_listing(dj_buf_slice(&body), FOLDER, &scratch, &listing),
                         extra ? DEJA_ERR_CORRUPT : DEJA_OK);
    }
    dj_buf_fini(&body);
    dj_buf_fini(&scratch);
}

static void fault_is_read_and_made_harmless(void **state)
{
    (void)state;
    struct dj_buf scratch = {0};
    struct dj_s3_fault fault;
    assert_int_equal(
        dj_s3_read_fault(
            deja_slice_text("<Error><Code>NoSuchBucket</Code><Message>a&#10;b</Message>"
                            "<Region>eu-west-3</Region><X/></Error>"),
            &scratch, &fault),
        DEJA_OK);
    assert_string_equal(fault.code, "NoSuchBucket");
    assert_string_equal(fault.message, "a b");
    assert_string_equal(fault.region, "eu-west-3");
    static const char *const others[] = {"", "<Error/>", "<Error><Code></Code></Error>",
                                         "<Fault><Code>x</Code></Fault>", "<Error><Code>x</Code>"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(dj_s3_read_fault(deja_slice_text(others[i]), &scratch, &fault),
                         DEJA_ERR_CORRUPT);
    dj_buf_fini(&scratch);
}

static void faults_are_explained_with_what_to_do(void **state)
{
    (void)state;
    static const struct {
        int http_status;
        const char *code;
        const char *region;
        enum deja_status status;
        const char *words;
    } rows[] = {
        {403, "RequestTimeTooSkewed", "", DEJA_ERR_DENIED, "set this machine's clock"},
        {403, "InvalidAccessKeyId", "", DEJA_ERR_DENIED, "AWS_ACCESS_KEY_ID"},
        {404, "XAdminUserNotFound", "", DEJA_ERR_DENIED, "AWS_ACCESS_KEY_ID"},
        {403, "SignatureDoesNotMatch", "", DEJA_ERR_DENIED, "l3.s3.region"},
        {400, "ExpiredToken", "", DEJA_ERR_IO, "ExpiredToken"},
        {403, "ExpiredToken", "", DEJA_ERR_DENIED, "renew the credentials"},
        {403, "AccessDenied", "", DEJA_ERR_DENIED, "s3:ListBucket"},
        {403, NULL, "", DEJA_ERR_DENIED, "s3:GetObject"},
        {404, "NoSuchBucket", "", DEJA_ERR_CACHE_UNAVAILABLE,
         "bucket shelf does not exist: create it or correct l3.s3.bucket"},
        {404, NULL, "", DEJA_ERR_CACHE_UNAVAILABLE, "l3.s3.bucket"},
        {301, "PermanentRedirect", "eu-west-3", DEJA_ERR_CACHE_UNAVAILABLE, "but in eu-west-3"},
        {307, NULL, "", DEJA_ERR_CACHE_UNAVAILABLE, "correct l3.s3.region"},
        {400, "AuthorizationHeaderMalformed", "eu-west-1", DEJA_ERR_CACHE_UNAVAILABLE,
         "but in eu-west-1"},
        {503, "SlowDown", "", DEJA_ERR_BUSY, "fewer requests"},
        {429, NULL, "", DEJA_ERR_BUSY, "fewer requests"},
        {400, "EntityTooLarge", "", DEJA_ERR_LIMIT, "too large"},
        {501, "NotImplemented", "", DEJA_ERR_UNSUPPORTED, "does not offer"},
        {500, "InternalError", "", DEJA_ERR_IO, "HTTP 500, InternalError"},
        {502, NULL, "", DEJA_ERR_IO, "HTTP 502"},
    };
    const struct dj_s3_place place = {"http://127.0.0.1:9000", "shelf", "us-east-1"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_s3_fault fault = {.message = "words"};
        struct deja_error error = {""};
        if (rows[i].code) {
            snprintf(fault.code, sizeof fault.code, "%s", rows[i].code);
            snprintf(fault.region, sizeof fault.region, "%s", rows[i].region);
        }
        enum deja_status status =
            dj_s3_explain(rows[i].http_status, rows[i].code ? &fault : NULL, &place, &error);
        if (status != rows[i].status || !strstr(error.message, rows[i].words))
            print_message("row %zu: %d %s\n", i, status, error.message);
        assert_int_equal(status, rows[i].status);
        assert_non_null(strstr(error.message, rows[i].words));
    }
}

static void upload_id_is_read_once(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum deja_status status;
    } rows[] = {
        {"<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>a+/=</UploadId>"
         "</InitiateMultipartUploadResult>",
         DEJA_OK},
        {"<InitiateMultipartUploadResult/>", DEJA_ERR_CORRUPT},
        {"<InitiateMultipartUploadResult><UploadId></UploadId></InitiateMultipartUploadResult>",
         DEJA_ERR_CORRUPT},
        {"<InitiateMultipartUploadResult><UploadId>a</UploadId><UploadId>b</UploadId>"
         "</InitiateMultipartUploadResult>",
         DEJA_ERR_CORRUPT},
        {"<Other><UploadId>a</UploadId></Other>", DEJA_ERR_CORRUPT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_buf scratch = {0};
        struct dj_buf id = {0};
        assert_int_equal(dj_s3_read_upload(deja_slice_text(rows[i].body), &scratch, &id),
                         rows[i].status);
        assert_int_equal(id.len, rows[i].status == DEJA_OK ? 4 : 0);
        dj_buf_fini(&scratch);
        dj_buf_fini(&id);
    }
}

static void replies_survive_each_failed_allocation(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "<Error><Code>a</Code></Error>",
        "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        "<InitiateMultipartUploadResult><UploadId>a</UploadId></InitiateMultipartUploadResult>",
    };
    for (size_t which = 0; which < 3; which++)
        for (size_t n = 1;; n++) {
            struct dj_buf scratch = {0};
            struct dj_buf id = {0};
            struct dj_s3_fault fault;
            struct deja_slice body = deja_slice_text(bodies[which]);
            failing_malloc_arm(n);
            enum deja_status status = which == 0 ? dj_s3_read_fault(body, &scratch, &fault)
                                      : which == 1
                                          ? dj_s3_read_listing(body, FOLDER, &scratch, &listing)
                                          : dj_s3_read_upload(body, &scratch, &id);
            bool has_failed = failing_malloc_disarm();
            dj_buf_fini(&scratch);
            dj_buf_fini(&id);
            assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
            if (!has_failed)
                break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listing_gives_ids_and_says_whether_more_follows),
        cmocka_unit_test(listing_that_is_none_is_corrupt),
        cmocka_unit_test(listing_has_a_bound),
        cmocka_unit_test(fault_is_read_and_made_harmless),
        cmocka_unit_test(faults_are_explained_with_what_to_do),
        cmocka_unit_test(upload_id_is_read_once),
        cmocka_unit_test(replies_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
