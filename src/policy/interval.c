/* policy/interval.c - see interval.h.
 *
 * I_x(a, b) by its continued fraction (modified Lentz), on the side of the mean where it converges
 * fast; its inverse by bisection, which cannot go astray: sixty halvings leave less than 1e-18.
 */
#include "policy/interval.h"

#include <math.h>

#define FRACTION_STEPS_MAX 2000 /* about sqrt(max(a, b)) are needed: counts up to millions */
#define FRACTION_PRECISION 1e-15
#define TINY 1e-300
#define BISECTIONS 60

static double away_from_zero(double value)
{
    return fabs(value) < TINY ? TINY : value;
}

static double continued_fraction(double x, double a, double b)
{
    double c = 1;
    double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
    double h = d;
    for (int m = 1; m <= FRACTION_STEPS_MAX; m++) {
        double m2 = 2.0 * m;
        double even = m * (b - m) * x / ((a + m2 - 1) * (a + m2));
        d = 1 / away_from_zero(1 + even * d);
        c = away_from_zero(1 + even / c);
        h *= d * c;
        double odd = -(a + m) * (a + b + m) * x / ((a + m2) * (a + m2 + 1));
        d = 1 / away_from_zero(1 + odd * d);
        c = away_from_zero(1 + odd / c);
        h *= d * c;
        if (fabs(d * c - 1) < FRACTION_PRECISION)
            break;
    }
    return h;
}

static double log_gamma(double x)
{
    int sign = 0;
    return lgamma_r(x, &sign); /* lgamma would write a global */
}

double dj_beta_regularised(double x, double a, double b)
{
    if (!(x > 0))
        return 0;
    if (x >= 1)
        return 1;
    double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * continued_fraction(x, a, b) / a;
    return 1 - front * continued_fraction(1 - x, b, a) / b;
}

double dj_beta_inverse(double p, double a, double b)
{
    double low = 0;
    double high = 1;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = (low + high) / 2;
        if (dj_beta_regularised(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static bool is_level(double alpha)
{
    return isfinite(alpha) && alpha > 0 && alpha < 1;
}

double dj_interval_upper(uint64_t k, uint64_t n, double alpha)
{
    if (n == 0 || k >= n || !is_level(alpha))
        return 1;
    double bound = dj_beta_inverse(1 - alpha, (double)k + 1, (double)(n - k));
    return isfinite(bound) ? bound : 1;
}

struct dj_interval dj_interval_two_sided(uint64_t k, uint64_t n, double alpha)
{
    struct dj_interval interval = {.low = 0, .high = dj_interval_upper(k, n, alpha / 2)};
    if (k > 0 && k <= n && is_level(alpha)) {
        double bound = dj_beta_inverse(alpha / 2, (double)k, (double)(n - k) + 1);
        interval.low = isfinite(bound) ? bound : 0;
    }
    return interval;
}
