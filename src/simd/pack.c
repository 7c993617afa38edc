/* simd/pack.c - weights into panels; see simd.h for the layout. Columns past n are zero. */
#include "simd/simd.h"

size_t dj_gemm_packed_len(size_t n, size_t k)
{
    return (n + DJ_SIMD_PANEL - 1) / DJ_SIMD_PANEL * DJ_SIMD_PANEL * k;
}

void dj_gemm_pack_rows(const float *w, size_t w_stride, size_t n, size_t k, float *packed)
{
    for (size_t first = 0; first < n; first += DJ_SIMD_PANEL) {
        size_t width = n - first < DJ_SIMD_PANEL ? n - first : DJ_SIMD_PANEL;
        const float *rows = w + first * w_stride;
        for (size_t i = 0; i < k; i++) {
            for (size_t c = 0; c < width; c++)
                packed[c] = rows[c * w_stride + i];
            for (size_t c = width; c < DJ_SIMD_PANEL; c++)
                packed[c] = 0.0F;
            packed += DJ_SIMD_PANEL;
        }
    }
}

void dj_gemm_pack_columns(const float *w, size_t w_stride, size_t n, size_t k, float *packed)
{
    for (size_t first = 0; first < n; first += DJ_SIMD_PANEL) {
        size_t width = n - first < DJ_SIMD_PANEL ? n - first : DJ_SIMD_PANEL;
        for (size_t i = 0; i < k; i++) {
            memcpy(packed, w + i * w_stride + first, width * sizeof *packed);
            for (size_t c = width; c < DJ_SIMD_PANEL; c++)
                packed[c] = 0.0F;
            packed += DJ_SIMD_PANEL;
        }
    }
}
