/* store/s3.c - the S3 tier: options, life cycle, what all operations share.
 *
 *   get ── GET ──────────────────────────────▶ unpack (pool) ──▶ value
 *   put ── pack, hash (pool) ──▶ HEAD ──▶ compare ──▶ PUT, or parts ──▶ done
 *   remove ───────────────────▶ HEAD ──▶ compare ──▶ PUT of a tombstone ──▶ done
 *   list, clear ── pages of names ──▶ GETs, DELETEs, some at a time ──▶ done
 *
 * (1) An op holds the store by count, so it may end after close(): it then only tells
 *     DEJA_ERR_CANCELLED.
 * (2) At most calls_max ops and bytes_max bytes of bodies are under way; more is refused at once.
 * (3) Nothing here waits: the loops ask, the pool works.
 */
#include "store/s3.h"

#include <assert.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/num.h"
#include "store/s3_internal.h"

#define DAY_MS UINT64_C(86400000)

const struct dj_s3_options dj_s3_options_default = {
    .ttl_ms = DAY_MS,
    .tombstone_ttl_ms = DAY_MS,
    .timeout_ms = 5000,
    .total_timeout_ms = 60000,
    .calls_max = 1024,
    .bytes_max = UINT64_C(256) << 20,
    .loop_count = 1,
    .connections_max = 32,
    .connect_timeout_ms = 2000,
};

static void unref(struct dj_s3 *s3)
{
    if (!s3 || atomic_fetch_sub(&s3->ref_count, 1) != 1)
        return;
    dj_s3_credentials_close(s3->credentials);
    pthread_mutex_destroy(&s3->fault_mutex);
    pthread_mutex_destroy(&s3->lanes_mutex);
    dj_free(s3->clients);
    dj_free(s3->ca_file);
    dj_free(s3->origin);
    dj_free(s3->host);
    dj_free(s3->base);
    dj_free(s3->bucket);
    dj_free(s3->region);
    dj_free(s3->prefix);
    dj_free(s3->encryption);
    dj_free(s3->encryption_key_id);
    dj_free(s3->storage_class);
    dj_free(s3);
}

enum deja_status dj_s3_op_create(struct dj_s3 *s3, struct dj_loop *loop, size_t size, void **out_op)
{
    assert(dj_loop_is_current(loop));
    if (atomic_fetch_add(&s3->calls, 1) >= s3->calls_max) {
        atomic_fetch_sub(&s3->calls, 1);
        return DEJA_ERR_BUSY;
    }
    struct dj_s3_op *op = dj_alloc_zeroed(1, size);
    if (!op) {
        atomic_fetch_sub(&s3->calls, 1);
        return DEJA_ERR_NOMEM;
    }
    atomic_fetch_add(&s3->ref_count, 1);
    op->s3 = s3;
    op->loop = loop;
    *out_op = op;
    return DEJA_OK;
}

void dj_s3_op_destroy(struct dj_s3_op *op)
{
    struct dj_s3 *s3 = op->s3;
    if (op->fini)
        op->fini(op);
    dj_s3_call_fini(&op->call);
    dj_s3_release(s3, op->reserved);
    dj_value_unref(op->value);
    dj_free(op);
    atomic_fetch_sub(&s3->calls, 1);
    unref(s3);
}

void dj_s3_op_finish(struct dj_s3_op *op, enum deja_status status)
{
    struct dj_value *value = NULL;
    dj_store_got_fn *got = op->got;
    dj_store_done_fn *done = op->done;
    void *ctx = op->ctx;
    uint64_t count = status == DEJA_OK ? op->count : 0;
    if (got && status == DEJA_OK) {
        value = op->value;
        op->value = NULL;
    }
    if (done && status != DEJA_OK)
        atomic_fetch_add(&op->s3->dropped, 1);
    dj_s3_op_destroy(op); /* first: the callee may ask again and shall find room */
    if (got)
        got(ctx, status, value);
    else if (done)
        done(ctx, status, count);
}

