/* lmdb_fixture.h - an embedded tier with two loops and a pool, in a directory of its own. */
#ifndef DJ_TEST_STORE_LMDB_FIXTURE_H
#define DJ_TEST_STORE_LMDB_FIXTURE_H

#include "check.h"

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

static inline struct dj_loop *loop_of(struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

/* Everything but the directory, which is there. */
static inline enum deja_status start(struct fixture *fixture)
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

static inline void stop(struct fixture *fixture)
{
    loops_stop(&fixture->loops);
    if (fixture->store)
        fixture->store->ops->close(fixture->store);
    fixture->store = NULL;
    dj_pool_destroy(fixture->pool);
    loops_destroy(&fixture->loops);
}

static inline void create(struct fixture *fixture, struct dj_lmdb_options options)
{
    *fixture = (struct fixture){.options = options};
    directory_create(&fixture->directory);
    assert_int_equal(start(fixture), DEJA_OK);
    assert_false(fixture->is_discarded);
}

static inline void reopen(struct fixture *fixture)
{
    stop(fixture);
    assert_int_equal(start(fixture), DEJA_OK);
}

static inline void destroy(struct fixture *fixture)
{
    stop(fixture);
    directory_remove(&fixture->directory);
}

static inline void put(struct fixture *fixture, struct dj_value *value)
{
    assert_int_equal(wait_put(fixture->store, loop_of(fixture), value), DEJA_OK);
}

static inline bool has_body(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_equal =
        value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_equal;
}

static inline bool has(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    dj_value_unref(value);
    return value != NULL;
}

static inline struct dj_store_stats stats_of(struct fixture *fixture, uint32_t tenant)
{
    struct dj_store_key key = key_of(tenant, 0);
    struct dj_store_stats stats;
    fixture->store->ops->stats(fixture->store, tenant ? key.tenant : NULL, &stats);
    return stats;
}

/* Bytes that do not compress. */
static inline void fill(char *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i + 1 < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (char)(1 + (seed >> 24) % 255);
    }
    bytes[len - 1] = 0;
}

enum { DIM = 8 };

static inline void put_vector(struct fixture *fixture, uint32_t tenant, uint8_t scope, uint32_t id,
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

#endif
