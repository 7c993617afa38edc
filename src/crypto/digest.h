/* crypto/digest.h - SHA-256, HMAC, HKDF, SipHash-1-3, random bytes, constant-time compare.
 *
 * Threads: any; no state but what the caller holds.
 */
#ifndef DJ_CRYPTO_DIGEST_H
#define DJ_CRYPTO_DIGEST_H

#include <deja/base.h>

#define DJ_SHA256_BYTES 32u

void dj_sha256(struct deja_slice bytes, uint8_t out_digest[DJ_SHA256_BYTES]);

/* Incremental SHA-256, for files. */
struct dj_sha256_state;
enum deja_status dj_sha256_create(struct dj_sha256_state **out_state) DEJA_NODISCARD;
void dj_sha256_update(struct dj_sha256_state *state, struct deja_slice bytes);
void dj_sha256_finish(struct dj_sha256_state *state, uint8_t out_digest[DJ_SHA256_BYTES]);
void dj_sha256_destroy(struct dj_sha256_state *state); /* accepts NULL */

/* SHA-1, only for names that others made so (scripts on a server); nothing may rest on it. */
#define DJ_SHA1_BYTES 20u
void dj_sha1(struct deja_slice bytes, uint8_t out_digest[DJ_SHA1_BYTES]);

/* HMAC-SHA-256 of up to 16 slices one after another, without copying them together. Fast: this is
 * on the hit path (no context allocation per call beyond what OpenSSL's one-shot needs). */
void dj_hmac(const uint8_t key[DJ_SHA256_BYTES], const struct deja_slice *parts, size_t count,
             uint8_t out_digest[DJ_SHA256_BYTES]);
/* The same under a key of any length. */
void dj_hmac_any(struct deja_slice key, const struct deja_slice *parts, size_t count,
                 uint8_t out_digest[DJ_SHA256_BYTES]);

/* A key made ready, for many HMACs: the states of SHA-256 after its two padded forms, which are two
 * of the four blocks of a short one. As secret as the key: wipe it after use. */
struct dj_hmac_key {
    uint32_t inner[8];
    uint32_t outer[8];
};
void dj_hmac_key_init(struct dj_hmac_key *ready, const uint8_t key[DJ_SHA256_BYTES]);
void dj_hmac_key_fini(struct dj_hmac_key *ready);
/* As dj_hmac. */
void dj_hmac_ready(const struct dj_hmac_key *ready, const struct deja_slice *parts, size_t count,
                   uint8_t out_digest[DJ_SHA256_BYTES]);

/* HKDF-SHA-256 (RFC 5869), salt empty, to 32 bytes; its two steps, where one key gives many. */
void dj_hkdf(const uint8_t key[DJ_SHA256_BYTES], struct deja_slice info,
             uint8_t out_key[DJ_SHA256_BYTES]);
void dj_hkdf_extract(const uint8_t key[DJ_SHA256_BYTES], struct dj_hmac_key *out_extracted);
void dj_hkdf_expand(const struct dj_hmac_key *extracted, struct deja_slice info,
                    uint8_t out_key[DJ_SHA256_BYTES]);

/* From the kernel; aborts the process if the kernel cannot (never seen after boot). */
void dj_random_bytes(void *out, size_t len);

bool dj_is_equal_constant_time(const void *a, const void *b, size_t len);
void dj_wipe(void *memory, size_t len); /* not optimised away */

/* SipHash-1-3, for tables whose keys strangers choose. */
uint64_t dj_siphash(const uint8_t key[16], struct deja_slice bytes);

/* 32 bytes that are wiped when fini'd; never printed, never compared with memcmp (I9). */
struct dj_secret {
    uint8_t bytes[DJ_SHA256_BYTES];
};
void dj_secret_fini(struct dj_secret *secret);

#endif
