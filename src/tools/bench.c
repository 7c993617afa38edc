/* tools/bench.c - see bench.h. Options, then the groups in order, then the report; or compare. */
#include "tools/bench.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "base/suggest.h"
#include "loop/loop.h"
#include "net/outbound.h"
#include "tools/bench_compare.h"
#include "tools/bench_internal.h"
#include "tools/bench_load.h"
#include "tools/bench_predict.h"
#include "tools/bench_slow.h"
#include "tools/file.h"

#define CLIENTS_MAX 256u
#define LIMIT_PERCENT 10.0
#define CPUINFO_LINES_MAX 64u
#define LOAD_SECONDS_QUICK 16u
#define SLOW_SECONDS_QUICK 8u
#define SLOW_CONNECTIONS_QUICK 1000u

/* In the order they run: memory while the process is fresh, then what may not be reachable, so that
 * nobody waits for that news. Two parts of one name are one to --only. */
static const struct group {
    const char *name;
    dj_bench_group_fn *run;
} groups[] = {
    {"memory", dj_bench_memory_group},     {"server", dj_bench_server_group},
    {"basic", dj_bench_basic_group},       {"exact", dj_bench_engine_group},
    {"exact", dj_bench_exact_group},       {"batch", dj_bench_batch_group},
    {"semantic", dj_bench_semantic_group}, {"compression", dj_bench_compression_group},
};
#define GROUP_COUNT (sizeof groups / sizeof *groups)
#define GROUP_SERVER 1u

/* As the command line says it; texts are borrowed from argv. */
struct flags {
    bool is_quick;
    bool wants_json;
    const char *only;
    const char *out;
    const char *server;
    const char *key;
    const char *clients;
    const char *limit;
    struct load_flags {
        const char *seconds;
        const char *connections;
        const char *tenants;
        const char *questions;
        const char *pause;
        const char *model_port;
    } load;
    struct dj_words words;
};

/* clang-format off: a table is read by its columns */
static const struct dj_command_option rows[] = {
    {"--quick", DJ_COMMAND_SWITCH, NULL, "Ten seconds at most, with fewer entries",
     offsetof(struct flags, is_quick)},
    {"--only", DJ_COMMAND_TEXT, "NAME,...",
     "Of memory, basic, exact, batch, semantic, compression, server", offsetof(struct flags, only)},
    {"--json", DJ_COMMAND_SWITCH, NULL, "Print JSON", offsetof(struct flags, wants_json)},
    {"--out", DJ_COMMAND_TEXT, "FILE", "Also write the result to FILE, as JSON",
     offsetof(struct flags, out)},
    {"--server", DJ_COMMAND_TEXT, "URL", "Also measure a running daemon over HTTP",
     offsetof(struct flags, server)},
    {"--key", DJ_COMMAND_TEXT, "KEY", "Its key; else DEJA_KEY", offsetof(struct flags, key)},
    {"--clients", DJ_COMMAND_TEXT, "NUMBER",
     "How many ask it side by side, 1 to 256; 1. Of load: in the highest ramp, to 10000; 1000",
     offsetof(struct flags, clients)},
    {"--limit", DJ_COMMAND_TEXT, "PERCENT", "Of compare: how much slower is a regression; 10%",
     offsetof(struct flags, limit)},
    {"--seconds", DJ_COMMAND_TEXT, "NUMBER", "Of load: all ramps together; 960, --quick: 16",
     offsetof(struct flags, load.seconds)},
    {"--connections", DJ_COMMAND_TEXT, "NUMBER",
     "Of load: afterwards hold so many open, most of them idle",
     offsetof(struct flags, load.connections)},
    {"--tenants", DJ_COMMAND_TEXT, "NUMBER", "Of load: 1 to 64; 5",
     offsetof(struct flags, load.tenants)},
    {"--questions", DJ_COMMAND_TEXT, "NUMBER", "Of load: of each tenant, to 10000; 100",
     offsetof(struct flags, load.questions)},
    {"--pause", DJ_COMMAND_TEXT, "DURATION",
     "Of load: between an answer and the client's next question; 100ms",
     offsetof(struct flags, load.pause)},
    {"--model-port", DJ_COMMAND_TEXT, "PORT",
     "Of load with --server: its upstream is our model, on this port; else its cache API is asked",
     offsetof(struct flags, load.model_port)},
};
/* clang-format on */

