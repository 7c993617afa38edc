/* simd/kernels_neon.c - 4 floats or 16 bytes at a time; every AArch64 has them. */
#include <arm_neon.h>

#define DJ_LANES 4
#define DJ_TILE_ROWS 6
#define DJ_TILE_VECS 4
#define DJ_PREFETCH_FLOATS 1024
#include "simd/lanes.h"

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t len)
{
    int32x4_t sums = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= len; i += 16) {
        int8x16_t x = vld1q_s8(a + i);
        int8x16_t y = vld1q_s8(b + i);
        /* two products of at most 127 * 127 fit 16 bits, so they are paired right away */
        sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
        sums = vpadalq_s16(sums, vmull_s8(vget_high_s8(x), vget_high_s8(y)));
    }
    int32_t sum = vaddvq_s32(sums);
    for (; i < len; i++)
        sum += a[i] * b[i];
    return sum;
}

static void dots_i8(const int8_t *query, size_t len, const int8_t *base, const uint32_t *slots,
                    size_t count, int32_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = dot_i8(query, base + (size_t)slots[i] * len, len);
}

const struct dj_simd dj_simd_neon = {
    .name = "neon", .dot_i8 = dot_i8, .dots_i8 = dots_i8, DJ_LANES_TABLE};
