/* What is put, removed and cleared, and in which order. */
#include "lmdb_fixture.h"

#include <stdatomic.h>

static void acknowledged_entries_are_there_after_reopening(void **state)
{
    (void)state;
    const enum dj_durability kinds[] = {DJ_DURABILITY_OS, DJ_DURABILITY_EVERYSEC,
                                        DJ_DURABILITY_ALWAYS};
    for (size_t i = 0; i < 3; i++) {
        struct fixture fixture;
        create(&fixture, (struct dj_lmdb_options){.durability = kinds[i]});
        for (uint32_t id = 0; id < 20; id++)
            put(&fixture, value_of(1, id, 1, "the body"));
        assert_true(has_body(&fixture, 1, 7, "the body"));
        assert_false(has(&fixture, 1, 99));
        reopen(&fixture);
        assert_false(fixture.is_discarded);
        for (uint32_t id = 0; id < 20; id++)
            assert_true(has_body(&fixture, 1, id, "the body"));
        assert_int_equal(stats_of(&fixture, 0).entries, 20);
        destroy(&fixture);
    }
}

static void tier_that_begins_anew_has_forgotten_entries_and_kept_its_settings(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.durability = DJ_DURABILITY_OS});
    put(&fixture, value_of(1, 1, 1, "the body"));
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(fixture.store), "kept", deja_slice_text("k"),
                                      deja_slice_text("v")),
                     DEJA_OK);
    fixture.options.is_fresh = true;
    reopen(&fixture);
    assert_false(fixture.is_discarded); /* it was asked for */
    assert_false(has(&fixture, 1, 1));
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    static const struct deja_slice key = {.data = "k", .len = 1};
    assert_int_equal(dj_lmdb_meta_remove(dj_lmdb_meta_of(fixture.store), "kept", key), DEJA_OK);
    put(&fixture, value_of(1, 2, 1, "anew"));
    fixture.options.is_fresh = false;
    reopen(&fixture);
    assert_true(has_body(&fixture, 1, 2, "anew"));
    destroy(&fixture);
}

static void tenant_never_sees_another_tenants_entry_of_the_same_id(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 7, 1, "of one"));
    assert_false(has(&fixture, 2, 7));
    put(&fixture, value_of(2, 7, 1, "of two"));
    assert_true(has_body(&fixture, 1, 7, "of one"));
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 7)), 1);
    assert_true(has_body(&fixture, 2, 7, "of two"));
    destroy(&fixture);
}

static void only_a_newer_version_overwrites(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 5, "five"));
    put(&fixture, value_of(1, 1, 4, "four"));
    put(&fixture, value_of(1, 1, 5, "again"));
    assert_true(has_body(&fixture, 1, 1, "five"));
    put(&fixture, value_of(1, 1, 6, "six"));
    assert_true(has_body(&fixture, 1, 1, "six"));
    assert_int_equal(stats_of(&fixture, 1).entries, 1);
    destroy(&fixture);
}

static void removed_entry_is_gone_after_reopening(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 1)), 1);
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 1)), 0);
    assert_false(has(&fixture, 1, 1));
    reopen(&fixture);
    assert_false(has(&fixture, 1, 1));
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    assert_int_equal(stats_of(&fixture, 0).bytes, 0);
    destroy(&fixture);
}

static void clear_removes_one_tenant_and_counts_it(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    for (uint32_t id = 0; id < 30; id++) {
        put(&fixture, value_of(1, id, 1, "body"));
        put(&fixture, value_of(2, id, 1, "body"));
    }
    assert_int_equal(stats_of(&fixture, 1).entries, 30);
    assert_true(stats_of(&fixture, 1).bytes > 0);
    assert_int_equal(wait_clear(fixture.store, loop_of(&fixture), key_of(1, 0)), 30);
    assert_int_equal(stats_of(&fixture, 1).entries, 0);
    assert_int_equal(stats_of(&fixture, 2).entries, 30);
    assert_false(has(&fixture, 1, 3));
    assert_true(has(&fixture, 2, 3));
    uint64_t bytes = stats_of(&fixture, 2).bytes;
    reopen(&fixture);
    assert_int_equal(stats_of(&fixture, 2).bytes, bytes);
    assert_int_equal(stats_of(&fixture, 0).bytes, bytes);
    destroy(&fixture);
}

