/* daemon/tier_s3.c - from settings to the S3 tier. */
#include "daemon/tier_s3.h"

#include "base/alloc.h"
#include "config/expand.h"
#include "daemon/daemon_internal.h"
#include "proto/json.h"
#include "store/s3.h"

enum { TRY_MS_MAX = 5000 };

static struct dj_s3_options options_of(const struct dj_settings_s3 *settings)
{
    static const char *const encryptions[] = {NULL, "AES256", "aws:kms"};
    struct dj_s3_options options = dj_s3_options_default;
    options.endpoint = settings->endpoint;
    options.region = settings->region;
    options.bucket = settings->bucket;
    options.prefix = settings->prefix;
    options.style = (enum dj_s3_style)settings->style;
    options.identity.access_key = deja_slice_text(settings->access_key_id);
    options.identity.secret_key = deja_slice_text(settings->secret_access_key);
    options.identity.token = deja_slice_text(settings->session_token);
    options.credentials_file = settings->credentials_file;
    options.profile = settings->profile;
    options.encryption = encryptions[settings->encryption];
    options.encryption_key_id = settings->kms_key_id;
    options.storage_class = settings->storage_class;
    options.has_kind_tags = settings->has_kind_tags;
    options.ttl_ms = settings->ttl_ms;
    options.tombstone_ttl_ms = settings->tombstone_ttl_ms;
    options.timeout_ms = (uint32_t)settings->timeout_ms;
    options.connections_max = settings->connections_max;
    options.connect_timeout_ms = (uint32_t)settings->connect_timeout_ms;
    options.ca_file = settings->ca_file;
    return options;
}

enum deja_status dj_tier_s3_complete(struct dj_settings_s3 *settings,
                                     const char *const *environment)
{
    const char *home = dj_environment_find(environment, deja_slice_text("HOME"));
    if (settings->credentials_file || !home || home[0] != '/')
        return DEJA_OK;
    struct dj_buf path = {0};
    dj_buf_append_format(&path, "%s/.aws/credentials", home);
    settings->credentials_file = dj_buf_take_text(&path);
    return settings->credentials_file ? DEJA_OK : DEJA_ERR_NOMEM;
}

enum deja_status dj_tier_s3_check(const struct dj_settings_s3 *settings, struct deja_error *error)
{
    struct dj_s3_options options = options_of(settings);
    return dj_s3_check(&options, error);
}

enum deja_status dj_tier_open_s3(struct dj_daemon *daemon, struct dj_store **out_store,
                                 struct deja_error *error)
{
    const struct dj_settings_s3 *settings = &daemon->settings->s3;
    if (!settings->is_enabled) {
        *out_store = NULL;
        return DEJA_OK;
    }
    struct dj_s3_options options = options_of(settings);
    options.pool = daemon->work;
    options.packing = dj_settings_packing(&daemon->settings->compression);
    options.loop_count = daemon->loop_count;
    enum deja_status status = dj_s3_open(&options, &daemon->s3, error);
    if (status == DEJA_OK)
        *out_store = daemon->s3;
    return status;
}

void dj_tier_describe_s3(void *ctx, const char *component, struct dj_json_writer *w)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_settings_s3 *settings = &daemon->settings->s3;
    struct deja_error trouble;
    if (!daemon->s3 || strcmp(component, "s3") != 0)
        return;
    dj_s3_fault(daemon->s3, &trouble);
    dj_json_member_text(w, "bucket", settings->bucket);
    dj_json_member_text(w, "endpoint", settings->endpoint ? settings->endpoint : "AWS");
    dj_json_member_text(w, "region", settings->region ? settings->region : "us-east-1");
    if (trouble.message[0])
        dj_json_member_text(w, "trouble", trouble.message);
}

struct trial {
    struct dj_store *store;
    struct dj_loop *loop;
    struct dj_task task;
    enum deja_status status;
};

static void leave(void *ctx)
{
    struct trial *trial = ctx;
    trial->store->ops->leave(trial->store, trial->loop);
    dj_loop_stop(trial->loop);
}

static void on_tried(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct trial *trial = ctx;
    (void)value; /* a probe has none */
    trial->status = status;
    trial->task = (struct dj_task){.run = leave, .ctx = trial};
    dj_loop_post(trial->loop, &trial->task);
}

static void begin(void *ctx)
{
    struct trial *trial = ctx;
    enum deja_status status = trial->store->ops->probe(trial->store, trial->loop, trial, on_tried);
    if (status != DEJA_OK)
        on_tried(trial, status, NULL);
}

static void run_trial(struct trial *trial, struct deja_error *text)
{
    trial->task = (struct dj_task){.run = begin, .ctx = trial};
    dj_loop_post(trial->loop, &trial->task);
    dj_loop_run(trial->loop);
    if (trial->status != DEJA_OK)
        dj_s3_fault(trial->store, text);
    if (trial->status != DEJA_OK && !text->message[0])
        deja_error_set(text, trial->status, "%s", deja_status_text(trial->status));
}

enum deja_status dj_tier_s3_try(const struct dj_settings_s3 *settings, struct deja_error *text)
{
    struct trial trial = {.status = DEJA_OK};
    struct dj_pool *pool = NULL;
    struct dj_s3_options options = options_of(settings);
    if (options.timeout_ms > TRY_MS_MAX)
        options.timeout_ms = TRY_MS_MAX;
    enum deja_status status = dj_pool_create("try", 1, 4, &pool);
    if (status == DEJA_OK)
        status = dj_loop_create(0, &trial.loop);
    options.pool = pool;
    if (status == DEJA_OK)
        status = dj_s3_open(&options, &trial.store, text);
    if (status == DEJA_OK) {
        run_trial(&trial, text);
        trial.store->ops->close(trial.store);
        status = trial.status;
    }
    dj_loop_destroy(trial.loop);
    dj_pool_destroy(pool);
    if (status == DEJA_ERR_NOMEM)
        return deja_error_set(text, status, "no memory to try it");
    if (status == DEJA_OK)
        deja_error_set(text, status, "bucket %s answers at %s", options.bucket,
                       options.endpoint ? options.endpoint : "AWS");
    return status;
}
