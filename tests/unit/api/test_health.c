/* tests/unit/api/test_health.c - what health says when a part is sick, slow, loading or missing. */
#include "../store/directory.h"
#include "store/lmdb.h"

static struct dj_store *sick_tier(struct dj_pool *reads);
#define FIXTURE_LMDB sick_tier(fixture->pool)
#include "api_fixture.h"

/* ---- an embedded tier whose probe does as it is told ---- */

struct tier {
    struct dj_store_ops ops; /* the real ones but for the probe */
    struct directory directory;
    _Atomic int probe_status;
    struct dj_task task;
    void *ctx;
    dj_store_got_fn *got;
};

static struct tier *the_tier(void)
{
    static struct tier tier; /* one fixture at a time */
    return &tier;
}

static void on_probe(void *ctx)
{
    struct tier *tier = ctx;
    tier->got(tier->ctx, (enum deja_status)atomic_load(&tier->probe_status), NULL);
}

static enum deja_status tier_probe(struct dj_store *store, struct dj_loop *loop, void *ctx,
                                   dj_store_got_fn *got)
{
    struct tier *tier = the_tier();
    (void)store;
    if (atomic_load(&tier->probe_status) == DEJA_ERR_BUSY)
        return DEJA_ERR_BUSY; /* not even taken */
    tier->ctx = ctx;
    tier->got = got;
    tier->task = (struct dj_task){.run = on_probe, .ctx = tier};
    dj_loop_post(loop, &tier->task);
    return DEJA_OK;
}

static struct dj_store *sick_tier(struct dj_pool *reads)
{
    struct tier *tier = the_tier();
    struct dj_store *store = NULL;
    struct deja_error error = {""};
    directory_create(&tier->directory);
    const struct dj_lmdb_options options = {
        .directory = tier->directory.path, .bytes_max = 16u << 20, .pool = reads};
    if (dj_lmdb_open(&options, &store, NULL, &error) != DEJA_OK)
        fail_msg("%s", error.message);
    atomic_store(&tier->probe_status, DEJA_OK);
    tier->ops = *store->ops;
    tier->ops.probe = tier_probe;
    store->ops = &tier->ops;
    return store;
}

static int tear_down_tier(void **state)
{
    int code = tear_down(state);
    directory_remove(&the_tier()->directory);
    return code;
}

static int set_up_loaded(void **state)
{
    int code = set_up(state);
    dj_engine_load_vectors(((struct fixture *)*state)->context.engine);
    return code;
}

/* ---- verdicts ---- */

static void every_component_is_told_and_those_that_are_missing_do_not_count(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"l1",           "lmdb",        "embedder",
                                        "vector_store", "lru_manager", "redis",
                                        "postgres",     "s3",          "circuit_breaker"};
    static const char *const paths[] = {"/health", "/health/detailed"};
    for (size_t path = 0; path < 2; path++) {
        assert_int_equal(ask(fixture, "GET", paths[path], "", ""), 200);
        assert_reply(fixture, "{\"status\":\"healthy\",\"timestamp\":\"2");
        assert_reply(fixture, "\"redis\":{\"status\":\"disabled\",\"message\":\"not configured\","
                              "\"details\":{}}");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            char start[64];
            snprintf(start, sizeof start, "\"%s\":{\"status\":\"", names[i]);
            assert_reply(fixture, start);
        }
    }
    assert_reply(fixture, "\"tracking_enabled\":true,\"tenants_tracked\":0");
    assert_reply(fixture, "\"latency_ms\":");
    assert_reply(fixture, "\"entries\":0,\"bytes\":0,\"bytes_max\":16777216,\"queued_writes\":0");
    assert_int_equal(ask(fixture, "GET", "/metrics", "", ""), 200);
    assert_reply(fixture, "semantic_cache_degraded 0\n");
    assert_reply(fixture, "semantic_cache_level_up{level=\"lmdb\"} 1\n");
}

