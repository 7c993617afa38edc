/* daemon/guards.c - see guards.h. */
#include "daemon/guards.h"

#include "daemon/daemon_internal.h"

static struct dj_sentry_options sentry_options(const struct dj_settings_guard *guard)
{
    struct dj_sentry_options options = dj_sentry_options_of(false);
    options.breaker = (struct dj_breaker_options){
        .failures_max = guard->is_breaker_enabled ? guard->failures_max : 0,
        .ratio = guard->is_breaker_enabled ? guard->failure_ratio : 2,
        .ratio_calls_min = guard->ratio_requests_min,
        .window_ms = guard->window_ms,
        .open_ms = guard->open_ms,
        .open_ms_max = guard->open_ms_max,
        .open_growth = guard->open_growth,
        .jitter = guard->open_jitter,
        .probes_first = guard->half_open_first,
        .probes_max = guard->half_open_max,
        .successes_min = guard->successes_min,
        .slow_ms = guard->slow_ms,
    };
    /* Fewer tries than successes that are wanted would never close it. */
    if (options.breaker.probes_max < options.breaker.successes_min)
        options.breaker.probes_max = options.breaker.successes_min;
    options.retry.attempts_max = guard->is_retry_enabled ? guard->attempts_max : 1;
    options.retry.initial_ms = guard->retry_initial_ms;
    options.retry.growth = guard->retry_growth;
    options.retry.pause_ms_max = guard->retry_pause_ms_max;
    options.retry.elapsed_ms_max = guard->retry_elapsed_ms_max;
    options.retry.budget_ratio = guard->retry_budget;
    options.calls_max = guard->calls_max;
    options.queue_max = guard->queue_max;
    return options;
}

struct dj_guarded_options dj_guards_tier_options(const struct dj_settings *settings)
{
    const struct dj_settings_guard *guard = &settings->guard;
    return (struct dj_guarded_options){
        .sentry = sentry_options(guard),
        .get_ms = (uint32_t)guard->get_ms,
        .put_ms = (uint32_t)guard->set_ms,
        .remove_ms = (uint32_t)guard->delete_ms,
        .health_ms = (uint32_t)guard->health_ms,
        .long_ms = (uint32_t)guard->clear_ms,
        .attempt_ms = (uint32_t)guard->attempt_ms,
        .probe_ms = guard->probe_ms,
        .journal = {.records_max = guard->journal_records_max,
                    .bytes_max = guard->journal_bytes_max},
    };
}

struct dj_upstream_options dj_guards_upstream_options(const struct dj_settings *settings)
{
    return (struct dj_upstream_options){.sentry = sentry_options(&settings->guard),
                                        .throttle_k = settings->guard.throttle_k};
}

static bool is_public(const struct dj_settings *settings)
{
    for (size_t i = 0; i < settings->server.listen_count; i++)
        if (!settings->server.listen[i].is_loopback)
            return true;
    return false;
}

struct dj_rules_limits dj_guards_limits(const struct dj_settings *settings, bool is_configured)
{
    const struct dj_settings_limits *limits = &settings->limits;
    bool is_on = limits->enabled == DJ_LIMITS_ON ||
                 (limits->enabled == DJ_LIMITS_AUTO && (is_configured || is_public(settings)));
    if (!is_on)
        return (struct dj_rules_limits){0};
    return (struct dj_rules_limits){
        .requests_per_s = limits->requests_per_s,
        .burst = limits->burst,
        .misses_per_minute = limits->misses_per_minute,
        .spend_usd_per_day = limits->spend_usd_per_day,
        .connections_max = limits->connections_max,
        .requests_max = limits->requests_max,
        .bytes_per_s = limits->bytes_per_s,
    };
}

/* ---- what they tell ---- */

static void tell_change(const struct dj_daemon *daemon, const char *dependency,
                        enum dj_breaker_state state, const char *reason)
{
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("dependency", dependency),
                                          DJ_LOG_TEXT("state", dj_breaker_state_text(state)),
                                          DJ_LOG_TEXT("reason", reason),
                                          {.name = NULL}};
    if (state == DJ_BREAKER_OPEN)
        dj_log_write(daemon->log, DJ_LOG_WARN, "circuit breaker opened: it is not asked for now",
                     fields);
    else if (state == DJ_BREAKER_CLOSED)
        dj_log_write(daemon->log, DJ_LOG_INFO, "circuit breaker closed: it answers again", fields);
    else
        dj_log_write(daemon->log, DJ_LOG_DEBUG, "circuit breaker half-open: it is tried", fields);
}

static void on_tier_attempted(void *ctx, const char *level, const char *operation,
                              enum deja_status status, uint64_t took_us)
{
    const struct dj_daemon *daemon = ctx;
    double seconds = (double)took_us / 1e6;
    dj_telemetry_operation(daemon->telemetry, operation, level,
                           status == DEJA_OK ? "ok" : deja_status_name(status), seconds);
    dj_telemetry_slow(
        daemon->telemetry,
        &(struct dj_slow){.operation = operation, .level = level, .seconds = seconds});
}

static void on_tier_changed(void *ctx, const char *level, enum dj_breaker_state state,
                            const char *text)
{
    tell_change(ctx, level, state, text);
}

static void on_tier_caught_up(void *ctx, const char *level, uint64_t replayed)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("dependency", level),
                                          DJ_LOG_I64("replayed", (int64_t)replayed),
                                          {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_INFO, "tier has all it missed and is read again", fields);
}

