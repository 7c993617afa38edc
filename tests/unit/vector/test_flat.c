/* The index against an exhaustive scan in double precision. */
#include "vector/flat.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "check.h"
#include "simd/simd.h"

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Roughly normal. */
static float random_float(uint64_t *seed)
{
    float sum = 0.0F;
    for (int i = 0; i < 4; i++)
        sum += (float)next_random(seed) / (float)(UINT64_C(1) << 30) - 1.0F;
    return sum;
}

static void random_vector(uint64_t *seed, uint32_t dim, float *out)
{
    for (uint32_t i = 0; i < dim; i++)
        out[i] = random_float(seed);
}

static const uint8_t *key_of(uint64_t number)
{
    static _Thread_local uint8_t keys[4][16];
    static _Thread_local unsigned next;
    uint8_t *key = keys[next++ % 4];
    memset(key, 7, 16);
    memcpy(key, &number, sizeof number);
    return key;
}

static uint64_t number_of(const struct dj_flat_match *match)
{
    uint64_t number = 0;
    memcpy(&number, match->id, sizeof number);
    return number;
}

static double cosine(const float *a, const float *b, uint32_t dim)
{
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (uint32_t i = 0; i < dim; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return dot / sqrt(aa * bb);
}

static struct dj_flat *filled(const float *vectors, uint32_t count, uint32_t dim, uint32_t scopes)
{
    struct dj_flat *index = NULL;
    dj_simd_init();
    assert_int_equal(dj_flat_create(dim, count, &index), DEJA_OK);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(
            dj_flat_put(index, key_of(i % scopes), key_of(i), vectors + (size_t)i * dim, 0, 0),
            DEJA_OK);
    assert_int_equal(dj_flat_count(index), count);
    return index;
}

static int compare_down(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Every rank's similarity is that of the exhaustive scan, which is recall 1 at every k. */
static void check_queries(struct dj_flat *index, const float *vectors, uint32_t count, uint32_t dim,
                          const float *queries, uint32_t queries_count)
{
    enum { K = 10 };
    double *all = dj_alloc(count * sizeof *all);
    assert_non_null(all);
    for (uint32_t q = 0; q < queries_count; q++) {
        const float *query = queries + (size_t)q * dim;
        struct dj_flat_match matches[K];
        uint32_t found = 0;
        assert_int_equal(dj_flat_search(index, key_of(0), query, K, 0, matches, &found), DEJA_OK);
        assert_int_equal(found, K);
        for (uint32_t i = 0; i < count; i++)
            all[i] = cosine(query, vectors + (size_t)i * dim, dim);
        double first = all[number_of(&matches[0])];
        qsort(all, count, sizeof *all, compare_down);
        assert_true(fabs(first - all[0]) < 1e-6); /* recall@1 */
        for (uint32_t i = 0; i < K; i++) {
            if (fabs((double)matches[i].similarity - all[i]) > 1e-5)
                fail_msg("query %u rank %u: %.8f for %.8f", q, i, (double)matches[i].similarity,
                         all[i]);
        }
    }
    dj_free(all);
}

static void recall_is_one_on_random_vectors(void **state)
{
    (void)state;
    enum { COUNT = 10000, DIM = 384, QUERIES = 60 };
    uint64_t seed = 11;
    float *vectors = dj_alloc((COUNT + QUERIES) * (size_t)DIM * sizeof *vectors);
    assert_non_null(vectors);
    random_vector(&seed, (COUNT + QUERIES) * DIM, vectors);
    struct dj_flat *index = filled(vectors, COUNT, DIM, 1);
    check_queries(index, vectors, COUNT, DIM, vectors + (size_t)COUNT * DIM, QUERIES);
    dj_flat_destroy(index);
    dj_free(vectors);
}

/* 100 clusters of 100 that differ by less than an int8 step: what a fixed number of candidates
 * would get wrong. */
static void recall_is_one_among_near_duplicates(void **state)
{
    (void)state;
    enum { COUNT = 10000, CLUSTER = 100, DIM = 384, QUERIES = 40 };
    uint64_t seed = 12;
    float *vectors = dj_alloc(COUNT * (size_t)DIM * sizeof *vectors);
    float *queries = dj_alloc(QUERIES * (size_t)DIM * sizeof *queries);
    assert_non_null(vectors);
    assert_non_null(queries);
    for (size_t i = 0; i < COUNT; i++) {
        float *vector = vectors + i * DIM;
        if (i % CLUSTER == 0)
            random_vector(&seed, DIM, vector);
        else
            memcpy(vector, vectors + i / CLUSTER * CLUSTER * DIM, DIM * sizeof *vector);
        for (size_t j = 0; j < DIM; j++)
            vector[j] += 0.02F * random_float(&seed);
    }
    for (size_t q = 0; q < QUERIES; q++) {
        for (size_t j = 0; j < DIM; j++)
            queries[q * DIM + j] = vectors[q * 2 * CLUSTER * DIM + j] + 0.02F * random_float(&seed);
    }
    struct dj_flat *index = filled(vectors, COUNT, DIM, 1);
    check_queries(index, vectors, COUNT, DIM, queries, QUERIES);
    dj_flat_destroy(index);
    dj_free(vectors);
    dj_free(queries);
}

static void odd_dimensions_are_searched_exactly(void **state)
{
    (void)state;
    static const uint32_t dims[] = {1, 3, 17, 63, 65, 100, 769};
    uint64_t seed = 13;
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        uint32_t dim = dims[d];
        float *vectors = dj_alloc(510 * (size_t)dim * sizeof *vectors);
        assert_non_null(vectors);
        random_vector(&seed, 510 * dim, vectors);
        struct dj_flat *index = filled(vectors, 500, dim, 1);
        check_queries(index, vectors, 500, dim, vectors + (size_t)500 * dim, 10);
        dj_flat_destroy(index);
        dj_free(vectors);
    }
}

static void scopes_never_see_each_other(void **state)
{
    (void)state;
    enum { COUNT = 700, SCOPES = 7, DIM = 32 };
    uint64_t seed = 14;
    float vectors[COUNT * DIM];
    random_vector(&seed, COUNT * DIM, vectors);
    struct dj_flat *index = filled(vectors, COUNT, DIM, SCOPES);
    struct dj_flat_match matches[100];
    uint32_t found = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t scope = (i + 1) % SCOPES; /* not its own */
        assert_int_equal(
            dj_flat_search(index, key_of(scope), vectors + i * DIM, 100, 0, matches, &found),
            DEJA_OK);
        assert_int_equal(found, 100);
        for (uint32_t j = 0; j < found; j++)
            assert_int_equal(number_of(&matches[j]) % SCOPES, scope);
    }
    assert_int_equal(dj_flat_scope_count(index, key_of(3)), 100);
    assert_int_equal(dj_flat_scope_count(index, key_of(SCOPES)), 0);
    found = 99;
    assert_int_equal(dj_flat_search(index, key_of(SCOPES), vectors, 5, 0, matches, &found),
                     DEJA_OK);
    assert_int_equal(found, 0);
    for (uint32_t i = 0; i < COUNT; i += 50) {
        assert_int_equal(dj_flat_search_all(index, vectors + i * DIM, 1, 0, matches, &found),
                         DEJA_OK);
        assert_int_equal(number_of(&matches[0]), i);
    }
    dj_flat_destroy(index);
}

