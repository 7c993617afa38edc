/* simd/dispatch.c - which variant this machine runs.
 *
 * The one mutable global of the program (STYLE.md §5). It is atomic, so that two daemons in one
 * process may both initialise it: they write the same pointer.
 */
#include "simd/simd.h"

#include <math.h>
#include <stdatomic.h>

#include "simd/simd_internal.h"

enum { VARIANTS_MAX = 4 };

static _Atomic(const struct dj_simd *) chosen = &dj_simd_scalar;

/* Narrowest first; returns how many. */
static size_t list_variants(const struct dj_simd *out_variants[VARIANTS_MAX])
{
    size_t count = 0;
    out_variants[count++] = &dj_simd_scalar;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        out_variants[count++] = &dj_simd_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni"))
        out_variants[count++] = &dj_simd_avx512;
#elif defined(__aarch64__)
    out_variants[count++] = &dj_simd_neon;
#endif
    return count;
}

void dj_simd_init(void)
{
    const struct dj_simd *variants[VARIANTS_MAX];
    size_t count = list_variants(variants);
    atomic_store(&chosen, variants[count - 1]);
}

const struct dj_simd *dj_simd(void)
{
    return atomic_load_explicit(&chosen, memory_order_relaxed);
}

const struct dj_simd *dj_simd_variant(size_t index)
{
    const struct dj_simd *variants[VARIANTS_MAX];
    size_t count = list_variants(variants);
    return index < count ? variants[index] : NULL;
}

float dj_simd_norm(const float *a, size_t len)
{
    return sqrtf(dj_simd()->dot_f32(a, a, len));
}

bool dj_simd_normalise(float *a, size_t len)
{
    /* Squares leave the range of floats long before the values do, so large and tiny vectors are
     * brought near 1 by a power of two first. */
    float largest = 0.0F;
    for (size_t i = 0; i < len; i++) {
        if (!isfinite(a[i]))
            return false;
        largest = fmaxf(largest, fabsf(a[i]));
    }
    if (largest == 0.0F)
        return false;
    if (largest > 1e15F || largest < 1e-15F) {
        int exponent = 0;
        (void)frexpf(largest, &exponent);
        for (size_t i = 0; i < len; i++)
            a[i] = ldexpf(a[i], -exponent);
    }
    dj_simd()->scale(a, len, 1.0F / dj_simd_norm(a, len));
    return true;
}
