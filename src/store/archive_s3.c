/* store/archive_s3.c - see archive_s3.h. One request at a time, made on the loop and waited for. */
#include "store/archive_s3.h"

#include <stdio.h>

#include "base/alloc.h"
#include "store/s3_internal.h"

#define NAME_BYTES 512u
#define REPLY_BYTES_MAX ((size_t)64 << 10)

struct bucket {
    struct dj_s3 *s3;
    struct dj_loop *loop;
    const _Atomic bool *is_cancelled;
    char *base; /* owned: prefix and name */
    char name[NAME_BYTES];
    uint32_t part;
    bool is_finished;
    struct dj_buf bytes; /* writing: of the open part; reading: what is left of one */
    size_t at;
    bool is_over; /* reading: there is no further part */
    /* the request under way */
    struct dj_s3_request request;
    struct dj_s3_call call;
    struct dj_task task;
    enum deja_status status;
    pthread_mutex_t mutex;
    pthread_cond_t is_told;
    bool is_ended;
};

static void end(struct bucket *bucket, enum deja_status status)
{
    pthread_mutex_lock(&bucket->mutex);
    bucket->status = status;
    bucket->is_ended = true;
    pthread_cond_signal(&bucket->is_told);
    pthread_mutex_unlock(&bucket->mutex);
}

static void on_called(void *ctx, enum deja_status status)
{
    end(ctx, status);
}

static void start(void *ctx)
{
    struct bucket *bucket = ctx;
    enum deja_status status = dj_s3_call_start(&bucket->call, bucket->s3, bucket->loop,
                                               &bucket->request, bucket, on_called);
    if (status != DEJA_OK)
        end(bucket, status);
}

static void finish_call(void *ctx)
{
    struct bucket *bucket = ctx;
    dj_s3_call_fini(&bucket->call);
    end(bucket, DEJA_OK);
}

static void run(struct bucket *bucket, dj_task_fn *fn)
{
    bucket->is_ended = false;
    bucket->task = (struct dj_task){.run = fn, .ctx = bucket};
    dj_loop_post(bucket->loop, &bucket->task);
    pthread_mutex_lock(&bucket->mutex);
    while (!bucket->is_ended)
        pthread_cond_wait(&bucket->is_told, &bucket->mutex);
    pthread_mutex_unlock(&bucket->mutex);
}

/* *out_http: 0 where none came. */
static enum deja_status ask(struct bucket *bucket, const char *method, uint32_t part,
                            struct deja_slice body, size_t reply_max, int *out_http)
{
    snprintf(bucket->name, sizeof bucket->name, "%s/%06u", bucket->base, part);
    bucket->request = (struct dj_s3_request){.method = method,
                                             .name = deja_slice_text(bucket->name),
                                             .body = body,
                                             .reply_bytes_max = reply_max};
    run(bucket, start);
    *out_http = bucket->status == DEJA_OK ? bucket->call.head.http_status : 0;
    return bucket->status;
}

static void end_ask(struct bucket *bucket)
{
    run(bucket, finish_call);
}

static enum deja_status refuse(struct bucket *bucket, enum deja_status status,
                               struct deja_error *error)
{
    struct deja_error fault = {.message = ""};
    if (status == DEJA_OK)
        status = dj_s3_call_fault(&bucket->call, NULL);
    dj_s3_fault(&bucket->s3->store, &fault);
    return deja_error_set(error, status, "%s: %s", bucket->name,
                          fault.message[0] ? fault.message : deja_status_text(status));
}

static void destroy(struct bucket *bucket)
{
    dj_buf_fini(&bucket->bytes);
    pthread_cond_destroy(&bucket->is_told);
    pthread_mutex_destroy(&bucket->mutex);
    dj_free(bucket->base);
    dj_free(bucket);
}

static struct bucket *make(const struct dj_archive_s3 *options)
{
    struct bucket *bucket = dj_alloc_zeroed(1, sizeof *bucket);
    struct dj_buf base = {0};
    if (!bucket)
        return NULL;
    dj_buf_append_format(&base, "%s%s", options->prefix ? options->prefix : "", options->name);
    bucket->s3 = (struct dj_s3 *)(void *)options->store;
    bucket->loop = options->loop;
    bucket->is_cancelled = options->is_cancelled;
    bucket->base = dj_buf_take_text(&base);
    pthread_mutex_init(&bucket->mutex, NULL);
    pthread_cond_init(&bucket->is_told, NULL);
    if (bucket->base)
        return bucket;
    destroy(bucket);
    return NULL;
}

/* ---- writing ---- */

static enum deja_status put_part(struct bucket *bucket, struct deja_error *error)
{
    int http = 0;
    if (bucket->part == DJ_ARCHIVE_S3_PARTS_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "the backup is too large for a bucket");
    enum deja_status status =
        ask(bucket, "PUT", bucket->part, dj_buf_slice(&bucket->bytes), REPLY_BYTES_MAX, &http);
    bool is_ok = status == DEJA_OK && http >= 200 && http < 300;
    if (!is_ok)
        status = refuse(bucket, status, error);
    end_ask(bucket);
    dj_buf_clear(&bucket->bytes);
    bucket->part += is_ok;
    return is_ok ? DEJA_OK : status;
}

