/* proxy/refreshes.c - see refreshes.h. */
#include "proxy/refreshes.h"

#define RUNNING UINT64_C(1)

/* Ids are HMAC bytes. */
static uint64_t mark_of(const struct dj_store_key *key)
{
    uint64_t id;
    uint64_t tenant;
    memcpy(&id, key->id, sizeof id);
    memcpy(&tenant, key->tenant, sizeof tenant);
    return (id ^ (tenant * UINT64_C(0x9e3779b97f4a7c15))) & ~RUNNING;
}

bool dj_refreshes_begin(struct dj_refreshes *refreshes, const struct dj_store_key *key,
                        uint32_t running_max, int64_t now_ms, uint32_t *out_place)
{
    uint64_t mark = mark_of(key);
    uint32_t place = (uint32_t)(mark >> 32) % DJ_REFRESHES_MAX;
    uint64_t old = atomic_load(&refreshes->claims[place]);
    if (old & RUNNING || (old == mark && now_ms < atomic_load(&refreshes->rest_until_ms[place])))
        return false;
    if (atomic_fetch_add(&refreshes->running, 1) >= running_max ||
        !atomic_compare_exchange_strong(&refreshes->claims[place], &old, mark | RUNNING)) {
        atomic_fetch_sub(&refreshes->running, 1);
        return false;
    }
    *out_place = place;
    return true;
}

void dj_refreshes_end(struct dj_refreshes *refreshes, uint32_t place, int64_t rest_ms,
                      int64_t now_ms)
{
    atomic_store(&refreshes->rest_until_ms[place], now_ms + rest_ms);
    atomic_fetch_and(&refreshes->claims[place], ~RUNNING);
    atomic_fetch_sub(&refreshes->running, 1);
}