const struct dj_command dj_bench_command = {
    .name = "bench",
    .summary = "measure this machine; compare two runs",
    .synopsis = "[--quick] [--only NAME,...] [--json] [--out FILE] [--server URL [--clients N]]\n"
                "load [--seconds N] [--connections N] [--server URL] [--json] [--out FILE]\n"
                "slow [--seconds N] [--connections N] [--json] [--out FILE]\n"
                "predict [--json]\n"
                "compare OLD NEW [--limit 10%] [--json]",
    .examples = "deja bench\twithin a minute\n"
                "deja bench --quick --only exact,semantic\n"
                "deja bench --out before.json\n"
                "deja bench compare before.json after.json\texit 1: slower\n"
                "deja bench --server http://127.0.0.1:7070\n"
                "deja bench load --quick\t1,000 clients within half a minute\n"
                "deja bench load --seconds 60 --connections 10000\n"
                "deja bench slow --quick\tis anybody held up by who goes slowly?\n"
                "deja bench predict\thow good predictions are on generated weeks, and their cost",
    .description =
        "Measures in its own process, in memory and in a folder of its own in TMPDIR: what an "
        "entry takes, put, lookup and remove, exact hits, a batch of lookups, hits by meaning "
        "(with "
        "the model deja serve would use, else lexical) and compression. Every figure is taken in "
        "rounds, and the middle half of the rounds is its spread.\n"
        "compare reads what --out or --json wrote. A figure is worse when the median of its rounds "
        "moved in the wrong direction by more than the limit and the middle halves of both runs "
        "lie apart, or when fewer operations succeeded. Times of two machines are not compared.\n"
        "load lets clients in, in ramps to 100, 500 and 1,000, each with a connection of its own, "
        "of "
        "several tenants, and looks at every answer. It starts a daemon of its own and a model "
        "behind it, or asks the cache API of --server. Exit code 1: the p95 of a ramp was 100 ms "
        "or "
        "more, at most 80 % were hits, more than one call in a thousand had no answer, an answer "
        "was "
        "wrong, another tenant's or without X-Cache-Hit, or a connection was not held.\n"
        "slow asks what is in the cache, alone and then beside 10,000 connections that send or "
        "read next to nothing, of a daemon of its own. Exit code 1: the p99 beside them was more "
        "than 1.2 times that alone, a call was not answered, or one of them outlived its time "
        "limit.\n"
        "predict puts eight generated weeks with daily and weekly rhythms before the predictor of "
        "deja warm, learns from four, and tells of the others how many hours were foreseen, how "
        "much of what was warmed was used, and what it cost. Exit code 1: less than 70 % was.",
    .first_words = "compare|load|predict|slow",
    .options = {{rows, sizeof rows / sizeof *rows}},
    .takes_settings = true,
};

static int complain(const char *message)
{
    return dj_command_misused(&dj_bench_command, message);
}

/* ---- output ---- */

static bool write_all(FILE *file, const struct dj_buf *text)
{
    return text->status == DEJA_OK && fwrite(text->data, 1, text->len, file) == text->len &&
           fflush(file) == 0;
}

static bool write_file(const char *path, const struct dj_buf *text)
{
    FILE *file = fopen(path, "w");
    bool is_written = file && write_all(file, text);
    if (file && fclose(file) != 0)
        is_written = false;
    if (!is_written)
        fprintf(stderr, "deja bench: %s cannot be written\n", path);
    return is_written;
}

