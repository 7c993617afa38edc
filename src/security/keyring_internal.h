/* security/keyring_internal.h - what keyring.c (memory: sealing, opening) and keyring_stored.c
 * (the authority: fetching, rotating, destroying) share.
 *
 * Lock order: `making` (held while the authority is asked to change something) -> `mutex` (held for
 * a look at memory; nothing is called under it but the map and key memory).
 */
#ifndef DJ_SECURITY_KEYRING_INTERNAL_H
#define DJ_SECURITY_KEYRING_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "security/data_key.h"
#include "security/keyring.h"

#define KEYRING_IDS_MAX 8u /* of a tenant, held at once: active, and old ones not yet destroyed */

struct held_key {
    uint32_t id;
    bool is_locked;            /* of another master key; ready is NULL */
    bool is_previous;          /* wrapped by the previous one */
    struct dj_hmac_key *ready; /* in key memory: what HKDF extracted from it */
    int64_t created_ms;
    uint64_t sealed;       /* since it came here */
    uint64_t sealed_noted; /* of these, what the authority was told */
    uint64_t sealed_before;
};

/* What is known of one tenant. */
struct ring {
    uint8_t tenant[DJ_TENANT_BYTES];
    struct held_key keys[KEYRING_IDS_MAX]; /* ascending by id */
    uint32_t count;
    uint32_t destroyed_below; /* ids below are destroyed, as far as is known here */
    int64_t fetched_ms;
    uint64_t used; /* keyring->clock when it last was */
};

struct dj_keyring {
    struct dj_aead *aead;
    const struct dj_authority *authority;
    int64_t (*now_ms)(void);
    uint32_t tenants_max;
    struct dj_key_memory *memory;
    struct dj_hmac_key *master;   /* in key memory, as is the next */
    struct dj_hmac_key *previous; /* NULL: none */
    pthread_mutex_t making;
    pthread_mutex_t mutex;
    struct dj_map *rings; /* tenant -> struct ring; under mutex, as are the next three */
    uint64_t clock;
    uint8_t map_key[16];
    uint64_t pulled; /* under making */
    _Atomic uint64_t sealed;
    _Atomic uint64_t opened;
    _Atomic uint64_t refused;
    _Atomic uint64_t unreadable;
};

/* That wrapped the document's key; NULL: neither of ours. */
const struct dj_hmac_key *keyring_master_of(const struct dj_keyring *keyring, uint64_t master_name);
/* Under mutex. NULL: not here. */
struct ring *keyring_find(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES]);
/* Under mutex; the least recently used one makes room. NULL: no memory. */
struct ring *keyring_find_or_make(struct dj_keyring *keyring,
                                  const uint8_t tenant[DJ_TENANT_BYTES]);
/* Under mutex. */
struct held_key *keyring_key(struct ring *ring, uint32_t id);
/* The one new data is sealed with: the highest. NULL: none. */
struct held_key *keyring_active_key(struct ring *ring);
void keyring_forget_key(struct dj_keyring *keyring, struct ring *ring, uint32_t id);

#endif
