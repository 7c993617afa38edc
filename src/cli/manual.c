/* cli/manual.c - deja(1), deja.conf(5) and deja(8) in roff, out of the tables: see manual.h. */
#include "cli/manual.h"

/* ---- roff ---- */

/* Plain text: no line may begin with a request, and '-' in a command is not a hyphen. */
static void append_text(struct dj_buf *out, const char *text, size_t len, bool is_code)
{
    for (size_t i = 0; i < len; i++) {
        bool starts_line = i == 0 || text[i - 1] == '\n';
        if (starts_line && (text[i] == '.' || text[i] == '\''))
            dj_buf_append_text(out, "\\&");
        if (text[i] == '\\')
            dj_buf_append_text(out, "\\e");
        else if (text[i] == '-' && is_code)
            dj_buf_append_text(out, "\\-");
        else
            dj_buf_append_byte(out, text[i]);
    }
}

static void append_line(struct dj_buf *out, const char *text)
{
    append_text(out, text, strlen(text), false);
    dj_buf_append_byte(out, '\n');
}

static void append_code(struct dj_buf *out, const char *text)
{
    append_text(out, text, strlen(text), true);
}

/* Paragraphs parted by '\n'. */
static void append_paragraphs(struct dj_buf *out, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        dj_buf_append_text(out, ".PP\n");
        append_text(out, text, len, false);
        dj_buf_append_byte(out, '\n');
        text += len + (text[len] == '\n');
    }
}

static void append_term(struct dj_buf *out, const char *name, const char *value, const char *help)
{
    dj_buf_append_text(out, ".TP\n\\fB");
    append_code(out, name);
    dj_buf_append_text(out, "\\fR");
    if (value) {
        dj_buf_append_text(out, " \\fI");
        append_code(out, value);
        dj_buf_append_text(out, "\\fR");
    }
    dj_buf_append_byte(out, '\n');
    size_t len = strlen(help);
    append_text(out, help, len, false);
    dj_buf_append_text(out, len && help[len - 1] != '.' ? ".\n" : "\n");
}

static void begin(struct dj_buf *out, const char *title, const char *section, const char *name,
                  const char *what)
{
    dj_buf_append_format(out,
                         ".\\\" Written by deja itself from its tables; do not edit.\n"
                         ".TH %s %s \"\" \"Deja " DEJA_VERSION "\" \"Deja\"\n.SH NAME\n",
                         title, section);
    dj_buf_append_format(out, "%s \\- %s\n", name, what);
}

static void append_exit_status(struct dj_buf *out)
{
    dj_buf_append_text(out, ".SH EXIT STATUS\n");
    for (const struct dj_exit_row *row = dj_exit_table; row->text; row++) {
        char code[8];
        size_t len = 0;
        if (row->code >= 10)
            code[len++] = (char)('0' + row->code / 10);
        code[len++] = (char)('0' + row->code % 10);
        code[len] = '\0';
        append_term(out, code, NULL, row->text);
    }
}

/* ---- deja.1 ---- */

/* One .B line for each form of a synopsis. */
static void append_synopsis(struct dj_buf *out, const struct dj_command *command)
{
    const char *at = command->synopsis;
    for (bool is_first = true; is_first || *at; is_first = false) {
        size_t len = strcspn(at, "\n");
        dj_buf_append_format(out, "%s.B deja ", is_first ? "" : ".br\n");
        append_code(out, command->name);
        dj_buf_append_byte(out, '\n');
        if (len) {
            append_text(out, at, len, true);
            dj_buf_append_byte(out, '\n');
        }
        at += len + (at[len] == '\n');
    }
}

static void append_examples(struct dj_buf *out, const char *examples)
{
    dj_buf_append_text(out, ".PP\n.nf\n.RS\n");
    for (const char *at = examples; *at; at += at[0] == '\n') {
        size_t len = strcspn(at, "\t\n");
        size_t line = strcspn(at, "\n");
        append_text(out, at, len, true);
        if (line > len) {
            dj_buf_append_text(out, "   # ");
            append_text(out, at + len + 1, line - len - 1, false);
        }
        dj_buf_append_byte(out, '\n');
        at += line;
    }
    dj_buf_append_text(out, ".RE\n.fi\n");
}