static void put_replaces_vector_and_scope(void **state)
{
    (void)state;
    static const float east[2] = {1.0F, 0.0F};
    static const float north[2] = {0.0F, 5.0F};
    struct dj_flat *index = NULL;
    struct dj_flat_match match;
    uint32_t found = 0;
    assert_int_equal(dj_flat_create(2, 1, &index), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(9), east, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(9), north, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_search(index, key_of(1), north, 1, 0, &match, &found), DEJA_OK);
    assert_true(found == 1 && match.similarity == 1.0F);
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(9), east, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_count(index), 1);
    assert_int_equal(dj_flat_scope_count(index, key_of(1)), 0);
    assert_int_equal(dj_flat_scope_count(index, key_of(2)), 1);
    assert_int_equal(dj_flat_evictions(index), 0);
    assert_true(dj_flat_remove(index, key_of(9), UINT64_MAX));
    assert_false(dj_flat_remove(index, key_of(9), UINT64_MAX));
    assert_int_equal(dj_flat_count(index), 0);
    dj_flat_destroy(index);
}

static void expired_vectors_are_left_out(void **state)
{
    (void)state;
    static const float vector[3] = {1.0F, 2.0F, 3.0F};
    struct dj_flat *index = NULL;
    struct dj_flat_match matches[4];
    uint32_t found = 0;
    assert_int_equal(dj_flat_create(3, 10, &index), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(1), vector, 100, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(2), vector, 200, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(3), vector, 0, 0), DEJA_OK);
    static const struct {
        int64_t now_ms;
        uint32_t found;
    } cases[] = {{99, 3}, {100, 2}, {199, 2}, {200, 1}, {INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            dj_flat_search(index, key_of(1), vector, 4, cases[i].now_ms, matches, &found), DEJA_OK);
        assert_int_equal(found, cases[i].found);
    }
    assert_int_equal(number_of(&matches[0]), 3);
    dj_flat_destroy(index);
}