static void on_gone(void *ctx, const uint8_t tenant[DJ_ID_BYTES], enum dj_gone_reason reason)
{
    _Atomic uint32_t *expired_of_one = ctx;
    struct dj_store_key one = key_of(1, 0);
    if (memcmp(tenant, one.tenant, DJ_ID_BYTES) == 0 && reason == DJ_GONE_TTL)
        atomic_fetch_add(expired_of_one, 1);
}

static void expired_entry_is_a_miss_and_swept_at_start(void **state)
{
    (void)state;
    struct fixture fixture;
    _Atomic uint32_t told = 0;
    create(&fixture, (struct dj_lmdb_options){.gone = on_gone, .gone_ctx = &told});
    int64_t now_ms = dj_clock_now_ms();
    put(&fixture, value_until(1, 1, now_ms - 1, 0));
    put(&fixture, value_until(1, 2, now_ms - 1, now_ms + 1000000));
    assert_false(has(&fixture, 1, 1));
    assert_true(has(&fixture, 1, 2));
    int64_t until_ms = dj_clock_now_ms() + 250; /* a put is faster even on a busy machine */
    put(&fixture, value_until(1, 3, until_ms, 0));
    while (dj_clock_now_ms() <= until_ms)
        continue;
    assert_false(has(&fixture, 1, 3));
    reopen(&fixture);
    /* The first sweep is before the first batch, or right after it. */
    put(&fixture, value_of(1, 4, 1, "body"));
    put(&fixture, value_of(1, 5, 1, "body"));
    assert_int_equal(stats_of(&fixture, 1).entries, 3);
    assert_int_equal(stats_of(&fixture, 0).expired, 1);
    assert_int_equal(atomic_load(&told), 1);
    destroy(&fixture);
}

/* ---- order ---- */

enum { BURST = 400 };

struct burst {
    struct fixture *fixture;
    struct call *last; /* tells the test when everything is acknowledged */
    uint32_t issued;
    uint32_t accepted;
    uint32_t acknowledged;
    bool is_in_order;
    struct burst_item {
        struct burst *burst;
        uint32_t index;
    } items[BURST];
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void on_burst_done(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)removed;
    struct burst_item *item = ctx;
    struct burst *burst = item->burst;
    pthread_mutex_lock(&burst->mutex);
    if (status != DEJA_OK || item->index != burst->acknowledged)
        burst->is_in_order = false;
    burst->acknowledged++;
    pthread_cond_signal(&burst->cond);
    pthread_mutex_unlock(&burst->mutex);
}

/* put, remove, put, remove … of the same few keys, all queued before any can be answered. */
static void on_burst(void *ctx)
{
    struct burst *burst = ctx;
    struct dj_store *store = burst->fixture->store;
    struct dj_loop *loop = loop_of(burst->fixture);
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < BURST; i++) {
        struct burst_item *item = &burst->items[accepted];
        *item = (struct burst_item){.burst = burst, .index = accepted};
        enum deja_status status;
        if (i % 2 == 0) {
            struct dj_value *value = value_of(1, i / 2 % 10, i + 1, "body");
            status = store->ops->put(store, loop, value, NULL, 0, item, on_burst_done);
            dj_value_unref(value);
        } else {
            struct dj_store_key key = key_of(1, i / 2 % 10);
            status = store->ops->remove(store, loop, &key, UINT64_MAX, item, on_burst_done);
        }
        accepted += status == DEJA_OK;
    }
    pthread_mutex_lock(&burst->mutex);
    burst->accepted = accepted;
    burst->issued = BURST;
    pthread_cond_signal(&burst->cond);
    pthread_mutex_unlock(&burst->mutex);
}

static void run_burst(struct fixture *fixture, struct burst *burst)
{
    *burst = (struct burst){.fixture = fixture, .is_in_order = true};
    pthread_mutex_init(&burst->mutex, NULL);
    pthread_cond_init(&burst->cond, NULL);
    burst->task = (struct dj_task){.run = on_burst, .ctx = burst};
    dj_loop_post(loop_of(fixture), &burst->task);
    pthread_mutex_lock(&burst->mutex);
    while (burst->issued == 0 || burst->acknowledged < burst->accepted)
        pthread_cond_wait(&burst->cond, &burst->mutex);
    pthread_mutex_unlock(&burst->mutex);
    pthread_mutex_destroy(&burst->mutex);
    pthread_cond_destroy(&burst->cond);
}

