#include "check.h"
#include "security/registry.h"

#include <pthread.h>

#define NOW INT64_C(1700000000000)

struct kept {
    size_t persisted;
    size_t removed;
    struct dj_tenant_record last;
    uint8_t last_removed[DJ_TENANT_BYTES];
};

static void on_persist(void *ctx, const struct dj_tenant_record *record)
{
    struct kept *kept = ctx;
    kept->persisted++;
    kept->last = *record;
}

static void on_remove(void *ctx, const uint8_t tenant[DJ_TENANT_BYTES])
{
    struct kept *kept = ctx;
    kept->removed++;
    memcpy(kept->last_removed, tenant, DJ_TENANT_BYTES);
}

struct tenant {
    uint8_t bytes[DJ_TENANT_BYTES];
};

static struct tenant tenant_of(unsigned n)
{
    struct tenant tenant = {{0}};
    memcpy(tenant.bytes, &n, sizeof n);
    return tenant;
}

static struct dj_registry *create(size_t tenants_max, struct kept *kept)
{
    struct dj_registry *registry = NULL;
    const struct dj_registry_storage storage = {kept, on_persist, on_remove};
    assert_int_equal(dj_registry_create(tenants_max, kept ? &storage : NULL, &registry), DEJA_OK);
    return registry;
}

static enum deja_status touch(struct dj_registry *registry, unsigned n, int64_t now_ms)
{
    bool may_hit;
    struct tenant tenant = tenant_of(n);
    return dj_registry_touch(registry, tenant.bytes, now_ms, &may_hit);
}

static void upstream(struct dj_registry *registry, unsigned n, int status, int64_t now_ms)
{
    struct tenant tenant = tenant_of(n);
    dj_registry_on_upstream_status(registry, tenant.bytes, status, now_ms);
}

static bool may_hit(struct dj_registry *registry, unsigned n)
{
    struct tenant tenant = tenant_of(n);
    return dj_registry_may_hit(registry, tenant.bytes);
}

static enum dj_tenant_state state_of(struct dj_registry *registry, unsigned n)
{
    struct dj_tenant_record record = {.state = 0};
    struct tenant tenant = tenant_of(n);
    enum deja_status status = dj_registry_find(registry, tenant.bytes, &record);
    return status == DEJA_OK ? record.state : (enum dj_tenant_state)0;
}

static void tenant_is_stored_only_after_its_first_success(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(10, &kept);
    assert_false(may_hit(registry, 1));
    assert_int_equal(touch(registry, 1, NOW), DEJA_OK);
    assert_int_equal(state_of(registry, 1), DJ_TENANT_PENDING);
    upstream(registry, 1, 500, NOW);
    upstream(registry, 1, 404, NOW);
    upstream(registry, 1, 429, NOW);
    assert_int_equal(kept.persisted, 0);
    upstream(registry, 1, 200, NOW);
    assert_int_equal(kept.persisted, 1);
    assert_int_equal(kept.last.state, DJ_TENANT_ACTIVE);
    assert_true(kept.last.last_seen_ms == NOW);
    upstream(registry, 1, 201, NOW);
    assert_int_equal(kept.persisted, 1);
    dj_registry_destroy(registry);
}

static void refused_credential_gets_no_hits_until_it_is_accepted(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(10, &kept);
    upstream(registry, 1, 200, NOW);
    assert_true(may_hit(registry, 1));
    upstream(registry, 1, 401, NOW);
    assert_false(may_hit(registry, 1));
    assert_int_equal(kept.persisted, 2); /* it outlives a restart */
    bool hit = true;
    struct tenant tenant = tenant_of(1);
    assert_int_equal(dj_registry_touch(registry, tenant.bytes, NOW, &hit), DEJA_OK);
    assert_false(hit);
    assert_int_equal(dj_registry_touch(registry, tenant.bytes, NOW + 5000, &hit), DEJA_OK);
    assert_false(hit);
    upstream(registry, 1, 500, NOW);
    assert_false(may_hit(registry, 1));
    upstream(registry, 1, 200, NOW);
    assert_true(may_hit(registry, 1));
    upstream(registry, 1, 403, NOW);
    assert_false(may_hit(registry, 1));
    assert_int_equal(kept.persisted, 4);
    upstream(registry, 2, 401, NOW); /* never proven: suspended, but not stored */
    assert_false(may_hit(registry, 2));
    assert_int_equal(kept.persisted, 4);
    upstream(registry, 2, 200, NOW);
    assert_true(may_hit(registry, 2));
    assert_int_equal(kept.persisted, 5);
    dj_registry_destroy(registry);
}

static void made_up_credentials_displace_only_one_another(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(4, &kept);
    upstream(registry, 1, 200, NOW);
    upstream(registry, 2, 200, NOW);
    upstream(registry, 2, 403, NOW);
    for (unsigned i = 100; i < 200; i++)
        assert_int_equal(touch(registry, i, NOW + 2 * DJ_REGISTRY_IDLE_MS + i), DEJA_OK);
    assert_int_equal(dj_registry_count(registry), 4);
    assert_true(may_hit(registry, 1));
    assert_int_equal(state_of(registry, 2), DJ_TENANT_SUSPENDED);
    assert_int_equal(state_of(registry, 198), DJ_TENANT_PENDING);
    assert_int_equal(state_of(registry, 197), 0);
    assert_int_equal(kept.removed, 0);
    dj_registry_destroy(registry);
}

