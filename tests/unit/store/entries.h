/* entries.h - entries and values to test stores with. */
#ifndef DJ_TEST_STORE_ENTRIES_H
#define DJ_TEST_STORE_ENTRIES_H

#include <assert.h>
#include <stdio.h>

#include "store/store.h"

/* Distinct in the first bytes, as HMAC bytes would be. */
static inline struct dj_store_key key_of(uint32_t tenant, uint32_t id)
{
    struct dj_store_key key = {{0}, {0}};
    memcpy(key.tenant, &tenant, sizeof tenant);
    memcpy(key.id, &id, sizeof id);
    return key;
}

static inline struct dj_entry entry_of(uint32_t tenant, uint32_t id, uint64_t version,
                                       const char *body)
{
    struct dj_store_key key = key_of(tenant, id);
    struct dj_entry entry = {.version = version, .kind = DJ_ENTRY_API, .created_ms = 1000};
    memcpy(entry.tenant, key.tenant, sizeof entry.tenant);
    memcpy(entry.id, key.id, sizeof entry.id);
    entry.body = deja_slice_text(body);
    return entry;
}

static inline struct dj_value *value_of(uint32_t tenant, uint32_t id, uint64_t version,
                                        const char *body)
{
    struct dj_entry entry = entry_of(tenant, id, version, body);
    struct dj_value *value = NULL;
    enum deja_status status = dj_value_create(&entry, &value);
    assert(status == DEJA_OK);
    return value;
}

static inline struct dj_value *value_until(uint32_t tenant, uint32_t id, int64_t expires_ms,
                                           int64_t stale_until_ms)
{
    struct dj_entry entry = entry_of(tenant, id, 1, "body");
    entry.expires_ms = expires_ms;
    entry.stale_until_ms = stale_until_ms;
    struct dj_value *value = NULL;
    enum deja_status status = dj_value_create(&entry, &value);
    assert(status == DEJA_OK);
    return value;
}

#endif
