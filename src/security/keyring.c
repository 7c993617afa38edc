/* security/keyring.c - the keys that are in memory, and what is sealed and opened with them.
 *
 *    0  "DJS"  3                     44  commitment 16: HKDF of the same, tells one key from
 * another 3  format 1                     60  ciphertext 4  key id 4                      …  tag 16
 *    8  plain bytes 4
 *   12  salt 32
 *
 * (1) Each sealing draws a salt of 32 bytes from the kernel and derives key and nonce from it, so
 *     nothing is counted and nothing repeats after a fork or in the copy of a virtual machine.
 * (2) The head, the tenant and what the caller binds are authenticated; the commitment is looked at
 *     first, because GCM alone would let one ciphertext open under two keys.
 * (3) The extracted key is copied out under the mutex and wiped after use: derivation and cipher
 *     run outside of it.
 *
 * Trust: what is opened comes from a store others may write to; nothing of it is believed before
 * the tag was right but the id, which only chooses the key.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/little.h"
#include "security/keyring_internal.h"

#define TENANTS_MAX 10000u
#define KEYS_PER_TENANT 2u /* on the average; a ring without room for one more is fetched again */
#define SALT_OFFSET 12u
#define SALT_BYTES 32u
#define COMMITMENT_OFFSET (SALT_OFFSET + SALT_BYTES)
#define COMMITMENT_BYTES 16u
#define HEAD_BYTES (COMMITMENT_OFFSET + COMMITMENT_BYTES)
#define FORMAT 1

static const char magic[3] = {'D', 'J', 'S'};

static_assert(HEAD_BYTES + DJ_AEAD_TAG_BYTES == DJ_SEALED_BYTES, "the picture");

/* ---- rings ---- */

static uint64_t hash_tenant(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key); /* tenants may be named by whoever administers them */
}

static struct deja_slice key_of(const uint8_t tenant[DJ_TENANT_BYTES])
{
    return deja_slice(tenant, DJ_TENANT_BYTES);
}

struct ring *keyring_find(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct ring *ring = dj_map_find(keyring->rings, key_of(tenant));
    if (ring)
        ring->used = ++keyring->clock;
    return ring;
}

static void free_ring(struct dj_keyring *keyring, struct ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        dj_key_memory_give(keyring->memory, ring->keys[i].ready);
    dj_free(ring);
}

/* Of a full map; rare, for tenants_max is more than anybody has at work at once. */
static void drop_oldest(struct dj_keyring *keyring)
{
    size_t cursor = 0;
    struct deja_slice key;
    void *value;
    struct ring *oldest = NULL;
    while (dj_map_next(keyring->rings, &cursor, &key, &value)) {
        struct ring *ring = value;
        if (!oldest || ring->used < oldest->used)
            oldest = ring;
    }
    if (!oldest)
        return;
    dj_map_remove(keyring->rings, key_of(oldest->tenant));
    free_ring(keyring, oldest);
}

struct ring *keyring_find_or_make(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct ring *ring = keyring_find(keyring, tenant);
    if (ring)
        return ring;
    if (dj_map_count(keyring->rings) >= keyring->tenants_max)
        drop_oldest(keyring);
    ring = dj_alloc_zeroed(1, sizeof *ring);
    if (!ring)
        return NULL;
    memcpy(ring->tenant, tenant, DJ_TENANT_BYTES);
    ring->used = ++keyring->clock;
    if (dj_map_put(keyring->rings, key_of(tenant), ring, NULL) == DEJA_OK)
        return ring;
    dj_free(ring);
    return NULL;
}

struct held_key *keyring_key(struct ring *ring, uint32_t id)
{
    for (uint32_t i = 0; i < ring->count; i++)
        if (ring->keys[i].id == id)
            return &ring->keys[i];
    return NULL;
}

struct held_key *keyring_active_key(struct ring *ring)
{
    return ring->count ? &ring->keys[ring->count - 1] : NULL;
}

void keyring_forget_key(struct dj_keyring *keyring, struct ring *ring, uint32_t id)
{
    struct held_key *key = keyring_key(ring, id);
    if (!key)
        return;
    dj_key_memory_give(keyring->memory, key->ready);
    size_t index = (size_t)(key - ring->keys);
    memmove(key, key + 1, (ring->count - 1 - index) * sizeof *key);
    ring->count--;
}

/* ---- life ---- */

