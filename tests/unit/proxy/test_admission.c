/* tests/unit/proxy/test_admission.c - who waits is told on his loop; nothing is told twice. */
#include "proxy/admission.h"
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

#include "failing_malloc.h"

#define CALLS 64u
#define LOOPS 3u

struct call {
    struct dj_admission_place place;
    struct dj_admission *admission;
    struct dj_loop *loop;
    struct dj_task task;
    uint8_t tenant[DJ_TENANT_BYTES];
    unsigned rounds_left;
    atomic_uint *left; /* calls that are not done */
    atomic_uint *running;
    atomic_uint *running_most;
    atomic_uint *let;
    struct dj_loop **loops;
};

static const struct dj_fair_options plain = {
    .running_max = 4,
    .waiting_max = 1000,
    .standing = {.target_us = UINT64_C(1) << 40, .interval_us = UINT64_C(1) << 40}};

static void ask(void *ctx);

static void go_on(struct call *call)
{
    if (--call->rounds_left) {
        call->task = (struct dj_task){.run = ask, .ctx = call};
        dj_loop_post(call->loop, &call->task);
    } else if (atomic_fetch_sub(call->left, 1) == 1) {
        for (unsigned i = 0; i < LOOPS; i++)
            dj_loop_stop(call->loops[i]);
    }
}

/* A turn later, so that calls overlap. */
static void finish(void *ctx)
{
    struct call *call = ctx;
    atomic_fetch_sub(call->running, 1);
    dj_admission_leave(call->admission, &call->place);
    dj_admission_leave(call->admission, &call->place);
    go_on(call);
}

static void run(struct call *call)
{
    unsigned running = atomic_fetch_add(call->running, 1) + 1;
    unsigned most = atomic_load(call->running_most);
    while (running > most && !atomic_compare_exchange_weak(call->running_most, &most, running)) {
    }
    atomic_fetch_add(call->let, 1);
    call->task = (struct dj_task){.run = finish, .ctx = call};
    dj_loop_post(call->loop, &call->task);
}

static void on_told(void *ctx, bool is_let)
{
    struct call *call = ctx;
    assert_true(dj_loop_is_current(call->loop));
    if (is_let)
        run(call);
    else
        go_on(call);
}

static void ask(void *ctx)
{
    struct call *call = ctx;
    const struct dj_admission_question question = {.tenant = call->tenant,
                                                   .is_patient = true,
                                                   .loop = call->loop,
                                                   .ctx = call,
                                                   .told = on_told};
    switch (dj_admission_enter(call->admission, &call->place, &question)) {
    case DJ_ADMISSION_LET:
        run(call);
        break;
    case DJ_ADMISSION_WAITS:
        break;
    case DJ_ADMISSION_REFUSED:
        go_on(call);
        break;
    }
}

static void *run_loop(void *loop)
{
    dj_loop_run(loop);
    return NULL;
}

static void loops_share_the_slots_and_all_calls_are_let(void **state)
{
    (void)state;
    static struct call calls[CALLS];
    struct dj_loop *loops[LOOPS];
    pthread_t threads[LOOPS];
    struct dj_admission *admission = NULL;
    atomic_uint left = CALLS, running = 0, running_most = 0, let = 0;
    for (uint32_t i = 0; i < LOOPS; i++)
        assert_int_equal(dj_loop_create(i, &loops[i]), DEJA_OK);
    assert_int_equal(dj_admission_create(&plain, loops[0], &admission), DEJA_OK);
    for (unsigned i = 0; i < CALLS; i++) {
        calls[i] = (struct call){.admission = admission,
                                 .loop = loops[i % LOOPS],
                                 .loops = loops,
                                 .rounds_left = 100,
                                 .left = &left,
                                 .running = &running,
                                 .running_most = &running_most,
                                 .let = &let};
        calls[i].tenant[0] = (uint8_t)(i % 5);
        calls[i].task = (struct dj_task){.run = ask, .ctx = &calls[i]};
        dj_loop_post(calls[i].loop, &calls[i].task);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_loop, loops[i]), 0);
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&let), CALLS * 100);
    assert_true(atomic_load(&running_most) <= 4);
    assert_int_equal(dj_admission_waiting(admission), 0);
    dj_admission_destroy(admission);
    for (unsigned i = 0; i < LOOPS; i++)
        dj_loop_destroy(loops[i]);
}

