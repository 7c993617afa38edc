/* tests/unit/security/test_audit.c - the log itself: what is acknowledged is on the disk, what a
 * kill or a full disk leaves is recovered, what is lost is told. */
#include "security/audit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/num.h"
#include "check.h"
#include "security/audit_chain.h"

#define NOW 1800000000000

/* ---- an authority in memory ---- */

struct row {
    char key[32];
    char value[1024];
};

struct fixture {
    char directory[64];
    char path[96];
    struct row rows[4];
    unsigned row_count;
    bool is_authority_down;
    struct dj_authority authority;
    pthread_mutex_t lock;
};

static struct row *find_row(struct fixture *fixture, struct deja_slice key)
{
    for (unsigned i = 0; i < fixture->row_count; i++)
        if (deja_slice_is_equal(key, deja_slice_text(fixture->rows[i].key)))
            return &fixture->rows[i];
    return NULL;
}

static enum deja_status on_get(void *ctx, const char *table, struct deja_slice key, void *found_ctx,
                               dj_authority_found_fn *found)
{
    struct fixture *fixture = ctx;
    assert_string_equal(table, DJ_AUDIT_HEADS_TABLE);
    if (fixture->is_authority_down)
        return DEJA_ERR_IO;
    struct row *row = find_row(fixture, key);
    if (!row)
        return DEJA_ERR_NOT_FOUND;
    found(found_ctx, deja_slice_text(row->value));
    return DEJA_OK;
}

static enum deja_status on_put(void *ctx, const char *table, struct deja_slice key,
                               struct deja_slice value, bool is_new)
{
    struct fixture *fixture = ctx;
    (void)table;
    assert_false(is_new);
    if (fixture->is_authority_down)
        return DEJA_ERR_TIMEOUT;
    struct row *row = find_row(fixture, key);
    if (!row)
        row = &fixture->rows[fixture->row_count++];
    snprintf(row->key, sizeof row->key, "%.*s", (int)key.len, key.data);
    snprintf(row->value, sizeof row->value, "%.*s", (int)value.len, value.data);
    return DEJA_OK;
}

static enum deja_status on_walk(void *ctx, const char *table, void *each_ctx,
                                dj_authority_each_fn *each)
{
    struct fixture *fixture = ctx;
    (void)table;
    for (unsigned i = 0; i < fixture->row_count; i++)
        each(each_ctx, deja_slice_text(fixture->rows[i].key),
             deja_slice_text(fixture->rows[i].value));
    return DEJA_OK;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.row_count = 0};
    snprintf(fixture.directory, sizeof fixture.directory, "/tmp/deja-audit-XXXXXX");
    if (!mkdtemp(fixture.directory))
        return 1;
    snprintf(fixture.path, sizeof fixture.path, "%s/audit", fixture.directory);
    fixture.authority = (struct dj_authority){
        .ctx = &fixture, .name = "test", .get = on_get, .put = on_put, .walk = on_walk};
    *state = &fixture;
    return 0;
}

static void remove_files(const char *directory)
{
    DIR *listing = opendir(directory);
    for (struct dirent *entry = NULL; listing && (entry = readdir(listing));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        unlink(path);
    }
    if (listing)
        closedir(listing);
    rmdir(directory);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    remove_files(fixture->path);
    return rmdir(fixture->directory);
}

/* ---- helpers ---- */

static struct dj_audit *open_log(struct fixture *fixture, uint64_t file_bytes_max)
{
    struct dj_audit *audit = NULL;
    struct deja_error error = {""};
    const struct dj_audit_options options = {.directory = fixture->path,
                                             .file_bytes_max = file_bytes_max,
                                             .authority = &fixture->authority,
                                             .place = "here",
                                             .now_ms = NOW};
    enum deja_status status = dj_audit_open(&options, &audit, &error);
    assert_string_equal(error.message, "");
    assert_int_equal(status, DEJA_OK);
    return audit;
}

