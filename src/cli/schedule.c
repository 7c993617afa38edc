/* cli/schedule.c - schedule: invalidations kept for later; invalidations: those that happen. */
#include <stdio.h>
#include <string.h>

#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"
#include "proto/sse.h"

#define EVENT_BYTES_MAX 65536u
#define LIMIT 10u
#define LIMIT_MAX 1000u

/* ---- schedule ---- */

static void write_schedules(const struct dj_json *schedules)
{
    if (!dj_json_count(schedules))
        fputs("nothing is scheduled\n", stderr);
    for (struct dj_json_walk walk = dj_json_walk(schedules); dj_json_walk_next(&walk);) {
        const struct dj_json *what = dj_json_get(walk.value, "invalidate");
        struct deja_slice id = dj_json_string(dj_json_get(walk.value, "id"));
        struct deja_slice next = dj_json_string(dj_json_get(walk.value, "next_at"));
        struct deja_slice cron = dj_json_string(dj_json_get(walk.value, "cron"));
        struct deja_slice kind = dj_json_string(dj_json_get(what, "kind"));
        printf("%-32.*s  %-24.*s  %-16.*s  %-10.*s  ", (int)id.len, id.data ? id.data : "",
               (int)next.len, next.data ? next.data : "", cron.len ? (int)cron.len : 4,
               cron.len ? cron.data : "once", (int)kind.len, kind.data ? kind.data : "");
        dj_output_line(stdout, dj_json_string(dj_json_get(what, "reason")));
    }
}

static int remove_schedule(struct dj_session *session, const char *id)
{
    struct dj_buf path = {0};
    struct dj_json_doc *doc = NULL;
    dj_buf_append_text(&path, "/api/v1/schedules/");
    dj_percent_encode(&path, id);
    dj_buf_append_byte(&path, '\0');
    int code = path.status != DEJA_OK ? DJ_EXIT_FAILED
                                      : dj_session_call(session, "DELETE", path.data,
                                                        deja_slice_text(""), false, &doc);
    dj_json_doc_destroy(doc);
    dj_buf_fini(&path);
    return code;
}

int dj_cli_schedule(struct dj_session *session)
{
    const struct dj_words *words = &session->words;
    struct dj_json_doc *doc = NULL;
    bool is_list = words->count == 0 || strcmp(words->items[0], "list") == 0;
    if (words->count == 2 && strcmp(words->items[0], "remove") == 0)
        return remove_schedule(session, words->items[1]);
    if (!is_list || words->count > 1)
        return dj_session_misused(session, "expects: list, or remove ID");
    int code =
        dj_session_call(session, "GET", "/api/v1/schedules", deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_schedules(dj_json_get(dj_json_root(doc), "schedules"));
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- invalidations ---- */

static void write_notice(const struct dj_json *root)
{
    static const char *const columns[] = {"time", "kind", "name", "source", "reason"};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        struct deja_slice text = dj_json_string(dj_json_get(root, columns[i]));
        printf(i ? "  %.*s" : "%.*s", text.len ? (int)text.len : 1, text.len ? text.data : "-");
    }
    printf("  %lld\n", (long long)dj_json_i64(dj_json_get(root, "removed"), 0));
}

struct telling {
    const struct dj_session *session;
    uint64_t count; /* notices met */
    uint64_t first; /* of them, to be told */
};

static bool on_count(void *ctx, const struct dj_sse_event *event)
{
    struct telling *telling = ctx;
    telling->count += dj_slice_is(event->name, "invalidation");
    return true;
}

static bool on_event(void *ctx, const struct dj_sse_event *event)
{
    struct telling *telling = ctx;
    struct dj_json_doc *doc = NULL;
    if (dj_slice_is(event->name, "lost")) {
        fputs("some were lost\n", stderr);
    } else if (dj_slice_is(event->name, "invalidation")) {
        if (telling->count++ < telling->first)
            return true;
        if (telling->session->wants_json)
            printf("%.*s\n", (int)event->data.len, event->data.data);
        else if (dj_json_parse(event->data, &doc, NULL) == DEJA_OK)
            write_notice(dj_json_root(doc));
        dj_json_doc_destroy(doc);
    }
    return true;
}

static int read_events(struct deja_slice text, struct telling *telling, dj_sse_event_fn *on_one)
{
    struct dj_sse_parser parser;
    dj_sse_init(&parser, EVENT_BYTES_MAX);
    enum deja_status status = dj_sse_feed(&parser, text, telling, on_one);
    dj_sse_fini(&parser);
    return status == DEJA_OK ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

/* At most the last so many of the notices in text. */
static int tell_events(const struct dj_session *session, struct deja_slice text, uint64_t limit)
{
    struct telling telling = {.session = session};
    int code = read_events(text, &telling, on_count);
    telling.first = telling.count > limit ? telling.count - limit : 0;
    telling.count = 0;
    return code == DJ_EXIT_OK ? read_events(text, &telling, on_event) : code;
}

/* The last "id: " of the stream: where the next call goes on. */
static void find_place(struct deja_slice text, char out_place[32])
{
    for (size_t at = 0; at + 4 < text.len; at++) {
        size_t len = 0;
        if ((at && text.data[at - 1] != '\n') || memcmp(text.data + at, "id: ", 4) != 0)
            continue;
        while (at + 4 + len < text.len && text.data[at + 4 + len] != '\n' && len < 31)
            len++;
        memcpy(out_place, text.data + at + 4, len);
        out_place[len] = '\0';
    }
}

/* place "": from the oldest that is kept. */
static int follow_once(struct dj_session *session, char place[32], uint64_t limit)
{
    struct dj_client_answer answer;
    char path[96];
    snprintf(path, sizeof path, "/api/v1/invalidations?wait=1s&after=%s", *place ? place : "kept");
    int code = dj_session_fetch(session, "GET", path, deja_slice_text(""), &answer);
    if (code == DJ_EXIT_OK && answer.http_status != 200) {
        struct dj_json_doc *doc = NULL;
        if (dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK)
            doc = NULL; /* the number says enough */
        code = dj_session_report(session, answer.http_status, dj_json_root(doc));
        dj_json_doc_destroy(doc);
    } else if (code == DJ_EXIT_OK) {
        code = tell_events(session, dj_buf_slice(&answer.body), limit);
        find_place(dj_buf_slice(&answer.body), place);
    }
    dj_client_answer_fini(&answer);
    fflush(stdout);
    return code;
}

int dj_cli_invalidations(struct dj_session *session)
{
    char place[32] = "";
    uint64_t limit = 0;
    int code = DJ_EXIT_OK;
    if (!dj_session_limit(session, LIMIT, LIMIT_MAX, &limit))
        return DJ_EXIT_USAGE;
    do {
        code = follow_once(session, place, limit);
        limit = UINT64_MAX; /* of those before the command began */
    } while (code == DJ_EXIT_OK && !session->is_once);
    return code;
}
