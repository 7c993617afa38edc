/* simd/lanes.h - the float kernels, written once for any vector width.
 *
 * Included by each kernels_<arch>.c after it has set
 *     DJ_LANES      floats in a vector (16, 8, 4)
 *     DJ_TILE_ROWS  rows of one GEMM tile, at most 14
 *     DJ_TILE_VECS  vectors across one tile; DJ_LANES * DJ_TILE_VECS divides DJ_SIMD_PANEL
 *     DJ_PREFETCH_FLOATS  how far ahead of the sums weights are fetched
 * so that DJ_TILE_ROWS * DJ_TILE_VECS sums, the weights and a broadcast fit the registers. Written
 * with the compilers' vector types; only the integer kernels need intrinsics. Compiled with
 * -ffp-contract=fast: products and sums fuse.
 *
 * Measured (Zen 4, one thread, AVX-512, all 10.6 M weights of a 6-layer encoder, 2 KB of them a
 * tile step ahead): 14 rows 2.7 ms = 110 GFLOP/s, the core's peak; without the prefetch 4.5 ms, for
 * then the arithmetic waits for memory. 512 to 4,096 floats ahead are equal within 3 %.
 */
#ifndef DJ_SIMD_LANES_H
#define DJ_SIMD_LANES_H

#include <math.h>

#include "simd/simd_internal.h"

typedef float lanes_f32 __attribute__((vector_size(DJ_LANES * 4)));
typedef int32_t lanes_i32 __attribute__((vector_size(DJ_LANES * 4)));
typedef int8_t lanes_i8 __attribute__((vector_size(DJ_LANES)));

#define DJ_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define DJ_UNROLL _Pragma("unroll")
#else
#define DJ_UNROLL _Pragma("GCC unroll 16")
#endif

DJ_INLINE lanes_f32 splat(float value)
{
    return (lanes_f32){0} + value;
}

