/* cli/explain.c - explain and feedback. */
#include <stdio.h>

#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"
#include "config/terminal.h"

static struct deja_slice text_of(const struct dj_json *object, const char *name)
{
    return dj_json_string(dj_json_get(object, name));
}

/* "   0.765  guard:entities         2 m  e827dc8c…  What is the capital of France?" */
static void write_candidate(const struct dj_session *session, const struct dj_json *candidate)
{
    struct deja_slice verdict = text_of(candidate, "verdict");
    struct deja_slice id = text_of(candidate, "id");
    long long age_s = (long long)dj_json_i64(dj_json_get(candidate, "age_s"), 0);
    bool is_good = dj_slice_is(verdict, "ok");
    printf("%10.3f  %s%-24.*s%s  ", dj_json_double(dj_json_get(candidate, "similarity"), 0),
           dj_terminal_color(session->has_color, is_good ? DJ_COLOR_GREEN : DJ_COLOR_YELLOW),
           (int)verdict.len, verdict.len ? verdict.data : "",
           dj_terminal_color(session->has_color, DJ_COLOR_NONE));
    if (age_s < 120)
        printf("%4lld s  ", age_s);
    else if (age_s < 7200)
        printf("%4lld m  ", age_s / 60);
    else
        printf("%4lld h  ", age_s / 3600);
    printf("%-32.*s  ", (int)id.len, id.len ? id.data : "");
    dj_output_line(stdout, text_of(candidate, "query"));
}

static void write_explanation(const struct dj_session *session, const struct dj_json *root)
{
    bool is_hit = dj_json_bool(dj_json_get(root, "hit"), false);
    struct deja_slice why = text_of(root, is_hit ? "kind" : "reason");
    const struct dj_json *candidates = dj_json_get(root, "candidates");
    printf("%s%s%s: ",
           dj_terminal_color(session->has_color, is_hit ? DJ_COLOR_GREEN : DJ_COLOR_YELLOW),
           is_hit ? "hit" : "miss", dj_terminal_color(session->has_color, DJ_COLOR_NONE));
    dj_output_text(stdout, why);
    printf("threshold %.2f, embedder ", dj_json_double(dj_json_get(root, "threshold"), 0));
    dj_output_text(stdout, text_of(root, "embedder"));
    fputs("searched ", stdout);
    dj_output_text(stdout, text_of(root, "searched"));
    if (!dj_json_count(candidates)) {
        puts("nothing stored is near it");
        return;
    }
    printf("\n%10s  %-24s  %6s  %-32s  %s\n", "SIMILARITY", "VERDICT", "AGE", "ID", "PROMPT");
    for (struct dj_json_walk walk = dj_json_walk(candidates); dj_json_walk_next(&walk);)
        write_candidate(session, walk.value);
}

/* The file as what the API takes: unless it is that already. */
static enum deja_status wrap_request(const struct dj_session *session, struct dj_buf *body)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf wrapped = {0};
    struct deja_error error = {""};
    enum deja_status status = dj_json_parse(dj_buf_slice(body), &doc, &error);
    if (status != DEJA_OK) {
        fprintf(stderr, "deja: --request: %s\n", error.message);
        return status;
    }
    if (!dj_json_is(dj_json_get(dj_json_root(doc), "request"), DJ_JSON_OBJECT)) {
        struct dj_json_writer w = dj_json_writer(&wrapped);
        dj_json_begin_object(&w);
        dj_json_key(&w, "request");
        dj_json_put_value(&w, dj_json_root(doc));
        if (session->api)
            dj_json_member_text(&w, "api", session->api);
        if (session->name_space)
            dj_json_member_text(&w, "namespace", session->name_space);
        dj_json_end_object(&w);
        dj_buf_fini(body);
        *body = wrapped;
    }
    dj_json_doc_destroy(doc);
    return body->status;
}

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
    if (session->request && (dj_read_input(session->request, &body) != DEJA_OK ||
                             wrap_request(session, &body) != DEJA_OK))
        goto done;
    if (!session->request) {
        dj_buf_append_text(&path, "?query=");
        dj_percent_encode(&path, session->words.items[0]);
    }
    if (session->name_space && !session->request) {
        dj_buf_append_text(&path, "&namespace=");
        dj_percent_encode(&path, session->name_space);
    }
    dj_buf_append_byte(&path, '\0');
    if (path.status != DEJA_OK) {
        code = dj_session_misused(session, "the prompt is too long; put it into a --request file");
        goto done;
    }
    code = dj_session_call(session, session->request ? "POST" : "GET", path.data,
                           dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && session->is_plain)
        dj_output_flat(stdout, dj_json_root(doc)); /* every detail, a line each */
    else if (code == DJ_EXIT_OK && !session->wants_json)
        write_explanation(session, dj_json_root(doc));
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
