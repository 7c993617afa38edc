/* daemon/serve.c - the life of the process: start, signals, reload, drain, summary.
 *
 *   init -> threads -> READY -> [SIGHUP: reload]* -> SIGTERM: drain -> loops end -> fini -> summary
 *                                                    second signal: end at once
 */
#include "daemon/serve.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cache/upkeep.h"
#include "daemon/daemon_internal.h"
#include "daemon/listeners.h"
#include "daemon/notify.h"

#define EXIT_FORCED 1
#define SETTLE_TURN_MS 2u
#define CLOSE_S_MAX 20u
#define SETTLE_TURNS_MAX 2500u /* 5 s */

/* ---- stop ---- */

/* On each loop, once nothing is under way: close what keeps the loop alive. */
static void end_node(void *ctx)
{
    struct dj_node *node = ctx;
    for (uint32_t i = 0; i < node->server_count; i++)
        dj_http_server_destroy(node->servers[i]);
    node->server_count = 0;
    dj_daemon_end_resp_node(node);
    dj_timer_destroy(node->sweep);
    node->sweep = NULL;
    dj_timer_destroy(node->pull);
    node->pull = NULL;
    if (node->daemon->engine)
        dj_engine_leave_loop(node->daemon->engine, node->loop);
    if (dj_loop_index(node->loop) == 0) {
        dj_timer_destroy(node->daemon->settle);
        node->daemon->settle = NULL;
        dj_timer_destroy(node->daemon->drain_delay);
        node->daemon->drain_delay = NULL;
        dj_daemon_unwatch(node->daemon);
        dj_listeners_stop(node->daemon);
        for (size_t i = 0; i < sizeof node->daemon->signals / sizeof *node->daemon->signals; i++)
            dj_signal_destroy(node->daemon->signals[i]);
    }
    dj_loop_stop(node->loop);
}

static void post_to_nodes(struct dj_daemon *daemon, dj_task_fn *run)
{
    for (uint32_t i = 0; i < daemon->loop_count; i++) {
        struct dj_node *node = &daemon->nodes[i];
        node->stop = (struct dj_task){.run = run, .ctx = node};
        dj_loop_post(node->loop, &node->stop);
    }
}

/* Loop 0, every few milliseconds: what is under way still needs the loops. */
static void on_settle(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    if (atomic_load(&daemon->quieting))
        return; /* a loop has its message still, and the next would be the same one */
    bool is_quiet = !dj_engine_pending(daemon->engine) && !atomic_load(&daemon->proxy.calls) &&
                    !dj_erasures_running(daemon->erasures) &&
                    !dj_transfers_is_running(daemon->transfers) &&
                    !dj_schedules_running(daemon->schedules) &&
                    !dj_channels_running(daemon->channels) && !dj_warm_running(daemon->warm);
    if (!is_quiet && ++daemon->settle_turns < SETTLE_TURNS_MAX)
        return;
    daemon->is_settled = is_quiet;
    dj_timer_stop(daemon->settle);
    post_to_nodes(daemon, end_node);
}

/* Calls that only fill the cache are given up now; their flights end at once. */
static void quiet_node(void *ctx)
{
    struct dj_node *node = ctx;
    if (dj_loop_index(node->loop) == 0) {
        dj_channels_stop(node->daemon->channels);
        dj_webhooks_stop(node->daemon->webhooks);
    }
    dj_outbound_destroy(node->outbound);
    node->outbound = NULL;
    /* From here on nothing is begun by the clock: once nothing is under way, that stays so. */
    dj_timer_stop(node->sweep);
    if (node->pull)
        dj_timer_stop(node->pull);
    if (dj_loop_index(node->loop) == 0) {
        dj_timer_stop(node->daemon->flush);
        dj_timer_start(node->daemon->settle, SETTLE_TURN_MS, SETTLE_TURN_MS);
    }
    atomic_fetch_sub(&node->daemon->quieting, 1);
}

static void on_node_drained(void *ctx)
{
    struct dj_node *node = ctx;
    struct dj_daemon *daemon = node->daemon;
    if (--node->draining)
        return;
    if (atomic_fetch_sub(&daemon->draining, 1) != 1)
        return;
    /* Only when all are drained: a flight's home may be another loop than its riders'. */
    atomic_store(&daemon->proxy.is_stopping, true);
    dj_admission_stop(daemon->admission);
    dj_engine_stop(daemon->engine);
    dj_erasures_stop(daemon->erasures);
    dj_transfers_stop(daemon->transfers);
    dj_schedules_stop(daemon->schedules);
    atomic_store(&daemon->quieting, daemon->loop_count);
    post_to_nodes(daemon, quiet_node);
}

