/* Answers of an S3 service and the credentials file: the first byte says which reader gets the
 * rest. What comes out is within its bounds, terminated and harmless. */
#include "fuzz.h"

#include "store/s3_credentials.h"
#include "store/s3_reply.h"

#define FOLDER "cache/00112233445566778899aabbccddeeff/"

static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    FUZZ_CHECK(len < size);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

static void run_fault(struct deja_slice body, struct dj_buf *scratch)
{
    struct dj_s3_fault fault;
    struct deja_error error = {""};
    const struct dj_s3_place place = {"http://127.0.0.1:1", "bucket", "region"};
    if (dj_s3_read_fault(body, scratch, &fault) != DEJA_OK)
        return;
    check_text(fault.code, sizeof fault.code);
    check_text(fault.message, sizeof fault.message);
    check_text(fault.region, sizeof fault.region);
    for (int http_status = 200; http_status < 600; http_status += 100)
        FUZZ_CHECK(dj_s3_explain(http_status + 3, &fault, &place, &error) != DEJA_OK);
}

static void run_listing(struct deja_slice body, struct dj_buf *scratch)
{
    static struct dj_s3_listing listing;
    if (dj_s3_read_listing(body, FOLDER, scratch, &listing) != DEJA_OK)
        return;
    FUZZ_CHECK(listing.count <= DJ_S3_LISTED_MAX);
    FUZZ_CHECK(strnlen(listing.last, sizeof listing.last) < sizeof listing.last);
    FUZZ_CHECK(listing.last[0] || (!listing.count && !listing.is_truncated));
}

static void run_upload(struct deja_slice body, struct dj_buf *scratch)
{
    struct dj_buf id = {0};
    if (dj_s3_read_upload(body, scratch, &id) == DEJA_OK)
        FUZZ_CHECK(id.len && id.len <= DJ_S3_UPLOAD_ID_BYTES_MAX);
    else
        FUZZ_CHECK(!id.len);
    dj_buf_fini(&id);
}

static void run_profile(struct deja_slice text)
{
    struct dj_s3_keys *keys = NULL;
    struct deja_error error = {""};
    enum deja_status status = dj_s3_profile_read(text, "default", &keys, &error);
    FUZZ_CHECK((status == DEJA_OK) == (keys != NULL) && (status == DEJA_OK) == !error.message[0]);
    if (!keys)
        return;
    struct dj_s3_identity identity = dj_s3_keys_identity(keys);
    FUZZ_CHECK(identity.access_key.len && identity.secret_key.len);
    FUZZ_CHECK(!memchr(identity.access_key.data, '\n', identity.access_key.len));
    dj_s3_keys_unref(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_buf scratch = {0};
    if (len < 2 || len > 65536)
        return 0;
    struct deja_slice rest = deja_slice(data + 1, len - 1);
    switch (data[0] % 4) {
    case 0:
        run_fault(rest, &scratch);
        break;
    case 1:
        run_listing(rest, &scratch);
        break;
    case 2:
        run_upload(rest, &scratch);
        break;
    default:
        run_profile(rest);
    }
    dj_buf_fini(&scratch);
    return 0;
}
