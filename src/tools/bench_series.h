/* tools/bench_series.h - measured values and what is said about them.
 *
 * A series is taken in rounds, so that a slow moment of the machine is one round and not the
 * result: what two runs are compared by is the median of the rounds' medians, with the quartiles
 * of those as its spread. Values are microseconds, bytes or ratios; the series does not care.
 * Threads: none of its own.
 */
#ifndef DJ_TOOLS_BENCH_SERIES_H
#define DJ_TOOLS_BENCH_SERIES_H

#include <deja/base.h>

#define DJ_BENCH_ROUNDS_MAX 32u

struct dj_bench_round {
    size_t start;   /* its first value */
    size_t count;   /* values, of operations that succeeded */
    double wall_us; /* it took */
};

/* Zeroed may be fini'd. */
struct dj_bench_series {
    double *values; /* owned; in the order they were taken */
    size_t count;
    size_t cap;
    uint64_t failures;
    double failed_us; /* spent in operations that failed, of the open round */
    struct dj_bench_round rounds[DJ_BENCH_ROUNDS_MAX];
    uint32_t round_count;
};

/* Room for cap values. DEJA_ERR_NOMEM. */
enum deja_status dj_bench_series_init(struct dj_bench_series *series, size_t cap) DEJA_NODISCARD;
void dj_bench_series_fini(struct dj_bench_series *series);
/* A failed operation counts as failed and its value is not kept. When the room is taken nothing is
 * kept. */
void dj_bench_series_add(struct dj_bench_series *series, double value, bool is_ok);
/* What was added since the last round is one. wall_us: how long it took where operations ran side
 * by side; 0: the sum of its values. A round without anything is none. */
void dj_bench_series_end_round(struct dj_bench_series *series, double wall_us);
/* Forgets all values and rounds. */
void dj_bench_series_clear(struct dj_bench_series *series);

/* NAN in all three: of nothing. */
struct dj_bench_spread {
    double median;
    double low;  /* first quartile */
    double high; /* third */
};

struct dj_bench_figures {
    uint64_t runs; /* operations, failed ones too */
    uint32_t rounds;
    double mean, p50, p95, p99;     /* of all values; NAN: none */
    struct dj_bench_spread medians; /* of the rounds */
    struct dj_bench_spread rates;   /* values per second, of the rounds; for times only */
    double success_rate;            /* 0 to 1; NAN: nothing ran */
};

/* Sorts the values within the series: the last thing done with it. */
void dj_bench_series_summarise(struct dj_bench_series *series, struct dj_bench_figures *out);

/* The smallest value that at least `fraction` (0 to 1) of the sorted values do not exceed; NAN of
 * none. */
double dj_bench_percentile(const double *sorted, size_t count, double fraction);
/* Sorts values. Quartiles are interpolated between the neighbours. */
struct dj_bench_spread dj_bench_spread(double *values, size_t count);

#endif
