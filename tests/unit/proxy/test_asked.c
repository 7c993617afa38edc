#include "proxy/asked.h"
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define HOUR_MS INT64_C(3600000)
#define MONDAY 496536 /* an hour: 2026-08-24T00:00Z */

static const uint8_t ours[DJ_ID_BYTES] = {1};
static const uint8_t theirs[DJ_ID_BYTES] = {2};
static const struct dj_asked_options options = {
    .keys_max = 1600, .bytes_max = 1u << 20, .request_bytes = 1000, .is_learning = true};

static struct dj_asked *make(void)
{
    struct dj_asked *asked = NULL;
    assert_int_equal(dj_asked_create(&options, &asked), DEJA_OK);
    return asked;
}

/* Ids are digests: their bytes are spread. */
static void id_of(uint32_t number, uint8_t out_id[DJ_ID_BYTES])
{
    for (uint32_t i = 0; i < DJ_ID_BYTES; i++) {
        number = number * 2654435761u + 12345u;
        out_id[i] = (uint8_t)(number >> 24);
    }
}

static void note(struct dj_asked *asked, const uint8_t *tenant, uint32_t number, int64_t hour,
                 const char *body)
{
    uint8_t id[DJ_ID_BYTES];
    const struct dj_asked_request request = {
        .target = deja_slice_text("/v1/chat/completions"),
        .body = deja_slice_text(body),
        .header_count = 1,
        .headers = {{{"x-deja-tags", 11}, {"template:3", 10}}}};
    id_of(number, id);
    dj_asked_note(asked, &(struct dj_asked_access){.tenant = tenant,
                                                   .id = id,
                                                   .at_ms = hour * HOUR_MS,
                                                   .kind = dj_asked_kind(&request),
                                                   .request = body ? &request : NULL});
}

static bool knows(struct dj_asked *asked, const uint8_t *tenant, uint32_t number, const char *body)
{
    struct dj_buf bytes = {0};
    struct dj_asked_request request;
    uint8_t id[DJ_ID_BYTES];
    id_of(number, id);
    bool is_known = dj_asked_request(asked, tenant, id, &bytes, &request) &&
                    deja_slice_is_equal(request.body, deja_slice_text(body)) &&
                    deja_slice_is_equal(request.target, deja_slice_text("/v1/chat/completions")) &&
                    request.header_count == 1 &&
                    deja_slice_is_equal(request.headers[0].value, deja_slice_text("template:3"));
    dj_buf_fini(&bytes);
    return is_known;
}

static void a_request_is_known_again_to_its_tenant_alone(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    note(asked, ours, 1, MONDAY, "{\"a\":1}");
    assert_true(knows(asked, ours, 1, "{\"a\":1}"));
    assert_false(knows(asked, theirs, 1, "{\"a\":1}"));
    assert_false(knows(asked, ours, 2, "{\"a\":1}"));
    struct dj_asked_item *items = NULL;
    size_t count = 9;
    assert_int_equal(dj_asked_top(asked, theirs, MONDAY * HOUR_MS, 10, &items, &count), DEJA_OK);
    assert_int_equal(count, 0);
    dj_free(items);
    dj_asked_destroy(asked);
}

static void what_was_asked_most_in_a_day_comes_first(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    for (int64_t i = 0; i < 50; i++)
        note(asked, ours, 1, MONDAY, "old"); /* often, but long ago */
    for (int64_t i = 0; i < 3; i++)
        note(asked, ours, 2, MONDAY + 30 + i, "two");
    for (int64_t i = 0; i < 5; i++)
        note(asked, ours, 3, MONDAY + 35, "three");
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    assert_int_equal(dj_asked_top(asked, ours, (MONDAY + 36) * HOUR_MS, 2, &items, &count),
                     DEJA_OK);
    assert_int_equal(count, 2);
    assert_int_equal(items[0].day, 5);
    assert_int_equal(items[1].day, 3);
    assert_true(items[0].has_request);
    assert_int_equal(items[0].habit.request, DJ_PREDICT_TEMPLATE);
    dj_free(items);
    dj_asked_destroy(asked);
}

