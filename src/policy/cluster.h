/* policy/cluster.h - k-means: weighted points in k groups, each around its mean.
 *
 * Lloyd's iterations (S. P. Lloyd, Least squares quantization in PCM, IEEE Transactions on
 * Information Theory 28, 1982) from seeds chosen as k-means++ does (D. Arthur and S. Vassilvitskii,
 * k-means++: the advantages of careful seeding, SODA 2007): each further centre with a probability
 * that grows with the square of its distance to the nearest one so far.
 *
 * Pure and deterministic: the same points and the same seed give the same clusters. Threads: any.
 */
#ifndef DJ_POLICY_CLUSTER_H
#define DJ_POLICY_CLUSTER_H

#include <deja/base.h>

#define DJ_CLUSTERS_MAX 32u
#define DJ_CLUSTER_DIM_MAX 16u
#define DJ_CLUSTER_POINTS_MAX 100000u
#define DJ_CLUSTER_ROUNDS_MAX 100u

/* Borrowed during the call. Coordinates and weights are finite, weights not below 0. */
struct dj_cluster_points {
    const double *at;      /* count times dim */
    const double *weights; /* count; NULL: all 1 */
    size_t count;          /* 1 … DJ_CLUSTER_POINTS_MAX */
    uint32_t dim;          /* 1 … DJ_CLUSTER_DIM_MAX */
};

/* Plain data. */
struct dj_clusters {
    uint32_t count; /* fewer than asked for where there are not so many different points */
    uint32_t dim;
    uint32_t rounds; /* until nothing moved, or DJ_CLUSTER_ROUNDS_MAX */
    double inertia;  /* sum of weight times squared distance to the own centre */
    double weights[DJ_CLUSTERS_MAX];
    double centres[DJ_CLUSTERS_MAX][DJ_CLUSTER_DIM_MAX];
};

/* k 1 … DJ_CLUSTERS_MAX. DEJA_ERR_INVALID: out of the bounds above, or no point weighs anything;
 * DEJA_ERR_NOMEM. */
enum deja_status dj_clusters_fit(const struct dj_cluster_points *points, uint32_t k, uint64_t seed,
                                 struct dj_clusters *out_clusters) DEJA_NODISCARD;
/* The cluster whose centre is nearest, the first of equals; *out_distance (may be NULL): squared.
 * clusters has at least one. */
uint32_t dj_clusters_nearest(const struct dj_clusters *clusters, const double *point,
                             double *out_distance);

#endif
