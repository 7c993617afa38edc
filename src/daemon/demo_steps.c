/* daemon/demo_steps.c - what the demo asks, and what has to come of it.
 *
 * Each step says what it claims and then checks it against the headers of the answer and against
 * the number of calls that reached the model; a claim that does not hold is told as a fault.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/num.h"
#include "base/slice.h"
#include "daemon/demo_internal.h"
#include "loop/loop.h"
#include "proto/json.h"

#define VECTOR_WAIT_MS 30000u /* a vector is made after the answer was given; a bound on a hang */
#define VECTOR_TURN_MS 20u

#define QUESTION "How long is the warranty for a laptop bought in 2023?"
#define NEAR_MISS "How long is the warranty for a laptop bought in 2024?"
#define REWORDED "What is the warranty period of a laptop bought in 2023?"
/* Without a model only words count: other words, and it would not be found. */
#define REWORDED_LIGHTLY "Please, how long is the warranty for a laptop bought in 2023?"
#define CROWD_QUESTION "How fast do you ship?"

/* The first whose mark the request holds is the answer. */
static const struct {
    const char *mark, *text;
} answers[] = {
    {"2023", "Laptops bought in 2023 have a warranty of two years, until the end of 2025."},
    {"2024", "Laptops bought in 2024 have a warranty of three years, until the end of 2027."},
    {"", "We ship within two working days, and delivery takes another three."},
};

void dj_demo_answer(void *ctx, const struct dj_http_request *request, struct dj_buf *out_text)
{
    (void)ctx;
    size_t i = 0;
    size_t last = sizeof answers / sizeof *answers - 1;
    while (i < last && !dj_slice_contains(request->body, answers[i].mark))
        i++;
    dj_buf_append_text(out_text, answers[i].text);
}

struct run {
    struct dj_demo_report *report;
    const struct dj_client *client;
    const struct dj_fake_model *upstream;
};

static void fail(struct dj_demo_step *step, const char *what)
{
    if (!step->fault[0])
        snprintf(step->fault, sizeof step->fault, "%s", what);
}

static void expect(struct dj_demo_step *step, bool is_so, const char *otherwise)
{
    if (!is_so)
        fail(step, otherwise);
}

/* ---- one question ---- */

static void write_request(struct dj_buf *body, const char *prompt, bool is_stream)
{
    struct dj_json_writer w = dj_json_writer(body);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "model", "demo");
    if (is_stream)
        dj_json_member_bool(&w, "stream", true);
    dj_json_key(&w, "messages");
    dj_json_begin_array(&w);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "role", "user");
    dj_json_member_text(&w, "content", prompt);
    dj_json_end_object(&w);
    dj_json_end_array(&w);
    dj_json_end_object(&w);
}

/* What follows `detail=` in Cache-Status, without quotes. */
static void read_detail(struct dj_demo_step *step, struct deja_slice status)
{
    static const char mark[] = "detail=";
    for (size_t at = 0; at + sizeof mark - 1 <= status.len; at++) {
        if (memcmp(status.data + at, mark, sizeof mark - 1) != 0)
            continue;
        const char *from = status.data + at + sizeof mark - 1;
        size_t left = status.len - at - (sizeof mark - 1);
        size_t skip = left && *from == '"';
        size_t len = 0;
        while (skip + len < left && !strchr("\";", from[skip + len]))
            len++;
        snprintf(step->detail, sizeof step->detail, "%.*s", (int)len, from + skip);
        return;
    }
}

static void read_result(struct dj_demo_step *step, const struct dj_client_answer *answer)
{
    struct deja_slice hit = dj_client_answer_header(answer, "X-Cache-Hit");
    struct deja_slice status = dj_client_answer_header(answer, "Cache-Status");
    struct deja_slice similarity = dj_client_answer_header(answer, "X-Cache-Similarity");
    double value = -1;
    const char *result = "miss";
    read_detail(step, status);
    if (dj_slice_is(hit, "true"))
        result = strcmp(step->detail, "exact") == 0        ? "hit_exact"
                 : strcmp(step->detail, "semantic") == 0   ? "hit_semantic"
                 : strcmp(step->detail, "normalised") == 0 ? "hit_normalised"
                                                           : "hit";
    else if (dj_slice_contains(status, "; collapsed"))
        result = "collapsed";
    snprintf(step->result, sizeof step->result, "%s", result);
    if (similarity.len && dj_num_parse_double(similarity, &value) == DEJA_OK)
        step->similarity = value;
}

