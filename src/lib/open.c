/* lib/open.c - deja_open and deja_close: the parts of an instance, made in order and taken down in
 * reverse.
 *
 *   options -> secret -> loop, pools -> stores, embedder, engine -> index -> timers -> loop's
 * thread
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "embed/lexical.h"
#include "embed/transformer.h"
#include "lib/assemble.h"
#include "lib/embedder_plugin.h"
#include "lib/lib_internal.h"
#include "lib/sealing.h"
#include "lib/store_plugin.h"
#include "security/secret.h"
#include "simd/simd.h"
#include "store/data_dir.h"

#define READ_THREADS 2u
#define JOBS_MAX 65536u
#define SWEEP_MS 60000u
#define TTL_JITTER 0.1

const char *deja_version(void)
{
    return DEJA_VERSION;
}

/* ---- options ---- */

static void set_default(uint64_t *value, uint64_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void set_default_u32(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void set_defaults(struct deja_options *options)
{
    set_default(&options->memory_bytes_max, 100u << 20);
    set_default(&options->memory_entries_max, 10000);
    set_default(&options->tenant_entries_max, options->memory_entries_max);
    set_default(&options->operation_bytes_max, 256u << 20);
    set_default(&options->ttl_ms, 24ull * 3600 * 1000);
    set_default(&options->ttl_max_ms, 30ull * 24 * 3600 * 1000);
    set_default_u32(&options->vectors_max, 100000);
    set_default_u32(&options->query_chars_max, 1000);
    set_default_u32(&options->text_small_max, 1000);
    set_default_u32(&options->text_medium_max, 10000);
    set_default_u32(&options->worker_threads, 2);
    set_default_u32(&options->compute_threads, 4);
    set_default_u32(&options->operations_max, 65536);
    set_default_u32(&options->waiters_max, 1000);
    if (!(options->threshold > 0))
        options->threshold = 0.95;
}

static enum deja_status check_options(const struct deja_options *options, struct deja_error *error)
{
    if (options->threshold > 1)
        return deja_error_set(error, DEJA_ERR_CONFIG, "threshold must be 0 to 1");
    if (options->worker_threads > 64 || options->compute_threads > 256)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "worker_threads must be at most 64, compute_threads at most 256");
    if (options->text_small_max >= options->text_medium_max)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "text_medium_max must be larger than text_small_max");
    if (options->embed > DEJA_EMBED_NONE)
        return deja_error_set(error, DEJA_ERR_CONFIG, "embed must be one of enum deja_embedding");
    if (options->kind_count > DEJA_KIND_SETTINGS_MAX || (options->kind_count && !options->kinds))
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "kind_count must be that of kinds, and at "
                              "most %d",
                              DEJA_KIND_SETTINGS_MAX);
    for (size_t i = 0; i < options->kind_count; i++)
        if (!options->kinds[i].kind || !options->kinds[i].member || !options->kinds[i].value)
            return deja_error_set(error, DEJA_ERR_CONFIG,
                                  "kinds[%zu] lacks its kind, member or value", i);
    if (options->store && options->data_dir)
        return deja_error_set(error, DEJA_ERR_CONFIG,
                              "data_dir and store are two places to keep entries: give one");
    return DEJA_OK;
}

static enum deja_status read_options(const struct deja_options *given, struct deja_options *out,
                                     struct deja_error *error)
{
    const struct deja_options none = {.struct_bytes = sizeof none};
    const char *bytes = (const char *)(given ? given : &none);
    size_t given_bytes = given ? given->struct_bytes : sizeof none;
    bool is_new = false;
    if (given_bytes < offsetof(struct deja_options, operation_bytes_max) || given_bytes > 4096)
        return deja_error_set(error, DEJA_ERR_CONFIG, "options: call deja_options_init first");
    for (size_t i = sizeof *out; i < given_bytes; i++)
        is_new = is_new || bytes[i];
    if (is_new)
        return deja_error_set(
            error, DEJA_ERR_UNSUPPORTED,
            "options: the program was built for a newer library than " DEJA_VERSION);
    *out = (struct deja_options){0};
    memcpy(out, bytes, given_bytes < sizeof *out ? given_bytes : sizeof *out);
    set_defaults(out);
    return check_options(out, error);
}

/* ---- parts ---- */

