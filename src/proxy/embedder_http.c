/* proxy/embedder_http.c - see embedder_http.h.
 *
 * One call is on the stack of the worker that waits for it. The loop ends each call it was handed
 * exactly once (outbound's own deadline sees to it), so waiting needs no second clock.
 */
#include "proxy/embedder_http.h"

#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/num.h"
#include "crypto/digest.h"
#include "embed/unit.h"
#include "loop/loop.h"
#include "net/outbound.h"
#include "proto/json.h"
#include "proxy/wire_vector.h"

#define TIMEOUT_MS_DEFAULT 2000u
#define CONNECTIONS_MAX 8u
#define URL_MAX 2048u
#define MODEL_BYTES_MAX 256u
#define KEY_BYTES_MAX 4096u
#define REQUEST_BYTES_MAX (64u << 20)
#define NUMBER_BYTES_MAX 32u /* of one float as JSON */
#define ANSWER_BYTES_SPARE (64u << 10)

struct http_embedder {
    struct dj_embedder base; /* first */
    char *url;               /* whole address; owned, as are the next two */
    char *model;
    char *authorization; /* NULL: none; wiped */
    uint32_t timeout_ms;
    struct dj_sentry *sentry; /* NULL: none */
    bool is_dim_sent;
    double price_per_1k;
    struct dj_telemetry *telemetry;
    struct dj_loop *loop;
    struct dj_outbound *outbound; /* loop-bound */
    struct dj_task stop;
    pthread_t thread;
    bool is_thread_started;
};

struct call {
    struct http_embedder *embedder;
    struct dj_buf body;
    struct dj_buf answer;
    struct dj_outbound_call *running;
    struct dj_task task;
    int http_status;
    enum deja_status status;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done; /* under mutex */
};

/* ---- on the loop ---- */

static void end_call(struct call *call, enum deja_status status)
{
    pthread_mutex_lock(&call->mutex);
    call->status = status;
    call->is_done = true;
    pthread_cond_signal(&call->changed);
    pthread_mutex_unlock(&call->mutex);
}

static void on_head(void *ctx, int status, const struct dj_http_header *headers, size_t count)
{
    struct call *call = ctx;
    (void)headers;
    (void)count;
    call->http_status = status;
}

static void on_data(void *ctx, struct deja_slice bytes)
{
    struct call *call = ctx;
    enum deja_status before = call->answer.status;
    dj_buf_append_slice(&call->answer, bytes);
    if (before == DEJA_OK && call->answer.status != DEJA_OK)
        dj_outbound_cancel(call->running);
}

static void on_done(void *ctx, enum deja_status status, const char *detail)
{
    (void)detail;
    end_call(ctx, status);
}

static void start_call(void *ctx)
{
    static const struct dj_outbound_events events = {on_head, on_data, on_done};
    struct call *call = ctx;
    struct http_embedder *embedder = call->embedder;
    const struct dj_http_header headers[] = {
        {deja_slice_text("Content-Type"), deja_slice_text("application/json")},
        {deja_slice_text("Accept"), deja_slice_text("application/json")},
        {deja_slice_text("Authorization"), deja_slice_text(embedder->authorization)}};
    const struct dj_outbound_request request = {.method = "POST",
                                                .url = embedder->url,
                                                .headers = headers,
                                                .header_count = embedder->authorization ? 3 : 2,
                                                .body = dj_buf_slice(&call->body),
                                                .total_timeout_ms = embedder->timeout_ms};
    enum deja_status status =
        dj_outbound_start(embedder->outbound, &request, &events, call, &call->running);
    if (status != DEJA_OK)
        end_call(call, status);
}

static void stop_loop(void *ctx)
{
    struct http_embedder *embedder = ctx;
    dj_outbound_destroy(embedder->outbound);
    embedder->outbound = NULL;
    dj_loop_stop(embedder->loop);
}

static void *run_loop(void *ctx)
{
    struct http_embedder *embedder = ctx;
    dj_loop_run(embedder->loop);
    return NULL;
}

/* ---- the request ---- */

static void write_request(const struct http_embedder *embedder, const struct deja_slice *texts,
                          size_t count, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "model", embedder->model);
    dj_json_key(&w, "input");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < count; i++)
        dj_json_put_string(&w, texts[i]);
    dj_json_end_array(&w);
    dj_json_member_text(&w, "encoding_format", "float");
    if (embedder->is_dim_sent && embedder->base.dim)
        dj_json_member_u64(&w, "dimensions", embedder->base.dim);
    dj_json_end_object(&w);
}

/* What a status means for those who asked. */
static enum deja_status meaning_of(int http_status)
{
    if (http_status == 200)
        return DEJA_OK;
    if (http_status == 400 || http_status == 413 || http_status == 422)
        return DEJA_ERR_INVALID;
    if (http_status == 401 || http_status == 403)
        return DEJA_ERR_DENIED;
    return http_status == 429 || http_status >= 500 ? DEJA_ERR_BUSY : DEJA_ERR_CORRUPT;
}

