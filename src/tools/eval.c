/* tools/eval.c - see eval.h. Options, then per file: read, embed, replay, report. */
#include "tools/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/num.h"
#include "embed/lexical.h"
#include "embed/transformer.h"
#include "policy/interval.h"
#include "policy/reuse.h"
#include "proto/json.h"
#include "simd/simd.h"
#include "tools/eval_stream.h"

#define SWEEP_FROM 0.50
#define SWEEP_STEP 0.005
#define SWEEP_COUNT 101 /* to 1.00 */
#define SWEEP_SHOWN 5   /* every fifth cut goes into the table */
#define ALPHA 0.05      /* 95 % intervals */
#define MODEL_NAME "all-minilm-l6-v2"

static const double wrong_limits[] = {0.01, 0.02, 0.05};
#define LIMIT_COUNT (sizeof wrong_limits / sizeof *wrong_limits)

struct eval_options {
    bool is_json;
    bool is_sweep;
    bool has_guards;
    bool has_no_guards; /* as the flag says it */
    double threshold;   /* < 0: the shipped one */
    const char *threshold_text;
    const char *embedder;
    const char *model;
    struct dj_words files;
};

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--threshold", DJ_COMMAND_TEXT, "0..1",
     "Cut on the similarity; else the one shipped for the embedder",
     offsetof(struct eval_options, threshold_text)},
    {"--sweep", DJ_COMMAND_SWITCH, NULL,
     "Every cut from 0.5 to 1; the best for 1, 2 and 5 % wrong per request",
     offsetof(struct eval_options, is_sweep)},
    {"--no-guards", DJ_COMMAND_SWITCH, NULL, "Similarity alone",
     offsetof(struct eval_options, has_no_guards)},
    {"--embedder", DJ_COMMAND_TEXT, "transformer|lexical",
     "The transformer where its model is found, else lexical",
     offsetof(struct eval_options, embedder)},
    {"--model", DJ_COMMAND_TEXT, "DIR", "Folder with config.json, vocab.txt and model.safetensors",
     offsetof(struct eval_options, model)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct eval_options, is_json)},
};
/* clang-format on */