struct told {
    unsigned count;
    bool is_let;
    struct dj_loop *loop;
};

static void on_fate(void *ctx, bool is_let)
{
    struct told *told = ctx;
    told->count++;
    told->is_let = is_let;
    dj_loop_stop(told->loop);
}

static void stopping_refuses_who_waits_and_the_impatient_never_do(void **state)
{
    (void)state;
    struct dj_loop *loop = NULL;
    struct dj_admission *admission = NULL;
    struct dj_fair_options options = plain;
    options.running_max = 1;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_admission_create(&options, loop, &admission), DEJA_OK);
    struct told told = {.loop = loop};
    struct dj_admission_place running, waiting, hasty;
    struct dj_admission_question question = {.tenant = (const uint8_t *)"0123456789abcdef",
                                             .is_patient = true,
                                             .loop = loop,
                                             .ctx = &told,
                                             .told = on_fate};
    assert_int_equal(dj_admission_enter(admission, &running, &question), DJ_ADMISSION_LET);
    assert_int_equal(dj_admission_enter(admission, &waiting, &question), DJ_ADMISSION_WAITS);
    question.is_patient = false;
    assert_int_equal(dj_admission_enter(admission, &hasty, &question), DJ_ADMISSION_REFUSED);
    dj_admission_leave(admission, &hasty);
    assert_int_equal(dj_admission_waiting(admission), 1);
    dj_admission_stop(admission);
    dj_loop_run(loop);
    assert_int_equal(told.count, 1);
    assert_false(told.is_let);
    question.is_patient = true;
    assert_int_equal(dj_admission_enter(admission, &hasty, &question), DJ_ADMISSION_REFUSED);
    dj_admission_leave(admission, &running);
    dj_admission_destroy(admission);
    dj_loop_destroy(loop);
}

/* No slot comes free: the timer of the first loop finds who has waited too long. */
static void who_waits_too_long_is_told_without_a_turn(void **state)
{
    (void)state;
    struct dj_loop *loop = NULL;
    struct dj_admission *admission = NULL;
    struct dj_fair_options options = {
        .running_max = 1, .waiting_max = 10, .standing = {.target_us = 1, .interval_us = 1}};
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_admission_create(&options, loop, &admission), DEJA_OK);
    struct told told = {.loop = loop};
    struct dj_admission_place running, waiting;
    const struct dj_admission_question question = {.tenant = (const uint8_t *)"0123456789abcdef",
                                                   .is_patient = true,
                                                   .loop = loop,
                                                   .ctx = &told,
                                                   .told = on_fate};
    assert_int_equal(dj_admission_enter(admission, &running, &question), DJ_ADMISSION_LET);
    assert_int_equal(dj_admission_enter(admission, &waiting, &question), DJ_ADMISSION_WAITS);
    dj_loop_run(loop);
    assert_int_equal(told.count, 1);
    assert_false(told.is_let);
    assert_int_equal(dj_admission_enter(NULL, &waiting, &question), DJ_ADMISSION_LET);
    dj_admission_leave(NULL, &waiting);
    dj_admission_leave(admission, &running);
    dj_admission_destroy(admission);
    dj_loop_destroy(loop);
}

static void admission_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_loop *loop = NULL;
        struct dj_admission *admission = NULL;
        assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
        failing_malloc_arm(n);
        enum deja_status status = dj_admission_create(&plain, loop, &admission);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status == DEJA_OK, !has_failed);
        dj_admission_destroy(admission);
        dj_loop_stop(loop);
        dj_loop_run(loop);
        dj_loop_destroy(loop);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_share_the_slots_and_all_calls_are_let),
        cmocka_unit_test(stopping_refuses_who_waits_and_the_impatient_never_do),
        cmocka_unit_test(who_waits_too_long_is_told_without_a_turn),
        cmocka_unit_test(admission_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
