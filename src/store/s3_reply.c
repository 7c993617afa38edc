/* store/s3_reply.c - see s3_reply.h. Trust: untrusted. */
#include "store/s3_reply.h"

#include "base/num.h"
#include "base/slice.h"
#include "proto/xml.h"

enum { TEXT_BYTES_MAX = 4096 };

/* What cannot be read is garbage, whatever the reader calls it. */
static enum deja_status read_document(struct deja_slice body, struct dj_buf *scratch, void *ctx,
                                      dj_xml_fn *each)
{
    enum deja_status status = dj_xml_read(body, TEXT_BYTES_MAX, scratch, ctx, each);
    return status == DEJA_OK || status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
}

/* Into a terminated text; a person reads it, so control characters become blanks. */
static void copy_text(char *out, size_t size, struct deja_slice text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f ? ' ' : text.data[i];
    out[len] = '\0';
}

struct fault_reading {
    struct dj_s3_fault fault;
    bool is_error;
};

static bool on_fault(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                     struct deja_slice text)
{
    struct fault_reading *reading = ctx;
    struct dj_s3_fault *fault = &reading->fault;
    if (depth == 1 && event == DJ_XML_BEGIN)
        reading->is_error = dj_slice_is(name, "Error");
    if (depth != 2 || event != DJ_XML_END)
        return true;
    if (dj_slice_is(name, "Code"))
        copy_text(fault->code, sizeof fault->code, text);
    else if (dj_slice_is(name, "Message"))
        copy_text(fault->message, sizeof fault->message, text);
    else if (dj_slice_is(name, "Region"))
        copy_text(fault->region, sizeof fault->region, text);
    return true;
}

enum deja_status dj_s3_read_fault(struct deja_slice body, struct dj_buf *scratch,
                                  struct dj_s3_fault *out_fault)
{
    struct fault_reading reading = {.is_error = false};
    enum deja_status status = read_document(body, scratch, &reading, on_fault);
    if (status == DEJA_OK && (!reading.is_error || !reading.fault.code[0]))
        status = DEJA_ERR_CORRUPT;
    if (status == DEJA_OK)
        *out_fault = reading.fault;
    return status;
}

static bool is_code(const struct dj_s3_fault *fault, const char *const *codes)
{
    for (; fault && *codes; codes++)
        if (strcmp(fault->code, *codes) == 0)
            return true;
    return false;
}

static enum deja_status explain_denied(const struct dj_s3_fault *fault,
                                       const struct dj_s3_place *place, struct deja_error *error)
{
    static const char *const skew[] = {"RequestTimeTooSkewed", NULL};
    static const char *const wrong[] = {"SignatureDoesNotMatch", NULL};
    static const char *const expired[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                          NULL};
    if (is_code(fault, skew))
        return deja_error_set(error, DEJA_ERR_DENIED,
                              "S3 refuses the request's time: the clocks of this machine and of %s "
                              "differ by more than 15 minutes; set this machine's clock",
                              place->endpoint);
    if (is_code(fault, wrong))
        return deja_error_set(error, DEJA_ERR_DENIED,
                              "S3 refuses the signature: the secret key does not belong to the "
                              "access key, or l3.s3.region is not the bucket's (now %s)",
                              place->region);
    if (is_code(fault, expired))
        return deja_error_set(error, DEJA_ERR_DENIED,
                              "the S3 session token has expired or is not valid: renew the "
                              "credentials (a credentials file is read again by itself)");
    return deja_error_set(error, DEJA_ERR_DENIED,
                          "S3 denies access to bucket %s%s%s: these credentials need "
                          "s3:GetObject, s3:PutObject, s3:DeleteObject on its objects and "
                          "s3:ListBucket on the bucket",
                          place->bucket, fault ? ": " : "", fault ? fault->message : "");
}

