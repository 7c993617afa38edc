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
#include "daemon/invocation.h"
#include "daemon/prices.h"
#include "daemon/offline.h"
#include "daemon/serve.h"
#include "daemon/settings.h"
#include "daemon/tier_postgres.h"
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

extern char **environ;

static int serve_with(struct invocation *invocation, bool is_check_only)
{
    struct dj_settings_source source = invocation_source(invocation);
    struct dj_diagnostics diagnostics = {.error_count = 0};
    struct dj_settings settings = {.data_dir = NULL};
    struct dj_options *options = NULL;
    enum deja_status status = dj_settings_load(&source, &diagnostics, &settings, &options);
    int code = 0;
    invocation_tell(&diagnostics);
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
    return invocation_misused("serve", message, "");
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
        return invocation_misused("serve", "takes flags only, not ", words.items[0]);
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
    if (invocation_load(invocation, &settings))
        code = dj_demo_run(&settings, &flags, (const char *const *)environ);
    dj_settings_fini(&settings);
    return code;
}

static int run_config(struct invocation *invocation)
{
    struct dj_settings_source source = invocation_source(invocation);
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
    if (invocation_load(invocation, &settings))
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
    bool is_loaded = invocation_load(invocation, &settings);
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
    if (invocation_load(invocation, &settings))
        code = dj_tool_bench(settings.semantic.model_dir, invocation->argc, invocation->argv);
    dj_settings_fini(&settings);
    return code;
}

static int run_migrate(struct invocation *invocation)
{
    struct dj_settings settings;
    int code = DJ_EXIT_CONFIG;
    if (invocation_load(invocation, &settings)) {
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
    if (invocation_load(invocation, &settings) &&
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
    if (invocation_load(invocation, &settings)) {
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
    if (invocation_load(invocation, &settings)) {
        invocation_server(invocation_named(flags.server, "DEJA_SERVER"), &settings, server);
        const struct dj_erase_facts facts = {
            .data_dir = settings.data_dir,
            .server = server,
            .key = invocation_named(flags.key, "DEJA_KEY"),
            .token = invocation_named(flags.token, "DEJA_TOKEN"),
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
    struct dj_settings_source source = invocation_source(invocation);
    char server[512];
    int code = DJ_EXIT_CONFIG;
    if (!dj_transfer_parse(command, invocation->argc - 1, invocation->argv + 1, &request, &code))
        return code;
    if (request.flags.is_offline)
        return dj_offline_transfer(&source, &request);
    if (invocation_load(invocation, &settings)) {
        const char *name = invocation_named(request.flags.server, "DEJA_SERVER");
        invocation_server(name, &settings, server);
        const struct dj_transfer_facts facts = {
            .server = server,
            .key = invocation_named(request.flags.key, "DEJA_KEY"),
            .token = invocation_named(request.flags.token, "DEJA_TOKEN"),
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
    struct dj_settings_source source = invocation_source(invocation);
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
    if (invocation_load(invocation, &settings)) {
        const char *name = invocation_named(flags.server, "DEJA_SERVER");
        invocation_server(name, &settings, server);
        const struct dj_lines_facts facts = {.server = server,
                                             .key = invocation_named(flags.key, "DEJA_KEY"),
                                             .token = invocation_named(flags.token, "DEJA_TOKEN"),
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
    {&dj_doctor_command, invocation_run_doctor},
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
    int code = invocation_take(&invocation, argc - 1, argv + 1);
    if (!code)
        code = run(command, &invocation);
    invocation_fini(&invocation);
    return code;
}
