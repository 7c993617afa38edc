/* What programs share through PostgreSQL, and servers that are not as they should be. */
#include "postgres_fixture.h"

#include <stdio.h>

/* ---- what programs share ---- */

/* One call of those the table of calls in loops.h does not know. */
struct sharing {
    struct dj_store *store;
    struct dj_loop *loop;
    enum { SHARE_RAISE, SHARE_PULL, SHARE_LOCK, SHARE_UNLOCK } kind;
    uint32_t tenant;
    const char *tag;
    uint64_t since, generation, sequence;
    uint32_t met;
    uint64_t sum;
    uint8_t token[16];
    uint32_t lease_ms;
    bool is_held;
    enum deja_status status;
    struct dj_task task;
    bool is_done;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void sharing_finish(struct sharing *sharing, enum deja_status status)
{
    pthread_mutex_lock(&sharing->mutex);
    sharing->status = status;
    sharing->is_done = true;
    pthread_cond_signal(&sharing->cond);
    pthread_mutex_unlock(&sharing->mutex);
}

static void on_raised(void *ctx, enum deja_status status, uint64_t generation)
{
    struct sharing *sharing = ctx;
    sharing->generation = generation;
    sharing_finish(sharing, status);
}

static void on_generation(void *ctx, const struct dj_store_generation *counter)
{
    struct sharing *sharing = ctx;
    sharing->met++;
    sharing->sum += counter->generation;
    if (sharing->tag && deja_slice_is_equal(counter->tag, deja_slice_text(sharing->tag)))
        sharing->generation = counter->generation;
}

static void on_pulled(void *ctx, enum deja_status status, uint64_t sequence)
{
    struct sharing *sharing = ctx;
    sharing->sequence = sequence;
    sharing_finish(sharing, status);
}

static void on_locked(void *ctx, enum deja_status status, bool is_held)
{
    struct sharing *sharing = ctx;
    sharing->is_held = is_held;
    sharing_finish(sharing, status);
}

static void on_unlocked(void *ctx, enum deja_status status, uint64_t removed)
{
    struct sharing *sharing = ctx;
    sharing->is_held = removed > 0;
    sharing_finish(sharing, status);
}

static void run_sharing(void *ctx)
{
    struct sharing *sharing = ctx;
    const struct dj_store_ops *ops = sharing->store->ops;
    const struct dj_store_key key = key_of(sharing->tenant, 1);
    enum deja_status status = DEJA_ERR_INVALID;
    if (sharing->kind == SHARE_RAISE)
        status = ops->raise(sharing->store, sharing->loop, key.tenant,
                            deja_slice_text(sharing->tag), sharing, on_raised);
    else if (sharing->kind == SHARE_PULL)
        status = ops->pull(sharing->store, sharing->loop, sharing->since, sharing, on_generation,
                           on_pulled);
    else if (sharing->kind == SHARE_LOCK)
        status = ops->lock(sharing->store, sharing->loop, &key, sharing->token, sharing->lease_ms,
                           sharing, on_locked);
    else
        status =
            ops->unlock(sharing->store, sharing->loop, &key, sharing->token, sharing, on_unlocked);
    assert_int_equal(status, DEJA_OK);
}

static void share(struct fixture *fixture, struct sharing *sharing)
{
    sharing->store = fixture->store;
    sharing->loop = loop_of(fixture);
    sharing->is_done = false;
    sharing->task = (struct dj_task){.run = run_sharing, .ctx = sharing};
    pthread_mutex_init(&sharing->mutex, NULL);
    pthread_cond_init(&sharing->cond, NULL);
    dj_loop_post(sharing->loop, &sharing->task);
    pthread_mutex_lock(&sharing->mutex);
    while (!sharing->is_done)
        pthread_cond_wait(&sharing->cond, &sharing->mutex);
    pthread_mutex_unlock(&sharing->mutex);
    assert_int_equal(sharing->status, DEJA_OK);
}

static uint64_t raise_tag(struct fixture *fixture, uint32_t tenant, const char *tag)
{
    struct sharing sharing = {.kind = SHARE_RAISE, .tenant = tenant, .tag = tag};
    share(fixture, &sharing);
    return sharing.generation;
}

static void generations_raised_by_one_are_pulled_by_the_other(void **state)
{
    struct fixture here;
    struct fixture there;
    (void)state;
    create(&here);
    create(&there);
    struct sharing pull = {.kind = SHARE_PULL, .tag = ""};
    share(&there, &pull);
    assert_int_equal(pull.met, 0);
    uint64_t first = raise_tag(&here, 1, "");
    uint64_t second = raise_tag(&here, 1, "");
    uint64_t tagged = raise_tag(&there, 1, "tag");
    assert_true(first > 0 && second > first && tagged > 0);
    assert_true(raise_tag(&here, 2, "tag") > 0);
    share(&there, &pull);
    assert_int_equal(pull.met, 3);
    assert_int_equal(pull.generation, second);
    pull = (struct sharing){.kind = SHARE_PULL, .since = pull.sequence, .tag = "tag"};
    share(&there, &pull);
    assert_int_equal(pull.met, 0);
    assert_int_equal(pull.sequence, pull.since);
    uint64_t again = raise_tag(&here, 1, "tag");
    assert_true(again > tagged);
    share(&there, &pull);
    assert_int_equal(pull.met, 1);
    assert_int_equal(pull.generation, again);
    destroy(&there);
    destroy(&here);
}

static bool lease(struct fixture *fixture, uint8_t token, uint32_t lease_ms)
{
    struct sharing sharing = {.kind = SHARE_LOCK, .tenant = 1, .lease_ms = lease_ms};
    memset(sharing.token, token, sizeof sharing.token);
    share(fixture, &sharing);
    return sharing.is_held;
}

static bool end_lease(struct fixture *fixture, uint8_t token)
{
    struct sharing sharing = {.kind = SHARE_UNLOCK, .tenant = 1};
    memset(sharing.token, token, sizeof sharing.token);
    share(fixture, &sharing);
    return sharing.is_held;
}

static void lock_has_one_holder_and_ends_by_itself(void **state)
{
    struct fixture here;
    struct fixture there;
    (void)state;
    create(&here);
    create(&there);
    assert_true(lease(&here, 1, 600000));
    assert_false(lease(&there, 2, 600000));
    assert_false(end_lease(&there, 2)); /* not its own */
    assert_false(lease(&there, 2, 600000));
    assert_true(end_lease(&here, 1));
    assert_true(lease(&there, 2, 1));
    while (!lease(&here, 1, 600000))
        ;
    destroy(&there);
    destroy(&here);
}

/* ---- servers that are not as they should be: each has what it needs around it ---- */

static enum deja_status get_status(struct fixture *fixture, uint32_t id)
{
    struct call call = {
        .store = fixture->store, .loop = loop_of(fixture), .kind = CALL_GET, .key = key_of(1, id)};
    call_wait(&call);
    assert_true(call.status != DEJA_OK || call.value == NULL ||
                dj_value_entry(call.value)->version > 0);
    if (call.status == DEJA_OK)
        dj_value_unref(call.value);
    return call.status;
}

static void create_alone(struct fixture *fixture, struct dj_postgres_options options)
{
    struct deja_error error = {{0}};
    *fixture = (struct fixture){.options = options};
    loops_create(&fixture->loops, 2);
    assert_int_equal(dj_postgres_open(&fixture->options, &fixture->store, &error), DEJA_OK);
    loops_start(&fixture->loops);
}

static void want(const char *what)
{
    char line[16];
    printf("want: %s\n", what);
    fflush(stdout);
    assert_non_null(fgets(line, sizeof line, stdin));
}

static void server_of_no_use_is_an_error_within_bounds(void **state)
{
    struct fixture fixture;
    struct deja_error trouble;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.connect_timeout_ms = 1500;
    options.timeout_ms = 1500;
    options.record_bytes_max = 1 << 20;
    create_alone(&fixture, options);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(get_status(&fixture, i) != DEJA_OK);
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "body")) == DEJA_OK, false);
    dj_postgres_trouble(fixture.store, &trouble);
    assert_true(trouble.message[0] != '\0');
    destroy(&fixture);
}