static void bad_vectors_and_sizes_are_refused(void **state)
{
    (void)state;
    static const float zero[2] = {0.0F, 0.0F};
    static const float good[2] = {1e-30F, 1e30F};
    const float infinite[2] = {INFINITY, 1.0F};
    const float not_a_number[2] = {1.0F, NAN};
    struct dj_flat *index = NULL;
    struct dj_flat_match match;
    uint32_t found = 77;
    assert_int_equal(dj_flat_create(0, 1, &index), DEJA_ERR_INVALID);
    assert_int_equal(dj_flat_create(8193, 1, &index), DEJA_ERR_INVALID);
    assert_int_equal(dj_flat_create(2, 0, &index), DEJA_ERR_INVALID);
    assert_int_equal(dj_flat_create(2, 5, &index), DEJA_OK);
    const float *const bad[] = {zero, infinite, not_a_number};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(dj_flat_put(index, key_of(1), key_of(1), bad[i], 0, 0), DEJA_ERR_INVALID);
        assert_int_equal(dj_flat_search(index, key_of(1), bad[i], 1, 0, &match, &found),
                         DEJA_ERR_INVALID);
    }
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(1), good, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_search(index, key_of(1), good, 101, 0, &match, &found),
                     DEJA_ERR_INVALID);
    assert_int_equal(found, 77);
    assert_int_equal(dj_flat_search(index, key_of(1), good, 0, 0, NULL, &found), DEJA_OK);
    assert_int_equal(found, 0);
    dj_flat_destroy(index);
    dj_flat_destroy(NULL);
}

static void equal_similarities_come_in_order_of_id(void **state)
{
    (void)state;
    static const float vector[2] = {3.0F, 4.0F};
    struct dj_flat *index = NULL;
    struct dj_flat_match matches[5];
    uint32_t found = 0;
    assert_int_equal(dj_flat_create(2, 20, &index), DEJA_OK);
    for (uint64_t i = 20; i-- > 0;)
        assert_int_equal(dj_flat_put(index, key_of(1), key_of(i), vector, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_search(index, key_of(1), vector, 5, 0, matches, &found), DEJA_OK);
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(number_of(&matches[i]), i);
    dj_flat_destroy(index);
}

static void a_full_index_lets_the_first_to_expire_of_an_idle_scope_go(void **state)
{
    (void)state;
    static const float vector[2] = {1.0F, 1.0F};
    struct dj_flat *index = NULL;
    assert_int_equal(dj_flat_create(2, 4, &index), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(10), vector, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(11), vector, 900, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(12), vector, 500, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(20), vector, 100, 0), DEJA_OK);
    /* scope 2 is being put to, so 1 is the idle one */
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(21), vector, 0, 0), DEJA_OK);
    assert_false(dj_flat_remove(index, key_of(12), UINT64_MAX));
    assert_int_equal(dj_flat_evictions(index), 1);
    assert_int_equal(dj_flat_count(index), 4);
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(22), vector, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(23), vector, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_scope_count(index, key_of(1)), 0);
    /* alone now: its own vector goes, the one that expires before the oldest that does not */
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(24), vector, 0, 0), DEJA_OK);
    assert_false(dj_flat_remove(index, key_of(20), UINT64_MAX));
    assert_int_equal(dj_flat_put(index, key_of(2), key_of(25), vector, 0, 0), DEJA_OK);
    assert_false(dj_flat_remove(index, key_of(21), UINT64_MAX));
    assert_int_equal(dj_flat_count(index), 4);
    dj_flat_destroy(index);
}

