/* What the tier of PostgreSQL does without a server: it opens, refuses, answers and closes. What it
 * does with one: tests/integration/test_postgres.py. */
#include "check.h"

#include "entries.h"
#include "loops.h"
#include "store/postgres.h"

/* Nothing listens on port 1. */
static const struct dj_postgres_options nobody = {.url = "postgresql://u:secret@127.0.0.1:1/d",
                                                  .queue_max = 8};

static void url_or_schema_that_cannot_be_read_is_refused_without_the_password(void **state)
{
    static const struct dj_postgres_options bad[] = {{.url = "postgresql://u:secret@[::1/d"},
                                                     {.url = "nonsense=secret"},
                                                     {.url = "dbname=d", .schema = "no\"quotes"},
                                                     {.url = "dbname=d", .schema = "pg_catalog"},
                                                     {.url = "dbname=d", .schema = "9th"}};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dj_store *store = NULL;
        struct dj_postgres *tool = NULL;
        struct deja_error error = {{0}};
        assert_int_equal(dj_postgres_open(&bad[i], &store, &error), DEJA_ERR_CONFIG);
        assert_null(store);
        assert_null(strstr(error.message, "secret"));
        assert_int_equal(dj_postgres_connect(&bad[i], &tool, &error), DEJA_ERR_CONFIG);
        assert_null(tool);
    }
}

static void on_trouble(void *ctx, const struct deja_error *trouble)
{
    _Atomic(uint32_t) *count = ctx;
    assert_true(trouble != NULL && trouble->message[0] != '\0');
    (*count)++;
}

static void open_without_a_server_succeeds_and_each_call_fails_promptly(void **state)
{
    _Atomic(uint32_t) told = 0;
    struct dj_postgres_options options = nobody;
    struct loops loops = {.count = 0};
    struct dj_store *store = NULL;
    struct deja_error error = {{0}};
    struct deja_error trouble;
    (void)state;
    options.told = on_trouble;
    options.told_ctx = &told;
    loops_create(&loops, 1);
    assert_int_equal(dj_postgres_open(&options, &store, &error), DEJA_OK);
    loops_start(&loops);
    struct call call = {
        .store = store, .loop = loops.loop[0], .kind = CALL_GET, .key = key_of(1, 1)};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_ERR_IO);
    assert_null(call.value);
    assert_int_equal(wait_put(store, loops.loop[0], value_of(1, 1, 1, "body")), DEJA_ERR_IO);
    dj_postgres_trouble(store, &trouble);
    assert_non_null(strstr(trouble.message, "l3.postgres.url"));
    assert_null(strstr(trouble.message, "secret"));
    assert_int_equal(told, 1); /* however often it is met */
    loops_stop(&loops);
    store->ops->close(store);
    loops_destroy(&loops);
}

struct crowd {
    uint32_t answers;
};

static void on_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct crowd *crowd = ctx;
    assert_true(status != DEJA_OK && value == NULL);
    crowd->answers++;
}

static void on_done(void *ctx, enum deja_status status, uint64_t removed)
{
    struct crowd *crowd = ctx;
    assert_true(status != DEJA_OK && removed == 0);
    crowd->answers++;
}

static void on_searched(void *ctx, enum deja_status status, const struct dj_store_match *matches,
                        uint32_t count)
{
    struct crowd *crowd = ctx;
    (void)matches;
    assert_true(status != DEJA_OK && count == 0);
    crowd->answers++;
}

/* The loop does not run: what is posted to it is given when it is destroyed. */
static void full_queue_is_busy_and_close_answers_whoever_waits(void **state)
{
    struct dj_loop *loop = NULL;
    struct dj_store *store = NULL;
    struct crowd crowd = {.answers = 0};
    struct deja_error error = {{0}};
    const struct dj_store_key key = key_of(1, 1);
    uint32_t refused = 0;
    (void)state;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_postgres_open(&nobody, &store, &error), DEJA_OK);
    for (int i = 0; i < 5000; i++) {
        enum deja_status status = store->ops->get(store, loop, &key, &crowd, on_got);
        assert_true(status == DEJA_OK || status == DEJA_ERR_BUSY);
        refused += status == DEJA_ERR_BUSY;
    }
    store->ops->close(store);
    assert_int_equal(crowd.answers, 0);
    dj_loop_destroy(loop);
    assert_int_equal(crowd.answers + refused, 5000);
    assert_true(crowd.answers >= 8);
}

static void open_survives_each_failed_allocation(void **state)
{
    bool has_failed = true;
    (void)state;
    for (size_t n = 1; has_failed; n++) {
        struct dj_store *store = NULL;
        struct deja_error error = {{0}};
        failing_malloc_arm(n);
        enum deja_status status = dj_postgres_open(&nobody, &store, &error);
        has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || has_failed);
        assert_int_equal(store != NULL, status == DEJA_OK);
        if (store)
            store->ops->close(store);
        assert_true(n < 10000);
    }
}

static enum deja_status call_number(int number, struct dj_store *store, struct dj_loop *loop,
                                    struct crowd *crowd)
{
    static const float vector[2] = {1, 0};
    const struct dj_store_key key = key_of(1, 1);
    const struct dj_store_access row = {.key = key, .hits = 1};
    const struct dj_store_search search = {
        .embedder_id = {"e", 1}, .vector = vector, .dim = 2, .limit = 3};
    switch (number) {
    case 0:
        return store->ops->get(store, loop, &key, crowd, on_got);
    case 1:
        return store->ops->remove(store, loop, &key, 5, crowd, on_done);
    case 2:
        return store->ops->clear(store, loop, key.tenant, crowd, on_done);
    case 3:
        return store->ops->evict(store, loop, key.tenant, 100, crowd, on_done);
    case 4:
        return store->ops->search(store, loop, &search, crowd, on_searched);
    default:
        return store->ops->keep_access(store, &row, 1);
    }
}

static void calls_survive_each_failed_allocation(void **state)
{
    struct dj_loop *loop = NULL;
    struct dj_store *store = NULL;
    struct crowd crowd = {.answers = 0};
    struct deja_error error = {{0}};
    struct dj_postgres_options options = nobody;
    (void)state;
    options.queue_max = 100;
    assert_int_equal(dj_loop_create(0, &loop), DEJA_OK);
    assert_int_equal(dj_postgres_open(&options, &store, &error), DEJA_OK);
    for (int number = 0; number < 6; number++) {
        bool has_failed = true;
        for (size_t n = 1; has_failed; n++) {
            failing_malloc_arm(n);
            enum deja_status status = call_number(number, store, loop, &crowd);
            has_failed = failing_malloc_disarm();
            assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        }
    }
    store->ops->close(store);
    dj_loop_destroy(loop);
    assert_int_equal(crowd.answers, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_or_schema_that_cannot_be_read_is_refused_without_the_password),
        cmocka_unit_test(open_without_a_server_succeeds_and_each_call_fails_promptly),
        cmocka_unit_test(full_queue_is_busy_and_close_answers_whoever_waits),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