static void idle_tenants_give_way_and_busy_ones_do_not(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(3, &kept);
    for (unsigned i = 1; i <= 3; i++)
        upstream(registry, i, 200, NOW + i);
    assert_int_equal(touch(registry, 9, NOW + 10), DEJA_ERR_LIMIT);
    assert_false(may_hit(registry, 9));
    assert_int_equal(touch(registry, 1, NOW + 10000), DEJA_OK);
    int64_t later = NOW + 5000 + DJ_REGISTRY_IDLE_MS; /* 2 and 3 are idle, 1 is not */
    assert_int_equal(touch(registry, 9, later), DEJA_OK);
    assert_int_equal(kept.removed, 1);
    struct tenant two = tenant_of(2);
    assert_memory_equal(kept.last_removed, two.bytes, sizeof two.bytes);
    assert_true(may_hit(registry, 1) && may_hit(registry, 3) && may_hit(registry, 9));
    assert_int_equal(dj_registry_count(registry), 3);
    dj_registry_destroy(registry);
}

static void loaded_tenants_are_as_they_were(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(2, &kept);
    struct dj_tenant_record record = {.state = DJ_TENANT_SUSPENDED, .last_seen_ms = NOW};
    memcpy(record.tenant, tenant_of(1).bytes, sizeof record.tenant);
    assert_int_equal(dj_registry_load(registry, &record), DEJA_OK);
    assert_false(may_hit(registry, 1));
    record.state = DJ_TENANT_ACTIVE;
    assert_int_equal(dj_registry_load(registry, &record), DEJA_OK);
    assert_true(may_hit(registry, 1));
    record.state = DJ_TENANT_PENDING;
    assert_int_equal(dj_registry_load(registry, &record), DEJA_ERR_INVALID);
    record.state = DJ_TENANT_ACTIVE;
    memcpy(record.tenant, tenant_of(2).bytes, sizeof record.tenant);
    assert_int_equal(dj_registry_load(registry, &record), DEJA_OK);
    memcpy(record.tenant, tenant_of(3).bytes, sizeof record.tenant);
    assert_int_equal(dj_registry_load(registry, &record), DEJA_ERR_LIMIT);
    assert_int_equal(kept.persisted, 0);
    assert_int_equal(kept.removed, 0);
    dj_registry_destroy(registry);
}

static void confirmed_tenant_needs_no_upstream(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(2, &kept);
    struct tenant tenant = tenant_of(1);
    dj_registry_confirm(registry, tenant.bytes, NOW);
    dj_registry_confirm(registry, tenant.bytes, NOW);
    assert_int_equal(state_of(registry, 1), DJ_TENANT_ACTIVE);
    assert_int_equal(kept.persisted, 1);
    dj_registry_destroy(registry);
}

static void registry_survives_each_failed_allocation(void **state)
{
    (void)state;
    const struct dj_tenant_record record = {
        .tenant = "loaded", .state = DJ_TENANT_ACTIVE, .last_seen_ms = NOW};
    for (size_t n = 1;; n++) {
        struct dj_registry *registry = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_registry_create(10, NULL, &registry);
        bool is_touched = status == DEJA_OK && touch(registry, 1, NOW) == DEJA_OK;
        bool is_loaded = status == DEJA_OK && dj_registry_load(registry, &record) == DEJA_OK;
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_touched && is_loaded, !has_failed);
        if (registry)
            assert_int_equal(dj_registry_count(registry), is_touched + is_loaded);
        dj_registry_destroy(registry);
        if (!has_failed)
            break;
    }
    dj_registry_destroy(NULL);
}

static void *use(void *arg)
{
    struct dj_registry *registry = arg;
    for (unsigned i = 0; i < 3000; i++) {
        if (touch(registry, i % 40, NOW + i * 100) != DEJA_OK)
            continue;
        upstream(registry, i % 40, i % 7 ? 200 : 401, NOW + i * 100);
        may_hit(registry, i % 40);
    }
    return NULL;
}

static void threads_can_share_it(void **state)
{
    (void)state;
    struct kept kept = {0};
    struct dj_registry *registry = create(20, &kept);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, registry), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(dj_registry_count(registry) <= 20);
    dj_registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenant_is_stored_only_after_its_first_success),
        cmocka_unit_test(refused_credential_gets_no_hits_until_it_is_accepted),
        cmocka_unit_test(made_up_credentials_displace_only_one_another),
        cmocka_unit_test(idle_tenants_give_way_and_busy_ones_do_not),
        cmocka_unit_test(loaded_tenants_are_as_they_were),
        cmocka_unit_test(confirmed_tenant_needs_no_upstream),
        cmocka_unit_test(registry_survives_each_failed_allocation),
        cmocka_unit_test(threads_can_share_it),
    };
    return RUN_TESTS(tests);
}
