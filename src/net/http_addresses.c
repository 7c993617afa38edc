/* net/http_addresses.c - see http_addresses.h. The count stands in the map's pointer itself, so
 * that a change of it needs no memory. */
#include "net/http_addresses.h"

#include <assert.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/map.h"
#include "crypto/digest.h"

enum { V6_NET_BYTES = 8 };

struct dj_http_addresses {
    pthread_mutex_t lock; /* of counts */
    struct dj_map *counts;
    uint32_t each_max;
    uint32_t local_max;
    uint8_t hash_key[16];
};

static uint64_t hash_address(void *ctx, struct deja_slice key)
{
    return dj_siphash(ctx, key);
}

static bool is_v4(const uint8_t peer[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(peer, prefix, sizeof prefix) == 0;
}

static bool is_local(const uint8_t peer[16])
{
    static const uint8_t v6[16] = {[15] = 1};
    return (is_v4(peer) && peer[12] == 127) || memcmp(peer, v6, sizeof v6) == 0;
}

static struct deja_slice key_of(const uint8_t peer[16])
{
    return deja_slice(peer, is_v4(peer) ? 16 : V6_NET_BYTES);
}

static uint32_t count_at(const struct dj_http_addresses *addresses, const uint8_t peer[16])
{
    return (uint32_t)(uintptr_t)dj_map_find(addresses->counts, key_of(peer));
}

enum deja_status dj_http_addresses_create(uint32_t each_max, uint32_t local_max,
                                          size_t addresses_max,
                                          struct dj_http_addresses **out_addresses)
{
    struct dj_http_addresses *addresses = dj_alloc_zeroed(1, sizeof(*addresses));
    if (!addresses)
        return DEJA_ERR_NOMEM;
    addresses->each_max = each_max ? each_max : UINT32_MAX;
    addresses->local_max = local_max ? local_max : UINT32_MAX;
    dj_random_bytes(addresses->hash_key, sizeof(addresses->hash_key));
    if (dj_map_create(addresses_max, hash_address, addresses->hash_key, &addresses->counts) !=
        DEJA_OK) {
        dj_free(addresses);
        return DEJA_ERR_NOMEM;
    }
    pthread_mutex_init(&addresses->lock, NULL);
    *out_addresses = addresses;
    return DEJA_OK;
}

void dj_http_addresses_destroy(struct dj_http_addresses *addresses)
{
    if (!addresses)
        return;
    dj_map_destroy(addresses->counts);
    pthread_mutex_destroy(&addresses->lock);
    dj_free(addresses);
}

static bool set_count(struct dj_http_addresses *addresses, const uint8_t peer[16], uint32_t count)
{
    return dj_map_put(addresses->counts, key_of(peer), (void *)(uintptr_t)count, NULL) == DEJA_OK;
}

bool dj_http_addresses_enter(struct dj_http_addresses *addresses, const uint8_t peer[16])
{
    uint32_t max = is_local(peer) ? addresses->local_max : addresses->each_max;
    pthread_mutex_lock(&addresses->lock);
    uint32_t count = count_at(addresses, peer);
    bool is_in = count < max && set_count(addresses, peer, count + 1);
    pthread_mutex_unlock(&addresses->lock);
    return is_in;
}

void dj_http_addresses_leave(struct dj_http_addresses *addresses, const uint8_t peer[16])
{
    pthread_mutex_lock(&addresses->lock);
    uint32_t count = count_at(addresses, peer);
    assert(count > 0);
    if (count == 1) {
        dj_map_remove(addresses->counts, key_of(peer));
    } else {
        bool is_set = set_count(addresses, peer, count - 1);
        assert(is_set); /* replaces: needs no memory */
    }
    pthread_mutex_unlock(&addresses->lock);
}

uint32_t dj_http_addresses_count(struct dj_http_addresses *addresses, const uint8_t peer[16])
{
    pthread_mutex_lock(&addresses->lock);
    uint32_t count = count_at(addresses, peer);
    pthread_mutex_unlock(&addresses->lock);
    return count;
}