static void append_options(struct dj_buf *out, const struct dj_command *command)
{
    for (size_t set = 0; set < DJ_COMMAND_SETS_MAX; set++)
        for (size_t i = 0; i < command->options[set].count; i++) {
            const struct dj_command_option *row = &command->options[set].rows[i];
            append_term(out, row->name, row->value, row->help);
        }
}

static void append_settings(struct dj_buf *out, const struct dj_manual *manual)
{
    append_term(out, "--config", "FILE", "The configuration, YAML or JSON; see deja.conf(5)");
    for (size_t i = 0; i < manual->setting_count; i++) {
        const struct dj_option *option = &manual->settings[i];
        if (option->flag)
            append_term(out, option->flag, option->type == DJ_OPTION_BOOL ? NULL : "VALUE",
                        option->help);
    }
    append_term(out, "--set", "KEY=VALUE", "Any key of the configuration");
}

static void append_command(struct dj_buf *out, const struct dj_command *command)
{
    dj_buf_append_format(out, ".SS deja %s\n", command->name);
    append_synopsis(out, command);
    dj_buf_append_text(out, ".PP\n");
    dj_buf_append_byte(out, (char)(command->summary[0] >= 'a' && command->summary[0] <= 'z'
                                       ? command->summary[0] - 32
                                       : command->summary[0]));
    append_text(out, command->summary + 1, strlen(command->summary) - 1, false);
    dj_buf_append_text(out, ".\n");
    if (command->description)
        append_paragraphs(out, command->description);
    append_options(out, command);
    if (command->takes_settings)
        dj_buf_append_text(out, ".PP\nAlso \\fB\\-\\-config\\fR, \\fB\\-\\-set\\fR and the flags "
                                "of\n.BR deja (8).\n");
    if (command->examples)
        append_examples(out, command->examples);
}

static void write_commands_page(const struct dj_manual *manual, struct dj_buf *out)
{
    begin(out, "DEJA", "1", "deja", "answers repeated and reworded AI requests from its memory");
    dj_buf_append_text(out, ".SH SYNOPSIS\n.B deja\n.I COMMAND\n[\\fIOPTION\\fR...] "
                            "[\\fIWORD\\fR...]\n.SH DESCRIPTION\n");
    append_line(out, "Deja stands between an application and its language model, or beside it as a "
                     "cache. What was asked before, in the same words or in others that mean the "
                     "same, is answered from memory.");
    append_paragraphs(out, "Results are printed on standard output, messages on standard error. "
                           "Every command takes --json. A misspelt command, option or key is "
                           "answered with the nearest one that there is.");
    dj_buf_append_text(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < manual->command_count; i++)
        if (!manual->commands[i]->is_hidden)
            append_command(out, manual->commands[i]);
    append_exit_status(out);
    dj_buf_append_text(out, ".SH ENVIRONMENT\n");
    append_term(out, "DEJA_SERVER", NULL, "The daemon that client commands speak to");
    append_term(out, "DEJA_KEY", NULL, "The credential that names the tenant");
    append_term(out, "DEJA_TOKEN", NULL, "The admin token, for evict and index of all tenants");
    append_term(out, "DEJA_CONFIG", NULL, "The configuration file where --config is not given");
    append_term(out, "NO_COLOR", NULL, "When not empty: no colours; so does TERM=dumb");
    dj_buf_append_text(out, ".SH SEE ALSO\n.BR deja.conf (5),\n.BR deja (8)\n");
}

/* ---- deja.conf.5 and deja.8 ---- */