static void a_scope_searched_lately_outlives_an_idle_one(void **state)
{
    (void)state;
    static const float vector[2] = {1.0F, 1.0F};
    struct dj_flat *index = NULL;
    struct dj_flat_match match;
    uint32_t found = 0;
    assert_int_equal(dj_flat_create(2, 8, &index), DEJA_OK);
    for (uint64_t i = 0; i < 8; i++)
        assert_int_equal(dj_flat_put(index, key_of(i), key_of(i), vector, 0, 0), DEJA_OK);
    for (uint64_t i = 8; i < 100; i++) {
        assert_int_equal(dj_flat_search(index, key_of(5), vector, 1, 0, &match, &found), DEJA_OK);
        assert_int_equal(found, 1);
        assert_int_equal(dj_flat_put(index, key_of(i), key_of(i), vector, 0, 0), DEJA_OK);
    }
    assert_int_equal(dj_flat_count(index), 8);
    dj_flat_destroy(index);
}

/* Ten times the whole content changes; then every vector is where it should be, and nowhere else.
 */
static void ten_turnovers_leave_the_index_exact_and_no_larger(void **state)
{
    (void)state;
    enum { COUNT = 2000, DIM = 24, SCOPES = 13, TURNS = 10 };
    uint64_t seed = 15;
    uint64_t *ids = dj_alloc(COUNT * sizeof *ids);
    float *vectors = dj_alloc(COUNT * (size_t)DIM * sizeof *vectors);
    assert_non_null(ids);
    assert_non_null(vectors);
    random_vector(&seed, COUNT * DIM, vectors);
    for (size_t i = 0; i < COUNT; i++)
        ids[i] = i;
    struct dj_flat *index = filled(vectors, COUNT, DIM, SCOPES);
    size_t bytes = dj_flat_bytes(index);
    for (uint64_t step = 0; step < COUNT * TURNS; step++) {
        size_t i = (size_t)(next_random(&seed) % COUNT);
        assert_true(dj_flat_remove(index, key_of(ids[i]), UINT64_MAX));
        ids[i] = COUNT + step;
        random_vector(&seed, DIM, vectors + i * DIM);
        assert_int_equal(
            dj_flat_put(index, key_of(ids[i] % SCOPES), key_of(ids[i]), vectors + i * DIM, 0, 0),
            DEJA_OK);
    }
    assert_int_equal(dj_flat_count(index), COUNT);
    assert_int_equal(dj_flat_evictions(index), 0);
    assert_true(dj_flat_bytes(index) <= bytes + bytes / 10);
    struct dj_flat_match match;
    uint32_t found = 0;
    uint32_t total = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(
            dj_flat_search(index, key_of(ids[i] % SCOPES), vectors + i * DIM, 1, 0, &match, &found),
            DEJA_OK);
        assert_int_equal(found, 1);
        assert_int_equal(number_of(&match), ids[i]);
    }
    for (uint64_t scope = 0; scope < SCOPES; scope++)
        total += dj_flat_scope_count(index, key_of(scope));
    assert_int_equal(total, COUNT);
    dj_flat_destroy(index);
    dj_free(ids);
    dj_free(vectors);
}

static void bytes_are_bounded_and_clear_gives_them_back(void **state)
{
    (void)state;
    enum { MAX = 1000, DIM = 64 };
    uint64_t seed = 16;
    struct dj_flat *index = NULL;
    float vector[DIM];
    assert_int_equal(dj_flat_create(DIM, MAX, &index), DEJA_OK);
    size_t empty = dj_flat_bytes(index);
    for (uint64_t i = 0; i < 5 * MAX; i++) {
        random_vector(&seed, DIM, vector);
        /* the worst case: every vector in a scope of its own */
        assert_int_equal(dj_flat_put(index, key_of(i), key_of(i), vector, 0, 0), DEJA_OK);
        assert_true(dj_flat_bytes(index) <= empty + (size_t)(MAX + 1) * (DIM * 5 + 112) + 256);
    }
    assert_int_equal(dj_flat_count(index), MAX);
    dj_flat_clear(index);
    assert_int_equal(dj_flat_count(index), 0);
    assert_int_equal(dj_flat_bytes(index), empty);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(1), vector, 0, 0), DEJA_OK);
    assert_int_equal(dj_flat_count(index), 1);
    dj_flat_destroy(index);
}

