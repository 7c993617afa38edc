/* base/hash.h - XXH3: fast fingerprints of bytes that nobody chose against us.
 *
 * Not for keys made by strangers (SipHash in crypto) and not for anything another node must trust.
 * Threads: any.
 */
#ifndef DJ_BASE_HASH_H
#define DJ_BASE_HASH_H

#include <deja/base.h>

uint64_t dj_hash64(const void *data, size_t len, uint64_t seed);
/* Canonical (big endian) byte order: the same on every machine. */
void dj_hash128(const void *data, size_t len, uint64_t seed, uint8_t out_hash[16]);

#endif
