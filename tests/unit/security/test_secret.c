/* tests/unit/daemon/test_secret.c - the deployment secret: made once, reread, never repaired. */
#include "security/secret.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

struct fixture {
    char directory[64];
    char path[80];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    snprintf(fixture.directory, sizeof fixture.directory, "/tmp/deja-secret-XXXXXX");
    if (!mkdtemp(fixture.directory))
        return 1;
    snprintf(fixture.path, sizeof fixture.path, "%s/secret", fixture.directory);
    *state = &fixture;
    return 0;
}

/* The directory must be empty but for the secret: nothing temporary is left. */
static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->path);
    return rmdir(fixture->directory);
}

static void write_file(const struct fixture *fixture, size_t len)
{
    const char bytes[64] = "0123456789abcdefghijklmnopqrstuvwxyz";
    int fd = open(fixture->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void first_start_makes_it_for_its_owner_only(void **state)
{
    const struct fixture *fixture = *state;
    struct dj_secret made;
    struct dj_secret again;
    struct deja_error error = {""};
    struct stat info;
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &made, &error), DEJA_OK);
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(info.st_size, DJ_SHA256_BYTES);
    assert_int_equal(info.st_nlink, 1);
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &again, &error), DEJA_OK);
    assert_memory_equal(made.bytes, again.bytes, sizeof made.bytes);
}

static void two_deployments_differ(void **state)
{
    const struct fixture *fixture = *state;
    struct dj_secret a;
    struct dj_secret b;
    struct deja_error error = {""};
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &a, &error), DEJA_OK);
    unlink(fixture->path);
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &b, &error), DEJA_OK);
    assert_memory_not_equal(a.bytes, b.bytes, sizeof a.bytes);
}

static void wrong_length_is_corrupt_and_stays(void **state)
{
    const struct fixture *fixture = *state;
    static const size_t lens[] = {0, 1, 31, 33, 64};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct dj_secret secret = {{7}};
        struct deja_error error = {""};
        struct stat info;
        write_file(fixture, lens[i]);
        assert_int_equal(dj_secret_load(NULL, fixture->directory, &secret, &error),
                         DEJA_ERR_CORRUPT);
        assert_non_null(strstr(error.message, fixture->path));
        assert_int_equal(secret.bytes[0], 7);
        assert_int_equal(stat(fixture->path, &info), 0);
        assert_int_equal(info.st_size, lens[i]);
    }
}

static void a_link_is_not_followed(void **state)
{
    const struct fixture *fixture = *state;
    struct dj_secret secret;
    struct deja_error error = {""};
    assert_int_equal(symlink("/dev/zero", fixture->path), 0);
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &secret, &error), DEJA_ERR_IO);
}

static void a_missing_directory_is_an_error(void **state)
{
    (void)state;
    struct dj_secret secret;
    struct deja_error error = {""};
    assert_int_equal(dj_secret_load(NULL, "/tmp/deja-no-such-directory/x", &secret, &error),
                     DEJA_ERR_IO);
    assert_true(error.message[0] != '\0');
    char name[5000];
    memset(name, 'd', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(dj_secret_load(NULL, name, &secret, &error), DEJA_ERR_CONFIG);
}

static void hex_of_the_configuration_wins(void **state)
{
    const struct fixture *fixture = *state;
    struct dj_secret secret;
    struct deja_error error = {""};
    assert_int_equal(dj_secret_load(HEX, fixture->directory, &secret, &error), DEJA_OK);
    for (size_t i = 0; i < sizeof secret.bytes; i++)
        assert_int_equal(secret.bytes[i], i);
    assert_int_not_equal(access(fixture->path, F_OK), 0);
}

static void bad_hex_is_refused_and_not_repeated(void **state)
{
    const struct fixture *fixture = *state;
    static const char *const texts[] = {
        "", "00", HEX "00", "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct dj_secret secret;
        struct deja_error error = {""};
        assert_int_equal(dj_secret_load(texts[i], fixture->directory, &secret, &error),
                         DEJA_ERR_CONFIG);
        assert_null(strstr(error.message, "0102"));
        assert_int_not_equal(access(fixture->path, F_OK), 0);
    }
}

static void one_that_is_kept_is_the_next_ones(void **state)
{
    const struct fixture *fixture = *state;
    struct dj_secret made;
    struct dj_secret again;
    const struct dj_secret other = {{1, 2, 3}};
    struct deja_error error = {""};
    struct stat info;
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &made, &error), DEJA_OK);
    assert_int_equal(dj_secret_keep(fixture->directory, &other, &error), DEJA_OK);
    assert_int_equal(dj_secret_load(NULL, fixture->directory, &again, &error), DEJA_OK);
    assert_memory_equal(again.bytes, other.bytes, sizeof other.bytes);
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(dj_secret_keep("/nonexistent", &other, &error), DEJA_ERR_IO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_start_makes_it_for_its_owner_only), TEST(two_deployments_differ),
        TEST(wrong_length_is_corrupt_and_stays),       TEST(a_link_is_not_followed),
        TEST(a_missing_directory_is_an_error),         TEST(hex_of_the_configuration_wins),
        TEST(bad_hex_is_refused_and_not_repeated),     TEST(one_that_is_kept_is_the_next_ones),
    };
    return RUN_TESTS(tests);
}
