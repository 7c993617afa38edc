#include "guarded/sentry.h"
#include "check.h"
#include "guarded/board.h"

#include <pthread.h>
#include <stdatomic.h>

/* Everything runs on one loop, by hand: a test asks for something, then lets the loop run until
 * nothing of it is left. */
struct rig {
    struct dj_loop *loop;
    struct dj_sentry *sentry;
    struct dj_task task;
    void (*act)(struct rig *rig);
    uint32_t done; /* calls that are over */
    uint32_t released;
    uint32_t wanted; /* released: then the loop ends */
    uint32_t starts;
    uint32_t opened;
    enum deja_status last;
};

struct job {
    struct dj_sentry_call call; /* first */
    struct rig *rig;
    const enum deja_status *script; /* of its attempts; DEJA_ERR_CANCELLED: never ends by itself */
    bool is_refused;                /* start itself fails */
    struct dj_task task;
    struct dj_sentry_attempt *held[DJ_SENTRY_ATTEMPTS_MAX];
    uint32_t attempts;
    struct dj_sentry_attempt *ending;
    enum deja_status end;
    bool was_late;
};

static void on_end(void *ctx)
{
    struct job *job = ctx;
    job->was_late = !dj_sentry_is_wanted(job->ending);
    dj_sentry_end(job->ending, job->end);
}

static enum deja_status on_start(struct dj_sentry_call *call, struct dj_sentry_attempt *attempt)
{
    struct job *job = (struct job *)(void *)call;
    enum deja_status end = job->script[job->attempts];
    job->held[job->attempts++] = attempt;
    job->rig->starts++;
    if (job->is_refused)
        return end;
    if (end == DEJA_ERR_CANCELLED)
        return DEJA_OK;
    job->ending = attempt;
    job->end = end;
    job->task = (struct dj_task){.run = on_end, .ctx = job};
    dj_loop_post(job->rig->loop, &job->task);
    return DEJA_OK;
}

static void on_done(struct dj_sentry_call *call, enum deja_status status)
{
    struct job *job = (struct job *)(void *)call;
    job->rig->done++;
    job->rig->last = status;
    for (uint32_t i = 0; i < job->attempts; i++) /* what was given up comes in at last */
        if (job->held[i]->is_running && job->script[i] == DEJA_ERR_CANCELLED)
            dj_sentry_end(job->held[i], DEJA_OK);
}

static void on_release(struct dj_sentry_call *call)
{
    struct rig *rig = ((struct job *)(void *)call)->rig;
    rig->released++;
    if (rig->released == rig->wanted)
        dj_loop_stop(rig->loop);
}

static const struct dj_sentry_work work = {
    .start = on_start, .done = on_done, .release = on_release};

static void on_changed(void *ctx, enum dj_breaker_state state, const char *text)
{
    struct rig *rig = ctx;
    assert_non_null(text);
    rig->opened += state == DJ_BREAKER_OPEN;
}

static struct dj_sentry_options quick(void)
{
    struct dj_sentry_options options = dj_sentry_options_of(false);
    options.retry.initial_ms = 1;
    return options;
}

static void rig_open(struct rig *rig, const struct dj_sentry_options *options)
{
    static const struct dj_sentry_events events = {.changed = on_changed};
    memset(rig, 0, sizeof *rig);
    assert_int_equal(dj_loop_create(0, &rig->loop), DEJA_OK);
    assert_int_equal(dj_sentry_create("thing", options, &events, rig, &rig->sentry), DEJA_OK);
}

static void rig_close(struct rig *rig)
{
    dj_sentry_destroy(rig->sentry);
    dj_loop_destroy(rig->loop);
}

static struct job job_of(struct rig *rig, const enum deja_status *script)
{
    return (struct job){.call = {.work = &work, .operation = "ask", .deadline_ms = 60000},
                        .rig = rig,
                        .script = script};
}

static enum deja_status run(struct rig *rig, struct job *job)
{
    return dj_sentry_run(rig->sentry, rig->loop, &job->call);
}

