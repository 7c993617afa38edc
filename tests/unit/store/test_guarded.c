#include "store/guarded.h"
#include <sched.h>

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
    uint64_t left_puts;
    uint64_t left_removes;
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

static void on_left_behind(void *ctx, const char *level, uint64_t puts, uint64_t removes)
{
    struct rig *rig = ctx;
    (void)level;
    rig->left_puts = puts;
    rig->left_removes = removes;
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

static const struct dj_guarded_events events = {.changed = on_changed,
                                                .caught_up = on_caught_up,
                                                .late = on_late,
                                                .left_behind = on_left_behind};

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

static void what_is_new_goes_to_a_store_that_is_behind_at_once(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version = 1;
    options.remove_ms = 60000;
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    atomic_store(&rig.inner->mode, SCRIPTED_REFUSES);
    open_breaker(&rig);
    assert_int_equal(remove_status(&rig, key_of(1, 1)), DEJA_ERR_CIRCUIT_OPEN);
    atomic_store(&rig.inner->holds_removes, true);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    while (report_of(&rig).state != DJ_TIER_BEHIND)
        sched_yield();
    assert_int_equal(put(&rig, 1, 2, 8), DEJA_OK);
    assert_int_equal(put(&rig, 1, 1, 9), DEJA_ERR_CIRCUIT_OPEN); /* after what is kept of it */
    assert_int_equal(get_status(&rig, 0, key_of(1, 2), &version), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(version, 0);
    atomic_store(&rig.inner->holds_removes, false);
    /* Its replay may not have begun to hang yet. */
    while (report_of(&rig).state != DJ_TIER_UP)
        scripted_let_go(rig.inner);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 9);
    assert_int_equal(get_status(&rig, 0, key_of(1, 2), &version), DEJA_OK);
    assert_int_equal(version, 8);
    rig_close(&rig);
}

static void a_hung_call_ends_at_its_deadline_and_its_late_answer_is_offered(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    options.get_ms = 10;
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    atomic_store(&rig.inner->mode, SCRIPTED_HANGS);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_TIMEOUT);
    assert_int_equal(version, 0);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    scripted_let_go(rig.inner);
    wait_for(&rig, &rig.late, 1);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 7);
    assert_true(report_of(&rig).sentry.late > 0 && report_of(&rig).sentry.timeouts > 0);
    rig_close(&rig);
}

static void a_list_that_comes_late_does_not_touch_the_callers_page(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    struct dj_store_page page = {.count = 0};
    options.put_ms = 10;
    rig_open(&rig, 1, &options);
    wait_put(&rig.inner->store, rig.loops.loop[0], value_of(1, 1, 7, "body"));
    atomic_store(&rig.inner->mode, SCRIPTED_HANGS);
    struct call call = {.store = rig.store,
                        .loop = rig.loops.loop[0],
                        .kind = CALL_LIST,
                        .key = key_of(1, 0),
                        .page = &page};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_ERR_TIMEOUT);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    scripted_let_go(rig.inner);
    uint64_t version;
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(page.count, 0);
    rig_close(&rig);
}

/* The tier may have the old answer still: until the removal is done nothing of it is read, although
 * the breaker is closed. */
static void one_failed_removal_holds_reads_back_until_it_is_done(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    options.sentry.retry.attempts_max = 1;
    options.sentry.breaker.failures_max = 1000;
    options.sentry.breaker.ratio = 2;
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    atomic_store(&rig.inner->mode, SCRIPTED_FAILS);
    assert_int_equal(remove_status(&rig, key_of(1, 1)), DEJA_ERR_IO);
    assert_int_equal(report_of(&rig).state, DJ_TIER_BEHIND);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(put(&rig, 1, 2, 7), DEJA_ERR_IO); /* tried at once, and kept too */
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    wait_for(&rig, &rig.caught_up, 1);
    assert_int_equal(scripted_version(rig.inner, key_of(1, 1)), 0);
    assert_int_equal(scripted_version(rig.inner, key_of(1, 2)), 7);
    assert_int_equal(get_status(&rig, 0, key_of(1, 2), &version), DEJA_OK);
    assert_int_equal(version, 7);
    rig_close(&rig);
}

