/* daemon/invocation.c - see invocation.h. */
#include "daemon/invocation.h"

#include <stdio.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "config/expand.h"
#include "daemon/listeners.h"

extern char **environ;

void invocation_fini(struct invocation *invocation)
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

int invocation_misused(const char *command, const char *what, const char *text)
{
    fprintf(stderr, "deja%s%s: %s%s\n", command ? " " : "", command ? command : "", what, text);
    return DJ_EXIT_USAGE;
}

static int add_flag(struct invocation *invocation, const char *name, const char *value)
{
    if (invocation->flag_count == DJ_FLAGS_MAX)
        return invocation_misused(NULL, "too many flags", "");
    invocation->flags[invocation->flag_count++] = (struct dj_flag){name, value};
    return 0;
}

/* "KEY=VALUE" */
static int add_set(struct invocation *invocation, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals)
        return invocation_misused(NULL, "--set expects KEY=VALUE, not ", text);
    if (invocation->name_count == DJ_FLAGS_MAX)
        return invocation_misused(NULL, "too many flags", "");
    char *name = dj_strdup(deja_slice(text, (size_t)(equals - text)));
    if (!name)
        return invocation_misused(NULL, "out of memory", "");
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
        return invocation_misused(NULL, text, " needs a value");
    if (is_config)
        invocation->config_path = value;
    else if (is_set)
        return add_set(invocation, value);
    else
        return add_flag(invocation, option->flag, value);
    return 0;
}

int invocation_take(struct invocation *invocation, int argc, char **argv)
{
    bool is_over = false;
    int code = 0;
    invocation->argv = dj_alloc_zeroed((size_t)argc + 1, sizeof *invocation->argv);
    if (!invocation->argv)
        return invocation_misused(NULL, "out of memory", "");
    for (int i = 0; i < argc && !code; i++) {
        is_over = is_over || strcmp(argv[i], "--") == 0;
        if (is_over)
            invocation->argv[invocation->argc++] = argv[i];
        else
            code = take_argument(invocation, argc, argv, &i);
    }
    return code;
}

struct dj_settings_source invocation_source(const struct invocation *invocation)
{
    return (struct dj_settings_source){.config_path = invocation->config_path,
                                       .flags = invocation->flags,
                                       .flag_count = invocation->flag_count,
                                       .environment = (const char *const *)environ};
}

void invocation_tell(const struct dj_diagnostics *diagnostics)
{
    if (diagnostics->text.len)
        fwrite(diagnostics->text.data, 1, diagnostics->text.len, stderr);
}

bool invocation_load(const struct invocation *invocation, struct dj_settings *out_settings)
{
    struct dj_settings_source source = invocation_source(invocation);
    struct dj_diagnostics diagnostics = {.error_count = 0};
    *out_settings = (struct dj_settings){.data_dir = NULL};
    enum deja_status status = dj_settings_load(&source, &diagnostics, out_settings, NULL);
    invocation_tell(&diagnostics);
    dj_diagnostics_fini(&diagnostics);
    return status == DEJA_OK;
}

const char *invocation_named(const char *flag, const char *variable)
{
    const char *value =
        flag ? flag : dj_environment_find((const char *const *)environ, deja_slice_text(variable));
    return value && *value ? value : NULL;
}

void invocation_server(const char *name, const struct dj_settings *settings, char out_url[512])
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
