/* security/registry.c - see registry.h.
 *
 * A map from tenant to member, and two lists in the order of last sight: members that never proved
 * themselves, and those that did. The oldest of a list is its first.
 *
 * (1) Map and lists change under the write lock; last_seen_ms and state are atomic, so readers
 * under the read lock see whole values. (2) A member is on the list that its is_proven says, and
 * storage knows it exactly if so. (3) Sight is noted at most once per SEEN_STEP_MS and tenant;
 * lists are in order up to that step.
 */
#include "security/registry.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/map.h"

#define SEEN_STEP_MS 1000

struct member {
    struct dj_list node;
    uint8_t tenant[DJ_TENANT_BYTES];
    bool is_proven;
    _Atomic int state;
    _Atomic int64_t last_seen_ms;
};

struct dj_registry {
    pthread_rwlock_t lock;
    size_t tenants_max;
    struct dj_registry_storage storage;
    struct dj_map *members;
    struct dj_list unproven; /* oldest first */
    struct dj_list proven;   /* oldest first */
};

enum deja_status dj_registry_create(size_t tenants_max, const struct dj_registry_storage *storage,
                                    struct dj_registry **out_registry)
{
    struct dj_registry *registry = dj_alloc_zeroed(1, sizeof *registry);
    if (!registry)
        return DEJA_ERR_NOMEM;
    /* Tenants are HMACs already: their first bytes are a hash nobody can aim. */
    enum deja_status status = dj_map_create(tenants_max, NULL, NULL, &registry->members);
    if (status == DEJA_OK && pthread_rwlock_init(&registry->lock, NULL) != 0)
        status = DEJA_ERR_NOMEM;
    if (status != DEJA_OK) {
        dj_map_destroy(registry->members);
        dj_free(registry);
        return status;
    }
    registry->tenants_max = tenants_max;
    if (storage)
        registry->storage = *storage;
    dj_list_init(&registry->unproven);
    dj_list_init(&registry->proven);
    *out_registry = registry;
    return DEJA_OK;
}

static struct member *member_of(struct dj_list *node)
{
    return DJ_CONTAINER(node, struct member, node);
}

static void free_members(struct dj_list *list)
{
    while (!dj_list_is_empty(list)) {
        struct member *member = member_of(list->next);
        dj_list_remove(&member->node);
        dj_free(member);
    }
}

void dj_registry_destroy(struct dj_registry *registry)
{
    if (!registry)
        return;
    free_members(&registry->unproven);
    free_members(&registry->proven);
    dj_map_destroy(registry->members);
    pthread_rwlock_destroy(&registry->lock);
    dj_free(registry);
}

static struct deja_slice key_of(const uint8_t tenant[DJ_TENANT_BYTES])
{
    return deja_slice(tenant, DJ_TENANT_BYTES);
}

static struct dj_tenant_record record_of(struct member *member)
{
    struct dj_tenant_record record = {
        .state = (enum dj_tenant_state)atomic_load_explicit(&member->state, memory_order_relaxed),
        .last_seen_ms = atomic_load_explicit(&member->last_seen_ms, memory_order_relaxed),
    };
    memcpy(record.tenant, member->tenant, sizeof record.tenant);
    return record;
}

static void persist(struct dj_registry *registry, struct member *member)
{
    struct dj_tenant_record record = record_of(member);
    if (registry->storage.persist)
        registry->storage.persist(registry->storage.ctx, &record);
}

/* To the end of the list it belongs to. */
static void place(struct dj_registry *registry, struct member *member, bool is_proven)
{
    member->is_proven = is_proven;
    dj_list_remove(&member->node);
    dj_list_push_back(is_proven ? &registry->proven : &registry->unproven, &member->node);
}

static void note_sight(struct dj_registry *registry, struct member *member, int64_t now_ms)
{
    atomic_store_explicit(&member->last_seen_ms, now_ms, memory_order_relaxed);
    place(registry, member, member->is_proven);
}

static void drop(struct dj_registry *registry, struct member *member)
{
    if (member->is_proven && registry->storage.remove)
        registry->storage.remove(registry->storage.ctx, member->tenant);
    dj_list_remove(&member->node);
    dj_map_remove(registry->members, key_of(member->tenant));
    dj_free(member);
}

static bool make_room(struct dj_registry *registry, int64_t now_ms)
{
    if (dj_map_count(registry->members) < registry->tenants_max)
        return true;
    if (!dj_list_is_empty(&registry->unproven)) {
        drop(registry, member_of(registry->unproven.next));
        return true;
    }
    if (dj_list_is_empty(&registry->proven))
        return false;
    struct member *oldest = member_of(registry->proven.next);
    int64_t seen_ms = atomic_load_explicit(&oldest->last_seen_ms, memory_order_relaxed);
    if (now_ms - seen_ms < DJ_REGISTRY_IDLE_MS)
        return false;
    drop(registry, oldest);
    return true;
}

/* Write lock held. Finds or adds (as pending), and notes the sight. */
static enum deja_status meet(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES],
                             int64_t now_ms, struct member **out_member)
{
    struct member *member = dj_map_find(registry->members, key_of(tenant));
    if (!member) {
        if (!make_room(registry, now_ms))
            return DEJA_ERR_LIMIT;
        member = dj_alloc_zeroed(1, sizeof *member);
        if (!member)
            return DEJA_ERR_NOMEM;
        enum deja_status status = dj_map_put(registry->members, key_of(tenant), member, NULL);
        if (status != DEJA_OK) {
            dj_free(member);
            return status;
        }
        memcpy(member->tenant, tenant, sizeof member->tenant);
        dj_list_init(&member->node);
        atomic_store_explicit(&member->state, DJ_TENANT_PENDING, memory_order_relaxed);
    }
    note_sight(registry, member, now_ms);
    *out_member = member;
    return DEJA_OK;
}

