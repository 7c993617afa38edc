/* config/describe.c - an option table as text: see dj_options_describe in options.h. */
#include "config/option_value.h"
#include "config/options.h"

static const char *type_text(enum dj_option_type type)
{
    static const char *const texts[] = {"boolean", "number", "number", "duration", "size",
                                        "text",    "choice", "list",   "secret"};
    return texts[type];
}

static size_t section_len(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

static bool is_same_section(const char *a, const char *b)
{
    size_t len = section_len(a);
    return len == section_len(b) && memcmp(a, b, len) == 0;
}

/* "DEJA_L1__MAX_SIZE" */
static void append_env_name(const char *name, struct dj_buf *out)
{
    dj_buf_append_text(out, "DEJA_");
    for (; *name; name++) {
        if (*name == '.')
            dj_buf_append_text(out, "__");
        else
            dj_buf_append_byte(out, *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name);
    }
}

static void append_choices(const struct dj_option *option, const char *between, struct dj_buf *out)
{
    for (size_t i = 0;; i++) {
        struct deja_slice choice = dj_word_at(option->choices, '|', i);
        if (!choice.data)
            return;
        dj_buf_append_text(out, i ? between : "");
        dj_buf_append_slice(out, choice);
    }
}

static void append_bound(const struct dj_option *option, double bound, struct dj_buf *out)
{
    if (option->type == DJ_OPTION_DURATION)
        dj_duration_show((uint64_t)bound, out);
    else if (option->type == DJ_OPTION_SIZE)
        dj_size_show((uint64_t)bound, out);
    else
        dj_buf_append_format(out, "%.10g", bound);
}

static void append_accepts(const struct dj_option *option, struct dj_buf *out)
{
    dj_buf_append_text(out, type_text(option->type));
    if (option->choices) {
        dj_buf_append_text(out, option->type == DJ_OPTION_LIST ? " of: " : ": ");
        append_choices(option, ", ", out);
    }
    if (option->min < option->max) {
        dj_buf_append_text(out, ", ");
        append_bound(option, option->min, out);
        dj_buf_append_text(out, " to ");
        append_bound(option, option->max, out);
    }
}

static void markdown_row(const struct dj_option *option, struct dj_buf *out)
{
    dj_buf_append_format(out, "| `%s` | ", option->name);
    if (option->default_text[0])
        dj_buf_append_format(out, "`%s`", option->default_text);
    dj_buf_append_text(out, " | ");
    append_accepts(option, out);
    dj_buf_append_format(out, " | %s", option->help);
    if (option->flag)
        dj_buf_append_format(out, " Flag `%s`.", option->flag);
    if (option->type == DJ_OPTION_SECRET)
        dj_buf_append_format(out, " Or `%s_file` with the path of a file.", option->name);
    if (option->old_names)
        dj_buf_append_format(out, " Old names: `%s`.", option->old_names);
    dj_buf_append_format(out, " | %s | `", option->is_reloadable ? "yes" : "restart");
    append_env_name(option->name, out);
    if (option->env_names)
        dj_buf_append_format(out, "` `%s", option->env_names);
    dj_buf_append_text(out, "` |\n");
}

static void markdown(const struct dj_option *table, size_t count, struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (!i || !is_same_section(table[i].name, table[i - 1].name))
            dj_buf_append_format(out,
                                 "%s## %.*s\n\n"
                                 "| key | default | accepts | what it does | reload | environment "
                                 "|\n|---|---|---|---|---|---|\n",
                                 i ? "\n" : "", (int)section_len(table[i].name), table[i].name);
        markdown_row(&table[i], out);
    }
}

/* Plain where YAML reads it back as the same text, quoted otherwise. */
static void yaml_value(const struct dj_option *option, struct dj_buf *out)
{
    if (option->type == DJ_OPTION_LIST) {
        dj_buf_append_byte(out, '[');
        for (size_t i = 0;; i++) {
            struct deja_slice item = dj_word_at(option->default_text, ',', i);
            if (!item.data)
                break;
            dj_buf_append_text(out, i ? ", \"" : "\"");
            dj_buf_append_slice(out, item);
            dj_buf_append_byte(out, '"');
        }
        dj_buf_append_byte(out, ']');
    } else if (option->default_text[0]) {
        dj_buf_append_text(out, option->default_text);
    } else {
        dj_buf_append_text(out, "\"\"");
    }
}

