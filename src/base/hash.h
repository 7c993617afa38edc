/* base/hash.h - XXH3: fast hashes of bytes that nobody chose against us, for checksums and tables.
 *
 * Not for keys made by strangers (crypto: SipHash), not for names on disk (crypto: SHA-256).
 * Threads: any.
 */
#ifndef DJ_BASE_HASH_H
#define DJ_BASE_HASH_H

#include <deja/base.h>

/* The same on every machine, release and byte order: stored records are checked with it. */
uint64_t dj_hash64(const void *data, size_t len, uint64_t seed);
/* Likewise, in canonical (big endian) byte order. */
void dj_hash128(const void *data, size_t len, uint64_t seed, uint8_t out_hash[16]);

#endif
