#include "base/hash.h"
#include "check.h"

static void hash_is_what_stored_records_were_made_with(void **state)
{
    (void)state;
    assert_true(dj_hash64(deja_slice(NULL, 0), 0) == 0x2d06800538d394c2u);
    assert_true(dj_hash64(deja_slice_text("a"), 0) != dj_hash64(deja_slice_text("a"), 1));
    assert_true(dj_hash64(deja_slice_text("a"), 0) != dj_hash64(deja_slice_text("b"), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_is_what_stored_records_were_made_with),
    };
    return RUN_TESTS(tests);
}
