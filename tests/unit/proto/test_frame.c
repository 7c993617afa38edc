#include "check.h"

#include "proto/frame.h"

static struct dj_entry sample(void)
{
    struct dj_entry entry = {.kind = DJ_ENTRY_BYTES, .version = 7, .expires_ms = 9};
    entry.tenant[0] = 1;
    entry.id[0] = 2;
    entry.query = deja_slice_text("a question");
    entry.body = deja_slice_text("an answer");
    return entry;
}

static void frame_is_read_as_it_was_written(void **state)
{
    (void)state;
    static const float vector[3] = {0.5f, -1.0f, 0.0f};
    struct dj_entry entry = sample();
    struct dj_entry again;
    struct dj_frame frame;
    struct dj_buf bytes = {0};
    struct dj_buf scratch = {0};
    float floats[3];
    assert_int_equal(dj_frame_encode(&entry, vector, 3, &bytes), DEJA_OK);
    assert_int_equal(dj_frame_decode(dj_buf_slice(&bytes), &frame), DEJA_OK);
    assert_int_equal(frame.dim, 3);
    assert_true(dj_frame_vector(&frame, floats));
    assert_memory_equal(floats, vector, sizeof vector);
    assert_int_equal(dj_record_decode(frame.record, 1000, &scratch, &again), DEJA_OK);
    assert_int_equal(again.version, 7);
    assert_int_equal(again.kind, DJ_ENTRY_BYTES);
    assert_true(deja_slice_is_equal(again.body, entry.body));
    dj_buf_fini(&bytes);
    dj_buf_fini(&scratch);
}

static void every_flipped_bit_and_every_cut_is_found(void **state)
{
    (void)state;
    static const float vector[1] = {0.5f};
    struct dj_entry entry = sample();
    struct dj_frame frame;
    struct dj_buf bytes = {0};
    assert_int_equal(dj_frame_encode(&entry, vector, 1, &bytes), DEJA_OK);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_not_equal(dj_frame_decode(deja_slice(bytes.data, len), &frame), DEJA_OK);
    for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
        assert_int_not_equal(dj_frame_decode(dj_buf_slice(&bytes), &frame), DEJA_OK);
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
    }
    assert_int_equal(dj_frame_decode(dj_buf_slice(&bytes), &frame), DEJA_OK);
    dj_buf_fini(&bytes);
}

static void encode_survives_each_failed_allocation(void **state)
{
    (void)state;
    static const float vector[300];
    struct dj_entry entry = sample();
    for (size_t n = 1;; n++) {
        struct dj_buf bytes = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_frame_encode(&entry, vector, 300, &bytes);
        bool has_failed = failing_malloc_disarm();
        dj_buf_fini(&bytes);
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_is_read_as_it_was_written),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_found),
        cmocka_unit_test(encode_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
