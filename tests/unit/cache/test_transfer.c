#include "disk_fixture.h"

#include "cache/listing.h"
#include "cache/transfer.h"

static const _Atomic bool never;

static struct dj_transfer_lane lane_of(struct fixture *fixture)
{
    return (struct dj_transfer_lane){
        .engine = fixture->engine, .loop = fixture->loops.loop[0], .is_cancelled = &never};
}

static void put_numbered(struct fixture *fixture, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof text, "question number %u", i);
        struct dj_entry entry = numbered(fixture, i, text);
        if (i % 2 == 0)
            entry.query = deja_slice_text(""); /* found by its key alone: no vector */
        assert_true(put(fixture, &entry));
    }
}

static struct dj_transfer_tenants tenant_of_test(void)
{
    struct dj_transfer_tenants tenants = {.ids = NULL};
    dj_transfer_add_tenant(&tenants, tenant_b);
    dj_transfer_add_tenant(&tenants, tenant_a);
    dj_transfer_add_tenant(&tenants, tenant_a);
    dj_transfer_sort_tenants(&tenants);
    assert_int_equal(tenants.count, 2);
    return tenants;
}

/* Entries told, each once; *out_vectors: with a vector. */
static unsigned read_all(struct fixture *fixture, struct dj_transfer_at *at, unsigned stop_after,
                         unsigned *out_vectors)
{
    struct dj_transfer_tenants tenants = tenant_of_test();
    const struct dj_transfer_from options = {
        .lane = lane_of(fixture), .tenants = &tenants, .at = at};
    struct dj_transfer_source source;
    struct dj_archive_item item;
    struct deja_error error;
    bool seen[512] = {false};
    unsigned count = 0;
    enum deja_status status = DEJA_OK;
    *out_vectors = 0;
    assert_int_equal(dj_transfer_from_cache(&options, &source), DEJA_OK);
    while (count < stop_after && (status = source.next(source.ctx, &item, &error)) == DEJA_OK) {
        unsigned number = item.entry->id[0] | (unsigned)item.entry->id[1] << 8;
        assert_false(seen[number]);
        seen[number] = true;
        *out_vectors += item.vector != NULL;
        count++;
    }
    source.close(source.ctx);
    dj_transfer_tenants_fini(&tenants);
    assert_true(status == DEJA_OK || status == DEJA_ERR_NOT_FOUND);
    return count;
}

static void every_entry_is_told_once_with_its_vector(void **state)
{
    (void)state;
    struct disk disk;
    unsigned vectors;
    disk_open(&disk);
    put_numbered(&disk.fixture, 200); /* memory has room for some of them */
    assert_int_equal(read_all(&disk.fixture, NULL, 1000, &vectors), 200);
    assert_int_equal(vectors, 100);
    disk_close(&disk);
}

static void reading_goes_on_behind_the_last_whole_piece(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_at at = {.tenant = 0};
    unsigned vectors;
    disk_open(&disk);
    put_numbered(&disk.fixture, 200);
    assert_int_equal(read_all(&disk.fixture, &at, 100, &vectors), 100);
    unsigned rest = read_all(&disk.fixture, &at, 1000, &vectors);
    assert_in_range(rest, 100, 200 - 64); /* at least one piece was behind */
    disk_close(&disk);
}

static void position_is_read_as_it_was_written_and_nothing_else(void **state)
{
    (void)state;
    struct dj_listing_at at = {.place = 3, .position = UINT64_MAX - 5};
    struct dj_listing_at again;
    char text[DJ_LISTING_TEXT_BYTES];
    memset(at.after, 7, sizeof at.after);
    dj_listing_text(&at, text);
    assert_int_equal(dj_listing_read(deja_slice_text(text), &again), DEJA_OK);
    assert_int_equal(again.place, 3);
    assert_true(again.position == at.position);
    assert_memory_equal(again.after, at.after, sizeof at.after);
    for (size_t len = 0; len < strlen(text); len++)
        assert_int_equal(dj_listing_read(deja_slice(text, len), &again), DEJA_ERR_INVALID);
    text[0] = 'f';
    assert_int_equal(dj_listing_read(deja_slice_text(text), &again), DEJA_ERR_INVALID);
}

