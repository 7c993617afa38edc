/* security/registry.h - the derived tenants this deployment knows, at most tenants_max of them.
 *
 *   (unknown) --touch--> PENDING --2xx, confirm--> ACTIVE --401, 403--> SUSPENDED
 *                           |                         ^                     |
 *                           +-401, 403-> SUSPENDED    +--------2xx----------+
 *
 * A credential proves itself by an answer from upstream: until then its tenant exists in memory
 * only, afterwards on disk too. When upstream refuses it, its hits stop until it is accepted again,
 * so a revoked key does not go on reading the cache.
 *
 * When the table is full, the tenant that never proved itself and was not seen for longest gives
 * way; a proven one only if it was idle for DJ_REGISTRY_IDLE_MS. Strangers with made-up credentials
 * therefore displace one another and nobody else.
 *
 * Threads: any. Looking up takes a read lock; a tenant seen again within a second writes nothing.
 * Time: given by the caller.
 */
#ifndef DJ_SECURITY_REGISTRY_H
#define DJ_SECURITY_REGISTRY_H

#include <deja/base.h>

#include "security/tenant.h"

#define DJ_REGISTRY_TENANTS_MAX 10000u
#define DJ_REGISTRY_IDLE_MS INT64_C(86400000)

enum dj_tenant_state {
    DJ_TENANT_PENDING = 1,
    DJ_TENANT_ACTIVE = 2,
    DJ_TENANT_SUSPENDED = 3,
};

struct dj_tenant_record {
    uint8_t tenant[DJ_TENANT_BYTES];
    enum dj_tenant_state state;
    int64_t last_seen_ms;
};

/* Where proven tenants are kept. Called with the registry's lock held, so that the order of calls
 * is the order of changes: post the work elsewhere; do not block, do not call the registry. */
struct dj_registry_storage {
    void *ctx;
    /* A proven tenant is new or changed its state. record is borrowed until return. */
    void (*persist)(void *ctx, const struct dj_tenant_record *record);
    /* A proven tenant gave way. Its entries must not be served any more: its suspension, if there
     * is one, is forgotten with it. */
    void (*remove)(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES]);
};

struct dj_registry;

/* storage is copied; NULL: nothing is kept. */
enum deja_status dj_registry_create(size_t tenants_max, const struct dj_registry_storage *storage,
                                    struct dj_registry **out_registry) DEJA_NODISCARD;
void dj_registry_destroy(struct dj_registry *registry); /* accepts NULL; persists nothing */

/* At start: a record that persist was given once. DEJA_ERR_LIMIT (full), DEJA_ERR_INVALID (a
 * pending one), DEJA_ERR_NOMEM. Known already: replaced. */
enum deja_status dj_registry_load(struct dj_registry *registry,
                                  const struct dj_tenant_record *record) DEJA_NODISCARD;

/* The tenant is here; unknown, it becomes pending. *out_may_hit: as dj_registry_may_hit.
 * DEJA_ERR_LIMIT (full of tenants that are in use), DEJA_ERR_NOMEM: answer without the cache. */
enum deja_status dj_registry_touch(struct dj_registry *registry,
                                   const uint8_t tenant[DJ_TENANT_BYTES], int64_t now_ms,
                                   bool *out_may_hit) DEJA_NODISCARD;
/* What upstream answered to this tenant's credential; other codes than 2xx, 401 and 403 say nothing
 * about it. A tenant that cannot be noted stays unknown. */
void dj_registry_on_upstream_status(struct dj_registry *registry,
                                    const uint8_t tenant[DJ_TENANT_BYTES], int status,
                                    int64_t now_ms);
/* Proven without an upstream: the local tenant, or a bearer value on a local cache API that stored
 * something. Same as a 2xx. */
void dj_registry_confirm(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES],
                         int64_t now_ms);

/* Known and not suspended. */
bool dj_registry_may_hit(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES]);
/* DEJA_ERR_NOT_FOUND. */
enum deja_status dj_registry_find(struct dj_registry *registry,
                                  const uint8_t tenant[DJ_TENANT_BYTES],
                                  struct dj_tenant_record *out_record) DEJA_NODISCARD;
size_t dj_registry_count(struct dj_registry *registry);

#endif
