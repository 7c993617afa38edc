/* tests/unit/security/test_audit_search.c - lines of a log that are asked for, and only those. */
#include "security/audit_search.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "security/audit.h"

#define DAY INT64_C(86400000)
#define NOW INT64_C(1800000000000) /* 2027-01-15T08:00:00Z */

struct fixture {
    char directory[64];
    char path[96];
};

/* Three days, one file each: four events a day of two tenants. */
static int set_up(void **state)
{
    static struct fixture fixture;
    struct dj_audit *audit = NULL;
    struct deja_error error = {""};
    snprintf(fixture.directory, sizeof fixture.directory, "/tmp/deja-search-XXXXXX");
    if (!mkdtemp(fixture.directory))
        return 1;
    snprintf(fixture.path, sizeof fixture.path, "%s/audit", fixture.directory);
    const struct dj_audit_options options = {
        .directory = fixture.path, .file_age_ms = DAY / 2, .now_ms = NOW};
    if (dj_audit_open(&options, &audit, &error) != DEJA_OK)
        return 1;
    for (unsigned i = 0; i < 12; i++) {
        const uint8_t tenant[DJ_TENANT_BYTES] = {(uint8_t)(i % 2 + 1)};
        const struct dj_audit_event event = {.type = i % 4 == 3 ? DJ_AUDIT_ERASURE : DJ_AUDIT_ADMIN,
                                             .tenant = tenant,
                                             .operation = i % 4 == 3 ? "erase.done" : "tenant.x",
                                             .is_failure = i % 4 == 2};
        if (dj_audit_write(audit, &event, NOW + DAY * (i / 4)) != DEJA_OK)
            return 1;
    }
    dj_audit_close(audit);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    DIR *listing = opendir(fixture->path);
    for (struct dirent *entry = NULL; listing && (entry = readdir(listing));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", fixture->path, entry->d_name);
        unlink(path);
    }
    if (listing)
        closedir(listing);
    rmdir(fixture->path);
    return rmdir(fixture->directory);
}

struct found {
    uint64_t seqs[32];
    size_t count;
    size_t lines;
    size_t max;
};

static bool on_line(void *ctx, const struct dj_audit_line *line, struct deja_slice text,
                    bool is_match)
{
    struct found *found = ctx;
    assert_int_equal(text.data[0], '{');
    found->lines++;
    if (is_match)
        found->seqs[found->count++] = line->seq;
    return !found->max || found->count < found->max;
}

static struct found search(const struct fixture *fixture, const struct dj_audit_query *query,
                           bool is_newest_first)
{
    struct found found = {.count = 0};
    assert_int_equal(dj_audit_search(fixture->path, query, is_newest_first, &found, on_line),
                     DEJA_OK);
    return found;
}

static void every_line_is_met_in_both_orders(void **state)
{
    const struct dj_audit_query all = {.before_seq = 0};
    struct found up = search(*state, &all, false);
    struct found down = search(*state, &all, true);
    assert_int_equal(up.count, 13); /* the start's own is one of them */
    assert_int_equal(down.count, 13);
    for (size_t i = 0; i < 13; i++) {
        assert_int_equal(up.seqs[i], i + 1);
        assert_int_equal(down.seqs[i], 13 - i);
    }
}

static void each_filter_keeps_what_it_says(void **state)
{
    static const struct {
        struct dj_audit_query query;
        size_t count;
    } cases[] = {
        {{.from = "2027-01-16"}, 8},
        {{.to = "2027-01-15"}, 5},
        {{.from = "2027-01-16", .to = "2027-01-16T08"}, 4},
        {{.from = "2028"}, 0},
        {{.tenant = "01000000-0000-0000-0000-000000000000"}, 6},
        {{.type = {"erasure", 7}}, 3},
        {{.operation = {"erase", 5}}, 3},
        {{.operation = {"erase.done", 10}}, 3},
        {{.operation = {"eras", 4}}, 0},
        {{.result = {"failure", 7}}, 3},
        {{.before_seq = 4}, 3},
        {{.type = {"erasure", 7}, .tenant = "02000000-0000-0000-0000-000000000000"}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct found found = search(*state, &cases[i].query, true);
        assert_int_equal(found.count, cases[i].count);
        assert_int_equal(found.lines, 13);
    }
}

static void who_has_enough_stops_it(void **state)
{
    const struct fixture *fixture = *state;
    const struct dj_audit_query all = {.before_seq = 0};
    struct found found = {.max = 2};
    assert_int_equal(dj_audit_search(fixture->path, &all, true, &found, on_line), DEJA_OK);
    assert_int_equal(found.lines, 2);
    assert_int_equal(dj_audit_search("/nonexistent", &all, true, &found, on_line),
                     DEJA_ERR_NOT_FOUND);
}

static void a_time_is_a_front_of_one(void **state)
{
    (void)state;
    static const char *const good[] = {"2026", "2026-02", "2026-02-03T04:05:06.789Z"};
    static const char *const bad[] = {
        "", "202", "2026/02", "yesterday", "2026-02-03 04:05", "2026-02-03T04:05:06.789ZZ"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dj_audit_is_time(deja_slice_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dj_audit_is_time(deja_slice_text(bad[i])));
}

static void search_survives_each_failed_allocation(void **state)
{
    const struct fixture *fixture = *state;
    const struct dj_audit_query all = {.before_seq = 0};
    for (size_t n = 1;; n++) {
        struct found found = {.count = 0};
        failing_malloc_arm(n);
        enum deja_status status = dj_audit_search(fixture->path, &all, true, &found, on_line);
        bool has_failed = failing_malloc_disarm();
        assert_true(status == DEJA_OK || (has_failed && status == DEJA_ERR_NOMEM));
        if (!has_failed)
            break;
        assert_true(n < 1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_line_is_met_in_both_orders),
        TEST(each_filter_keeps_what_it_says),
        TEST(who_has_enough_stops_it),
        cmocka_unit_test(a_time_is_a_front_of_one),
        TEST(search_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