static struct dj_sentry_report look(struct rig *rig)
{
    struct dj_sentry_report report;
    dj_sentry_look(rig->sentry, &report);
    return report;
}

static void wait_released(struct rig *rig, uint32_t wanted)
{
    rig->wanted = wanted;
    if (rig->released < wanted)
        dj_loop_run(rig->loop);
}

static void a_call_that_succeeds_is_asked_once(void **state)
{
    (void)state;
    static const enum deja_status script[] = {DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    rig_open(&rig, &options);
    struct job job = job_of(&rig, script);
    assert_int_equal(run(&rig, &job), DEJA_OK);
    assert_int_equal(rig.done, 0); /* not inside the call */
    wait_released(&rig, 1);
    assert_int_equal(rig.last, DEJA_OK);
    assert_int_equal(rig.starts, 1);
    assert_int_equal(look(&rig).calls, 1);
    assert_string_equal(look(&rig).last_error, "");
    rig_close(&rig);
}

static void failures_are_tried_again_up_to_three_times(void **state)
{
    (void)state;
    static const enum deja_status twice[] = {DEJA_ERR_IO, DEJA_ERR_TIMEOUT, DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    rig_open(&rig, &options);
    struct job job = job_of(&rig, twice);
    assert_int_equal(run(&rig, &job), DEJA_OK);
    wait_released(&rig, 1);
    assert_int_equal(rig.last, DEJA_OK);
    assert_int_equal(rig.starts, 3);
    assert_int_equal(look(&rig).retries, 2);
    assert_string_equal(look(&rig).last_error, "ask: timed out");
    rig_close(&rig);
}

static void what_is_not_retryable_or_asked_once_only_fails_at_once(void **state)
{
    (void)state;
    static const enum deja_status invalid[] = {DEJA_ERR_INVALID};
    static const enum deja_status broken[] = {DEJA_ERR_IO};
    struct rig rig;
    struct dj_sentry_options options = quick();
    rig_open(&rig, &options);
    struct job job = job_of(&rig, invalid);
    assert_int_equal(run(&rig, &job), DEJA_OK);
    struct job once = job_of(&rig, broken);
    once.call.is_once = true;
    assert_int_equal(run(&rig, &once), DEJA_OK);
    struct job refused = job_of(&rig, broken);
    refused.is_refused = true;
    refused.call.is_once = true;
    assert_int_equal(run(&rig, &refused), DEJA_ERR_IO); /* and done never runs */
    wait_released(&rig, 3);
    assert_int_equal(rig.done, 2);
    assert_int_equal(rig.starts, 3);
    assert_int_equal(look(&rig).failures, 2);
    rig_close(&rig);
}

static void an_attempt_that_takes_too_long_is_given_up_and_another_made(void **state)
{
    (void)state;
    static const enum deja_status script[] = {DEJA_ERR_CANCELLED, DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    rig_open(&rig, &options);
    struct job job = job_of(&rig, script);
    job.call.attempt_ms = 2;
    assert_int_equal(run(&rig, &job), DEJA_OK);
    wait_released(&rig, 1);
    assert_int_equal(rig.last, DEJA_OK);
    assert_int_equal(rig.starts, 2);
    assert_int_equal(look(&rig).late, 1); /* its answer came at last, and was of no use */
    assert_int_equal(look(&rig).timeouts, 1);
    assert_int_equal(look(&rig).running, 0);
    rig_close(&rig);
}

static void the_deadline_of_the_call_ends_it_whatever_the_attempts(void **state)
{
    (void)state;
    static const enum deja_status script[] = {DEJA_ERR_CANCELLED};
    struct rig rig;
    struct dj_sentry_options options = quick();
    rig_open(&rig, &options);
    struct job job = job_of(&rig, script);
    job.call.deadline_ms = 2;
    job.call.attempt_ms = 60000;
    assert_int_equal(run(&rig, &job), DEJA_OK);
    wait_released(&rig, 1);
    assert_int_equal(rig.last, DEJA_ERR_TIMEOUT);
    assert_int_equal(rig.starts, 1);
    rig_close(&rig);
}

static void an_open_breaker_refuses_at_once_and_a_probe_is_let_through(void **state)
{
    (void)state;
    static const enum deja_status broken[] = {DEJA_ERR_IO};
    static const enum deja_status fine[] = {DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    struct job jobs[5];
    rig_open(&rig, &options);
    for (uint32_t i = 0; i < 5; i++) {
        jobs[i] = job_of(&rig, broken);
        jobs[i].is_refused = true;
        jobs[i].call.is_once = true;
        assert_int_equal(run(&rig, &jobs[i]), DEJA_ERR_IO);
    }
    assert_int_equal(rig.opened, 1);
    assert_true(dj_sentry_is_open(rig.sentry));
    assert_true(look(&rig).open_wait_ms > 0);
    struct job refused = job_of(&rig, fine);
    assert_int_equal(run(&rig, &refused), DEJA_ERR_CIRCUIT_OPEN);
    assert_int_equal(look(&rig).refused, 1);
    assert_int_equal(rig.starts, 5);
    struct job probe = job_of(&rig, fine);
    probe.call.is_probe = true;
    assert_int_equal(run(&rig, &probe), DEJA_OK);
    wait_released(&rig, 7);
    assert_int_equal(dj_sentry_state(rig.sentry), DJ_BREAKER_HALF_OPEN);
    rig_close(&rig);
}

static void the_bulkhead_lets_the_next_in_when_one_ends(void **state)
{
    (void)state;
    static const enum deja_status fine[] = {DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    struct job jobs[4];
    options.calls_max = 1;
    options.queue_max = 2;
    rig_open(&rig, &options);
    for (uint32_t i = 0; i < 4; i++)
        jobs[i] = job_of(&rig, fine);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(run(&rig, &jobs[i]), DEJA_OK);
    assert_int_equal(run(&rig, &jobs[3]), DEJA_ERR_BUSY);
    assert_int_equal(rig.starts, 1);
    assert_int_equal(look(&rig).running, 1);
    assert_int_equal(look(&rig).queued, 2);
    assert_int_equal(look(&rig).overflowed, 1);
    wait_released(&rig, 4);
    assert_int_equal(rig.done, 3);
    assert_int_equal(rig.starts, 3);
    rig_close(&rig);
}

static void calls_that_wait_when_the_sentry_ends_are_cancelled(void **state)
{
    (void)state;
    static const enum deja_status hangs[] = {DEJA_ERR_CANCELLED};
    static const enum deja_status fine[] = {DEJA_OK};
    struct rig rig;
    struct dj_sentry_options options = quick();
    options.calls_max = 1;
    rig_open(&rig, &options);
    struct job running = job_of(&rig, hangs);
    struct job waiting = job_of(&rig, fine);
    struct job late = job_of(&rig, fine);
    assert_int_equal(run(&rig, &running), DEJA_OK);
    assert_int_equal(run(&rig, &waiting), DEJA_OK);
    dj_sentry_destroy(rig.sentry);
    assert_int_equal(rig.done, 1);
    assert_int_equal(rig.last, DEJA_ERR_CANCELLED);
    assert_int_equal(rig.starts, 1);
    dj_sentry_end(running.held[0], DEJA_OK); /* the sentry lived on for it */
    assert_int_equal(rig.done, 2);
    assert_int_equal(rig.released, 2);
    (void)late;
    dj_loop_destroy(rig.loop);
}

static void decisions_alone_are_counted_and_shown(void **state)
{
    (void)state;
    struct rig rig;
    struct dj_sentry_options options = quick();
    struct dj_sentry_board board = {.count = 0};
    struct dj_sentry_sight sight;
    uint64_t wait_ms = 0;
    rig_open(&rig, &options);
    dj_sentry_board_add(&board, rig.sentry, dj_sentry_board_look);
    for (uint32_t i = 0; i < 5; i++) {
        struct dj_sentry_ticket ticket;
        assert_true(dj_sentry_admit(rig.sentry, &ticket, &wait_ms));
        dj_sentry_tell(rig.sentry, &ticket, "ask", DEJA_ERR_IO);
    }
    struct dj_sentry_ticket ticket;
    assert_false(dj_sentry_admit(rig.sentry, &ticket, &wait_ms));
    assert_true(wait_ms > 0 && wait_ms <= 30000);
    board.rows[0].look(board.rows[0].ctx, &sight);
    assert_string_equal(sight.state, "down");
    assert_string_equal(sight.sentry.name, "thing");
    assert_int_equal(sight.sentry.opened, 1);
    dj_sentry_note(rig.sentry, "no route to host");
    assert_string_equal(look(&rig).last_error, "no route to host");
    for (uint32_t i = 0; i < 2 * DJ_SENTRY_BOARD_MAX; i++)
        dj_sentry_board_add(&board, rig.sentry, dj_sentry_board_look);
    assert_int_equal(board.count, DJ_SENTRY_BOARD_MAX);
    rig_close(&rig);
}

static void create_and_run_survive_each_failed_allocation(void **state)
{
    (void)state;
    static const enum deja_status fine[] = {DEJA_OK};
    struct dj_sentry_options options = quick();
    struct dj_sentry *sentry = NULL;
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_sentry_create("thing", &options, NULL, NULL, &sentry);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(sentry);
    }
    dj_sentry_destroy(sentry);
    for (size_t n = 1;; n++) {
        struct rig rig;
        rig_open(&rig, &options);
        struct job job = job_of(&rig, fine);
        failing_malloc_arm(n);
        enum deja_status status = run(&rig, &job);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        wait_released(&rig, 1);
        rig_close(&rig);
        if (!has_failed)
            break;
    }
}

/* ---- the decisions are those of one breaker, whoever asks ---- */

struct thread {
    pthread_t thread;
    struct dj_sentry *sentry;
    _Atomic uint32_t *let;
};

static void *ask_often(void *ctx)
{
    struct thread *thread = ctx;
    for (uint32_t i = 0; i < 5000; i++) {
        struct dj_sentry_ticket ticket;
        if (!dj_sentry_admit(thread->sentry, &ticket, NULL))
            continue;
        atomic_fetch_add(thread->let, 1);
        dj_sentry_earn(thread->sentry);
        dj_sentry_tell(thread->sentry, &ticket, "ask", i % 3 ? DEJA_ERR_IO : DEJA_OK);
    }
    return NULL;
}

static void threads_share_one_breaker(void **state)
{
    (void)state;
    struct dj_sentry_options options = quick();
    struct thread threads[4];
    _Atomic uint32_t let = 0;
    struct dj_sentry *sentry = NULL;
    struct dj_sentry_report report;
    options.breaker.open_ms = options.breaker.open_ms_max = 1;
    assert_int_equal(dj_sentry_create("thing", &options, NULL, NULL, &sentry), DEJA_OK);
    for (size_t i = 0; i < 4; i++) {
        threads[i] = (struct thread){.sentry = sentry, .let = &let};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, ask_often, &threads[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i].thread, NULL);
    dj_sentry_look(sentry, &report);
    assert_int_equal(report.calls, atomic_load(&let));
    assert_int_equal(report.calls + report.refused, 4 * 5000);
    dj_sentry_destroy(sentry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_that_succeeds_is_asked_once),
        cmocka_unit_test(failures_are_tried_again_up_to_three_times),
        cmocka_unit_test(what_is_not_retryable_or_asked_once_only_fails_at_once),
        cmocka_unit_test(an_attempt_that_takes_too_long_is_given_up_and_another_made),
        cmocka_unit_test(the_deadline_of_the_call_ends_it_whatever_the_attempts),
        cmocka_unit_test(an_open_breaker_refuses_at_once_and_a_probe_is_let_through),
        cmocka_unit_test(the_bulkhead_lets_the_next_in_when_one_ends),
        cmocka_unit_test(calls_that_wait_when_the_sentry_ends_are_cancelled),
        cmocka_unit_test(decisions_alone_are_counted_and_shown),
        cmocka_unit_test(create_and_run_survive_each_failed_allocation),
        cmocka_unit_test(threads_share_one_breaker),
    };
    return RUN_TESTS(tests);
}
