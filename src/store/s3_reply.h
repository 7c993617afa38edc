/* store/s3_reply.h - what S3 answers: errors, listings, names of uploads.
 *
 * Trust: untrusted; every text is bounded and nothing but hex becomes part of a name. Pure.
 */
#ifndef DJ_STORE_S3_REPLY_H
#define DJ_STORE_S3_REPLY_H

#include <deja/base.h>

#include "base/buf.h"
#include "proto/record.h" /* DJ_ID_BYTES */

/* An <Error>; texts are terminated, cut where they are too long, without control characters. */
struct dj_s3_fault {
    char code[64];
    char message[192];
    char region[40];
};
/* DEJA_ERR_CORRUPT: not an answer of S3; out_fault is untouched. */
enum deja_status dj_s3_read_fault(struct deja_slice body, struct dj_buf *scratch,
                                  struct dj_s3_fault *out_fault) DEJA_NODISCARD;

/* Where a request went, for texts about it; all borrowed. */
struct dj_s3_place {
    const char *endpoint;
    const char *bucket;
    const char *region;
};
/* The status for an HTTP status that is no success, and a text that says what to do. body_fault:
 * NULL where the answer had none (HEAD). */
enum deja_status dj_s3_explain(int http_status, const struct dj_s3_fault *fault,
                               const struct dj_s3_place *place, struct deja_error *error);

enum { DJ_S3_LISTED_MAX = 1000, DJ_S3_NAME_BYTES_MAX = 1024 };

struct dj_s3_listed {
    uint8_t id[DJ_ID_BYTES];
    uint64_t bytes;
};
/* One page of ListObjectsV2. Objects whose names are not folder + 32 hex digits are not ours: they
 * are passed over. */
struct dj_s3_listing {
    struct dj_s3_listed items[DJ_S3_LISTED_MAX];
    uint32_t count;
    bool is_truncated;
    char last[DJ_S3_NAME_BYTES_MAX + 1]; /* name of the last object of the page, ours or not */
};
/* DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM; *out_listing is then of no use. */
enum deja_status dj_s3_read_listing(struct deja_slice body, const char *folder,
                                    struct dj_buf *scratch,
                                    struct dj_s3_listing *out_listing) DEJA_NODISCARD;

enum { DJ_S3_UPLOAD_ID_BYTES_MAX = 1024 };
/* Appends the UploadId of an InitiateMultipartUploadResult. DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM. */
enum deja_status dj_s3_read_upload(struct deja_slice body, struct dj_buf *scratch,
                                   struct dj_buf *out_id) DEJA_NODISCARD;

#endif
