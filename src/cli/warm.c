/* cli/warm.c - warm: answers made before they are asked for; followed until the run has ended. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/slice.h"
#include "cli/cli_internal.h"
#include "cli/output.h"

#define POLL_MS 100
#define PATH "/api/v1/warm"
#define BAR_CELLS 30
#define LIMIT_MAX 10000u

static long long count_of(const struct dj_json *object, const char *name)
{
    return (long long)dj_json_i64(dj_json_get(object, name), 0);
}

static double number_of(const struct dj_json *object, const char *name)
{
    return dj_json_double(dj_json_get(object, name), 0);
}

static bool is_text(const struct dj_json *object, const char *name, const char *text)
{
    return dj_slice_is(dj_json_string(dj_json_get(object, name)), text);
}

/* ---- the order ---- */

/* Every line that is not empty, as it stands; false: told on stderr. */
static bool put_lines(const char *path, struct deja_slice text, struct dj_json_writer *w)
{
    size_t number = 0;
    while (text.len) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        struct deja_slice line = deja_slice(text.data, len);
        struct dj_json_doc *doc = NULL;
        size_t taken = end ? len + 1 : len;
        text = deja_slice(text.data + taken, text.len - taken);
        number++;
        while (line.len && (line.data[line.len - 1] == '\r' || line.data[line.len - 1] == ' '))
            line.len--;
        if (!line.len)
            continue;
        if (dj_json_parse(line, &doc, NULL) != DEJA_OK) {
            fprintf(stderr,
                    "deja warm: %s, line %zu is not JSON: a prompt is \"in quotes\", a request is "
                    "{\"model\": ..., \"messages\": ...}\n",
                    path, number);
            return false;
        }
        dj_json_put_value(w, dj_json_root(doc));
        dj_json_doc_destroy(doc);
    }
    return true;
}

static int put_file(const char *path, struct dj_json_writer *w)
{
    struct dj_buf text = {0};
    int code = dj_read_input(path, &text) == DEJA_OK ? DJ_EXIT_OK : DJ_EXIT_FAILED;
    dj_json_key(w, "requests");
    dj_json_begin_array(w);
    if (code == DJ_EXIT_OK && !put_lines(path, dj_buf_slice(&text), w))
        code = DJ_EXIT_USAGE;
    dj_json_end_array(w);
    dj_buf_fini(&text);
    return code;
}

static void put_texts(struct dj_json_writer *w, const char *name,
                      const struct dj_arg_values *values, const char *more)
{
    if (!values->count && !more)
        return;
    dj_json_key(w, name);
    dj_json_begin_array(w);
    for (size_t i = 0; i < values->count; i++)
        dj_json_put_text(w, values->items[i]);
    if (more)
        dj_json_put_text(w, more);
    dj_json_end_array(w);
}

/* False: told on stderr. */
static bool put_budget(struct dj_session *session, struct dj_json_writer *w)
{
    uint64_t requests = 0;
    double usd = 0;
    if (!session->budget_requests && !session->budget_usd)
        return true;
    if (session->budget_requests &&
        (dj_num_parse_u64(deja_slice_text(session->budget_requests), &requests) != DEJA_OK ||
         !requests || requests > LIMIT_MAX)) {
        dj_session_misused(session, "--budget-requests expects a number from 1 to 10000");
        return false;
    }
    if (session->budget_usd &&
        (dj_num_parse_double(deja_slice_text(session->budget_usd), &usd) != DEJA_OK ||
         !(usd > 0))) {
        dj_session_misused(session, "--budget-usd expects dollars, as in --budget-usd 1.50");
        return false;
    }
    dj_json_key(w, "budget");
    dj_json_begin_object(w);
    if (requests)
        dj_json_member_u64(w, "requests", requests);
    if (usd > 0)
        dj_json_member_double(w, "usd", usd);
    dj_json_end_object(w);
    return true;
}

