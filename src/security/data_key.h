/* security/data_key.h - the document of one data key: its state and, until it is destroyed, the key
 * wrapped by the master key.
 *
 *    0  "DJK1"                          32  salt 32       \
 *    4  state 1: 1 alive, 2 destroyed   64  wrapped key 32  absent once it is destroyed
 *    5  zero 3                          96  tag 16        /
 *    8  id 4, zero 4                   112  checksum 8: XXH3-64 of everything before it
 *   16  created 8, ms since 1970
 *   24  name of the master key 8
 *
 * Little endian. Wrapped with AES-256-GCM under HKDF(master key, salt), bound to tenant, id and
 * time, so a document is worth nothing under another name. Kept under "TENANT.ID" in hex. Trust:
 * kept by a store others may write to; every length is checked. Threads: any; pure.
 */
#ifndef DJ_SECURITY_DATA_KEY_H
#define DJ_SECURITY_DATA_KEY_H

#include <deja/base.h>

#include "crypto/aead.h"
#include "crypto/digest.h"
#include "security/tenant.h"

#define DJ_DATA_KEY_BYTES 120u
#define DJ_DATA_KEY_DESTROYED_BYTES 40u
#define DJ_DATA_KEY_NAME_BYTES 41u /* 32 hex digits, '.', 8 hex digits */

struct dj_data_key_document {
    uint32_t id;
    bool is_destroyed;
    int64_t created_ms;
    uint64_t master_name;
    struct deja_slice wrapped; /* salt, key, tag; borrowed; empty: destroyed */
};

/* What names a master key without giving it away. */
uint64_t dj_master_key_name(const struct dj_hmac_key *master);

void dj_data_key_name(const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id,
                      char out_name[DJ_DATA_KEY_NAME_BYTES]);
bool dj_data_key_name_read(struct deja_slice name, uint8_t out_tenant[DJ_TENANT_BYTES],
                           uint32_t *out_id);

/* DEJA_ERR_NOMEM. */
enum deja_status dj_data_key_wrap(const struct dj_aead *aead, const struct dj_hmac_key *master,
                                  const uint8_t tenant[DJ_TENANT_BYTES], uint32_t id,
                                  int64_t created_ms, const uint8_t key[DJ_AEAD_KEY_BYTES],
                                  uint8_t out_bytes[DJ_DATA_KEY_BYTES]) DEJA_NODISCARD;
/* DEJA_ERR_DENIED: by another master key; DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM. */
enum deja_status dj_data_key_unwrap(const struct dj_aead *aead, const struct dj_hmac_key *master,
                                    const uint8_t tenant[DJ_TENANT_BYTES],
                                    const struct dj_data_key_document *document,
                                    uint8_t out_key[DJ_AEAD_KEY_BYTES]) DEJA_NODISCARD;
/* What stays of it. */
void dj_data_key_destroyed(uint32_t id, int64_t created_ms,
                           uint8_t out_bytes[DJ_DATA_KEY_DESTROYED_BYTES]);
/* DEJA_ERR_CORRUPT. */
enum deja_status dj_data_key_read(struct deja_slice bytes,
                                  struct dj_data_key_document *out_document) DEJA_NODISCARD;

#endif
