/* tests/unit/proxy/test_telemetry.c - counting requests, savings and stages. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "loop/loop.h"
#include "proxy/ledger.h"
#include "proxy/telemetry.h"
#include "proxy/telemetry_internal.h"

struct fixture {
    struct dj_metrics *metrics;
    struct dj_telemetry *telemetry;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    assert_int_equal(dj_metrics_create(&fixture.metrics), DEJA_OK);
    assert_int_equal(dj_telemetry_create(fixture.metrics, &fixture.telemetry), DEJA_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dj_telemetry_destroy(fixture->telemetry);
    dj_metrics_destroy(fixture->metrics);
    return 0;
}

static void tenant_of(unsigned index, uint8_t out_tenant[DJ_ID_BYTES])
{
    memset(out_tenant, 0, DJ_ID_BYTES);
    memcpy(out_tenant, &index, sizeof index);
    out_tenant[15] = 1;
}

static void finish(struct dj_telemetry *telemetry, const uint8_t tenant[DJ_ID_BYTES],
                   const char *api, enum dj_result result, const char *level, double seconds)
{
    dj_telemetry_request(
        telemetry,
        &(struct dj_finished){
            .tenant = tenant, .api = api, .result = result, .level = level, .seconds = seconds});
}

static bool is_written(struct fixture *fixture, const char *line)
{
    struct dj_buf text = {0};
    dj_metrics_write(fixture->metrics, false, &text);
    dj_buf_append_byte(&text, '\0');
    assert_int_equal(text.status, DEJA_OK);
    bool is_there = strstr(text.data, line) != NULL;
    dj_buf_fini(&text);
    return is_there;
}

static void a_hit_counts_as_request_and_hit_of_its_tenant(void **state)
{
    struct fixture *fixture = *state;
    uint8_t tenant[DJ_ID_BYTES];
    struct dj_telemetry_totals totals;
    tenant_of(0x42, tenant);
    for (int i = 0; i < 3; i++)
        finish(fixture->telemetry, tenant, "chat", DJ_RESULT_HIT_SEMANTIC, "lmdb", 0.001);
    finish(fixture->telemetry, tenant, "chat", DJ_RESULT_MISS, "none", 0.5);
    assert_true(is_written(fixture, "semantic_cache_hits_total{tenant_id=\"42000000-0000-0000-0000-"
                                    "000000000001\",cache_type=\"response\",level=\"lmdb\"} 3"));
    assert_true(is_written(fixture,
                           "semantic_cache_misses_total{tenant_id=\"42000000-0000-0000-0000-"
                           "000000000001\",cache_type=\"response\",level=\"none\"} 1"));
    assert_true(is_written(fixture, "api=\"chat\",result=\"hit_semantic\",level=\"lmdb\"} 3"));
    dj_telemetry_totals(fixture->telemetry, tenant, &totals);
    assert_int_equal(totals.requests, 4);
    assert_int_equal(totals.results[DJ_RESULT_HIT_SEMANTIC], 3);
}

static void a_tenant_never_sees_another_tenants_totals(void **state)
{
    struct fixture *fixture = *state;
    uint8_t a[DJ_ID_BYTES];
    uint8_t b[DJ_ID_BYTES];
    struct dj_telemetry_totals totals;
    tenant_of(1, a);
    tenant_of(2, b);
    finish(fixture->telemetry, a, "api", DJ_RESULT_MISS, "none", 0.001);
    dj_telemetry_totals(fixture->telemetry, b, &totals);
    assert_int_equal(totals.requests, 0);
    dj_telemetry_totals(fixture->telemetry, NULL, &totals);
    assert_int_equal(totals.requests, 1);
}

static void an_error_makes_no_tenant_known(void **state)
{
    struct fixture *fixture = *state;
    uint8_t tenant[DJ_ID_BYTES];
    struct dj_telemetry_totals totals;
    tenant_of(3, tenant);
    finish(fixture->telemetry, tenant, "chat", DJ_RESULT_ERROR, "none", 0.001);
    dj_telemetry_totals(fixture->telemetry, tenant, &totals);
    assert_int_equal(totals.requests, 0);
    assert_true(is_written(fixture, "tenant_id=\"other\",api=\"chat\",result=\"error\""));
}

static void a_miss_counts_for_the_kind_that_was_asked_for(void **state)
{
    struct fixture *fixture = *state;
    static const char *const kinds[] = {"template_semantic", "", NULL};
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    uint8_t tenant[DJ_ID_BYTES];
    int64_t from_ms = 0;
    tenant_of(5, tenant);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        dj_telemetry_request(fixture->telemetry, &(struct dj_finished){.tenant = tenant,
                                                                       .api = "api",
                                                                       .kind = kinds[i],
                                                                       .result = DJ_RESULT_MISS,
                                                                       .level = "none"});
    size_t count = dj_ledger_read(dj_telemetry_ledger(fixture->telemetry), tenant,
                                  dj_clock_now_ms(), 0, lines, &from_ms);
    assert_int_equal(count, 2);
    assert_string_equal(lines[0].kind, "semantic");
    assert_int_equal(lines[0].sums[DJ_LEDGER_MISSES], 2);
    assert_string_equal(lines[1].kind, "template_semantic");
    assert_int_equal(lines[1].sums[DJ_LEDGER_MISSES], 1);
}

static void tenants_beyond_the_bounds_share_a_label_and_count_in_the_sum(void **state)
{
    struct fixture *fixture = *state;
    struct dj_telemetry_totals totals;
    const unsigned count = DJ_TELEMETRY_TENANTS_MAX + 50;
    for (unsigned i = 0; i < count; i++) {
        uint8_t tenant[DJ_ID_BYTES];
        tenant_of(i, tenant);
        finish(fixture->telemetry, tenant, "api", DJ_RESULT_MISS, "none", 0.001);
    }
    dj_telemetry_totals(fixture->telemetry, NULL, &totals);
    assert_int_equal(totals.requests, count);
    char line[128];
    snprintf(line, sizeof line,
             "semantic_cache_misses_total{tenant_id=\"other\",cache_type=\"semantic\","
             "level=\"none\"} %u",
             count - DJ_TELEMETRY_LABELS_MAX);
    assert_true(is_written(fixture, line));
}

static void savings_are_told_by_model_and_strange_models_are_other(void **state)
{
    struct fixture *fixture = *state;
    struct dj_telemetry_totals totals;
    struct dj_entry entry = {
        .input_tokens = 10, .output_tokens = 5, .cost_usd = 0.25, .make_ms = 1500};
    tenant_of(7, entry.tenant);
    entry.model = deja_slice_text("gpt-x");
    dj_telemetry_saved(fixture->telemetry, &entry);
    entry.model = deja_slice_text("two words\n");
    dj_telemetry_saved(fixture->telemetry, &entry);
    assert_true(is_written(fixture, "model=\"gpt-x\",type=\"input\"} 10"));
    assert_true(is_written(fixture, "model=\"other\",type=\"output\"} 5"));
    dj_telemetry_totals(fixture->telemetry, entry.tenant, &totals);
    assert_int_equal(totals.saved_input_tokens, 20);
    assert_true(totals.saved_seconds > 2.99 && totals.saved_seconds < 3.01);
    assert_true(totals.saved_cost_usd > 0.49 && totals.saved_cost_usd < 0.51);
}

static void the_other_counters_have_their_labels(void **state)
{
    struct fixture *fixture = *state;
    dj_telemetry_upstream(fixture->telemetry, "openai", 429);
    dj_telemetry_operation(fixture->telemetry, "set", "none", "ok", 0.001);
    dj_telemetry_similarity(fixture->telemetry, "near_miss", 0.8);
    dj_telemetry_stage(fixture->telemetry, DJ_STAGE_EMBED, 0.001);
    dj_telemetry_inflight(fixture->telemetry, 2);
    dj_telemetry_inflight(fixture->telemetry, -1);
    dj_telemetry_reloaded(fixture->telemetry, true, 5000);
    dj_telemetry_key(fixture->telemetry, 0.00001);
    dj_telemetry_recovered(fixture->telemetry, "store", 1);
    dj_telemetry_false_hit(fixture->telemetry, (const uint8_t[DJ_ID_BYTES]){1}, "user");
    assert_true(is_written(fixture, "semantic_cache_key_duration_seconds_count 1"));
    assert_true(is_written(fixture, "semantic_cache_recovered_total{operation=\"store\"} 1"));
    assert_true(is_written(
        fixture, "semantic_cache_false_hits_total{tenant_id=\"other\",source=\"user\"} 1"));
    assert_true(is_written(
        fixture, "semantic_cache_upstream_requests_total{provider=\"openai\",code=\"429\"} 1"));
    assert_true(is_written(fixture, "semantic_cache_inflight 1"));
    assert_true(is_written(fixture, "semantic_cache_config_reload_success 1"));
    assert_true(is_written(fixture, "semantic_cache_similarity_count{outcome=\"near_miss\"} 1"));
}

static void a_lookup_tells_its_stages_and_how_near_it_came(void **state)
{
    struct fixture *fixture = *state;
    struct dj_telemetry_lookup lookup = {.level = "none",
                                         .embed_us = 300,
                                         .search_us = 20,
                                         .similarity = 0.87,
                                         .threshold = 0.9,
                                         .seconds = 0.001};
    dj_telemetry_lookup(fixture->telemetry, &lookup);
    lookup.similarity = 0.7;
    dj_telemetry_lookup(fixture->telemetry, &lookup);
    lookup.search_us = 0; /* not searched: nothing was near or far */
    lookup.verify_us = 5;
    lookup.is_hit = true;
    lookup.level = "lmdb";
    dj_telemetry_lookup(fixture->telemetry, &lookup);
    assert_true(is_written(fixture, "semantic_cache_similarity_count{outcome=\"near_miss\"} 1"));
    assert_true(is_written(fixture, "semantic_cache_similarity_count{outcome=\"miss\"} 1"));
    assert_false(is_written(fixture, "outcome=\"hit\""));
    assert_true(is_written(fixture, "stage_duration_seconds_count{stage=\"embed\"} 3"));
    assert_true(is_written(fixture, "stage_duration_seconds_count{stage=\"search\"} 2"));
    assert_true(is_written(fixture, "stage_duration_seconds_count{stage=\"verify\"} 1"));
    assert_true(is_written(
        fixture, "duration_seconds_count{operation=\"lookup\",level=\"lmdb\",status=\"hit\"} 1"));
    assert_true(is_written(
        fixture, "duration_seconds_count{operation=\"lookup\",level=\"none\",status=\"miss\"} 2"));
}