static void drain_node(void *ctx)
{
    struct dj_node *node = ctx;
    uint32_t timeout_ms = (uint32_t)node->daemon->drain_timeout_ms;
    node->draining = node->server_count + node->resp.count;
    for (uint32_t i = 0; i < node->server_count; i++)
        dj_http_server_drain(node->servers[i], timeout_ms, node, on_node_drained);
    dj_daemon_drain_resp(node, timeout_ms, on_node_drained);
}

static void on_drain_delay(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    atomic_store(&daemon->draining, daemon->loop_count);
    post_to_nodes(daemon, drain_node);
}

/* Not ready first, closed later: who balances by /readyz must not send to a closed port. */
static void start_drain(struct dj_daemon *daemon)
{
    daemon->is_stopping = true;
    if (daemon->hooks)
        daemon->hooks->on_stopping(daemon->hooks->ctx);
    atomic_store(&daemon->api.is_draining, true);
    dj_warm_stop(daemon->warm);
    dj_notify("STOPPING=1\nSTATUS=Running requests are finished");
    dj_log_write(daemon->log, DJ_LOG_INFO, "stopping: running requests are finished first", NULL);
    if (daemon->drain_delay_ms)
        dj_timer_start(daemon->drain_delay, daemon->drain_delay_ms, 0);
    else
        on_drain_delay(daemon);
}

/* ---- reload ---- */

/* What keeps its value of the start is named. */
static void log_kept(struct dj_daemon *daemon, const struct dj_options *loaded)
{
    struct dj_buf names = {0};
    if (dj_settings_not_reloadable(daemon->options, loaded, &names) > 0 &&
        names.status == DEJA_OK) {
        for (size_t i = 0; i + 1 < names.len; i++)
            if (names.data[i] == '\n')
                names.data[i] = ' ';
        const struct dj_log_field fields[] = {
            DJ_LOG_SLICE("settings", deja_slice(names.data, names.len - 1)), {.name = NULL}};
        dj_log_write(daemon->log, DJ_LOG_WARN, "these change at the next start only", fields);
    }
    dj_buf_fini(&names);
}

/* By a signal nobody waits for an answer; who asked by the API has an event of its own. */
static void note_reload(struct dj_daemon *daemon, enum deja_status status)
{
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN,
                                         .operation = "config.reloaded",
                                         .is_failure = status != DEJA_OK,
                                         .error =
                                             status == DEJA_OK ? NULL : deja_status_name(status)};
    dj_audit_note(daemon->audit, &event, dj_clock_now_ms());
}

/* Parse, validate, swap; on an error the old one stays. */
static void reload(struct dj_daemon *daemon)
{
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_options *options = NULL;
    struct deja_error error = {""};
    dj_notify_reloading();
    enum deja_status status = dj_settings_load(daemon->source, &diagnostics, &settings, &options);
    if (diagnostics.text.len)
        fwrite(diagnostics.text.data, 1, diagnostics.text.len, stderr);
    if (status == DEJA_OK) {
        status = dj_listeners_reload(daemon, &settings, &error);
        if (status != DEJA_OK)
            fprintf(stderr, "deja serve: %s\n", error.message);
    }
    if (status == DEJA_OK)
        status = dj_daemon_set_policy(daemon, &settings);
    if (status == DEJA_OK) {
        log_kept(daemon, options);
        dj_guards_reload(daemon, &settings);
        dj_log_set_level(daemon->log, settings.log.level);
        dj_daemon_set_snapshot(daemon, settings.snapshot_ms);
    }
    dj_log_write(daemon->log, status == DEJA_OK ? DJ_LOG_INFO : DJ_LOG_ERROR,
                 status == DEJA_OK ? "configuration reloaded"
                                   : "configuration not reloaded; the old one stays",
                 NULL);
    dj_telemetry_reloaded(daemon->telemetry, status == DEJA_OK, dj_clock_now_ms());
    note_reload(daemon, status);
    dj_settings_fini(&settings);
    dj_options_destroy(options);
    dj_diagnostics_fini(&diagnostics);
    dj_notify(status == DEJA_OK ? "READY=1\nSTATUS=Serving"
                                : "READY=1\nSTATUS=Serving; the last reload failed");
}

static void run_reload(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    atomic_store(&daemon->is_reload_posted, false);
    reload(daemon);
}

/* From an admin route on any loop. */
static void ask_reload(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    if (atomic_exchange(&daemon->is_reload_posted, true))
        return;
    daemon->reload_task = (struct dj_task){.run = run_reload, .ctx = daemon};
    dj_loop_post(daemon->loops[0], &daemon->reload_task);
}

