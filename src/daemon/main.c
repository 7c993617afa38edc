/* daemon/main.c - the words of the program, and who answers each.
 *
 * serve is composed in serve.c; client commands live in cli, offline ones in tools; commands.c has
 * the list. Settings are loaded here once, so that every command agrees on them.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/manual.h"
#include "config/expand.h"
#include "base/suggest.h"
#include "daemon/audit.h"
#include "daemon/commands.h"
#include "daemon/daemon_internal.h"
#include "daemon/demo.h"
#include "daemon/listeners.h"
#include "daemon/prices.h"
#include "daemon/offline.h"
#include "daemon/serve.h"
#include "daemon/settings.h"
#include "daemon/tier_postgres.h"
#include "daemon/tier_redis.h"
#include "daemon/tier_s3.h"
#include "tools/audit_tool.h"
#include "tools/bench.h"
#include "tools/config_tool.h"
#include "tools/doctor.h"
#include "tools/erase_tool.h"
#include "tools/eval.h"
#include "tools/lines_tool.h"
#include "tools/migrate.h"
#include "tools/model.h"
#include "tools/prices_tool.h"
#include "tools/transfer_tool.h"

#define FLAGS_MAX 128u

extern char **environ;

/* What is left of a command line when the flags that belong to settings were taken out. */
struct invocation {
    const char *config_path;
    struct dj_flag flags[FLAGS_MAX];
    size_t flag_count;
    char *names[FLAGS_MAX]; /* owned: the KEY of --set KEY=VALUE */
    size_t name_count;
    int argc;
    char **argv; /* owned array of borrowed texts */
};

static void invocation_fini(struct invocation *invocation)
{
    for (size_t i = 0; i < invocation->name_count; i++)
        dj_free(invocation->names[i]);
    dj_free(invocation->argv);
}

static const struct dj_option *find_flag(const char *text, size_t len)
{
    size_t count = 0;
    const struct dj_option *table = dj_settings_table(&count);
    for (size_t i = 0; i < count; i++)
        if (table[i].flag && strlen(table[i].flag) == len && !memcmp(table[i].flag, text, len))
            return &table[i];
    return NULL;
}

static int usage_error(const char *command, const char *what, const char *text)
{
    fprintf(stderr, "deja%s%s: %s%s\n", command ? " " : "", command ? command : "", what, text);
    return DJ_EXIT_USAGE;
}

static int add_flag(struct invocation *invocation, const char *name, const char *value)
{
    if (invocation->flag_count == FLAGS_MAX)
        return usage_error(NULL, "too many flags", "");
    invocation->flags[invocation->flag_count++] = (struct dj_flag){name, value};
    return 0;
}

/* "KEY=VALUE" */
static int add_set(struct invocation *invocation, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals)
        return usage_error(NULL, "--set expects KEY=VALUE, not ", text);
    if (invocation->name_count == FLAGS_MAX)
        return usage_error(NULL, "too many flags", "");
    char *name = dj_strdup(deja_slice(text, (size_t)(equals - text)));
    if (!name)
        return usage_error(NULL, "out of memory", "");
    invocation->names[invocation->name_count++] = name;
    return add_flag(invocation, name, equals + 1);
}

/* One argument at argv[*at]. 0: taken or left for the command; otherwise the exit code. */
static int take_argument(struct invocation *invocation, int argc, char **argv, int *at)
{
    char *text = argv[*at];
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(text);
    const struct dj_option *option = find_flag(text, len);
    bool is_config = len == 8 && memcmp(text, "--config", 8) == 0;
    bool is_set = len == 5 && memcmp(text, "--set", 5) == 0;
    if (option && option->type == DJ_OPTION_BOOL)
        return add_flag(invocation, option->flag, equals ? equals + 1 : "true");
    if (!option && !is_config && !is_set) {
        invocation->argv[invocation->argc++] = text;
        return 0;
    }
    const char *value = equals ? equals + 1 : ++*at < argc ? argv[*at] : NULL;
    if (!value)
        return usage_error(NULL, text, " needs a value");
    if (is_config)
        invocation->config_path = value;
    else if (is_set)
        return add_set(invocation, value);
    else
        return add_flag(invocation, option->flag, value);
    return 0;
}

