/* Every variant this machine can run against the scalar one, at lengths around each vector width.
 * Buffers are heap blocks of exactly the length, so that ASan sees a read or write past them. */
#include "simd/simd.h"

#include <math.h>

#include "base/alloc.h"
#include "check.h"

static const size_t lens[] = {1,  2,  3,  4,  5,  7,  8,   9,   15,  16,  17,  31,  32,  33,
                              47, 48, 63, 64, 65, 96, 127, 128, 129, 255, 384, 511, 1000};
enum { LENS_COUNT = sizeof lens / sizeof *lens };

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static float random_float(uint32_t *seed)
{
    return (float)next_random(seed) / (float)(1U << 23) - 1.0F;
}

static float *random_floats(uint32_t *seed, size_t len, float factor)
{
    float *floats = dj_alloc(len * sizeof *floats);
    assert_non_null(floats);
    for (size_t i = 0; i < len; i++)
        floats[i] = random_float(seed) * factor;
    return floats;
}

static int8_t *random_bytes(uint32_t *seed, size_t len)
{
    int8_t *bytes = dj_alloc(len);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (int8_t)((int)(next_random(seed) % 255) - 127);
    return bytes;
}

static float *copy_of(const float *floats, size_t len)
{
    float *copy = dj_alloc(len * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, floats, len * sizeof *copy);
    return copy;
}

static void assert_near(const struct dj_simd *simd, const float *a, const float *b, size_t len,
                        float tolerance)
{
    for (size_t i = 0; i < len; i++) {
        if (!(fabsf(a[i] - b[i]) <= tolerance * (1.0F + fabsf(b[i]))))
            fail_msg("%s, length %zu, at %zu: %.9g for %.9g", simd->name, len, i, (double)a[i],
                     (double)b[i]);
    }
}

#define FOR_EACH_VARIANT(simd)                                       \
    for (size_t variant_ = 0; dj_simd_variant(variant_); variant_++) \
        for (const struct dj_simd *simd = dj_simd_variant(variant_); simd; simd = NULL)

static void init_chooses_the_widest_variant(void **state)
{
    (void)state;
    dj_simd_init();
    dj_simd_init();
    size_t count = 0;
    while (dj_simd_variant(count))
        count++;
    assert_ptr_equal(dj_simd(), dj_simd_variant(count - 1));
    assert_string_equal(dj_simd_variant(0)->name, "scalar");
    print_message("chosen: %s\n", dj_simd()->name);
}

static void dots_equal_the_scalar_ones(void **state)
{
    (void)state;
    const struct dj_simd *scalar = dj_simd_variant(0);
    uint32_t seed = 1;
    FOR_EACH_VARIANT(simd)
    {
        for (size_t l = 0; l < LENS_COUNT; l++) {
            float *a = random_floats(&seed, lens[l], 1.0F);
            float *b = random_floats(&seed, lens[l], 1.0F);
            int8_t *x = random_bytes(&seed, lens[l]);
            int8_t *y = random_bytes(&seed, lens[l]);
            float got = simd->dot_f32(a, b, lens[l]);
            float want = scalar->dot_f32(a, b, lens[l]);
            assert_near(simd, &got, &want, 1, 1e-5F);
            assert_int_equal(simd->dot_i8(x, y, lens[l]), scalar->dot_i8(x, y, lens[l]));
            dj_free(a);
            dj_free(b);
            dj_free(x);
            dj_free(y);
        }
        assert_int_equal(simd->dot_i8(NULL, NULL, 0), 0);
        assert_true(simd->dot_f32(NULL, NULL, 0) == 0.0F);
    }
}

static void extreme_bytes_do_not_overflow(void **state)
{
    (void)state;
    enum { LEN = 65536 };
    int8_t *a = dj_alloc(LEN);
    int8_t *b = dj_alloc(LEN);
    assert_non_null(a);
    assert_non_null(b);
    memset(a, 127, LEN);
    memset(b, -127, LEN);
    FOR_EACH_VARIANT(simd)
    {
        assert_int_equal(simd->dot_i8(a, b, LEN), -127 * 127 * LEN);
        assert_int_equal(simd->dot_i8(a, a, LEN), 127 * 127 * LEN);
        assert_int_equal(simd->dot_i8(b, b, LEN), 127 * 127 * LEN);
    }
    dj_free(a);
    dj_free(b);
}

