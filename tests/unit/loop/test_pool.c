#include "loop/pool.h"

#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

enum { JOBS = 500 };

struct count {
    struct dj_loop *loop;
    struct dj_pool *pool;
    atomic_uint worked;
    uint32_t done; /* the loop's */
    bool is_on_loop;
};

struct numbered {
    struct dj_job job;
    struct count *count;
    uint32_t result; /* written by a worker, read by the loop */
};

static void work(void *ctx)
{
    struct numbered *numbered = ctx;
    atomic_fetch_add(&numbered->count->worked, 1);
    numbered->result = 7;
}

static void on_done(void *ctx)
{
    struct numbered *numbered = ctx;
    struct count *count = numbered->count;
    if (!dj_loop_is_current(count->loop) || numbered->result != 7)
        count->is_on_loop = false;
    if (++count->done == JOBS)
        dj_loop_stop(count->loop);
}

static struct numbered jobs[JOBS];

static void fill_jobs(struct count *count, dj_task_fn *done)
{
    memset(jobs, 0, sizeof(jobs));
    for (size_t i = 0; i < JOBS; i++) {
        jobs[i].count = count;
        jobs[i].job = (struct dj_job){
            .work = work, .done = done, .ctx = &jobs[i], .loop = done ? count->loop : NULL};
    }
}

static void on_submit(void *ctx)
{
    struct count *count = ctx;
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(dj_pool_submit(count->pool, &jobs[i].job), DEJA_OK);
}

static void each_job_is_worked_and_told_to_its_loop_once(void **state)
{
    (void)state;
    struct count count = {.is_on_loop = true};
    struct dj_task task = {.run = on_submit, .ctx = &count};
    assert_int_equal(dj_loop_create(0, &count.loop), DEJA_OK);
    assert_int_equal(dj_pool_create("test", 3, JOBS, &count.pool), DEJA_OK);
    fill_jobs(&count, on_done);
    dj_loop_post(count.loop, &task);
    dj_loop_run(count.loop);
    assert_int_equal(count.done, JOBS);
    assert_int_equal(atomic_load(&count.worked), JOBS);
    assert_true(count.is_on_loop);
    assert_int_equal(dj_pool_queued(count.pool), 0);
    dj_pool_destroy(count.pool);
    dj_loop_destroy(count.loop);
}

static void waiting_jobs_are_worked_on_before_destroy_returns(void **state)
{
    (void)state;
    struct count count = {0};
    assert_int_equal(dj_pool_create("twelve_chars", 1, JOBS, &count.pool), DEJA_OK);
    fill_jobs(&count, NULL);
    on_submit(&count);
    dj_pool_destroy(count.pool);
    assert_int_equal(atomic_load(&count.worked), JOBS);
    dj_pool_destroy(NULL);
}

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_entered;
    bool is_open;
};

static void wait_at_gate(void *ctx)
{
    struct gate *gate = ctx;
    pthread_mutex_lock(&gate->mutex);
    gate->is_entered = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->is_open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void full_queue_is_busy_and_calls_nothing(void **state)
{
    (void)state;
    struct gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct dj_job held = {.work = wait_at_gate, .ctx = &gate};
    struct count count = {0};
    assert_int_equal(dj_pool_create("busy", 1, 2, &count.pool), DEJA_OK);
    fill_jobs(&count, NULL);
    assert_int_equal(dj_pool_submit(count.pool, &held), DEJA_OK);
    pthread_mutex_lock(&gate.mutex);
    while (!gate.is_entered)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);

    assert_int_equal(dj_pool_submit(count.pool, &jobs[0].job), DEJA_OK);
    assert_int_equal(dj_pool_submit(count.pool, &jobs[1].job), DEJA_OK);
    assert_int_equal(dj_pool_submit(count.pool, &jobs[2].job), DEJA_ERR_BUSY);
    assert_int_equal(dj_pool_queued(count.pool), 2);

    pthread_mutex_lock(&gate.mutex);
    gate.is_open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
    dj_pool_destroy(count.pool);
    assert_int_equal(atomic_load(&count.worked), 2);
}

static void pool_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_pool *pool = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_pool_create("test", 2, 4, &pool);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_pool_destroy(pool);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_job_is_worked_and_told_to_its_loop_once),
        cmocka_unit_test(waiting_jobs_are_worked_on_before_destroy_returns),
        cmocka_unit_test(full_queue_is_busy_and_calls_nothing),
        cmocka_unit_test(pool_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
