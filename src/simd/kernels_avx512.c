/* simd/kernels_avx512.c - 16 floats or 64 bytes at a time; needs F, BW, VL, DQ and VNNI.
 *
 * VNNI multiplies unsigned by signed bytes, so 128 is added to the stored side (by flipping its top
 * bit) and 128 times the sum of the query is taken away at the end.
 */
#include <immintrin.h>

#define DJ_LANES 16
#define DJ_TILE_ROWS 14
#define DJ_TILE_VECS 2
#define DJ_PREFETCH_FLOATS 1024
#include "simd/lanes.h"

DJ_INLINE __m512i load_bytes(const int8_t *from, size_t len)
{
    if (len >= 64)
        return _mm512_loadu_si512(from);
    return _mm512_maskz_loadu_epi8((__mmask64)((UINT64_C(1) << len) - 1), from);
}

DJ_INLINE __m512i biased(__m512i bytes)
{
    return _mm512_xor_si512(bytes, _mm512_set1_epi8((char)0x80));
}

/* 128 times the sum of the query, in lanes. */
static __m512i correction_of(const int8_t *query, size_t len)
{
    __m512i sums = _mm512_setzero_si512();
    for (size_t i = 0; i < len; i += 64)
        sums =
            _mm512_dpbusd_epi32(sums, _mm512_set1_epi8((char)0x80), load_bytes(query + i, len - i));
    return sums;
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t len)
{
    __m512i sums = _mm512_sub_epi32(_mm512_setzero_si512(), correction_of(b, len));
    for (size_t i = 0; i < len; i += 64)
        sums = _mm512_dpbusd_epi32(sums, biased(load_bytes(a + i, len - i)),
                                   load_bytes(b + i, len - i));
    return _mm512_reduce_add_epi32(sums);
}

/* Four vectors at a time share the loads of the query and keep four sums in flight. */
static void dots_i8(const int8_t *query, size_t len, const int8_t *base, const uint32_t *slots,
                    size_t count, int32_t *out)
{
    enum { AHEAD = 8 }; /* vectors fetched early: slots of a scope lie anywhere in the slab */
    __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), correction_of(query, len));
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const int8_t *v0 = base + (size_t)slots[i] * len;
        const int8_t *v1 = base + (size_t)slots[i + 1] * len;
        const int8_t *v2 = base + (size_t)slots[i + 2] * len;
        const int8_t *v3 = base + (size_t)slots[i + 3] * len;
        for (size_t j = i + AHEAD; j < i + AHEAD + 4 && j < count; j++) {
            for (size_t line = 0; line < len; line += 64)
                __builtin_prefetch(base + (size_t)slots[j] * len + line);
        }
        __m512i s0 = start;
        __m512i s1 = start;
        __m512i s2 = start;
        __m512i s3 = start;
        for (size_t at = 0; at < len; at += 64) {
            size_t rest = len - at;
            __m512i q = load_bytes(query + at, rest);
            s0 = _mm512_dpbusd_epi32(s0, biased(load_bytes(v0 + at, rest)), q);
            s1 = _mm512_dpbusd_epi32(s1, biased(load_bytes(v1 + at, rest)), q);
            s2 = _mm512_dpbusd_epi32(s2, biased(load_bytes(v2 + at, rest)), q);
            s3 = _mm512_dpbusd_epi32(s3, biased(load_bytes(v3 + at, rest)), q);
        }
        out[i] = _mm512_reduce_add_epi32(s0);
        out[i + 1] = _mm512_reduce_add_epi32(s1);
        out[i + 2] = _mm512_reduce_add_epi32(s2);
        out[i + 3] = _mm512_reduce_add_epi32(s3);
    }
    for (; i < count; i++)
        out[i] = dot_i8(base + (size_t)slots[i] * len, query, len);
}

const struct dj_simd dj_simd_avx512 = {
    .name = "avx512", .dot_i8 = dot_i8, .dots_i8 = dots_i8, DJ_LANES_TABLE};
