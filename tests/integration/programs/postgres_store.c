/* The tier of PostgreSQL over its table: entries, lists, access statistics, eviction. */
#include "postgres_many.h"

#include <sys/resource.h>

/* ---- one entry ---- */

static void what_is_put_is_got_and_removed(void **state)
{
    struct fixture fixture;
    (void)state;
    create(&fixture);
    assert_true(is_miss(&fixture, 1, 1));
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "Paris")), DEJA_OK);
    assert_true(has(&fixture, 1, 1, "Paris"));
    assert_true(is_miss(&fixture, 2, 1));
    assert_true(is_miss(&fixture, 1, 2));
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 1)), 1);
    assert_true(is_miss(&fixture, 1, 1));
    assert_int_equal(wait_remove(fixture.store, loop_of(&fixture), key_of(1, 1)), 0);
    destroy(&fixture);
}

static void only_a_newer_version_overwrites(void **state)
{
    struct fixture fixture;
    (void)state;
    create(&fixture);
    assert_int_equal(put(&fixture, value_of(1, 1, 5, "five")), DEJA_OK);
    assert_int_equal(put(&fixture, value_of(1, 1, 4, "four")), DEJA_OK);
    assert_true(has(&fixture, 1, 1, "five"));
    assert_int_equal(put(&fixture, value_of(1, 1, 6, "six")), DEJA_OK);
    assert_true(has(&fixture, 1, 1, "six"));
    destroy(&fixture);
}

static void removal_at_a_version_leaves_newer_ones_and_holds_older_ones_back(void **state)
{
    struct fixture fixture;
    (void)state;
    create(&fixture);
    assert_int_equal(put(&fixture, value_of(1, 1, 10, "ten")), DEJA_OK);
    assert_int_equal(remove_up_to(&fixture, 1, 1, 9), 0);
    assert_true(has(&fixture, 1, 1, "ten"));
    assert_int_equal(remove_up_to(&fixture, 1, 1, 20), 1);
    assert_int_equal(put(&fixture, value_of(1, 1, 15, "late")), DEJA_OK);
    assert_true(is_miss(&fixture, 1, 1));
    assert_int_equal(put(&fixture, value_of(1, 1, 21, "newer")), DEJA_OK);
    assert_true(has(&fixture, 1, 1, "newer"));
    assert_int_equal(remove_up_to(&fixture, 1, 2, 7),
                     0); /* nothing there: a tombstone all the same */
    assert_int_equal(put(&fixture, value_of(1, 2, 7, "late")), DEJA_OK);
    assert_true(is_miss(&fixture, 1, 2));
    destroy(&fixture);
}

static void expired_entry_is_a_miss_and_may_be_overwritten_by_any_version(void **state)
{
    struct fixture fixture;
    int64_t now_ms = dj_clock_now_ms();
    (void)state;
    create(&fixture);
    assert_int_equal(put(&fixture, value_until(1, 1, now_ms - 10, 0)), DEJA_OK);
    assert_true(is_miss(&fixture, 1, 1));
    assert_int_equal(put(&fixture, value_until(1, 2, now_ms - 10, now_ms + 60000)), DEJA_OK);
    assert_true(has(&fixture, 1, 2, "body")); /* stale, and still of use */
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "again")), DEJA_OK);
    assert_true(has(&fixture, 1, 1, "again"));
    destroy(&fixture);
}

static void stay_is_bounded_by_the_tier_and_never_longer_than_the_life(void **state)
{
    struct fixture fixture;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.ttl_ms = 1; /* everything is gone at once */
    create_with(&fixture, options);
    assert_int_equal(put(&fixture, value_until(1, 1, dj_clock_now_ms() + 3600000, 0)), DEJA_OK);
    usleep(2000);
    assert_true(is_miss(&fixture, 1, 1));
    destroy(&fixture);
}

static void all_fields_come_back(void **state)
{
    struct fixture fixture;
    struct dj_value *value = NULL;
    struct dj_entry entry = entry_of(7, 8, 9, "{\"a\":\"\\u0000 \xc3\xa9\"}");
    (void)state;
    entry.query = deja_slice_text("what is \xff this"); /* not UTF-8: kept in the record only */
    entry.metadata = deja_slice_text("{\"team\":\"blue\",\"zero\":\"\\u0000\"}");
    entry.name_space = deja_slice_text("news");
    entry.model = deja_slice_text("gpt");
    entry.provider = deja_slice_text("p'\\q");
    entry.cost_usd = 0.25;
    entry.tag_count = 1;
    entry.tags[0] = (struct dj_entry_tag){deja_slice_text("tag"), 77};
    create(&fixture);
    assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
    assert_int_equal(put(&fixture, value), DEJA_OK);
    value = wait_get(fixture.store, loop_of(&fixture), key_of(7, 8));
    assert_non_null(value);
    const struct dj_entry *got = dj_value_entry(value);
    assert_true(deja_slice_is_equal(got->query, entry.query));
    assert_true(deja_slice_is_equal(got->metadata, entry.metadata));
    assert_true(deja_slice_is_equal(got->provider, entry.provider));
    assert_int_equal(got->tags[0].generation, 77);
    assert_true(got->cost_usd > 0.24 && got->cost_usd < 0.26);
    assert_int_equal(got->version, 9);
    dj_value_unref(value);
    destroy(&fixture);
}

