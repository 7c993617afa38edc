#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "directory.h"
#include "entries.h"
#include "loops.h"
#include "store/lmdb.h"

struct fixture {
    struct directory directory;
    struct loops loops;
    struct dj_pool *pool;
    struct dj_store *store;
    struct dj_lmdb_options options;
    bool is_discarded;
};

static struct dj_loop *loop_of(struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

/* Everything but the directory, which is there. */
static enum deja_status start(struct fixture *fixture)
{
    loops_create(&fixture->loops, 2);
    assert_int_equal(dj_pool_create("test", 2, 1000, &fixture->pool), DEJA_OK);
    fixture->options.directory = fixture->directory.path;
    fixture->options.pool = fixture->pool;
    if (!fixture->options.bytes_max)
        fixture->options.bytes_max = 64 << 20;
    struct deja_error error = {{0}};
    enum deja_status status =
        dj_lmdb_open(&fixture->options, &fixture->store, &fixture->is_discarded, &error);
    assert_int_equal(status == DEJA_OK, error.message[0] == 0);
    loops_start(&fixture->loops);
    return status;
}

static void stop(struct fixture *fixture)
{
    loops_stop(&fixture->loops);
    if (fixture->store)
        fixture->store->ops->close(fixture->store);
    fixture->store = NULL;
    dj_pool_destroy(fixture->pool);
    loops_destroy(&fixture->loops);
}

static void create(struct fixture *fixture, struct dj_lmdb_options options)
{
    *fixture = (struct fixture){.options = options};
    directory_create(&fixture->directory);
    assert_int_equal(start(fixture), DEJA_OK);
    assert_false(fixture->is_discarded);
}

static void reopen(struct fixture *fixture)
{
    stop(fixture);
    assert_int_equal(start(fixture), DEJA_OK);
}

static void destroy(struct fixture *fixture)
{
    stop(fixture);
    directory_remove(&fixture->directory);
}

static void put(struct fixture *fixture, struct dj_value *value)
{
    assert_int_equal(wait_put(fixture->store, loop_of(fixture), value), DEJA_OK);
}

static bool has_body(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_equal =
        value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_equal;
}

static bool has(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    dj_value_unref(value);
    return value != NULL;
}

static struct dj_store_stats stats_of(struct fixture *fixture, uint32_t tenant)
{
    struct dj_store_key key = key_of(tenant, 0);
    struct dj_store_stats stats;
    fixture->store->ops->stats(fixture->store, tenant ? key.tenant : NULL, &stats);
    return stats;
}

/* Bytes that do not compress. */
static void fill(char *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i + 1 < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(1 + (seed >> 24) % 255);
    }
    bytes[len - 1] = 0;
}

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

static void expired_entry_is_a_miss_and_swept_at_start(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    int64_t now_ms = dj_clock_now_ms();
    put(&fixture, value_until(1, 1, now_ms - 1, 0));
    put(&fixture, value_until(1, 2, now_ms - 1, now_ms + 1000000));
    put(&fixture, value_until(1, 3, now_ms + 20, 0));
    assert_false(has(&fixture, 1, 1));
    assert_true(has(&fixture, 1, 2));
    while (dj_clock_now_ms() <= now_ms + 20)
        continue;
    assert_false(has(&fixture, 1, 3));
    reopen(&fixture);
    /* The first sweep is before the first batch, or right after it. */
    put(&fixture, value_of(1, 4, 1, "body"));
    put(&fixture, value_of(1, 5, 1, "body"));
    assert_int_equal(stats_of(&fixture, 1).entries, 3);
    assert_int_equal(stats_of(&fixture, 0).expired, 1);
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
            status = store->ops->remove(store, loop, &key, item, on_burst_done);
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

/* ---- vectors ---- */

enum { DIM = 8 };

static void put_vector(struct fixture *fixture, uint32_t tenant, uint8_t scope, uint32_t id,
                       uint64_t version, int64_t expires_ms)
{
    struct dj_entry entry = entry_of(tenant, id, version, "body");
    memset(entry.scope, scope, sizeof entry.scope);
    entry.embedder_id = deja_slice_text("embedder-1");
    entry.expires_ms = expires_ms;
    struct dj_value *value;
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    float vector[DIM];
    for (int i = 0; i < DIM; i++)
        vector[i] = (float)(id * 100 + version) + (float)i;
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_PUT,
                        .value = value,
                        .vector = vector,
                        .dim = DIM};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    dj_value_unref(value);
}

struct scanned {
    uint32_t ids[16];
    uint32_t count;
    uint32_t count_max;
    float first[16];
    bool is_wrong;
};