static void bring(struct fixture *fixture, const struct dj_entry *entry,
                  struct dj_transfer_counts *counts)
{
    const struct dj_transfer_into options = {.lane = lane_of(fixture), .counts = counts};
    const struct dj_archive_item item = {.entry = entry};
    struct dj_transfer_sink sink;
    struct deja_error error;
    assert_int_equal(dj_transfer_into_cache(&options, &sink), DEJA_OK);
    assert_int_equal(sink.put(sink.ctx, &item, &error), DEJA_OK);
    assert_int_equal(sink.finish(sink.ctx, &error), DEJA_OK);
    sink.close(sink.ctx);
}

static bool has(struct fixture *fixture, const struct dj_entry *entry)
{
    const struct dj_transfer_lane lane = lane_of(fixture);
    struct dj_store_key key;
    struct dj_value *value = NULL;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    assert_int_equal(dj_transfer_get(&lane, &key, 0, &value), DEJA_OK);
    bool is_same = value && dj_value_entry(value)->version == entry->version;
    dj_value_unref(value);
    return is_same;
}

static void entry_of_lost_counters_is_made_current(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_counts counts = {0};
    disk_open(&disk);
    struct dj_entry entry = numbered(&disk.fixture, 1, "a question of another time");
    entry.tenant_generation = 7; /* there the counters were higher */
    bring(&disk.fixture, &entry, &counts);
    assert_int_equal(atomic_load(&counts.stored), 1);
    assert_true(has(&disk.fixture, &entry));
    disk_close(&disk);
}

static void entry_that_was_made_void_since_stays_away(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_counts counts = {0};
    disk_open(&disk);
    struct dj_entry entry = numbered(&disk.fixture, 1, "a question of before");
    const struct dj_selector all = {.created_before_ms = 0};
    assert_int_equal(select_entries(&disk.fixture, &all, true),
                     0); /* raises the tenant's counter */
    bring(&disk.fixture, &entry, &counts);
    assert_int_equal(atomic_load(&counts.voided), 1);
    assert_false(has(&disk.fixture, &entry));
    disk_close(&disk);
}

static void expired_entry_is_left_out(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_counts counts = {0};
    disk_open(&disk);
    struct dj_entry entry = numbered(&disk.fixture, 1, "a question of long ago");
    entry.expires_ms = 1;
    bring(&disk.fixture, &entry, &counts);
    assert_int_equal(atomic_load(&counts.expired), 1);
    disk_close(&disk);
}

static void newer_version_stays(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_counts counts = {0};
    disk_open(&disk);
    struct dj_entry old = numbered(&disk.fixture, 1, "a question");
    struct dj_entry now = numbered(&disk.fixture, 1, "a question");
    bring(&disk.fixture, &now, &counts);
    bring(&disk.fixture, &old, &counts);
    assert_true(has(&disk.fixture, &now));
    disk_close(&disk);
}

static void source_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_tenants tenants = tenant_of_test();
    disk_open(&disk);
    const struct dj_transfer_from options = {.lane = lane_of(&disk.fixture), .tenants = &tenants};
    for (size_t n = 1;; n++) {
        struct dj_transfer_source source = {.close = NULL};
        failing_malloc_arm(n);
        enum deja_status status = dj_transfer_from_cache(&options, &source);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (status == DEJA_OK)
            source.close(source.ctx);
        if (!has_failed)
            break;
    }
    dj_transfer_tenants_fini(&tenants);
    disk_close(&disk);
}

static void sink_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct disk disk;
    struct dj_transfer_counts counts = {0};
    disk_open(&disk);
    struct dj_entry entry = numbered(&disk.fixture, 1, "a question");
    const struct dj_archive_item item = {.entry = &entry};
    const struct dj_transfer_into options = {.lane = lane_of(&disk.fixture), .counts = &counts};
    for (size_t n = 1;; n++) {
        struct dj_transfer_sink sink = {.close = NULL};
        struct deja_error error;
        failing_malloc_arm(n);
        enum deja_status status = dj_transfer_into_cache(&options, &sink);
        if (status == DEJA_OK)
            status = sink.put(sink.ctx, &item, &error);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (sink.close)
            sink.close(sink.ctx);
        if (!has_failed)
            break;
    }
    disk_close(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_is_told_once_with_its_vector),
        cmocka_unit_test(reading_goes_on_behind_the_last_whole_piece),
        cmocka_unit_test(position_is_read_as_it_was_written_and_nothing_else),
        cmocka_unit_test(entry_of_lost_counters_is_made_current),
        cmocka_unit_test(entry_that_was_made_void_since_stays_away),
        cmocka_unit_test(expired_entry_is_left_out),
        cmocka_unit_test(newer_version_stays),
        cmocka_unit_test(source_survives_each_failed_allocation),
        cmocka_unit_test(sink_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
