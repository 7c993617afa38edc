/* cli/session.c - a command's call to the daemon, and what went wrong told to a person. */
#include <errno.h>
#include <stdio.h>

#include "base/num.h"
#include "cli/cli_internal.h"
#include "cli/output.h"
#include "config/expand.h"

#define INPUT_BYTES_MAX (32u << 20)

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

/* What a problem document (RFC 9457) says, or just the number. */
static void report_problem(int http_status, const struct dj_json *problem)
{
    struct deja_slice detail = dj_json_string(dj_json_get(problem, "detail"));
    if (!detail.len)
        detail = dj_json_string(dj_json_get(problem, "title"));
    fprintf(stderr, "deja: the server answered %d%s", http_status, detail.len ? ": " : "");
    dj_output_text(stderr, detail);
}

int dj_session_call(const struct dj_session *session, const char *method, const char *path,
                    struct deja_slice body, bool is_quiet, struct dj_json_doc **out_doc)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_client_call(&session->client, method, path, body, &answer);
    int code;
    if (status != DEJA_OK) {
        code = unreachable(session, status, answer.detail);
        goto done;
    }
    code = exit_code_of(answer.http_status);
    if (answer.body.len && dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK &&
        code == DJ_EXIT_OK) {
        fprintf(stderr, "deja: %s gave an answer that is not JSON: is it Deja?\n", session->server);
        code = DJ_EXIT_FAILED;
    }
    if (session->wants_json && doc && !is_quiet) {
        fwrite(answer.body.data, 1, answer.body.len, stdout);
        if (answer.body.data[answer.body.len - 1] != '\n')
            putchar('\n');
    }
    if (answer.http_status < 200 || answer.http_status >= 300)
        report_problem(answer.http_status, dj_json_root(doc));
done:
    dj_client_answer_fini(&answer);
    *out_doc = doc;
    return code;
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
    dj_buf_init(out, INPUT_BYTES_MAX);
    if (!file) {
        fprintf(stderr, "deja: %s: %s\n", path, strerror(errno));
        return status;
    }
    for (;;) {
        char *room = dj_buf_reserve(out, 65536);
        if (!room) {
            fprintf(stderr, "deja: %s: %s\n", path, deja_status_text(out->status));
            status = out->status;
            break;
        }
        size_t got = fread(room, 1, 65536, file);
        out->len += got;
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
