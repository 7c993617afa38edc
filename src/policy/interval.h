/* policy/interval.h - exact binomial bounds (Clopper-Pearson), for what is said about wrong hits.
 *
 * Pure; every result is in [0, 1]; what is not a count gives the bound that claims nothing (0
 * below, 1 above). Threads: any. Worked examples: ACCURACY.md §15.1
 * (tests/unit/policy/test_interval.c).
 */
#ifndef DJ_POLICY_INTERVAL_H
#define DJ_POLICY_INTERVAL_H

#include <deja/base.h>

struct dj_interval {
    double low;
    double high;
};

/* Regularised incomplete beta I_x(a, b), a and b > 0. */
double dj_beta_regularised(double x, double a, double b);
/* x with I_x(a, b) = p, to 1e-12. */
double dj_beta_inverse(double p, double a, double b);

/* One-sided upper bound U(k, n; alpha) on a rate of which k of n were seen; 1 if k >= n or n = 0.
 */
double dj_interval_upper(uint64_t k, uint64_t n, double alpha);
/* Two-sided with alpha / 2 on each side: alpha 0.05 is the 95 % interval. */
struct dj_interval dj_interval_two_sided(uint64_t k, uint64_t n, double alpha);

#endif
