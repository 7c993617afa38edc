/* store/s3_write.c - put and remove: once it is its turn, look, compare, write if it is still so.
 *
 *   PACKED ──HEAD──▶ LOOKED ── not newer ──▶ done (nothing written)
 *                      │ newer
 *                      └──PUT (If-Match | If-None-Match)──▶ done
 *                             │ 412, 409: another node was faster
 *                             └──▶ HEAD again, DJ_S3_ROUNDS_MAX times
 *
 * Looking first costs a tenth of what a write costs at AWS, spares the upload of what would be
 * refused, and is right on services without conditions as far as it can be.
 *
 * (1) A tombstone is replaced by newer versions only, until it expires; an entry by newer ones
 * only. (2) version_max of UINT64_MAX names no version: the tombstone then gets that of what was
 * found, and there is none where nothing was found.
 */
#include <assert.h>
#include <stdio.h>

#include "base/num.h"
#include "crypto/digest.h"
#include "store/key_internal.h"
#include "store/s3_internal.h"

#define STAY_MS_MAX (INT64_C(3650) * 86400000) /* of what has no end */

struct write {
    struct dj_s3_op op; /* first; value: what is put, NULL for a removal */
    struct dj_s3_turn turn;
    struct dj_buf record;
    uint64_t version;
    int64_t until_ms;
    bool is_any; /* removal of whatever is there */
    uint32_t rounds;
    bool is_there;               /* as the last look found it */
    char etag[DJ_S3_ETAG_BYTES]; /* of that */
    char version_text[24];
    char until_text[24];
    char kind_tag[40];
    char hashes[DJ_S3_PARTS_MAX][DJ_S3_HASH_BYTES]; /* of the parts; of the whole where it is one */
};

static const char *kind_text(uint8_t kind)
{
    switch (kind) {
    case DJ_ENTRY_CHAT:
        return "chat";
    case DJ_ENTRY_EMBEDDING:
        return "embedding";
    case DJ_ENTRY_API:
        return "api";
    case DJ_ENTRY_PLAIN:
        return "plain";
    default:
        return "bytes";
    }
}

static void fini_write(struct dj_s3_op *op)
{
    struct write *write = (struct write *)op;
    dj_s3_turn_end(&write->turn);
    dj_buf_fini(&write->record);
}

static size_t part_count(size_t bytes)
{
    return bytes <= DJ_S3_PART_BYTES ? 1 : (bytes + DJ_S3_PART_BYTES - 1) / DJ_S3_PART_BYTES;
}

static void pack(void *ctx)
{
    struct write *write = ctx;
    const struct dj_entry *entry = dj_value_entry(write->op.value);
    write->op.status = dj_record_encode_with(&write->op.s3->packing, entry, &write->record);
    if (write->op.status != DEJA_OK)
        return;
    const struct dj_buf *record = &write->record;
    size_t count = part_count(record->len);
    if (record->len > DJ_S3_BODY_BYTES_MAX || count > DJ_S3_PARTS_MAX) {
        write->op.status = DEJA_ERR_LIMIT;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t offset = i * DJ_S3_PART_BYTES;
        size_t left = record->len - offset;
        uint8_t digest[DJ_SHA256_BYTES];
        dj_sha256(deja_slice(record->data + offset, count == 1 || left < DJ_S3_PART_BYTES
                                                        ? left
                                                        : (size_t)DJ_S3_PART_BYTES),
                  digest);
        dj_hex_encode(digest, sizeof digest, write->hashes[i]);
    }
}

static void look(struct write *write);

static void finish(struct write *write, enum deja_status status)
{
    struct dj_s3 *s3 = write->op.s3;
    if (status == DEJA_OK && write->op.value) {
        struct deja_slice record = dj_buf_slice(&write->record);
        atomic_fetch_add(&s3->record_bytes, record.len);
        atomic_fetch_add(&s3->plain_bytes, dj_record_plain_bytes(record));
    }
    dj_s3_op_finish(&write->op, status);
}

static void on_written(void *ctx, enum deja_status status)
{
    struct write *write = ctx;
    int http_status = write->op.call.head.http_status;
    if (status != DEJA_OK) {
        finish(write, status);
        return;
    }
    /* Every S3 names what it keeps; parts are named in the body of the last answer. */
    bool is_named = write->op.call.head.etag[0] || part_count(write->record.len) > 1;
    if (http_status >= 200 && http_status < 300 && is_named) {
        finish(write, DEJA_OK);
        return;
    }
    struct dj_s3_fault fault;
    status = dj_s3_call_fault(&write->op.call, &fault);
    bool had_condition = !atomic_load(&write->op.s3->has_no_conditions);
    /* 404: what was to be replaced has gone meanwhile. */
    bool was_overtaken = http_status == 412 || http_status == 409 ||
                         (http_status == 404 && strcmp(fault.code, "NoSuchKey") == 0);
    if (status == DEJA_ERR_UNSUPPORTED && had_condition)
        atomic_store(&write->op.s3->has_no_conditions, true);
    else if (!was_overtaken) {
        finish(write, status);
        return;
    }
    dj_s3_note(write->op.s3, NULL);
    if (++write->rounds >= DJ_S3_ROUNDS_MAX)
        finish(write, DEJA_ERR_BUSY);
    else
        look(write);
}