/* Programs that share the tier may serve what was deleted here until its time is over. */
static void on_tier_left_behind(void *ctx, const char *level, uint64_t puts, uint64_t removes)
{
    const struct dj_daemon *daemon = ctx;
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("dependency", level),
                                          DJ_LOG_I64("puts", (int64_t)puts),
                                          DJ_LOG_I64("removes", (int64_t)removes),
                                          {.name = NULL}};
    dj_log_write(daemon->log, removes ? DJ_LOG_WARN : DJ_LOG_INFO,
                 "stopped before the tier came back: what it missed is lost; delete again what "
                 "must be gone",
                 fields);
}

static void on_upstream_changed(void *ctx, enum dj_breaker_state state, const char *text)
{
    tell_change(ctx, "upstream", state, text);
}

/* ---- life ---- */

static void on_anthropic_changed(void *ctx, enum dj_breaker_state state, const char *text)
{
    tell_change(ctx, "anthropic", state, text);
}

enum deja_status dj_guards_make(struct dj_daemon *daemon)
{
    static const struct dj_sentry_events events = {.changed = on_upstream_changed};
    static const struct dj_sentry_events others = {.changed = on_anthropic_changed};
    static const char *const names[DJ_UPSTREAM_FAMILY_COUNT] = {
        [DJ_UPSTREAM_CHAT] = "anthropic", [DJ_UPSTREAM_OTHER] = "anthropic_other"};
    struct dj_upstream_options options = dj_guards_upstream_options(daemon->settings);
    const struct dj_settings *settings = daemon->settings;
    enum deja_status status = dj_upstream_create(&options, &events, daemon, &daemon->upstream);
    if (status == DEJA_OK)
        dj_upstream_show(daemon->upstream, &daemon->dependencies);
    if (status != DEJA_OK || !dj_settings_other_anthropic(settings))
        return status;
    /* What one of them does is not held against the other. */
    options.names = names;
    status = dj_upstream_create(&options, &others, daemon, &daemon->anthropic);
    if (status == DEJA_OK)
        dj_upstream_show(daemon->anthropic, &daemon->dependencies);
    return status;
}

void dj_guards_name_targets(const struct dj_daemon *daemon, struct dj_proxy_context *proxy)
{
    const struct dj_settings *settings = daemon->settings;
    proxy->targets[DJ_TARGET_OPENAI] = (struct dj_proxy_target){
        .url = settings->upstream.url, .id = settings->upstream.url, .upstream = daemon->upstream};
    proxy->targets[DJ_TARGET_ANTHROPIC] = (struct dj_proxy_target){
        .url = settings->upstream.anthropic_url,
        .id = settings->upstream.anthropic_url,
        .upstream = daemon->anthropic ? daemon->anthropic : daemon->upstream};
    proxy->has_two_targets = daemon->anthropic != NULL;
}

static void on_embedder_changed(void *ctx, enum dj_breaker_state state, const char *text)
{
    tell_change(ctx, "embedder", state, text);
}

enum deja_status dj_guards_make_embedder(struct dj_daemon *daemon)
{
    static const struct dj_sentry_events events = {.changed = on_embedder_changed};
    const struct dj_sentry_options options = sentry_options(&daemon->settings->guard);
    enum deja_status status =
        dj_sentry_create("embedder", &options, &events, daemon, &daemon->embedder_sentry);
    if (status == DEJA_OK)
        dj_sentry_board_add(&daemon->dependencies, daemon->embedder_sentry, dj_sentry_board_look);
    return status;
}

enum deja_status dj_guards_wrap(struct dj_daemon *daemon, struct dj_store *inner,
                                struct dj_store **out_store)
{
    static const struct dj_guarded_events events = {.attempted = on_tier_attempted,
                                                    .changed = on_tier_changed,
                                                    .caught_up = on_tier_caught_up,
                                                    .left_behind = on_tier_left_behind};
    const struct dj_guarded_options options = dj_guards_tier_options(daemon->settings);
    struct dj_store *store = NULL;
    if (daemon->guarded_count == DJ_GUARDS_TIERS_MAX)
        return DEJA_ERR_LIMIT;
    enum deja_status status =
        dj_guarded_store_open(inner, daemon->loops[0], &options, &events, daemon, &store);
    if (status != DEJA_OK)
        return status;
    daemon->guarded[daemon->guarded_count++] = store;
    dj_sentry_board_add(&daemon->dependencies, store, dj_guarded_store_look);
    *out_store = store;
    return DEJA_OK;
}

void dj_guards_reload(struct dj_daemon *daemon, const struct dj_settings *settings)
{
    const struct dj_guarded_options tiers = dj_guards_tier_options(settings);
    const struct dj_upstream_options upstream = dj_guards_upstream_options(settings);
    for (uint32_t i = 0; i < daemon->guarded_count; i++)
        dj_guarded_store_set_options(daemon->guarded[i], &tiers);
    dj_upstream_set_options(daemon->upstream, &upstream);
    if (daemon->anthropic)
        dj_upstream_set_options(daemon->anthropic, &upstream);
    if (daemon->embedder_sentry)
        dj_sentry_set_options(daemon->embedder_sentry, &upstream.sentry);
}

void dj_guards_end(struct dj_daemon *daemon)
{
    dj_upstream_destroy(daemon->upstream);
    dj_upstream_destroy(daemon->anthropic);
    daemon->upstream = daemon->anthropic = NULL;
    dj_sentry_destroy(daemon->embedder_sentry);
    daemon->embedder_sentry = NULL;
}
