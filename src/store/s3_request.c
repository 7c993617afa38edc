/* store/s3_request.c - one signed request over the loop's client.
 *
 * (1) Bytes of an answer are counted as they come: past reply_bytes_max, or past what all answers
 *     together may hold, the request is broken off.
 * (2) The header Host is libcurl's own; dj_s3.host is made to be the same, because it is signed.
 */
#include <assert.h>

#include "base/num.h"
#include "crypto/digest.h"
#include "net/http_headers.h"
#include "proto/http_text.h"
#include "store/s3_internal.h"

enum { UPLOAD_BYTES_PER_MS_MIN = 256 }; /* a slow line's: what a body adds to the timeouts */

bool dj_s3_reserve(struct dj_s3 *s3, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add(&s3->bytes, bytes);
    if (before + bytes <= s3->bytes_max)
        return true;
    atomic_fetch_sub(&s3->bytes, bytes);
    return false;
}

void dj_s3_release(struct dj_s3 *s3, uint64_t bytes)
{
    atomic_fetch_sub(&s3->bytes, bytes);
}

void dj_s3_note(struct dj_s3 *s3, const struct deja_error *fault)
{
    pthread_mutex_lock(&s3->fault_mutex);
    if (fault)
        s3->fault = *fault;
    else
        s3->fault.message[0] = '\0';
    pthread_mutex_unlock(&s3->fault_mutex);
}

static void copy_header(char *out, size_t size, const struct dj_http_header *headers, size_t count,
                        const char *name)
{
    struct deja_slice value = dj_http_find(headers, count, name);
    if (!value.data || value.len >= size)
        value.len = 0;
    if (value.len)
        memcpy(out, value.data, value.len);
    out[value.len] = '\0';
}

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct dj_s3_call *call = ctx;
    struct dj_s3_head *head = &call->head;
    uint64_t until_ms = 0;
    uint64_t length = 0;
    head->http_status = status;
    copy_header(head->etag, sizeof head->etag, headers, count, "etag");
    copy_header(head->region, sizeof head->region, headers, count, "x-amz-bucket-region");
    head->has_version = dj_num_parse_u64(dj_http_find(headers, count, "x-amz-meta-deja-version"),
                                         &head->version) == DEJA_OK;
    if (dj_num_parse_u64(dj_http_find(headers, count, "x-amz-meta-deja-until"), &until_ms) ==
            DEJA_OK &&
        until_ms <= INT64_MAX)
        head->until_ms = (int64_t)until_ms;
    head->is_deleted = deja_slice_is_equal(dj_http_find(headers, count, "x-amz-meta-deja-deleted"),
                                           deja_slice("1", 1));
    /* Told early, nothing of it is read. HEAD tells lengths of bodies that do not come. */
    if (call->body_bytes_max &&
        dj_num_parse_u64(dj_http_find(headers, count, "content-length"), &length) == DEJA_OK &&
        length > call->body_bytes_max && call->outbound) {
        call->end_status = DEJA_ERR_LIMIT;
        dj_outbound_cancel(call->outbound);
    }
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct dj_s3_call *call = ctx;
    if (call->end_status != DEJA_OK)
        return;
    if (bytes.len > call->body_bytes_max - call->body.len)
        call->end_status = DEJA_ERR_LIMIT;
    else if (!dj_s3_reserve(call->s3, bytes.len))
        call->end_status = DEJA_ERR_BUSY;
    else {
        size_t before = call->body.len;
        dj_buf_append_slice(&call->body, bytes);
        if (call->body.status != DEJA_OK) {
            dj_s3_release(call->s3, bytes.len - (call->body.len - before));
            call->end_status = call->body.status;
        }
    }
    if (call->end_status != DEJA_OK)
        dj_outbound_cancel(call->outbound);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    struct dj_s3_call *call = ctx;
    call->outbound = NULL;
    if (call->end_status != DEJA_OK)
        status = call->end_status;
    if (status != DEJA_OK && status != DEJA_ERR_CANCELLED) {
        struct deja_error fault;
        deja_error_set(&fault, status, "S3 at %s: %s", call->s3->origin,
                       call->end_status == DEJA_ERR_LIMIT  ? "an answer is longer than it may be"
                       : call->end_status == DEJA_ERR_BUSY ? "too many bytes are under way"
                                                           : detail);
        dj_s3_note(call->s3, &fault);
    } else if (status == DEJA_OK && call->head.http_status < 300) {
        dj_s3_note(call->s3, NULL);
    }
    call->called(call->ctx, status);
}

