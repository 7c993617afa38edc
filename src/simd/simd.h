/* simd/simd.h - the arithmetic of vectors and encoder layers, in the widest form the machine has.
 *
 * One table of functions, chosen once: scalar, AVX2+FMA, AVX-512 with VNNI, NEON. All variants give
 * the scalar result up to rounding; integer results are equal. No function allocates, none needs
 * aligned pointers, none reads or writes past the lengths given. Lengths may be 0 unless said.
 * Threads: dj_simd_init before threads start; then any.
 *
 * Linear layers: weights are packed once into panels of DJ_SIMD_PANEL output columns, k floats deep
 * and stored column-contiguous ([panel][k][DJ_SIMD_PANEL]), so that one pass over the panel serves
 * all rows and every weight is read from memory exactly once, in order. The layout is the same for
 * all variants.
 */
#ifndef DJ_SIMD_SIMD_H
#define DJ_SIMD_SIMD_H

#include <deja/base.h>

enum { DJ_SIMD_PANEL = 32 };

/* out[m][n] = a[m][k] * W^T + bias, W packed. */
struct dj_gemm {
    const float *a;
    size_t a_stride; /* floats from row to row; as below */
    size_t m;
    const float *packed; /* dj_gemm_pack_rows or dj_gemm_pack_columns */
    size_t n;
    size_t k;          /* at least 1 */
    const float *bias; /* n floats, or NULL */
    float *out;        /* may not overlap a */
    size_t out_stride;
    float *scratch; /* m * k floats; a is repacked there, once per call */
};

struct dj_simd {
    const char *name; /* "scalar", "avx2", … */

    float (*dot_f32)(const float *a, const float *b, size_t len);
    /* Values in [-127, 127], len <= 2^16. */
    int32_t (*dot_i8)(const int8_t *a, const int8_t *b, size_t len);
    /* out[i] = dot_i8(query, base + slots[i] * len, len): one query against many. */
    void (*dots_i8)(const int8_t *query, size_t len, const int8_t *base, const uint32_t *slots,
                    size_t count, int32_t *out);
    void (*scale)(float *a, size_t len, float factor);
    /* out = a * factor, rounded to nearest even and clamped to [-127, 127]; a is finite. */
    void (*quantise)(const float *a, size_t len, float factor, int8_t *out);
    void (*add)(float *a, const float *b, size_t len); /* a += b */

    void (*softmax)(float *row, size_t len, float factor); /* of row * factor, in place; len > 0 */
    void (*gelu)(float *a, size_t len);                    /* x/2 (1 + erf(x / sqrt 2)), in place */
    /* row = normalised(row + residual) * gain + bias; residual may be NULL; len > 0. */
    void (*layer_norm)(float *row, const float *residual, const float *gain, const float *bias,
                       size_t len, float epsilon);
    void (*gemm_f32)(const struct dj_gemm *gemm);
};

/* Chooses the table by what the processor and the system offer; again is harmless. */
void dj_simd_init(void);
/* The chosen table; the scalar one before dj_simd_init. */
const struct dj_simd *dj_simd(void);
/* The variants this machine can run, scalar first; NULL past the last. For tests and bench. */
const struct dj_simd *dj_simd_variant(size_t index);

float dj_simd_norm(const float *a, size_t len); /* Euclidean */
/* Makes a of length 1; false (a untouched) when it is zero or not finite. */
bool dj_simd_normalise(float *a, size_t len) DEJA_NODISCARD;

size_t dj_gemm_packed_len(size_t n, size_t k); /* floats; k * n rounded up to whole panels */
/* From w[n][k], the layout of linear layers in files. packed: dj_gemm_packed_len(n, k) floats. */
void dj_gemm_pack_rows(const float *w, size_t w_stride, size_t n, size_t k, float *packed);
/* The same from w[k][n]. */
void dj_gemm_pack_columns(const float *w, size_t w_stride, size_t n, size_t k, float *packed);

#endif
