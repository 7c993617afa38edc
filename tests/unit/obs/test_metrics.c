#include "base/buf.h"
#include "check.h"
#include "obs/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

static const struct dj_metric_desc hits = {.name = "x_hits_total",
                                           .help = "Hits \\ so\nfar.",
                                           .type = DJ_COUNTER,
                                           .labels = {"tenant", "level"}};
static const struct dj_metric_desc entries = {
    .name = "x_entries", .help = "Entries.", .type = DJ_GAUGE};
static const struct dj_metric_desc seconds = {.name = "x_seconds",
                                              .help = "Time.",
                                              .type = DJ_HISTOGRAM,
                                              .buckets = DJ_BUCKETS_SECONDS,
                                              .labels = {"stage"}};
static const struct dj_metric_desc similarity = {.name = "x_similarity",
                                                 .help = "Scores.",
                                                 .type = DJ_HISTOGRAM,
                                                 .buckets = DJ_BUCKETS_SIMILARITY};
static const struct dj_metric_desc few = {.name = "x_few_total",
                                          .help = "Few.",
                                          .type = DJ_COUNTER,
                                          .labels = {"model", "tenant"},
                                          .series_max = 2};

static struct dj_metrics *create(void)
{
    struct dj_metrics *metrics = NULL;
    assert_int_equal(dj_metrics_create(&metrics), DEJA_OK);
    return metrics;
}

static struct dj_metric *declare(struct dj_metrics *metrics, const struct dj_metric_desc *desc)
{
    struct dj_metric *metric = NULL;
    assert_int_equal(dj_metrics_declare(metrics, desc, &metric), DEJA_OK);
    return metric;
}

static void assert_written(struct dj_metrics *metrics, bool is_openmetrics, const char *expected)
{
    struct dj_buf out = {0};
    dj_metrics_write(metrics, is_openmetrics, &out);
    dj_buf_append_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    dj_buf_fini(&out);
}

static void exposition_is_prometheus_text(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_metric *counter = declare(metrics, &hits);
    struct dj_metric *gauge = declare(metrics, &entries);
    declare(metrics, &seconds); /* without a series it is not shown */
    const char *const a[] = {"a", "memory"};
    const char *const hostile[] = {"q\"\\\n\xff\xc3\xa9", NULL};
    dj_series_add(dj_metric_series(counter, a), 2);
    dj_series_add(dj_metric_series(counter, a), 0.5);
    dj_series_add(dj_metric_series(counter, hostile), 1);
    dj_series_set(dj_metric_series(gauge, NULL), 12345678901.0);
    assert_written(metrics, false,
                   "# HELP x_hits_total Hits \\\\ so\\nfar.\n# TYPE x_hits_total counter\n"
                   "x_hits_total{tenant=\"a\",level=\"memory\"} 2.5\n"
                   "x_hits_total{tenant=\"q\\\"\\\\\\n\xef\xbf\xbd\xc3\xa9\",level=\"\"} 1\n"
                   "# HELP x_entries Entries.\n# TYPE x_entries gauge\nx_entries 12345678901\n");
    assert_written(metrics, true,
                   "# HELP x_hits Hits \\\\ so\\nfar.\n# TYPE x_hits counter\n"
                   "x_hits_total{tenant=\"a\",level=\"memory\"} 2.5\n"
                   "x_hits_total{tenant=\"q\\\"\\\\\\n\xef\xbf\xbd\xc3\xa9\",level=\"\"} 1\n"
                   "# HELP x_entries Entries.\n# TYPE x_entries gauge\nx_entries 12345678901\n"
                   "# EOF\n");
    dj_metrics_destroy(metrics);
}

static void histogram_counts_up_to_and_including_its_bounds(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    const char *const stage[] = {"embed"};
    struct dj_series *series = dj_metric_series(declare(metrics, &seconds), stage);
    dj_series_observe(series, 0.0001);
    dj_series_observe(series, 0.00011);
    dj_series_observe(series, 100);
    dj_series_observe(series, -1);
    dj_series_observe(series, NAN);
    assert_true(dj_series_value(series) == 4);
    struct dj_buf out = {0};
    dj_metrics_write(metrics, false, &out);
    dj_buf_append_byte(&out, '\0');
    assert_non_null(strstr(out.data, "x_seconds_bucket{stage=\"embed\",le=\"0.0001\"} 2\n"));
    assert_non_null(strstr(out.data, "x_seconds_bucket{stage=\"embed\",le=\"0.0002\"} 3\n"));
    assert_non_null(strstr(out.data, "x_seconds_bucket{stage=\"embed\",le=\"1.6384\"} 3\n"));
    assert_non_null(strstr(out.data, "x_seconds_bucket{stage=\"embed\",le=\"+Inf\"} 4\n"
                                     "x_seconds_sum{stage=\"embed\"} 99.00021\n"
                                     "x_seconds_count{stage=\"embed\"} 4\n"));
    dj_buf_fini(&out);
    dj_metrics_destroy(metrics);
}

