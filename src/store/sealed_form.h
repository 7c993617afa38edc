/* store/sealed_form.h - an entry as it lies in a tier outside memory, and back.
 *
 *   outside, for the tier to see: tenant, id, scope, version, times, kind, key id
 *   inside, sealed: the record of the whole entry (proto/record.h), packed before
 *
 * The version outside is the entry's times 256, plus how often it was sealed anew: tiers replace
 * what is older only, and a record under a new key is the same answer. Entries that are not sealed
 * (encryption is off) have it too, so that what was kept one way is replaced by what is kept the
 * other way. What was kept before there was sealing has its version as it is.
 *
 * Trust: kept by stores others may write to. Inside counts; outside is compared with it. Pure but
 * for the keyring. Threads: any.
 */
#ifndef DJ_STORE_SEALED_FORM_H
#define DJ_STORE_SEALED_FORM_H

#include "security/keyring.h"
#include "store/store.h"

#define DJ_SEALED_ANEW_MAX 255u /* times; then the entry leaves instead */

uint64_t dj_sealed_version(uint64_t version);     /* outside, sealed for the first time */
uint64_t dj_sealed_version_max(uint64_t version); /* outside, for removals up to version */
/* Neither sealed nor under a version of outside: as a caller of the cache knows it. */
bool dj_sealed_is_open(const struct dj_entry *entry);

/* What is to be put. keyring NULL: not sealed. vector: NULL, or dim floats, to be sealed as well
 * (dj_entry's vector). has_embedder: the embedder's name stays outside, for a tier that keeps the
 * vector readable. DEJA_ERR_NOT_FOUND, DEJA_ERR_DENIED: as dj_keyring_seal; DEJA_ERR_LIMIT,
 * DEJA_ERR_NOMEM. */
struct dj_seal {
    struct dj_keyring *keyring;
    const struct dj_entry *entry;
    const float *vector;
    uint32_t dim;
    bool has_embedder;
    int64_t stay_until_ms; /* as dj_entry's; what is kept ends then at the latest, seen from outside
                            * (not sealed: for whoever reads it) */
    const struct dj_packing *packing; /* of what is sealed; NULL: as by default */
    uint64_t *plain_bytes;            /* NULL, or: set to what the record would take unpacked */
};
enum deja_status dj_seal_entry(const struct dj_seal *seal,
                               struct dj_value **out_value) DEJA_NODISCARD;

/* What was kept, as it was put. unpacker may be NULL. DEJA_ERR_NOT_FOUND, DEJA_ERR_DENIED: as
 * dj_keyring_open; DEJA_ERR_CORRUPT: not what was sealed here; DEJA_ERR_NOMEM. */
enum deja_status dj_unseal_entry(struct dj_keyring *keyring, struct dj_unpacker *unpacker,
                                 const struct dj_entry *kept,
                                 struct dj_value **out_value) DEJA_NODISCARD;

/* The same entry and vector under the active key, for the same place. Errors as both of the above;
 * DEJA_ERR_LIMIT also: it was sealed anew too often. */
enum deja_status dj_seal_anew(struct dj_keyring *keyring, const struct dj_entry *kept,
                              struct dj_value **out_value) DEJA_NODISCARD;

/* A sealed vector, opened; its slices and floats lie in scratch. Errors as dj_unseal_entry. */
enum deja_status dj_unseal_vector(struct dj_keyring *keyring, const struct dj_store_vector *kept,
                                  struct dj_buf *scratch,
                                  struct dj_store_vector *out_vector) DEJA_NODISCARD;

#endif