static void one_against_many_equals_one_by_one(void **state)
{
    (void)state;
    enum { SLOTS = 23, PICKS = 37 };
    uint32_t seed = 2;
    uint32_t slots[PICKS];
    int32_t sums[PICKS];
    for (size_t i = 0; i < PICKS; i++)
        slots[i] = next_random(&seed) % SLOTS;
    FOR_EACH_VARIANT(simd)
    {
        for (size_t l = 0; l < LENS_COUNT; l++) {
            int8_t *query = random_bytes(&seed, lens[l]);
            int8_t *base = random_bytes(&seed, lens[l] * SLOTS);
            for (size_t count = 0; count <= PICKS; count += 1 + count / 6) {
                simd->dots_i8(query, lens[l], base, slots, count, sums);
                for (size_t i = 0; i < count; i++)
                    assert_int_equal(sums[i], dj_simd_variant(0)->dot_i8(
                                                  query, base + slots[i] * lens[l], lens[l]));
            }
            dj_free(query);
            dj_free(base);
        }
    }
}

static void elementwise_kernels_equal_the_scalar_ones(void **state)
{
    (void)state;
    const struct dj_simd *scalar = dj_simd_variant(0);
    uint32_t seed = 3;
    FOR_EACH_VARIANT(simd)
    {
        for (size_t l = 0; l < LENS_COUNT; l++) {
            size_t len = lens[l];
            float *a = random_floats(&seed, len, 6.0F);
            float *b = copy_of(a, len);
            float *c = random_floats(&seed, len, 1.0F);
            float *d = random_floats(&seed, len, 1.0F);
            simd->gelu(a, len);
            scalar->gelu(b, len);
            assert_near(simd, a, b, len, 1e-6F);
            simd->add(a, c, len);
            scalar->add(b, c, len);
            simd->scale(a, len, 1.7F);
            scalar->scale(b, len, 1.7F);
            assert_near(simd, a, b, len, 2e-6F);
            memcpy(b, a, len * sizeof *b);
            simd->layer_norm(a, c, d, c, len, 1e-12F);
            scalar->layer_norm(b, c, d, c, len, 1e-12F);
            assert_near(simd, a, b, len, len > 1 ? 2e-5F : 1.0F);
            memcpy(b, a, len * sizeof *b);
            simd->layer_norm(a, NULL, d, c, len, 1e-5F);
            scalar->layer_norm(b, NULL, d, c, len, 1e-5F);
            assert_near(simd, a, b, len, 2e-5F);
            memcpy(b, a, len * sizeof *b);
            simd->softmax(a, len, 4.0F);
            scalar->softmax(b, len, 4.0F);
            /* row * factor is fused or rounded first: up to e^(40 * 2^-24) apart */
            assert_near(simd, a, b, len, 4e-6F);
            dj_free(a);
            dj_free(b);
            dj_free(c);
            dj_free(d);
        }
    }
}

static void gelu_and_softmax_keep_to_their_ends(void **state)
{
    (void)state;
    FOR_EACH_VARIANT(simd)
    {
        float ends[] = {-100.0F, -20.0F, 0.0F, 20.0F, 100.0F};
        simd->gelu(ends, 5);
        assert_true(fabsf(ends[0]) < 1e-30F && fabsf(ends[1]) < 1e-20F && ends[2] == 0.0F);
        assert_true(ends[3] == 20.0F && ends[4] == 100.0F);
        float far[33];
        for (size_t i = 0; i < 33; i++)
            far[i] = i == 20 ? 500.0F : -500.0F;
        simd->softmax(far, 33, 1.0F);
        for (size_t i = 0; i < 33; i++)
            assert_true(i == 20 ? far[i] == 1.0F : far[i] < 1e-30F);
    }
}

static void quantise_rounds_to_even_and_clamps(void **state)
{
    (void)state;
    uint32_t seed = 4;
    float fixed[] = {0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 126.4F, 127.6F, 1e30F, -1e30F, -127.5F};
    static const int8_t want[] = {0, 2, 2, 0, -2, 126, 127, 127, -127, -127};
    int8_t got[1000];
    int8_t reference[1000];
    FOR_EACH_VARIANT(simd)
    {
        simd->quantise(fixed, 10, 1.0F, got);
        assert_memory_equal(got, want, 10);
        for (size_t l = 0; l < LENS_COUNT; l++) {
            float *a = random_floats(&seed, lens[l], 1.2F);
            simd->quantise(a, lens[l], 127.0F, got);
            dj_simd_variant(0)->quantise(a, lens[l], 127.0F, reference);
            assert_memory_equal(got, reference, lens[l]);
            dj_free(a);
        }
    }
}