const struct dj_command dj_eval_command = {
    .name = "eval",
    .summary = "replay labelled streams and count wrong hits",
    .synopsis = "[--threshold 0..1 | --sweep] [--no-guards] FILE...",
    .examples = "deja eval my-questions.jsonl\n"
                "deja eval --sweep my-questions.jsonl\twhat each threshold would give",
    .description = "Replays streams of requests, one {\"prompt\", \"answer_class\"} a line, and "
                   "counts what the cache would have reused, and how much of it wrongly.",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

/* ---- options ---- */

static int complain(const char *what)
{
    return dj_command_misused(&dj_eval_command, what);
}

static int read_options(struct eval_options *options, int argc, char *const *argv)
{
    struct deja_error error;
    *options = (struct eval_options){.threshold = -1};
    if (dj_command_parse(&dj_eval_command, argc - 1, argv + 1, options, &options->files, &error) !=
        DEJA_OK)
        return complain(error.message);
    options->has_guards = !options->has_no_guards;
    if (options->threshold_text && (dj_num_parse_double(deja_slice_text(options->threshold_text),
                                                        &options->threshold) != DEJA_OK ||
                                    options->threshold < 0 || options->threshold > 1))
        return complain("--threshold expects a number from 0 to 1");
    if (options->embedder && strcmp(options->embedder, "transformer") != 0 &&
        strcmp(options->embedder, "lexical") != 0)
        return complain("--embedder expects transformer or lexical");
    if (!options->files.count)
        return complain("no file given");
    if (options->is_sweep && options->threshold_text)
        return complain("--threshold and --sweep exclude each other");
    return 0;
}

/* ---- embedder ---- */

/* Where the daemon would look (daemon/settings.h). Borrowed or in buf. */
static const char *model_directory(const struct eval_options *options, struct dj_buf *buf)
{
    if (options->model)
        return options->model;
    const char *directory = getenv("DEJA_SEMANTIC__MODEL_DIR");
    if (directory && *directory)
        return directory;
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (data && *data)
        dj_buf_append_format(buf, "%s/deja", data);
    else if (home && *home)
        dj_buf_append_format(buf, "%s/.local/share/deja", home);
    else
        dj_buf_append_text(buf, "/var/lib/deja");
    dj_buf_append_text(buf, "/models/" MODEL_NAME);
    dj_buf_append_byte(buf, '\0');
    return buf->status == DEJA_OK ? buf->data : NULL;
}

static enum deja_status open_embedder(const struct eval_options *options,
                                      struct dj_embedder **out_embedder)
{
    bool is_lexical = options->embedder && strcmp(options->embedder, "lexical") == 0;
    if (is_lexical)
        return dj_lexical_create(out_embedder);
    struct dj_buf buf = {0};
    struct deja_error error = {{0}};
    enum deja_status status = DEJA_ERR_NOMEM;
    const char *directory = model_directory(options, &buf);
    if (directory)
        status = dj_transformer_open(directory, out_embedder, &error);
    dj_buf_fini(&buf);
    if (status == DEJA_OK)
        return DEJA_OK;
    fprintf(stderr, "deja eval: %s\n", error.message[0] ? error.message : deja_status_text(status));
    if (options->embedder || options->model)
        return status;
    fprintf(stderr,
            "deja eval: using the lexical embedder; fetch a model with `deja model pull`\n");
    return dj_lexical_create(out_embedder);
}

static void on_progress(void *ctx, size_t done, size_t total)
{
    const char *name = ctx;
    fprintf(stderr, "\r%s: %zu of %zu texts%s", name, done, total, done == total ? "\r\033[K" : "");
}

/* ---- report ---- */

struct report {
    struct dj_buf out;
    struct dj_json_writer json;
    const struct eval_options *options;
};

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static void put_result_json(struct dj_json_writer *json, const struct dj_eval_result *result)
{
    struct dj_interval interval = dj_interval_two_sided(result->wrong, result->hits, ALPHA);
    dj_json_member_double(json, "threshold", result->threshold);
    dj_json_member_u64(json, "requests", result->requests);
    dj_json_member_u64(json, "hits", result->hits);
    dj_json_member_u64(json, "exact", result->exact);
    dj_json_member_u64(json, "wrong", result->wrong);
    dj_json_member_double(json, "hit_ratio", share(result->hits, result->requests));
    dj_json_member_double(json, "wrong_per_hit", share(result->wrong, result->hits));
    dj_json_key(json, "interval");
    dj_json_begin_array(json);
    dj_json_put_double(json, interval.low);
    dj_json_put_double(json, interval.high);
    dj_json_end_array(json);
    dj_json_member_double(json, "wrong_per_request", share(result->wrong, result->requests));
}

static void put_result_row(struct dj_buf *out, const char *name,
                           const struct dj_eval_result *result)
{
    struct dj_interval interval = dj_interval_two_sided(result->wrong, result->hits, ALPHA);
    dj_buf_append_format(
        out, "%-28s %6.3f %8llu %7llu %6.1f %6llu %6.2f [%5.2f, %6.2f] %6.2f\n", name,
        result->threshold, (unsigned long long)result->requests, (unsigned long long)result->hits,
        100 * share(result->hits, result->requests), (unsigned long long)result->wrong,
        100 * share(result->wrong, result->hits), 100 * interval.low, 100 * interval.high,
        100 * share(result->wrong, result->requests));
}

static void put_head(struct dj_buf *out)
{
    dj_buf_append_format(out, "%-28s %6s %8s %7s %6s %6s %6s %-15s %6s\n", "stream", "cut",
                         "requests", "hits", "%", "wrong", "%/hit", " 95 % interval", "%/req");
}

static const struct dj_eval_result *best_within(const struct dj_eval_result *results, double limit)
{
    const struct dj_eval_result *best = NULL;
    for (size_t i = 0; i < SWEEP_COUNT; i++) {
        if (share(results[i].wrong, results[i].requests) <= limit &&
            (!best || results[i].hits > best->hits))
            best = &results[i];
    }
    return best;
}

static void put_sweep_json(struct dj_json_writer *json, const struct dj_eval_result *results)
{
    dj_json_key(json, "sweep");
    dj_json_begin_array(json);
    for (size_t i = 0; i < SWEEP_COUNT; i++) {
        dj_json_begin_object(json);
        put_result_json(json, &results[i]);
        dj_json_end_object(json);
    }
    dj_json_end_array(json);
    dj_json_key(json, "best");
    dj_json_begin_array(json);
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        const struct dj_eval_result *best = best_within(results, wrong_limits[i]);
        dj_json_begin_object(json);
        dj_json_member_double(json, "wrong_per_request_max", wrong_limits[i]);
        if (best)
            put_result_json(json, best);
        dj_json_end_object(json);
    }
    dj_json_end_array(json);
}

static void put_sweep_table(struct dj_buf *out, const char *name,
                            const struct dj_eval_result *results)
{
    for (size_t i = 0; i < SWEEP_COUNT; i += SWEEP_SHOWN)
        put_result_row(out, name, &results[i]);
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        const struct dj_eval_result *best = best_within(results, wrong_limits[i]);
        char label[64];
        snprintf(label, sizeof label, "  best at <= %g %% wrong", 100 * wrong_limits[i]);
        if (best)
            put_result_row(out, label, best);
        else
            dj_buf_append_format(out, "%s: none\n", label);
    }
}

