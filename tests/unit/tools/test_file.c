#include "tools/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

static void nothing_takes_the_place_of_what_was_there(void **state)
{
    (void)state;
    char folder[] = "/tmp/deja_file_XXXXXX";
    char path[64];
    struct dj_buf text = {0};
    struct deja_error error = {.message = ""};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/kept", folder);
    assert_int_equal(dj_tool_replace_file(path, deja_slice_text("before"), &error), DEJA_OK);
    assert_int_equal(dj_tool_replace_file(path, deja_slice(NULL, 0), &error), DEJA_OK);
    dj_buf_init(&text, 1u << 20);
    assert_int_equal(dj_tool_read_file(path, &text, &error), DEJA_OK);
    assert_int_equal(text.len, 0);
    dj_buf_fini(&text);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_takes_the_place_of_what_was_there),
    };
    return RUN_TESTS(tests);
}
