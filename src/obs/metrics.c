/* obs/metrics.c - families, series and their text.
 *
 *   dj_metrics -> family -> family -> ...        in the order of declaration
 *                   |
 *                   +-> series -> series -> ...  in the order of first use; found by a map
 *
 * (1) Families and series are only ever added, at the end, and published by a store with release
 *     order: a writer of the exposition needs no lock and sees each one whole or not at all.
 * (2) A series is found or made under its family's lock, and lives as long as the registry.
 * (3) At most series_max + 1 series a family: the last one is "other" (I7).
 * (4) Numbers are relaxed: a scrape may see a histogram's bucket a moment before its sum. The count
 *     is the sum of the buckets, so those two always agree.
 */
#include "obs/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/map.h"
#include "obs/text_internal.h"

#define SERIES_MAX_DEFAULT 1000u
#define LABEL_BYTES_MAX 128u
#define BUCKETS_MAX 22u /* with +Inf */

struct bucket_set {
    size_t count; /* without +Inf */
    double bounds[BUCKETS_MAX];
    const char *texts[BUCKETS_MAX];
};

/* 0.1 ms doubled up to 1.6 s; the scores that decide about reuse. */
static const struct bucket_set bucket_sets[] = {
    [DJ_BUCKETS_SECONDS] = {15,
                            {0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256,
                             0.0512, 0.1024, 0.2048, 0.4096, 0.8192, 1.6384},
                            {"0.0001", "0.0002", "0.0004", "0.0008", "0.0016", "0.0032", "0.0064",
                             "0.0128", "0.0256", "0.0512", "0.1024", "0.2048", "0.4096", "0.8192",
                             "1.6384"}},
    [DJ_BUCKETS_SIMILARITY] = {21,
                               {0.60, 0.62, 0.64, 0.66, 0.68, 0.70, 0.72, 0.74, 0.76, 0.78, 0.80,
                                0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98, 1.00},
                               {"0.6",  "0.62", "0.64", "0.66", "0.68", "0.7",  "0.72",
                                "0.74", "0.76", "0.78", "0.8",  "0.82", "0.84", "0.86",
                                "0.88", "0.9",  "0.92", "0.94", "0.96", "0.98", "1.0"}},
};

/* Who holds `is_held` may touch the rest; nobody waits for it. */
struct exemplar {
    atomic_flag is_held;
    size_t bucket;
    double value;
    char trace_id[DJ_EXEMPLAR_ID_MAX + 1]; /* "": none yet */
};

struct dj_series {
    struct dj_metric *metric;
    struct exemplar *exemplar; /* histograms only; in the same allocation */
    _Atomic(struct dj_series *) next;
    char *labels;           /* owned: tenant="a",level="b" with escapes; "" without labels */
    _Atomic uint64_t value; /* bits of a double; a histogram's sum */
    _Atomic uint64_t buckets[];
};

/* The exemplar lies behind the buckets. */
static_assert(sizeof(struct dj_series) % _Alignof(struct exemplar) == 0 &&
                  sizeof(uint64_t) % _Alignof(struct exemplar) == 0,
              "what follows the buckets is aligned");

struct dj_metric {
    struct dj_metric_desc desc; /* its texts are static */
    size_t label_count;
    _Atomic(struct dj_metric *) next;
    pthread_mutex_t lock; /* of what follows, but for reading the list */
    struct dj_map *by_values;
    size_t series_count;
    _Atomic(struct dj_series *) first;
    struct dj_series *last;
};

struct dj_metrics {
    pthread_mutex_t lock; /* of declaring */
    _Atomic(struct dj_metric *) first;
    struct dj_metric *last;
};

static uint64_t hash_key(void *ctx, struct deja_slice key)
{
    (void)ctx;
    return dj_hash64(key.data, key.len,
                     0); /* a table of at most series_max: nothing to be won by collisions */
}

enum deja_status dj_metrics_create(struct dj_metrics **out_metrics)
{
    struct dj_metrics *metrics = dj_alloc_zeroed(1, sizeof *metrics);
    if (!metrics)
        return DEJA_ERR_NOMEM;
    if (pthread_mutex_init(&metrics->lock, NULL) != 0) {
        dj_free(metrics);
        return DEJA_ERR_NOMEM;
    }
    *out_metrics = metrics;
    return DEJA_OK;
}

static void destroy_metric(struct dj_metric *metric)
{
    struct dj_series *series = atomic_load(&metric->first);
    while (series) {
        struct dj_series *next = atomic_load(&series->next);
        dj_free(series->labels);
        dj_free(series);
        series = next;
    }
    dj_map_destroy(metric->by_values);
    pthread_mutex_destroy(&metric->lock);
    dj_free(metric);
}