enum deja_status dj_keyring_create(const struct dj_keyring_options *options,
                                   struct dj_keyring **out_keyring)
{
    assert(options->master && options->authority && options->now_ms);
    struct dj_keyring *keyring = dj_alloc_zeroed(1, sizeof *keyring);
    if (!keyring)
        return DEJA_ERR_NOMEM;
    keyring->authority = options->authority;
    keyring->now_ms = options->now_ms;
    keyring->tenants_max = options->tenants_max ? options->tenants_max : TENANTS_MAX;
    int code = pthread_mutex_init(&keyring->mutex, NULL);
    assert(code == 0);
    code = pthread_mutex_init(&keyring->making, NULL);
    assert(code == 0);
    dj_random_bytes(keyring->map_key, sizeof keyring->map_key);
    size_t slots = (size_t)keyring->tenants_max * KEYS_PER_TENANT + KEYRING_IDS_MAX + 2;
    enum deja_status status = dj_aead_create(&keyring->aead);
    if (status == DEJA_OK)
        status = dj_key_memory_create(sizeof *keyring->master, slots, &keyring->memory);
    if (status == DEJA_OK)
        status =
            dj_map_create(keyring->tenants_max, hash_tenant, keyring->map_key, &keyring->rings);
    if (status != DEJA_OK) {
        dj_keyring_destroy(keyring);
        return status;
    }
    keyring->master = dj_key_memory_take(keyring->memory);
    dj_hkdf_extract(options->master, keyring->master);
    if (options->previous) {
        keyring->previous = dj_key_memory_take(keyring->memory);
        dj_hkdf_extract(options->previous, keyring->previous);
    }
    *out_keyring = keyring;
    return DEJA_OK;
}

void dj_keyring_destroy(struct dj_keyring *keyring)
{
    if (!keyring)
        return;
    size_t cursor = 0;
    struct deja_slice key;
    void *ring;
    while (keyring->rings && dj_map_next(keyring->rings, &cursor, &key, &ring))
        dj_free(ring); /* its keys go with their memory */
    dj_map_destroy(keyring->rings);
    dj_key_memory_destroy(keyring->memory);
    dj_aead_destroy(keyring->aead);
    pthread_mutex_destroy(&keyring->mutex);
    pthread_mutex_destroy(&keyring->making);
    dj_free(keyring);
}

/* ---- sealing and opening ---- */

struct derived {
    uint8_t key[DJ_SHA256_BYTES];
    uint8_t rest[DJ_SHA256_BYTES]; /* commitment 16, nonce 12 */
};

static void derive(const struct dj_hmac_key *ready, const char *salt, struct derived *out)
{
    char info[1 + SALT_BYTES];
    memcpy(info + 1, salt, SALT_BYTES);
    info[0] = 'k';
    dj_hkdf_expand(ready, deja_slice(info, sizeof info), out->key);
    info[0] = 'c';
    dj_hkdf_expand(ready, deja_slice(info, sizeof info), out->rest);
}

/* id 0: the active one. */
static enum deja_status copy_key(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 uint32_t *id, struct dj_hmac_key *out_ready)
{
    enum deja_status status = DEJA_ERR_NOT_FOUND;
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find(keyring, tenant);
    struct held_key *key = !ring ? NULL : *id ? keyring_key(ring, *id) : keyring_active_key(ring);
    if (key && key->is_locked)
        status = DEJA_ERR_DENIED;
    else if (key)
        status = DEJA_OK;
    else if (ring && *id && *id < ring->destroyed_below)
        status = DEJA_ERR_DENIED;
    if (status == DEJA_OK) {
        if (!*id)
            key->sealed++;
        *id = key->id;
        *out_ready = *key->ready;
    }
    pthread_mutex_unlock(&keyring->mutex);
    return status;
}

enum deja_status dj_keyring_seal(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice plain,
                                 struct dj_buf *out)
{
    struct dj_hmac_key ready;
    struct derived derived;
    uint32_t id = 0;
    if (plain.len > (size_t)UINT32_MAX / 4)
        return DEJA_ERR_LIMIT;
    char *head = dj_buf_reserve(out, plain.len + DJ_SEALED_BYTES);
    if (!head)
        return out->status;
    enum deja_status status = copy_key(keyring, tenant, &id, &ready);
    if (status != DEJA_OK)
        return status;
    memcpy(head, magic, sizeof magic);
    head[3] = FORMAT;
    dj_little_put(head + 4, id, 4);
    dj_little_put(head + 8, (uint32_t)plain.len, 4);
    dj_random_bytes(head + SALT_OFFSET, SALT_BYTES);
    derive(&ready, head + SALT_OFFSET, &derived);
    memcpy(head + COMMITMENT_OFFSET, derived.rest, COMMITMENT_BYTES);
    const struct deja_slice parts[] = {deja_slice(head, HEAD_BYTES), key_of(tenant), bound};
    const struct dj_aead_call call = {derived.key, derived.rest + COMMITMENT_BYTES, parts, 3};
    status = dj_aead_seal(keyring->aead, &call, plain, head + HEAD_BYTES);
    dj_wipe(&ready, sizeof ready);
    dj_wipe(&derived, sizeof derived);
    if (status != DEJA_OK)
        return status;
    out->len += plain.len + DJ_SEALED_BYTES;
    atomic_fetch_add_explicit(&keyring->sealed, 1, memory_order_relaxed);
    return DEJA_OK;
}