static bool on_vector(void *ctx, const struct dj_store_key *key, const uint8_t scope[DJ_ID_BYTES],
                      struct deja_slice embedder_id, const float *vector, uint32_t dim,
                      int64_t expires_ms)
{
    (void)scope;
    (void)expires_ms;
    struct scanned *scanned = ctx;
    if (dim != DIM || !deja_slice_is_equal(embedder_id, deja_slice_text("embedder-1")))
        scanned->is_wrong = true;
    memcpy(&scanned->ids[scanned->count], key->id, sizeof scanned->ids[0]);
    scanned->first[scanned->count++] = vector[0];
    return scanned->count < scanned->count_max;
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
    assert_int_equal(dj_lmdb_meta_put(store, "tags", deja_slice_text("b"), deja_slice_text("2")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(store, "tags", deja_slice_text("a"), deja_slice_text("1")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(store, "tagsx", deja_slice_text("c"), deja_slice_text("3")),
                     DEJA_OK);
    assert_int_equal(dj_lmdb_meta_put(store, "tags", deja_slice_text("b"), deja_slice_text("22")),
                     DEJA_OK);
    reopen(&fixture);
    store = fixture.store;
    struct walked walked = {""};
    assert_int_equal(dj_lmdb_meta_walk(store, "tags", &walked, on_pair), DEJA_OK);
    assert_string_equal(walked.text, "a=1;b=22;");
    struct walked got = {""};
    assert_int_equal(dj_lmdb_meta_get(store, "tagsx", deja_slice_text("c"), &got, on_meta_value),
                     DEJA_OK);
    assert_string_equal(got.text, "got=3;");
    assert_int_equal(dj_lmdb_meta_remove(store, "tags", deja_slice_text("a")), DEJA_OK);
    assert_int_equal(dj_lmdb_meta_remove(store, "tags", deja_slice_text("a")), DEJA_ERR_NOT_FOUND);
    assert_int_equal(dj_lmdb_meta_get(store, "tags", deja_slice_text("a"), &got, on_meta_value),
                     DEJA_ERR_NOT_FOUND);
    char long_key[600];
    fill(long_key, sizeof long_key, 1);
    assert_int_equal(
        dj_lmdb_meta_put(store, "tags", deja_slice_text(long_key), deja_slice_text("x")),
        DEJA_ERR_LIMIT);
    destroy(&fixture);
}

/* ---- damage ---- */

static char *data_path(struct fixture *fixture, char path[128])
{
    snprintf(path, 128, "%s/entries/data.mdb", fixture->directory.path);
    return path;
}

/* Changes one byte after each place where text stands in the data file; how many. */
static uint32_t damage(struct fixture *fixture, const char *text)
{
    char path[128];
    int fd = open(data_path(fixture, path), O_RDWR);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *bytes = test_malloc((size_t)size);
    assert_int_equal(pread(fd, bytes, (size_t)size, 0), size);
    size_t len = strlen(text);
    uint32_t count = 0;
    for (size_t i = 0; i + len <= (size_t)size; i++)
        if (memcmp(bytes + i, text, len) == 0) {
            assert_int_equal(pwrite(fd, "?", 1, (off_t)(i + len / 2)), 1);
            count++;
        }
    test_free(bytes);
    close(fd);
    return count;
}

static const char unique[] = "kQ3zP9xW7vR1tY5uI8oL2mN6bV4cX0aS";

static void corrupt_record_is_a_miss_and_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, unique));
    put(&fixture, value_of(1, 2, 1, "another body"));
    stop(&fixture);
    assert_true(damage(&fixture, unique) >= 1);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded); /* the same boot: nobody looked */
    assert_false(has(&fixture, 1, 1));
    assert_int_equal(stats_of(&fixture, 0).corrupt, 1);
    put(&fixture, value_of(1, 3, 1, "after")); /* queued behind the removal */
    assert_int_equal(stats_of(&fixture, 0).entries, 2);
    assert_true(has_body(&fixture, 1, 2, "another body"));
    put(&fixture, value_of(1, 1, 1, "anew"));
    assert_true(has_body(&fixture, 1, 1, "anew"));
    destroy(&fixture);
}

/* A process that writes, claims to have been booted elsewhere, and dies without closing. */
static void write_and_die(struct fixture *fixture, const char *state_key, const char *state_value)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (start(fixture) != DEJA_OK)
            _exit(1);
        for (uint32_t id = 0; id < 50; id++)
            if (wait_put(fixture->store, loop_of(fixture), value_of(1, id, 1, unique)) != DEJA_OK)
                _exit(2);
        put_vector(fixture, 1, 1, 100, 1, 0);
        if (dj_lmdb_meta_put(fixture->store, "state", deja_slice_text(state_key),
                             deja_slice_text(state_value)) != DEJA_OK)
            _exit(3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void begin_unclean(struct fixture *fixture, const char *state_key, const char *state_value)
{
    *fixture = (struct fixture){.options = {0}};
    directory_create(&fixture->directory);
    write_and_die(fixture, state_key, state_value);
}

static void whole_entries_survive_the_check_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 51);
    assert_true(has_body(&fixture, 1, 7, unique));
    destroy(&fixture);
}

