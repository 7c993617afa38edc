/* daemon/commands.c - see commands.h. */
#include "daemon/commands.h"

#include <assert.h>

#include "cli/cli.h"
#include "daemon/settings.h"
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

static const struct dj_command_option serve_options[] = {
    {"--check-config", DJ_COMMAND_SWITCH, NULL, "Only look for faults in the configuration",
     offsetof(struct dj_serve_flags, is_check_only)},
};

const struct dj_command dj_serve_command = {
    .name = "serve",
    .summary = "run the cache and proxy",
    .synopsis = "[--config FILE] [--listen ADDRESS:PORT] [--data DIR] [--upstream URL]",
    .examples = "deja serve\ton http://127.0.0.1:7070\n"
                "deja serve --upstream http://127.0.0.1:8000/v1\tin front of your own model\n"
                "deja serve --config deja.yaml --check-config\tonly look for faults",
    .description = "Runs until SIGTERM or Ctrl-C, then finishes running requests and says what was "
                   "saved. SIGHUP reads the configuration again.",
    .options = {{serve_options, sizeof serve_options / sizeof *serve_options}},
    .takes_settings = true,
};

static const struct dj_command_option demo_options[] = {
    {"--json", DJ_COMMAND_SWITCH, NULL, "One JSON object with the steps and what they saved",
     offsetof(struct dj_demo_flags, wants_json)},
    {"--plain", DJ_COMMAND_SWITCH, NULL, "No colours", offsetof(struct dj_demo_flags, is_plain)},
    {"--no-color", DJ_COMMAND_SWITCH, NULL, "No colours; as do NO_COLOR and TERM=dumb",
     offsetof(struct dj_demo_flags, has_no_color)},
};

const struct dj_command dj_demo_command = {
    .name = "demo",
    .summary = "see it work, in seconds, without a key",
    .synopsis = "[--json]",
    .examples = "deja demo\ta miss, hits, a refused hit, and what they save\n"
                "deja demo --json | jq .saved",
    .description = "Runs a cache and a small built-in model on free ports of this machine, asks it "
                   "questions, shows what became of each, and removes everything again. No key, "
                   "account or network is needed. Exit 1: a step did not show what it claims.",
    .options = {{demo_options, sizeof demo_options / sizeof *demo_options}},
    .takes_settings = true,
};

const struct dj_command dj_completions_command = {
    .name = "completions",
    .summary = "completion of commands and flags for a shell",
    .synopsis = "bash|zsh|fish",
    .examples = "source <(deja completions bash)\tin this shell\n"
                "deja completions bash > ~/.local/share/bash-completion/completions/deja\n"
                "deja completions zsh > \"${fpath[1]}/_deja\"\n"
                "deja completions fish > ~/.config/fish/completions/deja.fish",
    .first_words = "bash|zsh|fish",
};

const struct dj_command dj_version_command = {
    .name = "version",
    .summary = "print the version",
    .synopsis = "",
    .examples = "deja version\ndeja -V",
};

const struct dj_command dj_help_command = {
    .name = "help",
    .summary = "this text, or that of a command",
    .synopsis = "[COMMAND]",
    .examples = "deja help put",
};

const struct dj_command dj_manual_command = {
    .name = "manual",
    .summary = "print a man page in roff",
    .synopsis = "deja.1|deja.conf.5|deja.8",
    .first_words = "deja.1|deja.conf.5|deja.8",
    .is_hidden = true,
};

static const char overview[] =
    "Deja answers repeated and reworded AI requests from its memory.\n"
    "\n"
    "examples:\n"
    "  deja demo                                    see it work: no key, no network\n"
    "  deja serve                                   start on http://127.0.0.1:7070\n"
    "  OPENAI_BASE_URL=http://127.0.0.1:7070/v1 python app.py\n"
    "  deja put \"capital of France\" \"Paris\"         remember an answer\n"
    "  deja get \"France's capital?\" || call_llm     exit 3 when it is not known\n"
    "  deja explain \"France's capital?\"             why it is a hit or a miss\n"
    "  deja model pull all-minilm-l6-v2             the model that understands rewordings\n"
    "\n"
    "commands:\n";

void dj_parts_overview(const struct dj_manual *manual, struct dj_buf *out)
{
    dj_buf_append_text(out, overview);
    for (size_t i = 0; i < manual->command_count; i++)
        if (!manual->commands[i]->is_hidden)
            dj_buf_append_format(out, "  %-12s %s\n", manual->commands[i]->name,
                                 manual->commands[i]->summary);
    dj_buf_append_text(out, "\ndeja COMMAND --help tells more; -V prints the version.\n");
}

static void add(struct dj_parts *parts, const struct dj_command *command)
{
    assert(parts->manual.command_count < DJ_PARTS_MAX);
    parts->commands[parts->manual.command_count++] = command;
}

void dj_parts_collect(struct dj_parts *parts)
{
    const struct dj_command *client;
    *parts = (struct dj_parts){.manual = {.command_count = 0}};
    parts->manual.commands = parts->commands;
    parts->manual.settings = dj_settings_table(&parts->manual.setting_count);
    add(parts, &dj_serve_command);
    add(parts, &dj_demo_command);
    for (size_t i = 0; (client = dj_cli_command_at(i)) != NULL; i++)
        add(parts, client);
    add(parts, &dj_model_command);
    add(parts, &dj_eval_command);
    add(parts, &dj_bench_command);
    add(parts, &dj_prices_command);
    add(parts, &dj_config_command);
    add(parts, &dj_migrate_command);
    add(parts, &dj_export_command);
    add(parts, &dj_import_command);
    add(parts, &dj_backup_command);
    add(parts, &dj_restore_command);
    add(parts, &dj_verify_command);
    add(parts, &dj_migrate_data_command);
    add(parts, &dj_audit_command);
    add(parts, &dj_erase_command);
    add(parts, &dj_doctor_command);
    add(parts, &dj_completions_command);
    add(parts, &dj_version_command);
    add(parts, &dj_help_command);
    add(parts, &dj_manual_command);
}