static void read_answer(struct dj_demo_step *step, struct deja_slice body)
{
    struct dj_json_doc *doc = NULL;
    if (dj_json_parse(body, &doc, NULL) != DEJA_OK) {
        fail(step, "the answer is not JSON");
        return;
    }
    const struct dj_json *choice = dj_json_at(dj_json_get(dj_json_root(doc), "choices"), 0);
    struct deja_slice text = dj_json_string(dj_json_get(dj_json_get(choice, "message"), "content"));
    snprintf(step->answer, sizeof step->answer, "%.*s", (int)text.len, text.data ? text.data : "");
    expect(step, text.len > 0, "the answer holds no text");
    dj_json_doc_destroy(doc);
}

/* The words of a stream, put together from its events. */
static void read_stream(struct dj_demo_step *step, struct deja_slice body)
{
    bool is_whole = false;
    while (body.len) {
        const char *end = memchr(body.data, '\n', body.len);
        struct deja_slice line = deja_slice(body.data, end ? (size_t)(end - body.data) : body.len);
        size_t used = line.len + (end != NULL);
        struct dj_json_doc *doc = NULL;
        body = deja_slice(body.data + used, body.len - used);
        if (line.len < 6 || memcmp(line.data, "data: ", 6) != 0)
            continue;
        line = deja_slice(line.data + 6, line.len - 6);
        is_whole = dj_slice_is(line, "[DONE]");
        step->events++;
        if (is_whole || dj_json_parse(line, &doc, NULL) != DEJA_OK)
            continue;
        const struct dj_json *choice = dj_json_at(dj_json_get(dj_json_root(doc), "choices"), 0);
        struct deja_slice text =
            dj_json_string(dj_json_get(dj_json_get(choice, "delta"), "content"));
        size_t len = strlen(step->answer);
        snprintf(step->answer + len, sizeof step->answer - len, "%.*s", (int)text.len,
                 text.data ? text.data : "");
        dj_json_doc_destroy(doc);
    }
    expect(step, is_whole, "the stream did not end as streams do");
}

static void ask(const struct dj_client *client, struct dj_demo_step *step, bool is_stream)
{
    struct dj_client_answer answer;
    struct dj_buf body = {0};
    write_request(&body, step->prompt, is_stream);
    uint64_t from_us = dj_clock_monotonic_us();
    enum deja_status status =
        dj_client_call(client, "POST", "/v1/chat/completions", dj_buf_slice(&body), &answer);
    step->took_ms = (double)(dj_clock_monotonic_us() - from_us) / 1e3;
    step->requests++;
    if (status != DEJA_OK) {
        fail(step, answer.detail[0] ? answer.detail : deja_status_text(status));
    } else if (answer.http_status != 200) {
        char text[64];
        snprintf(text, sizeof text, "the cache answered %d", answer.http_status);
        fail(step, text);
    } else {
        read_result(step, &answer);
        if (is_stream)
            read_stream(step, dj_buf_slice(&answer.body));
        else
            read_answer(step, dj_buf_slice(&answer.body));
    }
    dj_client_answer_fini(&answer);
    dj_buf_fini(&body);
}

/* ---- steps ---- */

static struct dj_demo_step *begin(struct run *run, const char *name, const char *title,
                                  const char *prompt)
{
    struct dj_demo_step *step = &run->report->steps[run->report->step_count++];
    *step = (struct dj_demo_step){.name = name, .title = title, .prompt = prompt, .similarity = -1};
    step->upstream_calls = dj_fake_model_calls(run->upstream);
    return step;
}

static void end(struct run *run, struct dj_demo_step *step, uint32_t calls_expected)
{
    step->upstream_calls = dj_fake_model_calls(run->upstream) - step->upstream_calls;
    expect(step, step->upstream_calls == calls_expected,
           calls_expected ? "the model was not called exactly once"
                          : "the model was called all the same");
    step->is_ok = !step->fault[0];
    dj_demo_tell_step(run->report, step);
}

static void expect_result(struct dj_demo_step *step, const char *result)
{
    char text[128];
    snprintf(text, sizeof text, "it was \"%s\"%s%s, not \"%s\"", step->result,
             step->detail[0] ? " because of " : "", step->detail, result);
    expect(step, strcmp(step->result, result) == 0, text);
}

