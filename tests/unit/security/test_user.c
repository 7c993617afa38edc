/* tests/unit/security/test_user.c - users of a tenant are apart, and have a tag nobody can name. */
#include "check.h"

#include "security/roles.h"
#include "security/user.h"

static const uint8_t tenant_key[DJ_SHA256_BYTES] = {1};
static const uint8_t other_key[DJ_SHA256_BYTES] = {2};

static void users_are_told_apart_within_their_tenant_only(void **state)
{
    (void)state;
    uint8_t a[DJ_USER_BYTES];
    uint8_t b[DJ_USER_BYTES];
    dj_user_digest(tenant_key, deja_slice_text("ann"), a);
    dj_user_digest(tenant_key, deja_slice_text("ann"), b);
    assert_memory_equal(a, b, sizeof a);
    dj_user_digest(tenant_key, deja_slice_text("bob"), b);
    assert_memory_not_equal(a, b, sizeof a);
    dj_user_digest(other_key, deja_slice_text("ann"), b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void each_user_has_keys_of_its_own(void **state)
{
    (void)state;
    uint8_t user[DJ_USER_BYTES];
    uint8_t ann[DJ_SHA256_BYTES];
    uint8_t bob[DJ_SHA256_BYTES];
    memcpy(ann, tenant_key, sizeof ann);
    memcpy(bob, tenant_key, sizeof bob);
    dj_user_digest(tenant_key, deja_slice_text("ann"), user);
    dj_user_narrow(ann, user);
    dj_user_digest(tenant_key, deja_slice_text("bob"), user);
    dj_user_narrow(bob, user);
    assert_memory_not_equal(ann, bob, sizeof ann);
    assert_memory_not_equal(ann, tenant_key, sizeof ann);
}

static void a_users_tag_is_one_of_dejas_own(void **state)
{
    (void)state;
    static const uint8_t user[DJ_USER_BYTES] = {0xab, [15] = 0xcd};
    char tag[DJ_USER_TAG_BYTES];
    dj_user_tag(user, tag);
    assert_string_equal(tag, "\x01user:ab0000000000000000000000000000cd");
    assert_true(dj_tag_is_internal(deja_slice_text(tag)));
    assert_false(dj_tag_is_internal(deja_slice_text("user:ab")));
    assert_false(dj_tag_is_internal(deja_slice_text("")));
}

static void roles_have_names(void **state)
{
    (void)state;
    for (unsigned role = 1; role <= DJ_ROLES_ALL; role <<= 1)
        assert_int_equal(dj_role_of(deja_slice_text(dj_role_text(role))), role);
    assert_int_equal(dj_role_of(deja_slice_text("root")), 0);
    assert_int_equal(dj_role_of(deja_slice_text("")), 0);
    assert_null(dj_role_text(0));
    assert_null(dj_role_text(DJ_ROLES_ALL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_are_told_apart_within_their_tenant_only),
        cmocka_unit_test(each_user_has_keys_of_its_own),
        cmocka_unit_test(a_users_tag_is_one_of_dejas_own),
        cmocka_unit_test(roles_have_names),
    };
    return RUN_TESTS(tests);
}
