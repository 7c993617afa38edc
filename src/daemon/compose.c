/* daemon/compose.c - builds the rooms out of settings and takes them down in reverse.
 *
 * Which embedder, which tiers: compose_engine.c and lib/open.c; how they are put together:
 * lib/assemble.c.
 */
#include <float.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "api/idempotency.h"
#include "base/alloc.h"
#include "daemon/daemon_internal.h"
#include "daemon/listeners.h"
#include "daemon/prices.h"
#include "daemon/process.h"
#include "daemon/tier_postgres.h"
#include "daemon/warming.h"
#include "security/redact.h"
#include "security/secret.h"
#include "loop/stream.h"
#include "simd/simd.h"
#include "store/data_dir.h"

#define STANDING_TARGETS 10u /* a delay above the target for so many of it is no burst */
#define READ_THREADS 2u
#define JOBS_MAX 65536u
#define IDEMPOTENCY_KEYS_MAX 10000u
#define IDEMPOTENCY_BYTES_MAX (32u << 20)
#define PULL_MS 1000u /* how late another program may see an invalidation */
#define EXIT_UNABLE 1
#define EXIT_BUSY 75
#define EXIT_BAD_CONFIG 78

static int exit_code(enum deja_status status)
{
    return status == DEJA_ERR_BUSY     ? EXIT_BUSY
           : status == DEJA_ERR_CONFIG ? EXIT_BAD_CONFIG
                                       : EXIT_UNABLE;
}

/* Nothing is logged that the detector has not seen. */
static enum deja_status make_log(struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    enum deja_status status = dj_detector_create(NULL, 0, &daemon->detector, NULL);
    if (status == DEJA_OK)
        status = dj_log_create(STDERR_FILENO, settings->log.format, settings->log.level,
                               dj_clock_now_ms, &daemon->log);
    if (status == DEJA_OK)
        dj_log_set_redactor(daemon->log, daemon->detector, dj_redact_log);
    return status;
}

static enum deja_status make_observers(struct dj_daemon *daemon)
{
    enum deja_status status = make_log(daemon);
    if (status == DEJA_OK)
        status = dj_metrics_create(&daemon->metrics);
    if (status == DEJA_OK)
        status = dj_telemetry_create(daemon->metrics, &daemon->telemetry);
    if (status == DEJA_OK)
        status = dj_volatile_create(&daemon->volatiles);
    return status;
}

static enum deja_status make_loops(struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    uint32_t count = settings->server.loops < DJ_LOOPS_MAX ? settings->server.loops : DJ_LOOPS_MAX;
    struct dj_outbound_options options = dj_outbound_options_default;
    options.connections_max = settings->upstream.connections_max;
    options.connect_timeout_ms = (uint32_t)settings->upstream.connect_timeout_ms;
    options.ca_file = settings->upstream.ca_file;
    for (uint32_t i = 0; i < count; i++) {
        struct dj_node *node = &daemon->nodes[i];
        node->daemon = daemon;
        enum deja_status status = dj_loop_create(i, &node->loop);
        if (status != DEJA_OK)
            return status;
        daemon->loops[i] = node->loop;
        daemon->loop_count = i + 1;
        status = dj_outbound_create(node->loop, &options, &node->outbound);
        if (status == DEJA_OK)
            status = dj_flights_create(node->loop, count, &node->flights);
        if (status != DEJA_OK)
            return status;
        daemon->outbounds[i] = node->outbound;
        daemon->flights[i] = node->flights;
    }
    enum deja_status status =
        dj_pool_create("work", settings->server.workers, JOBS_MAX, &daemon->work);
    return status == DEJA_OK ? dj_pool_create("read", READ_THREADS, JOBS_MAX, &daemon->reads)
                             : status;
}

static void destroy_policy(struct dj_proxy_policy *policy)
{
    if (!policy)
        return;
    dj_prices_destroy(policy->prices_own);
    dj_prices_destroy(policy->prices_shipped);
    dj_free(policy);
}