static int write_order(struct dj_session *session, struct dj_buf *body)
{
    struct dj_json_writer w = dj_json_writer(body);
    uint64_t limit = 0;
    int code = DJ_EXIT_OK;
    if (!dj_session_limit(session, 0, LIMIT_MAX, &limit))
        return DJ_EXIT_USAGE;
    dj_json_begin_object(&w);
    if (session->words.count)
        code = put_file(session->words.items[0], &w);
    put_texts(&w, "sources", &session->sources, session->is_predict ? "predict" : NULL);
    put_texts(&w, "keys", &session->patterns, NULL);
    dj_session_put_member(&w, "model", session->model);
    if (limit)
        dj_json_member_u64(&w, "limit", limit);
    if (session->is_dry_run)
        dj_json_member_bool(&w, "dry_run", true);
    if (code == DJ_EXIT_OK && !put_budget(session, &w))
        code = DJ_EXIT_USAGE;
    dj_json_end_object(&w);
    return code == DJ_EXIT_OK && body->status != DEJA_OK ? DJ_EXIT_FAILED : code;
}

/* ---- a dry run ---- */

static void write_why(const struct dj_json *item)
{
    if (is_text(item, "source", "predict"))
        printf("%5.2f  %lld of %lld weeks", number_of(item, "probability"), count_of(item, "seen"),
               count_of(item, "weeks"));
    else if (dj_json_get(item, "requests_24h"))
        printf("%5s  %lld in 24 h", "", count_of(item, "requests_24h"));
    else
        printf("%5s  ", "");
}

static void write_dry_run(const struct dj_json *root)
{
    const struct dj_json *items = dj_json_get(root, "items");
    struct deja_slice objection = dj_json_string(dj_json_get(root, "objection"));
    for (struct dj_json_walk walk = dj_json_walk(items); dj_json_walk_next(&walk);) {
        struct deja_slice source = dj_json_string(dj_json_get(walk.value, "source"));
        struct deja_slice query = dj_json_string(dj_json_get(walk.value, "query"));
        struct deja_slice id = dj_json_string(dj_json_get(walk.value, "id"));
        printf("%-8.*s  ", (int)source.len, source.len ? source.data : "");
        write_why(walk.value);
        fputs("  ", stdout);
        dj_output_line(stdout, query.len ? query : id);
    }
    printf("%zu would be warmed, %lld of them asked upstream; %lld are there already\n",
           dj_json_count(items), count_of(root, "requests"), count_of(root, "present"));
    if (objection.len) {
        fputs("deja warm: ", stderr);
        dj_output_text(stderr, objection);
    }
}

/* ---- a run ---- */

static void write_bar(const struct dj_json *run)
{
    char bar[BAR_CELLS + 1];
    long long total = count_of(run, "total");
    long long done = count_of(run, "done");
    long long cells = total > 0 ? done * BAR_CELLS / total : 0;
    for (long long i = 0; i < BAR_CELLS; i++)
        bar[i] = i < cells ? '=' : ' ';
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r[%s] %lld of %lld, %lld warmed, $%.4f ", bar, done, total,
            count_of(run, "warmed"), number_of(run, "cost_usd"));
}

/* margin: before each line but the first. */
static void write_run(const struct dj_json *run, const char *margin)
{
    struct deja_slice status = dj_json_string(dj_json_get(run, "status"));
    struct deja_slice reason = dj_json_string(dj_json_get(run, "reason"));
    printf("%.*s: %lld of %lld\n", (int)status.len, status.len ? status.data : "",
           count_of(run, "done"), count_of(run, "total"));
    printf("%swarmed      %lld, %lld requests upstream, $%.4f\n", margin, count_of(run, "warmed"),
           count_of(run, "requests"), number_of(run, "cost_usd"));
    printf("%spromoted    %lld\n%sthere       %lld\n%smissing     %lld\n%sfailed      %lld\n",
           margin, count_of(run, "promoted"), margin, count_of(run, "present"), margin,
           count_of(run, "missing"), margin, count_of(run, "failed"));
    if (reason.len) {
        fputs("deja warm: stopped: ", stderr);
        dj_output_text(stderr, reason);
    }
}

