/* cli/explain.c - explain and feedback. */
#include <stdio.h>

#include "cli/cli_internal.h"
#include "cli/output.h"

int dj_cli_explain(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf path = {0};
    struct dj_buf body = {0};
    int code = DJ_EXIT_FAILED;
    if (session->words.count != (session->request ? 0u : 1u))
        return dj_session_misused(session, "expects a PROMPT, or --request FILE");
    dj_buf_init(&path, DJ_CLI_PATH_MAX);
    dj_buf_append_text(&path, "/api/v1/explain");
    if (session->request && dj_read_input(session->request, &body) != DEJA_OK)
        goto done;
    if (!session->request) {
        dj_buf_append_text(&path, "?query=");
        dj_percent_encode(&path, session->words.items[0]);
    }
    if (session->name_space) {
        dj_buf_append_text(&path, session->request ? "?namespace=" : "&namespace=");
        dj_percent_encode(&path, session->name_space);
    }
    dj_buf_append_byte(&path, '\0');
    if (path.status != DEJA_OK) {
        code = dj_session_misused(session, "the prompt is too long; put it into a --request file");
        goto done;
    }
    code = dj_session_call(session, session->request ? "POST" : "GET", path.data,
                           dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
done:
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    dj_buf_fini(&body);
    return code;
}

int dj_cli_feedback(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    const char *verdict = session->words.count == 2 ? session->words.items[1] : "";
    if (strcmp(verdict, "wrong") != 0 && strcmp(verdict, "right") != 0)
        return dj_session_misused(session, "expects an ID, then wrong or right");
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "entry", session->words.items[0]);
    dj_session_put_member(&w, "verdict", verdict);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "POST", "/api/v1/feedback",
                                                        dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json) {
        bool is_withdrawn = dj_json_bool(dj_json_get(dj_json_root(doc), "withdrawn"), false);
        fputs(is_withdrawn ? "noted; the answer is withdrawn\n" : "noted\n", stderr);
    }
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}
