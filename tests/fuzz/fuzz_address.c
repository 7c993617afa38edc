/* A URL that the guard takes is plain to everybody: https, and a host that is read one way only. */
#include "fuzz.h"

#include "security/address_guard.h"

static bool has(struct deja_slice text, const char *bytes)
{
    for (size_t i = 0; i < text.len; i++)
        if (strchr(bytes, text.data[i]))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct dj_address_guard guard = {.count = 0};
    const char *reason = NULL;
    if (len > 4096)
        return 0;
    struct deja_slice text = deja_slice(data, len);
    if (dj_address_guard_add(&guard, text) == DEJA_OK)
        FUZZ_CHECK(guard.count == 1 && guard.exceptions[0].prefix_bits <= 128);
    if (dj_address_check_url(NULL, text, &reason) != DEJA_OK) {
        FUZZ_CHECK(reason != NULL);
        return 0;
    }
    FUZZ_CHECK(text.len > 8 && (text.data[4] | 0x20) == 's' && text.data[7] == '/');
    struct deja_slice authority = deja_slice(text.data + 8, text.len - 8);
    const char *slash = memchr(authority.data, '/', authority.len);
    if (slash)
        authority.len = (size_t)(slash - authority.data);
    FUZZ_CHECK(authority.len > 0 && !has(authority, "@%\\?#_ \t\r\n"));
    return 0;
}
