/* cli/invalidate.c - invalidate and flush: counted, asked, removed. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli_internal.h"

/* Exactly one selector, except that a namespace may stand beside a query or everything. */
static int check_selectors(const struct dj_session *session, uint64_t *out_age_ms)
{
    int others = (session->key != NULL) + (session->query != NULL) + (session->tag != NULL) +
                 (session->older_than != NULL) + session->is_all;
    if (session->words.count)
        return dj_session_misused(session, "takes no words; an entry is named with --id ID");
    if (others > 1 || (!others && !session->name_space))
        return dj_session_misused(session, "expects one of --id, --query, --tag, --namespace, "
                                           "--older-than, --all");
    if (session->older_than &&
        !dj_session_duration(session, "--older-than", session->older_than, out_age_ms))
        return DJ_EXIT_USAGE;
    return DJ_EXIT_OK;
}

static void write_body(const struct dj_session *session, uint64_t age_ms, bool is_dry_run,
                       struct dj_buf *body)
{
    struct dj_json_writer w = dj_json_writer(body);
    dj_json_begin_object(&w);
    dj_session_put_member(&w, "key", session->key);
    dj_session_put_member(&w, "query", session->query);
    dj_session_put_member(&w, "tag", session->tag);
    dj_session_put_member(&w, "namespace", session->name_space);
    if (age_ms)
        dj_json_member_u64(&w, "older_than", (age_ms + 999) / 1000);
    if (session->is_all && !session->name_space)
        dj_json_member_bool(&w, "all", true);
    dj_session_put_member(&w, "reason", session->reason);
    if (is_dry_run)
        dj_json_member_bool(&w, "dry_run", true);
    dj_json_end_object(&w);
}

/* *out_count is set when the code is DJ_EXIT_OK. */
static int ask_server(const struct dj_session *session, uint64_t age_ms, bool is_dry_run,
                      bool is_quiet, uint64_t *out_count)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    write_body(session, age_ms, is_dry_run, &body);
    int code = body.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "POST", "/api/v1/invalidate",
                                                        dj_buf_slice(&body), is_quiet, &doc);
    if (code == DJ_EXIT_OK)
        *out_count = (uint64_t)dj_json_i64(
            dj_json_get(dj_json_root(doc), is_dry_run ? "would_remove" : "removed"), 0);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

/* Counts, then asks on the terminal; DJ_EXIT_OK: go on. */
static int agree(const struct dj_session *session, uint64_t age_ms)
{
    char line[16] = "";
    uint64_t count = 0;
    if (session->is_agreed)
        return DJ_EXIT_OK;
    if (isatty(STDIN_FILENO) != 1)
        return session->is_all && !session->name_space
                   ? dj_session_misused(session, "everything would go: say --yes")
                   : DJ_EXIT_OK;
    int code = ask_server(session, age_ms, true, true, &count);
    if (code != DJ_EXIT_OK)
        return code;
    fprintf(stderr, "%llu %s would be removed from %s. Go on? [y/N] ", (unsigned long long)count,
            count == 1 ? "entry" : "entries", session->server);
    if (!fgets(line, sizeof line, stdin) || (line[0] != 'y' && line[0] != 'Y')) {
        fputs("nothing was removed\n", stderr);
        return DJ_EXIT_FAILED;
    }
    return DJ_EXIT_OK;
}

int dj_cli_invalidate(struct dj_session *session)
{
    uint64_t age_ms = 0;
    uint64_t count = 0;
    int code = check_selectors(session, &age_ms);
    if (code == DJ_EXIT_OK && !session->is_dry_run)
        code = agree(session, age_ms);
    if (code == DJ_EXIT_OK)
        code = ask_server(session, age_ms, session->is_dry_run, false, &count);
    if (code == DJ_EXIT_OK && !session->wants_json)
        printf("%llu %s\n", (unsigned long long)count,
               session->is_dry_run ? "would be removed" : "removed");
    return code;
}

int dj_cli_flush(struct dj_session *session)
{
    session->is_all = true;
    return dj_cli_invalidate(session);
}
