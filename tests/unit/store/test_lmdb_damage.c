/* Damage, power cuts and a second process. */
#include "lmdb_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

/* ---- damage ---- */

static char *data_path(struct fixture *fixture, char path[128])
{
    snprintf(path, 128, "%s/entries/data.mdb", fixture->directory.path);
    return path;
}

/* Changes one byte after each place where text stands in the data file; how many. */
static uint32_t damage(struct fixture *fixture, const char *text)
{
    char path[128];
    int fd = open(data_path(fixture, path), O_RDWR);
    assert_true(fd >= 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *bytes = test_malloc((size_t)size);
    assert_int_equal(pread(fd, bytes, (size_t)size, 0), size);
    size_t len = strlen(text);
    uint32_t count = 0;
    for (size_t i = 0; i + len <= (size_t)size; i++)
        if (memcmp(bytes + i, text, len) == 0) {
            assert_int_equal(pwrite(fd, "?", 1, (off_t)(i + len / 2)), 1);
            count++;
        }
    test_free(bytes);
    close(fd);
    return count;
}

static const char unique[] = "kQ3zP9xW7vR1tY5uI8oL2mN6bV4cX0aS";

static void corrupt_record_is_a_miss_and_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, unique));
    put(&fixture, value_of(1, 2, 1, "another body"));
    stop(&fixture);
    assert_true(damage(&fixture, unique) >= 1);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded); /* the same boot: nobody looked */
    assert_false(has(&fixture, 1, 1));
    assert_int_equal(stats_of(&fixture, 0).corrupt, 1);
    put(&fixture, value_of(1, 3, 1, "after")); /* queued behind the removal */
    assert_int_equal(stats_of(&fixture, 0).entries, 2);
    assert_true(has_body(&fixture, 1, 2, "another body"));
    put(&fixture, value_of(1, 1, 1, "anew"));
    assert_true(has_body(&fixture, 1, 1, "anew"));
    destroy(&fixture);
}

/* A process that writes, claims to have been booted elsewhere, and dies without closing. */
static void write_and_die(struct fixture *fixture, const char *state_key, const char *state_value)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (start(fixture) != DEJA_OK)
            _exit(1);
        for (uint32_t id = 0; id < 50; id++)
            if (wait_put(fixture->store, loop_of(fixture), value_of(1, id, 1, unique)) != DEJA_OK)
                _exit(2);
        put_vector(fixture, 1, 1, 100, 1, 0);
        if (dj_lmdb_meta_put(dj_lmdb_meta_of(fixture->store), "state", deja_slice_text(state_key),
                             deja_slice_text(state_value)) != DEJA_OK)
            _exit(3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void begin_unclean(struct fixture *fixture, const char *state_key, const char *state_value)
{
    *fixture = (struct fixture){.options = {0}};
    directory_create(&fixture->directory);
    write_and_die(fixture, state_key, state_value);
}

static void whole_entries_survive_the_check_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 51);
    assert_true(has_body(&fixture, 1, 7, unique));
    destroy(&fixture);
}

static void damaged_entries_are_discarded_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    assert_true(damage(&fixture, unique) >= 50);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    put(&fixture, value_of(1, 1, 1, "anew"));
    reopen(&fixture);
    assert_false(fixture.is_discarded);
    assert_true(has_body(&fixture, 1, 1, "anew"));
    destroy(&fixture);
}

static void cut_file_is_discarded_after_another_boot(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "boot", "another boot");
    char path[128];
    assert_int_equal(truncate(data_path(&fixture, path), 5 * 4096), 0);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    destroy(&fixture);
}

static void tier_that_met_a_bad_page_is_checked_at_the_next_start(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, unique));
    assert_int_equal(dj_lmdb_meta_put(dj_lmdb_meta_of(fixture.store), "state",
                                      deja_slice_text("suspect"), deja_slice_text("1")),
                     DEJA_OK);
    stop(&fixture);
    assert_true(damage(&fixture, unique) >= 1);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    reopen(&fixture);
    assert_false(fixture.is_discarded);
    destroy(&fixture);
}

static void garbage_file_is_discarded(void **state)
{
    (void)state;
    struct fixture fixture;
    create(&fixture, (struct dj_lmdb_options){0});
    put(&fixture, value_of(1, 1, 1, "body"));
    stop(&fixture);
    char path[128];
    int fd = open(data_path(&fixture, path), O_WRONLY | O_TRUNC);
    char garbage[9000];
    fill(garbage, sizeof garbage, 3);
    assert_int_equal(write(fd, garbage, sizeof garbage), sizeof garbage);
    close(fd);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 0);
    destroy(&fixture);
}

static void check_that_did_not_survive_discards_at_the_next_start(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "verifying", "1");
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_true(fixture.is_discarded);
    reopen(&fixture);
    assert_false(fixture.is_discarded);
    destroy(&fixture);
}

static void killed_process_of_the_same_boot_is_trusted(void **state)
{
    (void)state;
    struct fixture fixture;
    begin_unclean(&fixture, "unrelated", "1");
    assert_true(damage(&fixture, unique) >= 50);
    assert_int_equal(start(&fixture), DEJA_OK);
    assert_false(fixture.is_discarded);
    assert_int_equal(stats_of(&fixture, 0).entries, 51);
    assert_false(has(&fixture, 1, 7)); /* and still nothing damaged is served */
    destroy(&fixture);
}

/* ---- processes ---- */

static void second_process_is_told_busy(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture = (struct fixture){.options = {0}};
    directory_create(&fixture.directory);
    int gate[2];
    int verdict[2];
    assert_int_equal(pipe(gate), 0);
    assert_int_equal(pipe(verdict), 0);
    fflush(NULL);
    pid_t child = fork(); /* before threads are started here */
    assert_true(child >= 0);
    if (child == 0) {
        close(gate[1]);
        char byte;
        if (read(gate[0], &byte, 1) != 1)
            _exit(1);
        byte = start(&fixture) == DEJA_ERR_BUSY ? 'b' : 'x';
        _exit(write(verdict[1], &byte, 1) == 1 ? 0 : 1);
    }
    assert_int_equal(start(&fixture), DEJA_OK);
    struct dj_store *second = NULL;
    assert_int_equal(dj_lmdb_open(&fixture.options, &second, NULL, NULL), DEJA_ERR_BUSY);
    assert_null(second);
    assert_int_equal(write(gate[1], "g", 1), 1);
    char byte = 0;
    assert_int_equal(read(verdict[0], &byte, 1), 1);
    assert_int_equal(byte, 'b');
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(gate[0]);
    close(gate[1]);
    close(verdict[0]);
    close(verdict[1]);
    destroy(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corrupt_record_is_a_miss_and_removed),
        cmocka_unit_test(whole_entries_survive_the_check_after_another_boot),
        cmocka_unit_test(damaged_entries_are_discarded_after_another_boot),
        cmocka_unit_test(cut_file_is_discarded_after_another_boot),
        cmocka_unit_test(tier_that_met_a_bad_page_is_checked_at_the_next_start),
        cmocka_unit_test(garbage_file_is_discarded),
        cmocka_unit_test(check_that_did_not_survive_discards_at_the_next_start),
        cmocka_unit_test(killed_process_of_the_same_boot_is_trusted),
        cmocka_unit_test(second_process_is_told_busy),
    };
    return RUN_TESTS(tests);
}