static void writes_are_acknowledged_in_order_and_a_remove_beats_the_put_before_it(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    static struct burst burst;
    run_burst(&fixture, &burst);
    assert_int_equal(burst.accepted, BURST);
    assert_true(burst.is_in_order);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    for (uint32_t id = 0; id < 10; id++)
        assert_false(has(&fixture, 1, id));
    destroy(&fixture);
}

static void full_queue_is_busy_and_what_was_accepted_is_answered(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){.queue_max = 2});
    static struct burst burst;
    run_burst(&fixture, &burst);
    assert_true(burst.accepted >= 2 && burst.accepted <= BURST);
    assert_int_equal(burst.acknowledged, burst.accepted);
    destroy(&fixture);
}

/* ---- vectors ---- */

struct scanned {
    uint32_t ids[16];
    uint32_t count;
    uint32_t count_max;
    float first[16];
    bool is_wrong;
};

static bool on_vector(void *ctx, const struct dj_store_vector *vector)
{
    struct scanned *scanned = ctx;
    if (vector->dim != DIM ||
        !deja_slice_is_equal(vector->embedder_id, deja_slice_text("embedder-1")))
        scanned->is_wrong = true;
    memcpy(&scanned->ids[scanned->count], vector->key.id, sizeof scanned->ids[0]);
    scanned->first[scanned->count++] = vector->floats[0];
    return scanned->count < scanned->count_max;
}

struct seen {
    uint32_t count;
    bool is_out_of_order;
    uint8_t last_scope;
};

static bool on_seen(void *ctx, const struct dj_store_vector *vector)
{
    struct seen *seen = ctx;
    seen->is_out_of_order = seen->is_out_of_order || vector->scope[0] < seen->last_scope;
    seen->last_scope = vector->scope[0];
    seen->count++;
    return true;
}

static void vectors_come_by_tenant_and_scope_and_follow_their_entries(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    int64_t now_ms = dj_clock_now_ms();
    put_vector(&fixture, 2, 1, 50, 1, 0);
    put_vector(&fixture, 1, 9, 10, 1, 0);
    put_vector(&fixture, 1, 3, 20, 1, now_ms + 1000000);
    put_vector(&fixture, 1, 3, 30, 1, 0);
    put_vector(&fixture, 1, 9, 40, 1, 0);
    put_vector(&fixture, 1, 9, 60, 1, now_ms + 20);
    put_vector(&fixture, 1, 3, 10, 2, 0); /* moves to another scope */
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 40)), 1);
    while (dj_clock_now_ms() <= now_ms + 20)
        continue;
    for (int round = 0; round < 2; round++) {
        struct scanned scanned = {.count_max = 16};
        assert_int_equal(fixture.store->ops->scan_vectors(fixture.store, &scanned, on_vector),
                         DEJA_OK);
        assert_false(scanned.is_wrong);
        assert_int_equal(scanned.count, 4);
        assert_int_equal(scanned.ids[0], 10);
        assert_int_equal(scanned.ids[1], 20);
        assert_int_equal(scanned.ids[2], 30);
        assert_int_equal(scanned.ids[3], 50);
        assert_true(scanned.first[0] > 1001.5f && scanned.first[0] < 1002.5f);
        reopen(&fixture);
    }
    struct scanned scanned = {.count_max = 2};
    assert_int_equal(fixture.store->ops->scan_vectors(fixture.store, &scanned, on_vector), DEJA_OK);
    assert_int_equal(scanned.count, 2);
    destroy(&fixture);
}

static void scan_of_many_vectors_gives_each_once(void **state)
{
    (void)state;
    enum { COUNT = 2500 };
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    for (uint32_t id = 0; id < COUNT; id++)
        put_vector(&fixture, 1, (uint8_t)(id % 7), id, 1, 0);
    static struct seen seen;
    seen = (struct seen){.count = 0};
    assert_int_equal(fixture.store->ops->scan_vectors(fixture.store, &seen, on_seen), DEJA_OK);
    assert_int_equal(seen.count, COUNT);
    assert_false(seen.is_out_of_order);
    destroy(&fixture);
}

/* ---- reads that wait together ---- */

enum { WAITING = 150 };