/* What is admitted, for how long, at which prices. */
static enum deja_status set_policy_rules(struct dj_proxy_policy *policy,
                                         const struct dj_settings *settings)
{
    struct dj_diagnostics diagnostics = {.error_count = 0}; /* loading has told them */
    const struct dj_text_list *ignorable = &settings->rules.ignorable;
    policy->is_ttl_dynamic = settings->rules.is_ttl_dynamic;
    policy->ttl_base_ms = settings->rules.ttl_base_ms;
    /* 0 is no bound, which a policy says otherwise */
    policy->confidence_min =
        settings->rules.confidence_min > 0 ? settings->rules.confidence_min : DBL_MIN;
    policy->is_asked_for = settings->rules.mode == 1;
    policy->is_several_kept = settings->rules.is_several_kept;
    policy->is_upstream_obeyed = settings->upstream.respect_cache_control;
    for (size_t i = 0; i < ignorable->count && i < DJ_IGNORABLE_MAX; i++) {
        size_t len = strlen(ignorable->items[i]);
        if (len < DJ_IGNORABLE_BYTES)
            memcpy(policy->ignorable[policy->ignorable_count++], ignorable->items[i], len + 1);
    }
    enum deja_status status =
        dj_prices_read(settings->prices.file, &diagnostics, &policy->prices_own);
    dj_diagnostics_fini(&diagnostics);
    return status == DEJA_OK ? dj_prices_make_shipped(&policy->prices_shipped) : status;
}

enum deja_status dj_daemon_set_policy(struct dj_daemon *daemon, const struct dj_settings *settings)
{
    struct dj_proxy_policy *policy = dj_alloc_zeroed(1, sizeof *policy);
    if (!policy || daemon->policy_count == DJ_POLICIES_MAX) {
        dj_free(policy);
        return policy ? DEJA_ERR_LIMIT : DEJA_ERR_NOMEM;
    }
    *policy = (struct dj_proxy_policy){
        .response_ttl_ms = settings->ttl.response_ms,
        .ttl_sizes = {.life_ms = {settings->ttl.small_ms, settings->ttl.medium_ms,
                                  settings->ttl.large_ms},
                      .small_max = settings->ttl.small_max,
                      .medium_max = settings->ttl.medium_max},
        .embedding_ttl_ms = settings->ttl.embedding_ms,
        .api_ttl_ms = settings->ttl.api_ms,
        .plain_ttl_ms = settings->kv.default_ttl_ms,
        .refusal_ttl_ms = settings->ttl.refusal_ms,
        .negative_ttl_ms = settings->ttl.negative_ms,
        .stale_revalidate_ms = settings->ttl.stale_revalidate_ms,
        .stale_error_ms = settings->ttl.stale_error_ms,
        .is_early_refresh = settings->proxy.early_refresh,
        .stores_max = settings->proxy.stores_max,
        .store_bytes_max = settings->proxy.store_bytes_max,
        .peer_wait_ms = (uint32_t)settings->proxy.peer_wait_ms,
        .refreshes_max = settings->proxy.refreshes_max,
        .record_bytes_max = settings->proxy.record_bytes_max,
        .followers_max = settings->proxy.followers_max,
        .first_byte_timeout_ms = (uint32_t)settings->upstream.first_byte_timeout_ms,
        .idle_timeout_ms = (uint32_t)settings->upstream.idle_timeout_ms,
        .total_timeout_ms = (uint32_t)settings->upstream.total_timeout_ms,
        .query_chars_max = settings->query_chars_max,
        .fold = settings->scope_fold,
        .compat = settings->compat,
        .is_usage_zero_on_hit = settings->proxy.usage_on_hit == DJ_USAGE_ZERO,
        .is_langcache_cosine = settings->langcache_scale == DJ_SCALE_COSINE,
        .is_id_new_on_hit = settings->proxy.id_on_hit == DJ_HIT_ID_NEW,
        .is_tool_calls_cached = settings->proxy.cache_tool_calls,
        .is_stored_response_kept = settings->proxy.store_policy == DJ_STORE_POLICY_KEEP,
        .is_semantic = settings->semantic.is_enabled,
    };
    enum deja_status status = set_policy_rules(policy, settings);
    if (status != DEJA_OK) {
        destroy_policy(policy);
        return status;
    }
    daemon->policies[daemon->policy_count++] = policy;
    atomic_store(&daemon->proxy.policy, policy);
    daemon->drain_delay_ms = settings->server.drain_delay_ms;
    daemon->drain_timeout_ms = settings->server.drain_timeout_ms;
    dj_telemetry_set_slow(daemon->telemetry, daemon->log, settings->slow_operation_ms);
    return DEJA_OK;
}

