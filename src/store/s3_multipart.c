/* store/s3_multipart.c - a large object in parts of 8 MiB, some at a time.
 *
 *   CREATED ──POST ?uploads──▶ SENDING ──all parts──▶ COMPLETING ──▶ the caller is told
 *                                 │ a part failed         │ failed
 *                                 └── the others end ─────┴──▶ ABORTING ──DELETE──▶ told
 *
 * (1) What went up and was not completed is given up by name, so that nobody pays for it; where
 * that fails too, a lifecycle rule for unfinished uploads is what helps (docs/tiers.md). (2) The
 * caller's `call` holds the answer that counts: that of completing, or of what failed first. A
 * completing answer of 200 may be an <Error>: then its HTTP status is made a 500.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/num.h"
#include "proto/xml.h"
#include "store/s3_internal.h"

struct part {
    struct dj_s3_upload *upload;
    struct dj_s3_call call;
    uint32_t index;
    bool is_running;
};

struct dj_s3_upload {
    struct dj_s3 *s3;
    struct dj_loop *loop;
    struct dj_s3_request request; /* of the whole; what it points to is the caller's */
    struct dj_http_header condition;
    const char (*hashes)[DJ_S3_HASH_BYTES];
    struct dj_s3_call *call; /* the caller's */
    void *ctx;
    dj_s3_called_fn *called;
    struct dj_buf id;
    struct dj_buf query;
    struct dj_buf document;
    char etags[DJ_S3_PARTS_MAX][DJ_S3_ETAG_BYTES];
    struct part parts[DJ_S3_PARTS_AT_ONCE];
    uint32_t part_count;
    uint32_t next;
    uint32_t running;
    bool is_failing;
    enum deja_status status; /* told at the end of an abort */
    struct dj_s3_call abort;
};

static void tell(struct dj_s3_upload *upload)
{
    void *ctx = upload->ctx;
    dj_s3_called_fn *called = upload->called;
    enum deja_status status = upload->status;
    for (uint32_t i = 0; i < DJ_S3_PARTS_AT_ONCE; i++)
        dj_s3_call_fini(&upload->parts[i].call);
    dj_s3_call_fini(&upload->abort);
    dj_buf_fini(&upload->id);
    dj_buf_fini(&upload->query);
    dj_buf_fini(&upload->document);
    dj_free(upload);
    called(ctx, status);
}

static void set_query(struct dj_s3_upload *upload, uint32_t part_number)
{
    dj_buf_clear(&upload->query);
    if (part_number) {
        char digits[2] = {(char)('0' + part_number), '\0'};
        static_assert(DJ_S3_PARTS_MAX <= 9, "a part's number is one digit");
        dj_s3_query_append(&upload->query, "partNumber", deja_slice_text(digits));
    }
    dj_s3_query_append(&upload->query, "uploadId", dj_buf_slice(&upload->id));
}

static void on_aborted(void *ctx, enum deja_status status)
{
    (void)status; /* the failure before is the one that is told */
    tell(ctx);
}