static void what_comes_every_day_is_likely_at_its_hour(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    uint32_t clusters = 0;
    for (int64_t day = 0; day < 14; day++) {
        note(asked, ours, 1, MONDAY + 24 * day + 9, "nine");
        note(asked, ours, 2, MONDAY + 24 * day + 17, "five");
    }
    note(asked, ours, 3, MONDAY + 9, "once");
    int64_t hour = MONDAY + 14 * 24 + 9;
    assert_int_equal(dj_asked_likely(asked, ours, hour, hour, 0.7, 10, &items, &count, &clusters),
                     DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].prediction.seen, 2);
    assert_true(clusters > 1);
    dj_free(items);
    dj_asked_destroy(asked);
}

static void the_first_use_of_what_was_warmed_is_counted_once(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    struct dj_asked_counts counts;
    uint8_t id[DJ_ID_BYTES];
    id_of(1, id);
    assert_false(dj_asked_note_hit(asked, ours, id, 5));
    dj_asked_note_warmed(asked, ours, id, 1000, 0.25);
    assert_false(dj_asked_note_hit(asked, theirs, id, 5));
    assert_true(dj_asked_note_hit(asked, ours, id, 5));
    assert_false(dj_asked_note_hit(asked, ours, id, 6));
    id_of(2, id);
    dj_asked_note_warmed(asked, ours, id, 1000, 0.5);
    assert_false(dj_asked_note_hit(asked, ours, id, 1000)); /* it had ended */
    dj_asked_counts(asked, ours, &counts);
    assert_int_equal(counts.warmed, 2);
    assert_int_equal(counts.used, 1);
    assert_true(counts.cost_usd > 0.74 && counts.cost_usd < 0.76);
    assert_true(counts.unused_usd > 0.49 && counts.unused_usd < 0.51);
    dj_asked_counts(asked, theirs, &counts);
    assert_int_equal(counts.warmed, 0);
    dj_asked_destroy(asked);
}

static void keys_and_bytes_are_bounded_and_the_busy_stay(void **state)
{
    (void)state;
    struct dj_asked_options small = {
        .keys_max = 320, .bytes_max = 16 * 2000, .request_bytes = 1000};
    struct dj_asked *asked = NULL;
    struct dj_asked_counts counts;
    char body[900];
    uint32_t stayed = 0;
    memset(body, 'x', sizeof body);
    body[sizeof body - 1] = '\0';
    assert_int_equal(dj_asked_create(&small, &asked), DEJA_OK);
    for (uint32_t round = 0; round < 20; round++)
        for (uint32_t key = 0; key < 32; key++)
            note(asked, ours, key, MONDAY + round, "busy");
    for (uint32_t key = 100; key < 5000; key++)
        note(asked, ours, key, MONDAY + 21, body);
    dj_asked_counts(asked, ours, &counts);
    assert_true(counts.keys <= 320);
    for (uint32_t key = 0; key < 32; key++)
        stayed += knows(asked, ours, key, "busy");
    assert_true(stayed >= 30);
    char large[2000];
    memset(large, 'y', sizeof large);
    large[sizeof large - 1] = '\0';
    note(asked, ours, 9000, MONDAY + 22, large);
    assert_false(knows(asked, ours, 9000, large)); /* longer than is kept */
    dj_asked_destroy(asked);
}

