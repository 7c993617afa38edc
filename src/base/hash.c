/* base/hash.c - see hash.h. */
#include "base/hash.h"

#include <xxhash.h>

uint64_t dj_hash64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(len ? data : "", len, seed);
}

void dj_hash128(const void *data, size_t len, uint64_t seed, uint8_t out_hash[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, len, seed));
    memcpy(out_hash, canonical.digest, sizeof canonical.digest);
}
