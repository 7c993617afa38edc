#include "base/hash.h"

#include "base/num.h"
#include "check.h"

static void hashes_are_those_of_xxh3(void **state)
{
    (void)state;
    uint8_t hash[16];
    char text[33];
    assert_true(dj_hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    dj_hash128("", 0, 0, hash);
    dj_hex_encode(hash, sizeof hash, text);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
}

static void seed_and_bytes_change_the_hash(void **state)
{
    (void)state;
    uint8_t a[16];
    uint8_t b[16];
    assert_true(dj_hash64("abc", 3, 0) != dj_hash64("abc", 3, 1));
    assert_true(dj_hash64("abc", 3, 0) != dj_hash64("abd", 3, 0));
    dj_hash128("abc", 3, 0, a);
    dj_hash128("abc", 3, 1, b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_xxh3),
        cmocka_unit_test(seed_and_bytes_change_the_hash),
    };
    return RUN_TESTS(tests);
}
