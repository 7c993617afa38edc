/* store/s3_read.c - get, and the probe of the bucket. Trust: what comes back is untrusted until its
 * checksum, tenant and id are right (I1).
 */
#include <assert.h>

#include "store/s3_internal.h"

/* Removes an object that serves nothing any more, if it is still the one that was read. Nobody is
 * told, and nobody waits. */
static void on_swept(void *ctx, enum deja_status status)
{
    (void)status;
    dj_s3_op_finish(ctx, DEJA_OK);
}

static void sweep(const struct dj_s3_op *from)
{
    void *made = NULL;
    if (!from->call.head.etag[0] ||
        dj_s3_op_create(from->s3, from->loop, sizeof(struct dj_s3_op), &made) != DEJA_OK)
        return;
    struct dj_s3_op *op = made;
    memcpy(op->name, from->name, sizeof op->name);
    const struct dj_s3_request request = {
        .method = "DELETE",
        .name = deja_slice_text(op->name),
        .headers = {{{"if-match", 8}, deja_slice_text(from->call.head.etag)}},
        .header_count = 1,
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    if (dj_s3_call_start(&op->call, op->s3, op->loop, &request, op, on_swept) != DEJA_OK)
        dj_s3_op_destroy(op);
}

static void unpack(void *ctx)
{
    struct dj_s3_op *op = ctx;
    struct dj_value *value = NULL;
    op->status = dj_value_from_record(dj_buf_slice(&op->call.body), &value);
    if (op->status != DEJA_OK)
        return;
    const struct dj_entry *entry = dj_value_entry(value);
    if (memcmp(entry->tenant, op->key.tenant, DJ_ID_BYTES) != 0 ||
        memcmp(entry->id, op->key.id, DJ_ID_BYTES) != 0 ||
        entry->version != op->call.head.version) {
        dj_value_unref(value);
        op->status = DEJA_ERR_CORRUPT;
        return;
    }
    op->value = value;
}

static void miss(struct dj_s3_op *op, _Atomic uint64_t *counter)
{
    atomic_fetch_add(counter, 1);
    sweep(op);
    dj_s3_op_finish(op, DEJA_OK);
}

static bool is_over(const struct dj_entry *entry, int64_t now_ms)
{
    int64_t end_ms =
        entry->stale_until_ms > entry->expires_ms ? entry->stale_until_ms : entry->expires_ms;
    return entry->expires_ms && end_ms <= now_ms;
}

static void on_unpacked(struct dj_s3_op *op)
{
    if (op->status == DEJA_ERR_NOMEM || op->status == DEJA_ERR_BUSY) {
        dj_s3_op_finish(op, op->status);
    } else if (op->status == DEJA_ERR_UNSUPPORTED) { /* a newer program's: not ours to remove */
        dj_s3_op_finish(op, DEJA_OK);
    } else if (op->status != DEJA_OK) {
        miss(op, &op->s3->corrupt);
    } else if (is_over(dj_value_entry(op->value), dj_loop_now_ms(op->loop))) {
        dj_value_unref(op->value);
        op->value = NULL;
        miss(op, &op->s3->expired);
    } else {
        dj_s3_op_finish(op, DEJA_OK);
    }
}

static void on_object(void *ctx, enum deja_status status)
{
    struct dj_s3_op *op = ctx;
    const struct dj_s3_head *head = &op->call.head;
    struct dj_s3_fault fault;
    if (status == DEJA_ERR_LIMIT && head->has_version) {
        miss(op, &op->s3->corrupt);
    } else if (status != DEJA_OK) {
        dj_s3_op_finish(op, status);
    } else if (head->http_status == 404) {
        status = dj_s3_call_fault(&op->call, &fault);
        if (strcmp(fault.code, "NoSuchKey") == 0) {
            dj_s3_note(op->s3, NULL);
            status = DEJA_OK;
        }
        dj_s3_op_finish(op, status);
    } else if (head->http_status != 200 || !head->has_version) {
        dj_s3_op_finish(op, dj_s3_call_fault(&op->call, NULL));
    } else if (head->until_ms && head->until_ms <= dj_loop_now_ms(op->loop)) {
        miss(op, &op->s3->expired);
    } else if (head->is_deleted) {
        dj_s3_op_finish(op, DEJA_OK);
    } else {
        dj_s3_op_work(op, op->call.body.len, unpack, on_unpacked);
    }
}

/* One request for one object, or with key NULL for the bucket itself. */
static enum deja_status ask(struct dj_store *store, struct dj_loop *loop,
                            const struct dj_store_key *key, void *ctx, dj_store_got_fn *got,
                            dj_s3_called_fn *called)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    struct dj_s3_request request = {.method = "HEAD"};
    void *made = NULL;
    enum deja_status status = dj_s3_op_create(s3, loop, sizeof(struct dj_s3_op), &made);
    if (status != DEJA_OK)
        return status;
    struct dj_s3_op *op = made;
    op->ctx = ctx;
    op->got = got;
    if (key) {
        op->key = *key;
        dj_s3_name_object(s3, key, op->name);
        request = (struct dj_s3_request){.method = "GET",
                                         .name = deja_slice_text(op->name),
                                         .reply_bytes_max = DJ_S3_BODY_BYTES_MAX};
    }
    status = dj_s3_call_start(&op->call, s3, loop, &request, op, called);
    if (status != DEJA_OK)
        dj_s3_op_destroy(op);
    return status;
}

enum deja_status dj_s3_get(struct dj_store *store, struct dj_loop *loop,
                           const struct dj_store_key *key, void *ctx, dj_store_got_fn *got)
{
    return ask(store, loop, key, ctx, got, on_object);
}

static void on_bucket(void *ctx, enum deja_status status)
{
    struct dj_s3_op *op = ctx;
    if (status == DEJA_OK && op->call.head.http_status != 200)
        status = dj_s3_call_fault(&op->call, NULL);
    dj_s3_op_finish(op, status);
}

enum deja_status dj_s3_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                             dj_store_got_fn *got)
{
    return ask(store, loop, NULL, ctx, got, on_bucket);
}
