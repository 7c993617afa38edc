/* daemon/demo_report.c - the demo told to a newcomer, or to a program. */
#include <stdio.h>

#include "config/terminal.h"
#include "daemon/demo_internal.h"
#include "proto/json.h"

#define TITLE_COLUMNS 46

/* One word or two, read without knowing the wire's names. */
static const char *result_in_words(const struct dj_demo_step *step)
{
    static const struct {
        const char *name, *words;
    } table[] = {
        {"miss", "miss"},           {"near_miss", "refused"},
        {"exact_hit", "exact hit"}, {"semantic_hit", "semantic hit"},
        {"stream", "exact hit"},    {"ten_at_once", "joined"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (step->is_ok && strcmp(table[i].name, step->name) == 0)
            return table[i].words;
    return step->is_ok ? step->result : "FAILED";
}

static const char *paint(const struct dj_demo_report *report, enum dj_color color)
{
    return dj_terminal_color(report->has_color, color);
}

void dj_demo_tell_start(const struct dj_demo_report *report)
{
    bool has_model = strcmp(report->embedder, "transformer") == 0;
    if (report->wants_json)
        return;
    printf("Deja " DEJA_VERSION " in front of a small built-in model that takes %u ms to answer.\n"
           "Everything runs in this process: no key, no account, no network.\n",
           DJ_DEMO_DELAY_MS);
    fputs(has_model ? "Rewordings are found by meaning: the sentence model is installed.\n\n"
                    : "Rewordings are found by their words only. To find them by meaning:\n"
                      "  deja model pull all-minilm-l6-v2\n\n",
          stdout);
    fflush(stdout);
}

static void tell_figures(const struct dj_demo_step *step)
{
    if (step->events)
        printf("%u events, ", step->events);
    if (step->similarity >= 0 && strcmp(step->result, "hit_exact") != 0)
        printf("similarity %.3f, ", step->similarity);
    if (strncmp(step->detail, "guard:", 6) == 0)
        printf("refused by the guard of %s, ", step->detail + 6);
    if (step->joined)
        printf("%u of %u joined the running call, ", step->joined, step->requests);
    if (step->upstream_calls)
        printf("%u call%s to the model\n", step->upstream_calls,
               step->upstream_calls == 1 ? "" : "s");
    else
        puts("no call to the model");
}

void dj_demo_tell_step(const struct dj_demo_report *report, const struct dj_demo_step *step)
{
    if (report->wants_json)
        return;
    enum dj_color color = !step->is_ok                ? DJ_COLOR_RED
                          : step->upstream_calls == 0 ? DJ_COLOR_GREEN
                                                      : DJ_COLOR_YELLOW;
    printf("%zu  %-*s %s%-12s%s %8.1f ms\n", (size_t)(step - report->steps) + 1, TITLE_COLUMNS,
           step->title, paint(report, color), result_in_words(step), paint(report, DJ_COLOR_NONE),
           step->took_ms);
    printf("   Q  %s\n   A  %s\n   %s", step->prompt, step->answer, paint(report, DJ_COLOR_DIM));
    tell_figures(step);
    printf("   %s%s\n", step->says, paint(report, DJ_COLOR_NONE));
    if (!step->is_ok)
        printf("   %sThis is not what it should show: %s.%s\n", paint(report, DJ_COLOR_RED),
               step->fault, paint(report, DJ_COLOR_NONE));
    putchar('\n');
    fflush(stdout);
}

/* ---- the end ---- */

static bool is_all_ok(const struct dj_demo_report *report)
{
    bool is_ok = report->saved.is_ok && report->step_count > 0;
    for (size_t i = 0; i < report->step_count; i++)
        is_ok = is_ok && report->steps[i].is_ok;
    return is_ok;
}

static void tell_saved(const struct dj_demo_report *report, bool is_ok)
{
    const struct dj_demo_saved *saved = &report->saved;
    double price = saved->tokens ? saved->cost_usd / (double)saved->tokens * 1e3 : 0;
    if (saved->is_ok)
        printf("%sSaved%s  %llu requests, only %llu calls to the model: %llu exact hits, %llu "
               "semantic, %llu joined\n"
               "       by the hits alone %llu tokens, about $%.4f (at $%.2f for 1,000), and %.1f "
               "seconds of waiting\n\n",
               paint(report, DJ_COLOR_GREEN), paint(report, DJ_COLOR_NONE),
               (unsigned long long)saved->requests, (unsigned long long)saved->upstream_calls,
               (unsigned long long)saved->hits_exact, (unsigned long long)saved->hits_semantic,
               (unsigned long long)saved->joined, (unsigned long long)saved->tokens,
               saved->cost_usd, price, saved->seconds);
    else
        printf("%sNo sum%s  %s\n\n", paint(report, DJ_COLOR_RED), paint(report, DJ_COLOR_NONE),
               saved->fault);
    puts(is_ok ? "Nothing is left behind. With your own model:\n"
                 "  deja serve --upstream https://api.openai.com\n"
                 "  OPENAI_BASE_URL=http://127.0.0.1:7070/v1 python app.py"
               : "A step did not show what it should; the lines above say which.");
}

static void put_text(struct dj_json_writer *w, const char *name, const char *text)
{
    dj_json_member_text(w, name, text && *text ? text : NULL);
}

static void put_ok(struct dj_json_writer *w, bool is_ok)
{
    dj_json_member_bool(w, "ok", is_ok);
}

static void write_step(struct dj_json_writer *w, const struct dj_demo_step *step)
{
    dj_json_begin_object(w);
    put_text(w, "name", step->name);
    put_ok(w, step->is_ok);
    put_text(w, "fault", step->fault);
    put_text(w, "title", step->title);
    put_text(w, "prompt", step->prompt);
    put_text(w, "answer", step->answer);
    put_text(w, "result", step->result);
    put_text(w, "detail", step->detail);
    dj_json_key(w, "similarity");
    if (step->similarity >= 0)
        dj_json_put_double(w, step->similarity);
    else
        dj_json_put_null(w);
    dj_json_member_double(w, "took_ms", step->took_ms);
    dj_json_member_u64(w, "requests", step->requests);
    dj_json_member_u64(w, "upstream_calls", step->upstream_calls);
    dj_json_member_u64(w, "joined", step->joined);
    dj_json_member_u64(w, "events", step->events);
    dj_json_end_object(w);
}

static void write_saved(struct dj_json_writer *w, const struct dj_demo_saved *saved)
{
    dj_json_begin_object(w);
    put_ok(w, saved->is_ok);
    put_text(w, "fault", saved->fault);
    dj_json_member_u64(w, "requests", saved->requests);
    dj_json_member_u64(w, "upstream_calls", saved->upstream_calls);
    dj_json_member_u64(w, "hits_exact", saved->hits_exact);
    dj_json_member_u64(w, "hits_semantic", saved->hits_semantic);
    dj_json_member_u64(w, "joined", saved->joined);
    dj_json_member_u64(w, "tokens", saved->tokens);
    dj_json_member_double(w, "cost_usd", saved->cost_usd);
    dj_json_member_double(w, "seconds", saved->seconds);
    dj_json_end_object(w);
}

static bool write_json(const struct dj_demo_report *report, bool is_ok)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    dj_json_begin_object(&w);
    put_ok(&w, is_ok);
    put_text(&w, "version", DEJA_VERSION);
    put_text(&w, "embedder", report->embedder);
    dj_json_member_u64(&w, "upstream_delay_ms", DJ_DEMO_DELAY_MS);
    dj_json_key(&w, "steps");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < report->step_count; i++)
        write_step(&w, &report->steps[i]);
    dj_json_end_array(&w);
    dj_json_key(&w, "saved");
    write_saved(&w, &report->saved);
    dj_json_end_object(&w);
    dj_buf_append_byte(&text, '\n');
    bool is_written = text.status == DEJA_OK && fwrite(text.data, 1, text.len, stdout) == text.len;
    dj_buf_fini(&text);
    return is_written;
}

bool dj_demo_tell_end(const struct dj_demo_report *report)
{
    bool is_ok = is_all_ok(report);
    bool is_written = true;
    if (report->wants_json)
        is_written = write_json(report, is_ok);
    else
        tell_saved(report, is_ok);
    return fflush(stdout) == 0 && !ferror(stdout) && is_written && is_ok;
}