/* ---- serving ---- */

static void on_sweep(void *ctx)
{
    struct dj_node *node = ctx;
    struct dj_daemon *daemon = node->daemon;
    dj_engine_sweep(daemon->engine, node->loop);
}

static void on_pull(void *ctx)
{
    const struct dj_node *node = ctx;
    dj_engine_pull(node->daemon->engine);
    dj_audit_tick(node->daemon->audit, dj_clock_now_ms());
    dj_erasures_tick(node->daemon->erasures);
    dj_schedules_tick(node->daemon->schedules);
    dj_spends_tick(node->daemon->spends);
    dj_savings_tick(node->daemon->savings);
    dj_channels_tick(node->daemon->channels);
    dj_webhooks_tick(node->daemon->webhooks);
    dj_daemon_poll_directory(node->daemon);
    dj_warm_tick(node->daemon->warm);
}

static enum deja_status start_timers(struct dj_node *node)
{
    uint64_t sweep_ms = node->daemon->settings->eviction.sweep_ms;
    enum deja_status status = dj_timer_create(node->loop, node, on_sweep, &node->sweep);
    if (status == DEJA_OK)
        dj_timer_start(node->sweep, sweep_ms, sweep_ms);
    if (status == DEJA_OK && dj_loop_index(node->loop) == 0)
        status = dj_timer_create(node->loop, node, on_pull, &node->pull);
    if (status == DEJA_OK && node->pull)
        dj_timer_start(node->pull, 0, PULL_MS);
    return status;
}

static enum deja_status make_admission(struct dj_daemon *daemon)
{
    const struct dj_settings_limits *limits = &daemon->settings->limits;
    const struct dj_fair_options options = {
        .running_max = limits->calls_max,
        .waiting_max = limits->queue_max,
        .standing = {.target_us = limits->delay_ms * 1000,
                     .interval_us = limits->delay_ms * 1000 * STANDING_TARGETS},
    };
    return dj_admission_create(&options, daemon->loops[0], &daemon->admission);
}

/* Strangers on a public address are tenants only where somebody said so. */
static enum dj_derive derive(const struct dj_settings *settings)
{
    bool is_public = false;
    for (size_t i = 0; i < settings->server.listen_count; i++)
        is_public |= !settings->server.listen[i].is_loopback;
    for (size_t i = 0; i < settings->resp.listen_count; i++)
        is_public |= !settings->resp.listen[i].is_loopback;
    if (settings->tenant.derived == DJ_DERIVE_AUTO && is_public && !settings->server.is_insecure)
        return DJ_DERIVE_NEVER;
    return (enum dj_derive)settings->tenant.derived;
}

/* Where entries with sensitive data may be kept (cache/sensitive.h). A tier that is searched has
 * vectors that can be read, and a vector tells what was said. */
static uint32_t sealed_levels(const struct dj_daemon *daemon)
{
    uint32_t levels = DJ_LEVEL_BIT(DJ_LEVEL_LMDB) | DJ_LEVELS_SHARED;
    if (!dj_encryption_is_on(daemon->encryption))
        return 0;
    return daemon->settings->postgres.is_searched ? levels & ~DJ_LEVEL_BIT(DJ_LEVEL_POSTGRES)
                                                  : levels;
}

static void on_looked(void *ctx, const uint8_t tenant[DJ_ID_BYTES], const struct dj_kind *kind,
                      const struct dj_entry *entry)
{
    dj_telemetry_plain(ctx, tenant, kind, entry);
}