static int take_arguments(struct invocation *invocation, int argc, char **argv)
{
    bool is_over = false;
    int code = 0;
    invocation->argv = dj_alloc_zeroed((size_t)argc + 1, sizeof *invocation->argv);
    if (!invocation->argv)
        return usage_error(NULL, "out of memory", "");
    for (int i = 0; i < argc && !code; i++) {
        is_over = is_over || strcmp(argv[i], "--") == 0;
        if (is_over)
            invocation->argv[invocation->argc++] = argv[i];
        else
            code = take_argument(invocation, argc, argv, &i);
    }
    return code;
}

static struct dj_settings_source source_of(const struct invocation *invocation)
{
    return (struct dj_settings_source){.config_path = invocation->config_path,
                                       .flags = invocation->flags,
                                       .flag_count = invocation->flag_count,
                                       .environment = (const char *const *)environ};
}

static void write_diagnostics(const struct dj_diagnostics *diagnostics)
{
    if (diagnostics->text.len)
        fwrite(diagnostics->text.data, 1, diagnostics->text.len, stderr);
}

/* The settings of a command that needs nothing else of them; what is wrong was told on stderr. They
 * are to be finished, also when it says false. */
static bool load_settings(const struct invocation *invocation, struct dj_settings *out_settings)
{
    struct dj_settings_source source = source_of(invocation);
    struct dj_diagnostics diagnostics = {.error_count = 0};
    *out_settings = (struct dj_settings){.data_dir = NULL};
    enum deja_status status = dj_settings_load(&source, &diagnostics, out_settings, NULL);
    write_diagnostics(&diagnostics);
    dj_diagnostics_fini(&diagnostics);
    return status == DEJA_OK;
}

static int serve_with(struct invocation *invocation, bool is_check_only)
{
    struct dj_settings_source source = source_of(invocation);
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_options *options = NULL;
    enum deja_status status = dj_settings_load(&source, &diagnostics, &settings, &options);
    int code = 0;
    write_diagnostics(&diagnostics);
    dj_diagnostics_fini(&diagnostics);
    if (status != DEJA_OK) {
        dj_options_destroy(options);
        if (status != DEJA_ERR_CONFIG)
            fprintf(stderr, "deja serve: %s\n", deja_status_text(status));
        return status == DEJA_ERR_CONFIG ? DJ_EXIT_CONFIG : DJ_EXIT_FAILED;
    }
    if (is_check_only)
        puts("configuration is valid");
    else
        code = dj_daemon_serve(&settings, options, &source, NULL);
    dj_settings_fini(&settings);
    dj_options_destroy(options);
    return code;
}

/* The flags that belong to settings are known to the table, not to run_serve's own list. */
static int unknown_flag(const struct invocation *invocation, const char *message)
{
    size_t count = 0;
    const struct dj_option *table = dj_settings_table(&count);
    for (int i = 1; i < invocation->argc; i++) {
        struct dj_suggest suggest = dj_suggest(invocation->argv[i]);
        for (size_t j = 0; invocation->argv[i][0] == '-' && j < count; j++)
            if (table[j].flag)
                dj_suggest_offer(&suggest, table[j].flag);
        if (!suggest.best)
            continue;
        fprintf(stderr, "deja serve: unknown flag %s: did you mean %s?\n", invocation->argv[i],
                suggest.best);
        return DJ_EXIT_USAGE;
    }
    return usage_error("serve", message, "");
}

static int run_serve(struct invocation *invocation)
{
    struct dj_serve_flags flags = {.is_check_only = false};
    struct dj_words words;
    struct deja_error error;
    if (dj_command_parse(&dj_serve_command, invocation->argc - 1, invocation->argv + 1, &flags,
                         &words, &error) != DEJA_OK)
        return unknown_flag(invocation, error.message);
    if (words.count)
        return usage_error("serve", "takes flags only, not ", words.items[0]);
    return serve_with(invocation, flags.is_check_only);
}

