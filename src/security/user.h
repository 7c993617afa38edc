/* security/user.h - the users inside a tenant: whoever X-Deja-User names reads and stores apart
 * from the tenant's other users.
 *
 *   digest   = the first 16 bytes of HMAC(fingerprint key of the tenant, "deja user 1" 00 name)
 *   its keys = HMAC(fingerprint key of the tenant, "deja user keys 1" 00 digest): what every
 *              fingerprint of this user is made with, so that no key, scope or flight of one user
 *              is that of another, or of the tenant without a user
 *   its tag  = 01 "user:" and the digest in hex, on every entry it stores, so that the entries of
 *              one user can be found and erased; no client can name a tag with a control character
 *
 * The name itself is kept nowhere. Threads: any; no state.
 */
#ifndef DJ_SECURITY_USER_H
#define DJ_SECURITY_USER_H

#include <deja/base.h>

#include "crypto/digest.h"
#include "security/tenant.h"

#define DJ_USER_BYTES DJ_TENANT_BYTES
#define DJ_USER_NAME_BYTES_MAX 256u
#define DJ_USER_TAG_BYTES 39u /* 01, "user:", 32 hex digits, terminator */

/* fingerprint_key: of the tenant, as dj_tenant_fingerprint_key makes it. */
void dj_user_digest(const uint8_t fingerprint_key[DJ_SHA256_BYTES], struct deja_slice name,
                    uint8_t out_user[DJ_USER_BYTES]);
/* The key of the tenant becomes that of this user of it. */
void dj_user_narrow(uint8_t fingerprint_key[DJ_SHA256_BYTES], const uint8_t user[DJ_USER_BYTES]);
void dj_user_tag(const uint8_t user[DJ_USER_BYTES], char out_tag[DJ_USER_TAG_BYTES]);

/* One of Deja's own tags, which clients neither name nor see. */
static inline bool dj_tag_is_internal(struct deja_slice tag)
{
    return tag.len > 0 && tag.data[0] == '\x01';
}

static inline bool dj_tag_is_of_user(struct deja_slice tag)
{
    static const char mark[] = "\x01user:";
    return tag.len >= sizeof mark - 1 && memcmp(tag.data, mark, sizeof mark - 1) == 0;
}

#endif