static enum deja_status make_plain(struct dj_daemon *daemon)
{
    const struct dj_plain_options options = {
        .engine = daemon->engine,
        .kinds = daemon->kinds,
        .loops = daemon->loops,
        .loop_count = daemon->loop_count,
        .unsealed = ~(DJ_LEVEL_BIT(DJ_LEVEL_MEMORY) | sealed_levels(daemon)),
        .looked = on_looked,
        .looked_ctx = daemon->telemetry};
    return dj_plain_create(&options, &daemon->plain);
}

static enum deja_status make_limiter(struct dj_daemon *daemon)
{
    char place[DJ_PLACE_BYTES];
    dj_daemon_place(daemon->settings->data_dir, place);
    enum deja_status status = dj_limiter_create(DJ_LIMITER_ACCOUNTS_MAX, &daemon->limiter);
    const struct dj_spends_options spends = {.limiter = daemon->limiter,
                                             .authority = daemon->authority,
                                             .pool = daemon->work,
                                             .place = place};
    return status == DEJA_OK ? dj_spends_create(&spends, &daemon->spends) : status;
}

static enum deja_status make_savings(struct dj_daemon *daemon)
{
    const struct dj_savings_options options = {.ledger = dj_telemetry_ledger(daemon->telemetry),
                                               .pool = daemon->work,
                                               .log = daemon->log,
                                               .data_dir = daemon->settings->data_dir};
    return dj_savings_create(&options, &daemon->savings);
}

static void set_guess(struct dj_daemon *daemon)
{
    dj_telemetry_set_guess(daemon->telemetry,
                           &(struct dj_price_guess){
                               .tokens = daemon->settings->prices.tokens,
                               .token_usd = daemon->settings->prices.token_usd,
                               .embedded_usd = daemon->settings->prices.embedded_usd,
                               .document_usd = daemon->settings->prices.document_usd,
                           });
}

static void fill_proxy(struct dj_daemon *daemon)
{
    daemon->proxy = (struct dj_proxy_context){
        .engine = daemon->engine,
        .kinds = daemon->kinds,
        .plain = daemon->plain,
        .registry = daemon->registry,
        .root = &daemon->root,
        .rules = daemon->rules,
        .directory = daemon->directory,
        .keys = daemon->keys,
        .vault = daemon->vault,
        .derive = derive(daemon->settings),
        .operator_token = daemon->settings->security.admin_token
                              ? daemon->settings->security.admin_token
                              : daemon->admin_token,
        .metrics = daemon->metrics,
        .telemetry = daemon->telemetry,
        .log = daemon->log,
        .volatiles = daemon->volatiles,
        .detector = daemon->detector,
        .sealed_levels = sealed_levels(daemon),
        .pool = daemon->work,
        .reads = daemon->reads,
        .outbounds = daemon->outbounds,
        .flights = daemon->flights,
        .audit = daemon->audit,
        .limiter = daemon->limiter,
        .admission = daemon->admission,
        .dependencies = &daemon->dependencies,
        .upstream_guard = &daemon->settings->upstream_guard,
        .model_name = daemon->settings->semantic.model,
        .call_bytes_max = daemon->settings->server.bytes_in_flight_max,
        .started_ms = dj_clock_now_ms(),
    };
}