static void check_gemm(const struct dj_simd *simd, size_t m, size_t n, size_t k, bool has_bias)
{
    uint32_t seed = (uint32_t)(m * 31 + n * 17 + k);
    size_t out_len = (m - 1) * (n + 3) + n; /* the last row ends with its last column */
    float *a = random_floats(&seed, (m - 1) * (k + 5) + k, 1.0F);
    float *w = random_floats(&seed, n * k, 1.0F);
    float *bias = random_floats(&seed, n, 1.0F);
    float *out = random_floats(&seed, out_len, 1.0F);
    float *packed = dj_alloc(dj_gemm_packed_len(n, k) * sizeof *packed);
    float *scratch = dj_alloc(m * k * sizeof *scratch);
    assert_non_null(packed);
    assert_non_null(scratch);
    float gap = m > 1 ? out[n] : 0.0F;
    dj_gemm_pack_rows(w, k, n, k, packed);
    simd->gemm_f32(&(struct dj_gemm){.a = a,
                                     .a_stride = k + 5,
                                     .m = m,
                                     .packed = packed,
                                     .n = n,
                                     .k = k,
                                     .bias = has_bias ? bias : NULL,
                                     .out = out,
                                     .out_stride = n + 3,
                                     .scratch = scratch});
    for (size_t row = 0; row < m; row++) {
        for (size_t column = 0; column < n; column++) {
            double want = has_bias ? (double)bias[column] : 0.0;
            for (size_t i = 0; i < k; i++)
                want += (double)a[row * (k + 5) + i] * (double)w[column * k + i];
            double got = (double)out[row * (n + 3) + column];
            if (fabs(got - want) > 1e-5 * (double)k + 1e-5)
                fail_msg("%s %zux%zux%zu: %g for %g", simd->name, m, n, k, got, want);
        }
    }
    if (m > 1)
        assert_true(out[n] == gap); /* what lies between the rows is left alone */
    dj_free(a);
    dj_free(w);
    dj_free(bias);
    dj_free(out);
    dj_free(packed);
    dj_free(scratch);
}

static void gemm_equals_the_sum_of_products(void **state)
{
    (void)state;
    static const size_t ns[] = {1, 7, 16, 31, 32, 33, 48, 65, 96};
    static const size_t ks[] = {1, 2, 19, 64};
    FOR_EACH_VARIANT(simd)
    {
        for (size_t m = 1; m <= 30; m++) {
            for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
                for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
                    check_gemm(simd, m, ns[i], ks[j], (i + j) % 2);
            }
        }
        check_gemm(simd, 61, 100, 150, true);
    }
}

static void packing_columns_is_packing_the_transpose(void **state)
{
    (void)state;
    enum { N = 45, K = 13 };
    uint32_t seed = 6;
    float *w = random_floats(&seed, N * K, 1.0F);
    float *turned = random_floats(&seed, N * K, 1.0F);
    for (size_t i = 0; i < K; i++) {
        for (size_t c = 0; c < N; c++)
            turned[i * N + c] = w[c * K + i];
    }
    size_t len = dj_gemm_packed_len(N, K);
    assert_int_equal(len, 64 * K);
    float *a = random_floats(&seed, len, 1.0F);
    float *b = random_floats(&seed, len, 1.0F);
    dj_gemm_pack_rows(w, K, N, K, a);
    dj_gemm_pack_columns(turned, N, N, K, b);
    assert_memory_equal(a, b, len * sizeof *a);
    dj_free(w);
    dj_free(turned);
    dj_free(a);
    dj_free(b);
}

static void normalise_gives_length_one_or_leaves_alone(void **state)
{
    (void)state;
    static const float factors[] = {1.0F, 1e-30F, 1e30F, 1e-40F, 3e38F};
    uint32_t seed = 7;
    for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
        float *a = random_floats(&seed, 77, factors[f]);
        assert_true(dj_simd_normalise(a, 77));
        assert_true(fabsf(dj_simd_norm(a, 77) - 1.0F) < 1e-6F);
        dj_free(a);
    }
    float zero[] = {0.0F, -0.0F};
    float infinite[] = {1.0F, INFINITY};
    float not_a_number[] = {2.0F, NAN};
    assert_false(dj_simd_normalise(zero, 2));
    assert_false(dj_simd_normalise(infinite, 2));
    assert_false(dj_simd_normalise(not_a_number, 2));
    assert_true(not_a_number[0] == 2.0F && infinite[0] == 1.0F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_chooses_the_widest_variant),
        cmocka_unit_test(dots_equal_the_scalar_ones),
        cmocka_unit_test(extreme_bytes_do_not_overflow),
        cmocka_unit_test(one_against_many_equals_one_by_one),
        cmocka_unit_test(elementwise_kernels_equal_the_scalar_ones),
        cmocka_unit_test(gelu_and_softmax_keep_to_their_ends),
        cmocka_unit_test(quantise_rounds_to_even_and_clamps),
        cmocka_unit_test(gemm_equals_the_sum_of_products),
        cmocka_unit_test(packing_columns_is_packing_the_transpose),
        cmocka_unit_test(normalise_gives_length_one_or_leaves_alone),
    };
    return RUN_TESTS(tests);
}