static enum deja_status write_event(struct dj_audit *audit, const char *operation)
{
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN, .operation = operation};
    return dj_audit_write(audit, &event, NOW);
}

/* All files, one after another. */
static void read_log(const struct fixture *fixture, struct dj_buf *out)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    assert_int_equal(dj_audit_files(fixture->path, &numbers, &count), DEJA_OK);
    for (size_t i = 0; i < count; i++) {
        char path[256];
        char bytes[4096];
        assert_true(dj_audit_file_path(fixture->path, numbers[i], path, sizeof path));
        int fd = open(path, O_RDONLY);
        assert_true(fd >= 0);
        for (ssize_t len = 0; (len = read(fd, bytes, sizeof bytes)) > 0;)
            dj_buf_append(out, bytes, (size_t)len);
        close(fd);
    }
    dj_buf_append_byte(out, '\0');
    out->len--;
    dj_free(numbers);
}

static void check_log(struct fixture *fixture, struct dj_buf *log, struct dj_audit_fault *fault)
{
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    uint8_t known[DJ_SIGN_PUBLIC_BYTES];
    struct dj_audit_head head = {.seq = 0};
    assert_int_equal(dj_audit_read_public(fixture->path, public_key), DEJA_OK);
    struct dj_audit_chain chain = {.public_key = public_key};
    if (fixture->row_count) {
        assert_int_equal(dj_audit_head_read(deja_slice_text(fixture->rows[0].value), &head, known),
                         DEJA_OK);
        assert_memory_equal(known, public_key, sizeof known);
        chain.head = &head;
    }
    log->len = 0;
    read_log(fixture, log);
    dj_audit_chain_check(&chain, dj_buf_slice(log), deja_slice(NULL, 0), fault);
    if (fault->verdict == DJ_AUDIT_INTACT)
        fault->verdict = dj_audit_chain_end(&chain, &fault->reason);
}

static void assert_intact(struct fixture *fixture, struct dj_buf *log)
{
    struct dj_audit_fault fault;
    check_log(fixture, log, &fault);
    assert_string_equal(fault.reason.message, "");
    assert_int_equal(fault.verdict, DJ_AUDIT_INTACT);
}

static void last_path(const struct fixture *fixture, char *out_path, size_t size)
{
    uint32_t *numbers = NULL;
    size_t count = 0;
    assert_int_equal(dj_audit_files(fixture->path, &numbers, &count), DEJA_OK);
    assert_true(dj_audit_file_path(fixture->path, numbers[count - 1], out_path, size));
    dj_free(numbers);
}

/* ---- tests ---- */

static void a_written_event_is_on_the_disk_when_write_returns(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit *audit = open_log(fixture, 0);
    const struct dj_principal who = {.tenant = {1},
                                     .has_tenant = true,
                                     .origin = DJ_ORIGIN_KEY,
                                     .key_id = "dk_1",
                                     .has_user = true,
                                     .user = {0xab}};
    const uint8_t tenant[DJ_TENANT_BYTES] = {2};
    const struct dj_audit_event event = {.type = DJ_AUDIT_KEY,
                                         .who = &who,
                                         .tenant = tenant,
                                         .operation = "key.revoke",
                                         .resource = "dk_2",
                                         .is_failure = true,
                                         .error = "not_found",
                                         .duration_us = 17,
                                         .metadata = "{\"why\":\"lost \\\"it\\\"\",\"error\":1}",
                                         .request_id = "req \xff",
                                         .trace_id = "0af7651916cd43dd8448eb211c80319c"};
    assert_int_equal(dj_audit_write(audit, &event, NOW), DEJA_OK);
    assert_intact(fixture, &log);
    static const char *const parts[] = {
        "\"time\":\"2027-01-15T08:00:00.000Z\"",
        "\"event_type\":\"key\"",
        "\"operation\":\"key.revoke\"",
        "\"result\":\"failure\"",
        "\"actor\":\"key\"",
        "\"tenant_id\":\"02000000-",
        "\"actor_tenant_id\":\"01000000-",
        "\"key_id\":\"dk_1\"",
        "\"user_id\":\"ab00",
        "\"resource\":\"dk_2\"",
        "\"duration_us\":17",
        "\"metadata\":{\"error\":\"not_found\",\"why\":\"lost \\\"it\\\"\"}",
        "\"request_id\":\"req ?\"",
        "\"trace_id\":\"0af7",
        "\"sig\":\""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(log.data, parts[i]));
    assert_null(strstr(log.data, "\"error\":1"));
    char path[256];
    struct stat info;
    last_path(fixture, path, sizeof path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    dj_audit_close(audit);
    dj_buf_fini(&log);
}

static void what_was_noted_is_written_by_the_tick_and_by_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit *audit = open_log(fixture, 0);
    const struct dj_audit_event event = {.type = DJ_AUDIT_CACHE_OPERATION,
                                         .operation = "entry.put"};
    struct dj_audit_stats stats = {.queued = 1};
    dj_audit_note(audit, &event, NOW);
    dj_audit_tick(audit, NOW + 1000);
    while (stats.queued || !stats.seq)
        dj_audit_stats(audit, &stats);
    assert_int_equal(stats.seq, 2); /* it and the start's own */
    dj_audit_note(audit, &event, NOW);
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    assert_non_null(strstr(log.data, "\"seq\":3,"));
    dj_buf_fini(&log);
}

