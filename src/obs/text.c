/* obs/text.c - see text_internal.h. Trust: untrusted. */
#include "obs/text_internal.h"

size_t dj_obs_sequence(struct deja_slice text)
{
    static const struct {
        uint32_t lead_mask, lead, smallest;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    if (!text.len)
        return 0;
    uint32_t first = (uint8_t)text.data[0];
    for (size_t form = 0; form < sizeof forms / sizeof *forms; form++) {
        if ((first & forms[form].lead_mask) != forms[form].lead)
            continue;
        if (form + 1 > text.len)
            return 0;
        uint32_t point = first & ~forms[form].lead_mask;
        for (size_t i = 1; i <= form; i++) {
            uint32_t next = (uint8_t)text.data[i];
            if ((next & 0xc0) != 0x80)
                return 0;
            point = point << 6 | (next & 0x3f);
        }
        bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
        return point < forms[form].smallest || point > 0x10ffff || is_surrogate ? 0 : form + 1;
    }
    return 0;
}

struct deja_slice dj_obs_cut(struct deja_slice text, size_t bytes_max)
{
    if (text.len <= bytes_max)
        return text;
    while (bytes_max && ((uint8_t)text.data[bytes_max] & 0xc0) == 0x80)
        bytes_max--;
    return deja_slice(text.data, bytes_max);
}
