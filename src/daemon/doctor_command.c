/* daemon/doctor_command.c - deja doctor: what the settings say, for tools/doctor.h to look at. */
#include <string.h>

#include "cli/cli.h"
#include "daemon/daemon_internal.h"
#include "daemon/invocation.h"
#include "daemon/listeners.h"
#include "daemon/tier_postgres.h"
#include "daemon/tier_redis.h"
#include "daemon/tier_s3.h"
#include "tools/doctor.h"

extern char **environ;

static enum deja_status look_at_s3(const void *ctx, struct deja_error *text)
{
    return dj_tier_s3_try(ctx, text);
}

static size_t list_listeners(const struct dj_settings *settings,
                             struct dj_doctor_listener out_listeners[2 * DJ_LISTEN_MAX])
{
    size_t count = settings->server.listen_count;
    size_t all = count + settings->admin.listen_count;
    for (size_t i = 0; i < all; i++) {
        const struct dj_settings_address *address =
            i < count ? &settings->server.listen[i] : &settings->admin.listen[i - count];
        struct dj_doctor_listener *listener = &out_listeners[i];
        *listener = (struct dj_doctor_listener){.is_public = !address->is_loopback,
                                                .is_tls = address->is_tls};
        dj_listeners_url(address, address->port, listener->url, sizeof listener->url);
    }
    return all;
}

/* Those of tls, which it may have inherited, are looked at once. */
static struct dj_tls_server_options own_admin_tls(const struct dj_settings *settings)
{
    struct dj_tls_server_options options = dj_listeners_tls(&settings->admin_tls);
    const struct dj_settings_tls *tls = &settings->tls;
    bool is_same = options.count == tls->cert_files.count && !options.client_ca_file;
    for (size_t i = 0; i < options.count && is_same; i++)
        is_same = strcmp(options.cert_files[i], tls->cert_files.items[i]) == 0 &&
                  strcmp(options.key_files[i], tls->key_files.items[i]) == 0;
    if (is_same)
        options.count = 0;
    return options;
}

int invocation_run_doctor(struct invocation *invocation)
{
    static const char *const embedders[] = {[DJ_EMBEDDER_AUTO] = "auto",
                                            [DJ_EMBEDDER_TRANSFORMER] = "transformer",
                                            [DJ_EMBEDDER_LEXICAL] = "lexical",
                                            [DJ_EMBEDDER_HTTP] = "http"};
    struct dj_settings_source source = invocation_source(invocation);
    struct dj_doctor_flags flags = {.server = NULL};
    struct dj_words words;
    struct deja_error error;
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    char server[512];
    struct dj_postgres_options postgres;
    struct dj_redis_options redis;
    if (dj_command_parse(&dj_doctor_command, invocation->argc - 1, invocation->argv + 1, &flags,
                         &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_doctor_command, error.message);
    if (words.count)
        return dj_command_misused(&dj_doctor_command, "takes no words");
    enum deja_status status = dj_settings_load(&source, &diagnostics, &settings, NULL);
    const char *name = invocation_named(flags.server, "DEJA_SERVER");
    invocation_server(name, &settings, server);
    postgres = dj_tier_postgres_options(&settings);
    redis = dj_tier_redis_options(&settings);
    struct dj_doctor_tier tiers[1];
    size_t tier_count = 0;
    if (settings.s3.is_enabled)
        tiers[tier_count++] = (struct dj_doctor_tier){"s3 bucket", &settings.s3, look_at_s3};
    struct dj_doctor_listener listeners[2 * DJ_LISTEN_MAX];
    const struct dj_doctor_tls tls[] = {{"tls", dj_listeners_tls(&settings.tls)},
                                        {"admin.tls", own_admin_tls(&settings)}};
    const struct dj_doctor_facts facts = {
        .diagnostics = &diagnostics,
        .is_config_valid = status == DEJA_OK,
        .data_dir = settings.data_dir,
        .model = settings.semantic.model,
        .model_dir = settings.semantic.model_dir,
        .upstream_url = settings.upstream.url,
        .anthropic_url = dj_settings_other_anthropic(&settings),
        .embedder = settings.semantic.is_enabled ? embedders[settings.semantic.embedder] : NULL,
        .ca_file = settings.upstream.ca_file,
        .is_secret_configured = settings.secret != NULL,
        .is_sealing = settings.encryption.is_enabled,
        .has_master_key = settings.encryption.master_key || settings.encryption.master_key_command,
        .has_remote_tiers =
            settings.redis.address_count > 0 || settings.postgres.url || settings.s3.is_enabled,
        .is_search_readable = settings.postgres.url && settings.postgres.is_searched,
        .connections_max = settings.server.connections_max,
        .postgres = postgres.url ? &postgres : NULL,
        .redis = redis.address_count > 0 ? &redis : NULL,
        .server = server,
        .is_server_named = name != NULL,
        .key = invocation_named(flags.key, "DEJA_KEY"),
        .tiers = tiers,
        .tier_count = tier_count,
        .tls = tls,
        .tls_count = sizeof tls / sizeof *tls,
        .listeners = listeners,
        .listener_count = list_listeners(&settings, listeners),
    };
    int code = dj_doctor_run(&facts, &flags, (const char *const *)environ);
    dj_settings_fini(&settings);
    dj_diagnostics_fini(&diagnostics);
    return code;
}