static void assert_tier_is_sick(struct fixture *fixture)
{
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 207);
    assert_reply(fixture, "{\"status\":\"degraded\"");
    assert_reply(fixture, "\"lmdb\":{\"status\":\"unhealthy\",\"message\":\"does not answer\"");
    assert_int_equal(ask(fixture, "GET", "/metrics", "", ""), 200);
    assert_reply(fixture, "semantic_cache_degraded 1\n");
    assert_reply(fixture, "semantic_cache_level_up{level=\"lmdb\"} 0\n");
    assert_reply(fixture, "semantic_cache_level_up{level=\"memory\"} 1\n");
    /* Requests go on without it. */
    assert_int_equal(ask(fixture, "GET", "/readyz", "", ""), 200);
    assert_int_equal(ask(fixture, "GET", "/livez", "", ""), 200);
}

static void a_tier_that_fails_or_takes_nothing_is_degraded_but_ready(void **state)
{
    struct fixture *fixture = *state;
    atomic_store(&the_tier()->probe_status, DEJA_ERR_IO);
    assert_tier_is_sick(fixture);
    atomic_store(&the_tier()->probe_status, DEJA_ERR_BUSY);
    assert_tier_is_sick(fixture);
    atomic_store(&the_tier()->probe_status, DEJA_OK);
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 200);
}

static void healthz_lists_its_checks_and_leaves_out_what_it_is_told_to(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(ask(fixture, "GET", "/healthz", "", ""), 200);
    assert_reply(fixture, "\r\n\r\nok\n");
    assert_int_equal(ask(fixture, "GET", "/healthz?verbose", "", ""), 200);
    assert_reply(fixture, "[+]memory ok\n[+]lmdb ok\n");
    assert_reply(fixture, "healthz check passed\n");
    atomic_store(&the_tier()->probe_status, DEJA_ERR_IO);
    assert_int_equal(ask(fixture, "GET", "/healthz", "", ""), 503);
    assert_reply(fixture, "[+]memory ok\n[-]lmdb failed\n");
    assert_reply(fixture, "healthz check failed\n");
    assert_int_equal(ask(fixture, "GET", "/healthz?exclude=lmdb&verbose=1", "", ""), 200);
    assert_reply(fixture, "[+]lmdb excluded: ok\n");
    assert_int_equal(ask(fixture, "GET", "/healthz?exclude=memory&exclude=lmdb", "", ""), 200);
    assert_reply(fixture, "\r\n\r\nok\n");
    assert_int_equal(ask(fixture, "GET", "/healthz?exclude=&&x&exclude=lmd", "", ""), 503);
    assert_int_equal(ask(fixture, "GET", "/startupz", "", ""), 200);
}

static void an_index_that_still_loads_is_degraded(void **state)
{
    struct fixture *fixture = *state; /* set up without loading it */
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 207);
    assert_reply(fixture,
                 "\"vector_store\":{\"status\":\"degraded\",\"message\":\"still loading\"");
    assert_int_equal(ask(fixture, "GET", "/readyz", "", ""), 200);
    dj_engine_load_vectors(fixture->context.engine);
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 200);
}

static void draining_is_unhealthy_and_not_ready_but_alive(void **state)
{
    struct fixture *fixture = *state;
    atomic_store(&fixture->api.is_draining, true);
    assert_int_equal(ask(fixture, "GET", "/readyz", "", ""), 503);
    assert_int_equal(ask(fixture, "GET", "/health", "", ""), 503);
    assert_reply(fixture, "{\"status\":\"unhealthy\"");
    assert_int_equal(ask(fixture, "GET", "/health/detailed", "", ""), 503);
    assert_int_equal(ask(fixture, "GET", "/healthz", "", ""), 503);
    assert_reply(fixture, "[-]serving failed\n");
    assert_int_equal(ask(fixture, "GET", "/livez", "", ""), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            every_component_is_told_and_those_that_are_missing_do_not_count, set_up_loaded,
            tear_down_tier),
        cmocka_unit_test_setup_teardown(a_tier_that_fails_or_takes_nothing_is_degraded_but_ready,
                                        set_up_loaded, tear_down_tier),
        cmocka_unit_test_setup_teardown(healthz_lists_its_checks_and_leaves_out_what_it_is_told_to,
                                        set_up_loaded, tear_down_tier),
        cmocka_unit_test_setup_teardown(an_index_that_still_loads_is_degraded, set_up,
                                        tear_down_tier),
        cmocka_unit_test_setup_teardown(draining_is_unhealthy_and_not_ready_but_alive,
                                        set_up_loaded, tear_down_tier),
    };
    return RUN_TESTS(tests);
}