void dj_metrics_destroy(struct dj_metrics *metrics)
{
    if (!metrics)
        return;
    struct dj_metric *metric = atomic_load(&metrics->first);
    while (metric) {
        struct dj_metric *next = atomic_load(&metric->next);
        destroy_metric(metric);
        metric = next;
    }
    pthread_mutex_destroy(&metrics->lock);
    dj_free(metrics);
}

static bool is_name(const char *name)
{
    if (!name || !*name || (*name >= '0' && *name <= '9'))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
           strlen(name);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len > end_len && memcmp(text + len - end_len, end, end_len) == 0;
}

static bool is_desc(const struct dj_metric_desc *desc)
{
    if (!is_name(desc->name) || !desc->help)
        return false;
    for (size_t i = 0; i < DJ_METRIC_LABELS_MAX && desc->labels[i]; i++)
        if (!is_name(desc->labels[i]))
            return false;
    /* OpenMetrics derives the family's name from this suffix. */
    return (desc->type == DJ_COUNTER) == ends_with(desc->name, "_total");
}

static enum deja_status create_metric(const struct dj_metric_desc *desc,
                                      struct dj_metric **out_metric)
{
    struct dj_metric *metric = dj_alloc_zeroed(1, sizeof *metric);
    if (!metric)
        return DEJA_ERR_NOMEM;
    metric->desc = *desc;
    if (!metric->desc.series_max)
        metric->desc.series_max = SERIES_MAX_DEFAULT;
    while (metric->label_count < DJ_METRIC_LABELS_MAX && desc->labels[metric->label_count])
        metric->label_count++;
    enum deja_status status =
        dj_map_create((size_t)metric->desc.series_max + 1, hash_key, NULL, &metric->by_values);
    if (status == DEJA_OK && pthread_mutex_init(&metric->lock, NULL) != 0)
        status = DEJA_ERR_NOMEM;
    if (status != DEJA_OK) {
        dj_map_destroy(metric->by_values);
        dj_free(metric);
        return status;
    }
    *out_metric = metric;
    return DEJA_OK;
}

static bool has_metric(const struct dj_metrics *metrics, const char *name)
{
    for (struct dj_metric *at = atomic_load(&metrics->first); at; at = atomic_load(&at->next))
        if (strcmp(at->desc.name, name) == 0)
            return true;
    return false;
}

enum deja_status dj_metrics_declare(struct dj_metrics *metrics, const struct dj_metric_desc *desc,
                                    struct dj_metric **out_metric)
{
    struct dj_metric *metric = NULL;
    if (!is_desc(desc))
        return DEJA_ERR_INVALID;
    pthread_mutex_lock(&metrics->lock);
    enum deja_status status =
        has_metric(metrics, desc->name) ? DEJA_ERR_INVALID : create_metric(desc, &metric);
    if (status == DEJA_OK) {
        atomic_store_explicit(metrics->last ? &metrics->last->next : &metrics->first, metric,
                              memory_order_release);
        metrics->last = metric;
        *out_metric = metric;
    }
    pthread_mutex_unlock(&metrics->lock);
    return status;
}

/* Label values: valid UTF-8, with backslash, quote and line feed escaped. */
static void append_label(struct dj_buf *buf, const char *name, const char *value)
{
    struct deja_slice text = dj_obs_cut(deja_slice_text(value), LABEL_BYTES_MAX);
    dj_buf_append_text(buf, buf->len ? "," : "");
    dj_buf_append_text(buf, name);
    dj_buf_append_text(buf, "=\"");
    while (text.len) {
        size_t len = dj_obs_sequence(text);
        if (!len)
            dj_buf_append_text(buf, "\xef\xbf\xbd");
        else if (*text.data == '\n')
            dj_buf_append_text(buf, "\\n");
        else if (*text.data == '"' || *text.data == '\\')
            dj_buf_append_format(buf, "\\%c", *text.data);
        else
            dj_buf_append(buf, text.data, len);
        len += !len;
        text = deja_slice(text.data + len, text.len - len);
    }
    dj_buf_append_byte(buf, '"');
}

/* The label text is the key as well: equal texts are equal series. */
static void append_labels(struct dj_buf *buf, const struct dj_metric *metric,
                          const char *const *values)
{
    for (size_t i = 0; i < metric->label_count; i++)
        append_label(buf, metric->desc.labels[i], values[i] ? values[i] : "");
}

static size_t bucket_count(const struct dj_metric *metric)
{
    return metric->desc.type == DJ_HISTOGRAM ? bucket_sets[metric->desc.buckets].count + 1 : 0;
}

