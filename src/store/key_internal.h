/* store/key_internal.h - what every tier asks of a key. */
#ifndef DJ_STORE_KEY_INTERNAL_H
#define DJ_STORE_KEY_INTERNAL_H

#include "store/store.h"

/* Ids and tenants are HMAC bytes already; the mixing only guards against a caller's own ids. */
static inline uint64_t dj_store_key_hash(const struct dj_store_key *key)
{
    uint64_t id;
    uint64_t tenant;
    memcpy(&id, key->id, sizeof id);
    memcpy(&tenant, key->tenant, sizeof tenant);
    uint64_t hash = id ^ (tenant * 0x9e3779b97f4a7c15u);
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}

static inline bool dj_store_key_is_equal(const struct dj_store_key *a, const struct dj_store_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static inline struct dj_store_key dj_store_key_of(const struct dj_entry *entry)
{
    struct dj_store_key key;
    memcpy(key.tenant, entry->tenant, sizeof key.tenant);
    memcpy(key.id, entry->id, sizeof key.id);
    return key;
}

/* When nothing of the entry may be served any more (I10); 0: never. */
static inline int64_t dj_store_gone_ms(const struct dj_entry *entry)
{
    if (entry->expires_ms == 0)
        return 0;
    return entry->stale_until_ms > entry->expires_ms ? entry->stale_until_ms : entry->expires_ms;
}

/* The end of a stay: own_ms is the entry's own end (0: none), stay_ms as dj_entry's stay_until_ms,
 * ttl_ms what the tier says by itself (0: nothing); 0: never. */
static inline int64_t dj_store_stay_end(int64_t own_ms, int64_t stay_ms, uint64_t ttl_ms,
                                        int64_t now_ms)
{
    if (!stay_ms && ttl_ms && ttl_ms <= (uint64_t)(INT64_MAX - now_ms))
        stay_ms = now_ms + (int64_t)ttl_ms;
    if (!stay_ms || stay_ms == INT64_MAX)
        return own_ms;
    return own_ms && own_ms < stay_ms ? own_ms : stay_ms;
}

/* In a tier that keeps entries for ttl_ms at most. A plain key stays as long as it was told to
 * live: nothing could make it again. */
static inline int64_t dj_store_stay_until(const struct dj_entry *entry, uint64_t ttl_ms,
                                          int64_t now_ms)
{
    if (entry->kind == DJ_ENTRY_PLAIN)
        ttl_ms = 0;
    return dj_store_stay_end(dj_store_gone_ms(entry), entry->stay_until_ms, ttl_ms, now_ms);
}

static inline bool dj_store_is_gone(int64_t gone_ms, int64_t now_ms)
{
    return gone_ms != 0 && gone_ms <= now_ms;
}

#endif
