/* tests/unit/proto/test_archive.c - the pieces of a backup, each there and back. */
#include "proto/archive.h"
#include "check.h"

#include "proto/frame.h"

static const float vector[3] = {0.5f, -2, 3e-30f};

static struct dj_entry sample(void)
{
    struct dj_entry entry = {.kind = DJ_ENTRY_API, .version = 7, .created_ms = 5};
    entry.tenant[0] = 1;
    entry.id[15] = 2;
    entry.query = deja_slice_text("what is it?");
    entry.body = deja_slice("\x00\xff bytes", 8);
    return entry;
}

static struct dj_archive_document a_document(void)
{
    return (struct dj_archive_document){.table = deja_slice_text("users"),
                                        .key = deja_slice("a\x00z", 3),
                                        .value = deja_slice_text("{}")};
}

static void items_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct dj_archive_document document = a_document();
    struct dj_archive_document empty = {.table = deja_slice_text("")};
    struct dj_archive_document back;
    struct dj_entry entry = sample();
    struct dj_entry entry_back;
    struct deja_slice bytes_back;
    struct dj_frame frame_back;
    float vector_back[3];
    struct dj_buf scratch = {0};
    struct dj_buf bytes = {0};
    assert_int_equal(dj_archive_document_write(&document, &bytes), DEJA_OK);
    assert_int_equal(dj_archive_document_write(&empty, &bytes), DEJA_OK);
    assert_int_equal(dj_archive_entry_write(&entry, vector, 3, &bytes), DEJA_OK);
    struct deja_slice rest = dj_buf_slice(&bytes);
    assert_int_equal(dj_archive_document_read(&rest, &back), DEJA_OK);
    assert_true(deja_slice_is_equal(back.table, document.table));
    assert_true(deja_slice_is_equal(back.key, document.key));
    assert_true(deja_slice_is_equal(back.value, document.value));
    assert_int_equal(dj_archive_document_read(&rest, &back), DEJA_OK);
    assert_int_equal(back.table.len + back.key.len + back.value.len, 0);
    assert_int_equal(dj_archive_entry_read(&rest, &bytes_back), DEJA_OK);
    assert_int_equal(rest.len, 0);
    assert_int_equal(dj_archive_entry_read(&rest, &bytes_back), DEJA_ERR_CORRUPT);
    assert_int_equal(dj_frame_decode(bytes_back, &frame_back), DEJA_OK);
    assert_int_equal(frame_back.dim, 3);
    assert_true(dj_frame_vector(&frame_back, vector_back));
    assert_memory_equal(vector_back, vector, sizeof vector);
    assert_int_equal(dj_record_decode(frame_back.record, 1000, &scratch, &entry_back), DEJA_OK);
    assert_true(deja_slice_is_equal(entry_back.query, entry.query));
    assert_true(deja_slice_is_equal(entry_back.body, entry.body));
    dj_buf_fini(&scratch);
    dj_buf_fini(&bytes);
}

static void items_that_are_cut_short_leave_the_rest_alone(void **state)
{
    (void)state;
    struct dj_archive_document document = a_document();
    struct dj_entry entry = sample();
    struct dj_buf bytes = {0};
    assert_int_equal(dj_archive_document_write(&document, &bytes), DEJA_OK);
    for (size_t len = 0; len < bytes.len; len++) {
        struct deja_slice rest = deja_slice(bytes.data, len);
        struct dj_archive_document back = {.key = deja_slice_text("mine")};
        assert_int_equal(dj_archive_document_read(&rest, &back), DEJA_ERR_CORRUPT);
        assert_int_equal(rest.len, len);
        assert_int_equal(back.key.len, 4);
    }
    bytes.len = 0;
    assert_int_equal(dj_archive_entry_write(&entry, NULL, 0, &bytes), DEJA_OK);
    for (size_t len = 0; len < bytes.len; len++) {
        struct deja_slice rest = deja_slice(bytes.data, len);
        struct deja_slice frame = deja_slice_text("mine");
        assert_int_equal(dj_archive_entry_read(&rest, &frame), DEJA_ERR_CORRUPT);
        assert_int_equal(rest.len, len);
        assert_int_equal(frame.len, 4);
    }
    dj_buf_fini(&bytes);
}

static void document_that_is_too_long_is_not_begun(void **state)
{
    (void)state;
    static char long_text[UINT16_MAX + 1];
    struct dj_buf bytes = {0};
    struct dj_archive_document document = a_document();
    document.table = deja_slice(long_text, UINT8_MAX + 1);
    assert_int_equal(dj_archive_document_write(&document, &bytes), DEJA_ERR_LIMIT);
    document = a_document();
    document.key = deja_slice(long_text, sizeof long_text);
    assert_int_equal(dj_archive_document_write(&document, &bytes), DEJA_ERR_LIMIT);
    assert_int_equal(bytes.len, 0);
    assert_int_equal(bytes.status, DEJA_OK);
    dj_buf_fini(&bytes);
}

static void header_is_read_unless_one_bit_differs(void **state)
{
    (void)state;
    struct dj_archive_header header = {
        .id = {1, 2}, .created_ms = 99, .secret_name = 7, .is_sealed = true, .key = {3, 4}};
    struct dj_archive_header back;
    char bytes[DJ_ARCHIVE_HEADER_BYTES];
    dj_archive_header_write(&header, bytes);
    struct deja_slice all = deja_slice(bytes, sizeof bytes);
    assert_int_equal(dj_archive_header_read(all, &back), DEJA_OK);
    assert_memory_equal(back.id, header.id, sizeof header.id);
    assert_memory_equal(back.key, header.key, sizeof header.key);
    assert_true(back.is_sealed && back.created_ms == 99 && back.secret_name == 7);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(dj_archive_header_read(all, &back),
                         bit < 64 ? DEJA_ERR_MISMATCH : DEJA_ERR_CORRUPT);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    }
    all.len = 8;
    assert_int_equal(dj_archive_header_read(all, &back), DEJA_ERR_CORRUPT);
    all.len = 7;
    assert_int_equal(dj_archive_header_read(all, &back), DEJA_ERR_MISMATCH);
}