static void damaged_entries_are_discarded_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    assert_true(damage(&fixture, unique) >= 50);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    put(&fixture, value_of(1, 1, 1, "anew"));
    reopen(&fixture);
    assert_false(fixture.is_discarded);
    assert_true(has_body(&fixture, 1, 1, "anew"));
    destroy(&fixture);
}

static void cut_file_is_discarded_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    char path[128];
    assert_int_equal(truncate(data_path(&fixture, path), 5 * 4096), 0);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    destroy(&fixture);
}

static void garbage_file_is_discarded(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    stop(&fixture);
    char path[128];
    int fd = open(data_path(&fixture, path), O_WRONLY | O_TRUNC);
    char garbage[9000];
    fill(garbage, sizeof garbage, 3);
    assert_int_equal(write(fd, garbage, sizeof garbage), sizeof garbage);
    close(fd);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    destroy(&fixture);
}

static void check_that_did_not_survive_discards_at_the_next_start(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "verifying", "1");
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    reopen(&fixture);
    assert_false(fixture.is_discarded);
    destroy(&fixture);
}

static void killed_process_of_the_same_boot_is_trusted(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "unrelated", "1");
    assert_true(damage(&fixture, unique) >= 50);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 51);
    assert_false(has(&fixture, 1, 7)); /* and still nothing damaged is served */
    destroy(&fixture);
}

/* ---- processes ---- */

static void second_process_is_told_busy(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture = (struct fixture){.options = {0}};
    directory_create(&fixture.directory);
    int gate[2];
    int verdict[2];
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(pipe(verdict), 0);
    fflush(NULL);
    pid_t child = fork(); /* before threads are started here */
    assert_true(child >= 0);
    if (child == 0) {
        close(gate[1]);
        char byte;
        if (read(gate[0], &byte, 1) != 1)
            _exit(1);
        byte = start(&fixture) == DEJA_ERR_BUSY ? 'b' : 'x';
        _exit(write(verdict[1], &byte, 1) == 1 ? 0 : 1);
    }
    assert_int_equal(start(&fixture), DEJA_OK);
    struct dj_store *second = NULL;
    assert_int_equal(dj_lmdb_open(&fixture.options, &second, NULL, NULL), DEJA_ERR_BUSY);
    assert_null(second);
    assert_int_equal(write(gate[1], "g", 1), 1);
    char byte = 0;
    assert_int_equal(read(verdict[0], &byte, 1), 1);
    assert_int_equal(byte, 'b');
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(gate[0]);
    close(gate[1]);
    close(verdict[0]);
    close(verdict[1]);
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
                status =
                    ops->remove(fixture.store, loop_of(&fixture), &key, &answered, on_ignored_done);
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
        cmocka_unit_test(tenant_never_sees_another_tenants_entry_of_the_same_id),
        cmocka_unit_test(only_a_newer_version_overwrites),
        cmocka_unit_test(removed_entry_is_gone_after_reopening),
        cmocka_unit_test(clear_removes_one_tenant_and_counts_it),
        cmocka_unit_test(expired_entry_is_a_miss_and_swept_at_start),
        cmocka_unit_test(writes_are_acknowledged_in_order_and_a_remove_beats_the_put_before_it),
        cmocka_unit_test(full_queue_is_busy_and_what_was_accepted_is_answered),
        cmocka_unit_test(tier_over_its_bytes_drops_what_expires_first),
        cmocka_unit_test(never_expiring_entries_are_dropped_oldest_first),
        cmocka_unit_test(full_map_makes_room_or_says_so),
        cmocka_unit_test(batch_too_big_for_the_map_is_taken_in_parts),
        cmocka_unit_test(vectors_come_by_tenant_and_scope_and_follow_their_entries),
        cmocka_unit_test(meta_keeps_tables_apart_and_in_order),
        cmocka_unit_test(corrupt_record_is_a_miss_and_removed),
        cmocka_unit_test(whole_entries_survive_the_check_after_another_boot),
        cmocka_unit_test(damaged_entries_are_discarded_after_another_boot),
        cmocka_unit_test(cut_file_is_discarded_after_another_boot),
        cmocka_unit_test(garbage_file_is_discarded),
        cmocka_unit_test(check_that_did_not_survive_discards_at_the_next_start),
        cmocka_unit_test(killed_process_of_the_same_boot_is_trusted),
        cmocka_unit_test(second_process_is_told_busy),
        cmocka_unit_test(open_survives_each_failed_allocation),
        cmocka_unit_test(calls_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
