/* tools/bench_report.c - see bench_report.h. */
#include "tools/bench_report.h"

#include <math.h>
#include <stdio.h>

#include "base/slice.h"

#define FORMAT 1 /* of the file; a reader of another one says so */

bool dj_bench_result_is_time(const struct dj_bench_result *result)
{
    return strcmp(result->unit, "us") == 0;
}

const struct dj_bench_result *dj_bench_report_find(const struct dj_bench_report *report,
                                                   const char *name)
{
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->results[i].name, name) == 0)
            return &report->results[i];
    return NULL;
}

/* ---- text ---- */

void dj_bench_write_figure(const char *unit, double value, char out_text[DJ_BENCH_FIGURE_BYTES])
{
    size_t room = DJ_BENCH_FIGURE_BYTES;
    if (!isfinite(value))
        snprintf(out_text, room, "-");
    else if (strcmp(unit, "us") == 0 && fabs(value) >= 1000)
        snprintf(out_text, room, "%.2f ms", value / 1000);
    else if (strcmp(unit, "us") == 0)
        snprintf(out_text, room, "%.*f us", fabs(value) < 10 ? 2 : 1, value);
    else if (strcmp(unit, "bytes") == 0)
        snprintf(out_text, room, "%.0f B", value);
    else if (!*unit)
        snprintf(out_text, room, "%.0f", value);
    else
        snprintf(out_text, room, "%.2f", value);
}

static void write_row(const struct dj_bench_result *result, struct dj_buf *out)
{
    const struct dj_bench_figures *figures = &result->figures;
    const double values[] = {figures->mean, figures->p50,         figures->p95,
                             figures->p99,  figures->medians.low, figures->medians.high};
    char texts[6][DJ_BENCH_FIGURE_BYTES];
    char rate[24] = "-";
    char memory[24] = "-";
    for (size_t i = 0; i < 6; i++)
        dj_bench_write_figure(result->unit, values[i], texts[i]);
    if (dj_bench_result_is_time(result) && isfinite(figures->rates.median))
        snprintf(rate, sizeof rate, "%.0f", figures->rates.median);
    if (isfinite(result->memory_bytes))
        snprintf(memory, sizeof memory, "%+.1f MB", result->memory_bytes / (1 << 20));
    dj_buf_append_format(out, "%-26s %7llu %10s %10s %10s %10s  %10s .. %-10s %8s %6.1f %% %9s\n",
                         result->name, (unsigned long long)figures->runs, texts[0], texts[1],
                         texts[2], texts[3], texts[4], texts[5], rate,
                         isfinite(figures->success_rate) ? 100 * figures->success_rate : 0, memory);
}

bool dj_bench_check_is_ok(const struct dj_bench_check *check)
{
    return check->value >= check->least && check->value <= check->most;
}

static void write_checked(const struct dj_bench_check *check, double value, char *out, size_t room)
{
    if (strcmp(check->unit, "ratio") == 0 && isfinite(value))
        snprintf(out, room, "%.2f %%", 100 * value);
    else
        dj_bench_write_figure(check->unit, value, out);
}

static void write_check(const struct dj_bench_check *check, struct dj_buf *out)
{
    char texts[3][DJ_BENCH_FIGURE_BYTES];
    const double values[] = {check->value, check->least, check->most};
    for (size_t i = 0; i < 3; i++)
        write_checked(check, values[i], texts[i], sizeof texts[i]);
    dj_buf_append_format(out, "%-26s %12s   %-6s  wanted: %s to %s\n", check->name, texts[0],
                         dj_bench_check_is_ok(check) ? "ok" : "NOT OK", texts[1], texts[2]);
}