static void step_miss(struct run *run)
{
    struct dj_demo_step *step = begin(run, "miss", "A new question", QUESTION);
    step->says = "Asked for the first time: the model is called, and its answer remembered.";
    ask(run->client, step, false);
    expect_result(step, "miss");
    end(run, step, 1);
}

static void step_exact(struct run *run)
{
    struct dj_demo_step *step = begin(run, "exact_hit", "The same question again", QUESTION);
    step->says = "Answered from memory: the model is not called.";
    ask(run->client, step, false);
    expect_result(step, "hit_exact");
    end(run, step, 0);
}

/* The cache's own account of what would happen, which counts as no request. */
static struct dj_json_doc *explain(const struct run *run, const char *prompt)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    struct dj_buf body = {0};
    dj_buf_append_text(&body, "{\"request\":");
    write_request(&body, prompt, false);
    dj_buf_append_byte(&body, '}');
    if (dj_client_call(run->client, "POST", "/api/v1/explain", dj_buf_slice(&body), &answer) !=
            DEJA_OK ||
        dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK)
        doc = NULL;
    dj_client_answer_fini(&answer);
    dj_buf_fini(&body);
    return doc;
}

static struct dj_json_doc *read_stats(const struct run *run)
{
    struct dj_client_answer answer;
    struct dj_json_doc *doc = NULL;
    if (dj_client_call(run->client, "GET", "/api/v1/stats", deja_slice_text(""), &answer) !=
            DEJA_OK ||
        dj_json_parse(dj_buf_slice(&answer.body), &doc, NULL) != DEJA_OK)
        doc = NULL;
    dj_client_answer_fini(&answer);
    return doc;
}

static uint64_t count_at(const struct dj_json *object, const char *name)
{
    int64_t value = dj_json_i64(dj_json_get(object, name), 0);
    return value > 0 ? (uint64_t)value : 0;
}

/* Not by asking for the reworded question: its vector would be at hand when it is asked. */
static bool wait_for_vector(const struct run *run)
{
    const struct timespec turn = {.tv_nsec = VECTOR_TURN_MS * 1000000L};
    uint64_t end_us = dj_clock_monotonic_us() + VECTOR_WAIT_MS * 1000ull;
    for (;;) {
        struct dj_json_doc *doc = read_stats(run);
        bool is_there = count_at(dj_json_root(doc), "vectors") > 0;
        dj_json_doc_destroy(doc);
        if (is_there || dj_clock_monotonic_us() >= end_us)
            return is_there;
        nanosleep(&turn, NULL);
    }
}

static void step_reworded(struct run *run)
{
    bool is_by_meaning = strcmp(run->report->embedder, "transformer") == 0;
    struct dj_demo_step *step = begin(run, "semantic_hit",
                                      is_by_meaning ? "The same question in other words"
                                                    : "The same question, a word longer",
                                      is_by_meaning ? REWORDED : REWORDED_LIGHTLY);
    step->says = is_by_meaning ? "Other words, the same meaning: the remembered answer fits."
                               : "Nearly the same words. With the model it finds other words too.";
    expect(step, wait_for_vector(run), "the vector of the answer was not made in time");
    ask(run->client, step, false);
    expect_result(step, "hit_semantic");
    end(run, step, 0);
}

static void step_near_miss(struct run *run)
{
    struct dj_demo_step *step =
        begin(run, "near_miss", "Nearly the same, but not the same", NEAR_MISS);
    step->says = "Close enough by similarity, but another year: a guard refuses the old answer.";
    struct dj_json_doc *doc = explain(run, step->prompt);
    const struct dj_json *nearest = dj_json_at(dj_json_get(dj_json_root(doc), "candidates"), 0);
    double similarity = dj_json_double(dj_json_get(nearest, "similarity"), -1);
    expect(step, dj_json_bool(dj_json_get(nearest, "above_threshold"), false),
           "it was not similar enough for a guard to matter");
    dj_json_doc_destroy(doc);
    ask(run->client, step, false);
    step->similarity = similarity;
    expect_result(step, "miss");
    expect(step, strncmp(step->detail, "guard:", 6) == 0, "no guard refused it");
    end(run, step, 1);
}

static void step_stream(struct run *run)
{
    struct dj_demo_step *step = begin(run, "stream", "The first question, as a stream", QUESTION);
    step->says = "One remembered answer serves streaming clients too.";
    ask(run->client, step, true);
    expect_result(step, "hit_exact");
    expect(step, strcmp(step->answer, run->report->steps[0].answer) == 0,
           "the stream says something else than the answer");
    end(run, step, 0);
}

