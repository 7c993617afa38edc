/* cli/cli.c - see cli.h. */
#include "cli/cli.h"

#include <stdio.h>

#include "cli/cli_internal.h"
#include "config/expand.h"
#include "config/terminal.h"

static int find_server(struct dj_session *session, const char *const *environment)
{
    const char *server = session->flag_server;
    if (!server)
        server = dj_environment_find(environment, deja_slice_text("DEJA_SERVER"));
    if (!server || !*server)
        server = "http://127.0.0.1:7070";
    session->client.key = session->flag_key;
    if (!session->client.key)
        session->client.key = dj_environment_find(environment, deja_slice_text("DEJA_KEY"));
    if (session->client.key && !*session->client.key)
        session->client.key = NULL;
    size_t len = strlen(server);
    if (len >= sizeof session->server) {
        fputs("deja: --server is too long\n", stderr);
        return DJ_EXIT_USAGE;
    }
    while (len && server[len - 1] == '/')
        len--;
    memcpy(session->server, server, len);
    session->server[len] = '\0';
    session->client.server = session->server;
    return DJ_EXIT_OK;
}

/* --tenant, by its id or its name: an administrator acts for it. */
static int find_tenant(struct dj_session *session)
{
    if (!session->tenant)
        return DJ_EXIT_OK;
    int code = dj_cli_find_tenant(session, session->tenant, session->tenant_id);
    session->tenant = session->client.tenant = session->tenant_id;
    return code;
}

int dj_cli_run(int argc, char *const *argv, const char *const *environment)
{
    const struct dj_cli_command *command = NULL;
    struct deja_error error;
    for (size_t i = 0; i < dj_cli_count; i++)
        if (strcmp(dj_cli_table[i].about.name, argv[0]) == 0)
            command = &dj_cli_table[i];
    if (!command) {
        fprintf(stderr, "deja: unknown command \"%s\"\n", argv[0]);
        return DJ_EXIT_USAGE;
    }
    struct dj_session session = {.command = &command->about, .environment = environment};
    if (dj_command_parse(&command->about, argc - 1, argv + 1, &session, &session.words, &error) !=
        DEJA_OK)
        return dj_session_misused(&session, error.message);
    session.has_color = dj_terminal_has_color(
        stdout, session.is_plain || session.has_no_color || session.wants_json, environment);
    int code = find_server(&session, environment);
    session.client.user = session.user;
    dj_session_take_token(&session);
    if (code == DJ_EXIT_OK)
        code = find_tenant(&session);
    return code == DJ_EXIT_OK ? command->run(&session) : code;
}
