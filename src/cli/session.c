/* cli/session.c - a command's call to the daemon, and what went wrong told to a person. */
#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"
#include "config/expand.h"

#define INPUT_BYTES_MAX (32u << 20)
#define PIECE_BYTES 65536u

int dj_session_misused(const struct dj_session *session, const char *message)
{
    return dj_command_misused(session->command, message);
}

static int unreachable(const struct dj_session *session, enum deja_status status,
                       const char *detail)
{
    const char *reason = detail[0] ? detail : deja_status_text(status);
    if (status == DEJA_ERR_NOMEM || status == DEJA_ERR_LIMIT) {
        fprintf(stderr, "deja: %s\n", reason);
        return DJ_EXIT_FAILED;
    }
    if (status == DEJA_ERR_TIMEOUT) {
        fprintf(stderr, "deja: %s did not answer in time\n", session->server);
        return DJ_EXIT_TRY_AGAIN;
    }
    if (status == DEJA_ERR_INVALID) {
        fprintf(stderr, "deja: --server %s: %s\n", session->server, reason);
        return DJ_EXIT_USAGE;
    }
    fprintf(stderr,
            "deja: cannot reach %s: %s\n"
            "start it with \"deja serve\", or name another with --server or DEJA_SERVER\n",
            session->server, reason);
    return DJ_EXIT_UNREACHABLE;
}

static int exit_code_of(int http_status)
{
    if (http_status >= 200 && http_status < 300)
        return DJ_EXIT_OK;
    if (http_status == 401 || http_status == 403)
        return DJ_EXIT_DENIED;
    if (http_status == 429 || http_status == 503)
        return DJ_EXIT_TRY_AGAIN;
    return DJ_EXIT_FAILED;
}

/* Members and headers of requests that are flags here. */
static const struct {
    const char *field;
    const char *flag;
} flags[] = {
    {"after", "--after"},
    {"at", "--at"},
    {"burst", "--burst"},
    {"cascade", "--depends-on"},
    {"certificate", "--certificate"},
    {"cron", "--cron"},
    {"depends_on", "--depends-on"},
    {"event", "--event"},
    {"expires_in", "--expires"},
    {"key", "--id"},
    {"namespace", "--namespace"},
    {"older_than", "--older-than"},
    {"overlap", "--overlap"},
    {"pattern", "--pattern"},
    {"reason", "--reason"},
    {"requests_per_s", "--rate"},
    {"roles", "--role"},
    {"scheme", "--scheme"},
    {"tag", "--tag"},
    {"tags", "--tag"},
    {"tenant", "--tenant"},
    {"threshold", "--threshold"},
    {"ttl", "--ttl"},
    {"X-Deja-Kind", "--kind"},
    {"X-Deja-Namespace", "--namespace"},
    {"X-Deja-TTL", "--ttl"},
    {"X-Deja-User", "--user"},
    {"X-Deja-Version", "--version"},
};

static bool has_flag(const struct dj_command *command, const char *flag)
{
    for (size_t set = 0; set < DJ_COMMAND_SETS_MAX; set++)
        for (size_t i = 0; i < command->options[set].count; i++)
            if (strcmp(command->options[set].rows[i].name, flag) == 0)
                return true;
    return false;
}

