/* cli/completions.c - completions of bash, zsh and fish: see manual.h.
 *
 * What an option takes is told by its value's name: "a|b" is one of these, FILE and DIR are paths,
 * "a|FILE" is either, KEY=VALUE is a key of the configuration. The rest is the person's own text.
 */
#include "cli/manual.h"

/* ---- walking the tables ---- */

/* One option of a command as a shell sees it, whichever table it is from. */
struct flag {
    const char *name;
    const char *value; /* NULL: a switch */
    const char *help;
};

typedef void flag_fn(void *ctx, const struct flag *flag);

static const char *value_of(const struct dj_option *option)
{
    if (option->type == DJ_OPTION_BOOL)
        return NULL;
    if (option->choices)
        return option->choices;
    return strstr(option->name, "dir") ? "DIR" : "VALUE";
}

static void each_flag(const struct dj_manual *manual, const struct dj_command *command, void *ctx,
                      flag_fn *visit)
{
    for (size_t set = 0; set < DJ_COMMAND_SETS_MAX; set++) {
        for (size_t i = 0; i < command->options[set].count; i++) {
            const struct dj_command_option *row = &command->options[set].rows[i];
            visit(ctx, &(struct flag){row->name, row->value, row->help});
        }
    }
    if (command->takes_settings) {
        visit(ctx, &(struct flag){"--config", "FILE", "The configuration"});
        visit(ctx, &(struct flag){"--set", "KEY=VALUE", "Any key of the configuration"});
        for (size_t i = 0; i < manual->setting_count; i++) {
            const struct dj_option *option = &manual->settings[i];
            if (option->flag)
                visit(ctx, &(struct flag){option->flag, value_of(option), option->help});
        }
    }
    visit(ctx, &(struct flag){"--help", NULL, "Help"});
}

static bool is_path(const char *value, size_t len)
{
    return deja_slice_is_equal(deja_slice(value, len), deja_slice_text("FILE")) ||
           deja_slice_is_equal(deja_slice(value, len), deja_slice_text("DIR"));
}

/* It, or one of its choices. */
static bool has_path(const char *value)
{
    for (size_t len = 0; *value; value += len + (value[len] == '|')) {
        len = strcspn(value, "|");
        if (is_path(value, len))
            return true;
    }
    return false;
}

/* "a|b" as "a b"; FILE and DIR are no words. */
static void append_choices(struct dj_buf *out, const char *choices)
{
    for (bool is_first = true; *choices; is_first = false) {
        size_t len = strcspn(choices, "|");
        if (!is_path(choices, len)) {
            dj_buf_append_text(out, is_first ? "" : " ");
            dj_buf_append(out, choices, len);
        }
        choices += len + (choices[len] == '|');
    }
}

static void append_commands(const struct dj_manual *manual, struct dj_buf *out)
{
    for (size_t i = 0, shown = 0; i < manual->command_count; i++)
        if (!manual->commands[i]->is_hidden)
            dj_buf_append_format(out, "%s%s", shown++ ? " " : "", manual->commands[i]->name);
}

static void append_keys(const struct dj_manual *manual, struct dj_buf *out)
{
    for (size_t i = 0; i < manual->setting_count; i++)
        if (manual->settings[i].type != DJ_OPTION_SECRET) /* those are never flags */
            dj_buf_append_format(out, "%s%s=", i ? " " : "", manual->settings[i].name);
}

static bool is_first_command(const struct dj_command *command)
{
    return strcmp(command->name, "help") == 0;
}

/* ---- bash ---- */

struct writing {
    const struct dj_manual *manual;
    const struct dj_command *command;
    struct dj_buf *out;
};

static void bash_name(void *ctx, const struct flag *flag)
{
    struct writing *writing = ctx;
    dj_buf_append_format(writing->out, " %s", flag->name);
}

static void bash_value(void *ctx, const struct flag *flag)
{
    struct writing *writing = ctx;
    if (!flag->value)
        return;
    dj_buf_append_format(writing->out, "    '%s %s') ", writing->command->name, flag->name);
    if (strchr(flag->value, '|')) {
        dj_buf_append_text(writing->out, "words='");
        append_choices(writing->out, flag->value);
        dj_buf_append_text(writing->out, has_path(flag->value) ? "' files=1 ;;\n" : "' ;;\n");
    } else if (strcmp(flag->value, "KEY=VALUE") == 0) {
        dj_buf_append_text(writing->out, "words=$keys; compopt -o nospace 2>/dev/null ;;\n");
    } else {
        dj_buf_append_format(writing->out, "%s ;;\n", has_path(flag->value) ? "files=1" : "return");
    }
}

