/* tools/bench_series.c - see bench_series.h. */
#include "tools/bench_series.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

#define US_PER_S 1e6

enum deja_status dj_bench_series_init(struct dj_bench_series *series, size_t cap)
{
    double *values = dj_alloc_zeroed(cap, sizeof *values);
    if (!values)
        return DEJA_ERR_NOMEM;
    *series = (struct dj_bench_series){.values = values, .cap = cap};
    return DEJA_OK;
}

void dj_bench_series_fini(struct dj_bench_series *series)
{
    dj_free(series->values);
    *series = (struct dj_bench_series){.values = NULL};
}

static const struct dj_bench_round *last_round(const struct dj_bench_series *series)
{
    return series->round_count ? &series->rounds[series->round_count - 1] : NULL;
}

void dj_bench_series_add(struct dj_bench_series *series, double value, bool is_ok)
{
    if (!is_ok) {
        series->failures++;
        series->failed_us += value;
    } else if (series->count < series->cap) {
        series->values[series->count++] = value;
    }
}

void dj_bench_series_end_round(struct dj_bench_series *series, double wall_us)
{
    const struct dj_bench_round *last = last_round(series);
    size_t start = last ? last->start + last->count : 0;
    double sum = series->failed_us;
    series->failed_us = 0;
    if (start == series->count || series->round_count == DJ_BENCH_ROUNDS_MAX)
        return;
    for (size_t i = start; i < series->count; i++)
        sum += series->values[i];
    series->rounds[series->round_count++] = (struct dj_bench_round){
        .start = start, .count = series->count - start, .wall_us = wall_us > 0 ? wall_us : sum};
}

void dj_bench_series_clear(struct dj_bench_series *series)
{
    *series = (struct dj_bench_series){.values = series->values, .cap = series->cap};
}

/* ---- statistics ---- */

static int compare_values(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static void sort_values(double *values, size_t count)
{
    if (count)
        qsort(values, count, sizeof *values, compare_values);
}

double dj_bench_percentile(const double *sorted, size_t count, double fraction)
{
    if (!count)
        return NAN;
    double rank = ceil(fraction * (double)count);
    if (rank < 1)
        rank = 1;
    return sorted[rank < (double)count ? (size_t)rank - 1 : count - 1];
}

static double quantile(const double *sorted, size_t count, double fraction)
{
    if (!count)
        return NAN;
    double place = fraction * (double)(count - 1);
    size_t below = (size_t)place;
    if (below + 1 >= count)
        return sorted[count - 1];
    double part = place - (double)below;
    return sorted[below] * (1 - part) + sorted[below + 1] * part;
}

struct dj_bench_spread dj_bench_spread(double *values, size_t count)
{
    sort_values(values, count);
    return (struct dj_bench_spread){.median = quantile(values, count, 0.5),
                                    .low = quantile(values, count, 0.25),
                                    .high = quantile(values, count, 0.75)};
}

static double mean_of(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return count ? sum / (double)count : NAN;
}

void dj_bench_series_summarise(struct dj_bench_series *series, struct dj_bench_figures *out)
{
    double medians[DJ_BENCH_ROUNDS_MAX];
    double rates[DJ_BENCH_ROUNDS_MAX];
    for (uint32_t i = 0; i < series->round_count; i++) {
        const struct dj_bench_round *round = &series->rounds[i];
        double wall_us = round->wall_us;
        medians[i] = dj_bench_spread(series->values + round->start, round->count).median;
        rates[i] = wall_us > 0 ? (double)round->count * US_PER_S / wall_us : NAN;
    }
    uint64_t runs = series->count + series->failures;
    sort_values(series->values, series->count);
    *out = (struct dj_bench_figures){
        .runs = runs,
        .rounds = series->round_count,
        .mean = mean_of(series->values, series->count),
        .p50 = dj_bench_percentile(series->values, series->count, 0.50),
        .p95 = dj_bench_percentile(series->values, series->count, 0.95),
        .p99 = dj_bench_percentile(series->values, series->count, 0.99),
        .medians = dj_bench_spread(medians, series->round_count),
        .rates = dj_bench_spread(rates, series->round_count),
        .success_rate = runs ? (double)series->count / (double)runs : NAN,
    };
}
