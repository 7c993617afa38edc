/* base/hash.h - a fast hash of bytes (XXH3, 64 bits) for checksums and for tables whose keys no
 * stranger chooses. Not for those (crypto: SipHash), not for names on disk (crypto: SHA-256).
 */
#ifndef DJ_BASE_HASH_H
#define DJ_BASE_HASH_H

#include <deja/base.h>

/* The same on every machine, release and byte order: stored records are checked with it. */
uint64_t dj_hash64(struct deja_slice bytes, uint64_t seed);

#endif