/* ---- many ---- */

enum { LISTED = 300 };

/* The next piece of tenant 1. */
static void next_page(struct fixture *fixture, struct dj_store_page *page)
{
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_LIST,
                        .key = key_of(1, 0),
                        .page = page};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
}

static void list_meets_each_entry_of_the_tenant_once(void **state)
{
    struct fixture fixture;
    uint8_t seen[LISTED] = {0};
    uint32_t count = 0;
    (void)state;
    create(&fixture);
    for (uint32_t id = 0; id < LISTED; id++) {
        assert_int_equal(put(&fixture, value_of(1, id, 1, "body")), DEJA_OK);
        assert_int_equal(put(&fixture, value_of(2, id, 1, "body")), DEJA_OK);
    }
    struct dj_store_page page = {.count = 0};
    while (!page.is_last) {
        next_page(&fixture, &page);
        for (uint32_t i = 0; i < page.count; i++) {
            uint32_t id;
            memcpy(&id, dj_value_entry(page.values[i])->id, sizeof id);
            assert_true(id < LISTED);
            seen[id]++;
            count++;
            dj_value_unref(page.values[i]);
        }
    }
    assert_int_equal(count, LISTED);
    for (uint32_t i = 0; i < LISTED; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(wait_clear(fixture.store, loop_of(&fixture), key_of(1, 0)), LISTED);
    assert_true(is_miss(&fixture, 1, 3));
    assert_true(has(&fixture, 2, 3, "body"));
    destroy(&fixture);
}

/* Bytes that do not compress. */
static struct dj_value *big_value(uint32_t id, size_t len)
{
    char *body = malloc(len + 1);
    uint32_t seed = id + 1;
    struct dj_value *value = NULL;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        body[i] = (char)(33 + (seed >> 24) % 90);
    }
    body[len] = '\0';
    struct dj_entry entry = entry_of(1, id, 1, body);
    enum deja_status status = dj_value_create(&entry, &value);
    free(body);
    assert_int_equal(status, DEJA_OK);
    return value;
}

static void large_values_are_kept_up_to_the_bound(void **state)
{
    struct fixture fixture;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.record_bytes_max = 24 << 20;
    create_with(&fixture, options);
    assert_int_equal(put(&fixture, big_value(1, 16 << 20)), DEJA_OK);
    assert_int_equal(put(&fixture, big_value(2, 64 << 20)), DEJA_ERR_LIMIT);
    struct dj_value *value = wait_get(fixture.store, loop_of(&fixture), key_of(1, 1));
    assert_non_null(value);
    assert_int_equal(dj_value_entry(value)->body.len, 16 << 20);
    dj_value_unref(value);
    assert_true(is_miss(&fixture, 1, 2));
    destroy(&fixture);
    options.record_bytes_max = 1 << 20; /* one that reads less leaves it on the server */
    create_with(&fixture, options);
    assert_true(is_miss(&fixture, 1, 1));
    destroy(&fixture);
}

static void list_of_large_entries_comes_in_pages_of_bounded_bytes(void **state)
{
    struct fixture fixture;
    struct dj_store_page page = {.count = 0};
    uint32_t pages = 0;
    uint32_t count = 0;
    (void)state;
    create(&fixture);
    for (uint32_t id = 0; id < 12; id++)
        assert_int_equal(put(&fixture, big_value(id, 1 << 20)), DEJA_OK);
    for (; !page.is_last; pages++) {
        size_t bytes = 0;
        next_page(&fixture, &page);
        count += page.count;
        for (uint32_t i = 0; i < page.count; i++) {
            bytes += dj_value_bytes(page.values[i]);
            dj_value_unref(page.values[i]);
        }
        assert_true(bytes <= 12 << 20);
    }
    assert_int_equal(count, 12);
    assert_true(pages > 1);
    destroy(&fixture);
}

static struct dj_entry small_entry(const void *source, uint32_t i, const float **out_vector,
                                   uint32_t *out_dim)
{
    (void)source;
    *out_vector = NULL;
    *out_dim = 0;
    return entry_of(1, i, 1, "body");
}

