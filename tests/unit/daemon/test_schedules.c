/* tests/unit/daemon/test_schedules.c - the list of schedules follows the authority. */
#include "daemon/schedules.h"
#include "check.h"

#include <stdio.h>
#include <unistd.h>

#include "../cache/engine_fixture.h"
#include "base/buf.h"
#include "memory_authority.h"

#define TENANT "01234567-89ab-8cde-8f01-23456789abcd"
#define OTHER "11234567-89ab-8cde-8f01-23456789abcd"
#define FIRST "00000000000000000000000000000001"
#define SECOND "00000000000000000000000000000002"

static const char document[] = "{\"id\":\"%s\",\"tenant\":\"" TENANT
                               "\",\"next_ms\":%d,\"created_ms\":1,\"last_ms\":0,\"cron\":null,"
                               "\"runs\":0,\"invalidate\":{\"kind\":\"tag\",\"tag\":\"t\"}}";

static void tell(struct dj_schedules *schedules, const char *id, int next_ms)
{
    char text[512];
    snprintf(text, sizeof text, document, id, next_ms);
    dj_schedules_on_change(schedules, "schedules", deja_slice_text(id), deja_slice_text(text));
}

/* Ids of the tenant's, in order, parted by a comma. */
static void list(struct dj_schedules *schedules, struct dj_buf *out)
{
    const struct dj_schedule_service *service = dj_schedules_service(schedules);
    struct dj_json_writer w = dj_json_writer(out);
    uint8_t tenant[DJ_TENANT_BYTES];
    assert_int_equal(dj_tenant_parse(deja_slice_text(TENANT), tenant), DEJA_OK);
    dj_json_begin_array(&w);
    service->list(service->ctx, tenant, NULL, &w);
    dj_json_end_array(&w);
    dj_buf_append_byte(out, '\0');
}

static void the_list_follows_the_authority_soonest_first(void **state)
{
    (void)state;
    static struct memory_authority memory;
    struct dj_schedules *schedules = NULL;
    struct dj_buf text = {0};
    memory_authority_init(&memory);
    const struct dj_schedules_options options = {.authority = &memory.authority};
    assert_int_equal(dj_schedules_create(&options, &schedules), DEJA_OK);
    tell(schedules, FIRST, 2000);
    tell(schedules, SECOND, 1000);
    dj_schedules_on_change(schedules, "schedules", deja_slice_text(FIRST),
                           deja_slice_text("not of the form"));
    dj_schedules_on_change(schedules, "others", deja_slice_text(FIRST), deja_slice(NULL, 0));
    list(schedules, &text);
    const char *first = strstr(text.data, FIRST);
    const char *second = strstr(text.data, SECOND);
    assert_true(first && second && second < first);
    assert_non_null(strstr(text.data, "\"next_at\":\"1970-01-01T00:00:02.000Z\""));
    dj_buf_clear(&text);
    dj_schedules_on_change(schedules, "schedules", deja_slice_text(SECOND), deja_slice(NULL, 0));
    list(schedules, &text);
    assert_null(strstr(text.data, SECOND));
    dj_buf_fini(&text);
    assert_int_equal(dj_schedules_running(schedules), 0);
    dj_schedules_destroy(schedules);
}