static void on_raised(void *ctx, enum deja_status status, uint64_t generation)
{
    struct call *call = ctx;
    call->removed = generation;
    call_finish(call, status);
}

static void on_raise(void *ctx)
{
    struct call *call = ctx;
    enum deja_status status = call->store->ops->raise(call->store, call->loop, call->key.tenant,
                                                      deja_slice_text("blue"), call, on_raised);
    call->has_returned = true;
    if (status != DEJA_OK)
        call_finish(call, status);
}

static enum deja_status raise_status(struct rig *rig)
{
    struct call call = {.store = rig->store, .loop = rig->loops.loop[0], .key = key_of(1, 0)};
    pthread_mutex_init(&call.mutex, NULL);
    pthread_cond_init(&call.cond, NULL);
    call.task = (struct dj_task){.run = on_raise, .ctx = &call};
    dj_loop_post(call.loop, &call.task);
    pthread_mutex_lock(&call.mutex);
    while (!call.is_done)
        pthread_cond_wait(&call.cond, &call.mutex);
    pthread_mutex_unlock(&call.mutex);
    pthread_mutex_destroy(&call.mutex);
    pthread_cond_destroy(&call.cond);
    return call.status;
}

static void clears_and_raises_are_replayed_too(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    assert_int_equal(put(&rig, 2, 1, 7), DEJA_OK);
    atomic_store(&rig.inner->mode, SCRIPTED_REFUSES);
    open_breaker(&rig);
    struct call call = {
        .store = rig.store, .loop = rig.loops.loop[0], .kind = CALL_CLEAR, .key = key_of(1, 0)};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(put(&rig, 1, 2, 8), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(raise_status(&rig), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(raise_status(&rig), DEJA_ERR_CIRCUIT_OPEN);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    wait_for(&rig, &rig.caught_up, 1);
    assert_int_equal(scripted_version(rig.inner, key_of(1, 1)), 0);
    assert_int_equal(scripted_version(rig.inner, key_of(1, 2)), 8);
    assert_int_equal(scripted_version(rig.inner, key_of(2, 1)), 7);
    assert_int_equal(rig.inner->generation, 2); /* one for each, as if it had been there */
    rig_close(&rig);
}

static void a_put_that_never_gets_through_does_not_keep_the_tier_unread(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    options.sentry.breaker.failures_max = 1000;
    options.sentry.breaker.ratio = 2;
    rig_open(&rig, 1, &options);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    assert_int_equal(put(&rig, 1, 2, 7), DEJA_OK);
    atomic_store(&rig.inner->fails_puts, true);
    assert_int_equal(put(&rig, 1, 1, 8), DEJA_ERR_TIMEOUT);
    wait_for(&rig, &rig.caught_up, 1);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_OK);
    assert_int_equal(version, 0); /* what it was to replace is gone */
    assert_int_equal(get_status(&rig, 0, key_of(1, 2), &version), DEJA_OK);
    assert_int_equal(version, 7);
    assert_int_equal(report_of(&rig).journal.puts_dropped, 1);
    rig_close(&rig);
}

static void what_is_missed_at_the_end_is_told(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    rig_open(&rig, 1, &options);
    atomic_store(&rig.inner->mode, SCRIPTED_REFUSES);
    open_breaker(&rig);
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(remove_status(&rig, key_of(1, 2)), DEJA_ERR_CIRCUIT_OPEN);
    rig_close(&rig);
    assert_int_equal(rig.left_puts, 1);
    assert_int_equal(rig.left_removes, 1);
}

static void a_tier_that_is_down_at_the_start_is_found_when_it_comes(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    rig_open(&rig, 1, &options);
    atomic_store(&rig.inner->mode, SCRIPTED_REFUSES);
    open_breaker(&rig);
    uint32_t probes = atomic_load(&rig.inner->probes);
    while (atomic_load(&rig.inner->probes) < probes + 3)
        assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_CIRCUIT_OPEN);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    while (get_status(&rig, 0, key_of(1, 1), &version) != DEJA_OK)
        continue;
    assert_int_equal(put(&rig, 1, 1, 7), DEJA_OK);
    assert_int_equal(report_of(&rig).sentry.state, DJ_BREAKER_CLOSED);
    rig_close(&rig);
}

