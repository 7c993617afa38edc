/* security/keyring.h - the keys that data at rest is sealed with: one data key per tenant, wrapped
 * by the master key, with ids; rotated, and destroyed to erase.
 *
 *   master key (file, environment, command, systemd credential)
 *     └─ wraps ─ data keys of a tenant, id 1 … n: ACTIVE -> OLD (reads only) -> DESTROYED
 *                   └─ derives ─ a key per sealed thing, from a random salt of 32 bytes
 *                                  └─ seals ─ what tiers outside memory keep
 *
 * The highest id that is not destroyed is the active one, wherever it was made, so nodes agree
 * without asking each other. Threads: any. seal and open work in memory; DEJA_ERR_NOT_FOUND says
 * that the key is not here (yet): dj_keyring_fetch asks the storage for it, blocking, on a worker.
 */
#ifndef DJ_SECURITY_KEYRING_H
#define DJ_SECURITY_KEYRING_H

#include <deja/base.h>

#include "base/buf.h"
#include "security/authority.h"
#include "security/tenant.h"

#define DJ_KEYRING_TABLE "data_keys"
#define DJ_KEYRING_SEALED_MAX (UINT64_C(1) << 30) /* by one data key; then a new one is due */
#define DJ_KEYRING_KEY_BYTES 32u
#define DJ_SEALED_BYTES 76u /* that the sealed form is longer */

struct dj_keyring;

struct dj_keyring_options {
    const uint8_t *master;   /* 32 bytes, copied, as is the next */
    const uint8_t *previous; /* the one before: what it wrapped is read, and due to be rotated;
                              * NULL: none */
    const struct dj_authority *authority; /* where wrapped keys are kept; borrowed */
    int64_t (*now_ms)(void);
    uint32_t tenants_max; /* whose keys are held in memory; 0: 10,000 */
};

/* Asks the authority for nothing yet. */
enum deja_status dj_keyring_create(const struct dj_keyring_options *options,
                                   struct dj_keyring **out_keyring) DEJA_NODISCARD;
void dj_keyring_destroy(struct dj_keyring *keyring); /* every key is wiped; accepts NULL */

/* Appends the sealed form of plain: it begins with format and key id. bound: what the bytes belong
 * to (entry, version, type …) beside the tenant; opening with another one fails.
 * DEJA_ERR_NOT_FOUND: the tenant has no key here (yet); DEJA_ERR_DENIED: the master key is not the
 * right one; DEJA_ERR_NOMEM, DEJA_ERR_LIMIT. */
enum deja_status dj_keyring_seal(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice plain,
                                 struct dj_buf *out) DEJA_NODISCARD;
/* The reverse. DEJA_ERR_CORRUPT: a byte is not as it was, or it was bound to something else;
 * DEJA_ERR_DENIED also: its key is destroyed. */
enum deja_status dj_keyring_open(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice sealed,
                                 struct dj_buf *out) DEJA_NODISCARD;
uint32_t dj_keyring_id_of(struct deja_slice sealed); /* 0: not of the sealed form */
/* That the tenant's new data is sealed with; 0: not known here. */
uint32_t dj_keyring_active(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES]);

/* The active key has sealed as much as it should, or the previous master key wraps it; or is that
 * old. */
bool dj_keyring_is_due(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES]);
bool dj_keyring_is_older(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                         uint64_t age_ms);

/* Blocking: the tenant's keys from storage; a first one is made where there is none. Asks at most
 * once in a second. DEJA_ERR_DENIED: they are of another master key. */
enum deja_status dj_keyring_fetch(struct dj_keyring *keyring,
                                  const uint8_t tenant[DJ_TENANT_BYTES]) DEJA_NODISCARD;
/* A change that the authority tells of (any table): a key that was destroyed leaves, a new one is
 * active. A dj_authority_change_fn; keyring: a struct dj_keyring. */
void dj_keyring_changed(void *keyring, const char *table, struct deja_slice key,
                        struct deja_slice value);
/* Blocking: what other programs changed, where the authority has a pull; and how much was sealed is
 * noted down. To be called every few seconds. */
enum deja_status dj_keyring_refresh(struct dj_keyring *keyring) DEJA_NODISCARD;
/* Blocking: a new active key; the one before reads until what it sealed was sealed anew.
 * has_lost_master: keys of another master key are destroyed rather than in the way. */
enum deja_status dj_keyring_rotate(struct dj_keyring *keyring,
                                   const uint8_t tenant[DJ_TENANT_BYTES],
                                   bool has_lost_master) DEJA_NODISCARD;
/* Blocking: the tenant's keys below id_below are destroyed, durably; nothing sealed by them can be
 * read by anybody any more. */
enum deja_status dj_keyring_destroy_old(struct dj_keyring *keyring,
                                        const uint8_t tenant[DJ_TENANT_BYTES],
                                        uint32_t id_below) DEJA_NODISCARD;
/* Blocking: every key of the tenant is destroyed, durably, and never comes back; what it sealed
 * cannot be read by anybody any more. A tenant that is used again gets new keys. out_ids_last: the
 * highest id destroyed; 0: it had none. */
enum deja_status dj_keyring_destroy_tenant(struct dj_keyring *keyring,
                                           const uint8_t tenant[DJ_TENANT_BYTES],
                                           uint32_t *out_id_last) DEJA_NODISCARD;

/* A key of its own for something that leaves this deployment (a backup), random: told, to be wiped
 * by the caller, and wrapped by the master key into a document of DJ_DATA_KEY_BYTES
 * (security/data_key.h), bound to the thing's name. Not blocking. DEJA_ERR_NOMEM. */
enum deja_status dj_keyring_wrap_apart(struct dj_keyring *keyring,
                                       const uint8_t name[DJ_TENANT_BYTES],
                                       uint8_t out_key[DJ_KEYRING_KEY_BYTES],
                                       uint8_t *out_document) DEJA_NODISCARD;
/* The reverse. DEJA_ERR_DENIED: by another master key; DEJA_ERR_CORRUPT, DEJA_ERR_NOMEM. */
enum deja_status dj_keyring_unwrap_apart(struct dj_keyring *keyring,
                                         const uint8_t name[DJ_TENANT_BYTES],
                                         struct deja_slice document,
                                         uint8_t out_key[DJ_KEYRING_KEY_BYTES]) DEJA_NODISCARD;

/* Of a tenant's keys that are not destroyed, the highest id is active and the others are old. */
struct dj_data_key {
    uint8_t tenant[DJ_TENANT_BYTES];
    uint32_t id;
    bool is_destroyed;
    bool is_locked;   /* wrapped by another master key, or damaged */
    bool is_previous; /* wrapped by the previous one */
    int64_t created_ms;
};
typedef void dj_data_key_fn(void *ctx, const struct dj_data_key *key);
/* Blocking: every data key there is, of every tenant, in no order. */
enum deja_status dj_keyring_walk(struct dj_keyring *keyring, void *ctx,
                                 dj_data_key_fn *each) DEJA_NODISCARD;

struct dj_keyring_figures {
    uint64_t sealed;
    uint64_t opened;
    uint64_t refused;    /* a byte was not as it was, or it lay in another's place */
    uint64_t unreadable; /* key unknown, destroyed or of another master key */
    uint32_t tenants;    /* whose keys are here */
    uint32_t locked;     /* of them, those with keys of another master key */
    bool is_rotation_due;
    bool is_swappable; /* the keys' memory could not be locked */
};
void dj_keyring_look(struct dj_keyring *keyring, struct dj_keyring_figures *out_figures);

#endif
