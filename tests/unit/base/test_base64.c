/* tests/unit/proxy/test_base64.c - the vectors of RFC 4648 and what is refused. */
#include "check.h"

#include "base/base64.h"

struct vector {
    const char *bytes;
    const char *text;
};

static const struct vector vectors[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\xff\xfe\xfd\xfb\xef\xbe", "//79++++"},
};

static void vectors_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct dj_buf text = {0};
        struct dj_buf bytes = {0};
        dj_base64_encode(deja_slice_text(vectors[i].bytes), &text);
        assert_true(deja_slice_is_equal(dj_buf_slice(&text), deja_slice_text(vectors[i].text)));
        assert_int_equal(dj_base64_decode(dj_buf_slice(&text), &bytes), DEJA_OK);
        assert_true(deja_slice_is_equal(dj_buf_slice(&bytes), deja_slice_text(vectors[i].bytes)));
        dj_buf_fini(&text);
        dj_buf_fini(&bytes);
    }
}

static void every_byte_comes_back(void **state)
{
    (void)state;
    unsigned char all[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (unsigned char)i;
    for (size_t len = 0; len <= sizeof all; len++) {
        struct dj_buf text = {0};
        struct dj_buf bytes = {0};
        dj_base64_encode(deja_slice(all, len), &text);
        assert_int_equal(dj_base64_decode(dj_buf_slice(&text), &bytes), DEJA_OK);
        assert_true(deja_slice_is_equal(dj_buf_slice(&bytes), deja_slice(all, len)));
        dj_buf_fini(&text);
        dj_buf_fini(&bytes);
    }
}

static void refuses_what_is_not_base64(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "A",    "AA",       "AAA",        "AAAAA",    "A===",     "====",     "=AAA",
        "AA=A", "AA==AAAA", "AAAA====",   "AAA=AAA=", "Zm9v\n",   "Zm9v Yg=", "Zm9vYg=\n",
        "Zm9-", "Zm9_",     "Zm9vYm\xc3", "!!!!",     "AAAA!AAA", " AAA",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_buf bytes = {0};
        dj_buf_append_text(&bytes, "kept");
        assert_int_equal(dj_base64_decode(deja_slice_text(texts[i]), &bytes), DEJA_ERR_INVALID);
        assert_true(deja_slice_is_equal(dj_buf_slice(&bytes), deja_slice_text("kept")));
        dj_buf_fini(&bytes);
    }
}

static void a_byte_of_zero_is_no_digit(void **state)
{
    (void)state;
    struct dj_buf bytes = {0};
    assert_int_equal(dj_base64_decode(deja_slice("AA\0A", 4), &bytes), DEJA_ERR_INVALID);
    dj_buf_fini(&bytes);
}

static void bound_of_the_buffer_is_kept(void **state)
{
    (void)state;
    struct dj_buf bytes;
    dj_buf_init(&bytes, 5);
    assert_int_equal(dj_base64_decode(deja_slice_text("Zm9vYmFy"), &bytes), DEJA_ERR_LIMIT);
    dj_buf_fini(&bytes);
}

static void decode_survives_each_failed_allocation(void **state)
{
    (void)state;
    bool has_failed = true;
    for (size_t n = 1; has_failed; n++) {
        struct dj_buf bytes = {0};
        failing_malloc_arm(n);
        enum deja_status status = dj_base64_decode(deja_slice_text("Zm9vYmFy"), &bytes);
        has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        dj_buf_fini(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_the_rfc),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(refuses_what_is_not_base64),
        cmocka_unit_test(a_byte_of_zero_is_no_digit),
        cmocka_unit_test(bound_of_the_buffer_is_kept),
        cmocka_unit_test(decode_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
