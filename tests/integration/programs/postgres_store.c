/* The tier of PostgreSQL over its table, against the server that DEJA_TEST_POSTGRES names, which
 * has the schema and nothing in it. Run by test_postgres.py, one test by its name at a time.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "entries.h"
#include "loops.h"
#include "store/postgres.h"

struct fixture {
    struct loops loops;
    struct dj_store *store;
    struct dj_postgres_options options;
    struct dj_postgres *tool;
};

static struct dj_loop *loop_of(struct fixture *fixture)
{
    return fixture->loops.loop[0];
}

static struct dj_postgres_options default_options(void)
{
    return (struct dj_postgres_options){.url = getenv("DEJA_TEST_POSTGRES"),
                                        .connections_max = 3,
                                        .connect_timeout_ms = 20000,
                                        .timeout_ms = 60000,
                                        .history_max = 2,
                                        .upkeep_ms = 200};
}

static void create_with(struct fixture *fixture, struct dj_postgres_options options)
{
    struct deja_error error = {{0}};
    *fixture = (struct fixture){.options = options};
    loops_create(&fixture->loops, 2);
    if (dj_postgres_open(&fixture->options, &fixture->store, &error) != DEJA_OK)
        fail_msg("%s", error.message);
    loops_start(&fixture->loops);
    if (dj_postgres_connect(&fixture->options, &fixture->tool, &error) != DEJA_OK)
        fail_msg("%s", error.message);
}

static void create(struct fixture *fixture)
{
    create_with(fixture, default_options());
}

static void destroy(struct fixture *fixture)
{
    dj_postgres_disconnect(fixture->tool);
    loops_stop(&fixture->loops);
    fixture->store->ops->close(fixture->store);
    loops_destroy(&fixture->loops);
}

static enum deja_status put(struct fixture *fixture, struct dj_value *value)
{
    return wait_put(fixture->store, loop_of(fixture), value);
}

static bool has(struct fixture *fixture, uint32_t tenant, uint32_t id, const char *body)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_it = value && deja_slice_is_equal(dj_value_entry(value)->body, deja_slice_text(body));
    dj_value_unref(value);
    return is_it;
}

static bool is_miss(struct fixture *fixture, uint32_t tenant, uint32_t id)
{
    struct dj_value *value = wait_get(fixture->store, loop_of(fixture), key_of(tenant, id));
    bool is_it = value == NULL;
    dj_value_unref(value);
    return is_it;
}

static uint64_t remove_up_to(struct fixture *fixture, uint32_t tenant, uint32_t id,
                             uint64_t version)
{
    struct call call = {.store = fixture->store,
                        .loop = loop_of(fixture),
                        .kind = CALL_REMOVE,
                        .key = key_of(tenant, id),
                        .version_max = version};
    call_wait(&call);
    assert_int_equal(call.status, DEJA_OK);
    return call.removed;
}

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
        struct call call = {.store = fixture.store,
                            .loop = loop_of(&fixture),
                            .kind = CALL_LIST,
                            .key = key_of(1, 0),
                            .page = &page};
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
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

/* ---- search ---- */

enum { DIM = 384, TENANTS = 100, VECTORS = 20000, CENTRES = 400 };

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

/* Around one of the centres, of length 1: as texts lie, not evenly on a sphere. */
static void make_vector(const float *centre, float *out_vector)
{
    double sum = 0;
    for (int i = 0; i < DIM; i++) {
        out_vector[i] = centre[i] + (float)((random_unit() + random_unit() - 1) * 0.6);
        sum += (double)out_vector[i] * (double)out_vector[i];
    }
    for (int i = 0; i < DIM; i++)
        out_vector[i] = (float)((double)out_vector[i] / sqrt(sum));
}

/* 1 … 3, independent of the tenant. */
static uint32_t scope_of(uint32_t i)
{
    return i / (2 * (TENANTS - 1)) % 3 + 1;
}

struct corpus {
    float *centres, *vectors;
    uint32_t *tenants;
};

/* Tenant 0 has half of them; the others share the rest. */
static void make_corpus(struct corpus *corpus)
{
    corpus->centres = malloc(sizeof(float) * CENTRES * DIM);
    corpus->vectors = malloc(sizeof(float) * VECTORS * DIM);
    corpus->tenants = malloc(sizeof(uint32_t) * VECTORS);
    assert_true(corpus->centres && corpus->vectors && corpus->tenants);
    for (int i = 0; i < CENTRES * DIM; i++)
        corpus->centres[i] = (float)(random_unit() + random_unit() - 1);
    for (uint32_t i = 0; i < VECTORS; i++) {
        uint32_t centre = (uint32_t)(random_unit() * CENTRES);
        make_vector(corpus->centres + centre * DIM, corpus->vectors + i * DIM);
        corpus->tenants[i] = i % 2 ? 0 : 1 + (i / 2) % (TENANTS - 1);
    }
}