static void block_with_one_bit_changed_is_not_whole(void **state)
{
    (void)state;
    const struct dj_archive_block block = {.type = DJ_ARCHIVE_ENTRIES,
                                           .is_packed = true,
                                           .index = 3,
                                           .items = 2,
                                           .tenant = {9},
                                           .plain_bytes = 100,
                                           .stored_bytes = 6};
    struct dj_archive_block back;
    char stored[6] = "stored";
    char head[DJ_ARCHIVE_HEAD_BYTES];
    struct deja_slice head_bytes = deja_slice(head, sizeof head);
    struct deja_slice stored_bytes = deja_slice(stored, sizeof stored);
    dj_archive_block_write(&block, stored_bytes, head);
    assert_int_equal(dj_archive_block_read(head_bytes, &back), DEJA_OK);
    assert_true(back.type == block.type && back.is_packed && !back.is_sealed && back.index == 3 &&
                back.items == 2 && back.plain_bytes == 100 && back.stored_bytes == 6);
    assert_memory_equal(back.tenant, block.tenant, sizeof block.tenant);
    assert_true(dj_archive_block_is_whole(head_bytes, stored_bytes));
    for (size_t bit = 0; bit < 8 * (sizeof head + sizeof stored); bit++) {
        char *byte = bit / 8 < sizeof head ? &head[bit / 8] : &stored[bit / 8 - sizeof head];
        *byte = (char)(*byte ^ (1 << bit % 8));
        assert_false(dj_archive_block_is_whole(head_bytes, stored_bytes));
        *byte = (char)(*byte ^ (1 << bit % 8));
    }
    head_bytes.len--;
    assert_int_equal(dj_archive_block_read(head_bytes, &back), DEJA_ERR_CORRUPT);
}

static void end_is_read_as_it_was_written(void **state)
{
    (void)state;
    const struct dj_archive_end end = {1, 2, 3, UINT64_C(1) << 40, {5}};
    struct dj_archive_end back;
    char bytes[DJ_ARCHIVE_END_BYTES];
    dj_archive_end_write(&end, bytes);
    assert_int_equal(dj_archive_end_read(deja_slice(bytes, sizeof bytes), &back), DEJA_OK);
    assert_memory_equal(&back, &end, sizeof end);
    assert_int_equal(dj_archive_end_read(deja_slice(bytes, sizeof bytes - 1), &back),
                     DEJA_ERR_CORRUPT);
}

static void bytes_are_packed_only_where_that_helps(void **state)
{
    (void)state;
    static const char dull[4000];
    struct dj_buf packed = {0};
    struct dj_buf plain = {0};
    bool is_packed = true;
    assert_int_equal(dj_archive_pack(deja_slice_text("x7"), &packed, &is_packed), DEJA_OK);
    assert_false(is_packed);
    assert_int_equal(packed.len, 0);
    assert_int_equal(dj_archive_pack(deja_slice(dull, sizeof dull), &packed, &is_packed), DEJA_OK);
    assert_true(is_packed);
    assert_int_equal(dj_archive_unpack(dj_buf_slice(&packed), 3999, &plain), DEJA_ERR_CORRUPT);
    assert_int_equal(dj_archive_unpack(dj_buf_slice(&packed), 4001, &plain), DEJA_ERR_CORRUPT);
    assert_int_equal(dj_archive_unpack(deja_slice(packed.data, packed.len - 1), 4000, &plain),
                     DEJA_ERR_CORRUPT);
    assert_int_equal(plain.len, 0);
    assert_int_equal(dj_archive_unpack(dj_buf_slice(&packed), 4000, &plain), DEJA_OK);
    assert_int_equal(plain.len, sizeof dull);
    assert_memory_equal(plain.data, dull, sizeof dull);
    dj_buf_fini(&packed);
    dj_buf_fini(&plain);
}

static void block_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct dj_archive_document document = a_document();
    struct dj_entry entry = sample();
    char value[2000] = {0};
    document.value = deja_slice(value, sizeof value);
    for (size_t n = 1;; n++) {
        struct dj_buf items = {0};
        struct dj_buf packed = {0};
        struct dj_buf plain = {0};
        bool is_packed = false;
        failing_malloc_arm(n);
        enum deja_status status = dj_archive_document_write(&document, &items);
        if (status == DEJA_OK)
            status = dj_archive_entry_write(&entry, vector, 3, &items);
        if (status == DEJA_OK)
            status = dj_archive_pack(dj_buf_slice(&items), &packed, &is_packed);
        if (status == DEJA_OK)
            status = dj_archive_unpack(dj_buf_slice(&packed), (uint32_t)items.len, &plain);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            assert_true(deja_slice_is_equal(dj_buf_slice(&plain), dj_buf_slice(&items)));
        dj_buf_fini(&items);
        dj_buf_fini(&packed);
        dj_buf_fini(&plain);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_read_as_they_were_written),
        cmocka_unit_test(items_that_are_cut_short_leave_the_rest_alone),
        cmocka_unit_test(document_that_is_too_long_is_not_begun),
        cmocka_unit_test(header_is_read_unless_one_bit_differs),
        cmocka_unit_test(block_with_one_bit_changed_is_not_whole),
        cmocka_unit_test(end_is_read_as_it_was_written),
        cmocka_unit_test(bytes_are_packed_only_where_that_helps),
        cmocka_unit_test(block_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