static void the_chain_goes_on_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    for (unsigned i = 0; i < 3; i++) {
        struct dj_audit *audit = open_log(fixture, 0);
        assert_int_equal(write_event(audit, "config.reload"), DEJA_OK);
        dj_audit_close(audit);
    }
    assert_intact(fixture, &log);
    assert_non_null(strstr(log.data, "\"seq\":6,"));
    dj_buf_fini(&log);
}

static void half_a_line_is_cut_off_and_told(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    char path[256];
    struct dj_audit *audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    dj_audit_close(audit);
    last_path(fixture, path, sizeof path);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "{\"v\":1,\"seq\":3", 14), 14);
    close(fd);
    audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.delete"), DEJA_OK);
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    assert_non_null(strstr(log.data, "audit.torn"));
    assert_non_null(strstr(log.data, "{\"bytes\":14}"));
    dj_buf_fini(&log);
}

static void a_log_that_lost_its_end_goes_on_behind_a_gap(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit_fault fault;
    char path[256];
    struct dj_audit *audit = open_log(fixture, 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    dj_audit_close(audit);
    read_log(fixture, &log);
    char *cut = log.data;
    for (unsigned i = 0; i < 3; i++)
        cut = strchr(cut, '\n') + 1;
    last_path(fixture, path, sizeof path);
    assert_int_equal(truncate(path, cut - log.data), 0);
    check_log(fixture, &log, &fault);
    assert_int_equal(fault.verdict, DJ_AUDIT_TRUNCATED);
    audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.delete"), DEJA_OK);
    dj_audit_close(audit);
    check_log(fixture, &log, &fault);
    assert_int_equal(fault.verdict, DJ_AUDIT_REMOVED);
    assert_int_equal(fault.line, 4);
    assert_non_null(strstr(log.data, "audit.truncated"));
    dj_buf_fini(&log);
}

static void a_log_that_is_gone_is_told_of_in_the_new_one(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit *audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    dj_audit_close(audit);
    remove_files(fixture->path);
    audit = open_log(fixture, 0);
    dj_audit_close(audit);
    read_log(fixture, &log);
    assert_non_null(strstr(log.data, "audit.missing"));
    assert_non_null(strstr(log.data, fixture->rows[0].key));
    dj_buf_fini(&log);
}

static void a_damaged_last_line_does_not_stop_it(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit_fault fault;
    char path[256];
    struct dj_audit *audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    dj_audit_close(audit);
    last_path(fixture, path, sizeof path);
    read_log(fixture, &log);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, strstr(log.data, "tenant.create") - log.data), 1);
    close(fd);
    audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.delete"), DEJA_OK);
    dj_audit_close(audit);
    check_log(fixture, &log, &fault);
    assert_int_equal(fault.verdict, DJ_AUDIT_EDITED);
    assert_int_equal(fault.line, 2);
    assert_non_null(strstr(log.data, "audit.damaged"));
    dj_buf_fini(&log);
}

