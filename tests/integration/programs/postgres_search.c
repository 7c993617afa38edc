/* Vectors in the tier of PostgreSQL: neighbours against ground truth, dimensions. */
#include "postgres_many.h"

#include <math.h>
#include <stdio.h>

/* ---- search ---- */

enum { DIM = 384, TENANTS = 100, CENTRES = 400 };

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
    uint32_t count;
    float *centres, *vectors;
    uint32_t *tenants;
};

/* Tenant 0 has half of them; the others share the rest. */
static void make_corpus(struct corpus *corpus)
{
    corpus->centres = malloc(sizeof(float) * CENTRES * DIM);
    corpus->count = how_many("DEJA_TEST_VECTORS", 20000);
    corpus->vectors = malloc(sizeof(float) * corpus->count * DIM);
    corpus->tenants = malloc(sizeof(uint32_t) * corpus->count);
    assert_true(corpus->centres && corpus->vectors && corpus->tenants);
    for (int i = 0; i < CENTRES * DIM; i++)
        corpus->centres[i] = (float)(random_unit() + random_unit() - 1);
    for (uint32_t i = 0; i < corpus->count; i++) {
        uint32_t centre = (uint32_t)(random_unit() * CENTRES);
        make_vector(corpus->centres + centre * DIM, corpus->vectors + (size_t)i * DIM);
        corpus->tenants[i] = i % 2 ? 0 : 1 + (i / 2) % (TENANTS - 1);
    }
}

static void free_corpus(struct corpus *corpus)
{
    free(corpus->centres);
    free(corpus->vectors);
    free(corpus->tenants);
}

static struct dj_entry entry_of_corpus(const void *source, uint32_t i, const float **out_vector,
                                       uint32_t *out_dim)
{
    const struct corpus *corpus = source;
    struct dj_entry entry = entry_of(corpus->tenants[i] + 1, i, 1, "x");
    memset(entry.scope, (int)scope_of(i), sizeof entry.scope);
    entry.embedder_id = deja_slice_text("it's-an-embedder");
    *out_vector = corpus->vectors + (size_t)i * DIM;
    *out_dim = DIM;
    return entry;
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
    for (uint32_t i = 0; i < corpus->count; i++) {
        float dot = 0;
        if (corpus->tenants[i] != tenant || (scope && scope_of(i) != scope))
            continue;
        for (int j = 0; j < DIM; j++)
            dot += corpus->vectors[(size_t)i * DIM + (uint32_t)j] * query[j];
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
    put_many(&fixture, &corpus, entry_of_corpus, corpus.count);
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

static bool on_vector(void *ctx, const struct dj_store_vector *vector)
{
    uint32_t *count = ctx;
    assert_int_equal(vector->scope[0], 1 + *count);
    assert_true(deja_slice_is_equal(vector->embedder_id, deja_slice_text("e")));
    assert_int_equal(vector->dim, 3 + *count);
    assert_true(fabsf(vector->floats[2] - 0.5F) < 1e-6F);
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_any_dimension_are_kept_and_scanned),
        cmocka_unit_test(recall_at_10_is_at_least_0_95_for_small_and_large_tenants),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return RUN_TESTS(tests);
}
