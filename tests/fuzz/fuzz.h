/* fuzz/fuzz.h - what the drivers share: a first byte that says how the rest is cut, and a check
 * that stays on in every build.
 */
#ifndef DJ_FUZZ_FUZZ_H
#define DJ_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <deja/base.h>

#define FUZZ_CHECK(condition)                                                       \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Bytes of the next piece: 1 … 255, or all where the first byte was 0. */
static inline size_t fuzz_piece(uint8_t first, size_t left)
{
    return first && first < left ? first : left;
}

#endif