static void files_change_by_size_and_by_age(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    uint32_t *numbers = NULL;
    size_t count = 0;
    struct dj_audit *audit = open_log(fixture, 2000);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(write_event(audit, "tenant.configure"), DEJA_OK);
    dj_audit_close(audit);
    assert_int_equal(dj_audit_files(fixture->path, &numbers, &count), DEJA_OK);
    dj_free(numbers);
    assert_true(count > 3);
    assert_intact(fixture, &log);
    size_t before = count;
    audit = open_log(fixture, 1u << 20);
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN, .operation = "x"};
    assert_int_equal(dj_audit_write(audit, &event, NOW + 2 * 86400000LL), DEJA_OK);
    dj_audit_close(audit);
    assert_int_equal(dj_audit_files(fixture->path, &numbers, &count), DEJA_OK);
    dj_free(numbers);
    assert_int_equal(count, before + 1);
    assert_intact(fixture, &log);
    dj_buf_fini(&log);
}

static void old_files_go_only_when_asked_and_it_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct deja_error error = {""};
    struct dj_audit *audit = open_log(fixture, 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(write_event(audit, "tenant.configure"), DEJA_OK);
    dj_audit_close(audit);
    const struct dj_audit_options options = {.directory = fixture->path,
                                             .file_bytes_max = 1,
                                             .keep_ms = 1000,
                                             .authority = &fixture->authority,
                                             .place = "here",
                                             .now_ms = NOW + 5000};
    assert_int_equal(dj_audit_open(&options, &audit, &error), DEJA_OK);
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN, .operation = "x"};
    assert_int_equal(dj_audit_write(audit, &event, NOW + 5000), DEJA_OK);
    assert_int_equal(dj_audit_write(audit, &event, NOW + 5000), DEJA_OK);
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    assert_non_null(strstr(log.data, "audit.pruned"));
    assert_null(strstr(log.data, "\"seq\":1,"));
    dj_buf_fini(&log);
}

/* The disk is full: a limit of this process' own on the size of files. */
static void a_full_disk_refuses_what_must_be_written_and_keeps_the_rest(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit_stats stats;
    struct rlimit before;
    char path[256];
    struct stat info;
    struct dj_audit *audit = open_log(fixture, 0);
    const struct dj_audit_event event = {.type = DJ_AUDIT_CACHE_OPERATION, .operation = "noted"};
    assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    last_path(fixture, path, sizeof path);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit full = {(rlim_t)info.st_size + 100, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    dj_audit_note(audit, &event, NOW);
    assert_int_equal(write_event(audit, "tenant.refused"), DEJA_ERR_IO);
    assert_int_equal(write_event(audit, "tenant.refused"), DEJA_ERR_IO);
    dj_audit_stats(audit, &stats);
    assert_true(stats.is_failing);
    assert_int_equal(stats.queued, 1);
    for (unsigned i = 0; i < DJ_AUDIT_QUEUE_MAX + 10; i++)
        dj_audit_note(audit, &event, NOW);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(write_event(audit, "tenant.after"), DEJA_OK);
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    assert_null(strstr(log.data, "tenant.refused"));
    assert_non_null(strstr(log.data, "tenant.after"));
    assert_non_null(strstr(log.data, "\"operation\":\"noted\""));
    assert_non_null(strstr(log.data, "audit.lost"));
    assert_non_null(strstr(log.data, "{\"events\":11}"));
    dj_buf_fini(&log);
}

static void an_authority_that_is_down_stops_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit_stats stats;
    fixture->is_authority_down = true;
    struct dj_audit *audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "tenant.create"), DEJA_OK);
    dj_audit_stats(audit, &stats);
    assert_true(stats.is_head_late);
    fixture->is_authority_down = false;
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN, .operation = "x"};
    assert_int_equal(dj_audit_write(audit, &event, NOW + 6000), DEJA_OK);
    dj_audit_stats(audit, &stats);
    assert_false(stats.is_head_late);
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    dj_buf_fini(&log);
}