static void similarity_has_21_bounds_from_0_6_to_1(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_series *series = dj_metric_series(declare(metrics, &similarity), NULL);
    for (unsigned i = 0; i <= 20; i++)
        dj_series_observe(series, 0.60 + 0.02 * i - 0.001);
    struct dj_buf out = {0};
    dj_metrics_write(metrics, true, &out);
    dj_buf_append_byte(&out, '\0');
    const char *at = out.data;
    for (unsigned i = 0; i <= 20; i++) { /* one more in each bucket */
        char text[64];
        unsigned hundredths = 60 + 2 * i;
        int len = snprintf(text, sizeof text, "x_similarity_bucket{le=\"%u.%u", hundredths / 100,
                           hundredths % 10 ? hundredths % 100 : hundredths / 10 % 10);
        assert_true(len > 0);
        at = strstr(at, text);
        assert_non_null(at);
        snprintf(text, sizeof text, "\"} %u\n", i + 1);
        assert_memory_equal(strchr(at + len, '"'), text, strlen(text));
    }
    dj_buf_fini(&out);
    dj_metrics_destroy(metrics);
}

static void label_sets_beyond_the_bound_share_one_series(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_metric *metric = declare(metrics, &few);
    const char *const sets[][2] = {{"a", "t"}, {"b", "t"}, {"c", "t"}, {"d", "u"}, {"a", "t"}};
    for (size_t i = 0; i < 5; i++)
        dj_series_add(dj_metric_series(metric, sets[i]), 1);
    assert_ptr_equal(dj_metric_series(metric, sets[2]), dj_metric_series(metric, sets[3]));
    assert_written(metrics, false,
                   "# HELP x_few_total Few.\n# TYPE x_few_total counter\n"
                   "x_few_total{model=\"a\",tenant=\"t\"} 2\n"
                   "x_few_total{model=\"b\",tenant=\"t\"} 1\n"
                   "x_few_total{model=\"other\",tenant=\"other\"} 2\n");
    dj_metrics_destroy(metrics);
}

static void the_last_exemplar_is_written_with_its_bucket_in_openmetrics_only(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_series *series =
        dj_metric_series(declare(metrics, &seconds), (const char *const[]){"auth"});
    dj_series_observe(series, 0.00005);
    dj_series_exemplar(series, 0.00005, "aaaa");
    dj_series_observe(series, 0.3);
    dj_series_exemplar(series, 0.3, "bbbb");
    dj_series_exemplar(series, 0.3, "longer than thirty-two characters"); /* not kept */
    dj_series_exemplar(NULL, 0.3, "cccc");
    struct dj_buf out = {0};
    dj_metrics_write(metrics, true, &out);
    dj_metrics_write(metrics, false, &out);
    dj_buf_append_byte(&out, '\0');
    const char *example = " # {trace_id=\"bbbb\"} 0.3\n";
    const char *met = strstr(out.data, " # {");
    assert_non_null(met);
    assert_memory_equal(met, example, strlen(example));
    assert_non_null(strstr(out.data, "le=\"0.4096\"} 2 # {"));
    assert_null(strstr(met + 1, " # {"));
    dj_buf_fini(&out);
    dj_metrics_destroy(metrics);
}

static void *give_exemplars(void *ctx)
{
    struct dj_series *series = ctx;
    for (unsigned i = 0; i < 500; i++)
        dj_series_exemplar(series, i % 2 ? 0.3 : 0.00005, i % 2 ? "bbbb" : "aaaa");
    return NULL;
}