static enum deja_status make_secret(struct deja *deja, struct deja_error *error)
{
    const struct deja_options *options = &deja->options;
    enum deja_status status = DEJA_OK;
    if (options->data_dir)
        status = dj_data_dir_make(options->data_dir, error);
    if (status != DEJA_OK)
        return status;
    struct dj_secret secret;
    if (options->secret)
        memcpy(secret.bytes, options->secret, DEJA_SECRET_BYTES);
    else if (options->data_dir)
        status = dj_secret_load(NULL, options->data_dir, &secret, error);
    else
        dj_random_bytes(secret.bytes, sizeof secret.bytes);
    if (status != DEJA_OK)
        return status;
    dj_tenant_root_init(&deja->root, secret.bytes);
    dj_secret_fini(&secret);
    dj_tenant_derive(&deja->root, deja_slice(NULL, 0), deja->local_tenant);
    dj_tenant_fingerprint_key(&deja->root, deja->local_tenant, &deja->local_key);
    return DEJA_OK;
}

static enum deja_status make_threads(struct deja *deja)
{
    const struct deja_options *options = &deja->options;
    enum deja_status status = dj_loop_create(0, &deja->loop);
    deja->loops[0] = deja->loop;
    if (status == DEJA_OK)
        status = dj_metrics_create(&deja->metrics);
    if (status == DEJA_OK)
        status = dj_map_create(options->operations_max, NULL, NULL, &deja->computations);
    if (status == DEJA_OK)
        status = dj_pool_create("work", options->worker_threads, JOBS_MAX, &deja->work);
    if (status == DEJA_OK)
        status = dj_pool_create("read", READ_THREADS, JOBS_MAX, &deja->reads);
    if (status == DEJA_OK)
        status = dj_pool_create("compute", options->compute_threads, options->operations_max,
                                &deja->computing);
    return status;
}

static enum deja_status make_embedder(const struct deja_options *options,
                                      struct dj_embedder **out_embedder, struct deja_error *error)
{
    *out_embedder = NULL;
    if (options->embed == DEJA_EMBED_NONE)
        return DEJA_OK;
    if (options->embed == DEJA_EMBED_GIVEN && options->embedder)
        return dj_embedder_plugin_create(options->embedder, options->embedder_ctx, out_embedder,
                                         error);
    if (options->embed == DEJA_EMBED_GIVEN && options->model_dir)
        return dj_transformer_open(options->model_dir, out_embedder, error);
    enum deja_status status = dj_lexical_create(out_embedder);
    return status == DEJA_OK ? status : deja_error_set(error, status, "out of memory");
}

static enum deja_status make_sealing(struct deja *deja, struct deja_error *error)
{
    const char *directory = deja->options.data_dir;
    if (!directory)
        return DEJA_OK;
    enum deja_status status = dj_lmdb_meta_open(directory, &deja->meta, error);
    if (status == DEJA_OK)
        status = dj_sealing_create(directory, deja->meta, deja->work, &deja->sealing, error);
    return status;
}

static enum deja_status make_engine(struct deja *deja, struct deja_error *error)
{
    const struct deja_options *options = &deja->options;
    struct dj_store *kept = NULL;
    bool is_discarded = false;
    struct dj_assembly assembly = {
        .memory = {.bytes_max = options->memory_bytes_max,
                   .entries_max = options->memory_entries_max,
                   .tenant_entries_max = options->tenant_entries_max,
                   .loop_count = 1,
                   .gone = dj_events_gone,
                   .gone_ctx = deja},
        .wrap = deja->sealing ? dj_sealing_wrap : NULL,
        .wrap_ctx = deja->sealing,
        .lmdb = {.directory = options->data_dir,
                 .meta = deja->meta,
                 .bytes_max = options->disk_bytes_max,
                 .durability = DJ_DURABILITY_EVERYSEC,
                 .queue_max = JOBS_MAX,
                 .pool = deja->reads},
        .engine = {.meta = deja->meta,
                   .loops = deja->loops,
                   .loop_count = 1,
                   .pool = deja->work,
                   .metrics = deja->metrics,
                   .vectors_max = options->vectors_max,
                   .api_threshold = options->threshold,
                   .ttl_max_ms = options->ttl_max_ms,
                   .ttl_jitter = TTL_JITTER,
                   .is_lmdb_foreign = options->store != NULL},
    };
    /* With nothing below it, memory keeps what it has until it ends. */
    if (options->data_dir || options->store)
        assembly.memory.stay = dj_kind_book_stay(deja->kinds, DJ_LEVEL_MEMORY);
    enum deja_status status = make_embedder(options, &assembly.engine.embedder, error);
    if (status != DEJA_OK)
        return status;
    if (options->store)
        status = dj_store_plugin_open(options->store, options->store_ctx, deja->reads,
                                      &assembly.engine.lmdb, error);
    if (status != DEJA_OK) {
        dj_embedder_destroy(assembly.engine.embedder);
        return status;
    }
    deja->is_store_foreign = options->store != NULL;
    struct dj_embedder *embedder = assembly.engine.embedder;
    status = dj_assemble(&assembly, &deja->engine, &kept, &is_discarded, error);
    if (status != DEJA_OK)
        return status;
    dj_engine_load_vectors(deja->engine);
    /* From here nothing fails that would have to give the plug-ins back: see deja_open. */
    deja->plugin_store = options->store ? kept : NULL;
    deja->plugin_embedder =
        options->embed == DEJA_EMBED_GIVEN && options->embedder ? embedder : NULL;
    return DEJA_OK;
}