static enum deja_status write_bytes(void *ctx, struct deja_slice bytes, struct deja_error *error)
{
    struct bucket *bucket = ctx;
    while (bytes.len) {
        size_t room = DJ_ARCHIVE_S3_PART_BYTES - bucket->bytes.len;
        size_t piece = bytes.len < room ? bytes.len : room;
        dj_buf_append(&bucket->bytes, bytes.data, piece);
        if (bucket->bytes.status != DEJA_OK)
            return deja_error_set(error, bucket->bytes.status, "out of memory");
        bytes = deja_slice(bytes.data + piece, bytes.len - piece);
        if (bucket->bytes.len < DJ_ARCHIVE_S3_PART_BYTES)
            continue;
        enum deja_status status = put_part(bucket, error);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status finish_parts(void *ctx, struct deja_error *error)
{
    struct bucket *bucket = ctx;
    enum deja_status status = bucket->bytes.len ? put_part(bucket, error) : DEJA_OK;
    bucket->is_finished = status == DEJA_OK;
    return status;
}

static void close_bucket(void *ctx)
{
    struct bucket *bucket = ctx;
    int http = 0;
    while (!bucket->is_finished && bucket->part > 0) {
        bucket->part--;
        bool is_gone = ask(bucket, "DELETE", bucket->part, deja_slice("", 0), REPLY_BYTES_MAX,
                           &http) == DEJA_OK;
        end_ask(bucket);
        if (!is_gone)
            break; /* what is left has no end: no reader takes it for a backup */
    }
    destroy(bucket);
}

enum deja_status dj_archive_s3_create(const struct dj_archive_s3 *options,
                                      struct dj_archive_out *out_out, struct deja_error *error)
{
    struct bucket *bucket = make(options);
    int http = 0;
    if (!bucket)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    enum deja_status status = ask(bucket, "HEAD", 0, deja_slice("", 0), 0, &http);
    if (status == DEJA_OK && http == 404)
        status = DEJA_OK;
    else if (status == DEJA_OK && http >= 200 && http < 300)
        status = deja_error_set(error, DEJA_ERR_BUSY,
                                "s3://%s is there already: choose another name", options->name);
    else
        status = refuse(bucket, status, error);
    end_ask(bucket);
    if (status != DEJA_OK) {
        destroy(bucket);
        return status;
    }
    *out_out = (struct dj_archive_out){
        .ctx = bucket, .write = write_bytes, .finish = finish_parts, .close = close_bucket};
    return DEJA_OK;
}

/* ---- reading ---- */

/* The next part is in bytes, or is_over. */
static enum deja_status get_part(struct bucket *bucket, struct deja_error *error)
{
    int http = 0;
    enum deja_status status =
        ask(bucket, "GET", bucket->part, deja_slice("", 0), DJ_ARCHIVE_S3_PART_BYTES, &http);
    dj_buf_clear(&bucket->bytes);
    bucket->at = 0;
    if (status == DEJA_OK && http == 404 && bucket->part > 0) {
        bucket->is_over = true;
    } else if (status == DEJA_OK && http == 404) {
        status = deja_error_set(error, DEJA_ERR_NOT_FOUND,
                                "there is no backup %s in the bucket: its first part, %s/000000, "
                                "is missing",
                                bucket->base, bucket->base);
    } else if (status != DEJA_OK || http < 200 || http >= 300) {
        status = refuse(bucket, status, error);
    } else {
        dj_buf_append_slice(&bucket->bytes, dj_buf_slice(&bucket->call.body));
        status = bucket->bytes.status;
        bucket->part++;
    }
    end_ask(bucket);
    return status;
}

static enum deja_status read_bytes(void *ctx, char *out_bytes, size_t len, size_t *out_len,
                                   struct deja_error *error)
{
    struct bucket *bucket = ctx;
    size_t got = 0;
    while (got < len) {
        size_t left = bucket->bytes.len - bucket->at;
        size_t piece = left < len - got ? left : len - got;
        if (piece) {
            memcpy(out_bytes + got, bucket->bytes.data + bucket->at, piece);
            bucket->at += piece;
            got += piece;
            continue;
        }
        if (bucket->is_over)
            break;
        if (atomic_load(bucket->is_cancelled))
            return deja_error_set(error, DEJA_ERR_CANCELLED, "it was stopped");
        enum deja_status status = get_part(bucket, error);
        if (status != DEJA_OK)
            return status;
    }
    *out_len = got;
    return DEJA_OK;
}

static void close_reading(void *ctx)
{
    destroy(ctx);
}

enum deja_status dj_archive_s3_open(const struct dj_archive_s3 *options,
                                    struct dj_archive_in *out_in, struct deja_error *error)
{
    struct bucket *bucket = make(options);
    if (!bucket)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    enum deja_status status = get_part(bucket, error);
    if (status != DEJA_OK) {
        destroy(bucket);
        return status;
    }
    *out_in = (struct dj_archive_in){.ctx = bucket, .read = read_bytes, .close = close_reading};
    return DEJA_OK;
}