struct built {
    struct dj_http_header headers[DJ_S3_HEADERS_MAX + 6];
    size_t count;
    struct dj_buf path;
    struct dj_buf url;
    struct dj_buf authorization;
    char time[DJ_S3_TIME_BYTES];
    char hash[DJ_S3_HASH_BYTES];
};

static void add(struct built *built, const char *name, struct deja_slice value)
{
    built->headers[built->count++] = (struct dj_http_header){deja_slice_text(name), value};
}

static enum deja_status build(struct built *built, const struct dj_s3 *s3, int64_t now_ms,
                              const struct dj_s3_request *request,
                              const struct dj_s3_identity *identity)
{
    dj_s3_time(now_ms, built->time);
    if (!request->payload_hash) {
        uint8_t digest[DJ_SHA256_BYTES];
        dj_sha256(request->body, digest);
        dj_hex_encode(digest, sizeof digest, built->hash);
    }
    const char *hash = request->payload_hash ? request->payload_hash : built->hash;
    dj_buf_append_text(&built->path, s3->base);
    dj_buf_append_byte(&built->path, '/');
    dj_s3_encode(&built->path, request->name, true);
    /* "/bucket", not "/bucket/": both name the bucket, and some services know only the former. */
    if (!request->name.len && s3->base[0] && built->path.len)
        built->path.len--;
    dj_buf_append_text(&built->url, s3->origin);
    dj_buf_append_slice(&built->url, dj_buf_slice(&built->path));
    if (request->query.len) {
        dj_buf_append_byte(&built->url, '?');
        dj_buf_append_slice(&built->url, request->query);
    }
    dj_buf_append_byte(&built->url, '\0');

    assert(request->header_count <= DJ_S3_HEADERS_MAX);
    add(built, "host", deja_slice_text(s3->host));
    add(built, "x-amz-date", deja_slice_text(built->time));
    add(built, "x-amz-content-sha256", deja_slice_text(hash));
    if (identity->token.len)
        add(built, "x-amz-security-token", identity->token);
    for (size_t i = 0; i < request->header_count; i++)
        built->headers[built->count++] = request->headers[i];
    if (built->path.status != DEJA_OK || built->url.status != DEJA_OK)
        return DEJA_ERR_NOMEM;
    const struct dj_s3_signing signing = {.method = request->method,
                                          .path = dj_buf_slice(&built->path),
                                          .query = request->query,
                                          .region = s3->region,
                                          .time = built->time,
                                          .payload_hash = hash,
                                          .headers = built->headers,
                                          .header_count = built->count,
                                          .identity = *identity};
    enum deja_status status = dj_s3_sign(&signing, &built->authorization);
    add(built, "authorization", dj_buf_slice(&built->authorization));
    return status;
}

static enum deja_status find_client(struct dj_s3 *s3, struct dj_loop *loop,
                                    struct dj_outbound **out_client)
{
    assert(dj_loop_is_current(loop) && dj_loop_index(loop) < s3->loop_count);
    struct dj_s3_client *client = &s3->clients[dj_loop_index(loop)];
    if (atomic_load(&s3->is_closed) || client->has_left)
        return DEJA_ERR_CANCELLED;
    if (!client->outbound) {
        enum deja_status status = dj_outbound_create(loop, &s3->client_options, &client->outbound);
        if (status != DEJA_OK)
            return status;
    }
    *out_client = client->outbound;
    return DEJA_OK;
}