static enum deja_status explain_code(int http_status, const struct dj_s3_fault *fault,
                                     const struct dj_s3_place *place, struct deja_error *error)
{
    static const char *const no_bucket[] = {"NoSuchBucket", NULL};
    static const char *const elsewhere[] = {"PermanentRedirect",
                                            "TemporaryRedirect",
                                            "AuthorizationHeaderMalformed",
                                            "IncorrectRegion",
                                            "IllegalLocationConstraintException",
                                            "AuthorizationQueryParametersError",
                                            "CredentialsScopeMismatch",
                                            NULL};
    /* The second with a 404, from versitygw. */
    static const char *const unknown[] = {"InvalidAccessKeyId", "XAdminUserNotFound", NULL};
    static const char *const large[] = {"EntityTooLarge", NULL};
    static const char *const slow[] = {"SlowDown", "ServiceUnavailable", "Throttling",
                                       "RequestLimitExceeded", NULL};
    if (is_code(fault, unknown))
        return deja_error_set(error, DEJA_ERR_DENIED,
                              "S3 does not know the access key: correct l3.s3.access_key_id, "
                              "AWS_ACCESS_KEY_ID or the credentials file");
    if (is_code(fault, no_bucket))
        return deja_error_set(error, DEJA_ERR_CACHE_UNAVAILABLE,
                              "bucket %s does not exist: create it or correct l3.s3.bucket",
                              place->bucket);
    if (is_code(fault, elsewhere) || http_status == 301 || http_status == 307 || http_status == 308)
        return deja_error_set(error, DEJA_ERR_CACHE_UNAVAILABLE,
                              "bucket %s is not in region %s%s%s: correct l3.s3.region and "
                              "l3.s3.endpoint",
                              place->bucket, place->region,
                              fault && fault->region[0] ? " but in " : "",
                              fault && fault->region[0] ? fault->region : "");
    if (is_code(fault, large))
        return deja_error_set(error, DEJA_ERR_LIMIT, "S3 refuses an object as too large");
    if (is_code(fault, slow))
        return deja_error_set(error, DEJA_ERR_BUSY, "S3 asks for fewer requests (%s)", fault->code);
    return DEJA_OK;
}

enum deja_status dj_s3_explain(int http_status, const struct dj_s3_fault *fault,
                               const struct dj_s3_place *place, struct deja_error *error)
{
    enum deja_status status = explain_code(http_status, fault, place, error);
    if (status != DEJA_OK)
        return status;
    if (http_status == 401 || http_status == 403)
        return explain_denied(fault, place, error);
    if (http_status == 404)
        return deja_error_set(error, DEJA_ERR_CACHE_UNAVAILABLE,
                              "S3 at %s has no such thing in bucket %s: create the bucket or "
                              "correct l3.s3.bucket",
                              place->endpoint, place->bucket);
    if (http_status == 429 || http_status == 503)
        return deja_error_set(error, DEJA_ERR_BUSY, "S3 asks for fewer requests (HTTP %d)",
                              http_status);
    if (http_status == 501 || (fault && strcmp(fault->code, "NotImplemented") == 0))
        return deja_error_set(error, DEJA_ERR_UNSUPPORTED,
                              "the S3 service at %s does not offer what was asked for%s%s",
                              place->endpoint, fault ? ": " : "", fault ? fault->message : "");
    return deja_error_set(error, DEJA_ERR_IO, "S3 at %s answered HTTP %d%s%s%s%s", place->endpoint,
                          http_status, fault ? ", " : "", fault ? fault->code : "",
                          fault ? ": " : "", fault ? fault->message : "");
}

struct listing_reading {
    struct dj_s3_listing *listing;
    struct deja_slice folder;
    uint8_t id[DJ_ID_BYTES];
    uint64_t bytes;
    bool is_ours;
    bool is_listing;
    bool has_end; /* IsTruncated was said: without it an end cannot be told from a cut */
    bool is_broken;
};

