/* base/slice.c - see slice.h. Candidates are found by memchr, so long texts go by fast. */
#include "base/slice.h"

bool dj_slice_contains(struct deja_slice text, const char *needle)
{
    size_t len = strlen(needle);
    const char *at = text.data;
    size_t left = text.len;
    while (left >= len) {
        const char *found = memchr(at, needle[0], left - len + 1);
        if (!found)
            return false;
        if (memcmp(found, needle, len) == 0)
            return true;
        left -= (size_t)(found - at) + 1;
        at = found + 1;
    }
    return false;
}