/* ---- run ---- */

static enum deja_status sweep(struct dj_eval_stream *stream, struct dj_eval_result *results)
{
    for (size_t i = 0; i < SWEEP_COUNT; i++) {
        enum deja_status status =
            dj_eval_stream_replay(stream, SWEEP_FROM + SWEEP_STEP * (double)i, &results[i]);
        if (status != DEJA_OK)
            return status;
    }
    return DEJA_OK;
}

static enum deja_status report_stream(struct report *report, struct dj_eval_stream *stream,
                                      double threshold)
{
    const char *name = dj_eval_stream_name(stream);
    struct dj_eval_result results[SWEEP_COUNT];
    bool is_sweep = report->options->is_sweep;
    enum deja_status status =
        is_sweep ? sweep(stream, results) : dj_eval_stream_replay(stream, threshold, &results[0]);
    if (status != DEJA_OK)
        return status;
    if (!report->options->is_json) {
        if (is_sweep)
            put_sweep_table(&report->out, name, results);
        else
            put_result_row(&report->out, name, &results[0]);
        return report->out.status;
    }
    dj_json_begin_object(&report->json);
    dj_json_key(&report->json, "stream");
    dj_json_put_text(&report->json, name);
    if (is_sweep)
        put_sweep_json(&report->json, results);
    else
        put_result_json(&report->json, &results[0]);
    dj_json_end_object(&report->json);
    return report->out.status;
}

static enum deja_status eval_file(struct report *report, struct dj_embedder *embedder,
                                  const char *path, double threshold, struct deja_error *error)
{
    struct dj_eval_stream *stream = NULL;
    enum deja_status status = dj_eval_stream_create(path, &stream, error);
    if (status != DEJA_OK)
        return status;
    char *name = dj_strdup(deja_slice_text(dj_eval_stream_name(stream)));
    double floor = report->options->is_sweep ? SWEEP_FROM : threshold;
    status = dj_eval_stream_prepare(stream, embedder, floor, report->options->has_guards, name,
                                    name && isatty(STDERR_FILENO) ? on_progress : NULL, error);
    if (status == DEJA_OK) {
        status = report_stream(report, stream, threshold);
        if (status != DEJA_OK)
            deja_error_set(error, status, "%s: %s", path, deja_status_text(status));
    }
    dj_free(name);
    dj_eval_stream_destroy(stream);
    return status;
}

static enum deja_status eval_files(struct report *report, struct dj_embedder *embedder,
                                   struct deja_error *error)
{
    const struct eval_options *options = report->options;
    double threshold =
        options->threshold >= 0 ? options->threshold : dj_reuse_shipped_threshold(embedder->kind);
    report->json = dj_json_writer(&report->out);
    if (options->is_json) {
        dj_json_begin_object(&report->json);
        dj_json_key(&report->json, "embedder");
        dj_json_put_text(&report->json, embedder->id);
        dj_json_key(&report->json, "guards");
        dj_json_put_bool(&report->json, options->has_guards);
        dj_json_key(&report->json, "streams");
        dj_json_begin_array(&report->json);
    } else {
        put_head(&report->out);
    }
    for (size_t i = 0; i < options->files.count; i++) {
        enum deja_status status =
            eval_file(report, embedder, options->files.items[i], threshold, error);
        if (status != DEJA_OK)
            return status;
    }
    if (options->is_json) {
        dj_json_end_array(&report->json);
        dj_json_end_object(&report->json);
        dj_buf_append_byte(&report->out, '\n');
    }
    return report->out.status;
}

int dj_tool_eval(int argc, char *const *argv)
{
    struct eval_options options;
    int code = read_options(&options, argc, argv);
    if (code)
        return code;
    dj_simd_init();
    struct dj_embedder *embedder = NULL;
    enum deja_status status = open_embedder(&options, &embedder);
    if (status != DEJA_OK)
        return EXIT_FAILURE;
    struct report report = {.options = &options};
    struct deja_error error = {{0}};
    status = eval_files(&report, embedder, &error);
    bool is_written = status == DEJA_OK &&
                      fwrite(report.out.data, 1, report.out.len, stdout) == report.out.len &&
                      fflush(stdout) == 0;
    if (status != DEJA_OK)
        fprintf(stderr, "deja eval: %s\n",
                error.message[0] ? error.message : deja_status_text(status));
    dj_buf_fini(&report.out);
    dj_embedder_destroy(embedder);
    return is_written ? EXIT_SUCCESS : EXIT_FAILURE;
}
