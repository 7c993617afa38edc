#include "base/map.h"
#include "check.h"
#include "security/tenant.h"

#include <stdio.h>

static struct dj_tenant_root root_of(uint8_t first)
{
    uint8_t secret[DJ_SHA256_BYTES];
    struct dj_tenant_root root;
    memset(secret, 0x5a, sizeof secret);
    secret[0] = first;
    dj_tenant_root_init(&root, secret);
    return root;
}

static void derivations_have_not_changed(void **state)
{
    (void)state;
    struct dj_tenant_root root = root_of(0x5a);
    uint8_t tenant[DJ_TENANT_BYTES];
    char text[DJ_TENANT_TEXT_BYTES];
    dj_tenant_derive(&root, deja_slice_text(""), tenant);
    dj_tenant_text(tenant, text);
    assert_string_equal(text, "343977d3-e307-8ece-9575-6cbd0ff76b3f");
    dj_tenant_derive(&root, deja_slice_text("sk-test"), tenant);
    dj_tenant_text(tenant, text);
    assert_string_equal(text, "734e8808-b46d-8cc0-a04e-fad8d0273ea1");
    struct dj_secret key;
    static const uint8_t expected[] = {0x35, 0x96, 0xdd, 0x7a, 0x89, 0x5d, 0x32, 0x54,
                                       0x81, 0xc6, 0x45, 0xba, 0xf8, 0xe2, 0x2b, 0x41,
                                       0x3c, 0x14, 0x8e, 0x67, 0x74, 0xd7, 0xf8, 0xfe,
                                       0xb4, 0x7c, 0x22, 0x48, 0x80, 0x94, 0xa7, 0x37};
    dj_tenant_fingerprint_key(&root, tenant, &key);
    assert_memory_equal(key.bytes, expected, sizeof expected);
}

static void two_credentials_never_give_one_tenant(void **state)
{
    (void)state;
    struct dj_tenant_root root = root_of(1);
    struct dj_map *seen = NULL;
    assert_int_equal(dj_map_create(100000, NULL, NULL, &seen), DEJA_OK);
    for (unsigned i = 0; i < 50000; i++) {
        char credential[32];
        uint8_t tenant[DJ_TENANT_BYTES];
        void *old = NULL;
        int len = snprintf(credential, sizeof credential, "sk-%u", i);
        dj_tenant_derive(&root, deja_slice(credential, (size_t)len), tenant);
        assert_int_equal(tenant[6] >> 4, 8);
        assert_int_equal(tenant[8] >> 6, 2);
        assert_int_equal(dj_map_put(seen, deja_slice(tenant, sizeof tenant), &root, &old), DEJA_OK);
        assert_null(old);
    }
    dj_map_destroy(seen);
}

static void tenant_depends_on_every_byte_of_credential_and_secret(void **state)
{
    (void)state;
    struct dj_tenant_root one = root_of(1);
    struct dj_tenant_root two = root_of(2);
    uint8_t a[DJ_TENANT_BYTES];
    uint8_t b[DJ_TENANT_BYTES];
    static const struct deja_slice others[] = {{"key ", 4},  {"Key", 3}, {"ke", 2},
                                               {"key\0", 4}, {"", 0},    {"\0key", 4}};
    dj_tenant_derive(&one, deja_slice_text("key"), a);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        dj_tenant_derive(&one, others[i], b);
        assert_memory_not_equal(a, b, sizeof a);
    }
    dj_tenant_derive(&two, deja_slice_text("key"), b);
    assert_memory_not_equal(a, b, sizeof a);
    dj_tenant_derive(&one, deja_slice(NULL, 0), a);
    dj_tenant_derive(&one, deja_slice_text(""), b);
    assert_memory_equal(a, b, sizeof a);
}

static void fingerprint_keys_differ_between_tenants_and_deployments(void **state)
{
    (void)state;
    struct dj_tenant_root one = root_of(1);
    struct dj_tenant_root two = root_of(2);
    uint8_t a[DJ_TENANT_BYTES] = {1};
    uint8_t b[DJ_TENANT_BYTES] = {2};
    struct dj_secret keys[3];
    dj_tenant_fingerprint_key(&one, a, &keys[0]);
    dj_tenant_fingerprint_key(&one, b, &keys[1]);
    dj_tenant_fingerprint_key(&two, a, &keys[2]);
    assert_memory_not_equal(&keys[0], &keys[1], sizeof keys[0]);
    assert_memory_not_equal(&keys[0], &keys[2], sizeof keys[0]);
    dj_tenant_root_fini(&one);
    static const struct dj_tenant_root zero;
    assert_memory_equal(&one, &zero, sizeof one);
}

static void text_form_reads_back_and_nothing_else_does(void **state)
{
    (void)state;
    uint8_t tenant[DJ_TENANT_BYTES];
    uint8_t parsed[DJ_TENANT_BYTES];
    char text[DJ_TENANT_TEXT_BYTES];
    for (size_t i = 0; i < sizeof tenant; i++)
        tenant[i] = (uint8_t)(i * 17);
    dj_tenant_text(tenant, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    assert_int_equal(dj_tenant_parse(deja_slice_text(text), parsed), DEJA_OK);
    assert_memory_equal(tenant, parsed, sizeof tenant);
    assert_int_equal(
        dj_tenant_parse(deja_slice_text("00112233-4455-6677-8899-AABBCCDDEEFF"), parsed), DEJA_OK);
    static const char *const bad[] = {"",
                                      "00112233445566778899aabbccddeeff",
                                      "00112233-4455-6677-8899-aabbccddeef",
                                      "00112233-4455-6677-8899-aabbccddeeff0",
                                      "0011223-34455-6677-8899-aabbccddeeff",
                                      "g0112233-4455-6677-8899-aabbccddeeff",
                                      "{0112233-4455-6677-8899-aabbccddeef}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dj_tenant_parse(deja_slice_text(bad[i]), parsed), DEJA_ERR_INVALID);
    assert_memory_equal(tenant, parsed, sizeof tenant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derivations_have_not_changed),
        cmocka_unit_test(two_credentials_never_give_one_tenant),
        cmocka_unit_test(tenant_depends_on_every_byte_of_credential_and_secret),
        cmocka_unit_test(fingerprint_keys_differ_between_tenants_and_deployments),
        cmocka_unit_test(text_form_reads_back_and_nothing_else_does),
    };
    return RUN_TESTS(tests);
}
