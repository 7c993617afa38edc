/* tools/config_tool.c - see config_tool.h. */
#include "tools/config_tool.h"

#include "proto/json.h"

struct request {
    bool wants_json, wants_origin, wants_effective, wants_markdown, wants_yaml;
};

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct request, wants_json)},
    {"--origin", DJ_COMMAND_SWITCH, NULL, "print: where each value came from",
     offsetof(struct request, wants_origin)},
    {"--effective", DJ_COMMAND_SWITCH, NULL, "print: what is in force; always so",
     offsetof(struct request, wants_effective)},
    {"--markdown", DJ_COMMAND_SWITCH, NULL, "describe: a document, the default",
     offsetof(struct request, wants_markdown)},
    {"--yaml", DJ_COMMAND_SWITCH, NULL, "describe: a sample file",
     offsetof(struct request, wants_yaml)},
};
/* clang-format on */

const struct dj_command dj_config_command = {
    .name = "config",
    .summary = "check, print and describe the configuration",
    .synopsis = "check\nprint [--effective] [--origin]\ndescribe [--markdown|--yaml]",
    .examples = "deja config check --config deja.yaml\tevery fault, as file:line:col\n"
                "deja config print --effective --origin\teach value, and where it came from\n"
                "deja config describe --yaml > deja.yaml\tevery key with its default and help",
    .description = "check ends with 0, or with 78 when there are errors. Secrets are printed as "
                   "***.",
    .first_words = "check|print|describe",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

static void write_diagnostics(const struct dj_diagnostics *diagnostics, FILE *errors)
{
    if (diagnostics->text.len)
        fwrite(diagnostics->text.data, 1, diagnostics->text.len, errors);
}

/* Each line of the diagnostics as an item, so that a program can count them. */
static void put_lines(struct dj_json_writer *w, const struct dj_diagnostics *diagnostics)
{
    struct deja_slice rest = dj_buf_slice(&diagnostics->text);
    dj_json_begin_array(w);
    while (rest.len) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        dj_json_put_string(w, deja_slice(rest.data, len));
        size_t used = end ? len + 1 : len;
        rest = deja_slice(rest.data + used, rest.len - used);
    }
    dj_json_end_array(w);
}

static void check(const struct dj_config_tool *tool, bool wants_json, struct dj_buf *text)
{
    struct dj_json_writer w = dj_json_writer(text);
    if (!wants_json) {
        if (tool->options)
            dj_buf_append_text(text, "configuration is valid\n");
        return;
    }
    dj_json_begin_object(&w);
    dj_json_member_bool(&w, "valid", tool->options != NULL);
    dj_json_member_u64(&w, "errors", tool->diagnostics->error_count);
    dj_json_member_u64(&w, "warnings", tool->diagnostics->warning_count);
    dj_json_key(&w, "messages");
    put_lines(&w, tool->diagnostics);
    dj_json_end_object(&w);
    dj_buf_append_byte(text, '\n');
}

static void print_json(const struct dj_options *options, struct dj_buf *text)
{
    struct dj_json_writer w = dj_json_writer(text);
    dj_json_begin_array(&w);
    for (size_t i = 0; i < dj_options_count(options); i++) {
        dj_json_begin_object(&w);
        dj_json_member_text(&w, "key", dj_options_at(options, i)->name);
        dj_json_member_text(&w, "value", dj_options_text(options, i));
        dj_json_member_text(&w, "origin", dj_options_where(options, i));
        dj_json_end_object(&w);
    }
    dj_json_end_array(&w);
    dj_buf_append_byte(text, '\n');
}

static void print(const struct dj_options *options, const struct request *request,
                  struct dj_buf *text)
{
    if (request->wants_json) {
        print_json(options, text);
        return;
    }
    for (size_t i = 0; i < dj_options_count(options); i++) {
        const char *name = dj_options_at(options, i)->name;
        const char *value = dj_options_text(options, i);
        if (request->wants_origin)
            dj_buf_append_format(text, "%-34s %-28s # %s\n", name, value[0] ? value : "\"\"",
                                 dj_options_where(options, i));
        else
            dj_buf_append_format(text, "%s: %s\n", name, value[0] ? value : "\"\"");
    }
}

static int finish(struct dj_buf *text, int code, FILE *out)
{
    bool is_whole = text->status == DEJA_OK &&
                    fwrite(text->data ? text->data : "", 1, text->len, out) == text->len &&
                    fflush(out) == 0;
    dj_buf_fini(text);
    return is_whole ? code : DJ_EXIT_FAILED;
}

static int describe(const struct dj_config_tool *tool, const struct request *request, FILE *out)
{
    struct dj_buf text = {0};
    enum dj_describe_form form = request->wants_json   ? DJ_DESCRIBE_JSON
                                 : request->wants_yaml ? DJ_DESCRIBE_YAML
                                                       : DJ_DESCRIBE_MARKDOWN;
    if (form == DJ_DESCRIBE_MARKDOWN)
        dj_buf_append_text(
            &text, "# Configuration\n\n"
                   "Written by `deja config describe`; do not edit. A flag wins over the "
                   "environment, the environment over the file (`--config FILE`, `$DEJA_CONFIG`, "
                   "else `/etc/deja/deja.yaml`), the file over the default. Any key can be given "
                   "as `--set KEY=VALUE`. Values may hold `${ENV:NAME}` and `${CRED:name}`. Keys "
                   "marked *restart* keep their value until the daemon is started anew.\n\n");
    if (form == DJ_DESCRIBE_YAML)
        dj_buf_append_text(&text, "# Every key of Deja with its default, written by `deja config "
                                  "describe --yaml`.\n# Keep the lines you change: what is left "
                                  "out has the default.\n\n");
    dj_options_describe(tool->table, tool->count, form, &text);
    return finish(&text, 0, out);
}

int dj_config_tool_run(const struct dj_config_tool *tool, int argc, char *const *argv, FILE *out,
                       FILE *errors)
{
    struct request request = {.wants_json = false};
    struct dj_words words;
    struct deja_error error;
    if (dj_command_parse(&dj_config_command, argc, argv, &request, &words, &error) != DEJA_OK)
        return dj_command_misused(&dj_config_command, error.message);
    if (words.count != 1)
        return dj_command_misplaced(&dj_config_command, words.count ? words.items[0] : "");
    if (strcmp(words.items[0], "describe") == 0)
        return describe(tool, &request, out);
    struct dj_buf text = {0};
    int code = tool->options ? 0 : DJ_EXIT_CONFIG;
    if (strcmp(words.items[0], "check") == 0 || strcmp(words.items[0], "validate") == 0) {
        write_diagnostics(tool->diagnostics, errors);
        check(tool, request.wants_json, &text);
    } else if (strcmp(words.items[0], "print") == 0) {
        write_diagnostics(tool->diagnostics, errors);
        if (tool->options)
            print(tool->options, &request, &text);
    } else {
        code = dj_command_misplaced(&dj_config_command, words.items[0]);
    }
    return finish(&text, code, out);
}