void dj_bench_report_write_text(const struct dj_bench_report *report, struct dj_buf *out)
{
    const struct dj_bench_machine *machine = &report->machine;
    const char *embedder = "";
    dj_buf_append_format(out, "deja %s on %s, %u cores, %s, %s\n", report->version, machine->cpu,
                         machine->cores, machine->system, report->taken_at);
    if (isfinite(machine->load) && machine->load >= 0.5)
        dj_buf_append_format(out,
                             "others used this machine meanwhile (load %.2f before the run): take "
                             "the figures with care\n",
                             machine->load);
    for (size_t i = 0; i < report->count; i++)
        if (report->results[i].embedder[0])
            embedder = report->results[i].embedder;
    if (embedder[0])
        dj_buf_append_format(out, "embedder: %s\n", embedder);
    dj_buf_append_format(out, "\n%-26s %7s %10s %10s %10s %10s  %24s   %8s %8s %9s\n", "", "runs",
                         "mean", "p50", "p95", "p99", "rounds, middle half", "ops/s", "success",
                         "memory");
    for (size_t i = 0; i < report->count; i++)
        write_row(&report->results[i], out);
    if (report->check_count)
        dj_buf_append_text(out, "\n");
    for (size_t i = 0; i < report->check_count; i++)
        write_check(&report->checks[i], out);
}

/* ---- JSON ---- */

static void put_spread(struct dj_json_writer *w, const char *name,
                       const struct dj_bench_spread *spread)
{
    dj_json_key(w, name);
    dj_json_begin_object(w);
    dj_json_member_double(w, "median", spread->median);
    dj_json_key(w, "quartiles");
    dj_json_begin_array(w);
    dj_json_put_double(w, spread->low);
    dj_json_put_double(w, spread->high);
    dj_json_end_array(w);
    dj_json_end_object(w);
}

static void put_result(struct dj_json_writer *w, const struct dj_bench_result *result)
{
    const struct dj_bench_figures *figures = &result->figures;
    dj_json_begin_object(w);
    dj_json_member_text(w, "name", result->name);
    dj_json_member_text(w, "unit", result->unit);
    dj_json_member_text(w, "better", result->is_higher_better ? "higher" : "lower");
    dj_json_member_u64(w, "runs", figures->runs);
    dj_json_member_double(w, "mean", figures->mean);
    dj_json_member_double(w, "p50", figures->p50);
    dj_json_member_double(w, "p95", figures->p95);
    dj_json_member_double(w, "p99", figures->p99);
    dj_json_member_u64(w, "round_count", figures->rounds);
    put_spread(w, "rounds", &figures->medians);
    if (dj_bench_result_is_time(result))
        put_spread(w, "ops_per_s", &figures->rates);
    dj_json_member_double(w, "success_rate", figures->success_rate);
    dj_json_member_double(w, "memory_bytes", result->memory_bytes);
    if (result->entries)
        dj_json_member_u64(w, "entries", result->entries);
    if (result->clients)
        dj_json_member_u64(w, "clients", result->clients);
    if (result->embedder[0])
        dj_json_member_text(w, "embedder", result->embedder);
    dj_json_end_object(w);
}

static void put_checks(struct dj_json_writer *w, const struct dj_bench_report *report)
{
    dj_json_key(w, "checks");
    dj_json_begin_array(w);
    for (size_t i = 0; i < report->check_count; i++) {
        const struct dj_bench_check *check = &report->checks[i];
        dj_json_begin_object(w);
        dj_json_member_text(w, "name", check->name);
        dj_json_member_text(w, "unit", check->unit);
        dj_json_member_double(w, "value", check->value);
        dj_json_member_double(w, "least", check->least);
        dj_json_member_double(w, "most", check->most);
        dj_json_key(w, "ok");
        dj_json_put_bool(w, dj_bench_check_is_ok(check));
        dj_json_end_object(w);
    }
    dj_json_end_array(w);
}

void dj_bench_report_write_json(const struct dj_bench_report *report, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    dj_json_begin_object(&w);
    dj_json_member_u64(&w, "format", FORMAT);
    dj_json_member_text(&w, "deja", report->version);
    dj_json_member_text(&w, "taken_at", report->taken_at);
    dj_json_key(&w, "quick");
    dj_json_put_bool(&w, report->is_quick);
    dj_json_key(&w, "machine");
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "cpu", report->machine.cpu);
    dj_json_member_text(&w, "system", report->machine.system);
    dj_json_member_u64(&w, "cores", report->machine.cores);
    dj_json_member_double(&w, "load", report->machine.load);
    dj_json_end_object(&w);
    dj_json_key(&w, "results");
    dj_json_begin_array(&w);
    for (size_t i = 0; i < report->count; i++)
        put_result(&w, &report->results[i]);
    dj_json_end_array(&w);
    if (report->check_count)
        put_checks(&w, report);
    dj_json_end_object(&w);
    dj_buf_append_byte(out, '\n');
}