struct writer {
    pthread_t thread;
    struct dj_audit *audit;
    unsigned written;
};

static void *run_writer(void *ctx)
{
    struct writer *writer = ctx;
    const struct dj_audit_event event = {.type = DJ_AUDIT_CACHE_OPERATION, .operation = "n"};
    for (unsigned i = 0; i < 50; i++) {
        dj_audit_note(writer->audit, &event, NOW);
        writer->written += write_event(writer->audit, "w") == DEJA_OK;
    }
    return NULL;
}

static void many_threads_make_one_chain(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct writer writers[4];
    struct dj_audit *audit = open_log(fixture, 20000);
    for (unsigned i = 0; i < 4; i++) {
        writers[i] = (struct writer){.audit = audit};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].written, 50);
    }
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    assert_non_null(strstr(log.data, "\"seq\":401,"));
    dj_buf_fini(&log);
}

static void nobody_needs_a_log(void **state)
{
    (void)state;
    const struct dj_audit_event event = {.type = DJ_AUDIT_ADMIN, .operation = "x"};
    struct dj_audit_stats stats = {.seq = 3};
    assert_int_equal(dj_audit_write(NULL, &event, NOW), DEJA_OK);
    dj_audit_note(NULL, &event, NOW);
    dj_audit_tick(NULL, NOW);
    dj_audit_stats(NULL, &stats);
    assert_int_equal(stats.seq, 0);
    dj_audit_close(NULL);
}

static void open_survives_each_failed_allocation(void **state)
{
    struct fixture *fixture = *state;
    const struct dj_audit_options options = {.directory = fixture->path, .now_ms = NOW};
    struct deja_error error = {""};
    struct dj_audit *audit = open_log(fixture, 0);
    assert_int_equal(write_event(audit, "x"), DEJA_OK);
    dj_audit_close(audit);
    for (size_t n = 1;; n++) {
        struct dj_audit *out = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_audit_open(&options, &out, &error);
        bool has_failed = failing_malloc_disarm();
        if (status == DEJA_OK)
            dj_audit_close(out);
        else
            assert_null(out);
        if (!has_failed)
            break;
        assert_true(n < 100);
    }
}

static void write_survives_each_failed_allocation(void **state)
{
    struct fixture *fixture = *state;
    struct dj_buf log = {0};
    struct dj_audit *audit = open_log(fixture, 0);
    for (size_t n = 1;; n++) {
        failing_malloc_arm(n);
        enum deja_status status = write_event(audit, "x");
        if (!failing_malloc_disarm())
            break;
        assert_true(status == DEJA_OK || status == DEJA_ERR_NOMEM);
        assert_true(n < 100);
    }
    dj_audit_close(audit);
    assert_intact(fixture, &log);
    dj_buf_fini(&log);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_written_event_is_on_the_disk_when_write_returns),
        TEST(what_was_noted_is_written_by_the_tick_and_by_the_end),
        TEST(the_chain_goes_on_after_a_restart),
        TEST(half_a_line_is_cut_off_and_told),
        TEST(a_log_that_lost_its_end_goes_on_behind_a_gap),
        TEST(a_log_that_is_gone_is_told_of_in_the_new_one),
        TEST(a_damaged_last_line_does_not_stop_it),
        TEST(files_change_by_size_and_by_age),
        TEST(old_files_go_only_when_asked_and_it_is_told),
        TEST(a_full_disk_refuses_what_must_be_written_and_keeps_the_rest),
        TEST(an_authority_that_is_down_stops_nothing),
        TEST(many_threads_make_one_chain),
        cmocka_unit_test(nobody_needs_a_log),
        TEST(open_survives_each_failed_allocation),
        TEST(write_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