static enum deja_status make_proxy(struct dj_daemon *daemon)
{
    enum deja_status status = dj_guards_make(daemon);
    if (status == DEJA_OK)
        status = make_plain(daemon);
    if (status == DEJA_OK)
        status = dj_daemon_make_directory(daemon);
    if (status == DEJA_OK)
        status = make_limiter(daemon);
    if (status == DEJA_OK)
        status = make_savings(daemon);
    if (status == DEJA_OK)
        status = make_admission(daemon);
    if (status != DEJA_OK)
        return status;
    fill_proxy(daemon);
    dj_guards_name_targets(daemon, &daemon->proxy);
    daemon->api.proxy = &daemon->proxy;
    daemon->api.audit = daemon->audit;
    status = dj_daemon_make_erasures(daemon);
    if (status == DEJA_OK)
        status = dj_transfers_create(daemon, &daemon->transfers);
    if (status == DEJA_OK)
        status = dj_daemon_make_schedules(daemon);
    if (status != DEJA_OK)
        return status;
    daemon->api.event_kinds = daemon->settings->kinds;
    daemon->api.notices = daemon->notices;
    status = dj_channels_create(daemon, &daemon->channels);
    if (status == DEJA_OK)
        status = dj_webhooks_create(daemon, &daemon->webhooks);
    if (status != DEJA_OK)
        return status;
    daemon->api.transfers = dj_transfers_service(daemon->transfers);
    daemon->api.allowed_hosts = (const char *const *)daemon->settings->server.allowed_hosts.items;
    daemon->api.allowed_origins =
        (const char *const *)daemon->settings->server.allowed_origins.items;
    daemon->api.describe = dj_daemon_describe_tier;
    daemon->api.describe_ctx = daemon;
    daemon->api.encryption = (struct dj_api_encryption){.ctx = daemon->encryption,
                                                        .rotate = dj_encryption_rotate,
                                                        .write = dj_encryption_write,
                                                        .trouble = dj_encryption_trouble,
                                                        .is_on = dj_encryption_is_on};
    set_guess(daemon);
    status = dj_daemon_set_policy(daemon, daemon->settings);
    if (status == DEJA_OK)
        status = dj_idempotency_create(IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_BYTES_MAX,
                                       &daemon->api.idempotency);
    if (status == DEJA_OK)
        status = dj_daemon_make_warming(daemon);
    for (uint32_t i = 0; i < daemon->loop_count && status == DEJA_OK; i++)
        status = start_timers(&daemon->nodes[i]);
    return status;
}

static enum deja_status make_tenants(struct dj_daemon *daemon, struct deja_error *error)
{
    enum deja_status status = dj_tenants_create(daemon->engine, daemon->meta, daemon->work,
                                                daemon->settings->tenant.derived_max,
                                                &daemon->tenants, &daemon->registry);
    if (status == DEJA_OK)
        dj_tenants_set_telemetry(daemon->tenants, daemon->telemetry);
    return status == DEJA_OK ? status
                             : deja_error_set(error, status, "the table of tenants: %s",
                                              deja_status_text(status));
}

static enum deja_status load_secret(struct dj_daemon *daemon, struct deja_error *error)
{
    return dj_secret_load(daemon->settings->secret, daemon->settings->data_dir, &daemon->secret,
                          error);
}

static enum deja_status make_keys(struct dj_daemon *daemon, struct deja_error *error)
{
    enum deja_status status = dj_daemon_make_keys(daemon);
    if (status != DEJA_OK)
        return deja_error_set(error, status, "the table of API keys: %s", deja_status_text(status));
    return dj_daemon_check_keys(daemon, error);
}

/* A shared tier may have brought another secret while it was opened. */
static void make_root(struct dj_daemon *daemon)
{
    dj_tenant_root_init(&daemon->root, daemon->secret.bytes);
    dj_secret_fini(&daemon->secret);
}

/* Before the tiers: what seals entries is kept there. */
static enum deja_status make_authority(struct dj_daemon *daemon, struct deja_error *error)
{
    enum deja_status status = dj_lmdb_meta_open(daemon->settings->data_dir, &daemon->meta, error);
    if (status != DEJA_OK)
        return status;
    const struct dj_postgres_options postgres = dj_tier_postgres_options(daemon->settings);
    bool is_down = postgres.url && !dj_tier_prepare_postgres(daemon);
    status = dj_authorities_create(daemon->meta, postgres.url ? &postgres : NULL, is_down,
                                   &daemon->authorities, error);
    if (status != DEJA_OK)
        return status;
    daemon->authority = dj_authorities_table(daemon->authorities);
    return DEJA_OK;
}

