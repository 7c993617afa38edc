#include "config/expand.h"
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const environment[] = {"NAME=value", "EMPTY=", "NAMES=other", NULL};

static void assert_expands(const char *text, const char *expected)
{
    struct dj_buf out = {0};
    struct deja_error error = {""};
    dj_buf_append_text(&out, ">");
    enum deja_status status = dj_expand(text, environment, &out, &error);
    assert_int_equal(status, expected ? DEJA_OK : DEJA_ERR_INVALID);
    assert_int_equal(error.message[0] != 0, expected == NULL);
    dj_buf_append_byte(&out, '\0');
    assert_string_equal(out.data + 1, expected ? expected : "");
    dj_buf_fini(&out);
}

static void references_are_replaced_once(void **state)
{
    (void)state;
    assert_expands("plain", "plain");
    assert_expands("a ${ENV:NAME} b ${ENV:EMPTY}.", "a value b .");
    assert_expands("$ {x} $${ENV:NAMES}", "$ {x} $other");
}

static void what_cannot_be_expanded_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "x ${ENV:NONE}",  "${ENV:NAME} ${ENV:", "x ${OTHER:NAME}", "x ${NAME}",
        "x ${CRED:deja}", "x ${ENV:a b}",       "x ${ENV:}",       "x ${CRED:../shadow}",
        "x ${ENV:NAME",   "${ENV:NAME}${}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_expands(texts[i], NULL);
}

static void secret_files_lose_one_line_end_and_are_bounded(void **state)
{
    (void)state;
    char path[] = "/tmp/deja-test-XXXXXX";
    int fd = mkstemp(path);
    struct dj_buf out = {0};
    struct deja_error error = {""};
    bool is_open = false;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "s\n\r\n", 4), 4);
    assert_int_equal(dj_secret_file_read(path, &out, &is_open, &error), DEJA_OK);
    assert_int_equal(out.len, 2);
    assert_false(is_open);
    assert_int_equal(fchmod(fd, 0644), 0);
    assert_int_equal(dj_secret_file_read(path, &out, &is_open, &error), DEJA_OK);
    assert_true(is_open);
    dj_buf_clear(&out);
    assert_int_equal(ftruncate(fd, DJ_SECRET_FILE_MAX + 1), 0);
    assert_int_equal(dj_secret_file_read(path, &out, &is_open, &error), DEJA_ERR_INVALID);
    assert_int_equal(dj_secret_file_read("/", &out, &is_open, &error), DEJA_ERR_INVALID);
    assert_int_equal(out.len, 0);
    dj_buf_fini(&out);
    close(fd);
    unlink(path);
}

/* Files of /proc say they are empty and are not. */
static void a_file_that_lies_about_its_size_is_bounded_too(void **state)
{
    (void)state;
    struct dj_buf out = {0};
    struct deja_error error = {""};
    bool is_open = false;
    char path[] = "/proc/self/environ";
    enum deja_status status = dj_secret_file_read(path, &out, &is_open, &error);
    assert_true(status == DEJA_OK ? out.len <= DJ_SECRET_FILE_MAX : out.len == 0);
    dj_buf_fini(&out);
}

static void expansion_survives_each_failed_allocation(void **state)
{
    (void)state;
    char folder[] = "/tmp/deja-test-XXXXXX";
    char path[64];
    char variable[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/deja", folder);
    snprintf(variable, sizeof variable, "CREDENTIALS_DIRECTORY=%s", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("secret\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    const char *const with_credentials[] = {variable, "NAME=value", NULL};
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf out = {0};
        struct dj_buf bytes = {0};
        struct deja_error error = {""};
        bool is_open = false;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_expand("a ${ENV:NAME} b ${CRED:deja}", with_credentials, &out, &error);
        if (status == DEJA_OK)
            status = dj_secret_file_read(path, &bytes, &is_open, &error);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed)
            assert_memory_equal(out.data, "a value b secret", out.len);
        else
            assert_int_equal(bytes.len, 0);
        dj_buf_fini(&out);
        dj_buf_fini(&bytes);
    }
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_replaced_once),
        cmocka_unit_test(what_cannot_be_expanded_leaves_nothing_behind),
        cmocka_unit_test(secret_files_lose_one_line_end_and_are_bounded),
        cmocka_unit_test(a_file_that_lies_about_its_size_is_bounded_too),
        cmocka_unit_test(expansion_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
