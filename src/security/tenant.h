/* security/tenant.h - who a request belongs to when nobody was configured: a tenant derived from
 * its upstream credential, and the key that names things inside that tenant.
 *
 * Everything follows from one deployment secret of 32 bytes, so nodes that share the secret agree,
 * and nobody without it can tell which tenant a credential has, or test guesses against stored
 * names. docs/adr/0003 fixes the derivations; they cannot change without losing what is stored.
 * Trust: credentials come from strangers; any bytes are fine. Threads: any; a root is immutable.
 */
#ifndef DJ_SECURITY_TENANT_H
#define DJ_SECURITY_TENANT_H

#include <deja/base.h>

#include "crypto/digest.h"

#define DJ_TENANT_BYTES 16u
#define DJ_TENANT_TEXT_BYTES 37u /* with its end */

/* Made by init only: what every request needs of the secret, worked out once. */
struct dj_tenant_root {
    struct dj_hmac_key credentials;  /* keyed by the secret itself */
    struct dj_hmac_key fingerprints; /* by what HKDF extracts from it */
};

/* The secret is copied; wipe yours. */
void dj_tenant_root_init(struct dj_tenant_root *root, const uint8_t secret[DJ_SHA256_BYTES]);
void dj_tenant_root_fini(struct dj_tenant_root *root);

/* A UUIDv8. credential: what stands after "Bearer ", or the value of x-api-key; empty: the local
 * tenant, one for the deployment. */
void dj_tenant_derive(const struct dj_tenant_root *root, struct deja_slice credential,
                      uint8_t out_tenant[DJ_TENANT_BYTES]);
/* The key of the tenant's HMACs (DESIGN: fingerprints). It is a secret: wipe it after use. */
void dj_tenant_fingerprint_key(const struct dj_tenant_root *root,
                               const uint8_t tenant[DJ_TENANT_BYTES], struct dj_secret *out_key);

/* "01234567-89ab-8cde-8f01-23456789abcd", terminated. */
void dj_tenant_text(const uint8_t tenant[DJ_TENANT_BYTES], char out_text[DJ_TENANT_TEXT_BYTES]);
/* That form only, either case. DEJA_ERR_INVALID. */
enum deja_status dj_tenant_parse(struct deja_slice text,
                                 uint8_t out_tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;

#endif