/* Nothing is running any more. */
static void give_up(struct dj_s3_upload *upload)
{
    set_query(upload, 0);
    const struct dj_s3_request request = {
        .method = "DELETE",
        .name = upload->request.name,
        .query = dj_buf_slice(&upload->query),
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    if (upload->query.status != DEJA_OK ||
        dj_s3_call_start(&upload->abort, upload->s3, upload->loop, &request, upload, on_aborted) !=
            DEJA_OK)
        tell(upload);
}

static void fail(struct dj_s3_upload *upload, enum deja_status status)
{
    if (!upload->is_failing) {
        upload->is_failing = true;
        upload->status = status;
    }
    if (!upload->running)
        give_up(upload);
}

static void on_completed(void *ctx, enum deja_status status)
{
    struct dj_s3_upload *upload = ctx;
    struct dj_s3_call *call = upload->call;
    if (status == DEJA_OK && call->head.http_status == 200) {
        struct dj_s3_fault fault;
        struct dj_buf scratch = {0};
        if (dj_s3_read_fault(dj_buf_slice(&call->body), &scratch, &fault) == DEJA_OK)
            call->head.http_status = 500;
        dj_buf_fini(&scratch);
    }
    upload->status = status;
    if (status == DEJA_OK && call->head.http_status == 200)
        tell(upload);
    else
        give_up(upload);
}

static void complete(struct dj_s3_upload *upload)
{
    dj_buf_append_text(&upload->document, "<CompleteMultipartUpload>");
    for (uint32_t i = 0; i < upload->part_count; i++) {
        dj_buf_append_format(&upload->document, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
        dj_xml_append(&upload->document, deja_slice_text(upload->etags[i]));
        dj_buf_append_text(&upload->document, "</ETag></Part>");
    }
    dj_buf_append_text(&upload->document, "</CompleteMultipartUpload>");
    set_query(upload, 0);
    struct dj_s3_request request = {
        .method = "POST",
        .name = upload->request.name,
        .query = dj_buf_slice(&upload->query),
        .headers = {{{"content-type", 12}, {"application/xml", 15}}},
        .header_count = 1,
        .body = dj_buf_slice(&upload->document),
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    if (upload->condition.name.len)
        request.headers[request.header_count++] = upload->condition;
    enum deja_status status =
        upload->document.status != DEJA_OK ? upload->document.status : upload->query.status;
    if (status == DEJA_OK)
        status = dj_s3_call_start(upload->call, upload->s3, upload->loop, &request, upload,
                                  on_completed);
    if (status != DEJA_OK)
        fail(upload, status);
}

static void send_parts(struct dj_s3_upload *upload);

static void on_part(void *ctx, enum deja_status status)
{
    struct part *part = ctx;
    struct dj_s3_upload *upload = part->upload;
    part->is_running = false;
    upload->running--;
    if (status == DEJA_OK && (part->call.head.http_status != 200 || !part->call.head.etag[0]))
        status = dj_s3_call_fault(&part->call, NULL);
    if (status != DEJA_OK) {
        fail(upload, status);
        return;
    }
    memcpy(upload->etags[part->index], part->call.head.etag, DJ_S3_ETAG_BYTES);
    if (!upload->is_failing)
        send_parts(upload);
    else if (!upload->running)
        give_up(upload);
}

static enum deja_status send_part(struct dj_s3_upload *upload, struct part *part)
{
    struct deja_slice body = upload->request.body;
    size_t offset = (size_t)upload->next * DJ_S3_PART_BYTES;
    size_t left = body.len - offset;
    part->upload = upload;
    part->index = upload->next;
    set_query(upload, part->index + 1);
    if (upload->query.status != DEJA_OK)
        return upload->query.status;
    const struct dj_s3_request request = {
        .method = "PUT",
        .name = upload->request.name,
        .query = dj_buf_slice(&upload->query),
        .body = deja_slice(body.data + offset,
                           left < DJ_S3_PART_BYTES ? left : (size_t)DJ_S3_PART_BYTES),
        .payload_hash = upload->hashes[part->index],
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    enum deja_status status =
        dj_s3_call_start(&part->call, upload->s3, upload->loop, &request, part, on_part);
    if (status == DEJA_OK) {
        part->is_running = true;
        upload->running++;
        upload->next++;
    }
    return status;
}

static void send_parts(struct dj_s3_upload *upload)
{
    for (uint32_t i = 0; i < DJ_S3_PARTS_AT_ONCE && upload->next < upload->part_count; i++) {
        if (upload->parts[i].is_running)
            continue;
        enum deja_status status = send_part(upload, &upload->parts[i]);
        if (status != DEJA_OK) {
            fail(upload, status);
            return;
        }
    }
    if (!upload->running)
        complete(upload);
}

static void on_created(void *ctx, enum deja_status status)
{
    struct dj_s3_upload *upload = ctx;
    struct dj_s3_call *call = upload->call;
    upload->status = status;
    if (status != DEJA_OK || call->head.http_status != 200) {
        tell(upload); /* there is nothing to give up */
        return;
    }
    struct dj_buf scratch = {0};
    status = dj_s3_read_upload(dj_buf_slice(&call->body), &scratch, &upload->id);
    dj_buf_fini(&scratch);
    if (status != DEJA_OK) {
        upload->status = status;
        tell(upload);
        return;
    }
    send_parts(upload);
}

enum deja_status dj_s3_upload_start(struct dj_s3 *s3, struct dj_loop *loop,
                                    const struct dj_s3_request *request,
                                    const struct dj_http_header *condition,
                                    const char (*part_hashes)[DJ_S3_HASH_BYTES],
                                    struct dj_s3_call *call, void *ctx, dj_s3_called_fn *called)
{
    struct dj_s3_upload *upload = dj_alloc_zeroed(1, sizeof *upload);
    if (!upload)
        return DEJA_ERR_NOMEM;
    upload->s3 = s3;
    upload->loop = loop;
    upload->request = *request;
    upload->condition = *condition;
    upload->hashes = part_hashes;
    upload->call = call;
    upload->ctx = ctx;
    upload->called = called;
    upload->part_count = (uint32_t)((request->body.len + DJ_S3_PART_BYTES - 1) / DJ_S3_PART_BYTES);
    assert(upload->part_count <= DJ_S3_PARTS_MAX);
    struct dj_s3_request create = *request;
    create.method = "POST";
    create.query = deja_slice_text("uploads=");
    create.body = deja_slice(NULL, 0);
    create.payload_hash = NULL;
    enum deja_status status = dj_s3_call_start(call, s3, loop, &create, upload, on_created);
    if (status != DEJA_OK)
        dj_free(upload);
    return status;
}