static long resident_kib(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* A tenant's keys are met piece by piece: what is held does not grow with their number. */
static void list_of_a_great_many_keys_is_streamed(void **state)
{
    struct fixture fixture;
    struct dj_store_page page = {.count = 0};
    uint32_t total = how_many("DEJA_TEST_ROWS", 5000);
    uint32_t count = 0;
    (void)state;
    create(&fixture);
    put_many(&fixture, NULL, small_entry, total);
    long before_kib = resident_kib();
    while (!page.is_last) {
        next_page(&fixture, &page);
        for (uint32_t i = 0; i < page.count; i++)
            dj_value_unref(page.values[i]);
        count += page.count;
    }
    long grown_kib = resident_kib() - before_kib;
    print_message("%u keys listed; %ld KiB more memory than before\n", count, grown_kib);
    assert_int_equal(count, total);
    assert_true(grown_kib < 32 * 1024); /* a page's worth, not the list's */
    destroy(&fixture);
}

/* ---- access, eviction, tenants ---- */

static struct dj_store_access access_of(uint32_t tenant, uint32_t id, uint64_t hits,
                                        int64_t last_ms)
{
    struct dj_store_access row = {.key = key_of(tenant, id), .hits = hits, .last_ms = last_ms};
    return row;
}

struct seen {
    uint64_t hits[10];
    uint64_t tenant_hits, verdicts;
    uint32_t rows;
};

static bool on_access(void *ctx, const struct dj_store_access *row)
{
    struct seen *seen = ctx;
    uint32_t id;
    memcpy(&id, row->key.id, sizeof id);
    seen->rows++;
    if (id == 0) {
        seen->tenant_hits = row->hits;
        seen->verdicts = row->verdicts;
    } else if (id < 10) {
        seen->hits[id] = row->hits;
    }
    return true;
}

/* Best effort and nobody is told: asked again until it is there. */
static struct seen scan_until(struct fixture *fixture, uint64_t hits_of_1)
{
    for (;;) {
        struct seen seen = {.rows = 0};
        assert_int_equal(fixture->store->ops->scan_access(fixture->store, &seen, on_access),
                         DEJA_OK);
        if (seen.hits[1] == hits_of_1)
            return seen;
    }
}

static void access_statistics_are_kept_and_added_to(void **state)
{
    struct fixture fixture;
    int64_t now_ms = dj_clock_now_ms();
    (void)state;
    create(&fixture);
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "one")), DEJA_OK);
    assert_int_equal(put(&fixture, value_of(1, 2, 1, "two")), DEJA_OK);
    struct dj_store_access tenant = access_of(1, 0, 12, now_ms);
    tenant.verdicts = 3;
    const struct dj_store_access rows[] = {tenant, access_of(1, 2, 2, now_ms),
                                           access_of(1, 9, 9, now_ms), /* not there */
                                           access_of(1, 1, 10, now_ms)};
    assert_int_equal(fixture.store->ops->keep_access(fixture.store, rows, 4), DEJA_OK);
    struct seen seen = scan_until(&fixture, 10);
    assert_int_equal(seen.hits[2], 2);
    const struct dj_store_access more[] = {access_of(1, 1, 5, now_ms), access_of(1, 1, 5, now_ms)};
    assert_int_equal(dj_postgres_add_access(fixture.store, more, 2), DEJA_OK);
    seen = scan_until(&fixture, 20);
    assert_int_equal(seen.tenant_hits, 12);
    assert_int_equal(seen.verdicts, 3);
    assert_int_equal(seen.rows, 3);
    destroy(&fixture);
}

