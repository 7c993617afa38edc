/* security/tenant.c - see tenant.h and docs/adr/0003.
 *
 *   tenant          = UUIDv8 of HMAC-SHA-256(secret, "deja tenant 1" 00 credential)
 *   fingerprint key = HKDF-SHA-256(secret, info "deja fingerprint 1" 00 tenant)
 *
 * The labels keep the two apart and carry the version of the derivation; their end is marked, so no
 * credential can continue one label into another.
 */
#include "security/tenant.h"

#include "base/num.h"

static const char tenant_label[] = "deja tenant 1";
static const char fingerprint_label[] = "deja fingerprint 1";

void dj_tenant_root_init(struct dj_tenant_root *root, const uint8_t secret[DJ_SHA256_BYTES])
{
    dj_hmac_key_init(&root->credentials, secret);
    dj_hkdf_extract(secret, &root->fingerprints);
}

void dj_tenant_root_fini(struct dj_tenant_root *root)
{
    dj_hmac_key_fini(&root->credentials);
    dj_hmac_key_fini(&root->fingerprints);
}

void dj_tenant_derive(const struct dj_tenant_root *root, struct deja_slice credential,
                      uint8_t out_tenant[DJ_TENANT_BYTES])
{
    uint8_t digest[DJ_SHA256_BYTES];
    const struct deja_slice parts[] = {deja_slice(tenant_label, sizeof tenant_label), credential};
    dj_hmac_ready(&root->credentials, parts, 2, digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80); /* version 8 */
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    memcpy(out_tenant, digest, DJ_TENANT_BYTES);
}

void dj_tenant_fingerprint_key(const struct dj_tenant_root *root,
                               const uint8_t tenant[DJ_TENANT_BYTES], struct dj_secret *out_key)
{
    char info[sizeof fingerprint_label + DJ_TENANT_BYTES];
    memcpy(info, fingerprint_label, sizeof fingerprint_label);
    memcpy(info + sizeof fingerprint_label, tenant, DJ_TENANT_BYTES);
    dj_hkdf_expand(&root->fingerprints, deja_slice(info, sizeof info), out_key->bytes);
}

static bool is_hyphen_at(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void dj_tenant_text(const uint8_t tenant[DJ_TENANT_BYTES], char out_text[DJ_TENANT_TEXT_BYTES])
{
    char *at = out_text;
    for (size_t i = 0; i < DJ_TENANT_BYTES; i++) {
        if (is_hyphen_at(i))
            *at++ = '-';
        dj_hex_encode(tenant + i, 1, at);
        at += 2;
    }
}

enum deja_status dj_tenant_parse(struct deja_slice text, uint8_t out_tenant[DJ_TENANT_BYTES])
{
    uint8_t tenant[DJ_TENANT_BYTES];
    if (text.len != DJ_TENANT_TEXT_BYTES - 1)
        return DEJA_ERR_INVALID;
    const char *at = text.data;
    for (size_t i = 0; i < DJ_TENANT_BYTES; i++) {
        if (is_hyphen_at(i) && *at++ != '-')
            return DEJA_ERR_INVALID;
        if (dj_hex_decode(deja_slice(at, 2), &tenant[i], 1) != DEJA_OK)
            return DEJA_ERR_INVALID;
        at += 2;
    }
    memcpy(out_tenant, tenant, sizeof tenant);
    return DEJA_OK;
}
