/* cli/watch.c - stats, top and tail: what a running daemon does. */
#include <stdio.h>
#include <string.h>

#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"
#include "config/terminal.h"

#define TAIL_WAIT_S 20
#define TAIL_LIMIT_MAX 1000u
#define TOP_LIMIT_MAX 100u

/* ---- stats ---- */

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static double number_of(const struct dj_json *object, const char *name)
{
    return dj_json_double(dj_json_get(object, name), 0);
}

static void write_requests_made(const struct dj_json *root)
{
    const struct dj_json *hits = dj_json_get(root, "hits");
    const struct dj_json *saved = dj_json_get(root, "saved");
    printf("requests    %lld\n", count_of(root, "requests"));
    printf("  hits      %lld (%.1f %%): %lld exact, %lld by meaning\n", count_of(hits, "total"),
           100 * number_of(root, "hit_rate"), count_of(hits, "exact"), count_of(hits, "semantic"));
    printf("  misses    %lld\n", count_of(root, "misses"));
    printf("  others    %lld joined a running call, %lld bypassed, %lld refreshed, %lld failed\n",
           count_of(root, "collapsed"), count_of(root, "bypassed"), count_of(root, "refreshed"),
           count_of(root, "errors"));
    printf("saved       %lld tokens in, %lld out, $%.2f, %.1f s\n", count_of(saved, "input_tokens"),
           count_of(saved, "output_tokens"), number_of(saved, "cost_usd"),
           number_of(saved, "seconds"));
}

static void write_period(const struct dj_json *period)
{
    const struct dj_json *total = dj_json_get(period, "total");
    const struct dj_json *saved = dj_json_get(total, "saved");
    const struct dj_json *spent = dj_json_get(period, "spent");
    char hours[16];
    if (!period)
        return; /* an older daemon */
    snprintf(hours, sizeof hours, "%.4g h", number_of(period, "seconds") / 3600);
    printf("last %-6s %lld hits saved $%.4f (of which guessed $%.4f) and %.1f s\n", hours,
           count_of(total, "hits"), number_of(saved, "cost_usd"), number_of(saved, "guessed_usd"),
           number_of(saved, "seconds"));
    printf("  spent     $%.4f upstream, $%.4f verification", number_of(spent, "upstream_usd"),
           number_of(spent, "verification_usd"));
    if (dj_json_get(spent, "embedder_usd"))
        printf(", $%.4f embedder", number_of(spent, "embedder_usd"));
    puts("");
    struct dj_json_walk walk = dj_json_walk(dj_json_get(period, "kinds"));
    while (dj_json_walk_next(&walk)) {
        const struct dj_json *of_kind = dj_json_get(walk.value, "saved");
        printf("  %-20.*s %lld hits, %lld misses (%.1f %%), $%.4f, %.1f s\n", (int)walk.key.len,
               walk.key.data, count_of(walk.value, "hits"), count_of(walk.value, "misses"),
               100 * number_of(walk.value, "hit_rate"), number_of(of_kind, "cost_usd"),
               number_of(of_kind, "seconds"));
    }
}

static void write_kept(const struct dj_json *root)
{
    struct dj_json_walk walk = dj_json_walk(dj_json_get(root, "levels"));
    while (dj_json_walk_next(&walk)) {
        printf("%-10.*s  %lld entries, ", (int)walk.key.len, walk.key.data,
               count_of(walk.value, "entries"));
        dj_session_write_bytes(number_of(walk.value, "bytes"));
        fputs(" of ", stdout);
        dj_session_write_bytes(number_of(walk.value, "bytes_max"));
        printf(", %lld evicted, %lld expired\n", count_of(walk.value, "evictions"),
               count_of(walk.value, "expired"));
        printf("            %lld hits, %lld misses (%.1f %%), %.3f ms\n",
               count_of(walk.value, "hits"), count_of(walk.value, "misses"),
               100 * number_of(walk.value, "hit_rate"), number_of(walk.value, "latency_ms"));
    }
    printf("vectors     %lld, ", count_of(root, "vectors"));
    dj_session_write_bytes(number_of(root, "vector_bytes"));
    puts(dj_json_bool(dj_json_get(root, "index_ready"), false) ? "" : ", still loading");
}

static void write_stats(const struct dj_json *root)
{
    const struct dj_json *feedback = dj_json_get(root, "feedback");
    struct deja_slice version = dj_json_string(dj_json_get(root, "version"));
    struct deja_slice tenant = dj_json_string(dj_json_get(root, "tenant"));
    printf("Deja %.*s, up %lld s, tenant %.*s\n\n", (int)version.len,
           version.len ? version.data : "", count_of(root, "uptime_s"), (int)tenant.len,
           tenant.len ? tenant.data : "");
    write_requests_made(root);
    write_period(dj_json_get(root, "period"));
    write_kept(root);
    printf("feedback    %lld right, %lld wrong\n", count_of(feedback, "right"),
           count_of(feedback, "wrong"));
    printf("thresholds  %.3g for answers, %.3g for the cache API\n", number_of(root, "threshold"),
           number_of(root, "api_threshold"));
    fputs("embedder    ", stdout);
    dj_output_text(stdout, dj_json_string(dj_json_get(dj_json_get(root, "embedder"), "id")));
}

int dj_cli_stats(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    struct dj_buf path = {0};
    dj_buf_append_text(&path, "/api/v1/stats");
    if (session->period) {
        dj_buf_append_text(&path, "?period=");
        dj_percent_encode(&path, session->period);
    }
    dj_buf_append_byte(&path, '\0');
    int code = path.status == DEJA_OK
                   ? dj_session_call(session, "GET", path.data, deja_slice_text(""), false, &doc)
                   : DJ_EXIT_FAILED;
    dj_buf_fini(&path);
    if (code == DJ_EXIT_OK && session->is_plain)
        dj_output_flat(stdout, dj_json_root(doc)); /* every figure, a line each */
    else if (code == DJ_EXIT_OK && !session->wants_json)
        write_stats(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- top ---- */

static void write_top(const struct dj_json *entries, bool is_by_hits)
{
    if (dj_json_count(entries))
        printf("%8s  %-24s  %-32s  %s\n", "HITS", "LAST", "ID", "PROMPT");
    else
        fputs(is_by_hits ? "nothing has been asked for twice yet\n" : "there are no entries\n",
              stderr);
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
    const char *order = session->order ? session->order : "hits";
    if (strcmp(order, "hits") != 0 && strcmp(order, "idle") != 0 && strcmp(order, "score") != 0)
        return dj_session_misused(session, "--order expects hits, idle or score");
    snprintf(path, sizeof path, "/api/v1/top?k=%llu&order=%s",
             (unsigned long long)(limit ? limit : 1), order);
    int code = dj_session_call(session, "GET", path, deja_slice_text(""), false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_top(dj_json_get(dj_json_root(doc), "entries"), strcmp(order, "hits") == 0);
    dj_json_doc_destroy(doc);
    return code;
}

/* ---- tail ---- */

static enum dj_color color_of(struct deja_slice result)
{
    if (result.len >= 3 && memcmp(result.data, "hit", 3) == 0)
        return DJ_COLOR_GREEN;
    return dj_slice_is(result, "error") ? DJ_COLOR_RED : DJ_COLOR_NONE;
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
        dj_output_json(stdout, walk.value);
        putchar('\n');
    }
}

int dj_cli_tail(struct dj_session *session)
{
    char path[128];
    uint64_t limit = 0;
    int code = DJ_EXIT_OK;
    if (session->words.count)
        return dj_session_misused(session, "takes no words");
    if (session->is_void)
        return dj_cli_invalidations(session);
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