static void yaml(const struct dj_option *table, size_t count, struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct dj_option *option = &table[i];
        size_t len = section_len(option->name);
        if (!i || !is_same_section(option->name, table[i - 1].name))
            dj_buf_append_format(out, "%s%.*s:\n", i ? "\n" : "", (int)len, option->name);
        dj_buf_append_format(out, "  # %s (", option->help);
        append_accepts(option, out);
        dj_buf_append_text(out, option->is_reloadable ? ")\n" : "; restart)\n");
        dj_buf_append_text(out, option->type == DJ_OPTION_SECRET ? "  # " : "  ");
        dj_buf_append_format(out, "%s: ", option->name + len + 1);
        yaml_value(option, out);
        dj_buf_append_byte(out, '\n');
    }
}

/* Table texts are our own: quotes and backslashes are all that needs care. */
static void json_text(const char *name, const char *text, struct dj_buf *out)
{
    dj_buf_append_format(out, ",\"%s\":\"", name);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            dj_buf_append_byte(out, '\\');
        dj_buf_append_byte(out, *text);
    }
    dj_buf_append_byte(out, '"');
}

static void json(const struct dj_option *table, size_t count, struct dj_buf *out)
{
    struct dj_buf env = {0};
    for (size_t i = 0; i < count; i++) {
        dj_buf_append_format(out, "%s{\"key\":\"%s\"", i ? ",\n " : "[", table[i].name);
        json_text("type", type_text(table[i].type), out);
        json_text("default", table[i].default_text, out);
        dj_buf_clear(&env);
        append_env_name(table[i].name, &env);
        dj_buf_append_byte(&env, '\0');
        if (env.status == DEJA_OK)
            json_text("environment", env.data, out);
        json_text("help", table[i].help, out);
        dj_buf_append_format(out, ",\"reload\":%s}", table[i].is_reloadable ? "true" : "false");
    }
    dj_buf_append_text(out, count ? "]\n" : "[]\n");
    dj_buf_fini(&env);
}

/* Table texts begin with no roff request and hold no backslash. */
static void roff(const struct dj_option *table, size_t count, struct dj_buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct dj_option *option = &table[i];
        if (!i || !is_same_section(option->name, table[i - 1].name))
            dj_buf_append_format(out, ".SS %.*s\n", (int)section_len(option->name), option->name);
        dj_buf_append_format(out, ".TP\n.BR %s \" (", option->name);
        append_accepts(option, out);
        dj_buf_append_format(out, ")\"\n%s\n", option->help);
        dj_buf_append_format(out, "Default: %s.\n",
                             option->default_text[0] ? option->default_text : "empty");
        if (option->flag)
            dj_buf_append_format(out, "Flag: \\fB\\-\\-%s\\fR.\n", option->flag + 2);
        if (option->type == DJ_OPTION_SECRET)
            dj_buf_append_format(out, "Or \\fB%s_file\\fR with the path of a file.\n",
                                 option->name);
        dj_buf_append_text(out, "Environment: \\fB");
        append_env_name(option->name, out);
        dj_buf_append_format(out, "\\fR%s%s.%s\n", option->env_names ? ", " : "",
                             option->env_names ? option->env_names : "",
                             option->is_reloadable ? "" : " Changes at a restart only.");
    }
}

void dj_options_describe(const struct dj_option *table, size_t count, enum dj_describe_form form,
                         struct dj_buf *out)
{
    if (form == DJ_DESCRIBE_MARKDOWN)
        markdown(table, count, out);
    else if (form == DJ_DESCRIBE_YAML)
        yaml(table, count, out);
    else if (form == DJ_DESCRIBE_ROFF)
        roff(table, count, out);
    else
        json(table, count, out);
}
