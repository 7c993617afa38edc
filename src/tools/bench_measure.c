/* tools/bench_measure.c - warm-up, rounds, memory, folders: what every measurement needs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/num.h"
#include "loop/loop.h"
#include "tools/bench_internal.h"

#define FOLDER_FILES_MAX 4096u
#define FOLDER_DEPTH_MAX 3u
#define SLOW_SLICES 4u

bool dj_bench_is_interrupted(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

void dj_bench_progress(const struct dj_bench *bench, const char *name)
{
    if (bench->shows_progress)
        fprintf(stderr, "\r\033[K%s%s", name ? name : "", name ? " ..." : "");
}

double dj_bench_memory(void)
{
    return dj_bench_memory_of(getpid());
}

double dj_bench_memory_of(pid_t process)
{
    static const char name[] = "RssAnon:";
    char line[256];
    char path[64];
    double found = NAN;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)process);
    FILE *file = fopen(path, "r");
    if (!file)
        return NAN;
    while (isnan(found) && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, sizeof name - 1) != 0)
            continue;
        const char *digits = line + sizeof name - 1;
        digits += strspn(digits, " \t");
        uint64_t kilobytes = 0;
        if (dj_num_parse_u64(deja_slice(digits, strspn(digits, "0123456789")), &kilobytes) ==
            DEJA_OK)
            found = (double)kilobytes * 1024;
    }
    fclose(file);
    return found;
}

/* ---- folders ---- */

enum deja_status dj_bench_folder_make(char *out_path, struct deja_error *error)
{
    const char *base = getenv("TMPDIR");
    char path[DJ_BENCH_PATH_BYTES];
    int len = snprintf(path, sizeof path, "%s/deja-bench-XXXXXX", base && *base ? base : "/tmp");
    if (len < 0 || (size_t)len >= sizeof path)
        return deja_error_set(error, DEJA_ERR_INVALID, "TMPDIR is too long");
    if (!mkdtemp(path))
        return deja_error_set(error, DEJA_ERR_IO, "%s: %s; TMPDIR names another place", path,
                              strerror(errno));
    memcpy(out_path, path, (size_t)len + 1);
    return DEJA_OK;
}

/* Each file of a folder, and of folders in it down to depth. */
static void empty_folder(int fd, const char *path, unsigned depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return;
    }
    size_t left = FOLDER_FILES_MAX;
    for (struct dirent *entry = readdir(folder); entry && left; entry = readdir(folder), left--) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || unlinkat(fd, name, 0) == 0)
            continue;
        int inner = depth ? openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (inner >= 0)
            empty_folder(inner, path, depth - 1);
        if (unlinkat(fd, name, AT_REMOVEDIR) != 0)
            fprintf(stderr, "deja bench: %s: %s: %s\n", path, name, strerror(errno));
    }
    closedir(folder);
}

void dj_bench_folder_remove(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        empty_folder(fd, path, FOLDER_DEPTH_MAX);
    if (rmdir(path) != 0)
        fprintf(stderr, "deja bench: %s: %s\n", path, strerror(errno));
}

/* ---- results ---- */

struct dj_bench_result dj_bench_result(const char *name, const char *unit)
{
    struct dj_bench_result result = {.memory_bytes = NAN};
    snprintf(result.name, sizeof result.name, "%s", name);
    snprintf(result.unit, sizeof result.unit, "%s", unit);
    return result;
}

enum deja_status dj_bench_keep(struct dj_bench *bench, const struct dj_bench_result *given,
                               struct dj_bench_series *series)
{
    struct dj_bench_report *report = bench->report;
    if (report->count == DJ_BENCH_RESULTS_MAX)
        return deja_error_set(&bench->error, DEJA_ERR_LIMIT, "too many results");
    struct dj_bench_result *result = &report->results[report->count++];
    *result = *given;
    dj_bench_series_summarise(series, &result->figures);
    return DEJA_OK;
}

/* ---- rounds ---- */

/* One round, or the warm-up, which is one that is forgotten. *index: of the next step. */
static void run_round(const struct dj_bench *bench, const struct dj_bench_case *item,
                      struct dj_bench_series *series, uint64_t *index)
{
    uint64_t steps_max =
        item->steps_max ? item->steps_max / (bench->rounds + 1) : series->cap / bench->rounds;
    uint64_t slice_us = bench->slice_us * (item->is_slow ? SLOW_SLICES : 1);
    uint64_t end_us = dj_clock_monotonic_us() + slice_us;
    for (uint64_t i = 0; i < steps_max; i++) {
        bool is_prepared = !item->before || item->before(item->ctx, *index);
        uint64_t began_ns = dj_clock_monotonic_ns();
        bool is_ok = item->step(item->ctx, *index);
        uint64_t ended_ns = dj_clock_monotonic_ns();
        dj_bench_series_add(series, (double)(ended_ns - began_ns) / 1000, is_prepared && is_ok);
        ++*index;
        if (ended_ns / 1000 >= end_us)
            break;
    }
    dj_bench_series_end_round(series, 0);
}

static void scale(struct dj_bench_spread *spread, double factor)
{
    spread->median *= factor;
    spread->low *= factor;
    spread->high *= factor;
}

enum deja_status dj_bench_measure(struct dj_bench *bench, const struct dj_bench_case *item)
{
    struct dj_bench_series series = {.values = NULL};
    uint64_t index = 0;
    dj_bench_progress(bench, item->name);
    if (dj_bench_series_init(&series, DJ_BENCH_SERIES_CAP) != DEJA_OK)
        return deja_error_set(&bench->error, DEJA_ERR_NOMEM, "out of memory");
    double memory_before = dj_bench_memory();
    run_round(bench, item, &series, &index);
    dj_bench_series_clear(&series);
    enum deja_status status = DEJA_OK;
    for (uint32_t i = 0; i < bench->rounds && status == DEJA_OK; i++) {
        run_round(bench, item, &series, &index);
        if (dj_bench_is_interrupted())
            status = DEJA_ERR_CANCELLED;
    }
    struct dj_bench_result result = dj_bench_result(item->name, "us");
    result.memory_bytes = dj_bench_memory() - memory_before;
    result.entries = item->entries;
    if (item->embedder)
        snprintf(result.embedder, sizeof result.embedder, "%s", item->embedder);
    if (status == DEJA_OK)
        status = dj_bench_keep(bench, &result, &series);
    if (status == DEJA_OK && item->ops_per_step > 1)
        scale(&bench->report->results[bench->report->count - 1].figures.rates, item->ops_per_step);
    dj_bench_series_fini(&series);
    return status;
}