/* What the settings say of the model holds for the demo too; the rest is its own. */
static int run_demo(struct invocation *invocation)
{
    struct dj_demo_flags flags = {.wants_json = false};
    struct dj_words words;
    struct deja_error error;
    struct dj_settings settings;
    if (dj_command_parse(&dj_demo_command, invocation->argc - 1, invocation->argv + 1, &flags,
                         &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_demo_command, error.message);
    if (words.count)
        return dj_command_misused(&dj_demo_command, "takes no words");
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings))
        code = dj_demo_run(&settings, &flags, (const char *const *)environ);
    dj_settings_fini(&settings);
    return code;
}

/* NULL: neither a flag nor the environment names it. */
static const char *named(const char *flag, const char *variable)
{
    const char *value =
        flag ? flag : dj_environment_find((const char *const *)environ, deja_slice_text(variable));
    return value && *value ? value : NULL;
}

/* Without trailing "/". Every address is answered on the loopback one too. */
static void find_server(const char *name, const struct dj_settings *settings, char out_url[512])
{
    const struct dj_settings_address *first = settings->server.listen;
    static const struct dj_settings_address usual = {.host = "127.0.0.1", .port = 7070};
    struct dj_settings_address address = settings->server.listen_count ? *first : usual;
    char loopback[] = "127.0.0.1";
    if (strcmp(address.host, "0.0.0.0") == 0 || strcmp(address.host, "::") == 0)
        address.host = loopback;
    if (name)
        snprintf(out_url, 512, "%s", name);
    else
        dj_listeners_url(&address, address.port ? address.port : usual.port, out_url, 512);
    for (size_t len = strlen(out_url); len && out_url[len - 1] == '/'; len--)
        out_url[len - 1] = '\0';
}

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

static int run_doctor(struct invocation *invocation)
{
    static const char *const embedders[] = {[DJ_EMBEDDER_AUTO] = "auto",
                                            [DJ_EMBEDDER_TRANSFORMER] = "transformer",
                                            [DJ_EMBEDDER_LEXICAL] = "lexical",
                                            [DJ_EMBEDDER_HTTP] = "http"};
    struct dj_settings_source source = source_of(invocation);
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
    const char *name = named(flags.server, "DEJA_SERVER");
    find_server(name, &settings, server);
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
        .key = named(flags.key, "DEJA_KEY"),
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

static int run_config(struct invocation *invocation)
{
    struct dj_settings_source source = source_of(invocation);
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_config_tool tool = {.diagnostics = &diagnostics};
    struct dj_options *options = NULL;
    enum deja_status status = dj_settings_load(&source, &diagnostics, &settings, &options);
    int code = DJ_EXIT_FAILED;
    tool.table = dj_settings_table(&tool.count);
    tool.options = options;
    if (status == DEJA_OK || status == DEJA_ERR_CONFIG)
        code =
            dj_config_tool_run(&tool, invocation->argc - 1, invocation->argv + 1, stdout, stderr);
    dj_settings_fini(&settings);
    dj_options_destroy(options);
    dj_diagnostics_fini(&diagnostics);
    return code;
}

static int run_model(struct invocation *invocation)
{
    struct dj_settings settings;
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings))
        code = dj_model_tool_run(settings.data_dir, invocation->argc - 1, invocation->argv + 1);
    dj_settings_fini(&settings);
    return code;
}

/* The model is that of the settings unless --model says otherwise. */
static int run_eval(struct invocation *invocation)
{
    struct dj_settings settings;
    char model[] = "--model";
    size_t count = (size_t)invocation->argc;
    bool is_loaded = load_settings(invocation, &settings);
    char **argv = dj_alloc_zeroed(count + 3, sizeof *argv);
    int code = DJ_EXIT_CONFIG;
    if (is_loaded && argv) {
        argv[0] = invocation->argv[0];
        argv[1] = model;
        argv[2] = settings.semantic.model_dir;
        memcpy(argv + 3, invocation->argv + 1, (count - 1) * sizeof *argv);
        code = dj_tool_eval((int)count + 2, argv);
    }
    dj_free(argv);
    dj_settings_fini(&settings);
    return code;
}

