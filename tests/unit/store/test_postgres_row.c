/* Binary values of PostgreSQL: what is written is read again, and nothing else is. */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "entries.h"
#include "store/postgres_row.h"

static struct dj_pg_field field_of(const struct dj_buf *buf)
{
    return (struct dj_pg_field){dj_buf_slice(buf), false};
}

static void numbers_and_times_are_read_as_they_were_written(void **state)
{
    static const int64_t times[] = {1, 946684800000, 1760000000123, 253402300799000};
    struct dj_buf buf = {0};
    uint32_t narrow = 0;
    uint64_t wide = 0;
    int64_t ms = 0;
    (void)state;
    dj_pg_put_u32(&buf, 0xfedcba98);
    assert_true(dj_pg_read_u32(field_of(&buf), &narrow));
    assert_int_equal(narrow, 0xfedcba98);
    assert_false(dj_pg_read_u64(field_of(&buf), &wide));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        dj_buf_clear(&buf);
        dj_pg_put_time(&buf, times[i]);
        assert_true(dj_pg_read_time(field_of(&buf), &ms));
        assert_int_equal(ms, times[i]);
    }
    dj_buf_clear(&buf);
    dj_pg_put_time(&buf, INT64_MAX); /* the server's own end */
    assert_true(dj_pg_read_time(field_of(&buf), &ms));
    assert_int_equal(ms, 253402300799000);
    assert_true(dj_pg_read_time((struct dj_pg_field){.is_null = true}, &ms));
    assert_int_equal(ms, 0);
    dj_buf_fini(&buf);
}

static void flag_is_true_only_as_one_byte_of_one(void **state)
{
    (void)state;
    assert_true(dj_pg_is_true((struct dj_pg_field){deja_slice("\1", 1), false}));
    assert_false(dj_pg_is_true((struct dj_pg_field){deja_slice("\0", 1), false}));
    assert_false(dj_pg_is_true((struct dj_pg_field){deja_slice("\1\1", 2), false}));
    assert_false(dj_pg_is_true((struct dj_pg_field){.is_null = true}));
}

static void text_is_cut_to_what_fits(void **state)
{
    char text[4] = "???";
    (void)state;
    dj_pg_copy_text((struct dj_pg_field){deja_slice_text("vector"), false}, text, sizeof text);
    assert_string_equal(text, "vec");
    dj_pg_copy_text((struct dj_pg_field){.is_null = true}, text, sizeof text);
    assert_string_equal(text, "");
}

static void vector_is_in_the_format_of_pgvector(void **state)
{
    static const uint8_t wanted[] = {0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0};
    const float vector[] = {1.0F, -2.0F};
    float again[2] = {0};
    uint32_t dim = 0;
    struct dj_buf buf = {0};
    (void)state;
    dj_pg_put_vector(&buf, vector, 2);
    assert_int_equal(buf.len, sizeof wanted);
    assert_memory_equal(buf.data, wanted, sizeof wanted);
    assert_true(dj_pg_read_vector(field_of(&buf), 2, again, &dim));
    assert_int_equal(dim, 2);
    assert_memory_equal(again, vector, sizeof vector);
    assert_false(dj_pg_read_vector(field_of(&buf), 1, again, &dim)); /* longer than there is room */
    buf.len--;
    assert_false(dj_pg_read_vector(field_of(&buf), 2, again, &dim));
    dj_buf_fini(&buf);
}

static void vector_that_is_not_finite_or_empty_is_refused(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } bad[] = {{{0, 0, 0, 0}, 4},
               {{0, 1, 0, 0, 0x7f, 0x80, 0, 0}, 8}, /* infinite */
               {{0, 1, 0, 0, 0xff, 0xc0, 0, 1}, 8}, /* not a number */
               {{0, 1, 0, 0}, 4},
               {{0xff, 0xff, 0, 0, 0, 0, 0, 0}, 8},
               {{0}, 0}};
    float vector[4];
    uint32_t dim;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dj_pg_field field = {deja_slice(bad[i].bytes, bad[i].len), false};
        assert_false(dj_pg_read_vector(field, 4, vector, &dim));
    }
}

static void array_is_in_the_format_of_the_server(void **state)
{
    static const uint8_t wanted[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20,  0,
                                     0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 'h', 'i'};
    struct dj_buf buf = {0};
    (void)state;
    dj_pg_begin_array(&buf, 20, 1);
    dj_pg_put_element(&buf, "hi", 2);
    assert_int_equal(buf.len, sizeof wanted);
    assert_memory_equal(buf.data, wanted, sizeof wanted);
    dj_buf_fini(&buf);
}

static void record_of_another_key_is_corrupt(void **state)
{
    struct dj_entry entry = entry_of(1, 2, 3, "body");
    const struct dj_store_key key = key_of(1, 2);
    const struct dj_store_key other = key_of(2, 2);
    struct dj_value *value = NULL;
    struct dj_buf buf = {0};
    (void)state;
    assert_int_equal(dj_record_encode(&entry, &buf), DEJA_OK);
    assert_int_equal(dj_pg_read_value(field_of(&buf), &other, &value), DEJA_ERR_CORRUPT);
    assert_null(value);
    assert_int_equal(dj_pg_read_value(field_of(&buf), &key, &value), DEJA_OK);
    dj_value_unref(value);
    value = NULL;
    buf.data[buf.len - 1] ^= 1;
    assert_int_equal(dj_pg_read_value(field_of(&buf), &key, &value), DEJA_ERR_CORRUPT);
    assert_int_equal(dj_pg_read_value((struct dj_pg_field){.is_null = true}, &key, &value),
                     DEJA_ERR_CORRUPT);
    dj_buf_fini(&buf);
}

static void reading_a_record_survives_each_failed_allocation(void **state)
{
    struct dj_entry entry = entry_of(1, 2, 3, "body");
    const struct dj_store_key key = key_of(1, 2);
    struct dj_buf buf = {0};
    bool has_failed = true;
    (void)state;
    assert_int_equal(dj_record_encode(&entry, &buf), DEJA_OK);
    for (size_t n = 1; has_failed; n++) {
        struct dj_value *value = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_pg_read_value(field_of(&buf), &key, &value);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_int_equal(value != NULL, !has_failed);
        dj_value_unref(value);
    }
    dj_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_times_are_read_as_they_were_written),
        cmocka_unit_test(flag_is_true_only_as_one_byte_of_one),
        cmocka_unit_test(text_is_cut_to_what_fits),
        cmocka_unit_test(vector_is_in_the_format_of_pgvector),
        cmocka_unit_test(vector_that_is_not_finite_or_empty_is_refused),
        cmocka_unit_test(array_is_in_the_format_of_the_server),
        cmocka_unit_test(record_of_another_key_is_corrupt),
        cmocka_unit_test(reading_a_record_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
