/* config/command.c - see command.h. */
#include "config/command.h"

#include <assert.h>
#include <stdio.h>

#include "base/suggest.h"

#define LINE_COLUMNS 79u
#define HELP_COLUMN 28u
#define WORDS_MAX 16u

const struct dj_exit_row dj_exit_table[] = {
    {DJ_EXIT_OK, "It is done; for get: a hit"},
    {DJ_EXIT_FAILED, "It failed; stderr says why"},
    {DJ_EXIT_USAGE, "The command line is wrong"},
    {DJ_EXIT_MISS, "Not known, so that a script can say: deja get ... || call_llm"},
    {DJ_EXIT_UNREACHABLE, "The daemon cannot be reached"},
    {DJ_EXIT_TRY_AGAIN, "Busy or too slow: try again later"},
    {DJ_EXIT_DENIED, "The credential does not allow it"},
    {DJ_EXIT_CONFIG, "The configuration has errors"},
    {DJ_EXIT_OK, NULL},
};

/* ---- parsing ---- */

static struct dj_arg arg_of(const struct dj_command_option *row, void *target)
{
    void *place = (char *)target + row->offset;
    struct dj_arg arg = {.name = row->name};
    if (row->kind == DJ_COMMAND_SWITCH)
        arg.out_switch = place;
    else if (row->kind == DJ_COMMAND_TEXT)
        arg.out_value = place;
    else
        arg.out_values = place;
    return arg;
}

enum deja_status dj_command_parse(const struct dj_command *command, int argc, char *const *argv,
                                  void *target, struct dj_words *out_words,
                                  struct deja_error *error)
{
    struct dj_arg args[DJ_COMMAND_OPTIONS_MAX];
    size_t count = 0;
    for (size_t set = 0; set < DJ_COMMAND_SETS_MAX; set++) {
        for (size_t i = 0; i < command->options[set].count; i++) {
            assert(count < DJ_COMMAND_OPTIONS_MAX);
            args[count++] = arg_of(&command->options[set].rows[i], target);
        }
    }
    return dj_args_parse(argc, argv, args, count, out_words, error);
}

bool dj_command_wants_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

const struct dj_command *dj_manual_find(const struct dj_manual *manual, const char *name)
{
    for (size_t i = 0; i < manual->command_count; i++)
        if (strcmp(manual->commands[i]->name, name) == 0)
            return manual->commands[i];
    return NULL;
}

/* ---- help ---- */

static void pad(struct dj_buf *out, size_t count)
{
    while (count--)
        dj_buf_append_byte(out, ' ');
}

void dj_command_wrap(struct dj_buf *out, const char *text, size_t at, size_t indent)
{
    bool is_first = true;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (!is_first && at + 1 + len > LINE_COLUMNS) {
            dj_buf_append_byte(out, '\n');
            pad(out, indent);
            at = indent;
        } else if (!is_first) {
            dj_buf_append_byte(out, ' ');
            at++;
        }
        dj_buf_append(out, text, len);
        at += len;
        is_first = false;
        text += len + strspn(text + len, " ");
    }
    dj_buf_append_byte(out, '\n');
}

static size_t example_columns(const char *examples)
{
    size_t widest = 0;
    for (const char *at = examples; *at; at += at[0] == '\n') {
        size_t len = strcspn(at, "\t\n");
        widest = len > widest ? len : widest;
        at += strcspn(at, "\n");
    }
    return widest;
}

static void write_examples(const char *examples, struct dj_buf *out)
{
    size_t columns = example_columns(examples);
    dj_buf_append_text(out, "examples:\n");
    for (const char *at = examples; *at; at += at[0] == '\n') {
        size_t len = strcspn(at, "\t\n");
        size_t line = strcspn(at, "\n");
        dj_buf_append_text(out, "  ");
        dj_buf_append(out, at, len);
        if (line > len) {
            pad(out, columns - len + 3);
            dj_buf_append(out, at + len + 1, line - len - 1);
        }
        dj_buf_append_byte(out, '\n');
        at += line;
    }
    dj_buf_append_byte(out, '\n');
}

