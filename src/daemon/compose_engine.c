/* daemon/compose_engine.c - the engine: its tiers, its embedder, and who is told what left them. */
#include "daemon/daemon_internal.h"
#include "daemon/tier_postgres.h"
#include "embed/lexical.h"
#include "embed/transformer.h"
#include "lib/assemble.h"
#include "proxy/embedder_http.h"

/* An endpoint that does not answer must not keep the daemon from starting: exact hits only then. */
static enum deja_status make_http_embedder(struct dj_daemon *daemon,
                                           struct dj_embedder **out_embedder,
                                           struct deja_error *error)
{
    const struct dj_settings_http_embedder *http = &daemon->settings->http_embedder;
    struct dj_embedder_http_options options = {.url = http->url,
                                               .model = http->model,
                                               .key = http->key,
                                               .ca_file = http->ca_file,
                                               .timeout_ms = (uint32_t)http->timeout_ms,
                                               .dim = http->dimensions,
                                               .is_dim_sent = http->send_dimensions,
                                               .batch_max = http->batch,
                                               .memo_ttl_ms = http->memo_ttl_ms,
                                               .price_per_1k = http->price_per_1k,
                                               .telemetry = daemon->telemetry};
    enum deja_status status = dj_guards_make_embedder(daemon);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "start: %s", deja_status_text(status));
    options.sentry = daemon->embedder_sentry;
    status = dj_embedder_http_open(&options, out_embedder, error);
    if (status == DEJA_OK || status == DEJA_ERR_CONFIG || status == DEJA_ERR_NOMEM)
        return status;
    const struct dj_log_field fields[] = {
        DJ_LOG_TEXT("reason", error->message),
        DJ_LOG_TEXT("cure", "set semantic.http.dimensions: then the endpoint may come later"),
        {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_WARN, "no embedder: exact hits only until the next start",
                 fields);
    return DEJA_OK;
}

static enum deja_status make_embedder(struct dj_daemon *daemon, struct dj_embedder **out_embedder,
                                      struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    enum dj_embedder_choice choice = settings->semantic.embedder;
    *out_embedder = NULL;
    if (!settings->semantic.is_enabled)
        return DEJA_OK;
    if (choice == DJ_EMBEDDER_HTTP)
        return make_http_embedder(daemon, out_embedder, error);
    if (choice != DJ_EMBEDDER_LEXICAL) {
        enum deja_status status =
            dj_transformer_open(settings->semantic.model_dir, out_embedder, error);
        if (status == DEJA_OK || choice == DJ_EMBEDDER_TRANSFORMER)
            return status;
        const struct dj_log_field fields[] = {
            DJ_LOG_TEXT("reason", error->message),
            DJ_LOG_TEXT("cure", "deja model pull all-minilm-l6-v2, then start again"),
            {.name = NULL}};
        dj_log_write(daemon->log, DJ_LOG_WARN,
                     "no transformer model: rewordings are found by words only", fields);
    }
    return dj_lexical_create(out_embedder);
}

static const char *reason_text(enum dj_gone_reason reason)
{
    static const char *const names[DJ_GONE_REASON_COUNT] = {
        [DJ_GONE_TTL] = "ttl", [DJ_GONE_SIZE] = "size", [DJ_GONE_TENANT_LIMIT] = "tenant_limit"};
    return names[reason];
}

static void on_gone_from_memory(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                                enum dj_gone_reason reason)
{
    dj_telemetry_evicted(ctx, tenant, "memory", reason_text(reason));
}

/* Of its writer. */
static void on_gone_from_lmdb(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                              enum dj_gone_reason reason)
{
    dj_telemetry_evicted(ctx, tenant, "lmdb", reason_text(reason));
}

static void on_contained(void *ctx, const char *operation, enum deja_status status)
{
    dj_telemetry_contained(ctx, operation, status);
}

/* The directory comes later, before anything is put. */
static void limit_memory(void *ctx, const uint8_t tenant[DJ_ID_BYTES],
                         struct dj_memory_limit *out_limit)
{
    const struct dj_daemon *daemon = ctx;
    struct dj_rules *rules =
        daemon->directory ? dj_directory_find(daemon->directory, tenant) : NULL;
    if (rules)
        out_limit->entries_max = dj_rules_of(rules)->limits.entries_max;
    dj_rules_unref(rules);
}

