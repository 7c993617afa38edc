/* embed/unit.c - see unit.h. */
#include "embed/unit.h"

#include <math.h>

bool dj_unit_make(float *vector, uint32_t dim)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)vector[i] * (double)vector[i];
    if (!isfinite(sum) || !(sum > 0))
        return false;
    double scale = 1 / sqrt(sum);
    for (uint32_t i = 0; i < dim; i++)
        vector[i] = (float)((double)vector[i] * scale);
    return true;
}
