/* store/s3_sign.h - AWS Signature Version 4: who asks, proven without sending the secret.
 *
 * Pure: time is an argument. Threads: any.
 */
#ifndef DJ_STORE_S3_SIGN_H
#define DJ_STORE_S3_SIGN_H

#include <deja/base.h>

#include "base/buf.h"
#include "net/http_server.h" /* dj_http_header */

/* Borrowed texts; token may be empty. */
struct dj_s3_identity {
    struct deja_slice access_key;
    struct deja_slice secret_key;
    struct deja_slice token;
};

enum { DJ_S3_SIGNED_HEADERS_MAX = 24 };

/* "20130524T000000Z", terminated: the value of x-amz-date. */
#define DJ_S3_TIME_BYTES 17u
void dj_s3_time(int64_t now_ms, char out_text[DJ_S3_TIME_BYTES]);

struct dj_s3_signing {
    const char *method;       /* "GET" */
    struct deja_slice path;   /* encoded, as it is sent; begins with "/" */
    struct deja_slice query;  /* encoded, without "?", sorted: as dj_s3_query_append makes it */
    const char *region;       /* "us-east-1" */
    const char *time;         /* dj_s3_time */
    const char *payload_hash; /* the value of x-amz-content-sha256 */
    /* Every header to be signed, lower case names, any order; host and x-amz-date among them. */
    const struct dj_http_header *headers;
    size_t header_count; /* 1 … DJ_S3_SIGNED_HEADERS_MAX */
    struct dj_s3_identity identity;
};

/* Appends the value of the header Authorization. DEJA_ERR_NOMEM. */
enum deja_status dj_s3_sign(const struct dj_s3_signing *signing,
                            struct dj_buf *out_authorization) DEJA_NODISCARD;

/* Appends text with everything encoded but letters, digits and "-._~" (and "/" where is_path). */
void dj_s3_encode(struct dj_buf *buf, struct deja_slice text, bool is_path);
/* Appends "name=value", with "&" before all but the first. The caller keeps the names sorted. */
void dj_s3_query_append(struct dj_buf *query, const char *name, struct deja_slice value);

#endif
