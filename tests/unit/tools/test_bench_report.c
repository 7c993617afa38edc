#include "tools/bench_report.h"

#include "check.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"

static struct dj_bench_report *make_report(void)
{
    struct dj_bench_report *report = dj_alloc_zeroed(1, sizeof *report);
    assert_non_null(report);
    *report = (struct dj_bench_report){
        .version = "0.1.0",
        .taken_at = "2026-02-03T04:05:06.789Z",
        .is_quick = true,
        .machine = {.cpu = "a \"processor\"", .system = "Linux x86_64", .cores = 2, .load = NAN},
        .count = 2,
        .results = {{.name = "exact.hit",
                     .unit = "us",
                     .figures = {.runs = 7,
                                 .rounds = 3,
                                 .mean = 1.5,
                                 .p50 = 1,
                                 .p95 = 2,
                                 .p99 = 3,
                                 .medians = {1, 0.5, 2},
                                 .rates = {1e6, 9e5, 2e6},
                                 .success_rate = 0.5},
                     .memory_bytes = -4096,
                     .entries = 10,
                     .clients = 4,
                     .embedder = "lexical"},
                    {.name = "compression.json.ratio",
                     .unit = "ratio",
                     .is_higher_better = true,
                     .figures = {.mean = NAN,
                                 .p50 = NAN,
                                 .p95 = NAN,
                                 .p99 = NAN,
                                 .medians = {NAN, NAN, NAN},
                                 .rates = {NAN, NAN, NAN},
                                 .success_rate = NAN},
                     .memory_bytes = NAN}},
    };
    return report;
}

static enum deja_status read_text(const char *text, struct dj_bench_report *out)
{
    struct deja_error error = {{0}};
    enum deja_status status = dj_bench_report_read(deja_slice_text(text), out, &error);
    assert_true(status == DEJA_OK || error.message[0]);
    return status;
}

static void report_is_the_same_after_writing_and_reading(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct dj_bench_report *back = dj_alloc_zeroed(1, sizeof *back);
    assert_non_null(back);
    struct dj_buf json = {0};
    dj_bench_report_write_json(report, &json);
    assert_int_equal(json.status, DEJA_OK);
    assert_int_equal(dj_bench_report_read(dj_buf_slice(&json), back, NULL), DEJA_OK);
    assert_string_equal(back->version, report->version);
    assert_string_equal(back->taken_at, report->taken_at);
    assert_true(back->is_quick);
    assert_string_equal(back->machine.cpu, report->machine.cpu);
    assert_int_equal(back->machine.cores, 2);
    assert_true(isnan(back->machine.load));
    assert_int_equal(back->count, 2);
    assert_memory_equal(&back->results[0], &report->results[0], sizeof back->results[0]);
    assert_true(back->results[1].is_higher_better);
    assert_true(isnan(back->results[1].figures.medians.median));
    assert_true(isnan(back->results[1].figures.success_rate));
    dj_buf_fini(&json);
    dj_free(back);
    dj_free(report);
}

static void table_shows_every_result_and_no_nan(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct dj_buf text = {0};
    dj_bench_report_write_text(report, &text);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(text.status, DEJA_OK);
    assert_non_null(strstr(text.data, "exact.hit"));
    assert_non_null(strstr(text.data, "compression.json.ratio"));
    assert_non_null(strstr(text.data, "50.0 %"));
    assert_null(strstr(text.data, "nan"));
    dj_buf_fini(&text);
    dj_free(report);
}

