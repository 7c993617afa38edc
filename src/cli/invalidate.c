/* cli/invalidate.c - invalidate and flush: counted, asked, removed. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/date.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

/* Exactly one selector, except that a namespace may stand beside a query or everything. */
static int check_selectors(const struct dj_session *session, uint64_t *out_age_ms)
{
    int others = (session->key != NULL) + (session->query != NULL) + (session->tag != NULL) +
                 (session->older_than != NULL) + (session->pattern != NULL) +
                 (session->event != NULL) + (session->cascade != NULL) + session->is_all;
    int times = (session->at != NULL) + (session->after != NULL) + (session->cron != NULL);
    if (session->words.count)
        return dj_session_misused(session, "takes no words; an entry is named with --id ID");
    if (others > 1 || (!others && !session->name_space))
        return dj_session_misused(session, "expects one of --id, --query, --tag, --namespace, "
                                           "--older-than, --pattern, --event, --depends-on, --all");
    if (times > 1 || (times && session->is_dry_run))
        return dj_session_misused(session, "expects one of --at, --after, --cron, without "
                                           "--dry-run");
    if (session->fields.count && !session->event)
        return dj_session_misused(session, "--field goes with --event");
    if (session->older_than &&
        !dj_session_duration(session, "--older-than", session->older_than, out_age_ms))
        return DJ_EXIT_USAGE;
    return DJ_EXIT_OK;
}

static bool is_later(const struct dj_session *session)
{
    return session->at || session->after || session->cron;
}

/* "NAME=VALUE" of each --field beside the event's name. */
static void put_event(const struct dj_session *session, struct dj_json_writer *w)
{
    if (!session->event)
        return;
    dj_json_key(w, "event");
    dj_json_begin_object(w);
    dj_json_member_text(w, "name", session->event);
    for (size_t i = 0; i < session->fields.count; i++) {
        const char *field = session->fields.items[i];
        const char *value = strchr(field, '=');
        size_t len = value ? (size_t)(value - field) : strlen(field);
        dj_json_key_slice(w, deja_slice(field, len));
        dj_json_put_text(w, value ? value + 1 : "");
    }
    dj_json_end_object(w);
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
    dj_session_put_member(&w, "pattern", session->pattern);
    dj_session_put_member(&w, "cascade", session->cascade);
    put_event(session, &w);
    if (session->is_cascade && !session->cascade)
        dj_json_member_bool(&w, "cascade", true);
    if (age_ms)
        dj_json_member_u64(&w, "older_than", (age_ms + 999) / 1000);
    if (session->is_all && !session->name_space)
        dj_json_member_bool(&w, "all", true);
    dj_session_put_member(&w, "at", session->at);
    dj_session_put_member(&w, "after", session->after);
    dj_session_put_member(&w, "cron", session->cron);
    dj_session_put_member(&w, "reason", session->reason);
    if (is_dry_run)
        dj_json_member_bool(&w, "dry_run", true);
    dj_json_end_object(&w);
}

/* Each entry behind what it depends on, a line each. */
static void write_tree(const struct dj_json *root)
{
    for (struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "tree"));
         dj_json_walk_next(&walk);) {
        struct deja_slice id = dj_json_string(dj_json_get(walk.value, "id"));
        struct deja_slice label = dj_json_string(dj_json_get(walk.value, "query"));
        if (!label.data)
            label = dj_json_string(dj_json_get(walk.value, "key"));
        printf("%*s%.*s  ", 2 * (int)dj_json_i64(dj_json_get(walk.value, "depth"), 0), "",
               (int)id.len, id.data ? id.data : "");
        dj_output_line(stdout, label);
    }
}

/* Such an order is done as soon as the server looks. */
static bool is_past(const char *at)
{
    int64_t at_ms = 0;
    return at && dj_date_parse(deja_slice_text(at), &at_ms) == DEJA_OK &&
           at_ms / 1000 < (int64_t)time(NULL);
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
    struct deja_slice schedule = dj_json_string(dj_json_get(dj_json_root(doc), "schedule"));
    struct deja_slice next = dj_json_string(dj_json_get(dj_json_root(doc), "next_at"));
    if (code == DJ_EXIT_OK && schedule.len && is_past(session->at))
        fputs("deja invalidate: --at has passed: it is done at once\n", stderr);
    if (code == DJ_EXIT_OK && !session->wants_json && schedule.len)
        printf("%.*s  %.*s\n", (int)schedule.len, schedule.data, (int)next.len, next.data);
    if (code == DJ_EXIT_OK && !session->wants_json && is_dry_run && !is_quiet)
        write_tree(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    dj_buf_fini(&body);
    return code;
}

/* Counts, then asks on the terminal; DJ_EXIT_OK: go on. */
static int agree(const struct dj_session *session, uint64_t age_ms)
{
    uint64_t count = 0;
    if (session->is_agreed || is_later(session))
        return DJ_EXIT_OK;
    if (isatty(STDIN_FILENO) != 1)
        return session->is_all && !session->name_space
                   ? dj_session_misused(session, "everything would go: say --yes")
                   : DJ_EXIT_OK;
    int code = ask_server(session, age_ms, true, true, &count);
    if (code != DJ_EXIT_OK)
        return code;
    fprintf(stderr, "%llu %s would be removed from %s.", (unsigned long long)count,
            count == 1 ? "entry" : "entries", session->server);
    return dj_session_is_agreed() ? DJ_EXIT_OK : DJ_EXIT_FAILED;
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
    if (code == DJ_EXIT_OK && !session->wants_json && !is_later(session))
        printf("%llu %s\n", (unsigned long long)count,
               session->is_dry_run ? "would be removed" : "removed");
    return code;
}

int dj_cli_flush(struct dj_session *session)
{
    session->is_all = true;
    return dj_cli_invalidate(session);
}