struct crowd {
    struct fixture *fixture;
    struct reader {
        struct crowd *crowd;
        struct dj_loop *loop;
        struct dj_task task;
        struct reader_get {
            struct reader *reader;
            uint32_t id;
        } gets[WAITING];
    } readers[2];
    bool is_open; /* all below under mutex */
    uint32_t issued;
    uint32_t answered;
    uint32_t hits;
    uint32_t wrong;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

/* Holds the only worker until every read is queued. */
static void block_worker(void *ctx)
{
    struct crowd *crowd = ctx;
    pthread_mutex_lock(&crowd->mutex);
    while (!crowd->is_open)
        pthread_cond_wait(&crowd->cond, &crowd->mutex);
    pthread_mutex_unlock(&crowd->mutex);
}

static void on_crowd_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    struct reader_get *get = ctx;
    struct crowd *crowd = get->reader->crowd;
    uint32_t id = 0;
    if (value)
        memcpy(&id, dj_value_entry(value)->id, sizeof id);
    pthread_mutex_lock(&crowd->mutex);
    crowd->answered++;
    crowd->hits += value != NULL;
    if (status != DEJA_OK || !dj_loop_is_current(get->reader->loop) || (value && id != get->id))
        crowd->wrong++;
    pthread_cond_broadcast(&crowd->cond);
    pthread_mutex_unlock(&crowd->mutex);
    dj_value_unref(value);
}

static void on_read_all(void *ctx)
{
    struct reader *reader = ctx;
    struct crowd *crowd = reader->crowd;
    struct dj_store *store = crowd->fixture->store;
    for (uint32_t i = 0; i < WAITING; i++) {
        reader->gets[i] = (struct reader_get){.reader = reader, .id = i};
        struct dj_store_key key = key_of(1, i);
        enum deja_status status =
            store->ops->get(store, reader->loop, &key, &reader->gets[i], on_crowd_got);
        assert(status == DEJA_OK);
    }
    pthread_mutex_lock(&crowd->mutex);
    crowd->issued++;
    pthread_cond_broadcast(&crowd->cond);
    pthread_mutex_unlock(&crowd->mutex);
}

static void reads_of_two_loops_in_one_batch_come_home_each(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    for (uint32_t id = 0; id < WAITING; id += 2)
        put(&fixture, value_of(1, id, 1, "body"));
    static struct crowd crowd;
    crowd = (struct crowd){.fixture = &fixture};
    pthread_mutex_init(&crowd.mutex, NULL);
    pthread_cond_init(&crowd.cond, NULL);
    struct dj_job blockers[2]; /* one a worker */
    for (int i = 0; i < 2; i++) {
        blockers[i] = (struct dj_job){.work = block_worker, .ctx = &crowd};
        assert_int_equal(dj_pool_submit(fixture.pool, &blockers[i]), DEJA_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct reader *reader = &crowd.readers[i];
        reader->crowd = &crowd;
        reader->loop = fixture.loops.loop[i];
        reader->task = (struct dj_task){.run = on_read_all, .ctx = reader};
        dj_loop_post(reader->loop, &reader->task);
    }
    pthread_mutex_lock(&crowd.mutex);
    while (crowd.issued < 2)
        pthread_cond_wait(&crowd.cond, &crowd.mutex);
    crowd.is_open = true;
    pthread_cond_broadcast(&crowd.cond);
    while (crowd.answered < 2 * WAITING)
        pthread_cond_wait(&crowd.cond, &crowd.mutex);
    pthread_mutex_unlock(&crowd.mutex);
    assert_int_equal(crowd.wrong, 0);
    assert_int_equal(crowd.hits, WAITING);
    destroy(&fixture);
}

/* ---- meta ---- */

struct walked {
    char text[128];
};

static bool on_pair(void *ctx, struct deja_slice key, struct deja_slice value)
{
    struct walked *walked = ctx;
    size_t len = strlen(walked->text);
    snprintf(walked->text + len, sizeof walked->text - len, "%.*s=%.*s;", (int)key.len, key.data,
             (int)value.len, value.data);
    return true;
}

static void on_meta_value(void *ctx, struct deja_slice value)
{
    on_pair(ctx, deja_slice_text("got"), value);
}

static void meta_keeps_tables_apart_and_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    struct dj_store *store = fixture.store;
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(store), "tags", deja_slice_text("b"),
                                      deja_slice_text("2")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(store), "tags", deja_slice_text("a"),
                                      deja_slice_text("1")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(store), "tagsx", deja_slice_text("c"),
                                      deja_slice_text("3")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(store), "tags", deja_slice_text("b"),
                                      deja_slice_text("22")),
                     DEJA_OK);
    reopen(&fixture);
    store = fixture.store;
    struct walked walked = {""};
    assert_int_equal(dj_lmdb_meta_walk(dj_lmdb_meta_of(store), "tags", &walked, on_pair), DEJA_OK);
    assert_string_equal(walked.text, "a=1;b=22;");
    struct walked got = {""};
    assert_int_equal(dj_lmdb_meta_get(dj_lmdb_meta_of(store), "tagsx", deja_slice_text("c"), &got,
                                      on_meta_value),
                     DEJA_OK);
    assert_string_equal(got.text, "got=3;");
    assert_int_equal(dj_lmdb_meta_remove(dj_lmdb_meta_of(store), "tags", deja_slice_text("a")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_remove(dj_lmdb_meta_of(store), "tags", deja_slice_text("a")),
                     DEJA_ERR_NOT_FOUND);
    assert_int_equal(
        dj_lmdb_meta_get(dj_lmdb_meta_of(store), "tags", deja_slice_text("a"), &got, on_meta_value),
        DEJA_ERR_NOT_FOUND);
    char long_key[600];
    fill(long_key, sizeof long_key, 1);
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(store), "tags", deja_slice_text(long_key),
                                      deja_slice_text("x")),
                     DEJA_ERR_LIMIT);
    destroy(&fixture);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    fixture.store->ops->close(fixture.store);
    fixture.store = NULL;
    for (size_t n = 1;; n++) {
        struct dj_store *store = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_lmdb_open(&fixture.options, &store, NULL, NULL);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            store->ops->close(store);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(store);
    }
    destroy(&fixture);
}