/* What a search of each scope finds, as one number. */
static uint64_t digest_of(struct dj_flat *index, const float *query, uint32_t scopes)
{
    uint64_t digest = 0;
    for (uint64_t scope = 0; scope < scopes; scope++) {
        struct dj_flat_match matches[100];
        uint32_t count = 0;
        assert_int_equal(dj_flat_search(index, key_of(scope), query, 100, 0, matches, &count),
                         DEJA_OK);
        digest = digest * 31 + count;
        for (uint32_t i = 0; i < count; i++)
            digest = digest * 31 + number_of(&matches[i]);
    }
    return digest;
}

static void compacted_index_finds_the_same_in_less_memory(void **state)
{
    (void)state;
    enum { DIM = 24, COUNT = 3000, SCOPES = 70 };
    uint64_t seed = 5;
    float *vectors = test_malloc(sizeof *vectors * COUNT * DIM);
    random_vector(&seed, COUNT * DIM, vectors);
    struct dj_flat *index = filled(vectors, COUNT, DIM, SCOPES);
    for (uint64_t i = 0; i < COUNT; i++)
        if (i % 4 != 1)
            assert_true(dj_flat_remove(index, key_of(i), UINT64_MAX));
    uint64_t before = digest_of(index, vectors, SCOPES);
    size_t bytes = dj_flat_bytes(index);
    uint32_t count = dj_flat_count(index);
    assert_true(dj_flat_free_slots(index) >= COUNT - count);
    struct dj_flat_compacted compacted;
    assert_int_equal(dj_flat_compact(index, 0, &compacted), DEJA_OK);
    assert_int_equal(dj_flat_count(index), count);
    assert_int_equal(dj_flat_free_slots(index), 0);
    assert_int_equal(digest_of(index, vectors, SCOPES), before);
    assert_int_equal(compacted.expired, 0);
    assert_int_equal(compacted.bytes, bytes - dj_flat_bytes(index));
    assert_true(dj_flat_bytes(index) < bytes / 2);
    /* And it goes on as an index. */
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(dj_flat_put(index, key_of(i % SCOPES), key_of(i), vectors + i * DIM,
                                     i % 2 ? 1000 : 0, 0),
                         DEJA_OK);
    assert_int_equal(dj_flat_count(index), COUNT);
    assert_int_equal(dj_flat_compact(index, 1000, &compacted), DEJA_OK);
    assert_int_equal(compacted.expired, COUNT / 2);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(dj_flat_remove(index, key_of(i), UINT64_MAX), i % 2 == 0);
    assert_int_equal(dj_flat_compact(index, 1000, NULL), DEJA_OK);
    assert_int_equal(dj_flat_count(index), 0);
    assert_int_equal(dj_flat_put(index, key_of(1), key_of(1), vectors, 0, 0), DEJA_OK);
    dj_flat_destroy(index);
    test_free(vectors);
}

static void compacting_survives_each_failed_allocation(void **state)
{
    (void)state;
    enum { DIM = 8, COUNT = 60, SCOPES = 7 };
    uint64_t seed = 23;
    float vectors[COUNT * DIM];
    random_vector(&seed, COUNT * DIM, vectors);
    struct dj_flat *index = filled(vectors, COUNT, DIM, SCOPES);
    uint64_t before = digest_of(index, vectors, SCOPES);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        failing_malloc_arm(n);
        enum deja_status status = dj_flat_compact(index, 0, NULL);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(digest_of(index, vectors, SCOPES), before);
    }
    dj_flat_destroy(index);
}