/* ---- the answer ---- */

/* Finds the count-th vectors' places by index; *dim 0: that of the first is taken. */
static enum deja_status read_vectors(const struct dj_json *data, size_t count, uint32_t *dim,
                                     float *out)
{
    bool is_met[DJ_EMBEDDER_HTTP_BATCH_MAX] = {false};
    struct dj_buf floats = {0};
    enum deja_status status = dj_json_count(data) == count ? DEJA_OK : DEJA_ERR_CORRUPT;
    for (struct dj_json_walk walk = dj_json_walk(data);
         status == DEJA_OK && dj_json_walk_next(&walk);) {
        int64_t index = dj_json_i64(dj_json_get(walk.value, "index"), (int64_t)walk.index);
        dj_buf_clear(&floats);
        status = dj_wire_vector_read(dj_json_get(walk.value, "embedding"), &floats);
        if (status == DEJA_ERR_INVALID || index < 0 || (size_t)index >= count || is_met[index]) {
            status = DEJA_ERR_CORRUPT;
            break;
        }
        if (status != DEJA_OK)
            break;
        is_met[index] = true;
        uint32_t got = (uint32_t)(floats.len / sizeof(float));
        if (!*dim && got <= DJ_EMBEDDER_HTTP_DIM_MAX)
            *dim = got; /* out has room for the longest */
        if (got != *dim)
            status = DEJA_ERR_MISMATCH;
        if (status == DEJA_OK)
            memcpy(out + (size_t)index * got, floats.data, floats.len);
        if (status == DEJA_OK && !dj_unit_make(out + (size_t)index * got, got))
            status = DEJA_ERR_CORRUPT;
    }
    dj_buf_fini(&floats);
    return status;
}

static enum deja_status read_answer(const struct call *call, size_t count, uint32_t *dim,
                                    float *out, uint64_t *out_tokens)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(dj_buf_slice(&call->answer), &doc, NULL);
    if (status != DEJA_OK)
        return status == DEJA_ERR_NOMEM ? status : DEJA_ERR_CORRUPT;
    const struct dj_json *root = dj_json_root(doc);
    const struct dj_json *usage = dj_json_get(root, "usage");
    int64_t tokens = dj_json_i64(dj_json_get(usage, "prompt_tokens"),
                                 dj_json_i64(dj_json_get(usage, "total_tokens"), 0));
    *out_tokens = tokens > 0 && tokens < INT32_MAX ? (uint64_t)tokens : 0; /* paid for either way */
    status = read_vectors(dj_json_get(root, "data"), count, dim, out);
    dj_json_doc_destroy(doc);
    return status;
}

static void count_call(const struct http_embedder *embedder, enum deja_status status, size_t texts,
                       uint64_t tokens)
{
    if (!embedder->telemetry)
        return;
    const char *name = status == DEJA_OK                 ? "ok"
                       : status == DEJA_ERR_TIMEOUT      ? "timeout"
                       : status == DEJA_ERR_IO           ? "unreachable"
                       : status == DEJA_ERR_DENIED       ? "denied"
                       : status == DEJA_ERR_BUSY         ? "busy"
                       : status == DEJA_ERR_INVALID      ? "rejected"
                       : status == DEJA_ERR_MISMATCH     ? "dimension"
                       : status == DEJA_ERR_CORRUPT      ? "garbage"
                       : status == DEJA_ERR_CIRCUIT_OPEN ? "circuit_open"
                                                         : "error";
    dj_telemetry_embedding(embedder->telemetry,
                           &(struct dj_telemetry_embedding){
                               .model = deja_slice_text(embedder->model),
                               .status = name,
                               .texts = texts,
                               .tokens = tokens,
                               .cost_usd = (double)tokens / 1000 * embedder->price_per_1k});
}

/* ---- one call ---- */

static void wait_for(struct call *call)
{
    call->task = (struct dj_task){.run = start_call, .ctx = call};
    dj_loop_post(call->embedder->loop, &call->task);
    pthread_mutex_lock(&call->mutex);
    while (!call->is_done)
        pthread_cond_wait(&call->changed, &call->mutex);
    pthread_mutex_unlock(&call->mutex);
}

