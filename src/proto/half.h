/* proto/half.h - IEEE binary16 and bfloat16 as stored in weights files, to and from float. */
#ifndef DJ_PROTO_HALF_H
#define DJ_PROTO_HALF_H

#include <deja/base.h>

/* Exact for every value but NaN payloads. Scaling by 2^112 moves the exponent, subnormals too. */
static inline float dj_f16_to_f32(uint16_t half)
{
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    float value = 0.0F;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112F;
    memcpy(&magnitude, &value, sizeof value);
    if ((half & 0x7c00) == 0x7c00)
        magnitude |= 0x7f800000;
    magnitude |= sign;
    memcpy(&value, &magnitude, sizeof value);
    return value;
}

/* Nearest, ties to even; too large becomes infinity. */
static inline uint16_t dj_f16_from_f32(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520 and up round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 1/2 lines the last kept bit up */
        float small = 0.0F;
        memcpy(&small, &magnitude, sizeof small);
        small += 0.5F;
        memcpy(&magnitude, &small, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000));
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000) >> 13);
}

static inline float dj_bf16_to_f32(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value = 0.0F;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
