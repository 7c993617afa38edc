/* tests/unit/cache/test_happenings.c - what happened is read in order by each reader, and who is
 * slow is told how much he missed. */
#include "check.h"

#include "base/alloc.h"
#include "cache/happenings.h"

#define SET_ONLY (1u << DJ_HAPPENED_SET)

static void note(struct dj_happenings *happenings, enum dj_happening_kind kind, uint8_t number)
{
    const struct dj_entry entry = {
        .kind = DJ_ENTRY_PLAIN, .tenant = "tenant", .id = {number}, .expires_ms = 1500};
    const struct dj_happening happening = dj_happening_of(kind, &entry, 1000);
    dj_happenings_note(happenings, &happening);
}

static void each_reader_reads_all_that_is_wanted_in_order(void **state)
{
    struct dj_happenings *happenings = NULL;
    struct dj_happening items[3];
    uint64_t places[2] = {0, 0};
    uint64_t lost = 0;
    (void)state;
    assert_int_equal(dj_happenings_create(SET_ONLY, &happenings), DEJA_OK);
    for (uint8_t i = 0; i < 4; i++) {
        note(happenings, DJ_HAPPENED_SET, i);
        note(happenings, DJ_HAPPENED_GET, i); /* not wanted */
    }
    for (size_t r = 0; r < 2; r++) {
        assert_int_equal(dj_happenings_read(happenings, &places[r], items, 3, &lost), 3);
        for (uint8_t i = 0; i < 3; i++)
            assert_int_equal(items[i].id[0], i);
        assert_int_equal(items[0].ttl_ms, 500);
        assert_string_equal(items[0].entry_kind, "plain");
        assert_int_equal(dj_happenings_read(happenings, &places[r], items, 3, &lost), 1);
        assert_int_equal(dj_happenings_read(happenings, &places[r], items, 3, &lost), 0);
    }
    assert_int_equal(lost, 0);
    dj_happenings_destroy(happenings);
}

static void who_is_slow_is_told_how_many_were_lost(void **state)
{
    static struct dj_happening items[DJ_HAPPENINGS_KEPT];
    struct dj_happenings *happenings = NULL;
    uint64_t place = 0;
    uint64_t lost = 0;
    (void)state;
    assert_int_equal(dj_happenings_create(SET_ONLY, &happenings), DEJA_OK);
    for (uint32_t i = 0; i < DJ_HAPPENINGS_KEPT + 7; i++)
        note(happenings, DJ_HAPPENED_SET, (uint8_t)i);
    assert_int_equal(dj_happenings_read(happenings, &place, items, DJ_HAPPENINGS_KEPT, &lost),
                     DJ_HAPPENINGS_KEPT);
    assert_int_equal(lost, 7);
    assert_int_equal(items[0].id[0], 7);
    dj_happenings_destroy(happenings);
    dj_happenings_note(NULL, &items[0]); /* nobody wants it */
    dj_happenings_destroy(NULL);
}

static void written_it_has_facts_and_no_contents(void **state)
{
    struct dj_buf text = {0};
    struct dj_json_writer w = dj_json_writer(&text);
    const struct dj_happening gone = {
        .kind = DJ_HAPPENED_EVICTION, .tier = "memory", .reason = "size", .tenant = {1}};
    (void)state;
    dj_happening_write(&w, &gone);
    dj_buf_append_byte(&text, '\0');
    assert_string_equal(text.data,
                        "{\"event\":\"eviction\",\"time\":\"1970-01-01T00:00:00.000Z\",\"tenant\":"
                        "\"01000000-0000-0000-0000-000000000000\",\"id\":null,\"kind\":null,"
                        "\"tier\":\"memory\",\"reason\":\"size\",\"ttl_s\":null}");
    dj_buf_fini(&text);
}

static void creating_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_happenings *happenings = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_happenings_create(SET_ONLY, &happenings);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_happenings_destroy(happenings);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reader_reads_all_that_is_wanted_in_order),
        cmocka_unit_test(who_is_slow_is_told_how_many_were_lost),
        cmocka_unit_test(written_it_has_facts_and_no_contents),
        cmocka_unit_test(creating_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
