/* security/vault_seal.h - seals the vault's documents under a key of the deployment's secret.
 *
 *   sealed = 01, salt (32 random bytes), AES-256-GCM of the document
 *   key    = HKDF(deployment secret, "deja vault 1" 00 salt): one for each document, so the nonce
 * is zero; bound to the tenant and to what it is
 *
 * Threads: any. Blocking: no.
 */
#ifndef DJ_SECURITY_VAULT_SEAL_H
#define DJ_SECURITY_VAULT_SEAL_H

#include "crypto/digest.h"
#include "security/vault.h"

struct dj_vault_seal;

enum deja_status dj_vault_seal_create(const uint8_t secret[DJ_SHA256_BYTES],
                                      struct dj_vault_seal **out_seal) DEJA_NODISCARD;
void dj_vault_seal_destroy(struct dj_vault_seal *seal); /* wipes; accepts NULL */
/* Valid until destroy. */
struct dj_vault_sealer dj_vault_seal_table(struct dj_vault_seal *seal);

#endif
