/* simd/kernels_avx2.c - 8 floats or 16 bytes at a time; needs AVX2 and FMA. */
#include <immintrin.h>

#define DJ_LANES 8
#define DJ_TILE_ROWS 6
#define DJ_TILE_VECS 2
#define DJ_PREFETCH_FLOATS 1024
#include "simd/lanes.h"

DJ_INLINE __m256i widened(const int8_t *from)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)from));
}

DJ_INLINE int32_t sum_of(__m256i lanes)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t len)
{
    __m256i even = _mm256_setzero_si256();
    __m256i odd = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 32 <= len; i += 32) {
        even = _mm256_add_epi32(even, _mm256_madd_epi16(widened(a + i), widened(b + i)));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(widened(a + i + 16), widened(b + i + 16)));
    }
    if (i + 16 <= len) {
        even = _mm256_add_epi32(even, _mm256_madd_epi16(widened(a + i), widened(b + i)));
        i += 16;
    }
    int32_t sum = sum_of(_mm256_add_epi32(even, odd));
    for (; i < len; i++)
        sum += a[i] * b[i];
    return sum;
}

static void dots_i8(const int8_t *query, size_t len, const int8_t *base, const uint32_t *slots,
                    size_t count, int32_t *out)
{
    enum { AHEAD = 4 };
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            for (size_t line = 0; line < len; line += 64)
                __builtin_prefetch(base + (size_t)slots[i + AHEAD] * len + line);
        }
        out[i] = dot_i8(query, base + (size_t)slots[i] * len, len);
    }
}

const struct dj_simd dj_simd_avx2 = {
    .name = "avx2", .dot_i8 = dot_i8, .dots_i8 = dots_i8, DJ_LANES_TABLE};