static int64_t no_time(void)
{
    return 0;
}

static size_t lines_of(int fd)
{
    char text[65536];
    ssize_t len = read(fd, text, sizeof text);
    size_t lines = 0;
    for (ssize_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

static void slow_operations_are_all_counted_and_few_of_them_told(void **state)
{
    struct fixture *fixture = *state;
    struct dj_log *log = NULL;
    int ends[2];
    const unsigned count = 25;
    struct dj_slow slow = {.operation = "lookup", .level = "memory", .seconds = 0.2};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dj_log_create(ends[1], DJ_LOG_JSON, DJ_LOG_WARN, no_time, &log), DEJA_OK);
    dj_telemetry_slow(fixture->telemetry, &slow); /* no threshold yet: nothing is slow */
    dj_telemetry_set_slow(fixture->telemetry, log, 100);
    for (unsigned i = 0; i < count; i++)
        dj_telemetry_slow(fixture->telemetry, &slow);
    slow.seconds = 0.0999;
    dj_telemetry_slow(fixture->telemetry, &slow);
    assert_true(
        is_written(fixture, "semantic_cache_slow_operations_total{operation=\"lookup\"} 25"));
    size_t lines = lines_of(ends[0]);
    assert_in_range(lines, 1, count); /* a slow machine may need several seconds for this loop */
    dj_telemetry_set_slow(fixture->telemetry, NULL, 0);
    dj_log_destroy(log);
    close(ends[0]);
    close(ends[1]);
}

static void a_failed_background_step_is_counted_and_told(void **state)
{
    struct fixture *fixture = *state;
    struct dj_log *log = NULL;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dj_log_create(ends[1], DJ_LOG_JSON, DJ_LOG_WARN, no_time, &log), DEJA_OK);
    dj_telemetry_contained(fixture->telemetry, "keep_tenant", DEJA_ERR_IO); /* no log yet */
    dj_telemetry_set_slow(fixture->telemetry, log, 100);
    dj_telemetry_contained(fixture->telemetry, "keep_tenant", DEJA_OK);
    for (unsigned i = 0; i < 25; i++)
        dj_telemetry_contained(fixture->telemetry, "keep_tenant", DEJA_ERR_NOMEM);
    assert_true(
        is_written(fixture, "semantic_cache_recovered_total{operation=\"keep_tenant\"} 26"));
    assert_in_range(lines_of(ends[0]), 1, 25);
    dj_telemetry_set_slow(fixture->telemetry, NULL, 0);
    dj_log_destroy(log);
    close(ends[0]);
    close(ends[1]);
}

