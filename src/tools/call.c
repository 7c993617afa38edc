/* tools/call.c - see call.h. */
#include "tools/call.h"

#include <stdio.h>
#include <unistd.h>

#include "config/command.h"

static void begin_telling(const struct dj_tool_caller *caller)
{
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "deja %s: ", caller->command);
}

static int exit_code_of(int http)
{
    return http >= 200 && http < 300                   ? DJ_EXIT_OK
           : http == 401 || http == 403                ? DJ_EXIT_DENIED
           : http == 409 || http == 429 || http == 503 ? DJ_EXIT_TRY_AGAIN
                                                       : DJ_EXIT_FAILED;
}

int dj_tool_call(const struct dj_tool_caller *caller, const char *method, const char *path,
                 struct deja_slice body, struct dj_client_answer *answer,
                 struct dj_json_doc **out_doc)
{
    const struct dj_client *client = &caller->client;
    struct dj_json_doc *doc = NULL;
    if (out_doc)
        *out_doc = NULL;
    dj_client_answer_fini(answer);
    enum deja_status status = dj_client_call(client, method, path, body, answer);
    if (status != DEJA_OK) {
        begin_telling(caller);
        fprintf(stderr, "cannot reach %s: %s%s%s\n", client->server,
                answer->detail[0] ? answer->detail : deja_status_text(status),
                caller->without ? "; without a daemon: " : "",
                caller->without ? caller->without : "");
        return DJ_EXIT_UNREACHABLE;
    }
    int code = exit_code_of(answer->http_status);
    if (code == DJ_EXIT_OK && !out_doc)
        return code;
    bool is_json = dj_json_parse(dj_buf_slice(&answer->body), &doc, NULL) == DEJA_OK;
    if (code != DJ_EXIT_OK) {
        const struct dj_json *root = is_json ? dj_json_root(doc) : NULL;
        struct deja_slice detail = dj_json_string(dj_json_get(root, "detail"));
        begin_telling(caller);
        fprintf(stderr, "the server answered %d%s%.*s\n", answer->http_status,
                detail.len ? ": " : "", (int)detail.len, detail.len ? detail.data : "");
    } else if (!is_json) {
        begin_telling(caller);
        fprintf(stderr, "%s gave an answer that is not JSON: is it Deja?\n", client->server);
        code = DJ_EXIT_FAILED;
    }
    if (is_json && out_doc)
        *out_doc = doc;
    else if (is_json)
        dj_json_doc_destroy(doc);
    return code;
}

int dj_tool_find_tenant(const struct dj_tool_caller *caller, const char *text,
                        char out_id[DJ_TENANT_NAME_ID_BYTES])
{
    struct dj_tool_caller asking = *caller;
    struct dj_client_answer answer = {.http_status = 0};
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    out_id[0] = '\0';
    if (!text || dj_tenant_name_read(text, out_id, &path))
        return DJ_EXIT_OK;
    asking.client.tenant = NULL;
    int code = path.status != DEJA_OK
                   ? DJ_EXIT_FAILED
                   : dj_tool_call(&asking, "GET", path.data, deja_slice("", 0), &answer, &doc);
    if (code == DJ_EXIT_OK && !dj_tenant_name_found(dj_json_root(doc), text, out_id)) {
        begin_telling(caller);
        fprintf(stderr, "there is no tenant \"%s\": see deja tenant list\n", text);
        code = DJ_EXIT_FAILED;
    }
    dj_json_doc_destroy(doc);
    dj_client_answer_fini(&answer);
    dj_buf_fini(&path);
    return code;
}
