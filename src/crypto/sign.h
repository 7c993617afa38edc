/* crypto/sign.h - Ed25519: whoever has the 32 public bytes can tell what the holder of the secret
 * ones has signed.
 *
 * Deterministic: the same key and bytes give the same signature. Threads: any; no state but what
 * the caller holds. The secret is wiped by its owner (dj_secret_fini).
 */
#ifndef DJ_CRYPTO_SIGN_H
#define DJ_CRYPTO_SIGN_H

#include <deja/base.h>

#include "crypto/digest.h"

#define DJ_SIGN_PUBLIC_BYTES 32u
#define DJ_SIGNATURE_BYTES 64u

/* secret: any 32 random bytes. DEJA_ERR_NOMEM. */
enum deja_status dj_sign_public(const struct dj_secret *secret,
                                uint8_t out_public[DJ_SIGN_PUBLIC_BYTES]) DEJA_NODISCARD;
enum deja_status dj_sign(const struct dj_secret *secret, struct deja_slice bytes,
                         uint8_t out_signature[DJ_SIGNATURE_BYTES]) DEJA_NODISCARD;
/* False also where memory ran out: what cannot be checked is not believed. */
bool dj_sign_is_valid(const uint8_t public_key[DJ_SIGN_PUBLIC_BYTES], struct deja_slice bytes,
                      const uint8_t signature[DJ_SIGNATURE_BYTES]);

#endif
