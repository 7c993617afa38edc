/* tests/unit/crypto/test_sign.c - the first vectors of RFC 8032, and what must not verify. */
#include "crypto/sign.h"

#include "base/num.h"
#include "check.h"

static const struct {
    const char *secret;
    const char *public_key;
    const char *message;
    const char *signature;
} vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "4"
     "6bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d"
     "8c387b2eaeb4302aeeb00d291612bb0c00"},
};

static void the_vectors_of_the_standard_are_met(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct dj_secret secret;
        uint8_t message[8];
        uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
        uint8_t signature[DJ_SIGNATURE_BYTES];
        char text[2 * DJ_SIGNATURE_BYTES + 1];
        size_t len = strlen(vectors[i].message) / 2;
        assert_int_equal(dj_hex_decode(deja_slice_text(vectors[i].secret), secret.bytes, 32),
                         DEJA_OK);
        assert_int_equal(dj_hex_decode(deja_slice_text(vectors[i].message), message, len), DEJA_OK);
        assert_int_equal(dj_sign_public(&secret, public_key), DEJA_OK);
        dj_hex_encode(public_key, sizeof public_key, text);
        assert_string_equal(text, vectors[i].public_key);
        assert_int_equal(dj_sign(&secret, deja_slice(message, len), signature), DEJA_OK);
        dj_hex_encode(signature, sizeof signature, text);
        assert_string_equal(text, vectors[i].signature);
        assert_true(dj_sign_is_valid(public_key, deja_slice(message, len), signature));
    }
}

static void no_other_byte_verifies(void **state)
{
    (void)state;
    const struct dj_secret secret = {{1, 2, 3}};
    uint8_t public_key[DJ_SIGN_PUBLIC_BYTES];
    uint8_t signature[DJ_SIGNATURE_BYTES];
    char message[] = "what was said";
    struct deja_slice bytes = deja_slice(message, sizeof message);
    assert_int_equal(dj_sign_public(&secret, public_key), DEJA_OK);
    assert_int_equal(dj_sign(&secret, bytes, signature), DEJA_OK);
    for (size_t i = 0; i < sizeof signature; i++) {
        signature[i] ^= 1;
        assert_false(dj_sign_is_valid(public_key, bytes, signature));
        signature[i] ^= 1;
    }
    for (size_t i = 0; i < sizeof message; i++) {
        message[i] = (char)(message[i] ^ 1);
        assert_false(dj_sign_is_valid(public_key, bytes, signature));
        message[i] = (char)(message[i] ^ 1);
    }
    for (size_t i = 0; i < sizeof public_key; i++) {
        public_key[i] ^= 1;
        assert_false(dj_sign_is_valid(public_key, bytes, signature));
        public_key[i] ^= 1;
    }
    assert_true(dj_sign_is_valid(public_key, bytes, signature));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_standard_are_met),
        cmocka_unit_test(no_other_byte_verifies),
    };
    return RUN_TESTS(tests);
}