struct kinds_told {
    const struct deja_kind_setting *settings;
    struct deja_error *error;
    bool is_told; /* of the first fault */
};

static void on_kinds_fault(void *ctx, size_t index, const char *why)
{
    struct kinds_told *told = ctx;
    const struct deja_kind_setting *setting = &told->settings[index];
    if (!told->is_told)
        deja_error_set(told->error, DEJA_ERR_CONFIG, "kinds[%zu], %s.%s: %s", index, setting->kind,
                       setting->member, why);
    told->is_told = true;
}

static enum deja_status make_kinds(struct deja *deja, struct deja_error *error)
{
    const struct deja_options *options = &deja->options;
    struct kinds_told told = {.settings = options->kinds, .error = error};
    struct dj_kind_setting *settings = dj_alloc_zeroed(options->kind_count + 1, sizeof *settings);
    if (!settings)
        return DEJA_ERR_NOMEM;
    for (size_t i = 0; i < options->kind_count; i++)
        settings[i] =
            (struct dj_kind_setting){.kind = deja_slice_text(options->kinds[i].kind),
                                     .member = deja_slice_text(options->kinds[i].member),
                                     .value = deja_slice_text(options->kinds[i].value),
                                     .is_list = strchr(options->kinds[i].value, '\n') != NULL};
    enum deja_status status =
        dj_kinds_create(settings, options->kind_count, &told, on_kinds_fault, &deja->kind_table);
    dj_free(settings);
    if (status == DEJA_OK)
        status = dj_kind_book_create(deja->kind_table, &deja->kinds);
    if (status == DEJA_OK && deja->sealing)
        dj_sealing_set_stay(deja->sealing, dj_kind_book_stay(deja->kinds, DJ_LEVEL_LMDB));
    return status;
}

static enum deja_status make_plain(struct deja *deja)
{
    const struct dj_plain_options options = {
        .engine = deja->engine,
        .kinds = deja->kinds,
        .loops = deja->loops,
        .loop_count = 1,
        .unsealed = ~(DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) | deja->sealed_levels)};
    return dj_plain_create(&options, &deja->plain);
}

/* ---- the loop ---- */

static void on_sweep(void *ctx)
{
    struct deja *deja = ctx;
    dj_engine_sweep(deja->engine, deja->loop);
}

/* Promotions and late writes: no caller waits for them, but they hold the engine. */
static void on_settle(void *ctx)
{
    struct deja *deja = ctx;
    if (dj_engine_pending(deja->engine) > 0)
        return;
    dj_timer_destroy(deja->sweep);
    dj_timer_destroy(deja->settle);
    deja->sweep = NULL;
    deja->settle = NULL;
    dj_loop_stop(deja->loop);
}

static void settle(void *ctx)
{
    struct deja *deja = ctx;
    dj_timer_start(deja->settle, 0, 1);
}

static void *run_loop(void *ctx)
{
    struct deja *deja = ctx;
    dj_loop_run(deja->loop);
    return NULL;
}