/* With the family's lock held. NULL: no memory. */
static struct dj_series *add_series(struct dj_metric *metric, struct deja_slice labels)
{
    size_t buckets = bucket_count(metric);
    size_t bytes = sizeof(struct dj_series) + buckets * sizeof(_Atomic uint64_t);
    struct dj_series *series = dj_alloc_zeroed(1, bytes + (buckets ? sizeof(struct exemplar) : 0));
    char *copy = series ? dj_strdup(labels) : NULL;
    if (!copy || dj_map_put(metric->by_values, labels, series, NULL) != DEJA_OK) {
        dj_free(copy);
        dj_free(series);
        return NULL;
    }
    series->metric = metric;
    series->labels = copy;
    if (buckets) {
        series->exemplar = (struct exemplar *)(void *)((char *)series + bytes);
        atomic_flag_clear(&series->exemplar->is_held);
    }
    metric->series_count++;
    atomic_store_explicit(metric->last ? &metric->last->next : &metric->first, series,
                          memory_order_release);
    metric->last = series;
    return series;
}

static struct dj_series *find_or_add(struct dj_metric *metric, struct dj_buf *labels)
{
    static const char *const others[DJ_METRIC_LABELS_MAX] = {"other", "other", "other", "other"};
    struct dj_series *series = dj_map_find(metric->by_values, dj_buf_slice(labels));
    if (series)
        return series;
    if (metric->series_count >= metric->desc.series_max && metric->label_count) {
        dj_buf_clear(labels);
        append_labels(labels, metric, others);
        if (labels->status != DEJA_OK)
            return NULL;
        series = dj_map_find(metric->by_values, dj_buf_slice(labels));
    }
    return series ? series : add_series(metric, dj_buf_slice(labels));
}

