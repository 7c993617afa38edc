/* tools/bench_report.h - what one run of `deja bench` found: as a table, as JSON, and back.
 *
 * Trust: a file read back is the user's own, and may be anything all the same: bounded, checked.
 */
#ifndef DJ_TOOLS_BENCH_REPORT_H
#define DJ_TOOLS_BENCH_REPORT_H

#include <deja/base.h>

#include "base/buf.h"
#include "base/date.h"
#include "proto/json.h"
#include "tools/bench_series.h"

#define DJ_BENCH_RESULTS_MAX 64u
#define DJ_BENCH_FILE_BYTES_MAX (1u << 20)

struct dj_bench_result {
    char name[48]; /* "basic.put.memory" */
    char unit[8];  /* "us", "bytes", "ratio" */
    bool is_higher_better;
    struct dj_bench_figures figures;
    double memory_bytes; /* anonymous memory it took meanwhile; NAN: not known */
    /* What it was measured with; two results that differ here are not compared. */
    uint64_t entries;  /* in the cache; 0: does not matter */
    uint64_t clients;  /* side by side; 0: does not matter */
    char embedder[96]; /* "": does not matter */
};

/* What had to hold, of a run that is a test: value is from least to most, or not ok. */
struct dj_bench_check {
    const char *name; /* constant: "hit_rate" */
    const char *unit; /* as of a result, "" for a count */
    double value, least, most;
};
#define DJ_BENCH_CHECKS_MAX 8u
bool dj_bench_check_is_ok(const struct dj_bench_check *check); /* false for NAN */

struct dj_bench_machine {
    char cpu[96];
    char system[96]; /* "Linux x86_64" */
    uint32_t cores;
    double load; /* of the last minute, before the run; NAN: not known */
};

struct dj_bench_report {
    char version[24];                     /* of Deja */
    char taken_at[DJ_DATE_RFC3339_BYTES]; /* when it began */
    bool is_quick;
    struct dj_bench_machine machine;
    size_t count;
    struct dj_bench_result results[DJ_BENCH_RESULTS_MAX];
    size_t check_count; /* not read back: they say nothing about another run */
    struct dj_bench_check checks[DJ_BENCH_CHECKS_MAX];
};

bool dj_bench_result_is_time(const struct dj_bench_result *result);
/* NULL: there is none of that name. */
const struct dj_bench_result *dj_bench_report_find(const struct dj_bench_report *report,
                                                   const char *name);
/* "1.25 ms", "412 bytes", "0.31"; "-" for NAN. */
#define DJ_BENCH_FIGURE_BYTES 24u
void dj_bench_write_figure(const char *unit, double value, char out_text[DJ_BENCH_FIGURE_BYTES]);

/* Appends; failures are the buf's. */
void dj_bench_report_write_json(const struct dj_bench_report *report, struct dj_buf *out);
void dj_bench_report_write_text(const struct dj_bench_report *report, struct dj_buf *out);
/* A member that is missing or of another type is as if the figure were not known (NAN).
 * DEJA_ERR_INVALID: not JSON, or not of a run; DEJA_ERR_LIMIT: too many results; DEJA_ERR_NOMEM. */
enum deja_status dj_bench_report_read(struct deja_slice text, struct dj_bench_report *out_report,
                                      struct deja_error *error) DEJA_NODISCARD;

#endif
