/* daemon/directory.c - see directory.h. */
#include "daemon/directory.h"

#include "daemon/daemon_internal.h"
#include "daemon/keys.h"
#include "policy/guards.h"

static void tell(struct dj_daemon *daemon, enum deja_status status)
{
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("authority", daemon->authority->name),
                                          DJ_LOG_TEXT("reason", deja_status_text(status)),
                                          {.name = NULL}};
    bool was_stale = daemon->is_directory_stale;
    daemon->is_directory_stale = status != DEJA_OK;
    if (status != DEJA_OK && !was_stale)
        dj_log_write(daemon->log, DJ_LOG_WARN,
                     "tenants and keys cannot be read anew; those known go on", fields);
    else if (status == DEJA_OK && was_stale)
        dj_log_write(daemon->log, DJ_LOG_INFO, "tenants and keys are read again", fields);
}

static bool is_kind(const void *kinds, struct deja_slice name)
{
    return dj_kinds_find(kinds, name) != NULL;
}

enum deja_status dj_daemon_make_directory(struct dj_daemon *daemon)
{
    const struct dj_settings_audit *audit = &daemon->settings->audit;
    struct dj_rules_values derived = {.features = DJ_FEATURES_ALL,
                                      .audit = audit->is_enabled ? audit->choice : DJ_AUDIT_OFF,
                                      .limits = dj_guards_limits(daemon->settings, false),
                                      .content_log = daemon->settings->log.content};
    memcpy(derived.sensitive, daemon->settings->sensitive, sizeof derived.sensitive);
    struct dj_rules_values configured = derived;
    configured.limits = dj_guards_limits(daemon->settings, true);
    for (unsigned i = 0; i < DJ_GUARD_COUNT; i++)
        daemon->guard_names[i] = dj_guard_name((enum dj_guard)i);
    const struct dj_directory_options options = {
        .authority = daemon->authority,
        .defaults = &configured,
        .names = {.guards = daemon->guard_names,
                  .guard_count = DJ_GUARD_COUNT,
                  .is_kind = is_kind,
                  .kinds = daemon->settings->kinds,
                  .upstream_guard = &daemon->settings->upstream_guard},
    };
    enum deja_status status = dj_rules_create(&derived, &daemon->rules);
    if (status == DEJA_OK)
        status = dj_directory_create(&options, &daemon->directory);
    if (status != DEJA_OK)
        return status;
    const struct dj_authority_watcher watcher = {
        .ctx = daemon->directory, .changed = dj_directory_changed, .anew = dj_directory_expire};
    dj_authorities_watch(daemon->authorities, &watcher);
    status = dj_directory_reload(daemon->directory, dj_clock_now_ms());
    if (status == DEJA_OK && dj_authorities_is_down(daemon->authorities))
        status = DEJA_ERR_IO; /* what is known is of an earlier time */
    tell(daemon, status);
    return DEJA_OK;
}

/* On a worker. */
static void refresh(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    int64_t now_ms = dj_clock_now_ms();
    enum deja_status status = dj_authorities_pull(daemon->authorities);
    if (status == DEJA_OK && dj_directory_is_due(daemon->directory, now_ms))
        status = dj_directory_reload(daemon->directory, now_ms);
    tell(daemon, status);
    if (status == DEJA_OK)
        dj_daemon_heard_keys(daemon, now_ms);
    atomic_store(&daemon->is_refreshing, false);
}

void dj_daemon_poll_directory(struct dj_daemon *daemon)
{
    bool is_due = daemon->authority->pull ||
                  dj_directory_is_due(daemon->directory, dj_loop_now_ms(daemon->loops[0]));
    if (!is_due || atomic_exchange(&daemon->is_refreshing, true))
        return;
    daemon->refresh = (struct dj_job){.work = refresh, .ctx = daemon};
    if (dj_pool_submit(daemon->work, &daemon->refresh) != DEJA_OK)
        atomic_store(&daemon->is_refreshing, false);
}

void dj_daemon_end_directory(struct dj_daemon *daemon)
{
    dj_directory_destroy(daemon->directory);
    dj_rules_unref(daemon->rules);
}
