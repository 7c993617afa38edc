/* tests/unit/proxy/test_ledger.c - sums by tenant and kind over hours and days. */
#include "check.h"

#include <pthread.h>
#include <stdio.h>

#include "proxy/ledger.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define NOW_MS (1000 * DAY_MS + HOUR_MS / 2)

static const uint8_t tenant[DJ_ID_BYTES] = {1};
static const uint8_t other[DJ_ID_BYTES] = {2};

static void hit(struct dj_ledger *ledger, const uint8_t *id, const char *kind, int64_t now_ms)
{
    const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {[DJ_LEDGER_HITS] = 1, [DJ_LEDGER_NANO_USD] = 10};
    dj_ledger_add(ledger, id, kind, now_ms, sums);
}

/* Hits of that kind, 0 when there is no such line. */
static uint64_t hits_of(struct dj_ledger *ledger, const uint8_t *id, const char *kind,
                        int64_t now_ms, uint64_t period_ms)
{
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    int64_t from_ms = 0;
    size_t count = dj_ledger_read(ledger, id, now_ms, period_ms, lines, &from_ms);
    assert_true(from_ms <= now_ms - (int64_t)(period_ms ? period_ms : DJ_LEDGER_DAY_MS) ||
                period_ms > DJ_LEDGER_PERIOD_MAX_MS);
    for (size_t i = 0; i < count; i++)
        if (strcmp(lines[i].kind, kind) == 0)
            return lines[i].sums[DJ_LEDGER_HITS];
    return 0;
}

static struct dj_ledger *make(void)
{
    struct dj_ledger *ledger = NULL;
    assert_int_equal(dj_ledger_create(&ledger), DEJA_OK);
    return ledger;
}

static void tenants_and_kinds_are_kept_apart(void **state)
{
    (void)state;
    struct dj_ledger *ledger = make();
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    int64_t from_ms = 0;
    hit(ledger, tenant, "response", NOW_MS);
    hit(ledger, tenant, "ocr", NOW_MS);
    hit(ledger, tenant, "ocr", NOW_MS);
    hit(ledger, other, "ocr", NOW_MS);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS, 0), 1);
    assert_int_equal(hits_of(ledger, tenant, "ocr", NOW_MS, 0), 2);
    assert_int_equal(hits_of(ledger, other, "response", NOW_MS, 0), 0);
    assert_int_equal(hits_of(ledger, NULL, "ocr", NOW_MS, 0), 3);
    assert_int_equal(dj_ledger_read(ledger, tenant, NOW_MS, 0, lines, &from_ms), 2);
    assert_string_equal(lines[0].kind, "ocr"); /* by name */
    assert_int_equal(lines[0].sums[DJ_LEDGER_NANO_USD], 20);
    dj_ledger_destroy(ledger);
}

static void period_leaves_out_what_is_older(void **state)
{
    (void)state;
    struct dj_ledger *ledger = make();
    for (int hours = 40; hours >= 0; hours--)
        hit(ledger, tenant, "response", NOW_MS - hours * HOUR_MS);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS, HOUR_MS), 2);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS, 0), 25);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS, 7 * DAY_MS), 41);
    /* later, nothing new: they leave one after the other */
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS + 10 * HOUR_MS, 0), 15);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS + 30 * HOUR_MS, 0), 0);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS + 40 * DAY_MS, 30 * DAY_MS), 0);
    dj_ledger_destroy(ledger);
}

static void bucket_used_again_begins_empty(void **state)
{
    (void)state;
    struct dj_ledger *ledger = make();
    hit(ledger, tenant, "response", NOW_MS);
    hit(ledger, tenant, "response", NOW_MS + 25 * HOUR_MS); /* the same place of the ring */
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS + 25 * HOUR_MS, HOUR_MS), 1);
    hit(ledger, tenant, "response", NOW_MS + 1000 * DAY_MS);
    assert_int_equal(
        hits_of(ledger, tenant, "response", NOW_MS + 1000 * DAY_MS, DJ_LEDGER_PERIOD_MAX_MS), 1);
    hit(ledger, tenant, "response", NOW_MS); /* long gone: dropped */
    assert_int_equal(
        hits_of(ledger, tenant, "response", NOW_MS + 1000 * DAY_MS, DJ_LEDGER_PERIOD_MAX_MS), 1);
    dj_ledger_destroy(ledger);
}

static void strangers_names_of_kinds_are_bounded(void **state)
{
    (void)state;
    struct dj_ledger *ledger = make();
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    int64_t from_ms = 0;
    hit(ledger, tenant, "a kind whose name is longer than there is room for", NOW_MS);
    assert_int_equal(hits_of(ledger, tenant, "other", NOW_MS, 0), 1);
    for (unsigned i = 0; i < 2 * DJ_LEDGER_ACCOUNTS_MAX; i++) {
        char kind[DJ_LEDGER_KIND_BYTES];
        snprintf(kind, sizeof kind, "k%u", i);
        hit(ledger, tenant, kind, NOW_MS);
    }
    assert_int_equal(dj_ledger_read(ledger, tenant, NOW_MS, 0, lines, &from_ms),
                     DJ_LEDGER_KINDS_MAX);
    dj_ledger_destroy(ledger);
}

static void *add_many(void *ctx)
{
    for (int i = 0; i < 20000; i++)
        hit(ctx, tenant, "response", NOW_MS + i / 5000 * HOUR_MS);
    return NULL;
}

static void threads_lose_nothing_where_hours_begin(void **state)
{
    (void)state;
    struct dj_ledger *ledger = make();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, ledger), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(hits_of(ledger, tenant, "response", NOW_MS + 3 * HOUR_MS, 0), 80000);
    dj_ledger_destroy(ledger);
}

static void ledger_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_ledger *ledger = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_ledger_create(&ledger);
        if (status == DEJA_OK)
            hit(ledger, tenant, "response", NOW_MS);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(ledger == NULL, status != DEJA_OK);
        dj_ledger_destroy(ledger);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenants_and_kinds_are_kept_apart),
        cmocka_unit_test(period_leaves_out_what_is_older),
        cmocka_unit_test(bucket_used_again_begins_empty),
        cmocka_unit_test(strangers_names_of_kinds_are_bounded),
        cmocka_unit_test(threads_lose_nothing_where_hours_begin),
        cmocka_unit_test(ledger_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
