#include "policy/cluster.h"
#include "check.h"

#include <math.h>
#include <string.h>

#define GROUPS 4u
#define EACH 50u

static double draw(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*random >> 11) / 9007199254740992.0;
}

/* Four clouds around the corners of a square of side 10. */
static void make_clouds(double *at, uint64_t seed)
{
    for (uint32_t i = 0; i < GROUPS * EACH; i++) {
        uint32_t group = i % GROUPS;
        at[2 * i] = (group & 1 ? 10 : 0) + draw(&seed) - 0.5;
        at[2 * i + 1] = (group & 2 ? 10 : 0) + draw(&seed) - 0.5;
    }
}

static void clouds_that_lie_apart_are_told_apart_whatever_the_seed(void **state)
{
    (void)state;
    double at[2 * GROUPS * EACH];
    make_clouds(at, 1);
    const struct dj_cluster_points points = {.at = at, .count = GROUPS * EACH, .dim = 2};
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct dj_clusters clusters;
        uint32_t cluster_of[GROUPS];
        assert_int_equal(dj_clusters_fit(&points, GROUPS, seed, &clusters), DEJA_OK);
        assert_int_equal(clusters.count, GROUPS);
        for (uint32_t i = 0; i < GROUPS * EACH; i++) {
            uint32_t cluster = dj_clusters_nearest(&clusters, at + 2 * i, NULL);
            if (i < GROUPS)
                cluster_of[i] = cluster;
            assert_int_equal(cluster, cluster_of[i % GROUPS]);
        }
        for (uint32_t i = 1; i < GROUPS; i++)
            assert_int_not_equal(cluster_of[i], cluster_of[i - 1]);
    }
}

static void a_centre_is_the_weighted_mean_of_its_points(void **state)
{
    (void)state;
    const double at[] = {0, 2, 10};
    const double weights[] = {3, 1, 5};
    const struct dj_cluster_points points = {.at = at, .weights = weights, .count = 3, .dim = 1};
    struct dj_clusters clusters;
    assert_int_equal(dj_clusters_fit(&points, 2, 7, &clusters), DEJA_OK);
    uint32_t low = dj_clusters_nearest(&clusters, &at[0], NULL);
    assert_true(fabs(clusters.centres[low][0] - 0.5) <= 1e-9);
    assert_true(fabs(clusters.centres[1 - low][0] - 10) <= 1e-9);
    assert_true(fabs(clusters.weights[low] - 4) <= 1e-9);
    assert_true(fabs(clusters.inertia - (3 * 0.25 + 2.25)) <= 1e-9);
}

static void the_same_seed_gives_the_same_clusters(void **state)
{
    (void)state;
    double at[2 * GROUPS * EACH];
    struct dj_clusters a;
    struct dj_clusters b;
    make_clouds(at, 3);
    const struct dj_cluster_points points = {.at = at, .count = GROUPS * EACH, .dim = 2};
    assert_int_equal(dj_clusters_fit(&points, 10, 42, &a), DEJA_OK);
    assert_int_equal(dj_clusters_fit(&points, 10, 42, &b), DEJA_OK);
    assert_int_equal(a.count, 10);
    assert_memory_equal(&a, &b, sizeof a);
}

static void more_clusters_are_never_farther_from_their_points(void **state)
{
    (void)state;
    double at[2 * GROUPS * EACH];
    double before = INFINITY;
    make_clouds(at, 5);
    const struct dj_cluster_points points = {.at = at, .count = GROUPS * EACH, .dim = 2};
    for (uint32_t k = 1; k <= GROUPS; k++) {
        double best = INFINITY;
        for (uint64_t seed = 0; seed < 10; seed++) {
            struct dj_clusters clusters;
            assert_int_equal(dj_clusters_fit(&points, k, seed, &clusters), DEJA_OK);
            best = clusters.inertia < best ? clusters.inertia : best;
        }
        assert_true(best < before);
        before = best;
    }
}

static void fewer_points_than_clusters_are_clusters_of_their_own(void **state)
{
    (void)state;
    const double at[] = {1, 5, 1, 5, 1};
    const struct dj_cluster_points points = {.at = at, .count = 5, .dim = 1};
    struct dj_clusters clusters;
    assert_int_equal(dj_clusters_fit(&points, 10, 0, &clusters), DEJA_OK);
    assert_int_equal(clusters.count, 2);
    assert_true(clusters.inertia < 1e-12);
}

static void what_is_not_a_set_of_points_is_refused(void **state)
{
    (void)state;
    const double nothing = NAN;
    const double one = 1;
    const double none = 0;
    struct dj_clusters clusters = {.count = 99};
    const struct dj_cluster_points bad[] = {
        {.at = &one, .count = 0, .dim = 1},
        {.at = &one, .count = 1, .dim = 0},
        {.at = &one, .count = 1, .dim = DJ_CLUSTER_DIM_MAX + 1},
        {.at = &one, .count = DJ_CLUSTER_POINTS_MAX + 1, .dim = 1},
        {.at = &nothing, .count = 1, .dim = 1},
        {.at = &one, .weights = &none, .count = 1, .dim = 1},
        {.at = &one, .weights = &nothing, .count = 1, .dim = 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dj_clusters_fit(&bad[i], 2, 0, &clusters), DEJA_ERR_INVALID);
    const struct dj_cluster_points good = {.at = &one, .count = 1, .dim = 1};
    assert_int_equal(dj_clusters_fit(&good, 0, 0, &clusters), DEJA_ERR_INVALID);
    assert_int_equal(dj_clusters_fit(&good, DJ_CLUSTERS_MAX + 1, 0, &clusters), DEJA_ERR_INVALID);
    assert_int_equal(clusters.count, 99); /* untouched */
}

static void fit_survives_each_failed_allocation(void **state)
{
    (void)state;
    const double at[] = {1, 5, 9};
    const struct dj_cluster_points points = {.at = at, .count = 3, .dim = 1};
    for (size_t n = 1;; n++) {
        struct dj_clusters clusters = {.count = 99};
        failing_malloc_arm(n);
        enum deja_status status = dj_clusters_fit(&points, 2, 0, &clusters);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(clusters.count, has_failed ? 99 : 2);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clouds_that_lie_apart_are_told_apart_whatever_the_seed),
        cmocka_unit_test(a_centre_is_the_weighted_mean_of_its_points),
        cmocka_unit_test(the_same_seed_gives_the_same_clusters),
        cmocka_unit_test(more_clusters_are_never_farther_from_their_points),
        cmocka_unit_test(fewer_points_than_clusters_are_clusters_of_their_own),
        cmocka_unit_test(what_is_not_a_set_of_points_is_refused),
        cmocka_unit_test(fit_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
