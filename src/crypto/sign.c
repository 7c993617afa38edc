/* crypto/sign.c - see sign.h. Over OpenSSL's one-shot calls: Ed25519 has no other form. */
#include "crypto/sign.h"

#include <openssl/evp.h>

enum deja_status dj_sign_public(const struct dj_secret *secret,
                                uint8_t out_public[DJ_SIGN_PUBLIC_BYTES])
{
    uint8_t bytes[DJ_SIGN_PUBLIC_BYTES];
    size_t len = sizeof bytes;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret->bytes, sizeof secret->bytes);
    bool is_made = key && EVP_PKEY_get_raw_public_key(key, bytes, &len) == 1 && len == sizeof bytes;
    EVP_PKEY_free(key);
    if (!is_made)
        return DEJA_ERR_NOMEM;
    memcpy(out_public, bytes, sizeof bytes);
    return DEJA_OK;
}

enum deja_status dj_sign(const struct dj_secret *secret, struct deja_slice bytes,
                         uint8_t out_signature[DJ_SIGNATURE_BYTES])
{
    uint8_t signature[DJ_SIGNATURE_BYTES];
    size_t len = sizeof signature;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret->bytes, sizeof secret->bytes);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_made = key && context && EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
                   EVP_DigestSign(context, signature, &len, (const unsigned char *)bytes.data,
                                  bytes.len) == 1 &&
                   len == sizeof signature;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    if (!is_made)
        return DEJA_ERR_NOMEM;
    memcpy(out_signature, signature, sizeof signature);
    return DEJA_OK;
}

bool dj_sign_is_valid(const uint8_t public_key[DJ_SIGN_PUBLIC_BYTES], struct deja_slice bytes,
                      const uint8_t signature[DJ_SIGNATURE_BYTES])
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, DJ_SIGN_PUBLIC_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_valid = key && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                    EVP_DigestVerify(context, signature, DJ_SIGNATURE_BYTES,
                                     (const unsigned char *)bytes.data, bytes.len) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return is_valid;
}
