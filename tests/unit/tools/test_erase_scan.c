/* tests/unit/tools/test_erase_scan.c - a canary is found in each of its forms, wherever it is. */
#include "tools/erase_scan.h"

#include <stdio.h>

#include "base/buf.h"
#include "check.h"

#define CANARY "the canary sings"

struct seen {
    unsigned count;
    const char *form;
    uint64_t offset;
    uint32_t line;
};

static void on_found(void *ctx, const struct dj_canary_find *find)
{
    struct seen *seen = ctx;
    seen->count++;
    seen->form = find->form;
    seen->offset = find->offset;
    seen->line = find->line;
}

static struct seen look(const char *canaries, struct deja_slice bytes)
{
    struct seen seen = {.count = 0};
    struct dj_canaries *made = NULL;
    struct deja_error error = {""};
    assert_int_equal(dj_canaries_create(deja_slice_text(canaries), &made, &error), DEJA_OK);
    dj_canaries_look(made, "x", bytes, &seen, on_found);
    dj_canaries_destroy(made);
    return seen;
}

static void put_base64(struct dj_buf *out, struct deja_slice text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i + 3 <= text.len; i += 3) {
        unsigned three = (unsigned)(unsigned char)text.data[i] << 16 |
                         (unsigned)(unsigned char)text.data[i + 1] << 8 |
                         (unsigned char)text.data[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            dj_buf_append_byte(out, digits[three >> shift & 63]);
    }
}

static void it_is_found_as_it_is(void **state)
{
    (void)state;
    struct seen seen = look("nothing here\n" CANARY "\n", deja_slice_text("xx" CANARY "yy"));
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.form, "text");
    assert_int_equal(seen.offset, 2);
    assert_int_equal(seen.line, 2);
    assert_int_equal(look(CANARY, deja_slice_text("the canary sang")).count, 0);
    assert_int_equal(look(CANARY, deja_slice(NULL, 0)).count, 0);
}

static void it_is_found_in_base64_wherever_it_begins(void **state)
{
    (void)state;
    static const char *const fronts[] = {"", "a", "ab", "abc", "abcd"};
    for (size_t i = 0; i < sizeof fronts / sizeof *fronts; i++) {
        char text[64];
        struct dj_buf encoded = {0};
        snprintf(text, sizeof text, "%s" CANARY "zzzz", fronts[i]);
        put_base64(&encoded, deja_slice_text(text));
        struct seen seen = look(CANARY, dj_buf_slice(&encoded));
        assert_int_equal(seen.count, 1);
        assert_string_equal(seen.form, "base64");
        dj_buf_fini(&encoded);
    }
}

static void what_is_no_canary_is_refused(void **state)
{
    (void)state;
    static char long_one[DJ_CANARY_BYTES_MAX + 2];
    memset(long_one, 'x', sizeof long_one - 1);
    const char *const bad[] = {"", "\n\n", "good one\nbad", long_one};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct dj_canaries *made = NULL;
        struct deja_error error = {""};
        assert_int_equal(dj_canaries_create(deja_slice_text(bad[i]), &made, &error),
                         DEJA_ERR_INVALID);
        assert_null(made);
        assert_true(error.message[0] != '\0');
    }
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_canaries *made = NULL;
        struct deja_error error = {""};
        failing_malloc_arm(n);
        enum deja_status status =
            dj_canaries_create(deja_slice_text(CANARY "\nanother one\n"), &made, &error);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (!has_failed) {
            assert_int_equal(dj_canaries_count(made), 2);
            dj_canaries_destroy(made);
            break;
        }
        assert_null(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_found_as_it_is),
        cmocka_unit_test(it_is_found_in_base64_wherever_it_begins),
        cmocka_unit_test(what_is_no_canary_is_refused),
        cmocka_unit_test(create_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