static int run_bench(struct invocation *invocation)
{
    struct dj_settings settings;
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings))
        code = dj_tool_bench(settings.semantic.model_dir, invocation->argc, invocation->argv);
    dj_settings_fini(&settings);
    return code;
}

static int run_migrate(struct invocation *invocation)
{
    struct dj_settings settings;
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings)) {
        const struct dj_postgres_options options = dj_tier_postgres_options(&settings);
        code = dj_migrate_run(&options, invocation->argc - 1, invocation->argv + 1);
    }
    dj_settings_fini(&settings);
    return code;
}

static int run_prices(struct invocation *invocation)
{
    struct dj_settings settings;
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_prices *own = NULL;
    struct dj_prices *shipped = NULL;
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings) &&
        dj_prices_read(settings.prices.file, &diagnostics, &own) == DEJA_OK &&
        dj_prices_make_shipped(&shipped) == DEJA_OK) {
        const struct dj_prices_tool tool = {own, settings.prices.file, shipped};
        code = dj_prices_tool_run(&tool, invocation->argc - 1, invocation->argv + 1);
    }
    dj_prices_destroy(own);
    dj_prices_destroy(shipped);
    dj_diagnostics_fini(&diagnostics);
    dj_settings_fini(&settings);
    return code;
}

static int run_audit(struct invocation *invocation)
{
    struct dj_settings settings;
    int code = DJ_EXIT_CONFIG;
    if (load_settings(invocation, &settings)) {
        const struct dj_audit_facts facts = {.data_dir = settings.data_dir,
                                             .head = dj_daemon_read_head,
                                             .tenant = dj_daemon_find_tenant,
                                             .ctx = &settings};
        code = dj_audit_run(&facts, invocation->argc - 1, invocation->argv + 1);
    }
    dj_settings_fini(&settings);
    return code;
}

