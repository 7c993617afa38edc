/* security/user.c - see user.h. */
#include "security/user.h"

#include <assert.h>

#include "base/num.h"

static const char name_label[] = "deja user 1";
static const char keys_label[] = "deja user keys 1";
static const char tag_start[] = "\x01user:";

void dj_user_digest(const uint8_t fingerprint_key[DJ_SHA256_BYTES], struct deja_slice name,
                    uint8_t out_user[DJ_USER_BYTES])
{
    uint8_t digest[DJ_SHA256_BYTES];
    const struct deja_slice parts[] = {deja_slice(name_label, sizeof name_label), name};
    dj_hmac(fingerprint_key, parts, 2, digest);
    memcpy(out_user, digest, DJ_USER_BYTES);
}

void dj_user_narrow(uint8_t fingerprint_key[DJ_SHA256_BYTES], const uint8_t user[DJ_USER_BYTES])
{
    struct dj_secret narrow;
    const struct deja_slice parts[] = {deja_slice(keys_label, sizeof keys_label),
                                       deja_slice(user, DJ_USER_BYTES)};
    dj_hmac(fingerprint_key, parts, 2, narrow.bytes);
    memcpy(fingerprint_key, narrow.bytes, DJ_SHA256_BYTES);
    dj_secret_fini(&narrow);
}

void dj_user_tag(const uint8_t user[DJ_USER_BYTES], char out_tag[DJ_USER_TAG_BYTES])
{
    static_assert(sizeof tag_start + 2 * DJ_USER_BYTES == DJ_USER_TAG_BYTES, "room for the tag");
    memcpy(out_tag, tag_start, sizeof tag_start - 1);
    dj_hex_encode(user, DJ_USER_BYTES, out_tag + sizeof tag_start - 1);
}
