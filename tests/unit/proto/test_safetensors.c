#include "proto/safetensors.h"

#include <math.h>

#include "base/buf.h"
#include "check.h"
#include "proto/half.h"

static void build(struct dj_buf *file, const char *header, const void *data, size_t len)
{
    dj_buf_clear(file);
    uint64_t header_len = strlen(header);
    for (size_t i = 0; i < 8; i++)
        dj_buf_append_byte(file, (char)(header_len >> (8 * i)));
    dj_buf_append_text(file, header);
    dj_buf_append(file, data, len);
    assert_int_equal(file->status, DEJA_OK);
}

static const char *const two_tensors =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
    "\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[12,12]},"
    "\"c\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[12,14]},"
    "\"d\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[14,17]}}";
static const uint8_t two_data[] = {0,    0, 0x80, 0x3f, 0,    0, 0, 0xc0, 0,
                                   0x3c, 0, 0xc0, 0xc0, 0x3f, 1, 2, 3};

static void tensors_are_found_and_read_as_floats(void **state)
{
    (void)state;
    struct dj_buf file = {0};
    build(&file, two_tensors, two_data, sizeof two_data);
    struct dj_safetensors *tensors = NULL;
    struct deja_error error = {""};
    assert_int_equal(dj_safetensors_parse(dj_buf_slice(&file), &tensors, &error), DEJA_OK);
    assert_int_equal(dj_safetensors_count(tensors), 5);
    assert_null(dj_safetensors_at(tensors, 5));
    const struct dj_tensor *a = dj_safetensors_find(tensors, deja_slice_text("a"));
    const struct dj_tensor *b = dj_safetensors_find(tensors, deja_slice_text("b"));
    const struct dj_tensor *c = dj_safetensors_find(tensors, deja_slice_text("c"));
    const struct dj_tensor *d = dj_safetensors_find(tensors, deja_slice_text("d"));
    assert_null(dj_safetensors_find(tensors, deja_slice_text("aa")));
    assert_ptr_equal(dj_safetensors_at(tensors, 0), a);
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->shape[0], 2);
    float out[2] = {9.0F, 9.0F};
    assert_true(dj_tensor_read(a, 0, 2, out));
    assert_true(out[0] == 1.0F && out[1] == -2.0F);
    assert_true(dj_tensor_read(b, 0, 2, out));
    assert_true(out[0] == 1.0F && out[1] == -2.0F);
    assert_true(dj_tensor_read(c, 0, 1, out));
    assert_true(out[0] == 1.5F);
    assert_false(dj_tensor_read(a, 1, 2, out));
    assert_false(dj_tensor_read(a, UINT64_MAX, 2, out));
    assert_false(dj_tensor_read(d, 0, 1, out));
    assert_true(out[0] == 1.5F);
    dj_safetensors_destroy(tensors);
    dj_buf_fini(&file);
}

static void lying_headers_are_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "",
        "[]",
        "{",
        "{\"a\":1}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}",
        "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}",
        /* overlap, gap, rest, twice */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
    };
    struct dj_buf file = {0};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct dj_safetensors *tensors = NULL;
        struct deja_error error = {""};
        build(&file, headers[i], two_data, 8);
        assert_int_equal(dj_safetensors_parse(dj_buf_slice(&file), &tensors, &error),
                         DEJA_ERR_INVALID);
        assert_non_null(strstr(error.message, "weights"));
        assert_null(tensors);
    }
    dj_buf_fini(&file);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct dj_buf file = {0};
    build(&file, two_tensors, two_data, sizeof two_data);
    for (size_t len = 0; len < file.len; len++) {
        struct dj_safetensors *tensors = NULL;
        assert_int_equal(dj_safetensors_parse(deja_slice(file.data, len), &tensors, NULL),
                         DEJA_ERR_INVALID);
    }
    dj_buf_fini(&file);
}

static void a_header_of_more_than_16_mb_is_refused(void **state)
{
    (void)state;
    static const uint8_t head[] = {1, 0, 0, 1, 0, 0, 0, 0, '{', '}'};
    static const uint8_t huge[] = {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'};
    struct dj_safetensors *tensors = NULL;
    assert_int_equal(dj_safetensors_parse(deja_slice(head, sizeof head), &tensors, NULL),
                     DEJA_ERR_LIMIT);
    assert_int_equal(dj_safetensors_parse(deja_slice(huge, sizeof huge), &tensors, NULL),
                     DEJA_ERR_LIMIT);
}

static void halves_are_exact_both_ways(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float value = dj_f16_to_f32((uint16_t)bits);
        if ((bits & 0x7c00) == 0x7c00 && (bits & 0x3ff)) {
            assert_true(isnan(value));
            assert_true(isnan(dj_f16_to_f32(dj_f16_from_f32(value))));
            continue;
        }
        if (dj_f16_from_f32(value) != bits)
            fail_msg("%04x became %04x", bits, dj_f16_from_f32(value));
    }
    assert_true(dj_f16_to_f32(0x3555) == 0x1.554p-2F);
    assert_true(dj_f16_to_f32(0x0001) == 0x1p-24F);
    assert_int_equal(dj_f16_from_f32(65519.0F), 0x7bff);
    assert_int_equal(dj_f16_from_f32(65520.0F), 0x7c00);
    assert_int_equal(dj_f16_from_f32(0x1p-25F), 0); /* tie to even */
    assert_int_equal(dj_f16_from_f32(0x1.8p-25F), 1);
    assert_int_equal(dj_f16_from_f32(1.0F + 0x1p-11F), 0x3c00);
    assert_int_equal(dj_f16_from_f32(1.0F + 0x1.8p-10F), 0x3c02);
}

static void safetensors_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_buf file = {0};
    build(&file, two_tensors, two_data, sizeof two_data);
    for (size_t n = 1;; n++) {
        struct dj_safetensors *tensors = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_safetensors_parse(dj_buf_slice(&file), &tensors, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_safetensors_destroy(tensors);
        if (!has_failed)
            break;
    }
    dj_buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_and_read_as_floats),
        cmocka_unit_test(lying_headers_are_refused),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_header_of_more_than_16_mb_is_refused),
        cmocka_unit_test(halves_are_exact_both_ways),
        cmocka_unit_test(safetensors_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
