/* backends.h - every tier there is, opened the same way, for the suite that all have to pass.
 *
 * Memory and LMDB need nothing; the others a server that an environment variable names:
 * DEJA_TEST_REDIS host:port · DEJA_TEST_POSTGRES a url · DEJA_TEST_S3 a url, with DEJA_TEST_S3_KEY
 * and DEJA_TEST_S3_SECRET, and the bucket DEJA_TEST_S3_BUCKET.
 */
#ifndef DJ_TEST_CONFORMANCE_BACKENDS_H
#define DJ_TEST_CONFORMANCE_BACKENDS_H

#include "check.h"

#include "directory.h"
#include "entries.h"
#include "loops.h"
#include "memory_authority.h"
#include "loop/pool.h"
#include "store/guarded.h"
#include "store/lmdb.h"
#include "store/memory.h"
#include "store/postgres.h"
#include "store/redis.h"
#include "store/s3.h"
#include "store/sealed.h"

enum { LOOPS = 2 };

struct fixture {
    const struct backend *backend;
    struct loops loops;
    struct directory directory; /* LMDB's */
    struct dj_pool *pool;
    struct memory_authority authority; /* sealed: where its keys are kept */
    struct dj_keyring *keyring;
    struct dj_store *store;
    uint32_t tenant; /* of this test; the next ones are its, too */
};

/* What may differ between tiers; docs/tiers.md says so and why. */
struct backend {
    const char *name;
    void (*open)(struct fixture *fixture, struct deja_error *error);
    bool has_tombstones; /* of its own: the engine keeps those of memory and LMDB */
    /* Of writers in one moment the newest always stays; S3 services that overlook conditions keep
     * any of them, until the next write, and tell some of many that they are busy. */
    bool has_ordered_writers;
};

static void open_memory(struct fixture *fixture, struct deja_error *error)
{
    const struct dj_memory_options options = {.bytes_max = 1u << 30,
                                              .entries_max = 100000,
                                              .tenant_entries_max = 100000,
                                              .loop_count = LOOPS};
    if (dj_memory_open(&options, fixture->loops.loop, &fixture->store) != DEJA_OK)
        deja_error_set(error, DEJA_ERR_NOMEM, "memory");
}

static void open_lmdb(struct fixture *fixture, struct deja_error *error)
{
    struct dj_lmdb_options options = {.pool = fixture->pool, .bytes_max = 256u << 20};
    bool is_discarded = false;
    directory_create(&fixture->directory);
    options.directory = fixture->directory.path;
    if (dj_lmdb_open(&options, &fixture->store, &is_discarded, error) == DEJA_OK)
        assert_false(is_discarded);
}

static const char *wanted(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        fail_msg("%s is not set", name);
    return value;
}

static void open_redis(struct fixture *fixture, struct deja_error *error)
{
    struct dj_redis_address address = {.port = 0};
    const struct dj_redis_options options = {
        .addresses = &address, .address_count = 1, .loop_count = LOOPS};
    enum deja_status status =
        dj_redis_address_read(deja_slice_text(wanted("DEJA_TEST_REDIS")), 6379, &address);
    assert_int_equal(status, DEJA_OK);
    status = dj_redis_open(&options, &fixture->store, error);
    assert_int_equal(status, DEJA_OK);
}

static void open_postgres(struct fixture *fixture, struct deja_error *error)
{
    const struct dj_postgres_options options = {
        .url = wanted("DEJA_TEST_POSTGRES"), .timeout_ms = 60000, .connect_timeout_ms = 20000};
    enum deja_status status = dj_postgres_open(&options, &fixture->store, error);
    assert_int_equal(status, DEJA_OK);
}

static void open_s3(struct fixture *fixture, struct deja_error *error)
{
    struct dj_s3_options options = dj_s3_options_default;
    options.endpoint = wanted("DEJA_TEST_S3");
    options.bucket = wanted("DEJA_TEST_S3_BUCKET");
    options.identity.access_key = deja_slice_text(wanted("DEJA_TEST_S3_KEY"));
    options.identity.secret_key = deja_slice_text(wanted("DEJA_TEST_S3_SECRET"));
    options.timeout_ms = 60000;
    options.pool = fixture->pool;
    options.loop_count = LOOPS;
    enum deja_status status = dj_s3_open(&options, &fixture->store, error);
    assert_int_equal(status, DEJA_OK);
}

