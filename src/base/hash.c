/* base/hash.c - see hash.h. */
#include "base/hash.h"

#include <xxhash.h>

uint64_t dj_hash64(struct deja_slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.len ? bytes.data : "", bytes.len, seed);
}
