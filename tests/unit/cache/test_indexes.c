#include "check.h"

#include "cache/indexes.h"
#include "simd/simd.h"

static const uint8_t tenant_a[DJ_ID_BYTES] = "........tenant a";
static const uint8_t tenant_b[DJ_ID_BYTES] = "........tenant b";
static const uint8_t scope[DJ_ID_BYTES] = "scope";
static const float floats[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static struct dj_index_name named(const char *label, uint32_t dim)
{
    return (struct dj_index_name){.label = deja_slice_text(label), .dim = dim};
}

static enum deja_status put(struct dj_indexes *indexes, const uint8_t *tenant,
                            struct dj_index_name name, uint8_t number, uint64_t version)
{
    uint8_t id[DJ_ID_BYTES] = {number};
    return dj_indexes_put(indexes, tenant, &name, scope, id, floats, 0, version);
}

static uint32_t count_in(struct dj_indexes *indexes, const uint8_t *tenant,
                         struct dj_index_name name)
{
    struct dj_flat *flat = dj_indexes_find(indexes, tenant, &name);
    return flat ? dj_flat_count(flat) : 0;
}

static struct dj_indexes *create(void)
{
    struct dj_indexes *indexes = NULL;
    dj_simd_init();
    assert_int_equal(dj_indexes_create(10, &indexes), DEJA_OK);
    return indexes;
}

static void label_and_dimension_and_tenant_tell_indexes_apart(void **state)
{
    (void)state;
    struct dj_indexes *indexes = create();
    assert_int_equal(put(indexes, tenant_a, named("", 4), 1, 1), DEJA_OK);
    assert_int_equal(put(indexes, tenant_a, named("@x", 4), 2, 1), DEJA_OK);
    assert_int_equal(put(indexes, tenant_a, named("@x", 3), 3, 1), DEJA_OK);
    assert_int_equal(put(indexes, tenant_b, named("", 4), 1, 1), DEJA_OK);
    assert_int_equal(count_in(indexes, tenant_a, named("", 4)), 1);
    assert_int_equal(count_in(indexes, tenant_a, named("@x", 4)), 1);
    assert_int_equal(count_in(indexes, tenant_a, named("@x", 3)), 1);
    assert_int_equal(count_in(indexes, tenant_a, named("@x", 2)), 0);
    assert_int_equal(dj_indexes_count(indexes, tenant_a, NULL), 3);
    assert_int_equal(dj_indexes_count(indexes, tenant_a, scope), 3);
    uint64_t vectors = 0;
    uint64_t bytes = 0;
    dj_indexes_stats(indexes, NULL, &vectors, &bytes);
    assert_int_equal(vectors, 4);
    assert_true(bytes > 0);
    dj_indexes_clear(indexes, tenant_a);
    assert_int_equal(dj_indexes_count(indexes, tenant_a, NULL), 0);
    assert_int_equal(dj_indexes_count(indexes, tenant_b, NULL), 1);
    dj_indexes_destroy(indexes);
}

static void an_id_is_in_one_index_of_its_tenant(void **state)
{
    (void)state;
    struct dj_indexes *indexes = create();
    assert_int_equal(put(indexes, tenant_a, named("", 4), 1, 1), DEJA_OK);
    assert_int_equal(put(indexes, tenant_b, named("", 4), 1, 1), DEJA_OK);
    assert_int_equal(put(indexes, tenant_a, named("@", 2), 1, 2), DEJA_OK);
    assert_int_equal(count_in(indexes, tenant_a, named("", 4)), 0);
    assert_int_equal(count_in(indexes, tenant_a, named("@", 2)), 1);
    assert_int_equal(count_in(indexes, tenant_b, named("", 4)), 1);
    dj_indexes_destroy(indexes);
}

static void late_writes_do_not_touch_a_newer_version(void **state)
{
    (void)state;
    static const uint8_t id[DJ_ID_BYTES] = {1};
    struct dj_indexes *indexes = create();
    assert_int_equal(put(indexes, tenant_a, named("", 4), 1, 5), DEJA_OK);
    dj_indexes_remove(indexes, tenant_a, id, 4); /* a removal that comes late */
    assert_int_equal(dj_indexes_count(indexes, tenant_a, scope), 1);
    assert_int_equal(put(indexes, tenant_a, named("@", 2), 1, 4), DEJA_OK); /* a put that does */
    assert_int_equal(count_in(indexes, tenant_a, named("", 4)), 1);
    dj_indexes_remove(indexes, tenant_a, id, 5);
    assert_int_equal(dj_indexes_count(indexes, tenant_a, scope), 0);
    dj_indexes_destroy(indexes);
}

static void callers_indexes_are_bounded_and_leave_the_embedders_place(void **state)
{
    (void)state;
    struct dj_indexes *indexes = create();
    struct dj_index_name own = named("", 4);
    struct dj_index_name more = named("@c", 4);
    for (uint32_t dim = 1; dim < DJ_INDEXES_PER_TENANT; dim++) {
        assert_true(dj_indexes_has_room(indexes, tenant_a, &more));
        assert_int_equal(put(indexes, tenant_a, named("@a", dim), (uint8_t)dim, 1), DEJA_OK);
    }
    assert_false(dj_indexes_has_room(indexes, tenant_a, &more));
    assert_int_equal(put(indexes, tenant_a, more, 9, 1), DEJA_ERR_LIMIT);
    assert_true(dj_indexes_has_room(indexes, tenant_b, &more));
    assert_true(dj_indexes_has_room(indexes, tenant_a, &own));
    assert_int_equal(put(indexes, tenant_a, own, 10, 1), DEJA_OK);
    dj_indexes_destroy(indexes);
}

static void indexes_survive_each_failed_allocation(void **state)
{
    (void)state;
    dj_simd_init();
    for (size_t n = 1;; n++) {
        struct dj_indexes *indexes = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_indexes_create(10, &indexes);
        bool is_created = status == DEJA_OK;
        if (is_created)
            status = put(indexes, tenant_a, named("@x", 4), 1, 1);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(status, has_failed ? DEJA_ERR_NOMEM : DEJA_OK);
        if (is_created) { /* and again with memory */
            assert_int_equal(put(indexes, tenant_a, named("@x", 4), 1, 2), DEJA_OK);
            assert_int_equal(dj_indexes_count(indexes, tenant_a, scope), 1);
        }
        dj_indexes_destroy(indexes);
        if (!has_failed)
            break;
    }
    dj_indexes_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(label_and_dimension_and_tenant_tell_indexes_apart),
        cmocka_unit_test(an_id_is_in_one_index_of_its_tenant),
        cmocka_unit_test(late_writes_do_not_touch_a_newer_version),
        cmocka_unit_test(callers_indexes_are_bounded_and_leave_the_embedders_place),
        cmocka_unit_test(indexes_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