struct evicting {
    struct fixture *fixture;
    const uint8_t *tenant;
    uint64_t bytes, count;
    struct dj_task task;
    bool is_done;
    enum deja_status status;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void on_evicted(void *ctx, enum deja_status status, uint64_t count)
{
    struct evicting *evicting = ctx;
    pthread_mutex_lock(&evicting->mutex);
    evicting->status = status;
    evicting->count = count;
    evicting->is_done = true;
    pthread_cond_signal(&evicting->cond);
    pthread_mutex_unlock(&evicting->mutex);
}

static void run_evict(void *ctx)
{
    struct evicting *evicting = ctx;
    struct dj_store *store = evicting->fixture->store;
    assert_int_equal(store->ops->evict(store, loop_of(evicting->fixture), evicting->tenant,
                                       evicting->bytes, evicting, on_evicted),
                     DEJA_OK);
}

static uint64_t evict(struct fixture *fixture, const uint8_t *tenant, uint64_t bytes)
{
    struct evicting evicting = {.fixture = fixture, .tenant = tenant, .bytes = bytes};
    pthread_mutex_init(&evicting.mutex, NULL);
    pthread_cond_init(&evicting.cond, NULL);
    evicting.task = (struct dj_task){.run = run_evict, .ctx = &evicting};
    dj_loop_post(loop_of(fixture), &evicting.task);
    pthread_mutex_lock(&evicting.mutex);
    while (!evicting.is_done)
        pthread_cond_wait(&evicting.cond, &evicting.mutex);
    pthread_mutex_unlock(&evicting.mutex);
    assert_int_equal(evicting.status, DEJA_OK);
    return evicting.count;
}

struct listing {
    uint32_t ids[16];
    uint64_t bytes;
    uint32_t count, tenants;
};

static bool on_lru(void *ctx, const struct dj_postgres_entry *row)
{
    struct listing *listing = ctx;
    memcpy(&listing->ids[listing->count], row->key.id, sizeof listing->ids[0]);
    listing->bytes = row->bytes;
    return ++listing->count < 16;
}

static bool on_tenant(void *ctx, const struct dj_postgres_tenant *row)
{
    struct listing *listing = ctx;
    listing->tenants++;
    listing->count += (uint32_t)row->entries;
    return true;
}

static void eviction_takes_the_least_recently_used_of_the_tenant(void **state)
{
    struct fixture fixture;
    struct listing listing = {.count = 0};
    struct deja_error error;
    int64_t now_ms = dj_clock_now_ms();
    const struct dj_store_key tenant = key_of(1, 0);
    (void)state;
    create(&fixture);
    for (uint32_t id = 1; id <= 4; id++) {
        assert_int_equal(put(&fixture, value_of(1, id, 1, "body")), DEJA_OK);
        assert_int_equal(put(&fixture, value_of(2, id, 1, "body")), DEJA_OK);
    }
    const struct dj_store_access rows[] = {access_of(1, 1, 1, now_ms + 4000), /* the latest */
                                           access_of(1, 3, 1, now_ms + 3000)};
    assert_int_equal(fixture.store->ops->keep_access(fixture.store, rows, 2), DEJA_OK);
    scan_until(&fixture, 1);
    assert_int_equal(dj_postgres_lru(fixture.tool, tenant.tenant, 16, &listing, on_lru, &error),
                     DEJA_OK);
    assert_int_equal(listing.count, 4);
    assert_int_equal(listing.ids[2], 3);
    assert_int_equal(listing.ids[3], 1);
    assert_int_equal(evict(&fixture, tenant.tenant, listing.bytes + 1), 2);
    assert_true(is_miss(&fixture, 1, 2) && is_miss(&fixture, 1, 4));
    assert_true(has(&fixture, 1, 1, "body") && has(&fixture, 1, 3, "body"));
    assert_true(has(&fixture, 2, 1, "body"));
    listing = (struct listing){.count = 0};
    assert_int_equal(dj_postgres_tenants(fixture.tool, 100, &listing, on_tenant, &error), DEJA_OK);
    assert_int_equal(listing.tenants, 2);
    assert_int_equal(listing.count, 6);
    assert_int_equal(evict(&fixture, NULL, UINT64_MAX), 6);
    destroy(&fixture);
}

static void statistics_and_the_sweep_come_by_themselves(void **state)
{
    struct fixture fixture;
    struct dj_store_stats stats;
    const struct dj_store_key tenant = key_of(1, 0);
    (void)state;
    create(&fixture);
    assert_int_equal(put(&fixture, value_of(1, 1, 1, "body")), DEJA_OK);
    assert_int_equal(put(&fixture, value_until(1, 2, dj_clock_now_ms() + 1, 0)), DEJA_OK);
    do { /* the upkeep of this test goes round five times a second */
        usleep(10000);
        fixture.store->ops->stats(fixture.store, tenant.tenant, &stats);
    } while (stats.entries != 1);
    assert_true(stats.bytes > 0);
    do {
        usleep(10000);
        fixture.store->ops->stats(fixture.store, NULL, &stats);
    } while (stats.expired != 1);
    assert_int_equal(stats.queued, 0);
    destroy(&fixture);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_got_and_removed),
        cmocka_unit_test(only_a_newer_version_overwrites),
        cmocka_unit_test(removal_at_a_version_leaves_newer_ones_and_holds_older_ones_back),
        cmocka_unit_test(expired_entry_is_a_miss_and_may_be_overwritten_by_any_version),
        cmocka_unit_test(stay_is_bounded_by_the_tier_and_never_longer_than_the_life),
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(list_meets_each_entry_of_the_tenant_once),
        cmocka_unit_test(list_of_a_great_many_keys_is_streamed),
        cmocka_unit_test(large_values_are_kept_up_to_the_bound),
        cmocka_unit_test(list_of_large_entries_comes_in_pages_of_bounded_bytes),
        cmocka_unit_test(access_statistics_are_kept_and_added_to),
        cmocka_unit_test(eviction_takes_the_least_recently_used_of_the_tenant),
        cmocka_unit_test(statistics_and_the_sweep_come_by_themselves),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return RUN_TESTS(tests);
}
