/* tests/unit/store/test_lmdb_scrub.c - what was removed is not in the files any more, and what was
 * not removed is whole. */
#define _GNU_SOURCE /* memmem */

#include "lmdb_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define CANARY "k7Qz9-canary-"

/* How often the canary is in the file. */
static unsigned count_in(const char *directory, const char *name)
{
    char path[512];
    struct stat info;
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    char *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    const char *at = bytes;
    const char *end = bytes + info.st_size;
    while ((at = memmem(at, (size_t)(end - at), CANARY, sizeof CANARY - 1))) {
        count++;
        at++;
    }
    munmap(bytes, (size_t)info.st_size);
    close(fd);
    return count;
}

/* Bodies of one byte to some pages. */
static void body_of(uint32_t id, const char *front, char *out, size_t size)
{
    size_t len = id % 3 == 0 ? size - 1 : 20 + id % 300;
    uint32_t seed = id + 1;
    int front_len = snprintf(out, size, "%s%u", front, id);
    for (size_t i = (size_t)front_len; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (char)(' ' + (seed >> 24) % 90);
    }
    out[len > (size_t)front_len ? len : (size_t)front_len] = '\0';
}

static void what_was_cleared_is_wiped_and_the_rest_is_whole(void **state)
{
    (void)state;
    struct fixture fixture;
    char body[9000];
    create(&fixture, (struct dj_lmdb_options){.durability = DJ_DURABILITY_OS});
    for (uint32_t id = 0; id < 200; id++) {
        body_of(id, CANARY, body, sizeof body);
        put(&fixture, value_of(1, id, 1, body));
        body_of(id, "other", body, sizeof body);
        put(&fixture, value_of(2, id, 1, body));
    }
    assert_int_equal(wait_clear(fixture.store, loop_of(&fixture), key_of(1, 0)), 200);
    assert_true(count_in(fixture.directory.path, "entries/data.mdb") >
                0); /* or there is nothing to do */
    assert_int_equal(dj_lmdb_scrub(fixture.store), DEJA_OK);
    assert_int_equal(count_in(fixture.directory.path, "entries/data.mdb"), 0);
    for (uint32_t id = 0; id < 200; id++) { /* the room that was wiped is used again */
        body_of(id, "more", body, sizeof body);
        put(&fixture, value_of(3, id, 1, body));
    }
    assert_int_equal(count_in(fixture.directory.path, "entries/data.mdb"), 0); /* nor comes back */
    assert_int_equal(dj_lmdb_scrub(fixture.store), DEJA_OK);
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t id = 0; id < 200; id++) {
            body_of(id, "other", body, sizeof body);
            assert_true(has_body(&fixture, 2, id, body));
            body_of(id, "more", body, sizeof body);
            assert_true(has_body(&fixture, 3, id, body));
        }
        reopen(&fixture);
        assert_false(fixture.is_discarded);
    }
    destroy(&fixture);
}

static void a_document_that_was_removed_is_wiped(void **state)
{
    (void)state;
    struct fixture fixture;
    char text[512];
    create(&fixture, (struct dj_lmdb_options){.durability = DJ_DURABILITY_OS});
    struct dj_lmdb_meta *meta = dj_lmdb_meta_of(fixture.store);
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t id = 0; id < 60; id++) {
            bool is_secret = id % 2 == 0;
            size_t len = (size_t)snprintf(text, sizeof text, "%s%u-%0*u",
                                          is_secret ? CANARY : "kept", id, (int)(id * 7), round);
            assert_int_equal(
                dj_lmdb_meta_put(meta, "t", deja_slice(&id, sizeof id), deja_slice(text, len)),
                DEJA_OK);
        }
    for (uint32_t id = 0; id < 60; id += 2)
        assert_int_equal(dj_lmdb_meta_remove(meta, "t", deja_slice(&id, sizeof id)), DEJA_OK);
    assert_true(count_in(fixture.directory.path, "meta/data.mdb") > 0);
    assert_int_equal(dj_lmdb_meta_scrub(meta), DEJA_OK);
    assert_int_equal(count_in(fixture.directory.path, "meta/data.mdb"), 0);
    reopen(&fixture);
    meta = dj_lmdb_meta_of(fixture.store);
    for (uint32_t id = 1; id < 60; id += 2)
        assert_int_equal(dj_lmdb_meta_remove(meta, "t", deja_slice(&id, sizeof id)), DEJA_OK);
    destroy(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_cleared_is_wiped_and_the_rest_is_whole),
        cmocka_unit_test(a_document_that_was_removed_is_wiped),
    };
    return RUN_TESTS(tests);
}