/* ---- the crowd ---- */

struct asker {
    const struct dj_client *client;
    struct dj_demo_step step;
    pthread_t thread;
    bool is_started;
};

static void *run_asker(void *ctx)
{
    struct asker *asker = ctx;
    ask(asker->client, &asker->step, false);
    return NULL;
}

static void step_crowd(struct run *run)
{
    struct dj_demo_step *step =
        begin(run, "ten_at_once", "Ten people ask the same new question at once", CROWD_QUESTION);
    struct asker askers[DJ_DEMO_CROWD];
    step->says = "One call to the model answers all ten.";
    for (size_t i = 0; i < DJ_DEMO_CROWD; i++) {
        askers[i] = (struct asker){.client = run->client};
        askers[i].step = (struct dj_demo_step){.prompt = step->prompt, .similarity = -1};
        askers[i].is_started = pthread_create(&askers[i].thread, NULL, run_asker, &askers[i]) == 0;
    }
    for (size_t i = 0; i < DJ_DEMO_CROWD; i++) {
        if (!askers[i].is_started) {
            fail(step, "no more threads can be started");
            continue;
        }
        pthread_join(askers[i].thread, NULL);
        const struct dj_demo_step *one = &askers[i].step;
        expect(step, !one->fault[0], one->fault);
        step->requests += one->requests;
        step->joined += strcmp(one->result, "collapsed") == 0;
        step->took_ms = fmax(step->took_ms, one->took_ms);
        snprintf(step->answer, sizeof step->answer, "%s", one->answer);
    }
    snprintf(step->result, sizeof step->result, "collapsed");
    end(run, step, 1);
}

/* ---- what it saved ---- */

static void read_saved(struct run *run)
{
    struct dj_demo_saved *saved = &run->report->saved;
    struct dj_json_doc *doc = read_stats(run);
    const struct dj_json *stats = dj_json_root(doc);
    const struct dj_json *hits = dj_json_get(stats, "hits");
    const struct dj_json *sums = dj_json_get(stats, "saved");
    uint64_t asked = 0;
    for (size_t i = 0; i < run->report->step_count; i++)
        asked += run->report->steps[i].requests;
    *saved = (struct dj_demo_saved){
        .requests = count_at(stats, "requests"),
        .upstream_calls = dj_fake_model_calls(run->upstream),
        .hits_exact = count_at(hits, "exact"),
        .hits_semantic = count_at(hits, "semantic"),
        .joined = count_at(stats, "collapsed"),
        .tokens = count_at(sums, "input_tokens") + count_at(sums, "output_tokens"),
        .cost_usd = dj_json_double(dj_json_get(sums, "cost_usd"), 0),
        .seconds = dj_json_double(dj_json_get(sums, "seconds"), 0),
    };
    if (!doc)
        snprintf(saved->fault, sizeof saved->fault, "the daemon gave no figures");
    else if (saved->requests != asked)
        snprintf(saved->fault, sizeof saved->fault, "it counted %llu requests of %llu",
                 (unsigned long long)saved->requests, (unsigned long long)asked);
    else if (saved->requests !=
             saved->upstream_calls + saved->hits_exact + saved->hits_semantic + saved->joined)
        snprintf(saved->fault, sizeof saved->fault, "hits and calls do not add up to requests");
    saved->is_ok = !saved->fault[0];
    dj_json_doc_destroy(doc);
}

void dj_demo_run_steps(struct dj_demo_report *report, const struct dj_client *client,
                       const struct dj_fake_model *upstream, const _Atomic bool *is_stopping)
{
    static void (*const steps[])(struct run *) = {step_miss,      step_exact,  step_reworded,
                                                  step_near_miss, step_stream, step_crowd};
    struct run run = {report, client, upstream};
    struct dj_json_doc *doc = read_stats(&run);
    struct deja_slice kind =
        dj_json_string(dj_json_get(dj_json_get(dj_json_root(doc), "embedder"), "kind"));
    snprintf(report->embedder, sizeof report->embedder, "%.*s", (int)kind.len,
             kind.data ? kind.data : "none");
    dj_json_doc_destroy(doc);
    dj_demo_tell_start(report);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !atomic_load(is_stopping); i++)
        steps[i](&run);
    if (atomic_load(is_stopping))
        snprintf(report->saved.fault, sizeof report->saved.fault, "it was stopped");
    else
        read_saved(&run);
}
