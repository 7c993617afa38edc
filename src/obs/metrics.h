/* obs/metrics.h - counters, gauges and histograms, written as Prometheus text.
 *
 * A family is declared once from a static description; a series is one set of label values, made
 * at first use and then kept by the caller. Updates are relaxed atomics. Cardinality: at most
 * series_max per family, further label sets share one series whose values are "other" (I7).
 * Threads: any.
 */
#ifndef DJ_OBS_METRICS_H
#define DJ_OBS_METRICS_H

#include <deja/base.h>

#include "base/buf.h"

enum dj_metric_type { DJ_COUNTER, DJ_GAUGE, DJ_HISTOGRAM };
/* Bucket sets of WIRE: seconds doubles from 0.1 ms (15 buckets), similarity 0.60 … 1.00 by 0.02. */
enum dj_metric_buckets { DJ_BUCKETS_SECONDS, DJ_BUCKETS_SIMILARITY };

#define DJ_METRIC_LABELS_MAX 4u

struct dj_metric_desc {
    const char *name; /* without _total; the writer adds nothing: give the full name */
    const char *help;
    enum dj_metric_type type;
    enum dj_metric_buckets buckets;
    const char *labels[DJ_METRIC_LABELS_MAX]; /* NULL after the last */
    uint32_t series_max;                      /* 0: 1,000 */
};

struct dj_metrics;
struct dj_metric; /* a family */
struct dj_series; /* valid as long as its registry */

enum deja_status dj_metrics_create(struct dj_metrics **out_metrics) DEJA_NODISCARD;
void dj_metrics_destroy(struct dj_metrics *metrics); /* accepts NULL */
enum deja_status dj_metrics_declare(struct dj_metrics *metrics, const struct dj_metric_desc *desc,
                                    struct dj_metric **out_metric) DEJA_NODISCARD;

/* values: one per label, in order, copied. Takes a lock: keep the series where speed matters.
 * NULL only when memory ran out; all updates accept NULL. */
struct dj_series *dj_metric_series(struct dj_metric *metric, const char *const *values);

void dj_series_add(struct dj_series *series, double amount);    /* counter, gauge */
void dj_series_set(struct dj_series *series, double value);     /* gauge */
void dj_series_observe(struct dj_series *series, double value); /* histogram */
/* A histogram's example: value, already observed, was that of this trace. The last one is kept and
 * written with its bucket (OpenMetrics). trace_id: printable, at most DJ_EXEMPLAR_ID_MAX bytes,
 * copied. May be lost when another thread gives one at the same moment. */
#define DJ_EXEMPLAR_ID_MAX 32u
void dj_series_exemplar(struct dj_series *series, double value, const char *trace_id);
double dj_series_value(const struct dj_series *series); /* counter, gauge; histogram: count */

/* Appends the exposition; is_openmetrics adds # EOF and strips _total from family names. */
void dj_metrics_write(const struct dj_metrics *metrics, bool is_openmetrics, struct dj_buf *out);

#endif