static void on_posted_finish(void *ctx)
{
    struct dj_s3_op *op = ctx;
    dj_s3_op_finish(op, op->status);
}

void dj_s3_op_post_finish(struct dj_s3_op *op, enum deja_status status)
{
    op->status = status;
    op->task = (struct dj_task){.run = on_posted_finish, .ctx = op};
    dj_loop_post(op->loop, &op->task);
}

static void on_worked(void *ctx)
{
    struct dj_s3_op *op = ctx;
    op->step(op);
}

void dj_s3_op_work(struct dj_s3_op *op, size_t bytes, dj_work_fn *work, dj_s3_step_fn *step)
{
    op->step = step;
    op->status = DEJA_OK;
    if (bytes <= DJ_S3_INLINE_BYTES_MAX) {
        work(op);
        step(op);
        return;
    }
    op->job = (struct dj_job){.work = work, .done = on_worked, .ctx = op, .loop = op->loop};
    enum deja_status status = dj_pool_submit(op->s3->pool, &op->job);
    if (status == DEJA_OK) /* the op is the job's now */
        return;
    op->status = status;
    step(op);
}

void dj_s3_name_folder(const struct dj_s3 *s3, const uint8_t tenant[DJ_ID_BYTES],
                       char out_name[DJ_S3_NAME_BYTES])
{
    size_t len = strlen(s3->prefix);
    memcpy(out_name, s3->prefix, len);
    dj_hex_encode(tenant, DJ_ID_BYTES, out_name + len);
    memcpy(out_name + len + (size_t)2 * DJ_ID_BYTES, "/", 2);
}

void dj_s3_name_object(const struct dj_s3 *s3, const struct dj_store_key *key,
                       char out_name[DJ_S3_NAME_BYTES])
{
    dj_s3_name_folder(s3, key->tenant, out_name);
    dj_hex_encode(key->id, DJ_ID_BYTES, out_name + strlen(out_name));
}

static void stats(struct dj_store *store, const uint8_t *tenant, struct dj_store_stats *out_stats)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    *out_stats = (struct dj_store_stats){.entries = 0}; /* what is there, only a listing tells */
    if (tenant)
        return;
    out_stats->expired = atomic_load(&s3->expired);
    out_stats->corrupt = atomic_load(&s3->corrupt);
    out_stats->dropped = atomic_load(&s3->dropped);
    out_stats->queued = atomic_load(&s3->calls);
    out_stats->record_bytes = atomic_load(&s3->record_bytes);
    out_stats->plain_bytes = atomic_load(&s3->plain_bytes);
}

static void close_store(struct dj_store *store)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    atomic_store(&s3->is_closed, true);
    for (uint32_t i = 0; i < s3->loop_count; i++)
        dj_s3_client_end(&s3->clients[i]); /* of a loop that never ran: nobody left it */
    unref(s3);
}

static const struct dj_store_ops ops = {
    .level = "s3",
    .get = dj_s3_get,
    .put = dj_s3_put,
    .remove = dj_s3_remove,
    .clear = dj_s3_clear,
    .list = dj_s3_list,
    .stats = stats,
    .probe = dj_s3_probe,
    .leave = dj_s3_leave,
    .close = close_store,
};

void dj_s3_fault(struct dj_store *store, struct deja_error *out_fault)
{
    struct dj_s3 *s3 = (struct dj_s3 *)(void *)store;
    assert(store->ops == &ops);
    pthread_mutex_lock(&s3->fault_mutex);
    *out_fault = s3->fault;
    pthread_mutex_unlock(&s3->fault_mutex);
}

static bool has_only(const char *text, const char *others, bool has_upper)
{
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= '0' && *text <= '9') ||
              (has_upper && *text >= 'A' && *text <= 'Z') || strchr(others, *text)))
            return false;
    return true;
}