int dj_daemon_init(struct dj_daemon *daemon, const struct dj_settings *settings,
                   struct deja_error *error)
{
    daemon->settings = settings;
    enum deja_status status = dj_listeners_bind(daemon, error);
    if (status == DEJA_OK)
        status = dj_process_begin(&settings->process, error);
    if (status != DEJA_OK)
        return exit_code(status);
    dj_stream_raise_file_limit();
    dj_simd_init();
    status = dj_data_dir_make(settings->data_dir, error);
    if (status == DEJA_OK)
        status = load_secret(daemon, error);
    if (status == DEJA_OK)
        status = dj_listeners_make(daemon, error);
    if (status != DEJA_OK)
        return exit_code(status);
    status = make_observers(daemon);
    if (status == DEJA_OK)
        status = dj_notices_create(&daemon->notices);
    if (status == DEJA_OK && settings->notices.urls.count && settings->notices.happenings)
        status = dj_happenings_create(settings->notices.happenings, &daemon->happenings);
    if (status == DEJA_OK)
        status = make_loops(daemon);
    if (status != DEJA_OK) {
        deja_error_set(error, status, "start: %s", deja_status_text(status));
        return exit_code(status);
    }
    status = make_authority(daemon, error);
    if (status == DEJA_OK)
        status = dj_daemon_open_audit(daemon, error);
    if (status == DEJA_OK)
        status = dj_daemon_make_engine(daemon, error);
    if (status == DEJA_OK)
        status = make_keys(daemon, error);
    make_root(daemon);
    if (status == DEJA_OK)
        status = make_tenants(daemon, error);
    if (status == DEJA_OK)
        status = make_proxy(daemon);
    if (status == DEJA_OK)
        status = dj_listeners_open(daemon, error);
    if (status == DEJA_OK)
        status = dj_daemon_open_resp(daemon, error);
    return status == DEJA_OK ? 0 : exit_code(status);
}

void dj_daemon_fini(struct dj_daemon *daemon)
{
    dj_transfers_destroy(daemon->transfers);
    if (daemon->spends)
        dj_spends_keep(daemon->spends);
    if (daemon->savings)
        dj_savings_keep(daemon->savings);
    dj_authorities_stop(daemon->authorities);
    dj_pool_destroy(daemon->work);
    dj_warm_destroy(daemon->warm);
    dj_spends_destroy(daemon->spends);
    dj_savings_destroy(daemon->savings);
    dj_plain_destroy(daemon->plain);
    dj_engine_destroy(daemon->engine); /* closes the stores, whose reads still run on `reads` */
    dj_pool_destroy(daemon->reads);
    for (uint32_t i = 0; i < daemon->loop_count; i++)
        dj_flights_destroy(daemon->nodes[i].flights);
    dj_admission_destroy(daemon->admission);
    for (uint32_t i = 0; i < daemon->loop_count; i++)
        dj_loop_destroy(daemon->nodes[i].loop);
    dj_kind_book_destroy(daemon->kinds); /* what was posted late may still ask */
    dj_guards_end(daemon);
    dj_listeners_fini(daemon);
    dj_daemon_end_resp(daemon);
    dj_idempotency_destroy(daemon->api.idempotency);
    dj_registry_destroy(daemon->registry);
    dj_daemon_end_directory(daemon);
    dj_daemon_end_keys(daemon);
    dj_limiter_destroy(daemon->limiter);
    dj_tenants_destroy(daemon->tenants);
    dj_erasures_destroy(daemon->erasures);
    dj_schedules_destroy(daemon->schedules);
    dj_audit_close(daemon->audit);
    dj_encryption_destroy(daemon->encryption);
    dj_channels_destroy(daemon->channels);
    dj_webhooks_destroy(daemon->webhooks);
    dj_notices_destroy(daemon->notices);
    dj_happenings_destroy(daemon->happenings);
    dj_authorities_destroy(daemon->authorities);
    dj_lmdb_meta_close(daemon->meta);
    for (uint32_t i = 0; i < daemon->policy_count; i++)
        destroy_policy(daemon->policies[i]);
    dj_volatile_destroy(daemon->volatiles);
    dj_telemetry_destroy(daemon->telemetry);
    dj_metrics_destroy(daemon->metrics);
    dj_log_destroy(daemon->log);
    dj_detector_destroy(daemon->detector);
    dj_secret_fini(&daemon->secret);
    dj_tenant_root_fini(&daemon->root);
}
