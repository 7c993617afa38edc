#include "check.h"

#include <pthread.h>

#include "cache/access.h"

static const uint8_t tenant_a[DJ_ID_BYTES] = "........tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "........tenant b";

struct fixture {
    struct dj_pool *pool;
    struct dj_access *access;
};

static void open_with(struct fixture *fixture, uint32_t loop_count, uint32_t rows_max)
{
    assert_int_equal(dj_pool_create("test", 1, 10, &fixture->pool), DEJA_OK);
    const struct dj_access_options options = {
        .loop_count = loop_count, .rows_max = rows_max, .pool = fixture->pool};
    assert_int_equal(dj_access_create(&options, &fixture->access), DEJA_OK);
}

static void close_all(struct fixture *fixture)
{
    dj_pool_destroy(fixture->pool);
    dj_access_destroy(fixture->access);
}

static struct dj_store_key key_of(const uint8_t *tenant, uint32_t number)
{
    struct dj_store_key key = {{0}, {0}};
    memcpy(key.tenant, tenant, sizeof key.tenant);
    memcpy(key.id, &number, sizeof number);
    return key;
}

static uint64_t hits_of(struct fixture *fixture, const uint8_t *tenant, uint32_t number)
{
    struct dj_store_key key = key_of(tenant, number);
    struct dj_access_stats stats;
    dj_access_get(fixture->access, &key, &stats);
    return stats.hits;
}

static void note(struct fixture *fixture, const uint8_t *tenant, uint32_t number, uint32_t times)
{
    struct dj_store_key key = key_of(tenant, number);
    for (uint32_t i = 0; i < times; i++)
        dj_access_note(fixture->access, 0, &key, 1000 + (int64_t)i);
}

static void notes_are_seen_by_whoever_asks(void **state)
{
    (void)state;
    struct fixture fixture;
    open_with(&fixture, 1, 0);
    note(&fixture, tenant_a, 1, 3);
    assert_int_equal(hits_of(&fixture, tenant_a, 1), 3);
    assert_int_equal(hits_of(&fixture, tenant_b, 1), 0);
    struct dj_store_key key = key_of(tenant_a, 1);
    struct dj_access_stats stats;
    dj_access_get(fixture.access, &key, &stats);
    assert_int_equal(stats.last_access_ms, 1002);
    dj_access_forget(fixture.access, &key);
    assert_int_equal(hits_of(&fixture, tenant_a, 1), 0);
    close_all(&fixture);
}

static void full_ring_loses_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    enum { RING = 1024 };
    assert_int_equal(dj_pool_create("test", 1, 10, &fixture.pool), DEJA_OK);
    const struct dj_access_options options = {
        .loop_count = 1, .size = RING, .batch = 10, .pool = fixture.pool};
    assert_int_equal(dj_access_create(&options, &fixture.access), DEJA_OK);
    note(&fixture, tenant_a, 1, 3 * RING);
    note(&fixture, tenant_b, 1, RING + 7);
    assert_int_equal(hits_of(&fixture, tenant_a, 1), 3 * RING);
    struct dj_access_sums sums;
    dj_access_sums(fixture.access, tenant_b, &sums);
    assert_int_equal(sums.hits, RING + 7);
    dj_access_sums(fixture.access, NULL, &sums);
    assert_int_equal(sums.hits, 4 * RING + 7);
    close_all(&fixture);
}

static void top_is_a_tenants_own_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_top_entry entries[DJ_TOP_MAX];
    open_with(&fixture, 1, 0);
    for (uint32_t i = 0; i < 300; i++) { /* hits 1 … 300, in a shuffled order */
        uint32_t number = i * 77 % 300;
        note(&fixture, tenant_a, number, number + 1);
    }
    note(&fixture, tenant_b, 1, 1000);
    for (uint32_t k = 1; k <= DJ_TOP_MAX; k += 33) {
        assert_int_equal(dj_access_top(fixture.access, tenant_a, k, entries), k);
        for (uint32_t i = 0; i < k; i++)
            assert_int_equal(entries[i].hits, 300 - i);
    }
    assert_int_equal(dj_access_top(fixture.access, tenant_b, 5, entries), 1);
    assert_int_equal(entries[0].hits, 1000);
    close_all(&fixture);
}

static void rows_longest_not_served_go_first(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_access_sums sums;
    open_with(&fixture, 1, 640);
    struct dj_store_key hot = key_of(tenant_a, 1);
    for (uint32_t i = 0; i < 5000; i++) {
        struct dj_store_key key = key_of(tenant_a, 100 + i);
        dj_access_note(fixture.access, 0, &key, i);
        dj_access_note(fixture.access, 0, &hot, i);
    }
    assert_int_equal(hits_of(&fixture, tenant_a, 1), 5000);
    uint32_t known = 0;
    for (uint32_t i = 0; i < 5000; i++)
        known += hits_of(&fixture, tenant_a, 100 + i) > 0;
    assert_true(known < 720 && known > 500);
    dj_access_sums(fixture.access, tenant_a, &sums);
    assert_int_equal(sums.hits, 10000); /* the tenant's sum knows of all */
    close_all(&fixture);
}

struct hammer {
    struct fixture *fixture;
    uint32_t loop_index;
};

enum { THREADS = 3, NOTES = 30000 };

static void *run_hammer(void *ctx)
{
    struct hammer *hammer = ctx;
    for (uint32_t i = 0; i < NOTES; i++) {
        struct dj_store_key key = key_of(i % 2 ? tenant_a : tenant_b, i % 10);
        dj_access_note(hammer->fixture->access, hammer->loop_index, &key, i);
        if (i % 1000 == 0)
            (void)hits_of(hammer->fixture, tenant_a, 1);
    }
    return NULL;
}

