/* base/little.h - numbers in little-endian order, as every format of ours keeps them, whatever the
 * machine. Threads: any; pure.
 */
#ifndef DJ_BASE_LITTLE_H
#define DJ_BASE_LITTLE_H

#include <deja/base.h>

/* The lowest `bytes` (1 … 8) bytes of number to `at`. */
static inline void dj_little_put(void *at, uint64_t number, size_t bytes)
{
    uint8_t *out = at;
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(number >> (8 * i));
}

static inline uint64_t dj_little_get(const void *at, size_t bytes)
{
    const uint8_t *in = at;
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++)
        number |= (uint64_t)in[i] << (8 * i);
    return number;
}

#endif