static void a_full_bulkhead_refuses_and_what_waits_too_long_is_dropped(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    uint64_t version;
    options.sentry.calls_max = 1;
    options.sentry.queue_max = 1;
    options.sentry.breaker.failures_max = 1000;
    options.sentry.breaker.ratio = 2;
    options.get_ms = 10;
    rig_open(&rig, 1, &options);
    atomic_store(&rig.inner->mode, SCRIPTED_HANGS);
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_TIMEOUT);
    uint32_t calls = atomic_load(&rig.inner->calls);
    /* What was given up holds the only place, so this one is never asked. */
    assert_int_equal(get_status(&rig, 0, key_of(1, 1), &version), DEJA_ERR_TIMEOUT);
    assert_int_equal(atomic_load(&rig.inner->calls), calls);
    assert_true(report_of(&rig).sentry.expired > 0);
    scripted_let_go(rig.inner);
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    while (get_status(&rig, 0, key_of(1, 1), &version) != DEJA_OK)
        continue;
    rig_close(&rig);
}

/* A call that nobody waits for with a condition: it may end when the loops are gone. */
struct loose {
    struct call call;
    _Atomic int *ended;
};

static void on_loose(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct loose *loose = ctx;
    assert_true(status != DEJA_OK || !value);
    dj_value_unref(value);
    atomic_fetch_add(loose->ended, 1);
}

static void start_loose(void *ctx)
{
    struct loose *loose = ctx;
    struct call *call = &loose->call;
    if (call->store->ops->get(call->store, call->loop, &call->key, loose, on_loose) != DEJA_OK)
        atomic_fetch_add(loose->ended, 1);
    call_finish(call, DEJA_OK);
}

static void calls_that_hang_at_shutdown_end_exactly_once(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_guarded_options options = quick();
    struct loose loose[40];
    _Atomic int ended = 0;
    options.sentry.calls_max = 10; /* the others wait for their turn */
    rig_open(&rig, 2, &options);
    atomic_store(&rig.inner->mode, SCRIPTED_HANGS);
    for (size_t i = 0; i < 40; i++) {
        loose[i] = (struct loose){.call = {.store = rig.store,
                                           .loop = rig.loops.loop[i % 2],
                                           .key = key_of(1, (uint32_t)i)},
                                  .ended = &ended};
        struct call *call = &loose[i].call;
        pthread_mutex_init(&call->mutex, NULL);
        pthread_cond_init(&call->cond, NULL);
        call->task = (struct dj_task){.run = start_loose, .ctx = &loose[i]};
        dj_loop_post(call->loop, &call->task);
        pthread_mutex_lock(&call->mutex);
        while (!call->is_done)
            pthread_cond_wait(&call->cond, &call->mutex);
        pthread_mutex_unlock(&call->mutex);
    }
    rig_close(&rig);
    assert_int_equal(atomic_load(&ended), 40);
    for (size_t i = 0; i < 40; i++) {
        pthread_mutex_destroy(&loose[i].call.mutex);
        pthread_cond_destroy(&loose[i].call.cond);
    }
}

/* ---- under load: several threads, a tier that comes and goes ---- */

enum { LOAD_KEYS = 64, LOAD_STEPS = 1500 };

struct worker {
    struct rig *rig;
    pthread_t thread;
    uint32_t number; /* its tenant: nobody else writes there */
    uint64_t seed;
    uint64_t versions[LOAD_KEYS]; /* that may still be read; 0: removed */
};