struct dj_series *dj_metric_series(struct dj_metric *metric, const char *const *values)
{
    if (!metric)
        return NULL;
    struct dj_buf labels = {0};
    append_labels(&labels, metric, values);
    struct dj_series *series = NULL;
    if (labels.status == DEJA_OK) {
        pthread_mutex_lock(&metric->lock);
        series = find_or_add(metric, &labels);
        pthread_mutex_unlock(&metric->lock);
    }
    dj_buf_fini(&labels);
    return series;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void add_relaxed(_Atomic uint64_t *bits, double amount)
{
    uint64_t old = atomic_load_explicit(bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bits, &old, bits_of(double_of(old) + amount),
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

void dj_series_add(struct dj_series *series, double amount)
{
    if (!series || isnan(amount))
        return;
    assert(series->metric->desc.type != DJ_HISTOGRAM);
    if (series->metric->desc.type == DJ_COUNTER && amount < 0)
        return; /* a counter that falls would read as a restart */
    add_relaxed(&series->value, amount);
}

void dj_series_set(struct dj_series *series, double value)
{
    if (!series)
        return;
    assert(series->metric->desc.type == DJ_GAUGE);
    atomic_store_explicit(&series->value, bits_of(value), memory_order_relaxed);
}

static size_t bucket_of(const struct dj_series *series, double value)
{
    const struct bucket_set *set = &bucket_sets[series->metric->desc.buckets];
    size_t index = 0;
    while (index < set->count && value > set->bounds[index])
        index++;
    return index;
}

void dj_series_observe(struct dj_series *series, double value)
{
    if (!series || isnan(value))
        return;
    assert(series->metric->desc.type == DJ_HISTOGRAM);
    atomic_fetch_add_explicit(&series->buckets[bucket_of(series, value)], 1, memory_order_relaxed);
    add_relaxed(&series->value, value);
}

void dj_series_exemplar(struct dj_series *series, double value, const char *trace_id)
{
    size_t len = strlen(trace_id);
    if (!series || isnan(value) || len > DJ_EXEMPLAR_ID_MAX)
        return;
    assert(series->metric->desc.type == DJ_HISTOGRAM);
    struct exemplar *exemplar = series->exemplar;
    if (atomic_flag_test_and_set_explicit(&exemplar->is_held, memory_order_acquire))
        return;
    exemplar->bucket = bucket_of(series, value);
    exemplar->value = value;
    memcpy(exemplar->trace_id, trace_id, len + 1);
    atomic_flag_clear_explicit(&exemplar->is_held, memory_order_release);
}

double dj_series_value(const struct dj_series *series)
{
    if (!series)
        return 0;
    if (series->metric->desc.type != DJ_HISTOGRAM)
        return double_of(atomic_load_explicit(&series->value, memory_order_relaxed));
    uint64_t count = 0;
    for (size_t i = 0; i < bucket_count(series->metric); i++)
        count += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
    return (double)count;
}

static void append_number(struct dj_buf *out, double value)
{
    char text[32];
    if (!isfinite(value)) {
        dj_buf_append_text(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        return;
    }
    int len = 0;
    for (int precision = 15; precision <= 17; precision++) {
        len = snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    dj_buf_append(out, text, (size_t)len);
}

static void append_sample(struct dj_buf *out, const struct dj_series *series, const char *suffix,
                          const char *bound)
{
    dj_buf_append_text(out, series->metric->desc.name);
    dj_buf_append_text(out, suffix);
    if (*series->labels || bound) {
        dj_buf_append_byte(out, '{');
        dj_buf_append_text(out, series->labels);
        if (bound)
            dj_buf_append_format(out, "%sle=\"%s\"", *series->labels ? "," : "", bound);
        dj_buf_append_byte(out, '}');
    }
    dj_buf_append_byte(out, ' ');
}

/* Behind the line of its bucket. */
static void append_exemplar(struct dj_buf *out, const struct dj_series *series, size_t bucket)
{
    struct exemplar *exemplar = series->exemplar;
    if (atomic_flag_test_and_set_explicit(&exemplar->is_held, memory_order_acquire))
        return;
    if (exemplar->trace_id[0] && exemplar->bucket == bucket) {
        dj_buf_append_format(out, " # {trace_id=\"%s\"} ", exemplar->trace_id);
        append_number(out, exemplar->value);
    }
    atomic_flag_clear_explicit(&exemplar->is_held, memory_order_release);
}

static void append_series(struct dj_buf *out, const struct dj_series *series, bool is_openmetrics)
{
    double value = double_of(atomic_load_explicit(&series->value, memory_order_relaxed));
    if (series->metric->desc.type != DJ_HISTOGRAM) {
        append_sample(out, series, "", NULL);
        append_number(out, value);
        dj_buf_append_byte(out, '\n');
        return;
    }
    const struct bucket_set *set = &bucket_sets[series->metric->desc.buckets];
    uint64_t count = 0;
    for (size_t i = 0; i <= set->count; i++) {
        count += atomic_load_explicit(&series->buckets[i], memory_order_relaxed);
        append_sample(out, series, "_bucket", i < set->count ? set->texts[i] : "+Inf");
        dj_buf_append_u64(out, count);
        if (is_openmetrics)
            append_exemplar(out, series, i);
        dj_buf_append_byte(out, '\n');
    }
    append_sample(out, series, "_sum", NULL);
    append_number(out, value);
    dj_buf_append_byte(out, '\n');
    append_sample(out, series, "_count", NULL);
    dj_buf_append_u64(out, count);
    dj_buf_append_byte(out, '\n');
}

static void append_help(struct dj_buf *out, const char *help, bool is_openmetrics)
{
    for (; *help; help++) {
        if (*help == '\n')
            dj_buf_append_text(out, "\\n");
        else if (*help == '\\' || (*help == '"' && is_openmetrics))
            dj_buf_append_format(out, "\\%c", *help);
        else
            dj_buf_append_byte(out, *help);
    }
}

static void append_family(struct dj_buf *out, const struct dj_metric *metric, bool is_openmetrics)
{
    static const char *const types[] = {
        [DJ_COUNTER] = "counter", [DJ_GAUGE] = "gauge", [DJ_HISTOGRAM] = "histogram"};
    size_t len = strlen(metric->desc.name);
    if (is_openmetrics && metric->desc.type == DJ_COUNTER)
        len -= sizeof "_total" - 1;
    dj_buf_append_format(out, "# HELP %.*s ", (int)len, metric->desc.name);
    append_help(out, metric->desc.help, is_openmetrics);
    dj_buf_append_format(out, "\n# TYPE %.*s %s\n", (int)len, metric->desc.name,
                         types[metric->desc.type]);
}

void dj_metrics_write(const struct dj_metrics *metrics, bool is_openmetrics, struct dj_buf *out)
{
    const struct dj_metric *metric = atomic_load_explicit(&metrics->first, memory_order_acquire);
    for (; metric; metric = atomic_load_explicit(&metric->next, memory_order_acquire)) {
        const struct dj_series *series = atomic_load_explicit(&metric->first, memory_order_acquire);
        if (series)
            append_family(out, metric, is_openmetrics);
        for (; series; series = atomic_load_explicit(&series->next, memory_order_acquire))
            append_series(out, series, is_openmetrics);
    }
    if (is_openmetrics)
        dj_buf_append_text(out, "# EOF\n");
}
