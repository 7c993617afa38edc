/* security/keyring.h - the keys that data at rest is sealed with: one data key per tenant, wrapped
 * by the master key, with ids; rotated, and destroyed to erase.
 *
 *   master key (file, environment, command, systemd credential)
 *     └─ wraps ─ data keys of a tenant, id 1 … n: ACTIVE -> OLD (reads only) -> DESTROYED
 *                   └─ seals ─ what tiers outside memory keep
 *
 * Threads: any. seal and open work in memory; DEJA_ERR_NOT_FOUND says that the key is not here
 * (yet): dj_keyring_fetch asks the storage for it, blocking, on a worker.
 */
#ifndef DJ_SECURITY_KEYRING_H
#define DJ_SECURITY_KEYRING_H

#include <deja/base.h>

#include "base/buf.h"
#include "security/authority.h"
#include "security/tenant.h"

struct dj_keyring;

/* Appends the sealed form of plain: it begins with format and key id. bound: what the bytes belong
 * to (tenant, entry, version …); opening with another one fails. DEJA_ERR_NOT_FOUND: the tenant has
 * no key here (yet); DEJA_ERR_DENIED: it is destroyed, or the master key is not the right one;
 * DEJA_ERR_NOMEM. */
enum deja_status dj_keyring_seal(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice plain,
                                 struct dj_buf *out) DEJA_NODISCARD;
/* The reverse. DEJA_ERR_CORRUPT: a byte is not as it was, or it was bound to something else. */
enum deja_status dj_keyring_open(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice sealed,
                                 struct dj_buf *out) DEJA_NODISCARD;
/* Blocking: the tenant's keys from storage; a first one is made where there is none. */
enum deja_status dj_keyring_fetch(struct dj_keyring *keyring,
                                  const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* Blocking: a new active key; the one before reads until what it sealed was sealed anew. */
enum deja_status dj_keyring_rotate(struct dj_keyring *keyring,
                                   const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* Blocking: every key of the tenant is destroyed, durably, and never comes back; what it sealed
 * cannot be read by anybody any more. A tenant that is used again gets new keys. out_ids_last: the
 * highest id destroyed. */
enum deja_status dj_keyring_destroy_tenant(struct dj_keyring *keyring,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           uint32_t *out_id_last) DEJA_NODISCARD;

#endif