static void free_corpus(struct corpus *corpus)
{
    free(corpus->centres);
    free(corpus->vectors);
    free(corpus->tenants);
}

struct putting {
    struct fixture *fixture;
    const struct corpus *corpus;
    uint32_t next, under_way, failed, put;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void put_more(void *ctx);

static void on_put(void *ctx, enum deja_status status, uint64_t removed)
{
    struct putting *putting = ctx;
    (void)removed;
    pthread_mutex_lock(&putting->mutex);
    putting->under_way--;
    putting->put++;
    putting->failed += status != DEJA_OK;
    pthread_cond_signal(&putting->cond);
    pthread_mutex_unlock(&putting->mutex);
    put_more(putting);
}

static void put_more(void *ctx)
{
    struct putting *putting = ctx;
    struct fixture *fixture = putting->fixture;
    while (putting->next < VECTORS && putting->under_way < 200) {
        uint32_t i = putting->next++;
        struct dj_value *value = NULL;
        struct dj_entry entry = entry_of(putting->corpus->tenants[i] + 1, i, 1, "x");
        memset(entry.scope, (int)scope_of(i), sizeof entry.scope);
        entry.embedder_id = deja_slice_text("it's-an-embedder");
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        putting->under_way++;
        assert_int_equal(fixture->store->ops->put(fixture->store, loop_of(fixture), value,
                                                  putting->corpus->vectors + i * DIM, DIM, putting,
                                                  on_put),
                         DEJA_OK);
        dj_value_unref(value);
    }
}

static void put_corpus(struct fixture *fixture, const struct corpus *corpus)
{
    struct putting putting = {.fixture = fixture, .corpus = corpus};
    pthread_mutex_init(&putting.mutex, NULL);
    pthread_cond_init(&putting.cond, NULL);
    putting.task = (struct dj_task){.run = put_more, .ctx = &putting};
    dj_loop_post(loop_of(fixture), &putting.task);
    pthread_mutex_lock(&putting.mutex);
    while (putting.put < VECTORS)
        pthread_cond_wait(&putting.cond, &putting.mutex);
    pthread_mutex_unlock(&putting.mutex);
    assert_int_equal(putting.failed, 0);
}

struct searching {
    struct fixture *fixture;
    struct dj_store_search search;
    struct dj_store_match matches[DJ_STORE_MATCHES_MAX];
    uint32_t count;
    enum deja_status status;
    bool is_done;
    struct dj_task task;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

static void on_searched(void *ctx, enum deja_status status, const struct dj_store_match *matches,
                        uint32_t count)
{
    struct searching *searching = ctx;
    pthread_mutex_lock(&searching->mutex);
    searching->status = status;
    searching->count = count;
    memcpy(searching->matches, matches, count * sizeof *matches);
    searching->is_done = true;
    pthread_cond_signal(&searching->cond);
    pthread_mutex_unlock(&searching->mutex);
}

static void run_search(void *ctx)
{
    struct searching *searching = ctx;
    assert_int_equal(searching->fixture->store->ops->search(
                         searching->fixture->store, loop_of(searching->fixture), &searching->search,
                         searching, on_searched),
                     DEJA_OK);
}

static void search(struct searching *searching)
{
    searching->is_done = false;
    searching->task = (struct dj_task){.run = run_search, .ctx = searching};
    pthread_mutex_init(&searching->mutex, NULL);
    pthread_cond_init(&searching->cond, NULL);
    dj_loop_post(loop_of(searching->fixture), &searching->task);
    pthread_mutex_lock(&searching->mutex);
    while (!searching->is_done)
        pthread_cond_wait(&searching->cond, &searching->mutex);
    pthread_mutex_unlock(&searching->mutex);
    assert_int_equal(searching->status, DEJA_OK);
}

/* The k-th best similarity of the tenant (and scope; 0: all), by looking at each. */
static float floor_of(const struct corpus *corpus, const float *query, uint32_t tenant,
                      uint32_t scope, uint32_t k)
{
    float best[DJ_STORE_MATCHES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < VECTORS; i++) {
        float dot = 0;
        if (corpus->tenants[i] != tenant || (scope && scope_of(i) != scope))
            continue;
        for (int j = 0; j < DIM; j++)
            dot += corpus->vectors[i * DIM + (uint32_t)j] * query[j];
        if (count == k && dot <= best[k - 1])
            continue;
        uint32_t at = count < k ? count++ : k - 1;
        while (at > 0 && best[at - 1] < dot) {
            best[at] = best[at - 1];
            at--;
        }
        best[at] = dot;
    }
    return best[count - 1];
}

static double recall_of(struct fixture *fixture, const struct corpus *corpus, uint32_t tenant,
                        uint32_t scope, uint32_t queries)
{
    uint32_t found = 0;
    for (uint32_t q = 0; q < queries; q++) {
        float query[DIM];
        uint8_t scope_id[DJ_ID_BYTES];
        memset(scope_id, (int)scope, sizeof scope_id);
        make_vector(corpus->centres + (uint32_t)(random_unit() * CENTRES) * DIM, query);
        struct searching searching = {.fixture = fixture,
                                      .search = {.scope = scope ? scope_id : NULL,
                                                 .embedder_id = deja_slice_text("it's-an-embedder"),
                                                 .vector = query,
                                                 .dim = DIM,
                                                 .limit = 10,
                                                 .threshold = -1}};
        struct dj_store_key key = key_of(tenant + 1, 0);
        memcpy(searching.search.tenant, key.tenant, sizeof key.tenant);
        search(&searching);
        assert_int_equal(searching.count, 10);
        float floor = floor_of(corpus, query, tenant, scope, 10);
        for (uint32_t i = 0; i < searching.count; i++) {
            uint32_t id;
            memcpy(&id, searching.matches[i].id, sizeof id);
            assert_int_equal(corpus->tenants[id], tenant);
            assert_true(!scope || searching.matches[i].scope[0] == scope);
            assert_true(i == 0 || searching.matches[i].similarity <=
                                      searching.matches[i - 1].similarity + 1e-5F);
            found += searching.matches[i].similarity >= floor - 1e-5F;
        }
    }
    return (double)found / (queries * 10);
}

static void on_index(void *ctx, const struct dj_postgres_index *row)
{
    bool *has = ctx;
    if (strcmp(row->method, "hnsw") == 0 && row->is_valid)
        *has = true;
}

static bool has_ann_index(struct fixture *fixture)
{
    bool has = false;
    struct deja_error error;
    assert_int_equal(dj_postgres_indexes(fixture->tool, &has, on_index, &error), DEJA_OK);
    return has;
}

static bool on_progress(void *ctx, uint32_t step, uint32_t step_count, const char *what)
{
    uint32_t *last = ctx;
    assert_int_equal(step, *last + 1);
    assert_true(step <= step_count);
    print_message("%u/%u %s\n", step, step_count, what);
    *last = step;
    return true;
}

static void optimise(struct fixture *fixture)
{
    struct deja_error error = {{0}};
    enum deja_status status = DEJA_ERR_BUSY;
    while (status == DEJA_ERR_BUSY) { /* the store's own upkeep may be at it */
        uint32_t last = 0;
        status = dj_postgres_optimise(fixture->tool, &last, on_progress, &error);
    }
    if (status != DEJA_OK)
        fail_msg("%s", error.message);
}

static void recall_at_10_is_at_least_0_95_for_small_and_large_tenants(void **state)
{
    struct fixture fixture;
    struct corpus corpus;
    struct dj_postgres_options options = default_options();
    (void)state;
    options.upkeep_ms = 3600000; /* this test makes the index itself */
    options.exact_rows_max = 5000;
    create_with(&fixture, options);
    make_corpus(&corpus);
    put_corpus(&fixture, &corpus);
    assert_false(has_ann_index(&fixture));
    optimise(&fixture);
    assert_true(has_ann_index(&fixture));
    double large = recall_of(&fixture, &corpus, 0, 0, 100);
    double large_scope = recall_of(&fixture, &corpus, 0, 2, 30);
    double small = recall_of(&fixture, &corpus, 17, 0, 30);
    double small_scope = recall_of(&fixture, &corpus, 60, 1, 30);
    print_message("recall@10: half of all %.3f, a third of these %.3f, a small tenant %.3f, a "
                  "scope of one %.3f\n",
                  large, large_scope, small, small_scope);
    assert_true(large >= 0.95);
    assert_true(large_scope >= 0.95);
    assert_true(small >= 0.999);
    assert_true(small_scope >= 0.999);
    free_corpus(&corpus);
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

static bool on_vector(void *ctx, const struct dj_store_key *key, const uint8_t scope[DJ_ID_BYTES],
                      struct deja_slice embedder_id, const float *vector, uint32_t dim,
                      int64_t expires_ms)
{
    uint32_t *count = ctx;
    (void)key;
    (void)expires_ms;
    assert_int_equal(scope[0], 1 + *count);
    assert_true(deja_slice_is_equal(embedder_id, deja_slice_text("e")));
    assert_int_equal(dim, 3 + *count);
    assert_true(fabsf(vector[2] - 0.5F) < 1e-6F);
    return ++*count < 3;
}

static void vectors_of_any_dimension_are_kept_and_scanned(void **state)
{
    struct fixture fixture;
    float vector[4096] = {0.1F, -2.0F, 0.5F};
    uint32_t count = 0;
    (void)state;
    create(&fixture);
    for (uint32_t i = 0; i < 5; i++) {
        struct dj_value *value = NULL;
        struct dj_entry entry = entry_of(1, i + 1, 1, "body");
        memset(entry.scope, (int)i + 1, sizeof entry.scope);
        entry.embedder_id = deja_slice_text("e");
        assert_int_equal(dj_value_create(&entry, &value), DEJA_OK);
        struct call call = {.store = fixture.store,
                            .loop = loop_of(&fixture),
                            .kind = CALL_PUT,
                            .value = value,
                            .vector = vector,
                            .dim = i == 4 ? 4096 : i + 3};
        call_wait(&call);
        assert_int_equal(call.status, DEJA_OK);
        dj_value_unref(value);
    }
    assert_int_equal(fixture.store->ops->scan_vectors(fixture.store, &count, on_vector), DEJA_OK);
    assert_int_equal(count, 3);
    struct searching searching = {.fixture = &fixture,
                                  .search = {.embedder_id = deja_slice_text("e"),
                                             .vector = vector,
                                             .dim = 4096,
                                             .limit = 5,
                                             .threshold = 0.9}};
    memcpy(searching.search.tenant, key_of(1, 0).tenant, DJ_ID_BYTES);
    search(&searching);
    assert_int_equal(searching.count, 1);
    assert_true(searching.matches[0].similarity > 0.9999F);
    searching.search.embedder_id = deja_slice_text("another");
    search(&searching);
    assert_int_equal(searching.count, 0);
    destroy(&fixture);
}

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
    assert_true(first > 1000000000000 && second > first); /* the time, at least */
    assert_true(raise_tag(&here, 2, "tag") > 0);
    share(&there, &pull);
    assert_int_equal(pull.met, 3);
    assert_int_equal(pull.generation, second);
    pull = (struct sharing){.kind = SHARE_PULL, .since = pull.sequence, .tag = "tag"};
    share(&there, &pull);
    assert_int_equal(pull.met, 0);
    assert_int_equal(pull.sequence, pull.since);
    uint64_t last = raise_tag(&here, 1, "tag");
    assert_true(last > tagged);
    share(&there, &pull);
    assert_int_equal(pull.met, 1);
    assert_int_equal(pull.generation, last);
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
        cmocka_unit_test(what_is_put_is_got_and_removed),
        cmocka_unit_test(only_a_newer_version_overwrites),
        cmocka_unit_test(removal_at_a_version_leaves_newer_ones_and_holds_older_ones_back),
        cmocka_unit_test(expired_entry_is_a_miss_and_may_be_overwritten_by_any_version),
        cmocka_unit_test(stay_is_bounded_by_the_tier_and_never_longer_than_the_life),
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(list_meets_each_entry_of_the_tenant_once),
        cmocka_unit_test(large_values_are_kept_up_to_the_bound),
        cmocka_unit_test(access_statistics_are_kept_and_added_to),
        cmocka_unit_test(eviction_takes_the_least_recently_used_of_the_tenant),
        cmocka_unit_test(statistics_and_the_sweep_come_by_themselves),
        cmocka_unit_test(generations_raised_by_one_are_pulled_by_the_other),
        cmocka_unit_test(lock_has_one_holder_and_ends_by_itself),
        cmocka_unit_test(vectors_of_any_dimension_are_kept_and_scanned),
        cmocka_unit_test(server_of_no_use_is_an_error_within_bounds),
        cmocka_unit_test(server_without_the_schema_is_told_with_what_to_run),
        cmocka_unit_test(server_with_damaged_records_gives_misses),
        cmocka_unit_test(server_dies_and_comes_back),
        cmocka_unit_test(server_stands_still),
        cmocka_unit_test(recall_at_10_is_at_least_0_95_for_small_and_large_tenants),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return RUN_TESTS(tests);
}