/* The flag of the command that became this field, "operations[0].ttl" like "ttl"; NULL: none. */
static const char *flag_of(const struct dj_command *command, struct deja_slice field)
{
    for (size_t at = field.len; at > 0; at--) {
        if (field.data[at - 1] != '.')
            continue;
        field = deja_slice(field.data + at, field.len - at);
        break;
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (deja_slice_is_equal(field, deja_slice_text(flags[i].field)))
            return has_flag(command, flags[i].flag) ? flags[i].flag : NULL;
    return NULL;
}

/* Nobody was named, or an administrator's credential where a tenant's is needed. */
static void advise(const struct dj_session *session)
{
    const struct dj_client *client = &session->client;
    if (!client->key && !client->token)
        fputs("name the credential with --key or DEJA_KEY\n", stderr);
    else if (!client->tenant)
        fputs("an administrator names a tenant with --tenant NAME; others show a tenant's key with "
              "--key or DEJA_KEY\n",
              stderr);
}

int dj_session_report(const struct dj_session *session, int http_status,
                      const struct dj_json *problem)
{
    static const char batch[] = "operations[";
    const struct dj_json *field = dj_json_at(dj_json_get(problem, "fields"), 0);
    struct deja_slice message = dj_json_string(dj_json_get(field, "message"));
    struct deja_slice detail = dj_json_string(dj_json_get(problem, "detail"));
    struct deja_slice type = dj_json_string(dj_json_get(problem, "type"));
    struct deja_slice name = dj_json_string(dj_json_get(field, "field"));
    bool is_item = name.len > sizeof batch && memcmp(name.data, batch, sizeof batch - 1) == 0;
    const char *flag = http_status == 400 ? flag_of(session->command, name) : NULL;
    if (flag) {
        fprintf(stderr, "deja %s: %s: ", session->command->name, flag);
        dj_output_text(stderr, message);
        fprintf(stderr, "see deja %s --help\n", session->command->name);
        return DJ_EXIT_USAGE;
    }
    if (is_item) /* its place in the batch is nothing that a person named */
        detail = message;
    if (!detail.len)
        detail = dj_json_string(dj_json_get(problem, "title"));
    fprintf(stderr, "deja: the server answered %d%s", http_status, detail.len ? ": " : "");
    dj_output_text(stderr, detail);
    if (dj_slice_is(type, "tenant_missing"))
        advise(session);
    return exit_code_of(http_status);
}

int dj_session_fetch(const struct dj_session *session, const char *method, const char *path,
                     struct deja_slice body, struct dj_client_answer *out_answer)
{
    enum deja_status status = dj_client_call(&session->client, method, path, body, out_answer);
    return status == DEJA_OK ? DJ_EXIT_OK : unreachable(session, status, out_answer->detail);
}

int dj_session_call(const struct dj_session *session, const char *method, const char *path,
                    struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    int code = dj_session_fetch(session, method, path, body, &answer);
    if (code != DJ_EXIT_OK)
        goto done;
    bool is_fine = exit_code_of(answer.http_status) == DJ_EXIT_OK;
    if (answer.body.len && dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK &&
        is_fine) {
        fprintf(stderr, "deja: %s gave an answer that is not JSON: is it Deja?\n", session->server);
        code = DJ_EXIT_FAILED;
    }
    if (session->wants_json && doc && !is_quiet) {
        fwrite(answer.body.data, 1, answer.body.len, stdout);
        if (answer.body.data[answer.body.len - 1] != '\n')
            putchar('\n');
    }
    if (!is_fine)
        code = dj_session_report(session, answer.http_status, dj_json_root(doc));
done:
    dj_client_answer_fini(&answer);
    *out_doc = doc;
    return code;
}

bool dj_session_is_agreed(void)
{
    char line[16] = "";
    fputs(" Go on? [y/N] ", stderr);
    if (fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y'))
        return true;
    fputs("nothing was removed\n", stderr);
    return false;
}

void dj_session_write_bytes(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        bytes /= 1024;
    printf(unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

void dj_session_take_token(struct dj_session *session)
{
    const char *token = session->token;
    if (!token)
        token = dj_environment_find(session->environment, deja_slice_text("DEJA_TOKEN"));
    session->client.token = token && *token ? token : NULL;
}

enum deja_status dj_read_input(const char *path, struct dj_buf *out)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "r");
    enum deja_status status = DEJA_ERR_IO;
    dj_buf_init(out, INPUT_BYTES_MAX + PIECE_BYTES);
    if (!file) {
        fprintf(stderr, "deja: %s: %s\n", path, strerror(errno));
        return status;
    }
    for (;;) {
        char *room = dj_buf_reserve(out, PIECE_BYTES);
        if (!room) {
            fprintf(stderr, "deja: %s: %s\n", path, deja_status_text(out->status));
            status = out->status;
            break;
        }
        size_t got = fread(room, 1, PIECE_BYTES, file);
        out->len += got;
        if (out->len > INPUT_BYTES_MAX) {
            fprintf(stderr, "deja: %s is longer than the 32 MiB that a value or a file may have\n",
                    is_stdin ? "stdin" : path);
            status = DEJA_ERR_LIMIT;
            break;
        }
        if (!got) {
            status = ferror(file) ? DEJA_ERR_IO : DEJA_OK;
            break;
        }
    }
    if (!is_stdin)
        fclose(file);
    return status;
}

void dj_session_put_member(struct dj_json_writer *w, const char *name, const char *text)
{
    if (text)
        dj_json_member_text(w, name, text);
}

bool dj_session_duration(const struct dj_session *session, const char *flag, const char *text,
                         uint64_t *out_ms)
{
    char message[128];
    uint64_t ms = 0;
    if (dj_num_parse_duration(deja_slice_text(text), &ms) != DEJA_OK || !ms) {
        snprintf(message, sizeof message, "%s expects a duration like 30s, 5m, 1h or 2d", flag);
        dj_session_misused(session, message);
        return false;
    }
    *out_ms = ms;
    return true;
}

bool dj_session_limit(const struct dj_session *session, uint64_t fallback, uint64_t max,
                      uint64_t *out_limit)
{
    char message[128];
    uint64_t limit = fallback;
    if (session->limit &&
        (dj_num_parse_u64(deja_slice_text(session->limit), &limit) != DEJA_OK || limit > max)) {
        snprintf(message, sizeof message, "--limit expects a number up to %llu",
                 (unsigned long long)max);
        dj_session_misused(session, message);
        return false;
    }
    *out_limit = limit;
    return true;
}