static void write_bash(const struct dj_manual *manual, struct dj_buf *out)
{
    struct writing writing = {.manual = manual, .out = out};
    dj_buf_append_text(out,
                       "# bash completion of deja, written by: deja completions bash\n"
                       "# use it: source <(deja completions bash)\n"
                       "_deja() {\n"
                       "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                       "    local command= words= files= i\n"
                       "    local keys='");
    append_keys(manual, out);
    dj_buf_append_text(out, "'\n"
                            "    COMPREPLY=()\n"
                            "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                            "        if [[ ${COMP_WORDS[i]} != -* ]]; then\n"
                            "            command=${COMP_WORDS[i]}\n"
                            "            break\n"
                            "        fi\n"
                            "    done\n"
                            "    case \"$command $prev\" in\n"
                            "    ' '*) words='");
    append_commands(manual, out);
    dj_buf_append_text(out, " --help --version' ;;\n");
    for (size_t i = 0; i < manual->command_count; i++) {
        writing.command = manual->commands[i];
        if (!writing.command->is_hidden)
            each_flag(manual, writing.command, &writing, bash_value);
    }
    dj_buf_append_text(out, "    *)\n        case $command in\n");
    for (size_t i = 0; i < manual->command_count; i++) {
        writing.command = manual->commands[i];
        if (writing.command->is_hidden)
            continue;
        dj_buf_append_format(out, "        %s) words='", writing.command->name);
        if (writing.command->first_words)
            append_choices(out, writing.command->first_words);
        else if (is_first_command(writing.command))
            append_commands(manual, out);
        each_flag(manual, writing.command, &writing, bash_name);
        dj_buf_append_text(out, "' ;;\n");
    }
    dj_buf_append_text(out, "        esac\n"
                            "        [[ $cur != -* ]] && files=1\n"
                            "        ;;\n"
                            "    esac\n"
                            "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                            "    if [[ -n $files && ${#COMPREPLY[@]} -eq 0 ]]; then\n"
                            "        compopt -o filenames 2>/dev/null\n"
                            "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                            "    fi\n"
                            "}\n"
                            "complete -F _deja deja\n");
}

/* ---- zsh ---- */

/* Within '…' and within […] of an option's description. */
static void append_quoted(struct dj_buf *out, const char *text, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            dj_buf_append_text(out, "'\\''");
        else if (strchr(escaped, *text))
            dj_buf_append_format(out, "\\%c", *text);
        else
            dj_buf_append_byte(out, *text);
    }
}

static void zsh_flag(void *ctx, const struct flag *flag)
{
    struct writing *writing = ctx;
    dj_buf_append_format(writing->out, " \\\n            '*%s[", flag->name);
    append_quoted(writing->out, flag->help, "[]\\");
    dj_buf_append_byte(writing->out, ']');
    if (!flag->value) {
        dj_buf_append_byte(writing->out, '\'');
    } else if (strchr(flag->value, '|')) {
        bool is_either = has_path(flag->value);
        dj_buf_append_text(writing->out, is_either ? ":value:{compadd " : ":value:(");
        append_choices(writing->out, flag->value);
        dj_buf_append_text(writing->out, is_either ? "; _files}'" : ")'");
    } else if (strcmp(flag->value, "KEY=VALUE") == 0) {
        dj_buf_append_text(writing->out, ":key:($keys)'");
    } else {
        dj_buf_append_format(writing->out, ":%s:%s'", flag->value,
                             has_path(flag->value) ? "_files" : "");
    }
}

static void write_zsh(const struct dj_manual *manual, struct dj_buf *out)
{
    struct writing writing = {.manual = manual, .out = out};
    dj_buf_append_text(out, "#compdef deja\n"
                            "# zsh completion of deja, written by: deja completions zsh\n"
                            "_deja() {\n"
                            "    local -a commands keys\n"
                            "    keys=(");
    append_keys(manual, out);
    dj_buf_append_text(out, ")\n    commands=(\n");
    for (size_t i = 0; i < manual->command_count; i++) {
        const struct dj_command *command = manual->commands[i];
        if (command->is_hidden)
            continue;
        dj_buf_append_format(out, "        '%s:", command->name);
        append_quoted(out, command->summary, ":\\");
        dj_buf_append_text(out, "'\n");
    }
    dj_buf_append_text(out, "    )\n"
                            "    if (( CURRENT == 2 )); then\n"
                            "        _describe -t commands 'deja command' commands\n"
                            "        return\n"
                            "    fi\n"
                            "    local command=$words[2]\n"
                            "    shift words\n"
                            "    (( CURRENT-- ))\n"
                            "    case $command in\n");
    for (size_t i = 0; i < manual->command_count; i++) {
        writing.command = manual->commands[i];
        if (writing.command->is_hidden)
            continue;
        dj_buf_append_format(out, "    %s)\n        _arguments", writing.command->name);
        each_flag(manual, writing.command, &writing, zsh_flag);
        if (writing.command->first_words || is_first_command(writing.command)) {
            dj_buf_append_text(out, " \\\n            '1:word:(");
            if (writing.command->first_words)
                append_choices(out, writing.command->first_words);
            else
                append_commands(manual, out);
            dj_buf_append_text(out, ")'");
        }
        dj_buf_append_text(out, " \\\n            '*:word:_files' ;;\n");
    }
    dj_buf_append_text(out, "    esac\n"
                            "}\n"
                            "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"
                            "    _deja \"$@\"\n"
                            "else\n"
                            "    compdef _deja deja\n"
                            "fi\n");
}

/* ---- fish ---- */

static void fish_flag(void *ctx, const struct flag *flag)
{
    struct writing *writing = ctx;
    dj_buf_append_format(writing->out, "complete -c deja -n '__fish_seen_subcommand_from %s' -l %s",
                         writing->command->name, flag->name + 2);
    if (flag->value && strchr(flag->value, '|')) {
        dj_buf_append_text(writing->out, has_path(flag->value) ? " -r -F -a '" : " -x -a '");
        append_choices(writing->out, flag->value);
        dj_buf_append_byte(writing->out, '\'');
    } else if (flag->value && strcmp(flag->value, "KEY=VALUE") == 0) {
        dj_buf_append_text(writing->out, " -x -a \"$__deja_keys\"");
    } else if (flag->value) {
        dj_buf_append_text(writing->out, has_path(flag->value) ? " -r -F" : " -x");
    }
    dj_buf_append_text(writing->out, " -d '");
    for (const char *at = flag->help; *at; at++) {
        if (*at == '\'' || *at == '\\')
            dj_buf_append_byte(writing->out, '\\');
        dj_buf_append_byte(writing->out, *at);
    }
    dj_buf_append_text(writing->out, "'\n");
}

static void write_fish(const struct dj_manual *manual, struct dj_buf *out)
{
    struct writing writing = {.manual = manual, .out = out};
    dj_buf_append_text(out, "# fish completion of deja, written by: deja completions fish\n"
                            "set -g __deja_keys '");
    append_keys(manual, out);
    dj_buf_append_text(out, "'\n"
                            "complete -c deja -n __fish_use_subcommand -l help -d Help\n"
                            "complete -c deja -n __fish_use_subcommand -l version -d Version\n");
    for (size_t i = 0; i < manual->command_count; i++) {
        const struct dj_command *command = writing.command = manual->commands[i];
        if (command->is_hidden)
            continue;
        dj_buf_append_format(out, "complete -c deja -f -n __fish_use_subcommand -a %s -d '",
                             command->name);
        for (const char *at = command->summary; *at; at++)
            dj_buf_append_format(out, "%s%c", *at == '\'' ? "\\" : "", *at);
        dj_buf_append_text(out, "'\n");
        if (command->first_words || is_first_command(command)) {
            dj_buf_append_format(out, "complete -c deja -n '__fish_seen_subcommand_from %s' -a '",
                                 command->name);
            if (command->first_words)
                append_choices(out, command->first_words);
            else
                append_commands(manual, out);
            dj_buf_append_text(out, "'\n");
        }
        each_flag(manual, command, &writing, fish_flag);
    }
}

bool dj_manual_write_completions(const struct dj_manual *manual, const char *shell,
                                 struct dj_buf *out)
{
    if (strcmp(shell, "bash") == 0)
        write_bash(manual, out);
    else if (strcmp(shell, "zsh") == 0)
        write_zsh(manual, out);
    else if (strcmp(shell, "fish") == 0)
        write_fish(manual, out);
    else
        return false;
    return true;
}