static int run_erase(struct invocation *invocation)
{
    struct dj_erase_flags flags = {.tenant = NULL};
    struct dj_settings settings;
    struct dj_words words;
    struct deja_error error;
    char server[512];
    int code = DJ_EXIT_CONFIG;
    if (dj_command_parse(&dj_erase_command, invocation->argc - 1, invocation->argv + 1, &flags,
                         &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_erase_command, error.message);
    if (words.count)
        return dj_command_misused(&dj_erase_command, "takes no words");
    if (load_settings(invocation, &settings)) {
        find_server(named(flags.server, "DEJA_SERVER"), &settings, server);
        const struct dj_erase_facts facts = {
            .data_dir = settings.data_dir,
            .server = server,
            .key = named(flags.key, "DEJA_KEY"),
            .token = named(flags.token, "DEJA_TOKEN"),
            .ca_file = settings.upstream.ca_file,
        };
        code = dj_erase_run(&facts, &flags);
    }
    dj_settings_fini(&settings);
    return code;
}

static int run_transfer(struct invocation *invocation, const struct dj_command *command)
{
    struct dj_transfer_request request;
    struct dj_settings settings;
    struct dj_settings_source source = source_of(invocation);
    char server[512];
    int code = DJ_EXIT_CONFIG;
    if (!dj_transfer_parse(command, invocation->argc - 1, invocation->argv + 1, &request, &code))
        return code;
    if (request.flags.is_offline)
        return dj_offline_transfer(&source, &request);
    if (load_settings(invocation, &settings)) {
        const char *name = named(request.flags.server, "DEJA_SERVER");
        find_server(name, &settings, server);
        const struct dj_transfer_facts facts = {.server = server,
                                                .key = named(request.flags.key, "DEJA_KEY"),
                                                .token = named(request.flags.token, "DEJA_TOKEN"),
                                                .ca_file = settings.upstream.ca_file,
                                                .is_named = name != NULL};
        code = dj_transfer_tool_run(&facts, &request);
    }
    dj_settings_fini(&settings);
    return code;
}

static int run_backup(struct invocation *invocation)
{
    return run_transfer(invocation, &dj_backup_command);
}

static int run_restore(struct invocation *invocation)
{
    return run_transfer(invocation, &dj_restore_command);
}

static int run_verify(struct invocation *invocation)
{
    return run_transfer(invocation, &dj_verify_command);
}

static int run_migrate_data(struct invocation *invocation)
{
    return run_transfer(invocation, &dj_migrate_data_command);
}

/* Offline a file of lines is one more form of a backup. */
static int run_lines_offline(struct invocation *invocation, bool is_export,
                             const struct dj_lines_flags *flags, const char *file)
{
    struct dj_settings_source source = source_of(invocation);
    const struct dj_transfer_request request = {.command = is_export ? &dj_backup_command
                                                                     : &dj_restore_command,
                                                .name = is_export ? "export" : "import",
                                                .flags = {.tenant = flags->tenant,
                                                          .is_offline = true,
                                                          .is_merge = true,
                                                          .wants_json = flags->wants_json},
                                                .file = file};
    return dj_offline_transfer(&source, &request);
}

static int run_lines(struct invocation *invocation, bool is_export)
{
    const struct dj_command *command = is_export ? &dj_export_command : &dj_import_command;
    struct dj_lines_flags flags;
    struct dj_settings settings;
    const char *file = NULL;
    char server[512];
    int code = DJ_EXIT_CONFIG;
    if (!dj_lines_parse(command, invocation->argc - 1, invocation->argv + 1, &flags, &file, &code))
        return code;
    if (flags.is_offline)
        return run_lines_offline(invocation, is_export, &flags, file);
    if (load_settings(invocation, &settings)) {
        const char *name = named(flags.server, "DEJA_SERVER");
        find_server(name, &settings, server);
        const struct dj_lines_facts facts = {.server = server,
                                             .key = named(flags.key, "DEJA_KEY"),
                                             .token = named(flags.token, "DEJA_TOKEN"),
                                             .ca_file = settings.upstream.ca_file,
                                             .is_named = name != NULL};
        code =
            is_export ? dj_export_run(&facts, &flags, file) : dj_import_run(&facts, &flags, file);
    }
    dj_settings_fini(&settings);
    return code;
}

static int run_export(struct invocation *invocation)
{
    return run_lines(invocation, true);
}

static int run_import(struct invocation *invocation)
{
    return run_lines(invocation, false);
}

static int run_client(struct invocation *invocation)
{
    return dj_cli_run(invocation->argc, invocation->argv, (const char *const *)environ);
}

static int run_version(struct invocation *invocation)
{
    (void)invocation;
    puts("deja " DEJA_VERSION);
    return 0;
}

/* What was written is whole, or the command failed. */
static int print_all(struct dj_buf *text)
{
    bool is_whole = text->status == DEJA_OK &&
                    fwrite(text->data ? text->data : "", 1, text->len, stdout) == text->len &&
                    fflush(stdout) == 0;
    dj_buf_fini(text);
    return is_whole ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

static int run_completions(struct invocation *invocation)
{
    const struct dj_command *command = &dj_completions_command;
    struct dj_buf text = {0};
    struct dj_parts parts;
    const char *shell = invocation->argc == 2 ? invocation->argv[1] : "";
    dj_parts_collect(&parts);
    if (!dj_manual_write_completions(&parts.manual, shell, &text))
        return dj_command_misplaced(command, shell);
    return print_all(&text);
}

/* deja manual deja.1: for the build, which installs what it prints. */
static int run_manual(struct invocation *invocation)
{
    const struct dj_command *command = &dj_manual_command;
    struct dj_buf text = {0};
    struct dj_parts parts;
    const char *page = invocation->argc == 2 ? invocation->argv[1] : "";
    dj_parts_collect(&parts);
    if (!dj_manual_write_page(&parts.manual, page, &text))
        return dj_command_misplaced(command, page);
    return print_all(&text);
}

static int run_help(struct invocation *invocation);

/* clang-format off: a table is read by its columns */
/* Who runs what commands.c describes; the rest are client commands. */
static const struct runner {
    const struct dj_command *about;
    int (*run)(struct invocation *invocation);
} runners[] = {
    {&dj_serve_command, run_serve},
    {&dj_demo_command, run_demo},
    {&dj_model_command, run_model},
    {&dj_eval_command, run_eval},
    {&dj_bench_command, run_bench},
    {&dj_config_command, run_config},
    {&dj_doctor_command, run_doctor},
    {&dj_completions_command, run_completions},
    {&dj_version_command, run_version},
    {&dj_help_command, run_help},
    {&dj_manual_command, run_manual},
    {&dj_migrate_command, run_migrate},
    {&dj_audit_command, run_audit},
    {&dj_erase_command, run_erase},
    {&dj_prices_command, run_prices},
    {&dj_export_command, run_export},
    {&dj_import_command, run_import},
    {&dj_backup_command, run_backup},
    {&dj_restore_command, run_restore},
    {&dj_verify_command, run_verify},
    {&dj_migrate_data_command, run_migrate_data},
};
/* clang-format on */

static int run(const struct dj_command *command, struct invocation *invocation)
{
    for (size_t i = 0; i < sizeof runners / sizeof *runners; i++)
        if (runners[i].about == command)
            return runners[i].run(invocation);
    return run_client(invocation);
}

static int unknown_command(const struct dj_manual *manual, const char *name)
{
    struct dj_suggest suggest = dj_suggest(name);
    for (size_t i = 0; i < manual->command_count; i++)
        if (!manual->commands[i]->is_hidden)
            dj_suggest_offer(&suggest, manual->commands[i]->name);
    if (suggest.best)
        fprintf(stderr, "deja: unknown command \"%s\": did you mean \"%s\"?\n", name, suggest.best);
    else
        fprintf(stderr, "deja: unknown command \"%s\"; deja help lists them\n", name);
    return DJ_EXIT_USAGE;
}

static int write_help(const struct dj_manual *manual, const struct dj_command *command)
{
    struct dj_buf text = {0};
    dj_command_write_help(manual, command, &text);
    return print_all(&text);
}

static int write_overview(const struct dj_manual *manual)
{
    struct dj_buf text = {0};
    dj_parts_overview(manual, &text);
    return print_all(&text);
}

static int run_help(struct invocation *invocation)
{
    struct dj_parts parts;
    dj_parts_collect(&parts);
    if (invocation->argc < 2 || invocation->argv[1][0] == '-')
        return write_overview(&parts.manual);
    const struct dj_command *command = dj_manual_find(&parts.manual, invocation->argv[1]);
    return command ? write_help(&parts.manual, command)
                   : unknown_command(&parts.manual, invocation->argv[1]);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    struct invocation invocation = {.config_path = NULL};
    struct dj_parts parts;
    dj_parts_collect(&parts);
    signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of the write, not our end */
    if (argc < 2 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return write_overview(&parts.manual);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return run_version(&invocation);
    const struct dj_command *command = dj_manual_find(&parts.manual, name);
    if (!command)
        return unknown_command(&parts.manual, name);
    if (dj_command_wants_help(argc - 2, argv + 2))
        return write_help(&parts.manual, command);
    if (!command->takes_settings) { /* its flags are its own: --data is not the daemon's there */
        invocation.argc = argc - 1;
        invocation.argv = argv + 1;
        return run(command, &invocation);
    }
    int code = take_arguments(&invocation, argc - 1, argv + 1);
    if (!code)
        code = run(command, &invocation);
    invocation_fini(&invocation);
    return code;
}