void dj_command_write_usage(const struct dj_command *command, struct dj_buf *out)
{
    const char *at = command->synopsis;
    for (bool is_first = true; is_first || *at; is_first = false) {
        size_t len = strcspn(at, "\n");
        dj_buf_append_format(out, "%s deja %s%s%.*s\n", is_first ? "usage:" : "      ",
                             command->name, len ? " " : "", (int)len, at);
        at += len + (at[len] == '\n');
    }
}

static void write_option(const char *name, const char *value, const char *help, struct dj_buf *out)
{
    size_t before = out->len;
    dj_buf_append_format(out, "  %s%s%s", name, value ? " " : "", value ? value : "");
    size_t column = out->len - before;
    if (column + 2 > HELP_COLUMN) {
        dj_buf_append_byte(out, '\n');
        column = 0;
    }
    pad(out, HELP_COLUMN - column);
    dj_command_wrap(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void write_settings(const struct dj_manual *manual, struct dj_buf *out)
{
    write_option("--config", "FILE", "The configuration, YAML or JSON", out);
    for (size_t i = 0; i < manual->setting_count; i++) {
        const struct dj_option *option = &manual->settings[i];
        if (option->flag)
            write_option(option->flag, option->type == DJ_OPTION_BOOL ? NULL : "VALUE",
                         option->help, out);
    }
    write_option("--set", "KEY=VALUE", "Any key of the configuration; deja config describe", out);
}

void dj_command_write_help(const struct dj_manual *manual, const struct dj_command *command,
                           struct dj_buf *out)
{
    const char *at = command->description;
    if (command->examples)
        write_examples(command->examples, out);
    dj_command_write_usage(command, out);
    while (at && *at) {
        char paragraph[1200];
        size_t len = strcspn(at, "\n");
        assert(len < sizeof paragraph);
        memcpy(paragraph, at, len);
        paragraph[len] = '\0';
        dj_buf_append_byte(out, '\n');
        dj_command_wrap(out, paragraph, 0, 0);
        at += len + (at[len] == '\n');
    }
    dj_buf_append_text(out, "\noptions:\n");
    for (size_t set = 0; set < DJ_COMMAND_SETS_MAX; set++)
        for (size_t i = 0; i < command->options[set].count; i++) {
            const struct dj_command_option *row = &command->options[set].rows[i];
            write_option(row->name, row->value, row->help, out);
        }
    if (command->takes_settings)
        write_settings(manual, out);
    write_option("-h, --help", NULL, "This text", out);
}

int dj_command_misused(const struct dj_command *command, const char *message)
{
    fprintf(stderr, "deja %s: %s; see deja %s --help\n", command->name, message, command->name);
    return DJ_EXIT_USAGE;
}

int dj_command_misplaced(const struct dj_command *command, const char *word)
{
    char words[WORDS_MAX][DJ_SUGGEST_WORD_MAX];
    struct dj_suggest suggest = dj_suggest(word);
    struct dj_buf usage = {0};
    const char *at = command->first_words ? command->first_words : "";
    bool is_known = false;
    for (size_t i = 0; *at && i < WORDS_MAX; i++) {
        size_t len = strcspn(at, "|");
        snprintf(words[i], sizeof words[i], "%.*s", (int)len, at);
        is_known = is_known || strcmp(words[i], word) == 0;
        dj_suggest_offer(&suggest, words[i]);
        at += len + (at[len] == '|');
    }
    if (*word && !is_known) {
        fprintf(stderr, "deja %s: unknown word \"%s\"", command->name, word);
        if (suggest.best)
            fprintf(stderr, ": did you mean \"%s\"?", suggest.best);
        fputc('\n', stderr);
    }
    dj_command_write_usage(command, &usage);
    fwrite(usage.data ? usage.data : "", 1, usage.len, stderr);
    dj_buf_fini(&usage);
    return DJ_EXIT_USAGE;
}