enum deja_status dj_registry_load(struct dj_registry *registry,
                                  const struct dj_tenant_record *record)
{
    struct member *member = NULL;
    if (record->state != DJ_TENANT_ACTIVE && record->state != DJ_TENANT_SUSPENDED)
        return DEJA_ERR_INVALID;
    pthread_rwlock_wrlock(&registry->lock);
    bool is_known = dj_map_find(registry->members, key_of(record->tenant)) != NULL;
    enum deja_status status = DEJA_ERR_LIMIT; /* loading displaces nobody */
    if (is_known || dj_map_count(registry->members) < registry->tenants_max)
        status = meet(registry, record->tenant, record->last_seen_ms, &member);
    if (status == DEJA_OK) {
        atomic_store_explicit(&member->state, (int)record->state, memory_order_relaxed);
        place(registry, member, true);
    }
    pthread_rwlock_unlock(&registry->lock);
    return status;
}

static bool can_hit(struct member *member)
{
    return atomic_load_explicit(&member->state, memory_order_relaxed) != DJ_TENANT_SUSPENDED;
}

enum deja_status dj_registry_touch(struct dj_registry *registry,
                                   const uint8_t tenant[DJ_TENANT_BYTES], int64_t now_ms,
                                   bool *out_may_hit)
{
    pthread_rwlock_rdlock(&registry->lock);
    struct member *member = dj_map_find(registry->members, key_of(tenant));
    int64_t seen_ms =
        member ? atomic_load_explicit(&member->last_seen_ms, memory_order_relaxed) : 0;
    bool is_fresh = member && now_ms - seen_ms < SEEN_STEP_MS;
    if (is_fresh)
        *out_may_hit = can_hit(member);
    pthread_rwlock_unlock(&registry->lock);
    if (is_fresh)
        return DEJA_OK;
    pthread_rwlock_wrlock(&registry->lock);
    enum deja_status status = meet(registry, tenant, now_ms, &member);
    if (status == DEJA_OK)
        *out_may_hit = can_hit(member);
    pthread_rwlock_unlock(&registry->lock);
    return status;
}

static bool is_settled(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES],
                       enum dj_tenant_state state)
{
    pthread_rwlock_rdlock(&registry->lock);
    struct member *member = dj_map_find(registry->members, key_of(tenant));
    bool is_same = member && member->is_proven &&
                   atomic_load_explicit(&member->state, memory_order_relaxed) == (int)state;
    pthread_rwlock_unlock(&registry->lock);
    return is_same;
}

static void change(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES],
                   enum dj_tenant_state state, int64_t now_ms)
{
    struct member *member = NULL;
    if (is_settled(registry, tenant, state))
        return; /* by far the usual case */
    pthread_rwlock_wrlock(&registry->lock);
    if (meet(registry, tenant, now_ms, &member) == DEJA_OK) {
        bool was_proven = member->is_proven;
        int old = atomic_exchange_explicit(&member->state, (int)state, memory_order_relaxed);
        if (state == DJ_TENANT_ACTIVE)
            place(registry, member, true);
        if (member->is_proven && (!was_proven || old != (int)state))
            persist(registry, member);
    }
    pthread_rwlock_unlock(&registry->lock);
}

void dj_registry_on_upstream_status(struct dj_registry *registry,
                                    const uint8_t tenant[DJ_TENANT_BYTES], int status,
                                    int64_t now_ms)
{
    if (status >= 200 && status <= 299)
        change(registry, tenant, DJ_TENANT_ACTIVE, now_ms);
    else if (status == 401 || status == 403)
        change(registry, tenant, DJ_TENANT_SUSPENDED, now_ms);
}

void dj_registry_confirm(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES],
                         int64_t now_ms)
{
    change(registry, tenant, DJ_TENANT_ACTIVE, now_ms);
}

bool dj_registry_may_hit(struct dj_registry *registry, const uint8_t tenant[DJ_TENANT_BYTES])
{
    pthread_rwlock_rdlock(&registry->lock);
    struct member *member = dj_map_find(registry->members, key_of(tenant));
    bool may_hit = member && can_hit(member);
    pthread_rwlock_unlock(&registry->lock);
    return may_hit;
}

enum deja_status dj_registry_find(struct dj_registry *registry,
                                  const uint8_t tenant[DJ_TENANT_BYTES],
                                  struct dj_tenant_record *out_record)
{
    pthread_rwlock_rdlock(&registry->lock);
    struct member *member = dj_map_find(registry->members, key_of(tenant));
    if (member)
        *out_record = record_of(member);
    pthread_rwlock_unlock(&registry->lock);
    return member ? DEJA_OK : DEJA_ERR_NOT_FOUND;
}

size_t dj_registry_count(struct dj_registry *registry)
{
    pthread_rwlock_rdlock(&registry->lock);
    size_t count = dj_map_count(registry->members);
    pthread_rwlock_unlock(&registry->lock);
    return count;
}
