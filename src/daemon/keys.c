/* daemon/keys.c - see keys.h. */
#include "daemon/keys.h"

#include "crypto/tls_server.h"
#include "daemon/daemon_internal.h"
#include "security/keys.h"
#include "security/vault_seal.h"

/* What the authority does not tell now, it tells later. */
static bool is_later(enum deja_status status)
{
    return status == DEJA_ERR_IO || status == DEJA_ERR_TIMEOUT;
}

static enum deja_status read_all(struct dj_daemon *daemon)
{
    int64_t now_ms = dj_clock_now_ms();
    enum deja_status status = dj_keys_reload(daemon->keys);
    if (status == DEJA_OK)
        status = dj_vault_reload(daemon->vault);
    daemon->is_keys_due = status != DEJA_OK;
    if (status == DEJA_OK)
        dj_keys_on_pulled(daemon->keys, now_ms);
    return status;
}

static void pass_over(void *ctx, const char *table, struct deja_slice key, struct deja_slice value)
{
    (void)ctx;
    (void)table;
    (void)key;
    (void)value;
}

/* On the worker that goes on with dj_daemon_heard_keys. */
static void read_both_again(void *ctx)
{
    struct dj_daemon *daemon = ctx;
    daemon->is_keys_due = true;
}

enum deja_status dj_daemon_make_keys(struct dj_daemon *daemon)
{
    enum deja_status status =
        dj_keys_create(daemon->authority, daemon->secret.bytes, DJ_KEYS_MAX, &daemon->keys);
    if (status == DEJA_OK)
        status = dj_vault_seal_create(daemon->secret.bytes, &daemon->vault_seal);
    if (status != DEJA_OK)
        return status;
    const struct dj_vault_sealer sealer = dj_vault_seal_table(daemon->vault_seal);
    status = dj_vault_create(daemon->authority, &sealer, DJ_VAULT_TENANTS_MAX, &daemon->vault);
    if (status != DEJA_OK)
        return status;
    const struct dj_authority_watcher of_keys = {.ctx = daemon->keys, .changed = dj_keys_on_change};
    const struct dj_authority_watcher of_vault = {.ctx = daemon->vault,
                                                  .changed = dj_vault_on_change};
    const struct dj_authority_watcher of_both = {
        .ctx = daemon, .changed = pass_over, .anew = read_both_again};
    dj_authorities_watch(daemon->authorities, &of_both);
    dj_authorities_watch(daemon->authorities, &of_keys);
    dj_authorities_watch(daemon->authorities, &of_vault);
    status = read_all(daemon);
    if (!is_later(status))
        return status;
    const struct dj_log_field fields[] = {DJ_LOG_TEXT("authority", daemon->authority->name),
                                          DJ_LOG_TEXT("reason", deja_status_text(status)),
                                          {.name = NULL}};
    dj_log_write(daemon->log, DJ_LOG_WARN, "API keys cannot be read: none is right until they can",
                 fields);
    return DEJA_OK;
}

void dj_daemon_heard_keys(struct dj_daemon *daemon, int64_t now_ms)
{
    if (!daemon->is_keys_due)
        dj_keys_on_pulled(daemon->keys, now_ms);
    else if (read_all(daemon) == DEJA_OK)
        dj_log_write(daemon->log, DJ_LOG_INFO, "API keys are read again", NULL);
}

enum deja_status dj_daemon_check_keys(const struct dj_daemon *daemon, struct deja_error *error)
{
    const struct dj_settings *settings = daemon->settings;
    bool is_public = false;
    for (size_t i = 0; i < settings->server.listen_count; i++)
        is_public |= !settings->server.listen[i].is_loopback;
    for (size_t i = 0; i < settings->resp.listen_count; i++)
        is_public |= !settings->resp.listen[i].is_loopback;
    if (!is_public || settings->server.is_insecure || settings->security.admin_token ||
        settings->tls.client_auth == DJ_TLS_CLIENT_REQUIRED || dj_keys_count(daemon->keys) > 0)
        return DEJA_OK;
    return deja_error_set(
        error, DEJA_ERR_CONFIG,
        "server.listen or resp.listen has an address that other machines reach, and nobody has a "
        "key yet: make one while it listens on loopback (deja key create), or set "
        "security.admin_token_file");
}

void dj_daemon_end_keys(struct dj_daemon *daemon)
{
    dj_vault_destroy(daemon->vault);
    dj_vault_seal_destroy(daemon->vault_seal);
    dj_keys_destroy(daemon->keys);
}
