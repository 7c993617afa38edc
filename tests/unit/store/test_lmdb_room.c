/* Bounds: bytes, the map, the queue. */
#include "lmdb_fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* ---- room ---- */

static void tier_over_its_bytes_drops_what_expires_first(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.bytes_max = 256 << 10});
    int64_t now_ms = dj_clock_now_ms();
    char body[3000];
    for (uint32_t id = 0; id < 300; id++) {
        struct dj_entry entry = entry_of(1, id, 1, "");
        fill(body, sizeof body, id + 1);
        entry.body = deja_slice(body, sizeof body);
        entry.expires_ms = now_ms + 1000000 + id;
        struct dj_value *value;
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        put(&fixture, value);
        assert_true(stats_of(&fixture, 0).bytes <= 256 << 10);
    }
    assert_true(stats_of(&fixture, 0).evictions > 200);
    assert_true(has(&fixture, 1, 299));
    assert_false(has(&fixture, 1, 0));
    destroy(&fixture);
}

static void never_expiring_entries_are_dropped_oldest_first(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.bytes_max = 64 << 10});
    char body[3000];
    for (uint32_t id = 0; id < 60; id++) {
        struct dj_entry entry = entry_of(1, 1000 - id, 1, "");
        fill(body, sizeof body, id + 1);
        entry.body = deja_slice(body, sizeof body);
        entry.created_ms = 1000 + id;
        struct dj_value *value;
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        put(&fixture, value);
    }
    assert_true(has(&fixture, 1, 1000 - 59));
    assert_false(has(&fixture, 1, 1000));
    destroy(&fixture);
}

static void full_map_makes_room_or_says_so(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.bytes_max = 512 << 10});
    size_t size = 300 << 10;
    char *body = test_malloc(size);
    uint32_t last = 0;
    for (uint32_t id = 0; id < 60; id++) {
        size_t len = (id % 3 + 1) * (100 << 10);
        fill(body, len, id + 1);
        struct dj_entry entry = entry_of(1, id, 1, "");
        entry.body = deja_slice(body, len);
        struct dj_value *value;
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        enum deja_status status = wait_put(fixture.store, loop_of(&fixture), value);
        assert_true(status == DEJA_OK || status == DEJA_ERR_LIMIT);
        if (status == DEJA_OK)
            last = id;
        assert_true(stats_of(&fixture, 0).bytes <= 512 << 10);
    }
    assert_true(last >= 50);
    assert_true(has(&fixture, 1, last));
    test_free(body);
    size = 2 << 20;
    body = test_malloc(size);
    fill(body, size, 1);
    uint64_t entries = stats_of(&fixture, 0).entries;
    assert_int_equal(wait_put(fixture.store, loop_of(&fixture), value_of(1, 500, 1, body)),
                     DEJA_ERR_LIMIT);
    assert_int_equal(stats_of(&fixture, 0).entries, entries);
    assert_true(stats_of(&fixture, 0).dropped >= 1);
    test_free(body);
    destroy(&fixture);
}

struct flood {
    struct fixture *fixture;
    struct dj_value *values[8];
    struct flood_put {
        struct flood *flood;
        enum deja_status status;
    } puts[8];
    uint32_t answered;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void on_flood_done(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    struct flood_put *mine = ctx;
    struct flood *flood = mine->flood;
    pthread_mutex_lock(&flood->mutex);
    mine->status = status;
    flood->answered++;
    pthread_cond_signal(&flood->cond);
    pthread_mutex_unlock(&flood->mutex);
}

static void on_flood(void *ctx)
{
    struct flood *flood = ctx;
    struct dj_store *store = flood->fixture->store;
    for (uint32_t i = 0; i < 8; i++) {
        enum deja_status status = store->ops->put(store, loop_of(flood->fixture), flood->values[i],
                                                  NULL, 0, &flood->puts[i], on_flood_done);
        assert(status == DEJA_OK);
    }
}

static void batch_too_big_for_the_map_is_taken_in_parts(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.bytes_max = 1 << 20}); /* a map of 2 MiB */
    static struct flood flood;
    char *body = test_malloc(400 << 10);
    for (int round = 0; round < 6; round++) {
        flood = (struct flood){.fixture = &fixture};
        pthread_mutex_init(&flood.mutex, NULL);
        pthread_cond_init(&flood.cond, NULL);
        for (uint32_t i = 0; i < 8; i++) {
            fill(body, 400 << 10, i + 1);
            flood.values[i] = value_of(1, i, (uint64_t)round + 1, body);
            flood.puts[i].flood = &flood;
        }
        flood.task = (struct dj_task){.run = on_flood, .ctx = &flood};
        dj_loop_post(loop_of(&fixture), &flood.task);
        pthread_mutex_lock(&flood.mutex);
        while (flood.answered < 8)
            pthread_cond_wait(&flood.cond, &flood.mutex);
        pthread_mutex_unlock(&flood.mutex);
        for (uint32_t i = 0; i < 8; i++) {
            assert_int_equal(flood.puts[i].status, DEJA_OK);
            dj_value_unref(flood.values[i]);
        }
        assert_true(stats_of(&fixture, 0).bytes <= 1 << 20);
        pthread_mutex_destroy(&flood.mutex);
        pthread_cond_destroy(&flood.cond);
    }
    assert_int_equal(stats_of(&fixture, 0).dropped, 0);
    test_free(body);
    destroy(&fixture);
}

static void tier_without_a_bound_takes_its_share_of_the_disk(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    fixture.store->ops->close(fixture.store);
    fixture.options.bytes_max = 0;
    assert_int_equal(dj_lmdb_open(&fixture.options, &fixture.store, NULL, NULL), DEJA_OK);
    uint64_t bytes_max = stats_of(&fixture, 0).bytes_max;
    assert_true(bytes_max > 0 && bytes_max <= (uint64_t)10 << 30);
    put(&fixture, value_of(1, 1, 1, "body"));
    assert_true(has_body(&fixture, 1, 1, "body"));
    destroy(&fixture);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they need the space */
static void little_address_space_halves_the_map(void **state)
{
    (void)state;
    struct fixture fixture = {.options = {.bytes_max = (uint64_t)16 << 30}};
    directory_create(&fixture.directory);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit little = {.rlim_cur = (rlim_t)2 << 30, .rlim_max = (rlim_t)2 << 30};
        if (setrlimit(RLIMIT_AS, &little) != 0 || start(&fixture) != DEJA_OK)
            _exit(1);
        _exit(stats_of(&fixture, 0).bytes_max <= (uint64_t)1 << 30 ? 0 : 2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    directory_remove(&fixture.directory);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tier_over_its_bytes_drops_what_expires_first),
        cmocka_unit_test(never_expiring_entries_are_dropped_oldest_first),
        cmocka_unit_test(full_map_makes_room_or_says_so),
        cmocka_unit_test(batch_too_big_for_the_map_is_taken_in_parts),
        cmocka_unit_test(tier_without_a_bound_takes_its_share_of_the_disk),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(little_address_space_halves_the_map),
#endif
    };
    return RUN_TESTS(tests);
}
