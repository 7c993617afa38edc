/* api/place.c - see place.h. */
#include "api/place.h"

#define HALF_BITS (DJ_PLACE_BITS / 2)
#define HALF_MASK ((1u << HALF_BITS) - 1u)
#define ROUNDS 4u

static uint32_t round_of(const struct dj_request *request, const char *purpose, uint32_t half,
                         uint32_t round)
{
    uint8_t digest[DJ_SHA256_BYTES];
    uint32_t out = 0;
    const struct {
        uint64_t start;
        uint32_t half;
        uint32_t round;
    } parts = {(uint64_t)request->api->proxy->started_ms, half, round};
    const struct deja_slice slices[] = {deja_slice(purpose, strlen(purpose) + 1),
                                        deja_slice(&parts, sizeof parts)};
    dj_hmac(request->fingerprint_key.bytes, slices, 2, digest);
    memcpy(&out, digest, sizeof out);
    return out & HALF_MASK;
}

/* A Feistel network over 52 bits, which every JSON number can hold. */
uint64_t dj_place_scramble(const struct dj_request *request, const char *purpose, uint64_t number)
{
    uint32_t left = (uint32_t)(number >> HALF_BITS) & HALF_MASK;
    uint32_t right = (uint32_t)number & HALF_MASK;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t next = left ^ round_of(request, purpose, right, i);
        left = right;
        right = next;
    }
    return (uint64_t)left << HALF_BITS | right;
}

uint64_t dj_place_unscramble(const struct dj_request *request, const char *purpose, uint64_t place)
{
    uint32_t left = (uint32_t)(place >> HALF_BITS) & HALF_MASK;
    uint32_t right = (uint32_t)place & HALF_MASK;
    for (uint32_t i = ROUNDS; i > 0; i--) {
        uint32_t before = right ^ round_of(request, purpose, left, i - 1);
        right = left;
        left = before;
    }
    return (uint64_t)left << HALF_BITS | right;
}