static int write_report(const struct flags *flags, const struct dj_bench_report *report)
{
    struct dj_buf json = {0};
    struct dj_buf text = {0};
    dj_bench_report_write_json(report, &json);
    dj_bench_report_write_text(report, &text);
    bool is_written = write_all(stdout, flags->wants_json ? &json : &text);
    if (flags->out && !write_file(flags->out, &json))
        is_written = false;
    dj_buf_fini(&json);
    dj_buf_fini(&text);
    return is_written ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

/* ---- the machine ---- */

static void read_cpu(char *out, size_t room)
{
    static const char name[] = "model name";
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, room, "unknown processor");
    if (!file)
        return;
    for (unsigned i = 0; i < CPUINFO_LINES_MAX && fgets(line, sizeof line, file); i++) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, sizeof name - 1) != 0)
            continue;
        colon += strspn(colon, ": \t");
        snprintf(out, room, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(file);
}

static double read_load(void)
{
    char line[64] = "";
    double load = NAN;
    FILE *file = fopen("/proc/loadavg", "r");
    if (!file)
        return NAN;
    if (fgets(line, sizeof line, file) &&
        dj_num_parse_double(deja_slice(line, strcspn(line, " ")), &load) != DEJA_OK)
        load = NAN;
    fclose(file);
    return load;
}

static void describe(struct dj_bench_report *report)
{
    struct utsname names;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(report->version, sizeof report->version, "%s", DEJA_VERSION);
    dj_date_rfc3339(dj_clock_now_ms(), report->taken_at);
    read_cpu(report->machine.cpu, sizeof report->machine.cpu);
    if (uname(&names) == 0)
        snprintf(report->machine.system, sizeof report->machine.system, "%.40s %.40s",
                 names.sysname, names.machine);
    report->machine.cores = cores > 0 ? (uint32_t)cores : 1;
    report->machine.load = read_load();
}

/* ---- a run ---- */

/* Bits of groups by --only; 0: told on stderr. */
static unsigned read_only(const char *only)
{
    unsigned chosen = 0;
    while (only && *only) {
        size_t len = strcspn(only, ",");
        char name[32];
        snprintf(name, sizeof name, "%.*s", len < 31 ? (int)len : 31, only);
        struct dj_suggest suggest = dj_suggest(name);
        unsigned found = 0;
        for (size_t i = 0; i < GROUP_COUNT; i++) {
            dj_suggest_offer(&suggest, groups[i].name);
            if (strcmp(groups[i].name, name) == 0)
                found |= 1u << i;
        }
        if (!found) {
            fprintf(stderr, "deja bench: --only: there is no \"%s\"%s%s%s; deja bench --help\n",
                    name, suggest.best ? ": did you mean \"" : "", suggest.best ? suggest.best : "",
                    suggest.best ? "\"" : "");
            return 0;
        }
        chosen |= found;
        only += len + (only[len] == ',');
    }
    if (!chosen)
        complain("--only expects names, as in --only exact,semantic");
    return chosen;
}

static int read_bench(const struct flags *flags, struct dj_bench *bench, unsigned *out_chosen)
{
    uint64_t clients = 1;
    if (flags->clients && (dj_num_parse_u64(deja_slice_text(flags->clients), &clients) != DEJA_OK ||
                           clients < 1 || clients > CLIENTS_MAX))
        return complain("--clients expects a number from 1 to 256");
    if (flags->limit)
        return complain("--limit belongs to deja bench compare");
    *out_chosen = flags->only ? read_only(flags->only) : (1u << GROUP_COUNT) - 1;
    if (!*out_chosen)
        return DJ_EXIT_USAGE;
    if (!flags->server && flags->only && *out_chosen & 1u << GROUP_SERVER)
        return complain("--only server needs --server URL");
    struct deja_error error;
    if (flags->server && dj_outbound_check_url(flags->server, &error) != DEJA_OK) {
        fprintf(stderr, "deja bench: --server: %s\n", error.message);
        return DJ_EXIT_USAGE;
    }
    if (!flags->server)
        *out_chosen &= ~(1u << GROUP_SERVER);
    bench->is_quick = flags->is_quick;
    bench->shows_progress = isatty(STDERR_FILENO) == 1;
    bench->rounds = flags->is_quick ? 5 : 9;
    bench->slice_us = flags->is_quick ? 20000 : 100000;
    bench->fill_us = flags->is_quick ? 500000 : 5000000;
    bench->entries = flags->is_quick ? 1000 : 10000;
    bench->server = flags->server;
    bench->key = flags->key ? flags->key : getenv("DEJA_KEY");
    bench->clients = (uint32_t)clients;
    return 0;
}

