/* cli/entries.c - put, get and del. */
#include <stdio.h>

#include "base/num.h"
#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

int dj_cli_put(struct dj_session *session)
{
    struct dj_buf body = {0};
    struct dj_buf input = {0};
    struct dj_json_doc *doc = NULL;
    struct dj_json_writer w = dj_json_writer(&body);
    uint64_t ttl_ms = 0;
    int code = DJ_EXIT_FAILED;
    if (session->words.count != 2)
        return dj_session_misused(session, "expects PROMPT and RESPONSE");
    if (session->ttl && !dj_session_duration(session, "--ttl", session->ttl, &ttl_ms))
        return DJ_EXIT_USAGE;
    struct deja_slice response = deja_slice_text(session->words.items[1]);
    if (dj_slice_is(response, "-")) {
        if (dj_read_input("-", &input) != DEJA_OK)
            goto done;
        response = dj_buf_slice(&input);
    }
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "query", session->words.items[0]);
    dj_json_key(&w, "response");
    dj_json_put_string(&w, response);
    if (ttl_ms)
        dj_json_member_u64(&w, "ttl", (ttl_ms + 999) / 1000);
    if (session->tags.count) {
        dj_json_key(&w, "tags");
        dj_json_begin_array(&w);
        for (size_t i = 0; i < session->tags.count; i++)
            dj_json_put_text(&w, session->tags.items[i]);
        dj_json_end_array(&w);
    }
    dj_session_put_member(&w, "namespace", session->name_space);
    dj_json_end_object(&w);
    if (body.status != DEJA_OK)
        goto done;
    code = dj_session_call(session, "PUT", "/api/v1/entries", dj_buf_slice(&body), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_root(doc), "id")));
done:
    dj_json_doc_destroy(doc);
    dj_buf_fini(&input);
    dj_buf_fini(&body);
    return code;
}

/* POST /api/v1/lookup; the body of the question is made here. */
static int lookup(const struct dj_session *session, const char *query, const char *threshold,
                  bool is_quiet, struct dj_json_doc **out_doc)
{
    struct dj_buf body = {0};
    struct dj_json_writer w = dj_json_writer(&body);
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "query", query);
    if (threshold) {
        dj_json_key(&w, "threshold");
        dj_json_put_raw(&w, deja_slice_text(threshold));
    }
    dj_session_put_member(&w, "namespace", session->name_space);
    dj_json_end_object(&w);
    int code = body.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "POST", "/api/v1/lookup",
                                                        dj_buf_slice(&body), is_quiet, out_doc);
    dj_buf_fini(&body);
    return code;
}

int dj_cli_get(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    double threshold = 0;
    if (session->words.count != 1)
        return dj_session_misused(session, "expects one PROMPT");
    if (session->threshold &&
        (dj_num_parse_double(deja_slice_text(session->threshold), &threshold) != DEJA_OK ||
         threshold < 0 || threshold > 1 || session->threshold[0] < '0' ||
         session->threshold[0] > '9'))
        return dj_session_misused(session, "--threshold expects a number from 0 to 1");
    char text[32];
    snprintf(text, sizeof text, "%.10g", threshold);
    int code =
        lookup(session, session->words.items[0], session->threshold ? text : NULL, false, &doc);
    const struct dj_json *root = dj_json_root(doc);
    if (code == DJ_EXIT_OK && !dj_json_bool(dj_json_get(root, "hit"), false)) {
        if (!session->wants_json)
            fputs("miss\n", stderr);
        code = DJ_EXIT_MISS;
    } else if (code == DJ_EXIT_OK && !session->wants_json) {
        dj_output_value(stdout, dj_json_get(root, "response"));
    }
    dj_json_doc_destroy(doc);
    return code;
}

static int delete_id(const struct dj_session *session, const char *id)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf path = {0};
    dj_buf_append_text(&path, "/api/v1/entries/");
    dj_percent_encode(&path, id);
    if (session->reason) {
        dj_buf_append_text(&path, "?reason=");
        dj_percent_encode(&path, session->reason);
    }
    dj_buf_append_byte(&path, '\0');
    int code = path.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "DELETE", path.data,
                                                        deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        fputs("deleted\n", stderr);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    return code;
}

/* The entry stored under this very query: found by a lookup, deleted by its id. */
static int delete_query(const struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    char id[128] = "";
    int code = lookup(session, session->query, "1", true, &doc);
    const struct dj_json *root = dj_json_root(doc);
    struct deja_slice kind = dj_json_string(dj_json_get(root, "kind"));
    struct deja_slice found = dj_json_string(dj_json_get(root, "id"));
    bool is_that = dj_json_bool(dj_json_get(root, "hit"), false) && !dj_slice_is(kind, "semantic");
    if (code == DJ_EXIT_OK && is_that && found.len && found.len < sizeof id) {
        memcpy(id, found.data, found.len);
        code = delete_id(session, id);
    } else if (code == DJ_EXIT_OK) {
        fputs("deja: nothing is stored under that query\n", stderr);
        code = DJ_EXIT_MISS;
    }
    dj_json_doc_destroy(doc);
    return code;
}

int dj_cli_del(struct dj_session *session)
{
    if (session->words.count != (session->query ? 0u : 1u))
        return dj_session_misused(session, "expects an ID, or --query PROMPT");
    return session->query ? delete_query(session) : delete_id(session, session->words.items[0]);
}