static void on_ignored_done(void *ctx, enum deja_status status, uint64_t removed)
{
    (void)status;
    (void)removed;
    ++*(int *)ctx;
}

static void on_ignored_got(void *ctx, enum deja_status status, struct dj_value *value)
{
    (void)status;
    dj_value_unref(value);
    ++*(int *)ctx;
}

/* Also: what is still unanswered at close is answered when the loop ends. */
static void calls_survive_each_failed_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    loops_stop(&fixture.loops);
    const struct dj_store_ops *ops = fixture.store->ops;
    struct dj_value *value = value_of(1, 2, 1, "body");
    struct dj_store_key key = key_of(1, 1);
    int accepted = 0;
    int answered = 0;
    for (int call = 0; call < 4; call++) {
        enum deja_status status = DEJA_ERR_NOMEM;
        for (size_t n = 1; status == DEJA_ERR_NOMEM; n++) {
            failing_malloc_arm(n);
            if (call == 0)
                status = ops->put(fixture.store, loop_of(&fixture), value, NULL, 0, &answered,
                                  on_ignored_done);
            else if (call == 1)
                status =
                    ops->get(fixture.store, loop_of(&fixture), &key, &answered, on_ignored_got);
            else if (call == 2)
                status = ops->remove(fixture.store, loop_of(&fixture), &key, UINT64_MAX, &answered,
                                     on_ignored_done);
            else
                status = ops->clear(fixture.store, loop_of(&fixture), key.tenant, &answered,
                                    on_ignored_done);
            assert_int_equal(status == DEJA_ERR_NOMEM, failing_malloc_disarm());
        }
        assert_int_equal(status, DEJA_OK);
        accepted++;
    }
    dj_value_unref(value);
    ops->close(fixture.store);
    fixture.store = NULL;
    dj_pool_destroy(fixture.pool);
    loops_destroy(&fixture.loops);
    assert_int_equal(answered, accepted);
    directory_remove(&fixture.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_entries_are_there_after_reopening),
        cmocka_unit_test(tier_that_begins_anew_has_forgotten_entries_and_kept_its_settings),
        cmocka_unit_test(tenant_never_sees_another_tenants_entry_of_the_same_id),
        cmocka_unit_test(only_a_newer_version_overwrites),
        cmocka_unit_test(removed_entry_is_gone_after_reopening),
        cmocka_unit_test(clear_removes_one_tenant_and_counts_it),
        cmocka_unit_test(expired_entry_is_a_miss_and_swept_at_start),
        cmocka_unit_test(writes_are_acknowledged_in_order_and_a_remove_beats_the_put_before_it),
        cmocka_unit_test(full_queue_is_busy_and_what_was_accepted_is_answered),
        cmocka_unit_test(vectors_come_by_tenant_and_scope_and_follow_their_entries),
        cmocka_unit_test(scan_of_many_vectors_gives_each_once),
        cmocka_unit_test(reads_of_two_loops_in_one_batch_come_home_each),
        cmocka_unit_test(meta_keeps_tables_apart_and_in_order),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