/* *dim 0: learned; out has room for count vectors of it, or of the longest. */
static enum deja_status ask(struct http_embedder *embedder, const struct deja_slice *texts,
                            size_t count, uint32_t *dim, float *out)
{
    struct call call = {.embedder = embedder};
    uint64_t tokens = 0;
    size_t longest = *dim ? *dim : DJ_EMBEDDER_HTTP_DIM_MAX;
    pthread_mutex_init(&call.mutex, NULL);
    pthread_cond_init(&call.changed, NULL);
    dj_buf_init(&call.body, REQUEST_BYTES_MAX);
    dj_buf_init(&call.answer, count * longest * NUMBER_BYTES_MAX + ANSWER_BYTES_SPARE);
    write_request(embedder, texts, count, &call.body);
    enum deja_status status = call.body.status;
    if (status == DEJA_OK) {
        wait_for(&call);
        status = call.status;
        if (call.answer.status != DEJA_OK)
            status = call.answer.status == DEJA_ERR_LIMIT ? DEJA_ERR_CORRUPT : DEJA_ERR_NOMEM;
        if (status == DEJA_OK)
            status = meaning_of(call.http_status);
        if (status == DEJA_OK)
            status = read_answer(&call, count, dim, out, &tokens);
        count_call(embedder, status, count, tokens);
    }
    dj_buf_fini(&call.body);
    dj_buf_fini(&call.answer);
    pthread_cond_destroy(&call.changed);
    pthread_mutex_destroy(&call.mutex);
    if (status == DEJA_ERR_MISMATCH) /* vectors of another length: of no more use than garbage */
        return DEJA_ERR_CORRUPT;
    return status == DEJA_ERR_LIMIT ? DEJA_ERR_INVALID : status;
}

static enum deja_status ask_guarded(struct http_embedder *embedder, const struct deja_slice *texts,
                                    size_t count, float *out)
{
    struct dj_sentry_ticket ticket;
    uint32_t dim = embedder->base.dim;
    if (embedder->sentry && !dj_sentry_admit(embedder->sentry, &ticket, NULL)) {
        count_call(embedder, DEJA_ERR_CIRCUIT_OPEN, 0, 0);
        return DEJA_ERR_CIRCUIT_OPEN;
    }
    enum deja_status status = ask(embedder, texts, count, &dim, out);
    if (embedder->sentry)
        dj_sentry_tell(embedder->sentry, &ticket, "embed", status);
    return status;
}

static enum deja_status embed(struct dj_embedder *base, const struct deja_slice *texts,
                              size_t count, float *out)
{
    struct http_embedder *embedder = (struct http_embedder *)base;
    for (size_t done = 0; done < count;) {
        size_t piece = count - done < base->batch_max ? count - done : base->batch_max;
        enum deja_status status =
            ask_guarded(embedder, texts + done, piece, out + done * (size_t)base->dim);
        if (status != DEJA_OK)
            return status;
        done += piece;
    }
    return DEJA_OK;
}

/* ---- life ---- */

static void destroy(struct dj_embedder *base)
{
    struct http_embedder *embedder = (struct http_embedder *)base;
    if (embedder->loop) {
        embedder->stop = (struct dj_task){.run = stop_loop, .ctx = embedder};
        dj_loop_post(embedder->loop, &embedder->stop);
        if (embedder->is_thread_started)
            pthread_join(embedder->thread, NULL);
        else
            dj_loop_run(embedder->loop);
        dj_loop_destroy(embedder->loop);
    }
    if (embedder->authorization)
        dj_wipe(embedder->authorization, strlen(embedder->authorization));
    dj_free(embedder->authorization);
    dj_free(embedder->url);
    dj_free(embedder->model);
    dj_free(embedder);
}