static void flat_survives_each_failed_allocation(void **state)
{
    (void)state;
    enum { DIM = 8, COUNT = 60 };
    uint64_t seed = 17;
    float vectors[COUNT * DIM];
    random_vector(&seed, COUNT * DIM, vectors);
    for (size_t n = 1;; n++) {
        struct dj_flat *index = NULL;
        struct dj_flat_match match;
        uint32_t found = 0;
        size_t failures = 0;
        failing_malloc_arm(n);
        enum deja_status status = dj_flat_create(DIM, COUNT, &index);
        for (uint64_t i = 0; i < COUNT && index; i++) {
            if (dj_flat_put(index, key_of(i % 5), key_of(i), vectors + i * DIM, 0, 0) != DEJA_OK)
                failures++;
        }
        for (uint64_t i = 0; i < COUNT && index; i += 10) { /* into scopes of their own */
            if (dj_flat_put(index, key_of(i + 100), key_of(i), vectors + i * DIM, 0, 0) != DEJA_OK)
                failures++;
        }
        if (index && dj_flat_search(index, key_of(1), vectors, 1, 0, &match, &found) != DEJA_OK)
            failures++;
        if (index && dj_flat_search_all(index, vectors, 1, 0, &match, &found) != DEJA_OK)
            failures++;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(failures + (status != DEJA_OK), has_failed ? 1 : 0);
        /* what is there is whole: everything can be put again and found */
        for (uint64_t i = 0; i < COUNT && index; i++) {
            assert_int_equal(dj_flat_put(index, key_of(i % 5), key_of(i), vectors + i * DIM, 0, 0),
                             DEJA_OK);
            assert_int_equal(
                dj_flat_search(index, key_of(i % 5), vectors + i * DIM, 1, 0, &match, &found),
                DEJA_OK);
            assert_true(found == 1 && number_of(&match) == i);
        }
        dj_flat_destroy(index);
        if (!has_failed)
            break;
    }
}

enum { SHARED_DIM = 16, SHARED_STEPS = 1500 };

static void *search_all_the_time(void *ctx)
{
    struct dj_flat *index = ctx;
    uint64_t seed = 18;
    float query[SHARED_DIM];
    struct dj_flat_match matches[3];
    uint32_t found = 0;
    for (int i = 0; i < SHARED_STEPS; i++) {
        random_vector(&seed, SHARED_DIM, query);
        if (dj_flat_search(index, key_of((uint64_t)i % 3), query, 3, 0, matches, &found) != DEJA_OK)
            return index;
        for (uint32_t j = 0; j < found; j++) {
            if (number_of(&matches[j]) % 3 != (uint64_t)i % 3)
                return index;
        }
    }
    return NULL;
}

static void readers_and_a_writer_share_the_index(void **state)
{
    (void)state;
    struct dj_flat *index = NULL;
    pthread_t readers[2];
    uint64_t seed = 19;
    float vector[SHARED_DIM];
    dj_simd_init();
    assert_int_equal(dj_flat_create(SHARED_DIM, 300, &index), DEJA_OK);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, search_all_the_time, index), 0);
    for (uint64_t i = 0; i < SHARED_STEPS; i++) {
        random_vector(&seed, SHARED_DIM, vector);
        assert_int_equal(dj_flat_put(index, key_of(i % 3), key_of(i), vector, 0, 0), DEJA_OK);
        if (i % 7 == 0)
            dj_flat_remove(index, key_of(i / 2), UINT64_MAX);
    }
    for (size_t i = 0; i < 2; i++) {
        void *failure = index;
        assert_int_equal(pthread_join(readers[i], &failure), 0);
        assert_null(failure);
    }
    dj_flat_destroy(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recall_is_one_on_random_vectors),
        cmocka_unit_test(recall_is_one_among_near_duplicates),
        cmocka_unit_test(odd_dimensions_are_searched_exactly),
        cmocka_unit_test(scopes_never_see_each_other),
        cmocka_unit_test(put_replaces_vector_and_scope),
        cmocka_unit_test(expired_vectors_are_left_out),
        cmocka_unit_test(bad_vectors_and_sizes_are_refused),
        cmocka_unit_test(equal_similarities_come_in_order_of_id),
        cmocka_unit_test(a_full_index_lets_the_first_to_expire_of_an_idle_scope_go),
        cmocka_unit_test(a_scope_searched_lately_outlives_an_idle_one),
        cmocka_unit_test(ten_turnovers_leave_the_index_exact_and_no_larger),
        cmocka_unit_test(bytes_are_bounded_and_clear_gives_them_back),
        cmocka_unit_test(compacted_index_finds_the_same_in_less_memory),
        cmocka_unit_test(compacting_survives_each_failed_allocation),
        cmocka_unit_test(flat_survives_each_failed_allocation),
        cmocka_unit_test(readers_and_a_writer_share_the_index),
    };
    return RUN_TESTS(tests);
}