static bool is_bucket(const char *text)
{
    size_t len = text ? strlen(text) : 0;
    return len >= 3 && len <= 63 && has_only(text, ".-", false) && text[0] != '.' &&
           text[0] != '-' && text[len - 1] != '.' && text[len - 1] != '-' && !strstr(text, "..");
}

/* NULL: fine. */
static const char *find_fault(const struct dj_s3_options *options)
{
    const char *prefix = options->prefix ? options->prefix : "";
    const char *encryption = options->encryption ? options->encryption : "";
    if (!is_bucket(options->bucket))
        return "l3.s3.bucket expects the name of a bucket: 3 to 63 of a-z, 0-9, \".\" and \"-\"";
    if (strlen(prefix) > 200 || !has_only(prefix, "._-/", true) || prefix[0] == '/' ||
        strstr(prefix, "//") || strstr(prefix, ".."))
        return "l3.s3.prefix expects letters, digits, \".\", \"_\", \"-\" and single \"/\", like "
               "cache/";
    if (options->region && (strlen(options->region) > 32 || !has_only(options->region, "-_", true)))
        return "l3.s3.region expects a name like us-east-1";
    if (*encryption && strcmp(encryption, "AES256") != 0 && strcmp(encryption, "aws:kms") != 0)
        return "l3.s3.encryption expects AES256 or aws:kms";
    if (options->encryption_key_id && *options->encryption_key_id &&
        strcmp(encryption, "aws:kms") != 0)
        return "l3.s3.kms_key_id is of use with l3.s3.encryption aws:kms only";
    if (options->encryption_key_id && (strlen(options->encryption_key_id) > 300 ||
                                       !has_only(options->encryption_key_id, ":/_-", true)))
        return "l3.s3.kms_key_id expects an id, an alias or an ARN of a key";
    if (options->storage_class &&
        (strlen(options->storage_class) > 40 || !has_only(options->storage_class, "_-", true)))
        return "l3.s3.storage_class expects a name like STANDARD_IA";
    return NULL;
}

/* https://host[:port], nothing behind it; NULL: fine. */
static const char *find_endpoint_fault(const char *endpoint)
{
    struct deja_error error;
    const char *host = strstr(endpoint, "://");
    if (dj_outbound_check_url(endpoint, &error) != DEJA_OK || !host)
        return "l3.s3.endpoint expects http://HOST[:PORT] or https://HOST[:PORT]";
    size_t len = strcspn(host + 3, "/?#");
    if (strcspn(host + 3, "?#@") != strlen(host + 3) || strlen(host + 3 + len) > 1)
        return "l3.s3.endpoint expects a host alone: the bucket goes into l3.s3.bucket";
    return NULL;
}

/* Without the port that goes without saying, as libcurl writes Host. */
static size_t authority_len(const char *authority, bool is_https)
{
    size_t len = strcspn(authority, "/");
    const char *port = is_https ? ":443" : ":80";
    size_t port_len = strlen(port);
    if (len > port_len && memcmp(authority + len - port_len, port, port_len) == 0)
        len -= port_len;
    return len;
}

static bool set_place(struct dj_s3 *s3, const struct dj_s3_options *options)
{
    const char *given = options->endpoint && *options->endpoint ? options->endpoint : NULL;
    bool is_https = !given || strncasecmp(given, "https://", 8) == 0;
    bool is_virtual =
        options->style == DJ_S3_STYLE_VIRTUAL || (options->style == DJ_S3_STYLE_AUTO && !given);
    struct dj_buf host = {0};
    struct dj_buf origin = {0};
    struct dj_buf base = {0};
    if (is_virtual)
        dj_buf_append_format(&host, "%s.", options->bucket);
    else
        dj_buf_append_format(&base, "/%s", options->bucket);
    if (given) {
        const char *authority = strstr(given, "://") + 3;
        dj_buf_append(&host, authority, authority_len(authority, is_https));
    } else {
        dj_buf_append_format(&host, "s3.%s.amazonaws.com", s3->region);
    }
    s3->host = dj_buf_take_text(&host);
    dj_buf_append_format(&origin, "http%s://%s", is_https ? "s" : "", s3->host ? s3->host : "");
    s3->origin = dj_buf_take_text(&origin);
    s3->base = dj_buf_take_text(&base);
    return s3->host && s3->origin && s3->base;
}