static bool ends_with(struct deja_slice text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

/* The whole address, however much of it was written. */
static enum deja_status complete_url(const char *url, char **out_url, struct deja_error *error)
{
    struct deja_slice base = deja_slice_text(url);
    struct dj_buf whole = {0};
    while (base.len && base.data[base.len - 1] == '/')
        base.len--;
    if (base.len > URL_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG, "semantic.http.url is too long");
    dj_buf_append_slice(&whole, base);
    if (!ends_with(base, "/embeddings"))
        dj_buf_append_text(&whole, ends_with(base, "/v1") ? "/embeddings" : "/v1/embeddings");
    dj_buf_append_byte(&whole, '\0');
    if (whole.status != DEJA_OK) {
        dj_buf_fini(&whole);
        return DEJA_ERR_NOMEM;
    }
    struct deja_error reason = {.message = ""};
    if (dj_outbound_check_url(whole.data, &reason) != DEJA_OK) {
        dj_buf_fini(&whole);
        return deja_error_set(error, DEJA_ERR_CONFIG, "semantic.http.url: %s", reason.message);
    }
    *out_url = whole.data;
    return DEJA_OK;
}

/* Printable and bounded whatever the model is called; the hash is of all that makes the vectors. */
static void name_embedder(struct http_embedder *embedder)
{
    uint8_t digest[DJ_SHA256_BYTES];
    char hash[17];
    char model[49];
    char input[URL_MAX + MODEL_BYTES_MAX + 64];
    int len = snprintf(input, sizeof input, "%s\n%s\n%u", embedder->url, embedder->model,
                       embedder->is_dim_sent ? embedder->base.dim : 0);
    dj_sha256(deja_slice(input, len > 0 ? (size_t)len : 0), digest);
    dj_hex_encode(digest, 8, hash);
    snprintf(model, sizeof model, "%.48s", embedder->model);
    for (char *c = model; *c; c++)
        if (*c <= ' ' || *c > '~')
            *c = '_';
    snprintf(embedder->base.id, sizeof embedder->base.id, "%s@%s", model, hash);
}

static enum deja_status copy_options(struct http_embedder *embedder,
                                     const struct dj_embedder_http_options *options,
                                     struct deja_error *error)
{
    size_t model_len = options->model ? strlen(options->model) : 0;
    size_t key_len = options->key ? strlen(options->key) : 0;
    if (!options->url || !model_len || model_len > MODEL_BYTES_MAX || key_len > KEY_BYTES_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "the http embedder needs semantic.http.url and semantic.http.model");
    if (options->dim > DJ_EMBEDDER_HTTP_DIM_MAX || options->batch_max > DJ_EMBEDDER_HTTP_BATCH_MAX)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "semantic.http: dimensions at most %u, batch at most %u",
                              DJ_EMBEDDER_HTTP_DIM_MAX, DJ_EMBEDDER_HTTP_BATCH_MAX);
    enum deja_status status = complete_url(options->url, &embedder->url, error);
    if (status != DEJA_OK)
        return status;
    embedder->model = dj_strdup(deja_slice(options->model, model_len));
    if (key_len) {
        embedder->authorization = dj_alloc(key_len + sizeof "Bearer ");
        if (embedder->authorization)
            snprintf(embedder->authorization, key_len + sizeof "Bearer ", "Bearer %s",
                     options->key);
    }
    embedder->base.dim = options->dim;
    embedder->base.memo_ttl_ms = options->memo_ttl_ms;
    embedder->base.batch_max = options->batch_max ? options->batch_max : DJ_EMBEDDER_HTTP_BATCH_MAX;
    embedder->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS_DEFAULT;
    embedder->is_dim_sent = options->is_dim_sent;
    embedder->price_per_1k = options->price_per_1k;
    embedder->telemetry = options->telemetry;
    embedder->sentry = options->sentry;
    return embedder->model && (!key_len || embedder->authorization) ? DEJA_OK : DEJA_ERR_NOMEM;
}

static enum deja_status start_thread(struct http_embedder *embedder, const char *ca_file)
{
    struct dj_outbound_options options = dj_outbound_options_default;
    options.connections_max = CONNECTIONS_MAX;
    options.connect_timeout_ms = embedder->timeout_ms;
    options.ca_file = ca_file;
    enum deja_status status = dj_loop_create(0, &embedder->loop);
    if (status == DEJA_OK)
        status = dj_outbound_create(embedder->loop, &options, &embedder->outbound);
    if (status != DEJA_OK)
        return status;
    embedder->is_thread_started = pthread_create(&embedder->thread, NULL, run_loop, embedder) == 0;
    return embedder->is_thread_started ? DEJA_OK : DEJA_ERR_LIMIT;
}

static enum deja_status learn_dim(struct http_embedder *embedder, struct deja_error *error)
{
    const struct deja_slice text = deja_slice_text("dimension");
    uint32_t dim = 0;
    float *vector = dj_alloc(DJ_EMBEDDER_HTTP_DIM_MAX * sizeof *vector);
    if (!vector)
        return DEJA_ERR_NOMEM;
    enum deja_status status = ask(embedder, &text, 1, &dim, vector);
    dj_free(vector);
    if (status != DEJA_OK)
        return deja_error_set(error, status,
                              "%s did not say how long its vectors are (%s): set "
                              "semantic.http.dimensions to start without asking",
                              embedder->url, deja_status_text(status));
    embedder->base.dim = dim;
    return DEJA_OK;
}

enum deja_status dj_embedder_http_open(const struct dj_embedder_http_options *options,
                                       struct dj_embedder **out_embedder, struct deja_error *error)
{
    static const struct dj_embedder_ops ops = {.embed = embed, .destroy = destroy};
    struct http_embedder *embedder = dj_alloc_zeroed(1, sizeof *embedder);
    if (!embedder)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    embedder->base.ops = &ops;
    embedder->base.kind = "http";
    enum deja_status status = copy_options(embedder, options, error);
    if (status == DEJA_OK)
        status = start_thread(embedder, options->ca_file);
    if (status == DEJA_OK && !embedder->base.dim)
        status = learn_dim(embedder, error);
    if (status != DEJA_OK) {
        destroy(&embedder->base);
        return status;
    }
    name_embedder(embedder);
    *out_embedder = &embedder->base;
    return DEJA_OK;
}
