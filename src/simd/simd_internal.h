/* simd/simd_internal.h - the tables of the variants, for dispatch.c alone. */
#ifndef DJ_SIMD_SIMD_INTERNAL_H
#define DJ_SIMD_SIMD_INTERNAL_H

#include "simd/simd.h"

extern const struct dj_simd dj_simd_scalar;
extern const struct dj_simd dj_simd_avx2;
extern const struct dj_simd dj_simd_avx512;
extern const struct dj_simd dj_simd_neon;

#endif