void dj_s3_client_end(struct dj_s3_client *client)
{
    struct dj_outbound *outbound = client->outbound;
    client->has_left = true; /* first: what is under way ends now and may want to go on */
    client->outbound = NULL;
    dj_outbound_destroy(outbound);
}

void dj_s3_leave(struct dj_store *store, struct dj_loop *loop)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    dj_s3_client_end(&s3->clients[dj_loop_index(loop)]);
}

enum deja_status dj_s3_call_start(struct dj_s3_call *call, struct dj_s3 *s3, struct dj_loop *loop,
                                  const struct dj_s3_request *request, void *ctx,
                                  dj_s3_called_fn *called)
{
    static const struct dj_outbound_events events = {on_head, on_data, on_done};
    struct dj_outbound *client = NULL;
    enum deja_status status = find_client(s3, loop, &client);
    if (status != DEJA_OK)
        return status;
    dj_s3_call_fini(call);
    *call = (struct dj_s3_call){.s3 = s3,
                                .loop = loop,
                                .ctx = ctx,
                                .called = called,
                                .body_bytes_max = request->reply_bytes_max};
    dj_s3_credentials_look(s3->credentials, s3->pool, loop, false);
    struct dj_s3_keys *keys = dj_s3_credentials_keys(s3->credentials);
    const struct dj_s3_identity identity = dj_s3_keys_identity(keys);
    struct built built = {.count = 0};
    status = build(&built, s3, dj_loop_now_ms(loop), request, &identity);
    if (status == DEJA_OK) {
        uint32_t timeout_ms =
            s3->timeout_ms + (uint32_t)(request->body.len / UPLOAD_BYTES_PER_MS_MIN);
        uint32_t total_ms = s3->total_timeout_ms;
        const struct dj_outbound_request outbound = {
            .method = request->method,
            .url = built.url.data,
            .headers = built.headers,
            .header_count = built.count,
            .body = request->body,
            .first_byte_timeout_ms = timeout_ms,
            .idle_timeout_ms = timeout_ms,
            .total_timeout_ms = total_ms > timeout_ms ? total_ms : timeout_ms,
        };
        status = dj_outbound_start(client, &outbound, &events, call, &call->outbound);
    }
    dj_s3_keys_unref(keys);
    dj_buf_fini(&built.path);
    dj_buf_fini(&built.url);
    dj_buf_fini(&built.authorization);
    return status;
}

void dj_s3_call_fini(struct dj_s3_call *call)
{
    if (!call->s3)
        return;
    assert(!call->outbound);
    dj_s3_release(call->s3, call->body.len);
    dj_buf_fini(&call->body);
    call->s3 = NULL;
}

enum deja_status dj_s3_call_fault(struct dj_s3_call *call, struct dj_s3_fault *out_fault)
{
    struct dj_s3 *s3 = call->s3;
    const struct dj_s3_place place = {s3->origin, s3->bucket, s3->region};
    struct dj_s3_fault fault = {.code = ""};
    struct dj_buf scratch = {0};
    struct deja_error error;
    bool is_read =
        call->body.len && dj_s3_read_fault(dj_buf_slice(&call->body), &scratch, &fault) == DEJA_OK;
    dj_buf_fini(&scratch);
    if (call->head.region[0])
        memcpy(fault.region, call->head.region, sizeof fault.region);
    enum deja_status status;
    int http_status = call->head.http_status;
    bool is_no_error = http_status < 300 && !is_read;
    if (is_no_error)
        status = deja_error_set(&error, DEJA_ERR_CORRUPT,
                                "what answers at %s is no S3 service: correct l3.s3.endpoint",
                                s3->origin);
    else
        status =
            dj_s3_explain(http_status, is_read || fault.region[0] ? &fault : NULL, &place, &error);
    dj_s3_note(s3, &error);
    if (status == DEJA_ERR_DENIED) /* keys that were replaced, perhaps */
        dj_s3_credentials_look(s3->credentials, s3->pool, call->loop, true);
    if (out_fault)
        *out_fault = fault;
    return status;
}