static void *count_a_thousand(void *ctx)
{
    struct fixture *fixture = ctx;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t tenant[DJ_ID_BYTES];
        tenant_of(i % 10, tenant);
        finish(fixture->telemetry, tenant, "chat", DJ_RESULT_HIT_EXACT, "memory", 0.0001);
        dj_telemetry_operation(fixture->telemetry, i % 2 ? "get" : "set", "memory", "ok", 0.0001);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    struct fixture *fixture = *state;
    struct dj_telemetry_totals totals;
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_a_thousand, fixture), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    dj_telemetry_totals(fixture->telemetry, NULL, &totals);
    assert_int_equal(totals.results[DJ_RESULT_HIT_EXACT], 4000);
}

/* On the hit path there is no room for one. */
static void counting_what_was_met_before_allocates_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct dj_entry entry = {
        .input_tokens = 10, .output_tokens = 5, .cost_usd = 0.25, .make_ms = 1500};
    entry.model = deja_slice_text("gpt-x");
    tenant_of(7, entry.tenant);
    dj_telemetry_set_slow(fixture->telemetry, NULL, 100);
    for (unsigned round = 0; round < 2; round++) {
        if (round)
            failing_malloc_arm(1);
        dj_telemetry_inflight(fixture->telemetry, 1);
        dj_telemetry_stage(fixture->telemetry, DJ_STAGE_AUTH, 0.000001);
        dj_telemetry_stage(fixture->telemetry, DJ_STAGE_CANON, 0.00001);
        dj_telemetry_key(fixture->telemetry, 0.00001);
        finish(fixture->telemetry, entry.tenant, "chat", DJ_RESULT_HIT_EXACT, "memory", 0.0001);
        dj_telemetry_exemplar(fixture->telemetry, "chat", DJ_RESULT_HIT_EXACT, 0.0001,
                              "4bf92f3577b34da6a3ce929d0e0e4736");
        dj_telemetry_saved(fixture->telemetry, &entry);
        dj_telemetry_slow(fixture->telemetry, &(struct dj_slow){.operation = "chat", .seconds = 1});
        dj_telemetry_evicted(fixture->telemetry, entry.tenant, "memory", "size");
        dj_telemetry_inflight(fixture->telemetry, -1);
    }
    assert_false(failing_malloc_disarm());
}