static bool count_one(void *ctx, struct deja_slice key, struct deja_slice value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

static void an_erased_tenant_leaves_no_schedule_and_others_keep_theirs(void **state)
{
    (void)state;
    static struct memory_authority memory;
    const struct dj_authority *authority = &memory.authority;
    static const char of_other[] = "{\"id\":\"" SECOND "\",\"tenant\":\"" OTHER
                                   "\",\"next_ms\":9,\"invalidate\":{\"all\":true}}";
    struct dj_schedules *schedules = NULL;
    struct dj_buf text = {0};
    char first[512];
    uint8_t tenant[DJ_TENANT_BYTES];
    size_t left = 0;
    memory_authority_init(&memory);
    snprintf(first, sizeof first, document, FIRST, 1000);
    assert_int_equal(authority->put(authority->ctx, "schedules", deja_slice_text(FIRST),
                                    deja_slice_text(first), true),
                     DEJA_OK);
    assert_int_equal(authority->put(authority->ctx, "schedules", deja_slice_text(SECOND),
                                    deja_slice_text(of_other), true),
                     DEJA_OK);
    const struct dj_schedules_options options = {.authority = authority};
    assert_int_equal(dj_schedules_create(&options, &schedules), DEJA_OK);
    assert_int_equal(dj_tenant_parse(deja_slice_text(TENANT), tenant), DEJA_OK);
    assert_int_equal(dj_schedules_erase(schedules, tenant), DEJA_OK);
    assert_int_equal(dj_schedules_erase(schedules, tenant), DEJA_OK);
    list(schedules, &text);
    assert_string_equal(text.data, "[]");
    assert_int_equal(authority->walk(authority->ctx, "schedules", &left, count_one), DEJA_OK);
    assert_int_equal(left, 1);
    dj_buf_fini(&text);
    dj_schedules_destroy(schedules);
}

/* An authority in whose put of the next time somebody else's removal has just ended. */
static struct memory_authority kept;
static struct dj_schedules *running;

static enum deja_status put_late(void *ctx, const char *table, struct deja_slice key,
                                 struct deja_slice value, bool is_new)
{
    if (strcmp(table, "schedules") == 0 && !is_new) {
        assert_int_equal(kept.authority.remove(ctx, table, key), DEJA_OK);
        dj_schedules_on_change(running, table, key, deja_slice(NULL, 0));
    }
    return kept.authority.put(ctx, table, key, value, is_new);
}

static void tick(void *ctx)
{
    dj_schedules_tick(ctx);
}

static void a_schedule_that_is_removed_while_it_runs_does_not_come_back(void **state)
{
    (void)state;
    static const char every_minute[] =
        "{\"id\":\"" FIRST "\",\"tenant\":\"" TENANT "\",\"next_ms\":1,\"created_ms\":1,"
        "\"cron\":\"* * * * *\",\"invalidate\":{\"kind\":\"tag\",\"tag\":\"t\"}}";
    struct fixture fixture;
    struct dj_buf text = {0};
    size_t left = 0;
    fixture_open(&fixture);
    memory_authority_init(&kept);
    struct dj_authority authority = kept.authority;
    authority.put = put_late;
    assert_int_equal(kept.authority.put(authority.ctx, "schedules", deja_slice_text(FIRST),
                                        deja_slice_text(every_minute), true),
                     DEJA_OK);
    const struct dj_schedules_options options = {.engine = fixture.engine,
                                                 .loop = fixture.loops.loop[0],
                                                 .pool = fixture.pool,
                                                 .authority = &authority};
    assert_int_equal(dj_schedules_create(&options, &running), DEJA_OK);
    on_loop(options.loop, tick, running);
    while (dj_schedules_running(running) > 0)
        usleep(1000);
    list(running, &text);
    assert_string_equal(text.data, "[]");
    assert_int_equal(authority.walk(authority.ctx, "schedules", &left, count_one), DEJA_OK);
    assert_int_equal(left, 0);
    dj_buf_fini(&text);
    fixture_close(&fixture);
    dj_schedules_destroy(running);
}

/* ---- places ---- */

enum { ADDS = 2 };

struct adding {
    struct dj_schedules *schedules;
    struct dj_loop *loop;
    enum deja_status begun[ADDS];
    struct event told[ADDS];
    enum deja_status status[ADDS];
};

static struct adding *adding_now;

static void on_told(void *ctx, enum deja_status status, const uint8_t *id)
{
    int at = (int)(intptr_t)ctx;
    (void)id;
    adding_now->status[at] = status;
    event_set(&adding_now->told[at]);
}

static void add_some(void *ctx)
{
    struct adding *adding = ctx;
    const struct dj_schedule_service *service = dj_schedules_service(adding->schedules);
    struct dj_invalidation invalidation = {.kind = "tag",
                                           .selector = {.tag = deja_slice_text("t")}};
    struct dj_schedule_order order = {.invalidation = &invalidation, .at_ms = INT64_MAX / 2};
    assert_int_equal(dj_tenant_parse(deja_slice_text(TENANT), order.tenant), DEJA_OK);
    for (int i = 0; i < ADDS; i++) {
        event_init(&adding->told[i]);
        adding->begun[i] =
            service->add(service->ctx, adding->loop, &order, (void *)(intptr_t)i, on_told);
    }
}

static size_t count_list(struct dj_schedules *schedules)
{
    struct dj_buf text = {0};
    size_t count = 0;
    list(schedules, &text);
    for (const char *at = text.data; (at = strstr(at, "\"next_at\"")); at++)
        count++;
    dj_buf_fini(&text);
    return count;
}

/* The second of two that come at once finds the last place taken, though nothing is kept yet; it
 * is free again when the first came to nothing. */
static void the_last_place_is_taken_once(void **state)
{
    (void)state;
    static struct memory_authority memory;
    struct fixture fixture;
    struct adding adding = {0};
    fixture_open(&fixture);
    memory_authority_init(&memory);
    adding_now = &adding;
    const struct dj_schedules_options options = {.engine = fixture.engine,
                                                 .loop = fixture.loops.loop[0],
                                                 .pool = fixture.pool,
                                                 .authority = &memory.authority};
    assert_int_equal(dj_schedules_create(&options, &adding.schedules), DEJA_OK);
    adding.loop = options.loop;
    for (unsigned i = 1; i < DJ_SCHEDULES_TENANT_MAX; i++) {
        char id[33];
        snprintf(id, sizeof id, "%032x", i);
        tell(adding.schedules, id, 1000);
    }
    memory.trouble = DEJA_ERR_IO;
    on_loop(adding.loop, add_some, &adding);
    assert_int_equal(adding.begun[0], DEJA_OK);
    assert_int_equal(adding.begun[1], DEJA_ERR_LIMIT);
    event_wait(&adding.told[0]);
    drain_loop(adding.loop);
    assert_int_equal(adding.status[0], DEJA_ERR_IO);
    memory.trouble = DEJA_OK;
    on_loop(adding.loop, add_some, &adding);
    assert_int_equal(adding.begun[0], DEJA_OK);
    assert_int_equal(adding.begun[1], DEJA_ERR_LIMIT);
    event_wait(&adding.told[0]);
    drain_loop(adding.loop);
    assert_int_equal(adding.status[0], DEJA_OK);
    assert_int_equal(count_list(adding.schedules), DJ_SCHEDULES_TENANT_MAX);
    fixture_close(&fixture);
    dj_schedules_destroy(adding.schedules);
}

static void schedules_survive_each_failed_allocation(void **state)
{
    (void)state;
    static struct memory_authority memory;
    char text[512];
    memory_authority_init(&memory);
    snprintf(text, sizeof text, document, FIRST, 1000);
    assert_int_equal(memory.authority.put(memory.authority.ctx, "schedules", deja_slice_text(FIRST),
                                          deja_slice_text(text), true),
                     DEJA_OK);
    const struct dj_schedules_options options = {.authority = &memory.authority};
    for (size_t n = 1;; n++) {
        struct dj_schedules *schedules = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_schedules_create(&options, &schedules);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || schedules == NULL);
        dj_schedules_destroy(schedules);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_list_follows_the_authority_soonest_first),
        cmocka_unit_test(an_erased_tenant_leaves_no_schedule_and_others_keep_theirs),
        cmocka_unit_test(a_schedule_that_is_removed_while_it_runs_does_not_come_back),
        cmocka_unit_test(the_last_place_is_taken_once),
        cmocka_unit_test(schedules_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