uint32_t dj_keyring_id_of(struct deja_slice sealed)
{
    if (sealed.len < DJ_SEALED_BYTES || memcmp(sealed.data, magic, sizeof magic) != 0 ||
        sealed.data[3] != FORMAT ||
        (uint32_t)dj_little_get(sealed.data + 8, 4) != sealed.len - DJ_SEALED_BYTES)
        return 0;
    return (uint32_t)dj_little_get(sealed.data + 4, 4);
}

static enum deja_status open_with(struct dj_keyring *keyring, const struct dj_hmac_key *ready,
                                  const struct deja_slice parts[3], struct deja_slice sealed,
                                  struct dj_buf *out)
{
    struct derived derived;
    size_t plain_len = sealed.len - DJ_SEALED_BYTES;
    char *room = dj_buf_reserve(out, plain_len + 1); /* + 1: there is room also for nothing */
    if (!room)
        return out->status;
    derive(ready, sealed.data + SALT_OFFSET, &derived);
    enum deja_status status = DEJA_ERR_CORRUPT;
    const struct dj_aead_call call = {derived.key, derived.rest + COMMITMENT_BYTES, parts, 3};
    if (dj_is_equal_constant_time(derived.rest, sealed.data + COMMITMENT_OFFSET, COMMITMENT_BYTES))
        status =
            dj_aead_open(keyring->aead, &call,
                         deja_slice(sealed.data + HEAD_BYTES, plain_len + DJ_AEAD_TAG_BYTES), room);
    dj_wipe(&derived, sizeof derived);
    if (status == DEJA_OK)
        out->len += plain_len;
    return status;
}

enum deja_status dj_keyring_open(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                                 struct deja_slice bound, struct deja_slice sealed,
                                 struct dj_buf *out)
{
    struct dj_hmac_key ready;
    uint32_t id = dj_keyring_id_of(sealed);
    enum deja_status status = DEJA_ERR_CORRUPT;
    if (id) {
        const struct deja_slice parts[] = {deja_slice(sealed.data, HEAD_BYTES), key_of(tenant),
                                           bound};
        status = copy_key(keyring, tenant, &id, &ready);
        if (status == DEJA_OK) {
            status = open_with(keyring, &ready, parts, sealed, out);
            dj_wipe(&ready, sizeof ready);
        }
    }
    if (status == DEJA_OK)
        atomic_fetch_add_explicit(&keyring->opened, 1, memory_order_relaxed);
    else if (status == DEJA_ERR_CORRUPT)
        atomic_fetch_add_explicit(&keyring->refused, 1, memory_order_relaxed);
    else if (status == DEJA_ERR_DENIED)
        atomic_fetch_add_explicit(&keyring->unreadable, 1, memory_order_relaxed);
    return status;
}

uint32_t dj_keyring_active(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES])
{
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find(keyring, tenant);
    const struct held_key *key = ring ? keyring_active_key(ring) : NULL;
    uint32_t id = key && !key->is_locked ? key->id : 0;
    pthread_mutex_unlock(&keyring->mutex);
    return id;
}

bool dj_keyring_is_due(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES])
{
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find(keyring, tenant);
    const struct held_key *key = ring ? keyring_active_key(ring) : NULL;
    bool is_due =
        key && (key->is_previous || key->sealed + key->sealed_before >= DJ_KEYRING_SEALED_MAX);
    pthread_mutex_unlock(&keyring->mutex);
    return is_due;
}

bool dj_keyring_is_older(struct dj_keyring *keyring, const uint8_t tenant[DJ_TENANT_BYTES],
                         uint64_t age_ms)
{
    int64_t now_ms = keyring->now_ms();
    pthread_mutex_lock(&keyring->mutex);
    struct ring *ring = keyring_find(keyring, tenant);
    const struct held_key *key = ring ? keyring_active_key(ring) : NULL;
    bool is_older = key && now_ms - key->created_ms >= (int64_t)age_ms;
    pthread_mutex_unlock(&keyring->mutex);
    return is_older;
}

void dj_keyring_look(struct dj_keyring *keyring, struct dj_keyring_figures *out_figures)
{
    struct dj_keyring_figures figures = {
        .sealed = atomic_load(&keyring->sealed),
        .opened = atomic_load(&keyring->opened),
        .refused = atomic_load(&keyring->refused),
        .unreadable = atomic_load(&keyring->unreadable),
        .is_swappable = !dj_key_memory_is_locked(keyring->memory),
    };
    size_t cursor = 0;
    struct deja_slice name;
    void *value;
    pthread_mutex_lock(&keyring->mutex);
    figures.tenants = (uint32_t)dj_map_count(keyring->rings);
    while (dj_map_next(keyring->rings, &cursor, &name, &value)) {
        const struct held_key *key = keyring_active_key(value);
        if (!key)
            continue;
        figures.locked += key->is_locked;
        figures.is_rotation_due |= key->sealed + key->sealed_before >= DJ_KEYRING_SEALED_MAX;
    }
    pthread_mutex_unlock(&keyring->mutex);
    *out_figures = figures;
}
