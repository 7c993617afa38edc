/* simd/kernels_scalar.c - the reference every other variant is tested against. */
#include "simd/simd_internal.h"

#include <math.h>

static float dot_f32(const float *a, const float *b, size_t len)
{
    float sum = 0.0F;
    for (size_t i = 0; i < len; i++)
        sum += a[i] * b[i];
    return sum;
}

static int32_t dot_i8(const int8_t *a, const int8_t *b, size_t len)
{
    int32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += a[i] * b[i];
    return sum;
}

static void dots_i8(const int8_t *query, size_t len, const int8_t *base, const uint32_t *slots,
                    size_t count, int32_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = dot_i8(query, base + (size_t)slots[i] * len, len);
}

static void scale(float *a, size_t len, float factor)
{
    for (size_t i = 0; i < len; i++)
        a[i] *= factor;
}

static void quantise(const float *a, size_t len, float factor, int8_t *out)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (int8_t)nearbyintf(fminf(fmaxf(a[i] * factor, -127.0F), 127.0F));
}

static void add(float *a, const float *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        a[i] += b[i];
}

static void softmax(float *row, size_t len, float factor)
{
    float largest = row[0] * factor;
    for (size_t i = 1; i < len; i++)
        largest = fmaxf(largest, row[i] * factor);
    float sum = 0.0F;
    for (size_t i = 0; i < len; i++) {
        row[i] = expf(row[i] * factor - largest);
        sum += row[i];
    }
    scale(row, len, 1.0F / sum);
}

static void gelu(float *a, size_t len)
{
    for (size_t i = 0; i < len; i++)
        a[i] = 0.5F * a[i] * (1.0F + erff(a[i] * 0.70710678F));
}

static void layer_norm(float *row, const float *residual, const float *gain, const float *bias,
                       size_t len, float epsilon)
{
    float sum = 0.0F;
    for (size_t i = 0; i < len; i++) {
        row[i] += residual ? residual[i] : 0.0F;
        sum += row[i];
    }
    float mean = sum / (float)len;
    float squares = 0.0F;
    for (size_t i = 0; i < len; i++)
        squares += (row[i] - mean) * (row[i] - mean);
    float factor = 1.0F / sqrtf(squares / (float)len + epsilon);
    for (size_t i = 0; i < len; i++)
        row[i] = (row[i] - mean) * factor * gain[i] + bias[i];
}

static void gemm_f32(const struct dj_gemm *gemm)
{
    for (size_t row = 0; row < gemm->m; row++) {
        const float *a = gemm->a + row * gemm->a_stride;
        float *out = gemm->out + row * gemm->out_stride;
        for (size_t column = 0; column < gemm->n; column++) {
            size_t panel = column / DJ_SIMD_PANEL * DJ_SIMD_PANEL;
            const float *w = gemm->packed + panel * gemm->k + column % DJ_SIMD_PANEL;
            float sum = gemm->bias ? gemm->bias[column] : 0.0F;
            for (size_t i = 0; i < gemm->k; i++)
                sum += a[i] * w[i * DJ_SIMD_PANEL];
            out[column] = sum;
        }
    }
}

const struct dj_simd dj_simd_scalar = {
    .name = "scalar",
    .dot_f32 = dot_f32,
    .dot_i8 = dot_i8,
    .dots_i8 = dots_i8,
    .scale = scale,
    .quantise = quantise,
    .add = add,
    .softmax = softmax,
    .gelu = gelu,
    .layer_norm = layer_norm,
    .gemm_f32 = gemm_f32,
};
