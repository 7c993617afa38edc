#include "loop/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "check.h"

enum { THREADS = 4, POSTS_PER_THREAD = 2000 };

struct post {
    struct dj_task task;
    struct flood *flood;
    uint32_t thread;
    uint32_t number;
};

struct flood {
    struct dj_loop *loop;
    uint32_t next[THREADS]; /* the number each thread's next task must have */
    uint32_t ran;
    bool is_ordered;
    struct post posts[THREADS][POSTS_PER_THREAD];
};

struct poster {
    struct flood *flood;
    uint32_t thread;
};

static void on_post(void *ctx)
{
    struct post *post = ctx;
    struct flood *flood = post->flood;
    if (flood->next[post->thread]++ != post->number || !dj_loop_is_current(flood->loop))
        flood->is_ordered = false;
    if (++flood->ran == THREADS * POSTS_PER_THREAD)
        dj_loop_stop(flood->loop);
}

static void *post_all(void *ctx)
{
    const struct poster *poster = ctx;
    for (uint32_t i = 0; i < POSTS_PER_THREAD; i++) {
        struct post *post = &poster->flood->posts[poster->thread][i];
        post->flood = poster->flood;
        post->thread = poster->thread;
        post->number = i;
        post->task = (struct dj_task){.run = on_post, .ctx = post};
        dj_loop_post(poster->flood->loop, &post->task);
    }
    return NULL;
}

static void tasks_of_many_threads_all_run_in_their_order(void **state)
{
    (void)state;
    static struct flood flood;
    memset(&flood, 0, sizeof(flood));
    flood.is_ordered = true;
    assert_int_equal(dj_loop_create(3, &flood.loop), DEJA_OK);
    assert_int_equal(dj_loop_index(flood.loop), 3);
    pthread_t threads[THREADS];
    struct poster posters[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){&flood, i};
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    dj_loop_run(flood.loop);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(flood.ran, THREADS * POSTS_PER_THREAD);
    assert_true(flood.is_ordered);
    dj_loop_destroy(flood.loop);
}

struct repost {
    struct dj_loop *loop;
    struct dj_task task;
    uint32_t depth;
    uint32_t ran;
};

static void on_repost(void *ctx)
{
    struct repost *repost = ctx;
    repost->depth++;
    assert_int_equal(repost->depth, 1); /* never inside dj_loop_post */
    if (++repost->ran < 10)
        dj_loop_post(repost->loop, &repost->task);
    else
        dj_loop_stop(repost->loop);
    repost->depth--;
}

static void task_may_post_itself(void **state)
{
    (void)state;
    struct repost repost = {.task = {.run = on_repost, .ctx = &repost}};
    assert_int_equal(dj_loop_create(0, &repost.loop), DEJA_OK);
    dj_loop_post(repost.loop, &repost.task);
    assert_int_equal(repost.ran, 0);
    dj_loop_run(repost.loop);
    assert_int_equal(repost.ran, 10);
    dj_loop_destroy(repost.loop);
}

static void task_posted_after_the_run_runs_at_destroy(void **state)
{
    (void)state;
    struct repost repost = {.ran = 9, .task = {.run = on_repost, .ctx = &repost}};
    assert_int_equal(dj_loop_create(0, &repost.loop), DEJA_OK);
    dj_loop_stop(repost.loop);
    dj_loop_run(repost.loop);
    dj_loop_post(repost.loop, &repost.task);
    dj_loop_destroy(repost.loop);
    assert_int_equal(repost.ran, 10);
}

struct ticks {
    struct dj_loop *loop;
    struct dj_timer *timer;
    struct dj_timer *other;
    uint32_t count;
    int64_t now_ms;
};

static void on_tick(void *ctx)
{
    struct ticks *ticks = ctx;
    ticks->now_ms = dj_loop_now_ms(ticks->loop);
    if (++ticks->count == 3) {
        dj_timer_destroy(ticks->timer);
        dj_timer_destroy(ticks->other);
        dj_loop_stop(ticks->loop);
    }
}

static void on_never(void *ctx)
{
    (void)ctx;
    fail();
}

static void timer_repeats_until_destroyed(void **state)
{
    (void)state;
    struct ticks ticks = {0};
    assert_int_equal(dj_loop_create(0, &ticks.loop), DEJA_OK);
    assert_int_equal(dj_timer_create(ticks.loop, &ticks, on_tick, &ticks.timer), DEJA_OK);
    assert_int_equal(dj_timer_create(ticks.loop, &ticks, on_never, &ticks.other), DEJA_OK);
    dj_timer_start(ticks.timer, 1, 1);
    dj_timer_start(ticks.other, 1, 0);
    dj_timer_stop(ticks.other);
    int64_t before_ms = dj_clock_now_ms();
    uint64_t before_us = dj_loop_monotonic_us(ticks.loop);
    dj_loop_run(ticks.loop);
    assert_int_equal(ticks.count, 3);
    assert_true(ticks.now_ms >= before_ms && ticks.now_ms <= dj_clock_now_ms());
    assert_true(dj_clock_monotonic_us() > before_us);
    dj_loop_destroy(ticks.loop);
}

static void stopped_loop_waits_for_open_handles(void **state)
{
    (void)state;
    struct ticks ticks = {0};
    assert_int_equal(dj_loop_create(0, &ticks.loop), DEJA_OK);
    assert_int_equal(dj_timer_create(ticks.loop, &ticks, on_tick, &ticks.timer), DEJA_OK);
    dj_timer_start(ticks.timer, 1, 1);
    dj_loop_stop(ticks.loop);
    dj_loop_run(ticks.loop);
    assert_int_equal(ticks.count, 3);
    dj_loop_destroy(ticks.loop);
    dj_timer_destroy(NULL);
    dj_loop_destroy(NULL);
}

struct raised {
    struct dj_loop *loop;
    struct dj_signal *signal;
    int number;
};

static void on_signal(void *ctx, int signal_number)
{
    struct raised *raised = ctx;
    raised->number = signal_number;
    dj_signal_destroy(raised->signal);
    dj_loop_stop(raised->loop);
}

static void on_raise(void *ctx)
{
    (void)ctx;
    raise(SIGHUP);
}

static void signal_is_a_callback_on_the_loop(void **state)
{
    (void)state;
    struct raised raised = {0};
    struct dj_task task = {.run = on_raise};
    assert_int_equal(dj_loop_create(0, &raised.loop), DEJA_OK);
    assert_int_equal(dj_signal_create(raised.loop, SIGHUP, &raised, on_signal, &raised.signal),
                     DEJA_OK);
    dj_loop_post(raised.loop, &task);
    dj_loop_run(raised.loop);
    assert_int_equal(raised.number, SIGHUP);
    dj_loop_destroy(raised.loop);
    dj_signal_destroy(NULL);
}

static void loop_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_loop *loop = NULL;
        struct dj_timer *timer = NULL;
        struct dj_signal *signal = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_loop_create(0, &loop);
        if (!status)
            status = dj_timer_create(loop, NULL, on_never, &timer);
        if (!status)
            status = dj_signal_create(loop, SIGHUP, &loop, on_signal, &signal);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_timer_destroy(timer);
        dj_signal_destroy(signal);
        dj_loop_destroy(loop);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_of_many_threads_all_run_in_their_order),
        cmocka_unit_test(task_may_post_itself),
        cmocka_unit_test(task_posted_after_the_run_runs_at_destroy),
        cmocka_unit_test(timer_repeats_until_destroyed),
        cmocka_unit_test(stopped_loop_waits_for_open_handles),
        cmocka_unit_test(signal_is_a_callback_on_the_loop),
        cmocka_unit_test(loop_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
