#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/stat.h>

#include "store/data_dir.h"

static void directory_is_made_with_those_above_it_and_closed_to_others(void **state)
{
    (void)state;
    char root[] = "/tmp/deja-data-dir-XXXXXX";
    char inner[64];
    char path[80];
    struct stat about;
    assert_non_null(mkdtemp(root));
    snprintf(inner, sizeof inner, "%s/a", root);
    snprintf(path, sizeof path, "%s/b", inner);
    assert_int_equal(dj_data_dir_make(path, NULL), DEJA_OK);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    assert_int_equal(dj_data_dir_make(path, NULL), DEJA_OK);
    rmdir(path);
    rmdir(inner);
    rmdir(root);
}

static void what_cannot_be_made_is_said_with_its_name(void **state)
{
    (void)state;
    struct deja_error error;
    assert_int_equal(dj_data_dir_make("/dev/null/x", &error), DEJA_ERR_IO);
    assert_non_null(strstr(error.message, "/dev/null/x"));
    failing_malloc_arm(1);
    enum deja_status status = dj_data_dir_make("/tmp", &error);
    failing_malloc_disarm();
    assert_int_equal(status, DEJA_ERR_NOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directory_is_made_with_those_above_it_and_closed_to_others),
        cmocka_unit_test(what_cannot_be_made_is_said_with_its_name),
    };
    return RUN_TESTS(tests);
}