static void write_status(const struct dj_json *root)
{
    const struct dj_json *warmed = dj_json_get(root, "warmed");
    const struct dj_json *predict = dj_json_get(root, "predict");
    struct deja_slice next = dj_json_string(dj_json_get(root, "next_at"));
    if (next.len)
        printf("schedule    next at %.*s\n", (int)next.len, next.data);
    else
        puts("schedule    idle: it has no source, or no budget");
    printf("all runs    %lld entries warmed, %.1f %% used, $%.4f, of it $%.4f not used\n",
           count_of(warmed, "entries"), 100 * number_of(warmed, "used_share"),
           number_of(warmed, "cost_usd"), number_of(warmed, "unused_usd"));
    if (dj_json_bool(dj_json_get(predict, "enabled"), false))
        printf("predictions %lld keys, %lld of %lld first requests of an hour were warm\n",
               count_of(predict, "keys"), count_of(predict, "covered"), count_of(predict, "asked"));
    if (dj_json_is(dj_json_get(root, "run"), DJ_JSON_OBJECT)) {
        fputs("last run    ", stdout);
        write_run(dj_json_get(root, "run"), "  ");
    }
}

static int ask(struct dj_session *session, const char *method, bool is_quiet,
               struct dj_json_doc **out_doc)
{
    return dj_session_call(session, method, PATH, deja_slice_text(""), is_quiet, out_doc);
}

/* Until it has ended; with a bar where somebody watches. */
static int follow(struct dj_session *session)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    bool has_bar = isatty(STDERR_FILENO) == 1 && !session->is_plain && !session->wants_json;
    for (;;) {
        struct dj_json_doc *doc = NULL;
        int code = ask(session, "GET", true, &doc);
        const struct dj_json *run = dj_json_get(dj_json_root(doc), "run");
        bool is_over = code != DJ_EXIT_OK ||
                       (!is_text(run, "status", "running") && !is_text(run, "status", "listing"));
        if (has_bar && code == DJ_EXIT_OK)
            write_bar(run);
        if (is_over && has_bar)
            fputc('\n', stderr);
        if (is_over && code == DJ_EXIT_OK) {
            if (!is_text(run, "status", "done"))
                code = DJ_EXIT_FAILED;
            if (session->wants_json) {
                dj_output_json(stdout, run);
                putchar('\n');
            } else {
                write_run(run, "");
            }
        }
        dj_json_doc_destroy(doc);
        if (is_over)
            return code;
        nanosleep(&pause, NULL);
    }
}

static int order(struct dj_session *session)
{
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    int code = write_order(session, &body);
    if (code == DJ_EXIT_OK)
        code =
            dj_session_call(session, "POST", PATH, dj_buf_slice(&body), !session->is_dry_run, &doc);
    dj_buf_fini(&body);
    if (code == DJ_EXIT_OK && session->is_dry_run && !session->wants_json)
        write_dry_run(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code == DJ_EXIT_OK && !session->is_dry_run ? follow(session) : code;
}

int dj_cli_warm(struct dj_session *session)
{
    const char *word = session->words.count ? session->words.items[0] : "";
    struct dj_json_doc *doc = NULL;
    if (session->words.count > 1)
        return dj_session_misused(session, "takes one file at most");
    bool is_status = strcmp(word, "status") == 0;
    if (!is_status && strcmp(word, "cancel") != 0) {
        if (!session->words.count && !session->sources.count && !session->patterns.count &&
            !session->is_predict)
            return dj_session_misused(session, "expects a FILE, --source, --keys or --predict; or "
                                               "status, or cancel");
        return order(session);
    }
    int code = ask(session, is_status ? "GET" : "DELETE", false, &doc);
    if (code == DJ_EXIT_OK && !session->wants_json)
        write_status(dj_json_root(doc));
    dj_json_doc_destroy(doc);
    return code;
}