static void add(struct dj_s3_request *request, const char *name, const char *value)
{
    assert(request->header_count < DJ_S3_HEADERS_MAX);
    request->headers[request->header_count++] =
        (struct dj_http_header){deja_slice_text(name), deja_slice_text(value)};
}

static void add_headers(struct write *write, struct dj_s3_request *request)
{
    const struct dj_s3 *s3 = write->op.s3;
    snprintf(write->version_text, sizeof write->version_text, "%llu",
             (unsigned long long)write->version);
    snprintf(write->until_text, sizeof write->until_text, "%lld", (long long)write->until_ms);
    add(request, "content-type", "application/octet-stream");
    add(request, "x-amz-meta-deja-version", write->version_text);
    add(request, "x-amz-meta-deja-until", write->until_text);
    if (write->op.value) {
        const char *kind = kind_text(dj_value_entry(write->op.value)->kind);
        add(request, "x-amz-meta-deja-kind", kind);
        add(request, "x-amz-meta-deja-deleted",
            "0"); /* some keep headers of what was there before */
        snprintf(write->kind_tag, sizeof write->kind_tag, "deja-kind=%s", kind);
    } else {
        add(request, "x-amz-meta-deja-deleted", "1");
        snprintf(write->kind_tag, sizeof write->kind_tag, "deja-kind=tombstone");
    }
    if (s3->has_kind_tags)
        add(request, "x-amz-tagging", write->kind_tag);
    if (s3->encryption)
        add(request, "x-amz-server-side-encryption", s3->encryption);
    if (s3->encryption_key_id)
        add(request, "x-amz-server-side-encryption-aws-kms-key-id", s3->encryption_key_id);
    if (s3->storage_class && write->op.value)
        add(request, "x-amz-storage-class", s3->storage_class);
}

static enum deja_status start_write(struct write *write)
{
    struct dj_s3 *s3 = write->op.s3;
    struct dj_s3_request request = {
        .method = "PUT",
        .name = deja_slice_text(write->op.name),
        .body = dj_buf_slice(&write->record),
        .payload_hash = write->op.value ? write->hashes[0] : NULL,
        .reply_bytes_max = DJ_S3_INLINE_BYTES_MAX,
    };
    struct dj_http_header condition = {.name = {NULL, 0}};
    add_headers(write, &request);
    if (!atomic_load(&s3->has_no_conditions)) {
        bool is_same = write->is_there && write->etag[0];
        if (is_same)
            condition =
                (struct dj_http_header){deja_slice_text("if-match"), deja_slice_text(write->etag)};
        else if (!write->is_there)
            condition =
                (struct dj_http_header){deja_slice_text("if-none-match"), deja_slice_text("*")};
    }
    if (part_count(write->record.len) > 1)
        return dj_s3_upload_start(s3, write->op.loop, &request, &condition,
                                  (const char(*)[DJ_S3_HASH_BYTES])write->hashes, &write->op.call,
                                  write, on_written);
    if (condition.name.len)
        request.headers[request.header_count++] = condition;
    return dj_s3_call_start(&write->op.call, s3, write->op.loop, &request, write, on_written);
}

/* Is there anything to write, given what was found? */
static bool is_wanted(struct write *write, const struct dj_s3_head *found, bool is_there)
{
    int64_t now_ms = dj_loop_now_ms(write->op.loop);
    bool is_over = found->until_ms && found->until_ms <= now_ms;
    bool is_tombstone = is_there && found->is_deleted;
    if (write->op.value)
        return !is_there || (is_tombstone && is_over) || write->version > found->version;
    if (write->is_any) {
        write->version = found->version;
        if (!is_there || is_tombstone)
            return false;
    } else if (is_there && found->version > write->version) {
        return false;
    } else if (is_tombstone && !is_over && found->version == write->version) {
        return false;
    }
    write->op.count = is_there && !is_tombstone && !is_over ? 1 : 0;
    return true;
}