static void check_read(struct worker *worker, uint32_t id)
{
    uint64_t version;
    enum deja_status status = get_status(worker->rig, worker->number % worker->rig->loops.count,
                                         key_of(worker->number, id), &version);
    /* A miss, or what was put last: never what was removed or replaced before. */
    assert_true(version == 0 || version == worker->versions[id]);
    assert_true(version == 0 || status == DEJA_OK);
}

static void *run_worker(void *ctx)
{
    struct worker *worker = ctx;
    struct rig *rig = worker->rig;
    struct dj_loop *loop = rig->loops.loop[worker->number % rig->loops.count];
    uint64_t next = 1;
    for (uint32_t step = 0; step < LOAD_STEPS; step++) {
        worker->seed = worker->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t id = (uint32_t)(worker->seed >> 33) % LOAD_KEYS;
        uint32_t what = (uint32_t)(worker->seed >> 50) % 10;
        if (what < 3) {
            wait_put(rig->store, loop, value_of(worker->number, id, ++next, "body"));
            worker->versions[id] = next;
        } else if (what < 5) {
            struct call call = {.store = rig->store,
                                .loop = loop,
                                .kind = CALL_REMOVE,
                                .key = key_of(worker->number, id),
                                .version_max = next};
            call_wait(&call);
            worker->versions[id] = 0;
        } else if (step % 400 == 399) {
            struct call call = {.store = rig->store,
                                .loop = loop,
                                .kind = CALL_CLEAR,
                                .key = key_of(worker->number, 0)};
            call_wait(&call);
            memset(worker->versions, 0, sizeof worker->versions);
        } else {
            check_read(worker, id);
        }
    }
    return NULL;
}

static void under_load_and_faults_nothing_removed_or_replaced_is_read(void **state)
{
    (void)state;
    enum { WORKERS = 4 };
    struct rig rig;
    struct worker workers[WORKERS];
    struct dj_guarded_options options = quick();
    options.get_ms = options.put_ms = options.remove_ms = options.long_ms = 20;
    options.journal.bytes_max = 4096; /* some puts give way */
    rig_open(&rig, 2, &options);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.rig = &rig, .number = i + 1, .seed = i + 1};
        int code = pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]);
        assert_int_equal(code, 0);
    }
    static const int modes[] = {SCRIPTED_FAILS,   SCRIPTED_ANSWERS, SCRIPTED_HANGS,
                                SCRIPTED_ANSWERS, SCRIPTED_REFUSES, SCRIPTED_ANSWERS,
                                SCRIPTED_GARBAGE, SCRIPTED_ANSWERS};
    for (size_t round = 0; round < 24; round++) {
        uint32_t calls = atomic_load(&rig.inner->calls);
        atomic_store(&rig.inner->mode, modes[round % 8]);
        if (modes[round % 8] == SCRIPTED_ANSWERS)
            scripted_let_go(rig.inner);
        for (size_t turn = 0; turn < 200 && atomic_load(&rig.inner->calls) < calls + 40; turn++)
            check_read(&(struct worker){.rig = &rig, .number = 99}, 1); /* passes time */
    }
    atomic_store(&rig.inner->mode, SCRIPTED_ANSWERS);
    scripted_let_go(rig.inner);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    uint64_t version;
    while (get_status(&rig, 0, key_of(99, 1), &version) != DEJA_OK)
        continue;
    for (uint32_t i = 0; i < WORKERS; i++)
        for (uint32_t id = 0; id < LOAD_KEYS; id++)
            check_read(&workers[i], id);
    assert_int_equal(report_of(&rig).state, DJ_TIER_UP);
    rig_close(&rig);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct loops loops;
    struct dj_guarded_options options = quick();
    struct scripted *inner = scripted_open();
    struct dj_store *store = NULL;
    loops_create(&loops, 1);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status =
            dj_guarded_store_open(&inner->store, loops.loop[0], &options, NULL, NULL, &store);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(store);
    }
    store->ops->close(store);
    loops_destroy(&loops);
}

