/* base/base64.c - see base64.h. */
#include "base/base64.h"

void dj_base64_encode(struct deja_slice bytes, struct dj_buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.len; i += 3) {
        uint32_t left = (uint32_t)(bytes.len - i);
        uint32_t group = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (left > 2 ? in[i + 2] : 0u);
        const char text[4] = {digits[group >> 18], digits[group >> 12 & 63],
                              left > 1 ? digits[group >> 6 & 63] : '=',
                              left > 2 ? digits[group & 63] : '='};
        dj_buf_append(out, text, sizeof text);
    }
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum deja_status dj_base64_decode(struct deja_slice text, struct dj_buf *out)
{
    size_t len = text.len;
    size_t padding = 0;
    size_t before = out->len;
    while (padding < 2 && padding < len && text.data[len - 1 - padding] == '=')
        padding++;
    if (len % 4)
        return DEJA_ERR_INVALID;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;
        size_t kept = i + 4 == len ? 3 - padding : 3;
        for (size_t k = 0; k < 4; k++) {
            bool is_padding = i + k >= len - padding;
            int value = is_padding ? 0 : digit_value(text.data[i + k]);
            if (value < 0) {
                out->len = before;
                return DEJA_ERR_INVALID;
            }
            group = group << 6 | (uint32_t)value;
        }
        const unsigned char bytes[3] = {(unsigned char)(group >> 16), (unsigned char)(group >> 8),
                                        (unsigned char)group};
        dj_buf_append(out, bytes, kept);
    }
    return out->status;
}
