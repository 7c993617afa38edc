/* store/archive_internal.h - what writer and reader of a backup share: how a block is sealed. */
#ifndef DJ_STORE_ARCHIVE_INTERNAL_H
#define DJ_STORE_ARCHIVE_INTERNAL_H

#include "crypto/aead.h"
#include "crypto/digest.h"
#include "security/keyring.h"
#include "store/archive.h"

struct dj_archive_seal {
    struct dj_aead *aead;     /* NULL: nothing is sealed */
    struct dj_hmac_key ready; /* what HKDF extracted from the backup's key */
    uint8_t id[DJ_ID_BYTES];  /* of the backup */
};
/* key: DJ_KEYRING_KEY_BYTES. */
enum deja_status dj_archive_seal_init(struct dj_archive_seal *seal, const uint8_t id[DJ_ID_BYTES],
                                      const uint8_t *key) DEJA_NODISCARD;
void dj_archive_seal_fini(struct dj_archive_seal *seal); /* wipes */
/* block: as it is written, stored_bytes included. Appends. */
enum deja_status dj_archive_seal_block(const struct dj_archive_seal *seal,
                                       const struct dj_archive_block *block,
                                       struct deja_slice plain, struct dj_buf *out) DEJA_NODISCARD;
/* DEJA_ERR_CORRUPT. */
enum deja_status dj_archive_open_block(const struct dj_archive_seal *seal,
                                       const struct dj_archive_block *block,
                                       struct deja_slice sealed, struct dj_buf *out) DEJA_NODISCARD;

#endif