static enum deja_status start(struct deja *deja)
{
    sigset_t all;
    sigset_t before;
    enum deja_status status = dj_timer_create(deja->loop, deja, on_sweep, &deja->sweep);
    if (status == DEJA_OK)
        status = dj_timer_create(deja->loop, deja, on_settle, &deja->settle);
    if (status != DEJA_OK)
        return status;
    dj_timer_start(deja->sweep, SWEEP_MS, SWEEP_MS);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's */
    int code = pthread_create(&deja->thread, NULL, run_loop, deja);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0 ? DEJA_OK : DEJA_ERR_LIMIT;
}

/* Half-built is fine; the loop's thread has ended or was never started. */
static void destroy(struct deja *deja)
{
    dj_timer_destroy(deja->sweep);
    dj_timer_destroy(deja->settle);
    dj_pool_destroy(deja->computing);
    dj_pool_destroy(deja->work);
    dj_plain_destroy(deja->plain);
    dj_engine_destroy(deja->engine); /* closes the stores, whose reads still run on `reads` */
    dj_pool_destroy(deja->reads);
    dj_loop_destroy(deja->loop);
    dj_kind_book_destroy(deja->kinds); /* what was posted late may still ask */
    dj_kinds_destroy(deja->kind_table);
    dj_sealing_destroy(deja->sealing);
    dj_lmdb_meta_close(deja->meta);
    dj_map_destroy(deja->computations);
    dj_events_destroy(deja->events);
    dj_detector_destroy(deja->detector);
    dj_metrics_destroy(deja->metrics);
    dj_tenant_root_fini(&deja->root);
    dj_secret_fini(&deja->local_key);
    pthread_cond_destroy(&deja->is_idle);
    pthread_mutex_destroy(&deja->mutex);
    dj_free(deja);
}

enum deja_status deja_open(const struct deja_options *options, struct deja **out_deja,
                           struct deja_error *error)
{
    struct deja *deja = dj_alloc_zeroed(1, sizeof *deja);
    if (!deja)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    int code = pthread_mutex_init(&deja->mutex, NULL);
    assert(code == 0);
    code = pthread_cond_init(&deja->is_idle, NULL);
    assert(code == 0);
    dj_list_init(&deja->computations_mapped);
    dj_list_init(&deja->computes);
    dj_simd_init();
    enum deja_status status = read_options(options, &deja->options, error);
    if (status == DEJA_OK)
        status = make_secret(deja, error);
    if (status == DEJA_OK) {
        status = make_threads(deja);
        if (status != DEJA_OK)
            deja_error_set(error, status, "threads: %s", deja_status_text(status));
    }
    if (status == DEJA_OK)
        status = make_sealing(deja, error);
    if (status == DEJA_OK)
        status = dj_look_create(deja, error);
    if (status == DEJA_OK)
        status = dj_events_create(&deja->events);
    if (status == DEJA_OK)
        status = make_kinds(deja, error);
    if (status == DEJA_OK)
        status = make_engine(deja, error);
    if (status == DEJA_OK)
        status = make_plain(deja);
    if (status == DEJA_OK) {
        status = start(deja);
        if (status != DEJA_OK)
            deja_error_set(error, status, "the loop's thread: %s", deja_status_text(status));
    }
    if (status != DEJA_OK) {
        destroy(deja);
        return status;
    }
    if (deja->plugin_store)
        dj_store_plugin_adopt(deja->plugin_store);
    if (deja->plugin_embedder)
        dj_embedder_plugin_adopt(deja->plugin_embedder);
    *out_deja = deja;
    return DEJA_OK;
}

enum deja_status deja_close(struct deja *deja)
{
    if (!deja)
        return DEJA_OK;
    if (pthread_equal(pthread_self(), deja->thread))
        return DEJA_ERR_INVALID;
    pthread_mutex_lock(&deja->mutex);
    if (dj_computation_is_here(deja)) {
        pthread_mutex_unlock(&deja->mutex);
        return DEJA_ERR_INVALID;
    }
    deja->is_closing = true;
    while (deja->under_way > 0)
        pthread_cond_wait(&deja->is_idle, &deja->mutex);
    pthread_mutex_unlock(&deja->mutex);
    deja->settle_task = (struct dj_task){.run = settle, .ctx = deja};
    dj_loop_post(deja->loop, &deja->settle_task);
    int code = pthread_join(deja->thread, NULL);
    assert(code == 0);
    destroy(deja);
    return DEJA_OK;
}
