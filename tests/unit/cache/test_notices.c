/* tests/unit/cache/test_notices.c - what was made void is told to its tenant, in order, and who is
 * slow is told what he missed. */
#include "check.h"

#include <stdio.h>

#include "base/alloc.h"
#include "cache/notices.h"
#include "loops.h"

static const uint8_t tenant_a[DJ_ID_BYTES] = "tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "tenant b";

static void tell(struct dj_notices *notices, const uint8_t *tenant, const char *name)
{
    struct dj_notice notice = {.kind = "tag",
                               .name = deja_slice_text(name),
                               .reason = deja_slice_text("because"),
                               .removed = 2};
    memcpy(notice.tenant, tenant, sizeof notice.tenant);
    dj_notices_publish(notices, &notice);
}

struct reading {
    struct loops loops;
    struct dj_notices *notices;
    struct dj_notices_reader *reader;
    struct event told;
    const uint8_t *tenant;
    uint64_t after;
    enum deja_status status;
    char names[64]; /* "a b " as they come */
    uint32_t wanted;
    uint32_t count;
    uint64_t lost;
};

static void on_news(void *ctx)
{
    struct reading *reading = ctx;
    uint64_t lost = 0;
    const struct dj_notice *notice;
    while ((notice = dj_notices_next(reading->reader, &lost))) {
        size_t len = strlen(reading->names);
        if (len + notice->name.len + 2 < sizeof reading->names)
            snprintf(reading->names + len, sizeof reading->names - len, "%.*s ",
                     (int)notice->name.len, notice->name.data);
        assert_true(deja_slice_is_equal(notice->reason, deja_slice_text("because")));
        reading->lost += lost;
        dj_notice_unref(notice);
        if (++reading->count == reading->wanted)
            event_set(&reading->told);
    }
    reading->lost += lost;
}

static void open_reader(void *ctx)
{
    struct reading *reading = ctx;
    reading->status = dj_notices_open(reading->notices, reading->loops.loop[1], reading->tenant,
                                      reading->after, reading, on_news, &reading->reader);
}

static void close_reader(void *ctx)
{
    struct reading *reading = ctx;
    dj_notices_close(reading->reader);
}

static void begin(struct reading *reading)
{
    loops_start(&reading->loops);
    assert_int_equal(dj_notices_create(&reading->notices), DEJA_OK);
}

static void end(struct reading *reading)
{
    on_loop(reading->loops.loop[1], close_reader, reading);
    loops_stop(&reading->loops);
    dj_notices_destroy(reading->notices);
    loops_destroy(&reading->loops);
}

static void a_reader_is_told_of_its_own_tenant_in_order(void **state)
{
    (void)state;
    struct reading reading = {.tenant = tenant_a, .after = UINT64_MAX, .wanted = 3};
    begin(&reading);
    tell(reading.notices, tenant_a, "before");
    on_loop(reading.loops.loop[1], open_reader, &reading);
    event_init(&reading.told);
    tell(reading.notices, tenant_a, "one");
    tell(reading.notices, tenant_b, "other");
    tell(reading.notices, tenant_a, "two");
    tell(reading.notices, tenant_a, "three");
    event_wait(&reading.told);
    end(&reading);
    assert_string_equal(reading.names, "one two three ");
    assert_int_equal(reading.lost, 0);
}

static void a_reader_goes_on_where_it_was(void **state)
{
    (void)state;
    struct reading reading = {.tenant = tenant_a, .after = 1, .wanted = 2};
    begin(&reading);
    tell(reading.notices, tenant_a, "one");
    tell(reading.notices, tenant_a, "two");
    tell(reading.notices, tenant_a, "three");
    event_init(&reading.told);
    on_loop(reading.loops.loop[1], open_reader, &reading);
    event_wait(&reading.told);
    end(&reading);
    assert_string_equal(reading.names, "two three ");
}

static void who_is_too_slow_is_told_what_is_lost(void **state)
{
    (void)state;
    struct reading reading = {.tenant = tenant_a, .after = 0, .wanted = DJ_NOTICES_KEPT};
    begin(&reading);
    for (uint32_t i = 0; i < DJ_NOTICES_KEPT + 10; i++)
        tell(reading.notices, tenant_a, "x");
    event_init(&reading.told);
    on_loop(reading.loops.loop[1], open_reader, &reading);
    event_wait(&reading.told);
    end(&reading);
    assert_int_equal(reading.lost, 10);
    assert_int_equal(reading.count, DJ_NOTICES_KEPT);
}

