/* Eight threads that do everything at once; ThreadSanitizer reads along. */
#include "library.h"

#include <stdatomic.h>

enum { THREADS = 8, ROUNDS = 150, KEYS = 16 };

struct shared {
    struct deja *deja;
    _Atomic int called_back;
    _Atomic int asked; /* by _async calls */
};

struct thread {
    struct shared *shared;
    int number;
    pthread_t thread;
};

static enum deja_status compute(void *ctx, struct deja_made *made)
{
    const char *text = ctx;
    deja_made_append(made, deja_slice_text(text));
    return DEJA_OK;
}

/* Whoever made it, the answer to a question is the question. */
static void check(const struct deja_answer *answer, const char *text)
{
    if (deja_answer_outcome(answer) != DEJA_MISS)
        assert_slice(deja_answer_body(answer), text);
}

static void on_answer(void *ctx, enum deja_status status, struct deja_answer *answer)
{
    struct shared *shared = ctx;
    assert_int_equal(status, DEJA_OK);
    deja_answer_release(answer);
    atomic_fetch_add(&shared->called_back, 1);
}

static void on_done(void *ctx, enum deja_status status, uint64_t count)
{
    struct shared *shared = ctx;
    assert_int_equal(status, DEJA_OK);
    assert_true(count <= 1);
    atomic_fetch_add(&shared->called_back, 1);
}

static char async_text[] = "an asynchronous question";

static void do_one(struct shared *shared, int what, const char *text, char *mutable_text)
{
    struct deja *deja = shared->deja;
    struct deja_query query = query_of(text);
    struct deja_entry entry = entry_of(text, text);
    struct deja_answer *answer = NULL;
    struct deja_stats stats;
    query.is_exact_only = what % 2;
    switch (what % 7) {
    case 0:
        assert_int_equal(deja_put(deja, &entry, NULL), DEJA_OK);
        break;
    case 1:
        assert_int_equal(deja_lookup(deja, &query, &answer), DEJA_OK);
        break;
    case 2:
        assert_int_equal(deja_remove(deja, &query, NULL), DEJA_OK);
        break;
    case 3:
        query.is_exact_only = true;
        assert_int_equal(deja_get_or_compute(deja, &query, mutable_text, compute, &answer),
                         DEJA_OK);
        break;
    case 4:
        atomic_fetch_add(&shared->asked, 3);
        assert_int_equal(deja_put_async(deja, &entry, shared, on_done), DEJA_OK);
        assert_int_equal(deja_remove_async(deja, &query, shared, on_done), DEJA_OK);
        assert_int_equal(deja_lookup_async(deja, &query, shared, on_answer), DEJA_OK);
        break;
    case 5:
        atomic_fetch_add(&shared->asked, 1);
        query = query_of(async_text);
        assert_int_equal(
            deja_get_or_compute_async(deja, &query, async_text, compute, shared, on_answer),
            DEJA_OK);
        break;
    default:
        deja_stats_init(&stats);
        assert_int_equal(deja_stats(deja, NULL, &stats), DEJA_OK);
        assert_true(stats.operations <= THREADS * ROUNDS * 3);
        break;
    }
    if (answer && query.is_exact_only)
        check(answer, text);
    deja_answer_release(answer);
}

static void *work(void *ctx)
{
    struct thread *thread = ctx;
    char text[64];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(text, sizeof text, "question number %d", (i * 7 + thread->number) % KEYS);
        do_one(thread->shared, i + thread->number * 3, text, text);
    }
    return NULL;
}

static void eight_threads_share_one_cache(void **state)
{
    (void)state;
    struct shared shared = {.deja = open_memory()};
    struct thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.shared = &shared, .number = i};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, work, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    assert_int_equal(deja_close(shared.deja), DEJA_OK);
    assert_int_equal(shared.called_back, shared.asked);
}

static enum deja_status count_computation(void *ctx, struct deja_made *made)
{
    _Atomic int *computations = ctx;
    atomic_fetch_add(computations, 1);
    deja_made_append(made, deja_slice_text("x"));
    return DEJA_OK;
}

struct race {
    struct deja *deja;
    _Atomic int *computations;
    int keys;
};

static void *race(void *ctx)
{
    struct race *r = ctx;
    char text[32];
    for (int i = 0; i < r->keys; i++) {
        struct deja_answer *answer = NULL;
        snprintf(text, sizeof text, "key %d", i);
        struct deja_query query = query_of(text);
        query.is_exact_only = true;
        assert_int_equal(
            deja_get_or_compute(r->deja, &query, r->computations, count_computation, &answer),
            DEJA_OK);
        deja_answer_release(answer);
    }
    return NULL;
}

static void each_key_is_computed_once(void **state)
{
    (void)state;
    _Atomic int computations = 0;
    struct race r = {.deja = open_memory(), .computations = &computations, .keys = 200};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &r), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(computations, r.keys);
    deja_close(r.deja);
}

static void opening_and_closing_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        struct deja *deja = open_memory();
        put(deja, STORED, "an answer");
        assert_int_equal(lookup_text(deja, REWORDED), DEJA_HIT_SEMANTIC);
        assert_int_equal(deja_close(deja), DEJA_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_share_one_cache),
        cmocka_unit_test(each_key_is_computed_once),
        cmocka_unit_test(opening_and_closing_leaves_nothing),
    };
    return RUN_TESTS(tests);
}