static void append_files(struct dj_buf *out)
{
    dj_buf_append_text(out, ".SH FILES\n");
    append_term(out, "/etc/deja/deja.yaml", NULL, "The configuration, if there is one");
    append_term(out, "/var/lib/deja", NULL,
                "The data directory of root; else $XDG_DATA_HOME/deja or ~/.local/share/deja");
    append_term(out, "DATA/secret", NULL,
                "The deployment's secret, made at the first start; keep it, mode 0600");
    append_term(out, "DATA/models/NAME", NULL, "Models, verified by their digests");
}

static void write_settings_page(const struct dj_manual *manual, struct dj_buf *out)
{
    begin(out, "DEJA.CONF", "5", "deja.conf", "configuration of deja");
    dj_buf_append_text(out, ".SH DESCRIPTION\n");
    append_line(out, "YAML, or JSON in a file whose name ends in .json. A flag wins over the "
                     "environment, the environment over the file, the file over the default. An "
                     "unknown key is an error. Values may hold ${ENV:NAME} and ${CRED:name}.");
    append_paragraphs(out, "deja config check tells every fault with its line and column; deja "
                           "config print --origin tells where each value came from.");
    dj_buf_append_text(out, ".PP\n.nf\n.RS\nserver:\n  listen: [\"127.0.0.1:7070\"]\n"
                            "upstream:\n  url: https://api.openai.com\n.RE\n.fi\n.SH KEYS\n");
    dj_options_describe(manual->settings, manual->setting_count, DJ_DESCRIBE_ROFF, out);
    append_files(out);
    dj_buf_append_text(out, ".SH SEE ALSO\n.BR deja (1),\n.BR deja (8)\n");
}

static void write_daemon_page(const struct dj_manual *manual, struct dj_buf *out)
{
    const struct dj_command *serve = dj_manual_find(manual, "serve");
    begin(out, "DEJA", "8", "deja", "run and look after the cache and proxy");
    dj_buf_append_text(out, ".SH SYNOPSIS\n.B deja serve\n[\\fIOPTION\\fR...]\n.SH DESCRIPTION\n");
    append_line(out, "Listens on 127.0.0.1:7070 and passes on to https://api.openai.com what it "
                     "cannot answer itself; the client's credential goes with it. Clients set "
                     "their base URL to http://127.0.0.1:7070/v1.");
    if (serve && serve->description)
        append_paragraphs(out, serve->description);
    dj_buf_append_text(out, ".SH OPTIONS\n");
    if (serve)
        append_options(out, serve);
    append_settings(out, manual);
    dj_buf_append_text(out, ".SH SIGNALS\n");
    append_term(out, "SIGHUP", NULL,
                "Reads the configuration again; on an error the old one stays in force");
    append_term(out, "SIGTERM, SIGINT", NULL,
                "Finishes running requests, then ends; a second one ends at once");
    dj_buf_append_text(out, ".SH PATHS\n");
    append_term(out, "/v1/", NULL, "The proxy");
    append_term(out, "/api/v1/", NULL, "The cache API; /openapi.json describes it");
    append_term(out, "/livez, /readyz, /health, /metrics", NULL, "For probes and for Prometheus");
    dj_buf_append_text(out, ".SH SYSTEMD\n");
    append_line(out, "The daemon tells systemd when it is ready, reloading and stopping "
                     "(Type=notify). Secrets are read from $CREDENTIALS_DIRECTORY by "
                     "${CRED:name}.");
    dj_buf_append_text(out, ".SH DIAGNOSTICS\n");
    append_line(out, "deja doctor looks at the configuration, the data directory, the model, the "
                     "upstream and the listener, and says what to do about each fault.");
    append_files(out);
    append_exit_status(out);
    dj_buf_append_text(out, ".SH SEE ALSO\n.BR deja (1),\n.BR deja.conf (5)\n");
}

bool dj_manual_write_page(const struct dj_manual *manual, const char *page, struct dj_buf *out)
{
    if (strcmp(page, "deja.1") == 0)
        write_commands_page(manual, out);
    else if (strcmp(page, "deja.conf.5") == 0)
        write_settings_page(manual, out);
    else if (strcmp(page, "deja.8") == 0)
        write_daemon_page(manual, out);
    else
        return false;
    return true;
}