static void what_is_written_is_read_and_merged(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    struct dj_asked *other = make();
    struct dj_buf bytes = {0};
    struct dj_asked_item *items = NULL;
    size_t count = 0;
    for (int64_t day = 0; day < 5; day++) {
        note(asked, ours, 1, MONDAY + 24 * day + 9, "one");
        note(other, ours, 1, MONDAY + 24 * day + 10, NULL);
    }
    note(asked, ours, 2, MONDAY, "once"); /* is not written */
    assert_int_equal(dj_asked_write(asked, ours, 1u << 20, &bytes), DEJA_OK);
    for (int i = 0; i < 2; i++) /* twice is once */
        assert_int_equal(dj_asked_read(other, ours, dj_buf_slice(&bytes)), DEJA_OK);
    assert_int_equal(dj_asked_top(other, ours, MONDAY * HOUR_MS, 10, &items, &count), DEJA_OK);
    assert_int_equal(count, 1);
    assert_int_equal(dj_habit_count(&items[0].habit), 10);
    assert_true(knows(other, ours, 1, "one"));
    dj_free(items);
    for (size_t len = 0; len < bytes.len; len++) /* every beginning */
        assert_int_equal(dj_asked_read(other, ours, deja_slice(bytes.data, len)), DEJA_ERR_CORRUPT);
    bytes.data[bytes.len - 1] ^= 1;
    assert_int_equal(dj_asked_read(other, ours, dj_buf_slice(&bytes)), DEJA_ERR_CORRUPT);
    bytes.data[4] ^= 1;
    assert_int_equal(dj_asked_read(other, ours, dj_buf_slice(&bytes)), DEJA_ERR_UNSUPPORTED);
    dj_buf_fini(&bytes);
    dj_asked_destroy(asked);
    dj_asked_destroy(other);
}

static void what_is_forgotten_is_gone(void **state)
{
    (void)state;
    struct dj_asked *asked = make();
    struct dj_asked_counts counts;
    uint8_t tenants[4][DJ_ID_BYTES];
    for (uint32_t key = 0; key < 50; key++) {
        note(asked, ours, key, MONDAY, "ours");
        note(asked, theirs, key, MONDAY, "theirs");
    }
    assert_int_equal(dj_asked_tenants(asked, true, tenants, 4), 2);
    dj_asked_forget(asked, ours);
    dj_asked_counts(asked, ours, &counts);
    assert_int_equal(counts.keys, 0);
    dj_asked_counts(asked, theirs, &counts);
    assert_int_equal(counts.keys, 50);
    assert_int_equal(dj_asked_tenants(asked, false, tenants, 4), 1);
    dj_asked_destroy(asked);
}

static void asked_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_asked *asked = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_asked_create(&options, &asked);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_asked_destroy(asked);
        if (!has_failed)
            break;
    }
    for (size_t n = 1; n < 40; n++) {
        struct dj_asked *asked = make();
        struct dj_buf bytes = {0};
        struct dj_asked_item *items = NULL;
        size_t count = 0;
        uint32_t clusters = 0;
        failing_malloc_arm(n);
        note(asked, ours, 1, MONDAY, "one");
        note(asked, ours, 1, MONDAY + 24, "one");
        enum deja_status listed = dj_asked_likely(asked, ours, MONDAY + 48, MONDAY + 48, 0.1, 10,
                                                  &items, &count, &clusters);
        enum deja_status written = dj_asked_write(asked, ours, 1u << 20, &bytes);
        (void)failing_malloc_disarm();
        if (listed == DEJA_OK)
            dj_free(items);
        if (written == DEJA_OK)
            assert_int_equal(dj_asked_read(asked, ours, dj_buf_slice(&bytes)), DEJA_OK);
        dj_buf_fini(&bytes);
        dj_asked_destroy(asked);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_known_again_to_its_tenant_alone),
        cmocka_unit_test(what_was_asked_most_in_a_day_comes_first),
        cmocka_unit_test(what_comes_every_day_is_likely_at_its_hour),
        cmocka_unit_test(the_first_use_of_what_was_warmed_is_counted_once),
        cmocka_unit_test(keys_and_bytes_are_bounded_and_the_busy_stay),
        cmocka_unit_test(what_is_written_is_read_and_merged),
        cmocka_unit_test(what_is_forgotten_is_gone),
        cmocka_unit_test(asked_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