static void on_signal(void *ctx, int signal_number)
{
    struct dj_daemon *daemon = ctx;
    if (signal_number == SIGHUP) {
        if (!daemon->is_stopping)
            reload(daemon);
        return;
    }
    if (daemon->is_stopping)
        _exit(EXIT_FORCED); /* asked twice: end at once */
    start_drain(daemon);
}

static void run_stop(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    if (!daemon->is_stopping)
        start_drain(daemon);
}

void dj_daemon_stop(struct dj_daemon *daemon)
{
    daemon->stop_task = (struct dj_task){.run = run_stop, .ctx = daemon};
    dj_loop_post(daemon->loops[0], &daemon->stop_task);
}

static enum deja_status watch_signals(struct dj_daemon *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    enum deja_status status = dj_timer_create(daemon->loops[0], daemon, on_settle, &daemon->settle);
    if (status == DEJA_OK)
        status = dj_timer_create(daemon->loops[0], daemon, on_drain_delay, &daemon->drain_delay);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == DEJA_OK; i++)
        status =
            dj_signal_create(daemon->loops[0], numbers[i], daemon, on_signal, &daemon->signals[i]);
    return status;
}

/* ---- start ---- */

static void load_vectors(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    dj_engine_load_vectors(daemon->engine);
}

static void *run_loop(void *ctx)
{
    struct dj_node *node = ctx;
    dj_loop_run(node->loop);
    return NULL;
}