static void figures_are_written_with_their_unit(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        double value;
        const char *text;
    } rows[] = {{"us", 1.234, "1.23 us"},  {"us", 12.34, "12.3 us"}, {"us", 12345, "12.35 ms"},
                {"bytes", 511.6, "512 B"}, {"ratio", 2.987, "2.99"}, {"us", NAN, "-"},
                {"us", INFINITY, "-"},     {"bytes", -3, "-3 B"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[DJ_BENCH_FIGURE_BYTES];
        dj_bench_write_figure(rows[i].unit, rows[i].value, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void checks_are_written_with_what_they_want(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct dj_buf text = {0};
    struct dj_buf json = {0};
    report->checks[0] = (struct dj_bench_check){"p95", "us", 12345, 0, 100000};
    report->checks[1] = (struct dj_bench_check){"hit_rate", "ratio", 0.799, 0.8, 1};
    report->checks[2] = (struct dj_bench_check){"wrong_answers", "", 3, 0, 0};
    report->checks[3] = (struct dj_bench_check){"answered", "ratio", NAN, 0.999, 1};
    report->check_count = 4;
    dj_bench_report_write_text(report, &text);
    dj_buf_append_byte(&text, '\0');
    assert_non_null(strstr(text.data, "12.35 ms   ok      wanted: 0.00 us to 100.00 ms\n"));
    assert_non_null(strstr(text.data, "79.90 %   NOT OK  wanted: 80.00 % to 100.00 %\n"));
    assert_non_null(strstr(text.data, "3   NOT OK  wanted: 0 to 0\n"));
    assert_non_null(strstr(text.data, "-   NOT OK  wanted: 99.90 % to 100.00 %\n"));
    dj_bench_report_write_json(report, &json);
    dj_buf_append_byte(&json, '\0');
    assert_non_null(strstr(json.data, "{\"name\":\"hit_rate\",\"unit\":\"ratio\",\"value\":0.799,"
                                      "\"least\":0.8,\"most\":1,\"ok\":false}"));
    dj_buf_fini(&text);
    dj_buf_fini(&json);
    dj_free(report);
}

static void file_of_anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{}",
                                        "{\"format\":1}",
                                        "{\"format\":1,\"results\":{}}",
                                        "{\"format\":2,\"results\":[]}",
                                        "{\"results\":[]}",
                                        "{\"format\":\"1\",\"results\":[]}"};
    struct dj_bench_report *report = make_report();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_not_equal(read_text(texts[i], report), DEJA_OK);
    assert_int_equal(report->count, 2); /* untouched */
    dj_free(report);
}

static void members_of_a_wrong_type_are_unknown_figures(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    assert_int_equal(read_text("{\"format\":1,\"machine\":7,\"results\":[{\"name\":3,\"runs\":-1,"
                               "\"rounds\":[],\"mean\":\"x\",\"success_rate\":{}},null,4]}",
                               report),
                     DEJA_OK);
    assert_int_equal(report->count, 3);
    assert_string_equal(report->results[0].name, "");
    assert_int_equal(report->results[0].figures.runs, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(isnan(report->results[i].figures.medians.median));
        assert_true(isnan(report->results[i].figures.mean));
        assert_true(isnan(report->results[i].figures.success_rate));
    }
    dj_free(report);
}

static void more_results_than_fit_are_refused(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct dj_buf text = {0};
    dj_buf_append_text(&text, "{\"format\":1,\"results\":[{}");
    for (unsigned i = 0; i < DJ_BENCH_RESULTS_MAX; i++)
        dj_buf_append_text(&text, ",{}");
    dj_buf_append_text(&text, "]}");
    assert_int_equal(dj_bench_report_read(dj_buf_slice(&text), report, NULL), DEJA_ERR_LIMIT);
    dj_buf_fini(&text);
    dj_free(report);
}

static void overlong_texts_are_cut(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct dj_buf text = {0};
    dj_buf_append_text(&text,
                       "{\"format\":1,\"results\":[{\"unit\":\"bytesbytesbytes\",\"name\":\"");
    for (unsigned i = 0; i < 200; i++)
        dj_buf_append_byte(&text, 'x');
    dj_buf_append_text(&text, "\"}]}");
    assert_int_equal(dj_bench_report_read(dj_buf_slice(&text), report, NULL), DEJA_OK);
    assert_int_equal(strlen(report->results[0].name), sizeof report->results[0].name - 1);
    assert_string_equal(report->results[0].unit, "bytesby");
    dj_buf_fini(&text);
    dj_free(report);
}

static void reading_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_bench_report *report = make_report();
    struct deja_slice text = deja_slice_text("{\"format\":1,\"results\":[{\"name\":\"a\"}]}");
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_bench_report_read(text, report, NULL);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
    }
    dj_free(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_is_the_same_after_writing_and_reading),
        cmocka_unit_test(table_shows_every_result_and_no_nan),
        cmocka_unit_test(figures_are_written_with_their_unit),
        cmocka_unit_test(checks_are_written_with_what_they_want),
        cmocka_unit_test(file_of_anything_else_is_refused),
        cmocka_unit_test(members_of_a_wrong_type_are_unknown_figures),
        cmocka_unit_test(more_results_than_fit_are_refused),
        cmocka_unit_test(overlong_texts_are_cut),
        cmocka_unit_test(reading_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