DJ_INLINE lanes_f32 load(const float *from)
{
    lanes_f32 lanes;
    memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

DJ_INLINE void store(float *to, lanes_f32 lanes)
{
    memcpy(to, &lanes, sizeof lanes);
}

/* The first count lanes, the others set to fill. */
DJ_INLINE lanes_f32 load_part(const float *from, size_t count, float fill)
{
    float lanes[DJ_LANES]; /* a vector would be spilled and reloaded for each lane set */
    DJ_UNROLL
    for (size_t i = 0; i < DJ_LANES; i++)
        lanes[i] = fill;
    if (count)
        memcpy(lanes, from, count * sizeof *from);
    return load(lanes);
}

DJ_INLINE void store_part(float *to, size_t count, lanes_f32 lanes)
{
    if (count)
        memcpy(to, &lanes, count * sizeof *to);
}

DJ_INLINE lanes_f32 blend(lanes_i32 mask, lanes_f32 yes, lanes_f32 no)
{
    return (lanes_f32)(((lanes_i32)yes & mask) | ((lanes_i32)no & ~mask));
}

DJ_INLINE lanes_f32 max_of(lanes_f32 a, lanes_f32 b)
{
    return blend(a > b, a, b);
}

DJ_INLINE lanes_f32 min_of(lanes_f32 a, lanes_f32 b)
{
    return blend(a < b, a, b);
}

DJ_INLINE float sum_across(lanes_f32 lanes)
{
    float sum = 0.0F;
    DJ_UNROLL
    for (size_t i = 0; i < DJ_LANES; i++)
        sum += lanes[i];
    return sum;
}

/* Adding and taking away 1.5 * 2^23 leaves the nearest integer, ties to even; |x| < 2^22. */
#define ROUNDER 12582912.0F

/* e^x to about 1e-7: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor to r^7 (r^8/8! < 6e-9), 2^n by its
 * exponent bits. Clamped to the normal floats. */
DJ_INLINE lanes_f32 exp_of(lanes_f32 x)
{
    x = min_of(max_of(x, splat(-87.0F)), splat(88.0F));
    lanes_f32 shifted = x * 1.44269504F + ROUNDER;
    lanes_f32 n = shifted - ROUNDER;
    lanes_f32 r = x - n * 0.693359375F; /* ln 2 in two parts, the first exact */
    r = r + n * 2.12194440e-4F;
    lanes_f32 p = r * (1.0F / 5040) + 1.0F / 720;
    p = p * r + 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    lanes_i32 bits = ((lanes_i32)shifted - (lanes_i32)splat(ROUNDER) + 127) << 23;
    return p * (lanes_f32)bits;
}

/* Error function after Abramowitz and Stegun 7.1.26, |error| <= 1.5e-7. */
DJ_INLINE lanes_f32 gelu_of(lanes_f32 x)
{
    lanes_i32 is_negative = x < 0.0F;
    lanes_f32 z = blend(is_negative, -x, x) * 0.70710678F;
    lanes_f32 t = 1.0F / (z * 0.3275911F + 1.0F);
    lanes_f32 p = t * 1.061405429F - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - 0.284496736F;
    p = p * t + 0.254829592F;
    lanes_f32 tail = p * t * exp_of(-z * z); /* 1 - erf(z) */
    return x * 0.5F * blend(is_negative, tail, 2.0F - tail);
}

static float dot_f32(const float *a, const float *b, size_t len)
{
    lanes_f32 sums[4] = {{0}, {0}, {0}, {0}}; /* hides the latency of the sums */
    size_t i = 0;
    for (; i + 4 * DJ_LANES <= len; i += 4 * DJ_LANES) {
        DJ_UNROLL
        for (size_t j = 0; j < 4; j++)
            sums[j] += load(a + i + j * DJ_LANES) * load(b + i + j * DJ_LANES);
    }
    for (; i + DJ_LANES <= len; i += DJ_LANES)
        sums[0] += load(a + i) * load(b + i);
    if (i < len)
        sums[1] += load_part(a + i, len - i, 0.0F) * load_part(b + i, len - i, 0.0F);
    return sum_across((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static void scale(float *a, size_t len, float factor)
{
    size_t i = 0;
    for (; i + DJ_LANES <= len; i += DJ_LANES)
        store(a + i, load(a + i) * factor);
    for (; i < len; i++)
        a[i] *= factor;
}

static void add(float *a, const float *b, size_t len)
{
    size_t i = 0;
    for (; i + DJ_LANES <= len; i += DJ_LANES)
        store(a + i, load(a + i) + load(b + i));
    for (; i < len; i++)
        a[i] += b[i];
}

DJ_INLINE lanes_i8 quantised(lanes_f32 x)
{
    x = min_of(max_of(x, splat(-127.0F)), splat(127.0F)) + ROUNDER;
    return __builtin_convertvector((lanes_i32)x - (lanes_i32)splat(ROUNDER), lanes_i8);
}

static void quantise(const float *a, size_t len, float factor, int8_t *out)
{
    size_t i = 0;
    for (; i + DJ_LANES <= len; i += DJ_LANES) {
        lanes_i8 bytes = quantised(load(a + i) * factor);
        memcpy(out + i, &bytes, sizeof bytes);
    }
    if (i < len) {
        lanes_i8 bytes = quantised(load_part(a + i, len - i, 0.0F) * factor);
        for (size_t j = 0; i + j < len; j++)
            out[i + j] = bytes[j];
    }
}

static void softmax(float *row, size_t len, float factor)
{
    lanes_f32 largest = splat(row[0] * factor);
    size_t i = 0;
    for (; i + DJ_LANES <= len; i += DJ_LANES)
        largest = max_of(largest, load(row + i) * factor);
    if (i < len)
        largest = max_of(largest, load_part(row + i, len - i, row[0]) * factor);
    float top = largest[0];
    DJ_UNROLL
    for (size_t j = 1; j < DJ_LANES; j++)
        top = largest[j] > top ? largest[j] : top;
    lanes_f32 sums = {0};
    for (i = 0; i + DJ_LANES <= len; i += DJ_LANES) {
        lanes_f32 e = exp_of(load(row + i) * factor - top);
        store(row + i, e);
        sums += e;
    }
    if (i < len) {
        store_part(row + i, len - i, exp_of(load_part(row + i, len - i, 0.0F) * factor - top));
        sums += load_part(row + i, len - i, 0.0F);
    }
    scale(row, len, 1.0F / sum_across(sums));
}

static void gelu(float *a, size_t len)
{
    size_t i = 0;
    for (; i + DJ_LANES <= len; i += DJ_LANES)
        store(a + i, gelu_of(load(a + i)));
    if (i < len)
        store_part(a + i, len - i, gelu_of(load_part(a + i, len - i, 0.0F)));
}

static void layer_norm(float *row, const float *residual, const float *gain, const float *bias,
                       size_t len, float epsilon)
{
    size_t whole = len / DJ_LANES * DJ_LANES;
    size_t rest = len - whole;
    if (residual)
        add(row, residual, len);
    lanes_f32 sums = load_part(row + whole, rest, 0.0F);
    for (size_t i = 0; i < whole; i += DJ_LANES)
        sums += load(row + i);
    float mean = sum_across(sums) / (float)len;
    lanes_f32 last = load_part(row + whole, rest, mean) - mean;
    lanes_f32 squares = last * last;
    for (size_t i = 0; i < whole; i += DJ_LANES) {
        lanes_f32 centred = load(row + i) - mean;
        squares += centred * centred;
    }
    float factor = 1.0F / sqrtf(sum_across(squares) / (float)len + epsilon);
    for (size_t i = 0; i < whole; i += DJ_LANES)
        store(row + i, (load(row + i) - mean) * factor * load(gain + i) + load(bias + i));
    for (size_t i = whole; i < len; i++)
        row[i] = (row[i] - mean) * factor * gain[i] + bias[i];
}

enum { TILE_COLUMNS = DJ_LANES * DJ_TILE_VECS };

/* One tile: `rows` (a constant after inlining) by TILE_COLUMNS sums that never leave registers.
 * a is packed [k][rows], so that one pointer feeds all broadcasts; w strides by whole panels. */
DJ_INLINE void tile(const struct dj_gemm *gemm, const float *a, size_t row, size_t column,
                    const size_t rows)
{
    const float *w =
        gemm->packed + column / DJ_SIMD_PANEL * DJ_SIMD_PANEL * gemm->k + column % DJ_SIMD_PANEL;
    lanes_f32 sums[DJ_TILE_ROWS][DJ_TILE_VECS];
    DJ_UNROLL
    for (size_t v = 0; v < DJ_TILE_VECS; v++) {
        size_t first = column + v * DJ_LANES;
        size_t width = first < gemm->n ? gemm->n - first : 0;
        lanes_f32 bias = {0};
        if (gemm->bias)
            bias = width >= DJ_LANES ? load(gemm->bias + first)
                                     : load_part(gemm->bias + first, width, 0.0F);
        DJ_UNROLL
        for (size_t r = 0; r < rows; r++)
            sums[r][v] = bias;
    }
    for (size_t i = gemm->k; i; i--) {
        lanes_f32 weights[DJ_TILE_VECS];
        DJ_UNROLL
        for (size_t v = 0; v < DJ_TILE_VECS; v++)
            weights[v] = load(w + v * DJ_LANES);
        DJ_UNROLL
        for (size_t line = 0; line < TILE_COLUMNS; line += 16) /* floats of a cache line */
            __builtin_prefetch(w + DJ_PREFETCH_FLOATS + line);
        DJ_UNROLL
        for (size_t r = 0; r < rows; r++) {
            DJ_UNROLL
            for (size_t v = 0; v < DJ_TILE_VECS; v++)
                sums[r][v] += weights[v] * a[r];
        }
        w += DJ_SIMD_PANEL;
        a += rows;
    }
    DJ_UNROLL
    for (size_t v = 0; v < DJ_TILE_VECS; v++) {
        size_t first = column + v * DJ_LANES;
        size_t width = first < gemm->n ? gemm->n - first : 0;
        float *out = gemm->out + row * gemm->out_stride + first;
        DJ_UNROLL
        for (size_t r = 0; r < rows; r++) {
            if (width >= DJ_LANES)
                store(out + r * gemm->out_stride, sums[r][v]);
            else
                store_part(out + r * gemm->out_stride, width, sums[r][v]);
        }
    }
}

/* `rows` (constant again) rows of a, side by side: [k][rows]. */
DJ_INLINE void pack_block(const struct dj_gemm *gemm, size_t row, const size_t rows)
{
    const float *a = gemm->a + row * gemm->a_stride;
    float *packed = gemm->scratch + row * gemm->k;
    for (size_t i = 0; i < gemm->k; i++) {
        DJ_UNROLL
        for (size_t r = 0; r < rows; r++)
            packed[r] = a[r * gemm->a_stride + i];
        packed += rows;
    }
}

struct block {
    void (*pack)(const struct dj_gemm *gemm, size_t row);
    void (*multiply)(const struct dj_gemm *gemm, size_t row, size_t column);
};

#define DJ_TILE(rows)                                                              \
    static void pack_##rows(const struct dj_gemm *gemm, size_t row)                \
    {                                                                              \
        pack_block(gemm, row, rows);                                               \
    }                                                                              \
    static void tile_##rows(const struct dj_gemm *gemm, size_t row, size_t column) \
    {                                                                              \
        tile(gemm, gemm->scratch + row * gemm->k, row, column, rows);              \
    }
DJ_TILE(1)
DJ_TILE(2)
DJ_TILE(3)
DJ_TILE(4)
DJ_TILE(5)
DJ_TILE(6)
#if DJ_TILE_ROWS > 6
DJ_TILE(7)
DJ_TILE(8)
DJ_TILE(9)
DJ_TILE(10)
DJ_TILE(11)
DJ_TILE(12)
DJ_TILE(13)
DJ_TILE(14)
#endif

#define DJ_BLOCK(rows)           \
    {                            \
        pack_##rows, tile_##rows \
    }
static const struct block kinds[DJ_TILE_ROWS + 1] = {
    {NULL, NULL}, DJ_BLOCK(1), DJ_BLOCK(2), DJ_BLOCK(3),  DJ_BLOCK(4),  DJ_BLOCK(5),  DJ_BLOCK(6),
#if DJ_TILE_ROWS > 6
    DJ_BLOCK(7),  DJ_BLOCK(8), DJ_BLOCK(9), DJ_BLOCK(10), DJ_BLOCK(11), DJ_BLOCK(12), DJ_BLOCK(13),
    DJ_BLOCK(14),
#endif
};

/* Rows are cut into blocks as even as can be (28 into 14 + 14, 16 into 8 + 8): a block of one row
 * would cost as much as one of six. Panels outside, blocks inside: weights come from memory once.
 */
static void gemm_f32(const struct dj_gemm *gemm)
{
    size_t blocks = (gemm->m + DJ_TILE_ROWS - 1) / DJ_TILE_ROWS;
    for (size_t block = 0; block < blocks; block++) {
        size_t row = gemm->m * block / blocks;
        size_t rows = gemm->m * (block + 1) / blocks - row;
        kinds[rows].pack(gemm, row);
    }
    for (size_t column = 0; column < gemm->n; column += TILE_COLUMNS) {
        for (size_t block = 0; block < blocks; block++) {
            size_t row = gemm->m * block / blocks;
            size_t rows = gemm->m * (block + 1) / blocks - row;
            kinds[rows].multiply(gemm, row, column);
        }
    }
}

#define DJ_LANES_TABLE                                                                        \
    .dot_f32 = dot_f32, .scale = scale, .quantise = quantise, .add = add, .softmax = softmax, \
    .gelu = gelu, .layer_norm = layer_norm, .gemm_f32 = gemm_f32

#endif
