#include "check.h"

#include "cache/tombstones.h"

static struct dj_store_key key_of(uint32_t tenant, uint32_t id)
{
    struct dj_store_key key = {{0}, {0}};
    memcpy(key.tenant, &tenant, sizeof tenant);
    memcpy(key.id, &id, sizeof id);
    return key;
}

static bool refuse(const struct dj_tombstones *tombstones, uint32_t tenant, uint32_t id,
                   uint64_t version)
{
    struct dj_store_key key = key_of(tenant, id);
    return dj_tombstones_refuse(tombstones, &key, version);
}

static void add(struct dj_tombstones *tombstones, uint32_t tenant, uint32_t id, uint64_t version)
{
    struct dj_store_key key = key_of(tenant, id);
    dj_tombstones_add(tombstones, &key, version);
}

static struct dj_tombstones *create(void)
{
    struct dj_tombstones *tombstones = NULL;
    assert_int_equal(dj_tombstones_create(&tombstones), DEJA_OK);
    return tombstones;
}

static void fill_that_is_not_newer_than_the_delete_is_refused(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    assert_false(refuse(tombstones, 1, 7, 1));
    add(tombstones, 1, 7, 10);
    assert_true(refuse(tombstones, 1, 7, 9));
    assert_true(refuse(tombstones, 1, 7, 10));
    assert_false(refuse(tombstones, 1, 7, 11));
    dj_tombstones_destroy(tombstones);
}

static void delete_touches_no_other_key_and_no_other_tenant(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    add(tombstones, 1, 7, 10);
    assert_false(refuse(tombstones, 1, 8, 5));
    assert_false(refuse(tombstones, 2, 7, 5));
    dj_tombstones_destroy(tombstones);
}

static void second_delete_of_a_key_counts(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    add(tombstones, 1, 7, 10);
    add(tombstones, 1, 7, 20);
    assert_true(refuse(tombstones, 1, 7, 20));
    assert_false(refuse(tombstones, 1, 7, 21));
    dj_tombstones_destroy(tombstones);
}

static void overflow_raises_the_floor_to_what_it_forgot(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    for (uint32_t i = 0; i < DJ_TOMBSTONES_MAX; i++)
        add(tombstones, 1, i, 100 + i);
    assert_false(refuse(tombstones, 9, 9, 1)); /* full, nothing forgotten yet */
    add(tombstones, 1, DJ_TOMBSTONES_MAX, 100 + DJ_TOMBSTONES_MAX);
    assert_true(refuse(tombstones, 1, 0, 100));
    assert_true(refuse(tombstones, 9, 9, 100)); /* any key that is as old */
    assert_false(refuse(tombstones, 9, 9, 101));
    assert_true(refuse(tombstones, 1, 1, 101)); /* still known by its key */
    assert_false(refuse(tombstones, 1, 1, 102));
    dj_tombstones_destroy(tombstones);
}

static void overflow_of_one_key_keeps_its_newest_delete(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    for (uint32_t i = 0; i < 2 * DJ_TOMBSTONES_MAX; i++)
        add(tombstones, 1, 7, 100 + i);
    uint64_t newest = 100 + 2 * DJ_TOMBSTONES_MAX - 1;
    assert_true(refuse(tombstones, 1, 7, newest));
    assert_false(refuse(tombstones, 1, 7, newest + 1));
    dj_tombstones_destroy(tombstones);
}

static void create_survives_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_tombstones *tombstones = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_tombstones_create(&tombstones);
        if (!failing_malloc_disarm()) {
            assert_int_equal(status, DEJA_OK);
            dj_tombstones_destroy(tombstones);
            break;
        }
        assert_int_equal(status, DEJA_ERR_NOMEM);
        assert_null(tombstones);
    }
    dj_tombstones_destroy(NULL);
}

static void delete_without_memory_refuses_all_the_same(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_tombstones *tombstones = create();
        failing_malloc_arm(n);
        add(tombstones, 1, 7, 10);
        bool has_failed = failing_malloc_disarm();
        assert_true(refuse(tombstones, 1, 7, 10));
        assert_false(refuse(tombstones, 1, 7, 11));
        dj_tombstones_destroy(tombstones);
        if (!has_failed)
            break;
    }
}

/* Ids that were all at home in one slot when their first bytes were the hash. */
static void ids_made_to_collide_are_spread(void **state)
{
    (void)state;
    struct dj_tombstones *tombstones = create();
    for (uint32_t i = 0; i < DJ_TOMBSTONES_MAX; i++) {
        struct dj_store_key key = {.tenant = "stranger"};
        memset(key.id, 0x55, sizeof key.id / 2);
        memcpy(key.id + sizeof key.id / 2, &i, sizeof i);
        dj_tombstones_add(tombstones, &key, i + 1);
        assert_true(dj_tombstones_refuse(tombstones, &key, i + 1));
    }
    assert_true(dj_tombstones_probes_max(tombstones) < 200);
    dj_tombstones_destroy(tombstones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fill_that_is_not_newer_than_the_delete_is_refused),
        cmocka_unit_test(delete_touches_no_other_key_and_no_other_tenant),
        cmocka_unit_test(second_delete_of_a_key_counts),
        cmocka_unit_test(overflow_raises_the_floor_to_what_it_forgot),
        cmocka_unit_test(overflow_of_one_key_keeps_its_newest_delete),
        cmocka_unit_test(ids_made_to_collide_are_spread),
        cmocka_unit_test(create_survives_each_failed_allocation),
        cmocka_unit_test(delete_without_memory_refuses_all_the_same),
    };
    return RUN_TESTS(tests);
}
