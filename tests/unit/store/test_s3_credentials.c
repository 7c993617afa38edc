#include "store/s3_credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

static const char sample[] = "# comment\n"
                             "aws_access_key_id = outside\r\n"
                             "[default]\r\n"
                             "aws_access_key_id=AKIDEXAMPLE\r\n"
                             "  aws_secret_access_key =  wJalr/K7MDENG+bPx=  \r\n"
                             "\n"
                             "; another\n"
                             "[ cold ]\n"
                             "AWS_ACCESS_KEY_ID = COLD\n"
                             "aws_secret_access_key = s\n"
                             "aws_session_token = t0ken==\n"
                             "region = eu-west-1\n"
                             "no equals here\n"
                             "[profile third]\n"
                             "aws_access_key_id = THIRD\n"
                             "aws_secret_access_key = u";

static void assert_profile(const char *profile, const char *access, const char *secret,
                           const char *token)
{
    struct dj_s3_keys *keys = NULL;
    assert_int_equal(dj_s3_profile_read(deja_slice_text(sample), profile, &keys, NULL), DEJA_OK);
    struct dj_s3_identity identity = dj_s3_keys_identity(keys);
    assert_true(deja_slice_is_equal(identity.access_key, deja_slice_text(access)));
    assert_true(deja_slice_is_equal(identity.secret_key, deja_slice_text(secret)));
    assert_true(deja_slice_is_equal(identity.token, deja_slice_text(token)));
    dj_s3_keys_unref(keys);
}

static void each_profile_has_its_own_keys(void **state)
{
    (void)state;
    assert_profile("default", "AKIDEXAMPLE", "wJalr/K7MDENG+bPx=", "");
    assert_profile("cold", "COLD", "s", "t0ken==");
    assert_profile("third", "THIRD", "u", "");
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
        enum deja_status status;
    } rows[] = {
        {"", "no profile [default]", DEJA_ERR_NOT_FOUND},
        {"[other]\naws_access_key_id=a\n", "no profile [default]", DEJA_ERR_NOT_FOUND},
        {"[default", "no profile [default]", DEJA_ERR_NOT_FOUND},
        {"[default]\n", "lacks aws_access_key_id", DEJA_ERR_INVALID},
        {"[default]\naws_access_key_id=a\n", "lacks aws_secret_access_key", DEJA_ERR_INVALID},
        {"[default]\naws_access_key_id=a b\naws_secret_access_key=c\n", "have blanks",
         DEJA_ERR_INVALID},
        {"[default]\naws_access_key_id=a,b\naws_secret_access_key=c\n", "have blanks",
         DEJA_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dj_s3_keys *keys = NULL;
        struct deja_error error = {""};
        assert_int_equal(
            dj_s3_profile_read(deja_slice_text(rows[i].text), "default", &keys, &error),
            rows[i].status);
        assert_null(keys);
        assert_non_null(strstr(error.message, rows[i].words));
    }
}

static void keys_that_are_too_long_are_refused(void **state)
{
    (void)state;
    static char text[16 * 1024];
    memset(text, 'x', sizeof text);
    struct dj_s3_keys *keys = NULL;
    struct dj_s3_identity identity = {deja_slice(text, 257), deja_slice(text, 1), {NULL, 0}};
    assert_int_equal(dj_s3_keys_create(&identity, &keys), DEJA_ERR_INVALID);
    identity = (struct dj_s3_identity){deja_slice(text, 256), deja_slice(text, 257), {NULL, 0}};
    assert_int_equal(dj_s3_keys_create(&identity, &keys), DEJA_ERR_INVALID);
    identity = (struct dj_s3_identity){deja_slice(text, 1), deja_slice(text, 1),
                                       deja_slice(text, sizeof text)};
    assert_int_equal(dj_s3_keys_create(&identity, &keys), DEJA_ERR_INVALID);
}

static char *write_sample(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/deja-credentials-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, sample, sizeof sample - 1), sizeof sample - 1);
    close(fd);
    return path;
}

static void given_keys_come_before_the_file(void **state)
{
    (void)state;
    char *path = write_sample();
    const struct dj_s3_identity given = {{"GIVEN", 5}, {"secret", 6}, {NULL, 0}};
    const struct dj_s3_identity none = {.token = {NULL, 0}};
    const struct dj_s3_identity half = {.access_key = {"HALF", 4}};
    struct dj_s3_credentials *credentials = NULL;
    struct deja_error error = {""};
    assert_int_equal(dj_s3_credentials_open(&given, path, "cold", &credentials, NULL), DEJA_OK);
    struct dj_s3_keys *keys = dj_s3_credentials_keys(credentials);
    assert_int_equal(dj_s3_keys_identity(keys).access_key.len, 5);
    dj_s3_credentials_close(credentials);
    dj_s3_keys_unref(keys); /* outlives them */
    assert_int_equal(dj_s3_credentials_open(&none, path, "cold", &credentials, NULL), DEJA_OK);
    dj_s3_credentials_close(credentials);
    assert_int_equal(dj_s3_credentials_open(&half, path, "cold", &credentials, &error),
                     DEJA_ERR_INVALID);
    assert_non_null(strstr(error.message, "both from the same place"));
    assert_int_equal(dj_s3_credentials_open(&none, "/tmp", "cold", &credentials, &error),
                     DEJA_ERR_CONFIG);
    assert_non_null(strstr(error.message, "not a file"));
    unlink(path);
}

static void open_survives_each_failed_allocation(void **state)
{
    (void)state;
    char *path = write_sample();
    const struct dj_s3_identity none = {.token = {NULL, 0}};
    for (size_t n = 1;; n++) {
        struct dj_s3_credentials *credentials = NULL;
        failing_malloc_arm(n);
        enum deja_status status =
            dj_s3_credentials_open(&none, path, "default", &credentials, NULL);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        assert_true(has_failed == !credentials);
        dj_s3_credentials_close(credentials);
        if (!has_failed)
            break;
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_profile_has_its_own_keys),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(keys_that_are_too_long_are_refused),
        cmocka_unit_test(given_keys_come_before_the_file),
        cmocka_unit_test(open_survives_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