static enum deja_status seal_lmdb(void *ctx, struct dj_store *store, struct dj_store **out_store)
{
    struct dj_daemon *daemon = ctx;
    daemon->embedded = store;
    return dj_encryption_wrap(daemon->encryption, store, DJ_SEALED_VECTORS_SEALED, true, out_store);
}

static struct dj_assembly assembly_of(struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    return (struct dj_assembly){
        .memory = {.bytes_max = settings->l1.bytes_max,
                   /* Off: only what has just been answered passes through. */
                   .entries_max =
                       settings->l1.is_enabled ? settings->l1.entries_max : daemon->loop_count,
                   .tenant_entries_max = settings->tenant.entries_max,
                   .loop_count = daemon->loop_count,
                   .strategy = settings->eviction.strategy,
                   .low_water_percent = (uint32_t)(settings->eviction.low_water * 100 + 0.5),
                   .batch = settings->eviction.batch,
                   .limit = limit_memory,
                   .limit_ctx = daemon,
                   .gone = on_gone_from_memory,
                   .gone_ctx = daemon->telemetry},
        .wrap = seal_lmdb,
        .wrap_ctx = daemon,
        .lmdb = {.meta = daemon->meta,
                 .bytes_max = settings->lmdb.bytes_max,
                 .durability = settings->durability,
                 .queue_max = settings->lmdb.queue_max,
                 .pool = daemon->reads,
                 .gone = on_gone_from_lmdb,
                 .gone_ctx = daemon->telemetry},
        .engine = {.meta = daemon->meta,
                   .loops = daemon->loops,
                   .optimise_tier = settings->postgres.url ? dj_tier_optimise_postgres : NULL,
                   .optimise_ctx = daemon,
                   .contained = on_contained,
                   .contained_ctx = daemon->telemetry,
                   .loop_count = daemon->loop_count,
                   .pool = daemon->work,
                   .metrics = daemon->metrics,
                   .notices = daemon->notices,
                   .vectors_max = settings->semantic.vectors_max,
                   .candidates = settings->semantic.candidates,
                   .threshold = settings->semantic.threshold,
                   .api_threshold = settings->semantic.api_threshold,
                   .ttl_max_ms = settings->ttl.max_ms,
                   .ttl_jitter = settings->ttl.jitter,
                   .tracker_size = settings->performance.tracker_size,
                   .tracker_batch = settings->performance.tracker_batch,
                   .evict_check_ms =
                       settings->eviction.is_enabled ? settings->eviction.check_ms : UINT64_MAX},
    };
}

enum deja_status dj_daemon_make_engine(struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    bool is_discarded = false;
    enum deja_status status = dj_kind_book_create(settings->kinds, &daemon->kinds);
    if (status != DEJA_OK)
        return status;
    struct dj_assembly assembly = assembly_of(daemon);
    status = dj_daemon_open_tiers(daemon, &assembly.engine, error);
    bool is_shared = dj_daemon_is_shared(&assembly.engine);
    if (is_shared) {
        assembly.memory.ttl_ms = settings->l1.default_ttl_ms;
        assembly.memory.lease_ms = settings->l1.lease_ms;
        assembly.memory.plain_ttl_ms = settings->kv.memory_ttl_ms;
    }
    if (status == DEJA_OK)
        status = dj_daemon_place_lmdb(daemon, is_shared, &assembly.lmdb, error);
    /* With nothing below it, memory keeps what it has until it ends. */
    if (assembly.engine.tier_count || assembly.lmdb.directory)
        assembly.memory.stay = dj_kind_book_stay(daemon->kinds, DJ_LEVEL_MEMORY);
    if (status == DEJA_OK)
        status = make_embedder(daemon, &assembly.engine.embedder, error);
    if (status != DEJA_OK) {
        for (uint32_t i = 0; i < assembly.engine.tier_count; i++)
            assembly.engine.tiers[i].store->ops->close(assembly.engine.tiers[i].store);
        return status;
    }
    status = dj_assemble(&assembly, &daemon->engine, &daemon->lmdb, &is_discarded, error);
    if (status == DEJA_OK && assembly.lmdb.directory)
        dj_daemon_lmdb_begun(daemon, is_shared);
    if (status == DEJA_OK && is_discarded)
        dj_log_write(daemon->log, DJ_LOG_WARN,
                     "stored entries were damaged by an unclean stop and have been discarded",
                     NULL);
    return status;
}