static void telemetry_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_metrics *metrics = NULL;
        struct dj_telemetry *telemetry = NULL;
        uint8_t tenant[DJ_ID_BYTES];
        tenant_of(1, tenant);
        assert_int_equal(dj_metrics_create(&metrics), DEJA_OK);
        failing_malloc_arm(n);
        bool is_ok = dj_telemetry_create(metrics, &telemetry) == DEJA_OK;
        if (is_ok) /* counting cannot fail, only go uncounted */
            finish(telemetry, tenant, "chat", DJ_RESULT_MISS, "none", 0.1);
        bool has_failed = failing_malloc_disarm();
        dj_telemetry_destroy(telemetry);
        dj_metrics_destroy(metrics);
        if (!has_failed) {
            assert_true(is_ok);
            break;
        }
    }
}

/* Names of models, made so that their label sets had one home under XXH3 without a key. */
static void models_made_to_collide_are_spread(void **state)
{
    struct fixture *fixture = *state;
    unsigned made = 0;
    for (uint64_t i = 0; made < 500; i++) {
        /* a label set as telemetry.c writes it: the family, then each value with its end */
        char name[20];
        char key[64] = {(char)FAMILY_EMBEDDER_CALLS};
        int len = snprintf(name, sizeof name, "m%llx", (unsigned long long)i);
        size_t at = 1;
        memcpy(key + at, name, (size_t)len + 1);
        at += (size_t)len + 1;
        memcpy(key + at, "ok", 3);
        if (dj_hash64(key, at + 3, 0) % 4096 >= 8)
            continue;
        dj_telemetry_embedding(fixture->telemetry,
                               &(struct dj_telemetry_embedding){
                                   .model = deja_slice_text(name), .status = "ok", .texts = 1});
        made++;
    }
    assert_true(dj_telemetry_label_probes_max(fixture->telemetry) < 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hit_counts_as_request_and_hit_of_its_tenant, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_tenant_never_sees_another_tenants_totals, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(models_made_to_collide_are_spread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_miss_counts_for_the_kind_that_was_asked_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_error_makes_no_tenant_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            tenants_beyond_the_bounds_share_a_label_and_count_in_the_sum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(savings_are_told_by_model_and_strange_models_are_other,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_other_counters_have_their_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lookup_tells_its_stages_and_how_near_it_came, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(slow_operations_are_all_counted_and_few_of_them_told,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_background_step_is_counted_and_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(threads_lose_no_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counting_what_was_met_before_allocates_nothing, set_up,
                                        tear_down),
        cmocka_unit_test(telemetry_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
