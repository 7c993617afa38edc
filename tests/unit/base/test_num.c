#include "base/num.h"

#include <stdio.h>

#include "check.h"

static void whole_numbers_are_read_whole_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum deja_status status;
        uint64_t value;
    } cases[] = {
        {"0", DEJA_OK, 0},
        {"18446744073709551615", DEJA_OK, UINT64_MAX},
        {"18446744073709551616", DEJA_ERR_LIMIT, 7},
        {"", DEJA_ERR_INVALID, 7},
        {"-1", DEJA_ERR_INVALID, 7},
        {"1 ", DEJA_ERR_INVALID, 7},
        {"0x1", DEJA_ERR_INVALID, 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = 7;
        assert_int_equal(dj_num_parse_u64(deja_slice_text(cases[i].text), &value), cases[i].status);
        assert_true(value == cases[i].value);
    }
}

static void signed_numbers_reach_both_ends(void **state)
{
    (void)state;
    int64_t value = 7;
    assert_int_equal(dj_num_parse_i64(deja_slice_text("-9223372036854775808"), &value), DEJA_OK);
    assert_true(value == INT64_MIN);
    assert_int_equal(dj_num_parse_i64(deja_slice_text("9223372036854775807"), &value), DEJA_OK);
    assert_true(value == INT64_MAX);
    static const char *const beyond[] = {"-9223372036854775809", "9223372036854775808"};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(dj_num_parse_i64(deja_slice_text(beyond[i]), &value), DEJA_ERR_LIMIT);
    assert_int_equal(dj_num_parse_i64(deja_slice_text("--1"), &value), DEJA_ERR_INVALID);
    assert_true(value == INT64_MAX);
}

static void durations_and_sizes_know_their_units(void **state)
{
    (void)state;
    uint64_t value = 0;
    assert_int_equal(dj_num_parse_duration(deja_slice_text("250ms"), &value), DEJA_OK);
    assert_true(value == 250);
    assert_int_equal(dj_num_parse_duration(deja_slice_text("90"), &value), DEJA_OK);
    assert_true(value == 90000);
    assert_int_equal(dj_num_parse_duration(deja_slice_text("2d"), &value), DEJA_OK);
    assert_true(value == 172800000);
    assert_int_equal(dj_num_parse_duration(deja_slice_text("5 m"), &value), DEJA_ERR_INVALID);
    assert_int_equal(dj_num_parse_duration(deja_slice_text("999999999999999999d"), &value),
                     DEJA_ERR_LIMIT);
    assert_int_equal(dj_num_parse_size(deja_slice_text("100MB"), &value), DEJA_OK);
    assert_true(value == 100u << 20);
    assert_int_equal(dj_num_parse_size(deja_slice_text("1.5gb"), &value), DEJA_ERR_INVALID);
}

static void doubles_are_finite_and_decimal(void **state)
{
    (void)state;
    double value = 7;
    assert_int_equal(dj_num_parse_double(deja_slice_text("0.95"), &value), DEJA_OK);
    assert_true(value == 0.95);
    assert_int_equal(dj_num_parse_double(deja_slice_text("nan"), &value), DEJA_ERR_INVALID);
    assert_int_equal(dj_num_parse_double(deja_slice_text("0x1p3"), &value), DEJA_ERR_INVALID);
    assert_int_equal(dj_num_parse_double(deja_slice_text("1e999"), &value), DEJA_ERR_LIMIT);
    assert_true(value == 0.95);
}

static void decimal_digits_are_as_printf_writes_them(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 9, 10, 1234567890, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char printed[32];
        char digits[DJ_NUM_U64_DIGITS_MAX];
        int len = snprintf(printed, sizeof printed, "%llu", (unsigned long long)values[i]);
        assert_int_equal(dj_num_write_u64(values[i], digits), len);
        assert_memory_equal(digits, printed, (size_t)len);
    }
}

static void hex_goes_there_and_back(void **state)
{
    (void)state;
    uint8_t bytes[3] = {0, 0xab, 0xff};
    uint8_t back[3];
    char text[7];
    dj_hex_encode(bytes, sizeof bytes, text);
    assert_string_equal(text, "00abff");
    assert_int_equal(dj_hex_decode(deja_slice_text("00ABff"), back, 3), DEJA_OK);
    assert_memory_equal(back, bytes, 3);
    assert_int_equal(dj_hex_decode(deja_slice_text("00ABfg"), back, 3), DEJA_ERR_INVALID);
    assert_int_equal(dj_hex_decode(deja_slice_text("00"), back, 3), DEJA_ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(signed_numbers_reach_both_ends),
        cmocka_unit_test(durations_and_sizes_know_their_units),
        cmocka_unit_test(doubles_are_finite_and_decimal),
        cmocka_unit_test(decimal_digits_are_as_printf_writes_them),
        cmocka_unit_test(hex_goes_there_and_back),
    };
    return RUN_TESTS(tests);
}