static int exit_code(enum deja_status status)
{
    if (status == DEJA_OK)
        return DJ_EXIT_OK;
    if (status == DEJA_ERR_DENIED)
        return DJ_EXIT_DENIED;
    return status == DEJA_ERR_CIRCUIT_OPEN ? DJ_EXIT_UNREACHABLE : DJ_EXIT_FAILED;
}

struct run {
    const struct flags *flags;
    struct dj_bench bench;
    unsigned chosen; /* groups, by their bits */
    struct dj_load_options load;
    struct dj_slow_options slow;
};

static enum deja_status run_groups(struct run *run)
{
    enum deja_status status = DEJA_OK;
    for (size_t i = 0; i < GROUP_COUNT && status == DEJA_OK; i++)
        if (run->chosen & 1u << i)
            status = groups[i].run(&run->bench);
    return status;
}

static enum deja_status run_load(struct run *run)
{
    return dj_bench_load(&run->bench, &run->load);
}

static bool are_checks_ok(const struct dj_bench_report *report)
{
    bool are_ok = true;
    for (size_t i = 0; i < report->check_count; i++)
        are_ok = are_ok && dj_bench_check_is_ok(&report->checks[i]);
    return are_ok;
}

/* Ctrl-C waits until the temporary folder is gone: it is blocked meanwhile, looked for between
 * rounds, and delivered at the end. */