static void what_is_kept_is_bounded_in_bytes(void **state)
{
    (void)state;
    struct reading reading = {.tenant = tenant_a, .after = 0, .wanted = 1};
    char *name = dj_alloc(DJ_NOTICE_NAME_BYTES_MAX + 1);
    assert_non_null(name);
    memset(name, 'n', DJ_NOTICE_NAME_BYTES_MAX);
    name[DJ_NOTICE_NAME_BYTES_MAX] = '\0';
    begin(&reading);
    for (uint32_t i = 0; i < 2000; i++)
        tell(reading.notices, tenant_a, name);
    event_init(&reading.told);
    on_loop(reading.loops.loop[1], open_reader, &reading);
    event_wait(&reading.told);
    end(&reading);
    dj_free(name);
    assert_int_equal(reading.lost + reading.count, 2000);
    assert_true(reading.count <= DJ_NOTICES_BYTES_MAX / DJ_NOTICE_NAME_BYTES_MAX);
    assert_true(reading.count > DJ_NOTICES_BYTES_MAX / DJ_NOTICE_NAME_BYTES_MAX / 2);
}

struct crowd {
    struct reading *reading;
    struct dj_notices_reader *readers[DJ_NOTICES_READERS_MAX + 1];
    uint32_t count;
};

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static enum deja_status join(struct crowd *crowd, const uint8_t *tenant)
{
    enum deja_status status =
        dj_notices_open(crowd->reading->notices, crowd->reading->loops.loop[1], tenant, UINT64_MAX,
                        NULL, on_nothing, &crowd->readers[crowd->count]);
    crowd->count += status == DEJA_OK;
    return status;
}

static void fill_places(void *ctx)
{
    struct crowd *crowd = ctx;
    uint8_t tenant[DJ_ID_BYTES] = "tenant c";
    for (uint32_t i = 0; i < DJ_NOTICES_TENANT_READERS_MAX; i++)
        assert_int_equal(join(crowd, tenant_a), DEJA_OK);
    assert_int_equal(join(crowd, tenant_a), DEJA_ERR_LIMIT);
    assert_int_equal(join(crowd, tenant_b), DEJA_OK); /* others are not kept out by one */
    dj_notices_close(crowd->readers[0]);
    crowd->readers[0] = crowd->readers[--crowd->count];
    assert_int_equal(join(crowd, tenant_a), DEJA_OK);
    while (crowd->count < DJ_NOTICES_READERS_MAX) {
        tenant[DJ_ID_BYTES - 1] = (uint8_t)(crowd->count % 100);
        assert_int_equal(join(crowd, tenant), DEJA_OK);
    }
    assert_int_equal(join(crowd, tenant_b), DEJA_ERR_LIMIT);
    assert_int_equal(join(crowd, NULL), DEJA_OK); /* the composition's own */
    for (uint32_t i = 0; i < crowd->count; i++)
        dj_notices_close(crowd->readers[i]);
}

static void a_tenant_has_a_share_of_the_places_and_all_together_are_bounded(void **state)
{
    (void)state;
    struct reading reading = {.tenant = tenant_a};
    struct crowd crowd = {.reading = &reading};
    begin(&reading);
    on_loop(reading.loops.loop[1], fill_places, &crowd);
    end(&reading);
}

static void notices_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_notices *notices = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_notices_create(&notices);
        if (status == DEJA_OK) {
            tell(notices, tenant_a, "one"); /* lost without memory, and counted so */
            assert_int_equal(dj_notices_last(notices), 1);
        }
        bool has_failed = failing_malloc_disarm();
        dj_notices_destroy(notices);
        if (!has_failed)
            break;
    }
    dj_notices_publish(NULL, NULL); /* nobody listens */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_is_told_of_its_own_tenant_in_order),
        cmocka_unit_test(a_reader_goes_on_where_it_was),
        cmocka_unit_test(who_is_too_slow_is_told_what_is_lost),
        cmocka_unit_test(what_is_kept_is_bounded_in_bytes),
        cmocka_unit_test(a_tenant_has_a_share_of_the_places_and_all_together_are_bounded),
        cmocka_unit_test(notices_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