/* ---- and back ---- */

static void get_text(const struct dj_json *object, const char *name, char *out, size_t room)
{
    struct deja_slice text = dj_json_string(dj_json_get(object, name));
    size_t len = text.len < room ? text.len : room - 1;
    if (len)
        memcpy(out, text.data, len);
    out[len] = '\0';
}

static double get_double(const struct dj_json *object, const char *name)
{
    return dj_json_double(dj_json_get(object, name), NAN);
}

static uint64_t get_u64(const struct dj_json *object, const char *name)
{
    int64_t value = dj_json_i64(dj_json_get(object, name), 0);
    return value > 0 ? (uint64_t)value : 0;
}

static struct dj_bench_spread get_spread(const struct dj_json *object, const char *name)
{
    const struct dj_json *spread = dj_json_get(object, name);
    const struct dj_json *quartiles = dj_json_get(spread, "quartiles");
    return (struct dj_bench_spread){.median = get_double(spread, "median"),
                                    .low = dj_json_double(dj_json_at(quartiles, 0), NAN),
                                    .high = dj_json_double(dj_json_at(quartiles, 1), NAN)};
}

static void get_result(const struct dj_json *object, struct dj_bench_result *out)
{
    *out = (struct dj_bench_result){
        .is_higher_better = dj_slice_is(dj_json_string(dj_json_get(object, "better")), "higher"),
        .memory_bytes = get_double(object, "memory_bytes"),
        .entries = get_u64(object, "entries"),
        .clients = get_u64(object, "clients"),
        .figures = {.runs = get_u64(object, "runs"),
                    .rounds = (uint32_t)get_u64(object, "round_count"),
                    .mean = get_double(object, "mean"),
                    .p50 = get_double(object, "p50"),
                    .p95 = get_double(object, "p95"),
                    .p99 = get_double(object, "p99"),
                    .medians = get_spread(object, "rounds"),
                    .rates = get_spread(object, "ops_per_s"),
                    .success_rate = get_double(object, "success_rate")},
    };
    get_text(object, "name", out->name, sizeof out->name);
    get_text(object, "unit", out->unit, sizeof out->unit);
    get_text(object, "embedder", out->embedder, sizeof out->embedder);
}

static enum deja_status read_root(const struct dj_json *root, struct dj_bench_report *out,
                                  struct deja_error *error)
{
    const struct dj_json *machine = dj_json_get(root, "machine");
    const struct dj_json *results = dj_json_get(root, "results");
    if (!dj_json_is(results, DJ_JSON_ARRAY))
        return deja_error_set(error, DEJA_ERR_INVALID, "not a result of deja bench --json");
    if (dj_json_i64(dj_json_get(root, "format"), 0) != FORMAT)
        return deja_error_set(error, DEJA_ERR_INVALID, "written by a deja bench of another format");
    if (dj_json_count(results) > DJ_BENCH_RESULTS_MAX)
        return deja_error_set(error, DEJA_ERR_LIMIT, "more than %u results", DJ_BENCH_RESULTS_MAX);
    *out = (struct dj_bench_report){
        .is_quick = dj_json_bool(dj_json_get(root, "quick"), false),
        .machine = {.cores = (uint32_t)get_u64(machine, "cores"),
                    .load = get_double(machine, "load")},
    };
    get_text(root, "deja", out->version, sizeof out->version);
    get_text(root, "taken_at", out->taken_at, sizeof out->taken_at);
    get_text(machine, "cpu", out->machine.cpu, sizeof out->machine.cpu);
    get_text(machine, "system", out->machine.system, sizeof out->machine.system);
    for (struct dj_json_walk walk = dj_json_walk(results); dj_json_walk_next(&walk);)
        get_result(walk.value, &out->results[out->count++]);
    return DEJA_OK;
}

enum deja_status dj_bench_report_read(struct deja_slice text, struct dj_bench_report *out_report,
                                      struct deja_error *error)
{
    struct dj_json_doc *doc = NULL;
    enum deja_status status = dj_json_parse(text, &doc, error);
    if (status != DEJA_OK)
        return status;
    status = read_root(dj_json_root(doc), out_report, error);
    dj_json_doc_destroy(doc);
    return status;
}