static void server_without_the_schema_is_told_with_what_to_run(void **state)
{
    struct fixture fixture;
    struct deja_error trouble;
    (void)state;
    create_alone(&fixture, default_options());
    assert_true(get_status(&fixture, 1) != DEJA_OK);
    dj_postgres_trouble(fixture.store, &trouble);
    assert_non_null(strstr(trouble.message, "deja migrate"));
    destroy(&fixture);
}

static void server_with_damaged_records_gives_misses(void **state)
{
    struct fixture fixture;
    struct dj_store_stats stats;
    struct dj_store_page page = {.count = 0};
    (void)state;
    create(&fixture);
    for (uint32_t id = 0; id < 3; id++)
        assert_true(is_miss(&fixture, 2, id));
    while (!page.is_last) {
        struct call call = {.store = fixture.store,
                            .loop = loop_of(&fixture),
                            .kind = CALL_LIST,
                            .key = key_of(2, 0),
                            .page = &page};
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
        assert_int_equal(page.count, 0);
    }
    fixture.store->ops->stats(fixture.store, NULL, &stats);
    assert_true(stats.corrupt >= 300 - 3);
    destroy(&fixture);
}

static void server_dies_and_comes_back(void **state)
{
    struct fixture fixture;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.is_sync = true;
    create_alone(&fixture, options);
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "body")), DEJA_OK);
    want("kill");
    assert_true(get_status(&fixture, 1) != DEJA_OK);
    want("start");
    while (get_status(&fixture, 1) != DEJA_OK) /* the pause between attempts is 2 s at most */
        usleep(20000);
    assert_true(has(&fixture, 1, 1, "body"));
    destroy(&fixture);
}

static void server_stands_still(void **state)
{
    struct fixture fixture;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.connect_timeout_ms = 500;
    options.timeout_ms = 500;
    create_alone(&fixture, options);
    assert_int_equal(put(&fixture, value_of(1, 2, 1, "body")), DEJA_OK);
    want("pause");
    assert_int_equal(get_status(&fixture, 2), DEJA_ERR_TIMEOUT);
    assert_true(get_status(&fixture, 2) != DEJA_OK);
    want("resume");
    while (get_status(&fixture, 2) != DEJA_OK)
        usleep(20000);
    assert_true(has(&fixture, 1, 2, "body"));
    destroy(&fixture);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generations_raised_by_one_are_pulled_by_the_other),
        cmocka_unit_test(lock_has_one_holder_and_ends_by_itself),
        cmocka_unit_test(server_of_no_use_is_an_error_within_bounds),
        cmocka_unit_test(server_without_the_schema_is_told_with_what_to_run),
        cmocka_unit_test(server_with_damaged_records_gives_misses),
        cmocka_unit_test(server_dies_and_comes_back),
        cmocka_unit_test(server_stands_still),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return RUN_TESTS(tests);
}