static const struct backend backends[] = {
    {"memory", open_memory, false, true}, {"lmdb", open_lmdb, false, true},
    {"redis", open_redis, true, true},    {"postgres", open_postgres, true, true},
    {"s3", open_s3, true, false},
};

/* Like the tier itself, but for a wrapper that has nothing to do. */
static void wrap(struct fixture *fixture)
{
    struct dj_guarded_options options = dj_guarded_options_of(false);
    struct dj_store *inner = fixture->store;
    options.get_ms = options.put_ms = options.remove_ms = options.long_ms = 60000;
    assert_int_equal(
        dj_guarded_store_open(inner, fixture->loops.loop[0], &options, NULL, NULL, &fixture->store),
        DEJA_OK);
}

/* What the tier keeps is sealed, and nobody above notices. */
static void seal(struct fixture *fixture)
{
    static const uint8_t master[32] = "a master key of thirty-two bytes";
    struct dj_store *inner = fixture->store;
    memory_authority_init(&fixture->authority);
    const struct dj_keyring_options keys = {
        .master = master, .authority = &fixture->authority.authority, .now_ms = dj_clock_now_ms};
    assert_int_equal(dj_keyring_create(&keys, &fixture->keyring), DEJA_OK);
    const struct dj_sealed_options options = {
        .keyring = fixture->keyring, .pool = fixture->pool, .vectors = DJ_SEALED_VECTORS_SEALED};
    assert_int_equal(dj_sealed_store_open(inner, &options, &fixture->store), DEJA_OK);
}

struct wrappers {
    bool is_guarded;
    bool is_sealed;
};

static void fixture_open(struct fixture *fixture, const struct backend *backend,
                         struct wrappers wrappers, uint32_t tenant)
{
    struct deja_error error = {{0}};
    *fixture = (struct fixture){.backend = backend, .tenant = tenant};
    loops_create(&fixture->loops, LOOPS);
    assert_int_equal(dj_pool_create("conformance", 2, 4000, &fixture->pool), DEJA_OK);
    backend->open(fixture, &error);
    if (error.message[0])
        fail_msg("%s: %s", backend->name, error.message);
    if (wrappers.is_guarded)
        wrap(fixture);
    if (wrappers.is_sealed)
        seal(fixture);
    loops_start(&fixture->loops);
}

struct leaving {
    struct dj_store *store;
    struct dj_loop *loop;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool is_done;
};

static void on_leave(void *ctx)
{
    struct leaving *leaving = ctx;
    leaving->store->ops->leave(leaving->store, leaving->loop);
    pthread_mutex_lock(&leaving->mutex);
    leaving->is_done = true;
    pthread_cond_signal(&leaving->cond);
    pthread_mutex_unlock(&leaving->mutex);
}

static void leave(struct dj_store *store, struct dj_loop *loop)
{
    struct leaving leaving = {.store = store,
                              .loop = loop,
                              .mutex = PTHREAD_MUTEX_INITIALIZER,
                              .cond = PTHREAD_COND_INITIALIZER};
    leaving.task = (struct dj_task){.run = on_leave, .ctx = &leaving};
    dj_loop_post(loop, &leaving.task);
    pthread_mutex_lock(&leaving.mutex);
    while (!leaving.is_done)
        pthread_cond_wait(&leaving.cond, &leaving.mutex);
    pthread_mutex_unlock(&leaving.mutex);
}

static void fixture_close(struct fixture *fixture)
{
    for (uint32_t i = 0; fixture->store->ops->leave && i < LOOPS; i++)
        leave(fixture->store, fixture->loops.loop[i]);
    loops_stop(&fixture->loops);
    fixture->store->ops->close(fixture->store);
    dj_keyring_destroy(fixture->keyring);
    dj_pool_destroy(fixture->pool);
    loops_destroy(&fixture->loops);
    if (fixture->directory.path[0])
        directory_remove(&fixture->directory);
}

#endif