static int run_and_report(struct run *run, enum deja_status (*work)(struct run *run))
{
    struct dj_bench *bench = &run->bench;
    sigset_t held;
    sigset_t before;
    bench->report = dj_alloc_zeroed(1, sizeof *bench->report);
    if (!bench->report) {
        fputs("deja bench: out of memory\n", stderr);
        return DJ_EXIT_FAILED;
    }
    describe(bench->report);
    bench->report->is_quick = bench->is_quick;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    sigprocmask(SIG_BLOCK, &held, &before);
    enum deja_status status = work(run);
    dj_bench_progress(bench, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int code = exit_code(status);
    if (status != DEJA_OK)
        fprintf(stderr, "deja bench: %s\n",
                bench->error.message[0] ? bench->error.message : deja_status_text(status));
    else
        code = write_report(run->flags, bench->report);
    if (code == DJ_EXIT_OK && !are_checks_ok(bench->report))
        code = DJ_EXIT_FAILED;
    dj_free(bench->report);
    return code;
}

static int run(const char *model_dir, const struct flags *flags)
{
    struct run run = {.flags = flags, .bench = {.model_dir = model_dir}};
    const struct load_flags *load = &flags->load;
    if (load->seconds || load->connections || load->tenants || load->questions || load->pause ||
        load->model_port)
        return complain("--seconds, --connections, --tenants, --questions, --pause and "
                        "--model-port belong to deja bench load");
    int code = read_bench(flags, &run.bench, &run.chosen);
    return code ? code : run_and_report(&run, run_groups);
}

/* ---- load ---- */

static bool read_count(const char *name, const char *text, uint64_t least, uint64_t most,
                       uint32_t *out_count)
{
    uint64_t value = 0;
    char message[160];
    if (!text)
        return true;
    if (dj_num_parse_u64(deja_slice_text(text), &value) == DEJA_OK && value >= least &&
        value <= most) {
        *out_count = (uint32_t)value;
        return true;
    }
    snprintf(message, sizeof message, "%s expects a number from %llu to %llu", name,
             (unsigned long long)least, (unsigned long long)most);
    complain(message);
    return false;
}

static int read_load_options(const struct flags *flags, struct dj_load_options *out)
{
    const struct load_flags *load = &flags->load;
    struct deja_error error;
    uint64_t pause_ms = out->pause_ms;
    uint32_t model_port = 0;
    if (flags->only || flags->limit)
        return complain("--only and --limit are not of load");
    if (flags->is_quick)
        out->seconds = LOAD_SECONDS_QUICK;
    if (!read_count("--seconds", load->seconds, 4, 86400, &out->seconds) ||
        !read_count("--clients", flags->clients, 1, DJ_LOAD_CLIENTS_MAX, &out->clients) ||
        !read_count("--connections", load->connections, 1, DJ_LOAD_CONNECTIONS_MAX,
                    &out->connections) ||
        !read_count("--tenants", load->tenants, 1, DJ_LOAD_TENANTS_MAX, &out->tenants) ||
        !read_count("--questions", load->questions, 1, DJ_LOAD_QUESTIONS_MAX, &out->questions) ||
        !read_count("--model-port", load->model_port, 1, 65535, &model_port))
        return DJ_EXIT_USAGE;
    out->model_port = (uint16_t)model_port;
    if (load->pause && (dj_num_parse_duration(deja_slice_text(load->pause), &pause_ms) != DEJA_OK ||
                        pause_ms > 60000))
        return complain("--pause expects a duration up to a minute, as in --pause 100ms");
    out->pause_ms = (uint32_t)pause_ms;
    if ((model_port || flags->key) && !flags->server)
        return complain("--key and --model-port need --server URL");
    if (!flags->server || dj_outbound_check_url(flags->server, &error) == DEJA_OK)
        return 0;
    fprintf(stderr, "deja bench: --server: %s\n", error.message);
    return DJ_EXIT_USAGE;
}

static int load(const char *model_dir, const struct flags *flags)
{
    struct run run = {.flags = flags,
                      .bench = {.is_quick = flags->is_quick,
                                .model_dir = model_dir,
                                .server = flags->server,
                                .key = flags->key ? flags->key : getenv("DEJA_KEY"),
                                .shows_progress = isatty(STDERR_FILENO) == 1},
                      .load = dj_load_options_default};
    if (flags->words.count > 1)
        return dj_command_misplaced(&dj_bench_command, flags->words.items[1]);
    int code = read_load_options(flags, &run.load);
    return code ? code : run_and_report(&run, run_load);
}

/* ---- slow ---- */

static enum deja_status run_slow(struct run *run)
{
    return dj_bench_slow(&run->bench, &run->slow);
}

static int slow(const char *model_dir, const struct flags *flags)
{
    struct run run = {.flags = flags,
                      .bench = {.is_quick = flags->is_quick,
                                .model_dir = model_dir,
                                .shows_progress = isatty(STDERR_FILENO) == 1},
                      .slow = dj_slow_options_default};
    if (flags->words.count > 1)
        return dj_command_misplaced(&dj_bench_command, flags->words.items[1]);
    if (flags->only || flags->limit || flags->server || flags->key || flags->clients ||
        flags->load.tenants || flags->load.questions || flags->load.pause || flags->load.model_port)
        return complain("slow takes --quick, --seconds, --connections, --json and --out only");
    if (flags->is_quick)
        run.slow = (struct dj_slow_options){SLOW_CONNECTIONS_QUICK, SLOW_SECONDS_QUICK};
    if (!read_count("--seconds", flags->load.seconds, 4, 86400, &run.slow.seconds) ||
        !read_count("--connections", flags->load.connections, 1, DJ_LOAD_CONNECTIONS_MAX,
                    &run.slow.connections))
        return DJ_EXIT_USAGE;
    return run_and_report(&run, run_slow);
}

/* ---- compare ---- */

/* "10%" or "10"; to a fraction. */
static bool read_limit(const char *text, double *out_limit)
{
    size_t len = text ? strlen(text) : 0;
    double percent = LIMIT_PERCENT;
    if (len && text[len - 1] == '%')
        len--;
    if (text && (dj_num_parse_double(deja_slice(text, len), &percent) != DEJA_OK || percent < 0 ||
                 percent > 1000))
        return false;
    *out_limit = percent / 100;
    return true;
}

static bool read_run(const char *path, struct dj_bench_report *out)
{
    struct dj_buf text = {.bytes_max = DJ_BENCH_FILE_BYTES_MAX};
    struct deja_error error = {{0}};
    struct deja_error inner = {{0}};
    enum deja_status status = dj_tool_read_file(path, &text, &error);
    if (status == DEJA_OK) {
        status = dj_bench_report_read(dj_buf_slice(&text), out, &inner);
        if (status != DEJA_OK)
            deja_error_set(&error, status, "%s: %.300s", path,
                           inner.message[0] ? inner.message : deja_status_text(status));
    }
    if (status != DEJA_OK)
        fprintf(stderr, "deja bench compare: %s\n", error.message);
    dj_buf_fini(&text);
    return status == DEJA_OK;
}

static int compare_runs(const struct flags *flags, const struct dj_bench_comparison *comparison)
{
    struct dj_buf out = {0};
    size_t compared = 0;
    size_t worse = dj_bench_compare(comparison, flags->wants_json, &out, &compared);
    bool is_written = write_all(stdout, &out);
    dj_buf_fini(&out);
    if (!compared)
        fputs("deja bench compare: the two runs have nothing that can be compared\n", stderr);
    return is_written && compared && !worse ? DJ_EXIT_OK : DJ_EXIT_FAILED;
}

static int compare(const struct flags *flags)
{
    double limit = 0;
    if (flags->words.count != 3)
        return complain("compare expects two files: deja bench compare OLD NEW");
    if (flags->is_quick || flags->only || flags->out || flags->server || flags->key ||
        flags->clients)
        return complain("compare takes --limit and --json only");
    if (!read_limit(flags->limit, &limit))
        return complain("--limit expects percent, as in --limit 10%");
    struct dj_bench_report *runs = dj_alloc_zeroed(2, sizeof *runs);
    struct dj_bench_comparison comparison = {.before = runs, .after = runs + 1, .limit = limit};
    int code = DJ_EXIT_FAILED;
    if (!runs)
        fputs("deja bench: out of memory\n", stderr);
    else if (read_run(flags->words.items[1], &runs[0]) && read_run(flags->words.items[2], &runs[1]))
        code = compare_runs(flags, &comparison);
    dj_free(runs);
    return code;
}

int dj_tool_bench(const char *model_dir, int argc, char *const *argv)
{
    struct flags flags = {.is_quick = false};
    struct deja_error error;
    if (dj_command_parse(&dj_bench_command, argc - 1, argv + 1, &flags, &flags.words, &error) !=
        DEJA_OK)
        return complain(error.message);
    if (!flags.words.count)
        return run(model_dir, &flags);
    if (strcmp(flags.words.items[0], "compare") == 0)
        return compare(&flags);
    if (strcmp(flags.words.items[0], "load") == 0)
        return load(model_dir, &flags);
    if (strcmp(flags.words.items[0], "slow") == 0)
        return slow(model_dir, &flags);
    if (strcmp(flags.words.items[0], "predict") == 0)
        return flags.words.count > 1 ? dj_command_misplaced(&dj_bench_command, flags.words.items[1])
                                     : dj_bench_predict_report(flags.wants_json);
    return dj_command_misplaced(&dj_bench_command, flags.words.items[0]);
}