static void on_looked(void *ctx, enum deja_status status)
{
    struct write *write = ctx;
    const struct dj_s3_head found = write->op.call.head;
    bool is_answer = found.http_status == 404 || (found.http_status == 200 && found.etag[0]);
    if (status == DEJA_OK && !is_answer)
        status = dj_s3_call_fault(&write->op.call, NULL);
    if (status != DEJA_OK) {
        finish(write, status);
        return;
    }
    write->is_there = found.http_status == 200;
    memcpy(write->etag, found.etag, sizeof write->etag);
    if (!is_wanted(write, &found, write->is_there)) {
        dj_s3_op_finish(&write->op, DEJA_OK);
        return;
    }
    status = start_write(write);
    if (status != DEJA_OK)
        finish(write, status);
}

static enum deja_status start_look(struct write *write)
{
    const struct dj_s3_request request = {.method = "HEAD",
                                          .name = deja_slice_text(write->op.name)};
    return dj_s3_call_start(&write->op.call, write->op.s3, write->op.loop, &request, write,
                            on_looked);
}

static void look(struct write *write)
{
    enum deja_status status = start_look(write);
    if (status != DEJA_OK)
        finish(write, status);
}

static void on_packed(struct dj_s3_op *op)
{
    struct write *write = (struct write *)op;
    enum deja_status status = op->status != DEJA_OK ? op->status : start_look(write);
    if (status != DEJA_OK)
        dj_s3_op_post_finish(op, status); /* a small record is packed inside the call */
}

static void begin(struct dj_s3_op *op)
{
    if (op->value)
        dj_s3_op_work(op, dj_value_bytes(op->value), pack, on_packed);
    else
        on_packed(op); /* there is nothing to pack */
}

static enum deja_status create(struct dj_store *store, struct dj_loop *loop,
                               const struct dj_store_key *key, void *ctx, dj_store_done_fn *done,
                               struct write **out_write)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    void *made = NULL;
    enum deja_status status = dj_s3_op_create(s3, loop, sizeof(struct write), &made);
    if (status != DEJA_OK)
        return status;
    struct write *write = made;
    write->op.key = *key;
    write->op.ctx = ctx;
    write->op.done = done;
    write->op.fini = fini_write;
    dj_s3_name_object(s3, key, write->op.name);
    *out_write = write;
    return DEJA_OK;
}

static enum deja_status start(struct write *write)
{
    enum deja_status status = dj_s3_turn_take(&write->turn, &write->op, begin);
    if (status != DEJA_OK)
        dj_s3_op_destroy(&write->op);
    return status;
}

/* When the object has no use any more: the entry's own end, or the tier's. Objects that lifecycle
 * rules look at have an end, if one of the time to come. */
static int64_t end_of(const struct dj_s3 *s3, const struct dj_entry *entry, int64_t now_ms)
{
    int64_t until_ms = dj_store_stay_until(entry, s3->ttl_ms, now_ms);
    return until_ms ? until_ms : now_ms + STAY_MS_MAX;
}

enum deja_status dj_s3_put(struct dj_store *store, struct dj_loop *loop, struct dj_value *value,
                           const float *vector, uint32_t dim, void *ctx, dj_store_done_fn *done)
{
    (void)vector; /* this tier finds by key alone */
    (void)dim;
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    const struct dj_entry *entry = dj_value_entry(value);
    struct dj_store_key key;
    struct write *write = NULL;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    enum deja_status status = create(store, loop, &key, ctx, done, &write);
    if (status != DEJA_OK)
        return status;
    int64_t now_ms = dj_loop_now_ms(loop);
    write->version = entry->version;
    write->until_ms = end_of(s3, entry, now_ms);
    bool is_of_kind = entry->kind < 32 && (s3->kinds & 1u << entry->kind);
    if (!is_of_kind || write->until_ms <= now_ms) {
        dj_s3_op_post_finish(&write->op, DEJA_OK);
        return DEJA_OK;
    }
    uint64_t bytes = dj_value_bytes(value);
    if (!dj_s3_reserve(s3, bytes)) {
        dj_s3_op_destroy(&write->op);
        return DEJA_ERR_BUSY;
    }
    write->op.reserved = bytes;
    write->op.value = dj_value_ref(value);
    return start(write);
}

enum deja_status dj_s3_remove(struct dj_store *store, struct dj_loop *loop,
                              const struct dj_store_key *key, uint64_t version_max, void *ctx,
                              dj_store_done_fn *done)
{
    struct write *write = NULL;
    enum deja_status status = create(store, loop, key, ctx, done, &write);
    if (status != DEJA_OK)
        return status;
    write->is_any = version_max == UINT64_MAX;
    write->version = version_max;
    write->until_ms = dj_loop_now_ms(loop) + (int64_t)write->op.s3->tombstone_ttl_ms;
    return start(write);
}