/* On the loop's thread, where the counter of failing allocations has to be. */
struct poor {
    struct rig *rig;
    struct dj_store_key key;
    struct dj_value *value;
    size_t n;
    bool has_failed;
    enum deja_status status;
    _Atomic int ended;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void end_poor(struct poor *poor, enum deja_status status)
{
    poor->has_failed = failing_malloc_disarm() || poor->has_failed;
    pthread_mutex_lock(&poor->mutex);
    poor->status = status;
    atomic_fetch_add(&poor->ended, 1);
    pthread_cond_signal(&poor->cond);
    pthread_mutex_unlock(&poor->mutex);
}

static void on_poor(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    end_poor(ctx, status);
}

static void start_poor(void *ctx)
{
    struct poor *poor = ctx;
    struct dj_store *store = poor->rig->store;
    struct dj_loop *loop = poor->rig->loops.loop[0];
    failing_malloc_arm(poor->n);
    enum deja_status status =
        poor->value ? store->ops->put(store, loop, poor->value, NULL, 0, poor, on_poor)
                    : store->ops->remove(store, loop, &poor->key, UINT64_MAX, poor, on_poor);
    if (status != DEJA_OK)
        end_poor(poor, status);
}

static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    static const int modes[] = {SCRIPTED_ANSWERS, SCRIPTED_FAILS};
    for (size_t what = 0; what < 4; what++) {
        for (size_t n = 1;; n++) {
            struct rig rig;
            struct dj_guarded_options options = quick();
            options.probe_ms = 60000;
            rig_open(&rig, 1, &options);
            atomic_store(&rig.inner->mode, modes[what % 2]);
            struct poor poor = {.rig = &rig, .key = key_of(1, 1), .n = n};
            poor.value = what < 2 ? value_of(1, 1, 1, "body") : NULL;
            pthread_mutex_init(&poor.mutex, NULL);
            pthread_cond_init(&poor.cond, NULL);
            poor.task = (struct dj_task){.run = start_poor, .ctx = &poor};
            dj_loop_post(rig.loops.loop[0], &poor.task);
            pthread_mutex_lock(&poor.mutex);
            while (!atomic_load(&poor.ended))
                pthread_cond_wait(&poor.cond, &poor.mutex);
            pthread_mutex_unlock(&poor.mutex);
            rig_close(&rig);
            assert_int_equal(atomic_load(&poor.ended), 1);
            dj_value_unref(poor.value);
            pthread_mutex_destroy(&poor.mutex);
            pthread_cond_destroy(&poor.cond);
            if (!poor.has_failed)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_pass_through_to_the_inner_store),
        cmocka_unit_test(one_failure_is_tried_again_and_nobody_notices),
        cmocka_unit_test(what_is_missed_is_replayed_before_anything_is_read),
        cmocka_unit_test(what_is_new_goes_to_a_store_that_is_behind_at_once),
        cmocka_unit_test(a_hung_call_ends_at_its_deadline_and_its_late_answer_is_offered),
        cmocka_unit_test(a_list_that_comes_late_does_not_touch_the_callers_page),
        cmocka_unit_test(one_failed_removal_holds_reads_back_until_it_is_done),
        cmocka_unit_test(clears_and_raises_are_replayed_too),
        cmocka_unit_test(a_put_that_never_gets_through_does_not_keep_the_tier_unread),
        cmocka_unit_test(what_is_missed_at_the_end_is_told),
        cmocka_unit_test(a_tier_that_is_down_at_the_start_is_found_when_it_comes),
        cmocka_unit_test(a_full_bulkhead_refuses_and_what_waits_too_long_is_dropped),
        cmocka_unit_test(calls_that_hang_at_shutdown_end_exactly_once),
        cmocka_unit_test(under_load_and_faults_nothing_removed_or_replaced_is_read),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