static void loops_and_askers_at_once_lose_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    struct hammer hammers[THREADS];
    pthread_t threads[THREADS];
    struct dj_top_entry entries[10];
    open_with(&fixture, THREADS, 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        hammers[i] = (struct hammer){.fixture = &fixture, .loop_index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_hammer, &hammers[i]), 0);
    }
    for (int i = 0; i < 20; i++)
        (void)dj_access_top(fixture.access, tenant_a, 10, entries);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct dj_access_sums sums;
    dj_access_sums(fixture.access, NULL, &sums);
    assert_int_equal(sums.hits, THREADS * NOTES);
    assert_int_equal(hits_of(&fixture, tenant_a, 1), THREADS * NOTES / 10);
    close_all(&fixture);
}

static void verdicts_are_counted_per_tenant(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_access_sums sums;
    open_with(&fixture, 1, 0);
    dj_access_verdict(fixture.access, tenant_a, true);
    dj_access_verdict(fixture.access, tenant_a, false);
    dj_access_verdict(fixture.access, tenant_b, false);
    dj_access_sums(fixture.access, tenant_a, &sums);
    assert_int_equal(sums.verdicts, 2);
    assert_int_equal(sums.verdicts_wrong, 1);
    dj_access_sums(fixture.access, NULL, &sums);
    assert_int_equal(sums.verdicts, 3);
    close_all(&fixture);
}

/* A tier that keeps rows and refuses the first `refusals` handings. */
struct keeper {
    struct dj_store store;
    uint32_t refusals;
    uint32_t pieces;
    uint32_t piece_max;
    uint64_t tenant_hits;
    uint64_t by_number[64];
};

static enum deja_status keep_rows(struct dj_store *store, const struct dj_store_access *rows,
                                  size_t count)
{
    static const uint8_t no_id[DJ_ID_BYTES];
    struct keeper *keeper = (struct keeper *)store;
    if (keeper->refusals > 0) {
        keeper->refusals--;
        return DEJA_ERR_BUSY;
    }
    keeper->pieces++;
    if (count > keeper->piece_max)
        keeper->piece_max = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = 0;
        memcpy(&number, rows[i].key.id, sizeof number);
        if (memcmp(rows[i].key.id, no_id, DJ_ID_BYTES) == 0)
            keeper->tenant_hits = rows[i].hits;
        else
            keeper->by_number[number] = rows[i].hits;
    }
    return DEJA_OK;
}

static void changes_go_to_every_keeper_in_batches_and_again_after_a_refusal(void **state)
{
    (void)state;
    static const struct dj_store_ops keeping = {.level = "lmdb", .keep_access = keep_rows};
    static const struct dj_store_ops forgetful = {.level = "s3"};
    struct fixture fixture;
    struct keeper one = {.store = {.ops = &keeping}};
    struct keeper two = {.store = {.ops = &keeping}, .refusals = 2};
    struct dj_store none = {.ops = &forgetful};
    assert_int_equal(dj_pool_create("test", 1, 10, &fixture.pool), DEJA_OK);
    const struct dj_access_options options = {.loop_count = 1,
                                              .batch = 10,
                                              .pool = fixture.pool,
                                              .stores = {&one.store, &none, &two.store},
                                              .store_count = 3};
    assert_int_equal(dj_access_create(&options, &fixture.access), DEJA_OK);
    for (uint32_t i = 1; i <= 50; i++)
        note(&fixture, tenant_a, i, i);
    for (int call = 0; call < 3; call++) /* the third meets no refusal */
        dj_access_keep(fixture.access);
    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(one.by_number[i], i);
        assert_int_equal(two.by_number[i], i);
    }
    assert_int_equal(two.tenant_hits, 50 * 51 / 2);
    assert_int_equal(one.piece_max, 10);
    assert_int_equal(two.pieces, 6);
    dj_access_keep(fixture.access); /* nothing has changed */
    assert_int_equal(two.pieces, 6);
    close_all(&fixture);
}

static void flush_has_a_worker_take_what_waits(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dj_store_key key = key_of(tenant_a, 1);
    open_with(&fixture, 2, 0);
    dj_access_flush(fixture.access);
    assert_int_equal(dj_pool_queued(fixture.pool), 0);
    dj_access_note(fixture.access, 1, &key, 5);
    dj_access_flush(fixture.access);
    dj_pool_destroy(fixture.pool); /* the worker has done it */
    fixture.pool = NULL;
    assert_int_equal(hits_of(&fixture, tenant_a, 1), 1);
    dj_access_destroy(fixture.access);
}

static void access_create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        const struct dj_access_options options = {.loop_count = 2};
        struct dj_access *access = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_access_create(&options, &access);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_access_destroy(access);
        if (!has_failed)
            break;
    }
    dj_access_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_are_seen_by_whoever_asks),
        cmocka_unit_test(full_ring_loses_nothing),
        cmocka_unit_test(top_is_a_tenants_own_in_order),
        cmocka_unit_test(rows_longest_not_served_go_first),
        cmocka_unit_test(loops_and_askers_at_once_lose_nothing),
        cmocka_unit_test(verdicts_are_counted_per_tenant),
        cmocka_unit_test(changes_go_to_every_keeper_in_batches_and_again_after_a_refusal),
        cmocka_unit_test(flush_has_a_worker_take_what_waits),
        cmocka_unit_test(access_create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