static void exemplars_of_threads_are_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_series *series =
        dj_metric_series(declare(metrics, &seconds), (const char *const[]){"auth"});
    const char *even = " # {trace_id=\"aaaa\"} 5e-05\n";
    const char *odd = " # {trace_id=\"bbbb\"} 0.3\n";
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, give_exemplars, series), 0);
    struct dj_buf out = {0};
    for (size_t i = 0; i < 50; i++) {
        dj_buf_clear(&out);
        dj_metrics_write(metrics, true, &out);
        dj_buf_append_byte(&out, '\0');
        const char *met = strstr(out.data, " # {");
        if (met && strncmp(met, even, strlen(even)) != 0 && strncmp(met, odd, strlen(odd)) != 0)
            fail_msg("half an exemplar: %s", met);
    }
    dj_buf_fini(&out);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    dj_metrics_destroy(metrics);
}

static void bad_descriptions_are_refused(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_metric *metric = NULL;
    declare(metrics, &entries);
    const struct dj_metric_desc bad[] = {
        {.name = "x", .help = "", .type = DJ_COUNTER},
        {.name = "x_total", .help = "", .type = DJ_GAUGE},
        {.name = "1x", .help = "", .type = DJ_GAUGE},
        {.name = "x-y", .help = "", .type = DJ_GAUGE},
        {.name = "x", .help = "", .type = DJ_GAUGE, .labels = {"a b"}},
        {.name = "x", .help = NULL, .type = DJ_GAUGE},
        entries, /* twice */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dj_metrics_declare(metrics, &bad[i], &metric), DEJA_ERR_INVALID);
    assert_null(metric);
    dj_metrics_destroy(metrics);
    dj_metrics_destroy(NULL);
}

static void updates_accept_null_and_counters_never_fall(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    const char *const a[] = {"a", "b"};
    struct dj_series *series = dj_metric_series(declare(metrics, &hits), a);
    dj_series_add(series, 3);
    dj_series_add(series, -1);
    dj_series_add(series, NAN);
    assert_true(dj_series_value(series) == 3);
    dj_series_add(NULL, 1);
    dj_series_set(NULL, 1);
    dj_series_observe(NULL, 1);
    assert_true(dj_series_value(NULL) == 0);
    assert_null(dj_metric_series(NULL, NULL));
    dj_metrics_destroy(metrics);
}

static void *count_up(void *arg)
{
    struct dj_metric *metric = arg;
    for (unsigned i = 0; i < 5000; i++) {
        char tenant[8];
        snprintf(tenant, sizeof tenant, "%u", i % 50);
        const char *const values[] = {tenant, "l"};
        dj_series_add(dj_metric_series(metric, values), 1);
    }
    return NULL;
}

static void no_update_is_lost_between_threads(void **state)
{
    (void)state;
    struct dj_metrics *metrics = create();
    struct dj_metric *metric = declare(metrics, &hits);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, metric), 0);
    struct dj_buf out = {0};
    for (size_t i = 0; i < 20; i++) {
        dj_buf_clear(&out);
        dj_metrics_write(metrics, false, &out);
    }
    dj_buf_fini(&out);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *const values[] = {"7", "l"};
    assert_true(dj_series_value(dj_metric_series(metric, values)) == 400);
    dj_metrics_destroy(metrics);
}

static void metrics_survive_each_failed_allocation(void **state)
{
    (void)state;
    const char *const a[] = {"a", "b"};
    for (size_t n = 1;; n++) {
        struct dj_metrics *metrics = NULL;
        struct dj_metric *metric = NULL;
        struct dj_series *series = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_metrics_create(&metrics);
        if (status == DEJA_OK)
            status = dj_metrics_declare(metrics, &hits, &metric);
        if (status == DEJA_OK)
            series = dj_metric_series(metric, a);
        bool has_failed = failing_malloc_disarm();
        assert_true(has_failed == (status == DEJA_ERR_NOMEM || !series));
        dj_series_add(series, 1);
        dj_metrics_destroy(metrics);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exposition_is_prometheus_text),
        cmocka_unit_test(histogram_counts_up_to_and_including_its_bounds),
        cmocka_unit_test(similarity_has_21_bounds_from_0_6_to_1),
        cmocka_unit_test(label_sets_beyond_the_bound_share_one_series),
        cmocka_unit_test(the_last_exemplar_is_written_with_its_bucket_in_openmetrics_only),
        cmocka_unit_test(exemplars_of_threads_are_written_whole_or_not_at_all),
        cmocka_unit_test(bad_descriptions_are_refused),
        cmocka_unit_test(updates_accept_null_and_counters_never_fall),
        cmocka_unit_test(no_update_is_lost_between_threads),
        cmocka_unit_test(metrics_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