static bool set_text(char **out_text, const char *text, const char *otherwise)
{
    const char *chosen = text && *text ? text : otherwise;
    if (!chosen)
        return true;
    *out_text = dj_strdup(deja_slice_text(chosen));
    return *out_text != NULL;
}

static struct dj_s3 *create(const struct dj_s3_options *options)
{
    struct dj_s3 *s3 = dj_alloc_zeroed(1, sizeof *s3);
    if (!s3)
        return NULL;
    s3->store.ops = &ops;
    atomic_init(&s3->ref_count, 1);
    pthread_mutex_init(&s3->fault_mutex, NULL);
    pthread_mutex_init(&s3->lanes_mutex, NULL);
    s3->pool = options->pool;
    s3->loop_count = options->loop_count;
    s3->has_kind_tags = options->has_kind_tags;
    s3->kinds = options->kinds ? options->kinds : UINT32_MAX;
    s3->ttl_ms = options->ttl_ms;
    s3->tombstone_ttl_ms = options->tombstone_ttl_ms;
    s3->timeout_ms = options->timeout_ms;
    s3->total_timeout_ms = options->total_timeout_ms;
    s3->calls_max = options->calls_max;
    s3->bytes_max = options->bytes_max;
    s3->packing = options->packing;
    s3->clients = dj_alloc_zeroed(options->loop_count, sizeof *s3->clients);
    if (!s3->clients || !set_text(&s3->ca_file, options->ca_file, NULL) ||
        !set_text(&s3->bucket, options->bucket, NULL) ||
        !set_text(&s3->region, options->region, "us-east-1") ||
        !set_text(&s3->prefix, options->prefix, "cache/") ||
        !set_text(&s3->encryption, options->encryption, NULL) ||
        !set_text(&s3->encryption_key_id, options->encryption_key_id, NULL) ||
        !set_text(&s3->storage_class, options->storage_class, NULL) || !set_place(s3, options)) {
        unref(s3);
        return NULL;
    }
    s3->client_options = (struct dj_outbound_options){
        .connections_max = options->connections_max,
        .connect_timeout_ms = options->connect_timeout_ms,
        .ca_file = s3->ca_file,
    };
    return s3;
}

enum deja_status dj_s3_check(const struct dj_s3_options *options, struct deja_error *error)
{
    const char *fault = find_fault(options);
    if (!fault && options->endpoint && *options->endpoint)
        fault = find_endpoint_fault(options->endpoint);
    return fault ? deja_error_set(error, DEJA_ERR_CONFIG, "%s", fault) : DEJA_OK;
}

enum deja_status dj_s3_open(const struct dj_s3_options *options, struct dj_store **out_store,
                            struct deja_error *error)
{
    assert(options->pool && options->loop_count && options->connections_max && options->calls_max &&
           options->timeout_ms && options->ttl_ms && options->tombstone_ttl_ms &&
           options->bytes_max);
    enum deja_status status = dj_s3_check(options, error);
    if (status != DEJA_OK)
        return status;
    struct dj_s3 *s3 = create(options);
    if (!s3)
        return DEJA_ERR_NOMEM;
    status = dj_s3_credentials_open(
        &options->identity, options->credentials_file ? options->credentials_file : "",
        options->profile && *options->profile ? options->profile : "default", &s3->credentials,
        error);
    if (status != DEJA_OK) {
        unref(s3);
        return status;
    }
    *out_store = &s3->store;
    return DEJA_OK;
}
