/* cli/watch.c - stats, top and tail: what a running daemon does. */
#include <stdio.h>
#include <string.h>

#include "cli/cli_internal.h"
#include "cli/output.h"
#include "config/terminal.h"

#define TAIL_WAIT_S 20
#define TAIL_LIMIT_MAX 1000u
#define TOP_LIMIT_MAX 100u

int dj_cli_stats(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    int code = dj_session_call(session, "GET", "/api/v1/stats", deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        dj_output_flat(stdout, dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- top ---- */

static void write_top(const struct dj_json *entries)
{
    if (dj_json_count(entries))
        printf("%8s  %-24s  %-32s  %s\n", "HITS", "LAST", "ID", "PROMPT");
    else
        fputs("nothing has been asked for twice yet\n", stderr);
    for (struct dj_json_walk walk = dj_json_walk(entries); dj_json_walk_next(&walk);) {
        struct deja_slice last = dj_json_string(dj_json_get(walk.value, "last_access_at"));
        struct deja_slice id = dj_json_string(dj_json_get(walk.value, "id"));
        printf("%8lld  %-24.*s  %-32.*s  ",
               (long long)dj_json_i64(dj_json_get(walk.value, "hits"), 0), (int)last.len,
               last.data ? last.data : "", (int)id.len, id.data ? id.data : "");
        dj_output_line(stdout, dj_json_string(dj_json_get(walk.value, "query")));
    }
}

int dj_cli_top(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    char path[64];
    uint64_t limit = 0;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    if (!dj_session_limit(session, 10, TOP_LIMIT_MAX, &limit))
        return DJ_EXIT_USAGE;
    snprintf(path, sizeof path, "/api/v1/top?k=%llu", (unsigned long long)(limit ? limit : 1));
    int code = dj_session_call(session, "GET", path, deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_top(dj_json_get(dj_json_root(doc), "entries"));
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- tail ---- */

static enum dj_color color_of(struct deja_slice result)
{
    if (result.len >= 3 && memcmp(result.data, "hit", 3) == 0)
        return DJ_COLOR_GREEN;
    return deja_slice_is_equal(result, deja_slice_text("error")) ? DJ_COLOR_RED : DJ_COLOR_NONE;
}

static void write_field(int width, struct deja_slice text)
{
    printf("%-*.*s  ", width, (int)text.len, text.data ? text.data : "-");
}

/* "05:12:03.123  chat        hit_semantic  memory  0.9731      1.214 ms  6f1c…" */
static void write_request(const struct dj_session *session, const struct dj_json *request)
{
    struct deja_slice time = dj_json_string(dj_json_get(request, "time"));
    struct deja_slice result = dj_json_string(dj_json_get(request, "result"));
    const struct dj_json *similarity = dj_json_get(request, "similarity");
    bool is_rfc3339 = time.len == 24;
    enum dj_color color = color_of(result);
    write_field(12, is_rfc3339 ? deja_slice(time.data + 11, 12) : time);
    write_field(11, dj_json_string(dj_json_get(request, "api")));
    fputs(color ? dj_terminal_color(session->has_color, color) : "", stdout);
    write_field(12, result);
    fputs(color ? dj_terminal_color(session->has_color, DJ_COLOR_NONE) : "", stdout);
    write_field(6, dj_json_string(dj_json_get(request, "level")));
    if (dj_json_is(similarity, DJ_JSON_NUMBER))
        printf("%.4f  ", dj_json_double(similarity, 0));
    else
        printf("%-6s  ", "-");
    printf("%9.3f ms  ", dj_json_double(dj_json_get(request, "duration_ms"), 0));
    dj_output_line(stdout, dj_json_string(dj_json_get(request, "id")));
}

static void write_requests(const struct dj_session *session, const struct dj_json *root)
{
    struct dj_buf line = {0};
    int64_t lost = dj_json_i64(dj_json_get(root, "lost"), 0);
    if (lost > 0)
        fprintf(stderr, "deja tail: %lld requests went by faster than they could be shown\n",
                (long long)lost);
    struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "requests"));
    while (dj_json_walk_next(&walk)) {
        if (!session->wants_json) {
            write_request(session, walk.value);
            continue;
        }
        struct dj_json_writer w = dj_json_writer(&line);
        dj_json_put_value(&w, walk.value);
        dj_buf_append_byte(&line, '\n');
        fwrite(line.data ? line.data : "", 1, line.len, stdout);
        dj_buf_clear(&line);
    }
    dj_buf_fini(&line);
}

int dj_cli_tail(struct dj_session *session)
{
    char path[128];
    uint64_t limit = 0;
    int code = DJ_EXIT_OK;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    if (!dj_session_limit(session, 10, TAIL_LIMIT_MAX, &limit))
        return DJ_EXIT_USAGE;
    snprintf(path, sizeof path, "/api/v1/tail?last=%llu", (unsigned long long)limit);
    for (;;) {
        struct dj_json_doc *doc = NULL;
        code = dj_session_call(session, "GET", path, deja_slice_text(""), true, &doc);
        if (code == DJ_EXIT_OK)
            write_requests(session, dj_json_root(doc));
        snprintf(path, sizeof path, "/api/v1/tail?after=%lld&wait=%ds",
                 (long long)dj_json_i64(dj_json_get(dj_json_root(doc), "next"), 0), TAIL_WAIT_S);
        dj_json_doc_destroy(doc);
        if (code != DJ_EXIT_OK || session->is_once)
            return code;
        if (fflush(stdout) != 0) /* the reader has left: deja tail | head */
            return DJ_EXIT_OK;
    }
}
