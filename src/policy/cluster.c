/* policy/cluster.c - see cluster.h.
 *
 * (1) A centre is the weighted mean of its points, so no round makes the inertia larger.
 * (2) A cluster that lost its points gets the point that is worst off, so that k means k as long as
 *     there are so many different points.
 */
#include "policy/cluster.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

struct fit {
    const struct dj_cluster_points *points;
    struct dj_clusters *clusters;
    double *distances; /* of each point to its centre, squared */
    uint32_t *owners;
    uint64_t random;
};

/* In [0, 1): SplitMix64. */
static double draw(uint64_t *random)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (double)(z >> 11) / 9007199254740992.0;
}

static double weight_of(const struct fit *fit, size_t i)
{
    return fit->points->weights ? fit->points->weights[i] : 1.0;
}

static const double *point_of(const struct fit *fit, size_t i)
{
    return fit->points->at + i * fit->points->dim;
}

uint32_t dj_clusters_nearest(const struct dj_clusters *clusters, const double *point,
                             double *out_distance)
{
    double best = INFINITY;
    uint32_t nearest = 0;
    for (uint32_t c = 0; c < clusters->count; c++) {
        double distance = 0;
        for (uint32_t d = 0; d < clusters->dim; d++) {
            double apart = point[d] - clusters->centres[c][d];
            distance += apart * apart;
        }
        if (distance < best) {
            best = distance;
            nearest = c;
        }
    }
    if (out_distance)
        *out_distance = best;
    return nearest;
}

static void add_centre(struct fit *fit, size_t point)
{
    memcpy(fit->clusters->centres[fit->clusters->count], point_of(fit, point),
           fit->points->dim * sizeof(double));
    fit->clusters->count++;
}

/* One of the points, by chance, each as likely as its part of the sum; count: there is none. */
static size_t choose(struct fit *fit, bool is_first)
{
    double sum = 0;
    size_t last = fit->points->count;
    for (size_t i = 0; i < fit->points->count; i++)
        sum += weight_of(fit, i) * (is_first ? 1.0 : fit->distances[i]);
    if (!(sum > 0))
        return last;
    double left = draw(&fit->random) * sum;
    for (size_t i = 0; i < fit->points->count; i++) {
        double part = weight_of(fit, i) * (is_first ? 1.0 : fit->distances[i]);
        if (!(part > 0))
            continue;
        last = i; /* what rounding leaves over falls to the last one */
        left -= part;
        if (left < 0)
            break;
    }
    return last;
}

static void seed_centres(struct fit *fit, uint32_t k)
{
    while (fit->clusters->count < k) {
        size_t chosen = choose(fit, fit->clusters->count == 0);
        if (chosen == fit->points->count)
            return; /* every point lies on a centre */
        add_centre(fit, chosen);
        for (size_t i = 0; i < fit->points->count; i++)
            fit->owners[i] =
                dj_clusters_nearest(fit->clusters, point_of(fit, i), &fit->distances[i]);
    }
}

/* The point that is worst off becomes the centre of a cluster without points (2). */
static void refill(struct fit *fit, uint32_t cluster)
{
    size_t worst = 0;
    for (size_t i = 1; i < fit->points->count; i++)
        if (weight_of(fit, i) * fit->distances[i] > weight_of(fit, worst) * fit->distances[worst])
            worst = i;
    memcpy(fit->clusters->centres[cluster], point_of(fit, worst),
           fit->points->dim * sizeof(double));
    fit->distances[worst] = 0;
}

static void move_centres(struct fit *fit)
{
    struct dj_clusters *clusters = fit->clusters;
    double sums[DJ_CLUSTERS_MAX][DJ_CLUSTER_DIM_MAX] = {{0}};
    memset(clusters->weights, 0, sizeof clusters->weights);
    for (size_t i = 0; i < fit->points->count; i++) {
        double weight = weight_of(fit, i);
        uint32_t owner = fit->owners[i];
        clusters->weights[owner] += weight;
        for (uint32_t d = 0; d < clusters->dim; d++)
            sums[owner][d] += weight * point_of(fit, i)[d];
    }
    for (uint32_t c = 0; c < clusters->count; c++) {
        if (!(clusters->weights[c] > 0)) {
            refill(fit, c);
            continue;
        }
        for (uint32_t d = 0; d < clusters->dim; d++)
            clusters->centres[c][d] = sums[c][d] / clusters->weights[c];
    }
}

/* True: a point went to another cluster. */
static bool assign(struct fit *fit)
{
    bool has_moved = false;
    fit->clusters->inertia = 0;
    for (size_t i = 0; i < fit->points->count; i++) {
        uint32_t owner = dj_clusters_nearest(fit->clusters, point_of(fit, i), &fit->distances[i]);
        has_moved |= owner != fit->owners[i];
        fit->owners[i] = owner;
        fit->clusters->inertia += weight_of(fit, i) * fit->distances[i];
    }
    return has_moved;
}

static bool is_sound(const struct dj_cluster_points *points, uint32_t k)
{
    double sum = 0;
    if (!points->count || points->count > DJ_CLUSTER_POINTS_MAX || !points->dim ||
        points->dim > DJ_CLUSTER_DIM_MAX || !k || k > DJ_CLUSTERS_MAX)
        return false;
    for (size_t i = 0; i < points->count * points->dim; i++)
        if (!isfinite(points->at[i]))
            return false;
    for (size_t i = 0; i < points->count; i++) {
        double weight = points->weights ? points->weights[i] : 1.0;
        if (!isfinite(weight) || weight < 0)
            return false;
        sum += weight;
    }
    return sum > 0;
}

enum deja_status dj_clusters_fit(const struct dj_cluster_points *points, uint32_t k, uint64_t seed,
                                 struct dj_clusters *out_clusters)
{
    struct dj_clusters clusters = {.dim = points->dim};
    struct fit fit = {.points = points, .clusters = &clusters, .random = seed};
    enum deja_status status = DEJA_ERR_NOMEM;
    if (!is_sound(points, k))
        return DEJA_ERR_INVALID;
    fit.distances = dj_alloc_zeroed(points->count, sizeof *fit.distances);
    fit.owners = dj_alloc_zeroed(points->count, sizeof *fit.owners);
    if (!fit.distances || !fit.owners)
        goto done;
    seed_centres(&fit, k);
    bool has_moved = true;
    while (has_moved && clusters.rounds < DJ_CLUSTER_ROUNDS_MAX) {
        move_centres(&fit);
        has_moved = assign(&fit);
        clusters.rounds++;
    }
    *out_clusters = clusters;
    status = DEJA_OK;
done:
    dj_free(fit.distances);
    dj_free(fit.owners);
    return status;
}