static void take_name(struct listing_reading *reading, struct deja_slice text)
{
    struct dj_s3_listing *listing = reading->listing;
    const struct deja_slice folder = reading->folder;
    if (!text.len || text.len > DJ_S3_NAME_BYTES_MAX || memchr(text.data, '\0', text.len)) {
        reading->is_broken = true;
        return;
    }
    memcpy(listing->last, text.data, text.len);
    listing->last[text.len] = '\0';
    reading->is_ours = text.len == folder.len + (size_t)2 * DJ_ID_BYTES &&
                       memcmp(text.data, folder.data, folder.len) == 0 &&
                       dj_hex_decode(deja_slice(text.data + folder.len, (size_t)2 * DJ_ID_BYTES),
                                     reading->id, DJ_ID_BYTES) == DEJA_OK;
}

static bool on_listed(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                      struct deja_slice text)
{
    struct listing_reading *reading = ctx;
    struct dj_s3_listing *listing = reading->listing;
    if (event == DJ_XML_BEGIN) {
        if (depth == 1)
            reading->is_listing = dj_slice_is(name, "ListBucketResult");
        if (depth == 2) {
            reading->is_ours = false;
            reading->bytes = 0;
        }
        return reading->is_listing;
    }
    if (depth == 3 && dj_slice_is(name, "Key")) {
        take_name(reading, text);
    } else if (depth == 3 && dj_slice_is(name, "Size")) {
        reading->is_broken |= dj_num_parse_u64(text, &reading->bytes) != DEJA_OK;
    } else if (depth == 2 && dj_slice_is(name, "IsTruncated")) {
        reading->has_end = dj_slice_is(text, "true") || dj_slice_is(text, "false");
        listing->is_truncated = dj_slice_is(text, "true");
    } else if (depth == 2 && dj_slice_is(name, "Contents") && reading->is_ours) {
        if (listing->count == DJ_S3_LISTED_MAX)
            return false;
        struct dj_s3_listed *item = &listing->items[listing->count++];
        memcpy(item->id, reading->id, sizeof item->id);
        item->bytes = reading->bytes;
    }
    return !reading->is_broken;
}

enum deja_status dj_s3_read_listing(struct deja_slice body, const char *folder,
                                    struct dj_buf *scratch, struct dj_s3_listing *out_listing)
{
    struct listing_reading reading = {.listing = out_listing, .folder = deja_slice_text(folder)};
    out_listing->count = 0;
    out_listing->is_truncated = false;
    out_listing->last[0] = '\0';
    enum deja_status status = read_document(body, scratch, &reading, on_listed);
    if (status != DEJA_OK)
        return status;
    /* More to come after nothing would be asked for without end. */
    bool is_endless = out_listing->is_truncated && !out_listing->last[0];
    return reading.has_end && !is_endless ? DEJA_OK : DEJA_ERR_CORRUPT;
}

struct upload_reading {
    struct dj_buf *id;
    bool is_upload;
    bool is_broken;
};

static bool on_upload(void *ctx, enum dj_xml_event event, uint32_t depth, struct deja_slice name,
                      struct deja_slice text)
{
    struct upload_reading *reading = ctx;
    if (event == DJ_XML_BEGIN && depth == 1)
        reading->is_upload = dj_slice_is(name, "InitiateMultipartUploadResult");
    if (event == DJ_XML_END && depth == 2 && dj_slice_is(name, "UploadId") && reading->is_upload) {
        reading->is_broken =
            reading->id->len > 0 || !text.len || text.len > DJ_S3_UPLOAD_ID_BYTES_MAX;
        if (!reading->is_broken)
            dj_buf_append_slice(reading->id, text);
    }
    return !reading->is_broken;
}

enum deja_status dj_s3_read_upload(struct deja_slice body, struct dj_buf *scratch,
                                   struct dj_buf *out_id)
{
    struct dj_buf id = {0};
    struct upload_reading reading = {.id = &id};
    enum deja_status status = read_document(body, scratch, &reading, on_upload);
    if (status == DEJA_OK)
        status = id.status;
    if (status == DEJA_OK && !id.len)
        status = DEJA_ERR_CORRUPT;
    if (status == DEJA_OK)
        dj_buf_append_slice(out_id, dj_buf_slice(&id));
    dj_buf_fini(&id);
    return status == DEJA_OK ? out_id->status : status;
}
