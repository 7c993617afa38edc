#include "store/guarded.h"
#include "check.h"
#include "entries.h"
#include "loops.h"
#include "scripted_store.h"

/* A guarded store over a scripted one, and loops to ask it on. */
struct rig {
    struct loops loops;
    struct scripted *inner;
    struct dj_store *store;
    bool is_closed;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint32_t caught_up;
    uint32_t opened;
    uint32_t late;
};

static void on_changed(void *ctx, const char *level, enum dj_breaker_state state, const char *text)
{
    struct rig *rig = ctx;
    assert_string_equal(level, "redis");
    assert_non_null(text);
    pthread_mutex_lock(&rig->mutex);
    rig->opened += state == DJ_BREAKER_OPEN;
    pthread_cond_broadcast(&rig->cond);
    pthread_mutex_unlock(&rig->mutex);
}

static void on_caught_up(void *ctx, const char *level, uint64_t replayed)
{
    struct rig *rig = ctx;
    (void)level;
    (void)replayed;
    pthread_mutex_lock(&rig->mutex);
    rig->caught_up++;
    pthread_cond_broadcast(&rig->cond);
    pthread_mutex_unlock(&rig->mutex);
}

static void on_late(void *ctx, struct dj_loop *loop, struct dj_value *value)
{
    struct rig *rig = ctx;
    assert_true(dj_loop_is_current(loop));
    assert_non_null(value);
    pthread_mutex_lock(&rig->mutex);
    rig->late++;
    pthread_cond_broadcast(&rig->cond);
    pthread_mutex_unlock(&rig->mutex);
}

static void wait_for(struct rig *rig, const uint32_t *count, uint32_t least)
{
    pthread_mutex_lock(&rig->mutex);
    while (*count < least)
        pthread_cond_wait(&rig->cond, &rig->mutex);
    pthread_mutex_unlock(&rig->mutex);
}

static const struct dj_guarded_events events = {
    .changed = on_changed, .caught_up = on_caught_up, .late = on_late};

/* Short times, so that the tests are; nothing is asserted about them. */
static struct dj_guarded_options quick(void)
{
    struct dj_guarded_options options = dj_guarded_options_of(false);
    options.sentry.retry.initial_ms = 1;
    options.sentry.breaker.open_ms = 60000;
    options.sentry.breaker.open_ms_max = 60000;
    options.probe_ms = 5;
    return options;
}

static void rig_open(struct rig *rig, uint32_t loop_count, const struct dj_guarded_options *options)
{
    memset(rig, 0, sizeof *rig);
    pthread_mutex_init(&rig->mutex, NULL);
    pthread_cond_init(&rig->cond, NULL);
    rig->inner = scripted_open();
    rig->inner->is_closed = &rig->is_closed;
    loops_create(&rig->loops, loop_count);
    assert_int_equal(dj_guarded_store_open(&rig->inner->store, rig->loops.loop[0], options, &events,
                                           rig, &rig->store),
                     DEJA_OK);
    loops_start(&rig->loops);
}

static void rig_close(struct rig *rig)
{
    loops_stop(&rig->loops);
    rig->store->ops->close(rig->store);
    assert_true(rig->is_closed);
    loops_destroy(&rig->loops);
    pthread_mutex_destroy(&rig->mutex);
    pthread_cond_destroy(&rig->cond);
}

static enum deja_status get_status(struct rig *rig, uint32_t loop, struct dj_store_key key,
                                   uint64_t *out_version)
{
    struct call call = {
        .store = rig->store, .loop = rig->loops.loop[loop], .kind = CALL_GET, .key = key};
    call_wait(&call);
    *out_version = call.value ? dj_value_entry(call.value)->version : 0;
    dj_value_unref(call.value);
    return call.status;
}

static enum deja_status remove_status(struct rig *rig, struct dj_store_key key)
{
    struct call call = {
        .store = rig->store, .loop = rig->loops.loop[0], .kind = CALL_REMOVE, .key = key};
    call_wait(&call);
    return call.status;
}

static enum deja_status put(struct rig *rig, uint32_t tenant, uint32_t id, uint64_t version)
{
    return wait_put(rig->store, rig->loops.loop[0], value_of(tenant, id, version, "body"));
}

static struct dj_guarded_report report_of(struct rig *rig)
{
    struct dj_guarded_report report;
    dj_guarded_store_report(rig->store, &report);
    return report;
}

static void open_breaker(struct rig *rig)
{
    uint64_t version;
    while (report_of(rig).sentry.state != DJ_BREAKER_OPEN)
        assert_int_not_equal(get_status(rig, 0, key_of(9, 9), &version), DEJA_OK);
}

static void calls_pass_through_to_the_inner_store(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    rig_open(&rig, 2, &options);
    assert_string_equal(rig.store->ops->level, "redis");
    assert_null(rig.store->ops->search);
    assert_true(dj_store_is_guarded(rig.store) && !dj_store_is_guarded(&rig.inner->store));
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    assert_int_equal(get_status(&rig, 1, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 7);
    struct dj_store_page page = {.count = 0};
    struct call call = {.store = rig.store,
                        .loop = rig.loops.loop[1],
                        .kind = CALL_LIST,
                        .key = key_of(1, 0),
                        .page = &page};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    assert_int_equal(page.count, 1);
    dj_value_unref(page.values[0]);
    assert_int_equal(remove_status(&rig, key_of(1, 1)), DEJA_OK);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 0);
    assert_int_equal(report_of(&rig).state, DJ_TIER_UP);
    rig_close(&rig);
}

static void one_failure_is_tried_again_and_nobody_notices(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    atomic_store(&rig.inner->fail_next, 2);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 7);
    assert_int_equal(report_of(&rig).sentry.retries, 2);
    rig_close(&rig);
}

static void what_is_missed_is_replayed_before_anything_is_read(void **state)
{
    (void)state;
    static const int modes[] = {SCRIPTED_REFUSES, SCRIPTED_FAILS, SCRIPTED_GARBAGE};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct rig rig;
        struct dj_guarded_options options = quick();
        uint64_t version = 1;
        rig_open(&rig, 1, &options);
        assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
        assert_int_equal(put(&rig, 1, 2, 7), DEJA_OK);
        atomic_store(&rig.inner->mode, modes[i]);
        open_breaker(&rig);
        assert_int_equal(report_of(&rig).state, DJ_TIER_DOWN);
        assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_CIRCUIT_OPEN);
        assert_int_equal(version, 0);
        assert_int_equal(remove_status(&rig, key_of(1, 1)), DEJA_ERR_CIRCUIT_OPEN);
        assert_int_equal(put(&rig, 1, 2, 9), DEJA_ERR_CIRCUIT_OPEN);
        assert_int_equal(put(&rig, 1, 2, 8), DEJA_ERR_CIRCUIT_OPEN); /* older: newest wins */
        assert_int_equal(report_of(&rig).journal.records, 2);
        atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
        wait_for(&rig, &rig.caught_up, 1);
        assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
        assert_int_equal(version, 0);
        assert_int_equal(get_status(&rig, 0, key_of(1, 2), &version), DEJA_OK);
        assert_int_equal(version, 9);
        assert_int_equal(report_of(&rig).state, DJ_TIER_UP);
        assert_int_equal(report_of(&rig).replayed, 2);
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_pass_through_to_the_inner_store),
        cmocka_unit_test(one_failure_is_tried_again_and_nobody_notices),
        cmocka_unit_test(what_is_missed_is_replayed_before_anything_is_read),
    };
    return RUN_TESTS(tests);
}