static enum deja_status start_threads(struct dj_daemon *daemon)
{
    sigset_t all;
    sigset_t before;
    enum deja_status status = DEJA_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main loop's */
    for (uint32_t i = 1; i < daemon->loop_count && status == DEJA_OK; i++) {
        struct dj_node *node = &daemon->nodes[i];
        node->is_thread_started = pthread_create(&node->thread, NULL, run_loop, node) == 0;
        if (!node->is_thread_started)
            status = DEJA_ERR_LIMIT;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static void print_welcome(const struct dj_daemon *daemon)
{
    const struct dj_settings *settings = daemon->settings;
    const struct dj_embedder *embedder = dj_engine_embedder(daemon->engine);
    char url[512];
    for (size_t i = 0; i < settings->server.listen_count; i++) {
        uint16_t port = dj_http_server_port(daemon->nodes[0].servers[i]);
        dj_listeners_url(&settings->server.listen[i], port, url, sizeof url);
        fprintf(stderr, "Deja " DEJA_VERSION " listens on %s\n", url);
        if (i == 0)
            fprintf(stderr,
                    "  proxy      OPENAI_BASE_URL=%s/v1  ->  %s/v1\n"
                    "             ANTHROPIC_BASE_URL=%s  ->  %s/v1/messages\n",
                    url, settings->upstream.url, url, settings->upstream.anthropic_url);
    }
    for (size_t i = 0; i < settings->admin.listen_count; i++) {
        size_t at = settings->server.listen_count + i;
        uint16_t port = dj_http_server_port(daemon->nodes[0].servers[at]);
        dj_listeners_url(&settings->admin.listen[i], port, url, sizeof url);
        fprintf(stderr, "  operations %s\n", url);
    }
    dj_daemon_print_resp(daemon);
    if (!dj_listeners_has_operations(settings))
        fputs(
            "  operations served nowhere: no address here is of this machine alone; name one, for "
            "example admin.listen: 127.0.0.1:7071\n",
            stderr);
    fprintf(stderr, "  embedder   %s\n  data       %s\n  admin      token %s\n",
            embedder ? embedder->id : "none (exact hits only)", settings->data_dir,
            settings->security.admin_token ? "as configured" : daemon->admin_token);
}

static void print_summary(const struct dj_telemetry_totals *totals)
{
    uint64_t hits = totals->results[DJ_RESULT_HIT_EXACT] + totals->results[DJ_RESULT_HIT_SEMANTIC];
    fprintf(stderr,
            "Deja answered %llu requests: %llu exact hits, %llu semantic hits, %llu joined a "
            "running call.\n",
            (unsigned long long)totals->requests,
            (unsigned long long)totals->results[DJ_RESULT_HIT_EXACT],
            (unsigned long long)totals->results[DJ_RESULT_HIT_SEMANTIC],
            (unsigned long long)totals->results[DJ_RESULT_COLLAPSED]);
    if (hits)
        fprintf(stderr, "Saved: %llu tokens, about $%.4f, %.1f seconds of waiting.\n",
                (unsigned long long)(totals->saved_input_tokens + totals->saved_output_tokens),
                totals->saved_cost_usd, totals->saved_seconds);
}

/* From the first thread to the last: returns when every loop has ended. */
static enum deja_status run(struct dj_daemon *daemon)
{
    enum deja_status status = watch_signals(daemon);
    if (status == DEJA_OK)
        status = dj_daemon_watch(daemon);
    if (status == DEJA_OK)
        status = start_threads(daemon);
    if (status != DEJA_OK)
        return status;
    daemon->load = (struct dj_job){.work = load_vectors, .ctx = daemon};
    if (dj_pool_submit(daemon->work, &daemon->load) != DEJA_OK)
        load_vectors(daemon);
    dj_telemetry_reloaded(daemon->telemetry, true, dj_clock_now_ms());
    if (daemon->hooks)
        daemon->hooks->on_ready(daemon->hooks->ctx, daemon,
                                dj_http_server_port(daemon->nodes[0].servers[0]));
    else
        print_welcome(daemon);
    dj_notify("READY=1\nSTATUS=Serving");
    dj_loop_run(daemon->loops[0]);
    for (uint32_t i = 1; i < daemon->loop_count; i++)
        pthread_join(daemon->nodes[i].thread, NULL);
    return DEJA_OK;
}

/* ---- the end ---- */

static void on_close_late(int signal_number)
{
    static const char text[] =
        "deja serve: what is kept on disk could not be closed in time; it ends now\n";
    (void)signal_number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* It ends all the same. */
    }
    _exit(EXIT_FORCED);
}

/* Trackers and queued writes go to the tiers, then everything is closed. A disk that hangs must not
 * keep the process for ever; by now a second signal ends it as well. */
static void close_all(struct dj_daemon *daemon)
{
    struct sigaction late = {.sa_handler = on_close_late};
    if (!daemon->hooks && sigaction(SIGALRM, &late, NULL) == 0)
        alarm(CLOSE_S_MAX);
    dj_daemon_fini(daemon);
    if (!daemon->hooks)
        alarm(0);
}

/* ---- a start that failed ---- */

static void on_abandoned(void *ctx)
{
    struct dj_node *node = ctx;
    if (--node->draining)
        return;
    node->stop = (struct dj_task){.run = end_node, .ctx = node};
    dj_loop_post(node->loop, &node->stop);
}

/* Nobody was served yet: what is open is closed at once. */
static void abandon_node(void *ctx)
{
    struct dj_node *node = ctx;
    dj_outbound_destroy(node->outbound);
    node->outbound = NULL;
    node->draining = node->server_count + node->resp.count + 1;
    for (uint32_t i = 0; i < node->server_count; i++)
        dj_http_server_drain(node->servers[i], 0, node, on_abandoned);
    dj_daemon_drain_resp(node, 0, on_abandoned);
    on_abandoned(node);
}

/* Loops never ran, and only a running loop can close its handles. */
static void abandon(struct dj_daemon *daemon)
{
    post_to_nodes(daemon, abandon_node);
    for (uint32_t i = 0; i < daemon->loop_count; i++)
        dj_loop_run(daemon->loops[i]);
    dj_daemon_fini(daemon);
    dj_free(daemon);
}

int dj_daemon_serve(const struct dj_settings *settings, const struct dj_options *options,
                    const struct dj_settings_source *source, const struct dj_serve_hooks *hooks)
{
    struct deja_error error = {""};
    struct dj_telemetry_totals totals = {0};
    struct dj_admin_token token;
    const char *command = hooks ? hooks->command : "serve";
    struct dj_daemon *daemon = dj_alloc_zeroed(1, sizeof *daemon);
    if (!daemon) {
        fprintf(stderr, "deja %s: out of memory\n", command);
        return 1;
    }
    daemon->source = source;
    daemon->options = options;
    daemon->hooks = hooks;
    dj_admin_token_make(&token);
    dj_admin_token_text(&token, daemon->admin_token);
    dj_admin_token_fini(&token);
    daemon->api.reload = ask_reload;
    daemon->api.reload_ctx = daemon;
    int code = dj_daemon_init(daemon, settings, &error);
    if (code) {
        fprintf(stderr, "deja %s: %s\n", command, error.message);
        abandon(daemon);
        return code;
    }
    enum deja_status status = run(daemon);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja %s: %s\n", command, deja_status_text(status));
        return 1;
    }
    dj_telemetry_totals(daemon->telemetry, NULL, &totals);
    if (!hooks)
        print_summary(&totals);
    if (!daemon->is_settled) {
        fprintf(stderr, "deja %s: some work did not end in time; its results are lost\n", command);
        _exit(1); /* it still uses what would be freed now */
    }
    close_all(daemon);
    dj_wipe(daemon->admin_token, sizeof daemon->admin_token);
    dj_free(daemon);
    return 0;
}
