/* tests/unit/daemon/test_savings.c - sums of past hours and days over restarts. */
#include "daemon/savings.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing_malloc.h"

#define HOUR_MS INT64_C(3600000)
#define NOW_MS (1000 * (int64_t)DJ_LEDGER_DAY_MS + HOUR_MS / 2)

static const uint8_t tenant[DJ_ID_BYTES] = {1};

struct place {
    char folder[64];
    char file[96];
};

static struct place place_of(void)
{
    struct place place = {.folder = "/tmp/deja-savings-XXXXXX"};
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.file, sizeof place.file, "%s/savings", place.folder);
    return place;
}

static void place_end(const struct place *place)
{
    (void)unlink(place->file);
    assert_int_equal(rmdir(place->folder), 0); /* nothing temporary is left */
}

/* A program: its sums, and what keeps them. */
struct program {
    struct dj_ledger *ledger;
    struct dj_savings *savings;
};

static struct program start(const struct place *place)
{
    struct program program = {.ledger = NULL};
    assert_int_equal(dj_ledger_create(&program.ledger), DEJA_OK);
    const struct dj_savings_options options = {.ledger = program.ledger, .data_dir = place->folder};
    assert_int_equal(dj_savings_create(&options, &program.savings), DEJA_OK);
    return program;
}

static void stop(struct program *program)
{
    dj_savings_keep(program->savings);
    dj_savings_destroy(program->savings);
    dj_ledger_destroy(program->ledger);
}

static void hit(struct program *program, const char *kind, int64_t now_ms)
{
    const uint64_t sums[DJ_LEDGER_SUM_COUNT] = {
        [DJ_LEDGER_HITS] = 1, [DJ_LEDGER_SPENT_NANO_USD] = UINT64_C(1) << 60};
    dj_ledger_add(program->ledger, tenant, kind, now_ms, sums);
}

static uint64_t sum_of(struct program *program, const char *kind, enum dj_ledger_sum which,
                       int64_t now_ms, uint64_t period_ms)
{
    struct dj_ledger_line lines[DJ_LEDGER_KINDS_MAX];
    int64_t from_ms = 0;
    size_t count = dj_ledger_read(program->ledger, tenant, now_ms, period_ms, lines, &from_ms);
    for (size_t i = 0; i < count; i++)
        if (strcmp(lines[i].kind, kind) == 0)
            return lines[i].sums[which];
    return 0;
}

static void sums_are_there_after_a_restart_and_go_on(void **state)
{
    (void)state;
    struct place place = place_of();
    const int64_t later_ms = NOW_MS + 3 * HOUR_MS;
    struct program program = start(&place);
    hit(&program, "response", NOW_MS);
    hit(&program, "response", later_ms);
    stop(&program);
    for (uint64_t run = 0; run < 3; run++) {
        program = start(&place);
        assert_int_equal(sum_of(&program, "response", DJ_LEDGER_HITS, later_ms, 0), 2 + run);
        assert_int_equal(sum_of(&program, "response", DJ_LEDGER_HITS, later_ms, HOUR_MS), 1 + run);
        assert_int_equal(
            sum_of(&program, "response", DJ_LEDGER_HITS, later_ms, DJ_LEDGER_PERIOD_MAX_MS),
            2 + run);
        assert_int_equal(sum_of(&program, "response", DJ_LEDGER_SPENT_NANO_USD, later_ms, HOUR_MS),
                         (1 + run) << 60);
        hit(&program, "response", later_ms);
        stop(&program);
    }
    struct stat file;
    assert_int_equal(stat(place.file, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    place_end(&place);
}

static void nothing_is_written_while_nothing_changes(void **state)
{
    (void)state;
    struct place place = place_of();
    struct program program = start(&place);
    hit(&program, "response", NOW_MS);
    dj_savings_keep(program.savings);
    assert_int_equal(unlink(place.file), 0);
    dj_savings_keep(program.savings);
    assert_int_equal(access(place.file, F_OK), -1);
    hit(&program, "response", NOW_MS);
    stop(&program);
    assert_int_equal(access(place.file, F_OK), 0);
    place_end(&place);
}

/* What a caller chose for a kind may be anything; only labels go to the disk. */
static void names_that_are_no_labels_are_not_written(void **state)
{
    (void)state;
    struct place place = place_of();
    struct program program = start(&place);
    hit(&program, "My secret: tell nobody", NOW_MS);
    hit(&program, "other", NOW_MS);
    stop(&program);
    char text[4096] = "";
    FILE *file = fopen(place.file, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    assert_null(strstr(text, "secret"));
    program = start(&place);
    assert_int_equal(sum_of(&program, "other", DJ_LEDGER_HITS, NOW_MS, 0), 2);
    stop(&program);
    place_end(&place);
}

static void damaged_lines_are_left_out(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"tenant\":\"01000000000000000000000000000000\",\"kind\":\"good\",\"hour\":24000,"
        "\"sums\":[5]}\n"
        "{\"tenant\":\"01\",\"kind\":\"bad\",\"hour\":24000,\"sums\":[5]}\n"
        "{\"tenant\":\"01000000000000000000000000000000\",\"kind\":\"bad\",\"hour\":-1,"
        "\"sums\":[5]}\n"
        "{\"tenant\":\"01000000000000000000000000000000\",\"kind\":\"bad\",\"hour\":24000,"
        "\"sums\":[\"5\"]}\n"
        "{\"tenant\":\"01000000000000000000000000000000\",\"hour\":24000,\"sums\":[5]}\n"
        "\n[]\nno JSON\n{\"tenant\":\"01000000000000";
    struct place place = place_of();
    FILE *file = fopen(place.file, "w");
    assert_non_null(file);
    assert_true(fputs(lines, file) >= 0);
    fclose(file);
    struct program program = start(&place);
    assert_int_equal(sum_of(&program, "good", DJ_LEDGER_HITS, NOW_MS, 0), 5);
    assert_int_equal(sum_of(&program, "bad", DJ_LEDGER_HITS, NOW_MS, 0), 0);
    stop(&program);
    place_end(&place);
}

static void survives_each_failed_allocation(void **state)
{
    (void)state;
    struct place place = place_of();
    struct program program = start(&place);
    hit(&program, "response", NOW_MS);
    stop(&program);
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_savings *savings = NULL;
        struct dj_ledger *ledger = NULL;
        assert_int_equal(dj_ledger_create(&ledger), DEJA_OK);
        const struct dj_savings_options options = {.ledger = ledger, .data_dir = place.folder};
        failing_malloc_arm(n);
        enum deja_status status = dj_savings_create(&options, &savings);
        has_failed = failing_malloc_disarm();
        assert_true((status == DEJA_OK) == (savings != NULL));
        assert_true(status == DEJA_OK || has_failed);
        dj_savings_destroy(savings);
        dj_ledger_destroy(ledger);
    }
    place_end(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_there_after_a_restart_and_go_on),
        cmocka_unit_test(nothing_is_written_while_nothing_changes),
        cmocka_unit_test(names_that_are_no_labels_are_not_written),
        cmocka_unit_test(damaged_lines_are_left_out),
        cmocka_unit_test(survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
